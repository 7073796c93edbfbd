//! Rows of an answer: the record's text with its operator's names, read by number.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Result};

use super::page::{DataRow, Delta};
use crate::storage::value::{bytes, key, number, text};

/// The operators' names by feed, read once for an answer.
pub(super) struct Operators<'c> {
    connection: &'c Connection,
    known: BTreeMap<i64, Operator>,
}

/// How an operator calls itself, and when it last confirmed its feed.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) id: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) confirmed_at_unix_ms: u64,
}

impl<'c> Operators<'c> {
    pub(super) fn new(connection: &'c Connection) -> Operators<'c> {
        Operators { connection, known: BTreeMap::new() }
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    pub(super) fn of(&mut self, feed: i64) -> Result<Operator> {
        if let Some(operator) = self.known.get(&feed) {
            return Ok(operator.clone());
        }
        let operator = self
            .connection
            .prepare_cached(
                "SELECT operator_id, operator_name, coalesce(created_unix_ms, 0) FROM feeds WHERE id = ?",
            )?
            .query_row([feed], |row| {
                Ok(Operator {
                    id: text(row, 0)?.into(),
                    name: text(row, 1)?.into(),
                    confirmed_at_unix_ms: number(row, 2)?,
                })
            })?;
        self.known.insert(feed, operator.clone());
        Ok(operator)
    }
}

/// Reads versions of records by their numbers, in that order.
pub(super) fn read_rows(
    connection: &Connection,
    ids: impl IntoIterator<Item = (i64, Option<Delta>)>,
) -> Result<Vec<DataRow>> {
    let mut operators = Operators::new(connection);
    let mut statement = connection.prepare_cached(
        "SELECT d.feed, d.key, d.at_unix_ms, p.body FROM data d JOIN payloads p ON p.id = d.id WHERE d.id = ?",
    )?;
    let mut rows = Vec::new();
    for (id, delta) in ids {
        let (feed, key, last_update_unix_ms, payload) = statement
            .query_row([id], |row| Ok((row.get(0)?, key(row, 1)?, number(row, 2)?, bytes(row, 3)?)))?;
        let operator = operators.of(feed)?;
        rows.push(DataRow {
            key,
            payload,
            operator_id: operator.id,
            operator_name: operator.name,
            last_update_unix_ms,
            delta,
        });
    }
    Ok(rows)
}
