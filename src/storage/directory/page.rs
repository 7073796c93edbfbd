//! Full pulls: one page of the view as of a version.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params, params_from_iter};

use super::CommitVersion;
use super::bridged;
use super::filter::{Area, Conditions, DataQuery, PAGE_SIZE_MAX, conditions};
use super::geo::{boxes_around, distance_km};
use super::rows::read_rows;
use super::visible::Closed;
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::protocol::{FeedId, Kind};
use crate::storage::StorageError;
use crate::storage::value::{Number, audience_text, bytes, number, text};

/// How a record differs from the last call (OICP 2.3 `DeltaType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// New since then.
    Insert,
    /// Changed since then.
    Update,
    /// No longer there; the row shows what it was.
    Delete,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRow {
    /// The EVSE.
    pub key: EvseKey,
    /// The record's text as its publisher signed it.
    pub payload: Bytes,
    /// OperatorID as the publisher spells it.
    pub operator_id: Arc<str>,
    /// OperatorName; empty if there is none.
    pub operator_name: Arc<str>,
    /// When the publisher's node took this version, in unix milliseconds.
    pub last_update_unix_ms: u64,
    /// How it differs from the last call; `None` in a full pull.
    pub delta: Option<Delta>,
}

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPage {
    /// The records of this page: those of the view ordered by key, then what came through the hub, likewise.
    pub rows: Vec<DataRow>,
    /// How many records all pages have together.
    pub total: u64,
    /// The version that was read: name it for the next page.
    pub version: CommitVersion,
}

/// The newest version of the view.
pub(crate) fn version_now(connection: &Connection) -> Result<CommitVersion, StorageError> {
    let version = connection
        .prepare_cached("SELECT coalesce(max(version), 0) FROM commits")?
        .query_row([], |row| number(row, 0))?;
    Ok(CommitVersion(version))
}

/// The version to read; refused if its rows may be gone or it is not there yet.
pub(super) fn version_for(
    connection: &Connection,
    as_of: Option<CommitVersion>,
) -> Result<CommitVersion, StorageError> {
    let now = version_now(connection)?;
    let Some(asked) = as_of else { return Ok(now) };
    let oldest: Option<u64> = connection
        .prepare_cached("SELECT version FROM commits ORDER BY version LIMIT 1")?
        .query_row([], |row| number(row, 0))
        .optional()?;
    // The oldest version that is kept is the first unless history was pruned.
    let oldest = oldest.filter(|version| *version > 1).unwrap_or(0);
    if asked > now || asked.0 < oldest {
        return Err(StorageError::VersionGone { version: asked.0 });
    }
    Ok(asked)
}

/// One page of the view.
pub(crate) fn data_page(connection: &Connection, query: &DataQuery) -> Result<DataPage, StorageError> {
    let version = version_for(connection, query.as_of)?;
    let conditions = conditions(connection, query)?;
    let closed = Closed::of(connection, query.puller.as_ref())?;
    let (total, ids) = match query.center {
        Some(area) => {
            let mut hits = hits_within(connection, version, area, &conditions, &closed)?;
            hits.sort_unstable();
            let ids = page_of(&hits, query).iter().map(|(_, id)| *id).collect();
            (hits.len() as u64, ids)
        }
        None => (
            count_all(connection, version, &conditions, &closed)?,
            ids_of_page(connection, version, query, &conditions, &closed)?,
        ),
    };
    let mut rows = read_rows(connection, ids.into_iter().map(|id| (id, None)))?;
    let beside = bridged::page(connection, version, query, total, rows.len())?;
    rows.extend(beside.rows);
    Ok(DataPage { rows, total: total + beside.total, version })
}

/// The part of a list that a page shows.
pub(super) fn page_of<'l, T>(list: &'l [T], query: &DataQuery) -> &'l [T] {
    let size = query.size.min(PAGE_SIZE_MAX) as usize;
    let from = (query.page as usize).saturating_mul(size).min(list.len());
    list.get(from..from.saturating_add(size).min(list.len())).unwrap_or_default()
}

const CLOSED_AS_OF: &str = "d.visible = 2 AND d.born <= ? AND (d.died IS NULL OR d.died > ?)";

