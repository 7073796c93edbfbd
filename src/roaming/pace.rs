//! How fast a peer may ask for heads: the one question that costs much more to answer than to ask. Every
//! node keeps to one a second (`compare.rs`), so who is far beyond that is at fault for everybody.

use std::collections::BTreeMap;

use crate::protocol::NodeId;

/// What one question costs, in milliseconds: twice as many as any node asks.
const COST_MS: u64 = 500;

/// How far a peer may be ahead, in milliseconds: what was asked while a link stood still comes at once. Pings end
/// such a link within 50 s, in which a node asks for heads 5 to 10 times and for the time once.
const AHEAD_MS_MAX: u64 = 30_000;

/// Paid-up peers are forgotten when there are more than this many.
const PEERS_MAX: usize = 1_024;

/// What each peer has asked lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Until when a peer has used up its share, on the monotonic clock.
    used_until_ms: BTreeMap<NodeId, u64>,
}

impl Pace {
    /// Counts a question, and says whether it is within the limit.
    pub(super) fn admits(&mut self, peer: &NodeId, now_ms: u64) -> bool {
        if self.used_until_ms.len() >= PEERS_MAX {
            self.used_until_ms.retain(|_, until_ms| *until_ms > now_ms);
        }
        let until_ms = self.used_until_ms.get(peer).copied().unwrap_or(0).max(now_ms) + COST_MS;
        if until_ms > now_ms + AHEAD_MS_MAX {
            return false;
        }
        self.used_until_ms.insert(peer.clone(), until_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let (mut pace, [one, two]) = (Pace::default(), [1, 2].map(|n| NodeId::from_bytes(&[n]).unwrap()));
        let taken = (0..200).filter(|_| pace.admits(&one, 5_000)).count() as u64;
        assert_eq!(taken, AHEAD_MS_MAX / COST_MS);
        assert!(pace.admits(&two, 5_000), "each for itself");
        let steady = (1..=600).all(|second| pace.admits(&two, 5_000 + second * 1_000));
        assert!(steady, "one a second for ever");
        assert!(pace.admits(&one, 6_000));
    }
}
