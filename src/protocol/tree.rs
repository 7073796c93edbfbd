//! The hash tree over a feed: records fall into [`BUCKETS`] buckets by the hash of their key, a bucket
//! is the hash of its leaves in key order, the root is the hash of the buckets. The writer signs the
//! root; two nodes that differ compare buckets to find what differs. Pure functions: who keeps the
//! hashes, and when they are computed again, is the caller's matter.

use sha2::{Digest as _, Sha256};

use super::{BUCKETS, Digest};

/// The hash of a bucket without records.
pub const EMPTY_BUCKET: Digest = [0; 32];

/// What a record contributes to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The canonical key of the EVSE, at most [`super::KEY_BYTES_MAX`] bytes.
    pub key: &'a str,
    /// The number of the change that made this version.
    pub seq: u64,
    /// When the writer took the change, in unix milliseconds.
    pub at_unix_ms: u64,
    /// SHA-256 of the value.
    pub hash: Digest,
}

/// The bucket of a key: the first byte of SHA-256 of the key, below [`BUCKETS`].
pub fn bucket_of(key: &str) -> usize {
    let digest: Digest = Sha256::digest(key.as_bytes()).into();
    let [first, ..] = digest;
    usize::from(first)
}

/// The hash of a leaf: SHA-256 over the key's length (16 bits), the key, `seq`, the time (64 bits
/// each) and the value's hash; numbers big-endian.
///
/// A key longer than 16 bits can count does not get this far; its length would be cut to 65535.
pub fn leaf_hash(leaf: &Leaf<'_>) -> Digest {
    let length = u16::try_from(leaf.key.len()).unwrap_or(u16::MAX);
    let mut hasher = Sha256::new();
    hasher.update(length.to_be_bytes());
    hasher.update(leaf.key.as_bytes());
    hasher.update(leaf.seq.to_be_bytes());
    hasher.update(leaf.at_unix_ms.to_be_bytes());
    hasher.update(leaf.hash);
    hasher.finalize().into()
}

/// The hash of a bucket: SHA-256 over its leaf hashes in key order; [`EMPTY_BUCKET`] if there are none.
pub fn bucket_hash(leaves: impl Iterator<Item = Digest>) -> Digest {
    let mut hasher = Sha256::new();
    let mut any = false;
    for leaf in leaves {
        hasher.update(leaf);
        any = true;
    }
    if any { hasher.finalize().into() } else { EMPTY_BUCKET }
}

/// The root: SHA-256 over all bucket hashes.
pub fn root_hash(buckets: &[Digest; BUCKETS]) -> Digest {
    Sha256::digest(buckets.as_flattened()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(key: &str, seq: u64) -> Digest {
        leaf_hash(&Leaf { key, seq, at_unix_ms: 7, hash: [9; 32] })
    }

    #[test]
    fn a_bucket_is_the_first_byte_of_the_keys_hash() {
        let digest: Digest = Sha256::digest(b"CH*ION*E1").into();
        assert_eq!(bucket_of("CH*ION*E1"), usize::from(digest[0]));
    }

    #[test]
    fn a_leaf_depends_on_every_part() {
        let base = Leaf { key: "A", seq: 1, at_unix_ms: 2, hash: [3; 32] };
        let others = [
            Leaf { key: "B", ..base },
            Leaf { seq: 2, ..base },
            Leaf { at_unix_ms: 3, ..base },
            Leaf { hash: [4; 32], ..base },
        ];
        for other in others {
            assert_ne!(leaf_hash(&base), leaf_hash(&other), "{other:?}");
        }
    }

    #[test]
    fn an_empty_bucket_is_zero_and_order_matters() {
        assert_eq!(bucket_hash(std::iter::empty()), EMPTY_BUCKET);
        let (a, b) = (leaf("A", 1), leaf("B", 2));
        assert_ne!(bucket_hash([a, b].into_iter()), bucket_hash([b, a].into_iter()));
        assert_ne!(bucket_hash([a].into_iter()), a);
    }

    #[test]
    fn the_root_covers_every_bucket() {
        let empty = [EMPTY_BUCKET; BUCKETS];
        for at in [0, 1, BUCKETS - 1] {
            let mut one = empty;
            one[at] = leaf("A", 1);
            assert_ne!(root_hash(&empty), root_hash(&one));
        }
    }
}
