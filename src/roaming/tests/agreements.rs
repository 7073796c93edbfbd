//! Agreements between nodes: offered, accepted, ended; partners away, nodes that restart, and liars.

use super::*;
use crate::identity::{AgreementTerms, Role, Service, hash_of};
use crate::protocol::{AgreementPapers, Question};

const DAY_MS: u64 = 86_400_000;

pub(super) fn cpo() -> Person {
    Person::new("CH*ABC", 1)
}

pub(super) fn emp() -> Person {
    Person::new("CH*EMP", 2).emp()
}

/// A node of the CPO, one of the EMP, connected, and their numbers.
pub(super) fn two() -> (World, usize, usize) {
    let mut world = World::new(1);
    let nodes = (world.add(&[cpo()]), world.add(&[emp()]));
    world.connect_all();
    world.run(3_000);
    (world, nodes.0, nodes.1)
}

impl World {
    pub(super) fn settle(&mut self, node: usize, act: AgreementAct) -> Result<Digest, AgreementRefusal> {
        self.calls += 1;
        let call = CallId(self.calls);
        self.handle(node, Input::Agreement { call, act });
        self.nodes[node].agreed[&call].clone()
    }

    pub(super) fn offer(&mut self, node: usize, partner: &Person, days: u64) -> Digest {
        self.settle(node, offer_to(partner, self.now(), days)).unwrap()
    }

    pub(super) fn decision(&self, node: usize, partner: &Person, service: Service) -> Decision {
        let ours = self.nodes[node].people[0].party();
        self.core(node).decide(&ours, &partner.party(), service, self.now())
    }

    pub(super) fn known(&self, node: usize) -> Vec<AgreementSummary> {
        self.core(node).agreements()
    }

    fn state(&self, node: usize) -> Vec<(bool, bool)> {
        let known = self.known(node);
        known.iter().map(|known| (known.accepted_unix_s.is_some(), known.ended.is_some())).collect()
    }

    /// Nodes that are off for a while.
    fn later(&mut self, nodes: &[usize], after_ms: u64) {
        nodes.iter().for_each(|node| self.kill(*node));
        self.run(after_ms);
        nodes.iter().for_each(|node| self.start(*node));
    }

    /// A question as any connected node may ask it.
    fn told(&mut self, node: usize, from: usize, papers: AgreementPapers) {
        self.asked(node, from, &Question::Agreement(Box::new(papers)));
    }

    pub(super) fn asked(&mut self, node: usize, from: usize, question: &Question) {
        self.count += 1;
        let ask = AskId(1_000_000 + self.count);
        self.nodes[node].asks.insert(ask, (from, RequestId(0)));
        self.handle(node, Input::Asked { from: node_id(from), ask, bytes: question.encode() });
    }

    fn papers(&self, node: usize, id: Digest) -> AgreementPapers {
        AgreementPapers::decode(&self.nodes[node].store.agreements[&id]).unwrap()
    }
}

pub(super) fn offer_to(partner: &Person, now: Now, days: u64) -> AgreementAct {
    AgreementAct::Offer {
        ours: None,
        partner: partner.party(),
        services: BTreeSet::from([Service::Authorization, Service::Cdr]),
        valid_from_unix_s: None,
        valid_until_unix_s: now.unix_s() + days * 86_400,
    }
}

#[test]
fn two_operators_cannot_agree_and_are_told_why() {
    let (mut world, cpo_node, emp_node) = two();
    for (node, partner) in [(cpo_node, Person::new("CH*OTH", 3)), (emp_node, Person::new("CH*OTH", 3).emp())]
    {
        for by_name in [false, true] {
            let mut act = offer_to(&partner, world.now(), 30);
            if let AgreementAct::Offer { ours, .. } = &mut act {
                *ours = by_name.then(|| world.nodes[node].people[0].party());
            }
            let refused = world.settle(node, act).unwrap_err();
            assert!(matches!(refused, AgreementRefusal::SameRole { .. }), "{refused}");
            assert!(refused.to_string().contains(&partner.party().to_text()), "{refused}");
        }
    }
}

