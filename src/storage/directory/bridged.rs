//! What came through the central hub: a table of its own beside the feeds. It is shown to the EMPs of this node that
//! are partners of the hub, after the view, and is in no answer to another node, for those are made of feeds.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, Row, params, params_from_iter};
use sha2::{Digest as _, Sha256};

use super::CommitVersion;
use super::columns::modes_text;
use super::filter::{Conditions, DataQuery, PAGE_SIZE_MAX, StatusQuery, conditions_on_bridged};
use super::geo::{boxes_around, distance_km};
use super::page::{DataRow, Delta};
use super::status::StatusRow;
use super::write::Commit;
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::oicp::record::Summary;
use crate::protocol::{Digest, Kind};
use crate::storage::StorageError;
use crate::storage::value::{Number, bytes, digest, key, number, text};

/// Millionths of a degree in one degree.
const MICRO: f64 = 1e6;
/// Most records that a difference is worked out for, about 200 bytes each; a larger one is answered in full.
const DELTA_ROWS_MAX: usize = 200_000;

/// A record that the hub handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgedRecord {
    /// What a node needs of it.
    pub summary: Summary,
    /// Its text, without the fields that a pull adds.
    pub body: Box<str>,
    /// OperatorID as the hub spells it.
    pub operator_id: String,
    /// The same without separators.
    pub operator: String,
    /// OperatorName; empty if there is none.
    pub operator_name: String,
    /// When the hub says it changed, in unix milliseconds.
    pub at_unix_ms: u64,
}

/// What a call of the hub taught.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BridgedChanges {
    /// Records that are there.
    pub records: Vec<BridgedRecord>,
    /// Records that are not any more.
    pub gone: Vec<EvseKey>,
    /// Statuses: EVSE and what is said of it.
    pub statuses: Vec<(EvseKey, Box<str>)>,
}

/// What the hub took of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Whose.
    pub party: PartyId,
    /// Data or status.
    pub kind: Kind,
    /// The hash of each record; `None`: it was deleted.
    pub records: Vec<(EvseKey, Option<Digest>)>,
    /// These are all that the hub has.
    pub is_all: bool,
}

/// Rows of a page that come after those of the view.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) rows: Vec<DataRow>,
    pub(super) total: u64,
}

/// Writes what the hub handed out; what is as it was stays so. Returns how many records changed.
pub(super) fn apply(commit: &mut Commit<'_>, changes: &BridgedChanges, now_unix_ms: u64) -> Result<usize> {
    let changed = put(commit, &changes.records)? + end(commit, &changes.gone)?;
    let tx = commit.tx;
    let mut status = tx.prepare_cached(
        "INSERT INTO bridged_status(key, at_unix_ms, status) VALUES (?, ?, ?)
         ON CONFLICT(key) DO UPDATE SET at_unix_ms = excluded.at_unix_ms, status = excluded.status
         WHERE status != excluded.status",
    )?;
    for (key, text) in &changes.statuses {
        status.execute(params![key.as_str(), Number(now_unix_ms), text])?;
    }
    Ok(changed)
}

fn put(commit: &mut Commit<'_>, records: &[BridgedRecord]) -> Result<usize> {
    let tx = commit.tx;
    let mut known = tx.prepare_cached("SELECT id, hash FROM bridged WHERE key = ? AND died IS NULL")?;
    let mut end = tx.prepare_cached("UPDATE bridged SET died = ? WHERE id = ?")?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO bridged(key, operator, operator_id, operator_name, at_unix_ms, hash, visible, born, evse_id,
            lat, lon, country, accessibility, calibration, renewable, hubject, open_24_hours, auth_modes, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, NOT EXISTS (SELECT 1 FROM data d INDEXED BY data_view
            WHERE d.key = ?1 AND d.visible = 1 AND d.died IS NULL), ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
            ?17, ?18)",
    )?;
    let mut changed = 0;
    for record in records {
        let summary = &record.summary;
        let hash: Digest = Sha256::digest(record.body.as_bytes()).into();
        let old = known.query_row([summary.key.as_str()], |row| Ok((row.get::<_, i64>(0)?, digest(row, 1)?)));
        let version = match old.optional()? {
            Some((_, old)) if old == hash => continue,
            Some((id, _)) => {
                let version = commit.touch();
                end.execute(params![Number(version), id])?;
                version
            }
            None => commit.touch(),
        };
        insert.execute(params![
            summary.key.as_str(),
            record.operator,
            record.operator_id,
            record.operator_name,
            Number(record.at_unix_ms),
            hash,
            Number(version),
            summary.evse_id,
            summary.position.map(|position| position.lat),
            summary.position.map(|position| position.lon),
            summary.country,
            summary.accessibility,
            summary.calibration_law,
            summary.renewable_energy,
            summary.hubject_compatible,
            summary.open_24_hours,
            modes_text(summary),
            record.body.as_bytes(),
        ])?;
        changed += 1;
    }
    Ok(changed)
}

