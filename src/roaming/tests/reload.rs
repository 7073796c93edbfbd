//! Trust, delegations and keys change while everything goes on, and clocks that cannot be right.

use super::people::{REGISTRAR, STRANGER, everybody, trust};
use super::*;
use crate::oicp::push::ActionType::{FullLoad, Update};
use crate::protocol::Verdict;

fn one() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1)]
}

fn newest(world: &World, node: usize, party: &str) -> crate::protocol::Head {
    let feed_id = FeedId::public(people::party(party), Kind::Data);
    world.core(node).feeds[&feed_id].newest.as_ref().unwrap().head.clone()
}

/// 200 pushes a second, and every quarter of a second another key.
fn rotate_under_load(seed: u64, loss_percent: u64) -> World {
    let mut world = World::meshed(seed, &one(), 3);
    world.load(0, "CH*AAA", 20, "x");
    let ids: Vec<String> = (0..20).map(|n| format!("CH*AAA*E{n:04}")).collect();
    let all: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "Available")).collect();
    world.pushed(0, Kind::Status, FullLoad, &all);
    world.run(500);
    world.loss_percent = loss_percent;
    let texts = ["Available", "Occupied"];
    for push in 0..200 {
        if push % 50 == 49 {
            world.nodes[0].people[0].rotate();
            assert_eq!(world.reload(0), Ok(()));
        }
        world.pushed(0, Kind::Status, Update, &[(ids[push % 20].as_str(), texts[push / 20 % 2])]);
        world.run(5);
    }
    world.loss_percent = 0;
    world
}

impl World {
    /// Loads the node's people and trust list anew while it runs.
    pub(super) fn reload(&mut self, index: usize) -> Result<(), ReloadError> {
        self.calls += 1;
        let call = CallId(self.calls);
        let node = &self.nodes[index];
        let parties = node.people.iter().map(|person| person.ours(&node_id(index))).collect();
        let (trust, policy) = (node.trust.clone().unwrap(), node.policy.clone());
        self.handle(index, Input::Reloaded { call, trust, parties, policy });
        self.nodes[index].reloads.remove(&call).expect("an answer")
    }
}

#[test]
fn keys_rotate_under_load_and_nothing_is_lost() {
    for loss_percent in [0, 30] {
        let mut world = rotate_under_load(1, loss_percent);
        world.run(20_000);
        world.agree(&[0, 1, 2, 3], 20, 20);
        for reader in 1..4 {
            assert_eq!(newest(&world, reader, "CH*AAA").epoch, 5, "four rotations");
            assert_eq!(world.core(reader).records_refused, 0);
            let accepted = world.nodes[reader].verdicts.iter().filter(|(_, v)| *v == Verdict::Accept).count();
            assert!(loss_percent > 0 || accepted > 50, "gossip went on: {accepted}");
        }
        world.blameless();
    }
}

#[test]
fn the_new_delegation_is_told_at_once_and_survives_a_restart() {
    let mut world = World::meshed(2, &one(), 2);
    world.load(0, "CH*AAA", 3, "x");
    world.run(1_000);
    let published = world.nodes[0].published.len();
    world.nodes[0].people[0].rotate();
    assert_eq!(world.reload(0), Ok(()));
    assert_eq!(world.nodes[0].published.len(), published + 1, "one heartbeat");
    world.run(300);
    let head = newest(&world, 1, "CH*AAA");
    assert_eq!((head.epoch, head.seq, head.count), (2, 3, 3));
    // The same again is no news.
    assert_eq!(world.reload(0), Ok(()));
    assert_eq!(world.nodes[0].published.len(), published + 1);
    world.recover(0);
    world.run(4_000);
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "after")]);
    world.run(1_000);
    world.agree(&[0, 1, 2], 3, 0);
    world.blameless();
}

#[test]
fn what_cannot_be_taken_changes_nothing() {
    let mut world = World::meshed(3, &one(), 1);
    world.load(0, "CH*AAA", 3, "x");
    let party = people::party;
    let before = world.nodes[0].people.clone();
    world.nodes[0].people.push(Person::new("CH*BBB", 2));
    let added = ReloadError::Parties { party: party("CH*BBB"), what: "added" };
    assert_eq!(world.reload(0), Err(added));
    world.nodes[0].people.clear();
    let removed = ReloadError::Parties { party: party("CH*AAA"), what: "removed" };
    assert_eq!(world.reload(0), Err(removed));

    world.nodes[0].people = before.clone();
    world.nodes[0].people[0].rotation = 9;
    let same_epoch = ReloadError::DelegationOlder { party: party("CH*AAA"), epoch: 1, running: 1 };
    assert_eq!(world.reload(0), Err(same_epoch));

    world.nodes[0].people[0].rotate();
    for (seq, days, countries, why) in [
        (0, 9, &["CH"], ReloadError::TrustListOlder { seq: 0, running: 1 }),
        (1, 9, &["DE"], ReloadError::TrustListSameVersion { seq: 1 }),
        (2, 0, &["CH"], ReloadError::TrustListExpired { until_unix_s: START_UNIX_S }),
    ] {
        let mut list = trust(&[(REGISTRAR, countries)]);
        (list.seq, list.valid_until_unix_s) = (seq, START_UNIX_S + days * 86_400);
        world.nodes[0].trust = Some(list);
        assert_eq!(world.reload(0), Err(why));
    }
    assert_eq!(world.core(0).view().parties[0].epoch, 1, "nor is the good half of it taken");
    world.pushed(0, Kind::Data, Update, &[("CH*AAA*E0001", "after")]);
    world.run(1_000);
    world.agree(&[0, 1], 3, 0);
}

