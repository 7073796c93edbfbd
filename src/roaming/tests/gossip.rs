//! What reaches everybody, and the verdicts on what should not.

use super::people::{self, REGISTRAR, STRANGER, everybody, key, trust};
use super::*;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};
use crate::protocol::{Announcement, Change, ChangeSet, Head, SignedHead};

fn two() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1), Person::new("CH*BBB", 2)]
}

/// A head and changes as a test wants them, signed by a person.
fn forge(
    person: &Person,
    node: usize,
    kind: Kind,
    changes: &[(&str, &str)],
    change: impl Fn(&mut Head),
) -> Bytes {
    let wire: Vec<Change> = changes
        .iter()
        .map(|(key, value)| Change {
            key: (*key).to_owned(),
            at_unix_ms: START_UNIX_S * 1_000,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        })
        .collect();
    let set = ChangeSet::encode(&wire);
    let mut tree = Tree::default();
    for (index, change) in wire.iter().enumerate() {
        let Ok(key) = EvseKey::parse_canonical(&change.key) else { continue };
        let hash = records::hash(change.value.as_deref().unwrap());
        tree.put(Entry { key, seq: index as u64 + 1, at_unix_ms: change.at_unix_ms, hash });
    }
    let mut head = Head {
        feed: FeedId::public(person.party(), kind),
        epoch: person.epoch,
        incarnation: START_UNIX_S,
        seq: wire.len() as u64,
        count: tree.count(),
        root: tree.root(),
        created_unix_ms: START_UNIX_S * 1_000 + 1_000,
        base_seq: 0,
        body: set.digest(),
        operator_id: person.id.clone(),
        operator_name: "Name".to_owned(),
    };
    change(&mut head);
    let delegation = person.chain(&node_id(node)).delegation_hash();
    let signed = SignedHead::sign(&head, NETWORK, delegation, &person.message_key());
    Announcement { heads: vec![signed], changes: Some(set) }.encode()
}

/// Sends a message from `from` to `to` and gives the verdict.
fn verdict(world: &mut World, from: usize, to: usize, bytes: Bytes) -> Verdict {
    let before = world.nodes[to].verdicts.len();
    world.nodes[to].seen.clear();
    world.deliver(to, Some(from), 1, Event::Gossip { from, topic: Topic::Status, bytes });
    world.run(4_000);
    let of_sender = |(sender, _): &&(usize, Verdict)| *sender == from;
    let verdicts: Vec<_> = world.nodes[to].verdicts[before..].iter().filter(of_sender).collect();
    verdicts.last().expect("a verdict").1
}

