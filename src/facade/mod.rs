//! The OICP face of the node: to a backend it looks exactly like the central hub. Only here axum is named.
//!
//! A call goes through [`call`](self) checks in the hub's order (who, for whom, in what form), then to its
//! service: pushes to the engine, one after the other per party; pulls to the directory's read side, never
//! through the engine. Large bodies are read on worker threads, so no client can hold up the runtime.

mod accounts;
mod admin;
mod agreements;
mod answer;
mod auth;
mod authdata;
mod body;
mod call;
mod cdr;
mod cdr_admin;
mod charging;
mod compress;
mod config;
mod directory;
mod error;
mod events;
mod evidence;
mod evse_pull;
mod evse_push;
mod http;
mod hub;
mod hub_view;
mod lanes;
mod metrics;
mod openapi;
mod prices;
mod rates;
mod routes;
mod server;
mod sessions;
mod shared;
mod snapshot;
mod status_pull;
mod stored;
#[cfg(test)]
mod tests;
mod tls;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::{ApiKey, BackendConfig, Config, KEY_CHARACTERS_MAX, KEY_CHARACTERS_MIN, TlsConfig};
pub use directory::{
    Bridged, DataPage, DataRow, Directory, DirectoryError, StatusQuestion, StatusRow, Version,
};
pub use error::FacadeError;
pub use hub_view::{HubCallView, HubView, HubViews};
pub use metrics::MoreGauge;
pub use rates::RateLimits;
pub use shared::{Clock, MoreGauges};
pub use workers::ThreadSpawner;

use crate::engine::{Accounts, Engine};
use crate::identity::PartyId;
use crate::tls::InUse;

/// What the facade needs of the node.
pub struct FacadeDeps {
    /// Takes pushes and tells the view.
    pub engine: Engine,
    /// Statements, comparisons and alarms; without them there are none.
    pub accounts: Option<Accounts>,
    /// Answers pulls.
    pub directory: Arc<dyn Directory>,
    /// The parties of this node.
    pub parties: Vec<PartyId>,
    /// Makes the worker threads.
    pub threads: ThreadSpawner,
    /// The engine's clock.
    pub now_unix_ms: Clock,
    /// Whether pulls of charge detail records show corrections.
    pub pull_corrections: bool,
    /// Numbers of other parts of the node, for metrics, at a time in unix milliseconds.
    pub more_gauges: MoreGauges,
    /// How the exchange with the central hub goes.
    pub hub: HubViews,
    /// The certificates in use; the facade adds its own, and tells of all.
    pub certificates: InUse,
}

/// A running facade: where it listens, and how to stop it.
#[derive(Clone)]
pub struct Facade {
    address: SocketAddr,
    config: Config,
    shared: Arc<shared::Shared>,
    tls: Option<Arc<tls::Tls>>,
    stop: CancellationToken,
}

impl Facade {
    /// Binds the listener and gives the task that serves it; whoever starts the task decides where it runs.
    /// The task ends after [`Facade::stop`], when open requests are answered or their time is over.
    ///
    /// # Errors
    /// [`FacadeError`] if the configuration contradicts itself or the parties, or the address is taken.
    pub async fn start(
        config: Config,
        deps: FacadeDeps,
    ) -> Result<(Facade, BoxFuture<'static, ()>), FacadeError> {
        check_limits(&config)?;
        let access = auth::Access::new(&config, &deps.parties)?;
        let loaded = config.tls.is_on().then(|| tls::Loaded::read(&config.tls)).transpose()?;
        let tls = loaded.map(|loaded| Arc::new(tls::Tls::new(&config.tls, loaded, &deps.certificates)));
        let bound = TcpListener::bind(config.listen).await.and_then(|l| l.local_addr().map(|a| (l, a)));
        let (listener, address) =
            bound.map_err(|source| FacadeError::Bind { address: config.listen, source })?;
        if !address.ip().is_loopback() && tls.is_none() {
            tracing::warn!(%address, "the facade speaks plain HTTP beyond this machine: put TLS in front of it");
        }
        let stop = CancellationToken::new();
        let workers = workers::Workers::start(config.worker_threads, &deps.threads);
        let shared = shared::Shared {
            access,
            bodies: body::BodyReader::new(&config),
            requests: Arc::new(Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS))),
            session_requests: Arc::new(Semaphore::new(
                config.session_requests_max.min(Semaphore::MAX_PERMITS),
            )),
            evse_lookups: Semaphore::new(charging::EVSE_LOOKUPS_MAX),
            answer_timeout: Duration::from_millis(config.answer_timeout_ms),
            lanes: lanes::Lanes::new(&deps.parties, config.push_waiters_max),
            workers: workers.map_err(FacadeError::Thread)?,
            snapshots: snapshot::Snapshots::new(
                Duration::from_millis(config.pull_snapshot_ms),
                config.pull_snapshots_max,
            ),
            metrics: metrics::Metrics::new(),
            rates: rates::Rates::new(config.rate_limits.clone()),
            pull_authentication_data: config.pull_authentication_data,
            engine: deps.engine,
            accounts: deps.accounts,
            directory: deps.directory,
            now_unix_ms: deps.now_unix_ms,
            pull_corrections: deps.pull_corrections,
            more_gauges: deps.more_gauges,
            hub: deps.hub,
            certificates: deps.certificates,
            event_listeners: Arc::new(Semaphore::new(events::LISTENERS_MAX)),
            stop: stop.clone(),
        };
        let shared = Arc::new(shared);
        let router = routes::router(Arc::clone(&shared));
        let task = server::serve(listener, router, tls.clone(), config.clone(), stop.clone()).boxed();
        Ok((Facade { address, config, shared, tls, stop }, task))
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a backend on this machine, without a key.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Reads certificates and keys anew, and which certificate belongs to which backend. Connections that are open
    /// go on. If anything cannot be used, everything stays as it is.
    ///
    /// # Errors
    /// [`FacadeError`] names the file and what to do.
    pub fn reload_certificates(&self, config: &Config) -> Result<(), FacadeError> {
        let without = |config: &Config| {
            let backends = config.backends.iter().cloned();
            backends.map(|entry| BackendConfig { certificates: Vec::new(), ..entry }).collect::<Vec<_>>()
        };
        let loaded = match (&self.tls, config.tls.is_on()) {
            (Some(tls), true) => Some((tls, tls::Loaded::read(&config.tls)?)),
            (None, false) => None,
            _ => return Err(FacadeError::Switched),
        };
        // With other backends the numbers mean others: that is said elsewhere to need a restart.
        if without(config) == without(&self.config) {
            self.shared.access.replace_certificates(config)?;
        }
        if let Some((tls, loaded)) = loaded {
            tls.replace(loaded, &self.shared.certificates);
        }
        Ok(())
    }

    /// Takes no more connections and ends the task when open requests are done.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

fn check_limits(config: &Config) -> Result<(), FacadeError> {
    let limits = [
        ("body_size_bytes_max", config.body_size_bytes_max),
        ("bodies_held_bytes_max", config.bodies_held_bytes_max),
        ("connections_max", config.connections_max),
        ("requests_max", config.requests_max),
        ("session_requests_max", config.session_requests_max),
        ("worker_threads", config.worker_threads),
        ("pull_snapshots_max", config.pull_snapshots_max),
    ];
    match limits.into_iter().find(|(_, value)| *value == 0) {
        Some((setting, _)) => Err(FacadeError::ZeroLimit { setting }),
        None => Ok(()),
    }
}
