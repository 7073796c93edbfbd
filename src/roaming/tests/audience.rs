//! Feeds of closed audiences: their members keep up, and nobody else learns that there is one.

use super::*;
use crate::oicp::id::EvseId;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};
use crate::protocol::{Announcement, Answer, Audience, Have, HeadMark, Members, Question};
use crate::roaming::{Evses, VisibilityRule};

const CPO: usize = 0;
const MEMBER: usize = 1;
const OTHER: usize = 2;

/// What an EVSE of the rule is called, and what would give it away in bytes.
const CLOSED: &str = "CH*AAA*E1";
const PUBLIC: &str = "CH*AAA*E2";

fn emp(id: &str, number: u8) -> Person {
    Person::new(id, number).emp()
}

fn people() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1), emp("CH*EMA", 2), emp("CH*EMB", 3)]
}

fn rules(evses: &[&str], members: &[&Person]) -> Visibility {
    let key = |id: &&str| Evses::One(EvseId::parse(id).unwrap().key().clone());
    let members = Members::new(members.iter().map(|person| person.party())).unwrap();
    Visibility { rules: vec![VisibilityRule { evses: evses.iter().map(key).collect(), members }] }
}

/// The CPO, the member, another EMP and a reader without party, all connected; the CPO has published one EVSE
/// for the member alone and one for everybody.
fn four(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add_each(&people());
    world.add_readers(1);
    world.with_rules(CPO, rules(&[CLOSED], &[&people()[MEMBER]]));
    world.connect_all();
    world.run(4_000);
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "a"), (PUBLIC, "b")]);
    world.pushed(CPO, Kind::Status, FullLoad, &[(CLOSED, "Available"), (PUBLIC, "Occupied")]);
    world.run(200);
    world
}

impl World {
    fn with_rules(&mut self, node: usize, rules: Visibility) {
        self.kill(node);
        self.nodes[node].visibility = rules;
        self.start(node);
    }

    /// What a party of a node sees of one EVSE: note and status.
    fn seen(&self, node: usize, person: usize, evse_id: &str) -> (Option<String>, Option<String>) {
        self.check(node);
        let view = self.nodes[node].store.view_of(&people()[person].party());
        let key = EvseId::parse(evse_id).unwrap().key().to_string();
        let of = |kind| view.get(&(kind, key.clone())).map(|(_, value)| value.clone());
        let note = |text: String| text.split('"').nth_back(1).map(str::to_owned);
        (of(Kind::Data).and_then(note), of(Kind::Status))
    }

    /// Nothing at a node tells of the closed EVSE or of the member.
    fn knows_nothing(&self, node: usize) {
        let (core, store) = (self.core(node), &self.nodes[node].store);
        assert!(core.feeds.keys().all(|id| id.audience.is_public()), "feeds of {node}");
        let kept = format!("{:?} {:?} {:?}", store.feeds, store.ledger, store.conflicts);
        assert!(!kept.contains("AAAE1") && !kept.contains("AAA*E1"), "kept by {node}: {kept}");
    }

    /// Nothing closed was ever gossiped by anybody.
    fn gossip_is_clean(&self) {
        let key = people()[CPO].message_key().public();
        for (node, (topic, bytes)) in self
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(index, node)| node.published.iter().map(move |p| (index, p)))
        {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("CHEMA"), "{node} names the member on {topic:?}");
            let Ok(announcement) = Announcement::decode(bytes) else { continue };
            for head in &announcement.heads {
                assert!(head.verify(NETWORK, &key).unwrap().feed.audience.is_public(), "{node} on {topic:?}");
            }
            let changes = announcement.changes.map(|set| set.decode().unwrap()).unwrap_or_default();
            assert!(changes.iter().all(|change| change.key != "CHAAAE1" || change.value.is_none()));
        }
    }

    /// What a node answers to another.
    fn answer(&mut self, node: usize, from: usize, question: &Question) -> Answer {
        let now = self.now();
        let (from, ask, bytes) = (node_id(from), AskId(u64::MAX), question.encode());
        let core = self.nodes[node].core.as_mut().unwrap();
        let actions = core.handle(Input::Asked { from, ask, bytes }, now).actions;
        let answers = actions.into_iter().filter_map(|action| match action {
            Action::Answer { bytes, .. } => Some(Answer::decode(&bytes).unwrap()),
            _ => None,
        });
        answers.last().unwrap()
    }

    fn closed_feed(&self, node: usize) -> FeedId {
        let closed =
            self.core(node).feeds.keys().find(|id| !id.audience.is_public() && id.kind == Kind::Data);
        closed.unwrap().clone()
    }
}

