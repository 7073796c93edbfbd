//! How a backend that is asked behaves, and what it says.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::engine::{BackendAnswer, SessionOperation};
use serde::{Deserialize, Serialize};

/// How a backend behaves that is asked about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Play {
    /// Yes, soon.
    Yes,
    /// No, soon.
    No,
    /// Yes, after that many milliseconds.
    Slow(u64),
    /// It hears, and never answers.
    Silent,
    /// It hears, and breaks the connection.
    Dies,
    /// It takes no connection.
    Off,
    /// It answers with HTTP 500.
    Broken,
    /// It answers with what is no OICP.
    Garbage,
}

/// Time for an answer that comes soon.
const SOON: Duration = Duration::from_millis(60);

/// What a backend will do about one question.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) after: Duration,
    pub(crate) answer: BackendAnswer,
    /// Whether it says yes, in time for who called it.
    pub(crate) says_yes: bool,
}

impl Play {
    /// What is done about a question that is waited for that long. `provider`: who answers about a card.
    pub(crate) fn plan(self, operation: SessionOperation, provider: &str, patience: Duration) -> Plan {
        let no_answer = |after: Duration, why: &str| Plan {
            after: after.min(patience),
            answer: BackendAnswer::Silent(why.to_owned()),
            says_yes: false,
        };
        let answered = |after, http_status, body: String, says_yes| {
            let answer = BackendAnswer::Answered { http_status, body: Bytes::from(body) };
            Plan { after, answer, says_yes }
        };
        match self {
            Play::Slow(ms) if Duration::from_millis(ms) >= patience => no_answer(patience, "too slow"),
            Play::Slow(ms) => {
                answered(Duration::from_millis(ms), 200, message(operation, provider, true), true)
            }
            Play::Yes => answered(SOON, 200, message(operation, provider, true), true),
            Play::No => answered(SOON, 200, message(operation, provider, false), false),
            Play::Silent => no_answer(patience, "no answer"),
            Play::Dies => no_answer(SOON, "the connection broke"),
            Play::Off => Plan {
                after: Duration::from_millis(1),
                answer: BackendAnswer::NotSent("connection refused".to_owned()),
                says_yes: false,
            },
            Play::Broken => answered(SOON, 500, message(operation, provider, true), false),
            Play::Garbage => answered(SOON, 200, "<html>".to_owned(), false),
        }
    }

    /// What is done about a charge detail record that is waited for that long.
    pub(crate) fn plan_for_cdr(self, patience: Duration) -> Plan {
        self.plan(SessionOperation::Notification, "", patience)
    }

    /// Whether it goes as it should.
    pub(crate) fn is_usual(self) -> bool {
        matches!(self, Play::Yes | Play::No)
    }
}

fn message(operation: SessionOperation, provider: &str, yes: bool) -> String {
    match (operation, yes) {
        (SessionOperation::AuthorizeStart, true) => format!(
            r#"{{"AuthorizationStatus":"Authorized","StatusCode":{{"Code":"000"}},"ProviderID":"{provider}"}}"#
        ),
        (SessionOperation::AuthorizeStop, true) => format!(
            r#"{{"AuthorizationStatus":"Authorized","StatusCode":{{"Code":"000"}},"ProviderID":"{provider}"}}"#
        ),
        (SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop, false) => {
            r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}"#.to_owned()
        }
        (_, true) => r#"{"Result":true,"StatusCode":{"Code":"000"}}"#.to_owned(),
        (_, false) => r#"{"Result":false,"StatusCode":{"Code":"602"}}"#.to_owned(),
    }
}
