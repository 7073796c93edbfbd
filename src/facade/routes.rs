//! Which path is which service: the exact paths of OPERATIONS rows 1 to 21, each also under `/k/{key}`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{DefaultBodyLimit, RawPathParams, Request, State};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, PROCESS_ID, process_id};
use super::auth::Refusal;
use super::authdata::{pull_authentication, push_authentication};
use super::call::Call;
use super::cdr::{pull_cdrs, take_cdr};
use super::charging::charge;
use super::compress::{Encoding, respond};
use super::evse_pull::pull_data;
use super::evse_push::{push_data, push_status};
use super::metrics::Service;
use super::openapi::document;
use super::prices::{Prices, pull_prices, push_prices};
use super::shared::Shared;
use super::status_pull::{Form, pull_status};
use super::{accounts, admin, agreements, cdr_admin, events, evidence, hub_view, sessions};
use crate::identity::{CDR_OICP_BYTES_MAX, Role};

/// Each path with its service.
pub(super) const SERVICES: [(&str, Service); 23] = [
    ("/api/oicp/evsepush/v23/operators/{id}/data-records", Service::PushEvseData),
    ("/api/oicp/evsepull/v23/providers/{id}/data-records", Service::PullEvseData),
    ("/api/oicp/evsepush/v21/operators/{id}/status-records", Service::PushEvseStatus),
    ("/api/oicp/evsepull/v21/providers/{id}/status-records", Service::PullEvseStatus),
    ("/api/oicp/evsepull/v21/providers/{id}/status-records-by-id", Service::PullEvseStatusById),
    (
        "/api/oicp/evsepull/v21/providers/{id}/status-records-by-operator-id",
        Service::PullEvseStatusByOperatorId,
    ),
    ("/api/oicp/charging/v21/operators/{id}/authorize/start", Service::AuthorizeStart),
    ("/api/oicp/charging/v21/operators/{id}/authorize/stop", Service::AuthorizeStop),
    ("/api/oicp/charging/v21/providers/{id}/authorize-remote/start", Service::AuthorizeRemoteStart),
    ("/api/oicp/charging/v21/providers/{id}/authorize-remote/stop", Service::AuthorizeRemoteStop),
    ("/api/oicp/reservation/v11/providers/{id}/reservation-start-request", Service::ReservationStart),
    ("/api/oicp/reservation/v11/providers/{id}/reservation-stop-request", Service::ReservationStop),
    // The same as a wide-spread library calls it (GAPS C20).
    ("/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/start", Service::ReservationStart),
    ("/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/stop", Service::ReservationStop),
    ("/api/oicp/authdata/v21/providers/{id}/push-request", Service::PushAuthenticationData),
    ("/api/oicp/notificationmgmt/v11/charging-notifications", Service::ChargingNotification),
    ("/api/oicp/cdrmgmt/v22/operators/{id}/charge-detail-record", Service::ChargeDetailRecord),
    (
        "/api/oicp/cdrmgmt/v22/providers/{id}/get-charge-detail-records-request",
        Service::GetChargeDetailRecords,
    ),
    ("/api/oicp/dynamicpricing/v10/operators/{id}/pricing-products", Service::PushPricingProductData),
    ("/api/oicp/dynamicpricing/v10/operators/{id}/evse-pricing", Service::PushEvsePricing),
    ("/api/oicp/dynamicpricing/v10/providers/{id}/pricing-products", Service::PullPricingProductData),
    ("/api/oicp/dynamicpricing/v10/providers/{id}/evse-pricing", Service::PullEvsePricing),
    ("/api/oicp/authdata/v21/operators/{id}/pull-request", Service::PullAuthenticationData),
];

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(admin::health))
        .route("/openapi.json", get(described))
        .route("/metrics", get(admin::metrics))
        .route("/admin/v1/view", get(admin::view))
        .route("/admin/v1/certificates", get(admin::certificates))
        .route("/admin/v1/hub", get(hub_view::show))
        .route("/admin/v1/evse/{id}", get(admin::evse))
        .route("/admin/v1/sessions", get(sessions::list))
        .route("/admin/v1/evidence", get(evidence::list))
        .route("/admin/v1/evidence/erase", post(evidence::erase_before))
        .route("/admin/v1/evidence/{session}", get(evidence::export))
        .route("/admin/v1/evidence/{session}/erase", post(evidence::erase))
        .route("/admin/v1/cdrs", get(cdr_admin::list))
        .route("/admin/v1/cdrs/{session}", get(cdr_admin::show))
        .route(
            "/admin/v1/cdrs/corrections",
            // What does not fit is refused with its reason.
            post(cdr_admin::correct).layer(DefaultBodyLimit::max(2 * CDR_OICP_BYTES_MAX)),
        )
        .route("/admin/v1/trust", get(admin::trust))
        .route(
            "/admin/v1/identity",
            // The largest is a status list with 10,000 hashes.
            post(admin::hand_in).layer(DefaultBodyLimit::max(512 * 1024)),
        )
        .route("/admin/v1/held/{id}/confirm", post(admin::confirm))
        .route("/admin/v1/statement", get(accounts::statement))
        .route("/admin/v1/statement/sign", get(accounts::signed).post(accounts::sign))
        .route("/admin/v1/reconcile", post(accounts::reconcile))
        .route("/admin/v1/alarms", get(accounts::alarms))
        .route("/admin/v1/events", get(events::stream))
        .route("/admin/v1/agreements", get(agreements::list).post(agreements::offer))
        .route("/admin/v1/agreements/{id}/accept", post(agreements::accept))
        .route("/admin/v1/agreements/{id}/end", post(agreements::end))
        .route("/admin/v1/permissions/{partner}", get(agreements::permissions));
    for (path, service) in SERVICES {
        router =
            router.route(path, of_service(service)).route(&format!("/k/{{key}}{path}"), of_service(service));
    }
    router
        .fallback(|| async { Answer::no_such_service() })
        .method_not_allowed_fallback(|| async { Answer::wrong_method() })
        .layer(map_response(with_process_id))
        .with_state(shared)
}

