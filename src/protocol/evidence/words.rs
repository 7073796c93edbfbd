//! Which messages are evidence, and what they say, for people. Whom a message is about is left out.

use bytes::Bytes;

use crate::identity::{Hash, Receipt, SignedCdr};
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
            | SessionMessage::Noted { .. }
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
        SessionMessage::Cdr { signed, .. } => match SignedCdr::read_stored(signed) {
            Ok(cdr) => record(&cdr),
            Err(_) => "sends what is no charge detail record".to_owned(),
        },
        SessionMessage::Receipts { receipts, .. } => receipts_said(receipts),
        SessionMessage::Noted { .. } => "has taken note".to_owned(),
    }
}

/// The OICP message that a message carries.
pub fn oicp_of(message: &SessionMessage) -> Option<Bytes> {
    match message {
        SessionMessage::Ask { oicp, .. } => Some(oicp.clone()),
        SessionMessage::Outcome { outcome: AskOutcome::Answered(oicp), .. } => Some(oicp.clone()),
        SessionMessage::Cdr { signed, .. } => SignedCdr::read_stored(signed).ok().map(|cdr| cdr.oicp.into()),
        _ => None,
    }
}

fn record(cdr: &SignedCdr) -> String {
    let name = short(&cdr.cdr_hash());
    let mut said = match &cdr.replaces {
        Some(replaced) => format!("sends charge detail record {name}, which corrects {}", short(replaced)),
        None => format!("sends charge detail record {name}"),
    };
    let root = json::parse(&cdr.oicp, Reading::Tolerant).ok();
    for name in ["EvseID", "SessionStart", "SessionEnd", "ConsumedEnergy"] {
        if let Some(value) = root.as_ref().and_then(|root| text(root, name)) {
            said.push_str(&format!(", {name} {value}"));
        }
    }
    said
}

fn receipts_said(receipts: &[Bytes]) -> String {
    let read: Vec<Receipt> = receipts.iter().filter_map(|bytes| Receipt::read_stored(bytes).ok()).collect();
    let verdict = |receipt: &Receipt| match receipt.verdict.code() {
        Some(code) => format!("{} with code {code}", receipt.verdict.as_str()),
        None => receipt.verdict.as_str().to_owned(),
    };
    let said: Vec<String> = read.iter().map(verdict).collect();
    match read.last() {
        Some(last) => format!("says of charge detail record {}: {}", short(&last.cdr), said.join(", ")),
        None => "has no receipt for a charge detail record".to_owned(),
    }
}

/// The first bytes of a hash, for people.
fn short(hash: &Hash) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
    let value = node.field(name);
    value
        .and_then(|value| value.as_str().or_else(|| value.number_text()))
        .filter(|text| !text.is_empty())
        .map(quoted)
}

/// Foreign text, short and without control characters.
fn quoted(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(QUOTED_CHARACTERS_MAX).collect()
}
