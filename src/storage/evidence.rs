//! The log of signed messages, in the ledger: appended to, read by session, and robbed of personal data.

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use super::error::{Database, StorageError};
use super::value::{Number, blob, bytes, damaged, digest, number, text};
use crate::identity::evidence_seal::EVIDENCE_ENTRIES_MAX;
use crate::identity::{Chain, PartyId};
use crate::protocol::evidence::{
    Direction, EvidenceEntry, EvidenceParts, EvidenceStep, LogHead, LogTail, LoggedSession, SaltedMessage,
    leaf_hash, log_path, skips_to,
};
use crate::protocol::{Digest, SessionRecord};
use crate::roaming::change::{NewEvidence, PersonalData};

/// Messages, sessions and charge detail records that one commit deletes when all before a time are to go: some ten
/// milliseconds, so that nobody who charges waits for it.
const ERASED_AT_ONCE_MAX: u32 = 2_000;

/// Messages from before a time; what is said in a session that goes on is still needed.
const OLD_MESSAGES: &str =
    "SELECT number FROM evidence WHERE message IS NOT NULL AND at_unix_ms < ? AND NOT EXISTS (
    SELECT 1 FROM sessions WHERE sessions.session = evidence.session AND is_over = 0)";

/// Charge detail records from before a time that are done with.
const OLD_RECORDS: &str =
    "SELECT number FROM cdrs WHERE signed IS NOT NULL AND is_open = 0 AND stored_unix_ms < ?";

/// Sessions that were over before a time and whose driver is not forgotten yet.
const OLD_SESSIONS: &str =
    "SELECT session, record FROM sessions WHERE is_over = 1 AND is_forgotten = 0 AND changed_unix_ms < ?";

/// One entry of the log, for people: nothing in it names a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number.
    pub number: u64,
    /// When it was logged, unix milliseconds.
    pub at_unix_ms: u64,
    /// Which way the message went.
    pub direction: Direction,
    /// SessionID.
    pub session: String,
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// What it says.
    pub what: String,
    /// Whether the message was deleted.
    pub is_erased: bool,
}

/// Our party and the partner, if it is about what these two said to each other alone.
pub type Between = Option<(PartyId, PartyId)>;

/// Which entries are meant, as parameters of [`OF_SESSION`].
struct Of<'a> {
    session: &'a str,
    ours: Option<String>,
    partner: Option<String>,
}

const OF_SESSION: &str = "session = ?1 AND (?2 IS NULL OR ours = ?2 AND partner = ?3)";

/// Appends an entry.
pub(super) fn append(tx: &Transaction<'_>, new: &NewEvidence) -> Result<()> {
    let NewEvidence { entry, hash, session, ours, partner, signer, what } = new;
    let content = entry.content.as_ref();
    tx.prepare_cached(
        "INSERT INTO evidence(number, at_unix_ms, direction, session, content_hash, hash, signer, ours, partner, what,
            salt, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        Number(entry.number),
        Number(entry.at_unix_ms),
        entry.direction as u8,
        session,
        entry.content_hash,
        hash,
        signer,
        ours.to_text(),
        partner.to_text(),
        what,
        content.map(|content| content.salt),
        content.map(|content| content.message.as_ref()),
    ])
    .map(drop)
}

/// Keeps a credential chain, once.
pub(super) fn keep_chain(tx: &Transaction<'_>, delegation: &Digest, chain: &Chain) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO evidence_chains(delegation, credential, signed) VALUES (?, ?, ?)",
    )?
    .execute(params![delegation, chain.credential, chain.delegation])
    .map(drop)
}