/// Tells no more than the specification does, so anybody may read it.
async fn described() -> Answer {
    Answer::ok(document(&SERVICES))
}

fn of_service(service: Service) -> MethodRouter<Arc<Shared>> {
    post(
        move |State(shared): State<Arc<Shared>>,
              params: Result<RawPathParams, RawPathParamsRejection>,
              request: Request| async move { serve(&shared, service, params, request).await },
    )
}

async fn serve(
    shared: &Shared,
    service: Service,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let encoding = Encoding::wanted(request.headers());
    // An id whose escapes are not UTF-8 is nobody's id.
    let answer = match params {
        Ok(params) => answer(shared, service, &params, request).await,
        Err(_) => Err(Answer::from(Refusal::ForeignId)),
    };
    let answer = answer.unwrap_or_else(|refused| refused);
    let seconds = started.elapsed().as_secs_f64();
    shared.metrics.record(service, answer.http.as_u16(), seconds);
    // Neither path nor headers: both may carry the key.
    tracing::debug!(?service, http_status = answer.http.as_u16(), seconds, "answered");
    respond(&shared.workers, encoding, answer).await
}

async fn answer(
    shared: &Shared,
    service: Service,
    params: &RawPathParams,
    request: Request,
) -> Result<Answer, Answer> {
    let limit: Duration = shared.answer_timeout;
    let answer = match service.session_operation() {
        Some((operation, role)) => {
            let places = &shared.session_requests;
            let call = Call::admit_any(shared, places, (service, role), params, request).await?;
            timeout(limit, charge(shared, operation, role, call)).await
        }
        None => {
            let role = match service {
                Service::PushEvseData
                | Service::PushEvseStatus
                | Service::PushPricingProductData
                | Service::PushEvsePricing
                | Service::PullAuthenticationData
                | Service::ChargeDetailRecord => Role::Cpo,
                _ => Role::Emp,
            };
            if service == Service::PullAuthenticationData && !shared.pull_authentication_data {
                return Err(Answer::no_such_service());
            }
            let places = &shared.requests;
            let call = match service {
                Service::ChargeDetailRecord => {
                    Call::admit_speaker(shared, places, (service, role), params, request).await?
                }
                _ => Call::admit(shared, places, (service, role), params, request).await?,
            };
            timeout(limit, carry_out(shared, service, call)).await
        }
    };
    answer.unwrap_or_else(|_| Err(Answer::too_slow()))
}

async fn carry_out(shared: &Shared, service: Service, call: Call) -> Result<Answer, Answer> {
    match service {
        Service::PushEvseData => push_data(shared, call).await,
        Service::PushEvseStatus => push_status(shared, call).await,
        Service::PushPricingProductData => push_prices(shared, call, Prices::Products).await,
        Service::PushEvsePricing => push_prices(shared, call, Prices::Evses).await,
        Service::PullPricingProductData => pull_prices(shared, call, Prices::Products).await,
        Service::PullEvsePricing => pull_prices(shared, call, Prices::Evses).await,
        Service::PullAuthenticationData => pull_authentication(shared, call).await,
        Service::PushAuthenticationData => push_authentication(shared, call).await,
        Service::ChargeDetailRecord => take_cdr(shared, call).await,
        Service::GetChargeDetailRecords => pull_cdrs(shared, call).await,
        Service::PullEvseData => pull_data(shared, call).await,
        Service::PullEvseStatus => pull_status(shared, call, Form::Any).await,
        Service::PullEvseStatusById => pull_status(shared, call, Form::ById).await,
        Service::PullEvseStatusByOperatorId => pull_status(shared, call, Form::ByOperatorId).await,
        _ => Err(Answer::no_such_service()),
    }
}

async fn with_process_id(mut response: Response) -> Response {
    if let Some(id) = process_id() {
        response.headers_mut().insert(PROCESS_ID, id);
    }
    response
}
