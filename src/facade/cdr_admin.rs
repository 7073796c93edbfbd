//! Charge detail records over the admin API: how far each has come, what was said of it, and corrections.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode as Http};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::admin::{check_admin, json_answer};
use super::agreements::{hash, party};
use super::answer::Answer;
use super::cdr::{bring, oicp_of};
use super::server::Peer;
use super::shared::Shared;
use crate::identity::{Hash, Receipt};
use crate::oicp::charging::SessionId;
use crate::oicp::reading::Reading;
use crate::storage::{CDRS_LISTED_MAX, CdrFilter, CdrState, StoredCdr};

/// `GET /admin/v1/cdrs[?state=STATE&partner=ROLE:ID&limit=N]`: the newest records, at most 1,000.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    match filter(query.as_deref().unwrap_or_default()) {
        Ok(filter) => {
            let cdrs = shared.directory.listed_cdrs(filter).await?;
            let cdrs: Vec<Value> = cdrs.iter().map(shown).collect();
            Ok(json_answer(Http::OK, &json!({ "cdrs": cdrs, "shown_max": CDRS_LISTED_MAX })))
        }
        Err(why) => Ok(refused(&why)),
    }
}

/// `GET /admin/v1/cdrs/{session}`: all records of a session, corrections too, with their OICP messages.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(id) = SessionId::parse(&session) else { return Ok(refused("this is no SessionID")) };
    let of_session =
        CdrFilter { session: Some(id.as_str().to_owned()), limit: CDRS_LISTED_MAX, ..CdrFilter::default() };
    let cdrs = shared.directory.listed_cdrs(of_session).await?;
    let with_content = |cdr: &StoredCdr| {
        let mut value = shown(cdr);
        let replaced_by = cdrs.iter().find(|other| other.replaces == Some(cdr.hash));
        if let Some(fields) = value.as_object_mut() {
            fields.insert("oicp".to_owned(), json!(oicp_of(cdr)));
            fields.insert("replaced_by".to_owned(), json!(replaced_by.map(|other| hex(&other.hash))));
        }
        value
    };
    let body = json!({ "cdrs": cdrs.iter().map(with_content).collect::<Vec<Value>>() });
    Ok(json_answer(if cdrs.is_empty() { Http::NOT_FOUND } else { Http::OK }, &body))
}

/// `POST /admin/v1/cdrs/corrections?replaces=HASH`: the body is a charge detail record that takes the place of an
/// earlier one of the same session.
pub(super) async fn correct(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Answer> {
    check_admin(&shared, peer, &headers)?;
    let query = query.unwrap_or_default();
    let replaces = query.strip_prefix("replaces=").and_then(hash);
    let Some(replaces) = replaces else {
        let info = "the query must be replaces=HASH, with the 64 hex digits that `chargemesh cdr show` names";
        return Err(Answer::oicp(400, json!({ "refused": info }).to_string().as_bytes()));
    };
    let body = body.map_err(|error| Answer::malformed(error.to_string()))?;
    bring(&shared, None, body, Reading::Tolerant, Some(replaces)).await
}

fn refused(why: &str) -> Response {
    json_answer(Http::BAD_REQUEST, &json!({ "refused": why }))
}

fn filter(query: &str) -> Result<CdrFilter, String> {
    let mut filter = CdrFilter { limit: CDRS_LISTED_MAX, ..CdrFilter::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no NAME=VALUE"))?;
        match name {
            "state" => {
                let state = CdrState::ALL.into_iter().find(|state| state.as_str() == value);
                let known: Vec<&str> = CdrState::ALL.into_iter().map(CdrState::as_str).collect();
                filter.state = Some(state.ok_or_else(|| format!("state is one of {}", known.join(", ")))?);
            }
            "partner" => filter.partner = Some(party(value).map_err(|error| format!("partner: {error}"))?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=CDRS_LISTED_MAX).contains(limit));
                filter.limit = limit.ok_or_else(|| format!("limit is 1 to {CDRS_LISTED_MAX}"))?;
            }
            _ => return Err(format!("{name:?} is none of state, partner, limit")),
        }
    }
    Ok(filter)
}

/// A record without its content: that names a driver.
fn shown(cdr: &StoredCdr) -> Value {
    let receipts: Vec<Value> = cdr.record.receipts.iter().filter_map(|bytes| receipt(bytes)).collect();
    json!({
        "session": cdr.session,
        "hash": hex(&cdr.hash),
        "direction": if cdr.incoming { "received" } else { "sent" },
        "party": cdr.ours.to_text(),
        "partner": cdr.partner.to_text(),
        "operator": cdr.operator,
        "state": cdr.state.as_str(),
        "way": cdr.record.via.as_str(),
        "attested": cdr.record.via.attested(),
        "is_open": cdr.is_open,
        "to_tell": cdr.record.to_tell,
        "attempts": cdr.record.attempts,
        "stored_unix_ms": cdr.stored_unix_ms,
        "ended_unix_ms": cdr.ended_unix_ms,
        "replaces": cdr.replaces.as_ref().map(hex),
        "receipts": receipts,
        "findings": cdr.record.findings,
    })
}

fn receipt(bytes: &[u8]) -> Option<Value> {
    let receipt = Receipt::read_stored(bytes).ok()?;
    Some(json!({
        "verdict": receipt.verdict.as_str(),
        "code": receipt.verdict.code(),
        "at_unix_ms": receipt.at_unix_ms,
    }))
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_what_is_none_is_told() {
        let read = filter("state=waiting&partner=EMP:DE-DCB&limit=5").unwrap();
        assert_eq!((read.state, read.limit), (Some(CdrState::Waiting), 5));
        assert_eq!(read.partner.unwrap().to_text(), "EMP:DEDCB");
        assert_eq!(filter("").unwrap().limit, CDRS_LISTED_MAX);
        for (query, named) in
            [("state=lost", "waiting"), ("limit=0", "limit"), ("x=1", "\"x\""), ("partner=X", "partner")]
        {
            assert!(filter(query).unwrap_err().contains(named), "{query}");
        }
    }
}
