//! How calls of the hub went last, for people who ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Characters of an error that are kept.
const WHY_CHARACTERS_MAX: usize = 300;

/// How calls of one operation went last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastCalls {
    /// When the hub last answered as it should, in unix milliseconds; a refusal of what was asked is an answer.
    pub answered_unix_ms: Option<u64>,
    /// When a call last failed, in unix milliseconds, and why.
    pub failed: Option<(u64, String)>,
}

/// The same for every operation that was called; clones are the same log. It has as many entries as there are
/// operations.
#[derive(Clone, Debug, Default)]
pub struct CallLog(Arc<Mutex<BTreeMap<&'static str, LastCalls>>>);

impl CallLog {
    /// The hub answered at a time in unix milliseconds.
    pub fn answered(&self, operation: &'static str, at_unix_ms: u64) {
        self.of(operation, |last| last.answered_unix_ms = last.answered_unix_ms.max(Some(at_unix_ms)));
    }

    /// A call failed at a time in unix milliseconds.
    pub fn failed(&self, operation: &'static str, at_unix_ms: u64, why: &str) {
        let why = why.chars().take(WHY_CHARACTERS_MAX).collect();
        self.of(operation, |last| last.failed = Some((at_unix_ms, why)));
    }

    /// What was called, by the name of the operation.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, LastCalls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(&self, operation: &'static str, change: impl FnOnce(&mut LastCalls)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_and_the_last_failure_are_kept() {
        let log = CallLog::default();
        log.answered("PullEvseData", 7);
        log.clone().failed("PullEvseData", 9, &"x".repeat(2 * WHY_CHARACTERS_MAX));
        // What was known before a restart is no news.
        log.answered("PullEvseData", 5);
        let all = log.all();
        let last = &all["PullEvseData"];
        assert_eq!(last.answered_unix_ms, Some(7));
        assert_eq!(last.failed.as_ref().map(|(at, why)| (*at, why.len())), Some((9, WHY_CHARACTERS_MAX)));
        assert_eq!(all.len(), 1);
    }
}
