//! Which connections have a purpose. gossipsub keeps a substream on every connection, so none is ever
//! idle, and Kademlia dials whoever it hears of: without this, a network becomes a full mesh.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use rand_core::Rng as _;
use tokio::time::Instant;

use super::actor::{Actor, Link};
use super::crowd;
use super::event::{PeerInfo, Penalty, Purpose};
use super::exchange::Line;
use super::transport::node_id;
use crate::protocol::Topic;

/// Subscribers of each topic we publish to that we want to be connected to.
const SUBSCRIBERS_WANTED: usize = 6;

/// Time since the last question for which a connection counts as in use: longer than an answer takes.
const ASKED_FOR: Duration = Duration::from_secs(15);

/// ... and after which such a connection may be closed where there are too many: no question is under way.
const ASKED_IDLE: Duration = Duration::from_secs(10);

/// The grace of a connection that a search of Kademlia made: longer than the search needs it. A search makes dozens
/// of them, and while the node is full nobody else comes in.
const SEARCH_GRACE: Duration = Duration::from_secs(3);

/// Time between two random walks while peers are wanted and none are known that could be dialled ...
const WALK_INTERVAL: Duration = Duration::from_secs(60);

/// ... and while some are known: a walk dials some thirty nodes (measured), so it is not made for a few; but those
/// who are known may be one liar's.
const WALK_INTERVAL_KNOWN: Duration = Duration::from_secs(600);

/// Nodes dialled in one review.
const DIALS_PER_REVIEW_MAX: usize = 4;

/// After we closed a connection for want of a purpose, we do not dial that node for this long.
pub(super) const NO_CHURN: Duration = Duration::from_secs(120);

/// How long both of two connections live that were made at once: longer than what begins with them.
const BOTH_FOR: Duration = Duration::from_secs(2);

/// Time in which a peer must have said what it speaks.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(20);

/// What decides over one connection.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) peer: PeerId,
    pub(super) purpose: Purpose,
    /// Time since the connection was made.
    pub(super) age: Duration,
    /// Time since we last asked over it. What the peer asks does not count: it could keep itself in our
    /// favour by asking.
    pub(super) unused: Duration,
    /// Whether we made the connection.
    pub(super) dialled: bool,
    /// Whether a search of Kademlia made it.
    pub(super) searched: bool,
    /// Whether too many others are on the same machine.
    pub(super) colocated: bool,
}

/// The connections to close: if there are more than `high`, as many without purpose as bring them down
/// to `low`, the longest unused first, none younger than `grace`. If those are too few, peers that were
/// not asked for some time go too until `high` is kept: they can be dialled again. Those of machines with too many go
/// first, and connections that this node made itself last.
pub(super) fn surplus(all: Vec<Standing>, high: usize, low: usize, grace: Duration) -> Vec<PeerId> {
    if all.len() <= high {
        return Vec::new();
    }
    let longest_unused = |purpose: Purpose, age: Duration, unused: Duration| {
        let fits = |s: &&Standing| {
            let least =
                |time: Duration| if s.searched || s.colocated { time.min(SEARCH_GRACE) } else { time };
            s.purpose == purpose && s.age >= least(age) && s.unused >= least(unused)
        };
        let mut found: Vec<&Standing> = all.iter().filter(fits).collect();
        found.sort_by_key(|s| (!s.colocated, s.dialled && !s.searched, std::cmp::Reverse(s.unused), s.peer));
        found.into_iter().map(|standing| standing.peer).collect::<Vec<PeerId>>()
    };
    let mut closed = longest_unused(Purpose::None, grace, Duration::ZERO);
    closed.truncate(all.len() - low);
    let too_many = (all.len() - closed.len()).saturating_sub(high);
    let asked = longest_unused(Purpose::Asked, grace, ASKED_IDLE);
    closed.extend(asked.into_iter().take(too_many));
    closed
}

