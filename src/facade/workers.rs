//! Threads for work that would hold up the runtime: reading a 50 MB body, writing a page of 2,000 records.
//!
//! Small work is done where it is asked for. The threads are made by the node's spawner; the queue is
//! bounded, and what finds no room is refused as busy.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Makes a named thread; given by the node so that it alone decides what runs.
pub type ThreadSpawner =
    Arc<dyn Fn(&'static str, Box<dyn FnOnce() + Send>) -> Result<(), io::Error> + Send + Sync>;

/// Bodies and answers below this size (bytes) are handled in place: about half a millisecond of parsing.
pub(super) const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Work about fewer bytes than this is not cut into parts: waking another thread costs some 20 microseconds,
/// writing these bytes half a millisecond.
const PART_BYTES_MIN: usize = 64 * 1024;
/// Jobs that may wait for a worker thread. Each holds at most one body, which is bounded elsewhere.
const QUEUE_MAX: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkError {
    /// No room in the queue.
    Busy,
    /// The work itself broke off: a fault of this program.
    Failed,
}

/// A handle to the worker threads; they end when the last handle is gone.
#[derive(Clone)]
pub(super) struct Workers {
    jobs: SyncSender<Job>,
    threads: usize,
}

impl Workers {
    pub(super) fn start(threads: usize, spawner: &ThreadSpawner) -> Result<Workers, io::Error> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            spawner("facade-worker", Box::new(move || work(&queue)))?;
        }
        Ok(Workers { jobs, threads })
    }

    /// Into how many parts work about so many bytes is best cut, so that all threads help with it.
    pub(super) fn parts(&self, bytes: usize) -> usize {
        (bytes / PART_BYTES_MIN).clamp(1, self.threads.max(1))
    }

    /// Does `work` on a worker thread, or in place if it is about few bytes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        if bytes <= INLINE_BYTES_MAX {
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_| WorkError::Failed);
        }
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A caller that has gone does not want the result any more.
            let _ = reply.send(work());
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => WorkError::Busy,
            TrySendError::Disconnected(_) => WorkError::Failed,
        })?;
        answer.await.map_err(|_| WorkError::Failed)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("work for a request broke off; the request is answered with 001");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawner() -> ThreadSpawner {
        Arc::new(|name, body| std::thread::Builder::new().name(name.to_owned()).spawn(body).map(|_| ()))
    }

    #[tokio::test]
    async fn work_is_done_and_a_broken_job_does_not_end_the_thread() {
        let workers = Workers::start(1, &spawner()).unwrap();
        for bytes in [1, INLINE_BYTES_MAX + 1] {
            let broken: Result<(), _> = workers.run(bytes, || panic!("on purpose")).await;
            assert_eq!(broken, Err(WorkError::Failed));
            assert_eq!(workers.run(bytes, || 7).await, Ok(7));
        }
    }
}
