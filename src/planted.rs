//! Bugs on purpose: they show that the simulation finds such bugs. Without the feature `planted`, which no
//! node is built with, `planted` is a constant `false` and nothing of them is left.
//!
//! Each is one wrong line at a place where a real one could be. One at most is switched on, for the whole
//! process: by [`plant`], or by building with the feature of its name.

#[cfg(feature = "planted")]
use std::sync::atomic::{AtomicU8, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// After a restart a node no longer knows which heads it has taken of others' feeds, so an older one
    /// counts again.
    DedupLostOnCrash = 1,
    /// Changes that begin beyond what is held are taken without a repair.
    GapIgnored,
    /// Records are believed without comparing their root with the signed one: in announcements, in repairs
    /// and in what the disk gives back.
    RootNotChecked,
    /// The head that came last counts, not the newest.
    StaleHeadAccepted,
    /// A deletion that was missed, and comes with a repair, is not done.
    TombstoneForgotten,
    /// The ledger is written without waiting for the disk.
    LedgerNotSynced,
    /// Heads are not compared with peers: what gossip lost stays lost.
    PeersNotCompared,
    /// A start that is asked for again while it is in doubt begins another session.
    RetryNotJoined,
    /// After a restart a node no longer knows the starts that its backend was being asked about.
    SessionForgotten,
    /// EMPs whose session it is not are never told.
    ReleaseNotSent,
    /// What a backend answers after the asker's deadline counts for nothing.
    LateAnswerDropped,
    /// A charge detail record that comes again is not known any more.
    CdrDedupeForgotten,
    /// After a restart a node no longer sends the charge detail records that wait for their partners.
    OutboxForgotten,
    /// A start of which no backend was there to hear that it succeeded is told to nobody.
    UnheardForgotten,
}

/// All bugs with their names; the feature of each is its name after `planted-`.
pub const BUGS: [(&str, Bug); 14] = [
    ("dedup-lost-on-crash", Bug::DedupLostOnCrash),
    ("gap-ignored", Bug::GapIgnored),
    ("root-not-checked", Bug::RootNotChecked),
    ("stale-head-accepted", Bug::StaleHeadAccepted),
    ("tombstone-forgotten", Bug::TombstoneForgotten),
    ("ledger-not-synced", Bug::LedgerNotSynced),
    ("peers-not-compared", Bug::PeersNotCompared),
    ("retry-not-joined", Bug::RetryNotJoined),
    ("session-forgotten", Bug::SessionForgotten),
    ("release-not-sent", Bug::ReleaseNotSent),
    ("late-answer-dropped", Bug::LateAnswerDropped),
    ("cdr-dedupe-forgotten", Bug::CdrDedupeForgotten),
    ("outbox-forgotten", Bug::OutboxForgotten),
    ("unheard-forgotten", Bug::UnheardForgotten),
];

/// Why no bug was planted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlantError {
    /// There is no such bug.
    #[error("there is no bug `{0}` to plant: see `chargemesh::planted::BUGS`")]
    Unknown(String),
    /// This program was built without them.
    #[error("this program has no bugs to plant: build it with `--features planted`")]
    NotBuiltIn,
}

#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(from_the_start());

/// The bug whose feature is on; 0: none.
#[cfg(feature = "planted")]
const fn from_the_start() -> u8 {
    if cfg!(feature = "planted-dedup-lost-on-crash") {
        Bug::DedupLostOnCrash as u8
    } else if cfg!(feature = "planted-gap-ignored") {
        Bug::GapIgnored as u8
    } else if cfg!(feature = "planted-root-not-checked") {
        Bug::RootNotChecked as u8
    } else if cfg!(feature = "planted-stale-head-accepted") {
        Bug::StaleHeadAccepted as u8
    } else if cfg!(feature = "planted-tombstone-forgotten") {
        Bug::TombstoneForgotten as u8
    } else if cfg!(feature = "planted-ledger-not-synced") {
        Bug::LedgerNotSynced as u8
    } else if cfg!(feature = "planted-peers-not-compared") {
        Bug::PeersNotCompared as u8
    } else if cfg!(feature = "planted-retry-not-joined") {
        Bug::RetryNotJoined as u8
    } else if cfg!(feature = "planted-session-forgotten") {
        Bug::SessionForgotten as u8
    } else if cfg!(feature = "planted-release-not-sent") {
        Bug::ReleaseNotSent as u8
    } else if cfg!(feature = "planted-late-answer-dropped") {
        Bug::LateAnswerDropped as u8
    } else if cfg!(feature = "planted-cdr-dedupe-forgotten") {
        Bug::CdrDedupeForgotten as u8
    } else if cfg!(feature = "planted-outbox-forgotten") {
        Bug::OutboxForgotten as u8
    } else if cfg!(feature = "planted-unheard-forgotten") {
        Bug::UnheardForgotten as u8
    } else {
        0
    }
}

/// Switches a bug on for this process, and any other off. To be called before a node starts.
///
/// # Errors
/// [`PlantError`]: there is no bug of that name, or none was compiled in.
pub fn plant(name: &str) -> Result<(), PlantError> {
    let found = BUGS.iter().find(|(other, _)| *other == name);
    let (_, bug) = found.ok_or_else(|| PlantError::Unknown(name.to_owned()))?;
    switch_on(*bug)
}

#[cfg(feature = "planted")]
fn switch_on(bug: Bug) -> Result<(), PlantError> {
    PLANTED.store(bug as u8, Ordering::Relaxed);
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn switch_on(_: Bug) -> Result<(), PlantError> {
    Err(PlantError::NotBuiltIn)
}

/// Whether this bug is switched on.
#[cfg(feature = "planted")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}

/// Whether this bug is switched on: never.
#[cfg(not(feature = "planted"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_feature_of_its_name() {
        let manifest = include_str!("../Cargo.toml");
        for (name, _) in BUGS {
            assert!(manifest.contains(&format!("planted-{name} = [\"planted\"]")), "{name} has no feature");
        }
    }

    #[test]
    fn an_unknown_bug_is_not_planted() {
        assert_eq!(plant("none-such"), Err(PlantError::Unknown("none-such".to_owned())));
    }
}