#[test]
fn an_offer_is_accepted_and_both_hold_the_same_until_one_ends_it() {
    let (mut world, cpo_node, emp_node) = two();
    for (node, partner) in [(cpo_node, emp()), (emp_node, cpo())] {
        assert_eq!(world.decision(node, &partner, Service::Authorization), Decision::NoContract);
        assert_eq!(world.decision(node, &partner, Service::EvseData), Decision::Allowed);
    }
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    assert_eq!(world.state(emp_node), [(false, false)]);
    assert_eq!(world.known(emp_node)[0].id, id);
    assert_eq!(
        world.decision(emp_node, &cpo(), Service::Authorization),
        Decision::NoContract,
        "only offered"
    );
    assert_eq!(
        world.settle(cpo_node, AgreementAct::Accept(id)),
        Err(AgreementRefusal::OwnOffer(emp().party()))
    );

    assert_eq!(world.settle(emp_node, AgreementAct::Accept(id)), Ok(id));
    assert_eq!(world.settle(emp_node, AgreementAct::Accept(id)), Ok(id), "twice is once");
    world.run(1_000);
    for (node, partner) in [(cpo_node, emp()), (emp_node, cpo())] {
        assert_eq!(world.decision(node, &partner, Service::Authorization), Decision::Allowed);
        assert_eq!(world.decision(node, &partner, Service::Cdr), Decision::Allowed);
        assert_eq!(world.decision(node, &partner, Service::Reservation), Decision::NoContract, "not in it");
        let other = Person { role: Role::Emp, ..Person::new("CH*XYZ", 9) };
        assert_eq!(world.decision(node, &other, Service::Cdr), Decision::NoContract, "not with it");
    }
    assert_eq!(world.known(cpo_node)[0].terms, world.known(emp_node)[0].terms);
    assert_eq!(world.papers(cpo_node, id), world.papers(emp_node, id));

    assert_eq!(world.settle(cpo_node, AgreementAct::End(id)), Ok(id));
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract, "at once here");
    world.run(1_000);
    assert_eq!(world.decision(emp_node, &cpo(), Service::Cdr), Decision::NoContract);
    assert_eq!(world.known(emp_node)[0].ended.as_ref().map(|(by, _)| by.clone()), Some(cpo().party()));
    assert_eq!(world.settle(emp_node, AgreementAct::Accept(id)), Err(AgreementRefusal::Over));
}

#[test]
fn an_agreement_is_in_force_from_its_first_second_to_its_last() {
    let (mut world, cpo_node, emp_node) = two();
    let from = world.now().unix_s() + 86_400;
    let AgreementAct::Offer { services, partner, .. } = offer_to(&emp(), world.now(), 3) else { panic!() };
    let act = AgreementAct::Offer {
        ours: Some(cpo().party()),
        partner,
        services,
        valid_from_unix_s: Some(from),
        valid_until_unix_s: from + 2 * 86_400,
    };
    let id = world.settle(cpo_node, act).unwrap();
    world.run(1_000);
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    for (after_ms, expected) in
        [(0, Decision::NoContract), (DAY_MS, Decision::Allowed), (2 * DAY_MS, Decision::NoContract)]
    {
        world.later(&[cpo_node, emp_node], after_ms);
        for (node, partner) in [(cpo_node, emp()), (emp_node, cpo())] {
            assert_eq!(world.decision(node, &partner, Service::Cdr), expected, "after {after_ms} ms more");
        }
    }
}

