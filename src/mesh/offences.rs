//! Who did what is wrong for everybody: three times within ten minutes, and a peer is blocked for ten.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

use super::event::Penalty;

/// Time in which offences are counted, and for which a peer is blocked.
const WINDOW: Duration = Duration::from_secs(600);

/// Offences within [`WINDOW`] that block a peer.
const BLOCK_AT: usize = 3;

/// Offenders remembered; the one whose last offence is longest ago is forgotten first.
const OFFENDERS_MAX: usize = 1024;

/// Points that an offence takes from the gossip score (see the thresholds in `gossip.rs`).
fn points(penalty: Penalty) -> f64 {
    match penalty {
        Penalty::TooSlow | Penalty::Flood => -15.0,
        Penalty::Malformed | Penalty::ForeignRecord | Penalty::SyncMismatch => -30.0,
        Penalty::BadSignature => -35.0,
        // gossipsub counts it itself; twice would make it deaf to the third offence, which blocks.
        Penalty::Rejected => 0.0,
    }
}

/// What follows of an offence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sentence {
    /// The application's part of the gossip score.
    pub(super) score: f64,
    /// Whether the peer is to be blocked.
    pub(super) block: bool,
}

/// The offences of the last ten minutes.
#[derive(Default)]
pub(super) struct Offences {
    offenders: BTreeMap<PeerId, Vec<(Instant, f64)>>,
    blocked: BTreeMap<PeerId, Instant>,
}

impl Offences {
    /// Notes an offence.
    pub(super) fn add(&mut self, peer: PeerId, penalty: Penalty, now: Instant) -> Sentence {
        if self.offenders.len() >= OFFENDERS_MAX && !self.offenders.contains_key(&peer) {
            let last = |list: &Vec<(Instant, f64)>| list.last().map(|(at, _)| *at);
            let oldest = self.offenders.iter().min_by_key(|(_, list)| last(list)).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.offenders.remove(&oldest));
        }
        let list = self.offenders.entry(peer).or_default();
        list.retain(|(at, _)| *at + WINDOW > now);
        list.push((now, points(penalty)));
        let sentence =
            Sentence { score: list.iter().map(|(_, points)| points).sum(), block: list.len() >= BLOCK_AT };
        if sentence.block {
            self.offenders.remove(&peer);
            self.blocked.insert(peer, now + WINDOW);
        }
        sentence
    }

    /// Who is blocked.
    pub(super) fn blocked(&self) -> impl Iterator<Item = &PeerId> {
        self.blocked.keys()
    }

    /// Whether it is blocked.
    pub(super) fn has_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains_key(peer)
    }

    /// Whose time is over: to be unblocked, or whose score is to be given back.
    pub(super) fn pardon(&mut self, now: Instant) -> Vec<PeerId> {
        let free: Vec<PeerId> =
            self.blocked.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        self.blocked.retain(|_, until| *until > now);
        let old = |list: &Vec<(Instant, f64)>| list.iter().all(|(at, _)| *at + WINDOW <= now);
        let forgiven: Vec<PeerId> =
            self.offenders.iter().filter(|(_, list)| old(list)).map(|(peer, _)| *peer).collect();
        self.offenders.retain(|_, list| !old(list));
        free.into_iter().chain(forgiven).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_offences_in_ten_minutes_block_for_ten_minutes() {
        let (mut offences, now, peer) = (Offences::default(), Instant::now(), PeerId::random());
        let late = now + WINDOW;
        assert!(!offences.add(peer, Penalty::Malformed, now).block);
        assert!(!offences.add(peer, Penalty::Malformed, now).block);
        let third = offences.add(peer, Penalty::Malformed, late);
        assert_eq!(third, Sentence { score: -30.0, block: false }, "the first two are forgotten");
        assert!(!offences.add(peer, Penalty::TooSlow, late).block);
        assert!(offences.add(peer, Penalty::TooSlow, late).block);
        assert!(offences.pardon(late).is_empty());
        assert_eq!(offences.pardon(late + WINDOW), [peer]);
    }

    #[tokio::test]
    async fn offenders_are_bounded() {
        let (mut offences, now) = (Offences::default(), Instant::now());
        for _ in 0..OFFENDERS_MAX + 10 {
            offences.add(PeerId::random(), Penalty::Flood, now);
        }
        assert_eq!(offences.offenders.len(), OFFENDERS_MAX);
    }
}
