//! What the core holds in memory, read back after a start.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result};
use sha2::{Digest as _, Sha256};

use crate::identity::{Chain, PartyId};
use crate::oicp::id::EvseKey;
use crate::protocol::{Digest, FeedId, Head, Kind, SignedHead};
use crate::storage::StorageError;
use crate::storage::value::{self, HEAD_COLUMNS, blob, damaged, digest, key, number, text};

/// A feed as it was committed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFeed {
    /// The feed.
    pub feed: FeedId,
    /// Its head.
    pub head: Head,
    /// The head as signed.
    pub signed: SignedHead,
    /// When this node heard it, in unix milliseconds; of our own feeds, when it was signed.
    pub received_unix_ms: u64,
    /// Its records in key order.
    pub entries: Vec<RestoredEntry>,
}

/// A record without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredEntry {
    /// The EVSE.
    pub key: EvseKey,
    /// Number of the change that made this version.
    pub seq: u64,
    /// When the writer took the change, in unix milliseconds.
    pub at_unix_ms: u64,
    /// SHA-256 of the value.
    pub hash: Digest,
    /// Whether it is in the view; of our own feeds' ledger always true.
    pub visible: bool,
}

/// A claim conflict as the core told of it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The EVSE.
    pub key: EvseKey,
    /// Kind of the feeds.
    pub kind: Kind,
    /// The party that is shown; `None` in a tie.
    pub shown: Option<PartyId>,
    /// All parties that claim the EVSE.
    pub claimed_by: Vec<PartyId>,
}

/// All feeds that have a head.
pub(crate) fn restore(connection: &Connection) -> Result<Vec<RestoredFeed>, StorageError> {
    let sql = format!(
        "SELECT id, received_unix_ms, {HEAD_COLUMNS} FROM feeds WHERE signed IS NOT NULL ORDER BY party, kind, audience"
    );
    let mut statement = connection.prepare(&sql)?;
    let heads = statement
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, number(row, 1)?, value::head(row, 2)?)))?
        .collect::<Result<Vec<_>>>()?;
    let mut feeds = Vec::with_capacity(heads.len());
    for (id, received_unix_ms, (head, signed)) in heads {
        let entries = entries(connection, id, head.feed.kind)?;
        feeds.push(RestoredFeed { feed: head.feed.clone(), head, signed, received_unix_ms, entries });
    }
    Ok(feeds)
}

fn entries(connection: &Connection, feed: i64, kind: Kind) -> Result<Vec<RestoredEntry>> {
    let sql = match kind {
        Kind::Data => {
            "SELECT key, seq, at_unix_ms, visible, hash FROM data INDEXED BY data_live
             WHERE feed = ? AND died IS NULL ORDER BY key"
        }
        Kind::Status => {
            "SELECT key, seq, at_unix_ms, visible, status FROM status WHERE feed = ? ORDER BY key"
        }
        Kind::Pricing => "SELECT key, seq, at_unix_ms, visible, value FROM price WHERE feed = ? ORDER BY key",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let entries = statement.query_map([feed], |row| {
        Ok(RestoredEntry {
            key: key(row, 0)?,
            seq: number(row, 1)?,
            at_unix_ms: number(row, 2)?,
            visible: row.get(3)?,
            hash: match kind {
                Kind::Data => digest(row, 4)?,
                Kind::Status | Kind::Pricing => Sha256::digest(blob(row, 4)?).into(),
            },
        })
    })?;
    entries.collect()
}

/// All chains with the hash of their delegation.
pub(crate) fn chains(connection: &Connection) -> Result<Vec<(Digest, Chain)>, StorageError> {
    let mut statement =
        connection.prepare_cached("SELECT hash, credential, delegation FROM chains ORDER BY hash")?;
    let chains = statement.query_map([], |row| {
        let chain = Chain { credential: blob(row, 1)?.to_vec(), delegation: blob(row, 2)?.to_vec() };
        Ok((digest(row, 0)?, chain))
    })?;
    Ok(chains.collect::<Result<_>>()?)
}

/// The proofs that writers showed two histories: two signed heads each.
pub(crate) fn equivocations(connection: &Connection) -> Result<Vec<(SignedHead, SignedHead)>, StorageError> {
    let mut statement = connection.prepare("SELECT first, second FROM equivocations ORDER BY feed")?;
    let signed = |row: &rusqlite::Row<'_>, column| {
        let bytes = Bytes::copy_from_slice(blob(row, column)?);
        SignedHead::from_bytes(bytes).map_err(|error| damaged(column, error))
    };
    let proofs = statement.query_map([], |row| Ok((signed(row, 0)?, signed(row, 1)?)))?;
    Ok(proofs.collect::<Result<_>>()?)
}

/// The chain of a delegation.
pub(crate) fn chain(connection: &Connection, delegation: &Digest) -> Result<Option<Chain>, StorageError> {
    let chain = connection
        .prepare_cached("SELECT credential, delegation FROM chains WHERE hash = ?")?
        .query_row([delegation], |row| {
            Ok(Chain { credential: blob(row, 0)?.to_vec(), delegation: blob(row, 1)?.to_vec() })
        })
        .optional()?;
    Ok(chain)
}

/// All claim conflicts.
pub(crate) fn conflicts(connection: &Connection) -> Result<Vec<Conflict>, StorageError> {
    let party = |column: usize, text: &str| PartyId::parse(text).map_err(|error| damaged(column, error));
    let mut statement =
        connection.prepare_cached("SELECT key, kind, shown, claimed_by FROM conflicts ORDER BY key, kind")?;
    let conflicts = statement.query_map([], |row| {
        let shown: Option<String> = row.get(2)?;
        Ok(Conflict {
            key: key(row, 0)?,
            kind: value::kind(row, 1)?,
            shown: shown.map(|shown| party(2, &shown)).transpose()?,
            claimed_by: text(row, 3)?.lines().map(|line| party(3, line)).collect::<Result<_>>()?,
        })
    })?;
    Ok(conflicts.collect::<Result<_>>()?)
}
