//! The ledger: what this node promised. A commit returns when it is on the disk (`synchronous = FULL`).

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};

use super::accounts;
use super::cdrs;
use super::config::Config;
use super::directory::{self, CommitVersion, RestoredEntry, RestoredFeed};
use super::error::{Database, StorageError};
use super::evidence;
use super::media;
use super::place::{self, Place, SharedConnection, lock};
use super::sessions;
use super::value::{self, HEAD_COLUMNS, Number, bytes, digest, key, number};
use crate::oicp::id::EvseKey;
use crate::protocol::{Digest, FeedId, Head, SignedHead};
use crate::roaming::change::{HeldPush, LedgerChange, RecordChange};

/// The ledger's database, opened for writing.
#[derive(Debug)]
pub struct Ledger {
    pub(super) connection: SharedConnection,
    /// Keeps the data directory locked.
    pub(super) place: Place,
    was_clean: bool,
}

/// What the ledger knows at a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Our own feeds; incarnations are in their heads.
    pub feeds: Vec<RestoredFeed>,
    /// Pushes that wait for confirmation, by number.
    pub held: Vec<HeldPush>,
    /// The registry's objects with the time when each was first held, in the order of that time.
    pub identity: Vec<(Bytes, u64)>,
    /// Whether the last run ended by [`Ledger::close`]; true for a new ledger. If not, our feeds go on
    /// in a new incarnation (`decisions.md` 4).
    pub was_clean: bool,
}

impl Ledger {
    /// Opens or makes the database, and marks it as in use, durably.
    ///
    /// # Errors
    /// [`StorageError::Newer`], [`StorageError::Corrupt`], [`StorageError::DiskFull`], or what SQLite says.
    pub fn open(place: &Place, config: &Config) -> Result<Ledger, StorageError> {
        let connection = place::open_writer(place, Database::Ledger, config.writer_cache_kib)?;
        let mut ledger = Ledger { connection, place: place.clone(), was_clean: true };
        ledger.was_clean = ledger.transaction(|tx| {
            let clean: Option<bool> = tx
                .query_row("SELECT value FROM meta WHERE name = 'clean'", [], |row| row.get(0))
                .optional()?;
            tx.execute("INSERT OR REPLACE INTO meta(name, value) VALUES ('clean', 0)", [])?;
            Ok(clean.unwrap_or(true))
        })?;
        Ok(ledger)
    }

    /// Commits changes durably in one transaction: all or nothing. The version counts the view's, so it
    /// is always 0 here.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] or what SQLite says; nothing is changed then.
    pub fn commit(&mut self, changes: &[LedgerChange]) -> Result<CommitVersion, StorageError> {
        self.commit_all(&[changes])
    }

    pub(super) fn commit_all(&mut self, batches: &[&[LedgerChange]]) -> Result<CommitVersion, StorageError> {
        self.transaction(|tx| batches.iter().flat_map(|batch| batch.iter()).try_for_each(|c| apply(tx, c)))?;
        Ok(CommitVersion::default())
    }

    /// Everything that the core needs after a start.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] or what SQLite says.
    pub fn restore(&self) -> Result<LedgerState, StorageError> {
        self.transaction(|tx| {
            Ok(LedgerState {
                feeds: feeds(tx)?,
                held: held(tx)?,
                identity: identity(tx)?,
                was_clean: self.was_clean,
            })
        })
    }

    /// Marks the end as clean and moves everything into the database file. Commits afterwards take the
    /// mark back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.transaction(|tx| {
            tx.execute("INSERT OR REPLACE INTO meta(name, value) VALUES ('clean', 1)", []).map(drop)
        })?;
        directory::checkpoint(&self.connection, Database::Ledger)
    }

    fn transaction<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T, StorageError> {
        let failed = |error| StorageError::of(Database::Ledger, error);
        let mut connection = lock(&self.connection);
        // Dropped without commit, a transaction is rolled back.
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = work(&tx).map_err(failed)?;
        tx.commit().map_err(failed)?;
        Ok(done)
    }
}

