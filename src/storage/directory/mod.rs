//! The directory: what others publish, and our own feeds as others see them. Everything in it can be
//! fetched again from other nodes, so a commit waits for no disk (`synchronous = NORMAL`).

mod answer;
mod bridged;
mod clean;
mod columns;
mod delta;
mod facts;
mod filter;
mod geo;
mod latest;
mod overview;
mod page;
mod prices;
mod restore;
mod rows;
mod status;
mod visible;
mod write;

#[cfg(test)]
mod bridged_tests;
#[cfg(test)]
mod tests;

pub(super) use answer::feed_answer;
pub(super) use bridged::{acknowledged, keys, marks, operators, record as bridged_record};
pub(super) use delta::data_delta;
pub(super) use facts::cdr_facts;
pub(super) use overview::{counts, feeds_overview};
pub(super) use page::{data_page, data_record, data_values, version_now};
pub(super) use prices::prices;
pub(super) use restore::{chain, chains, conflicts, equivocations, restore};
pub(super) use status::{statuses, statuses_by_key};

pub use answer::FeedAnswer;
pub use bridged::{Acknowledged, BridgedChanges, BridgedRecord};
pub use filter::{Area, DataFilter, DataQuery, PAGE_SIZE_MAX, StatusQuery};
pub use overview::{Counts, FeedOverview};
pub use page::{DataPage, DataRow, Delta};
pub use prices::{PriceQuery, PriceRow};
pub use restore::{Conflict, RestoredEntry, RestoredFeed};
pub use status::StatusRow;

use rusqlite::TransactionBehavior;

use super::config::Config;
use super::error::{Database, StorageError};
use super::place::{self, Place, SharedConnection, lock};
use crate::identity::PartyId;
use crate::roaming::change::DirectoryChange;

/// A version of the view: the number of the last commit that changed data records; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitVersion(pub u64);

/// The directory's database, opened for writing.
#[derive(Debug)]
pub struct Directory {
    pub(super) connection: SharedConnection,
    /// Keeps the data directory locked.
    pub(super) place: Place,
    history_ms: u64,
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

impl Directory {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// [`StorageError::Newer`], [`StorageError::Corrupt`] (then the file can be deleted),
    /// [`StorageError::DiskFull`], or what SQLite says.
    pub fn open(place: &Place, config: &Config) -> Result<Directory, StorageError> {
        let connection = place::open_writer(place, Database::Directory, config.writer_cache_kib)?;
        let history_ms = u64::from(config.history_days).saturating_mul(MS_PER_DAY);
        let directory = Directory { connection, place: place.clone(), history_ms };
        directory.forget_headless()?;
        Ok(directory)
    }

    /// Commits changes in one transaction: all or nothing. Returns the version of the view after it.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] or what SQLite says; nothing is changed then.
    pub fn commit(
        &mut self,
        changes: &[DirectoryChange],
        now_unix_ms: u64,
    ) -> Result<CommitVersion, StorageError> {
        self.commit_all(&[changes], now_unix_ms)
    }

    /// Commits several batches in one transaction.
    pub(super) fn commit_all(
        &mut self,
        batches: &[&[DirectoryChange]],
        now_unix_ms: u64,
    ) -> Result<CommitVersion, StorageError> {
        self.transaction(|tx| {
            let mut commit = write::Commit::begin(tx, now_unix_ms)?;
            for change in batches.iter().flat_map(|batch| batch.iter()) {
                commit.apply(change)?;
            }
            commit.finish()
        })
    }

    /// Writes what the central hub handed out, in one transaction. Returns how many records changed.
    ///
    /// # Errors
    /// As [`Directory::commit`].
    pub fn bridge(&mut self, changes: &BridgedChanges, now_unix_ms: u64) -> Result<usize, StorageError> {
        self.transaction(|tx| {
            let mut commit = write::Commit::begin(tx, now_unix_ms)?;
            let changed = bridged::apply(&mut commit, changes, now_unix_ms)?;
            commit.finish()?;
            Ok(changed)
        })
    }

    /// Says which parties of this node see what came through the central hub; without any all of it is deleted.
    ///
    /// # Errors
    /// As [`Directory::commit`].
    pub fn set_hub_partners(&mut self, partners: &[PartyId]) -> Result<(), StorageError> {
        self.transaction(|tx| bridged::set_partners(tx, partners))
    }

    /// Notes what the central hub took of ours.
    ///
    /// # Errors
    /// As [`Directory::commit`].
    pub fn acknowledge(&mut self, taken: &Acknowledged) -> Result<(), StorageError> {
        self.transaction(|tx| bridged::acknowledge(tx, taken))
    }

    /// Notes when something was done with the central hub, in unix milliseconds.
    ///
    /// # Errors
    /// As [`Directory::commit`].
    pub fn mark(&mut self, name: &str, at_unix_ms: u64) -> Result<(), StorageError> {
        self.transaction(|tx| bridged::mark(tx, name, at_unix_ms))
    }

    /// Deletes versions and tombstones that are older than the history, at most `rows_max` rows of each
    /// kind, so that the writer is not held up. Returns how many rows went; call again while there are
    /// any.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn prune(&mut self, now_unix_ms: u64, rows_max: u32) -> Result<usize, StorageError> {
        let horizon_unix_ms = now_unix_ms.saturating_sub(self.history_ms);
        self.transaction(|tx| clean::prune(tx, horizon_unix_ms, rows_max))
    }

    /// A feed without a head was dropped, or never completed: what is left of it belongs to nothing.
    fn forget_headless(&self) -> Result<(), StorageError> {
        self.transaction(|tx| {
            let feeds = clean::headless(tx)?;
            if feeds.is_empty() {
                return Ok(());
            }
            // Time zero: a commit is never dated before its predecessor.
            let mut commit = write::Commit::begin(tx, 0)?;
            for feed in feeds {
                commit.drop_feed(feed)?;
            }
            commit.finish().map(drop)
        })
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let failed = |error| StorageError::of(Database::Directory, error);
        let mut connection = lock(&self.connection);
        // Dropped without commit, a transaction is rolled back.
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = work(&tx).map_err(failed)?;
        tx.commit().map_err(failed)?;
        Ok(done)
    }

    /// Moves what is in the write-ahead log into the database file.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn checkpoint(&mut self) -> Result<(), StorageError> {
        checkpoint(&self.connection, Database::Directory)
    }
}

/// Checkpoints a database; readers that are busy may leave some of the log for later.
pub(super) fn checkpoint(connection: &SharedConnection, database: Database) -> Result<(), StorageError> {
    lock(connection)
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|error| StorageError::of(database, error))
}
