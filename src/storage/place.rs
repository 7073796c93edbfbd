//! Where the databases are, and how a database is opened: lock, settings of SQLite, migrations.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction};
use rusqlite_migration::{HookError, M, Migrations, SchemaVersion};

use super::error::{Database, StorageError};
use super::sessions;
use crate::planted::{Bug, planted};

/// Where the two databases are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In memory: for tests and simulations.
    Memory(MemoryDisk),
    /// In a directory that this process has locked.
    Directory(DataDir),
}

/// Databases in memory. They live as long as any clone of this: a node that opens it again finds what the
/// one before had committed.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<MemoryDatabases>>);

#[derive(Debug, Default)]
struct MemoryDatabases {
    open: BTreeMap<Database, SharedConnection>,
    /// What is on the disk for certain: with `synchronous = NORMAL` a loss of power may undo every commit
    /// since the last checkpoint.
    #[cfg(feature = "simulation")]
    checkpoints: BTreeMap<Database, Connection>,
}

impl MemoryDisk {
    fn open(&self, database: Database) -> rusqlite::Result<SharedConnection> {
        let mut databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = databases.open.get(&database) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Mutex::new(in_memory()?));
        databases.open.insert(database, connection.clone());
        Ok(connection)
    }

    /// Remembers the databases as they are now, as SQLite's checkpoint would.
    ///
    /// # Errors
    /// What SQLite says.
    #[cfg(feature = "simulation")]
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let mut databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (database, connection) in databases.open.clone() {
            let connection = lock(&connection);
            if !is_synced(&connection) {
                let copy = copy_of(&connection).map_err(|error| StorageError::of(database, error))?;
                databases.checkpoints.insert(database, copy);
            }
        }
        Ok(())
    }

    /// What a loss of power leaves of a node that is gone: all of a database that waits for the disk
    /// (`FULL`), of another (`NORMAL`) what the last checkpoint had, or nothing.
    #[cfg(feature = "simulation")]
    pub fn lose_power(&self) {
        let mut databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        databases.open.retain(|_, connection| is_synced(&lock(connection)));
        for (database, checkpoint) in std::mem::take(&mut databases.checkpoints) {
            databases.open.insert(database, Arc::new(Mutex::new(checkpoint)));
        }
    }

    /// The disk loses one status of the directory of a node that is gone: the `number`th, counted round
    /// and round.
    ///
    /// # Errors
    /// What SQLite says.
    #[cfg(feature = "simulation")]
    pub fn lose_status(&self, number: u64) -> Result<(), StorageError> {
        let databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(directory) = databases.open.get(&Database::Directory) else { return Ok(()) };
        let lose = "DELETE FROM status WHERE (feed, key) IN (SELECT feed, key FROM status ORDER BY feed, key
                    LIMIT 1 OFFSET ?1 % max(1, (SELECT count(*) FROM status)))";
        let lost = lock(directory).execute(lose, [number.cast_signed()]);
        lost.map(drop).map_err(|error| StorageError::of(Database::Directory, error))
    }
}

/// An empty database in memory, for this connection alone. It is a file in one piece of memory, of which the cache holds
/// what its size allows: an ordinary database in memory is all cache, where each page costs a quarter more than it
/// holds. Its pages are small: each of its thirty tables and indexes takes one at least, and nothing is read ahead.
fn in_memory() -> rusqlite::Result<Connection> {
    /// In bytes; SQLite's own are four times as large.
    const PAGE_BYTES: u32 = 1_024;
    // Without a slash: a name of its own for each connection.
    let connection = Connection::open("file:private?vfs=memdb")?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    Ok(connection)
}

/// Whether each commit waits for the disk.
#[cfg(feature = "simulation")]
fn is_synced(connection: &Connection) -> bool {
    /// SQLite's number of `FULL`.
    const FULL: i64 = 2;
    connection.pragma_query_value(None, "synchronous", |row| row.get(0)).is_ok_and(|level: i64| level >= FULL)
}