/// An issuer is dropped from the list and comes back. What it vouched for leaves the view, who else
/// claims the same EVSE is shown, and both come back as they were.
#[test]
fn a_new_trust_list_counts_at_once() {
    let (a, b) = (Person::new("CH*AAA", 1).by(STRANGER), Person::new("CH*BBB", 2).with_subs(&["CH*AAA"]));
    let mut world = World::new(4);
    world.add_each(&[a, b]);
    let reader = world.add_with(&[], Config::default(), everybody());
    world.connect_all();
    world.run(3_000);
    world.load(0, "CH*AAA", 5, "of A");
    world.pushed(1, Kind::Data, FullLoad, &[("CH*BBB*E1", "x"), ("CH*AAA*E0001", "of B")]);
    world.run(2_000);
    let both = world.view(reader);
    let owner = |world: &World| world.view(reader)[&(Kind::Data, "CHAAAE0001".to_owned())].0.clone();
    assert_eq!((both.len(), owner(&world)), (6, "CPO:CHAAA".to_owned()));

    let next = |world: &mut World, issuers: &[(u8, &[&str])], seq| {
        world.nodes[reader].trust = Some(TrustList { seq, ..trust(issuers) });
        assert_eq!(world.reload(reader), Ok(()));
    };
    next(&mut world, &[(REGISTRAR, &["*"])], 2);
    assert_eq!((world.view(reader).len(), owner(&world)), (2, "CPO:CHBBB".to_owned()));
    world.load(0, "CH*AAA", 5, "of A, of no use");
    world.run(10_000);
    assert!(world.feed(reader, "CH*AAA", Kind::Data).is_none(), "ignored");
    next(&mut world, &[(REGISTRAR, &["*"]), (STRANGER, &["*"])], 3);
    world.run(10_000);
    assert_eq!((world.view(reader).len(), owner(&world)), (6, "CPO:CHAAA".to_owned()));
    // Fewer countries: the main id of B is vouched for no more.
    next(&mut world, &[(REGISTRAR, &["DE"]), (STRANGER, &["*"])], 4);
    assert_eq!(world.view(reader).len(), 5);
    world.blameless();
}

/// A repair that is under way when trust changes is finished under the new list.
#[test]
fn a_repair_under_way_is_judged_anew() {
    for still_trusted in [true, false] {
        let person = Person::new("CH*AAA", 1).by(STRANGER).with_subs(&["DE*GEF"]);
        let mut world = World::new(5);
        world.add(&[person]);
        world.run(3_000);
        let ids: Vec<String> = (0..3_000).map(|n| format!("CH*AAA*E{n}")).collect();
        let mut records: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "x")).collect();
        records.push(("DE*GEF*E1", "x"));
        world.pushed(0, Kind::Data, FullLoad, &records);
        let reader = world.add_with(&[], Config::default(), everybody());
        world.connect_all();
        let busy = |world: &World| !world.core(reader).jobs.is_empty();
        while !busy(&world) {
            world.run(1);
        }
        world.run(15);
        let issuer = if still_trusted { STRANGER } else { REGISTRAR };
        world.nodes[reader].trust = Some(TrustList { seq: 2, ..trust(&[(issuer, &["CH"])]) });
        assert_eq!(world.reload(reader), Ok(()));
        assert_eq!(busy(&world), still_trusted);
        world.run(10_000);
        let expected = if still_trusted { 3_000 } else { 0 };
        assert_eq!(world.view(reader).len(), expected, "the sub id counts no more");
        world.blameless();
    }
}

#[test]
fn nothing_is_signed_while_three_parties_agree_that_the_clock_is_wrong() {
    let ids = ["CH*AAA", "CH*BBB", "CH*CCC"];
    // Five minutes ahead is more than a head may be: what is refused for it is heard all the same.
    for (parties, behind_ms, wrong) in
        [(3, 90_000, true), (3, 600_000, true), (2, 90_000, false), (3, 50_000, false)]
    {
        let mut world = World::new(6);
        for (id, number) in ids.iter().zip(1..).take(parties) {
            world.add(&[Person::new(id, number)]);
        }
        let config = Config { replicate: Replicate::All, ..Config::default() };
        let ours = world.add_with(&[Person::new("CH*DDD", 9)], config, swiss());
        world.nodes[ours].ahead_ms = -behind_ms;
        world.connect_all();
        world.run(3_000);
        world.load(ours, "CH*DDD", 1, "nobody was heard yet");
        for (node, id) in ids.iter().enumerate().take(parties) {
            world.load(node, id, 2, "x");
        }
        world.run(6_000);
        let told = |world: &World| {
            let clock = |report: &&Report| matches!(report, Report::Clock { state } if state.is_wrong());
            world.nodes[ours].reports.iter().filter(clock).count()
        };
        let call = world.push(ours, Kind::Data, Update, &[("CH*DDD*E0000", "now")]);
        assert_eq!(world.code(ours, call), if wrong { "320" } else { "000" }, "{parties} {behind_ms}");
        assert_eq!(told(&world), usize::from(wrong));
        let published = world.nodes[ours].published.len();
        world.run(400_000);
        assert_eq!(world.nodes[ours].published.len() == published, wrong, "no heartbeat either");
        world.nodes[ours].ahead_ms = 0;
        world.run(6_000);
        let call = world.push(ours, Kind::Data, Update, &[("CH*DDD*E0000", "later")]);
        assert_eq!(world.code(ours, call), "000", "the clock was set right");
        assert!(world.nodes[ours].published.len() > published);
        world.blameless();
    }
}

