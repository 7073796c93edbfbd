//! What nodes say to each other: feeds and their signed heads, announcements, repair questions and
//! answers, and the limits of all of them. Pure: bytes in, values out.
//!
//! Everything that travels is CBOR (RFC 8949). What must be provable is a COSE object of
//! [`crate::identity`]; the rest is covered by a digest inside such an object.

mod agreement;
mod announcement;
mod audience;
mod books;
mod card_filter;
mod cdr_record;
mod codec;
pub mod evidence;
mod exchange;
mod feed;
mod node_id;
mod session;
mod session_record;
mod sync;
#[cfg(test)]
mod tests;
mod tree;
mod wire;

pub use agreement::{AGREEMENT_PAPERS_BYTES_MAX, AgreementPapers};
pub use announcement::{Announcement, Change, ChangeSet};
pub use audience::{Audience, Members};
pub use books::{
    BOOKS_DAYS_MAX, BOOKS_EVIDENCE_BYTES_MAX, BOOKS_MARKS_MAX, BOOKS_MISSING_MAX, BOOKS_OF_DAY_MAX,
    BooksMessage, CdrMark, DayMark, MarkState, SessionKind, SessionMark, StatementMark,
};
pub use card_filter::{CARD_FILTER_BYTES_MAX, CARD_FILTER_KEY_BYTES, CardFilter};
pub use cdr_record::{CDR_FINDING_BYTES_MAX, CDR_FINDINGS_MAX, CdrRecord, CdrState};
pub use codec::{ProtocolError, compress, decompress};
pub use evidence::{Direction, EvidenceFault, EvidenceReport, verify_evidence};
pub use exchange::{
    Answer, ConflictNotice, HeadMark, INTRODUCED_CHAINS_MAX, OBJECTS_MAX, ObjectName, Question,
};
pub use feed::{FeedId, Head, Kind, SignedHead};
pub use node_id::NodeId;
pub use session::{AskOutcome, RECEIPTS_MAX, SESSION_ASKED_MAX, SessionMessage, SessionOperation};
pub use session_record::{SessionPhase, SessionRecord, Via};
pub use sync::{Have, SyncChunk, SyncEntry, SyncFrame, SyncRequest, SyncStart};
pub use tree::{EMPTY_BUCKET, Leaf, bucket_hash, bucket_of, leaf_hash, root_hash};

/// Version of the mesh protocol; part of every signed object's protected header, of every stream
/// name and of every topic.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest gossip message in bytes: gossipsub's own default limit is 64 KiB with its frame.
pub const GOSSIP_BYTES_MAX: usize = 60 * 1024;

/// Largest frame on an exchange stream in bytes.
pub const EXCHANGE_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Largest frame on a sync stream in bytes, as sent (compressed).
pub const SYNC_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Largest sync chunk in bytes after decompression; one chunk is one slice of the engine's time.
pub const SYNC_CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Number of buckets of a feed's hash tree.
pub const BUCKETS: usize = 256;

/// Largest record value in bytes. The largest real EVSE record has less than 16 KiB.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Longest key of a record in bytes: an EvseID has at most 41 characters, a price's provider 5 more and a slash.
pub const KEY_BYTES_MAX: usize = 64;

/// Most parties of a closed audience: each head lists them, at some 13 bytes each.
pub const MEMBERS_MAX: usize = 64;

/// Most changes in one announcement.
pub const CHANGES_MAX: usize = 4096;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The gossip topics, one per network and kind (`decisions.md` 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Announcements of EVSE data feeds.
    Data,
    /// Announcements of EVSE status feeds.
    Status,
    /// Announcements of feeds of prices.
    Pricing,
    /// Heartbeats: the heads of a party's feeds, unchanged.
    Heads,
    /// Credentials, tombstones, rotations, status lists.
    Identity,
}

impl Topic {
    /// All topics.
    pub const ALL: [Topic; 5] = [Topic::Data, Topic::Status, Topic::Pricing, Topic::Heads, Topic::Identity];

    /// The name on the wire: network, version and kind.
    pub fn name(self, network: &str) -> String {
        let kind = match self {
            Topic::Data => "data",
            Topic::Status => "status",
            Topic::Pricing => "pricing",
            Topic::Heads => "heads",
            Topic::Identity => "identity",
        };
        format!("chargemesh/{network}/{PROTOCOL_VERSION}/{kind}")
    }
}

/// The judgement on a gossip message (`decisions.md` 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verified and stored: pass it on.
    Accept,
    /// Not wrong, but of no use here: do not pass it on, no penalty.
    Ignore,
    /// Wrong for everybody: the peer that passed it on loses score.
    Reject,
}
