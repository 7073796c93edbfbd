//! Which messages are evidence, and what they say, for people. Whom a message is about is left out.

use crate::oicp::json::{self, Node};
use crate::oicp::reading::Reading;
use crate::protocol::{AskOutcome, SessionMessage, SessionOperation};

/// Longest value of an OICP message that is quoted, in characters: anybody may have written it.
const QUOTED_CHARACTERS_MAX: usize = 80;

/// Whether a message goes into the log: all but questions that have no effect, and answers that say nothing yet.
pub fn is_evidence(message: &SessionMessage) -> bool {
    !matches!(
        message,
        SessionMessage::Query { .. }
            | SessionMessage::Released { .. }
            | SessionMessage::Outcome { outcome: AskOutcome::Pending, .. }
    )
}

/// Whether a message carries a PIN: such a message is never kept, only its hash.
pub fn carries_pin(message: &SessionMessage) -> bool {
    let SessionMessage::Ask { oicp, .. } = message else { return false };
    match json::parse(oicp, Reading::Tolerant) {
        Ok(root) => holds_pin(&root),
        // What cannot be read may hold anything.
        Err(_) => oicp.windows(3).any(|letters| letters.eq_ignore_ascii_case(b"PIN")),
    }
}

/// The reader bounds how deep a message is nested.
fn holds_pin(node: &Node<'_>) -> bool {
    let names_pin = |name: &str| ["pin", "hashedpin"].iter().any(|pin| name.eq_ignore_ascii_case(pin));
    node.members().iter().any(|(name, value)| names_pin(name) || holds_pin(value))
        || node.items().iter().any(holds_pin)
}

/// What a message says, in one line.
pub fn what_is_said(message: &SessionMessage) -> String {
    match message {
        SessionMessage::Ask { operation, oicp, .. } => asks(*operation, oicp),
        SessionMessage::Outcome { outcome, .. } => match outcome {
            AskOutcome::Answered(oicp) => format!("answers {}", verdict(oicp)),
            AskOutcome::Refused(code) => format!("refuses with code {}", quoted(code)),
            AskOutcome::Pending => "says that the backend has not answered yet".to_owned(),
            AskOutcome::NeverCame => {
                "says that it never came in time, and will not be carried out any more".to_owned()
            }
            AskOutcome::Unconfirmed => "says that nobody knows whether the backend did it".to_owned(),
        },
        SessionMessage::Query { .. } => "asks what became of it".to_owned(),
        SessionMessage::Release { .. } => "says that the session is not the other's".to_owned(),
        SessionMessage::Released { .. } => "says that it has forgotten the session".to_owned(),
    }
}

fn asks(operation: SessionOperation, oicp: &[u8]) -> String {
    let mut said = format!("asks {}", operation.as_str());
    let root = json::parse(oicp, Reading::Tolerant).ok();
    for name in ["Type", "EvseID", "PartnerProductID"] {
        if let Some(value) = root.as_ref().and_then(|root| text(root, name)) {
            said.push_str(&format!(", {name} {value}"));
        }
    }
    said
}

/// The verdict of an OICP answer.
fn verdict(oicp: &[u8]) -> String {
    let Ok(root) = json::parse(oicp, Reading::Tolerant) else { return "what is no JSON".to_owned() };
    let status = root.field("StatusCode");
    let result = root.field("Result").and_then(Node::as_bool).map(|result| format!("Result {result}"));
    let authorized = text(&root, "AuthorizationStatus");
    let code = status.and_then(|status| text(status, "Code")).map(|code| format!("code {code}"));
    let parts: Vec<String> = [result, authorized, code].into_iter().flatten().collect();
    if parts.is_empty() { "without a verdict".to_owned() } else { parts.join(", ") }
}

fn text(node: &Node<'_>, name: &str) -> Option<String> {
    node.field(name).and_then(Node::as_str).filter(|text| !text.is_empty()).map(quoted)
}

/// Foreign text, short and without control characters.
fn quoted(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(QUOTED_CHARACTERS_MAX).collect()
}
