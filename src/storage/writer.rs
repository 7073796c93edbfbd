//! The writer: one owner of a database's writing connection, with group commit. What waits in the queue
//! is committed together; if that fails, each batch is tried alone, so that a bad one harms no other.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::directory::{Acknowledged, BridgedChanges, CommitVersion, Directory};
use super::error::StorageError;
use super::ledger::Ledger;
use crate::identity::PartyId;
use crate::roaming::change::{DirectoryChange, LedgerChange};

/// Starts a thread with a name; given by whoever builds the node.
pub type ThreadSpawner =
    Arc<dyn Fn(&'static str, Box<dyn FnOnce() + Send>) -> Result<(), io::Error> + Send + Sync>;

/// Where the work of storage is done.
#[derive(Clone)]
pub enum Runner {
    /// On threads of its own: production.
    Threads(ThreadSpawner),
    /// In the caller, before the answer's future is made: tests and simulations.
    Inline,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runner::Threads(_) => "Threads",
            Runner::Inline => "Inline",
        })
    }
}

/// Starts a thread of storage.
pub(super) fn start(
    spawner: &ThreadSpawner,
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), StorageError> {
    spawner(name, Box::new(work)).map_err(|source| StorageError::Io {
        doing: "start the thread of",
        path: name.into(),
        source,
    })
}

/// A database that a [`Writer`] can own.
pub trait Store: Send + 'static {
    /// A change of it.
    type Change: Send + 'static;
    /// Name of its thread.
    const THREAD: &'static str;

    /// Commits batches in one transaction.
    ///
    /// # Errors
    /// Nothing is changed then.
    fn commit_batches(
        &mut self,
        batches: &[&[Self::Change]],
        now_unix_ms: u64,
    ) -> Result<CommitVersion, StorageError>;

    /// Marks a clean end and checkpoints.
    ///
    /// # Errors
    /// What SQLite says.
    fn finish(&mut self) -> Result<(), StorageError>;
}

impl Store for Directory {
    type Change = DirectoryChange;
    const THREAD: &'static str = "directory";

    fn commit_batches(
        &mut self,
        batches: &[&[DirectoryChange]],
        now_unix_ms: u64,
    ) -> Result<CommitVersion, StorageError> {
        self.commit_all(batches, now_unix_ms)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        self.checkpoint()
    }
}

impl Store for Ledger {
    type Change = LedgerChange;
    const THREAD: &'static str = "ledger";

    fn commit_batches(&mut self, batches: &[&[LedgerChange]], _: u64) -> Result<CommitVersion, StorageError> {
        self.commit_all(batches)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        self.close()
    }
}

/// The answer to a commit.
pub type Committed = oneshot::Receiver<Result<CommitVersion, StorageError>>;

struct Batch<T: Store> {
    changes: Vec<T::Change>,
    now_unix_ms: u64,
    reply: oneshot::Sender<Result<CommitVersion, StorageError>>,
}

enum Work<T: Store> {
    Batch(Batch<T>),
    Other(Box<dyn FnOnce(&mut T) + Send>),
    Close(oneshot::Sender<Result<(), StorageError>>),
}

/// Most batches that share one transaction: the engine's round and what gathered meanwhile.
const GROUP_BATCHES_MAX: usize = 64;

/// A handle to a database's writer; a cheap clone. The writer ends with its last handle, or by
/// [`Writer::close`].
pub struct Writer<T: Store> {
    way: Way<T>,
}

enum Way<T: Store> {
    Thread(mpsc::Sender<Work<T>>),
    Inline(Arc<Mutex<Option<T>>>),
}

impl<T: Store> Clone for Writer<T> {
    fn clone(&self) -> Writer<T> {
        let way = match &self.way {
            Way::Thread(queue) => Way::Thread(queue.clone()),
            Way::Inline(store) => Way::Inline(store.clone()),
        };
        Writer { way }
    }
}

impl<T: Store> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({})", T::THREAD)
    }
}

impl<T: Store> Writer<T> {
    /// Gives a database to a writer of its own. `queue_max`: batches that may wait.
    ///
    /// # Errors
    /// [`StorageError::Io`] if the thread cannot be started.
    pub fn start(store: T, runner: &Runner, queue_max: usize) -> Result<Writer<T>, StorageError> {
        match runner {
            Runner::Inline => Ok(Writer { way: Way::Inline(Arc::new(Mutex::new(Some(store)))) }),
            Runner::Threads(spawner) => {
                let (queue, waiting) = mpsc::channel(queue_max.max(1));
                start(spawner, T::THREAD, move || serve(store, waiting))?;
                Ok(Writer { way: Way::Thread(queue) })
            }
        }
    }

