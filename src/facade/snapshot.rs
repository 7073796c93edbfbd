//! Which version the pages of one pull show (`decisions.md` 13, GAPS C8).
//!
//! Page 0 fixes the version; the pages that follow within some minutes are read as of it. Only version
//! numbers are remembered, never a read transaction.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::identity::PartyId;

/// A pull: who asks (backend number and party) and what (hash of the question without the page).
pub(super) type PullName = (usize, PartyId, [u8; 32]);

/// The name of a pull. `size` belongs to it, since another size cuts other pages.
pub(super) fn pull_name(backend: usize, party: &PartyId, body: &[u8], size: usize) -> PullName {
    let mut hasher = Sha256::new();
    hasher.update(size.to_be_bytes());
    hasher.update(body);
    (backend, party.clone(), hasher.finalize().into())
}

/// The versions of the pulls of the last minutes.
pub(super) struct Snapshots<V> {
    kept_for: Duration,
    max: usize,
    versions: Mutex<BTreeMap<PullName, (Instant, V)>>,
}

impl<V: Copy> Snapshots<V> {
    pub(super) fn new(kept_for: Duration, max: usize) -> Snapshots<V> {
        Snapshots { kept_for, max, versions: Mutex::new(BTreeMap::new()) }
    }

    /// The version that an earlier page of the pull fixed, unless this is page 0 or too much time has gone.
    pub(super) fn of(&self, pull: &PullName, page: usize) -> Option<V> {
        if page == 0 {
            return None;
        }
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, version) = versions.get_mut(pull)?;
        if used.elapsed() > self.kept_for {
            return None;
        }
        *used = Instant::now();
        Some(*version)
    }

    /// Remembers the version of a pull; the one unused for longest makes room.
    pub(super) fn keep(&self, pull: PullName, version: V) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.retain(|_, (used, _)| used.elapsed() <= self.kept_for);
        if versions.len() >= self.max && !versions.contains_key(&pull) {
            let oldest = versions.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                versions.remove(&oldest);
            }
        }
        versions.insert(pull, (Instant::now(), version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_share_a_version_for_some_minutes() {
        let party = PartyId::parse("EMP:DEDCB").unwrap();
        let snapshots = Snapshots::new(Duration::from_secs(60), 2);
        let first = pull_name(1, &party, b"question", 20);
        assert_eq!(snapshots.of(&first, 1), None);
        snapshots.keep(first.clone(), 5_u64);
        assert_eq!(snapshots.of(&first, 1), Some(5));
        assert_eq!(snapshots.of(&first, 0), None, "page 0 begins anew");
        assert_eq!(snapshots.of(&pull_name(1, &party, b"question", 21), 1), None);
        for number in 0..3_u8 {
            std::thread::sleep(Duration::from_millis(2));
            snapshots.keep(pull_name(2, &party, &[number], 20), 9);
        }
        assert_eq!(snapshots.of(&first, 1), None, "the oldest made room");

        let brief = Snapshots::new(Duration::from_millis(1), 2);
        brief.keep(first.clone(), 5_u64);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(brief.of(&first, 1), None, "too old");
    }
}
