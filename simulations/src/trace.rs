//! What happened, as one number: two runs are the same if their hashes are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::determinism::elapsed;
use crate::network::NodeNumber;

/// FNV-1a (Fowler, Noll, Vo), 64 bits: every event is hashed, so it must be cheap.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[derive(Debug)]
struct Hashed {
    hash: u64,
    events: u64,
}

/// The trace of a run; a cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Mutex<Hashed>>);

impl Default for Trace {
    fn default() -> Trace {
        Trace(Arc::new(Mutex::new(Hashed { hash: OFFSET, events: 0 })))
    }
}

impl Hashed {
    fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(PRIME).rotate_left(5);
    }
}

impl Trace {
    /// Bytes arrived. They are encrypted with keys that follow from the seed, so they tell of everything.
    pub(crate) fn delivered(&self, from: NodeNumber, to: NodeNumber, bytes: &[u8]) {
        let mut hashed = self.begin();
        hashed.word(u64::from(from) << 32 | u64::from(to));
        hashed.word(bytes.len() as u64);
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            hashed.word(u64::from_le_bytes(word));
        }
    }

    /// Something happened in the world.
    pub(crate) fn event(&self, text: &str) {
        tracing::info!(target: "world", "{text}");
        let mut hashed = self.begin();
        text.bytes().for_each(|byte| hashed.word(byte.into()));
    }

    fn begin(&self) -> MutexGuard<'_, Hashed> {
        let mut hashed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.events += 1;
        let now = elapsed();
        hashed.word(now.as_nanos() as u64);
        hashed
    }

    /// The hash so far, and how many events it is over.
    pub(crate) fn hash(&self) -> (u64, u64) {
        let hashed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (hashed.hash, hashed.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else two runs that differ would look the same.
    #[test]
    fn another_delivery_is_another_hash() {
        let hash = |from, to, bytes: &[u8]| {
            let trace = Trace::default();
            trace.event("start");
            trace.delivered(from, to, bytes);
            trace.hash().0
        };
        let one = hash(1, 2, b"a message");
        assert_eq!(hash(1, 2, b"a message"), one);
        for other in [hash(2, 1, b"a message"), hash(1, 2, b"a massage"), hash(1, 2, b"a message\0")] {
            assert_ne!(other, one);
        }
    }
}
