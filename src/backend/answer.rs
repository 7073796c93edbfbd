//! What a backend says to a request: as a partner that keeps to OICP, or as one that refuses.

use super::behaviour::Behaviour;
use super::config::Config;
use super::operation::Operation;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStop, AuthorizeRemoteReservationStart, AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart, AuthorizeRemoteStop, AuthorizeStart, AuthorizeStop, ChargeDetailRecord,
    ChargingNotification, Identification, PartnerSessionId, PartnerSessions, SessionId,
};
use crate::oicp::finding::Fault;
use crate::oicp::id::{EvseId, ProviderId};
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};

/// Something that looks like an answer at first and is none: broken off, and not even UTF-8.
const GARBAGE: &[u8] = b"{\"Result\":tru\xff\xfe";

/// What to answer, and what the request was about.
pub(super) struct Planned {
    pub(super) http: u16,
    pub(super) body: Vec<u8>,
    /// For people.
    pub(super) said: String,
    pub(super) session: Option<SessionId>,
    pub(super) evse: Option<EvseId>,
    /// A remote start that was accepted.
    pub(super) started: Option<Box<AuthorizeRemoteStart>>,
    /// A session that was stopped.
    pub(super) stopped: Option<SessionId>,
}

impl Planned {
    pub(super) fn plain(http: u16, body: impl Into<Vec<u8>>, said: &str) -> Planned {
        Planned {
            http,
            body: body.into(),
            said: said.to_owned(),
            session: None,
            evse: None,
            started: None,
            stopped: None,
        }
    }

