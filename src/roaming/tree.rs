//! What a feed holds, as far as decisions need it: per record the number, time and hash of its
//! newest version, in buckets whose hashes make the root. Payloads live in storage.

use std::collections::BTreeMap;

use crate::oicp::id::EvseKey;
use crate::planted::{Bug, planted};
use crate::protocol::{
    BUCKETS, Digest, EMPTY_BUCKET, Head, Leaf, bucket_hash, bucket_of, leaf_hash, root_hash,
};

/// The newest version of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The EVSE.
    pub key: EvseKey,
    /// Number of the change.
    pub seq: u64,
    /// When the writer took it, in unix milliseconds.
    pub at_unix_ms: u64,
    /// SHA-256 of the value.
    pub hash: Digest,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Sorted by key: a bucket holds a 256th of a feed, so moving its tail is cheap and nothing is
    /// spent on tree nodes.
    entries: Vec<Entry>,
    hash: Digest,
    dirty: bool,
}

/// All records of a feed.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Those that hold something: most feeds are small, and a node holds hundreds.
    buckets: BTreeMap<usize, Bucket>,
    count: u64,
    /// Until something changes.
    root: Option<Digest>,
}

impl Tree {
    /// Number of records.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The newest version of a record.
    pub fn get(&self, key: &EvseKey) -> Option<&Entry> {
        let bucket = self.buckets.get(&bucket_of(key.as_str()))?;
        let at = bucket.entries.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        bucket.entries.get(at)
    }

    /// All records, bucket by bucket, in key order within each.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.values().flat_map(|bucket| bucket.entries.iter())
    }

    /// Puts a new version in place and gives the one before.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        self.root = None;
        let bucket = self.buckets.entry(bucket_of(entry.key.as_str())).or_default();
        bucket.dirty = true;
        match bucket.entries.binary_search_by(|other| other.key.cmp(&entry.key)) {
            Ok(at) => bucket.entries.get_mut(at).map(|old| std::mem::replace(old, entry)),
            Err(at) => {
                // Most buckets hold one record, where `Vec` makes room for four: a megabyte for 400 small feeds.
                if bucket.entries.len() == bucket.entries.capacity() {
                    bucket.entries.reserve_exact(1 + bucket.entries.len() / 2);
                }
                bucket.entries.insert(at, entry);
                self.count += 1;
                None
            }
        }
    }

    /// Whether it is what a head was signed over.
    pub fn adds_up_to(&mut self, head: &Head) -> bool {
        planted(Bug::RootNotChecked) || self.count == head.count && self.root() == head.root
    }

    /// Takes a record out.
    pub fn remove(&mut self, key: &EvseKey) -> Option<Entry> {
        let index = bucket_of(key.as_str());
        let bucket = self.buckets.get_mut(&index)?;
        let at = bucket.entries.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        bucket.dirty = true;
        self.root = None;
        self.count -= 1;
        let removed = bucket.entries.remove(at);
        if bucket.entries.is_empty() {
            self.buckets.remove(&index);
        }
        Some(removed)
    }

    /// Empties one bucket and gives what was in it.
    pub fn clear_bucket(&mut self, index: usize) -> Vec<Entry> {
        let entries = self.buckets.remove(&index).map(|bucket| bucket.entries).unwrap_or_default();
        self.root = None;
        self.count -= entries.len() as u64;
        entries
    }

    /// The bucket hashes, after what changed was hashed again.
    pub fn bucket_hashes(&mut self) -> [Digest; BUCKETS] {
        let mut hashes = [EMPTY_BUCKET; BUCKETS];
        for (index, bucket) in &mut self.buckets {
            if bucket.dirty {
                bucket.hash = bucket_hash(bucket.entries.iter().map(|entry| leaf_hash(&leaf(entry))));
                bucket.dirty = false;
            }
            if let Some(hash) = hashes.get_mut(*index) {
                *hash = bucket.hash;
            }
        }
        hashes
    }

    /// The root over all records.
    pub fn root(&mut self) -> Digest {
        if let Some(root) = self.root {
            return root;
        }
        let root = root_hash(&self.bucket_hashes());
        self.root = Some(root);
        root
    }
}

fn leaf(entry: &Entry) -> Leaf<'_> {
    Leaf { key: entry.key.as_str(), seq: entry.seq, at_unix_ms: entry.at_unix_ms, hash: entry.hash }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u16, seq: u64) -> Entry {
        let key = EvseKey::parse_canonical(&format!("CHABCE{number}")).unwrap();
        Entry { key, seq, at_unix_ms: seq, hash: [number as u8; 32] }
    }

    #[test]
    fn an_empty_tree_and_an_emptied_tree_have_the_same_root() {
        let mut tree = Tree::default();
        let empty = tree.root();
        tree.put(entry(1, 1));
        assert_ne!(tree.root(), empty);
        tree.remove(&entry(1, 1).key);
        assert_eq!((tree.root(), tree.count()), (empty, 0));
    }

    proptest! {
        /// The root depends on what is in the tree, never on how it came there.
        #[test]
        fn the_root_is_a_function_of_the_set(changes in prop::collection::vec((0u16..50, any::<bool>()), 0..200)) {
            let mut tree = Tree::default();
            let mut model = std::collections::BTreeMap::new();
            for (seq, (number, delete)) in changes.into_iter().enumerate() {
                let new = entry(number, seq as u64);
                if delete {
                    tree.remove(&new.key);
                    model.remove(&number);
                } else {
                    tree.put(new.clone());
                    model.insert(number, new);
                }
                if seq % 7 == 0 {
                    tree.root();
                }
            }
            let mut fresh = Tree::default();
            for entry in model.values().rev() {
                fresh.put(entry.clone());
            }
            prop_assert_eq!(tree.count(), model.len() as u64);
            prop_assert_eq!(tree.root(), fresh.root());
        }
    }
}
