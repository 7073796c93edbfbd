//! Refuses connections before their handshake when there are as many as allowed. The limits of libp2p are
//! looked at after it, and among a thousand nodes that look for each other the handshakes of connections
//! that are refused are most of the work (measured). Connections that are being made count as well: a search of
//! Kademlia dials dozens of nodes at once, and each of them would find room (measured: 53 where 40 are allowed).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

/// Why a connection is not made.
#[derive(Debug, thiserror::Error)]
#[error("this node has as many connections as it may have")]
struct Full;

/// Of all places, this part is reserved at most.
const RESERVED_PART: usize = 4;

/// Counts connections, those that are being made included.
pub(super) struct Behaviour {
    incoming: BTreeMap<ConnectionId, PeerId>,
    outgoing: BTreeMap<ConnectionId, PeerId>,
    /// Being made; who comes is not known yet.
    coming: BTreeSet<ConnectionId>,
    /// Being dialled.
    dialled: BTreeMap<ConnectionId, Option<PeerId>>,
    incoming_max: usize,
    all_max: usize,
    /// Connected all the same.
    kept: BTreeSet<PeerId>,
    /// Connected all the same, and not counted.
    partners: BTreeSet<PeerId>,
}

impl Behaviour {
    pub(super) fn new(incoming_max: u32, all_max: u32, kept: &[PeerId]) -> Behaviour {
        Behaviour {
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            coming: BTreeSet::new(),
            dialled: BTreeMap::new(),
            incoming_max: incoming_max as usize,
            all_max: all_max as usize,
            kept: kept.iter().copied().collect(),
            partners: BTreeSet::new(),
        }
    }

    /// These are partners from now on, and no others.
    pub(super) fn keep_partners(&mut self, partners: BTreeSet<PeerId>) {
        self.partners = partners;
    }

    fn count(&self, connections: &BTreeMap<ConnectionId, PeerId>) -> usize {
        connections.values().filter(|peer| !self.partners.contains(peer)).count()
    }

    fn incoming(&self) -> usize {
        self.count(&self.incoming) + self.coming.len()
    }

    fn is_full(&self) -> bool {
        let partner = |peer: &Option<PeerId>| peer.is_some_and(|peer| self.partners.contains(&peer));
        let dialled = self.dialled.values().filter(|peer| !partner(peer)).count();
        self.incoming() + self.count(&self.outgoing) + dialled + self.reserved() >= self.all_max
    }

    /// Places that are left free for nodes that are to be kept and are away, so that they too come within the
    /// bound (measured: 43 of 40 with three bootstrap nodes). Not all of them: there may be many.
    fn reserved(&self) -> usize {
        let made = || self.incoming.values().chain(self.outgoing.values());
        let dialled = |peer: &&PeerId| self.dialled.values().flatten().any(|dialled| dialled == *peer);
        let away = self.kept.iter().filter(|peer| !made().any(|made| made == *peer) && !dialled(peer));
        away.count().min(self.all_max / RESERVED_PART)
    }

    fn is_full_for_incoming(&self) -> bool {
        self.is_full() || self.incoming() >= self.incoming_max
    }

    /// It is made, or has failed.
    fn decided(&mut self, connection: ConnectionId) {
        self.coming.remove(&connection);
        self.dialled.remove(&connection);
    }

    fn is_welcome(&self, peer: &PeerId) -> bool {
        self.kept.contains(peer) || self.partners.contains(peer)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.is_full_for_incoming() {
            return Err(ConnectionDenied::new(Full));
        }
        self.coming.insert(connection);
        Ok(())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.is_full() && !peer.is_some_and(|peer| self.is_welcome(&peer)) {
            return Err(ConnectionDenied::new(Full));
        }
        self.dialled.insert(connection, peer);
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.decided(connection);
        // Who was a partner when it was dialled or came may be none any more.
        if self.is_full_for_incoming() && !self.is_welcome(&peer) {
            return Err(ConnectionDenied::new(Full));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.decided(connection);
        if self.is_full() && !self.is_welcome(&peer) {
            return Err(ConnectionDenied::new(Full));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) if made.endpoint.is_dialer() => {
                self.outgoing.insert(made.connection_id, made.peer_id);
            }
            FromSwarm::ConnectionEstablished(made) => {
                self.incoming.insert(made.connection_id, made.peer_id);
            }
            FromSwarm::DialFailure(failed) => self.decided(failed.connection_id),
            FromSwarm::ListenFailure(failed) => self.decided(failed.connection_id),
            FromSwarm::ConnectionClosed(closed) => {
                self.outgoing.remove(&closed.connection_id);
                self.incoming.remove(&closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::{ConnectionId, DialError, DialFailure, behaviour::ConnectionEstablished};

    use super::*;

    fn dial(full: &mut Behaviour, number: usize, peer: PeerId) -> bool {
        let connection = ConnectionId::new_unchecked(number);
        full.handle_pending_outbound_connection(connection, Some(peer), &[], Endpoint::Dialer).is_ok()
    }

    fn come(full: &mut Behaviour, number: usize) -> bool {
        let (connection, address) = (ConnectionId::new_unchecked(number), Multiaddr::empty());
        full.handle_pending_inbound_connection(connection, &address, &address).is_ok()
    }

    #[test]
    fn connections_that_are_being_made_count() {
        let [kept, partner] = [PeerId::random(), PeerId::random()];
        let mut full = Behaviour::new(3, 5, &[kept]);
        full.keep_partners(BTreeSet::from([partner]));
        assert!((0..3).all(|number| dial(&mut full, number, PeerId::random())));
        assert!(dial(&mut full, 3, partner), "beside all others");
        assert!(come(&mut full, 4));
        assert!(
            !dial(&mut full, 5, PeerId::random()) && !come(&mut full, 6),
            "four are being made, and one place is the kept node's"
        );
        assert!(dial(&mut full, 7, kept) && dial(&mut full, 8, partner));
        assert!(!dial(&mut full, 11, PeerId::random()), "which has taken it");
        for number in [0, 7] {
            let (connection_id, error) = (ConnectionId::new_unchecked(number), &DialError::Aborted);
            full.on_swarm_event(FromSwarm::DialFailure(DialFailure { peer_id: None, error, connection_id }));
        }
        assert!(dial(&mut full, 9, PeerId::random()), "one of them failed");
        assert!(!dial(&mut full, 10, PeerId::random()));
    }

    #[test]
    fn what_is_made_counts_once_and_some_room_is_for_those_that_are_dialled() {
        let mut full = Behaviour::new(3, 4, &[]);
        let address = Multiaddr::empty();
        for number in 0..3 {
            assert!(come(&mut full, number));
            let (connection_id, peer_id) = (ConnectionId::new_unchecked(number), PeerId::random());
            let made = full.handle_established_inbound_connection(connection_id, peer_id, &address, &address);
            assert!(made.is_ok());
            let endpoint =
                ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address.clone() };
            full.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint: &endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        assert!(!come(&mut full, 4));
        assert!(dial(&mut full, 5, PeerId::random()));
        assert!(!dial(&mut full, 6, PeerId::random()));
    }
}
