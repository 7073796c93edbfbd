//! What a node needs of its surroundings: production and simulation differ only here.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{Backends, Clock, Spawn, SystemClock, SystemSpawner};
use crate::mesh::Transport;
use crate::storage::{Place, Runner};

/// The surroundings of a node.
pub struct Deps {
    /// Starts tasks and threads.
    pub spawner: Arc<dyn Spawn>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Seed of everything random that is no key: jitter, choice of peers.
    pub seed: u64,
    /// Where the databases are; `None`: in `storage.data_dir`.
    pub place: Option<Place>,
    /// Whether storage works inline, as in a simulation, or on threads of its own.
    pub storage_inline: bool,
    /// The backends of the node's parties; `None`: those of the settings, over HTTP.
    pub backends: Option<Arc<dyn Backends>>,
    transport: Mutex<Option<Transport>>,
}

impl Deps {
    /// The machine: tokio, its clock, its files, TCP.
    pub fn system(seed: u64) -> Deps {
        Deps {
            spawner: SystemSpawner::shared(),
            clock: SystemClock::start(),
            seed,
            place: None,
            storage_inline: false,
            backends: None,
            transport: Mutex::new(None),
        }
    }

    /// Replaces TCP by a transport made elsewhere.
    pub fn with_transport(self, transport: Transport) -> Deps {
        Deps { transport: Mutex::new(Some(transport)), ..self }
    }

    pub(super) fn take_transport(&self) -> Option<Transport> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn storage_runner(&self) -> Runner {
        if self.storage_inline {
            return Runner::Inline;
        }
        let spawner = self.spawner.clone();
        Runner::Threads(Arc::new(move |name, work| spawner.thread(name, work)))
    }
}
