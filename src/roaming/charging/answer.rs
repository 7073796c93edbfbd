//! What a backend hears: the hub's answers and refusals, with their HTTP status (RULES 12.1).

use bytes::Bytes;

use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{AuthorizationStart, AuthorizationStop, PartnerSessionId, PartnerSessions};
use crate::oicp::json_write::Writer;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{SessionOperation, SessionRecord};

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

/// An acknowledgement that names the session.
pub(super) fn acknowledgement(result: bool, session: Option<&SessionRecord>) -> Acknowledgement {
    let base = match result {
        true => Acknowledgement::success(),
        false => Acknowledgement::refusal(Code::SystemError, ""),
    };
    Acknowledgement {
        session_id: session.map(|session| session.session.clone()),
        cpo_partner_session_id: session.and_then(|session| session.cpo_partner_session.clone()),
        emp_partner_session_id: session.and_then(|session| session.emp_partner_session.clone()),
        ..base
    }
}

/// Both sides' own references of a session.
pub(super) fn partners(session: Option<&SessionRecord>) -> PartnerSessions {
    let read = |text: &Option<String>| text.as_deref().and_then(PartnerSessionId::parse);
    session.map_or_else(PartnerSessions::default, |session| PartnerSessions {
        cpo: read(&session.cpo_partner_session),
        emp: read(&session.emp_partner_session),
    })
}
