//! Prices: what is for one provider is a feed of its own, what is for all is everybody's.

use super::*;
use crate::oicp::push::ActionType::{Delete, FullLoad, Insert, Update};
use crate::protocol::Announcement;

const CPO: usize = 0;
const MEMBER: usize = 1;
const OTHER: usize = 2;
const EVSE: &str = "CH*AAA*E1";

/// What EVSEs cost: for the provider of `DE-ONE AC1`, or for all if there is none.
pub(super) fn body(action: ActionType, records: &[(&str, &str)]) -> Bytes {
    let record = |(id, text): &(&str, &str)| {
        let (whom, product) = text.split_once(' ').unwrap_or(("*", text));
        format!(r#"{{"EvseID":"{id}","ProviderID":"{whom}","EvseIDProductList":["{product}"]}}"#)
    };
    let (action, records) = (action.as_str(), records.iter().map(record).collect::<Vec<_>>().join(","));
    Bytes::from(format!(r#"{{"ActionType":"{action}","EVSEPricing":[{records}]}}"#))
}

fn emp(id: &str, number: u8) -> Person {
    Person::new(id, number).emp()
}

fn people() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1), emp("CH*EMA", 2), emp("CH*EMB", 3)]
}

/// EVSE, provider and product of the prices that a party of a node sees.
fn seen(world: &World, node: usize) -> Vec<String> {
    world.check(node);
    let view = world.nodes[node].store.view_of(&people()[node].party());
    let of = |((kind, key), (_, value)): ((Kind, String), (String, String))| {
        let product = value.split('"').nth_back(1).unwrap().to_owned();
        (kind == Kind::Pricing).then(|| format!("{key} {product}"))
    };
    view.into_iter().filter_map(of).collect()
}

#[test]
fn a_price_for_one_provider_reaches_its_node_alone() {
    let mut world = World::meshed(1, &people(), 0);
    let both = [(EVSE, "CH-EMA AC1"), (EVSE, "DC1"), ("CH*AAA*E2", "DC1")];
    world.pushed(CPO, Kind::Pricing, FullLoad, &both);
    world.run(500);
    let publics = ["CHAAAE1/* DC1", "CHAAAE2/* DC1"];
    assert_eq!(seen(&world, MEMBER), ["CHAAAE1/* DC1", "CHAAAE1/CHEMA AC1", "CHAAAE2/* DC1"]);
    assert_eq!(seen(&world, OTHER), publics);
    world.pushed(CPO, Kind::Pricing, Update, &[(EVSE, "CH-EMA AC2"), (EVSE, "DC2")]);
    world.run(200);
    assert_eq!(seen(&world, MEMBER), ["CHAAAE1/* DC2", "CHAAAE1/CHEMA AC2", "CHAAAE2/* DC1"]);
    // Over heartbeats, comparisons and restarts.
    world.run(700_000);
    for node in [CPO, MEMBER] {
        world.kill(node);
        world.start(node);
    }
    world.connect_all();
    world.run(10_000);
    world.pushed(CPO, Kind::Pricing, Delete, &[(EVSE, "CH-EMA AC2")]);
    world.pushed(CPO, Kind::Pricing, Insert, &[("CH*AAA*E2", "CH-EMA AC3")]);
    world.run(500);
    assert_eq!(seen(&world, MEMBER), ["CHAAAE1/* DC2", "CHAAAE2/* DC1", "CHAAAE2/CHEMA AC3"]);
    assert_eq!(seen(&world, OTHER), ["CHAAAE1/* DC2", "CHAAAE2/* DC1"]);
    let (core, store) = (world.core(OTHER), &world.nodes[OTHER].store);
    assert!(core.feeds.keys().all(|id| id.audience.is_public()));
    let kept = format!("{:?} {:?}", store.feeds, store.ledger);
    for hidden in ["AC1", "AC2", "AC3", "EMA"] {
        assert!(!kept.contains(hidden), "{hidden} at the third node: {kept}");
    }
    for node in &world.nodes {
        for (topic, bytes) in &node.published {
            let Ok(announcement) = Announcement::decode(bytes) else { continue };
            let changes = announcement.changes.map(|set| set.decode().unwrap()).unwrap_or_default();
            assert!(changes.iter().all(|change| !change.key.contains("EMA")), "gossiped on {topic:?}");
            assert!(changes.is_empty() || *topic != Topic::Data, "prices have a topic of their own");
        }
    }
    world.blameless();
}

#[test]
fn a_push_of_prices_is_taken_as_a_whole_or_not_at_all() {
    let mut world = World::meshed(2, &people(), 0);
    let code = |world: &mut World, action, records: &[(&str, &str)]| {
        let call = world.push(CPO, Kind::Pricing, action, records);
        world.code(CPO, call)
    };
    let (one, two) = ((EVSE, "CH-EMA a"), ("CH*AAA*E2", "a"));
    for (action, records, expected) in [
        (Update, vec![one], "009"),
        (Insert, vec![one, two], "000"),
        (Insert, vec![("CH*AAA*E3", "a"), one], "009"),
        (Insert, vec![(EVSE, "a")], "000"),
        (Insert, vec![(EVSE, "a"), (EVSE, "b")], "018"),
        (Insert, vec![("CH*XYZ*E1", "a")], "018"),
        (FullLoad, vec![], "009"),
        (Delete, vec![one, ("CH*AAA*E9", "a")], "000"),
    ] {
        assert_eq!(code(&mut world, action, &records), expected, "{action:?} {records:?}");
    }
    world.run(500);
    assert_eq!(seen(&world, MEMBER), ["CHAAAE1/* a", "CHAAAE2/* a"]);
    // One provider each is a feed each, and there may be so many.
    let ids: Vec<String> = (0..256).map(|number| format!("DE-{number:03} a")).collect();
    let many: Vec<(&str, &str)> = ids.iter().map(|id| (EVSE, id.as_str())).collect();
    assert_eq!(code(&mut world, Insert, &many), "009");
    assert_eq!(code(&mut world, Insert, &many[..200]), "000");
}