impl Actor {
    /// Every few seconds: dial what is wanted, close what is silent or double.
    pub(super) fn review(&mut self) {
        self.put_own_cards();
        self.drop_the_silent();
        self.close_doubled();
        let choice = self.rng.next_u32() as usize;
        self.lost.some(Instant::now(), choice).into_iter().for_each(|peer| self.dial(peer));
        let up = self.peers.values().filter(|peer| peer.up).count();
        if up < self.config.peers_target
            || self.lacks_dialled()
            || (self.lacks_subscribers() && self.peers.len() < self.config.connections_high)
        {
            let known = self.dial_candidates();
            let wait = if known > DIALS_PER_REVIEW_MAX { WALK_INTERVAL_KNOWN } else { WALK_INTERVAL };
            if self.walked.is_none_or(|walked| walked.elapsed() >= wait) {
                self.walked = Some(Instant::now());
                self.random_walk();
            }
        }
    }

    /// Closes what has no purpose, where there are too many connections.
    pub(super) fn trim(&mut self) {
        if self.peers.len() <= self.config.connections_high {
            return;
        }
        let mut standings = self.standings();
        // Partners come on top of all limits.
        standings.retain(|standing| standing.purpose != Purpose::Partner);
        let grace = Duration::from_millis(self.config.connection_grace_ms);
        for peer in surplus(standings, self.config.connections_high, self.config.connections_low, grace) {
            tracing::debug!(%peer, "a connection without purpose is closed");
            self.counts.connections_trimmed += 1;
            self.book.hold_off(&peer, Instant::now() + NO_CHURN);
            // An error means that it is closed already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Of two connections that were made at once, closes one: the same at both ends, and when the other is known to be
    /// made at both. Not before what begins with a connection is over, nor while a question or a sync is under way.
    fn close_doubled(&mut self) {
        let me = *self.swarm.local_peer_id();
        let (syncs, sync_gate) = (&self.syncs, &self.sync_gate);
        let busy = |id: &PeerId| sync_gate.holds(id) || syncs.values().any(|(peer, _)| peer == id);
        for (id, peer) in &mut self.peers {
            let is_kept = |link: &Link| link.dialled == (me < *id);
            let one_answers = peer.links.iter().any(|link| is_kept(link) && link.answers);
            let is_new = peer.links.iter().any(|link| link.since.elapsed() < BOTH_FOR);
            let other = peer.links.iter().find(|link| !is_kept(link));
            let Some(other) = other.filter(|_| one_answers && !is_new && !busy(id)) else { continue };
            let (connection, line) = (other.id, self.lines.get(id));
            // Over which of them ours go is not known.
            if Arc::strong_count(&other.questions) > 1 || line.is_some_and(Line::is_waiting) {
                continue;
            }
            tracing::debug!(peer = %id, "both dialled at once: one connection is enough");
            self.counts.connections_trimmed += 1;
            peer.links.retain(|link| link.id != connection);
            self.swarm.close_connection(connection);
            if let Some(line) = line {
                line.disconnected();
            }
        }
    }

    /// Closes connections to peers that never say what they speak.
    fn drop_the_silent(&mut self) {
        let silent = |peer: &super::actor::Peer| !peer.up && peer.since.elapsed() > IDENTIFY_DEADLINE;
        let all: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| silent(peer)).map(|(id, _)| *id).collect();
        for id in all {
            tracing::debug!(peer = %id, "a peer does not say what it speaks: closed");
            // An error means that it is closed already.
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    /// Dials the nodes that must be connected: those to keep always, the bootstrap nodes while joining.
    pub(super) fn dial_fixed(&mut self) {
        let now = Instant::now();
        let joining = self.peers.values().filter(|peer| peer.up).count() < self.config.peers_target;
        let bootstrap = self.bootstrap.iter().filter(|_| joining);
        let wanted: BTreeSet<PeerId> = self.keep.iter().chain(bootstrap).copied().collect();
        for peer in wanted {
            if !self.peers.contains_key(&peer) && self.book.is_due(&peer, now) {
                // Until the dial has failed or succeeded, no second one.
                self.book.hold_off(&peer, now + Duration::from_millis(self.config.open_deadline_ms));
                self.dial(peer);
            }
        }
    }

    /// Dials some of the nodes that are known; gives how many there were.
    fn dial_candidates(&mut self) -> usize {
        let now = Instant::now();
        let candidates = self.book.candidates(now, |peer| {
            let is_fixed = self.bootstrap.contains(peer) || self.partners.contains(peer);
            // Whom we block we do not dial: it would take the place of one that we do.
            is_fixed || self.peers.contains_key(peer) || self.offences.has_blocked(peer)
        });
        let known = candidates.len();
        let candidates = candidates.into_iter().map(|peer| (peer, self.book.address(&peer))).collect();
        let rng = &mut self.rng;
        for peer in crowd::choose(candidates, DIALS_PER_REVIEW_MAX, || rng.next_u32() as usize) {
            self.book.hold_off(&peer, now + Duration::from_millis(self.config.open_deadline_ms));
            self.dial(peer);
        }
        known
    }

    /// Dials a node, unless it is connected or being dialled.
    pub(super) fn dial(&mut self, peer: PeerId) {
        let dial = DialOpts::peer_id(peer)
            .addresses(self.book.addresses(&peer))
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(dial) {
            Ok(()) => {
                self.dialling.insert(peer);
            }
            Err(error) => tracing::debug!(%peer, %error, "not dialled"),
        }
    }

    fn lacks_subscribers(&self) -> bool {
        self.published.iter().any(|topic| {
            self.peers.values().filter(|peer| peer.topics.contains(topic)).count() < SUBSCRIBERS_WANTED
        })
    }

    /// What each connection is good for.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        let mut gossiping: BTreeSet<PeerId> = BTreeSet::new();
        if let Some(gossip) = self.swarm.behaviour().gossip.as_ref() {
            gossiping.extend(gossip.all_mesh_peers().copied());
        }
        for topic in &self.published {
            let subscribers = self.peers.iter().filter(|(_, peer)| peer.topics.contains(topic));
            gossiping.extend(subscribers.map(|(peer, _)| *peer).take(SUBSCRIBERS_WANTED));
        }
        let joining = self.peers.values().filter(|peer| peer.up).count() < self.config.peers_target;
        let colocated = self.colocated();
        let purpose = |id: &PeerId, peer: &super::actor::Peer| {
            if self.keep.contains(id) {
                Purpose::Keep
            } else if self.partners.contains(id) {
                Purpose::Partner
            } else if self.sync_gate.holds(id) || self.syncs.values().any(|(peer, _)| peer == id) {
                Purpose::Sync
            } else if colocated.contains(id) {
                // One machine with many names could keep them all by asking.
                if peer.we_asked(ASKED_FOR) { Purpose::Asked } else { Purpose::None }
            } else if peer.is_asked(ASKED_FOR) {
                Purpose::Asked
            } else if gossiping.contains(id) {
                Purpose::Gossip
            } else if joining && self.bootstrap.contains(id) {
                Purpose::Bootstrap
            } else {
                Purpose::None
            }
        };
        let standing = |(id, peer): (&PeerId, &super::actor::Peer)| Standing {
            peer: *id,
            purpose: purpose(id, peer),
            age: now.duration_since(peer.since),
            unused: now.duration_since(peer.used.unwrap_or(peer.since)),
            dialled: peer.is_dialled(),
            searched: peer.searched,
            colocated: colocated.contains(id),
        };
        self.peers.iter().map(standing).collect()
    }

    /// The connected peers for people.
    pub(super) fn peer_infos(&self) -> Vec<PeerInfo> {
        let standings = self.standings();
        let info = |standing: Standing| {
            let peer = self.peers.get(&standing.peer)?;
            Some(PeerInfo {
                node: node_id(&standing.peer),
                node_text: standing.peer.to_base58(),
                address: peer.address().map(ToString::to_string).unwrap_or_default(),
                rtt: peer.rtt,
                purpose: standing.purpose,
                topics: peer.topics.iter().copied().collect::<Vec<Topic>>(),
            })
        };
        standings.into_iter().filter_map(info).collect()
    }

    /// Takes score from a peer, and blocks it if it was often enough.
    pub(super) fn offend(&mut self, peer: PeerId, penalty: Penalty) {
        let sentence = self.offences.add(peer, penalty, Instant::now());
        tracing::debug!(%peer, ?penalty, score = sentence.score, "a peer is penalised");
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.set_application_score(&peer, sentence.score);
        }
        if sentence.block {
            tracing::warn!(%peer, ?penalty, "a peer is blocked for ten minutes");
            self.counts.peers_blocked += 1;
            // This also closes its connections.
            self.swarm.behaviour_mut().blocked.block_peer(peer);
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
    }

    /// Unblocks those whose time is over.
    pub(super) fn pardon(&mut self) {
        for peer in self.offences.pardon(Instant::now()) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
            if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
                gossip.set_application_score(&peer, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(purpose: Purpose, age_s: u64, unused_s: u64) -> Standing {
        let [age, unused] = [age_s, unused_s].map(Duration::from_secs);
        Standing {
            peer: PeerId::random(),
            purpose,
            age,
            unused,
            dialled: false,
            searched: false,
            colocated: false,
        }
    }

    #[test]
    fn only_connections_without_purpose_are_closed_and_only_above_the_high_mark() {
        let grace = Duration::from_secs(30);
        let mut all: Vec<Standing> = (0..30).map(|n| standing(Purpose::None, 100, n)).collect();
        all.extend((0..10).map(|_| standing(Purpose::Gossip, 100, 100)));
        assert!(surplus(all.clone(), 40, 24, grace).is_empty(), "at the mark");
        all.push(standing(Purpose::None, 5, 5));
        let closed = surplus(all.clone(), 40, 24, grace);
        assert_eq!(closed.len(), 17, "down to the low mark");
        assert_eq!(closed.first(), all.get(29).map(|s| &s.peer), "the longest unused first");
        assert!(!closed.contains(&all.last().unwrap().peer), "the youngest is given time");
        all.iter_mut().for_each(|s| s.searched = s.age == Duration::from_secs(5));
        let closed = surplus(all.clone(), 40, 0, grace);
        assert!(closed.contains(&all.last().unwrap().peer), "but not if a search made it");
        let needed: Vec<Standing> = (0..60).map(|_| standing(Purpose::Gossip, 100, 100)).collect();
        assert!(surplus(needed, 40, 24, grace).is_empty(), "what has a purpose stays");
        let mut asked: Vec<Standing> = (0..50).map(|n| standing(Purpose::Asked, 100, 20 + n)).collect();
        asked.extend((0..5).map(|_| standing(Purpose::Asked, 100, 1)));
        let closed = surplus(asked.clone(), 40, 24, grace);
        assert_eq!(closed.len(), 15, "of those asked only as many as must go");
        assert_eq!(closed.first(), asked.get(49).map(|s| &s.peer), "the longest unused first");
    }

    #[test]
    fn who_has_many_names_on_one_machine_goes_first() {
        let grace = Duration::from_secs(30);
        let mut all: Vec<Standing> = (0..5).map(|n| standing(Purpose::None, 100, 50 + n)).collect();
        let colocated = Standing { colocated: true, dialled: true, ..standing(Purpose::None, 5, 5) };
        all.extend((0..3).map(|_| Standing { peer: PeerId::random(), ..colocated.clone() }));
        let closed = surplus(all.clone(), 6, 4, grace);
        let is_colocated = |peer: &PeerId| all.iter().any(|s| s.peer == *peer && s.colocated);
        let order: Vec<bool> = closed.iter().map(is_colocated).collect();
        assert_eq!(
            order,
            [true, true, true, false],
            "before those that are unused for longer, and young as they are"
        );
    }
}