#[test]
fn one_push_reaches_all_and_roots_are_equal() {
    let mut world = World::meshed(1, &two(), 3);
    world.load(0, "CH*AAA", 10, "first");
    world.run(1_000);
    world.agree(&[2, 3, 4], 10, 0);
    let root = world.feed(0, "CH*AAA", Kind::Data).unwrap().root;
    for reader in 2..5 {
        assert_eq!(world.feed(reader, "CH*AAA", Kind::Data).unwrap().root, root);
        let view = world.view(reader);
        let (party, value) = &view[&(Kind::Data, "CHAAAE0003".to_owned())];
        assert_eq!(party, "CPO:CHAAA");
        assert_eq!(value, r#"{"EvseID":"CH*AAA*E0003","AdditionalInfo":"first"}"#);
    }
    // The other operator's node holds its own feeds alone.
    assert!(world.feed(1, "CH*AAA", Kind::Data).is_none());
    world.blameless();
}

#[test]
fn bursts_of_statuses_arrive_whole() {
    let mut world = World::meshed(2, &two(), 2);
    world.load(0, "CH*AAA", 50, "x");
    let texts = ["Available", "Occupied", "OutOfService"];
    for round in 0..30 {
        let ids: Vec<String> = (0..50).map(|n| format!("CH*AAA*E{n:04}")).collect();
        let statuses: Vec<(&str, &str)> =
            ids.iter().enumerate().map(|(n, id)| (id.as_str(), texts[(n + round) % 3])).collect();
        let action = if round == 0 { FullLoad } else { Update };
        world.pushed(0, Kind::Status, action, &statuses);
        world.run(if round % 10 == 9 { 500 } else { 0 });
    }
    world.run(20_000);
    world.agree(&[2, 3], 50, 50);
    let shown = world.view(2)[&(Kind::Status, "CHAAAE0001".to_owned())].1.clone();
    assert_eq!(shown, texts[(1 + 29) % 3]);
    world.blameless();
}

#[test]
fn what_is_too_much_for_gossip_is_announced_as_a_head_and_pulled() {
    let mut world = World::meshed(3, &two(), 3);
    // Text that does not compress, in more records than fit four messages.
    let mut noise = ChaCha8Rng::seed_from_u64(5);
    let notes: Vec<(String, String)> = (0..400)
        .map(|n| {
            let note: String = (0..100).map(|_| format!("{:x}", noise.next_u64())).collect();
            (format!("CH*AAA*E{n:04}"), note)
        })
        .collect();
    let records: Vec<(&str, &str)> = notes.iter().map(|(id, note)| (id.as_str(), note.as_str())).collect();
    world.pushed(0, Kind::Data, FullLoad, &records);
    assert_eq!(world.nodes[0].published.len(), 1, "one head");
    world.run(10_000);
    world.agree(&[2, 3, 4], 400, 0);
    assert!(world.nodes[0].syncs_served > 0);
    world.blameless();
}

#[test]
fn forged_replayed_and_truncated_messages() {
    let (a, b) = (Person::new("CH*AAA", 1), Person::new("CH*BBB", 2));
    let mut world = World::meshed(4, &[a.clone(), b.clone()], 1);
    world.load(0, "CH*AAA", 1, "so that the reader knows who this is");
    world.run(1_000);
    let good = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available")], |_| {});
    for part in [&b"Name"[..], &good[good.len() - 1..]] {
        let mut forged = good.to_vec();
        let at = forged.windows(part.len()).rposition(|window| window == part).unwrap();
        forged[at] ^= 1;
        assert_eq!(verdict(&mut world, 1, 2, forged.into()), Verdict::Reject, "byte {at} changed");
    }
    let half = good.slice(..good.len() / 2);
    assert_eq!(verdict(&mut world, 1, 2, half), Verdict::Reject, "truncated");
    let huge = Bytes::from(vec![0; 70_000]);
    assert_eq!(verdict(&mut world, 1, 2, huge), Verdict::Reject, "oversized");
    assert_eq!(verdict(&mut world, 1, 2, good.clone()), Verdict::Accept);
    assert_eq!(verdict(&mut world, 1, 2, good), Verdict::Ignore, "replayed");
    let older = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Occupied")], |head| head.incarnation -= 1);
    assert_eq!(verdict(&mut world, 1, 2, older), Verdict::Ignore, "older");
    assert_eq!(world.feed(2, "CH*AAA", Kind::Status).unwrap().count, 1);
}

#[test]
fn out_of_scope_is_rejected() {
    let (a, b) = (Person::new("CH*AAA", 1), Person::new("CH*BBB", 2));
    let mut world = World::meshed(5, &[a.clone(), b.clone()], 1);
    let foreign = forge(&b, 1, Kind::Status, &[("CHAAAE1", "Available")], |_| {});
    assert_eq!(verdict(&mut world, 1, 2, foreign), Verdict::Reject, "an EVSE of somebody else");
    let other_party = forge(&b, 1, Kind::Status, &[("CHAAAE1", "Available")], |head| {
        head.feed = FeedId::public(people::party("CH*AAA"), Kind::Status);
    });
    assert_eq!(verdict(&mut world, 1, 2, other_party), Verdict::Reject, "a feed of somebody else");
    let wrong_body = forge(&b, 1, Kind::Status, &[("CHBBBE1", "Available")], |head| head.body = [7; 32]);
    assert_eq!(verdict(&mut world, 1, 2, wrong_body), Verdict::Reject, "other changes than signed");
    let not_json = forge(&b, 1, Kind::Data, &[("CHBBBE1", "{")], |_| {});
    assert_eq!(verdict(&mut world, 1, 2, not_json), Verdict::Reject, "no record");
    let future = forge(&b, 1, Kind::Status, &[("CHBBBE1", "Available")], |h| h.created_unix_ms += 600_000);
    assert_eq!(verdict(&mut world, 1, 2, future), Verdict::Ignore, "signed in the future");
    assert!(world.view(2).is_empty());
}

#[test]
fn another_network_is_rejected() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(6, std::slice::from_ref(&a), 1);
    let head = Head {
        feed: FeedId::public(a.party(), Kind::Data),
        epoch: 1,
        incarnation: 1,
        seq: 0,
        count: 0,
        root: Tree::default().root(),
        created_unix_ms: START_UNIX_S * 1_000,
        base_seq: 0,
        body: [0; 32],
        operator_id: "CH*AAA".to_owned(),
        operator_name: String::new(),
    };
    let signed = SignedHead::sign(&head, "other", a.chain(&node_id(0)).delegation_hash(), &a.message_key());
    let bytes = Announcement { heads: vec![signed], changes: None }.encode();
    assert_eq!(verdict(&mut world, 0, 1, bytes), Verdict::Reject);
}

