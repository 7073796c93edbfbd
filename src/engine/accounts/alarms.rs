//! What needs somebody's attention: records that nobody takes, and sessions without a record.

use super::super::handle::Command;
use super::super::sessions::SessionView;
use super::{AccountError, Accounts, AccountsCommand};
use crate::protocol::CdrState;
use crate::storage::AttentionRow;

/// A record that was not taken is told of for so long, in milliseconds: longer, it is history.
const DENIED_FOR_MS: u64 = 30 * 86_400_000;

/// Alarms of one kind that are listed; their number is told.
const LISTED_MAX: usize = 100;

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// A record waits longer than it should for the partner's node or for our backend.
    CdrWaits,
    /// The EMP's backend rejected a record.
    CdrRejected,
    /// The EMP's node refused a record: another one of its session was taken, or there is no such session.
    CdrRefused,
    /// A session has had no record for too long.
    SessionWithoutCdr,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [AlarmKind; 4] =
        [AlarmKind::CdrWaits, AlarmKind::CdrRejected, AlarmKind::CdrRefused, AlarmKind::SessionWithoutCdr];

    /// The stable name, for metrics and scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmKind::CdrWaits => "cdr-waits",
            AlarmKind::CdrRejected => "cdr-rejected",
            AlarmKind::CdrRefused => "cdr-refused",
            AlarmKind::SessionWithoutCdr => "session-without-cdr",
        }
    }

    /// What it means and what to do, for people at the side of `party`, which is [`Alarm::party`].
    #[must_use]
    pub fn advice(self, party: &str) -> &'static str {
        if party.starts_with("EMP:") { self.advice_to_emp() } else { self.advice_to_cpo() }
    }

    fn advice_to_emp(self) -> &'static str {
        match self {
            AlarmKind::CdrRejected => {
                "our backend rejected a charge detail record: see there why, and ask the CPO for a correction"
            }
            AlarmKind::CdrRefused => {
                "this node refused a charge detail record, for another one of its session was taken or it knows no such \
                 session: compare both sides with `chargemesh reconcile`"
            }
            AlarmKind::SessionWithoutCdr => {
                "a session has had no charge detail record for long: ask the operator of the station whether it ended"
            }
            AlarmKind::CdrWaits => self.advice_to_cpo(),
        }
    }

    fn advice_to_cpo(self) -> &'static str {
        match self {
            AlarmKind::CdrWaits => {
                "a charge detail record waits for the partner's node or for a backend: is it connected \
                 (`chargemesh peers`), and does the backend answer? It is sent again by itself"
            }
            AlarmKind::CdrRejected => {
                "the EMP's backend rejected a charge detail record: ask the EMP why, and send a correction"
            }
            AlarmKind::CdrRefused => {
                "a charge detail record was refused, for another one of its session was taken or the EMP knows no such \
                 session: compare both sides with `chargemesh reconcile`"
            }
            AlarmKind::SessionWithoutCdr => {
                "a session has had no charge detail record for long: if it ended at the station, have the backend send \
                 its record"
            }
        }
    }
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Alarm {
    /// The name of its [`AlarmKind`].
    pub kind: &'static str,
    /// SessionID.
    pub session: String,
    /// Our party, as `ROLE:ID`.
    pub party: String,
    /// The other side; `None` while several are asked.
    pub partner: Option<String>,
    /// Since when, in unix milliseconds.
    pub since_unix_ms: u64,
}

/// All alarms.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Alarms {
    /// How many of each kind; every kind has its number.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// The first of each kind, at most 100.
    pub alarms: Vec<Alarm>,
}

impl Alarms {
    fn add(&mut self, kind: AlarmKind, found: Vec<Alarm>) {
        self.counts.insert(kind.as_str(), found.len() as u64);
        self.alarms.extend(found.into_iter().take(LISTED_MAX));
    }
}

impl Accounts {
    /// What needs somebody's attention now.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn alarms(&self) -> Result<Alarms, AccountError> {
        let now_unix_ms = self.clock.now().unix_ms;
        let reader = &self.store.0.reader;
        let waiting = reader.waiting_cdrs(now_unix_ms.saturating_sub(self.cdr_alarm_ms)).await?;
        let denied = reader.denied_cdrs(now_unix_ms.saturating_sub(DENIED_FOR_MS)).await?;
        let before_unix_ms = now_unix_ms.saturating_sub(self.cdr_overdue_ms);
        let quiet = |reply| Command::Accounts(AccountsCommand::Quiet { before_unix_ms, reply });
        let late = self.engine.ask(quiet).await?;
        let mut alarms = Alarms::default();
        let of_state = |state: CdrState| {
            let rows = denied.iter().filter(move |row| row.state == state as u8);
            rows.map(move |row| of_row(row, state)).collect::<Vec<_>>()
        };
        alarms.add(AlarmKind::CdrWaits, waiting.iter().map(|row| of_row(row, CdrState::Waiting)).collect());
        alarms.add(AlarmKind::CdrRejected, of_state(CdrState::Rejected));
        alarms.add(AlarmKind::CdrRefused, of_state(CdrState::Refused));
        alarms.add(AlarmKind::SessionWithoutCdr, late.iter().map(of_session).collect());
        Ok(alarms)
    }
}

fn of_row(row: &AttentionRow, state: CdrState) -> Alarm {
    let kind = match state {
        CdrState::Rejected => AlarmKind::CdrRejected,
        CdrState::Refused => AlarmKind::CdrRefused,
        _ => AlarmKind::CdrWaits,
    };
    Alarm {
        kind: kind.as_str(),
        session: row.session.clone(),
        party: row.ours.to_text(),
        partner: Some(row.partner.to_text()),
        since_unix_ms: row.stored_unix_ms,
    }
}

fn of_session(session: &SessionView) -> Alarm {
    Alarm {
        kind: AlarmKind::SessionWithoutCdr.as_str(),
        session: session.session.clone(),
        party: session.party.clone(),
        partner: session.partner.clone(),
        since_unix_ms: session.changed_unix_ms,
    }
}
