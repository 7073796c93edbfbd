//! Records of which only the latest version is kept: statuses and prices.

use rusqlite::{Result, ToSql, params};

use super::write::{Commit, Feed};
use crate::oicp::id::EvseKey;
use crate::roaming::change::RecordChange;
use crate::storage::value::Number;

/// A table of such records, as the statements that write it.
pub(super) struct Table {
    /// Whether it keeps this node's time of the change, the last value of its statements.
    timed: bool,
    update: &'static str,
    upsert: &'static str,
    delete: &'static str,
    show: &'static str,
}

/// EVSE statuses. Nearly every change is of a status that is there and stays as visible as it was. An upsert names
/// `visible`, and SQLite would then write the index again each time.
pub(super) const STATUS: Table = Table {
    timed: false,
    update: "UPDATE status SET seq = ?3, at_unix_ms = ?4, status = ?5
             WHERE feed = ?1 AND key = ?2 AND visible = ?6",
    upsert: "INSERT INTO status(feed, key, seq, at_unix_ms, status, visible) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT(feed, key) DO UPDATE SET seq = ?3, at_unix_ms = ?4, status = ?5, visible = ?6",
    delete: "DELETE FROM status WHERE feed = ? AND key = ?",
    show: "UPDATE status SET visible = ?3 WHERE feed = ?1 AND key = ?2",
};

/// Prices.
pub(super) const PRICE: Table = Table {
    timed: true,
    update: "UPDATE price SET seq = ?3, at_unix_ms = ?4, value = ?5, changed_unix_ms = ?7
             WHERE feed = ?1 AND key = ?2 AND visible = ?6",
    upsert: "INSERT INTO price(feed, key, seq, at_unix_ms, value, visible, changed_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT(feed, key)
             DO UPDATE SET seq = ?3, at_unix_ms = ?4, value = ?5, visible = ?6, changed_unix_ms = ?7",
    delete: "DELETE FROM price WHERE feed = ? AND key = ?",
    show: "UPDATE price SET visible = ?3, changed_unix_ms = ?4 WHERE feed = ?1 AND key = ?2 AND visible != ?3",
};

impl Table {
    /// The values of a statement: without the time that stands last, if it is not kept.
    fn values<'v>(&self, all: &'v [&'v dyn ToSql]) -> &'v [&'v dyn ToSql] {
        match all.split_last() {
            Some((_, others)) if !self.timed => others,
            _ => all,
        }
    }
}

impl Commit<'_> {
    pub(super) fn latest_records(
        &mut self,
        table: &Table,
        feed: &Feed,
        records: &[RecordChange],
    ) -> Result<()> {
        let mut buried = self.any("SELECT EXISTS(SELECT 1 FROM tombstones WHERE feed = ?)", feed.id)?;
        let mut update = self.tx.prepare_cached(table.update)?;
        let mut upsert = self.tx.prepare_cached(table.upsert)?;
        for record in records {
            let key = record.key.as_str();
            let Some(value) = &record.value else {
                self.run(table.delete, params![feed.id, key])?;
                self.bury(feed.id, record)?;
                buried = true;
                continue;
            };
            let (seq, at, now) = (Number(record.seq), Number(record.at_unix_ms), Number(self.at_unix_ms));
            let row = params![feed.id, key, seq, at, value.as_ref(), feed.visible(record.visible), now];
            let row = table.values(row);
            if feed.head.is_some() && update.execute(row)? > 0 {
                continue;
            }
            if buried {
                self.unbury(feed.id, &record.key)?;
            }
            upsert.execute(row)?;
        }
        Ok(())
    }

    pub(super) fn show_latest(
        &mut self,
        table: &Table,
        feed: i64,
        key: &EvseKey,
        visible: i64,
    ) -> Result<()> {
        let row = params![feed, key.as_str(), visible, Number(self.at_unix_ms)];
        self.run(table.show, table.values(row)).map(drop)
    }
}