#[cfg(feature = "simulation")]
fn copy_of(connection: &Connection) -> rusqlite::Result<Connection> {
    /// All pages at once: nobody else works meanwhile.
    const ALL_PAGES: std::ffi::c_int = -1;
    let mut copy = in_memory()?;
    rusqlite::backup::Backup::new(connection, &mut copy)?.step(ALL_PAGES)?;
    Ok(copy)
}

/// A data directory, locked for this process as long as any clone of this lives.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The operating system takes the lock back when the file is closed, however the process ends.
    _lock: Arc<File>,
}

impl Place {
    /// Locks a directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process, or another part of this one, has it;
    /// [`StorageError::Io`] if it cannot be made or written.
    pub fn directory(path: &Path) -> Result<Place, StorageError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StorageError::Io { doing, path, source }
        };
        std::fs::create_dir_all(path).map_err(io("make the data directory", path))?;
        let file = path.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(io("open the lock file", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Place::Directory(DataDir { path: path.to_owned(), _lock: Arc::new(lock) })),
            Err(TryLockError::WouldBlock) => Err(StorageError::Locked { path: file }),
            Err(TryLockError::Error(source)) => Err(io("lock", &file)(source)),
        }
    }
}

/// A connection that a writer and, for databases in memory, also the readers use.
pub(super) type SharedConnection = Arc<Mutex<Connection>>;

/// Locks a shared connection. A panic elsewhere leaves no transaction open, so its poison is no reason
/// to stop.
pub(super) fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a database for writing and brings its schema up to date.
pub(super) fn open_writer(
    place: &Place,
    database: Database,
    cache_kib: u32,
) -> Result<SharedConnection, StorageError> {
    let failed = |error| StorageError::of(database, error);
    let shared = match place {
        Place::Memory(disk) => disk.open(database).map_err(failed)?,
        Place::Directory(dir) => {
            let path = dir.path.join(database.file_name());
            Arc::new(Mutex::new(Connection::open(path).map_err(failed)?))
        }
    };
    let mut connection = lock(&shared);
    check_version(&connection, database)?;
    let synchronous = match database {
        Database::Ledger if planted(Bug::LedgerNotSynced) => "NORMAL",
        Database::Ledger => "FULL",
        Database::Directory => "NORMAL",
    };
    // 4,000 pages: a checkpoint each 16 MiB, as measured best for status upserts.
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{cache_kib};
         PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;"
    );
    connection.execute_batch(&settings).map_err(failed)?;
    prepare(&connection, STATEMENTS_CACHED).map_err(failed)?;
    migrate(&mut connection, database)?;
    drop(connection);
    Ok(shared)
}

/// Opens another connection to a database, for reading only; `None` if it is in memory.
pub(super) fn open_reader(
    place: &Place,
    database: Database,
    cache_kib: u32,
) -> Result<Option<SharedConnection>, StorageError> {
    let Place::Directory(dir) = place else { return Ok(None) };
    let failed = |error| StorageError::of(database, error);
    // Not SQLITE_OPEN_READ_ONLY: a reader of a WAL database writes the shared index; query_only keeps
    // statements from writing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(dir.path.join(database.file_name()), flags).map_err(failed)?;
    let settings = format!(
        "PRAGMA query_only = ON; PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 0;"
    );
    connection.execute_batch(&settings).map_err(failed)?;
    prepare(&connection, STATEMENTS_CACHED).map_err(failed)?;
    Ok(Some(Arc::new(Mutex::new(connection))))
}

/// Statements that a connection keeps prepared: more than any of ours uses.
const STATEMENTS_CACHED: usize = 64;

/// How long a connection waits for another of this process, in milliseconds; other processes are kept
/// out by the lock file.
const BUSY_TIMEOUT_MS: u64 = 5_000;

