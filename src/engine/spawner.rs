//! Starts tasks and threads, and knows when all of them have ended.

use std::pin::Pin;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

/// A task.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work for a thread of its own.
pub type Work = Box<dyn FnOnce() + Send>;

/// Starts tasks and threads. A simulation brings its own.
pub trait Spawn: Send + Sync {
    /// Starts a task.
    fn task(&self, task: Task);

    /// Starts a thread.
    ///
    /// # Errors
    /// What the operating system says.
    fn thread(&self, name: &'static str, work: Work) -> std::io::Result<()>;
}

/// Tasks on tokio, threads of the operating system.
#[derive(Clone, Default)]
pub struct SystemSpawner {
    tasks: TaskTracker,
}

impl SystemSpawner {
    /// A spawner for one node.
    pub fn shared() -> Arc<dyn Spawn> {
        Arc::new(SystemSpawner::default())
    }
}

impl Spawn for SystemSpawner {
    fn task(&self, task: Task) {
        drop(self.tasks.spawn(task));
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn thread(&self, name: &'static str, work: Work) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }
}
