//! Says again what others said long ago, also to nodes that have just started again.

use std::time::Duration;

use chargemesh::protocol::{
    Announcement, Answer, NodeId, Question, SignedHead, SyncFrame, SyncRequest, Topic,
};

use super::liar::{Act, Liar, Served};
use super::own::whole;

/// Heads in one replayed message.
const HEADS_MAX: usize = 16;

/// What speaks: it hears nothing, so its gossip takes nothing for a message that it had already.
pub(super) struct Mouth;

impl Act for Mouth {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn tick(&mut self, _: &mut Liar) {}
}

/// Replays old messages word by word, old heads alone, and old heads where it is asked for new ones.
#[derive(Default)]
pub(super) struct Replay {
    /// Heads of others as they came, oldest first; bounded by the archive's own limit.
    old: Vec<SignedHead>,
}

impl Act for Replay {
    fn every(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn tick(&mut self, liar: &mut Liar) {
        let at = liar.below(liar.archive.messages.len());
        let Some((topic, data)) = liar.archive.messages.get(at).cloned() else { return };
        if let Ok(announcement) = Announcement::decode(&data)
            && self.old.len() < 2_000
        {
            self.old.extend(announcement.heads);
        }
        liar.did();
        if liar.below(2) == 0 {
            return liar.publish(topic, data);
        }
        // The same heads in another order are another message: no memory of duplicates stops it.
        let heads: Vec<SignedHead> = (0..1 + liar.below(HEADS_MAX))
            .filter_map(|_| self.old.get(liar.below(self.old.len())).cloned())
            .collect();
        if !heads.is_empty() {
            liar.publish(Topic::Heads, Announcement { heads, changes: None }.encode());
        }
    }

    fn asked(&mut self, liar: &mut Liar, _: &NodeId, question: &Question) -> Option<Answer> {
        match question {
            Question::Heads(_) | Question::HeadsOf(_) => {
                liar.did();
                let first = liar.archive.feeds.values().map(|feed| feed.first.signed.clone());
                Some(Answer::Heads(first.collect()))
            }
            other => Some(liar.archive.honest_answer(other)),
        }
    }

    fn served(&mut self, liar: &mut Liar, _: &NodeId, request: &SyncRequest) -> Served {
        liar.did();
        // An old head, and nothing behind it.
        let feed = liar.archive.feeds.get(&request.feed);
        Served::Frames(feed.map_or_else(
            || vec![SyncFrame::Unavailable],
            |feed| whole(feed.first.signed.clone(), Vec::new()),
        ))
    }
}
