//! Status pulls: all of the view, by operator, by status, around a place, or by key.

use std::sync::Arc;

use rusqlite::{Connection, Result, Row, params};

use super::filter::{StatusQuery, feeds_of};
use super::page::keys_within;
use super::rows::{Operator, Operators};
use crate::oicp::id::EvseKey;
use crate::storage::StorageError;
use crate::storage::value::{blob, number, text};

/// One status of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRow {
    /// OperatorID as the publisher spells it.
    pub operator_id: Arc<str>,
    /// OperatorName; empty if there is none.
    pub operator_name: Arc<str>,
    /// EvseID as in the data record; where there is none, the canonical key.
    pub evse_id: Box<str>,
    /// The status, as its publisher signed it.
    pub status: Box<str>,
    /// When the publisher's node took it, in unix milliseconds.
    pub observed_at_unix_ms: u64,
    /// When the publisher last confirmed its feed, in unix milliseconds.
    pub confirmed_at_unix_ms: u64,
}

/// The EvseID's spelling is the data record's, whichever feed that is in.
const COLUMNS: &str = "s.feed, s.key, s.at_unix_ms, s.status,
    (SELECT d.evse_id FROM data d INDEXED BY data_view WHERE d.key = s.key AND d.visible = 1 AND d.died IS NULL)";

/// The statuses of the view that match, by operator and key.
pub(crate) fn statuses(
    connection: &Connection,
    query: &StatusQuery,
    rows_max: usize,
) -> Result<Vec<StatusRow>, StorageError> {
    let mut answer = Answer { operators: Operators::new(connection), rows: Vec::new(), rows_max };
    let wanted = query.status.as_deref();
    if let Some(area) = query.center {
        let feeds = feeds_of(connection, &query.operators)?;
        let wanted = |feed: &i64| query.operators.is_empty() || feeds.contains(feed);
        let keys = keys_within(connection, area)?;
        by_key(connection, &mut answer, keys.iter().map(AsRef::as_ref), query.status.as_deref(), wanted)?;
        answer.rows.sort_by(|a, b| (&a.operator_id, &a.evse_id).cmp(&(&b.operator_id, &b.evse_id)));
        return Ok(answer.rows);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM status s WHERE s.feed = ?1 AND s.visible = 1
            AND (?2 IS NULL OR s.status = CAST(?2 AS BLOB)) ORDER BY s.key"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for feed in feeds_in_order(connection, query)? {
        let mut rows = statement.query(params![feed, wanted])?;
        while let Some(row) = rows.next()? {
            answer.take(row)?;
        }
    }
    Ok(answer.rows)
}

/// The statuses of EVSEs in the view, in the order of the keys; those without one are left out.
pub(crate) fn statuses_by_key(
    connection: &Connection,
    keys: &[EvseKey],
    rows_max: usize,
) -> Result<Vec<(EvseKey, StatusRow)>, StorageError> {
    let mut found = Vec::new();
    for key in keys {
        let mut answer = Answer { operators: Operators::new(connection), rows: Vec::new(), rows_max };
        by_key(connection, &mut answer, std::iter::once(key.as_str()), None, |_| true)?;
        found.extend(answer.rows.into_iter().map(|row| (key.clone(), row)));
    }
    Ok(found)
}

fn by_key<'k>(
    connection: &Connection,
    answer: &mut Answer<'_>,
    keys: impl Iterator<Item = &'k str>,
    status: Option<&str>,
    wanted: impl Fn(&i64) -> bool,
) -> Result<(), StorageError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM status s INDEXED BY status_view WHERE s.key = ?1 AND s.visible = 1
            AND (?2 IS NULL OR s.status = CAST(?2 AS BLOB))"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for key in keys {
        let mut rows = statement.query(params![key, status])?;
        while let Some(row) = rows.next()? {
            if wanted(&row.get(0)?) {
                answer.take(row)?;
            }
        }
    }
    Ok(())
}

fn feeds_in_order(connection: &Connection, query: &StatusQuery) -> Result<Vec<i64>> {
    let wanted = feeds_of(connection, &query.operators)?;
    let all: Vec<i64> = connection
        .prepare_cached("SELECT id FROM feeds WHERE kind = 1 ORDER BY operator_id, id")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|feed| query.operators.is_empty() || wanted.contains(feed)).collect())
}

struct Answer<'c> {
    operators: Operators<'c>,
    rows: Vec<StatusRow>,
    rows_max: usize,
}

impl Answer<'_> {
    fn take(&mut self, row: &Row<'_>) -> Result<(), StorageError> {
        if self.rows.len() >= self.rows_max {
            let size = self.rows.len() + 1;
            return Err(StorageError::TooLarge { what: "the answer in rows", size, limit: self.rows_max });
        }
        let Operator { id, name, confirmed_at_unix_ms } = self.operators.of(row.get(0)?)?;
        let evse_id: Option<Box<str>> = row.get(4)?;
        self.rows.push(StatusRow {
            operator_id: id,
            operator_name: name,
            evse_id: match evse_id {
                Some(evse_id) => evse_id,
                None => text(row, 1)?.into(),
            },
            status: String::from_utf8_lossy(blob(row, 3)?).into(),
            observed_at_unix_ms: number(row, 2)?,
            confirmed_at_unix_ms,
        });
        Ok(())
    }
}
