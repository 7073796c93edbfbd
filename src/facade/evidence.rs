//! The log of messages over the admin API: its lines, the file that proves a session, and deleting personal data.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode as Http, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::admin::{check_admin, json_answer};
use super::answer::Answer;
use super::server::Peer;
use super::shared::Shared;
use crate::engine::{EvidenceRefusal, LOG_LINES_MAX, PersonalData};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::SessionId;
use crate::storage::LogLine;

/// Lines of an answer if the question does not say how many.
const LINES_DEFAULT: u32 = 100;

/// What a question about lines may hold.
const QUERY: &str = "the query may hold session=SESSIONID, before=NUMBER and limit=NUMBER";

#[derive(Debug, Default, PartialEq, Eq)]
struct LinesQuery {
    session: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /admin/v1/evidence[?session=ID&before=NUMBER&limit=NUMBER]`: lines of the log, the newest first.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(query) = lines_query(query.as_deref().unwrap_or_default()) else { return Ok(refused(QUERY)) };
    let most = query.limit.unwrap_or(LINES_DEFAULT).clamp(1, LOG_LINES_MAX);
    let lines = shared.engine.log_lines(query.session, query.before, most).await?;
    let lines: Vec<Value> = lines.iter().map(line_json).collect();
    Ok(json_answer(Http::OK, &json!({ "messages": lines, "shown_max": most })))
}

/// `GET /admin/v1/evidence/{session}`: the file that proves a session.
pub(super) async fn export(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(id) = SessionId::parse(&session) else { return Ok(refused("this is no SessionID")) };
    match shared.engine.evidence_file(id.as_str().to_owned()).await? {
        Ok(file) => Ok(file_answer(file)),
        Err(why @ EvidenceRefusal::Nothing) => {
            Ok(json_answer(Http::NOT_FOUND, &json!({ "refused": why.to_string() })))
        }
        Err(why) => Ok(json_answer(Http::CONFLICT, &json!({ "refused": why.to_string() }))),
    }
}

/// `POST /admin/v1/evidence/{session}/erase`: deletes the personal data of a session that is over.
pub(super) async fn erase(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    check_admin(&shared, peer, &headers)?;
    let id =
        SessionId::parse(&session).ok_or_else(|| Answer::malformed("this is no SessionID".to_owned()))?;
    erased(&shared, PersonalData::Session(id.as_str().to_owned())).await
}

/// `POST /admin/v1/evidence/erase?before_unix_ms=MS`: the same for all that is older.
pub(super) async fn erase_before(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    check_admin(&shared, peer, &headers)?;
    let before = query.as_deref().and_then(|query| query.strip_prefix("before_unix_ms=")?.parse().ok());
    let before = before.filter(|before| *before <= (shared.now_unix_ms)());
    let wrong = || Answer::malformed("the query must be before_unix_ms=MS, a time that is past".to_owned());
    erased(&shared, PersonalData::Before(before.ok_or_else(wrong)?)).await
}

async fn erased(shared: &Shared, what: PersonalData) -> Result<Answer, Answer> {
    let outcome = shared.engine.erase(what).await?;
    let (result, status) = (outcome.result, outcome.status);
    Ok(Answer::ok(Acknowledgement { result, status, ..Acknowledgement::success() }.to_json()))
}

fn file_answer(file: Bytes) -> Response {
    let mut response = Response::new(Body::from(file));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    response
}

fn refused(why: &str) -> Response {
    json_answer(Http::BAD_REQUEST, &json!({ "refused": why }))
}

fn line_json(line: &LogLine) -> Value {
    json!({
        "number": line.number,
        "at_unix_ms": line.at_unix_ms,
        "direction": line.direction.as_str(),
        "session": line.session,
        "party": line.ours.to_text(),
        "partner": line.partner.to_text(),
        "what": line.what,
        "erased": line.is_erased,
    })
}

fn lines_query(query: &str) -> Option<LinesQuery> {
    let mut read = LinesQuery::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=')? {
            ("session", id) => read.session = Some(SessionId::parse(id)?.as_str().to_owned()),
            ("before", number) => read.before = Some(number.parse().ok()?),
            ("limit", number) => read.limit = Some(number.parse().ok()?),
            _ => return None,
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_lines_is_read_or_refused() {
        let id = "b2688855-7f00-4002-6d8e-48d883f6abb6";
        let all = LinesQuery { session: Some(id.to_owned()), before: Some(7), limit: Some(3) };
        assert_eq!(lines_query(&format!("session={id}&before=7&limit=3")), Some(all));
        assert_eq!(lines_query(""), Some(LinesQuery::default()));
        for query in ["session=x", "before=", "limit=-1", "other=1", "limit"] {
            assert_eq!(lines_query(query), None, "{query}");
        }
    }
}
