//! The hub's side of HTTP: who calls, what, how often, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode as Http, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::charge;
use super::config::{HubConfig, HubFaults, Partner};
use super::extras::Extras;
use super::log::HubReceived;
use super::operation::HubOperation;
use super::records::Records;
use super::reply::Reply;
use super::sessions::Sessions;
use crate::backend::log::Log;
use crate::backend::server::{Line, SILENCE_MAX, Shown};
use crate::backend::{Behaviour, Kind};
use crate::oicp::charging::ChargingNotification;
use crate::oicp::finding::Fault;
use crate::oicp::id::{OperatorId, ProviderId};
use crate::oicp::page::PageRequest;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::Code;
use crate::outbound::BackendClient;

/// Largest body of a request, in bytes: a full load of the Swiss register has 50 MB.
pub const HUB_BODY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Time for a request's body; a full load takes its time.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Window of a rate limit.
const MINUTE_MS: u64 = 60_000;
/// Bytes that an entry of the log is counted with, beside its body.
const ENTRY_BYTES: usize = 1_024;
/// Largest body that the log keeps, in bytes; of larger ones only their size.
const LOGGED_BODY_BYTES_MAX: usize = 64 * 1024;

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: HubConfig,
    pub(super) clients: BTreeMap<String, BackendClient>,
    pub(super) faults: Mutex<HubFaults>,
    pub(super) received: Log<HubReceived>,
    pub(super) state: Mutex<Everything>,
    /// Calls in the present minute, and when it began, by caller and operation.
    pub(super) pace: Mutex<BTreeMap<(String, HubOperation), (u64, u32)>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// All that the hub remembers.
pub(super) struct Everything {
    pub(super) records: Records,
    pub(super) extras: Extras,
    pub(super) sessions: Sessions,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, Everything> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> i64 {
        i64::try_from(self.config.clock.now().unix_ms).unwrap_or(i64::MAX)
    }

    /// A partner by its id without separators.
    pub(super) fn partner(&self, kind: Kind, canonical: &str) -> Option<&Partner> {
        self.config.partners.iter().find(|one| one.kind == kind && one.canonical == canonical)
    }

    /// Calls a partner's backend under OICP's own path; `None` if there is no answer with HTTP 200 in time.
    pub(super) async fn call(
        &self,
        partner: &Partner,
        operation: HubOperation,
        caller_id: &str,
        body: Bytes,
        patience: Duration,
    ) -> Option<Bytes> {
        let client = self.clients.get(&key_of(partner))?;
        let path = operation.path().replace("{id}", caller_id);
        match client.post(&path, body, patience.min(charge::TIMEOUT_MAX)).await {
            Ok(answer) if answer.http_status == 200 => Some(answer.body),
            Ok(answer) => {
                tracing::info!(?partner, %operation, http = answer.http_status, "a partner refused a call");
                None
            }
            Err(error) => {
                tracing::info!(?partner, %operation, %error, "a partner did not answer");
                None
            }
        }
    }

    /// Whether one call more is within the limit.
    fn is_within_limit(&self, caller: &str, operation: HubOperation) -> bool {
        let Some(limit) = self.config.limits.of(operation) else { return true };
        let now = self.config.clock.now().mono_ms;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, calls) = pace.entry((caller.to_owned(), operation)).or_insert((now, 0));
        if now.saturating_sub(*since) >= MINUTE_MS {
            (*since, *calls) = (now, 0);
        }
        *calls = calls.saturating_add(1);
        *calls <= limit
    }
}

/// Under which name a partner's client is kept.
pub(super) fn key_of(partner: &Partner) -> String {
    format!("{}:{}", partner.kind, partner.canonical)
}

/// The routes; each also below `/k/KEY`, for clients that can send a base URL only.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new().route("/healthz", get(|| async { "ok\n" }));
    for operation in HubOperation::ALL {
        let handler = move |State(shared): State<Arc<Shared>>,
                            Extension(line): Extension<Line>,
                            Extension(shown): Extension<Shown>,
                            request: Request| async move {
            answer(&shared, Some(operation), &line, &shown, request).await
        };
        router = router.route(operation.path(), post(handler));
        router = router.route(&format!("/k/{{key}}{}", operation.path()), post(handler));
    }
    let unserved =
        |State(shared): State<Arc<Shared>>,
         Extension(line): Extension<Line>,
         Extension(shown): Extension<Shown>,
         request: Request| async move { answer(&shared, None, &line, &shown, request).await };
    router.fallback(unserved).method_not_allowed_fallback(unserved).with_state(Arc::clone(shared))
}

