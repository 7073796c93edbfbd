//! The backends of a node's parties: which operation is which path (OPERATIONS 1), and how many calls at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::error::NodeError;
use crate::config;
use crate::engine::{BackendAnswer, BackendOperation, BackendQuestion, Backends};
use crate::identity::PartyId;
use crate::outbound::{self, BackendClient, CallFailure, OutboundError, ReservationPath};
use crate::protocol::SessionOperation;
use crate::roaming::BackendTraits;

/// Backends over HTTP.
pub(super) struct HttpBackends {
    clients: BTreeMap<PartyId, (BackendClient, ReservationPath)>,
    places: Arc<Semaphore>,
}

impl HttpBackends {
    /// Clients for the backends of the settings.
    pub(super) fn new(config: &outbound::Config) -> Result<HttpBackends, NodeError> {
        let mut clients = BTreeMap::new();
        for target in &config.backends {
            let party = party_of(target)?;
            let tls = target.tls().map_err(|source| OutboundError::Tls { url: target.url.clone(), source });
            let client = tls.and_then(|tls| BackendClient::with_tls(&target.url, &tls));
            let client = client.map_err(NodeError::Backend)?;
            clients.insert(party, (client, target.reservation_path));
        }
        let places = config.calls_max.clamp(1, Semaphore::MAX_PERMITS);
        Ok(HttpBackends { clients, places: Arc::new(Semaphore::new(places)) })
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
        let client = self.clients.get(&question.party).cloned();
        let places = self.places.clone();
        Box::pin(async move {
            let Some((client, reservation)) = client else {
                return BackendAnswer::NotSent(format!("{} has no [[outbound.backend]]", question.party));
            };
            let Ok(Ok(_place)) = tokio::time::timeout(question.timeout, places.acquire_owned()).await else {
                return BackendAnswer::NotSent("too many calls of backends are under way".to_owned());
            };
            let path = path(question.operation, &question.path_id, reservation);
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