    /// Commits changes; waits for room in the queue and for the commit. Dropping the future does not
    /// take a queued commit back.
    ///
    /// # Errors
    /// As the database's own `commit`; [`StorageError::Closed`].
    pub async fn commit(
        &self,
        changes: Vec<T::Change>,
        now_unix_ms: u64,
    ) -> Result<CommitVersion, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Batch(Batch { changes, now_unix_ms, reply })).await?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Queues changes without waiting; the receiver gets the outcome after the commit.
    ///
    /// # Errors
    /// The changes, if the queue is full or the writer closed.
    pub fn try_commit(&self, changes: Vec<T::Change>, now_unix_ms: u64) -> Result<Committed, Vec<T::Change>> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Batch(Batch { changes, now_unix_ms, reply });
        let refused = match &self.way {
            Way::Inline(store) => inline(store, work).err(),
            Way::Thread(queue) => queue.try_send(work).err().map(|error| match error {
                mpsc::error::TrySendError::Full(work) | mpsc::error::TrySendError::Closed(work) => work,
            }),
        };
        match refused {
            None => Ok(answer),
            Some(Work::Batch(batch)) => Err(batch.changes),
            Some(_) => Err(Vec::new()),
        }
    }

    /// Commits what is queued, marks a clean end, checkpoints and closes the database. When this returns,
    /// the writer is gone.
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`] if it was closed before.
    pub async fn close(&self) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Close(reply)).await?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Waits until everything that was queued before is committed or refused. Returns at once if the writer
    /// was closed.
    pub async fn settled(&self) {
        let _closed = self.with(|_| ()).await;
    }

    /// Does something with the database between two commits.
    async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, StorageError> {
        let (reply, answer) = oneshot::channel();
        let work = move |store: &mut T| {
            // Who asked may have gone.
            let _gone = reply.send(work(store)).is_err();
        };
        self.send(Work::Other(Box::new(work))).await?;
        answer.await.map_err(|_| StorageError::Closed)
    }

    async fn send(&self, work: Work<T>) -> Result<(), StorageError> {
        match &self.way {
            Way::Inline(store) => inline(store, work).map_err(|_| StorageError::Closed),
            Way::Thread(queue) => queue.send(work).await.map_err(|_| StorageError::Closed),
        }
    }
}

impl Writer<Directory> {
    /// Writes what the central hub handed out, see [`Directory::bridge`].
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`].
    pub async fn bridge(&self, changes: BridgedChanges, now_unix_ms: u64) -> Result<usize, StorageError> {
        self.with(move |directory| directory.bridge(&changes, now_unix_ms)).await?
    }

    /// Says which parties of this node see what came through the central hub; without any all of it is deleted.
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`].
    pub async fn set_hub_partners(&self, partners: Vec<PartyId>) -> Result<(), StorageError> {
        self.with(move |directory| directory.set_hub_partners(&partners)).await?
    }

    /// Notes what the central hub took of ours.
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`].
    pub async fn acknowledge(&self, taken: Acknowledged) -> Result<(), StorageError> {
        self.with(move |directory| directory.acknowledge(&taken)).await?
    }

    /// Notes when something was done with the central hub, in unix milliseconds.
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`].
    pub async fn mark(&self, name: String, at_unix_ms: u64) -> Result<(), StorageError> {
        self.with(move |directory| directory.mark(&name, at_unix_ms)).await?
    }

    /// Forgets a part of the history that is too old, see [`Directory::prune`].
    ///
    /// # Errors
    /// What SQLite says; [`StorageError::Closed`].
    pub async fn prune(&self, now_unix_ms: u64, rows_max: u32) -> Result<usize, StorageError> {
        self.with(move |directory| directory.prune(now_unix_ms, rows_max)).await?
    }
}

fn inline<T: Store>(store: &Mutex<Option<T>>, work: Work<T>) -> Result<(), Work<T>> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(open) = store.as_mut() else { return Err(work) };
    match work {
        Work::Batch(batch) => commit_group(open, vec![batch]),
        Work::Other(work) => work(open),
        Work::Close(reply) => {
            let done = open.finish();
            *store = None;
            answer(reply, done);
        }
    }
    Ok(())
}

fn serve<T: Store>(mut store: T, mut waiting: mpsc::Receiver<Work<T>>) {
    let mut next = waiting.blocking_recv();
    while let Some(work) = next.take() {
        match work {
            Work::Batch(first) => {
                let mut group = vec![first];
                while group.len() < GROUP_BATCHES_MAX {
                    match waiting.try_recv() {
                        Ok(Work::Batch(batch)) => group.push(batch),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit_group(&mut store, group);
            }
            Work::Other(work) => work(&mut store),
            Work::Close(reply) => {
                let done = store.finish();
                // The lock on the data directory goes before anybody hears that we are closed.
                drop((store, waiting));
                return answer(reply, done);
            }
        }
        if next.is_none() {
            next = waiting.blocking_recv();
        }
    }
}

fn commit_group<T: Store>(store: &mut T, group: Vec<Batch<T>>) {
    let now_unix_ms = group.iter().map(|batch| batch.now_unix_ms).max().unwrap_or(0);
    let batches: Vec<&[T::Change]> = group.iter().map(|batch| batch.changes.as_slice()).collect();
    match store.commit_batches(&batches, now_unix_ms) {
        Ok(version) => group.into_iter().for_each(|batch| answer(batch.reply, Ok(version))),
        Err(error) => refuse(store, group, error),
    }
}

/// A batch that was alone gets the error; of several, each is tried again alone.
fn refuse<T: Store>(store: &mut T, mut group: Vec<Batch<T>>, error: StorageError) {
    if group.len() == 1 {
        if let Some(batch) = group.pop() {
            answer(batch.reply, Err(error));
        }
        return;
    }
    for batch in group {
        let done = store.commit_batches(&[batch.changes.as_slice()], batch.now_unix_ms);
        answer(batch.reply, done);
    }
}

/// Who asked may have gone: what was committed stays committed.
fn answer<R>(reply: oneshot::Sender<R>, done: R) {
    let _gone = reply.send(done).is_err();
}
