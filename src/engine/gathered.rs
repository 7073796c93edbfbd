//! Changes of the directory that wait for more of a repair, to be committed together with it.

use crate::roaming::Now;
use crate::roaming::change::DirectoryChange;

/// While a repair is written, changes gather up to this number of records, 3 MB ...
const GATHERED_RECORDS_MAX: usize = 2_048;

/// ... or for this long in milliseconds, and are committed together: a commit writes every page that it
/// touched, and the pages of indexes are touched anew by each slice of some hundred records.
const GATHERED_MS_MAX: u64 = 200;

/// Changes of the directory that are not with storage yet.
#[derive(Default)]
pub(super) struct Gathered {
    changes: Vec<DirectoryChange>,
    records: usize,
    since_ms: u64,
}

impl Gathered {
    /// Adds the changes of a round.
    pub(super) fn add(&mut self, changes: Vec<DirectoryChange>, now: Now) {
        if self.changes.is_empty() {
            self.since_ms = now.mono_ms;
        }
        let records = |change: &DirectoryChange| match change {
            DirectoryChange::Records { records, .. } => records.len(),
            _ => 1,
        };
        self.records += changes.iter().map(records).sum::<usize>();
        self.changes.extend(changes);
    }

    /// Whether they are too many, or the oldest is too old, to wait for more.
    pub(super) fn is_full(&self, now: Now) -> bool {
        self.records >= GATHERED_RECORDS_MAX || self.since_ms + GATHERED_MS_MAX <= now.mono_ms
    }

    /// All of them, in order; empty if there are none.
    pub(super) fn take(&mut self) -> Vec<DirectoryChange> {
        std::mem::take(self).changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_gather_until_they_are_many_or_old() {
        let key = crate::oicp::id::EvseKey::parse_canonical("CHABCE1").unwrap();
        let change = || DirectoryChange::Conflict {
            key: key.clone(),
            kind: crate::protocol::Kind::Data,
            shown: None,
            claimed_by: Vec::new(),
        };
        let at = |mono_ms| Now { unix_ms: 1, mono_ms };
        let mut gathered = Gathered::default();
        gathered.add(Vec::new(), at(1));
        gathered.add(vec![change()], at(1_000));
        gathered.add(vec![change()], at(1_100));
        assert!(!gathered.is_full(at(999 + GATHERED_MS_MAX)));
        assert!(gathered.is_full(at(1_000 + GATHERED_MS_MAX)), "the oldest counts");
        gathered.add((0..GATHERED_RECORDS_MAX).map(|_| change()).collect(), at(1_100));
        assert!(gathered.is_full(at(1_100)));
        assert_eq!(gathered.take().len(), GATHERED_RECORDS_MAX + 2);
        assert!(gathered.take().is_empty());
        gathered.add(vec![change()], at(5_000));
        assert!(!gathered.is_full(at(5_000)), "counted from nothing again");
    }
}
