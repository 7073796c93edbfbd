//! Forgetting: history that is too old, feeds that are left without a head.

use rusqlite::{OptionalExtension, Result, Transaction, params};

use crate::storage::value::{Number, number};

/// Deletes what ended before the horizon, at most `rows_max` rows of each kind.
pub(super) fn prune(tx: &Transaction<'_>, horizon_unix_ms: u64, rows_max: u32) -> Result<usize> {
    let horizon = tx
        .query_row(
            "SELECT version FROM commits WHERE at_unix_ms <= ? ORDER BY version DESC LIMIT 1",
            [Number(horizon_unix_ms)],
            |row| number(row, 0),
        )
        .optional()?;
    let mut rows = 0;
    if let Some(version) = horizon {
        tx.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'history_from_unix_ms'",
            [Number(horizon_unix_ms)],
        )?;
        let dead = "SELECT id FROM data WHERE died <= ? ORDER BY died LIMIT ?";
        tx.execute(
            &format!("DELETE FROM payloads WHERE id IN ({dead})"),
            params![Number(version), rows_max],
        )?;
        rows += tx
            .execute(&format!("DELETE FROM data WHERE id IN ({dead})"), params![Number(version), rows_max])?;
        let gone = "DELETE FROM bridged WHERE id IN (SELECT id FROM bridged WHERE died <= ? LIMIT ?)";
        rows += tx.execute(gone, params![Number(version), rows_max])?;
        // All of them at once: a version must not be named any more when its rows begin to go.
        rows += tx.execute("DELETE FROM commits WHERE version < ?", [Number(version)])?;
    }
    Ok(rows + prune_tombstones(tx, horizon_unix_ms, rows_max)?)
}

/// A deleted tombstone raises its feed's horizon: changes before it can no longer be listed.
fn prune_tombstones(tx: &Transaction<'_>, horizon_unix_ms: u64, rows_max: u32) -> Result<usize> {
    let mut old = tx.prepare_cached(
        "SELECT feed, key, seq FROM tombstones WHERE kept_since_unix_ms < ? ORDER BY feed, key LIMIT ?",
    )?;
    let old: Vec<(i64, String, i64)> = old
        .query_map(params![Number(horizon_unix_ms), rows_max], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_>>()?;
    for (feed, key, seq) in &old {
        tx.prepare_cached("UPDATE feeds SET horizon_seq = max(horizon_seq, ?) WHERE id = ?")?
            .execute(params![seq, feed])?;
        tx.prepare_cached("DELETE FROM tombstones WHERE feed = ? AND key = ?")?
            .execute(params![feed, key])?;
    }
    Ok(old.len())
}

/// Feeds without a head that still have records.
pub(super) fn headless(tx: &Transaction<'_>) -> Result<Vec<i64>> {
    tx.prepare(
        "SELECT id FROM feeds WHERE signed IS NULL AND
            (EXISTS(SELECT 1 FROM data WHERE feed = feeds.id AND died IS NULL)
             OR EXISTS(SELECT 1 FROM status WHERE feed = feeds.id)
             OR EXISTS(SELECT 1 FROM price WHERE feed = feeds.id))",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}
