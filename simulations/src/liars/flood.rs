//! Asks and announces as fast as it can.

use std::time::Duration;

use chargemesh::protocol::{Announcement, FeedId, Have, NodeId, Question, SyncRequest, Topic};
use rand_core::Rng as _;

use super::liar::{Act, Liar};

/// With what a node is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Questions for all heads, which are dear to answer.
    Questions,
    /// Repairs, and well signed heads of its own that lead nowhere.
    Syncs,
    /// Messages that nobody can read.
    Garbage,
}

/// 200 times a second.
const EVERY: Duration = Duration::from_millis(5);

/// Floods.
pub(super) struct Flood {
    with: With,
    turn: u64,
}

impl Flood {
    /// The n-th flooding liar of a scenario.
    pub(super) fn new(number: usize) -> Flood {
        Flood { with: [With::Questions, With::Garbage, With::Syncs][number % 3], turn: 0 }
    }
}

impl Act for Flood {
    fn every(&self) -> Duration {
        EVERY
    }

    fn tick(&mut self, liar: &mut Liar) {
        self.turn += 1;
        match self.with {
            With::Questions => {
                if let Some(node) = liar.some_peer() {
                    liar.lied_to(&node);
                    liar.ask(node, &Question::Heads(Vec::new()));
                }
            }
            With::Garbage => {
                let mut garbage = vec![0; 64 + liar.below(4_000)];
                liar.chance.fill_bytes(&mut garbage);
                liar.publish_lie(Topic::Status, garbage.into());
            }
            With::Syncs => self.syncs(liar),
        }
    }
}

impl Flood {
    fn syncs(&self, liar: &mut Liar) {
        let mut head = liar.own.blank(liar.now_unix_ms());
        (head.seq, head.base_seq) = (self.turn, self.turn);
        let heads = vec![liar.own.sign(&head, liar.delegation())];
        liar.publish(Topic::Status, Announcement { heads, changes: None }.encode());
        let feeds: Vec<FeedId> = liar.archive.feeds.keys().cloned().collect();
        let feed = feeds.get(liar.below(feeds.len())).cloned();
        let node: Option<NodeId> = liar.some_peer();
        if let (Some(feed), Some(node)) = (feed, node) {
            liar.did();
            liar.sync(node.clone(), &SyncRequest { feed, have: Have::Nothing });
            let unknown = Question::Chain(random(liar));
            liar.ask(node, &unknown);
        }
    }
}

fn random(liar: &mut Liar) -> [u8; 32] {
    let mut bytes = [0; 32];
    liar.chance.fill_bytes(&mut bytes);
    bytes
}
