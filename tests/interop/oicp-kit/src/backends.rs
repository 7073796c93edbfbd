//! The backends of both sides: the routers of `oicp-kit`, whose own checks refuse what is not conformant.

use std::sync::{Arc, Mutex};

use axum::Router;
use oicp_kit::cpo::{
    AuthorizationStartResponse, AuthorizationStatus, AuthorizationStopResponse,
    AuthorizeRemoteReservationStartRequest, AuthorizeRemoteReservationStopRequest,
    AuthorizeRemoteStartRequest, AuthorizeRemoteStopRequest, AuthorizeStartRequest, AuthorizeStopRequest,
    ChargeDetailRecord, ChargingNotification,
};
use oicp_kit::server::{CpoService, EmpService, cpo_router, emp_router};
use oicp_kit::types::{Acknowledgement, Code, Extensions, Violations};

/// What a backend was asked, in order.
#[derive(Default)]
pub struct Heard {
    lines: Mutex<Vec<String>>,
    objected: Mutex<Vec<String>>,
}

impl Heard {
    fn hears(&self, what: &str) {
        self.lines.lock().unwrap().push(what.to_owned());
    }

    /// How often it was asked for this.
    pub fn count(&self, what: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.as_str() == what).count()
    }

    /// What it found wrong in what we sent.
    pub fn objections(&self) -> Vec<String> {
        self.objected.lock().unwrap().clone()
    }

    fn objects(&self, violations: &Violations) -> Option<Acknowledgement> {
        self.objected.lock().unwrap().push(violations.to_string());
        Some(Acknowledgement::failure_with(Code::DataError, violations.to_string()))
    }
}

/// The CPO's backend.
pub struct Cpo(pub Arc<Heard>);

impl CpoService for Cpo {
    async fn authorize_remote_start(&self, request: AuthorizeRemoteStartRequest) -> Acknowledgement {
        self.0.hears("AuthorizeRemoteStart");
        Acknowledgement::success().with_session(request.session_id)
    }

    async fn authorize_remote_stop(&self, request: AuthorizeRemoteStopRequest) -> Acknowledgement {
        self.0.hears("AuthorizeRemoteStop");
        Acknowledgement::success().with_session(request.session_id)
    }

    async fn reservation_start(&self, request: AuthorizeRemoteReservationStartRequest) -> Acknowledgement {
        self.0.hears("AuthorizeRemoteReservationStart");
        // OICP23-E005: the reference is there under whichever name it was sent.
        if request.emp_partner_session_id.is_some() {
            self.0.hears("EMPPartnerSessionID of a reservation");
        }
        Acknowledgement::success()
    }

    async fn reservation_stop(&self, _: AuthorizeRemoteReservationStopRequest) -> Acknowledgement {
        self.0.hears("AuthorizeRemoteReservationStop");
        Acknowledgement::success()
    }

    fn on_invalid_request(&self, violations: &Violations) -> Option<Acknowledgement> {
        self.0.objects(violations)
    }
}

/// The EMP's backend: everybody may charge.
pub struct Emp(pub Arc<Heard>);

impl EmpService for Emp {
    async fn authorize_start(&self, request: AuthorizeStartRequest) -> AuthorizationStartResponse {
        self.0.hears("AuthorizeStart");
        AuthorizationStartResponse::authorized(request.session_id.expect("the hub names the session"))
    }

    async fn authorize_stop(&self, request: AuthorizeStopRequest) -> AuthorizationStopResponse {
        self.0.hears("AuthorizeStop");
        AuthorizationStopResponse {
            session_id: Some(request.session_id),
            cpo_partner_session_id: None,
            emp_partner_session_id: None,
            provider_id: None,
            authorization_status: AuthorizationStatus::Authorized,
            status_code: Code::Success.into(),
            extensions: Extensions::new(),
        }
    }

    async fn charge_detail_record(&self, _: ChargeDetailRecord) -> Acknowledgement {
        self.0.hears("ChargeDetailRecord");
        Acknowledgement::success()
    }

    async fn charging_notification(&self, notification: ChargingNotification) -> Acknowledgement {
        self.0.hears("ChargingNotifications");
        if let ChargingNotification::Progress(progress) = &notification {
            // OICP23-E006: EventOccurred - ChargingStart.
            assert!(progress.implied_duration_ms().is_some());
        }
        Acknowledgement::success()
    }

    fn on_invalid_request(&self, violations: &Violations) -> Option<Acknowledgement> {
        self.0.objects(violations)
    }
}

/// Serves a router below `/api/oicp`, as the hub's path stands in every call; gives its base URL.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().nest("/api/oicp", router);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Both backends: their base URLs, and what they hear.
pub async fn both() -> [(String, Arc<Heard>); 2] {
    let (cpo, emp) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
    let cpo_url = serve(cpo_router(Arc::new(Cpo(cpo.clone())))).await;
    let emp_url = serve(emp_router(Arc::new(Emp(emp.clone())))).await;
    [(cpo_url, cpo), (emp_url, emp)]
}
