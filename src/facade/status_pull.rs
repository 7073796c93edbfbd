//! PullEvseStatus, by id and by operator: three paths, and on the first one all three bodies (GAPS A7).

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Answer;
use super::call::Call;
use super::directory::{StatusQuestion, StatusRow};
use super::evse_pull::same_provider;
use super::shared::Shared;
use crate::identity::PartyId;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::finding::Fault;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::page::{self, OperatorStatuses};
use crate::oicp::pull::{self, PullEvseStatus};

/// Bytes of one status in an answer, for the decision where it is written.
const STATUS_BYTES: usize = 70;

/// Which bodies a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/status-records`: any of the three.
    Any,
    /// `/status-records-by-id`.
    ById,
    /// `/status-records-by-operator-id`.
    ByOperatorId,
}

/// The three status pulls (OPERATIONS rows 4 to 6).
pub(super) async fn pull_status(shared: &Shared, call: Call, form: Form) -> Result<Answer, Answer> {
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || pull::read_evse_status(&body, reading)).await?;
    let request = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_provider(&call.party, request.provider_id())?;
    check_form(&request, form)?;
    let text = match request {
        PullEvseStatus::ById { evse_ids, .. } => {
            let keys = evse_ids.iter().map(|id| id.key().clone()).collect();
            let puller = call.party;
            let rows = shared.directory.statuses(Some(puller.clone()), StatusQuestion::Keys(keys)).await?;
            let without_status = without_status(shared, &puller, &evse_ids, &rows).await?;
            by_id(&evse_ids, rows, &without_status)
        }
        PullEvseStatus::All { search_center: center, status, .. } => {
            let question = StatusQuestion::Matching { status, center, operators: Vec::new() };
            grouped(shared, call.party, question).await?
        }
        PullEvseStatus::ByOperatorId { operator_ids, .. } if operator_ids.is_empty() => {
            page::write_statuses(&[])
        }
        PullEvseStatus::ByOperatorId { operator_ids, .. } => {
            let operators = operator_ids.iter().map(|id| id.canonical()).collect();
            let question = StatusQuestion::Matching { status: None, center: None, operators };
            grouped(shared, call.party, question).await?
        }
    };
    Ok(Answer::ok(text))
}

fn check_form(request: &PullEvseStatus, form: Form) -> Result<(), Answer> {
    let missing = match (form, request) {
        (Form::ById, PullEvseStatus::ById { .. }) | (Form::Any, _) => return Ok(()),
        (Form::ByOperatorId, PullEvseStatus::ByOperatorId { .. }) => return Ok(()),
        (Form::ById, _) => "EvseID",
        (Form::ByOperatorId, _) => "OperatorID",
    };
    let fault = Fault::single(&format!("/{missing}"), format!("{missing} may not be null"));
    Err(Answer::malformed(fault.to_json()))
}

async fn grouped(shared: &Shared, puller: PartyId, question: StatusQuestion) -> Result<String, Answer> {
    let rows = shared.directory.statuses(Some(puller), question).await?;
    let bytes = rows.len().saturating_mul(STATUS_BYTES);
    Ok(shared.workers.run(bytes, move || page::write_statuses(&by_operator(rows))).await?)
}

fn by_operator(rows: Vec<StatusRow>) -> Vec<OperatorStatuses> {
    let mut blocks: BTreeMap<String, OperatorStatuses> = BTreeMap::new();
    for row in rows {
        let name = Some(row.operator_name).filter(|name| !name.is_empty());
        let record = (row.evse_id.into_boxed_str(), row.status);
        match blocks.get_mut(&row.operator_id) {
            Some(block) => block.records.push(record),
            None => {
                let operator_id = row.operator_id.clone();
                let block = OperatorStatuses { operator_id, operator_name: name, records: vec![record] };
                blocks.insert(row.operator_id, block);
            }
        }
    }
    blocks.into_values().collect()
}

/// Those among them that are published in the mesh, and whose status nobody told.
async fn without_status(
    shared: &Shared,
    puller: &PartyId,
    asked: &[EvseId],
    rows: &[StatusRow],
) -> Result<BTreeSet<EvseKey>, Answer> {
    let known: BTreeSet<&EvseKey> = rows.iter().map(|row| &row.key).collect();
    let mut found = BTreeSet::new();
    for key in asked.iter().map(EvseId::key).filter(|key| !known.contains(key)) {
        // What came through the hub is told of with its status only: who may see it is judged there.
        if shared.directory.data_of(key.clone(), Some(puller.clone())).await?.is_some() {
            found.insert(key.clone());
        }
    }
    Ok(found)
}

/// One record for each id asked for, in that order and spelling: ids that nobody publishes are `EvseNotFound`, those
/// without a status `Unknown` (RULES 10, TYPES 10).
fn by_id(asked: &[EvseId], rows: Vec<StatusRow>, without_status: &BTreeSet<EvseKey>) -> String {
    let known: BTreeMap<_, _> = rows.into_iter().map(|row| (row.key, row.status)).collect();
    let records: Vec<(Box<str>, EvseStatus)> = asked
        .iter()
        .map(|id| {
            let untold = match without_status.contains(id.key()) {
                true => EvseStatus::Unknown,
                false => EvseStatus::EvseNotFound,
            };
            let status = known.get(id.key()).cloned().unwrap_or(untold);
            (Box::from(id.as_str()), status)
        })
        .collect();
    page::write_statuses_by_id(&records)
}
