//! When each change of a trace is replayed, and which due changes go into one push.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::generate::Dice;
use super::trace::{Change, Event};

/// Most changes of one push: what a backend sends at once when a whole operator comes back.
pub(super) const PUSH_CHANGES_MAX: usize = 2_000;

/// Slowest replay: real time stretched a thousandfold still ends.
const SPEED_MIN: f64 = 0.001;

/// Which random numbers these are.
const DICE_PURPOSE: u64 = 2_000;

/// A change and when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Since the begin of the replay.
    pub(super) after: Duration,
    /// Index into the trace's events.
    pub(super) event: usize,
}

/// What each operator replays, by the index of its node; each list ascends in time and keeps the order of the
/// trace.
pub(super) fn plan(events: &[Event], speed: f64, as_recorded: bool, seed: u64) -> BTreeMap<usize, Vec<Due>> {
    let speed = if speed.is_finite() { speed.max(SPEED_MIN) } else { SPEED_MIN };
    let Some(first) = events.first().map(|event| event.at_unix_s) else { return BTreeMap::new() };
    let gaps = gaps(events);
    let mut plan: BTreeMap<usize, Vec<Due>> = BTreeMap::new();
    // Within one sample the changes of one operator get ascending times in the order of the file.
    let mut samples: BTreeMap<(u64, usize), Vec<usize>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        samples.entry((event.at_unix_s, event.operator)).or_default().push(index);
    }
    let mut dice = Dice::new(seed, DICE_PURPOSE);
    for ((at_unix_s, operator), indexes) in samples {
        let gap_s = gaps.get(&at_unix_s).copied().unwrap_or(0);
        let mut shares: Vec<f64> = indexes.iter().map(|_| dice.share()).collect();
        shares.sort_by(f64::total_cmp);
        let since_s = at_unix_s.saturating_sub(first) as f64;
        for (event, share) in indexes.into_iter().zip(shares) {
            let spread_s = if as_recorded { 0.0 } else { share * gap_s as f64 };
            let after = Duration::from_secs_f64((since_s + spread_s) / speed);
            plan.entry(operator).or_default().push(Due { after, event });
        }
    }
    plan
}

/// The time from each sample to the next, in seconds; of the last one, that of the sample before.
fn gaps(events: &[Event]) -> BTreeMap<u64, u64> {
    let samples: BTreeSet<u64> = events.iter().map(|event| event.at_unix_s).collect();
    let mut gaps = BTreeMap::new();
    let mut last = 0;
    for (at, next) in samples.iter().zip(samples.iter().skip(1)) {
        last = next - at;
        gaps.insert(*at, last);
    }
    if let Some(at) = samples.last() {
        gaps.insert(*at, last);
    }
    gaps
}

/// How many of the due changes fit the next push: one action, each EVSE once, in order.
pub(super) fn group_length(due: &[Due], events: &[Event], now: Duration) -> usize {
    let mut keys = BTreeSet::new();
    let mut action = None;
    let fits = |due: &&Due| {
        let Some(event) = events.get(due.event) else { return false };
        let same = *action.get_or_insert(std::mem::discriminant(&event.change))
            == std::mem::discriminant(&event.change);
        due.after <= now && same && keys.insert(&event.key)
    };
    due.iter().take(PUSH_CHANGES_MAX).take_while(fits).count()
}

/// The action of a change (ActionType).
pub(super) fn action(change: &Change) -> chargemesh::oicp::push::ActionType {
    use chargemesh::oicp::push::ActionType;
    match change {
        Change::Insert(_) => ActionType::Insert,
        Change::Update(_) => ActionType::Update,
        Change::Delete => ActionType::Delete,
    }
}

#[cfg(test)]
mod tests {
    use chargemesh::oicp::evse_status::EvseStatus;
    use chargemesh::oicp::id::EvseId;

    use super::*;

    fn event(at_unix_s: u64, operator: usize, evse: u32, change: Change) -> Event {
        let evse_id = format!("CH*ABC*E{evse}");
        let key = EvseId::parse(&evse_id).unwrap().key().clone();
        Event { at_unix_s, operator, evse_id: evse_id.into(), key, change }
    }

    fn occupied() -> Change {
        Change::Update(EvseStatus::Occupied)
    }

    fn trace() -> Vec<Event> {
        let mut events: Vec<Event> =
            (0..50).map(|evse| event(1_000, evse as usize % 2, evse, occupied())).collect();
        events.extend((0..50).map(|evse| event(1_600, 0, evse, occupied())));
        events
    }

    #[test]
    fn changes_spread_over_the_gap_and_keep_their_order() {
        let events = trace();
        let plan = plan(&events, 60.0, false, 1);
        assert_eq!(plan.values().map(Vec::len).sum::<usize>(), events.len());
        for (operator, dues) in &plan {
            assert!(
                dues.windows(2).all(|pair| pair[0].after <= pair[1].after && pair[0].event < pair[1].event)
            );
            for due in dues {
                let event = &events[due.event];
                assert_eq!(event.operator, *operator);
                let begin = if event.at_unix_s == 1_000 { 0 } else { 10 };
                assert!(
                    due.after >= Duration::from_secs(begin) && due.after < Duration::from_secs(begin + 10)
                );
            }
        }
        assert_eq!(plan, super::plan(&events, 60.0, false, 1), "the same seed, the same plan");
        assert_ne!(plan, super::plan(&events, 60.0, false, 2));
    }

    #[test]
    fn as_recorded_keeps_a_sample_together() {
        let plan = plan(&trace(), 60.0, true, 1);
        let times: BTreeSet<Duration> = plan.values().flatten().map(|due| due.after).collect();
        assert_eq!(times.into_iter().collect::<Vec<_>>(), [Duration::ZERO, Duration::from_secs(10)]);
    }

    #[test]
    fn a_push_has_one_action_and_each_evse_once() {
        let events = [
            event(1, 0, 1, occupied()),
            event(1, 0, 2, occupied()),
            event(1, 0, 1, occupied()),
            event(1, 0, 3, Change::Delete),
        ];
        let dues: Vec<Due> =
            (0..4).map(|event| Due { after: Duration::from_secs(event as u64), event }).collect();
        let long = Duration::from_secs(60);
        assert_eq!(group_length(&dues, &events, long), 2, "the third is the first one's EVSE");
        assert_eq!(group_length(&dues[2..], &events, long), 1, "then another action");
        assert_eq!(group_length(&dues[3..], &events, long), 1);
        assert_eq!(group_length(&dues, &events, Duration::ZERO), 1, "the rest is not due");
        assert_eq!(group_length(&[], &events, long), 0);
    }

    #[test]
    fn senseless_speeds_are_no_panic() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!plan(&trace(), speed, false, 1).is_empty());
        }
    }
}