fn prepare(connection: &Connection, statements: usize) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(statements);
    connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
}

fn migrations(database: Database) -> Migrations<'static> {
    Migrations::new(match database {
        Database::Ledger => vec![
            M::up(include_str!("migrations/ledger-1.sql")),
            M::up(include_str!("migrations/ledger-2.sql")),
            M::up(include_str!("migrations/ledger-3.sql")),
            M::up(include_str!("migrations/ledger-4.sql")),
            M::up(include_str!("migrations/ledger-5.sql")),
            M::up(include_str!("migrations/ledger-6.sql")),
            M::up(include_str!("migrations/ledger-7.sql")),
            M::up(include_str!("migrations/ledger-8.sql")),
            M::up(include_str!("migrations/ledger-9.sql")),
            M::up(include_str!("migrations/ledger-10.sql")),
            M::up_with_hook(include_str!("migrations/ledger-11.sql"), |tx: &Transaction<'_>| {
                sessions::fill_accounts(tx).map_err(HookError::from)
            }),
        ],
        Database::Directory => vec![
            M::up(include_str!("migrations/directory-1.sql")),
            M::up(include_str!("migrations/directory-2.sql")),
            M::up(include_str!("migrations/directory-3.sql")),
            M::up(include_str!("migrations/directory-4.sql")),
        ],
    })
}

/// The newest schema version that this program knows.
fn schema_version(database: Database) -> i64 {
    match database {
        Database::Ledger => 11,
        Database::Directory => 4,
    }
}

fn check_version(connection: &Connection, database: Database) -> Result<(), StorageError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StorageError::of(database, error))?;
    let known = schema_version(database);
    if found > known {
        return Err(StorageError::Newer { database, found, known });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, database: Database) -> Result<(), StorageError> {
    let migrations = migrations(database);
    migrations.to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => StorageError::of(database, err),
        other => StorageError::Database { database, source: Box::new(other) },
    })?;
    debug_assert!(matches!(migrations.current_version(connection), Ok(SchemaVersion::Inside(_))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;
    use crate::identity::PartyId;
    use crate::storage::Account;
    use crate::storage::testing::session_record;

    #[test]
    fn what_this_program_makes_it_also_opens() {
        for database in [Database::Ledger, Database::Directory] {
            let place = Place::Memory(MemoryDisk::default());
            let made = open_writer(&place, database, 1_024).unwrap();
            let version: i64 =
                lock(&made).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(version, schema_version(database), "{database:?}");
            open_writer(&place, database, 1_024).unwrap();
        }
    }

    #[test]
    fn sessions_that_were_stored_without_their_account_get_it() {
        let disk = MemoryDisk::default();
        let old = disk.open(Database::Ledger).unwrap();
        migrations(Database::Ledger).to_version(&mut lock(&old), 10).unwrap();
        let put = |session: &str, record: &[u8]| {
            let sql = "INSERT INTO sessions(session, is_over, changed_unix_ms, record) VALUES (?, 0, 5, ?)";
            lock(&old).execute(sql, params![session, record]).unwrap();
        };
        // More than are read at once.
        let names: Vec<String> = (0..2_001).map(|number| format!("session-{number:04}")).collect();
        for name in &names {
            put(name, &session_record(name, 5).encode());
        }
        put("session-damaged", b"no record");
        let opened = open_writer(&Place::Memory(disk), Database::Ledger, 1_024).unwrap();
        let (ours, partner) = (PartyId::parse("EMP:DEDCB").unwrap(), PartyId::parse("CPO:DEGEF").unwrap());
        let account = Account { ours, partner, from_unix_ms: 0, until_unix_ms: 1_000 };
        let mut marks = sessions::marks(&lock(&opened), &account, 5_000).unwrap();
        marks.sort();
        let found: Vec<String> = marks.into_iter().map(|mark| mark.session).collect();
        assert_eq!(found, names);
    }
}
