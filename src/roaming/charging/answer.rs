//! What a backend hears: the hub's answers and refusals, with their HTTP status (RULES 12.1).

use bytes::Bytes;

use super::references::partners;
use crate::identity::PartyId;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, AuthorizationStop, FieldValue, PartnerSessionId,
    PartnerSessions, read_acknowledgement, with_fields,
};
use crate::oicp::json_write::Writer;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{SessionOperation, SessionRecord, Via};
use crate::roaming::Stale;

/// An HTTP answer.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// HTTP status.
    pub http_status: u16,
    /// An OICP message.
    pub body: Bytes,
}

impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the message: it may name a driver.
        write!(f, "HttpAnswer(HTTP {}, {} bytes)", self.http_status, self.body.len())
    }
}

impl HttpAnswer {
    /// A message of the partner, as it came.
    pub(super) fn verbatim(body: Bytes) -> HttpAnswer {
        HttpAnswer { http_status: 200, body }
    }
}

/// A refusal in the shape that the operation has. Identity, partner and session errors come as the short fault with
/// their own HTTP status, all else as the operation's answer with HTTP 200.
pub(super) fn refusal(
    operation: SessionOperation,
    code: Code,
    info: &str,
    session: Option<&SessionRecord>,
) -> HttpAnswer {
    let short = match code {
        Code::UnauthorizedAccess => Some(401),
        Code::PartnerNotFound | Code::SessionInvalid => Some(404),
        _ => None,
    };
    let status = StatusCode::with_info(code, info);
    if let Some(http_status) = short {
        let mut writer = Writer::with_capacity(128);
        writer.begin_object().key("StatusCode");
        status.write(&mut writer);
        writer.end_object();
        return HttpAnswer { http_status, body: writer.finish().into() };
    }
    refusal_in_full(operation, status, session)
}

/// A refusal as the operation's answer with HTTP 200, as the hub expects it of its partners whatever is wrong.
pub(super) fn refusal_in_full(
    operation: SessionOperation,
    status: StatusCode,
    session: Option<&SessionRecord>,
) -> HttpAnswer {
    let body = match operation {
        SessionOperation::AuthorizeStart => {
            AuthorizationStart { partners: partners(session), ..AuthorizationStart::not_authorized(status) }
                .to_json()
        }
        SessionOperation::AuthorizeStop => {
            AuthorizationStop { partners: partners(session), ..AuthorizationStop::not_authorized(status) }
                .to_json()
        }
        _ => Acknowledgement { status, ..acknowledgement(false, session) }.to_json(),
    };
    HttpAnswer { http_status: 200, body: body.into() }
}

/// Whether an answer is a yes, and its code if OICP has it; `None` if it is no answer.
pub(super) fn what_it_says(operation: SessionOperation, oicp: &[u8]) -> Option<(bool, Option<Code>)> {
    match operation {
        SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop => {
            let answer = AuthorizationStop::read(oicp).ok()?;
            Some((answer.verdict == AuthorizationStatus::Authorized, answer.status.known()))
        }
        _ => read_acknowledgement(oicp).ok().map(|said| (said.result, said.status.known())),
    }
}

/// What a backend is told if nothing may be begun with a partner.
pub(super) fn refused_as_stale(partner: &PartyId, why: Stale) -> String {
    format!("it is not known whether {partner} was revoked: {why}, or pin the partner")
}

/// An acknowledgement that names the session.
pub(super) fn acknowledgement(result: bool, session: Option<&SessionRecord>) -> Acknowledgement {
    let base = match result {
        true => Acknowledgement::success(),
        false => Acknowledgement::refusal(Code::SystemError, ""),
    };
    let PartnerSessions { cpo, emp } = partners(session);
    let text = |reference: PartnerSessionId| reference.as_str().to_owned();
    Acknowledgement {
        session_id: session.map(|session| session.session.clone()),
        cpo_partner_session_id: cpo.map(text),
        emp_partner_session_id: emp.map(text),
        ..base
    }
}

/// The no of the partner's node, or of the hub.
pub(super) fn refused_by_node(
    operation: SessionOperation,
    code: &str,
    record: Option<&SessionRecord>,
) -> HttpAnswer {
    let code = Code::parse(code).unwrap_or(Code::SystemError);
    let info = match (record.map(|record| record.via), code) {
        (Some(Via::Hub), _) => "the hub refuses it",
        (_, Code::PartnerDidNotRespond) => "the partner's node got no answer from its backend",
        _ => "the partner's node refuses it",
    };
    refusal(operation, code, info, record)
}

/// The answer to a start as a backend hears it that waits for it with its own EMPPartnerSessionID.
pub(super) fn with_reference(answer: &HttpAnswer, own: Option<String>, first: Option<&str>) -> HttpAnswer {
    let Some(own) = own.filter(|own| Some(own.as_str()) != first) else { return answer.clone() };
    let fields = [("EMPPartnerSessionID", FieldValue::from(Some(own.as_str())))];
    // What is no JSON object has no place for it.
    let body = with_fields(&answer.body, &fields).map_or_else(|_| answer.body.clone(), Bytes::from);
    HttpAnswer { body, ..answer.clone() }
}

/// A refusal of what did not become a session, with the reference of the CPO that asked.
pub(super) fn with_cpo_reference(answer: HttpAnswer, partners: &PartnerSessions) -> HttpAnswer {
    let Some(reference) = &partners.cpo else { return answer };
    let fields = [("CPOPartnerSessionID", FieldValue::Text(reference.as_str()))];
    let body = with_fields(&answer.body, &fields).map_or_else(|_| answer.body.clone(), Bytes::from);
    HttpAnswer { body, ..answer }
}

/// An answer with the session's ids where the partner left them out.
pub(super) fn with_ids(oicp: &Bytes, session: Option<&SessionRecord>) -> Bytes {
    let (Some(session), Ok(said)) = (session, read_acknowledgement(oicp)) else { return oicp.clone() };
    if !said.result {
        return oicp.clone();
    }
    let known = acknowledgement(true, Some(session));
    let mut fields = vec![("SessionID", FieldValue::from(known.session_id.as_deref()))];
    if said.cpo_partner_session_id.is_none() && known.cpo_partner_session_id.is_some() {
        fields.push(("CPOPartnerSessionID", FieldValue::from(known.cpo_partner_session_id.as_deref())));
    }
    if said.emp_partner_session_id.is_none() && known.emp_partner_session_id.is_some() {
        fields.push(("EMPPartnerSessionID", FieldValue::from(known.emp_partner_session_id.as_deref())));
    }
    with_fields(oicp, &fields).map_or_else(|_| oicp.clone(), Bytes::from)
}