fn end(commit: &mut Commit<'_>, keys: &[EvseKey]) -> Result<usize> {
    if keys.is_empty() {
        return Ok(0);
    }
    let (version, tx) = (commit.touch(), commit.tx);
    let mut end = tx.prepare_cached("UPDATE bridged SET died = ? WHERE key = ? AND died IS NULL")?;
    let mut forget = tx.prepare_cached("DELETE FROM bridged_status WHERE key = ?")?;
    let mut ended = 0;
    for key in keys {
        ended += end.execute(params![Number(version), key.as_str()])?;
        forget.execute([key.as_str()])?;
    }
    Ok(ended)
}

/// Notes what the hub took of ours.
pub(super) fn acknowledge(tx: &Connection, taken: &Acknowledged) -> Result<()> {
    let (party, kind) = (taken.party.to_text(), taken.kind.code());
    if taken.is_all {
        tx.execute("DELETE FROM hub_acknowledged WHERE party = ? AND kind = ?", params![party, kind])?;
    }
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO hub_acknowledged(party, kind, key, hash) VALUES (?, ?, ?, ?)",
    )?;
    let mut forget =
        tx.prepare_cached("DELETE FROM hub_acknowledged WHERE party = ? AND kind = ? AND key = ?")?;
    for (key, hash) in &taken.records {
        match hash {
            Some(hash) => put.execute(params![party, kind, key.as_str(), hash])?,
            None => forget.execute(params![party, kind, key.as_str()])?,
        };
    }
    Ok(())
}

/// Notes when something was done.
pub(super) fn mark(tx: &Connection, name: &str, at_unix_ms: u64) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO hub_marks(name, at_unix_ms) VALUES (?, ?)";
    tx.prepare_cached(sql)?.execute(params![name, Number(at_unix_ms)]).map(drop)
}

/// From now on these see it. Without any, all that came through the hub goes, and so does what is known of it.
pub(super) fn set_partners(tx: &Connection, partners: &[PartyId]) -> Result<()> {
    tx.execute("DELETE FROM hub_partners", [])?;
    for partner in partners {
        tx.execute("INSERT INTO hub_partners(party) VALUES (?)", [partner.to_text()])?;
    }
    if partners.is_empty() {
        tx.execute_batch(
            "DELETE FROM bridged; DELETE FROM bridged_status; DELETE FROM hub_marks WHERE name LIKE 'pull-%';",
        )?;
    }
    Ok(())
}

/// When what was done.
pub(crate) fn marks(connection: &Connection) -> Result<BTreeMap<String, u64>, StorageError> {
    let mut statement = connection.prepare_cached("SELECT name, at_unix_ms FROM hub_marks")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, number(row, 1)?)))?;
    Ok(rows.collect::<Result<_>>()?)
}

/// What the hub took of a party's.
pub(crate) fn acknowledged(
    connection: &Connection,
    party: &PartyId,
    kind: Kind,
) -> Result<BTreeMap<EvseKey, Digest>, StorageError> {
    let mut statement =
        connection.prepare_cached("SELECT key, hash FROM hub_acknowledged WHERE party = ? AND kind = ?")?;
    let rows = statement
        .query_map(params![party.to_text(), kind.code()], |row| Ok((key(row, 0)?, digest(row, 1)?)))?;
    Ok(rows.collect::<Result<_>>()?)
}