fn some(note: &str, status: &str) -> (Option<String>, Option<String>) {
    (Some(note.to_owned()), Some(status.to_owned()))
}

const NOTHING: (Option<String>, Option<String>) = (None, None);

#[test]
fn what_a_rule_covers_reaches_its_members_at_once_and_nobody_else() {
    let mut world = four(1);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), some("a", "Available"));
    assert_eq!(world.seen(CPO, MEMBER, CLOSED), some("a", "Available"), "a pull at the publisher's");
    assert_eq!(world.seen(CPO, OTHER, CLOSED), NOTHING);
    assert_eq!(world.seen(MEMBER, OTHER, CLOSED), NOTHING, "another party at the member's node");
    for node in [MEMBER, OTHER, 3] {
        assert_eq!(world.seen(node, node.min(OTHER), PUBLIC), some("b", "Occupied"), "{node}");
    }
    world.pushed(CPO, Kind::Status, Update, &[(CLOSED, "OutOfService")]);
    world.run(100);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), some("a", "OutOfService"), "told, not found by comparing");
    // Long enough for every comparison and heartbeat.
    world.run(700_000);
    world.pushed(CPO, Kind::Data, Update, &[(CLOSED, "c")]);
    world.run(100);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), some("c", "OutOfService"));
    for node in [OTHER, 3] {
        world.knows_nothing(node);
        let reports = &world.nodes[node].reports;
        let told = |report: &Report| matches!(report, Report::Refused { why: Refusal::NotHeld, .. });
        assert!(!reports.iter().any(told), "{node} was told what is not for it: {reports:?}");
    }
    world.gossip_is_clean();
    world.blameless();
}

#[test]
fn pushes_go_through_both_feeds_as_if_they_were_one() {
    let mut world = four(2);
    let call = world.push(CPO, Kind::Data, Insert, &[(CLOSED, "again")]);
    assert_eq!(world.code(CPO, call), "009", "it exists");
    let call = world.push(CPO, Kind::Status, Update, &[("CH*AAA*E3", "Available")]);
    assert_eq!(world.code(CPO, call), "603", "no data for it");
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "a"), (PUBLIC, "b")]);
    assert_eq!(world.core(CPO).feeds[&world.closed_feed(CPO)].seq(), 1, "what stays is no change");
    world.pushed(CPO, Kind::Data, Delete, &[(CLOSED, "a")]);
    world.run(200);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), NOTHING, "its status went along");
    world.pushed(CPO, Kind::Data, Insert, &[(CLOSED, "back")]);
    world.pushed(CPO, Kind::Data, FullLoad, &[(PUBLIC, "b")]);
    world.run(200);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), NOTHING);
    world.gossip_is_clean();
    world.blameless();
}