#[test]
fn an_issuer_that_only_the_sender_trusts_is_ignored() {
    let a = Person::new("CH*AAA", 1).by(STRANGER);
    let mut world = World::new(7);
    world.add(&[a]);
    let trusting = world.add_with(&[], Config::default(), everybody());
    let swiss = world.add(&[]);
    world.connect_all();
    world.run(3_000);
    world.load(0, "CH*AAA", 3, "x");
    world.run(130_000);
    assert_eq!(world.view(trusting).len(), 3, "{:?}", world.nodes[trusting].reports);
    assert!(world.view(swiss).is_empty());
    assert!(!world.nodes[swiss].verdicts.is_empty());
    assert!(world.nodes[swiss].verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Ignore));
    world.blameless();
}

/// Two nodes that trust different parties do not ask each other for ever.
#[test]
fn different_trust_does_not_make_nodes_ask_each_other_back_for_ever() {
    let (a, b) = (Person::new("CH*AAA", 1), Person::new("CH*BBB", 2).by(STRANGER));
    let mut world = World::new(8);
    world.add(&[a]);
    world.add(&[b]);
    let one = world.add_with(&[], Config::default(), trust(&[(REGISTRAR, &["CH"])]));
    let other = world.add_with(&[], Config::default(), trust(&[(STRANGER, &["CH"])]));
    world.connect_all();
    world.run(3_000);
    world.load(0, "CH*AAA", 3, "x");
    world.load(1, "CH*BBB", 3, "x");
    world.run(5_000);
    world.kill(0);
    world.kill(1);
    world.run(200_000);
    let before = world.core(one).last_id + world.core(other).last_id;
    world.run(600_000);
    let asked = world.core(one).last_id + world.core(other).last_id - before;
    assert!(asked < 120, "{asked} questions in ten minutes");
}

#[test]
fn an_issuer_trusted_for_one_country_cannot_grant_another() {
    let a = Person::new("CH*AAA", 1).with_subs(&["DE*GEF"]);
    let mut world = World::meshed(9, &[a], 1);
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E1", "x"), ("DE*GEF*E1", "x")]);
    world.run(1_000);
    let view = world.view(1);
    let keys: Vec<&str> = view.keys().map(|(_, key)| key.as_str()).collect();
    assert_eq!(keys, ["CHAAAE1"]);
    let feed = world.feed(1, "CH*AAA", Kind::Data).unwrap();
    assert_eq!((feed.count, feed.shadowed, feed.in_sync), (2, 1, true), "it is in the feed, and hidden");
    world.blameless();
}

#[test]
fn an_unknown_delegation_is_asked_for_and_held() {
    let mut world = World::meshed(10, &two(), 1);
    world.load(0, "CH*AAA", 3, "x");
    world.run(500);
    assert_eq!(world.nodes[2].verdicts.iter().filter(|(_, v)| *v == Verdict::Accept).count(), 1);
    assert_eq!(world.view(2).len(), 3);
}

#[test]
fn a_delegation_that_nobody_knows_expires_and_is_ignored() {
    let stranger = Person::new("CH*CCC", 3);
    let mut world = World::meshed(11, &two(), 1);
    let message = forge(&stranger, 9, Kind::Status, &[("CHCCCE1", "Available")], |_| {});
    assert_eq!(verdict(&mut world, 1, 2, message), Verdict::Ignore);
    assert!(!world.core(2).speakers.is_waiting());
}

#[test]
fn the_messages_held_have_a_limit() {
    let mut world = World::meshed(12, &two(), 1);
    world.nodes[0].core = None;
    for n in 0..300u64 {
        let stranger = Person::new("CH*CCC", 3);
        let message = forge(&stranger, 9, Kind::Status, &[("CHCCCE1", "Available")], |h| h.incarnation += n);
        world.deliver(2, Some(0), 1, Event::Gossip { from: 0, topic: Topic::Status, bytes: message });
    }
    world.run(1);
    let ignored = world.nodes[2].verdicts.iter().filter(|(_, v)| *v == Verdict::Ignore).count();
    assert_eq!(ignored, 300 - 256);
    world.run(40_000);
    assert_eq!(world.nodes[2].gossip.len(), 0, "every message got its verdict");
    assert!(world.core(2).requests.is_empty());
}