/// Deletes personal data. What is before a time goes in parts.
pub(super) fn erase(tx: &Transaction<'_>, what: &PersonalData) -> Result<()> {
    match what {
        PersonalData::Session(session) => {
            tx.execute("UPDATE evidence SET salt = NULL, message = NULL WHERE session = ?", [session])?;
            tx.execute("UPDATE cdrs SET signed = NULL WHERE session = ? AND is_open = 0", [session])?;
            let stored = "SELECT session, record FROM sessions WHERE session = ? AND is_over = 1";
            forget_drivers(
                tx,
                tx.prepare_cached(stored)?.query_map([session], session_row)?.collect::<Result<_>>()?,
            )
        }
        PersonalData::Before(unix_ms) => {
            let (before, most) = (Number(*unix_ms), ERASED_AT_ONCE_MAX);
            let delete = |table, what, which| -> Result<()> {
                let sql = format!("UPDATE {table} SET {what} WHERE number IN ({which} LIMIT ?)");
                tx.prepare_cached(&sql)?.execute(params![before, most]).map(drop)
            };
            delete("evidence", "salt = NULL, message = NULL", OLD_MESSAGES)?;
            delete("cdrs", "signed = NULL", OLD_RECORDS)?;
            let mut stored = tx.prepare_cached(&format!("{OLD_SESSIONS} LIMIT ?"))?;
            let old = stored.query_map(params![before, most], session_row)?.collect::<Result<_>>()?;
            forget_drivers(tx, old)
        }
    }
}

fn session_row(row: &Row<'_>) -> Result<SessionRecord> {
    SessionRecord::decode(text(row, 0)?, blob(row, 1)?).map_err(|error| damaged(1, error))
}

fn forget_drivers(tx: &Transaction<'_>, sessions: Vec<SessionRecord>) -> Result<()> {
    let mut update =
        tx.prepare_cached("UPDATE sessions SET record = ?, is_forgotten = 1 WHERE session = ?")?;
    for mut record in sessions {
        record.forget_driver();
        update.execute(params![record.encode().as_ref(), record.session])?;
    }
    Ok(())
}

/// Whether anything is left that [`erase`] would delete.
pub(super) fn has_personal_data(
    connection: &Connection,
    before_unix_ms: u64,
) -> std::result::Result<bool, StorageError> {
    let is_there = |sql: &str| connection.prepare_cached(sql)?.exists([Number(before_unix_ms)]);
    let read = || Ok(is_there(OLD_MESSAGES)? || is_there(OLD_RECORDS)? || is_there(OLD_SESSIONS)?);
    read().map_err(failed)
}

/// The end of the log.
pub(super) fn tail(connection: &Connection) -> std::result::Result<LogTail, StorageError> {
    let read = || -> Result<LogTail> {
        let last = head(connection)?.number;
        let hash = |number| Ok(LogHead { number, hash: hash_at(connection, number)? });
        LogTail::numbers(last).map(hash).collect::<Result<_>>().map(LogTail::restore)
    };
    read().map_err(failed)
}

fn head(connection: &Connection) -> Result<LogHead> {
    let last = connection
        .query_row("SELECT number, hash FROM evidence ORDER BY number DESC LIMIT 1", [], |row| {
            Ok(LogHead { number: number(row, 0)?, hash: digest(row, 1)? })
        })
        .optional()?;
    Ok(last.unwrap_or_default())
}

fn hash_at(connection: &Connection, number: u64) -> Result<Digest> {
    if number == 0 {
        return Ok(Digest::default());
    }
    connection
        .prepare_cached("SELECT hash FROM evidence WHERE number = ?")?
        .query_row([Number(number)], |row| digest(row, 0))
}

/// What the log holds about a session: its entries, what leads to them from the end of the log, and who signed them. Of
/// what others said, when `between` names two, there is nothing but hashes.
pub(super) fn of_session(
    connection: &Connection,
    session: &str,
    between: Between,
) -> std::result::Result<Option<LoggedSession>, StorageError> {
    let sides = between.map(|(ours, partner)| (ours.to_text(), partner.to_text()));
    let (ours, partner) = sides.unzip();
    let of = Of { session, ours, partner };
    let read = || -> Result<Option<LoggedSession>> {
        let party = connection
            .prepare_cached(&format!("SELECT ours FROM evidence WHERE {OF_SESSION} ORDER BY number LIMIT 1"))?
            .query_row(params![of.session, of.ours, of.partner], |row| party(row, 0))
            .optional()?;
        let Some(party) = party else { return Ok(None) };
        let entries = entries(connection, &of)?;
        let head = head(connection)?;
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        let steps = log_path(head.number, &numbers).into_iter().map(|number| step(connection, number));
        let parts = EvidenceParts {
            steps: steps.collect::<Result<_>>()?,
            chains: chains(connection, &of)?,
            entries,
            registry: Vec::new(),
        };
        Ok(Some(LoggedSession { session: session.to_owned(), party, head, parts }))
    };
    read().map_err(failed)
}

