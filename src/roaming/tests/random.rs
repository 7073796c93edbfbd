//! Random pushes, losses, partitions and restarts against a model: after settling, every reader shows
//! what the backends were told was done.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::oicp::push::ActionType::{self, Delete, FullLoad, Insert, Update};

const WRITERS: usize = 2;
const NODES: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Push { writer: usize, kind: Kind, action: ActionType, ids: Vec<u8>, text: u8 },
    Loss(u64),
    Cut(usize, usize),
    Join(usize, usize),
    Restart(usize),
    Recover(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Data), Just(Kind::Status)];
    let action = prop_oneof![2 => Just(Insert), 3 => Just(Update), 1 => Just(Delete), 2 => Just(FullLoad)];
    let push = (0..WRITERS, kind, action, prop::collection::btree_set(0u8..8, 1..6), 0u8..4).prop_map(
        |(writer, kind, action, ids, text)| Step::Push {
            writer,
            kind,
            action,
            ids: ids.into_iter().collect(),
            text,
        },
    );
    prop_oneof![
        6 => push,
        1 => prop_oneof![Just(0u64), Just(30), Just(100)].prop_map(Step::Loss),
        1 => (0..NODES, 0..NODES).prop_map(|(a, b)| Step::Cut(a, b)),
        1 => (0..NODES, 0..NODES).prop_map(|(a, b)| Step::Join(a, b)),
        1 => (0..NODES).prop_map(Step::Restart),
        1 => (0..NODES).prop_map(Step::Recover),
        2 => prop_oneof![1u64..50, 50u64..3_000].prop_map(Step::Wait),
    ]
}

/// What a backend believes: EVSE to text, per writer and kind.
#[derive(Default)]
struct Model {
    sets: BTreeMap<(usize, Kind), BTreeMap<String, String>>,
}

impl Model {
    fn pushed(&mut self, writer: usize, kind: Kind, action: ActionType, records: &[(String, String)]) {
        let set = self.sets.entry((writer, kind)).or_default();
        if action == FullLoad {
            set.clear();
        }
        for (id, text) in records {
            match action {
                Delete => drop(set.remove(id)),
                Insert | Update | FullLoad => drop(set.insert(id.clone(), text.clone())),
            }
        }
        let data = self.sets.get(&(writer, Kind::Data)).cloned().unwrap_or_default();
        if let Some(statuses) = self.sets.get_mut(&(writer, Kind::Status)) {
            statuses.retain(|id, _| data.contains_key(id));
        }
    }

    fn view(&self) -> BTreeMap<(Kind, String), String> {
        let all = self.sets.iter().flat_map(|((_, kind), set)| {
            set.iter().map(move |(id, text)| ((*kind, id.replacen('*', "", 2)), text.clone()))
        });
        all.collect()
    }
}

fn text_of(kind: Kind, text: u8) -> String {
    let status = ["Available", "Occupied", "Reserved", "OutOfService"];
    match kind {
        Kind::Data => format!("note {text}"),
        Kind::Status | Kind::Pricing => status[usize::from(text)].to_owned(),
    }
}

fn play(seed: u64, steps: &[Step]) {
    let people = [Person::new("CH*AAA", 1), Person::new("CH*BBB", 2)];
    let mut world = World::meshed(seed, &people, NODES - WRITERS);
    let mut model = Model::default();
    let mut waiting: Vec<(CallId, Step)> = Vec::new();
    for step in steps {
        match step.clone() {
            Step::Push { writer, kind, action, ids, text } => {
                let call = world.push(
                    writer,
                    kind,
                    action,
                    &records(&people, writer, kind, &ids, text)
                        .iter()
                        .map(|(id, text)| (id.as_str(), text.as_str()))
                        .collect::<Vec<_>>(),
                );
                waiting.push((call, step.clone()));
            }
            Step::Loss(percent) => world.loss_percent = percent,
            Step::Cut(a, b) => world.disconnect(a, b),
            Step::Join(a, b) if a != b => world.connect(a, b),
            Step::Join(..) => {}
            Step::Restart(node) => {
                let links = world.nodes[node].links.clone();
                waiting.retain(|(call, step)| lives_on(&world, node, *call, step));
                world.kill(node);
                world.start(node);
                links.iter().for_each(|peer| world.connect(node, *peer));
            }
            Step::Recover(node) => {
                waiting.retain(|(call, step)| lives_on(&world, node, *call, step));
                world.recover(node);
            }
            Step::Wait(ms) => world.run(ms),
        }
        settle_calls(&world, &people, &mut waiting, &mut model);
    }
    world.loss_percent = 0;
    world.connect_all();
    world.run(700_000);
    settle_calls(&world, &people, &mut waiting, &mut model);
    assert!(waiting.is_empty(), "every call is answered");
    let expected = model.view();
    for node in WRITERS..NODES {
        let view = world.view(node).into_iter().map(|(key, (_, value))| {
            let value = match key.0 {
                Kind::Data => {
                    value.split(r#""AdditionalInfo":""#).nth(1).unwrap().trim_end_matches("\"}").to_owned()
                }
                Kind::Status | Kind::Pricing => value,
            };
            (key, value)
        });
        assert_eq!(view.collect::<BTreeMap<_, _>>(), expected, "node {node}");
    }
    world.blameless();
}

/// Calls that wait die with their node's core: their backends were told nothing, or that it was in vain.
fn lives_on(world: &World, node: usize, call: CallId, step: &Step) -> bool {
    let here = matches!(step, Step::Push { writer, .. } if *writer == node);
    !here || world.nodes[node].replies.contains_key(&call)
}

fn records(people: &[Person], writer: usize, kind: Kind, ids: &[u8], text: u8) -> Vec<(String, String)> {
    ids.iter().map(|id| (format!("{}*E{id}", people[writer].id), text_of(kind, text))).collect()
}

fn settle_calls(world: &World, people: &[Person], waiting: &mut Vec<(CallId, Step)>, model: &mut Model) {
    waiting.retain(|(call, step)| {
        let Step::Push { writer, kind, action, ids, text } = step else { return false };
        let Some((done, _)) = world.nodes[*writer].replies.get(call) else { return true };
        if *done {
            model.pushed(*writer, *kind, *action, &records(people, *writer, *kind, ids, *text));
        }
        false
    });
}

/// Worlds that one run plays; the variable `PROPTEST_CASES` asks for another number.
const CASES: u32 = 48;

/// Every run plays other worlds. A failure names the seed; `CHARGEMESH_SEED` plays the same ones again.
#[test]
fn all_views_agree_with_what_was_acknowledged() {
    let given = std::env::var("CHARGEMESH_SEED").ok();
    let seed = given.map_or_else(|| getrandom::u64().unwrap(), |seed| seed.parse().unwrap());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    });
    let worlds = (0u64..1_000_000, prop::collection::vec(step(), 1..40));
    let outcome = runner.run(&worlds, |(seed, steps)| {
        play(seed, &steps);
        Ok(())
    });
    assert!(outcome.is_ok(), "CHARGEMESH_SEED={seed}: {}", outcome.unwrap_err());
}
