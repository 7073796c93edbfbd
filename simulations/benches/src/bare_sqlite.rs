//! The bare peers of storage: the same rows in plain tables, with the settings that were measured best, and
//! nothing else: no signatures, no versions, no filters.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, params};

use crate::evses::{Evse, World};

/// Rows of a bulk load in one transaction.
const ROWS_PER_COMMIT: usize = 10_000;

/// Kilometres of one degree of latitude.
const KM_PER_DEGREE: f64 = 111.195;

/// Millionths of a degree: what the R*Tree's 32-bit numbers hold.
const MICRO: f64 = 1e6;

/// A bare database of charging points and statuses.
pub(crate) struct Bare {
    connection: Connection,
}

impl Bare {
    /// Makes an empty database; `cache_kib` of page cache.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn create(path: &Path, cache_kib: u32) -> Result<Bare> {
        let connection = Connection::open(path)?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{cache_kib};
             PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;
             CREATE TABLE evse(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, operator INTEGER NOT NULL,
                updated INTEGER NOT NULL, body BLOB NOT NULL);
             CREATE VIRTUAL TABLE geo USING rtree_i32(id, lon_min, lon_max, lat_min, lat_max);
             CREATE TABLE status(operator INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL,
                updated INTEGER NOT NULL, status TEXT NOT NULL, PRIMARY KEY(operator, key)) WITHOUT ROWID;"
        ))?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(Bare { connection })
    }

    /// Loads all charging points of a world with their places; only the time in SQLite is counted.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn load(&mut self, world: &World) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        let mut id = 0;
        for operator in 0..world.operators {
            let mut evses = world.evses(operator).peekable();
            while evses.peek().is_some() {
                let rows: Vec<(String, Evse)> = evses
                    .by_ref()
                    .take(ROWS_PER_COMMIT)
                    .map(|evse| (evse.evse_id.replace('*', ""), evse))
                    .collect();
                let start = Instant::now();
                self.insert(operator, &mut id, &rows)?;
                spent += start.elapsed();
            }
        }
        Ok(spent)
    }

    fn insert(&mut self, operator: usize, id: &mut i64, rows: &[(String, Evse)]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut evse = transaction.prepare_cached("INSERT INTO evse VALUES (?, ?, ?, ?, ?)")?;
            let mut geo = transaction.prepare_cached("INSERT INTO geo VALUES (?1, ?2, ?2, ?3, ?3)")?;
            for (key, row) in rows {
                *id += 1;
                evse.execute(params![*id, key, operator as i64, 1, row.json.as_bytes()])?;
                geo.execute(params![*id, (row.lon * MICRO) as i64, (row.lat * MICRO) as i64])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Loads the first status of every charging point.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn load_statuses(&mut self, world: &World) -> Result<()> {
        for operator in 0..world.operators {
            let of =
                |number| (world.evse_id(operator, number).replace('*', ""), world.status(operator, number));
            let rows: Vec<(String, &str)> = (0..world.evses_of(operator)).map(of).collect();
            self.upsert(operator, 0, rows.iter().map(|(key, status)| (key.as_str(), *status)))?;
        }
        Ok(())
    }

    /// Upserts statuses of one operator in one transaction.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn upsert<'r>(
        &mut self,
        operator: usize,
        seq: u64,
        rows: impl Iterator<Item = (&'r str, &'r str)>,
    ) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut upsert = transaction.prepare_cached(
                "INSERT INTO status VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT(operator, key) DO UPDATE SET seq = ?3, updated = ?4, status = ?5",
            )?;
            for (key, status) in rows {
                upsert.execute(params![operator as i64, key, seq as i64, seq as i64, status])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// How many charging points there are within a circle, and the records of the first `limit` of them.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn within(
        &self,
        lat: f64,
        lon: f64,
        radius_km: f64,
        limit: usize,
    ) -> Result<(usize, Vec<Vec<u8>>)> {
        let (high, wide) = (radius_km / KM_PER_DEGREE, radius_km / KM_PER_DEGREE / lat.to_radians().cos());
        let micro = |degrees: f64| (degrees * MICRO) as i64;
        let sides = params![micro(lon - wide), micro(lon + wide), micro(lat - high), micro(lat + high)];
        let mut find = self.connection.prepare_cached(
            "SELECT id, lon_min, lat_min FROM geo WHERE lon_max >= ? AND lon_min <= ? AND lat_max >= ? AND lat_min <= ?",
        )?;
        let mut found = find.query(sides)?;
        let mut ids: Vec<i64> = Vec::new();
        while let Some(row) = found.next()? {
            let (x, y): (i32, i32) = (row.get(1)?, row.get(2)?);
            if distance_km((lat, lon), (f64::from(y) / MICRO, f64::from(x) / MICRO)) <= radius_km {
                ids.push(row.get(0)?);
            }
        }
        ids.sort_unstable();
        let mut read = self.connection.prepare_cached("SELECT body FROM evse WHERE id = ?")?;
        let bodies: Result<Vec<Vec<u8>>, _> =
            ids.iter().take(limit).map(|id| read.query_row([id], |row| row.get(0))).collect();
        Ok((ids.len(), bodies?))
    }
}

/// Distance on the sphere (haversine formula).
fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let h = half(a.0, b.0) + a.0.to_radians().cos() * b.0.to_radians().cos() * half(a.1, b.1);
    2.0 * 6371.0088 * h.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_holds_what_was_loaded_there() {
        let dir = std::env::temp_dir().join(format!("chargemesh-bare-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let world = World::new(1, 2, 500);
        let mut bare = Bare::create(&dir.join("bare.sqlite"), 1_024).unwrap();
        bare.load(&world).unwrap();
        bare.load_statuses(&world).unwrap();
        let near = |evse: &Evse| distance_km((50.0, 8.0), (evse.lat, evse.lon)) <= 500.0;
        let expected = (0..2).flat_map(|operator| world.evses(operator)).filter(near).count();
        let (found, bodies) = bare.within(50.0, 8.0, 500.0, 10).unwrap();
        // The coordinates are cut to millionths of a degree.
        assert!(found.abs_diff(expected) <= 1 && bodies.len() == 10.min(found), "{found} {expected}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