    fn message(body: String, status: &StatusCode) -> Planned {
        let said = [Some(status.code.as_str()), status.description.as_deref()];
        Planned::plain(200, body, &said.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    fn about(self, session: Option<SessionId>, evse: Option<EvseId>) -> Planned {
        Planned { session, evse, ..self }
    }
}

/// The answer to a request; `reference` is the backend's own for a session that begins.
pub(super) fn plan(
    config: &Config,
    operation: Operation,
    behaviour: Behaviour,
    body: &[u8],
    reference: &str,
) -> Planned {
    let refusal = match behaviour {
        Behaviour::Refuse(code) => Some(code.unwrap_or(usual_refusal(operation))),
        _ => None,
    };
    let planned = by_operation(config, operation, refusal, body, reference).unwrap_or_else(|fault| {
        Planned::plain(400, fault.to_json(), &format!("HTTP 400: {}", fault_text(&fault)))
    });
    let (session, evse) = (planned.session, planned.evse.clone());
    let without_effect = |planned: Planned| planned.about(session, evse);
    match behaviour {
        Behaviour::Garbage => without_effect(Planned::plain(200, GARBAGE, "garbage")),
        Behaviour::Http(status) => {
            let said = format!("HTTP {status}");
            without_effect(Planned::plain(status, said.clone(), &said))
        }
        Behaviour::Silent => without_effect(Planned::plain(200, "", "no answer")),
        Behaviour::Die => without_effect(Planned::plain(200, "", "dies")),
        _ => planned,
    }
}

/// Where nothing better fits: `RULES` 12.2.
fn usual_refusal(operation: Operation) -> Code {
    match operation {
        Operation::RemoteStart | Operation::RemoteStop => Code::CommunicationToEvseFailed,
        Operation::ReservationStart | Operation::ReservationStop => Code::EvseAlreadyReserved,
        Operation::ChargeDetailRecord => Code::DataError,
        Operation::AuthorizeStart | Operation::AuthorizeStop => Code::NoPositiveAuthentication,
        Operation::Notification | Operation::Unserved => Code::SystemError,
    }
}

fn by_operation(
    config: &Config,
    operation: Operation,
    refusal: Option<Code>,
    body: &[u8],
    reference: &str,
) -> Result<Planned, Fault> {
    let read = Reading::Tolerant;
    Ok(match operation {
        Operation::RemoteStart => started(AuthorizeRemoteStart::parse(body, read)?, refusal, reference),
        Operation::ReservationStart => {
            let start = AuthorizeRemoteReservationStart::parse(body, read)?.start;
            // A reservation charges nothing.
            Planned { started: None, ..started(start, refusal, reference) }
        }
        Operation::RemoteStop => stopped(AuthorizeRemoteStop::parse(body, read)?, refusal),
        Operation::ReservationStop => {
            stopped(AuthorizeRemoteReservationStop::parse(body, read)?.stop, refusal)
        }
        Operation::AuthorizeStart => {
            let AuthorizeStart { session_id, partners, evse_id, identification, .. } =
                AuthorizeStart::parse(body, read)?;
            let answer = match refusal.or_else(|| unknown_medium(config, &identification)) {
                Some(code) => AuthorizationStart::not_authorized(StatusCode::from(code)),
                None => AuthorizationStart {
                    session_id,
                    partners: with_own(partners, None, Some(reference)),
                    provider_id: provider(config, &identification),
                    verdict: crate::oicp::charging::AuthorizationStatus::Authorized,
                    status: StatusCode::from(Code::Success),
                    stop_identifications: vec![identification],
                },
            };
            Planned::message(answer.to_json(), &answer.status).about(session_id, evse_id)
        }
        Operation::AuthorizeStop => {
            let stop = AuthorizeStop::parse(body, read)?;
            let answer = match refusal.or_else(|| unknown_medium(config, &stop.identification)) {
                Some(code) => AuthorizationStop::not_authorized(StatusCode::from(code)),
                None => AuthorizationStop {
                    session_id: Some(stop.session_id),
                    partners: stop.partners,
                    provider_id: provider(config, &stop.identification),
                    verdict: crate::oicp::charging::AuthorizationStatus::Authorized,
                    status: StatusCode::from(Code::Success),
                },
            };
            Planned::message(answer.to_json(), &answer.status).about(Some(stop.session_id), stop.evse_id)
        }
        Operation::Notification => {
            let told = ChargingNotification::parse(body, read)?;
            acknowledged(refusal, Some(told.session_id), &told.partners, told.evse_id)
        }
        Operation::ChargeDetailRecord => {
            let cdr = ChargeDetailRecord::parse(body, read)?;
            acknowledged(refusal, Some(cdr.session_id), &cdr.partners, cdr.evse_id)
        }
        Operation::Unserved => {
            let status = StatusCode::with_info(Code::ServiceNotAvailable, "this backend does not serve that");
            Planned::plain(404, status.to_fault_json(), "HTTP 404: not served here")
        }
    })
}

fn started(start: AuthorizeRemoteStart, refusal: Option<Code>, reference: &str) -> Planned {
    let partners = with_own(start.partners.clone(), Some(reference), None);
    let planned = acknowledged(refusal, start.session_id, &partners, start.evse_id.clone());
    Planned {
        started: refusal.is_none().then(|| Box::new(AuthorizeRemoteStart { partners, ..start })),
        ..planned
    }
}

fn stopped(stop: AuthorizeRemoteStop, refusal: Option<Code>) -> Planned {
    let planned = acknowledged(refusal, Some(stop.session_id), &stop.partners, stop.evse_id);
    Planned { stopped: refusal.is_none().then_some(stop.session_id), ..planned }
}

fn acknowledged(
    refusal: Option<Code>,
    session: Option<SessionId>,
    partners: &PartnerSessions,
    evse: EvseId,
) -> Planned {
    let answer = match refusal {
        Some(code) => Acknowledgement::refusal(code, "refused, as this backend was told to"),
        None => Acknowledgement::success(),
    };
    let answer = match session {
        Some(session) => answer.with_session(session, partners),
        None => answer,
    };
    Planned::message(answer.to_json(), &answer.status).about(session, Some(evse))
}

/// The references of a session with this side's own, unless it has one.
fn with_own(partners: PartnerSessions, cpo: Option<&str>, emp: Option<&str>) -> PartnerSessions {
    partners.or(&PartnerSessions {
        cpo: cpo.and_then(PartnerSessionId::parse),
        emp: emp.and_then(PartnerSessionId::parse),
    })
}

/// The code for a medium that this EMP does not know; `None` if it knows it.
fn unknown_medium(config: &Config, medium: &Identification) -> Option<Code> {
    if config.cards.is_empty() && config.contracts.is_empty() {
        return None;
    }
    let card = medium.uid().is_some_and(|uid| config.cards.contains(uid));
    let contract = medium.evco_id().is_some_and(|asked| {
        config.contracts.iter().any(|contract| contract.canonical() == asked.canonical())
    });
    match medium {
        _ if card || contract => None,
        Identification::QrCode { .. } => Some(Code::QrCodeInvalidCredentials),
        Identification::PlugAndCharge { .. } | Identification::Remote { .. } => Some(Code::PlcInvalidEvcoId),
        Identification::MifareFamily { .. } | Identification::Rfid { .. } => Some(Code::RfidInvalidUid),
    }
}

/// Who authorizes: as configured, else the provider of the contract.
fn provider(config: &Config, medium: &Identification) -> Option<ProviderId> {
    let of_contract = || ProviderId::parse(&medium.evco_id()?.provider()).ok();
    config.provider.clone().or_else(of_contract)
}

/// Which fields are wrong; their values do not show.
fn fault_text(fault: &Fault) -> String {
    let fields = fault.validation_errors.iter().filter_map(|error| error.field_reference.as_deref());
    let fields: Vec<&str> = fields.take(3).collect();
    if fields.is_empty() { fault.message.clone() } else { format!("look at {}", fields.join(", ")) }
}
