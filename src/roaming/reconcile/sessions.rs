//! Sessions that two sides should both know: which of their differences cost money.

use std::collections::BTreeMap;

use crate::protocol::{SessionKind, SessionMark, SessionPhase};

/// A session of which the two sides say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDifference {
    /// SessionID, as both nodes know it.
    pub session: String,
    /// How far it has come here; `None`: unknown.
    pub here: Option<SessionPhase>,
    /// ... and there.
    pub there: Option<SessionPhase>,
}

/// Whether two sides say the same of a session as far as money goes. Where it is unknown it did not come to be.
fn agree(here: Option<SessionPhase>, there: Option<SessionPhase>) -> bool {
    let kind = |phase: Option<SessionPhase>| phase.and_then(SessionKind::of);
    // What expired may have been running or not.
    let is_open_question = [here, there].contains(&Some(SessionPhase::Expired));
    match (kind(here), kind(there)) {
        (Some(here), Some(there)) => here == there || is_open_question,
        (here, there) => here == there,
    }
}

/// What two lists of one day do not agree on, by session. One that only one list has may be known to the other side
/// all the same: it began there on another day, or was refused. [`looked_up`] takes these out.
#[must_use]
pub fn session_differences(here: &[SessionMark], there: &[SessionMark]) -> Vec<SessionDifference> {
    let (here, there) = (by_name(here), by_name(there));
    let only_there = there.keys().filter(|name| !here.contains_key(*name));
    let mut names: Vec<&str> = here.keys().chain(only_there).copied().collect();
    names.sort_unstable();
    let phase = |side: &BTreeMap<&str, Option<SessionPhase>>, name: &str| side.get(name).copied().flatten();
    let differing = names.into_iter().map(|name| SessionDifference {
        session: name.to_owned(),
        here: phase(&here, name),
        there: phase(&there, name),
    });
    differing.filter(|difference| !agree(difference.here, difference.there)).collect()
}

/// What is left of differences once each side was asked by name for the sessions that its list lacks.
#[must_use]
pub fn looked_up(
    found: Vec<SessionDifference>,
    here: &[SessionMark],
    there: &[SessionMark],
) -> Vec<SessionDifference> {
    let (named_here, named_there) = (by_name(here), by_name(there));
    let still_differs = |mut difference: SessionDifference| {
        let name = difference.session.as_str();
        if let (None, Some(known)) = (difference.here, named_here.get(name)) {
            match known {
                // Here it is in the list of another day, and compared there.
                Some(phase) if SessionKind::of(*phase).is_some() => return None,
                Some(phase) => difference.here = Some(*phase),
                None => return None,
            }
        }
        if let (None, Some(known)) = (difference.there, named_there.get(name)) {
            difference.there = Some((*known)?);
        }
        (!agree(difference.here, difference.there)).then_some(difference)
    };
    found.into_iter().filter_map(still_differs).collect()
}

fn by_name(marks: &[SessionMark]) -> BTreeMap<&str, Option<SessionPhase>> {
    marks.iter().map(|mark| (mark.session.as_str(), mark.phase)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::DayMark;
    use SessionPhase::{Active, Calling, Closed, Expired, InDoubt, Refused, Requested, Unconfirmed};

    fn mark(number: u8, phase: SessionPhase) -> SessionMark {
        SessionMark { session: format!("{number:036}"), phase: Some(phase) }
    }

    fn difference(number: u8, here: Option<SessionPhase>, there: Option<SessionPhase>) -> SessionDifference {
        SessionDifference { session: format!("{number:036}"), here, there }
    }

    #[test]
    fn what_costs_money_is_a_difference_and_nothing_else() {
        let (ran, unclear) = ([Active, Closed], [Requested, Calling, InDoubt, Unconfirmed]);
        let never = [None, Some(Refused)];
        let same = |here: &[Option<SessionPhase>], there: &[Option<SessionPhase>], agrees: bool| {
            for (one, other) in here.iter().flat_map(|one| there.iter().map(move |other| (*one, *other))) {
                assert_eq!(agree(one, other), agrees, "{one:?} {other:?}");
                assert_eq!(agree(other, one), agrees, "{other:?} {one:?}");
            }
        };
        let (ran, unclear) = (ran.map(Some), unclear.map(Some));
        same(&ran, &ran, true);
        same(&unclear, &unclear, true);
        same(&never, &never, true);
        same(&[Some(Expired)], &ran, true);
        same(&[Some(Expired)], &unclear, true);
        same(&[Some(Expired)], &never, false);
        same(&ran, &unclear, false);
        same(&ran, &never, false);
        same(&unclear, &never, false);
    }

    #[test]
    fn every_difference_of_a_day_is_listed() {
        let here = [mark(1, Active), mark(2, Closed), mark(3, InDoubt), mark(5, Active)];
        let there = [mark(4, Unconfirmed), mark(3, Active), mark(2, Active), mark(5, Refused)];
        let expected = [
            difference(1, Some(Active), None),
            difference(3, Some(InDoubt), Some(Active)),
            difference(4, None, Some(Unconfirmed)),
            difference(5, Some(Active), Some(Refused)),
        ];
        assert_eq!(session_differences(&here, &there), expected);
        assert_eq!(session_differences(&here, &here), []);
        let equal = [mark(3, Calling), mark(5, Expired), mark(1, Closed), mark(2, Active)];
        assert_eq!(session_differences(&here, &equal), []);
        assert_eq!(
            DayMark::of_sessions(1, &mut here.clone()).hash,
            DayMark::of_sessions(1, &mut equal.clone()).hash
        );
    }

    #[test]
    fn what_began_on_another_day_at_the_other_side_is_no_difference() {
        let only_here = |phase| vec![difference(1, Some(phase), None)];
        assert_eq!(looked_up(only_here(Active), &[], &[mark(1, Closed)]), []);
        assert_eq!(looked_up(only_here(Active), &[], &[mark(2, Closed)]), only_here(Active));
        let refused = [difference(1, Some(Active), Some(Refused))];
        assert_eq!(looked_up(only_here(Active), &[], &[mark(1, Refused)]), refused);
        // The same two days as the partner sees them: its session is in the list of another day here.
        let only_there = vec![difference(1, None, Some(Active))];
        assert_eq!(looked_up(only_there.clone(), &[mark(1, InDoubt)], &[]), []);
        assert_eq!(looked_up(only_there.clone(), &[mark(2, Active)], &[]), only_there);
        let refused = [difference(1, Some(Refused), Some(Active))];
        assert_eq!(looked_up(only_there, &[mark(1, Refused)], &[]), refused);
    }

    #[test]
    fn what_goes_through_the_hub_at_one_side_is_no_difference() {
        let by_hub = [SessionMark { session: format!("{:036}", 1), phase: None }];
        assert_eq!(looked_up(vec![difference(1, Some(Active), None)], &[], &by_hub), []);
        assert_eq!(looked_up(vec![difference(1, None, Some(Active))], &by_hub, &[]), []);
    }
}