#[test]
fn who_only_publishes_asks_what_time_it_is_and_is_told_by_nobody_but_the_party_itself() {
    for (ahead_ms, wrong) in [(-90_000, true), (90_000, true), (20_000, false)] {
        let mut world = World::new(7);
        // None of them says anything by gossip.
        for (id, number) in ["CH*AAA", "CH*BBB", "CH*CCC"].into_iter().zip(1..) {
            world.add(&[Person::new(id, number).emp()]);
        }
        let ours = world.add(&[Person::new("CH*DDD", 9)]);
        assert!(!world.core(ours).replicates_all());
        world.nodes[ours].ahead_ms = ahead_ms;
        world.connect_all();
        world.run(15_000);
        let off_ms = world.core(ours).view().clock.off_ms().expect("they were asked");
        assert!((off_ms + ahead_ms).abs() < 1_000, "{off_ms}");
        assert_eq!(world.core(ours).may_sign(), !wrong);
        let call = world.push(ours, Kind::Data, FullLoad, &[("CH*DDD*E1", "x")]);
        assert_eq!(world.code(ours, call), if wrong { "320" } else { "000" });
        // It stays so for as long as they are there, and not much longer.
        world.run(3_600_000);
        assert_eq!(world.core(ours).may_sign(), !wrong);
        world.nodes[ours].ahead_ms = 0;
        world.run(70_000);
        assert!(world.core(ours).may_sign(), "the clock was set right");
        world.blameless();
    }
}

#[test]
fn a_time_that_was_told_to_somebody_else_or_before_says_nothing() {
    let mut world = World::new(8);
    let (teller, ours) =
        (world.add(&[Person::new("CH*AAA", 1).emp()]), world.add(&[Person::new("CH*DDD", 9)]));
    world.connect_all();
    world.run(3_000);
    let now = world.now();
    let asked = crate::identity::MessageId([7; 16]);
    let (us, them) = (world.nodes[ours].people[0].party(), node_id(ours));
    let ask = |world: &mut World, of: &NodeId, id| {
        world.nodes[teller].core.as_mut().unwrap().tell_time(of, id, us.clone(), now)
    };
    let right = ask(&mut world, &them, asked);
    let to_another_node = ask(&mut world, &node_id(7), asked);
    let to_another_question = ask(&mut world, &them, crate::identity::MessageId([8; 16]));
    let core = world.nodes[ours].core.as_mut().unwrap();
    core.clock_check = Default::default();
    let heard = |core: &Roaming| core.clock_check.heard_since(0);
    for answer in [to_another_node, to_another_question, crate::protocol::Answer::NotFound] {
        core.time_told(&node_id(teller), asked, &answer, now);
        assert_eq!(heard(core), 0, "{answer:?}");
    }
    core.time_told(&node_id(7), asked, &right, now);
    assert_eq!(heard(core), 0, "passed on by somebody who is not the party's node");
    core.time_told(&node_id(teller), asked, &right, now);
    assert_eq!(heard(core), 1);
}

#[test]
fn another_policy_decides_from_then_on_and_after_a_restart() {
    let (mut world, cpo_node, emp_node) = super::agreements::two();
    let partner = super::agreements::emp();
    let decided = |world: &World| world.decision(cpo_node, &partner, crate::identity::Service::Cdr);
    assert_eq!(decided(&world), Decision::NoContract);
    let whom = Whom { party: Some(partner.party()), ..Whom::default() };
    for (allow, expected) in [(true, Decision::Allowed), (false, Decision::Denied)] {
        let rule = Rule { whom: whom.clone(), services: BTreeSet::new(), allow };
        world.nodes[cpo_node].policy = Policy { rules: vec![rule] };
        assert_ne!(decided(&world), expected, "not yet");
        assert_eq!(world.reload(cpo_node), Ok(()));
        assert_eq!(decided(&world), expected);
        world.run(3_000);
        let kept = world.nodes[cpo_node].partners.kept.last().cloned().unwrap_or_default();
        assert_eq!(kept.contains(&emp_node), allow, "whoever may do something is kept");
        world.recover(cpo_node);
        assert_eq!(decided(&world), expected);
        world.run(3_000);
    }
}
