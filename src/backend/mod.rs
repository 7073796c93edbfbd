//! Backends that are played: small real HTTP servers that take what a node sends to the backend of a CPO or an
//! EMP, and answer as a well-behaved partner would, or fail in a given way. For tests, the demo, and for whoever
//! wants to try his node before his own backend is there.

mod answer;
mod behaviour;
mod config;
mod hub;
mod log;
mod operation;
mod play;
mod server;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use behaviour::{Behaviour, BehaviourError, Behaviours, SLOW_MAX};
pub use config::{Config, Play};
pub use hub::{
    EVSES_MAX, HUB_BODY_BYTES_MAX, HUB_CDRS_MAX, HUB_SESSIONS_MAX, Hub, HubConfig, HubError, HubFaults,
    HubOperation, HubReceived, HubTls, Limits, MEDIA_MAX, PARTNERS_MAX, PRICES_MAX, Partner, SEEDS_MAX,
    SEEDS_PER_OPERATOR,
};
pub use log::{BYTES_MAX, ENTRIES_MAX, Received, Sent};
pub use operation::{Kind, Operation};
pub use play::SESSIONS_MAX;
pub use server::{BODY_BYTES_MAX, CONNECTIONS_MAX, SILENCE_MAX};

use crate::outbound::OutboundError;
use log::Log;
use play::Player;
use server::{Door, Shared};

/// Why a backend does not start.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The address cannot be had.
    #[error("the backend cannot listen on {address} ({source}): choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The behaviour names what this kind of backend does not serve.
    #[error(transparent)]
    Behaviour(#[from] BehaviourError),
    /// Its node cannot be called.
    #[error("sessions cannot be played: {0}")]
    Node(#[from] OutboundError),
}

/// A running backend. Dropping it ends it as [`Backend::stop`] does.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    sent: Arc<Log<Sent>>,
}

impl Backend {
    /// Starts a backend on the runtime of the caller; it listens when this returns.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn start(config: Config) -> Result<Backend, BackendError> {
        config.behaviours.check(config.kind)?;
        let bound = TcpListener::bind(config.listen).await.and_then(|l| l.local_addr().map(|a| (l, a)));
        let (listener, address) =
            bound.map_err(|source| BackendError::Listen { address: config.listen, source })?;
        let sent = Arc::new(Log::new());
        let player = config.play.clone().map(|play| Player::new(play, config.clock.clone(), sent.clone()));
        let shared = Arc::new(Shared {
            behaviours: Mutex::new(config.behaviours.clone()),
            config,
            received: Log::new(),
            player: player.transpose()?,
            sessions: AtomicU64::new(1),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let serving = server::serve(
            listener,
            Door::Plain,
            server::router(&shared),
            shared.stop.clone(),
            shared.tasks.clone(),
        );
        shared.tasks.spawn(serving);
        Ok(Backend { address, shared, sent })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for `[[outbound.backend]]`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, in the order of arrival; waits for it. It is given as soon as it has come, before it
    /// is answered. Nothing is lost if the wait is given up.
    pub async fn next(&self) -> Received {
        self.shared.received.next().await
    }

    /// All requests, the oldest first, at most [`ENTRIES_MAX`] with [`BYTES_MAX`]; those given by
    /// [`Backend::next`], too.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.all()
    }

    /// The next message that a played session has sent, with what came back; waits for it.
    pub async fn next_sent(&self) -> Sent {
        self.sent.next().await
    }

    /// All messages of played sessions, the oldest first, at most [`ENTRIES_MAX`].
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.all()
    }

    /// Behaves differently from the next request on; those that came before go on as they began.
    ///
    /// # Errors
    /// [`BehaviourError::NotServed`]; then nothing changes.
    pub fn set_behaviour(&self, behaviours: impl Into<Behaviours>) -> Result<(), BehaviourError> {
        let behaviours = behaviours.into();
        behaviours.check(self.shared.config.kind)?;
        *self.shared.behaviours.lock().unwrap_or_else(PoisonError::into_inner) = behaviours;
        Ok(())
    }

    /// Ends it as if its process was killed: open requests get no answer. When this returns nothing listens
    /// any more, and another backend may take the address.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
