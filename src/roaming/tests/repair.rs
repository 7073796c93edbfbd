//! Gaps, losses, late joiners, liars.

use super::*;
use crate::oicp::push::ActionType::{Delete, Insert, Update};

fn one() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1)]
}

#[test]
fn a_gap_is_repaired() {
    let mut world = World::meshed(1, &one(), 2);
    world.load(0, "CH*AAA", 20, "x");
    world.run(500);
    world.loss_percent = 100;
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "lost")]);
    world.pushed(0, Kind::Data, Delete, &[("CH*AAA*E0002", "")]);
    world.run(200);
    world.loss_percent = 0;
    world.pushed(0, Kind::Data, Insert, &[("CH*AAA*E99", "after the gap")]);
    world.run(2_000);
    world.agree(&[0, 1, 2], 20, 0);
    world.blameless();
}

#[test]
fn what_gossip_lost_is_found_by_comparison() {
    let mut world = World::meshed(2, &one(), 2);
    world.run(200_000);
    world.loss_percent = 100;
    world.load(0, "CH*AAA", 20, "x");
    world.run(1_000);
    assert!(world.view(1).is_empty());
    world.run(400_000);
    world.agree(&[0, 1, 2], 20, 0);
    world.blameless();
}

#[test]
fn after_a_gap_is_suspected_it_is_found_soon() {
    let mut world = World::meshed(3, &one(), 1);
    world.run(200_000);
    world.loss_percent = 100;
    world.load(0, "CH*AAA", 5, "x");
    world.run(500);
    world.handle(1, Input::GapSuspected(node_id(0)));
    world.run(3_000);
    world.agree(&[0, 1], 5, 0);
}

#[test]
fn a_late_joiner_learns_the_feeds_of_offline_writers_from_any_single_node() {
    let people: Vec<Person> = (0..6).map(|n| Person::new(&format!("CH*A{n:02}"), n)).collect();
    let mut world = World::meshed(4, &people, 2);
    for (n, person) in people.iter().enumerate() {
        world.load(n, &person.id, 7, "x");
        world.pushed(n, Kind::Status, Insert, &[(&format!("{}*E0001", person.id), "Available")]);
    }
    world.run(3_000);
    (0..6).for_each(|writer| world.kill(writer));
    for single in [6, 7] {
        let late = world.add(&[]);
        world.connect(single, late);
        // The delegations end meanwhile: each head is judged at its own time.
        world.run(if single == 6 { 5_000 } else { 7 * 86_400_000 });
        world.agree(&[single, late], 42, 6);
        world.kill(late);
    }
    world.blameless();
}

/// The chain: writer, reader, reader, reader, each connected to the next alone.
#[test]
fn a_line_of_nodes_is_enough() {
    let mut world = World::new(5);
    world.add(&one());
    world.add_readers(4);
    (0..4).for_each(|node| world.connect(node, node + 1));
    world.run(3_000);
    world.load(0, "CH*AAA", 30, "x");
    world.run(2_000);
    world.agree(&[0, 1, 2, 3, 4], 30, 0);
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "y")]);
    world.run(1_000);
    world.agree(&[0, 1, 2, 3, 4], 30, 0);
    world.blameless();
}

fn alter(reply: &mut Reply) {
    if let Some(entry) = reply.entries.first_mut() {
        entry.at_unix_ms += 1;
    }
}

fn omit(reply: &mut Reply) {
    reply.entries.pop();
}

