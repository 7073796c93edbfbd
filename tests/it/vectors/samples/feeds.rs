//! Heads of feeds, and the frames in which they are gossiped.

use bytes::Bytes;
use chargemesh::identity::{Purpose, hash_of};
use chargemesh::oicp::id::EvseId;
use chargemesh::protocol::{
    Announcement, BUCKETS, Change, ChangeSet, Digest, FeedId, Head, Kind, Leaf, SignedHead, bucket_hash,
    bucket_of, leaf_hash, root_hash,
};

use super::super::file::Record;
use super::super::notation::{hex, value_of};
use super::meanings::{ANNOUNCEMENT, HEAD};
use super::{Cast, MADE_UNIX_S, NETWORK, Sample, same, secret, text};

const MADE_UNIX_MS: u64 = MADE_UNIX_S * 1_000;
/// Bits of the gossip frame's first byte, which says that an array of two follows: a larger number is read
/// as two all the same.
const FRAME_UNSIGNED: [usize; 4] = [3, 4, 5, 7];
/// Likewise, and the last bit: `null` (f6) becomes `undefined` (f7), which also says that there are no changes.
const HEARTBEAT_UNSIGNED: [usize; 5] = [3, 4, 5, 7, 4_631];

/// A record that a feed holds.
pub(crate) struct Held {
    pub(crate) key: String,
    seq: u64,
    at_unix_ms: u64,
    value: &'static str,
}

impl Held {
    fn leaf(&self) -> Digest {
        let hash = hash_of(self.value.as_bytes());
        leaf_hash(&Leaf { key: &self.key, seq: self.seq, at_unix_ms: self.at_unix_ms, hash })
    }

    pub(crate) fn in_file(&self) -> Record {
        Record {
            seq: self.seq,
            at_unix_ms: self.at_unix_ms,
            value: self.value.to_owned(),
            value_hash: hex(&hash_of(self.value.as_bytes())),
            bucket: bucket_of(&self.key),
            leaf_hash: hex(&self.leaf()),
        }
    }
}

fn evse(wire: &str) -> String {
    EvseId::parse(wire).unwrap().key().as_str().to_owned()
}

fn root(records: &[Held]) -> Digest {
    let bucket = |number| {
        let mut inside: Vec<&Held> = records.iter().filter(|held| bucket_of(&held.key) == number).collect();
        inside.sort_by(|one, other| one.key.cmp(&other.key));
        bucket_hash(inside.into_iter().map(Held::leaf))
    };
    let buckets: [Digest; BUCKETS] = std::array::from_fn(bucket);
    root_hash(&buckets)
}

