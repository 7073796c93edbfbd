//! How two parties' nodes compare their books: what they hold of each other's charge detail records, first one hash
//! for each day, then the records of days that differ, then what is missing (`decisions.md` 30); and how far the
//! sessions between them have come, in the same way; and what proves a session that one side lost.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::codec::{ProtocolError, decode, encode};
use super::session::SESSION_ID_BYTES_MAX;
use super::session_record::SessionPhase;
use super::wire::{Buf, Hash, Limited};
use crate::identity::envelope::ENVELOPE_BODY_BYTES_MAX;

/// Most days that are compared at once: a year and a month.
pub const BOOKS_DAYS_MAX: usize = 400;

/// Most records in one answer, at some 80 bytes each: half of what fits an envelope.
pub const BOOKS_MARKS_MAX: usize = 1_500;

/// Most records or sessions of two parties that are compared of one day.
pub const BOOKS_OF_DAY_MAX: usize = 100_000;

/// Most records that are asked for again at once, and most sessions that are asked for by name.
pub const BOOKS_MISSING_MAX: usize = 1_000;

/// Largest evidence of one session in bytes: what fits an envelope, with some words around it.
pub const BOOKS_EVIDENCE_BYTES_MAX: usize = ENVELOPE_BODY_BYTES_MAX - 1_024;

/// Longest text of a refusal in bytes.
const WHY_BYTES_MAX: usize = 500;

/// Longest text of a month (`2026-11`) or of an energy in bytes.
const SHORT_BYTES_MAX: usize = 64;

/// How a record stands. One that the EMP's node refused is in nobody's books. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MarkState {
    /// The CPO sent it, or is about to, or the EMP has it.
    Good = 1,
    /// The EMP's backend rejected it.
    Rejected = 2,
}

impl MarkState {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            MarkState::Good => "good",
            MarkState::Rejected => "rejected",
        }
    }

    fn of_code(code: u8) -> Option<MarkState> {
        [MarkState::Good, MarkState::Rejected].into_iter().find(|one| *one as u8 == code)
    }
}

/// One record in short form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CdrMark {
    /// SessionID.
    pub session: String,
    /// SHA-256 of the OICP message.
    pub hash: Digest,
    /// How it stands.
    pub state: MarkState,
}

/// One session in short form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionMark {
    /// SessionID, as both nodes know it.
    pub session: String,
    /// How far it has come; `None` if it goes through the hub, and so is not compared.
    pub phase: Option<SessionPhase>,
}

/// What a phase says of money: two sides at different steps of the same kind agree. The numbers go into hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionKind {
    /// It runs, or ran.
    Ran = 1,
    /// It began, and nobody here knows yet whether it runs.
    Unclear = 2,
}

impl SessionKind {
    /// That of a phase; `None` if such a session is in nobody's books.
    pub fn of(phase: SessionPhase) -> Option<SessionKind> {
        match phase {
            SessionPhase::Active | SessionPhase::Closed | SessionPhase::Expired => Some(SessionKind::Ran),
            SessionPhase::Requested
            | SessionPhase::Calling
            | SessionPhase::InDoubt
            | SessionPhase::Unconfirmed => Some(SessionKind::Unclear),
            SessionPhase::Refused => None,
        }
    }
}

/// All records, or all sessions, of one day in one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayMark {
    /// Days since 1970-01-01, UTC, of SessionEnd; of a session when it began here.
    pub day: u32,
    /// How many.
    pub records: u32,
    /// SHA-256 over them, in order.
    pub hash: Digest,
}

impl DayMark {
    /// The mark of a day with these records; they are put in order.
    pub fn of(day: u32, marks: &mut [CdrMark]) -> DayMark {
        marks.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(b"chargemesh day of records 1\n");
        for mark in marks.iter() {
            hash.update(mark.session.as_bytes());
            hash.update([0, mark.state as u8]);
            hash.update(mark.hash);
        }
        DayMark::with(day, marks.len(), hash)
    }