const AS_OF: &str = "d.visible = 1 AND d.born <= ? AND (d.died IS NULL OR d.died > ?)";

fn as_of_values(version: CommitVersion, conditions: &Conditions) -> Vec<Value> {
    let version = Value::Integer(i64::try_from(version.0).unwrap_or(i64::MAX));
    [&[version.clone(), version], conditions.values.as_slice()].concat()
}

/// The public records that match, without those that the puller sees as a member, and these.
fn count_all(
    connection: &Connection,
    version: CommitVersion,
    conditions: &Conditions,
    closed: &Closed,
) -> Result<u64> {
    let public = count_public(connection, version, conditions)?;
    if closed.is_empty() {
        return Ok(public);
    }
    let keys = closed.keys(version);
    let count = |sql: String| {
        let values = as_of_values(version, conditions);
        connection.prepare(&sql)?.query_row(params_from_iter(values), |row| number(row, 0))
    };
    let hidden = count(format!(
        "SELECT count(*) FROM data d INDEXED BY data_view WHERE {AS_OF}{} AND d.key IN ({keys})",
        conditions.sql
    ))?;
    let members = count(format!(
        "SELECT count(*) FROM data d INDEXED BY data_closed WHERE {CLOSED_AS_OF}{} AND d.feed IN ({})",
        conditions.sql,
        closed.list()
    ))?;
    Ok(public.saturating_sub(hidden) + members)
}

fn count_public(connection: &Connection, version: CommitVersion, conditions: &Conditions) -> Result<u64> {
    if conditions.is_empty() {
        let shown = connection
            .prepare_cached("SELECT shown FROM commits WHERE version = ?")?
            .query_row([Number(version.0)], |row| number(row, 0))
            .optional()?;
        return Ok(shown.unwrap_or(0));
    }
    let sql = format!("SELECT count(*) FROM data d INDEXED BY data_view WHERE {AS_OF}{}", conditions.sql);
    let values = as_of_values(version, conditions);
    connection.prepare(&sql)?.query_row(params_from_iter(values), |row| number(row, 0))
}

fn ids_of_page(
    connection: &Connection,
    version: CommitVersion,
    query: &DataQuery,
    conditions: &Conditions,
    closed: &Closed,
) -> Result<Vec<i64>> {
    let size = i64::from(query.size.min(PAGE_SIZE_MAX));
    let mut sql =
        format!("SELECT d.id, d.key FROM data d INDEXED BY data_view WHERE {AS_OF}{}", conditions.sql);
    let mut values = as_of_values(version, conditions);
    if !closed.is_empty() {
        // Both halves come in key order by their indexes, and are merged.
        sql.push_str(&format!(
            " AND d.key NOT IN ({}) UNION ALL
              SELECT d.id, d.key FROM data d INDEXED BY data_closed WHERE {CLOSED_AS_OF}{} AND d.feed IN ({})",
            closed.keys(version),
            conditions.sql,
            closed.list()
        ));
        values.extend(as_of_values(version, conditions));
    }
    sql.push_str(" ORDER BY 2 LIMIT ? OFFSET ?");
    values.extend([Value::Integer(size), Value::Integer(size.saturating_mul(query.page.into()))]);
    connection.prepare(&sql)?.query_map(params_from_iter(values), |row| row.get(0))?.collect()
}

