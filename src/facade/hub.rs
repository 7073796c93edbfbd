//! Calls of the central hub: it asks for its partners as it would ask any backend, and always hears HTTP 200 with a
//! message (GAPS D1).

use bytes::Bytes;

use super::answer::Answer;
use super::call::Call;
use super::cdr::facts;
use super::shared::Shared;
use crate::engine::{CdrArrival, ChargeRequest, HttpAnswer, SessionOperation};
use crate::identity::{PartyId, Role};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::ChargeDetailRecord;
use crate::oicp::status_code::Code;

/// Something about a session.
pub(super) async fn asks(
    shared: &Shared,
    operation: SessionOperation,
    role: Role,
    call: Call<Option<PartyId>>,
) -> Result<Answer, Answer> {
    let Ok(request) = ChargeRequest::parse(operation, &call.body, call.reading) else {
        return Ok(refused("the message cannot be read"));
    };
    let named = request.asker().and_then(|id| PartyId::new(role, id).ok());
    let partner = match (&call.party, named) {
        (Some(path), Some(named)) if *path != named => {
            return Ok(refused("the id in the path is not that of the message"));
        }
        (Some(party), _) => party.clone(),
        (None, Some(named)) => named,
        // A notification may leave it out: the operator of the EVSE.
        (None, None) => match request.evse().map(|evse| PartyId::new(role, evse.key().operator())) {
            Some(Ok(operator)) => operator,
            _ => return Ok(refused("OperatorID is needed")),
        },
    };
    let body: Bytes = call.body.clone();
    let HttpAnswer { http_status, body } = shared.engine.hub_asks(partner, request, body).await?;
    Ok(Answer::oicp(http_status, &body))
}

/// A charge detail record of a CPO.
pub(super) async fn brings_cdr(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let Ok(cdr) = ChargeDetailRecord::parse(&call.body, call.reading) else {
        return Ok(refused("the charge detail record cannot be read"));
    };
    let facts = facts(shared, &cdr).await;
    let facts = facts.inspect_err(|error| {
        tracing::warn!(%error, "a charge detail record of the hub is not held against its EVSE");
    });
    let arrival = CdrArrival::new(cdr, facts.ok(), (shared.now_unix_ms)());
    let body: Bytes = call.body.clone();
    let HttpAnswer { http_status, body } = shared.engine.hub_cdr(call.party.clone(), arrival, body).await?;
    Ok(Answer::oicp(http_status, &body))
}

fn refused(why: &str) -> Answer {
    Answer::oicp(200, Acknowledgement::refusal(Code::DataError, why).to_json().as_bytes())
}