#[test]
fn nothing_is_lost_when_nodes_restart_or_are_away() {
    let (mut world, cpo_node, emp_node) = two();
    // Offered while the partner is away.
    world.kill(emp_node);
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(60_000);
    world.kill(cpo_node);
    world.start(cpo_node);
    world.start(emp_node);
    world.connect(cpo_node, emp_node);
    world.run(3_000);
    assert_eq!(world.state(emp_node), [(false, false)], "told by a node that had restarted");

    // Accepted, and killed before anything was sent: what was promised is on the disk.
    world.disconnect(cpo_node, emp_node);
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.kill(emp_node);
    world.start(emp_node);
    assert_eq!(world.decision(emp_node, &cpo(), Service::Cdr), Decision::Allowed);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract, "not told yet");
    world.connect(cpo_node, emp_node);
    world.run(3_000);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Allowed);

    // Ended while the other is away, which comes back with an older state of its own.
    world.kill(emp_node);
    world.settle(cpo_node, AgreementAct::End(id)).unwrap();
    world.kill(cpo_node);
    world.start(cpo_node);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::NoContract);
    world.start(emp_node);
    assert_eq!(world.decision(emp_node, &cpo(), Service::Cdr), Decision::Allowed, "not told yet");
    world.connect(cpo_node, emp_node);
    world.run(3_000);
    for node in [cpo_node, emp_node] {
        assert_eq!(world.state(node), [(true, true)]);
    }
}

#[test]
fn an_agreement_outlives_the_delegations_that_signed_it() {
    let (mut world, cpo_node, emp_node) = two();
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    // Signed by delegations of six days, which have ended and were followed by others.
    for node in [cpo_node, emp_node] {
        world.nodes[node].people[0].epoch = 2;
        world.nodes[node].people[0].days = 29;
    }
    world.later(&[cpo_node, emp_node], 20 * DAY_MS);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Allowed);
    assert_eq!(world.decision(emp_node, &cpo(), Service::Cdr), Decision::Allowed);
    world.connect(cpo_node, emp_node);
    world.run(1_000);
    world.settle(emp_node, AgreementAct::End(id)).unwrap();
    world.run(1_000);
    assert_eq!(
        world.decision(cpo_node, &emp(), Service::Cdr),
        Decision::NoContract,
        "ended by a new delegation"
    );
}

#[test]
fn both_may_end_and_accept_at_once() {
    let (mut world, cpo_node, emp_node) = two();
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    world.disconnect(cpo_node, emp_node);
    // Taken back there, accepted here.
    world.settle(cpo_node, AgreementAct::End(id)).unwrap();
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.connect(cpo_node, emp_node);
    world.run(3_000);
    for node in [cpo_node, emp_node] {
        assert_eq!(world.state(node), [(true, true)], "an end is stronger");
    }
    assert_eq!(world.papers(cpo_node, id), world.papers(emp_node, id));
}

