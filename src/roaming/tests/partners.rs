//! Partners: who is one, how they are looked for, and what cards of liars lead to: a dial, and nothing else.

use super::agreements::{cpo, emp, two};
use super::people::{STRANGER, key};
use super::*;
use crate::identity::{CredentialRef, Dead, PartyCard, Role, Service, Tombstone, hash_of, kad_key};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What a core told its mesh.
#[derive(Default)]
pub(super) struct Told {
    /// The nodes whose connection is kept, each time that this was said.
    pub(super) kept: Vec<Vec<usize>>,
    pub(super) addresses: Vec<(usize, String)>,
    /// Cards that were looked for, and when.
    looked: Vec<(Digest, u64)>,
}

impl World {
    pub(super) fn find_card(&mut self, index: usize, key: Digest) {
        self.nodes[index].partners.looked.push((key, self.now_ms));
        let input = match self.cards.get(&key).cloned() {
            Some(bytes) => Input::CardFound { key, bytes },
            None => Input::CardNotFound { key },
        };
        let after_ms = self.latency();
        self.deliver(index, None, after_ms, Event::Input(input));
    }

    /// Kademlia holds this as the card of a party's node of a slot.
    fn file(&mut self, person: &Person, slot: u8, card: Vec<u8>) {
        self.cards.insert(place(person, slot), card.into());
    }

    fn nodes_of(&self, node: usize, person: &Person) -> Vec<usize> {
        self.core(node).nodes_of(&person.party(), self.now()).iter().map(number).collect()
    }

    fn is_partner(&self, node: usize, person: &Person) -> bool {
        self.core(node).is_partner(&person.party(), self.now())
    }

    /// Since when the only partner is away, in milliseconds of this world; `None` if it is connected.
    fn away_since_ms(&self, node: usize) -> Option<u64> {
        let view = self.core(node).view();
        assert_eq!(view.partners.len(), 1, "{:?}", view.partners);
        let since = view.partners[0].looked_for_since_unix_ms;
        assert_eq!(since.is_some(), view.partners[0].nodes.is_empty());
        since.map(|at_unix_ms| at_unix_ms - START_UNIX_S * 1_000)
    }

    /// When a place was looked at.
    fn looks(&self, node: usize, place: Digest) -> Vec<u64> {
        let looked = self.nodes[node].partners.looked.iter();
        looked.filter(|(key, _)| *key == place).map(|(_, at_ms)| *at_ms).collect()
    }

    fn kept(&self, node: usize) -> Vec<usize> {
        self.nodes[node].partners.kept.last().cloned().unwrap_or_default()
    }

    /// What was reported of cards.
    fn complaints(&self, node: usize) -> Vec<String> {
        let complaint = |report: &Report| match report {
            Report::PartnerCard { why, .. } => Some(why.to_string()),
            _ => None,
        };
        self.nodes[node].reports.iter().filter_map(complaint).collect()
    }

    fn card(&self, person: &Person, node: usize, seq: u64) -> PartyCard {
        let mut card = PartyCard::of_chain(&person.chain(&node_id(node)), seq, self.now().unix_s());
        card.addresses = vec![format!("/ip4/192.0.2.{node}/tcp/{seq}")];
        card
    }

    pub(super) fn set_rules(&mut self, node: usize, rules: Vec<Rule>) {
        let core = self.nodes[node].core.take().unwrap();
        self.nodes[node].core = Some(core.with_policy(Policy { rules }));
        self.run(1_000);
    }
}

fn place(person: &Person, slot: u8) -> Digest {
    kad_key(NETWORK, &person.party(), slot)
}

fn sealed(card: &PartyCard, by: &Person) -> Vec<u8> {
    card.issue(NETWORK, &by.message_key()).unwrap()
}

fn rule(party: &Person, services: &[Service], allow: bool) -> Rule {
    let whom = Whom { party: Some(party.party()), ..Whom::default() };
    Rule { whom, services: services.iter().copied().collect(), allow }
}

/// Nodes of a CPO and an EMP that have an agreement and are connected.
fn partners() -> (World, usize, usize) {
    let (mut world, cpo_node, emp_node) = two();
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.run(2_000);
    (world, cpo_node, emp_node)
}

