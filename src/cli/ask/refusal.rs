//! What a node says when it does not do what it was asked: whole and in words, or its own JSON.

use std::process::ExitCode;

use anyhow::Context as _;
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::status_code::StatusCode;
use chargemesh::outbound::Received;

use super::accounts::REASON_CHARACTERS_MAX;
use super::{Target, items, text};
use crate::cli::text::{print, shown};

/// Longest beginning of a body of another form that is shown, in characters: an error page has more.
const BODY_CHARACTERS_MAX: usize = 300;

/// Why, in words: the reason of the admin API, OICP's code with its texts, or what was wrong with a message. What is
/// none of these is shown as it begins.
pub(super) fn reason(answer: &Received) -> String {
    let said = json::parse(&answer.body, Reading::Tolerant).ok().and_then(|root| words(&root));
    match said {
        Some(words) => shown(&words, REASON_CHARACTERS_MAX),
        None => shown(&String::from_utf8_lossy(&answer.body), BODY_CHARACTERS_MAX),
    }
}

fn words(root: &Node<'_>) -> Option<String> {
    let (refused, message) = (text(root, "refused"), text(root, "message"));
    if !refused.is_empty() {
        return Some(refused);
    }
    if let Some(status) = root.field("StatusCode").and_then(StatusCode::read) {
        let texts = [status.description, status.additional_info].into_iter().flatten();
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        return Some(format!("{} {}", status.code, texts.join(": ")).trim_end().to_owned());
    }
    let error = |error: &Node<'_>| match text(error, "fieldReference").as_str() {
        "" => text(error, "errorMessage"),
        field => format!("{field}: {}", text(error, "errorMessage")),
    };
    let errors: Vec<String> = items(root, "validationErrors").iter().map(error).collect();
    match (message.is_empty(), errors.is_empty()) {
        (true, true) => None,
        (false, true) => Some(message),
        (_, false) => Some(format!("{message} {}", errors.join("; ")).trim_start().to_owned()),
    }
}

/// Prints a refusal to the standard output: in words, or as the node's own JSON; the exit code is that.
pub(super) fn print_refusal(target: &Target, answer: &Received, exit: u8) -> anyhow::Result<ExitCode> {
    if target.json {
        // Only JSON is passed on, so that a program never reads an error page as an answer.
        json::parse(&answer.body, Reading::Tolerant)
            .context("the answer is no JSON: does --node name the facade of a chargemesh node?")?;
        print(&format!("{}\n", String::from_utf8_lossy(&answer.body)))?;
    } else {
        print(&format!("refused: {}\n", reason(answer)))?;
    }
    Ok(ExitCode::from(exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_whole_whatever_its_form() {
        let long = "x".repeat(500);
        let status = format!(
            r#"{{"Result":false,"StatusCode":{{"Code":"022","Description":"Data error","AdditionalInfo":"{long}"}}}}"#
        );
        let fields = r#"{"extendedInfo":null,"message":"Error parsing/validating JSON.","validationErrors":[{"fieldReference":"SessionEnd","errorMessage":"may not be null"},{"fieldReference":null,"errorMessage":"no"}]}"#;
        for (body, said) in [
            (format!(r#"{{"refused":"{long}"}}"#), long.clone()),
            (status, format!("022 Data error: {long}")),
            (fields.to_owned(), "Error parsing/validating JSON. SessionEnd: may not be null; no".to_owned()),
            (r#"{"message":"not now"}"#.to_owned(), "not now".to_owned()),
            (r#"{"else":1}"#.to_owned(), r#"{"else":1}"#.to_owned()),
            ("<html>\n".to_owned(), "<html>\u{fffd}".to_owned()),
        ] {
            assert_eq!(reason(&Received { http_status: 400, body: body.into() }), said);
        }
        let page = Received { http_status: 502, body: "y".repeat(10_000).into() };
        assert_eq!(reason(&page).chars().count(), BODY_CHARACTERS_MAX);
    }
}
