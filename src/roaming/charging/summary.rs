//! Sessions as people see them: without media and without what was said.

use std::cmp::Reverse;

use crate::identity::PartyId;
use crate::protocol::{SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::Roaming;

/// Most sessions that a view shows: a screen or a test reads them, and each is some 300 bytes of JSON.
pub const SESSIONS_SHOWN_MAX: usize = 10_000;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    /// SessionID.
    pub session: String,
    /// What it began with.
    pub operation: SessionOperation,
    /// Our party.
    pub ours: PartyId,
    /// The other side; `None` while several are asked.
    pub partner: Option<PartyId>,
    /// How far it has come.
    pub phase: SessionPhase,
    /// When it began here, unix milliseconds.
    pub opened_unix_ms: u64,
    /// When it changed last, unix milliseconds.
    pub changed_unix_ms: u64,
}

impl Roaming {
    /// The sessions that changed last.
    pub(in crate::roaming) fn session_summaries(&self) -> Vec<SessionSummary> {
        let newest = |record: &&SessionRecord| Reverse(record.changed_unix_ms);
        let mut records: Vec<&SessionRecord> = self.sessions().collect();
        if records.len() > SESSIONS_SHOWN_MAX {
            records.select_nth_unstable_by_key(SESSIONS_SHOWN_MAX, newest);
            records.truncate(SESSIONS_SHOWN_MAX);
        }
        records.sort_by_key(newest);
        records.into_iter().map(summary).collect()
    }
}

fn summary(record: &SessionRecord) -> SessionSummary {
    SessionSummary {
        session: record.session.clone(),
        operation: record.operation,
        ours: record.ours.clone(),
        partner: record.partner.clone(),
        phase: record.phase,
        opened_unix_ms: record.opened_unix_ms,
        changed_unix_ms: record.changed_unix_ms,
    }
}