/// Operators of what came through the hub as it spells them, and how many EVSEs each has.
pub(crate) fn operators(connection: &Connection) -> Result<Vec<(String, u64)>, StorageError> {
    let sql = "SELECT (SELECT b.operator_id FROM bridged b WHERE b.operator = g.operator AND b.died IS NULL LIMIT 1),
        g.evses FROM (SELECT operator, count(*) AS evses FROM bridged INDEXED BY bridged_operator
        WHERE died IS NULL GROUP BY operator) g ORDER BY g.operator";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, number(row, 1)?)))?;
    Ok(rows.collect::<Result<_>>()?)
}

/// The next keys after one, in order, at most so many.
pub(crate) fn keys(connection: &Connection, after: &str, most: u32) -> Result<Vec<EvseKey>, StorageError> {
    let sql =
        "SELECT key FROM bridged INDEXED BY bridged_live WHERE died IS NULL AND key > ? ORDER BY key LIMIT ?";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![after, most], |row| key(row, 0))?;
    Ok(rows.collect::<Result<_>>()?)
}

/// Whether there is anything, and the puller may see it: only partners of the hub do.
fn is_shown(connection: &Connection, puller: Option<&PartyId>) -> Result<bool> {
    let Some(puller) = puller else { return Ok(false) };
    let sql = "SELECT EXISTS(SELECT 1 FROM hub_partners WHERE party = ?) AND EXISTS(SELECT 1 FROM bridged)";
    connection.prepare_cached(sql)?.query_row([puller.to_text()], |row| row.get(0))
}

const AS_OF: &str = "d.visible = 1 AND d.born <= ? AND (d.died IS NULL OR d.died > ?)";

/// The part of a page behind the `before` records of the view, of which it already shows `shown`.
pub(super) fn page(
    connection: &Connection,
    version: CommitVersion,
    query: &DataQuery,
    before: u64,
    shown: usize,
) -> Result<Beside, StorageError> {
    if !is_shown(connection, query.puller.as_ref())? {
        return Ok(Beside::default());
    }
    let conditions = conditions_on_bridged(connection, query)?;
    let part = Part::of(query, before, shown);
    if query.center.is_some() {
        let hits = hits(connection, version, query, &conditions)?;
        let ids: Vec<(i64, Option<Delta>)> = part.of_list(&hits).iter().map(|(_, id)| (*id, None)).collect();
        return Ok(Beside { rows: read(connection, &ids)?, total: hits.len() as u64 });
    }
    let number_of = Value::Integer(i64::try_from(version.0).unwrap_or(i64::MAX));
    let mut values = [&[number_of.clone(), number_of], conditions.values.as_slice()].concat();
    let count =
        format!("SELECT count(*) FROM bridged d INDEXED BY bridged_view WHERE {AS_OF}{}", conditions.sql);
    let total = connection
        .prepare_cached(&count)?
        .query_row(params_from_iter(values.clone()), |row| number(row, 0))?;
    let sql = format!(
        "SELECT d.id FROM bridged d INDEXED BY bridged_view WHERE {AS_OF}{} ORDER BY d.key LIMIT ? OFFSET ?",
        conditions.sql
    );
    let limit = |count: u64| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    values.extend([limit(part.take), limit(part.skip)]);
    let mut statement = connection.prepare_cached(&sql)?;
    let ids = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, None)))?;
    let ids: Vec<(i64, Option<Delta>)> = ids.collect::<Result<_>>()?;
    Ok(Beside { rows: read(connection, &ids)?, total })
}

/// Which of the records beside the view a page shows.
struct Part {
    skip: u64,
    take: u64,
}

impl Part {
    fn of(query: &DataQuery, before: u64, shown: usize) -> Part {
        let size = u64::from(query.size.min(PAGE_SIZE_MAX));
        let first = size.saturating_mul(query.page.into());
        let is_behind = first.saturating_add(size) > before;
        let take = if is_behind { size.saturating_sub(shown as u64) } else { 0 };
        Part { skip: first.saturating_sub(before), take }
    }

