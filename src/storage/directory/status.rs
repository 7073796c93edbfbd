//! Status pulls: all of the view, by operator, by status, around a place, or by key.

use std::sync::Arc;

use rusqlite::{Connection, Result, Row, params};

use super::bridged;
use super::filter::{StatusQuery, feeds_of};
use super::page::keys_within;
use super::rows::{Operator, Operators};
use super::visible::Closed;
use crate::identity::PartyId;
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

/// The EvseID's spelling is the data record's, whichever feed that is in; of what a closed audience sees, that
/// of its publisher's record.
const COLUMNS: &str = "s.feed, s.key, s.at_unix_ms, s.status, coalesce(
    (SELECT d.evse_id FROM data d INDEXED BY data_view WHERE d.key = s.key AND d.visible = 1 AND d.died IS NULL),
    iif(s.visible = 2, (SELECT d.evse_id FROM data d INDEXED BY data_closed JOIN feeds f ON f.id = d.feed
        WHERE d.key = s.key AND d.visible = 2 AND d.died IS NULL
            AND (f.party, f.audience) = (SELECT party, audience FROM feeds WHERE id = s.feed)), NULL))";

/// The statuses of the view that match, by operator and key.
pub(crate) fn statuses(
    connection: &Connection,
    query: &StatusQuery,
    rows_max: usize,
) -> Result<Vec<StatusRow>, StorageError> {
    let mut answer = Answer { operators: Operators::new(connection), rows: Vec::new(), rows_max };
    let wanted = query.status.as_deref();
    let closed = Closed::of(connection, query.puller.as_ref())?;
    if let Some(area) = query.center {
        let feeds = feeds_of(connection, &query.operators)?;
        let wanted = |feed: &i64| query.operators.is_empty() || feeds.contains(feed);
        let keys = keys_within(connection, area, &closed)?;
        let keys = keys.iter().map(AsRef::as_ref);
        by_key(connection, &mut answer, keys, query.status.as_deref(), &closed, wanted)?;
        answer.rows.sort_by(|a, b| (&a.operator_id, &a.evse_id).cmp(&(&b.operator_id, &b.evse_id)));
        return answer.with_bridged(query);
    }
    // Of one EVSE a member sees what is said to members.
    let unless_closed = if closed.is_empty() {
        String::new()
    } else {
        let members =
            format!("SELECT c.key FROM status c WHERE c.feed IN ({}) AND c.visible = 2", closed.list());
        format!("AND (s.visible = 2 OR s.key NOT IN ({members}))")
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM status s WHERE s.feed = ?1 AND s.visible > 0
            AND (?2 IS NULL OR s.status = CAST(?2 AS BLOB)) {unless_closed} ORDER BY s.key"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for feed in feeds_in_order(connection, query, &closed)? {
        let mut rows = statement.query(params![feed, wanted])?;
        while let Some(row) = rows.next()? {
            answer.take(row)?;
        }
    }
    answer.with_bridged(query)
}

/// The statuses of EVSEs in the view, in the order of the keys; those without one are left out.
pub(crate) fn statuses_by_key(
    connection: &Connection,
    keys: &[EvseKey],
    puller: Option<&PartyId>,
    rows_max: usize,
) -> Result<Vec<(EvseKey, StatusRow)>, StorageError> {
    let closed = Closed::of(connection, puller)?;
    let mut found = Vec::new();
    for key in keys {
        let mut answer = Answer { operators: Operators::new(connection), rows: Vec::new(), rows_max };
        by_key(connection, &mut answer, std::iter::once(key.as_str()), None, &closed, |_| true)?;
        if answer.rows.is_empty() {
            answer.rows.extend(bridged::status(connection, key, puller)?);
        }
        found.extend(answer.rows.into_iter().map(|row| (key.clone(), row)));
    }
    Ok(found)
}

fn by_key<'k>(
    connection: &Connection,
    answer: &mut Answer<'_>,
    keys: impl Iterator<Item = &'k str>,
    status: Option<&str>,
    closed: &Closed,
    wanted: impl Fn(&i64) -> bool,
) -> Result<(), StorageError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM status s INDEXED BY status_view WHERE s.key = ?1 AND s.visible = 1
            AND (?2 IS NULL OR s.status = CAST(?2 AS BLOB))"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let members = format!(
        "SELECT {COLUMNS} FROM status s WHERE s.feed IN ({}) AND s.key = ?1 AND s.visible = 2
            AND (?2 IS NULL OR s.status = CAST(?2 AS BLOB))",
        closed.list()
    );
    let is_closed = format!(
        "SELECT EXISTS(SELECT 1 FROM status WHERE feed IN ({}) AND key = ?1 AND visible = 2)",
        closed.list()
    );
    for key in keys {
        if !closed.is_empty() && connection.prepare_cached(&is_closed)?.query_row([key], |row| row.get(0))? {
            let mut statement = connection.prepare_cached(&members)?;
            let mut rows = statement.query(params![key, status])?;
            while let Some(row) = rows.next()? {
                if wanted(&row.get(0)?) {
                    answer.take(row)?;
                }
            }
            continue;
        }
        let mut rows = statement.query(params![key, status])?;
        while let Some(row) = rows.next()? {
            if wanted(&row.get(0)?) {
                answer.take(row)?;
            }
        }
    }
    Ok(())
}

/// The status feeds that are public, or that the puller is a member of.
fn feeds_in_order(connection: &Connection, query: &StatusQuery, closed: &Closed) -> Result<Vec<i64>> {
    let wanted = feeds_of(connection, &query.operators)?;
    let all: Vec<(i64, bool)> = connection
        .prepare_cached("SELECT id, audience = '' FROM feeds WHERE kind = 1 ORDER BY operator_id, id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let seen =
        all.into_iter().filter(|(feed, public)| *public || closed.contains(*feed)).map(|(feed, _)| feed);
    Ok(seen.filter(|feed| query.operators.is_empty() || wanted.contains(feed)).collect())
}

struct Answer<'c> {
    operators: Operators<'c>,
    rows: Vec<StatusRow>,
    rows_max: usize,
}

impl Answer<'_> {
    /// With what came through the hub behind it.
    fn with_bridged(mut self, query: &StatusQuery) -> Result<Vec<StatusRow>, StorageError> {
        let most = self.rows_max.saturating_sub(self.rows.len());
        let beside = bridged::statuses(self.operators.connection(), query, most)?;
        if beside.len() > most {
            let size = self.rows.len() + beside.len();
            return Err(StorageError::TooLarge { what: "the answer in rows", size, limit: self.rows_max });
        }
        self.rows.extend(beside);
        Ok(self.rows)
    }

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
