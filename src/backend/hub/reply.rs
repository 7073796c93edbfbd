//! What the hub answers: HTTP status and body as RULES 12.1 has them.

use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::SessionId;
use crate::oicp::finding::Fault;
use crate::oicp::status_code::{Code, StatusCode};

/// An answer.
pub(super) struct Reply {
    pub(super) http: u16,
    pub(super) body: Vec<u8>,
    pub(super) content_type: &'static str,
    /// For people, and the log.
    pub(super) said: String,
    /// The session that it is about.
    pub(super) session: Option<SessionId>,
}

const JSON: &str = "application/json;charset=utf-8";

impl Reply {
    /// A message with HTTP 200.
    pub(super) fn message(body: String, said: impl Into<String>) -> Reply {
        Reply { http: 200, body: body.into_bytes(), content_type: JSON, said: said.into(), session: None }
    }

    /// Bytes as they are.
    pub(super) fn raw(http: u16, content_type: &'static str, body: Vec<u8>) -> Reply {
        Reply { http, body, content_type, said: format!("HTTP {http}"), session: None }
    }

    /// Received and carried out.
    pub(super) fn done() -> Reply {
        Reply::acknowledged(&Acknowledgement::success())
    }

    /// A business refusal with HTTP 200.
    pub(super) fn refused(code: Code, info: &str) -> Reply {
        Reply::acknowledged(&Acknowledgement::refusal(code, info))
    }

    pub(super) fn acknowledged(answer: &Acknowledgement) -> Reply {
        let said =
            format!("{} {}", answer.status.code, answer.status.description.as_deref().unwrap_or_default());
        Reply { session: answer.session(), ..Reply::message(answer.to_json(), said.trim_end()) }
    }

    /// The short body with an HTTP status of its own.
    pub(super) fn short(http: u16, code: Code, description: &str) -> Reply {
        let status = StatusCode {
            code: code.as_str().to_owned(),
            description: Some(description.to_owned()),
            additional_info: None,
        };
        let said = format!("HTTP {http}: {} {description}", code.as_str());
        Reply { http, said, ..Reply::message(status.to_fault_json(), "") }
    }

    /// Who is not who he says, or says nothing.
    pub(super) fn unauthorized() -> Reply {
        Reply::short(401, Code::UnauthorizedAccess, Code::UnauthorizedAccess.description())
    }

    /// An id that is no partner's.
    pub(super) fn unknown_partner() -> Reply {
        Reply::short(404, Code::PartnerNotFound, Code::PartnerNotFound.description())
    }

    /// A session that is unknown or another's.
    pub(super) fn no_session() -> Reply {
        Reply::short(404, Code::SessionInvalid, "Session is not valid")
    }

    /// A session that has its record.
    pub(super) fn closed_session() -> Reply {
        Reply::short(404, Code::SessionInvalid, "Session found but status is not valid CLOSED!")
    }

    /// No contract, where it is an HTTP status.
    pub(super) fn no_subscription() -> Reply {
        Reply::short(403, Code::NoValidContract, "No active subscription found")
    }

    /// Too often.
    pub(super) fn too_often() -> Reply {
        Reply { said: "HTTP 429: too often".to_owned(), ..Reply::raw(429, "text/plain", Vec::new()) }
    }

    /// Unreadable.
    pub(super) fn fault(fault: &Fault) -> Reply {
        let at = fault.validation_errors.iter().filter_map(|error| error.field_reference.as_deref());
        let at = at.take(3).collect::<Vec<_>>().join(", ");
        let body = fault.to_json().into_bytes();
        Reply { said: format!("HTTP 400: {at}"), http: 400, body, ..Reply::raw(400, JSON, Vec::new()) }
    }

    pub(super) fn about(mut self, session: SessionId) -> Reply {
        self.session = Some(session);
        self
    }
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Reply {
        Reply::fault(&fault)
    }
}
