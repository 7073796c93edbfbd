//! A feed that a liar writes with its own, valid credential.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use chargemesh::oicp::id::{EvseId, EvseKey};
use chargemesh::protocol::{
    Announcement, Change, ChangeSet, Digest, FeedId, Head, Kind, SignedHead, SyncChunk, SyncEntry, SyncFrame,
    SyncStart,
};
use chargemesh::roaming::{Entry, Tree};
use sha2::{Digest as _, Sha256};

use crate::people::{NETWORK, Party};

/// Charging points of a liar.
const EVSES: usize = 3;

/// The status feed of a liar's own party: each history is one status of all its charging points.
#[derive(Clone)]
pub(super) struct OwnFeed {
    party: Party,
    delegation: Digest,
    keys: Vec<EvseKey>,
}

impl OwnFeed {
    /// `operator`: the OperatorID, as `DE*A00`.
    pub(super) fn new(party: &Party, operator: &str) -> Result<OwnFeed> {
        let key = |number: usize| {
            let id = format!("{operator}*E{number:06}");
            Ok(EvseId::parse(&id).with_context(|| id.clone())?.key().clone())
        };
        let mut keys = (0..EVSES).map(key).collect::<Result<Vec<_>>>()?;
        keys.sort();
        Ok(OwnFeed { party: party.clone(), delegation: party.chain.delegation_hash(), keys })
    }

    /// The hash that its heads name as signer.
    pub(super) fn delegation(&self) -> Digest {
        self.delegation
    }

    /// A head of this feed over nothing.
    pub(super) fn blank(&self, at_unix_ms: u64) -> Head {
        Head {
            feed: FeedId::public(self.party.id.clone(), Kind::Status),
            epoch: 1,
            incarnation: 1,
            seq: 1,
            count: 0,
            root: Tree::default().root(),
            created_unix_ms: at_unix_ms,
            base_seq: 1,
            body: [0; 32],
            operator_id: self.party.id.id.to_string(),
            operator_name: String::new(),
        }
    }

    /// Signs a head, of whichever feed, with this party's own key and in the name of `delegation`.
    pub(super) fn sign(&self, head: &Head, delegation: Digest) -> SignedHead {
        SignedHead::sign(head, NETWORK, delegation, &self.party.message_key)
    }

    /// Announces changes in the name of this party, whether it may or not.
    pub(super) fn announce(&self, mut head: Head, changes: &[Change], delegation: Digest) -> Announcement {
        let set = ChangeSet::encode(changes);
        head.base_seq = head.seq;
        head.seq += changes.len() as u64;
        head.body = set.digest();
        Announcement { heads: vec![self.sign(&head, delegation)], changes: Some(set) }
    }

    /// One history: all charging points have this status since then, and its head says so.
    pub(super) fn history(
        &self,
        status: &str,
        incarnation: u64,
        at_unix_ms: u64,
    ) -> (SignedHead, Vec<SyncEntry>) {
        let value = Bytes::copy_from_slice(status.as_bytes());
        let (mut tree, mut entries) = (Tree::default(), Vec::new());
        for (seq, key) in (1..).zip(&self.keys) {
            let hash = Sha256::digest(&value).into();
            tree.put(Entry { key: key.clone(), seq, at_unix_ms, hash });
            let (key, value) = (key.as_str().to_owned(), Some(value.clone()));
            entries.push(SyncEntry { key, seq, at_unix_ms, value });
        }
        let seq = self.keys.len() as u64;
        let (count, root) = (tree.count(), tree.root());
        let head = Head { incarnation, seq, base_seq: seq, count, root, ..self.blank(at_unix_ms) };
        (self.sign(&head, self.delegation), entries)
    }
}

/// An answer to a repair: all buckets, these records.
pub(super) fn whole(head: SignedHead, mut entries: Vec<SyncEntry>) -> Vec<SyncFrame> {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let buckets = Some((0..=255).collect());
    let start = SyncFrame::Start(SyncStart { head, buckets });
    let chunk = (!entries.is_empty()).then(|| SyncFrame::Chunk(SyncChunk::encode(&entries)));
    [Some(start), chunk, Some(SyncFrame::End)].into_iter().flatten().collect()
}
