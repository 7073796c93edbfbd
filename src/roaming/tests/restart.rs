//! Crashes, restores, old backups: nothing acknowledged is lost.

use super::people::{REGISTRAR, STRANGER, trust};
use super::*;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};

fn one() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1)]
}

#[test]
fn a_restart_keeps_everything() {
    let mut world = World::meshed(1, &one(), 2);
    world.load(0, "CH*AAA", 8, "x");
    world.pushed(0, Kind::Status, FullLoad, &[("CH*AAA*E0001", "Available")]);
    world.run(1_000);
    let before = world.view(1);
    for node in [0, 1] {
        world.kill(node);
        world.start(node);
    }
    assert_eq!(world.view(1), before, "a reader, before it meets anybody");
    assert_eq!(world.feed(0, "CH*AAA", Kind::Data).unwrap().count, 8);
    world.connect_all();
    world.run(3_000);
    let served = world.nodes[2].syncs_served + world.nodes[1].syncs_served;
    world.pushed(0, Kind::Status, Update, &[("CH*AAA*E0001", "Occupied")]);
    world.run(1_000);
    world.agree(&[0, 1, 2], 8, 1);
    assert_eq!(
        world.nodes[2].syncs_served + world.nodes[1].syncs_served,
        served,
        "nothing had to be repaired"
    );
    let feed = world.feed(1, "CH*AAA", Kind::Status).unwrap();
    assert_eq!(feed.seq, 2, "seq goes on over incarnations");
    assert!(feed.incarnation > START_UNIX_S);
    world.blameless();
}

#[test]
fn a_renewed_delegation_keeps_the_feed() {
    let mut world = World::meshed(2, &one(), 1);
    world.load(0, "CH*AAA", 4, "x");
    world.run(1_000);
    world.kill(0);
    world.nodes[0].people[0].epoch = 2;
    world.start(0);
    world.connect(0, 1);
    world.run(4_000);
    assert_eq!(world.feed(0, "CH*AAA", Kind::Data).unwrap().count, 4);
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E9", "new")]);
    world.run(1_000);
    world.agree(&[0, 1], 5, 0);
    world.blameless();
}

#[test]
fn a_writer_with_an_old_backup_takes_its_feed_back_before_it_writes() {
    let mut world = World::meshed(3, &one(), 2);
    world.load(0, "CH*AAA", 5, "old");
    world.run(500);
    let backup = world.nodes[0].store.clone();
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "acknowledged")]);
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E7", "acknowledged")]);
    world.pushed(0, Kind::Data, Delete, &[("CH*AAA*E0002", "")]);
    world.run(1_000);
    world.kill(0);
    world.nodes[0].store = backup;
    world.start(0);
    world.connect_all();
    // A push at once: it waits.
    let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E8", "after")]);
    assert!(!world.nodes[0].replies.contains_key(&call));
    world.run(10_000);
    assert_eq!(world.code(0, call), "000");
    world.agree(&[0, 1, 2], 6, 0);
    let own = world.own(0, Kind::Data);
    assert!(own["CHAAAE0001"].contains("acknowledged") && own["CHAAAE7"].contains("acknowledged"));
    assert!(!own.contains_key("CHAAAE0002"));
    assert!(world.nodes[0].reports.iter().any(|report| matches!(report, Report::OwnFeedBehind { .. })));
    world.blameless();
}

/// The first to answer may know nothing of us, and the first connection may take its time.
#[test]
fn a_push_waits_for_the_peers_that_know() {
    let mut world = World::meshed(13, &[Person::new("CH*AAA", 1), Person::new("CH*BBB", 2)], 1);
    world.load(0, "CH*AAA", 5, "old");
    world.run(500);
    let backup = world.nodes[0].store.clone();
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E7", "acknowledged")]);
    world.run(500);
    world.kill(0);
    world.nodes[0].store = backup;
    world.start(0);
    world.connect(0, 1);
    let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E8", "after")]);
    world.run(1_500);
    world.connect(0, 2);
    world.run(10_000);
    assert_eq!(world.code(0, call), "000");
    world.agree(&[0, 2], 7, 0);
}

