//! Accounts over the admin API: statements, comparisons with a partner's node, alarms.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode as Http, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::admin::{check_admin, json_answer};
use super::agreements::party;
use super::answer::{Answer, JSON_UTF8};
use super::server::Peer;
use super::shared::Shared;
use crate::engine::{AccountError, Accounts, Month, Statement};
use crate::identity::PartyId;
use crate::oicp::time::parse_ms;

/// Largest body of a question in bytes; a real one has about 100.
const QUESTION_BYTES_MAX: usize = 4 * 1024;

/// Time for such a body.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// About the bytes of one line of a statement.
const LINE_BYTES: usize = 500;

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Which statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementQuery {
    /// `ROLE:ID` in any wire spelling.
    partner: String,
    /// As in `2026-11`.
    month: String,
    /// Not needed if only one party of the node can be meant.
    #[serde(default)]
    party: Option<String>,
    /// `csv`, `json` or `html`.
    #[serde(default)]
    format: Option<String>,
}

/// Which days are compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReconcileBody {
    partner: String,
    #[serde(default)]
    party: Option<String>,
    /// The first day (UTC), as in `2026-11-01`.
    from: String,
    /// The last day.
    to: String,
}

/// What is asked, read: our party, the partner, the month.
type Asked = (PartyId, PartyId, Month);

/// `GET /admin/v1/statement?partner=EMP:DE-XYZ&month=2026-11[&party=CPO:DE*ABC][&format=csv|json|html]`.
pub(super) async fn statement(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StatementQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let accounts = accounts(&shared)?;
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return Ok(refused(Http::BAD_REQUEST, &error.body_text())),
    };
    let (ours, partner, month) = match asked(accounts, &query) {
        Ok(asked) => asked,
        Err(why) => return Ok(refused(Http::BAD_REQUEST, &why)),
    };
    let write: fn(&Statement) -> (String, HeaderValue) = match query.format.as_deref().unwrap_or("csv") {
        "csv" => |statement| (statement.to_csv(), HeaderValue::from_static("text/csv;charset=utf-8")),
        "json" => |statement| (statement.to_json(), JSON_UTF8),
        "html" => |statement| (statement.to_html(), HeaderValue::from_static("text/html;charset=utf-8")),
        _ => return Ok(refused(Http::BAD_REQUEST, "format may be csv, json or html")),
    };
    let statement = match accounts.statement(ours, partner, month).await {
        Ok(statement) => statement,
        Err(error) => return failed(&error),
    };
    // Half a million lines take their time: not on a thread that others wait for.
    let bytes = statement.lines().len() * LINE_BYTES;
    let (text, content_type) = shared.workers.run(bytes, move || write(&statement)).await?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// `POST /admin/v1/statement/sign?partner=…&month=…[&party=…]`: has the partner's node sign the same statement.
pub(super) async fn sign(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StatementQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let accounts = accounts(&shared)?;
    let asked = match &query {
        Ok(Query(query)) => asked(accounts, query),
        Err(error) => Err(error.body_text()),
    };
    let (ours, partner, month) = match asked {
        Ok(asked) => asked,
        Err(why) => return Ok(refused(Http::BAD_REQUEST, &why)),
    };
    match accounts.co_sign(ours, partner, month).await {
        Ok(signed) => Ok(json_answer(Http::OK, &json!(signed))),
        Err(error) => failed(&error),
    }
}

/// `GET /admin/v1/statement/sign?partner=…&month=…[&party=…]`: the statements of the month that both sides signed.
pub(super) async fn signed(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StatementQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let accounts = accounts(&shared)?;
    let asked = match &query {
        Ok(Query(query)) => asked(accounts, query),
        Err(error) => Err(error.body_text()),
    };
    let (ours, partner, month) = match asked {
        Ok(asked) => asked,
        Err(why) => return Ok(refused(Http::BAD_REQUEST, &why)),
    };
    match accounts.signed(ours, partner, month).await {
        Ok(signed) => Ok(json_answer(Http::OK, &json!({ "signed": signed }))),
        Err(error) => failed(&error),
    }
}

/// `POST /admin/v1/reconcile` with `{"partner":…,"from":"2026-11-01","to":"2026-11-30"}`.
pub(super) async fn reconcile(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let accounts = accounts(&shared)?;
    let reading = tokio::time::timeout(QUESTION_TIMEOUT, to_bytes(request.into_body(), QUESTION_BYTES_MAX));
    let Ok(Ok(body)) = reading.await else {
        return Ok(refused(Http::BAD_REQUEST, "the body is too large, or did not come"));
    };
    let (ours, partner, days) = match read_days(accounts, &body) {
        Ok(read) => read,
        Err(why) => return Ok(refused(Http::BAD_REQUEST, &why)),
    };
    match accounts.reconcile(ours, partner, days).await {
        Ok(done) => Ok(json_answer(Http::OK, &json!(done))),
        Err(error) => failed(&error),
    }
}

/// `GET /admin/v1/alarms`: what needs somebody's attention.
pub(super) async fn alarms(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    match accounts(&shared)?.alarms().await {
        Ok(alarms) => Ok(json_answer(Http::OK, &json!(alarms))),
        Err(error) => failed(&error),
    }
}

fn accounts(shared: &Shared) -> Result<&Accounts, Answer> {
    shared.accounts.as_ref().ok_or_else(Answer::no_such_service)
}

fn asked(accounts: &Accounts, query: &StatementQuery) -> Result<Asked, String> {
    let (ours, partner) = sides(accounts, query.party.as_deref(), &query.partner)?;
    let month = query.month.parse().map_err(|error| format!("month: {error}"))?;
    Ok((ours, partner, month))
}

fn sides(accounts: &Accounts, ours: Option<&str>, partner: &str) -> Result<(PartyId, PartyId), String> {
    let partner = party(partner).map_err(|error| format!("partner: {error}"))?;
    let ours = ours.map(|ours| party(ours).map_err(|error| format!("party: {error}"))).transpose()?;
    let ours = accounts.our_side(ours, &partner).map_err(|error| error.to_string())?;
    Ok((ours, partner))
}

fn read_days(accounts: &Accounts, body: &[u8]) -> Result<(PartyId, PartyId, (u32, u32)), String> {
    let body: ReconcileBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let (ours, partner) = sides(accounts, body.party.as_deref(), &body.partner)?;
    let read =
        |name: &str, text: &str| day(text).ok_or_else(|| format!("{name}: write a day as in 2026-11-30"));
    Ok((ours, partner, (read("from", &body.from)?, read("to", &body.to)?)))
}

/// Days since 1970-01-01 of a day like `2026-11-30`.
fn day(text: &str) -> Option<u32> {
    let unix_ms =
        Some(text).filter(|text| text.len() == 10).and_then(|day| parse_ms(&format!("{day}T00:00:00Z")));
    u32::try_from(unix_ms?.div_euclid(DAY_MS)).ok()
}

/// An error that says what to do: 409. One of this node: as ever.
fn failed(error: &AccountError) -> Result<Response, Answer> {
    match error {
        AccountError::Engine(error) => Err(Answer::from(error.clone())),
        AccountError::Storage(error) => Err(Answer::storage(&error.to_string())),
        other => Ok(refused(Http::CONFLICT, &other.to_string())),
    }
}

fn refused(http: Http, why: &str) -> Response {
    json_answer(http, &json!({ "refused": why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_and_nothing_else() {
        assert_eq!((day("1970-01-01"), day("2026-11-21")), (Some(0), Some(20_778)));
        for text in ["", "2026-11", "2026-13-01", "2026-02-30", "1969-12-31", "2026-11-21T", "2026-1-1"] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
