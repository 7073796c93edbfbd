//! Sessions in the ledger: as they are now, and those between two parties by the time when they began.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use super::accounts::Account;
use super::error::{Database, StorageError};
use super::value::{Number, blob, damaged};
use crate::identity::PartyId;
use crate::protocol::{SessionMark, SessionPhase, SessionRecord};
use crate::roaming::change::SessionAccount;

/// Sessions that the migration reads at once.
const FILLED_AT_ONCE: u32 = 1_000;

/// Sessions of two parties that began in a time; 6 is `SessionPhase::Refused`.
const MARKS_SQL: &str = "SELECT known_as, phase FROM sessions
    WHERE ours IN (?1, ?2) AND partner IN (?1, ?2) AND opened_unix_ms >= ?3 AND opened_unix_ms < ?4
        AND known_as IS NOT NULL AND phase != 6 LIMIT ?5";

/// Writes a session as it is now. What stands for one that is said never to have come (`Roaming::note_never_came`)
/// replaces no session that began earlier: memory forgets those that were over a day ago.
pub(super) fn write(
    tx: &Transaction<'_>,
    session: &str,
    (is_over, changed_unix_ms): (bool, u64),
    record: &Bytes,
    account: Option<&SessionAccount>,
) -> Result<()> {
    tx.prepare_cached(
        // An update writes the indexes whose columns changed; a replaced row writes all of them, twice.
        "INSERT INTO sessions(session, is_over, changed_unix_ms, record, ours, partner, opened_unix_ms, phase,
            known_as) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT(session) DO UPDATE SET is_over = ?2, changed_unix_ms = ?3, record = ?4, ours = ?5,
            partner = ?6, opened_unix_ms = ?7, phase = ?8, known_as = ?9, is_forgotten = 0
         WHERE ?8 IS NOT 6 OR phase IS 6 OR ifnull(?7 <= opened_unix_ms, TRUE)",
    )?
    .execute(params![
        session,
        is_over,
        Number(changed_unix_ms),
        record.as_ref(),
        account.map(|account| account.ours.to_text()),
        account.map(|account| account.partner.to_text()),
        account.map(|account| Number(account.opened_unix_ms)),
        account.map(|account| account.phase as u8),
        account.map(|account| account.known_as.as_deref()),
    ])
    .map(drop)
}

/// The marks of the sessions of two parties that began in a time, without refused ones, in any order: at most so many
/// and one more. Two parties of this node share one record, of who asked.
pub(super) fn marks(
    connection: &Connection,
    account: &Account,
    sessions_max: u64,
) -> std::result::Result<Vec<SessionMark>, StorageError> {
    let read = || -> Result<Vec<SessionMark>> {
        let mut statement = connection.prepare_cached(MARKS_SQL)?;
        let marks = statement.query_map(
            params![
                account.ours.to_text(),
                account.partner.to_text(),
                Number(account.from_unix_ms),
                Number(account.until_unix_ms),
                Number(sessions_max.saturating_add(1)),
            ],
            |row| Ok(SessionMark { session: row.get(0)?, phase: Some(phase(row, 1)?) }),
        )?;
        marks.collect()
    };
    read().map_err(failed)
}

/// Those of these sessions that are between two parties, also refused ones.
pub(super) fn named(
    connection: &Connection,
    (ours, partner): (&PartyId, &PartyId),
    names: &[String],
) -> std::result::Result<Vec<SessionMark>, StorageError> {
    let read = || -> Result<Vec<SessionMark>> {
        let mut statement = connection.prepare_cached(
            "SELECT phase, known_as IS NULL FROM sessions
             WHERE session = ?1 AND ours IN (?2, ?3) AND partner IN (?2, ?3)",
        )?;
        let (ours, partner) = (ours.to_text(), partner.to_text());
        let mut marks = Vec::new();
        for session in names {
            let found = statement.query_row(params![session, ours, partner], |row| {
                let phase = if row.get(1)? { None } else { Some(phase(row, 0)?) };
                Ok(SessionMark { session: session.clone(), phase })
            });
            marks.extend(found.optional()?);
        }
        Ok(marks)
    };
    read().map_err(failed)
}

/// Fills the columns of an account for sessions that were stored without. A damaged one keeps none: it is told of where
/// it is used.
pub(super) fn fill_accounts(tx: &Transaction<'_>) -> Result<()> {
    let mut page =
        tx.prepare("SELECT session, record FROM sessions WHERE session > ? ORDER BY session LIMIT ?")?;
    let mut fill = tx.prepare(
        "UPDATE sessions SET ours = ?, partner = ?, opened_unix_ms = ?, phase = ?, known_as = ? WHERE session = ?",
    )?;
    let mut after = String::new();
    loop {
        let of_row = |row: &Row<'_>| -> Result<(String, Option<Box<SessionAccount>>)> {
            let session: String = row.get(0)?;
            let record = SessionRecord::decode(&session, blob(row, 1)?).ok();
            Ok((session, record.as_ref().and_then(SessionAccount::of)))
        };
        let rows: Vec<(String, Option<Box<SessionAccount>>)> =
            page.query_map(params![after, FILLED_AT_ONCE], of_row)?.collect::<Result<_>>()?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after.clone_from(last);
        for (session, account) in rows {
            let Some(account) = account else { continue };
            fill.execute(params![
                account.ours.to_text(),
                account.partner.to_text(),
                Number(account.opened_unix_ms),
                account.phase as u8,
                account.known_as,
                session,
            ])?;
        }
    }
}