#[test]
fn a_writer_with_an_empty_backup_takes_its_feeds_back_even_if_it_is_alone_for_long() {
    let mut world = World::meshed(4, &one(), 1);
    world.load(0, "CH*AAA", 12, "x");
    world.pushed(0, Kind::Status, FullLoad, &[("CH*AAA*E0001", "Available")]);
    world.run(1_000);
    world.kill(0);
    world.nodes[0].store = Store::default();
    world.start(0);
    // Nobody to ask: it is ready after its time, and beats no heart that would outdo the others.
    world.run(700_000);
    world.connect(0, 1);
    world.run(10_000);
    world.agree(&[0, 1], 12, 1);
    world.pushed(0, Kind::Status, Update, &[("CH*AAA*E0001", "Occupied")]);
    world.run(1_000);
    world.agree(&[0, 1], 12, 1);
}

#[test]
fn an_old_backup_alone_for_long_outdoes_nobody() {
    let mut world = World::meshed(5, &one(), 1);
    world.load(0, "CH*AAA", 3, "old");
    world.run(500);
    let backup = world.nodes[0].store.clone();
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E7", "acknowledged")]);
    world.run(500);
    world.kill(0);
    world.nodes[0].store = backup;
    world.start(0);
    world.run(700_000);
    world.connect(0, 1);
    world.run(10_000);
    world.agree(&[0, 1], 4, 0);
}

#[test]
fn a_crash_in_the_middle_of_slices_is_found_by_the_root_and_repaired() {
    for crash_after_ms in (1..400).step_by(7) {
        let mut world = World::meshed(6, &one(), 1);
        world.load(0, "CH*AAA", 40, "x");
        world.run(500);
        let late = world.add(&[]);
        world.connect(1, late);
        world.run(crash_after_ms);
        world.kill(late);
        world.start(late);
        world.connect(1, late);
        world.run(30_000);
        world.agree(&[1, late], 40, 0);
        world.blameless();
    }
}

/// The same for a writer that takes its own feed back.
#[test]
fn a_crash_while_the_own_feed_is_taken_back_is_repaired() {
    for crash_after_ms in (1..400).step_by(13) {
        let mut world = World::meshed(7, &one(), 1);
        world.load(0, "CH*AAA", 40, "x");
        world.run(500);
        world.kill(0);
        world.nodes[0].store = Store::default();
        world.start(0);
        world.connect(0, 1);
        world.run(crash_after_ms);
        world.kill(0);
        world.start(0);
        world.connect(0, 1);
        world.run(500);
        let call = world.push(0, Kind::Data, Insert, &[("CH*AAA*E99", "x")]);
        world.run(60_000);
        assert_eq!(world.code(0, call), "000", "after {crash_after_ms} ms");
        world.agree(&[0, 1], 41, 0);
    }
}

#[test]
fn a_lost_directory_of_a_writer_is_rebuilt_from_the_ledger() {
    let mut world = World::meshed(8, &one(), 1);
    world.load(0, "CH*AAA", 5, "x");
    world.run(500);
    world.kill(0);
    world.nodes[0].store.feeds.clear();
    world.start(0);
    world.connect(0, 1);
    world.run(5_000);
    world.agree(&[0, 1], 5, 0);
    assert_eq!(world.nodes[1].syncs_served, 0);
}

