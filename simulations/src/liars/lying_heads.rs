//! Claims heads that do not exist, so that others ask it for repairs that nobody can give.

use std::time::Duration;

use chargemesh::protocol::{
    Announcement, Answer, HeadMark, NodeId, Question, SignedHead, SyncRequest, Topic,
};

use super::forge::broken;
use super::liar::{Act, Liar, Served};

/// By how much it is ahead of everybody.
const AHEAD: u64 = 1_000_000;

/// Claims.
pub(super) struct LyingHeads {
    /// Whether it also shows heads with forged signatures: that can be proved.
    forges: bool,
    turn: u64,
}

impl LyingHeads {
    /// The n-th liar of this kind in a scenario.
    pub(super) fn new(number: usize) -> LyingHeads {
        LyingHeads { forges: number.is_multiple_of(2), turn: 0 }
    }

    /// Its own feed has a head that nothing is behind.
    fn own(&self, liar: &Liar) -> SignedHead {
        let mut head = liar.own.blank(liar.now_unix_ms());
        (head.seq, head.base_seq) = (AHEAD + self.turn, AHEAD + self.turn);
        (head.count, head.root) = (10, [7; 32]);
        liar.own.sign(&head, liar.delegation())
    }
}

impl Act for LyingHeads {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn tick(&mut self, liar: &mut Liar) {
        self.turn += 1;
        let ahead = |heard: &super::archive::HeardFeed| {
            let mut mark = HeadMark::of(&heard.newest.head);
            (mark.seq, mark.root_prefix) = (mark.seq + AHEAD + self.turn, [9; 16]);
            mark
        };
        let marks: Vec<HeadMark> = liar.archive.feeds.values().map(ahead).collect();
        if let Some(node) = liar.some_peer() {
            liar.did();
            liar.ask(node, &Question::Heads(marks));
        }
        let announcement = Announcement { heads: vec![self.own(liar)], changes: None };
        liar.publish(Topic::Heads, announcement.encode());
    }

    fn asked(&mut self, liar: &mut Liar, from: &NodeId, question: &Question) -> Option<Answer> {
        if !matches!(question, Question::Heads(_) | Question::HeadsOf(_)) {
            return Some(liar.archive.honest_answer(question));
        }
        let mut heads = vec![self.own(liar)];
        let at = liar.below(liar.archive.feeds.len());
        let genuine = liar.archive.feeds.values().nth(at).map(|feed| feed.newest.signed.clone());
        if let (true, Some(genuine)) = (self.forges, genuine)
            && let Some(forged) = broken(liar, &genuine)
        {
            liar.lied_to(from);
            heads.push(forged);
        }
        Some(Answer::Heads(heads))
    }

    fn served(&mut self, _: &mut Liar, _: &NodeId, _: &SyncRequest) -> Served {
        Served::Silence
    }
}
