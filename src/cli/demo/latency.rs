//! How long a change takes from the start of its push until an EMP's node shows it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chargemesh::engine::Applied;
use chargemesh::oicp::id::EvseKey;
use chargemesh::protocol::Kind;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// Most measured values kept, the newest; a day's trace at three EMPs has 98,000.
const SAMPLES_MAX: usize = 200_000;

/// Most changes of one EVSE that wait to be seen; older ones are superseded.
const WAITING_PER_EVSE_MAX: usize = 16;

/// A change that not every EMP has shown yet.
struct Waiting {
    started: Instant,
    started_unix_ms: u64,
    /// One bit for each EMP that has not shown it.
    unseen: u64,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<EvseKey, Vec<Waiting>>,
    samples: VecDeque<Duration>,
    missed: u64,
}

/// Measures; clones measure into the same.
#[derive(Clone)]
pub(super) struct Latencies {
    inner: Arc<Mutex<Inner>>,
    all: u64,
}

impl Latencies {
    /// For so many EMPs, at most 64.
    pub(super) fn new(emps: usize) -> Latencies {
        let all = (0..emps.min(64)).fold(0, |bits, place| bits | 1 << place);
        Latencies { inner: Arc::default(), all }
    }

    /// A push of these EVSEs' statuses begins.
    pub(super) fn begin<'k>(&self, keys: impl Iterator<Item = &'k EvseKey>, started_unix_ms: u64) {
        let started = Instant::now();
        let mut inner = self.inner();
        for key in keys {
            let waiting = inner.waiting.entry(key.clone()).or_default();
            if waiting.len() >= WAITING_PER_EVSE_MAX {
                waiting.remove(0);
            }
            waiting.push(Waiting { started, started_unix_ms, unseen: self.all });
        }
    }

    /// The push was refused: nobody will see it.
    pub(super) fn refused<'k>(&self, keys: impl Iterator<Item = &'k EvseKey>) {
        let mut inner = self.inner();
        for key in keys {
            if let Some(waiting) = inner.waiting.get_mut(key) {
                waiting.pop();
            }
        }
    }

    /// An EMP shows a status that its writer took at `at_unix_ms`: with it, all that was pushed before.
    fn seen(&self, emp: usize, key: &EvseKey, at_unix_ms: u64, now: Instant) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let Some(waiting) = inner.waiting.get_mut(key) else { return };
        let bit = 1_u64.checked_shl(emp as u32).unwrap_or(0);
        for one in waiting.iter_mut() {
            if one.started_unix_ms <= at_unix_ms && one.unseen & bit != 0 {
                one.unseen &= !bit;
                if inner.samples.len() >= SAMPLES_MAX {
                    inner.samples.pop_front();
                }
                inner.samples.push_back(now.saturating_duration_since(one.started));
            }
        }
        waiting.retain(|one| one.unseen != 0);
        if waiting.is_empty() {
            inner.waiting.remove(key);
        }
    }

    /// Follows one EMP until its node stops.
    pub(super) async fn watch(self, emp: usize, mut applied: broadcast::Receiver<Applied>) {
        loop {
            match applied.recv().await {
                Ok(changes) => {
                    let statuses = changes.iter().filter(|change| change.kind == Kind::Status);
                    statuses
                        .for_each(|change| self.seen(emp, &change.key, change.at_unix_ms, Instant::now()));
                }
                Err(RecvError::Lagged(missed)) => self.inner().missed += missed,
                Err(RecvError::Closed) => break,
            }
        }
    }

    /// What was measured so far.
    pub(super) fn summary(&self) -> Summary {
        let inner = self.inner();
        let mut samples: Vec<Duration> = inner.samples.iter().copied().collect();
        let open = inner.waiting.values().flatten().map(|one| u64::from(one.unseen.count_ones())).sum();
        let missed = inner.missed;
        drop(inner);
        samples.sort_unstable();
        Summary {
            p50: percentile(&samples, 50),
            p99: percentile(&samples, 99),
            count: samples.len(),
            open,
            missed,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Latencies in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Half of all are not above it.
    pub(super) p50: Option<Duration>,
    /// 99 of 100 are not above it.
    pub(super) p99: Option<Duration>,
    /// How many were measured.
    pub(super) count: usize,
    /// Changes times EMPs that were not seen.
    pub(super) open: u64,
    /// Pieces of changes that came too fast to be looked at.
    pub(super) missed: u64,
}

/// The smallest value that so many of a hundred values do not exceed (nearest rank); `sorted` ascends.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> EvseKey {
        EvseKey::parse_canonical(text).unwrap()
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let ms = |n: u64| Duration::from_millis(n);
        let hundred: Vec<Duration> = (1..=100).map(ms).collect();
        assert_eq!(percentile(&hundred, 50), Some(ms(50)));
        assert_eq!(percentile(&hundred, 99), Some(ms(99)));
        assert_eq!(percentile(&[ms(7)], 50), Some(ms(7)));
        assert_eq!(percentile(&[ms(1), ms(2)], 99), Some(ms(2)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn every_emp_counts_and_a_later_version_brings_the_earlier() {
        let latencies = Latencies::new(2);
        let (one, other) = (key("CHABCE1"), key("CHABCE2"));
        latencies.begin([&one, &other].into_iter(), 1_000);
        latencies.begin([&one].into_iter(), 2_000);
        let now = Instant::now();
        latencies.seen(0, &one, 900, now);
        assert_eq!(latencies.summary().count, 0, "an older version is not what was pushed");
        latencies.seen(0, &one, 2_000, now);
        assert_eq!(latencies.summary().count, 2);
        latencies.seen(0, &one, 2_000, now);
        latencies.seen(1, &one, 1_000, now);
        let summary = latencies.summary();
        assert_eq!((summary.count, summary.open), (3, 3));
        latencies.refused([&other].into_iter());
        assert_eq!(latencies.summary().open, 1);
    }
}