#[test]
fn a_partys_other_node_hears_of_it() {
    let mut world = World::new(3);
    let second = Person { epoch: 2, ..emp() };
    let nodes = [world.add(&[cpo()]), world.add(&[emp()]), world.add(&[second])];
    world.connect_all();
    world.run(3_000);
    let id = world.offer(nodes[0], &emp(), 30);
    world.run(1_000);
    // The CPO's node is gone when one of the EMP's accepts: the other hears of it all the same.
    world.kill(nodes[0]);
    world.settle(nodes[2], AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    assert_eq!(world.decision(nodes[1], &cpo(), Service::Cdr), Decision::Allowed);
    world.start(nodes[0]);
    world.connect(nodes[0], nodes[1]);
    world.run(3_000);
    assert_eq!(world.decision(nodes[0], &emp(), Service::Cdr), Decision::Allowed);
}

#[test]
fn papers_prove_nothing_to_others_and_cannot_be_replayed() {
    let (mut world, cpo_node, emp_node) = two();
    let thief = Person::new("CH*THF", 7).emp();
    let thief_node = world.add(std::slice::from_ref(&thief));
    world.connect_all();
    world.run(3_000);
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    assert!(world.known(thief_node).is_empty(), "an offer goes to its parties only");
    let open = world.papers(emp_node, id);

    // Another party of the mesh gets hold of the offer, and shows it as if it were its own business.
    world.told(thief_node, emp_node, open.clone());
    assert!(world.known(thief_node).is_empty());
    assert_eq!(world.settle(thief_node, AgreementAct::Accept(id)), Err(AgreementRefusal::Unknown));

    // It says that it accepted: signed by itself, in its own name.
    let thiefs = thief.ours(&node_id(thief_node));
    let payload_of = world.papers(emp_node, id).signed;
    let forged = AgreementPapers {
        signed: crate::identity::seal(
            crate::identity::Purpose::Agreement,
            NETWORK,
            thiefs.speaker.delegation_hash(),
            &thiefs.message_key,
            &payload_of,
        )
        .unwrap()
        .into(),
        accepter: Some(thiefs.chain.clone()),
        ..open.clone()
    };
    world.told(cpo_node, thief_node, forged);
    // It says that the offer, a real one, had been accepted by a chain without a signature.
    world.told(
        cpo_node,
        thief_node,
        AgreementPapers { accepter: Some(thiefs.chain.clone()), ..open.clone() },
    );
    assert_eq!(world.state(cpo_node), [(false, false)]);

    // An end is replayed after the same terms were offered anew.
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.settle(emp_node, AgreementAct::End(id)).unwrap();
    world.run(1_000);
    let ended = world.papers(cpo_node, id);
    let again = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    world.settle(emp_node, AgreementAct::Accept(again)).unwrap();
    world.run(1_000);
    assert_ne!(id, again);
    let live = world.papers(cpo_node, again);
    world.told(cpo_node, thief_node, AgreementPapers { end: ended.end.clone(), ..live });
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Allowed);
    // The ended one is shown without its end: it stays ended, and who showed it is told so.
    world.told(cpo_node, thief_node, AgreementPapers { end: None, ..ended });
    let first = world.known(cpo_node).into_iter().find(|known| known.id == id).unwrap();
    assert!(first.ended.is_some());
}

#[test]
fn an_agreement_that_nobody_trusted_signed_is_not_taken() {
    let mut world = World::new(5);
    // Issued by somebody whom the CPO does not believe.
    let (cpo_node, emp_node) = (world.add(&[cpo()]), world.add(&[emp().by(people::STRANGER)]));
    world.connect_all();
    world.run(3_000);
    world.offer(emp_node, &cpo(), 30);
    world.run(20_000);
    assert!(world.known(cpo_node).is_empty());
    assert!(world.nodes[cpo_node].penalised.is_empty(), "trust is local");

    // A trusted party's chain, shown by a node that it does not name: nothing is told to it.
    let chain = Person::new("CH*EMP", 4).emp().chain(&node_id(77));
    let before = world.core(cpo_node).parties_of(&node_id(emp_node), world.now()).len();
    world.asked(cpo_node, emp_node, &Question::Introduce(vec![chain]));
    let after = world.core(cpo_node).parties_of(&node_id(emp_node), world.now()).len();
    assert_eq!((before, after), (0, 0));
}

#[test]
fn what_was_signed_long_ago_or_in_the_future_does_not_count() {
    let (mut world, cpo_node, emp_node) = two();
    let ours = emp().ours(&node_id(emp_node));
    let now = world.now().unix_s();
    let offered_at = |created_unix_s: u64| {
        let terms = AgreementTerms {
            offerer: emp().party(),
            accepter: cpo().party(),
            services: BTreeSet::from([Service::Cdr]),
            valid_from_unix_s: now,
            valid_until_unix_s: now + 30 * 86_400,
            created_unix_s,
            nonce: [1; 16],
        };
        let signed = terms.offer(NETWORK, &ours.speaker, &ours.message_key).unwrap();
        AgreementPapers { signed: signed.into(), offerer: ours.chain.clone(), accepter: None, end: None }
    };
    world.told(cpo_node, emp_node, offered_at(now + 3_600));
    assert!(world.known(cpo_node).is_empty());
    // A delegation that ended a day ago still counts for what was signed in its time, but not for long.
    let mine = offered_at(now);
    world.later(&[cpo_node, emp_node], 8 * DAY_MS);
    world.connect(cpo_node, emp_node);
    world.told(cpo_node, emp_node, mine);
    assert!(world.known(cpo_node).is_empty());
    let refused =
        |report: &Report| matches!(report, Report::AgreementRefused { why: AgreementRefusal::Time, .. });
    assert_eq!(world.nodes[cpo_node].reports.iter().filter(|report| refused(report)).count(), 2);
}

