//! ChargeDetailRecord and GetChargeDetailRecords (OPERATIONS rows 14 and 15): from a CPO's body to the engine, and
//! from what an EMP's node keeps to a page.

use axum::http::StatusCode as Http;
use bytes::Bytes;

use super::answer::Answer;
use super::call::Call;
use super::directory::DirectoryError;
use super::evse_pull::{page_request, same_provider};
use super::hub;
use super::shared::Shared;
use crate::engine::{CdrArrival, HttpAnswer};
use crate::identity::{Hash, PartyId};
use crate::oicp::charging::{ChargeDetailRecord, GetChargeDetailRecords};
use crate::oicp::json;
use crate::oicp::page;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::storage::{CdrFacts, CdrPull, CdrSubject, StoredCdr};

/// Takes a charge detail record.
pub(super) async fn take_cdr(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    if shared.access.is_hub(call.backend) {
        return hub::brings_cdr(shared, call).await;
    }
    let (party, body, reading) = (call.party.clone(), call.body.clone(), call.reading);
    bring(shared, Some(party), body, reading, None).await
}

/// The same for a correction, too.
pub(super) async fn bring(
    shared: &Shared,
    party: Option<PartyId>,
    body: Bytes,
    reading: Reading,
    replaces: Option<Hash>,
) -> Result<Answer, Answer> {
    let cdr = ChargeDetailRecord::parse(&body, reading).map_err(|fault| {
        if reading == Reading::Tolerant && fault.is_about("/SessionID") && names_a_session(&body) {
            let why = "no session has this SessionID: it does not match its pattern";
            return Answer::fault(Http::NOT_FOUND, Code::SessionInvalid, Some(why));
        }
        Answer::malformed(fault.to_json())
    })?;
    let facts = facts(shared, &cdr).await?;
    let arrival = CdrArrival::new(cdr, Some(facts), (shared.now_unix_ms)());
    let answer = shared.engine.charge_detail_record(party, arrival, body, replaces).await?;
    let HttpAnswer { http_status, body } = answer;
    Ok(Answer::oicp(http_status, &body))
}

fn names_a_session(body: &[u8]) -> bool {
    json::parse(body, Reading::Tolerant).is_ok_and(|root| root.field_any_case(&["SessionID"]).is_some())
}

/// What the directory shows of a record's EVSE and of its price product. Of which EMP the session is, the engine knows.
pub(super) async fn facts(shared: &Shared, cdr: &ChargeDetailRecord) -> Result<CdrFacts, DirectoryError> {
    let _turn = shared.evse_lookups.acquire().await;
    shared.directory.cdr_facts(CdrSubject::of(cdr, None)).await
}

/// One page of the records that an EMP's node received.
pub(super) async fn pull_cdrs(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let wanted = page_request(&call.query)?;
    let request = GetChargeDetailRecords::parse(&call.body, call.reading)
        .map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_provider(&call.party, &request.provider_id)?;
    let unix_ms = |time: &crate::oicp::time::DateTime| u64::try_from(time.unix_ms()).unwrap_or(0);
    let pull = CdrPull {
        provider: call.party.clone(),
        from_unix_ms: unix_ms(&request.from),
        to_unix_ms: unix_ms(&request.to),
        sessions: request.session_ids.iter().map(|id| id.as_str().to_owned()).collect(),
        operators: request.operator_ids.iter().map(|id| id.canonical()).collect(),
        forwarded: request.forwarded,
        corrections: shared.pull_corrections,
        offset: wanted.offset(),
        limit: wanted.size(),
    };
    // The next pull may begin where this one ends: what was taken before now is to be in this one.
    shared.engine.committed().await?;
    let (total, cdrs) = shared.directory.pulled_cdrs(pull).await?;
    let bytes = cdrs.iter().map(|cdr| cdr.signed.as_ref().map_or(0, Bytes::len)).sum();
    let write = move || {
        let records: Vec<String> = cdrs.iter().filter_map(oicp_of).collect();
        page::write(wanted, total, &records, &StatusCode::from(Code::Success))
    };
    Ok(Answer::ok(shared.workers.run(bytes, write).await?))
}

/// The OICP message of a record, as the CPO's backend sent it.
pub(super) fn oicp_of(cdr: &StoredCdr) -> Option<String> {
    cdr.signed.as_ref()?;
    let Some(oicp) = cdr.oicp() else {
        tracing::error!(session = cdr.session, "a stored record cannot be read");
        return None;
    };
    String::from_utf8(oicp.into()).ok()
}