    fn of_list<'l, T>(&self, list: &'l [T]) -> &'l [T] {
        let first = usize::try_from(self.skip).unwrap_or(usize::MAX).min(list.len());
        let last = first.saturating_add(usize::try_from(self.take).unwrap_or(usize::MAX)).min(list.len());
        list.get(first..last).unwrap_or_default()
    }
}

/// Keys and numbers of the records within the circle of a question, by key.
fn hits(
    connection: &Connection,
    version: CommitVersion,
    query: &DataQuery,
    conditions: &Conditions,
) -> Result<Vec<(Box<str>, i64)>> {
    let Some(area) = query.center else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT d.key, d.id, d.lat, d.lon FROM bridged d INDEXED BY bridged_place
         WHERE d.lat BETWEEN ? AND ? AND d.lon BETWEEN ? AND ? AND {AS_OF}{}",
        conditions.sql
    );
    let as_of = Value::Integer(i64::try_from(version.0).unwrap_or(i64::MAX));
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(&sql)?;
    for place in boxes_around(area.lat, area.lon, area.radius_km) {
        let sides = [place.lat_min, place.lat_max, place.lon_min, place.lon_max];
        let mut values: Vec<Value> = sides.iter().map(|side| Value::Real(f64::from(*side) / MICRO)).collect();
        values.extend([as_of.clone(), as_of.clone()]);
        values.extend(conditions.values.iter().cloned());
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if distance_km((area.lat, area.lon), (row.get(2)?, row.get(3)?)) <= area.radius_km {
                found.push((text(row, 0)?.into(), row.get(1)?));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The part of a delta page behind the `before` changes of the view; `None` if there are too many: answer in full.
pub(super) fn delta(
    connection: &Connection,
    (from, to): (u64, CommitVersion),
    query: &DataQuery,
    before: u64,
    shown: usize,
) -> Result<Option<Beside>, StorageError> {
    if !is_shown(connection, query.puller.as_ref())? {
        return Ok(Some(Beside::default()));
    }
    let conditions = conditions_on_bridged(connection, query)?;
    let mut pairs: BTreeMap<Box<str>, (Option<i64>, Option<i64>)> = BTreeMap::new();
    let ended = "d.died > ?1 AND d.died <= ?2 AND d.born <= ?1 AND d.visible = 1";
    let begun = "d.born > ?1 AND d.born <= ?2 AND (d.died IS NULL OR d.died > ?2) AND d.visible = 1";
    for (sql, is_new) in [(ended, false), (begun, true)] {
        // Numbered marks first: those of the conditions count on from there.
        let sql = format!("SELECT d.key, d.id FROM bridged d WHERE {sql}{}", conditions.sql);
        let version = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let mut values = vec![version(from), version(to.0)];
        values.extend(conditions.values.iter().cloned());
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let pair = pairs.entry(text(row, 0)?.into()).or_default();
            *(if is_new { &mut pair.1 } else { &mut pair.0 }) = Some(row.get(1)?);
            if pairs.len() > DELTA_ROWS_MAX {
                return Ok(None);
            }
        }
    }
    let changes = pairs.into_values().filter_map(|pair| match pair {
        (None, Some(new)) => Some((new, Some(Delta::Insert))),
        (Some(_), Some(new)) => Some((new, Some(Delta::Update))),
        (Some(old), None) => Some((old, Some(Delta::Delete))),
        (None, None) => None,
    });
    let changes: Vec<(i64, Option<Delta>)> = changes.collect();
    let rows = read(connection, Part::of(query, before, shown).of_list(&changes))?;
    Ok(Some(Beside { rows, total: changes.len() as u64 }))
}

fn read(connection: &Connection, ids: &[(i64, Option<Delta>)]) -> Result<Vec<DataRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, body, operator_id, operator_name, at_unix_ms FROM bridged WHERE id = ?",
    )?;
    let one = |(id, delta): &(i64, Option<Delta>)| {
        statement.query_row([id], |row| {
            Ok(DataRow {
                key: key(row, 0)?,
                payload: bytes(row, 1)?,
                operator_id: text(row, 2)?.into(),
                operator_name: text(row, 3)?.into(),
                last_update_unix_ms: number(row, 4)?,
                delta: *delta,
            })
        })
    };
    ids.iter().map(one).collect()
}

