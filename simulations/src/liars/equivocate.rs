//! Tells half of the network another history of its own feed than the other half.

use std::time::Duration;

use chargemesh::protocol::{Answer, NodeId, Question, SignedHead, SyncEntry, SyncFrame, SyncRequest};

use super::liar::{Act, Liar, Served};
use super::own::whole;

/// Two histories with one number.
#[derive(Default)]
pub(super) struct Equivocate {
    histories: Vec<(SignedHead, Vec<SyncEntry>)>,
}

impl Equivocate {
    fn of(&mut self, liar: &Liar, node: &NodeId) -> (SignedHead, Vec<SyncEntry>) {
        if self.histories.is_empty() {
            let now_unix_ms = liar.now_unix_ms();
            let history = |status| liar.own.history(status, 1, now_unix_ms);
            self.histories = ["Available", "OutOfService"].map(history).to_vec();
        }
        let side = node.as_bytes().last().is_some_and(|last| last % 2 == 0);
        self.histories[usize::from(side)].clone()
    }
}

impl Act for Equivocate {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Nodes ask it for news of themselves.
    fn tick(&mut self, _: &mut Liar) {}

    fn asked(&mut self, liar: &mut Liar, from: &NodeId, question: &Question) -> Option<Answer> {
        match liar.archive.honest_answer(question) {
            Answer::Heads(mut heads) => {
                liar.did();
                heads.push(self.of(liar, from).0);
                Some(Answer::Heads(heads))
            }
            other => Some(other),
        }
    }

    fn served(&mut self, liar: &mut Liar, from: &NodeId, request: &SyncRequest) -> Served {
        if request.feed.party != liar.party.id {
            return Served::Frames(vec![SyncFrame::Unavailable]);
        }
        let (head, entries) = self.of(liar, from);
        Served::Frames(whole(head, entries))
    }
}
