//! What nodes send each other: the part of the mesh and of the engine's streams.

use bytes::Bytes;
use chargemesh::protocol::{NodeId, SyncRequest, Verdict};
use chargemesh::roaming::{Action, AskId, CallId, GossipId, Input, Report, RequestId, SyncId};
use rand_core::Rng as _;

use super::facts::MessageId;
use super::queue::{Node, What};
use super::world::World;

/// Bits of a question's id that hold its number at the asker; the others hold the asker.
const REQUEST_BITS: u32 = 44;

/// Numbers of nodes and messages fit the halves of an id.
fn halves(id: u64) -> (u32, u32) {
    ((id >> 32) as u32, id as u32)
}

fn whole(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl World {
    /// Something reaches a node that runs.
    pub(super) fn arrive(&mut self, to: Node, what: What) {
        match what {
            What::Gossip { from, message } => self.hear(to, from, message),
            What::PeerUp(peer) if self.connected(to, peer) => {
                self.note(to, 5, peer.into());
                self.handle(to, Input::PeerUp(self.ids[peer as usize].clone()));
            }
            What::PeerDown(peer) => {
                self.note(to, 6, peer.into());
                self.handle(to, Input::PeerDown(self.ids[peer as usize].clone()));
            }
            What::Ask { from, request, bytes } if self.connected(to, from) => {
                let ask = AskId(u64::from(from) << REQUEST_BITS | request.0);
                self.note(to, 7, ask.0);
                self.handle(to, Input::Asked { from: self.ids[from as usize].clone(), ask, bytes });
            }
            What::Answer { from, request, bytes } if self.connected(to, from) => {
                self.note(to, 8, request.0 ^ (bytes.len() as u64) << 48);
                let from = self.ids[from as usize].clone();
                self.handle(to, Input::Answered { from, request, bytes });
            }
            What::Sync { from, sync, bytes } if self.connected(to, from) => {
                self.note(to, 9, u64::from(from) << REQUEST_BITS | sync.0);
                self.serve(to, from, sync, &bytes);
            }
            What::SyncFrame { from, sync, bytes } if self.connected(to, from) => {
                self.note(to, 10, sync.0 ^ (bytes.len() as u64) << 48);
                self.handle(to, Input::SyncFrame { sync, bytes });
            }
            What::AskFailed(request) => self.handle(to, Input::AskFailed { request, sent: true }),
            What::SyncFailed(sync) => self.handle(to, Input::SyncFailed { sync }),
            // Its peer died while it was under way.
            What::Answer { request, .. } => self.handle(to, Input::AskFailed { request, sent: true }),
            What::SyncFrame { sync, .. } => self.handle(to, Input::SyncFailed { sync }),
            what => self.arrived_too_late(what),
        }
    }

    /// Whom something was for is gone: who waits for an answer is told.
    pub(super) fn arrived_too_late(&mut self, what: What) {
        match what {
            What::Ask { from, request, .. } => self.push(1, from, What::AskFailed(request)),
            What::Sync { from, sync, .. } => self.push(1, from, What::SyncFailed(sync)),
            _ => {}
        }
    }

    fn connected(&mut self, one: Node, other: Node) -> bool {
        self.link(one, other).is_some_and(|link| link.up)
    }

    fn hear(&mut self, to: Node, from: Node, message: MessageId) {
        if !self.connected(to, from) {
            return;
        }
        if !self.first_time(to, message) {
            self.counts.gossip_again += 1;
            self.trace.events += 1;
            return;
        }
        self.counts.gossip_new += 1;
        self.note(to, 11, whole(from, message));
        let (topic, bytes) = self.facts.message_of(message);
        let (from_id, gossip) = (self.ids[from as usize].clone(), GossipId(whole(from, message)));
        self.handle(to, Input::Announced { from: from_id, gossip, topic, bytes });
    }

    fn first_time(&mut self, node: Node, message: MessageId) -> bool {
        let heard = &mut self.hosts[node as usize].heard;
        let (word, bit) = (message as usize / 64, 1 << (message % 64));
        if heard.len() <= word {
            heard.resize(word + 1, 0);
        }
        let first = heard[word] & bit == 0;
        heard[word] |= bit;
        first
    }

    /// What a core wants to be done.
    pub(super) fn act(&mut self, node: Node, action: Action) {
        match action {
            Action::Publish { topic, bytes } => {
                let message = self.facts.message(topic, &bytes);
                self.first_time(node, message);
                self.spread(node, None, message);
            }
            Action::Judge { gossip, verdict } => {
                let (from, message) = halves(gossip.0);
                match verdict {
                    Verdict::Accept => self.spread(node, Some(from), message),
                    Verdict::Ignore => {}
                    Verdict::Reject => self.violate(node, &format!("gossip of node {from} was rejected")),
                }
            }
            Action::Ask { to, request, bytes, .. } => {
                self.counts.asks += 1;
                let ask = What::Ask { from: node, request, bytes };
                self.send_to(node, &to, ask);
            }
            Action::Answer { ask, bytes } => {
                let (to, request) = ((ask.0 >> REQUEST_BITS) as Node, ask.0 & ((1 << REQUEST_BITS) - 1));
                let request = RequestId(request);
                self.send(node, to, What::Answer { from: node, request, bytes });
            }
            Action::Sync { to, sync, bytes } => {
                self.counts.syncs += 1;
                self.send_to(node, &to, What::Sync { from: node, sync, bytes });
            }
            Action::CancelSync { .. } | Action::Reloaded { .. } => {}
            Action::Penalise { node: peer, why } => {
                let peer = self.ids.iter().position(|id| *id == peer);
                self.violate(node, &format!("penalises node {peer:?} for {why:?}, and nobody lies"));
            }
            Action::Reply { call, result, status } => {
                self.replied(node, call, result);
                if !result {
                    self.note(node, 12, status.known().map_or(0, |code| code as u64));
                }
            }
            Action::Report(report @ (Report::Inconsistent { .. } | Report::Equivocation { .. })) => {
                self.violate(node, &format!("{report:?}, and nobody lies"));
            }
            // Nobody has partners in the model.
            Action::FindCard { .. } | Action::KnowAddress { .. } | Action::KeepPartners(_) => {}
            // And nobody charges.
            Action::ReplyOicp { .. }
            | Action::ReplyStarted { .. }
            | Action::CallBackend { .. }
            | Action::CheckPin { .. } => {}
            Action::ForwardCdr { .. } | Action::FindCdrs { .. } => {}
            Action::BooksAnswered { .. } | Action::ServeBooks { .. } | Action::LostSessionTaken { .. } => {}
            Action::CallHub { .. } | Action::AgreementDone { .. } | Action::Report(_) => {}
        }
    }

    fn replied(&mut self, node: Node, call: CallId, result: bool) {
        self.note(node, 13, call.0 << 1 | u64::from(result));
        let waiting = self.publishers.get_mut(node as usize).and_then(|publisher| publisher.waiting.take());
        match waiting.filter(|(waits, _)| *waits == call) {
            Some((_, changes)) if result => {
                self.counts.acknowledged += 1;
                self.reference.acknowledged(changes);
            }
            Some(_) => self.counts.refused += 1,
            None => self.violate(node, &format!("{call:?} was answered, and nobody waits")),
        }
    }

    fn spread(&mut self, node: Node, except: Option<Node>, message: MessageId) {
        let quiet = self.now_ms >= self.settings.quiet_from_ms();
        let loss = if quiet { 0.0 } else { self.settings.loss / 100.0 };
        let lost_below = (loss * u64::MAX as f64) as u64;
        for index in 0..self.hosts[node as usize].links.len() {
            let link = &self.hosts[node as usize].links[index];
            let (to, up) = (link.to, link.up);
            if !up || Some(to) == except {
                continue;
            }
            if lost_below > 0 && self.chance.next_u64() < lost_below {
                self.counts.gossip_lost += 1;
                continue;
            }
            self.send(node, to, What::Gossip { from: node, message });
        }
    }

    fn send_to(&mut self, node: Node, to: &NodeId, what: What) {
        let links = &self.hosts[node as usize].links;
        let peer = links.iter().map(|link| link.to).find(|peer| self.ids[*peer as usize] == *to);
        match peer {
            Some(peer) => self.send(node, peer, what),
            None => self.violate(node, "a core wants to speak to a stranger"),
        }
    }

    /// Sends over a link: nothing overtakes what was sent before.
    fn send(&mut self, node: Node, to: Node, what: What) {
        // A tenth more or less than the link's own latency, drawn for each message.
        let chance = self.chance.next_u64();
        let now_ms = self.now_ms;
        let Some(link) = self.link(node, to).filter(|link| link.up) else {
            return self.arrived_too_late(what);
        };
        let jitter_ms = chance % (link.latency_ms / 5 + 1);
        let at_ms = (now_ms + link.latency_ms - link.latency_ms / 10 + jitter_ms).max(link.busy_until_ms);
        link.busy_until_ms = at_ms;
        self.push(at_ms - now_ms, to, what);
    }

    fn serve(&mut self, node: Node, asker: Node, sync: SyncId, bytes: &[u8]) {
        let frames: Vec<Bytes> = match SyncRequest::decode(bytes) {
            Ok(request) => self.hosts[node as usize].store.answer(&request, &self.facts),
            Err(error) => return self.violate(node, &format!("a request that cannot be read: {error}")),
        };
        for bytes in frames {
            self.send(node, asker, What::SyncFrame { from: node, sync, bytes });
        }
    }
}
