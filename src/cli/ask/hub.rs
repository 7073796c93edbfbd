//! What a node says of the central hub, for `doctor` and `peers`.

use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;

use super::table::{Table, age, grouped, left, shown};
use super::{Target, flag, items, number, text};
use crate::cli::text as words;

/// What failed longer ago says nothing of now, in milliseconds: what fails is tried again within minutes.
const FAILED_MS_MAX: u64 = 3_600_000;

/// Characters of an error that are shown.
const WHY_CHARACTERS_MAX: usize = 160;

/// The hub as the node sees it.
pub(super) struct Hub {
    evses: u64,
    certificate_until_s: u64,
    calls: Vec<Call>,
}

struct Call {
    operation: String,
    /// 0: not since the start.
    answered_ms: u64,
    /// 0: not since the start.
    failed_ms: u64,
    why: String,
}

impl Hub {
    /// Asks a node; `None` if it has no hub, or is too old to say so.
    pub(super) async fn of(target: &Target) -> Option<Hub> {
        let answer = target.get("admin/v1/hub").await.ok()?;
        Hub::read(&json::parse(&answer.body, Reading::Tolerant).ok()?)
    }

    fn read(root: &Node<'_>) -> Option<Hub> {
        let call = |call: &Node<'_>| Call {
            operation: shown(&text(call, "operation")),
            answered_ms: number(call, "answered_unix_ms"),
            failed_ms: number(call, "failed_unix_ms"),
            why: words::shown(&text(call, "why"), WHY_CHARACTERS_MAX),
        };
        flag(root, "is_on").then(|| Hub {
            evses: number(root, "evses"),
            certificate_until_s: number(root, "certificate_until_unix_s"),
            calls: items(root, "calls").iter().map(call).collect(),
        })
    }

    /// The operations that fail now, one line each.
    pub(super) fn troubles(&self, now_ms: u64) -> Vec<String> {
        let fails = |call: &&Call| {
            call.failed_ms >= call.answered_ms && now_ms.saturating_sub(call.failed_ms) <= FAILED_MS_MAX
        };
        let line = |call: &Call| {
            let failed = age(now_ms, call.failed_ms);
            format!("{}: {}; failed {failed} ago: {}", call.operation, call.answered(now_ms), call.why)
        };
        self.calls.iter().filter(fails).map(line).collect()
    }

    /// How old its answers are, and until when it knows us.
    pub(super) fn ages(&self, now_ms: u64) -> String {
        let answered = self.calls.iter().filter(|call| call.answered_ms != 0);
        let ages: Vec<String> = answered
            .map(|call| format!("{} {} ago", call.operation, age(now_ms, call.answered_ms)))
            .collect();
        let ages = if ages.is_empty() { "it has answered nothing yet".to_owned() } else { ages.join(", ") };
        match self.certificate_until_s {
            0 => ages,
            until_s => format!("{ages}; our certificate for it {}", left(now_ms / 1_000, until_s)),
        }
    }

    /// All of it.
    pub(super) fn to_text(&self, now_ms: u64) -> String {
        let mut table = Table::new("  ").header(["operation", "the hub", "last failure"]);
        for call in &self.calls {
            let failed = match call.failed_ms {
                0 => "-".to_owned(),
                at_ms => format!("{} ago: {}", age(now_ms, at_ms), call.why),
            };
            table.row([call.operation.clone(), call.answered(now_ms), failed]);
        }
        format!("\nThe central hub: {} EVSEs came through it\n{}", grouped(self.evses), table.to_text())
    }
}

impl Call {
    fn answered(&self, now_ms: u64) -> String {
        match self.answered_ms {
            0 => "has not answered since the start".to_owned(),
            at_ms => format!("answered {} ago", age(now_ms, at_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000_000_000;

    fn read(text: &str) -> Option<Hub> {
        Hub::read(&json::parse(text.as_bytes(), Reading::Tolerant).unwrap())
    }

    #[test]
    fn what_fails_now_is_trouble_and_nothing_else_is() {
        assert!(read(r#"{"is_on":false}"#).is_none() && read("{}").is_none());
        let fresh = read(r#"{"is_on":true,"evses":0,"calls":[],"certificate_until_unix_s":null}"#).unwrap();
        assert!(fresh.troubles(NOW_MS).is_empty());
        assert_eq!(fresh.ages(NOW_MS), "it has answered nothing yet");
        // Answered and failed so many milliseconds ago; whether that is trouble.
        let table = [
            (Some(60_000), None, false),
            (Some(60_000), Some(120_000), false),
            (Some(120_000), Some(60_000), true),
            (None, Some(60_000), true),
            (None, Some(FAILED_MS_MAX + 1), false),
        ];
        for (answered, failed, is_trouble) in table {
            let at = |ago: Option<u64>| ago.map_or("null".to_owned(), |ago| (NOW_MS - ago).to_string());
            let hub = read(&format!(
                r#"{{"is_on":true,"evses":4500,"certificate_until_unix_s":1008640000,"calls":[{{"operation":
                "PullEvseData","answered_unix_ms":{},"failed_unix_ms":{},"why":"HTTP 401"}}]}}"#,
                at(answered),
                at(failed)
            ))
            .unwrap();
            let troubles = hub.troubles(NOW_MS);
            assert_eq!(!troubles.is_empty(), is_trouble, "{answered:?} {failed:?}: {troubles:?}");
            assert!(
                troubles.iter().all(|line| line.starts_with("PullEvseData") && line.contains("HTTP 401"))
            );
            assert!(hub.ages(NOW_MS).contains("our certificate for it"));
            assert!(hub.to_text(NOW_MS).contains("4,500 EVSEs"));
        }
    }
}
