//! A hub that is played: all operations of OICP 2.3 over real HTTP, so that a bridge can be tried before there is a
//! contract. It shares nothing with the facade, so that one cannot hide what the other does wrong.

mod charge;
mod config;
mod extras;
mod http;
mod log;
mod operation;
mod records;
mod reply;
mod seeds;
mod sessions;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{HubConfig, HubFaults, HubTls, Limits, PARTNERS_MAX, Partner};
pub use extras::{MEDIA_MAX, PRICES_MAX};
pub use http::HUB_BODY_BYTES_MAX;
pub use log::HubReceived;
pub use operation::HubOperation;
pub use records::EVSES_MAX;
pub use seeds::{SEEDS_MAX, SEEDS_PER_OPERATOR};
pub use sessions::{HUB_CDRS_MAX, HUB_SESSIONS_MAX};

use super::log::Log;
use super::server::{self, Door};
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::EvseKey;
use crate::outbound::{BackendClient, OutboundError, Tls};
use crate::tls::{self, TlsError};
use extras::Extras;
use http::{Everything, Shared, key_of};
use records::Records;
use sessions::Sessions;

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The address cannot be had.
    #[error("the hub cannot listen on {address} ({source}): choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A partner cannot be called.
    #[error("the URL of {partner} cannot be used: {source}")]
    Partner {
        /// `CPO:DEABC`.
        partner: String,
        /// What is wrong with it.
        source: OutboundError,
    },
    /// Its own certificate cannot be used.
    #[error("the certificate, the key or the CA of the hub cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// Too many partners.
    #[error("more than {PARTNERS_MAX} partners")]
    Partners,
}

/// A running hub. Dropping it ends it as [`Hub::stop`] does.
pub struct Hub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Hub {
    /// Starts a hub on the runtime of the caller; it listens when this returns.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn start(config: HubConfig) -> Result<Hub, HubError> {
        if config.partners.len() > PARTNERS_MAX {
            return Err(HubError::Partners);
        }
        let door = match &config.tls {
            None => Door::Plain,
            Some(HubTls { certificate, key, client_ca }) => {
                let server = tls::server(certificate, key, Some(client_ca), &["http/1.1"])?;
                Door::Tls(TlsAcceptor::from(Arc::new(server)))
            }
        };
        let clients = clients(&config)?;
        let bound = TcpListener::bind(config.listen).await.and_then(|l| l.local_addr().map(|a| (l, a)));
        let (listener, address) =
            bound.map_err(|source| HubError::Listen { address: config.listen, source })?;
        let now_ms = i64::try_from(config.clock.now().unix_ms).unwrap_or(i64::MAX);
        let state = Everything {
            records: Records::new(config.seeds, now_ms),
            extras: Extras::default(),
            sessions: Sessions::default(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            faults: Mutex::new(config.faults.clone()),
            config,
            clients,
            received: Log::new(),
            state: Mutex::new(state),
            pace: Mutex::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        let router = http::router(&shared);
        tasks.clone().spawn(server::serve(listener, door, router, stop, tasks));
        Ok(Hub { address, shared })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, for `[hub]`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The next request, in the order of arrival; waits for it. It is given when its answer is ready, before
    /// that is sent. Nothing is lost if the wait is given up.
    pub async fn next(&self) -> HubReceived {
        self.shared.received.next().await
    }

    /// All requests that are remembered, the oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<HubReceived> {
        self.shared.received.all()
    }

    /// Behaves differently from the next request on.
    pub fn set_faults(&self, faults: impl Into<HubFaults>) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults.into();
    }

    /// The records of an operator (id without separators) as they were pushed, in order of their EvseID.
    #[must_use]
    pub fn data_of(&self, canonical: &str) -> Vec<String> {
        self.shared.state().records.data_of(canonical)
    }

    /// The status of a charging point.
    #[must_use]
    pub fn status_of(&self, key: &EvseKey) -> Option<EvseStatus> {
        self.shared.state().records.status_of(key)
    }

    /// Session and bytes of all charge detail records, the oldest first.
    #[must_use]
    pub fn cdrs(&self) -> Vec<(String, String)> {
        let cdrs = self.shared.state().sessions.cdrs();
        cdrs.into_iter().map(|(session, raw)| (session.as_str().to_owned(), raw)).collect()
    }

    /// Sessions that have no record yet.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.shared.state().sessions.open_count()
    }

    /// These of the charging points that are made up have changed now, data and status.
    pub fn touch_seeds(&self, numbers: std::ops::Range<u64>) {
        let now_ms = self.shared.now_ms();
        self.shared.state().records.seeds.touch(numbers, now_ms);
    }

    /// There are fewer of them from now on.
    pub fn shrink_seeds(&self, count: u64) {
        let now_ms = self.shared.now_ms();
        self.shared.state().records.seeds.shrink(count, now_ms);
    }

    /// The EvseID of one of them.
    #[must_use]
    pub fn seed_id(number: u64) -> String {
        seeds::Seeds::evse_id(number)
    }

    /// Ends it as if its process was killed: open requests get no answer, and all is forgotten.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// A client for each partner that can be called; over TLS with the hub's certificate.
fn clients(config: &HubConfig) -> Result<BTreeMap<String, BackendClient>, HubError> {
    let mut clients = BTreeMap::new();
    for partner in &config.partners {
        let Some(url) = &partner.url else { continue };
        let name = key_of(partner);
        let shown = config.tls.as_ref().filter(|_| url.starts_with("https://")).map(|own| Tls {
            roots_pem: own.client_ca.clone(),
            identity_pem: Some([own.certificate.as_slice(), b"\n", own.key.as_slice()].concat()),
        });
        let client = BackendClient::with_tls(url, &shown.unwrap_or_default());
        let client = client.map_err(|source| HubError::Partner { partner: name.clone(), source })?;
        clients.insert(name, client);
    }
    Ok(clients)
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
