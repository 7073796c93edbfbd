//! Answers to the operations of charging, written as the hub writes them and read from partners tolerantly: an
//! HTTP status says little (RULES 12.1), so what counts is whether the body is an answer.

use super::identification::{Identification, Media};
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::id::ProviderId;
use crate::oicp::json::{self, JsonError, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};

/// Most media of one answer that may stop a session; cards of one driver's family or fleet.
pub const STOP_IDENTIFICATIONS_MAX: usize = 100;

/// Why a partner's body is no answer. Counts as "did not respond" (310, RULES 12.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON.
    #[error("the answer is not JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON without a verdict: neither result nor status nor code.
    #[error("the answer holds neither a result nor a status code")]
    NoVerdict,
    /// A verdict that OICP does not have.
    #[error("the answer's AuthorizationStatus is neither Authorized nor NotAuthorized")]
    UnknownVerdict,
}

/// The verdict on an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationStatus {
    /// He may.
    Authorized,
    /// He may not.
    NotAuthorized,
}

impl AuthorizationStatus {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AuthorizationStatus::Authorized => "Authorized",
            AuthorizationStatus::NotAuthorized => "NotAuthorized",
        }
    }
}

/// eRoamingAuthorizationStart.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationStart {
    /// The session, if authorized.
    pub session_id: Option<SessionId>,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The EMP that authorized.
    pub provider_id: Option<ProviderId>,
    /// The verdict.
    pub verdict: AuthorizationStatus,
    /// The outcome's code.
    pub status: StatusCode,
    /// Media that may stop the session at the station, at most [`STOP_IDENTIFICATIONS_MAX`]; entries without
    /// exactly one readable medium are left out.
    pub stop_identifications: Vec<Identification>,
}

impl AuthorizationStart {
    /// Code 000 for that session.
    #[must_use]
    pub fn authorized(session_id: SessionId, provider_id: ProviderId) -> AuthorizationStart {
        AuthorizationStart {
            session_id: Some(session_id),
            partners: PartnerSessions::default(),
            provider_id: Some(provider_id),
            verdict: AuthorizationStatus::Authorized,
            status: StatusCode::from(Code::Success),
            stop_identifications: Vec::new(),
        }
    }

    /// A refusal: no session, no provider (RULES 5.2).
    #[must_use]
    pub fn not_authorized(status: StatusCode) -> AuthorizationStart {
        AuthorizationStart {
            session_id: None,
            partners: PartnerSessions::default(),
            provider_id: None,
            verdict: AuthorizationStatus::NotAuthorized,
            status,
            stop_identifications: Vec::new(),
        }
    }

    /// Reads a partner's answer. An acknowledgement or a bare status code in its place (GAPS C14) is a refusal
    /// with that code.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn read(body: &[u8]) -> Result<AuthorizationStart, AnswerError> {
        let root = json::parse(body, Reading::Tolerant)?;
        let Common { session_id, partners, provider_id, verdict, status } = Common::read(&root)?;
        let media = root.field_any_case(&["AuthorizationStopIdentifications"]);
        let media = media.map(|list| if list.is_array() { list.items() } else { std::slice::from_ref(list) });
        let stop_identifications = media
            .unwrap_or_default()
            .iter()
            .filter_map(|node| Identification::read(node, Media::Any).ok())
            .take(STOP_IDENTIFICATIONS_MAX)
            .collect();
        Ok(AuthorizationStart { session_id, partners, provider_id, verdict, status, stop_identifications })
    }

    /// The message's text; absent values are nulls like the hub's (GAPS A21).
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        self.common().write(&mut writer);
        writer.key("AuthorizationStopIdentifications");
        if self.stop_identifications.is_empty() {
            writer.null();
        } else {
            writer.begin_array();
            for identification in &self.stop_identifications {
                identification.write(&mut writer);
            }
            writer.end_array();
        }
        writer.end_object();
        writer.finish()
    }

    fn common(&self) -> Common {
        Common {
            session_id: self.session_id,
            partners: self.partners.clone(),
            provider_id: self.provider_id.clone(),
            verdict: self.verdict,
            status: self.status.clone(),
        }
    }
}

/// eRoamingAuthorizationStop.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationStop {
    /// The session.
    pub session_id: Option<SessionId>,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The EMP that answered.
    pub provider_id: Option<ProviderId>,
    /// The verdict.
    pub verdict: AuthorizationStatus,
    /// The outcome's code.
    pub status: StatusCode,
}

impl AuthorizationStop {
    /// Code 000 for that session.
    #[must_use]
    pub fn authorized(session_id: SessionId, provider_id: ProviderId) -> AuthorizationStop {
        AuthorizationStop {
            session_id: Some(session_id),
            provider_id: Some(provider_id),
            verdict: AuthorizationStatus::Authorized,
            ..AuthorizationStop::not_authorized(StatusCode::from(Code::Success))
        }
    }