    /// The mark of a day with these sessions; they are put in order. It knows what runs or ran from what is unclear,
    /// and no other steps: those differ while a message is on its way.
    pub fn of_sessions(day: u32, marks: &mut [SessionMark]) -> DayMark {
        marks.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(b"chargemesh day of sessions 1\n");
        let kinds = marks.iter().map(|mark| (mark, mark.phase.and_then(SessionKind::of)));
        for (mark, kind) in kinds.filter_map(|(mark, kind)| kind.map(|kind| (mark, kind))) {
            hash.update(mark.session.as_bytes());
            hash.update([0, kind as u8]);
        }
        DayMark::with(day, marks.len(), hash)
    }

    fn with(day: u32, marks: usize, hash: Sha256) -> DayMark {
        DayMark { day, records: u32::try_from(marks).unwrap_or(u32::MAX), hash: hash.finalize().into() }
    }
}

/// What both sides say of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementMark {
    /// The month, as in `2026-11`.
    pub month: String,
    /// The digest of the statement.
    pub digest: Digest,
    /// How many records count.
    pub records: u64,
    /// Their energy in kWh.
    pub energy: String,
}

/// What one party's node says to another's about their books, in an envelope of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BooksMessage {
    /// Your hashes of these days? Answered by `Days`.
    AskDays {
        /// The first day since 1970-01-01, UTC.
        from: u32,
        /// How many, at most [`BOOKS_DAYS_MAX`].
        days: u32,
    },
    /// The days that have records, or sessions, in order.
    Days(Vec<DayMark>),
    /// Your records of this day, from this one on? Answered by `Day`.
    AskDay {
        /// Days since 1970-01-01, UTC.
        day: u32,
        /// How many of them are known already.
        after: u32,
    },
    /// Records of one day, in order; fewer than [`BOOKS_MARKS_MAX`]: these were the last.
    Day(Vec<CdrMark>),
    /// Send me these records again. Answered by `Resending`.
    Missing(Vec<CdrMark>),
    /// So many are on their way.
    Resending(u32),
    /// My statement of a month: sign it as well if it is yours. Answered by `Statement`, which is the signature of an
    /// equal one, and else says what the other one is.
    Statement(StatementMark),
    /// Your hashes of the sessions between us that began on these days? Answered by `Days`; a node that compares no
    /// sessions cannot read it.
    AskSessionDays {
        /// The first day since 1970-01-01, UTC.
        from: u32,
        /// How many, at most [`BOOKS_DAYS_MAX`].
        days: u32,
    },
    /// Your sessions that began on this day, from this one on? Answered by `Sessions`.
    AskSessionDay {
        /// Days since 1970-01-01, UTC.
        day: u32,
        /// How many of them are known already.
        after: u32,
    },
    /// What do you know of these sessions, at most [`BOOKS_MISSING_MAX`]? Answered by `Sessions` without unknown ones.
    AskSessions(Vec<String>),
    /// Sessions, in order; fewer than [`BOOKS_MARKS_MAX`]: these were the last of the day.
    Sessions(Vec<SessionMark>),
    /// I lost this session: what proves it? Answered by `Evidence`; a node that hands out none cannot read it.
    AskEvidence(String),
    /// The evidence of a session between us ([`crate::protocol::evidence`]), at most [`BOOKS_EVIDENCE_BYTES_MAX`].
    Evidence(Bytes),
    /// You lost a session: this proves it. Answered by `Taken`; a node that takes none cannot read it.
    TakeEvidence {
        /// SessionID.
        session: String,
        /// As in `Evidence`.
        evidence: Bytes,
    },
    /// The session is known here from now on.
    Taken,
    /// It cannot be answered.
    Refused(String),
}

#[derive(Serialize, Deserialize)]
struct SessionWire(String, u8);

#[derive(Serialize, Deserialize)]
struct MarkWire(String, Hash, u8);

#[derive(Serialize, Deserialize)]
struct DayWire(u32, u32, Hash);