/// What is asked of a status, and of its record.
const STATUS: &str = "SELECT d.operator_id, d.operator_name, d.evse_id, s.status, s.at_unix_ms, d.key
    FROM bridged d JOIN bridged_status s ON s.key = d.key
    WHERE d.died IS NULL AND d.visible = 1 AND NOT EXISTS (SELECT 1 FROM status v INDEXED BY status_view
        WHERE v.key = d.key AND v.visible = 1)";

/// The statuses that match, by operator and key; `most` and one more at most.
pub(super) fn statuses(
    connection: &Connection,
    query: &StatusQuery,
    most: usize,
) -> Result<Vec<StatusRow>, StorageError> {
    if !is_shown(connection, query.puller.as_ref())? {
        return Ok(Vec::new());
    }
    let wanted = DataQuery {
        operators: query.operators.clone(),
        center: query.center,
        puller: query.puller.clone(),
        ..DataQuery::default()
    };
    let conditions = conditions_on_bridged(connection, &wanted)?;
    let mut sql = format!("{STATUS}{}", conditions.sql);
    let mut values = conditions.values.clone();
    if let Some(status) = &query.status {
        sql.push_str(" AND s.status = ?");
        values.push(Value::Text(status.clone()));
    }
    if query.center.is_some() {
        let version = super::page::version_now(connection)?;
        let keys: Vec<(Box<str>, i64)> = hits(connection, version, &wanted, &conditions)?;
        sql.push_str(" AND d.id = ?");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = Vec::new();
        for (_, id) in keys {
            let values = [values.as_slice(), &[Value::Integer(id)]].concat();
            found.extend(statement.query_row(params_from_iter(values), status_row).optional()?);
        }
        return Ok(found.into_iter().map(|(_, row)| row).collect());
    }
    sql.push_str(" ORDER BY d.operator, d.key LIMIT ?");
    values.push(Value::Integer(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), status_row)?;
    Ok(rows.map(|row| row.map(|(_, row)| row)).collect::<Result<_>>()?)
}

/// The status of an EVSE.
pub(super) fn status(
    connection: &Connection,
    evse: &EvseKey,
    puller: Option<&PartyId>,
) -> Result<Option<StatusRow>, StorageError> {
    if is_shown(connection, puller)? { status_of(connection, evse) } else { Ok(None) }
}

/// The record of an EVSE and its status, whoever may see them.
pub(crate) fn record(
    connection: &Connection,
    evse: &EvseKey,
) -> Result<Option<(DataRow, Option<StatusRow>)>, StorageError> {
    let sql = "SELECT id FROM bridged INDEXED BY bridged_live WHERE key = ? AND died IS NULL";
    let id = connection.prepare_cached(sql)?.query_row([evse.as_str()], |row| row.get(0)).optional()?;
    let found = read(connection, &id.map(|id| (id, None)).into_iter().collect::<Vec<_>>())?.pop();
    found.map(|row| Ok((row, status_of(connection, evse)?))).transpose()
}

fn status_of(connection: &Connection, evse: &EvseKey) -> Result<Option<StatusRow>, StorageError> {
    let found = connection
        .prepare_cached(&format!("{STATUS} AND d.key = ?"))?
        .query_row([evse.as_str()], status_row)
        .optional()?;
    Ok(found.map(|(_, row)| row))
}

fn status_row(row: &Row<'_>) -> Result<(EvseKey, StatusRow)> {
    let at_unix_ms = number(row, 4)?;
    let status = StatusRow {
        operator_id: text(row, 0)?.into(),
        operator_name: text(row, 1)?.into(),
        evse_id: text(row, 2)?.into(),
        status: text(row, 3)?.into(),
        observed_at_unix_ms: at_unix_ms,
        confirmed_at_unix_ms: at_unix_ms,
    };
    Ok((key(row, 5)?, status))
}