    /// A refusal.
    #[must_use]
    pub fn not_authorized(status: StatusCode) -> AuthorizationStop {
        AuthorizationStop {
            session_id: None,
            partners: PartnerSessions::default(),
            provider_id: None,
            verdict: AuthorizationStatus::NotAuthorized,
            status,
        }
    }

    /// Reads a partner's answer, as [`AuthorizationStart::read`].
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn read(body: &[u8]) -> Result<AuthorizationStop, AnswerError> {
        let root = json::parse(body, Reading::Tolerant)?;
        let Common { session_id, partners, provider_id, verdict, status } = Common::read(&root)?;
        Ok(AuthorizationStop { session_id, partners, provider_id, verdict, status })
    }

    /// The message's text; absent values are nulls like the hub's.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        let AuthorizationStop { session_id, partners, provider_id, verdict, status } = self.clone();
        Common { session_id, partners, provider_id, verdict, status }.write(&mut writer);
        writer.end_object();
        writer.finish()
    }
}

/// Reads a partner's acknowledgement from a body; a bare status code that says no counts, too.
///
/// # Errors
/// [`AnswerError`].
pub fn read_acknowledgement(body: &[u8]) -> Result<Acknowledgement, AnswerError> {
    let root = json::parse(body, Reading::Tolerant)?;
    Acknowledgement::read(&root).ok_or(AnswerError::NoVerdict)
}

impl Acknowledgement {
    /// The answer with that session and the partners' references in it.
    #[must_use]
    pub fn with_session(self, session_id: SessionId, partners: &PartnerSessions) -> Acknowledgement {
        Acknowledgement {
            session_id: Some(session_id.as_str().to_owned()),
            cpo_partner_session_id: partners.cpo.as_ref().map(|id| id.as_str().to_owned()),
            emp_partner_session_id: partners.emp.as_ref().map(|id| id.as_str().to_owned()),
            ..self
        }
    }

    /// The partners' references in the answer; an empty or overlong one counts as absent.
    #[must_use]
    pub fn partners(&self) -> PartnerSessions {
        let read = |text: &Option<String>| text.as_deref().and_then(super::PartnerSessionId::parse);
        PartnerSessions { cpo: read(&self.cpo_partner_session_id), emp: read(&self.emp_partner_session_id) }
    }

    /// The session in the answer, if it is one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        SessionId::parse(self.session_id.as_deref()?)
    }
}

/// What both authorization answers have.
struct Common {
    session_id: Option<SessionId>,
    partners: PartnerSessions,
    provider_id: Option<ProviderId>,
    verdict: AuthorizationStatus,
    status: StatusCode,
}

impl Common {
    fn read(root: &Node<'_>) -> Result<Common, AnswerError> {
        let text = |name: &str| root.field_any_case(&[name]).and_then(Node::as_str);
        let verdict = match root.field_any_case(&["AuthorizationStatus"]).map(|node| node.as_str()) {
            Some(Some("Authorized")) => Some(AuthorizationStatus::Authorized),
            Some(Some("NotAuthorized")) => Some(AuthorizationStatus::NotAuthorized),
            Some(_) => return Err(AnswerError::UnknownVerdict),
            None => None,
        };
        let status = root.field_any_case(&["StatusCode"]).and_then(StatusCode::read);
        let (verdict, status) = match (verdict, status) {
            (Some(verdict), Some(status)) => (verdict, status),
            (Some(AuthorizationStatus::Authorized), None) => {
                (AuthorizationStatus::Authorized, StatusCode::from(Code::Success))
            }
            (Some(AuthorizationStatus::NotAuthorized), None) => {
                (AuthorizationStatus::NotAuthorized, StatusCode::from(Code::NoPositiveAuthentication))
            }
            // Success without a verdict is no authorization.
            (None, Some(status)) if status.known() != Some(Code::Success) => {
                (AuthorizationStatus::NotAuthorized, status)
            }
            (None, _) => return Err(AnswerError::NoVerdict),
        };
        Ok(Common {
            session_id: text("SessionID").and_then(SessionId::parse),
            partners: PartnerSessions::read(root),
            provider_id: text("ProviderID").and_then(|text| ProviderId::parse(text).ok()),
            verdict,
            status,
        })
    }

    /// Opens the object and writes its members.
    fn write(&self, writer: &mut Writer) {
        writer.begin_object();
        writer.key("SessionID").string_or_null(self.session_id.as_ref().map(SessionId::as_str));
        self.partners.write(writer);
        writer.key("ProviderID").string_or_null(self.provider_id.as_ref().map(ProviderId::as_str));
        writer.key("AuthorizationStatus").string(self.verdict.as_str()).key("StatusCode");
        self.status.write(writer);
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