fn entries(connection: &Connection, of: &Of<'_>) -> Result<Vec<EvidenceEntry>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT number, at_unix_ms, direction, content_hash, salt, message FROM evidence WHERE {OF_SESSION}
         ORDER BY number LIMIT ?4"
    ))?;
    // One more than fits a file: whoever makes it says so.
    let most = Number(EVIDENCE_ENTRIES_MAX as u64 + 1);
    let rows = statement.query_map(params![of.session, of.ours, of.partner, most], |row| {
        let number = number(row, 0)?;
        let content = match row.get_ref(5)?.as_blob_or_null().map_err(|error| damaged(5, error))? {
            Some(_) => {
                let salt = blob(row, 4)?.try_into().map_err(|_| damaged(4, "a salt has 16 bytes"))?;
                Some(SaltedMessage { salt, message: bytes(row, 5)? })
            }
            None => None,
        };
        Ok(EvidenceEntry {
            number,
            at_unix_ms: super::value::number(row, 1)?,
            direction: direction(row, 2)?,
            content_hash: digest(row, 3)?,
            content,
            previous: hash_at(connection, number.saturating_sub(1))?,
            skipped: hash_at(connection, skips_to(number))?,
        })
    })?;
    rows.collect()
}

fn step(connection: &Connection, number: u64) -> Result<EvidenceStep> {
    let leaf = connection
        .prepare_cached("SELECT at_unix_ms, direction, session, content_hash FROM evidence WHERE number = ?")?
        .query_row([Number(number)], |row| {
            let (at_unix_ms, direction) = (super::value::number(row, 0)?, direction(row, 1)?);
            Ok(leaf_hash(at_unix_ms, direction, text(row, 2)?, &digest(row, 3)?))
        })?;
    Ok(EvidenceStep {
        number,
        leaf,
        previous: hash_at(connection, number.saturating_sub(1))?,
        skipped: hash_at(connection, skips_to(number))?,
    })
}

fn chains(connection: &Connection, of: &Of<'_>) -> Result<Vec<Chain>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT credential, signed FROM evidence_chains
         WHERE delegation IN (SELECT signer FROM evidence WHERE {OF_SESSION}) ORDER BY delegation"
    ))?;
    let rows = statement.query_map(params![of.session, of.ours, of.partner], |row| {
        Ok(Chain { credential: blob(row, 0)?.to_vec(), delegation: blob(row, 1)?.to_vec() })
    })?;
    rows.collect()
}

/// The newest entries before a number, of all sessions or of one.
pub(super) fn lines(
    connection: &Connection,
    session: Option<&str>,
    before: Option<u64>,
    most: u32,
) -> std::result::Result<Vec<LogLine>, StorageError> {
    let read = || -> Result<Vec<LogLine>> {
        let of_session = if session.is_some() { "session = ?1" } else { "?1 IS NULL" };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT number, at_unix_ms, direction, session, ours, partner, what, message IS NULL FROM evidence
             WHERE {of_session} AND number < ?2 ORDER BY number DESC LIMIT ?3"
        ))?;
        let before = Number(before.unwrap_or(i64::MAX.unsigned_abs()).min(i64::MAX.unsigned_abs()));
        let rows = statement.query_map(params![session, before, most], |row| {
            Ok(LogLine {
                number: number(row, 0)?,
                at_unix_ms: number(row, 1)?,
                direction: direction(row, 2)?,
                session: text(row, 3)?.to_owned(),
                ours: party(row, 4)?,
                partner: party(row, 5)?,
                what: text(row, 6)?.to_owned(),
                is_erased: row.get(7)?,
            })
        })?;
        rows.collect()
    };
    read().map_err(failed)
}

fn direction(row: &Row<'_>, column: usize) -> Result<Direction> {
    Direction::of_code(row.get(column)?).ok_or_else(|| damaged(column, "an unknown direction"))
}

fn party(row: &Row<'_>, column: usize) -> Result<PartyId> {
    PartyId::parse(text(row, column)?).map_err(|error| damaged(column, error))
}

fn failed(error: rusqlite::Error) -> StorageError {
    StorageError::of(Database::Ledger, error)
}
