//! What a liar has heard of others: it has nothing else to lie with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chargemesh::identity::{Chain, PublicKey};
use chargemesh::protocol::{
    Announcement, Answer, Digest, FeedId, Head, HeadMark, Question, SignedHead, SyncEntry, Topic,
};

use crate::people::NETWORK;

/// Gossip messages that a liar remembers; the oldest are forgotten.
const MESSAGES_MAX: usize = 2_000;

/// Everybody's credentials by the hash of the delegation, as their cards tell them to all.
pub(crate) type Credentials = Arc<BTreeMap<Digest, (PublicKey, Chain)>>;

/// A signed head and what it says.
#[derive(Clone, Debug)]
pub(super) struct HeardHead {
    pub(super) head: Head,
    pub(super) signed: SignedHead,
}

/// One feed as heard.
#[derive(Clone, Debug)]
pub(super) struct HeardFeed {
    pub(super) first: HeardHead,
    pub(super) newest: HeardHead,
    pub(super) records: BTreeMap<String, SyncEntry>,
}

/// Everything heard.
#[derive(Default)]
pub(super) struct Archive {
    pub(super) credentials: Credentials,
    /// Gossip as it came, oldest first.
    pub(super) messages: VecDeque<(Topic, Bytes)>,
    pub(super) feeds: BTreeMap<FeedId, HeardFeed>,
}

impl Archive {
    pub(super) fn new(credentials: Credentials) -> Archive {
        Archive { credentials, ..Archive::default() }
    }

    /// Remembers a gossip message.
    pub(super) fn heard(&mut self, topic: Topic, data: &Bytes) {
        if self.messages.len() >= MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back((topic, data.clone()));
        let Ok(announcement) = Announcement::decode(data) else { return };
        let heads: Vec<FeedId> = announcement.heads.iter().filter_map(|head| self.learn(head)).collect();
        let changes = announcement.changes.and_then(|changes| changes.decode().ok());
        let (Some(changes), Some(feed)) = (changes, heads.first().and_then(|feed| self.feeds.get_mut(feed)))
        else {
            return;
        };
        for (seq, change) in (feed.newest.head.base_seq + 1..).zip(changes) {
            let entry = SyncEntry {
                key: change.key.clone(),
                seq,
                at_unix_ms: change.at_unix_ms,
                value: change.value.clone(),
            };
            match change.value {
                Some(_) => feed.records.insert(change.key, entry),
                None => feed.records.remove(&change.key),
            };
        }
    }

    /// Remembers a head, and says of which feed it is if it is the newest of it.
    pub(super) fn learn(&mut self, signed: &SignedHead) -> Option<FeedId> {
        let (key, _) = self.credentials.get(&signed.delegation(NETWORK).ok()?)?;
        let head = signed.verify(NETWORK, key).ok()?;
        let heard = HeardHead { head, signed: signed.clone() };
        let feed_id = heard.head.feed.clone();
        let feed = self.feeds.entry(feed_id.clone()).or_insert_with(|| HeardFeed {
            first: heard.clone(),
            newest: heard.clone(),
            records: BTreeMap::new(),
        });
        if heard.head.position() < feed.newest.head.position() {
            return None;
        }
        feed.newest = heard;
        Some(feed_id)
    }

    /// What an honest node that knew this much would answer.
    pub(super) fn honest_answer(&self, question: &Question) -> Answer {
        match question {
            Question::Heads(marks) => Answer::Heads(self.newer_than(marks, false)),
            Question::HeadsOf(marks) => Answer::Heads(self.newer_than(marks, true)),
            Question::Chain(delegation) => {
                let chain = self.credentials.get(delegation).map(|(_, chain)| chain.clone());
                chain.map_or(Answer::NotFound, Answer::Chain)
            }
            Question::Objects(_) => Answer::NotFound,
            Question::Conflict(_) | Question::Registry(_) => Answer::Noted,
            Question::Introduce(_) => Answer::Chains(Vec::new()),
            Question::Agreement(_)
            | Question::Message(_)
            | Question::Announce(_)
            | Question::Time { .. }
            | Question::Books(_)
            | Question::CardFilter(_) => Answer::NotFound,
        }
    }

    fn newer_than(&self, marks: &[HeadMark], only_these: bool) -> Vec<SignedHead> {
        let newer = |feed: &&HeardFeed| {
            let head = &feed.newest.head;
            let party = head.feed.party.to_text();
            let mark = marks.iter().find(|mark| mark.party == party && mark.kind == head.feed.kind.code());
            mark.map_or(!only_these, |mark| mark.is_outdone_by(head))
        };
        self.feeds.values().filter(newer).map(|feed| feed.newest.signed.clone()).collect()
    }
}
