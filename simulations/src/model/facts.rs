//! What all nodes have in common is kept once: gossip messages, versions of records, signed heads. A node's
//! storage and the queue hold numbers.

use std::collections::HashMap;

use bytes::Bytes;
use chargemesh::identity::Chain;
use chargemesh::oicp::id::EvseKey;
use chargemesh::protocol::{Digest, FeedId, Head, Kind, SignedHead, Topic};
use chargemesh::roaming::change::RecordChange;
use sha2::{Digest as _, Sha256};

/// The number of a gossip message.
pub(super) type MessageId = u32;

/// The number of a feed: twice the number of its operator, one more for statuses.
pub(super) type Feed = usize;

/// The number of a version of a record.
pub(super) type VersionId = u32;

/// The number of a signed head.
pub(super) type HeadId = u32;

/// A version of a record, or its end.
pub(super) struct Version {
    pub(super) key: EvseKey,
    /// Its place among its operator's charging points.
    pub(super) evse: usize,
    pub(super) seq: u64,
    pub(super) at_unix_ms: u64,
    pub(super) value: Option<Bytes>,
    pub(super) hash: Digest,
}

/// Everything that was ever said. Nothing is looked through in the order of a hash map.
#[derive(Default)]
pub(super) struct Facts {
    messages: Vec<(Topic, Bytes)>,
    message_ids: HashMap<Digest, MessageId>,
    versions: Vec<Version>,
    version_ids: HashMap<(Feed, usize, u64, u64, Digest), VersionId>,
    heads: Vec<(Head, SignedHead)>,
    head_ids: HashMap<Bytes, HeadId>,
    chains: HashMap<Digest, Chain>,
    feeds: HashMap<FeedId, Feed>,
    /// Operator and place of every charging point that there is.
    evses: HashMap<Box<str>, (usize, usize)>,
}

impl Facts {
    /// An operator with its charging points in order of their keys.
    pub(super) fn add_operator<'a>(&mut self, feeds: [FeedId; 2], keys: impl Iterator<Item = &'a EvseKey>) {
        let operator = self.feeds.len() / 2;
        for (kind, feed) in feeds.into_iter().enumerate() {
            self.feeds.insert(feed, 2 * operator + kind);
        }
        for (place, key) in keys.enumerate() {
            self.evses.insert(key.as_str().into(), (operator, place));
        }
    }

    /// The number of a feed; `None` if nobody writes it.
    pub(super) fn feed(&self, feed: &FeedId) -> Option<Feed> {
        self.feeds.get(feed).copied()
    }

    /// The feed of a charging point.
    pub(super) fn feed_of(&self, kind: Kind, key: &EvseKey) -> Option<Feed> {
        let (operator, _) = self.evses.get(key.as_str())?;
        match kind {
            Kind::Data => Some(2 * operator),
            Kind::Status => Some(2 * operator + 1),
            // The model's operators publish no prices.
            Kind::Pricing => None,
        }
    }

    /// The number of a gossip message: its hash, shorter.
    pub(super) fn message(&mut self, topic: Topic, bytes: &Bytes) -> MessageId {
        let next = self.messages.len() as MessageId;
        let id = *self.message_ids.entry(Sha256::digest(bytes).into()).or_insert(next);
        if id == next {
            self.messages.push((topic, bytes.clone()));
        }
        id
    }

    /// A gossip message.
    pub(super) fn message_of(&self, id: MessageId) -> (Topic, Bytes) {
        let (topic, bytes) = &self.messages[id as usize];
        (*topic, bytes.clone())
    }

    /// The number of a version; `None` if the feed's operator has no such charging point.
    pub(super) fn version(&mut self, feed: Feed, record: RecordChange) -> Option<VersionId> {
        let RecordChange { key, seq, at_unix_ms, value, hash, .. } = record;
        let (operator, evse) = *self.evses.get(key.as_str())?;
        if operator != feed / 2 {
            return None;
        }
        let next = self.versions.len() as VersionId;
        let id = *self.version_ids.entry((feed, evse, seq, at_unix_ms, hash)).or_insert(next);
        if id == next {
            self.versions.push(Version { key, evse, seq, at_unix_ms, value, hash });
        }
        Some(id)
    }

    /// A version.
    pub(super) fn version_of(&self, id: VersionId) -> &Version {
        &self.versions[id as usize]
    }

    /// The number of a head.
    pub(super) fn head(&mut self, head: Head, signed: SignedHead) -> HeadId {
        if let Some(id) = self.head_ids.get(signed.as_bytes()) {
            return *id;
        }
        let id = self.heads.len() as HeadId;
        self.head_ids.insert(signed.as_bytes().clone(), id);
        self.heads.push((head, signed));
        id
    }

    /// A head.
    pub(super) fn head_of(&self, id: HeadId) -> &(Head, SignedHead) {
        &self.heads[id as usize]
    }

    /// Keeps a chain.
    pub(super) fn keep_chain(&mut self, delegation: Digest, chain: Chain) {
        self.chains.entry(delegation).or_insert(chain);
    }

    /// The chain of a delegation.
    pub(super) fn chain(&self, delegation: &Digest) -> Option<Chain> {
        self.chains.get(delegation).cloned()
    }
}

/// The kind of a feed.
pub(super) fn kind_of(feed: Feed) -> Kind {
    if feed.is_multiple_of(2) { Kind::Data } else { Kind::Status }
}
