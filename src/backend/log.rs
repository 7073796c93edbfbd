//! What happened at a backend, kept within bounds, for people and tests that wait for the next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::behaviour::Behaviour;
use super::operation::Operation;

/// Most entries that are remembered; the oldest are forgotten first. Five for each of 2,000 sessions.
pub const ENTRIES_MAX: usize = 10_000;
/// Most bytes of bodies that are remembered.
pub const BYTES_MAX: usize = 32 * 1024 * 1024;

/// A request that a backend took. `Debug` shows no body: it may hold card numbers and contracts.
#[derive(Clone)]
pub struct Received {
    /// What was asked.
    pub operation: Operation,
    /// The path as it came.
    pub path: String,
    /// The body as it came. Personal data: never log it above DEBUG.
    pub body: Bytes,
    /// When its last byte had come, in milliseconds since 1970 by the clock of the configuration.
    pub at: u64,
    /// The session that it names.
    pub session: Option<String>,
    /// The charging point that it names.
    pub evse: Option<String>,
    /// How it was treated.
    pub behaviour: Behaviour,
    /// What the backend is about to answer, for people: `000 Success`, `no answer`.
    pub answer: String,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("operation", &self.operation)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("at", &self.at)
            .field("session", &self.session)
            .field("evse", &self.evse)
            .field("behaviour", &self.behaviour)
            .field("answer", &self.answer)
            .finish()
    }
}

/// A message that a CPO's backend sent to its node for a session that it plays.
#[derive(Clone, Debug)]
pub struct Sent {
    /// `notification Start`, `cdr`, …
    pub what: &'static str,
    /// The session.
    pub session: String,
    /// When the answer had come, in milliseconds since 1970.
    pub at: u64,
    /// Whether it was answered positively.
    pub accepted: bool,
    /// What the node answered, or why it did not, for people.
    pub answer: String,
}

/// A bounded log with one reader's place in it.
pub(super) struct Log<T> {
    kept: Mutex<Kept<T>>,
    grown: watch::Sender<u64>,
}

struct Kept<T> {
    entries: VecDeque<(usize, T)>,
    bytes: usize,
    /// How many of the entries have been given out.
    given: usize,
}

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Log<T> {
        let kept = Kept { entries: VecDeque::new(), bytes: 0, given: 0 };
        Log { kept: Mutex::new(kept), grown: watch::Sender::new(0) }
    }

    /// Adds an entry whose size counts as `bytes`.
    pub(super) fn add(&self, entry: T, bytes: usize) {
        let mut kept = self.kept();
        kept.entries.push_back((bytes, entry));
        kept.bytes = kept.bytes.saturating_add(bytes);
        while kept.entries.len() > ENTRIES_MAX || kept.bytes > BYTES_MAX {
            let Some((bytes, _)) = kept.entries.pop_front() else { break };
            kept.bytes = kept.bytes.saturating_sub(bytes);
            kept.given = kept.given.saturating_sub(1);
        }
        drop(kept);
        self.grown.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The first entry that was not given out yet; waits for it. Nothing is lost if the wait is given up.
    pub(super) async fn next(&self) -> T {
        let mut grown = self.grown.subscribe();
        loop {
            if let Some(entry) = self.given() {
                return entry;
            }
            if grown.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// All that is remembered, the oldest first.
    pub(super) fn all(&self) -> Vec<T> {
        self.kept().entries.iter().map(|(_, entry)| entry.clone()).collect()
    }

    fn given(&self) -> Option<T> {
        let mut kept = self.kept();
        let (_, entry) = kept.entries.get(kept.given)?;
        let entry = entry.clone();
        kept.given += 1;
        Some(entry)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_is_forgotten_and_the_reader_goes_on() {
        let log = Log::new();
        for number in 0..ENTRIES_MAX + 5 {
            log.add(number, 1);
        }
        assert_eq!((log.all().len(), log.next().await, log.next().await), (ENTRIES_MAX, 5, 6));
        log.add(7, BYTES_MAX);
        assert_eq!((log.all(), log.next().await), (vec![7], 7));
        // Larger than all: not even kept.
        log.add(8, BYTES_MAX + 1);
        assert_eq!(log.all(), Vec::<usize>::new());
        let (next, ()) = tokio::join!(log.next(), async { log.add(9, 0) });
        assert_eq!(next, 9);
    }
}