#[test]
fn an_agreement_makes_partners_whose_nodes_are_kept_and_missed_at_once() {
    let (mut world, cpo_node, emp_node) = two();
    assert!(!world.is_partner(cpo_node, &emp()) && world.core(cpo_node).view().partners.is_empty());
    assert_eq!(world.nodes_of(cpo_node, &emp()), [emp_node], "whoever introduced itself");
    assert!(world.nodes[cpo_node].partners.kept.is_empty());
    let id = world.offer(cpo_node, &emp(), 30);
    world.run(1_000);
    assert!(!world.is_partner(cpo_node, &emp()), "only offered");
    world.settle(emp_node, AgreementAct::Accept(id)).unwrap();
    world.run(1_000);
    for (node, partner, person) in [(cpo_node, emp_node, emp()), (emp_node, cpo_node, cpo())] {
        assert!(world.is_partner(node, &person));
        assert_eq!(world.nodes[node].partners.kept, [[partner]], "said once");
        assert_eq!(world.away_since_ms(node), None);
    }
    let cut_ms = world.now_ms;
    world.disconnect(cpo_node, emp_node);
    world.run(1);
    assert_eq!(world.nodes_of(cpo_node, &emp()), Vec::<usize>::new(), "known at once");
    world.run(200);
    assert!(world.away_since_ms(cpo_node).unwrap() - cut_ms <= 150);
    assert_eq!(world.kept(cpo_node), [emp_node], "who signed for it is dialled");
    world.connect(cpo_node, emp_node);
    world.run(1_000);
    assert_eq!(world.nodes_of(cpo_node, &emp()), [emp_node]);
    assert_eq!(world.away_since_ms(cpo_node), None);

    world.settle(emp_node, AgreementAct::End(id)).unwrap();
    world.run(1_000);
    for node in [cpo_node, emp_node] {
        assert!(world.kept(node).is_empty() && world.core(node).view().partners.is_empty());
        assert_eq!(world.nodes[node].partners.kept.len(), 2, "only what is news");
    }
}

#[test]
fn a_partner_that_is_away_is_looked_for_ever_more_seldom_and_again_after_a_restart() {
    let (mut world, cpo_node, emp_node) = partners();
    world.run(10_000);
    let before = world.looks(cpo_node, place(&emp(), 0));
    assert_eq!(before.len(), 1, "once, though it is connected");
    assert_eq!(world.looks(cpo_node, place(&emp(), 7)).len(), 1, "all places, while none is known");
    world.kill(emp_node);
    let killed_ms = world.now_ms;
    world.run(HOUR_MS);
    let looks = world.looks(cpo_node, place(&emp(), 0));
    assert!(looks[1] - killed_ms < 500, "at once: {}", looks[1] - killed_ms);
    let waits: Vec<u64> = looks[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, least) in waits.iter().zip([5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000])
    {
        // A search, a quarter of jitter, and the next tick.
        assert!((least..=least * 5 / 4 + 1_500).contains(wait), "{waits:?}");
    }
    assert!(waits[7..].iter().all(|wait| *wait >= 300_000) && waits.len() < 20, "{waits:?}");
    let all = world.nodes[cpo_node].partners.looked.len();
    assert!(all < 2 * looks.len() + 40, "hardly more than the first place: {all} of {}", looks.len());

    // A core that is made anew knows where to look.
    world.kill(cpo_node);
    world.start(cpo_node);
    let started_ms = world.now_ms;
    world.run(500);
    assert!(world.looks(cpo_node, place(&emp(), 0)).last().unwrap() - started_ms < 500);
    assert_eq!(world.kept(cpo_node), [emp_node]);
    assert!(world.is_partner(cpo_node, &emp()));
}

#[test]
fn a_card_says_where_to_dial_and_only_introductions_say_who_it_is() {
    let (mut world, cpo_node, emp_node) = partners();
    let moved = world.add(&[emp()]);
    let victim = world.add(&[Person::new("CH*VIC", 7).emp()]);
    world.kill(emp_node);
    world.file(&emp(), 0, sealed(&world.card(&emp(), moved, 5), &emp()));
    // A right card in a wrong place.
    world.file(&emp(), 1, sealed(&world.card(&emp(), victim, 5), &emp()));
    world.run(10_000);
    let told = &world.nodes[cpo_node].partners.addresses;
    assert!(told.contains(&(moved, format!("/ip4/192.0.2.{moved}/tcp/5"))), "{told:?}");
    assert_eq!(world.nodes_of(cpo_node, &emp()), Vec::<usize>::new(), "nobody has introduced itself");
    let mut kept = world.kept(cpo_node);
    kept.sort_unstable();
    assert_eq!(kept, [emp_node, moved], "the card of slot 0 counts only there");

    // The party itself points at another's node. That node says for whom it speaks, and is let go.
    world.file(&emp(), 0, sealed(&world.card(&emp(), victim, 6), &emp()));
    world.run(60_000);
    assert!(world.kept(cpo_node).contains(&victim));
    world.connect(cpo_node, victim);
    world.run(2_000);
    assert_eq!(world.nodes_of(cpo_node, &emp()), Vec::<usize>::new());
    assert!(!world.kept(cpo_node).contains(&victim), "{:?}", world.kept(cpo_node));
    world.disconnect(cpo_node, victim);
    world.run(60_000);
    assert!(!world.kept(cpo_node).contains(&victim), "nor dialled again and again");

    world.file(&emp(), 0, sealed(&world.card(&emp(), moved, 7), &emp()));
    world.run(700_000);
    assert!(world.kept(cpo_node).contains(&moved));
    world.connect(cpo_node, moved);
    world.run(2_000);
    assert_eq!(world.nodes_of(cpo_node, &emp()), [moved]);
    assert_eq!(world.kept(cpo_node), [moved], "hints are of no use any more");
    world.blameless();
}

