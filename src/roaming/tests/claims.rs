//! One EVSE, several publishers: the view is a function of the feeds, and both are told.

use super::*;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};

/// A owns the prefix, B and C have it as a sub id.
fn three() -> Vec<Person> {
    vec![
        Person::new("CH*AAA", 1),
        Person::new("CH*BBB", 2).with_subs(&["CH*AAA"]),
        Person::new("CH*CCC", 3).with_subs(&["CH*AAA"]),
    ]
}

const EVSE: (&str, &str) = ("CH*AAA*E1", "x");

fn shown(world: &World, node: usize) -> Option<String> {
    world.view(node).get(&(Kind::Data, "CHAAAE1".to_owned())).map(|(party, _)| party.clone())
}

fn told(world: &World, node: usize) -> bool {
    world.core(node).view().conflicts.iter().any(|(_, key, ..)| key.as_str() == "CHAAAE1")
}

#[test]
fn the_order_of_arrival_does_not_matter_and_all_publishers_are_told() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::meshed(1, &three(), 1);
        for writer in order {
            world.pushed(writer, Kind::Data, Insert, &[EVSE]);
            world.run(300);
        }
        world.run(2_000);
        assert_eq!(shown(&world, 3).as_deref(), Some("CPO:CHAAA"), "{order:?}");
        let conflicts = world.core(3).view().conflicts;
        assert_eq!(conflicts.len(), 1);
        assert_eq!(conflicts[0].2.claimed_by.len(), 3);
        assert_eq!(world.core(3).view().view_evses, 1);
        for writer in order {
            assert!(told(&world, writer), "{writer} of {order:?}");
        }
        let late = world.add(&[]);
        world.connect(3, late);
        world.run(5_000);
        assert_eq!(world.view(late), world.view(3));
        world.blameless();
    }
}

#[test]
fn a_tie_hides_both_and_ends_with_a_delete() {
    let mut world = World::meshed(2, &three(), 1);
    world.pushed(1, Kind::Data, Insert, &[EVSE]);
    world.run(500);
    assert_eq!(shown(&world, 3).as_deref(), Some("CPO:CHBBB"));
    world.pushed(2, Kind::Data, Insert, &[EVSE]);
    world.run(1_000);
    assert_eq!(shown(&world, 3), None);
    assert!(told(&world, 1) && told(&world, 2));
    world.pushed(1, Kind::Data, Update, &[("CH*AAA*E1", "still hidden")]);
    world.run(500);
    assert_eq!(shown(&world, 3), None);
    world.pushed(0, Kind::Data, Insert, &[EVSE]);
    world.run(1_000);
    assert_eq!(shown(&world, 3).as_deref(), Some("CPO:CHAAA"), "the owner decides the tie");
    world.pushed(0, Kind::Data, Delete, &[EVSE]);
    world.run(1_000);
    assert_eq!(shown(&world, 3), None, "the tie is back");
    world.pushed(2, Kind::Data, Delete, &[EVSE]);
    world.run(1_000);
    assert_eq!(shown(&world, 3).as_deref(), Some("CPO:CHBBB"), "the last one is shown");
    assert!(world.core(3).view().conflicts.is_empty() && world.nodes[3].store.conflicts.is_empty());
    assert!(!told(&world, 1) && !told(&world, 2), "and told that it is over");
}

#[test]
fn a_conflict_survives_restarts_and_syncs() {
    let mut world = World::meshed(3, &three(), 1);
    world.load(0, "CH*AAA", 30, "a");
    world.pushed(1, Kind::Data, FullLoad, &[("CH*AAA*E0003", "b"), ("CH*AAA*E0099", "b")]);
    world.run(2_000);
    let before = world.view(3);
    assert_eq!(before.len(), 31);
    world.kill(3);
    world.start(3);
    assert_eq!(world.view(3), before);
    world.connect_all();
    world.run(5_000);
    assert_eq!(world.view(3), before);
    // The owner's feed arrives after the other's, in slices.
    for writer in [0, 1, 2] {
        world.kill(writer);
    }
    let late = world.add(&[]);
    world.connect(3, late);
    world.run(5_000);
    assert_eq!(world.view(late), before);
}

/// A notice is told, not proved: it may only concern what the hearer publishes.
#[test]
fn invented_conflicts_are_not_noted() {
    use crate::protocol::{ConflictNotice, Question};
    let mut world = World::meshed(4, &three(), 1);
    world.pushed(0, Kind::Data, Insert, &[EVSE]);
    for n in 0..100 {
        let notice = ConflictNotice {
            key: format!("CHAAAE9{n}"),
            kind: 0,
            shown: None,
            claimed_by: vec!["CPO:CHAAA".to_owned(), "CPO:CHBBB".to_owned()],
        };
        let bytes = Question::Conflict(notice).encode();
        world.deliver(0, Some(3), 1, Event::Ask { from: 3, request: RequestId(n), bytes });
    }
    world.run(1_000);
    assert!(world.core(0).view().conflicts.is_empty());
}
