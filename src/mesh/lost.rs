//! Peers whose connection died without a word: a cut, or a loss of power. Nobody else will bring the two
//! halves of a cut network together again, so they are dialled until they are back. A peer that closed in
//! good order, or whose machine said that the process is gone, knows what it does and is not here.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

/// Peers remembered: more than a node is meant to have.
const LOST_MAX: usize = 64;

/// How long a lost peer is looked for: longer than any outage that somebody repairs.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Lost peers dialled at each review of the connections: a few are enough to join two halves, whatever
/// their number, and a host that is off costs no more than that.
const DIALS_PER_REVIEW: usize = 2;

/// The peers that were lost.
#[derive(Default)]
pub(super) struct Lost {
    since: BTreeMap<PeerId, Instant>,
    /// Those that have not been dialled yet.
    fresh: Vec<PeerId>,
}

impl Lost {
    /// A connection died. When there is no room the one that was lost first is given up.
    pub(super) fn add(&mut self, peer: PeerId, now: Instant) {
        if self.since.len() >= LOST_MAX
            && let Some(oldest) = self.since.iter().min_by_key(|(_, since)| **since).map(|(peer, _)| *peer)
        {
            self.found(&oldest);
        }
        if self.since.insert(peer, now).is_none() {
            self.fresh.push(peer);
        }
    }

    /// It is back, or it is no longer wanted.
    pub(super) fn found(&mut self, peer: &PeerId) {
        self.since.remove(peer);
        self.fresh.retain(|other| other != peer);
    }

    /// Those to be dialled at once, each once.
    pub(super) fn take_fresh(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.fresh)
    }

    /// Those to be dialled at a review: a few of them, chosen by `choice`.
    pub(super) fn some(&mut self, now: Instant, choice: usize) -> Vec<PeerId> {
        self.since.retain(|_, since| now.duration_since(*since) < FORGET_AFTER);
        let all: Vec<PeerId> = self.since.keys().copied().collect();
        let first = choice % all.len().max(1);
        all.iter().cycle().skip(first).take(DIALS_PER_REVIEW.min(all.len())).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_are_sought_at_once_then_a_few_at_a_time_until_they_are_back() {
        let (mut lost, now) = (Lost::default(), Instant::now());
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        peers.iter().for_each(|peer| lost.add(*peer, now));
        lost.add(peers[0], now);
        assert_eq!(lost.take_fresh(), peers, "each once");
        assert!(lost.take_fresh().is_empty());
        let mut seen: Vec<PeerId> = (0..5).flat_map(|choice| lost.some(now, choice)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5, "everyone's turn comes");
        assert_eq!(lost.some(now, 3).len(), DIALS_PER_REVIEW);
        lost.found(&peers[1]);
        assert!(!(0..5).flat_map(|choice| lost.some(now, choice)).any(|peer| peer == peers[1]));
        assert!(lost.some(now + FORGET_AFTER, 0).is_empty(), "not for ever");
    }

    #[test]
    fn there_is_a_bound() {
        let (mut lost, now) = (Lost::default(), Instant::now());
        for number in 0..2 * LOST_MAX {
            lost.add(PeerId::random(), now + Duration::from_millis(number as u64));
        }
        assert_eq!(lost.since.len(), LOST_MAX);
        assert_eq!(lost.take_fresh().len(), LOST_MAX);
    }
}