/// Keys and numbers of the versions within a circle: live ones by the R*Tree, those that ended since by
/// their end.
fn hits_within(
    connection: &Connection,
    version: CommitVersion,
    area: Area,
    conditions: &Conditions,
    closed: &Closed,
) -> Result<Vec<(Box<str>, i64)>> {
    let sees = closed.sees(version);
    let from_tree = format!(
        "SELECT d.key, d.id, d.lat, d.lon FROM geo g CROSS JOIN data d ON d.id = g.id
         WHERE g.lon_max >= ? AND g.lon_min <= ? AND g.lat_max >= ? AND g.lat_min <= ? AND d.born <= ?
            AND {sees}{}",
        conditions.sql
    );
    let ended = format!(
        "SELECT d.key, d.id, d.lat, d.lon FROM data d INDEXED BY data_dead
         WHERE d.died > ? AND {sees} AND d.lat IS NOT NULL AND d.born <= ?{}",
        conditions.sql
    );
    let as_of = Value::Integer(i64::try_from(version.0).unwrap_or(i64::MAX));
    let mut questions = Vec::new();
    for place in boxes_around(area.lat, area.lon, area.radius_km) {
        let sides = [place.lon_min, place.lon_max, place.lat_min, place.lat_max];
        let mut values: Vec<Value> = sides.into_iter().map(|side| Value::Integer(side.into())).collect();
        values.push(as_of.clone());
        questions.push((from_tree.as_str(), values));
    }
    questions.push((ended.as_str(), vec![as_of.clone(), as_of]));
    let mut hits = Vec::new();
    for (sql, mut values) in questions {
        values.extend(conditions.values.iter().cloned());
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if distance_km((area.lat, area.lon), (row.get(2)?, row.get(3)?)) <= area.radius_km {
                hits.push((text(row, 0)?.into(), row.get(1)?));
            }
        }
    }
    // A point on the date line may be in both boxes.
    hits.sort_unstable();
    hits.dedup();
    Ok(hits)
}

/// Keys of the records within a circle that the puller sees now.
pub(super) fn keys_within(
    connection: &Connection,
    area: Area,
    closed: &Closed,
) -> Result<Vec<Box<str>>, StorageError> {
    let version = version_now(connection)?;
    let hits = hits_within(connection, version, area, &Conditions::default(), closed)?;
    Ok(hits.into_iter().map(|(key, _)| key).collect())
}

/// The record of an EVSE that the puller sees now: as a member of an audience, else what everybody sees.
pub(crate) fn data_record(
    connection: &Connection,
    key: &EvseKey,
    puller: Option<&PartyId>,
) -> Result<Option<DataRow>, StorageError> {
    let one = |sql: &str| -> Result<Option<i64>, StorageError> {
        Ok(connection.prepare_cached(sql)?.query_row([key.as_str()], |row| row.get(0)).optional()?)
    };
    let closed = Closed::of(connection, puller)?;
    let of_members = match closed.is_empty() {
        true => None,
        false => one(&format!(
            "SELECT id FROM data INDEXED BY data_closed
             WHERE key = ? AND visible = 2 AND died IS NULL AND feed IN ({})",
            closed.list()
        ))?,
    };
    let id = match of_members {
        Some(id) => Some(id),
        None => {
            one("SELECT id FROM data INDEXED BY data_view WHERE key = ? AND visible = 1 AND died IS NULL")?
        }
    };
    let rows = read_rows(connection, id.into_iter().map(|id| (id, None)))?;
    Ok(rows.into_iter().next())
}

/// The values of records of one feed, in the order of the keys; `None` where there is none.
pub(crate) fn data_values(
    connection: &Connection,
    feed: &FeedId,
    keys: &[EvseKey],
) -> Result<Vec<Option<Bytes>>, StorageError> {
    let sql = match feed.kind {
        Kind::Data => {
            "SELECT p.body FROM feeds f JOIN data d ON d.feed = f.id AND d.died IS NULL
             JOIN payloads p ON p.id = d.id
             WHERE f.party = ? AND f.kind = ? AND f.audience = ? AND d.key = ?"
        }
        Kind::Status => {
            "SELECT s.status FROM feeds f JOIN status s ON s.feed = f.id
             WHERE f.party = ? AND f.kind = ? AND f.audience = ? AND s.key = ?"
        }
        Kind::Pricing => {
            "SELECT p.value FROM feeds f JOIN price p ON p.feed = f.id
             WHERE f.party = ? AND f.kind = ? AND f.audience = ? AND p.key = ?"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let (party, kind, audience) = (feed.party.to_text(), feed.kind.code(), audience_text(&feed.audience));
    let read = |key: &EvseKey| {
        statement.query_row(params![party, kind, audience, key.as_str()], |row| bytes(row, 0)).optional()
    };
    Ok(keys.iter().map(read).collect::<Result<_>>()?)
}
