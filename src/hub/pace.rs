//! How often the hub may be called, and how long to wait after it failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::HubLimits;

/// Window of the hub's limits, and a second more: its clock and ours see the calls at other times.
const WINDOW_MS: u64 = 61_000;
/// First wait after a failure.
const WAIT_MIN_MS: u64 = 1_000;
/// Longest wait after failures, in milliseconds: five minutes.
const WAIT_MAX_MS: u64 = 300_000;

/// A call that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    PushData,
    PushStatus,
    PullData,
    PullStatus,
    PullStatusByOperator,
}

impl Call {
    pub(super) const ALL: [Call; 5] =
        [Call::PushData, Call::PushStatus, Call::PullData, Call::PullStatus, Call::PullStatusByOperator];

    /// The label of a metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Call::PushData => "PushEvseData",
            Call::PushStatus => "PushEvseStatus",
            Call::PullData => "PullEvseData",
            Call::PullStatus => "PullEvseStatus",
            Call::PullStatusByOperator => "PullEvseStatusByOperatorId",
        }
    }

    fn limit(self, limits: &HubLimits) -> u32 {
        match self {
            Call::PushData => limits.push_data,
            Call::PushStatus => limits.push_status,
            Call::PullData => limits.pull_data,
            Call::PullStatus => limits.pull_status,
            Call::PullStatusByOperator => limits.pull_status_by_operator_id,
        }
    }
}

/// When calls were made in the last minute.
pub(super) struct Pace {
    limits: HubLimits,
    /// By the monotonic clock, the oldest first; as many as the limit at most.
    calls: Mutex<BTreeMap<Call, VecDeque<u64>>>,
}

impl Pace {
    pub(super) fn new(limits: HubLimits) -> Pace {
        Pace { limits, calls: Mutex::default() }
    }

    /// Counts a call now, or says how long to wait before asking again.
    pub(super) fn take(&self, call: Call, now_mono_ms: u64) -> Result<(), Duration> {
        let limit = call.limit(&self.limits) as usize;
        if limit == 0 {
            return Ok(());
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let times = calls.entry(call).or_default();
        while times.front().is_some_and(|at| now_mono_ms.saturating_sub(*at) >= WINDOW_MS) {
            times.pop_front();
        }
        match times.front() {
            Some(oldest) if times.len() >= limit => {
                Err(Duration::from_millis((oldest + WINDOW_MS).saturating_sub(now_mono_ms).max(1)))
            }
            _ => {
                times.push_back(now_mono_ms);
                Ok(())
            }
        }
    }
}

/// Waits that double with each failure, with jitter, so that many nodes do not come back at once.
pub(super) struct BackOff {
    failures: u32,
    random: u64,
}

impl BackOff {
    pub(super) fn new(seed: u64) -> BackOff {
        BackOff { failures: 0, random: seed }
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed once more: how long to wait, half of it at random.
    pub(super) fn failed(&mut self) -> Duration {
        let whole = WAIT_MIN_MS.saturating_mul(1 << self.failures.min(20)).min(WAIT_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        // SplitMix64: jitter needs no more.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let half = whole / 2;
        Duration::from_millis(half + (mixed ^ (mixed >> 31)) % half.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_calls_than_the_limit() {
        let pace = Pace::new(HubLimits { pull_data: 3, pull_status: 0, ..HubLimits::default() });
        for now in [0, 10_000, 20_000] {
            assert_eq!(pace.take(Call::PullData, now), Ok(()));
        }
        assert_eq!(pace.take(Call::PullData, 30_000), Err(Duration::from_millis(31_000)));
        assert_eq!(pace.take(Call::PullData, 61_000), Ok(()));
        assert_eq!(pace.take(Call::PullData, 61_001), Err(Duration::from_millis(9_999)));
        assert!((0..10_000).all(|_| pace.take(Call::PullStatus, 0).is_ok()), "0 is no limit");
    }

    #[test]
    fn waits_double_and_never_exceed_their_maximum() {
        let mut back_off = BackOff::new(7);
        let waits: Vec<u64> = (0..12).map(|_| back_off.failed().as_millis() as u64).collect();
        for (index, wait) in waits.iter().enumerate() {
            let whole = (WAIT_MIN_MS << index).min(WAIT_MAX_MS);
            assert!((whole / 2..whole).contains(wait), "{waits:?}");
        }
        back_off.reset();
        assert!(back_off.failed() < Duration::from_millis(WAIT_MIN_MS));
    }
}
