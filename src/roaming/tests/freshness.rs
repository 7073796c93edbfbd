//! What goes on and what does not, when what is known of revocations is old.

use super::agreements::{cpo, emp, two};
use super::charging::{CARD, YES, agreed as agreed_to_charge, remote_stop};
use super::people::{REGISTRAR, key, trust};
use super::*;
use crate::identity::{Dead, Pin, Service, StatusList, Tombstone};
use crate::oicp::push::ActionType::{FullLoad, Update};
use crate::protocol::{Answer, SessionOperation};
use crate::roaming::PartyStanding;

const HOUR_MS: u64 = 3_600_000;

fn list(world: &World, seq: u64, hours: u64) -> Bytes {
    let now = world.now().unix_s();
    let valid_until_unix_s = now + hours * 3_600;
    let list = StatusList { seq, created_unix_s: now, valid_until_unix_s, revoked: Vec::new() };
    list.issue(NETWORK, &key(100, REGISTRAR)).unwrap().into()
}

impl World {
    fn hand_in(&mut self, node: usize, bytes: Bytes) {
        self.calls += 1;
        let call = CallId(self.calls);
        self.handle(node, Input::HandIn { call, bytes });
        assert_eq!(self.code(node, call), "000");
    }

    fn pin(&mut self, node: usize, person: &Person) {
        let org_key = key(101, person.number).public();
        let pin = Pin { party: person.party(), org_key, sub_ids: Default::default() };
        self.nodes[node].trust.as_mut().unwrap().pins.push(pin);
        assert_eq!(self.reload(node), Ok(()));
    }

    fn still(&self, node: usize, partner: &Person, operation: Operation) -> FailMode {
        self.core(node).may_still(&partner.party(), operation, self.now())
    }

    fn may_agree(&self, node: usize, partner: &Person) -> Result<(), Stale> {
        self.still(node, partner, Operation::AgreementStart).refused().map_or(Ok(()), Err)
    }
}

#[test]
fn a_node_that_is_cut_off_starts_nothing_new_but_with_pinned_partners() {
    let (mut world, cpo_node, emp_node) = two();
    assert_eq!(world.still(cpo_node, &emp(), Operation::RemoteStart), FailMode::GoesOn);
    assert_eq!(world.may_agree(cpo_node, &emp()), Ok(()));
    let id = world.offer(emp_node, &cpo(), 30);
    world.run(1_000);
    world.disconnect(cpo_node, emp_node);
    world.run(HOUR_MS - 10_000);
    assert_eq!(world.may_agree(cpo_node, &emp()), Ok(()), "not yet");
    world.run(120_000);
    let Err(why @ Stale::NotCompared { ago_s: 3_600.. }) = world.may_agree(cpo_node, &emp()) else {
        panic!()
    };
    assert_eq!(world.still(cpo_node, &emp(), Operation::RemoteStart), FailMode::Refused(why));
    assert_eq!(world.still(cpo_node, &emp(), Operation::RemoteStop), FailMode::GoesOnWarned(why));
    let told = |report: &&Report| matches!(report, Report::RevocationsStale { ago_s: Some(_) });
    assert_eq!(world.nodes[cpo_node].reports.iter().filter(told).count(), 1, "told once");
    assert!(world.core(cpo_node).trust_view(world.now()).is_stale);
    let refused = world.settle(cpo_node, AgreementAct::Accept(id));
    assert!(matches!(refused, Err(AgreementRefusal::Stale { .. })), "{refused:?}");
    world.pin(cpo_node, &emp());
    assert_eq!(world.settle(cpo_node, AgreementAct::Accept(id)), Ok(id));
    assert_eq!(world.may_agree(cpo_node, &emp()), Ok(()));
    // A restart is no news of anybody.
    world.kill(emp_node);
    world.start(emp_node);
    assert_eq!(world.may_agree(emp_node, &cpo()), Err(Stale::NeverCompared));
    world.connect(cpo_node, emp_node);
    world.run(3_000);
    assert_eq!(world.may_agree(emp_node, &cpo()), Ok(()));
    let over = |report: &&Report| matches!(report, Report::RevocationsStale { ago_s: None });
    assert_eq!(world.nodes[cpo_node].reports.iter().filter(over).count(), 1);
}

