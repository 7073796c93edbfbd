//! PushEvseData and PushEvseStatus: from a backend's body to the engine's outcome.

use super::answer::Answer;
use super::call::Call;
use super::shared::Shared;
use crate::engine::PushOutcome;
use crate::identity::{PartyId, Role};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::id::OperatorId;
use crate::oicp::push;

/// PushEvseData (OPERATIONS row 1).
pub(super) async fn push_data(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let turn = shared.lanes.turn(&call.party).await.ok_or_else(Answer::busy)?;
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || push::read_evse_data(&body, reading)).await?;
    let message = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_operator(&call.party, &message.operator_id)?;
    report(&call, message.findings.len(), message.records.len());
    let outcome = shared.engine.push_data(call.party.clone(), message, call.body.clone()).await?;
    drop(turn);
    Ok(acknowledge(outcome))
}

/// PushEvseStatus (OPERATIONS row 3).
pub(super) async fn push_status(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let turn = shared.lanes.turn(&call.party).await.ok_or_else(Answer::busy)?;
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || push::read_evse_status(&body, reading)).await?;
    let message = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_operator(&call.party, &message.operator_id)?;
    report(&call, message.findings.len(), message.records.len());
    let outcome = shared.engine.push_status(call.party.clone(), message, call.body.clone()).await?;
    drop(turn);
    Ok(acknowledge(outcome))
}

pub(super) fn same_operator(party: &PartyId, operator_id: &OperatorId) -> Result<(), Answer> {
    let same = PartyId::new(Role::Cpo, operator_id.as_str()).is_ok_and(|of_body| of_body == *party);
    if same { Ok(()) } else { Err(Answer::ids_differ("OperatorID")) }
}

pub(super) fn report(call: &Call, findings: usize, records: usize) {
    if findings > 0 {
        tracing::info!(party = %call.party, records, findings, "a push deviates from OICP 2.3 and was read all the same");
    }
}

pub(super) fn acknowledge(outcome: PushOutcome) -> Answer {
    let answer =
        Acknowledgement { result: outcome.result, status: outcome.status, ..Acknowledgement::success() };
    Answer::ok(answer.to_json())
}
