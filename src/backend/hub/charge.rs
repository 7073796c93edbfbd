//! Messages about sessions: in the hub's order of checks (RULES section 1), then on to the partner whom they are for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::config::Partner;
use super::http::Shared;
use super::operation::HubOperation;
use super::reply::Reply;
use super::sessions::{Cdr, Session};
use crate::backend::Kind;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, AuthorizationStop, AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop, AuthorizeRemoteStart, AuthorizeRemoteStop, AuthorizeStart, AuthorizeStop,
    ChargeDetailRecord, ChargingNotification, FieldValue, GetChargeDetailRecords, Identification,
    NotificationKind, PartnerSessions, SessionId, calibration_findings, cdr_findings, read_acknowledgement,
    with_fields, with_upper_case_medium,
};
use crate::oicp::finding::Fault;
use crate::oicp::id::{EvseId, ProviderId, provider_for_display};
use crate::oicp::json;
use crate::oicp::page::PageRequest;
use crate::oicp::reading::Reading;
use crate::oicp::record;
use crate::oicp::status_code::{Code, StatusCode};

const READ: Reading = Reading::Tolerant;

/// AuthorizeStart: on uploaded media, else by the contract's EMP, else by all at once.
pub(super) async fn authorize_start(shared: &Shared, cpo: &Partner, body: &[u8]) -> Result<Reply, Fault> {
    let asked = AuthorizeStart::parse(body, READ)?;
    let operation = HubOperation::AuthorizeStart;
    let id = new_session();
    let medium = asked.identification.medium_key();
    let offline = shared.state().extras.offline(&asked.identification).map(str::to_owned);
    if let Some(emp) = offline {
        let provider = ProviderId::parse(&provider_for_display(&emp)).ok();
        let partners = PartnerSessions { emp: None, ..asked.partners };
        let session = session(cpo, &emp, &partners);
        shared.state().sessions.begin(id, Session { offline: Some(medium), ..session });
        let answer = AuthorizationStart {
            session_id: Some(id),
            partners,
            provider_id: provider,
            verdict: AuthorizationStatus::Authorized,
            status: StatusCode::from(Code::Success),
            stop_identifications: Vec::new(),
        };
        return Ok(Reply::message(answer.to_json(), "000 on uploaded media").about(id));
    }
    let emps = asked_emps(shared, &asked.identification);
    let emps: Vec<&Partner> = emps.into_iter().filter(|emp| emp.takes_part_in(operation)).collect();
    if emps.is_empty() {
        let answer = AuthorizationStart::not_authorized(StatusCode::from(Code::NoValidContract));
        return Ok(Reply::message(answer.to_json(), "210 nobody to ask"));
    }
    let body = with_upper_case_medium(body).unwrap_or_default();
    let body = with_session(&body, id, &PartnerSessions { emp: None, ..asked.partners.clone() });
    let calls = emps.iter().map(|emp| {
        let body = body.clone();
        async move { (*emp, shared.call(emp, operation, &cpo.id, body, shared.config.timeout).await) }
    });
    let mut calls: FuturesUnordered<_> = calls.collect();
    let mut refusal = None;
    while let Some((emp, answer)) = calls.next().await {
        let Some(answer) = answer.and_then(|body| AuthorizationStart::read(&body).ok()) else { continue };
        if answer.verdict != AuthorizationStatus::Authorized {
            refusal.get_or_insert(answer.status);
            continue;
        }
        // The others' answers do not matter any more (GAPS C10).
        let partners = answer.partners.or(&asked.partners);
        let mut state = shared.state();
        state.sessions.begin(id, session(cpo, &emp.canonical, &partners));
        state.sessions.remember_medium(medium, &emp.canonical);
        let provider_id = answer.provider_id.or_else(|| ProviderId::parse(&emp.id).ok());
        let answer = AuthorizationStart { session_id: Some(id), partners, provider_id, ..answer };
        return Ok(Reply::message(answer.to_json(), format!("000 by {}", emp.id)).about(id));
    }
    let status = match (refusal, emps.len()) {
        (Some(status), 1) => status,
        (Some(_), _) => StatusCode::from(refusal_of(&asked.identification)),
        (None, _) => StatusCode::from(Code::NoPositiveAuthentication),
    };
    let said = format!("{} not authorized", status.code);
    Ok(Reply::message(AuthorizationStart::not_authorized(status).to_json(), said))
}

