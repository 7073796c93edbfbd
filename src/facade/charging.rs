//! Authorization, remote start and stop, reservation and notifications (OPERATIONS rows 7 to 13): from a backend's
//! body to the engine, which asks the partner.

use axum::http::StatusCode as Http;
use bytes::Bytes;

use super::answer::Answer;
use super::call::Call;
use super::hub;
use super::shared::Shared;
use crate::engine::{ChargeRequest, EvseSeen, HttpAnswer, SessionOperation};
use crate::identity::{PartyId, Role};
use crate::oicp::charging::with_only_medium;
use crate::oicp::finding::{Fault, Rule};
use crate::oicp::record::summarise;

/// EVSEs that are looked up at once; further starts wait for their turn. Storage refuses what finds no place in its
/// queue of 64, and a burst of starts must neither be refused nor push out pulls.
pub(super) const EVSE_LOOKUPS_MAX: usize = 16;

/// Carries one of them out.
pub(super) async fn charge(
    shared: &Shared,
    operation: SessionOperation,
    role: Role,
    call: Call<Option<PartyId>>,
) -> Result<Answer, Answer> {
    if shared.access.is_hub(call.backend) {
        return hub::asks(shared, operation, role, call).await;
    }
    let request = ChargeRequest::parse(operation, &call.body, call.reading)
        .map_err(|fault| Answer::malformed(fault.to_json()))?;
    if let Some(first) = request.findings().first() {
        let count = request.findings().len();
        tracing::debug!(?operation, count, %first, "a message was accepted that deviates");
    }
    let party = party(shared, role, &call, &request)?;
    let evse = seen(shared, operation, &request, &party).await?;
    let body = sent_on(&request, &call)?;
    let HttpAnswer { http_status, body } = shared.engine.charge(party, request, body, evse).await?;
    Ok(Answer::oicp(http_status, &body))
}

/// The message as it goes to the partner: as it came. Of several media, which tolerant reading takes, only the one that
/// counts here goes on, so that both sides mean the same driver.
fn sent_on(request: &ChargeRequest, call: &Call<Option<PartyId>>) -> Result<Bytes, Answer> {
    let several = request.findings().iter().any(|finding| finding.rule == Rule::SeveralMedia);
    match request.identification().filter(|_| several) {
        None => Ok(call.body.clone()),
        Some(medium) => match with_only_medium(&call.body, medium) {
            Ok(body) => Ok(Bytes::from(body)),
            Err(error) => Err(Answer::malformed(Fault::single("", error.to_string()).to_json())),
        },
    }
}

/// The caller's party: that of the path, which the body must name too. A notification has no id in its path.
fn party(
    shared: &Shared,
    role: Role,
    call: &Call<Option<PartyId>>,
    request: &ChargeRequest,
) -> Result<PartyId, Answer> {
    let field = if role == Role::Emp { "ProviderID" } else { "OperatorID" };
    match (&call.party, request.asker()) {
        (Some(party), Some(id)) if !PartyId::new(role, id).is_ok_and(|named| named == *party) => {
            Err(Answer::ids_differ(field))
        }
        (Some(party), _) => Ok(party.clone()),
        (None, Some(id)) => Ok(shared.access.party_of(call.backend, role, id)?),
        (None, None) => shared.access.only_party(call.backend, role).ok_or_else(|| {
            let message = "OperatorID may not be null: the caller has several parties";
            Answer::unreadable(Http::BAD_REQUEST, "operatorID", message)
        }),
    }
}

/// What the directory shows the caller of the EVSE of a start, a reservation or the end of one.
async fn seen(
    shared: &Shared,
    operation: SessionOperation,
    request: &ChargeRequest,
    party: &PartyId,
) -> Result<Option<EvseSeen>, Answer> {
    let is_start = matches!(operation, SessionOperation::RemoteStart | SessionOperation::ReservationStart);
    let is_stop = matches!(operation, SessionOperation::RemoteStop | SessionOperation::ReservationStop);
    let Some(evse) = request.evse().filter(|_| is_start || is_stop) else { return Ok(None) };
    let _turn = shared.evse_lookups.acquire().await;
    let row = match shared.directory.data_of(evse.key().clone(), Some(party.clone())).await {
        Ok(row) => row,
        Err(error) if is_stop => {
            tracing::warn!(%error, "a stop goes on although its EVSE could not be looked up");
            return Ok(Some(EvseSeen { compatible: true }));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(row.map(|row| {
        let text = std::str::from_utf8(&row.payload).ok();
        let summary = text.and_then(|text| summarise(text).ok());
        // What a record does not say is no reason to refuse.
        EvseSeen { compatible: summary.and_then(|summary| summary.hubject_compatible).unwrap_or(true) }
    }))
}
