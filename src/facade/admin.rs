//! What people, monitors and the command line ask the node: health, metrics, view, one EVSE, held pushes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode as Http, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer::{Answer, JSON_UTF8};
use super::directory::{DataRow, StatusQuestion, StatusRow};
use super::evse_pull::write_record;
use super::server::Peer;
use super::shared::Shared;
use crate::engine::NodeView;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::finding::Fault;
use crate::oicp::geo::GeoFormat;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::status_code::Code;
use crate::tls::Used;

/// Content type of the Prometheus text format.
const METRICS_TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /healthz`: 200 when the engine answers and none of the node's parties was revoked. Open to everybody, so it says little.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.engine.view().await {
        Ok(view) => {
            let in_sync = view.feeds.iter().filter(|feed| feed.in_sync).count();
            let revoked: Vec<&str> =
                view.own.iter().filter(|own| own.revoked).map(|own| own.party.as_str()).collect();
            let body = json!({
                "ready": revoked.is_empty(), "revoked": revoked, "node": view.node, "parties": view.parties,
                "feeds": view.feeds.len(), "feeds_in_sync": in_sync,
            });
            // Nobody hears what it says for them: not ready, so that a monitor rings.
            let http = if revoked.is_empty() { Http::OK } else { Http::SERVICE_UNAVAILABLE };
            json_answer(http, &body)
        }
        Err(error) => {
            let body = json!({ "ready": false, "why": error.to_string() });
            json_answer(Http::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let view = admin_view(&shared, peer, &headers).await?;
    let now = (shared.now_unix_ms)();
    // What cannot be read is missing: a monitor sees that too.
    let alarms = match &shared.accounts {
        Some(accounts) => accounts.alarms().await.map(|alarms| alarms.counts).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    let text = shared
        .metrics
        .text(&view, &alarms, &shared.certificates.all(), &(shared.more_gauges)(now), now)
        .map_err(|_| Answer::broken("metrics could not be written"))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, METRICS_TEXT);
    Ok(response)
}

/// `GET /admin/v1/view`.
pub(super) async fn view(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let view = admin_view(&shared, peer, &headers).await?;
    match serde_json::to_value(&view) {
        Ok(value) => Ok(json_answer(Http::OK, &value)),
        Err(error) => Err(Answer::broken(&error.to_string())),
    }
}

/// `GET /admin/v1/certificates`: the certificates of HTTPS that are in use, and until when.
pub(super) async fn certificates(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let of = |used: &Used| {
        json!({
            "use": used.what_for.as_str(), "what": used.what_for.words(), "party": used.party,
            "subject": used.certificate.subject, "fingerprint": used.certificate.fingerprint.to_string(),
            "until_unix_s": used.certificate.not_after_unix_s,
        })
    };
    let all: Vec<Value> = shared.certificates.all().iter().map(of).collect();
    Ok(json_answer(Http::OK, &json!({ "certificates": all })))
}

/// `GET /admin/v1/evse/{id}`: record, status, publishers and age of one EVSE, and who stands for its record.
pub(super) async fn evse(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let view = admin_view(&shared, peer, &headers).await?;
    let id = EvseId::parse(&id)
        .map_err(|error| Answer::malformed(Fault::single("/EvseID", error.to_string()).to_json()))?;
    let key = id.key().clone();
    let data = shared.directory.data_of(key.clone(), None).await?;
    let statuses = shared.directory.statuses(None, StatusQuestion::Keys(vec![key.clone()])).await?;
    // What somebody signed is shown, else what the hub says.
    let bridged = match &data {
        Some(_) => None,
        None => shared.directory.bridged_of(key.clone()).await?,
    };
    if data.is_none()
        && bridged.is_none()
        && statuses.is_empty()
        && !view.conflicts.iter().any(|c| c.key == key.as_str())
    {
        let info = "no party that this node follows publishes this EVSE";
        return Err(Answer::fault(Http::NOT_FOUND, Code::UnknownEvseId, Some(info)));
    }
    let attested = data.as_ref().map(|_| "party-signed").or(bridged.as_ref().map(|_| "bridge-attested"));
    let (by_hub, status_by_hub) = bridged.map(|bridged| (bridged.data, bridged.status)).unzip();
    let (data, status_by_hub) = (data.or(by_hub), status_by_hub.flatten());
    let status = statuses.first().or(status_by_hub.as_ref());
    let mut body = evse_json(&key, data.as_ref(), status, &view, (shared.now_unix_ms)());
    body["attested"] = json!(attested);
    Ok(json_answer(Http::OK, &body))
}

/// `POST /admin/v1/held/{id}/confirm`: carries out a push that the guard rail held.
pub(super) async fn confirm(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(held): Path<u64>,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    check_admin(&shared, peer, &headers)?;
    let outcome = shared.engine.confirm(held).await?;
    let (result, status) = (outcome.result, outcome.status);
    Ok(Answer::ok(Acknowledgement { result, status, ..Acknowledgement::success() }.to_json()))
}

/// `GET /admin/v1/trust`: who is who, who vouches for it and until when.
pub(super) async fn trust(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let trust = shared.engine.trust().await?;
    match serde_json::to_value(&trust) {
        Ok(value) => Ok(json_answer(Http::OK, &value)),
        Err(error) => Err(Answer::broken(&error.to_string())),
    }
}

/// `POST /admin/v1/identity`: takes a signed object of the registry (tombstone, rotation, status list,
/// credential; the body as it was signed) and tells it to everybody.
pub(super) async fn hand_in(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Answer> {
    check_admin(&shared, peer, &headers)?;
    let object = body.map_err(|error| Answer::malformed(error.to_string()))?;
    let outcome = shared.engine.hand_in(object).await?;
    let (result, status) = (outcome.result, outcome.status);
    Ok(Answer::ok(Acknowledgement { result, status, ..Acknowledgement::success() }.to_json()))
}

fn evse_json(
    key: &EvseKey,
    data: Option<&DataRow>,
    status: Option<&StatusRow>,
    view: &NodeView,
    now_unix_ms: u64,
) -> Value {
    let record = data.and_then(|row| write_record(row, GeoFormat::Google));
    let record = record.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let conflicts: Vec<_> = view.conflicts.iter().filter(|conflict| conflict.key == key.as_str()).collect();
    let status = status.map(|row| {
        json!({
            "evse_status": row.status.as_str(), "operator_id": row.operator_id,
            "observed_at_unix_ms": row.observed_at_unix_ms,
            "age_ms": now_unix_ms.saturating_sub(row.observed_at_unix_ms),
            "confirmed_at_unix_ms": row.confirmed_at_unix_ms,
        })
    });
    json!({
        "key": key.as_str(),
        "operator_id": data.map(|row| row.operator_id.as_str()),
        "operator_name": data.map(|row| row.operator_name.as_str()),
        "committed_at_unix_ms": data.map(|row| row.last_update_unix_ms),
        "record": record,
        "status": status,
        "conflicts": conflicts,
    })
}

pub(super) async fn admin_view(shared: &Shared, peer: Peer, headers: &HeaderMap) -> Result<NodeView, Answer> {
    check_admin(shared, peer, headers)?;
    Ok(shared.engine.view().await?)
}

pub(super) fn check_admin(shared: &Shared, peer: Peer, headers: &HeaderMap) -> Result<(), Answer> {
    if shared.access.is_admin(peer.0, headers) {
        return Ok(());
    }
    let info = "ask from this machine, or send `Authorization: Bearer ADMIN_KEY` (`admin_key` in the section facade)";
    Err(Answer::fault(Http::UNAUTHORIZED, Code::UnauthorizedAccess, Some(info)))
}

pub(super) fn json_answer(http: Http, body: &Value) -> Response {
    let mut response = (http, body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, JSON_UTF8);
    response
}