/// Whom to ask about a medium.
fn asked_emps<'s>(shared: &'s Shared, medium: &Identification) -> Vec<&'s Partner> {
    let online = |emp: &&Partner| emp.kind == Kind::Emp && emp.url.is_some();
    let all = shared.config.partners.iter().filter(online);
    if let Some(contract) = medium.evco_id() {
        return all.filter(|emp| emp.speaks_for(&contract.provider())).collect();
    }
    let known = shared.state().sessions.known_medium(&medium.medium_key()).map(str::to_owned);
    let (first, others): (Vec<&Partner>, Vec<&Partner>) =
        all.partition(|emp| known.as_deref() == Some(emp.canonical.as_str()));
    if first.is_empty() { others } else { first }
}

/// When all refuse (GAPS D5).
fn refusal_of(medium: &Identification) -> Code {
    match medium {
        Identification::QrCode { .. } => Code::QrCodeInvalidCredentials,
        Identification::PlugAndCharge { .. } | Identification::Remote { .. } => Code::PlcInvalidEvcoId,
        Identification::MifareFamily { .. } | Identification::Rfid { .. } => Code::RfidInvalidUid,
    }
}

/// AuthorizeStop.
pub(super) async fn authorize_stop(shared: &Shared, cpo: &Partner, body: &[u8]) -> Result<Reply, Fault> {
    let asked = AuthorizeStop::parse(body, READ)?;
    let found = shared.state().sessions.of(asked.session_id, &cpo.canonical);
    let Some(session) = found else { return Ok(Reply::no_session()) };
    if session.closed {
        return Ok(Reply::closed_session());
    }
    let told = asked.partners.or(&session.partners);
    let refused = |code: Code| {
        let answer = AuthorizationStop::not_authorized(StatusCode::from(code));
        Reply::message(answer.to_json(), format!("{} not authorized", code.as_str())).about(asked.session_id)
    };
    if let Some(medium) = &session.offline {
        if *medium != asked.identification.medium_key() {
            return Ok(refused(refusal_of(&asked.identification)));
        }
        let provider = ProviderId::parse(&provider_for_display(&session.emp)).ok();
        let answer = AuthorizationStop {
            session_id: Some(asked.session_id),
            partners: told,
            provider_id: provider,
            verdict: AuthorizationStatus::Authorized,
            status: StatusCode::from(Code::Success),
        };
        return Ok(Reply::message(answer.to_json(), "000 on uploaded media").about(asked.session_id));
    }
    let Some(emp) = shared.partner(Kind::Emp, &session.emp) else {
        return Ok(refused(Code::PartnerNotFound));
    };
    let body = with_session(&with_upper_case_medium(body).unwrap_or_default(), asked.session_id, &told);
    let answer = shared.call(emp, HubOperation::AuthorizeStop, &cpo.id, body, shared.config.timeout).await;
    Ok(match answer.and_then(|body| AuthorizationStop::read(&body).ok()) {
        Some(answer) => {
            let said = answer.status.code.clone();
            let partners = answer.partners.clone().or(&told);
            let answer = AuthorizationStop { session_id: Some(asked.session_id), partners, ..answer };
            Reply::message(answer.to_json(), said).about(asked.session_id)
        }
        None => refused(Code::PartnerDidNotRespond),
    })
}

/// What remote starts and reservations have in common.
pub(super) async fn remote_start(
    shared: &Shared,
    emp: &Partner,
    operation: HubOperation,
    body: &[u8],
) -> Result<Reply, Fault> {
    let asked = match operation {
        HubOperation::ReservationStart => AuthorizeRemoteReservationStart::parse(body, READ)?.start,
        _ => AuthorizeRemoteStart::parse(body, READ)?,
    };
    let cpo = match called_cpo(shared, operation, &asked.evse_id) {
        Ok(cpo) => cpo,
        Err(code) => return Ok(Reply::refused(code, asked.evse_id.as_str())),
    };
    let id = new_session();
    let partners = PartnerSessions { cpo: None, ..asked.partners };
    shared.state().sessions.begin(id, session(cpo, &emp.canonical, &partners));
    let body = with_session(body, id, &partners);
    let answer = shared.call(cpo, operation, &emp.id, body, shared.config.timeout).await;
    let Some(answer) = answer.and_then(|body| read_acknowledgement(&body).ok()) else {
        if !shared.config.keep_late_sessions {
            shared.state().sessions.forget(id);
        }
        let refusal = Acknowledgement::refusal(Code::PartnerDidNotRespond, "no answer of the CPO in time");
        return Ok(Reply { session: Some(id), ..Reply::acknowledged(&refusal) });
    };
    let partners = answer.partners().or(&partners);
    if answer.result {
        shared.state().sessions.learn(id, partners.clone());
    } else {
        shared.state().sessions.forget(id);
    }
    Ok(Reply::acknowledged(&answer.with_session(id, &partners)))
}

