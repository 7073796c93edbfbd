//! Peers that lie where no gossip verdict tells of it, and peers that say nothing.

use super::*;
use crate::oicp::push::ActionType::Update;
use crate::protocol::{Answer, Question, SignedHead};

impl World {
    /// Nobody was taken for a liar.
    pub(super) fn blameless(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.penalised, [], "penalised by {index}");
            assert!(
                node.verdicts.iter().all(|(_, verdict)| *verdict != Verdict::Reject),
                "rejected by {index}"
            );
        }
    }
}

fn one() -> Vec<Person> {
    vec![Person::new("CH*AAA", 1)]
}

impl World {
    /// Lets time pass; what is sent to these nodes gets lost, and nobody is told.
    fn run_without(&mut self, silent: &[usize], for_ms: u64) {
        for _ in 0..for_ms {
            self.run(1);
            let lost = |delivery: &Delivery| {
                let asks = matches!(delivery.event, Event::Ask { .. } | Event::Sync { .. });
                asks && silent.contains(&delivery.to)
            };
            self.queue.retain(|_, delivery| !lost(delivery));
        }
    }
}

#[test]
fn a_forged_head_in_an_answer_is_an_offence() {
    let mut world = World::meshed(31, &one(), 2);
    world.load(0, "CH*AAA", 3, "x");
    world.run(1_000);
    let feed_id = FeedId::public(one()[0].party(), Kind::Data);
    let genuine = world.core(1).feeds[&feed_id].applied.as_ref().unwrap().signed.clone();
    let mut bytes = genuine.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = SignedHead::from_bytes(bytes.into()).unwrap();
    for head in [genuine, forged] {
        let heads = |asking: &(&RequestId, &Asking)| asking.1.to == node_id(1);
        let request = loop {
            world.run_without(&[1], 1);
            if let Some((request, _)) = world.core(2).requests.iter().find(heads) {
                break *request;
            }
        };
        assert_eq!(world.nodes[2].penalised, [], "a genuine one costs nothing");
        let bytes = Answer::Heads(vec![head]).encode();
        world.handle(2, Input::Answered { from: node_id(1), request, bytes });
    }
    assert_eq!(world.nodes[2].penalised, [(1, Misdeed::Malformed)]);
}

#[test]
fn who_asks_for_heads_without_end_is_at_fault() {
    let mut world = World::meshed(32, &one(), 1);
    for number in 0..200 {
        let (ask, request) = (AskId(900_000 + number), RequestId(900_000 + number));
        world.nodes[1].asks.insert(ask, (0, request));
        let bytes = Question::Heads(Vec::new()).encode();
        world.handle(1, Input::Asked { from: node_id(0), ask, bytes });
    }
    let penalised = &world.nodes[1].penalised;
    assert!(penalised.len() >= 100 && penalised.iter().all(|offence| *offence == (0, Misdeed::Flood)));
    world.run(60_000);
    let so_far = world.nodes[1].penalised.len();
    world.run(60_000);
    assert_eq!(world.nodes[1].penalised.len(), so_far, "the usual questions are no flood");
}

#[test]
fn a_silent_peer_does_not_keep_a_starting_writer_from_writing() {
    let mut world = World::meshed(33, &one(), 2);
    world.load(0, "CH*AAA", 3, "x");
    world.run(1_000);
    world.kill(0);
    world.start(0);
    world.connect_all();
    let call = world.push(0, Kind::Data, Update, &[("CH*AAA*E0001", "y")]);
    world.run_without(&[1], 14_000);
    assert_eq!(world.code(0, call), "000");
}

#[test]
fn a_peer_that_lets_repairs_hang_delays_them_little_and_once() {
    for seed in 40..48 {
        let mut world = World::meshed(seed, &one(), 3);
        world.load(0, "CH*AAA", 30, "x");
        world.run(1_000);
        world.kill(0);
        let late = world.add(&[]);
        (1..4).for_each(|server| world.connect(server, late));
        world.run_without(&[1], 7_000);
        world.agree(&[2, 3, late], 30, 0);
        world.blameless();
    }
}