#[test]
fn nobody_fills_the_table_alone() {
    let (mut world, cpo_node, emp_node) = two();
    let mut offers = Vec::new();
    for _ in 0..16 {
        offers.push(world.offer(cpo_node, &emp(), 30));
    }
    assert_eq!(world.settle(cpo_node, offer_to(&emp(), world.now(), 30)), Err(AgreementRefusal::Full));
    world.run(20_000);
    assert_eq!(world.known(emp_node).len(), 16, "all of them arrive");
    // A dishonest node does not count itself.
    let ours = cpo().ours(&node_id(cpo_node));
    let now = world.now().unix_s();
    let terms =
        AgreementTerms { nonce: [9; 16], created_unix_s: now, ..world.known(cpo_node)[0].terms.clone() };
    let signed = terms.offer(NETWORK, &ours.speaker, &ours.message_key).unwrap();
    let id = hash_of(&signed);
    let papers = AgreementPapers { signed: signed.into(), offerer: ours.chain, accepter: None, end: None };
    world.told(emp_node, cpo_node, papers);
    assert!(world.known(emp_node).iter().all(|known| known.id != id));
    // What is ended makes room for new offers.
    world.settle(cpo_node, AgreementAct::End(offers[0])).unwrap();
    assert!(world.settle(cpo_node, offer_to(&emp(), world.now(), 30)).is_ok());
}

#[test]
fn acts_that_make_no_sense_are_refused_with_a_reason() {
    let (mut world, cpo_node, _) = two();
    let now = world.now();
    assert_eq!(world.settle(cpo_node, offer_to(&emp(), now, 0)), Err(AgreementRefusal::Past));
    let to_cpo = world.settle(cpo_node, offer_to(&Person::new("CH*XYZ", 9), now, 9));
    assert!(matches!(to_cpo, Err(AgreementRefusal::SameRole { .. })), "{to_cpo:?}");
    let AgreementAct::Offer { partner, services, valid_until_unix_s, .. } = offer_to(&emp(), now, 9) else {
        panic!()
    };
    let ours = Some(emp().party());
    let act = AgreementAct::Offer { ours, partner, services, valid_from_unix_s: None, valid_until_unix_s };
    assert_eq!(world.settle(cpo_node, act), Err(AgreementRefusal::NotOurs(emp().party())));
    for act in [AgreementAct::Accept([1; 32]), AgreementAct::End([1; 32])] {
        assert_eq!(world.settle(cpo_node, act), Err(AgreementRefusal::Unknown));
    }
    assert!(world.nodes[cpo_node].store.agreements.is_empty(), "nothing was promised");
}

#[test]
fn a_rule_goes_over_an_agreement() {
    let (mut world, cpo_node, emp_node) = two();
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    let whom = Whom { party: Some(emp().party()), ..Whom::default() };
    let rule = Rule { whom, services: BTreeSet::from([Service::Cdr]), allow: false };
    let core = world.nodes[cpo_node].core.take().unwrap();
    world.nodes[cpo_node].core = Some(core.with_policy(Policy { rules: vec![rule] }));
    assert_eq!(world.decision(cpo_node, &emp(), Service::Cdr), Decision::Denied);
    assert_eq!(world.decision(cpo_node, &emp(), Service::Authorization), Decision::Allowed);
}
