//! The read pool: pulls and repairs are answered from snapshots, beside the writer, at a bounded cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::accounts::{self, Account, AccountPlace, AccountRow, AttentionRow};
use super::cdrs::{self, CdrFilter, CdrPull, OpenPage, OpenPlace};
use super::config::Config;
use super::directory::{
    self, CommitVersion, Conflict, Counts, DataPage, DataQuery, DataRow, Directory, FeedAnswer, FeedOverview,
    PriceQuery, PriceRow, RestoredFeed, StatusQuery, StatusRow,
};
use super::error::{Database, StorageError};
use super::evidence::{self, Between, LogLine};
use super::ledger::{self, Ledger, LedgerState};
use super::media;
use super::place::{SharedConnection, lock, open_reader};
use super::sessions;
use super::writer::{Runner, start};
use crate::identity::{Chain, PartyId};
use crate::oicp::charging::MediumKey;
use crate::oicp::id::EvseKey;
use crate::protocol::evidence::{LogTail, LoggedSession};
use crate::protocol::{CdrMark, Digest, FeedId, Kind, SessionMark, SignedHead, SyncRequest};
use crate::roaming::change::{CdrFacts, CdrSubject, CdrsOfSession, KnownMedium, SignedStatement, StoredCdr};

/// Steps of SQLite's virtual machine between two looks at the limit.
const STEPS_PER_LOOK: i32 = 10_000;

/// A handle to the read pool; a cheap clone. Its threads end with the last handle.
///
/// Every method reads from one snapshot and fails with [`StorageError::Busy`] if too many questions wait,
/// [`StorageError::TooCostly`] if the answer costs too much, [`StorageError::Closed`] if the pool is gone,
/// [`StorageError::Corrupt`] if the database is damaged.
#[derive(Clone)]
pub struct Reader {
    way: Way,
    rows_max: usize,
}

#[derive(Clone)]
enum Way {
    Threads(SyncSender<Job>),
    Inline(Arc<Connections>),
}

type Job = Box<dyn FnOnce(&Connections) + Send>;

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// What one reader works with.
struct Connections {
    directory: SharedConnection,
    ledger: SharedConnection,
    /// Steps that the question in hand may still take.
    budget: Arc<AtomicU64>,
    steps_max: u64,
}

