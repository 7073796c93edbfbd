//! Numbers for people and metrics.

use rusqlite::{Connection, Result};

use crate::protocol::FeedId;
use crate::storage::StorageError;
use crate::storage::value::{feed, number, text};

/// How much the directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Feeds with a head.
    pub feeds: u64,
    /// EVSE data records in the view.
    pub view_evses: u64,
    /// Statuses in the view.
    pub view_statuses: u64,
    /// Versions of data records, ended ones included.
    pub data_versions: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Claim conflicts.
    pub conflicts: u64,
    /// Pairs of contradicting heads.
    pub equivocations: u64,
}

/// One feed in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedOverview {
    /// The feed.
    pub feed: FeedId,
    /// OperatorID as the party spells it.
    pub operator_id: String,
    /// OperatorName.
    pub operator_name: String,
    /// Records by the head.
    pub count: u64,
    /// Number of the last change.
    pub seq: u64,
    /// When the writer signed the head, in unix milliseconds.
    pub created_unix_ms: u64,
    /// When this node heard it, in unix milliseconds.
    pub received_unix_ms: u64,
}

/// Counts everything; some hundred milliseconds for a million records.
pub(crate) fn counts(connection: &Connection) -> Result<Counts, StorageError> {
    let count = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| number(row, 0));
    Ok(Counts {
        feeds: count("SELECT count(*) FROM feeds WHERE signed IS NOT NULL")?,
        view_evses: count("SELECT coalesce((SELECT shown FROM commits ORDER BY version DESC LIMIT 1), 0)")?,
        view_statuses: count("SELECT count(*) FROM status WHERE visible = 1")?,
        data_versions: count("SELECT count(*) FROM payloads")?,
        tombstones: count("SELECT count(*) FROM tombstones")?,
        conflicts: count("SELECT count(*) FROM conflicts")?,
        equivocations: count("SELECT count(*) FROM equivocations")?,
    })
}

/// All feeds with a head.
pub(crate) fn feeds_overview(connection: &Connection) -> Result<Vec<FeedOverview>, StorageError> {
    let mut statement = connection.prepare_cached(
        "SELECT party, kind, audience, operator_id, operator_name, count, seq, created_unix_ms, received_unix_ms
         FROM feeds WHERE signed IS NOT NULL ORDER BY party, kind, audience",
    )?;
    let feeds = statement.query_map([], |row| {
        Ok(FeedOverview {
            feed: feed(row, 0)?,
            operator_id: text(row, 3)?.to_owned(),
            operator_name: text(row, 4)?.to_owned(),
            count: number(row, 5)?,
            seq: number(row, 6)?,
            created_unix_ms: number(row, 7)?,
            received_unix_ms: number(row, 8)?,
        })
    })?;
    Ok(feeds.collect::<Result<_>>()?)
}