#[test]
fn an_overdue_status_list_stops_new_starts_and_not_the_directory() {
    let (mut world, cpo_node, emp_node) = two();
    world.hand_in(cpo_node, list(&world, 1, 2));
    world.run(1_000);
    assert_eq!(world.may_agree(emp_node, &cpo()), Ok(()));
    world.run(2 * HOUR_MS);
    let overdue = world.may_agree(emp_node, &cpo()).unwrap_err();
    assert!(matches!(overdue, Stale::ListOverdue { .. }), "{overdue}");
    // The directory goes on, also with a feed that was never seen before.
    world.pushed(cpo_node, Kind::Data, FullLoad, &[("CH*ABC*E1", "x")]);
    world.run(1_000);
    world.pushed(cpo_node, Kind::Data, Update, &[("CH*ABC*E1", "y")]);
    world.run(1_000);
    world.agree(&[cpo_node, emp_node], 1, 0);
    assert_eq!(world.still(emp_node, &cpo(), Operation::Directory), FailMode::GoesOnWarned(overdue));
    assert_eq!(world.still(emp_node, &cpo(), Operation::Cdr), FailMode::GoesOnWarned(overdue));
    // The next list comes, and everything is as before.
    world.hand_in(cpo_node, list(&world, 2, 24));
    world.run(1_000);
    assert_eq!(world.may_agree(emp_node, &cpo()), Ok(()));
}

#[test]
fn a_peer_that_withholds_what_it_names_was_not_heard() {
    let mut world = World::new(4);
    let (node, liar) = (world.add(&[cpo()]), world.add(&[]));
    world.kill(liar);
    let asked = |world: &World| {
        let about = |asking: &Asking| matches!(asking.about, Pending::Registry | Pending::Objects { .. });
        let requests = &world.core(node).requests;
        *requests.iter().rfind(|(_, asking)| about(asking)).unwrap().0
    };
    for (answers, expected) in [
        (vec![Answer::Names(vec![[7; 16]]), Answer::Objects(Vec::new())], Err(Stale::NeverCompared)),
        (vec![Answer::Unsupported], Err(Stale::NeverCompared)),
        (vec![Answer::Names(Vec::new())], Ok(())),
    ] {
        world.handle(node, Input::PeerUp(node_id(liar)));
        for answer in answers {
            let (request, from, bytes) = (asked(&world), node_id(liar), answer.encode());
            world.handle(node, Input::Answered { from, request, bytes });
        }
        assert_eq!(world.may_agree(node, &emp()), expected);
        world.handle(node, Input::PeerDown(node_id(liar)));
    }
}

/// What the issuer or the party itself buries of a person.
fn buried(world: &World, node: usize, dead: impl Fn(&Chain) -> Dead, by: &SecretKey) -> Bytes {
    let chain = world.nodes[node].people[0].chain(&node_id(node));
    let since = world.now().unix_s();
    Tombstone::issue(NETWORK, &chain.credential, dead(&chain), 1, since, "", by).unwrap().into()
}

fn agreed(world: &mut World, offerer: usize, accepter: usize) {
    let id = world.offer(offerer, &emp(), 30);
    world.run(1_000);
    world.settle(accepter, AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    assert_eq!(world.decision(offerer, &emp(), Service::Cdr), Decision::Allowed);
}

#[test]
fn an_agreement_is_in_force_only_while_its_signers_are_believed() {
    let (mut world, cpo_node, emp_node) = two();
    agreed(&mut world, cpo_node, emp_node);
    let trusting = |world: &mut World, seq: u64, countries: &[&str]| {
        world.nodes[cpo_node].trust = Some(TrustList { seq, ..trust(&[(REGISTRAR, countries)]) });
        assert_eq!(world.reload(cpo_node), Ok(()));
    };
    trusting(&mut world, 2, &["DE"]);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract, "at once");
    assert!(!world.known(cpo_node)[0].believed);
    trusting(&mut world, 3, &["CH"]);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Allowed);
    // The same if trust was lost before a restart.
    trusting(&mut world, 4, &["DE"]);
    world.recover(cpo_node);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract);
    trusting(&mut world, 5, &["CH"]);
    world.run(3_000);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Allowed);
    // Revoked: for good.
    let dead = buried(&world, emp_node, |_| Dead::Credential, &key(100, REGISTRAR));
    world.hand_in(cpo_node, dead);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract);
    let told = |report: &&Report| matches!(report, Report::AgreementNotBelieved { .. });
    assert_eq!(world.nodes[cpo_node].reports.iter().filter(told).count(), 4, "each time once");
}