async fn answer(
    shared: &Arc<Shared>,
    operation: Option<HubOperation>,
    line: &Line,
    shown: &Shown,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, HUB_BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        _ => {
            return respond(Reply::fault(&Fault::single(
                "",
                "the body is too large, or did not come in time",
            )));
        }
    };
    let Some(operation) = operation else {
        let said = format!("The OICP service is not found for the URI {path}");
        return respond(Reply::short(404, Code::HubSystemError, &said.chars().take(200).collect::<String>()));
    };
    let behaviour = shared.faults.lock().unwrap_or_else(PoisonError::into_inner).of(operation);
    let caller = caller(shared, operation, &path, &head.headers, shown, &body);
    let partner = caller.as_ref().ok().map(|partner| key_of(partner));
    let page = page_of(head.uri.query().unwrap_or_default());
    let reply = match (caller, behaviour) {
        (Err(refusal), _) => refusal,
        (Ok(caller), _) if !shared.is_within_limit(&key_of(caller), operation) => Reply::too_often(),
        (_, Behaviour::Refuse(code)) => {
            let code = code.unwrap_or(Code::HubSystemError);
            match code {
                Code::HubSystemError => Reply::short(500, code, code.description()),
                _ => Reply::refused(code, "as this hub was told to"),
            }
        }
        (_, Behaviour::Http(status)) => Reply::raw(status, "text/html", html(status)),
        (_, Behaviour::Garbage) => Reply::raw(200, "application/json", b"{\"Result\":tru\xff\xfe".to_vec()),
        (_, Behaviour::Silent | Behaviour::Die) => Reply::raw(200, "text/plain", Vec::new()),
        (Ok(caller), _) => {
            carry_out(shared, caller, operation, &body, page).await.unwrap_or_else(Reply::from)
        }
    };
    note(shared, operation, path, partner, behaviour, body, &reply);
    match behaviour {
        Behaviour::Slow(time) => sleep(time).await,
        Behaviour::Silent | Behaviour::Die => {
            if behaviour == Behaviour::Silent {
                sleep(SILENCE_MAX).await;
            }
            line.hang_up();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    respond(reply)
}

fn note(
    shared: &Shared,
    operation: HubOperation,
    path: String,
    partner: Option<String>,
    behaviour: Behaviour,
    body: Bytes,
    reply: &Reply,
) {
    let body_bytes = body.len();
    let received = HubReceived {
        operation,
        // A key in the path is nobody's business.
        path: match path.find("/api/") {
            Some(at) => path.get(at..).unwrap_or_default().to_owned(),
            None => path,
        },
        partner,
        at: shared.config.clock.now().unix_ms,
        body_bytes,
        body: if body_bytes <= LOGGED_BODY_BYTES_MAX { body } else { Bytes::new() },
        session: reply.session.map(|session| session.as_str().to_owned()),
        behaviour,
        http_status: reply.http,
        answer: reply.said.clone(),
    };
    let bytes = received.body.len() + ENTRY_BYTES;
    shared.received.add(received, bytes);
}

/// Who calls: by certificate, else by key, else by what stands in the path.
fn caller<'s>(
    shared: &'s Shared,
    operation: HubOperation,
    path: &str,
    headers: &HeaderMap,
    shown: &Shown,
    body: &[u8],
) -> Result<&'s Partner, Reply> {
    let canonical = match id_in(operation, path) {
        Some(id) => id,
        // Only notifications have none.
        None => {
            let told = ChargingNotification::parse(body, Reading::Tolerant)?;
            let operator = told.operator_id.map(|id| id.canonical());
            // The real hub fails so without an OperatorID (RULES section 8).
            operator.ok_or_else(|| Reply::short(500, Code::HubSystemError, "Hubject system error"))?
        }
    };
    let partner = shared.partner(operation.caller(), &canonical).ok_or_else(Reply::unknown_partner)?;
    if partner.certificate.is_some() && partner.certificate != shown.0 {
        return Err(Reply::unauthorized());
    }
    if partner.key.is_some() && partner.key != key_in(path, headers) {
        return Err(Reply::unauthorized());
    }
    if !partner.takes_part_in(operation) {
        let is_http = matches!(
            operation,
            HubOperation::PushAuthenticationData
                | HubOperation::PushProducts
                | HubOperation::PushPricing
                | HubOperation::PullProducts
                | HubOperation::PullPricing
        );
        let refused = || Reply::refused(Code::NoValidContract, "no contract for this service");
        return Err(if is_http { Reply::no_subscription() } else { refused() });
    }
    Ok(partner)
}