/// A peer that answers "who is this?" with a false credential hurts nobody but itself.
#[test]
fn a_false_credential_in_an_answer_does_not_condemn_the_delegation() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(13, std::slice::from_ref(&a), 1);
    let mut chain = a.chain(&node_id(0));
    let delegation = chain.delegation_hash();
    chain.credential = Person::new("CH*BBB", 2).chain(&node_id(1)).credential;
    let now = world.now();
    let core = world.nodes[1].core.as_mut().unwrap();
    assert!(core.speakers.admit(chain, now).is_err());
    assert!(matches!(core.speakers.of(&delegation, now), speakers::Knowledge::Unknown));
    world.load(0, "CH*AAA", 1, "x");
    world.run(500);
    assert_eq!(world.view(1).len(), 1);
}

#[test]
fn equivocation_is_proved_and_freezes_the_feed_until_a_higher_incarnation() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(14, std::slice::from_ref(&a), 2);
    let one = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available")], |_| {});
    let two = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Occupied")], |_| {});
    assert_eq!(verdict(&mut world, 0, 1, one), Verdict::Accept);
    world.run(1_000);
    assert_eq!(verdict(&mut world, 0, 1, two), Verdict::Ignore);
    assert_eq!(world.nodes[1].store.equivocations.len(), 1);
    assert_eq!(world.feed(1, "CH*AAA", Kind::Status).unwrap().state, "equivocated");
    world.recover(1);
    assert_eq!(world.feed(1, "CH*AAA", Kind::Status).unwrap().state, "equivocated", "also after a restart");
    let more = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available"), ("CHAAAE2", "Occupied")], |_| {});
    assert_eq!(verdict(&mut world, 0, 1, more), Verdict::Ignore, "frozen");
    let changes = [("CHAAAE1", "Available"), ("CHAAAE2", "Reserved")];
    let later = forge(&a, 0, Kind::Status, &changes, |head| head.incarnation += 1);
    assert_eq!(verdict(&mut world, 0, 1, later), Verdict::Accept);
    assert_eq!(world.feed(1, "CH*AAA", Kind::Status).unwrap().state, "ok");
    assert_eq!(world.view(1).len(), 2);
    assert_eq!(world.nodes[1].penalised, []);
}

/// Two halves of the network saw two histories: comparing heads tells both.
#[test]
fn comparison_finds_an_equivocation() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(15, std::slice::from_ref(&a), 2);
    world.load(0, "CH*AAA", 1, "so that the readers know who this is");
    world.run(1_000);
    world.disconnect(1, 2);
    // The writer itself would take back what it is shown.
    world.nodes[0].core = None;
    let one = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available")], |_| {});
    let two = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Occupied")], |_| {});
    verdict(&mut world, 0, 1, one);
    verdict(&mut world, 0, 2, two);
    world.kill(0);
    world.connect(1, 2);
    world.run(10_000);
    for node in [1, 2] {
        assert_eq!(world.nodes[node].store.equivocations.len(), 1, "node {node}");
        assert_eq!(world.nodes[node].penalised, []);
    }
}

/// A writer that signs a root matching nothing: nobody else is blamed, and it is not asked for ever.
#[test]
fn a_root_that_matches_nothing_is_the_writers_fault() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(16, std::slice::from_ref(&a), 3);
    let wrong = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available")], |head| head.root = [9; 32]);
    assert_eq!(verdict(&mut world, 0, 1, wrong), Verdict::Ignore);
    assert_eq!(world.feed(1, "CH*AAA", Kind::Status).unwrap().state, "inconsistent");
    let before = world.core(1).last_id;
    world.run(600_000);
    let asked = world.core(1).last_id - before;
    assert!(asked < 200, "{asked} questions in ten minutes");
    world.blameless();
    let right = forge(&a, 0, Kind::Status, &[("CHAAAE1", "Available")], |head| head.incarnation += 1);
    assert_eq!(verdict(&mut world, 0, 1, right), Verdict::Accept);
    world.run(400_000);
    assert_eq!(world.feed(1, "CH*AAA", Kind::Status).unwrap().state, "ok");
}