fn data_records() -> Vec<Held> {
    let held = |wire, seq, value| Held { key: evse(wire), seq, at_unix_ms: MADE_UNIX_MS + seq, value };
    vec![
        held("CH*ABC*E1", 1, r#"{"EvseID":"CH*ABC*E1","DynamicInfoAvailable":"true"}"#),
        held("+41*031*1*2", 2, r#"{"EvseID":"+41*031*1*2","DynamicInfoAvailable":"auto"}"#),
    ]
}

fn status_changes() -> Vec<Change> {
    let change = |wire, at: u64, value: Option<&'static str>| Change {
        key: evse(wire),
        at_unix_ms: MADE_UNIX_MS + at,
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    vec![
        change("CH*ABC*E1", 10, Some("Occupied")),
        change("CH*ABC*E2", 11, Some("Available")),
        change("CH*ABC*E1", 12, Some("Available")),
        change("CH*ABC*E2", 13, None),
    ]
}

fn status_records() -> Vec<Held> {
    vec![Held { key: evse("CH*ABC*E1"), seq: 3, at_unix_ms: MADE_UNIX_MS + 12, value: "Available" }]
}

fn head(cast: &Cast, kind: Kind, seq: u64, records: &[Held]) -> Head {
    Head {
        feed: FeedId::public(cast.party.clone(), kind),
        epoch: cast.delegation.epoch,
        incarnation: MADE_UNIX_S,
        seq,
        count: records.len() as u64,
        root: root(records),
        created_unix_ms: MADE_UNIX_MS + 1_000,
        base_seq: seq,
        body: [0; 32],
        operator_id: "CH*ABC".to_owned(),
        operator_name: "Ladenetz Zürich".to_owned(),
    }
}

fn data_head(cast: &Cast) -> Head {
    head(cast, Kind::Data, 2, &data_records())
}

/// The head of the status feed as a heartbeat says it.
fn status_head(cast: &Cast) -> Head {
    head(cast, Kind::Status, status_changes().len() as u64, &status_records())
}

/// The same head with the changes that lead to it.
fn status_head_with_changes(cast: &Cast) -> Head {
    let body = ChangeSet::encode(&status_changes()).digest();
    Head { base_seq: 0, body, ..status_head(cast) }
}

fn sign(cast: &Cast, head: &Head) -> SignedHead {
    SignedHead::sign(head, NETWORK, cast.chain.delegation_hash(), &secret("message"))
}

/// Through the chain, as a node does: the head must name the delegation and be valid when it was made.
fn check_head(cast: &Cast, signed: &SignedHead, expected: &Head) -> Result<(), String> {
    let speaker = cast.speaker();
    speaker.open(signed.as_bytes(), Purpose::FeedHead, NETWORK).map_err(text)?;
    let head = signed.verify(NETWORK, speaker.message_key()).map_err(text)?;
    speaker.may_at(head.created_unix_ms / 1_000).map_err(text)?;
    same(&head, expected)
}

fn check_announcement(
    cast: &Cast,
    bytes: &[u8],
    heads: &[Head],
    changes: Option<&[Change]>,
) -> Result<(), String> {
    let announcement = Announcement::decode(bytes).map_err(text)?;
    same(&announcement.heads.len(), &heads.len())?;
    for (signed, head) in announcement.heads.iter().zip(heads) {
        check_head(cast, signed, head)?;
    }
    same(&announcement.changes.is_some(), &changes.is_some())?;
    if let (Some(set), Some(changes), Some(head)) = (announcement.changes, changes, heads.first()) {
        same(&set.digest(), &head.body)?;
        same(&set.decode().map_err(text)?.as_slice(), &changes)?;
    }
    Ok(())
}

pub(super) fn feed_head(cast: &Cast) -> Sample {
    Sample {
        name: "feed-head",
        what: "Position and root of the operator's EVSE data feed with two records; no changes travel with it.",
        signed: Some(("message", cast.kid_of_delegation())),
        keys: &["message"],
        bytes: sign(cast, &data_head(cast)).as_bytes().to_vec(),
        meanings: &[HEAD],
        records: data_records(),
        further: Vec::new(),
        unsigned_bits: &[],
        accept: |cast, bytes| {
            let signed = SignedHead::from_bytes(Bytes::copy_from_slice(bytes)).map_err(text)?;
            check_head(cast, &signed, &data_head(cast))
        },
    }
}

pub(super) fn feed_announcement(cast: &Cast) -> Sample {
    let set = ChangeSet::encode(&status_changes());
    let bytes = Announcement { heads: vec![sign(cast, &status_head_with_changes(cast))], changes: Some(set) };
    let bytes = bytes.encode().to_vec();
    Sample {
        name: "feed-announcement",
        what: "Four status changes and the head that they lead to. The frame is not signed: the head in it is, \
               and binds the changes by their hash.",
        signed: None,
        keys: &["message"],
        meanings: &[ANNOUNCEMENT],
        records: status_records(),
        further: vec![("changes", hex(&plain_changes(&bytes)))],
        unsigned_bits: &FRAME_UNSIGNED,
        accept: |cast, bytes| {
            check_announcement(cast, bytes, &[status_head_with_changes(cast)], Some(&status_changes()))
        },
        bytes,
    }
}

/// The changes of an announcement as CBOR.
fn plain_changes(announcement: &[u8]) -> Vec<u8> {
    let frame = value_of(announcement);
    let compressed = frame.as_array().and_then(|parts| parts.get(1)?.as_bytes()).unwrap();
    chargemesh::protocol::decompress("changes", compressed, 1024).unwrap()
}

pub(super) fn heartbeat(cast: &Cast) -> Sample {
    let heads = [data_head(cast), status_head(cast)];
    let frame = Announcement { heads: heads.iter().map(|head| sign(cast, head)).collect(), changes: None };
    Sample {
        name: "heartbeat",
        what: "The heads of both feeds of the operator, said again when nothing changed. The frame is not \
               signed, the heads in it are.",
        signed: None,
        keys: &["message"],
        bytes: frame.encode().to_vec(),
        meanings: &[ANNOUNCEMENT],
        records: Vec::new(),
        further: Vec::new(),
        unsigned_bits: &HEARTBEAT_UNSIGNED,
        accept: |cast, bytes| check_announcement(cast, bytes, &[data_head(cast), status_head(cast)], None),
    }
}