fn apply(tx: &Transaction<'_>, change: &LedgerChange) -> Result<()> {
    tx.prepare_cached("UPDATE meta SET value = 0 WHERE name = 'clean' AND value != 0")?.execute([])?;
    match change {
        LedgerChange::Records { feed, records } => write_records(tx, feed, records),
        LedgerChange::Head { head, signed } => write_head(tx, head, signed),
        LedgerChange::Identity { hash, bytes, received_unix_s, outdone } => {
            tx.prepare_cached(
                "INSERT OR IGNORE INTO identity(hash, received_unix_s, bytes) VALUES (?, ?, ?)",
            )?
            .execute(params![hash, Number(*received_unix_s), bytes.as_ref()])?;
            let Some(outdone) = outdone else { return Ok(()) };
            tx.prepare_cached("DELETE FROM identity WHERE hash = ?")?.execute([outdone]).map(drop)
        }
        LedgerChange::TrustListSeen { signer, seq } => tx
            .prepare_cached(
                "INSERT INTO meta(name, value) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET value = max(value, ?2)",
            )?
            .execute(params![trust_list_name(signer), Number(*seq)])
            .map(drop),
        LedgerChange::Held { push } => hold(tx, push),
        LedgerChange::HeldDone { id } => {
            tx.prepare_cached("DELETE FROM held WHERE id = ?")?.execute([Number(*id)]).map(drop)
        }
        LedgerChange::Agreement { id, papers } => tx
            .prepare_cached("INSERT OR REPLACE INTO agreements(id, papers) VALUES (?, ?)")?
            .execute(params![id, papers.as_ref()])
            .map(drop),
        LedgerChange::Session { session, is_over, changed_unix_ms, record, account } => {
            sessions::write(tx, session, (*is_over, *changed_unix_ms), record, account.as_deref())
        }
        LedgerChange::Evidence(new) => evidence::append(tx, new),
        LedgerChange::EvidenceChain { delegation, chain } => evidence::keep_chain(tx, delegation, chain),
        LedgerChange::PersonalDataErased(what) => evidence::erase(tx, what),
        LedgerChange::Media { party, changes } => media::write(tx, party, changes),
        LedgerChange::Statement { statement } => accounts::write_statement(tx, statement),
        LedgerChange::Cdr { cdr } => cdrs::write(tx, cdr),
        LedgerChange::AgreementForgotten { id } => {
            tx.prepare_cached("DELETE FROM agreements WHERE id = ?")?.execute([id]).map(drop)
        }
    }
}

fn write_records(tx: &Transaction<'_>, feed: &FeedId, records: &[RecordChange]) -> Result<()> {
    let feed = own_feed(tx, feed)?;
    let mut upsert = tx.prepare_cached(
        "INSERT INTO own_records(feed, key, seq, at_unix_ms, hash, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT(feed, key) DO UPDATE SET seq = ?3, at_unix_ms = ?4, hash = ?5, value = ?6",
    )?;
    for record in records {
        upsert.execute(params![
            feed,
            record.key.as_str(),
            Number(record.seq),
            Number(record.at_unix_ms),
            record.hash,
            record.value.as_deref(),
        ])?;
    }
    Ok(())
}

fn write_head(tx: &Transaction<'_>, head: &Head, signed: &SignedHead) -> Result<()> {
    let feed = own_feed(tx, &head.feed)?;
    tx.prepare_cached(
        "UPDATE own_feeds SET epoch = ?, incarnation = ?, seq = ?, count = ?, root = ?, created_unix_ms = ?,
            base_seq = ?, body = ?, operator_id = ?, operator_name = ?, signed = ? WHERE id = ?",
    )?
    .execute(params![
        Number(head.epoch),
        Number(head.incarnation),
        Number(head.seq),
        Number(head.count),
        head.root,
        Number(head.created_unix_ms),
        Number(head.base_seq),
        head.body,
        head.operator_id,
        head.operator_name,
        signed.as_bytes().as_ref(),
        feed,
    ])
    .map(drop)
}

fn hold(tx: &Transaction<'_>, push: &HeldPush) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO held(id, party, kind, digest, body, at_unix_ms, removes, of_records)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        Number(push.id),
        push.feed.party.to_text(),
        push.feed.kind.code(),
        push.digest,
        push.body.as_ref(),
        Number(push.at_unix_ms),
        Number(push.removes),
        Number(push.of),
    ])
    .map(drop)
}

fn own_feed(tx: &Transaction<'_>, feed: &FeedId) -> Result<i64> {
    let (party, audience) = (feed.party.to_text(), value::audience_text(&feed.audience));
    let found = tx
        .prepare_cached("SELECT id FROM own_feeds WHERE party = ? AND kind = ? AND audience = ?")?
        .query_row(params![party, feed.kind.code(), audience], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO own_feeds(party, kind, audience) VALUES (?, ?, ?)")?.execute(params![
        party,
        feed.kind.code(),
        audience
    ])?;
    Ok(tx.last_insert_rowid())
}

/// What was committed last; `was_clean` is the writer's business and true here.
pub(super) fn restore(connection: &Connection) -> std::result::Result<LedgerState, StorageError> {
    let read = || -> Result<LedgerState> {
        let (feeds, held, identity) = (feeds(connection)?, held(connection)?, identity(connection)?);
        Ok(LedgerState { feeds, held, identity, was_clean: true })
    };
    read().map_err(|error| StorageError::of(Database::Ledger, error))
}

fn identity(connection: &Connection) -> Result<Vec<(Bytes, u64)>> {
    let mut statement = connection.prepare("SELECT bytes, received_unix_s FROM identity ORDER BY rowid")?;
    let objects = statement.query_map([], |row| Ok((bytes(row, 0)?, number(row, 1)?)))?;
    objects.collect()
}

