//! Which EMPs hear of a card: with and without the pictures that EMPs give of the cards they know.

use super::super::agreements::cpo;
use super::super::*;
use crate::oicp::charging::PushAuthenticationData;
use crate::protocol::SessionOperation;
use crate::roaming::{AuthenticationPush, CardQuestions, ChargingConfig, PartyList};

/// Nodes of the mesh, the CPO's included.
const NODES: usize = 50;

/// Cards of each EMP.
const CARDS: usize = 200;

/// Cards of each EMP that are shown at the CPO's stations.
const SHOWN: usize = 4;

fn provider(number: usize) -> Person {
    Person::new(&format!("CH*P{number:02}"), 10 + number as u8).emp()
}

fn uid(provider: usize, card: usize) -> String {
    format!("04{provider:04X}{card:08X}")
}

fn medium(uid: &str) -> String {
    format!(r#"{{"RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}}}"#)
}

impl World {
    fn upload_of(&mut self, node: usize, action: &str, uids: &[String]) {
        let person = self.nodes[node].people[0].clone();
        let records: Vec<String> =
            uids.iter().map(|uid| format!(r#"{{"Identification":{}}}"#, medium(uid))).collect();
        let provider = person.id.replace('*', "-");
        let body = format!(
            r#"{{"ActionType":"{action}","ProviderAuthenticationData":{{"ProviderID":"{provider}","AuthenticationDataRecord":[{}]}}}}"#,
            records.join(",")
        );
        let push = PushAuthenticationData::parse(body.as_bytes(), Reading::Strict).unwrap();
        let push = AuthenticationPush::new(push).unwrap();
        self.calls += 1;
        let call = CallId(self.calls);
        self.handle(node, Input::PushAuthentication { call, party: person.party(), push });
        assert!(self.nodes[node].replies.remove(&call).unwrap().0);
    }

    /// A card is shown at the CPO's station.
    fn shown(&mut self, uid: &str) -> CallId {
        let body =
            format!(r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{}}}"#, medium(uid));
        self.charge(0, SessionOperation::AuthorizeStart, &body)
    }

    fn said_of_card(&self, call: CallId) -> String {
        self.heard(0, call).expect("an answer").1
    }

    fn questions(&self) -> CardQuestions {
        self.core(0).card_questions().clone()
    }
}

/// A CPO and EMPs without backends under contract with it; each has uploaded its cards.
fn mesh(providers: usize, filters: bool) -> World {
    let mut world = World::new(5);
    world.add(&[cpo()]);
    let card_filter_for = PartyList::new(if filters { vec![cpo().party()] } else { Vec::new() });
    for number in 0..providers {
        let node = world.add(&[provider(number)]);
        world.nodes[node].charging.no_backend = true;
        world.nodes[node].charging.config =
            ChargingConfig { card_filter_for: card_filter_for.clone(), ..ChargingConfig::default() };
        world.kill(node);
        world.start(node);
        world.connect(0, node);
    }
    for node in 0..=providers {
        let allow = |person: Person| Rule {
            whom: Whom { party: Some(person.party()), ..Whom::default() },
            services: BTreeSet::new(),
            allow: true,
        };
        let rules = match node {
            0 => (0..providers).map(|number| allow(provider(number))).collect(),
            _ => vec![allow(cpo())],
        };
        let core = world.nodes[node].core.take().unwrap();
        world.nodes[node].core = Some(core.with_policy(Policy { rules }));
    }
    world.run(5_000);
    for number in 0..providers {
        let cards: Vec<String> = (0..CARDS).map(|card| uid(number, card)).collect();
        world.upload_of(number + 1, "fullLoad", &cards);
    }
    world.run(3_000);
    world
}

/// Shows cards of everybody, each for the first time.
fn show_all(world: &mut World, providers: usize) -> CardQuestions {
    for number in 0..providers {
        for card in 0..SHOWN {
            let call = world.shown(&uid(number, card * 7));
            world.run(500);
            let answer = world.said_of_card(call);
            let name = provider(number).id;
            assert!(answer.contains("\"Authorized\"") && answer.contains(&name[3..]), "{name}: {answer}");
        }
    }
    world.questions()
}

#[test]
fn in_a_mesh_of_fifty_pictures_spare_the_others_the_sight_of_a_card() {
    let providers = NODES - 1;
    let mut told = Vec::new();
    for filters in [false, true] {
        let mut world = mesh(providers, filters);
        let seen = show_all(&mut world, providers);
        assert_eq!(seen.questions, (providers * SHOWN) as u64);
        let mean = seen.told as f64 / seen.questions as f64;
        let most = seen.by_told.keys().max().unwrap();
        println!(
            "{NODES} nodes, pictures {filters}: {mean:.2} EMPs see a card that is shown first, at most {most}"
        );
        // Whose card it is has been learned: nobody else hears of it again.
        let call = world.shown(&uid(7, 0));
        world.run(500);
        assert!(world.said_of_card(call).contains("\"Authorized\""));
        assert_eq!(world.questions().told, seen.told + 1);
        told.push(mean);
    }
    assert_eq!(told[0], 49.0);
    assert!(told[1] < 1.6, "{told:?}");
}

#[test]
fn a_new_card_is_known_at_once_and_one_of_nobody_is_asked_of_nobody() {
    let mut world = mesh(2, true);
    let before = world.questions();
    let call = world.shown("04FFFFFFFFFFFF");
    assert!(world.said_of_card(call).contains("\"102\""), "at once: {}", world.said_of_card(call));
    assert_eq!((world.questions().told, world.questions().spared), (before.told, before.spared + 2));

    // Soon after an upload: the picture is withdrawn, for the new card is not in it.
    world.upload_of(1, "insert", &["04FFFFFFFFFFFF".to_owned()]);
    world.run(200);
    let call = world.shown("04FFFFFFFFFFFF");
    world.run(500);
    assert!(world.said_of_card(call).contains("\"Authorized\""), "{}", world.said_of_card(call));
    let foreign = world.shown("04EEEEEEEEEEEE");
    world.run(500);
    assert!(world.said_of_card(foreign).contains("\"102\""));
    assert_eq!(world.questions().told, before.told + 2, "the one that has no picture is asked");

    // A little later the next picture has it.
    world.run(15_000);
    let foreign = world.shown("04DDDDDDDDDDDD");
    assert!(world.said_of_card(foreign).contains("\"102\""));
    assert_eq!(world.questions().told, before.told + 2);
}

#[test]
fn a_picture_goes_with_its_connection_and_with_what_was_uploaded() {
    let mut world = mesh(1, true);
    let is_asked = |world: &mut World, card: &str| {
        let before = world.questions().told;
        world.shown(card);
        world.run(1_000);
        world.questions().told > before
    };
    assert!(!is_asked(&mut world, "04FFFFFFFFFFFF"));
    world.disconnect(0, 1);
    world.run(1_000);
    world.connect(0, 1);
    world.run(3_000);
    assert!(!is_asked(&mut world, "04FFFFFFFFFFF1"), "it is told to whom comes anew");
    world.kill(1);
    world.start(1);
    world.connect(0, 1);
    world.run(13_000);
    assert!(!is_asked(&mut world, "04FFFFFFFFFFF2"), "and after a restart");
    // Who knows no cards says nothing, and is asked.
    let all: Vec<String> = (0..CARDS).map(|card| uid(0, card)).collect();
    world.upload_of(1, "delete", &all);
    world.run(13_000);
    assert!(world.core(0).charging.card_filters.held_count() == 0);
}