#[derive(Serialize, Deserialize)]
enum BooksWire {
    #[serde(rename = "D")]
    AskDays(u32, u32),
    #[serde(rename = "d")]
    Days(Limited<DayWire, BOOKS_DAYS_MAX>),
    #[serde(rename = "L")]
    AskDay(u32, u32),
    #[serde(rename = "l")]
    Day(Limited<MarkWire, BOOKS_MARKS_MAX>),
    #[serde(rename = "M")]
    Missing(Limited<MarkWire, BOOKS_MISSING_MAX>),
    #[serde(rename = "m")]
    Resending(u32),
    #[serde(rename = "s")]
    Statement(String, Hash, u64, String),
    #[serde(rename = "E")]
    AskSessionDays(u32, u32),
    #[serde(rename = "O")]
    AskSessionDay(u32, u32),
    #[serde(rename = "N")]
    AskSessions(Limited<String, BOOKS_MISSING_MAX>),
    #[serde(rename = "o")]
    Sessions(Limited<SessionWire, BOOKS_MARKS_MAX>),
    #[serde(rename = "V")]
    AskEvidence(String),
    #[serde(rename = "v")]
    Evidence(Buf),
    #[serde(rename = "T")]
    TakeEvidence(String, Buf),
    #[serde(rename = "t")]
    Taken,
    #[serde(rename = "r")]
    Refused(String),
}

impl BooksMessage {
    /// The body of an envelope.
    pub fn encode(&self) -> Bytes {
        fn marks<const MAX: usize>(marks: &[CdrMark]) -> Limited<MarkWire, MAX> {
            let wire = |mark: &CdrMark| MarkWire(mark.session.clone(), Hash(mark.hash), mark.state as u8);
            Limited(marks.iter().take(MAX).map(wire).collect())
        }
        encode(&match self {
            BooksMessage::AskDays { from, days } => BooksWire::AskDays(*from, *days),
            BooksMessage::Days(days) => {
                let wire = |day: &DayMark| DayWire(day.day, day.records, Hash(day.hash));
                BooksWire::Days(Limited(days.iter().take(BOOKS_DAYS_MAX).map(wire).collect()))
            }
            BooksMessage::AskDay { day, after } => BooksWire::AskDay(*day, *after),
            BooksMessage::Day(records) => BooksWire::Day(marks(records)),
            BooksMessage::Missing(records) => BooksWire::Missing(marks(records)),
            BooksMessage::Resending(records) => BooksWire::Resending(*records),
            BooksMessage::Statement(StatementMark { month, digest, records, energy }) => {
                BooksWire::Statement(month.clone(), Hash(*digest), *records, energy.clone())
            }
            BooksMessage::AskSessionDays { from, days } => BooksWire::AskSessionDays(*from, *days),
            BooksMessage::AskSessionDay { day, after } => BooksWire::AskSessionDay(*day, *after),
            BooksMessage::AskSessions(names) => {
                BooksWire::AskSessions(Limited(names.iter().take(BOOKS_MISSING_MAX).cloned().collect()))
            }
            BooksMessage::Sessions(sessions) => {
                let code = |mark: &SessionMark| mark.phase.map_or(BY_HUB, |phase| phase as u8);
                let wire = |mark: &SessionMark| SessionWire(mark.session.clone(), code(mark));
                BooksWire::Sessions(Limited(sessions.iter().take(BOOKS_MARKS_MAX).map(wire).collect()))
            }
            BooksMessage::AskEvidence(session) => BooksWire::AskEvidence(session.clone()),
            BooksMessage::Evidence(evidence) => BooksWire::Evidence(Buf(evidence.clone())),
            BooksMessage::TakeEvidence { session, evidence } => {
                BooksWire::TakeEvidence(session.clone(), Buf(evidence.clone()))
            }
            BooksMessage::Taken => BooksWire::Taken,
            BooksMessage::Refused(why) => BooksWire::Refused(why.chars().take(WHY_BYTES_MAX / 4).collect()),
        })
        .into()
    }

