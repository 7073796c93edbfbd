//! Reconciliation: what two sides that should hold the same charge detail records, and know the same sessions, do not
//! agree on.

mod books;
mod sessions;

use std::collections::BTreeMap;

pub(super) use books::Books;
pub use books::{BooksAnswer, BooksFailure, BooksServeId};
pub use sessions::{SessionDifference, looked_up, session_differences};

use crate::protocol::{CdrMark, DayMark, MarkState};

/// Most differences of one comparison that are listed; more are counted.
pub const DIFFERENCES_MAX: usize = 10_000;

/// Where the two sides differ about one session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Only this node has the record.
    OnlyHere(CdrMark),
    /// Only the partner's node has it.
    OnlyThere(CdrMark),
    /// Both have it, and it stands otherwise.
    State {
        /// As it is here.
        here: CdrMark,
        /// What the partner's node says.
        there: MarkState,
    },
}

impl Difference {
    /// The session.
    #[must_use]
    pub fn session(&self) -> &str {
        let (Difference::OnlyHere(mark) | Difference::OnlyThere(mark) | Difference::State { here: mark, .. }) =
            self;
        &mark.session
    }
}

/// The days on which two sides differ, in order. A day without records, or sessions, is not in the lists.
#[must_use]
pub fn differing_days(here: &[DayMark], there: &[DayMark]) -> Vec<u32> {
    let by_day =
        |days: &[DayMark]| -> BTreeMap<u32, DayMark> { days.iter().map(|day| (day.day, *day)).collect() };
    let (here, there) = (by_day(here), by_day(there));
    let mut days: Vec<u32> = here.keys().chain(there.keys()).copied().collect();
    days.sort_unstable();
    days.dedup();
    days.retain(|day| here.get(day).map(|day| day.hash) != there.get(day).map(|day| day.hash));
    days
}

/// What two lists of one day do not have in common, by session.
#[must_use]
pub fn differences(here: &[CdrMark], there: &[CdrMark]) -> Vec<Difference> {
    fn by_name(marks: &[CdrMark]) -> BTreeMap<(&str, [u8; 32]), &CdrMark> {
        marks.iter().map(|mark| ((mark.session.as_str(), mark.hash), mark)).collect()
    }
    let (here, there) = (by_name(here), by_name(there));
    let mut found = Vec::new();
    for (name, mark) in &here {
        match there.get(name) {
            None => found.push(Difference::OnlyHere((*mark).clone())),
            Some(other) if other.state != mark.state => {
                found.push(Difference::State { here: (*mark).clone(), there: other.state });
            }
            Some(_) => {}
        }
    }
    let missing = there.iter().filter(|(name, _)| !here.contains_key(*name));
    found.extend(missing.map(|(_, mark)| Difference::OnlyThere((*mark).clone())));
    found.sort_by(|one, other| one.session().cmp(other.session()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u8, state: MarkState) -> CdrMark {
        CdrMark { session: format!("{number:036}"), hash: [number; 32], state }
    }

    #[test]
    fn every_difference_is_listed_and_nothing_else() {
        let here = [mark(1, MarkState::Good), mark(2, MarkState::Good), mark(3, MarkState::Good)];
        let mut other = mark(3, MarkState::Good);
        other.hash = [99; 32];
        let there =
            [other.clone(), mark(4, MarkState::Rejected), mark(1, MarkState::Rejected), here[1].clone()];
        let found = differences(&here, &there);
        let expected = [
            Difference::State { here: here[0].clone(), there: MarkState::Rejected },
            Difference::OnlyHere(here[2].clone()),
            Difference::OnlyThere(other),
            Difference::OnlyThere(mark(4, MarkState::Rejected)),
        ];
        assert_eq!(found, expected);
        assert_eq!(differences(&here, &here), []);
    }

    #[test]
    fn days_differ_by_their_hash_and_by_being_there() {
        let day = |day, hash| DayMark { day, records: 1, hash: [hash; 32] };
        let here = [day(1, 1), day(2, 2), day(4, 4)];
        let there = [day(1, 1), day(2, 9), day(5, 5)];
        assert_eq!(differing_days(&here, &there), [2, 4, 5]);
        assert_eq!(differing_days(&here, &here), [0; 0]);
        assert_eq!(differing_days(&[], &[]), [0; 0]);
    }

    #[test]
    fn any_two_lists_become_equal_by_their_differences() {
        bolero::check!().with_type::<(Vec<(u8, bool)>, Vec<(u8, bool)>)>().for_each(|(one, other)| {
            let marks = |list: &[(u8, bool)]| -> Vec<CdrMark> {
                let state = |good| if good { MarkState::Good } else { MarkState::Rejected };
                let list: BTreeMap<u8, bool> = list.iter().copied().collect();
                list.into_iter().map(|(number, good)| mark(number, state(good))).collect()
            };
            let (here, there) = (marks(one), marks(other));
            let mut merged = here.clone();
            for difference in differences(&here, &there) {
                match difference {
                    Difference::OnlyHere(gone) => merged.retain(|mark| *mark != gone),
                    Difference::OnlyThere(missing) => merged.push(missing),
                    Difference::State { here, there } => {
                        merged.iter_mut().filter(|mark| **mark == here).for_each(|mark| mark.state = there);
                    }
                }
            }
            let (mut merged, mut there) = (merged, there);
            assert_eq!(DayMark::of(1, &mut merged), DayMark::of(1, &mut there));
        });
    }
}
