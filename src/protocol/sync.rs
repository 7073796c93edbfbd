//! Repair and cold start: one question, then a stream of frames: the head that the answer was cut
//! from, chunks of records in key order, the end.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::announcement::check_record;
use super::codec::{ProtocolError, compress, decode, decompress, encode};
use super::wire::{Buf, Limited};
use super::{
    Audience, BUCKETS, Digest, FeedId, Kind, MEMBERS_MAX, SYNC_CHUNK_BYTES_MAX, SYNC_FRAME_BYTES_MAX,
    SignedHead,
};
use crate::identity::PartyId;

/// A question for what is missing of one feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The feed.
    pub feed: FeedId,
    /// What the asker has, so that only the difference is sent.
    pub have: Have,
}

/// What an asker has of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Have {
    /// Nothing.
    Nothing,
    /// Everything up to this change of this incarnation.
    Since {
        /// The incarnation of the applied head.
        incarnation: u64,
        /// Its seq.
        seq: u64,
    },
    /// These bucket hashes, [`BUCKETS`] of them.
    Buckets(Vec<Digest>),
}

#[derive(Serialize, Deserialize)]
struct RequestWire(
    String,
    u8,
    Option<(u64, u64)>,
    Option<Buf>,
    /// The members of a closed audience; not there for the public.
    #[serde(default, skip_serializing_if = "Limited::is_empty")]
    Limited<String, MEMBERS_MAX>,
);

impl SyncRequest {
    /// Encodes the question.
    pub fn encode(&self) -> Bytes {
        let (since, buckets) = match &self.have {
            Have::Nothing => (None, None),
            Have::Since { incarnation, seq } => (Some((*incarnation, *seq)), None),
            Have::Buckets(buckets) => (None, Some(Buf(buckets.concat().into()))),
        };
        let members = Limited(self.feed.audience.to_texts());
        let wire = RequestWire(self.feed.party.to_text(), self.feed.kind.code(), since, buckets, members);
        encode(&wire).into()
    }

    /// Decodes a question of another node.
    pub fn decode(bytes: &[u8]) -> Result<SyncRequest, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: "sync request", rule };
        let wire: RequestWire = decode("sync request", bytes, 64 * 1024)?;
        let feed = feed_id(&wire.0, wire.1, &wire.4.0).ok_or_else(|| invalid("unknown feed"))?;
        let have = match (wire.2, wire.3) {
            (Some((incarnation, seq)), _) => Have::Since { incarnation, seq },
            (None, Some(Buf(hashes))) if hashes.len() == BUCKETS * 32 => {
                Have::Buckets(hashes.as_chunks::<32>().0.to_vec())
            }
            (None, Some(_)) => return Err(invalid("wrong number of buckets")),
            (None, None) => Have::Nothing,
        };
        Ok(SyncRequest { feed, have })
    }
}

fn feed_id(party: &str, kind: u8, members: &[String]) -> Option<FeedId> {
    let (party, kind) = (PartyId::parse(party).ok()?, Kind::from_code(kind)?);
    Some(FeedId { party, kind, audience: Audience::from_texts(members).ok()? })
}

/// Most records in one chunk. Honest chunks close at a quarter of a megabyte, which is fewer.
const CHUNK_RECORDS_MAX: usize = 65_536;

/// One record (or tombstone) of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncEntry {
    /// The canonical key of the EVSE.
    pub key: String,
    /// The number of the change that made this version.
    pub seq: u64,
    /// When the writer took the change, in unix milliseconds.
    pub at_unix_ms: u64,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct EntryWire(String, u64, u64, Option<Buf>);

/// Records in key order, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncChunk {
    bytes: Bytes,
}

impl SyncChunk {
    /// Encodes and compresses records.
    pub fn encode(entries: &[SyncEntry]) -> SyncChunk {
        let wire: Vec<EntryWire> = entries
            .iter()
            .map(|e| EntryWire(e.key.clone(), e.seq, e.at_unix_ms, e.value.clone().map(Buf)))
            .collect();
        SyncChunk { bytes: compress(&encode(&Limited::<_, CHUNK_RECORDS_MAX>(wire))).into() }
    }

    /// Size in bytes as it travels.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Decompresses and decodes, with all limits.
    pub fn decode(&self) -> Result<Vec<SyncEntry>, ProtocolError> {
        let plain = decompress("sync chunk", &self.bytes, SYNC_CHUNK_BYTES_MAX)?;
        let wire: Limited<EntryWire, CHUNK_RECORDS_MAX> = decode("sync chunk", &plain, SYNC_CHUNK_BYTES_MAX)?;
        wire.0.into_iter().map(entry).collect()
    }
}

fn entry(wire: EntryWire) -> Result<SyncEntry, ProtocolError> {
    let EntryWire(key, seq, at_unix_ms, value) = wire;
    let value = value.map(|buf| buf.0);
    check_record("sync entry", &key, at_unix_ms.max(seq), value.as_deref())?;
    Ok(SyncEntry { key, seq, at_unix_ms, value })
}

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStart {
    /// The writer-signed head that the answer was cut from (`decisions.md` 6).
    pub head: SignedHead,
    /// The buckets that follow whole; `None` if the answer is a list of changes to what the asker has.
    pub buckets: Option<Vec<u8>>,
}

/// One frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncFrame {
    /// The first frame.
    Start(SyncStart),
    /// Records.
    Chunk(SyncChunk),
    /// The last frame.
    End,
    /// The server does not hold the feed, or is busy: ask somebody else.
    Unavailable,
}

#[derive(Serialize, Deserialize)]
struct FrameWire(u8, Option<Buf>, Option<Buf>);

impl SyncFrame {
    /// Encodes a frame.
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            SyncFrame::Start(start) => FrameWire(
                0,
                Some(Buf(start.head.as_bytes().clone())),
                start.buckets.as_ref().map(|b| Buf(Bytes::copy_from_slice(b))),
            ),
            SyncFrame::Chunk(chunk) => FrameWire(1, Some(Buf(chunk.bytes.clone())), None),
            SyncFrame::End => FrameWire(2, None, None),
            SyncFrame::Unavailable => FrameWire(3, None, None),
        };
        encode(&wire).into()
    }

    /// Decodes a frame of another node.
    pub fn decode(bytes: &[u8]) -> Result<SyncFrame, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: "sync frame", rule };
        let wire: FrameWire = decode("sync frame", bytes, SYNC_FRAME_BYTES_MAX)?;
        match wire {
            FrameWire(0, Some(_), Some(buckets)) if buckets.0.len() > BUCKETS => {
                Err(invalid("too many buckets"))
            }
            FrameWire(0, Some(head), buckets) => Ok(SyncFrame::Start(SyncStart {
                head: SignedHead::from_bytes(head.0)?,
                buckets: buckets.map(|b| b.0.to_vec()),
            })),
            FrameWire(1, Some(chunk), None) => Ok(SyncFrame::Chunk(SyncChunk { bytes: chunk.0 })),
            FrameWire(2, None, None) => Ok(SyncFrame::End),
            FrameWire(3, None, None) => Ok(SyncFrame::Unavailable),
            FrameWire(..) => Err(invalid("unknown frame")),
        }
    }
}