/// The id in the path, without separators.
fn id_in(operation: HubOperation, path: &str) -> Option<String> {
    let (before, _) = operation.path().split_once("{id}")?;
    let (_, rest) = path.split_once(before)?;
    let id = rest.split('/').next()?.replace("%2A", "*").replace("%2a", "*");
    Some(match operation.caller() {
        Kind::Cpo => OperatorId::parse(&id).map(|id| id.canonical()).unwrap_or(id),
        Kind::Emp => ProviderId::parse(&id).map(|id| id.canonical()).unwrap_or(id),
    })
}

/// What the caller says as its key: in the path, or as the password of HTTP Basic.
fn key_in(path: &str, headers: &HeaderMap) -> Option<String> {
    if let Some(rest) = path.strip_prefix("/k/") {
        return rest.split('/').next().map(str::to_owned);
    }
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let plain = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
    plain.split_once(':').map(|(_, key)| key.to_owned())
}

fn page_of(query: &str) -> PageRequest {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok())
    };
    PageRequest::new(number("page"), number("size"))
}

async fn carry_out(
    shared: &Arc<Shared>,
    caller: &Partner,
    operation: HubOperation,
    body: &[u8],
    page: PageRequest,
) -> Result<Reply, Fault> {
    let now_ms = shared.now_ms();
    match operation {
        HubOperation::PushData => shared.state().records.push_data(caller, body, now_ms),
        HubOperation::PushStatus => shared.state().records.push_status(caller, body),
        HubOperation::PullData => shared.state().records.pull_data(body, page),
        HubOperation::PullStatus | HubOperation::PullStatusById | HubOperation::PullStatusByOperator => {
            shared.state().records.pull_status(body)
        }
        HubOperation::PushProducts => shared.state().extras.push_products(caller, body, now_ms),
        HubOperation::PushPricing => shared.state().extras.push_prices(caller, body, now_ms),
        HubOperation::PullProducts => shared.state().extras.pull_products(caller, body),
        HubOperation::PullPricing => shared.state().extras.pull_prices(caller, body),
        HubOperation::PushAuthenticationData => shared.state().extras.push_media(caller, body),
        HubOperation::PullAuthenticationData => Ok(shared.state().extras.pull_media()),
        HubOperation::GetChargeDetailRecords => charge::get_cdrs(shared, caller, body, page),
        HubOperation::ChargeDetailRecord => charge::cdr(shared, caller, body),
        HubOperation::AuthorizeStart => charge::authorize_start(shared, caller, body).await,
        HubOperation::AuthorizeStop => charge::authorize_stop(shared, caller, body).await,
        HubOperation::RemoteStart | HubOperation::ReservationStart => {
            charge::remote_start(shared, caller, operation, body).await
        }
        HubOperation::RemoteStop | HubOperation::ReservationStop => {
            charge::remote_stop(shared, caller, operation, body).await
        }
        HubOperation::Notification => charge::notification(shared, caller, body).await,
    }
}

fn html(status: u16) -> Vec<u8> {
    format!("<html>\r\n<head><title>{status}</title></head>\r\n<body><center><h1>{status}</h1></center><hr><center>nginx</center></body>\r\n</html>\r\n").into_bytes()
}

fn respond(reply: Reply) -> Response {
    let http = Http::from_u16(reply.http).unwrap_or(Http::INTERNAL_SERVER_ERROR);
    let mut seed = [0; 16];
    // Without randomness the id of this call is zero.
    let _ = getrandom::fill(&mut seed);
    let process = crate::oicp::charging::SessionId::from_random(seed);
    let headers = [(header::CONTENT_TYPE, reply.content_type)];
    let mut response = (http, headers, Body::from(reply.body)).into_response();
    if let Ok(value) = process.as_str().parse() {
        response.headers_mut().insert("Process-ID", value);
    }
    response
}