fn add(reply: &mut Reply) {
    let mut entry = reply.entries.last().cloned().unwrap();
    entry.value = entry.value.map(|value| {
        let text = String::from_utf8(value.to_vec()).unwrap();
        Bytes::from(text.replace(r#"","Addi"#, r#"Z","Addi"#))
    });
    entry.key.push('Z');
    reply.entries.push(entry);
}

fn foreign(reply: &mut Reply) {
    if let Some(entry) = reply.entries.first_mut() {
        entry.key = "CHBBBE1".to_owned();
        entry.value = Some(Bytes::from_static(br#"{"EvseID":"CH*BBB*E1"}"#));
    }
}

fn double(reply: &mut Reply) {
    if let Some(first) = reply.entries.first().cloned() {
        reply.entries.insert(0, first);
    }
}

/// Two liars and one honest server: the liars are penalised, the honest one is used.
#[test]
fn servers_of_false_snapshots_are_penalised_and_another_is_used() {
    let lies: [(&str, Lie); 5] =
        [("alter", alter), ("omit", omit), ("add", add), ("foreign", foreign), ("double", double)];
    for (name, lie) in lies {
        let mut world = World::meshed(6, &one(), 3);
        world.load(0, "CH*AAA", 20, "x");
        world.run(1_000);
        world.kill(0);
        (world.nodes[1].lie, world.nodes[2].lie) = (Some(lie), Some(lie));
        let late = world.add(&[]);
        (1..4).for_each(|server| world.connect(server, late));
        world.run(30_000);
        world.agree(&[3, late], 20, 0);
        let penalised: BTreeSet<usize> = world.nodes[late].penalised.iter().map(|(node, _)| *node).collect();
        assert!(!penalised.contains(&3), "{name}: an honest server is blamed");
        assert!(world.nodes[late].penalised.iter().all(|(_, why)| *why == Misdeed::FalseAnswer));
        // With liars alone nothing is taken.
        let later = world.add(&[]);
        (1..3).for_each(|server| world.connect(server, later));
        world.run(30_000);
        assert!(world.view(later).is_empty(), "{name}");
        let penalised: BTreeSet<usize> = world.nodes[later].penalised.iter().map(|(node, _)| *node).collect();
        assert_eq!(penalised, BTreeSet::from([1, 2]), "{name}");
        assert_ne!(
            world.feed(later, "CH*AAA", Kind::Data).unwrap().state,
            "inconsistent",
            "{name}: the writer"
        );
    }
}

/// A liar that answers "changes since" falsely is asked for all before it is blamed, and then blamed.
#[test]
fn a_liar_is_caught_on_small_repairs_too() {
    let mut world = World::meshed(7, &one(), 2);
    world.load(0, "CH*AAA", 20, "x");
    world.run(500);
    world.disconnect(0, 2);
    world.disconnect(1, 2);
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "y")]);
    world.run(500);
    world.nodes[1].lie = Some(alter);
    world.connect(1, 2);
    world.run(10_000);
    assert!(world.nodes[2].penalised.contains(&(1, Misdeed::FalseAnswer)));
    assert!(world.view(2)[&(Kind::Data, "CHAAAE0001".to_owned())].1.contains('x'), "nothing of it is taken");
    world.connect(0, 2);
    world.run(70_000);
    world.agree(&[0, 2], 20, 0);
}

#[test]
fn a_server_that_dies_in_the_middle_is_replaced() {
    for after_ms in (5..300).step_by(17) {
        let mut world = World::meshed(8, &one(), 2);
        world.load(0, "CH*AAA", 60, "x");
        world.run(1_000);
        world.kill(0);
        let late = world.add(&[]);
        world.connect(1, late);
        world.run(after_ms);
        world.connect(2, late);
        world.kill(1);
        world.run(40_000);
        world.agree(&[2, late], 60, 0);
        world.blameless();
    }
}

#[test]
fn garbage_on_a_sync_stream_is_an_offence() {
    let mut world = World::meshed(9, &one(), 1);
    world.load(0, "CH*AAA", 5, "x");
    world.run(500);
    let late = world.add(&[]);
    world.connect(1, late);
    for _ in 0..2_000 {
        world.run(1);
        let job = world.core(late).jobs.keys().next().copied();
        if let Some(sync) = job {
            world.handle(late, Input::SyncFrame { sync, bytes: Bytes::from_static(b"garbage") });
            break;
        }
    }
    assert_eq!(world.nodes[late].penalised, [(1, Misdeed::Malformed)]);
    world.run(30_000);
    world.agree(&[1, late], 5, 0);
}

/// Two nodes that are both behind do not feed each other the same for ever.
#[test]
fn nodes_that_are_both_behind_do_not_loop() {
    let mut world = World::meshed(10, &one(), 2);
    world.load(0, "CH*AAA", 5, "x");
    world.run(500);
    // Both hear a head whose records nobody can give them.
    let person = &world.nodes[0].people[0].clone();
    let mut head = world.core(0).feeds.values().next().unwrap().applied.clone().unwrap().head;
    head.seq += 5;
    (head.base_seq, head.body, head.root) = (head.seq, [0; 32], [3; 32]);
    let delegation = person.chain(&node_id(0)).delegation_hash();
    let signed = crate::protocol::SignedHead::sign(&head, NETWORK, delegation, &person.message_key());
    let bytes = crate::protocol::Announcement { heads: vec![signed], changes: None }.encode();
    world.kill(0);
    for to in [1, 2] {
        let event = Event::Gossip { from: 0, topic: Topic::Data, bytes: bytes.clone() };
        world.deliver(to, None, 1, event);
    }
    let before = world.nodes[1].syncs_served + world.nodes[2].syncs_served;
    world.run(300_000);
    let served = world.nodes[1].syncs_served + world.nodes[2].syncs_served - before;
    assert!((1..60).contains(&served), "{served} answers in five minutes");
    world.blameless();
}

/// Feeds that cannot be repaired do not keep others from it.
#[test]
fn hopeless_feeds_do_not_starve_others() {
    let people: Vec<Person> = (0..10).map(|n| Person::new(&format!("CH*A{n:02}"), n)).collect();
    let config = Config { syncs_max: 2, ..Config::default() };
    let mut world = World::new(11);
    world.add_each(&people);
    let full = world.add(&[]);
    world.connect_all();
    world.run(3_000);
    (0..10).for_each(|n| world.load(n, &people[n].id, 5, "x"));
    world.run(2_000);
    (0..10).for_each(|writer| world.kill(writer));
    // Nobody has the records of the first nine.
    for feed in world.nodes[full].store.feeds.values_mut().take(9) {
        feed.rows.pop_first();
    }
    let late = world.add_with(&[], config, swiss());
    world.connect(full, late);
    world.run(20_000);
    assert_eq!(world.nodes[late].store.view().len(), 5);
    assert!(world.feed(late, "CH*A09", Kind::Data).unwrap().in_sync);
}
