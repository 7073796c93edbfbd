//! What the swarm tells: connections come and go, peers say what they speak, pings come back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, ping};
use tokio::time::Instant;

use super::actor::{Actor, Link, Peer};
use super::behaviour::BehaviourEvent;
use super::book::believable;
use super::connections::NO_CHURN;
use super::event::MeshEvent;
use super::transport::node_id;

/// Addresses taken from what one peer says of itself.
const ADDRESSES_PER_PEER_MAX: usize = 16;

/// Two nodes may dial each other at once. A connection that comes later than this after another says that
/// the peer has lost the other.
const AT_ONCE: Duration = Duration::from_secs(10);

impl Actor {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.peer_down(peer_id),
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.links.retain(|link| link.id != connection_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                self.on_dial_failed(peer, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.opened(listener_id);
                let me = *self.swarm.local_peer_id();
                let address = address.with_p2p(me).unwrap_or_else(|same| same).to_string();
                tracing::info!(address, "listening");
                self.emit(MeshEvent::Listening { address });
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.opened(listener_id);
                tracing::error!(?addresses, ?reason, "a listener closed: nobody can dial this address");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Anchors(event) => self.on_anchors(event),
            BehaviourEvent::Inbound(opened) => self.on_opened(opened),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Identify(
                identify::Event::Received { peer_id, info, .. }
                | identify::Event::Pushed { peer_id, info, .. },
            ) => self.on_identified(peer_id, info),
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
                tracing::debug!(peer = %peer_id, %error, "a peer does not say what it speaks");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, id: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let (address, dialled) = (endpoint.get_remote_address().clone(), endpoint.is_dialer());
        self.lost.found(&id);
        let chosen = self.dialling.remove(&id);
        if self.peers.get(&id).is_some_and(|peer| now.duration_since(peer.since) > AT_ONCE) {
            // It has forgotten the connection that we still hold, with all that was agreed over it.
            tracing::debug!(peer = %id, "a peer connects anew: what was before is closed");
            self.lost.add(id, now);
            // An error means that all have gone already.
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        if self.is_crowded(&id, &address) {
            tracing::debug!(peer = %id, %address, "too many nodes of one machine: closed");
            self.counts.connections_trimmed += 1;
            self.book.hold_off(&id, now + NO_CHURN);
            // An error means that it has gone already.
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        let gone = self.streams.stop.child_token().drop_guard();
        let peer = self.peers.entry(id).or_insert_with(|| Peer {
            links: Vec::new(),
            searched: dialled && !chosen,
            since: now,
            up: false,
            rtt: None,
            pinged: now,
            used: None,
            asked: None,
            topics: BTreeSet::new(),
        });
        // The peer may have lost those that were there.
        peer.links.iter_mut().for_each(|link| link.answers = false);
        let questions = Arc::new(());
        peer.links.push(Link {
            id: connection,
            address,
            dialled,
            since: now,
            answers: false,
            questions,
            gone,
        });
    }

    fn on_dial_failed(&mut self, peer: PeerId, error: &DialError) {
        tracing::debug!(%peer, %error, "a dial failed");
        self.dialling.remove(&peer);
        // It came the other way round, or was not tried at all.
        if matches!(error, DialError::DialPeerConditionFalse(_)) || self.peers.contains_key(&peer) {
            return;
        }
        let jitter = self.jitter();
        self.book.failed(&peer, Instant::now(), &self.config, jitter);
    }

    fn on_identified(&mut self, id: PeerId, info: identify::Info) {
        let answers = info.protocols.contains(&self.names.exchange);
        let routes = info.protocols.contains(&self.names.kad);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !answers && !routes {
            let version = info.protocol_version.escape_debug();
            tracing::debug!(peer = %id, %version, "a peer of another network");
            // Else it counts when it is closed (`peer_down`).
            if peer.up || !peer.is_dialled() {
                let jitter = self.jitter();
                self.book.failed(&id, Instant::now(), &self.config, jitter);
            }
            // An error means that it has gone already.
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        // Only now: a peer that blocks us lets us connect and closes at once, again and again.
        self.book.succeeded(&id);
        let news = !std::mem::replace(&mut peer.up, true);
        let Some(came_over) = peer.address().cloned() else { return };
        let address = came_over.to_string();
        let topics = peer.topics.clone();
        for claimed in info.listen_addrs.into_iter().take(ADDRESSES_PER_PEER_MAX) {
            self.learn(id, claimed, &came_over, routes);
        }
        if news {
            let node = node_id(&id);
            self.emit(MeshEvent::PeerUp { node: node.clone(), address, answers });
            for topic in topics {
                self.emit(MeshEvent::PeerSubscribed { node: node.clone(), topic });
            }
            self.cards_due_soon();
        }
    }

    fn learn(&mut self, id: PeerId, claimed: Multiaddr, came_over: &Multiaddr, routes: bool) {
        if !believable(&claimed, came_over) {
            return;
        }
        // An error means that the address names somebody else.
        let Ok(address) = claimed.with_p2p(id) else { return };
        if routes {
            self.swarm.behaviour_mut().kad.add_address(&id, address.clone());
        }
        self.book.add(id, address, false);
    }

    fn on_ping(&mut self, event: ping::Event) {
        let now = Instant::now();
        let Some(peer) = self.peers.get_mut(&event.peer) else { return };
        let gap = Duration::from_millis(self.config.ping_gap_ms);
        let expected = Duration::from_millis(self.config.ping_interval_ms) + gap;
        let late = match event.result {
            Ok(rtt) => {
                let silent = now.duration_since(std::mem::replace(&mut peer.pinged, now));
                peer.rtt = Some(rtt);
                peer.links
                    .iter_mut()
                    .filter(|link| link.id == event.connection)
                    .for_each(|l| l.answers = true);
                silent > expected || rtt > gap
            }
            Err(_) => true,
        };
        if late && peer.up {
            self.emit(MeshEvent::PingGap { node: node_id(&event.peer) });
        }
        // libp2p tells of the second failure in a row. The first was a ping without answer; the second already fails
        // at the new stream that it wants, which is no `Timeout`.
        if matches!(event.result, Err(ping::Failure::Timeout | ping::Failure::Other { .. })) {
            // Nobody would ever close it: the other end may have lost its power.
            tracing::debug!(peer = %event.peer, "pings are not answered: the connection is closed");
            self.lost.add(event.peer, now);
            self.swarm.close_connection(event.connection);
        }
    }
}
