//! The legal steps of a session, as a table. What is not in it does not happen.

use crate::protocol::SessionPhase;

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The other side's backend, or its node for it, said yes.
    Confirmed,
    /// It said no, or it never heard of it and will not carry it out any more.
    Denied,
    /// Nothing was sent: the partner cannot be reached.
    NotSent,
    /// No answer came in time, or a crash hid it: at the side that asked.
    Silence,
    /// Whether our backend did it is not known: it did not answer, or a crash hid the answer.
    Unclear,
    /// A message of the session shows that it lives.
    ShownAlive,
    /// It is not the asked side's session: another was faster, or the answer came too late.
    Released,
    /// Nothing was heard of it for very long.
    Expired,
    /// Its charge detail record was taken: it was charged, whatever was known of it.
    CdrTaken,
}

/// The phase that follows; `None` if the step is not legal.
pub(super) fn next(phase: SessionPhase, event: Event) -> Option<SessionPhase> {
    use Event::{CdrTaken, Confirmed, Denied, Expired, NotSent, Released, ShownAlive, Silence, Unclear};
    use SessionPhase as P;
    match (phase, event) {
        (P::Requested | P::Calling | P::InDoubt | P::Unconfirmed, Confirmed | ShownAlive) => Some(P::Active),
        (P::Requested | P::Calling | P::InDoubt | P::Unconfirmed, Denied) => Some(P::Refused),
        (P::Requested, NotSent) => Some(P::Refused),
        (P::Requested, Silence) => Some(P::InDoubt),
        (P::Requested | P::Calling | P::InDoubt, Unclear) => Some(P::Unconfirmed),
        (P::Requested | P::Calling | P::InDoubt | P::Unconfirmed | P::Active, Released) => Some(P::Refused),
        (P::Requested | P::Calling | P::InDoubt | P::Unconfirmed | P::Active, Expired) => Some(P::Expired),
        (P::Requested | P::Calling | P::InDoubt | P::Unconfirmed | P::Active | P::Expired, CdrTaken) => {
            Some(P::Closed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 9] = [
        Event::Confirmed,
        Event::Denied,
        Event::NotSent,
        Event::Silence,
        Event::Unclear,
        Event::ShownAlive,
        Event::Released,
        Event::Expired,
        Event::CdrTaken,
    ];

    #[test]
    fn what_is_over_stays_over_and_nothing_goes_back() {
        for phase in SessionPhase::ALL {
            for event in EVENTS {
                let Some(after) = next(phase, event) else { continue };
                // What is owed is owed, however late it is said.
                let late = (phase, event) == (SessionPhase::Expired, Event::CdrTaken);
                assert!(!phase.is_over() || late, "{phase:?} {event:?}");
                assert_ne!(after, phase, "{event:?} changes nothing");
                assert!(
                    !matches!(after, SessionPhase::Requested | SessionPhase::Calling),
                    "{phase:?} {event:?}"
                );
            }
        }
    }

    #[test]
    fn every_open_session_can_end() {
        for phase in SessionPhase::ALL.into_iter().filter(|phase| !phase.is_over()) {
            assert_eq!(next(phase, Event::Expired), Some(SessionPhase::Expired));
        }
    }

    #[test]
    fn a_running_session_is_not_undone_by_a_late_no() {
        assert_eq!(next(SessionPhase::Active, Event::Denied), None);
        assert_eq!(next(SessionPhase::Active, Event::Unclear), None);
        assert_eq!(next(SessionPhase::Refused, Event::Confirmed), None);
    }
}