#[test]
fn forged_stale_and_strange_cards_lead_nowhere() {
    let (mut world, cpo_node, emp_node) = partners();
    world.kill(emp_node);
    let newest = world.now().unix_s();
    let honest = world.card(&emp(), emp_node, newest);
    let (other, away) = (Person::new("CH*OTH", 8).emp(), 77);
    let mut flipped = sealed(&world.card(&emp(), away, newest + 9), &emp());
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = world.card(&emp(), away, newest + 9);
    (old.issued_unix_s, old.expires_unix_s) = (newest - 86_400, newest - 1);
    let rogue = emp().by(STRANGER);
    let mut unknown = world.card(&emp(), away, newest + 9);
    unknown.credential = CredentialRef::ByHash([9; 32]);
    let false_cards: Vec<(&str, Vec<u8>)> = vec![
        ("rubbish", b"rubbish".to_vec()),
        ("a bad signature", flipped),
        ("another's key", sealed(&world.card(&emp(), away, newest + 9), &other)),
        ("another party's", sealed(&world.card(&other, away, newest + 9), &other)),
        ("expired", sealed(&old, &emp())),
        ("nobody trusts its issuer", sealed(&world.card(&rogue, away, newest + 9), &rogue)),
        ("nobody knows its credential", sealed(&unknown, &emp())),
    ];
    for (number, (what, card)) in false_cards.into_iter().enumerate() {
        world.file(&emp(), 0, card);
        let looks = world.looks(cpo_node, place(&emp(), 0)).len();
        while world.looks(cpo_node, place(&emp(), 0)).len() == looks {
            world.run(1_000);
        }
        world.run(1_000);
        assert_eq!(world.complaints(cpo_node).len(), number + 1, "{what}: {:?}", world.complaints(cpo_node));
        assert!(world.nodes[cpo_node].partners.addresses.is_empty(), "{what}");
        assert_eq!(world.kept(cpo_node), [emp_node], "{what}");
    }
    // An honest one that names its credential by hash: the registry has it.
    let by_hash = CredentialRef::ByHash(hash_of(&emp().chain(&node_id(emp_node)).credential));
    world.file(&emp(), 0, sealed(&PartyCard { credential: by_hash, ..honest }, &emp()));
    world.run(400_000);
    assert!(!world.nodes[cpo_node].partners.addresses.is_empty());
    // And an older one changes nothing.
    world.nodes[cpo_node].partners.addresses.clear();
    world.file(&emp(), 0, sealed(&world.card(&emp(), away, newest - 9), &emp()));
    world.run(400_000);
    assert!(world.nodes[cpo_node].partners.addresses.is_empty(), "stale");
    assert_eq!(world.kept(cpo_node), [emp_node]);
    // What nobody looked for is nobody's.
    let bytes: Bytes = sealed(&world.card(&emp(), away, newest + 99), &emp()).into();
    world.handle(cpo_node, Input::CardFound { key: place(&emp(), 3), bytes });
    assert!(world.nodes[cpo_node].partners.addresses.is_empty());
    world.handle(cpo_node, Input::CardNotFound { key: [1; 32] });
    world.blameless();
}