#[test]
fn who_is_no_member_gets_nothing_even_by_name() {
    let mut world = four(3);
    let feed = world.closed_feed(CPO);
    let absent = FeedId {
        audience: Audience::Named(Members::new([people()[OTHER].party()]).unwrap()),
        ..feed.clone()
    };
    // A node may say that it speaks for the member; the chain names another.
    let stolen = Question::Introduce(vec![people()[MEMBER].chain(&node_id(MEMBER))]);
    for holder in [CPO, MEMBER] {
        world.answer(holder, OTHER, &stolen);
        world.run(2_000);
        for asker in [OTHER, 3] {
            let by_name = |feed: &FeedId| Question::HeadsOf(vec![HeadMark::nothing(feed)]);
            let (closed, none) = (
                world.answer(holder, asker, &by_name(&feed)),
                world.answer(holder, asker, &by_name(&absent)),
            );
            assert_eq!(closed, Answer::Heads(Vec::new()));
            assert_eq!(closed, none, "no difference to a feed that does not exist");
            let Answer::Heads(all) = world.answer(holder, asker, &Question::Heads(Vec::new())) else {
                panic!()
            };
            let key = people()[CPO].message_key().public();
            assert_eq!(all.len(), 2);
            assert!(all.iter().all(|head| head.verify(NETWORK, &key).unwrap().feed.audience.is_public()));
            assert!(!world.core(holder).may_see(&node_id(asker), &feed, world.now()));
            let request = SyncRequest { feed: feed.clone(), have: Have::Nothing };
            world.serve(holder, asker, SyncId(1), &request.encode());
        }
    }
    let Answer::Heads(member) = world.answer(CPO, MEMBER, &Question::Heads(Vec::new())) else { panic!() };
    assert_eq!(member.len(), 4);
    assert!(world.core(CPO).may_see(&node_id(MEMBER), &feed, world.now()));
    world.run(10_000);
    world.knows_nothing(OTHER);
    world.knows_nothing(3);
    world.disconnect(CPO, MEMBER);
    world.run(10);
    assert!(!world.core(CPO).may_see(&node_id(MEMBER), &feed, world.now()), "gone: it has to say so again");
}

#[test]
fn a_member_catches_up_at_another_member_and_over_its_own_restart() {
    let mut world = World::new(4);
    world.add_each(&people());
    let third = world.add(&[emp("CH*EMC", 4)]);
    world.with_rules(CPO, rules(&[CLOSED], &[&people()[MEMBER], &emp("CH*EMC", 4)]));
    world.connect_all();
    world.run(4_000);
    world.kill(third);
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "a"), (PUBLIC, "b")]);
    world.run(1_000);
    world.kill(CPO);
    world.start(third);
    world.connect_all();
    world.run(10_000);
    assert_eq!(world.nodes[third].store.view_of(&emp("CH*EMC", 4).party()).len(), 2, "the writer is away");
    world.knows_nothing(OTHER);
    world.kill(third);
    world.start(third);
    assert_eq!(world.core(third).feeds.len(), 2, "it still holds both");
    world.start(CPO);
    world.connect_all();
    world.run(5_000);
    world.pushed(CPO, Kind::Data, Update, &[(CLOSED, "c")]);
    world.run(200);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED).0.as_deref(), Some("c"));
    world.knows_nothing(OTHER);
    world.gossip_is_clean();
    world.blameless();
}

#[test]
fn a_changed_rule_moves_what_is_there_already() {
    let mut world = World::meshed(5, &people(), 1);
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "a"), (PUBLIC, "b")]);
    world.pushed(CPO, Kind::Status, FullLoad, &[(CLOSED, "Available"), (PUBLIC, "Occupied")]);
    world.run(500);
    assert_eq!(world.seen(OTHER, OTHER, CLOSED), some("a", "Available"));
    world.with_rules(CPO, rules(&[CLOSED], &[&people()[MEMBER]]));
    world.connect_all();
    world.run(10_000);
    assert_eq!(world.seen(OTHER, OTHER, CLOSED), NOTHING, "it left the public feed");
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED), some("a", "Available"));
    assert_eq!(world.seen(OTHER, OTHER, PUBLIC), some("b", "Occupied"));
    world.with_rules(CPO, Visibility::default());
    world.connect_all();
    world.run(10_000);
    for node in [MEMBER, OTHER] {
        assert_eq!(world.seen(node, node, CLOSED), some("a", "Available"), "public again at {node}");
    }
    let closed = world.closed_feed(MEMBER);
    assert_eq!(world.core(MEMBER).feeds[&closed].tree.count(), 0);
    world.blameless();
}

