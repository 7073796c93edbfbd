//! How values of the other modules stand in columns, and how they are read back with suspicion: a
//! database file may be damaged.

use std::fmt;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};

use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::protocol::{Audience, Digest, FeedId, Head, Kind, SignedHead};

/// A number that is never negative; SQLite counts in signed 64 bit.
pub(super) struct Number(pub(super) u64);

impl ToSql for Number {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl FromSql for Number {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Number> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Number).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Reads a number that is never negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, Number>(column).map(|number| number.0)
}

/// Reads a SHA-256 digest.
pub(super) fn digest(row: &Row<'_>, column: usize) -> Result<Digest> {
    let bytes = blob(row, column)?;
    Digest::try_from(bytes).map_err(|_| damaged(column, "a digest is not 32 bytes long"))
}

/// Reads bytes without copying them.
pub(super) fn blob<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r [u8]> {
    row.get_ref(column)?.as_blob().map_err(|error| damaged(column, error))
}

/// Reads bytes.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> Result<Bytes> {
    blob(row, column).map(Bytes::copy_from_slice)
}

/// Reads text without copying it.
pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str> {
    row.get_ref(column)?.as_str().map_err(|error| damaged(column, error))
}

/// Reads the key of a record: of an EVSE, or of a price.
pub(super) fn key(row: &Row<'_>, column: usize) -> Result<EvseKey> {
    EvseKey::parse_filed(text(row, column)?).map_err(|error| damaged(column, error))
}

/// Reads the name of a feed from its party, kind and audience, which stand side by side.
pub(super) fn feed(row: &Row<'_>, column: usize) -> Result<FeedId> {
    let FeedId { party, kind, .. } = public_feed(row, column)?;
    Ok(FeedId { party, kind, audience: audience(row, column + 2)? })
}

/// Reads the name of a public feed from its party and kind.
pub(super) fn public_feed(row: &Row<'_>, column: usize) -> Result<FeedId> {
    let party = PartyId::parse(text(row, column)?).map_err(|error| damaged(column, error))?;
    Ok(FeedId::public(party, kind(row, column + 1)?))
}

/// An audience as it stands in a column: its members with a space between, nothing for the public.
pub(super) fn audience_text(audience: &Audience) -> String {
    audience.to_texts().join(" ")
}

/// Reads an audience.
pub(super) fn audience(row: &Row<'_>, column: usize) -> Result<Audience> {
    let members: Vec<&str> = text(row, column)?.split_whitespace().collect();
    Audience::from_texts(&members).map_err(|error| damaged(column, error))
}

/// Reads the kind of a feed.
pub(super) fn kind(row: &Row<'_>, column: usize) -> Result<Kind> {
    Kind::from_code(row.get(column)?).ok_or_else(|| damaged(column, "unknown kind of feed"))
}

/// The columns of a head, in the order in which [`head`] reads them.
pub(super) const HEAD_COLUMNS: &str = "party, kind, audience, epoch, incarnation, seq, count, root, created_unix_ms, \
     base_seq, body, operator_id, operator_name, signed";

/// Reads a head and its signed form from [`HEAD_COLUMNS`], which start at `first`.
pub(super) fn head(row: &Row<'_>, first: usize) -> Result<(Head, SignedHead)> {
    let head = Head {
        feed: feed(row, first)?,
        epoch: number(row, first + 3)?,
        incarnation: number(row, first + 4)?,
        seq: number(row, first + 5)?,
        count: number(row, first + 6)?,
        root: digest(row, first + 7)?,
        created_unix_ms: number(row, first + 8)?,
        base_seq: number(row, first + 9)?,
        body: digest(row, first + 10)?,
        operator_id: text(row, first + 11)?.to_owned(),
        operator_name: text(row, first + 12)?.to_owned(),
    };
    let signed =
        SignedHead::from_bytes(bytes(row, first + 13)?).map_err(|error| damaged(first + 13, error))?;
    Ok((head, signed))
}

/// An error for a column that holds what this program does not write.
pub(super) fn damaged(
    column: usize,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    let why = Damaged { why: why.into() };
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(why))
}

#[derive(Debug)]
struct Damaged {
    why: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)
    }
}

impl std::error::Error for Damaged {}
