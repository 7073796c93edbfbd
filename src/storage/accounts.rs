//! Two parties' accounts in the ledger: the charge detail records between them by the time when their sessions ended,
//! those that need somebody's attention, and the statements that both sides signed.

use bytes::Bytes;
use rusqlite::{Connection, Result, Row, Transaction, named_params, params};

use super::error::{Database, StorageError};
use super::value::{Number, bytes, damaged, digest, number};
use crate::identity::PartyId;
use crate::protocol::{CdrMark, Digest, MarkState};
use crate::roaming::change::SignedStatement;

/// Most records of one page of an account.
pub const ACCOUNT_PAGE_MAX: u64 = 2_000;

/// Most records that need attention of which one is told: beyond, their number says enough.
pub const ATTENTION_MAX: u64 = 1_000;

/// The records of two parties whose sessions ended in a time, or their sessions that began in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// First millisecond of SessionEnd, or of the begin, unix time.
    pub from_unix_ms: u64,
    /// First millisecond after it.
    pub until_unix_ms: u64,
}

/// Where a page ended; the next one begins behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountPlace {
    ended_unix_ms: u64,
    number: u64,
}

/// One record that counts: the EMP's node has it, and no correction of it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// SessionID.
    pub session: String,
    /// SHA-256 of the OICP message.
    pub hash: Digest,
    /// Whether the EMP's backend rejected it.
    pub is_rejected: bool,
    /// The record that it corrects.
    pub replaces: Option<Digest>,
    /// As its CPO's node signed it; `None` once its personal data was deleted.
    pub signed: Option<Bytes>,
}

/// A record that needs somebody's attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionRow {
    /// SessionID.
    pub session: String,
    /// Whether a partner sent it.
    pub incoming: bool,
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// The number of its state.
    pub state: u8,
    /// When it was committed here, unix milliseconds.
    pub stored_unix_ms: u64,
}

/// A page of what counts, and where the next one begins; `None` behind the last.
pub(super) fn page(
    connection: &Connection,
    account: &Account,
    after: Option<AccountPlace>,
) -> std::result::Result<(Vec<AccountRow>, Option<AccountPlace>), StorageError> {
    let after = after.unwrap_or_default();
    let from = account.from_unix_ms.max(after.ended_unix_ms);
    let read = || -> Result<(Vec<AccountRow>, Option<AccountPlace>)> {
        let mut statement = connection.prepare_cached(
            "SELECT c.session, c.hash, c.state = 4, c.replaces, c.signed, c.ended_unix_ms, c.number FROM cdrs c
             WHERE c.ours = :ours AND c.partner = :partner
                AND c.ended_unix_ms >= :from AND c.ended_unix_ms < :until
                AND (c.ended_unix_ms > :after OR c.number > :number)
                AND c.state IN (2, 3, 4, 6)
                AND NOT EXISTS (SELECT 1 FROM cdrs n WHERE n.session = c.session AND n.replaces = c.hash
                    AND n.incoming = c.incoming AND n.state IN (2, 3, 4, 6))
             ORDER BY c.ended_unix_ms, c.number LIMIT :limit",
        )?;
        let rows = statement.query_map(
            named_params! {
                ":ours": account.ours.to_text(),
                ":partner": account.partner.to_text(),
                ":from": Number(from),
                ":until": Number(account.until_unix_ms),
                ":after": Number(after.ended_unix_ms),
                ":number": Number(after.number),
                ":limit": Number(ACCOUNT_PAGE_MAX),
            },
            |row| {
                let place = AccountPlace { ended_unix_ms: number(row, 5)?, number: number(row, 6)? };
                let signed = row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from);
                let (session, is_rejected, replaces) = (row.get(0)?, row.get(2)?, row.get(3)?);
                Ok((AccountRow { session, hash: digest(row, 1)?, is_rejected, replaces, signed }, place))
            },
        )?;
        let read: Vec<(AccountRow, AccountPlace)> = rows.collect::<Result<_>>()?;
        let full = read.len() as u64 >= ACCOUNT_PAGE_MAX;
        let next = read.last().filter(|_| full).map(|(_, place)| *place);
        Ok((read.into_iter().map(|(row, _)| row).collect(), next))
    };
    read().map_err(failed)
}