    /// Reads the body of an envelope.
    ///
    /// # Errors
    /// [`ProtocolError`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<BooksMessage, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: WHAT, rule };
        Ok(match decode(WHAT, bytes, ENVELOPE_BODY_BYTES_MAX)? {
            BooksWire::AskDays(_, days) | BooksWire::AskSessionDays(_, days)
                if !(1..=BOOKS_DAYS_MAX).contains(&(days as usize)) =>
            {
                return Err(invalid("no days, or too many"));
            }
            BooksWire::AskDays(from, days) => BooksMessage::AskDays { from, days },
            BooksWire::AskSessionDays(from, days) => BooksMessage::AskSessionDays { from, days },
            BooksWire::Days(days) => {
                let day = |DayWire(day, records, hash): DayWire| DayMark { day, records, hash: hash.0 };
                let days: Vec<DayMark> = days.0.into_iter().map(day).collect();
                if !days.is_sorted_by(|one, next| one.day < next.day) {
                    return Err(invalid("the days are not in order"));
                }
                BooksMessage::Days(days)
            }
            BooksWire::AskDay(day, after) => BooksMessage::AskDay { day, after },
            BooksWire::Day(records) => BooksMessage::Day(marks_of(records.0)?),
            BooksWire::Missing(records) => BooksMessage::Missing(marks_of(records.0)?),
            BooksWire::Resending(records) => BooksMessage::Resending(records),
            BooksWire::Statement(month, digest, records, energy) => {
                if month.len() > SHORT_BYTES_MAX || energy.len() > SHORT_BYTES_MAX {
                    return Err(invalid("a text is too long"));
                }
                BooksMessage::Statement(StatementMark { month, digest: digest.0, records, energy })
            }
            BooksWire::AskSessionDay(day, after) => BooksMessage::AskSessionDay { day, after },
            BooksWire::AskSessions(names) => {
                if names.0.iter().any(|name| name.len() > SESSION_ID_BYTES_MAX) {
                    return Err(invalid("a SessionID is too long"));
                }
                BooksMessage::AskSessions(names.0)
            }
            BooksWire::Sessions(sessions) => BooksMessage::Sessions(sessions_of(sessions.0)?),
            BooksWire::AskEvidence(session) | BooksWire::TakeEvidence(session, _)
                if session.len() > SESSION_ID_BYTES_MAX =>
            {
                return Err(invalid("a SessionID is too long"));
            }
            BooksWire::AskEvidence(session) => BooksMessage::AskEvidence(session),
            BooksWire::Evidence(Buf(evidence)) | BooksWire::TakeEvidence(_, Buf(evidence))
                if evidence.len() > BOOKS_EVIDENCE_BYTES_MAX =>
            {
                return Err(invalid("the evidence is too large"));
            }
            BooksWire::Evidence(Buf(evidence)) => BooksMessage::Evidence(evidence),
            BooksWire::TakeEvidence(session, Buf(evidence)) => {
                BooksMessage::TakeEvidence { session, evidence }
            }
            BooksWire::Taken => BooksMessage::Taken,
            BooksWire::Refused(why) if why.len() > WHY_BYTES_MAX => {
                return Err(invalid("the reason is too long"));
            }
            BooksWire::Refused(why) => BooksMessage::Refused(why),
        })
    }
}

const WHAT: &str = "message about books";

/// In the place of a phase: the session goes through the hub.
const BY_HUB: u8 = 0;

fn marks_of(wire: Vec<MarkWire>) -> Result<Vec<CdrMark>, ProtocolError> {
    let mark = |MarkWire(session, hash, state): MarkWire| {
        let rule = "the SessionID is too long, or a state is unknown";
        let state = MarkState::of_code(state).filter(|_| session.len() <= SESSION_ID_BYTES_MAX);
        let state = state.ok_or(ProtocolError::Invalid { what: WHAT, rule })?;
        Ok(CdrMark { session, hash: hash.0, state })
    };
    wire.into_iter().map(mark).collect()
}

fn sessions_of(wire: Vec<SessionWire>) -> Result<Vec<SessionMark>, ProtocolError> {
    let mark = |SessionWire(session, code): SessionWire| {
        let phase = SessionPhase::of_code(code);
        if session.len() > SESSION_ID_BYTES_MAX || phase.is_none() && code != BY_HUB {
            let rule = "the SessionID is too long, or a phase is unknown";
            return Err(ProtocolError::Invalid { what: WHAT, rule });
        }
        Ok(SessionMark { session, phase })
    };
    wire.into_iter().map(mark).collect()
}

#[cfg(test)]
mod tests;
