//! eRoamingAcknowledgement: the answer to pushes and remote operations, and the hub's answer when it fails.

use super::json::Node;
use super::json_write::Writer;
use super::status_code::{Code, StatusCode};

/// The answer; absent values are written as nulls like the hub's (GAPS A21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// True: received and carried out.
    pub result: bool,
    /// The outcome.
    pub status: StatusCode,
    /// The hub-wide session.
    pub session_id: Option<String>,
    /// The CPO's own session reference, at most 250 characters.
    pub cpo_partner_session_id: Option<String>,
    /// The EMP's own session reference, at most 250 characters.
    pub emp_partner_session_id: Option<String>,
}

impl Acknowledgement {
    /// Received and carried out.
    #[must_use]
    pub fn success() -> Acknowledgement {
        Acknowledgement::new(true, StatusCode::from(Code::Success))
    }

    /// Received, not carried out.
    #[must_use]
    pub fn refusal(code: Code, additional_info: &str) -> Acknowledgement {
        Acknowledgement::new(false, StatusCode::with_info(code, additional_info))
    }

    fn new(result: bool, status: StatusCode) -> Acknowledgement {
        Acknowledgement {
            result,
            status,
            session_id: None,
            cpo_partner_session_id: None,
            emp_partner_session_id: None,
        }
    }

    /// The message's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(256);
        writer.begin_object().key("Result").bool(self.result).key("StatusCode");
        self.status.write(&mut writer);
        writer.key("SessionID").string_or_null(self.session_id.as_deref());
        writer.key("CPOPartnerSessionID").string_or_null(self.cpo_partner_session_id.as_deref());
        writer.key("EMPPartnerSessionID").string_or_null(self.emp_partner_session_id.as_deref());
        writer.end_object();
        writer.finish()
    }

    /// Reads an acknowledgement or a short fault `{"StatusCode":{..}}` tolerantly; `None` if it has neither a
    /// result nor a code that says no.
    #[must_use]
    pub fn read(node: &Node<'_>) -> Option<Acknowledgement> {
        let status = node.field_any_case(&["StatusCode"]).and_then(StatusCode::read);
        let result = node.field_any_case(&["Result"]).and_then(super::check::flag_of);
        let (result, status) = match (result, status) {
            (Some(result), Some(status)) => (result, status),
            (Some(result), None) => {
                (result, StatusCode::from(if result { Code::Success } else { Code::SystemError }))
            }
            // Success without a result is another message, a page for example: nobody said yes to anything.
            (None, Some(status)) if status.known() != Some(Code::Success) => (false, status),
            (None, _) => return None,
        };
        let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str).map(str::to_owned);
        Some(Acknowledgement {
            result,
            status,
            session_id: text("SessionID"),
            cpo_partner_session_id: text("CPOPartnerSessionID"),
            emp_partner_session_id: text("EMPPartnerSessionID"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json::parse_text;

    #[test]
    fn written_with_nulls_and_read_back() {
        let refusal = Acknowledgement::refusal(Code::InconsistentEvseId, "CH*SCH*E1");
        let json = refusal.to_json();
        assert!(json.ends_with(r#""SessionID":null,"CPOPartnerSessionID":null,"EMPPartnerSessionID":null}"#));
        assert_eq!(Acknowledgement::read(&parse_text(&json).unwrap()), Some(refusal));
        let fault = parse_text(r#"{"StatusCode":{"Code":"300"}}"#).unwrap();
        assert!(!Acknowledgement::read(&fault).unwrap().result);
        for none in ["{}", r#"{"content":[],"StatusCode":{"Code":"000"}}"#] {
            assert_eq!(Acknowledgement::read(&parse_text(none).unwrap()), None, "{none}");
        }
    }
}
