//! What can go wrong in storage, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    /// What this node promised: `ledger.sqlite`.
    Ledger,
    /// What others publish: `directory.sqlite`.
    Directory,
}

impl Database {
    /// The file in the data directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Database::Ledger => "ledger.sqlite",
            Database::Directory => "directory.sqlite",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Database::Ledger => "restore it from a backup",
            Database::Directory => {
                "stop the node and delete it with its -wal and -shm files: it is filled again from other nodes"
            }
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// Why storage did not do what it was asked for. Nothing of a failed commit is written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database was written by a later version of this program.
    #[error(
        "{database} has schema version {found}, this program knows {known}: use the later version of the program, \
         or another data directory"
    )]
    Newer {
        /// Which database.
        database: Database,
        /// Its schema version.
        found: i64,
        /// The newest schema version that is known here.
        known: i64,
    },
    /// Another process works on the data directory.
    #[error("{path} is in use by another process: stop that one or choose another data directory", path = .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The content is not what this program writes.
    #[error("{database} is damaged ({why}): {advice}", advice = .database.advice())]
    Corrupt {
        /// Which database.
        database: Database,
        /// What was found.
        why: String,
    },
    /// There is no room for the change.
    #[error("no room on the disk for {database}: free some and try again; nothing was changed")]
    DiskFull {
        /// Which database.
        database: Database,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Too many questions wait for a reader.
    #[error("storage is busy: try again later")]
    Busy,
    /// The writer or reader was closed, or its thread has ended.
    #[error("storage is closed: the node is shutting down")]
    Closed,
    /// The question costs more than the limit.
    #[error("the question costs too much: narrow it, or raise read_steps_max in the section storage")]
    TooCostly,
    /// The question or the answer is larger than its limit.
    #[error("{what}: {size} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The version that pages were to be read of is no longer kept.
    #[error("version {version} is no longer kept: start again with the first page")]
    VersionGone {
        /// The version asked for.
        version: u64,
    },
    /// Anything else that SQLite reports.
    #[error("{database}: {source}")]
    Database {
        /// Which database.
        database: Database,
        /// What SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// Classifies an error of SQLite.
    pub(super) fn of(database: Database, error: rusqlite::Error) -> StorageError {
        match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => StorageError::Corrupt { database, why: error.to_string() },
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => StorageError::DiskFull { database },
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    StorageError::Corrupt { database, why: error.to_string() }
                }
                ErrorCode::OperationInterrupted => StorageError::TooCostly,
                _ => StorageError::Database { database, source: Box::new(error) },
            },
            _ => StorageError::Database { database, source: Box::new(error) },
        }
    }
}

/// Most statements are the directory's; the ledger names itself.
impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> StorageError {
        StorageError::of(Database::Directory, error)
    }
}