#[test]
fn a_buried_delegation_is_shown_until_another_one_is_known() {
    let (mut world, cpo_node, emp_node) = two();
    world.pushed(cpo_node, Kind::Data, FullLoad, &[("CH*ABC*E1", "x")]);
    world.run(1_000);
    let standing = |world: &World| {
        let parties = world.core(emp_node).trust_view(world.now()).parties;
        parties.into_iter().find(|shown| shown.party == cpo().party()).unwrap().standing
    };
    assert_eq!(standing(&world), PartyStanding::Live);
    let first = |chain: &Chain| Dead::Delegation(chain.delegation_hash());
    let dead = buried(&world, cpo_node, first, &key(101, 1));
    world.hand_in(emp_node, dead);
    assert_eq!(standing(&world), PartyStanding::DelegationDead);
    let last = world.nodes[emp_node].reports.iter().rfind(|r| !matches!(r, Report::Refused { .. }));
    assert!(matches!(last, Some(Report::Revoked { own: false, .. })), "{last:?}");
    // A planned rotation: the new one is known before the old one is buried.
    world.nodes[cpo_node].people[0].rotate();
    assert_eq!(world.reload(cpo_node), Ok(()));
    world.run(3_000);
    assert_eq!(standing(&world), PartyStanding::Live);
    let second = buried(&world, cpo_node, first, &key(101, 1));
    world.nodes[cpo_node].people[0].rotate();
    assert_eq!(world.reload(cpo_node), Ok(()));
    world.run(3_000);
    world.nodes[emp_node].reports.clear();
    world.hand_in(emp_node, second);
    assert_eq!(standing(&world), PartyStanding::Live);
    let reports = &world.nodes[emp_node].reports;
    assert!(reports.iter().any(|report| matches!(report, Report::Replaced { .. })), "{reports:?}");
    assert!(!reports.iter().any(|report| matches!(report, Report::Revoked { .. })), "{reports:?}");
}

/// A CPO and an EMP in agreement whose issuer is late with its status list; one session of them runs.
fn late_issuer() -> (World, usize, usize, String) {
    let (mut world, a, b) = agreed_to_charge();
    world.hand_in(a, list(&world, 1, 2));
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let running = world.session(b).session;
    world.run(2 * HOUR_MS);
    assert!(matches!(world.may_agree(b, &cpo()), Err(Stale::ListOverdue { .. })));
    (world, a, b, running)
}

#[test]
fn what_runs_is_stopped_and_nothing_begins_while_it_is_not_known_who_was_revoked() {
    let (mut world, a, b, running) = late_issuer();
    let refused = |world: &World, node: usize, call: CallId| {
        let (_, said) = world.heard(node, call).expect("refused at once");
        assert!(said.contains("\"320\"") && said.contains("status list"), "{said}");
    };
    let start = world.start_charging(b);
    refused(&world, b, start);
    let card = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    refused(&world, a, card);
    assert_eq!((world.nodes[a].charging.called, world.nodes[b].charging.called), (1, 0));
    // A car gets its stop.
    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&running));
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    assert!(world.heard(b, stop).unwrap().1.contains("true"));
    assert_eq!(world.nodes[a].charging.called, 2);
}

#[test]
fn the_side_that_is_asked_looks_for_itself_and_a_pin_is_enough() {
    let (mut world, a, b, _) = late_issuer();
    // The EMP compared the operator's key by hand, the operator not theirs.
    world.pin(b, &cpo());
    let start = world.start_charging(b);
    world.run(1_000);
    let (_, said) = world.heard(b, start).unwrap();
    assert!(said.contains("\"320\"") && said.contains("the partner's node refuses it"), "{said}");
    assert_eq!(world.nodes[a].charging.called, 1);
    world.pin(a, &emp());
    world.run(3_000);
    world.start_charging(b);
    world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    assert_eq!((world.nodes[a].charging.called, world.nodes[b].charging.called), (2, 1));
}

#[test]
fn a_node_that_has_just_started_asks_who_was_revoked_before_it_begins_anything() {
    let (mut world, a, b) = agreed_to_charge();
    world.kill(a);
    world.run(1_000);
    world.start(a);
    let card = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    let (_, said) = world.heard(a, card).unwrap();
    assert!(said.contains("\"320\"") && said.contains("no peer has told"), "{said}");
    world.connect(a, b);
    world.run(3_000);
    world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    assert_eq!(world.nodes[b].charging.called, 1);
}