fn feeds(connection: &Connection) -> Result<Vec<RestoredFeed>> {
    let sql = format!(
        "SELECT id, {HEAD_COLUMNS} FROM own_feeds WHERE signed IS NOT NULL ORDER BY party, kind, audience"
    );
    let mut statement = connection.prepare(&sql)?;
    let heads = statement
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, value::head(row, 1)?)))?
        .collect::<Result<Vec<_>>>()?;
    let mut feeds = Vec::with_capacity(heads.len());
    for (id, (head, signed)) in heads {
        let (feed, received_unix_ms) = (head.feed.clone(), head.created_unix_ms);
        let entries = entries(connection, id)?;
        feeds.push(RestoredFeed { feed, head, signed, received_unix_ms, entries });
    }
    Ok(feeds)
}

fn entries(connection: &Connection, feed: i64) -> Result<Vec<RestoredEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, seq, at_unix_ms, hash FROM own_records WHERE feed = ? AND value IS NOT NULL ORDER BY key",
    )?;
    let entries = statement.query_map([feed], |row| {
        Ok(RestoredEntry {
            key: key(row, 0)?,
            seq: number(row, 1)?,
            at_unix_ms: number(row, 2)?,
            hash: digest(row, 3)?,
            visible: true,
        })
    })?;
    entries.collect()
}

fn held(connection: &Connection) -> Result<Vec<HeldPush>> {
    let mut statement = connection.prepare(
        "SELECT id, party, kind, digest, body, at_unix_ms, removes, of_records FROM held ORDER BY id",
    )?;
    let held = statement.query_map([], |row| {
        Ok(HeldPush {
            id: number(row, 0)?,
            feed: value::public_feed(row, 1)?,
            digest: digest(row, 3)?,
            body: bytes(row, 4)?,
            at_unix_ms: number(row, 5)?,
            removes: number(row, 6)?,
            of: number(row, 7)?,
        })
    })?;
    held.collect()
}

/// Under which name of `meta` the version of a signer's trust list stands. A node sees as many as its operator
/// ever names in the settings.
fn trust_list_name(signer: &Digest) -> String {
    let hex: String = signer.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("trust_list_seq {hex}")
}

/// The highest version of a signer's trust list that was ever in use; 0: none.
pub(super) fn trust_list_seen(
    connection: &Connection,
    signer: &Digest,
) -> std::result::Result<u64, StorageError> {
    let seen = connection
        .query_row("SELECT value FROM meta WHERE name = ?", [trust_list_name(signer)], |row| number(row, 0))
        .optional();
    seen.map(Option::unwrap_or_default).map_err(|error| StorageError::of(Database::Ledger, error))
}

/// The papers of all agreements and offers, by their hash.
pub(super) fn agreements(connection: &Connection) -> Result<Vec<Bytes>, StorageError> {
    let read = || -> Result<Vec<Bytes>> {
        let mut statement = connection.prepare("SELECT papers FROM agreements ORDER BY id")?;
        statement.query_map([], |row| bytes(row, 0))?.collect()
    };
    read().map_err(|error| StorageError::of(Database::Ledger, error))
}

/// Sessions that are over and loaded at a start, the newest: no more than memory is meant to hold of them.
const OVER_LOADED_MAX: u64 = 100_000;

/// The sessions that are open, those that changed at or after a time, the newest of them if they are many, and those of
/// which a charge detail record is not settled.
pub(super) fn sessions(
    connection: &Connection,
    since_unix_ms: u64,
) -> Result<Vec<(String, Bytes)>, StorageError> {
    let read = || -> Result<Vec<(String, Bytes)>> {
        let mut statement = connection.prepare(
            "WITH unsettled AS (SELECT session FROM cdrs WHERE is_open = 1)
             SELECT session, record FROM sessions WHERE is_over = 0
             UNION ALL SELECT session, record FROM sessions WHERE is_over = 1 AND session IN unsettled
             UNION ALL SELECT session, record FROM (SELECT session, record FROM sessions
               WHERE is_over = 1 AND changed_unix_ms >= ?1 AND session NOT IN unsettled
               ORDER BY changed_unix_ms DESC LIMIT ?2)",
        )?;
        let times = [Number(since_unix_ms), Number(OVER_LOADED_MAX)];
        let rows = statement.query_map(times, |row| Ok((row.get(0)?, bytes(row, 1)?)))?;
        rows.collect()
    };
    read().map_err(|error| StorageError::of(Database::Ledger, error))
}

/// The values of our own records, in the order of the keys; `None` where there is none.
pub(super) fn own_values(
    connection: &Connection,
    feed: &FeedId,
    keys: &[EvseKey],
) -> Result<Vec<Option<Bytes>>, StorageError> {
    let read = || -> Result<Vec<Option<Bytes>>> {
        let mut statement = connection.prepare_cached(
            "SELECT r.value FROM own_feeds f JOIN own_records r ON r.feed = f.id
             WHERE f.party = ? AND f.kind = ? AND f.audience = ? AND r.key = ? AND r.value IS NOT NULL",
        )?;
        let (party, audience) = (feed.party.to_text(), value::audience_text(&feed.audience));
        keys.iter()
            .map(|key| {
                statement
                    .query_row(params![party, feed.kind.code(), audience, key.as_str()], |row| bytes(row, 0))
                    .optional()
            })
            .collect()
    };
    read().map_err(|error| StorageError::of(Database::Ledger, error))
}
