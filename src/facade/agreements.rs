//! Agreements over the admin API: list, offer, accept, end, and who may do what.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode as Http};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::admin::{admin_view, check_admin, json_answer};
use super::answer::Answer;
use super::server::Peer;
use super::shared::Shared;
use crate::engine::{AgreementOutcome, AgreementRefusal, NewOffer};
use crate::identity::{Hash, IdError, PartyId, Role, Service};

/// Largest body of an offer in bytes; a real one has about 200.
const OFFER_BYTES_MAX: usize = 16 * 1024;

/// Time for such a body.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of an offer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferBody {
    /// `ROLE:ID` in any wire spelling; not needed if only one party of the node can be meant.
    #[serde(default)]
    ours: Option<String>,
    partner: String,
    services: Vec<String>,
    #[serde(default)]
    valid_from_unix_s: Option<u64>,
    valid_until_unix_s: u64,
}

/// `GET /admin/v1/agreements`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let view = admin_view(&shared, peer, &headers).await?;
    Ok(json_answer(Http::OK, &json!({ "agreements": view.agreements })))
}

/// `POST /admin/v1/agreements`: offers one. Answers with its name.
pub(super) async fn offer(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let reading = tokio::time::timeout(OFFER_TIMEOUT, to_bytes(request.into_body(), OFFER_BYTES_MAX));
    let Ok(Ok(body)) = reading.await else { return Ok(malformed("the body is too large, or did not come")) };
    match read_offer(&body) {
        Ok(offer) => Ok(outcome(shared.engine.offer_agreement(offer).await?)),
        Err(why) => Ok(malformed(&why)),
    }
}

/// `POST /admin/v1/agreements/{id}/accept`.
pub(super) async fn accept(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(id) = hash(&id) else { return Ok(outcome(Err(AgreementRefusal::Unknown))) };
    Ok(outcome(shared.engine.accept_agreement(id).await?))
}

/// `POST /admin/v1/agreements/{id}/end`.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(id) = hash(&id) else { return Ok(outcome(Err(AgreementRefusal::Unknown))) };
    Ok(outcome(shared.engine.end_agreement(id).await?))
}

/// `GET /admin/v1/permissions/{partner}`: what a partner may do now with each party of this node.
pub(super) async fn permissions(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(partner): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    match party(&partner) {
        Ok(partner) => {
            let permissions = shared.engine.permissions(partner.clone()).await?;
            let body = json!({ "partner": partner.to_text(), "permissions": permissions });
            Ok(json_answer(Http::OK, &body))
        }
        Err(error) => Ok(malformed(&error.to_string())),
    }
}

fn read_offer(body: &[u8]) -> Result<NewOffer, String> {
    let body: OfferBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let id = |name: &str, text: &str| party(text).map_err(|error| format!("{name}: {error}"));
    let mut services = BTreeSet::new();
    for text in &body.services {
        let service = Service::parse(text).ok_or_else(|| format!("services: {text:?} is none"))?;
        services.insert(service);
    }
    Ok(NewOffer {
        ours: body.ours.as_deref().map(|text| id("ours", text)).transpose()?,
        partner: id("partner", &body.partner)?,
        services,
        valid_from_unix_s: body.valid_from_unix_s,
        valid_until_unix_s: body.valid_until_unix_s,
    })
}

/// `ROLE:ID`, the id in any wire spelling.
pub(super) fn party(text: &str) -> Result<PartyId, IdError> {
    match text.split_once(':') {
        Some((role, id)) => PartyId::new(Role::parse(role)?, id),
        // Has no role: this finds the words for it.
        None => PartyId::parse(text),
    }
}

fn outcome(outcome: AgreementOutcome) -> Response {
    match outcome {
        Ok(id) => {
            let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            json_answer(Http::OK, &json!({ "id": id }))
        }
        Err(refusal) => {
            let http = if refusal == AgreementRefusal::Unknown { Http::NOT_FOUND } else { Http::CONFLICT };
            json_answer(http, &json!({ "refused": refusal.to_string() }))
        }
    }
}

fn malformed(why: &str) -> Response {
    json_answer(Http::BAD_REQUEST, &json!({ "refused": why }))
}

/// 64 hex digits.
pub(super) fn hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_64_hex_digits() {
        let text = "0a".repeat(32);
        assert_eq!(hash(&text), Some([10; 32]));
        for wrong in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &format!("é{}", "0a".repeat(31))] {
            assert_eq!(hash(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_offer_is_read_and_what_is_wrong_is_named() {
        let body = br#"{"partner":"EMP:DE-XYZ","services":["cdr","Authorization"],"valid_until_unix_s":9}"#;
        let offer = read_offer(body).unwrap();
        assert_eq!((offer.ours, offer.partner.to_text()), (None, "EMP:DEXYZ".to_owned()));
        assert_eq!(offer.services.len(), 2);
        for (body, named) in [
            (r#"{"partner":"DE-XYZ","services":["Cdr"],"valid_until_unix_s":9}"#, "partner"),
            (r#"{"partner":"EMP:DE-XYZ","services":["Parking"],"valid_until_unix_s":9}"#, "Parking"),
            (r#"{"partner":"EMP:DE-XYZ","services":["Cdr"]}"#, "valid_until_unix_s"),
            (r#"{"partner":"EMP:DE-XYZ","services":["Cdr"],"valid_until_unix_s":9,"x":1}"#, "`x`"),
        ] {
            assert!(read_offer(body.as_bytes()).unwrap_err().contains(named), "{body}");
        }
    }
}
