//! Delta pulls: the net difference of two versions of the view (OICP rules section 10). What was
//! inserted and deleted in between does not appear, nor does what came back as it was.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params_from_iter};

use super::CommitVersion;
use super::bridged;
use super::filter::{Conditions, DataQuery, conditions};
use super::geo::distance_km;
use super::page::{DataPage, Delta, page_of, version_for};
use super::rows::read_rows;
use super::visible::Closed;
use crate::protocol::Digest;
use crate::storage::StorageError;
use crate::storage::value::{Number, digest, number, text};

/// Nodes and backends do not share a clock: a last call counts as this much earlier (`decisions.md` 13).
const MARGIN_MS: u64 = 60_000;

/// Most records that a difference is worked out for, about 100 bytes each; a larger one is answered in
/// full.
const ROWS_MAX: usize = 2_000_000;

#[derive(Default)]
struct Pair {
    old: Option<Version>,
    new: Option<Version>,
}

#[derive(Clone, Copy)]
struct Version {
    id: i64,
    feed: i64,
    hash: Digest,
}

/// One page of what changed since a moment; `None` if history does not go back that far: the caller
/// answers in full.
pub(crate) fn data_delta(
    connection: &Connection,
    since_unix_ms: u64,
    query: &DataQuery,
) -> Result<Option<DataPage>, StorageError> {
    let to = version_for(connection, query.as_of)?;
    let since_unix_ms = since_unix_ms.saturating_sub(MARGIN_MS);
    let Some((from, last_row)) = state_at(connection, since_unix_ms)? else { return Ok(None) };
    let conditions = conditions(connection, query)?;
    let closed = Closed::of(connection, query.puller.as_ref())?;
    let may_see = closed.may_see();
    let mut pairs: BTreeMap<Box<str>, Pair> = BTreeMap::new();
    let ended = format!(
        "SELECT d.key, d.id, d.feed, d.hash, d.lat, d.lon FROM data d INDEXED BY data_dead
         WHERE d.died > ? AND d.died <= ? AND {may_see} AND d.id <= ?{}",
        conditions.sql
    );
    let values = [from, to.0, last_row];
    let old = collect(connection, &ended, values, query, &conditions, |key, version| {
        pairs.entry(key).or_default().old = Some(version);
        pairs.len()
    })?;
    let begun = format!(
        "SELECT d.key, d.id, d.feed, d.hash, d.lat, d.lon FROM data d NOT INDEXED
         WHERE d.id > ? AND d.born <= ? AND {may_see} AND (d.died IS NULL OR d.died > ?){}",
        conditions.sql
    );
    let values = [last_row, to.0, to.0];
    let new = collect(connection, &begun, values, query, &conditions, |key, version| {
        pairs.entry(key).or_default().new = Some(version);
        pairs.len()
    })?;
    if !(old && new) {
        return Ok(None);
    }
    if !closed.is_empty() {
        // Of one EVSE there may be a record for everybody and one for members: a member sees the latter.
        let (from, conditions) = (CommitVersion(from), &conditions);
        for (key, pair) in &mut pairs {
            pair.old = seen(connection, key, from, query, conditions, &closed)?;
            pair.new = seen(connection, key, to, query, conditions, &closed)?;
        }
    }
    let changes: Vec<(i64, Option<Delta>)> =
        pairs.values().filter_map(difference).map(|(id, delta)| (id, Some(delta))).collect();
    let total = changes.len() as u64;
    let mut rows = read_rows(connection, page_of(&changes, query).iter().copied())?;
    let Some(beside) = bridged::delta(connection, (from, to), query, total, rows.len())? else {
        return Ok(None);
    };
    rows.extend(beside.rows);
    Ok(Some(DataPage { rows, total: total + beside.total, version: to }))
}

/// The version that was valid at a moment with its last row; `None` if that is before history.
fn state_at(connection: &Connection, at_unix_ms: u64) -> Result<Option<(u64, u64)>> {
    let from = connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'history_from_unix_ms'")?
        .query_row([], |row| number(row, 0))
        .optional()?;
    if from.is_none_or(|from| at_unix_ms < from) {
        return Ok(None);
    }
    let state = connection
        .prepare_cached(
            "SELECT version, last_row FROM commits WHERE at_unix_ms <= ? ORDER BY at_unix_ms DESC, version DESC
             LIMIT 1",
        )?
        .query_row([Number(at_unix_ms)], |row| Ok((number(row, 0)?, number(row, 1)?)))
        .optional()?;
    Ok(Some(state.unwrap_or((0, 0))))
}

/// Hands every matching version to `take`, which answers how many keys there are; false if too many.
fn collect(
    connection: &Connection,
    sql: &str,
    values: [u64; 3],
    query: &DataQuery,
    conditions: &Conditions,
    mut take: impl FnMut(Box<str>, Version) -> usize,
) -> Result<bool> {
    let values = values.into_iter().map(|value| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)));
    let values = values.chain(conditions.values.iter().cloned());
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        if let Some(area) = query.center {
            let place = row.get::<_, Option<f64>>(4)?.zip(row.get::<_, Option<f64>>(5)?);
            let near = |place| distance_km((area.lat, area.lon), place) <= area.radius_km;
            if !place.is_some_and(near) {
                continue;
            }
        }
        let version = Version { id: row.get(1)?, feed: row.get(2)?, hash: digest(row, 3)? };
        if take(text(row, 0)?.into(), version) > ROWS_MAX {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The version of a record that a member sees in a version of the view, if it matches.
fn seen(
    connection: &Connection,
    key: &str,
    version: CommitVersion,
    query: &DataQuery,
    conditions: &Conditions,
    closed: &Closed,
) -> Result<Option<Version>> {
    let as_of = format!("d.born <= {0} AND (d.died IS NULL OR d.died > {0})", version.0);
    let members = format!(
        "FROM data d INDEXED BY data_closed WHERE d.key = ? AND d.visible = 2 AND d.feed IN ({}) AND {as_of}",
        closed.list()
    );
    let is_closed: bool = connection
        .prepare_cached(&format!("SELECT EXISTS(SELECT 1 {members})"))?
        .query_row([key], |row| row.get(0))?;
    let public = format!("FROM data d INDEXED BY data_view WHERE d.key = ? AND d.visible = 1 AND {as_of}");
    let from = if is_closed { members } else { public };
    let sql = format!("SELECT d.id, d.feed, d.hash, d.lat, d.lon {from}{} LIMIT 1", conditions.sql);
    let values = [Value::Text(key.to_owned())].into_iter().chain(conditions.values.iter().cloned());
    let found = connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| {
        let version = Version { id: row.get(0)?, feed: row.get(1)?, hash: digest(row, 2)? };
        Ok((version, row.get::<_, Option<f64>>(3)?.zip(row.get::<_, Option<f64>>(4)?)))
    });
    let within = |place: Option<(f64, f64)>| {
        let near = |area: super::filter::Area| {
            place.is_some_and(|place| distance_km((area.lat, area.lon), place) <= area.radius_km)
        };
        query.center.is_none_or(near)
    };
    Ok(found.optional()?.filter(|(_, place)| within(*place)).map(|(version, _)| version))
}

fn difference(pair: &Pair) -> Option<(i64, Delta)> {
    match (pair.old, pair.new) {
        (None, Some(new)) => Some((new.id, Delta::Insert)),
        (Some(old), None) => Some((old.id, Delta::Delete)),
        (Some(old), Some(new)) if (old.feed, old.hash) != (new.feed, new.hash) => {
            Some((new.id, Delta::Update))
        }
        _ => None,
    }
}