/// What remote stops and ends of reservations have in common.
pub(super) async fn remote_stop(
    shared: &Shared,
    emp: &Partner,
    operation: HubOperation,
    body: &[u8],
) -> Result<Reply, Fault> {
    let asked = match operation {
        HubOperation::ReservationStop => AuthorizeRemoteReservationStop::parse(body, READ)?.stop,
        _ => AuthorizeRemoteStop::parse(body, READ)?,
    };
    if let Err(code) = called_cpo(shared, operation, &asked.evse_id) {
        return Ok(Reply::refused(code, asked.evse_id.as_str()));
    }
    let found = shared.state().sessions.of(asked.session_id, &emp.canonical);
    let Some(session) = found.filter(|session| !session.closed) else {
        return Ok(Reply::refused(Code::SessionInvalid, asked.session_id.as_str()));
    };
    let Some(cpo) = shared.partner(Kind::Cpo, &session.cpo) else {
        return Ok(Reply::refused(Code::PartnerNotFound, &session.cpo));
    };
    let partners = asked.partners.or(&session.partners);
    let body = with_session(body, asked.session_id, &partners);
    let answer = shared.call(cpo, operation, &emp.id, body, shared.config.timeout).await;
    let answer = answer.and_then(|body| read_acknowledgement(&body).ok());
    let answer = answer.unwrap_or_else(|| Acknowledgement::refusal(Code::PartnerDidNotRespond, "no answer"));
    Ok(Reply::acknowledged(&answer.with_session(asked.session_id, &partners)))
}

/// The CPO of a charging point, if it may be asked.
fn called_cpo<'s>(shared: &'s Shared, operation: HubOperation, evse: &EvseId) -> Result<&'s Partner, Code> {
    let of_operator =
        |partner: &&Partner| partner.kind == Kind::Cpo && partner.speaks_for(evse.key().operator());
    let cpo = shared.config.partners.iter().find(of_operator).ok_or(Code::PartnerNotFound)?;
    let is_stop = matches!(operation, HubOperation::RemoteStop | HubOperation::ReservationStop);
    if !is_stop && !cpo.takes_part_in(operation) {
        return Err(Code::NoValidContract);
    }
    let state = shared.state();
    let (raw, has_records) = state.records.record_of(&cpo.canonical, evse.key());
    match raw.map(record::summarise) {
        None if has_records => Err(Code::UnknownEvseId),
        Some(Ok(summary)) if summary.hubject_compatible == Some(false) => Err(Code::EvseNotHubjectCompatible),
        _ => Ok(cpo),
    }
}

/// ChargingNotification: passed through.
pub(super) async fn notification(shared: &Shared, cpo: &Partner, body: &[u8]) -> Result<Reply, Fault> {
    let operation = HubOperation::Notification;
    let told = ChargingNotification::parse(body, READ)?;
    let found = shared.state().sessions.of(told.session_id, &cpo.canonical);
    let Some(session) = found.filter(|session| !session.closed) else {
        return Ok(Reply::refused(Code::SessionInvalid, told.session_id.as_str()));
    };
    let now_ms = shared.config.clock.now().mono_ms;
    if told.kind == NotificationKind::Progress && !shared.state().sessions.progress(told.session_id, now_ms) {
        return Ok(Reply::refused(Code::DataError, "progress is told at most every five minutes"));
    }
    let emp = shared.partner(Kind::Emp, &session.emp);
    let emp = emp.filter(|emp| emp.url.is_some() && emp.takes_part_in(operation));
    let Some(emp) = emp else {
        return Ok(Reply::refused(Code::ServiceNotAvailable, "the EMP takes no notifications"));
    };
    let partners = told.partners.or(&session.partners);
    let body = with_session(body, told.session_id, &partners);
    let answer = shared.call(emp, operation, &cpo.id, body, shared.config.timeout).await;
    let answer = answer.and_then(|body| read_acknowledgement(&body).ok());
    let answer = answer.unwrap_or_else(|| Acknowledgement::refusal(Code::PartnerDidNotRespond, "no answer"));
    Ok(Reply::acknowledged(&answer.with_session(told.session_id, &partners)))
}

