//! The backends of a node's parties: which operation is which path (OPERATIONS 1), and how many calls at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::error::NodeError;
use crate::config;
use crate::engine::{BackendAnswer, BackendOperation, BackendQuestion, Backends};
use crate::identity::PartyId;
use crate::outbound::{self, BackendClient, CallFailure, OutboundError, ReservationPath, Tls};
use crate::protocol::SessionOperation;
use crate::roaming::BackendTraits;
use crate::tls::{InUse, Use, Used};

/// Backends over HTTP.
pub(super) struct HttpBackends {
    clients: RwLock<BTreeMap<PartyId, Called>>,
    places: Arc<Semaphore>,
    certificates: InUse,
}

/// A backend that is called.
#[derive(Clone)]
struct Called {
    client: BackendClient,
    reservation_path: ReservationPath,
    url: String,
    tls: Tls,
}

impl HttpBackends {
    /// Clients for the backends of the settings.
    pub(super) fn new(config: &outbound::Config, certificates: &InUse) -> Result<HttpBackends, NodeError> {
        let mut clients = BTreeMap::new();
        for target in &config.backends {
            clients.insert(party_of(target)?, Called::new(target)?);
        }
        let places = Arc::new(Semaphore::new(config.calls_max.clamp(1, Semaphore::MAX_PERMITS)));
        let backends =
            HttpBackends { clients: RwLock::new(clients), places, certificates: certificates.clone() };
        backends.tell_certificates();
        Ok(backends)
    }

    /// Reads certificates and keys anew; other settings stay. Calls that are under way go on. Gives what could not
    /// be used: there the old ones stay.
    pub(super) fn reload(&self, config: &outbound::Config) -> Vec<NodeError> {
        let mut failed = Vec::new();
        for target in &config.backends {
            let known = party_of(target).ok().and_then(|party| Some((self.called(&party)?, party)));
            let Some((known, party)) = known.filter(|(known, _)| known.url == target.url) else { continue };
            match Called::new(target) {
                Ok(now) if now.tls != known.tls => {
                    let now = Called { reservation_path: known.reservation_path, ..now };
                    self.clients.write().unwrap_or_else(PoisonError::into_inner).insert(party, now);
                }
                Ok(_) => {}
                Err(error) => failed.push(error),
            }
        }
        self.tell_certificates();
        failed
    }

    fn called(&self, party: &PartyId) -> Option<Called> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).get(party).cloned()
    }

    fn tell_certificates(&self) {
        let mut used = Vec::new();
        for (party, called) in self.clients.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let party = party.to_text();
            // They were read when the client was made.
            let (own, roots) = (called.tls.own().ok().flatten(), called.tls.roots().unwrap_or_default());
            used.extend(Used::list(Use::Backend, &party, own.into_iter().collect()));
            used.extend(Used::list(Use::BackendCa, &party, roots));
        }
        self.certificates.put(&[Use::Backend, Use::BackendCa], used);
    }
}

impl Called {
    fn new(target: &outbound::BackendTarget) -> Result<Called, NodeError> {
        let url = target.url.clone();
        let tls = target.tls().map_err(|source| OutboundError::Tls { url: url.clone(), source });
        let made = tls.and_then(|tls| Ok((BackendClient::with_tls(&url, &tls)?, tls)));
        let (client, tls) = made.map_err(NodeError::Backend)?;
        Ok(Called { client, reservation_path: target.reservation_path, url, tls })
    }
}

/// What the backends of the settings can do.
pub(super) fn traits(config: &outbound::Config) -> Result<BTreeMap<PartyId, BackendTraits>, NodeError> {
    let of = |target: &outbound::BackendTarget| {
        Ok((party_of(target)?, BackendTraits { notifications: target.notifications }))
    };
    config.backends.iter().map(of).collect()
}

fn party_of(target: &outbound::BackendTarget) -> Result<PartyId, NodeError> {
    config::party(&target.party).map_err(|source| NodeError::BackendParty { source })
}

impl Backends for HttpBackends {
    fn ask(&self, question: BackendQuestion) -> BoxFuture<'static, BackendAnswer> {
        let called = self.called(&question.party);
        let places = self.places.clone();
        Box::pin(async move {
            let Some(Called { client, reservation_path, .. }) = called else {
                return BackendAnswer::NotSent(format!("{} has no [[outbound.backend]]", question.party));
            };
            let Ok(Ok(_place)) = tokio::time::timeout(question.timeout, places.acquire_owned()).await else {
                return BackendAnswer::NotSent("too many calls of backends are under way".to_owned());
            };
            let path = path(question.operation, &question.path_id, reservation_path);
            match client.post(&path, question.body, question.timeout).await {
                Ok(received) => {
                    BackendAnswer::Answered { http_status: received.http_status, body: received.body }
                }
                Err(CallFailure::NotSent(why)) => BackendAnswer::NotSent(why),
                Err(CallFailure::Silent(why)) => BackendAnswer::Silent(why),
            }
        })
    }
}

/// The path under the backend's base URL; ids stand literally, as the hub writes them (OPERATIONS 3).
pub(super) fn path(operation: BackendOperation, id: &str, reservation: ReservationPath) -> String {
    let BackendOperation::Session(operation) = operation else {
        return format!("/api/oicp/cdrmgmt/v22/operators/{id}/charge-detail-record");
    };
    match (operation, reservation) {
        (SessionOperation::AuthorizeStart, _) => {
            format!("/api/oicp/charging/v21/operators/{id}/authorize/start")
        }
        (SessionOperation::AuthorizeStop, _) => {
            format!("/api/oicp/charging/v21/operators/{id}/authorize/stop")
        }
        (SessionOperation::RemoteStart, _) => {
            format!("/api/oicp/charging/v21/providers/{id}/authorize-remote/start")
        }
        (SessionOperation::RemoteStop, _) => {
            format!("/api/oicp/charging/v21/providers/{id}/authorize-remote/stop")
        }
        (SessionOperation::ReservationStart, ReservationPath::Reservation) => {
            format!("/api/oicp/reservation/v11/providers/{id}/reservation-start-request")
        }
        (SessionOperation::ReservationStop, ReservationPath::Reservation) => {
            format!("/api/oicp/reservation/v11/providers/{id}/reservation-stop-request")
        }
        (SessionOperation::ReservationStart, ReservationPath::Charging) => {
            format!("/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/start")
        }
        (SessionOperation::ReservationStop, ReservationPath::Charging) => {
            format!("/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/stop")
        }
        (SessionOperation::Notification, _) => {
            "/api/oicp/notificationmgmt/v11/charging-notifications".to_owned()
        }
    }
}