fn phase(row: &Row<'_>, column: usize) -> Result<SessionPhase> {
    SessionPhase::of_code(row.get(column)?).ok_or_else(|| damaged(column, "an unknown phase of a session"))
}

fn failed(error: rusqlite::Error) -> StorageError {
    StorageError::of(Database::Ledger, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roaming::change::LedgerChange;
    use crate::storage::testing::{memory, open, session_record};

    const DAY_MS: u64 = 86_400_000;

    fn party(text: &str) -> PartyId {
        PartyId::parse(text).unwrap()
    }

    fn put(record: &SessionRecord) -> LedgerChange {
        LedgerChange::Session {
            session: record.session.clone(),
            is_over: record.phase.is_over(),
            changed_unix_ms: record.changed_unix_ms,
            record: record.encode(),
            account: SessionAccount::of(record),
        }
    }

    fn record(session: u64, phase: SessionPhase, opened_unix_ms: u64) -> SessionRecord {
        SessionRecord { phase, opened_unix_ms, ..session_record(&format!("session-{session}"), 5) }
    }

    fn account(ours: &str, partner: &str) -> Account {
        let (ours, partner) = (party(ours), party(partner));
        Account { ours, partner, from_unix_ms: 10 * DAY_MS, until_unix_ms: 11 * DAY_MS }
    }

    fn listed(connection: &Connection, account: &Account) -> Vec<(String, SessionPhase)> {
        let mut marks = marks(connection, account, 100).unwrap();
        marks.sort();
        marks.into_iter().map(|mark| (mark.session, mark.phase.unwrap())).collect()
    }

    #[test]
    fn sessions_of_a_day_are_those_that_began_on_it_between_the_two() {
        let mut opened = open(&memory());
        let day = 10 * DAY_MS;
        let stranger =
            SessionRecord { partner: Some(party("CPO:DEXYZ")), ..record(5, SessionPhase::Active, day) };
        let nobody = SessionRecord { partner: None, ..record(6, SessionPhase::Requested, day) };
        let by_hub = SessionRecord { via: crate::protocol::Via::Hub, ..record(7, SessionPhase::Active, day) };
        let joined = SessionRecord {
            asked_by_us: false,
            alias: Some("session-directly".to_owned()),
            session: "session-8".to_owned(),
            ..by_hub.clone()
        };
        let all = [
            record(1, SessionPhase::Active, day),
            record(2, SessionPhase::Closed, day + DAY_MS - 1),
            record(3, SessionPhase::Active, day - 1),
            record(4, SessionPhase::Refused, day),
            record(9, SessionPhase::Active, day + DAY_MS),
            stranger,
            nobody,
            by_hub,
            joined,
        ];
        opened.ledger.commit(&all.each_ref().map(put)).unwrap();
        // The later step counts.
        opened.ledger.commit(&[put(&record(1, SessionPhase::Expired, day))]).unwrap();
        let connection = opened.ledger.connection.lock().unwrap();
        let (ours, other) = ("EMP:DEDCB", "CPO:DEGEF");
        let found = listed(&connection, &account(ours, other));
        let expected = [
            ("session-1", SessionPhase::Expired),
            ("session-2", SessionPhase::Closed),
            ("session-directly", SessionPhase::Active),
        ];
        assert_eq!(found, expected.map(|(name, phase)| (name.to_owned(), phase)));
        assert_eq!(
            listed(&connection, &account(other, ours)),
            found,
            "two parties of this node share records"
        );
        assert_eq!(marks(&connection, &account(ours, other), 1).unwrap().len(), 2);
        let named = |names: &[&str]| -> Vec<Option<SessionPhase>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = super::named(&connection, (&party(ours), &party(other)), &names).unwrap();
            found.into_iter().map(|mark| mark.phase).collect()
        };
        let known = named(&["session-3", "session-4", "session-5", "session-6", "session-7", "session-none"]);
        assert_eq!(known, [Some(SessionPhase::Active), Some(SessionPhase::Refused), None]);
    }

    #[test]
    fn a_session_that_was_forgotten_is_not_replaced_by_one_that_never_came() {
        let mut opened = open(&memory());
        let day = 10 * DAY_MS;
        let stands_for = |session| record(session, SessionPhase::Refused, day + 3_600_000);
        opened.ledger.commit(&[put(&record(1, SessionPhase::Closed, day)), put(&stands_for(2))]).unwrap();
        opened.ledger.commit(&[put(&stands_for(1)), put(&record(2, SessionPhase::Active, day))]).unwrap();
        let refused = record(3, SessionPhase::Refused, day);
        opened.ledger.commit(&[put(&record(3, SessionPhase::Requested, day)), put(&refused)]).unwrap();
        let connection = opened.ledger.connection.lock().unwrap();
        let found = listed(&connection, &account("EMP:DEDCB", "CPO:DEGEF"));
        let expected = [("session-1", SessionPhase::Closed), ("session-2", SessionPhase::Active)];
        assert_eq!(found, expected.map(|(name, phase)| (name.to_owned(), phase)));
    }

    #[test]
    fn a_day_is_read_from_its_index() {
        let opened = open(&memory());
        let connection = opened.ledger.connection.lock().unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {MARKS_SQL}");
        let plan: String = connection.query_row(&sql, params!["a", "b", 1, 2, 3], |row| row.get(3)).unwrap();
        let expected = "COVERING INDEX sessions_by_opening (ours=? AND partner=? AND opened_unix_ms>?";
        assert!(plan.contains(expected), "{plan}");
    }
}
