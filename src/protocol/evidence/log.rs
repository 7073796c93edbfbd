//! The hashes of the log: what an entry says, where it stands, and how few entries lead from one to another.

use sha2::{Digest as _, Sha256};

use super::{Direction, EvidenceStep};
use crate::protocol::Digest;

/// Bytes of a salt: what a message of few possible contents is hashed with cannot be guessed.
pub const SALT_BYTES: usize = 16;

/// What stands before the content of an entry, and before its place, where they are hashed.
const LEAF: &[u8] = b"chargemesh evidence leaf 1";
const ENTRY: &[u8] = b"chargemesh evidence entry 1";

/// SHA-256 of salt and message: what stays when both are deleted.
pub fn content_hash(salt: &[u8; SALT_BYTES], message: &[u8]) -> Digest {
    Sha256::new().chain_update(salt).chain_update(message).finalize().into()
}

/// What an entry says: when, which way, about which session, and the hash of the message.
pub fn leaf_hash(at_unix_ms: u64, direction: Direction, session: &str, content_hash: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(LEAF);
    hasher.update(at_unix_ms.to_be_bytes());
    hasher.update([direction as u8]);
    hasher.update((session.len() as u64).to_be_bytes());
    hasher.update(session);
    hasher.update(content_hash);
    hasher.finalize().into()
}

impl EvidenceStep {
    /// The hash of the entry.
    pub fn hash(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(ENTRY);
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.previous);
        hasher.update(self.skipped);
        hasher.update(self.leaf);
        hasher.finalize().into()
    }
}

/// Which entry's hash an entry holds besides that of the one before it: its number without its lowest bit. Number 0
/// stands for the beginning; its hash is zero.
pub fn skips_to(number: u64) -> u64 {
    number & number.wrapping_sub(1)
}

/// An entry by number and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Its number; 0: nothing was logged yet.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
}

/// The last entry of a log, and the few before it that later entries will name: at most 64.
#[derive(Clone, Debug, Default)]
pub struct LogTail(Vec<LogHead>);

impl LogTail {
    /// From the entries at the numbers of [`LogTail::numbers`], in any order.
    pub fn restore(mut heads: Vec<LogHead>) -> LogTail {
        heads.sort_by_key(|head| head.number);
        heads.dedup_by_key(|head| head.number);
        LogTail(heads)
    }

    /// The numbers of the entries that a tail consists of, if `last` is the last one.
    pub fn numbers(last: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(last), |number| Some(skips_to(*number))).take_while(|number| *number > 0)
    }

    /// The last entry.
    pub fn head(&self) -> LogHead {
        self.0.last().copied().unwrap_or_default()
    }

    /// Appends an entry that says this, and returns it with its place.
    pub fn append(&mut self, leaf: Digest) -> EvidenceStep {
        let before = self.head();
        let number = before.number + 1;
        while self.0.last().is_some_and(|head| head.number > skips_to(number)) {
            self.0.pop();
        }
        let step = EvidenceStep { number, leaf, previous: before.hash, skipped: self.head().hash };
        self.0.push(LogHead { number, hash: step.hash() });
        step
    }
}

/// The numbers of the entries that lead from the last entry to all of `targets` (ascending), without these: each names
/// the next by the entry before it or the one that it skips to. Ascending; for each target at most some dozens.
pub fn log_path(last: u64, targets: &[u64]) -> Vec<u64> {
    let mut path = Vec::new();
    let mut at = last;
    for target in targets.iter().rev().copied().filter(|target| *target <= last) {
        while at > target {
            if targets.binary_search(&at).is_err() {
                path.push(at);
            }
            at = if skips_to(at) >= target { skips_to(at) } else { at - 1 };
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> Digest {
        Sha256::digest(number.to_be_bytes()).into()
    }

    fn log(length: u64) -> Vec<EvidenceStep> {
        let mut tail = LogTail::default();
        (1..=length).map(|number| tail.append(leaf(number))).collect()
    }

    #[test]
    fn each_entry_names_the_one_before_it_and_the_one_it_skips_to() {
        let steps = log(300);
        let hash = |number: u64| if number == 0 { [0; 32] } else { steps[number as usize - 1].hash() };
        for step in &steps {
            assert_eq!((step.previous, step.skipped), (hash(step.number - 1), hash(skips_to(step.number))));
        }
    }

    #[test]
    fn a_restored_tail_goes_on_as_the_old_one_would() {
        let steps = log(200);
        let mut whole = LogTail::default();
        for (at, step) in steps.iter().enumerate() {
            let last = at as u64;
            let heads = LogTail::numbers(last)
                .map(|number| LogHead { number, hash: steps[number as usize - 1].hash() });
            let mut restored = LogTail::restore(heads.collect());
            assert_eq!(restored.append(step.leaf), *step);
            whole.append(step.leaf);
        }
    }

    #[test]
    fn the_path_leads_to_every_target_and_is_short() {
        for last in [1, 2, 3, 63, 64, 65, 1_000_000, 1_048_575] {
            for target in [1, 2, 3, 7, 8, last / 2 + 1, last - last / 3, last] {
                if target > last {
                    continue;
                }
                let path = log_path(last, &[target]);
                assert!(path.len() < 220, "{last} {target}: {}", path.len());
                let mut at = last;
                for number in path.iter().rev() {
                    assert_eq!(*number, at);
                    at = if skips_to(at) >= target { skips_to(at) } else { at - 1 };
                }
                assert_eq!(at, target);
            }
        }
        assert_eq!(log_path(10, &[4, 7, 10]), [6, 8]);
        assert!(log_path(0, &[]).is_empty());
    }
}