/// The marks of all records but refused ones, which the EMP's side does not keep: at most so many and one more.
pub(super) fn marks(
    connection: &Connection,
    account: &Account,
    records_max: u64,
) -> std::result::Result<Vec<CdrMark>, StorageError> {
    let read = || -> Result<Vec<CdrMark>> {
        let mut statement = connection.prepare_cached(
            "SELECT session, hash, state FROM cdrs
             WHERE ours = ? AND partner = ? AND ended_unix_ms >= ? AND ended_unix_ms < ? AND state != 5 LIMIT ?",
        )?;
        let marks = statement.query_map(
            params![
                account.ours.to_text(),
                account.partner.to_text(),
                Number(account.from_unix_ms),
                Number(account.until_unix_ms),
                Number(records_max.saturating_add(1)),
            ],
            |row| {
                let state = match row.get::<_, u8>(2)? {
                    4 => MarkState::Rejected,
                    _ => MarkState::Good,
                };
                Ok(CdrMark { session: row.get(0)?, hash: digest(row, 1)?, state })
            },
        )?;
        marks.collect()
    };
    read().map_err(failed)
}

/// Records that wait for the other side or for our backend since before a time, the oldest first.
pub(super) fn waiting(
    connection: &Connection,
    before_unix_ms: u64,
) -> std::result::Result<Vec<AttentionRow>, StorageError> {
    attention(
        connection,
        "SELECT session, incoming, ours, partner, state, stored_unix_ms FROM cdrs
         WHERE is_open = 1 AND state IN (1, 2) AND stored_unix_ms < ?1 ORDER BY stored_unix_ms LIMIT ?2",
        before_unix_ms,
    )
}

/// Records since a time that the EMP's backend rejected or its node refused, and that no correction took the place
/// of, the newest first.
pub(super) fn denied(
    connection: &Connection,
    since_unix_ms: u64,
) -> std::result::Result<Vec<AttentionRow>, StorageError> {
    attention(
        connection,
        "SELECT c.session, c.incoming, c.ours, c.partner, c.state, c.stored_unix_ms FROM cdrs c
         WHERE c.state IN (4, 5) AND c.stored_unix_ms >= ?1
            AND NOT EXISTS (SELECT 1 FROM cdrs n WHERE n.session = c.session AND n.replaces = c.hash
                AND n.incoming = c.incoming AND n.state IN (2, 3, 6))
         ORDER BY c.stored_unix_ms DESC LIMIT ?2",
        since_unix_ms,
    )
}

fn attention(
    connection: &Connection,
    sql: &str,
    unix_ms: u64,
) -> std::result::Result<Vec<AttentionRow>, StorageError> {
    let party = |row: &Row<'_>, column| {
        PartyId::parse(&row.get::<_, String>(column)?).map_err(|error| damaged(column, error))
    };
    let read = || -> Result<Vec<AttentionRow>> {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![Number(unix_ms), Number(ATTENTION_MAX)], |row| {
            let (session, incoming, state) = (row.get(0)?, row.get(1)?, row.get(4)?);
            let (ours, partner) = (party(row, 2)?, party(row, 3)?);
            Ok(AttentionRow { session, incoming, ours, partner, state, stored_unix_ms: number(row, 5)? })
        })?;
        rows.collect()
    };
    read().map_err(failed)
}

pub(super) fn write_statement(tx: &Transaction<'_>, statement: &SignedStatement) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO statements(ours, partner, month, digest, records, energy, agreed_unix_ms,
            signed_by_us, signed_by_partner) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET agreed_unix_ms = ?7, signed_by_partner = ?9,
            signed_by_us = CASE WHEN length(?8) > 0 THEN ?8 ELSE signed_by_us END",
    )?
    .execute(params![
        statement.ours.to_text(),
        statement.partner.to_text(),
        statement.month,
        statement.digest,
        Number(statement.records),
        statement.energy,
        Number(statement.agreed_unix_ms),
        statement.signed_by_us.as_ref(),
        statement.signed_by_partner.as_ref(),
    ])
    .map(drop)
}

/// The statements of a month that both sides signed, the newest first.
pub(super) fn statements(
    connection: &Connection,
    ours: &PartyId,
    partner: &PartyId,
    month: &str,
) -> std::result::Result<Vec<SignedStatement>, StorageError> {
    let read = || -> Result<Vec<SignedStatement>> {
        let mut statement = connection.prepare_cached(
            "SELECT digest, records, energy, agreed_unix_ms, signed_by_us, signed_by_partner FROM statements
             WHERE ours = ? AND partner = ? AND month = ? ORDER BY agreed_unix_ms DESC",
        )?;
        let rows = statement.query_map(params![ours.to_text(), partner.to_text(), month], |row| {
            Ok(SignedStatement {
                ours: ours.clone(),
                partner: partner.clone(),
                month: month.to_owned(),
                digest: digest(row, 0)?,
                records: number(row, 1)?,
                energy: row.get(2)?,
                agreed_unix_ms: number(row, 3)?,
                signed_by_us: bytes(row, 4)?,
                signed_by_partner: bytes(row, 5)?,
            })
        })?;
        rows.collect()
    };
    read().map_err(failed)
}

fn failed(error: rusqlite::Error) -> StorageError {
    StorageError::of(Database::Ledger, error)
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