/// What a later version says of kinds that we do not know is no offence.
#[test]
fn an_unknown_kind_is_ignored() {
    let a = Person::new("CH*AAA", 1);
    let mut world = World::meshed(17, std::slice::from_ref(&a), 1);
    #[derive(serde::Serialize)]
    struct Wire<'a>(&'a str, u8, u64, u64, u64, u64, Raw, u64, u64, Raw, &'a str, &'a str);
    #[derive(Clone, Copy)]
    struct Raw;
    impl serde::Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[0; 32])
        }
    }
    let wire = Wire("CPO:CHAAA", 9, 1, 1, 1, 1, Raw, START_UNIX_S * 1_000, 1, Raw, "CH*AAA", "");
    let mut payload = Vec::new();
    ciborium::into_writer(&wire, &mut payload).unwrap();
    let delegation = a.chain(&node_id(0)).delegation_hash();
    let purpose = crate::identity::Purpose::FeedHead;
    let sealed = crate::identity::seal(purpose, NETWORK, &delegation, &a.message_key(), &payload).unwrap();
    let signed = SignedHead::from_bytes(sealed.into()).unwrap();
    let bytes = Announcement { heads: vec![signed], changes: None }.encode();
    assert_eq!(verdict(&mut world, 0, 1, bytes), Verdict::Ignore);
}

#[test]
fn too_many_announcements_are_dropped_and_repaired() {
    let config = Config { announcements_per_s: 1, ..Config::default() };
    let mut world = World::new(18);
    world.add(&[Person::new("CH*AAA", 1)]);
    let reader = world.add_with(&[], config, swiss());
    world.connect_all();
    world.run(3_000);
    world.load(0, "CH*AAA", 1, "x");
    for round in 0..60 {
        let status = if round % 2 == 0 { "Available" } else { "Occupied" };
        let action = if round == 0 { Insert } else { Update };
        world.pushed(0, Kind::Status, action, &[("CH*AAA*E0000", status)]);
        world.run(10);
    }
    let ignored =
        |world: &World| world.nodes[reader].verdicts.iter().filter(|(_, v)| *v == Verdict::Ignore).count();
    assert!(ignored(&world) > 20, "{}", ignored(&world));
    world.run(10_000);
    world.agree(&[reader], 1, 1);
    assert_eq!(world.view(reader)[&(Kind::Status, "CHAAAE0000".to_owned())].1, "Occupied");
    world.blameless();
}

#[test]
fn heartbeats_confirm_and_stale_feeds_go() {
    let mut a = Person::new("CH*AAA", 1);
    a.days = 30;
    let mut world = World::meshed(19, &[a], 2);
    world.load(0, "CH*AAA", 2, "x");
    world.run(1_000);
    let confirmed = |world: &World| world.feed(1, "CH*AAA", Kind::Data).unwrap().confirmed_at_unix_ms;
    let first = confirmed(&world);
    world.run(320_000);
    assert!(confirmed(&world) > first + 200_000, "a heartbeat");
    assert_eq!(world.feed(1, "CH*AAA", Kind::Data).unwrap().seq, 2, "which changes nothing");
    world.kill(0);
    let beats = world.nodes[0].published.len();
    assert!(beats <= 5, "{beats} messages");
    for node in [1, 2] {
        world.nodes[node].config.stale_after_days = 1;
        world.nodes[node].core.as_mut().unwrap().config.stale_after_days = 1;
    }
    world.run(23 * 3_600_000);
    assert_eq!(world.view(1).len(), 2, "shown with its age");
    world.run(2 * 3_600_000);
    assert!(world.view(1).is_empty() && world.feed(1, "CH*AAA", Kind::Data).is_none());
    assert!(world.nodes[1].store.feeds.is_empty());
    // Somebody whose clock is behind still has it: it does not come back.
    world.run(3_600_000);
    assert!(world.feed(1, "CH*AAA", Kind::Data).is_none());
}

#[test]
fn deleted_data_takes_its_status_along() {
    let mut world = World::meshed(20, &two(), 1);
    world.pushed(0, Kind::Data, FullLoad, &[("CH*AAA*E1", "x"), ("CH*AAA*E2", "x")]);
    world.pushed(0, Kind::Status, FullLoad, &[("CH*AAA*E1", "Available"), ("CH*AAA*E2", "Available")]);
    world.run(1_000);
    world.pushed(0, Kind::Data, Delete, &[("CH*AAA*E1", "x")]);
    world.run(1_000);
    world.agree(&[2], 1, 1);
}

#[test]
fn seeds_make_keys() {
    assert_ne!(key(1, 1).public().as_bytes(), key(1, 2).public().as_bytes());
}