impl Reader {
    /// Opens the pool beside two databases that were opened for writing at the same place.
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Io`] if a thread cannot be started.
    pub fn start(
        directory: &Directory,
        ledger: &Ledger,
        config: &Config,
        runner: &Runner,
    ) -> Result<Reader, StorageError> {
        let connections = || Connections::open(directory, ledger, config);
        let rows_max = config.answer_rows_max;
        let Runner::Threads(spawner) = runner else {
            return Ok(Reader { way: Way::Inline(Arc::new(connections()?)), rows_max });
        };
        let (queue, waiting) = sync_channel::<Job>(config.read_queue_max.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..config.readers.max(1) {
            let (connections, waiting) = (connections()?, waiting.clone());
            start(spawner, "reader", move || serve(&connections, &waiting))?;
        }
        Ok(Reader { way: Way::Threads(queue), rows_max })
    }

    /// All feeds of the directory that have a head, with their records' versions.
    pub async fn restore_directory(&self) -> Result<Vec<RestoredFeed>, StorageError> {
        // A start reads everything, whatever it costs.
        self.ask_without_limit(directory::restore).await
    }

    /// What the core needs of the ledger at a start.
    pub async fn restore_ledger(&self) -> Result<LedgerState, StorageError> {
        self.whole_ledger(ledger::restore).await
    }

    /// The sessions of the ledger that are open, and those that changed at or after a time, as they are stored.
    pub async fn sessions(&self, since_unix_ms: u64) -> Result<Vec<(String, Bytes)>, StorageError> {
        self.whole_ledger(move |connection| ledger::sessions(connection, since_unix_ms)).await
    }

    /// A page of the records for which something is still to be done, the oldest first.
    pub async fn open_cdrs(&self, after: Option<OpenPlace>) -> Result<OpenPage, StorageError> {
        self.of_ledger(move |connection| cdrs::open(connection, after)).await
    }

    /// A session of the ledger and its charge detail records.
    pub async fn cdrs_of(&self, session: String) -> Result<CdrsOfSession, StorageError> {
        self.of_ledger(move |connection| cdrs::of_session(connection, &session)).await
    }

    /// One page of the charge detail records that an EMP of this node received, the oldest first, and how many there
    /// are on all pages.
    pub async fn pulled_cdrs(&self, pull: CdrPull) -> Result<(u64, Vec<StoredCdr>), StorageError> {
        self.of_ledger(move |connection| cdrs::pulled(connection, &pull)).await
    }

    /// The newest charge detail records that fit a filter.
    pub async fn listed_cdrs(&self, filter: CdrFilter) -> Result<Vec<StoredCdr>, StorageError> {
        self.of_ledger(move |connection| cdrs::listed(connection, &filter)).await
    }

    /// The media that EMPs of this node uploaded, from the ledger.
    pub async fn media(&self) -> Result<Vec<(PartyId, MediumKey, KnownMedium)>, StorageError> {
        self.whole_ledger(media::all).await
    }

    /// The end of the log of messages, from the ledger.
    pub async fn log_tail(&self) -> Result<LogTail, StorageError> {
        self.of_ledger(evidence::tail).await
    }

    /// What the log holds about a session, of what two parties said to each other if they are given; `None`: nothing.
    pub async fn logged(&self, session: String, of: Between) -> Result<Option<LoggedSession>, StorageError> {
        self.of_ledger(move |connection| evidence::of_session(connection, &session, of)).await
    }

    /// At most `most` entries of the log before a number (`None`: its end), the newest first; of one session only, if
    /// one is given.
    pub async fn log_lines(
        &self,
        session: Option<String>,
        before: Option<u64>,
        most: u32,
    ) -> Result<Vec<LogLine>, StorageError> {
        self.of_ledger(move |connection| evidence::lines(connection, session.as_deref(), before, most)).await
    }

    /// Whether personal data from before a time is left in the ledger, of sessions that are over.
    pub async fn has_personal_data(&self, before_unix_ms: u64) -> Result<bool, StorageError> {
        self.of_ledger(move |connection| evidence::has_personal_data(connection, before_unix_ms)).await
    }

    /// A page of the records of an account that count, by SessionEnd, and where the next one begins.
    pub async fn account_page(
        &self,
        account: Account,
        after: Option<AccountPlace>,
    ) -> Result<(Vec<AccountRow>, Option<AccountPlace>), StorageError> {
        self.of_ledger(move |connection| accounts::page(connection, &account, after)).await
    }

    /// The marks of all records of an account, in any order; at most so many and one more.
    pub async fn account_marks(
        &self,
        account: Account,
        records_max: u64,
    ) -> Result<Vec<CdrMark>, StorageError> {
        self.of_ledger(move |connection| accounts::marks(connection, &account, records_max)).await
    }

    /// The marks of the sessions of an account, by their begin, in any order; at most so many and one more.
    pub async fn session_marks(
        &self,
        account: Account,
        sessions_max: u64,
    ) -> Result<Vec<SessionMark>, StorageError> {
        self.of_ledger(move |connection| sessions::marks(connection, &account, sessions_max)).await
    }

    /// The marks of those of these sessions that are between two parties.
    pub async fn sessions_named(
        &self,
        (ours, partner): (PartyId, PartyId),
        names: Vec<String>,
    ) -> Result<Vec<SessionMark>, StorageError> {
        self.of_ledger(move |connection| sessions::named(connection, (&ours, &partner), &names)).await
    }

    /// Charge detail records that wait for the other side or for our backend since before a time, the oldest first.
    pub async fn waiting_cdrs(&self, before_unix_ms: u64) -> Result<Vec<AttentionRow>, StorageError> {
        self.of_ledger(move |connection| accounts::waiting(connection, before_unix_ms)).await
    }

    /// Charge detail records since a time that the other side did not take, the newest first, without those that were
    /// corrected.
    pub async fn denied_cdrs(&self, since_unix_ms: u64) -> Result<Vec<AttentionRow>, StorageError> {
        self.of_ledger(move |connection| accounts::denied(connection, since_unix_ms)).await
    }

    /// The statements of a month that both sides signed, the newest first.
    pub async fn signed_statements(
        &self,
        ours: PartyId,
        partner: PartyId,
        month: String,
    ) -> Result<Vec<SignedStatement>, StorageError> {
        self.of_ledger(move |connection| accounts::statements(connection, &ours, &partner, &month)).await
    }

    /// The highest version of a signer's trust list that was ever in use, from the ledger; 0: none.
    pub async fn trust_list_seen(&self, signer: Digest) -> Result<u64, StorageError> {
        self.run(move |connections| {
            connections.read(&connections.ledger, Database::Ledger, connections.steps_max, |connection| {
                ledger::trust_list_seen(connection, &signer)
            })
        })
        .await
    }

    /// The papers of all agreements and offers, from the ledger.
    pub async fn agreements(&self) -> Result<Vec<Bytes>, StorageError> {
        self.whole_ledger(ledger::agreements).await
    }

    /// All verified credential chains, with the hash of their delegation.
    pub async fn chains(&self) -> Result<Vec<(Digest, Chain)>, StorageError> {
        self.ask(directory::chains).await
    }

    /// The proofs that writers showed two histories.
    pub async fn equivocations(&self) -> Result<Vec<(SignedHead, SignedHead)>, StorageError> {
        self.ask(directory::equivocations).await
    }

    /// The credential chain of a delegation.
    pub async fn chain(&self, delegation: Digest) -> Result<Option<Chain>, StorageError> {
        self.ask(move |connection| directory::chain(connection, &delegation)).await
    }

    /// All claim conflicts.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, StorageError> {
        self.ask(directory::conflicts).await
    }

    /// The version of the view right now: what the first page of a pull is read as of.
    pub async fn version_at_now(&self) -> Result<CommitVersion, StorageError> {
        self.ask(directory::version_now).await
    }

    /// One page of the view. Also fails with [`StorageError::VersionGone`] and [`StorageError::TooLarge`].
    pub async fn data_page(&self, query: DataQuery) -> Result<DataPage, StorageError> {
        self.ask(move |connection| directory::data_page(connection, &query)).await
    }

    /// One page of the net difference between the view at a moment (with a margin of 60 s) and a version;
    /// `None` if history does not go back that far: answer a full pull. Fails as [`Reader::data_page`].
    pub async fn data_delta(
        &self,
        since_unix_ms: u64,
        query: DataQuery,
    ) -> Result<Option<DataPage>, StorageError> {
        self.ask(move |connection| directory::data_delta(connection, since_unix_ms, &query)).await
    }

    /// The record of an EVSE that is in the view, and that `puller` may see (`None`: that everybody may).
    pub async fn data_record(
        &self,
        key: EvseKey,
        puller: Option<PartyId>,
    ) -> Result<Option<DataRow>, StorageError> {
        self.ask(move |connection| directory::data_record(connection, &key, puller.as_ref())).await
    }

    /// What a charge detail record is held against.
    pub async fn cdr_facts(&self, subject: CdrSubject) -> Result<CdrFacts, StorageError> {
        self.ask(move |connection| directory::cdr_facts(connection, &subject)).await
    }

    /// The record of an EVSE that came through the central hub, with its status, whoever may see it.
    pub async fn bridged_record(
        &self,
        key: EvseKey,
    ) -> Result<Option<(DataRow, Option<StatusRow>)>, StorageError> {
        self.ask(move |connection| directory::bridged_record(connection, &key)).await
    }

    /// The statuses of the view that match, by operator and then EVSE. Also fails with [`StorageError::TooLarge`].
    pub async fn statuses(&self, query: StatusQuery) -> Result<Vec<StatusRow>, StorageError> {
        let rows_max = self.rows_max;
        self.ask(move |connection| directory::statuses(connection, &query, rows_max)).await
    }

    /// The prices of operators that the puller may see, by operator. Also fails with [`StorageError::TooLarge`].
    pub async fn prices(&self, query: PriceQuery) -> Result<Vec<PriceRow>, StorageError> {
        let rows_max = self.rows_max;
        self.ask(move |connection| directory::prices(connection, &query, rows_max)).await
    }

    /// The statuses of these EVSEs that `puller` may see (`None`: that everybody sees), in the order of the keys;
    /// those without one are left out.
    pub async fn statuses_by_key(
        &self,
        keys: Vec<EvseKey>,
        puller: Option<PartyId>,
    ) -> Result<Vec<(EvseKey, StatusRow)>, StorageError> {
        let rows_max = self.rows_max;
        self.ask(move |connection| directory::statuses_by_key(connection, &keys, puller.as_ref(), rows_max))
            .await
    }

    /// The values of records of a feed of the directory, in the order of the keys.
    pub async fn data_values(
        &self,
        feed: FeedId,
        keys: Vec<EvseKey>,
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        self.ask(move |connection| directory::data_values(connection, &feed, &keys)).await
    }

    /// The values of records of a feed of our own, in the order of the keys.
    pub async fn own_values(
        &self,
        feed: FeedId,
        keys: Vec<EvseKey>,
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        self.of_ledger(move |connection| ledger::own_values(connection, &feed, &keys)).await
    }

    /// The answer to a repair question; `None` if this node cannot serve it: the feed is not here, or the
    /// asker is ahead.
    pub async fn feed_answer(&self, request: SyncRequest) -> Result<Option<FeedAnswer>, StorageError> {
        self.ask(move |connection| directory::feed_answer(connection, &request)).await
    }

    /// When what was done with the central hub, in unix milliseconds.
    pub async fn hub_marks(&self) -> Result<BTreeMap<String, u64>, StorageError> {
        self.ask(directory::marks).await
    }

    /// What the central hub took of a party's: the hash of each record.
    pub async fn hub_acknowledged(
        &self,
        party: PartyId,
        kind: Kind,
    ) -> Result<BTreeMap<EvseKey, Digest>, StorageError> {
        self.ask(move |connection| directory::acknowledged(connection, &party, kind)).await
    }

    /// Operators of what came through the hub, as it spells them, and how many EVSEs each has.
    pub async fn bridged_operators(&self) -> Result<Vec<(String, u64)>, StorageError> {
        self.ask(directory::operators).await
    }

    /// EVSEs that came through the hub: the next after a key, at most so many.
    pub async fn bridged_keys(&self, after: String, most: u32) -> Result<Vec<EvseKey>, StorageError> {
        self.ask(move |connection| directory::keys(connection, &after, most)).await
    }

    /// How much the directory holds.
    pub async fn counts(&self) -> Result<Counts, StorageError> {
        self.ask(directory::counts).await
    }

    /// All feeds of the directory in numbers.
    pub async fn feeds_overview(&self) -> Result<Vec<FeedOverview>, StorageError> {
        self.ask(directory::feeds_overview).await
    }

    /// However long it takes: what a start needs.
    async fn whole_ledger<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        self.run(move |connections| {
            connections.read(&connections.ledger, Database::Ledger, u64::MAX, question)
        })
        .await
    }

    async fn of_ledger<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        self.run(move |connections| {
            connections.read(&connections.ledger, Database::Ledger, connections.steps_max, question)
        })
        .await
    }

    async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        self.run(move |connections| {
            connections.read(&connections.directory, Database::Directory, connections.steps_max, question)
        })
        .await
    }

    async fn ask_without_limit<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        self.run(move |connections| {
            connections.read(&connections.directory, Database::Directory, u64::MAX, question)
        })
        .await
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connections) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        let queue = match &self.way {
            Way::Inline(connections) => return work(connections),
            Way::Threads(queue) => queue,
        };
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connections| {
            // Nobody waits any more: the client hung up while the question was queued.
            if !reply.is_closed() {
                let _gone = reply.send(work(connections)).is_err();
            }
        });
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StorageError::Busy,
            TrySendError::Disconnected(_) => StorageError::Closed,
        })?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }
}

fn serve(connections: &Connections, waiting: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting, not while working: the readers take turns.
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(connections),
            Err(_) => return,
        }
    }
}

impl Connections {
    fn open(directory: &Directory, ledger: &Ledger, config: &Config) -> Result<Connections, StorageError> {
        let budget = Arc::new(AtomicU64::new(u64::MAX));
        let limited = |place, database, shared: &SharedConnection| {
            let Some(own) = open_reader(place, database, config.reader_cache_kib)? else {
                // In memory there is one connection, and its writer must not be limited.
                return Ok(shared.clone());
            };
            let budget = budget.clone();
            let spent = move || spend(&budget);
            lock(&own)
                .progress_handler(STEPS_PER_LOOK, Some(spent))
                .map_err(|error| StorageError::of(database, error))?;
            Ok::<_, StorageError>(own)
        };
        Ok(Connections {
            directory: limited(&directory.place, Database::Directory, &directory.connection)?,
            ledger: limited(&ledger.place, Database::Ledger, &ledger.connection)?,
            budget,
            steps_max: config.read_steps_max,
        })
    }

    fn read<R>(
        &self,
        connection: &SharedConnection,
        database: Database,
        steps_max: u64,
        question: impl FnOnce(&Connection) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        let failed = |error| StorageError::of(database, error);
        let mut connection = lock(connection);
        self.budget.store(steps_max, Ordering::Relaxed);
        // A deferred transaction that is dropped: one snapshot, nothing written.
        let snapshot = connection.transaction().map_err(failed)?;
        question(&snapshot)
    }
}

/// Takes a look's steps from the budget; true, which interrupts the statement, when it is spent.
fn spend(budget: &AtomicU64) -> bool {
    let steps = STEPS_PER_LOOK.unsigned_abs().into();
    budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(steps)).is_err()
}
