//! From changes to signed heads and announcements: the writing half of a feed.

use bytes::Bytes;

use super::feed::KnownHead;
use super::input::Now;
use super::publish::Pushed;
use super::records::{self, Checked};
use super::tree::Tree;
use super::{Feed, OurParty};
use crate::oicp::id::EvseKey;
use crate::protocol::{
    Announcement, CHANGES_MAX, Change, ChangeSet, FeedId, GOSSIP_BYTES_MAX, Head, SignedHead,
};

/// Raw bytes of changes that are tried in one announcement: real records compress to an eighth.
const RAW_BYTES_PER_ANNOUNCEMENT: usize = 256 * 1024;

/// Announcements for one push; what needs more is announced as a head and pulled (`replication.md`).
const ANNOUNCEMENTS_PER_PUSH_MAX: usize = 4;

/// Room that a head takes in a gossip message, in bytes, the members of its audience apart.
const HEAD_ROOM_BYTES: usize = 1_200;

/// Longest OperatorName (OICP), in characters.
const OPERATOR_NAME_CHARACTERS_MAX: usize = 100;

/// Numbers changes and signs heads of one feed.
pub(super) struct Writer<'a> {
    network: &'a str,
    party: &'a OurParty,
    head: Head,
    signed: Option<SignedHead>,
    next_seq: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        network: &'a str,
        party: &'a OurParty,
        feed_id: &FeedId,
        feed: &Feed,
        incarnation: u64,
        label: Option<&(String, Option<String>)>,
    ) -> Writer<'a> {
        let before = feed.applied.as_ref().map(|known| &known.head);
        let seq = feed.last_seq();
        let operator_id = label.map(|l| l.0.clone()).or_else(|| before.map(|h| h.operator_id.clone()));
        let operator_name = label
            .and_then(|l| l.1.clone())
            .or_else(|| before.map(|h| h.operator_name.clone()).filter(|name| !name.is_empty()))
            .unwrap_or_else(|| party.operator_name.clone());
        // A tolerant reader lets longer names pass, a head does not.
        let operator_name = operator_name.chars().take(OPERATOR_NAME_CHARACTERS_MAX).collect();
        let head = Head {
            feed: feed_id.clone(),
            epoch: party.speaker.epoch(),
            incarnation: incarnation.max(before.map_or(0, |head| head.incarnation)),
            seq,
            count: 0,
            root: [0; 32],
            created_unix_ms: 0,
            base_seq: seq,
            body: [0; 32],
            operator_id: operator_id.unwrap_or_else(|| party.party.id.to_string()),
            operator_name,
        };
        Writer { network, party, head, signed: None, next_seq: seq + 1 }
    }

    pub(super) fn number(&mut self, key: EvseKey, pushed: Option<Pushed>, now: Now) -> Checked {
        let seq = self.next_seq;
        self.next_seq += 1;
        let (value, summary) = pushed.map_or((None, None), |pushed| (Some(pushed.value), pushed.summary));
        let hash = value.as_deref().map_or([0; 32], records::hash);
        Checked { key, seq, at_unix_ms: now.unix_ms, value, hash, summary }
    }

    /// Puts the changes into the tree and signs: in up to some announcements that carry them, or, if
    /// they are too many for gossip, in one that only says what to pull.
    pub(super) fn announce(&mut self, tree: &mut Tree, changes: &[Checked], now: Now) -> Vec<Announcement> {
        let room = HEAD_ROOM_BYTES + self.head.feed.audience.to_texts().concat().len() * 2;
        let sets = change_sets(changes, room);
        let mut announcements = Vec::new();
        let mut rest = changes;
        for (set, length) in sets.unwrap_or_default() {
            let (these, others) = rest.split_at(length);
            rest = others;
            apply(tree, these);
            self.head.base_seq = self.head.seq;
            self.head.seq += length as u64;
            self.head.body = set.digest();
            let signed = self.sign(tree, now);
            announcements.push(Announcement { heads: vec![signed], changes: Some(set) });
        }
        if !rest.is_empty() {
            apply(tree, rest);
            self.head.seq += rest.len() as u64;
            self.seal(tree, now);
            announcements
                .extend(self.signed.clone().map(|head| Announcement { heads: vec![head], changes: None }));
        }
        announcements
    }

    /// Signs the state as it is, without changes.
    pub(super) fn seal(&mut self, tree: &mut Tree, now: Now) {
        self.head.base_seq = self.head.seq;
        self.head.body = [0; 32];
        self.sign(tree, now);
    }

    fn sign(&mut self, tree: &mut Tree, now: Now) -> SignedHead {
        self.head.count = tree.count();
        self.head.root = tree.root();
        self.head.created_unix_ms = now.unix_ms;
        let signed = SignedHead::sign(
            &self.head,
            self.network,
            *self.party.speaker.delegation_hash(),
            &self.party.message_key,
        );
        self.signed = Some(signed.clone());
        signed
    }

    pub(super) fn known(&self) -> KnownHead {
        let delegation = *self.party.speaker.delegation_hash();
        let signed = self.signed.clone();
        let signed = signed.unwrap_or_else(|| {
            SignedHead::sign(&self.head, self.network, delegation, &self.party.message_key)
        });
        KnownHead { head: self.head.clone(), signed }
    }
}

fn apply(tree: &mut Tree, changes: &[Checked]) {
    for change in changes {
        match change.entry() {
            Some(entry) => tree.put(entry),
            None => tree.remove(&change.key),
        };
    }
}

/// Cuts changes into sets that fit a gossip message each; `None` if that takes too many messages.
fn change_sets(changes: &[Checked], head_room_bytes: usize) -> Option<Vec<(ChangeSet, usize)>> {
    let mut sets = Vec::new();
    let mut rest = changes;
    while !rest.is_empty() {
        if sets.len() == ANNOUNCEMENTS_PER_PUSH_MAX {
            return None;
        }
        let mut raw = 0;
        let fits = |change: &&Checked| {
            raw += change.key.as_str().len() + change.value.as_ref().map_or(0, Bytes::len);
            raw <= RAW_BYTES_PER_ANNOUNCEMENT
        };
        let length = rest.iter().take(CHANGES_MAX).take_while(fits).count().max(1);
        let (these, others) = rest.split_at(length);
        let wire: Vec<Change> = these
            .iter()
            .map(|c| Change {
                key: c.key.as_str().to_owned(),
                at_unix_ms: c.at_unix_ms,
                value: c.value.clone(),
            })
            .collect();
        let set = ChangeSet::encode(&wire);
        if set.size_bytes() + head_room_bytes > GOSSIP_BYTES_MAX {
            return None;
        }
        sets.push((set, length));
        rest = others;
    }
    Some(sets)
}
