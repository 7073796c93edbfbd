//! Refuses connections before their handshake when there are as many as allowed. The limits of libp2p are
//! looked at after it, and among a thousand nodes that look for each other the handshakes of connections
//! that are refused are most of the work (measured).

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

/// Counts established connections.
pub(super) struct Behaviour {
    incoming: BTreeMap<ConnectionId, PeerId>,
    outgoing: BTreeMap<ConnectionId, PeerId>,
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

    fn is_full(&self) -> bool {
        self.count(&self.incoming) + self.count(&self.outgoing) >= self.all_max
    }

    fn is_full_for_incoming(&self) -> bool {
        self.is_full() || self.count(&self.incoming) >= self.incoming_max
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
        _: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.is_full_for_incoming() {
            return Err(ConnectionDenied::new(Full));
        }
        Ok(())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.is_full() && !peer.is_some_and(|peer| self.is_welcome(&peer)) {
            return Err(ConnectionDenied::new(Full));
        }
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Several may have been let in at once.
        if self.is_full_for_incoming() && !self.is_welcome(&peer) {
            return Err(ConnectionDenied::new(Full));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
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
