//! What happens at the node, for whoever listens to `/admin/v1/events`: what the core reports, and alarms as they begin
//! and end. Nothing of a driver is in it, and nothing is kept: who was away asks for the state.

use std::collections::BTreeMap;

use super::accounts::Alarm;
use crate::roaming::Report;

/// Events that wait for a listener; who is slower misses some and is told how many.
pub(super) const EVENTS_MAX: usize = 1_024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// When, in unix milliseconds.
    pub at_unix_ms: u64,
    /// What: `session`, `cdr`, `cdr-not-taken`, `cdr-waits`, `alarm`, `alarm-over`, `evse-conflict`, `push-held`,
    /// `equivocation`, `id-conflict`, `id-conflict-over`, `revoked`, `revocations-stale`, `agreement`.
    pub kind: &'static str,
    /// The facts, by name.
    pub facts: BTreeMap<&'static str, String>,
}

impl Event {
    fn of<const N: usize>(at_unix_ms: u64, kind: &'static str, facts: [(&'static str, String); N]) -> Event {
        Event { at_unix_ms, kind, facts: BTreeMap::from(facts) }
    }

    /// An alarm that begins, or is over.
    pub(crate) fn of_alarm(alarm: &Alarm, is_over: bool, at_unix_ms: u64) -> Event {
        let kind = if is_over { "alarm-over" } else { "alarm" };
        let partner = alarm.partner.clone().unwrap_or_default();
        let facts = [
            ("alarm", alarm.kind.to_owned()),
            ("session", alarm.session.clone()),
            ("party", alarm.party.clone()),
            ("partner", partner),
            ("since_unix_ms", alarm.since_unix_ms.to_string()),
        ];
        Event::of(at_unix_ms, kind, facts)
    }

    /// What of a report others may want to hear at once.
    pub(super) fn of_report(report: &Report, at: u64) -> Option<Event> {
        Some(match report {
            Report::Session { session, operation, partner, phase } => {
                let partner = partner.as_ref().map_or_else(String::new, ToString::to_string);
                let facts = [
                    ("session", session.clone()),
                    ("operation", operation.as_str().to_owned()),
                    ("partner", partner),
                    ("phase", phase.as_str().to_owned()),
                ];
                Event::of(at, "session", facts)
            }
            Report::Cdr { session, partner, incoming, state } => {
                let facts = [
                    ("session", session.clone()),
                    ("partner", partner.to_string()),
                    ("incoming", incoming.to_string()),
                    ("state", state.as_str().to_owned()),
                ];
                Event::of(at, "cdr", facts)
            }
            Report::CdrNotTaken { session, partner, why } => {
                let facts =
                    [("session", session.clone()), ("partner", partner.to_string()), ("why", why.clone())];
                Event::of(at, "cdr-not-taken", facts)
            }
            Report::CdrWaits { session, partner, incoming, state, since_unix_ms } => {
                let facts = [
                    ("session", session.clone()),
                    ("partner", partner.to_string()),
                    ("incoming", incoming.to_string()),
                    ("state", state.as_str().to_owned()),
                    ("since_unix_ms", since_unix_ms.to_string()),
                ];
                Event::of(at, "cdr-waits", facts)
            }
            other => return of_directory_or_trust(other, at),
        })
    }
}

fn of_directory_or_trust(report: &Report, at: u64) -> Option<Event> {
    Some(match report {
        Report::Conflict { key, kind, shown, claimed_by } => {
            let shown = shown.as_ref().map_or_else(String::new, ToString::to_string);
            let claimed_by: Vec<String> = claimed_by.iter().map(ToString::to_string).collect();
            let facts = [
                ("evse", key.to_string()),
                ("kind", kind.name().to_owned()),
                ("shown", shown),
                ("claimed_by", claimed_by.join(" ")),
            ];
            Event::of(at, "evse-conflict", facts)
        }
        Report::Held { id, feed, removes } => {
            let facts =
                [("id", id.to_string()), ("feed", feed.to_string()), ("removes", removes.to_string())];
            Event::of(at, "push-held", facts)
        }
        Report::Equivocation { feed } => Event::of(at, "equivocation", [("feed", feed.to_string())]),
        Report::IdConflict { conflict, own } => {
            let facts = [("party", conflict.party.to_string()), ("own", own.to_string())];
            Event::of(at, "id-conflict", facts)
        }
        Report::IdConflictOver { party } => Event::of(at, "id-conflict-over", [("party", party.to_string())]),
        Report::Revoked { party, own } => {
            Event::of(at, "revoked", [("party", party.to_string()), ("own", own.to_string())])
        }
        Report::RevocationsStale { ago_s } => {
            let ago_s = ago_s.map_or_else(String::new, |ago_s| ago_s.to_string());
            Event::of(at, "revocations-stale", [("ago_s", ago_s)])
        }
        Report::Agreement { id, what, offerer, accepter } => {
            let facts = [
                ("id", id.iter().map(|byte| format!("{byte:02x}")).collect()),
                ("what", (*what).to_owned()),
                ("offerer", offerer.to_string()),
                ("accepter", accepter.to_string()),
            ];
            Event::of(at, "agreement", facts)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{PartyId, Role};
    use crate::protocol::CdrState;

    #[test]
    fn a_report_and_an_alarm_become_events_and_chatter_does_not() {
        let partner = PartyId::new(Role::Emp, "DE-DCB").unwrap();
        let report = Report::Cdr {
            session: "s".into(),
            partner: partner.clone(),
            incoming: false,
            state: CdrState::Rejected,
        };
        let event = Event::of_report(&report, 7).unwrap();
        assert_eq!((event.kind, event.facts["state"].as_str(), event.at_unix_ms), ("cdr", "rejected", 7));
        let alarm = Alarm {
            kind: "cdr-waits",
            session: "s".into(),
            party: "CPO:DE*ABC".into(),
            partner: None,
            since_unix_ms: 3,
        };
        assert_eq!(Event::of_alarm(&alarm, true, 9).kind, "alarm-over");
        assert_eq!(Event::of_alarm(&alarm, false, 9).facts["alarm"], "cdr-waits");
        let repaired = Report::OwnFeedBehind {
            feed: crate::protocol::FeedId::public(partner, crate::protocol::Kind::Data),
        };
        assert_eq!(Event::of_report(&repaired, 1), None);
    }
}