#[test]
fn the_policy_names_partners_and_denies_them() {
    let (mut world, cpo_node, emp_node) = two();
    let fellow = Person::new("CH*FEL", 6);
    world.set_rules(cpo_node, vec![rule(&emp(), &[Service::EvseData], true), rule(&fellow, &[], true)]);
    assert!(!world.is_partner(cpo_node, &emp()), "the directory is public");
    assert!(!world.is_partner(cpo_node, &fellow), "of our own role");
    world.set_rules(cpo_node, vec![rule(&emp(), &[Service::Authorization], true)]);
    assert!(world.is_partner(cpo_node, &emp()));
    assert_eq!(world.kept(cpo_node), [emp_node]);
    let open = Rule {
        whom: Whom { role: Some(Role::Emp), ..Whom::default() },
        services: BTreeSet::new(),
        allow: true,
    };
    world.set_rules(cpo_node, vec![open.clone()]);
    assert!(!world.is_partner(cpo_node, &emp()), "nobody is named");
    assert!(world.kept(cpo_node).is_empty());
    world.set_rules(cpo_node, vec![rule(&emp(), &[], false), rule(&emp(), &[], true)]);
    assert!(!world.is_partner(cpo_node, &emp()), "denied first");

    let (mut world, cpo_node, _) = partners();
    assert!(world.is_partner(cpo_node, &emp()));
    world.set_rules(cpo_node, vec![rule(&emp(), &[], false)]);
    assert!(!world.is_partner(cpo_node, &emp()), "whatever was agreed");
    assert!(world.kept(cpo_node).is_empty() && world.core(cpo_node).view().partners.is_empty());
}

#[test]
fn an_agreement_that_runs_out_ends_it() {
    let (mut world, cpo_node, emp_node) = partners();
    for days in [29, 2] {
        assert!(world.is_partner(cpo_node, &emp()), "{days} days before");
        [cpo_node, emp_node].into_iter().for_each(|node| world.kill(node));
        world.run(days * DAY_MS);
        [cpo_node, emp_node].into_iter().for_each(|node| world.start(node));
        world.run(1_000);
    }
    assert!(!world.is_partner(cpo_node, &emp()) && world.core(cpo_node).partners().is_empty());
}

#[test]
fn what_was_revoked_speaks_for_nobody() {
    let (mut world, cpo_node, emp_node) = partners();
    assert_eq!(world.nodes_of(cpo_node, &emp()), [emp_node]);
    let (chain, now_s) = (emp().chain(&node_id(emp_node)), world.now().unix_s());
    let (dead, by) = (Dead::Delegation(chain.delegation_hash()), key(101, emp().number));
    let bytes = Tombstone::issue(NETWORK, &chain.credential, dead, 1, now_s, "stolen", &by).unwrap().into();
    world.calls += 1;
    let call = CallId(world.calls);
    world.handle(cpo_node, Input::HandIn { call, bytes });
    assert_eq!(world.code(cpo_node, call), "000");
    assert_eq!(world.nodes_of(cpo_node, &emp()), Vec::<usize>::new(), "though it is still connected");
    world.run(2_000);
    // What was agreed with that key counts no more.
    assert!(!world.is_partner(cpo_node, &emp()));
}

#[test]
fn few_are_looked_for_at_once_and_each_has_its_turn() {
    let mut world = World::new(3);
    let node = world.add(&[cpo()]);
    let many: Vec<Person> = (0..40).map(|n| Person::new(&format!("CH*M{n:02}"), n).emp()).collect();
    let rules = many.iter().map(|person| rule(person, &[], true)).collect();
    let core = world.nodes[node].core.take().unwrap();
    let mut core = core.with_policy(Policy { rules });
    let (mut under_way, mut looked) = (Vec::new(), BTreeSet::new());
    for second in 1..=50 {
        let now = Now { mono_ms: second * 1_000, ..world.now() };
        let found = |fx: Effects| -> Vec<Digest> {
            let key = |action| match action {
                Action::FindCard { key } => Some(key),
                _ => None,
            };
            fx.actions.into_iter().filter_map(key).collect()
        };
        under_way.extend(found(core.handle(Input::Tick, now)));
        assert!(under_way.len() <= 8, "at {second} s: {}", under_way.len());
        looked.extend(under_way.iter().copied());
        if second < 40 {
            for key in std::mem::take(&mut under_way) {
                under_way.extend(found(core.handle(Input::CardNotFound { key }, now)));
                assert!(under_way.len() <= 8);
            }
        }
    }
    assert!(many.iter().all(|person| looked.contains(&place(person, 0))), "each has its turn");
    // Nobody answers any more: given up, and others have their turn.
    assert_eq!(under_way.len(), 8);
    let now = Now { mono_ms: 400_000, ..world.now() };
    core.handle(Input::Tick, now);
    let now = Now { mono_ms: 402_000, ..world.now() };
    let fx = core.handle(Input::Tick, now);
    assert!(fx.actions.len() <= 8);
    assert_eq!(core.partners().len(), 40);
}
