//! Nodes of partners: a connection to each is kept whatever else this node is connected to, so that a start is one
//! round trip and everybody knows at once who is unreachable. Whose nodes they are, the core says.

use std::collections::BTreeSet;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::PeerInfo;
use tokio::time::Instant;

use super::actor::Actor;
use super::transport::peer_id;
use crate::protocol::NodeId;

/// Partner nodes that are kept: some hundred partners, a few with several nodes. Their connections come on top of
/// `connections_max`: 51 MB of memory at 100 KB each.
pub const PARTNERS_MAX: usize = 512;

/// Partner nodes dialled in one tick: hundreds that are missed at once, after a start or a cut, must not fill all
/// the room for connections that are being made.
const DIALS_PER_TICK_MAX: usize = 8;

impl Actor {
    /// Keeps a connection to these from now on, and no longer to those before them. The first
    /// [`PARTNERS_MAX`] count.
    pub(super) fn keep_partners(&mut self, nodes: &[NodeId]) {
        if nodes.len() > PARTNERS_MAX {
            tracing::warn!(nodes = nodes.len(), limit = PARTNERS_MAX, "more partner nodes than are kept");
        }
        let me = *self.swarm.local_peer_id();
        let partners: BTreeSet<PeerId> =
            nodes.iter().take(PARTNERS_MAX).filter_map(peer_id).filter(|peer| *peer != me).collect();
        self.book.keep(&partners);
        self.swarm.behaviour_mut().full.keep_partners(partners.clone());
        self.partners = partners;
        self.dial_partners();
    }

    /// Dials partners that are missing and whose back-off is over.
    pub(super) fn dial_partners(&mut self) {
        let now = Instant::now();
        let missing = |peer: &&PeerId| !self.peers.contains_key(*peer) && self.book.is_due(peer, now);
        let due: Vec<PeerId> =
            self.partners.iter().filter(missing).take(DIALS_PER_TICK_MAX).copied().collect();
        for peer in due {
            if self.book.addresses(&peer).is_empty() {
                // Nobody reports that such a dial failed.
                let jitter = self.jitter();
                self.book.failed(&peer, now, &self.config, jitter);
                self.seek(peer);
            } else {
                // Until the dial has failed or succeeded, no second one.
                self.book.hold_off(&peer, now + Duration::from_millis(self.config.open_deadline_ms));
            }
            self.dial(peer);
        }
    }

    /// Others say where some nodes are: of use for a partner whose place is unknown. Whoever answers there proves
    /// who it is in the handshake.
    pub(super) fn found_nodes(&mut self, found: Vec<PeerInfo>) {
        for PeerInfo { peer_id, addrs } in found {
            if self.partners.contains(&peer_id) && self.book.addresses(&peer_id).is_empty() {
                addrs.into_iter().filter_map(|address| address.with_p2p(peer_id).ok()).for_each(|address| {
                    self.book.add(peer_id, address, false);
                });
                self.book.due_now(&peer_id);
            }
        }
    }
}