#[test]
fn what_is_closed_is_refused_as_gossip_and_by_those_whom_it_is_not_for() {
    let mut world = four(6);
    let feed = world.closed_feed(CPO);
    let signed = world.core(CPO).feeds[&feed].applied.clone().unwrap().signed;
    let announcement = Announcement { heads: vec![signed], changes: None };
    for node in [MEMBER, OTHER] {
        let gossip = GossipId(77);
        world.nodes[node].gossip.insert(gossip, (CPO, Topic::Data, announcement.encode()));
        let bytes = announcement.encode();
        world.handle(node, Input::Announced { from: node_id(CPO), gossip, topic: Topic::Data, bytes });
        assert_eq!(world.nodes[node].verdicts.last(), Some(&(CPO, Verdict::Reject)), "never passed on");
    }
    world.answer(OTHER, CPO, &Question::Announce(Box::new(announcement)));
    world.run(5_000);
    world.knows_nothing(OTHER);
}

#[test]
fn a_better_claim_is_shown_to_members_and_tells_others_nothing() {
    let mut world = World::new(7);
    world.add_each(&people());
    let rival = world.add(&[Person::new("CH*BBB", 4).with_subs(&["CH*AAA"])]);
    world.with_rules(CPO, rules(&[CLOSED], &[&people()[MEMBER]]));
    world.connect_all();
    world.run(4_000);
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "owner's"), (PUBLIC, "b")]);
    world.pushed(rival, Kind::Data, FullLoad, &[(CLOSED, "rival's")]);
    world.run(2_000);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED).0.as_deref(), Some("owner's"));
    assert_eq!(world.seen(MEMBER, OTHER, CLOSED).0.as_deref(), Some("rival's"));
    assert_eq!(world.seen(OTHER, OTHER, CLOSED).0.as_deref(), Some("rival's"));
    for node in 0..4 {
        assert!(world.core(node).view().conflicts.is_empty(), "{node} tells nobody");
    }
    world.pushed(rival, Kind::Data, FullLoad, &[("CH*AAA*E9", "x")]);
    world.run(2_000);
    assert_eq!(world.seen(OTHER, OTHER, CLOSED), NOTHING);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED).0.as_deref(), Some("owner's"));
}

#[test]
fn a_member_whom_nobody_vouches_for_any_more_hears_nothing_more() {
    let mut world = World::new(8);
    let both = people::trust(&[(people::REGISTRAR, &["CH"]), (people::STRANGER, &["CH"])]);
    let member = people()[MEMBER].clone().by(people::STRANGER);
    world.add_with(&[people()[CPO].clone()], Config::default(), both.clone());
    world.add_with(std::slice::from_ref(&member), Config::default(), both);
    world.with_rules(CPO, rules(&[CLOSED], &[&member]));
    world.connect_all();
    world.run(4_000);
    world.pushed(CPO, Kind::Data, FullLoad, &[(CLOSED, "a"), (PUBLIC, "b")]);
    world.run(200);
    let feed = world.closed_feed(CPO);
    assert!(world.core(CPO).may_see(&node_id(MEMBER), &feed, world.now()));
    world.nodes[CPO].trust = Some(TrustList { seq: 2, ..swiss() });
    world.reload(CPO).unwrap();
    world.run(2_000);
    assert!(!world.core(CPO).may_see(&node_id(MEMBER), &feed, world.now()));
    world.pushed(CPO, Kind::Data, Update, &[(CLOSED, "later"), (PUBLIC, "later")]);
    world.run(30_000);
    assert_eq!(world.seen(MEMBER, MEMBER, CLOSED).0.as_deref(), Some("a"));
    assert_eq!(world.seen(MEMBER, MEMBER, PUBLIC).0.as_deref(), Some("later"));
}