/// ChargeDetailRecord: stored, acknowledged, and then forwarded as it came.
pub(super) fn cdr(shared: &Arc<Shared>, cpo: &Partner, body: &[u8]) -> Result<Reply, Fault> {
    let cdr = ChargeDetailRecord::parse(body, READ)?;
    let now_ms = shared.now_ms();
    let mut state = shared.state();
    let Some(session) = state.sessions.of(cdr.session_id, &cpo.canonical) else {
        return Ok(Reply::no_session());
    };
    if session.closed {
        return Ok(Reply { session: Some(cdr.session_id), ..Reply::closed_session() });
    }
    if !cpo.speaks_for(cdr.evse_id.key().operator()) {
        return Ok(Reply::refused(Code::InconsistentEvseId, cdr.evse_id.as_str()));
    }
    let (record, _) = state.records.record_of(&cpo.canonical, cdr.evse_id.key());
    let law = record.and_then(|raw| record::summarise(raw).ok()).and_then(|summary| summary.calibration_law);
    let mut findings = cdr_findings(&cdr, now_ms);
    findings.extend(calibration_findings(&cdr, law.as_deref()));
    let refusal = findings.iter().find_map(|finding| finding.refusal().map(|code| (code, &finding.message)));
    if let Some((code, message)) = refusal {
        return Ok(Reply::refused(code, message));
    }
    let raw = json::parse(body, READ).map(|root| root.raw().to_owned()).unwrap_or_default();
    let (emp, cpo_id) = (session.emp, cpo.canonical.clone());
    let partners = cdr.partners.or(&session.partners);
    let kept =
        Cdr { emp: emp.clone(), cpo: cpo_id, session: cdr.session_id, at_ms: now_ms, raw, forwarded: false };
    state.sessions.close(kept);
    drop(state);
    forward_cdr(shared, &emp, &cpo.id, cdr.session_id, Bytes::copy_from_slice(body));
    Ok(Reply::acknowledged(&Acknowledgement::success().with_session(cdr.session_id, &partners)))
}

fn forward_cdr(shared: &Arc<Shared>, emp: &str, cpo: &str, session: SessionId, body: Bytes) {
    let (shared, emp, cpo) = (Arc::clone(shared), emp.to_owned(), cpo.to_owned());
    let stop = shared.stop.clone();
    shared.tasks.clone().spawn(async move {
        let Some(emp) = shared.partner(Kind::Emp, &emp) else { return };
        let operation = HubOperation::ChargeDetailRecord;
        if !emp.takes_part_in(operation) {
            return;
        }
        let call = shared.call(emp, operation, &cpo, body, shared.config.cdr_timeout);
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = call => answer,
        };
        if answer.and_then(|body| read_acknowledgement(&body).ok()).is_some_and(|answer| answer.result) {
            shared.state().sessions.forwarded(session);
        }
    });
}

/// GetChargeDetailRecords.
pub(super) fn get_cdrs(
    shared: &Shared,
    emp: &Partner,
    body: &[u8],
    page: PageRequest,
) -> Result<Reply, Fault> {
    let asked = GetChargeDetailRecords::parse(body, READ)?;
    Ok(shared.state().sessions.page(&emp.canonical, &asked, page))
}

fn session(cpo: &Partner, emp: &str, partners: &PartnerSessions) -> Session {
    Session {
        cpo: cpo.canonical.clone(),
        emp: emp.to_owned(),
        partners: partners.clone(),
        offline: None,
        closed: false,
        progress_ms: None,
    }
}

fn new_session() -> SessionId {
    let mut seed = [0; 16];
    if let Err(error) = getrandom::fill(&mut seed) {
        tracing::warn!(%error, "no random bytes for a session");
    }
    SessionId::from_random(seed)
}

/// The message with the hub's session and what both partners call it.
fn with_session(body: &[u8], id: SessionId, partners: &PartnerSessions) -> Bytes {
    let cpo = partners.cpo.as_ref().map(|id| id.as_str());
    let emp = partners.emp.as_ref().map(|id| id.as_str());
    let fields = [
        ("SessionID", FieldValue::Text(id.as_str())),
        ("CPOPartnerSessionID", FieldValue::from(cpo)),
        ("EMPPartnerSessionID", FieldValue::from(emp)),
    ];
    with_fields(body, &fields).unwrap_or_default().into()
}

/// A call has this much time at most, whatever is configured: ten times the real hub's.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(600);
