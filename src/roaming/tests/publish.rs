//! What backends are answered: the four actions, the codes, the guard rail.

use super::*;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};

fn world(seed: u64) -> World {
    World::meshed(seed, &[Person::new("CH*AAA", 1), Person::new("CH*BBB", 2)], 1)
}

fn data(world: &World) -> Vec<String> {
    world.own(0, Kind::Data).into_keys().collect()
}

#[test]
fn insert_update_delete_and_full_load() {
    let mut world = world(1);
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E1", "1"), ("CH*AAA*E2", "1")]);
    let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E3", "1"), ("CH*AAA*E2", "1")]);
    assert_eq!(world.code(0, call), "009", "insert of what exists");
    assert_eq!(data(&world), ["CHAAAE1", "CHAAAE2"], "all or nothing");
    let call = world.push(0, Kind::Data, Update, &[("CH*AAA*E1", "2"), ("CH*AAA*E9", "2")]);
    assert_eq!(world.code(0, call), "009", "update of what is missing");
    assert!(world.own(0, Kind::Data)["CHAAAE1"].contains('1'));
    world.pushed(0, Kind::Data, Delete, &[("CH*AAA*E2", ""), ("CH*AAA*E9", "")]);
    assert_eq!(data(&world), ["CHAAAE1"], "delete of what is missing is done already");
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E5", "1")]);
    assert_eq!(data(&world), ["CHAAAE5"]);
    let seq = world.feed(0, "CH*AAA", Kind::Data).unwrap().seq;
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E5", "1")]);
    assert_eq!(world.feed(0, "CH*AAA", Kind::Data).unwrap().seq, seq, "what stays equal is no change");
    world.run(1_000);
    world.agree(&[0, 2], 1, 0);
}

#[test]
fn ids_that_are_twice_or_foreign_are_018() {
    let mut world = world(2);
    let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E1", "1"), ("ch*aaa*e1", "2")]);
    assert_eq!(world.code(0, call), "018", "twice, in two spellings");
    let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E1", "1"), ("CH*BBB*E1", "2")]);
    assert_eq!(world.code(0, call), "018", "foreign");
    let call = world.push(0, Kind::Status, FullLoad, &[("CH*BBB*E1", "Available")]);
    assert_eq!(world.code(0, call), "018", "a foreign status");
    assert!(data(&world).is_empty());
    assert!(world.nodes[0].published.is_empty());
}

#[test]
fn a_status_without_data_is_603() {
    let mut world = world(3);
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E1", "1")]);
    let records = [("CH*AAA*E1", "Available"), ("CH*AAA*E2", "Available")];
    let call = world.push(0, Kind::Status, FullLoad, &records);
    assert_eq!(world.code(0, call), "603");
    assert!(world.own(0, Kind::Status).is_empty());
    world.pushed(0, Kind::Status, FullLoad, &records[..1]);
    world.pushed(0, Kind::Status, Delete, &[("CH*AAA*E1", "Available")]);
    assert!(world.own(0, Kind::Status).is_empty());
}

#[test]
fn another_party_is_unknown() {
    let mut world = world(4);
    let call = world.push_for(0, people::party("CH*BBB"), Kind::Data, Insert, &[("CH*BBB*E1", "1")]);
    assert_ne!(world.code(0, call), "000");
}

#[test]
fn the_guard_rail_holds_repeats_join_and_a_confirm_does_it() {
    let mut world = world(5);
    world.load(0, "CH*AAA", 60, "x");
    world.pushed(0, Kind::Status, FullLoad, &[("CH*AAA*E0050", "Available")]);
    world.run(500);
    let few: Vec<String> = (0..40).map(|n| format!("CH*AAA*E{n:04}")).collect();
    let few: Vec<(&str, &str)> = few.iter().map(|id| (id.as_str(), "y")).collect();
    for _ in 0..3 {
        let call = world.push(0, Kind::Data, FullLoad, &few);
        assert_eq!(world.code(0, call), "009");
        let info = world.nodes[0].replies[&call].1.additional_info.clone().unwrap_or_default();
        assert!(info.contains("push confirm 1"), "{info}");
    }
    assert_eq!(data(&world).len(), 60, "nothing was done");
    let held = world.core(0).view().held;
    assert_eq!((held.len(), held[0].removes, held[0].of), (1, 20, 60));
    world.handle(0, Input::Confirm { call: CallId(99), held: 1 });
    assert_eq!(world.code(0, CallId(99)), "000");
    world.handle(0, Input::Confirm { call: CallId(98), held: 1 });
    assert_ne!(world.code(0, CallId(98)), "000", "once");
    world.run(1_000);
    world.agree(&[0, 2], 40, 0);
}

#[test]
fn small_removals_pass_and_an_empty_full_load_never_does() {
    let mut world = world(6);
    world.load(0, "CH*AAA", 5, "x");
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E0000", "x")]);
    assert_eq!(data(&world).len(), 1, "small operators change as they like");
    let call = world.push(0, Kind::Data, FullLoad, &[]);
    assert_eq!(world.code(0, call), "009");
    assert_eq!(data(&world).len(), 1);
    let held = world.core(0).view().held[0].id;
    world.handle(0, Input::Confirm { call: CallId(99), held });
    assert_eq!(world.code(0, CallId(99)), "000");
    assert!(data(&world).is_empty());
    world.run(500);
    world.agree(&[0, 2], 0, 0);
}

#[test]
fn held_pushes_have_a_limit_and_the_oldest_goes() {
    let mut world = world(7);
    world.load(0, "CH*AAA", 60, "x");
    for n in 0..20 {
        let note = format!("{n}");
        let call = world.push(0, Kind::Data, FullLoad, &[("CH*AAA*E0000", &note)]);
        assert_eq!(world.code(0, call), "009");
    }
    let held: Vec<u64> = world.core(0).view().held.iter().map(|held| held.id).collect();
    assert_eq!(held, (5..=20).collect::<Vec<u64>>());
}

/// A tolerant reader lets a name pass that no head can carry.
#[test]
fn a_long_operator_name_does_not_spoil_the_feed() {
    let mut world = world(8);
    let name = "ü".repeat(5_000);
    let text = format!(
        r#"{{"ActionType":"insert","OperatorEvseData":{{"OperatorID":"CH*AAA","OperatorName":"{name}",
            "EvseDataRecord":[{{"EvseID":"CH*AAA*E1"}}]}}}}"#
    );
    let body = Bytes::from(text);
    let push = read_evse_data(&body, Reading::Tolerant).unwrap();
    world.handle(0, Input::PushData { call: CallId(9), party: people::party("CH*AAA"), push, body });
    world.run(500);
    world.agree(&[0, 2], 1, 0);
    assert_eq!(world.feed(2, "CH*AAA", Kind::Data).unwrap().operator_name.chars().count(), 100);
    world.blameless();
}

#[test]
fn pushes_wait_while_the_node_starts_and_not_too_many_of_them() {
    let mut world = World::new(9);
    world.add(&[Person::new("CH*AAA", 1)]);
    let calls: Vec<CallId> = (0..70)
        .map(|n| world.push(0, Kind::Data, Insert, &[(format!("CH*AAA*E{n}").as_str(), "x")]))
        .collect();
    assert_eq!(world.nodes[0].replies.len(), 6, "the rest waits");
    world.run(3_000);
    let done = calls.iter().filter(|call| world.nodes[0].replies[call].0).count();
    assert_eq!((done, data(&world).len()), (64, 64));
}
