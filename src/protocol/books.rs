//! How two parties' nodes compare their books: what they hold of each other's charge detail records, first one hash
//! for each day, then the records of days that differ, then what is missing (`decisions.md` 30).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::codec::{ProtocolError, decode, encode};
use super::session::SESSION_ID_BYTES_MAX;
use super::wire::{Hash, Limited};
use crate::identity::envelope::ENVELOPE_BODY_BYTES_MAX;

/// Most days that are compared at once: a year and a month.
pub const BOOKS_DAYS_MAX: usize = 400;

/// Most records in one answer, at some 80 bytes each: half of what fits an envelope.
pub const BOOKS_MARKS_MAX: usize = 1_500;

/// Most records of two parties that are compared of one day.
pub const BOOKS_OF_DAY_MAX: usize = 100_000;

/// Most records that are asked for again at once.
pub const BOOKS_MISSING_MAX: usize = 1_000;

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

/// All records of one day in one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayMark {
    /// Days since 1970-01-01, UTC, of SessionEnd.
    pub day: u32,
    /// How many records.
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
        let records = u32::try_from(marks.len()).unwrap_or(u32::MAX);
        DayMark { day, records, hash: hash.finalize().into() }
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
    /// The days that have records, in order.
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
    /// It cannot be answered.
    Refused(String),
}

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
            BooksWire::AskDays(from, days) => match days as usize {
                1..=BOOKS_DAYS_MAX => BooksMessage::AskDays { from, days },
                _ => return Err(invalid("no days, or too many")),
            },
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
            BooksWire::Refused(why) if why.len() > WHY_BYTES_MAX => {
                return Err(invalid("the reason is too long"));
            }
            BooksWire::Refused(why) => BooksMessage::Refused(why),
        })
    }
}

const WHAT: &str = "message about books";

fn marks_of(wire: Vec<MarkWire>) -> Result<Vec<CdrMark>, ProtocolError> {
    let mark = |MarkWire(session, hash, state): MarkWire| {
        let rule = "the SessionID is too long, or a state is unknown";
        let state = MarkState::of_code(state).filter(|_| session.len() <= SESSION_ID_BYTES_MAX);
        let state = state.ok_or(ProtocolError::Invalid { what: WHAT, rule })?;
        Ok(CdrMark { session, hash: hash.0, state })
    };
    wire.into_iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u8, state: MarkState) -> CdrMark {
        CdrMark { session: format!("{number:036}"), hash: [number; 32], state }
    }

    #[test]
    fn messages_are_read_as_they_were_said() {
        let day = |day| DayMark { day, records: 3, hash: [7; 32] };
        let statement =
            StatementMark { month: "2026-11".into(), digest: [9; 32], records: 2, energy: "7.3".into() };
        for message in [
            BooksMessage::AskDays { from: 20_000, days: 31 },
            BooksMessage::Days(vec![day(20_000), day(20_002)]),
            BooksMessage::AskDay { day: 20_000, after: 4 },
            BooksMessage::Day(vec![mark(1, MarkState::Good), mark(2, MarkState::Rejected)]),
            BooksMessage::Missing(vec![mark(1, MarkState::Rejected)]),
            BooksMessage::Resending(1),
            BooksMessage::Statement(statement),
            BooksMessage::Refused("why".into()),
        ] {
            assert_eq!(BooksMessage::decode(&message.encode()).unwrap(), message);
        }
        let many = (0..BOOKS_MARKS_MAX).map(|number| mark((number % 250) as u8, MarkState::Good)).collect();
        let full = BooksMessage::Day(many).encode();
        assert!(full.len() < ENVELOPE_BODY_BYTES_MAX / 2, "{}", full.len());
    }

    #[test]
    fn what_no_node_says_is_refused() {
        let day = |day| DayMark { day, records: 3, hash: [7; 32] };
        let long = CdrMark { session: "s".repeat(37), ..mark(1, MarkState::Good) };
        for message in [
            BooksMessage::AskDays { from: 1, days: 0 },
            BooksMessage::AskDays { from: 1, days: BOOKS_DAYS_MAX as u32 + 1 },
            BooksMessage::Days(vec![day(2), day(2)]),
            BooksMessage::Day(vec![long]),
        ] {
            assert!(BooksMessage::decode(&message.encode()).is_err(), "{message:?}");
        }
        bolero::check!().for_each(|bytes: &[u8]| drop(BooksMessage::decode(bytes)));
    }

    #[test]
    fn the_hash_of_a_day_knows_every_record_and_no_order() {
        let mut marks = [mark(1, MarkState::Good), mark(2, MarkState::Good)];
        let one = DayMark::of(5, &mut marks);
        marks.reverse();
        assert_eq!(DayMark::of(5, &mut marks), one);
        let mut rejected = [mark(1, MarkState::Good), mark(2, MarkState::Rejected)];
        assert_ne!(DayMark::of(5, &mut rejected).hash, one.hash);
        assert_ne!(DayMark::of(5, &mut rejected[..1]).hash, one.hash);
    }
}