#[test]
fn an_issuer_that_is_trusted_no_longer_takes_its_feeds_along() {
    let people = [Person::new("CH*AAA", 1), Person::new("CH*BBB", 2).by(STRANGER).with_subs(&["CH*AAA"])];
    let both = trust(&[(REGISTRAR, &["CH"]), (STRANGER, &["CH"])]);
    let mut world = World::new(9);
    world.add_each(&people);
    let reader = world.add_with(&[], Config::default(), both.clone());
    world.connect_all();
    world.run(3_000);
    world.load(0, "CH*AAA", 2, "a");
    world.pushed(1, Kind::Data, FullLoad, &[("CH*AAA*E0001", "b"), ("CH*AAA*E5", "b"), ("CH*BBB*E1", "b")]);
    world.run(2_000);
    assert_eq!(world.view(reader).len(), 4);
    world.kill(reader);
    world.nodes[reader].trust = Some(swiss());
    world.start(reader);
    world.run(500);
    assert_eq!(world.view(reader).len(), 2, "what hung on it is gone");
    assert!(world.feed(reader, "CH*BBB", Kind::Data).is_none());
    world.kill(reader);
    world.nodes[reader].trust = Some(both);
    world.start(reader);
    world.connect_all();
    world.run(10_000);
    assert_eq!(world.view(reader).len(), 4, "and back again");
}

/// A country that is trusted now, and was not when the records came.
#[test]
fn records_that_were_hidden_are_shown_when_their_issuer_is_trusted() {
    let mut world = World::meshed(10, &[Person::new("CH*AAA", 1).with_subs(&["DE*GEF"])], 1);
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E1", "x"), ("DE*GEF*E1", "x")]);
    world.run(1_000);
    assert_eq!(world.view(1).len(), 1);
    world.kill(1);
    world.nodes[1].trust = Some(trust(&[(REGISTRAR, &["CH", "DE"])]));
    world.start(1);
    world.run(500);
    assert_eq!(world.view(1).len(), 2);
    world.kill(1);
    world.nodes[1].trust = Some(swiss());
    world.start(1);
    world.run(500);
    assert_eq!(world.view(1).len(), 1);
}

/// A credential that lost a prefix: the writer deletes what it may no longer publish.
#[test]
fn records_under_a_lost_prefix_leave_the_feed() {
    let mut world = World::meshed(11, &[Person::new("CH*AAA", 1).with_subs(&["CH*SUB"])], 2);
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E1", "x"), ("CH*SUB*E1", "x")]);
    world.run(1_000);
    world.agree(&[1, 2], 2, 0);
    world.kill(0);
    let person = &mut world.nodes[0].people[0];
    (person.subs, person.epoch) = (Vec::new(), 2);
    world.start(0);
    world.connect_all();
    world.run(10_000);
    world.agree(&[0, 1, 2], 1, 0);
    world.blameless();
}

#[test]
fn held_pushes_survive() {
    let mut world = World::meshed(12, &one(), 1);
    world.load(0, "CH*AAA", 20, "x");
    let call = world.push(0, Kind::Data, FullLoad, &[]);
    assert_eq!(world.code(0, call), "009");
    world.kill(0);
    world.start(0);
    world.run(3_000);
    let held = world.core(0).view().held;
    assert_eq!((held.len(), held[0].removes, held[0].of), (1, 20, 20));
    world.handle(0, Input::Confirm { call: CallId(77), held: held[0].id });
    assert_eq!(world.code(0, CallId(77)), "000");
    assert!(world.own(0, Kind::Data).is_empty());
}

/// What peers still send to the core before it is not taken for answers to what the new one asked.
#[test]
fn a_core_made_anew_in_the_middle_of_repairs_blames_nobody() {
    for after_ms in (1..120).step_by(3) {
        let people = [Person::new("CH*AAA", 1), Person::new("CH*BBB", 2)];
        let mut world = World::meshed(14, &people, 1);
        world.load(0, "CH*AAA", 40, "x");
        world.load(1, "CH*BBB", 40, "x");
        world.run(500);
        let late = world.add(&[]);
        world.connect(2, late);
        world.run(after_ms);
        world.recover(late);
        world.run(30_000);
        world.agree(&[2, late], 80, 0);
        world.blameless();
    }
}
