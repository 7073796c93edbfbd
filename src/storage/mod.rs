//! What survives: the only place that knows SQLite.
//!
//! Two databases stand in one data directory (`decisions.md` 11). The **ledger** holds what this node
//! promised, and a commit to it is on the disk before anybody hears of it. The **directory** holds what
//! others publish; it may be deleted and is filled again.
//!
//! ```text
//! engine ──changes──▶ Writer<Ledger>, Writer<Directory>   one thread each, group commit
//! facade ──pulls────▶ Reader                              some threads, each with its own snapshot
//! ```
//!
//! Nothing here reads a clock: times come with the changes. In simulations everything runs inline and in
//! memory.

mod accounts;
mod cdrs;
mod config;
mod directory;
mod error;
mod evidence;
mod ledger;
mod media;
mod place;
mod reader;
mod sessions;
mod value;
mod writer;

#[cfg(test)]
mod evidence_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use crate::protocol::CdrState;
pub use crate::roaming::change::{CdrFacts, CdrSubject, StoredCdr};
pub use accounts::{ACCOUNT_PAGE_MAX, ATTENTION_MAX, Account, AccountPlace, AccountRow, AttentionRow};
pub use cdrs::{CDRS_LISTED_MAX, CdrFilter, CdrPull, OpenPage, OpenPlace};
pub use config::Config;
pub use directory::{
    Acknowledged, Area, BridgedChanges, BridgedRecord, CommitVersion, Conflict, Counts, DataFilter, DataPage,
    DataQuery, DataRow, Delta, Directory, FeedAnswer, FeedOverview, PAGE_SIZE_MAX, PriceQuery, PriceRow,
    RestoredEntry, RestoredFeed, StatusQuery, StatusRow,
};
pub use error::{Database, StorageError};
pub use evidence::{Between, LogLine};
pub use ledger::{Ledger, LedgerState};
pub use place::{DataDir, MemoryDisk, Place};
pub use reader::Reader;
pub use writer::{Committed, Runner, Store, ThreadSpawner, Writer};

/// Both databases, opened, with everything that works on them.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Commits what this node promises.
    pub ledger: Writer<Ledger>,
    /// Commits what others publish.
    pub directory: Writer<Directory>,
    /// Answers questions.
    pub reader: Reader,
}

impl Storage {
    /// Opens both databases and starts their writers and readers. Also returns what the ledger knows; the
    /// directory's content is read by [`Reader::restore_directory`].
    ///
    /// # Errors
    /// As [`Place::directory`], [`Ledger::open`], [`Directory::open`].
    pub fn open(
        place: &Place,
        config: &Config,
        runner: &Runner,
    ) -> Result<(Storage, LedgerState), StorageError> {
        let ledger = Ledger::open(place, config)?;
        let directory = Directory::open(place, config)?;
        let state = ledger.restore()?;
        let reader = Reader::start(&directory, &ledger, config, runner)?;
        let storage = Storage {
            ledger: Writer::start(ledger, runner, config.write_queue_max)?,
            directory: Writer::start(directory, runner, config.write_queue_max)?,
            reader,
        };
        Ok((storage, state))
    }

    /// Commits what is queued, marks a clean end and closes both databases.
    ///
    /// # Errors
    /// What SQLite says of the first that fails; the other is closed all the same.
    pub async fn close(&self) -> Result<(), StorageError> {
        let directory = self.directory.close().await;
        self.ledger.close().await?;
        directory
    }
}
