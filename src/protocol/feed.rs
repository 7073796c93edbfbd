//! Feeds and their heads.
//!
//! A feed is everything that one party says of one kind: one writer, a set of records, a total order
//! of changes. Its head is what the writer signs: how many changes there were, how many records there
//! are, and a root hash over all of them.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{ProtocolError, decode, encode};
use super::wire::{Hash, Limited};
use super::{Audience, Digest, KEY_BYTES_MAX, MEMBERS_MAX};
use crate::identity::{PartyId, PublicKey, Purpose, SecretKey, open, seal};

/// What a feed holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// EVSE data records (OICP 2.3 `EvseDataRecord`), as JSON text.
    Data,
    /// EVSE statuses (OICP 2.3 `EvseStatus`), as the status text.
    Status,
    /// Prices (OICP 2.3 `EVSEPricing` and `PricingProductData`), as JSON text.
    Pricing,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Data, Kind::Status, Kind::Pricing];

    /// The number on the wire and in storage.
    pub fn code(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::Status => 1,
            Kind::Pricing => 2,
        }
    }

    /// The kind of a number; `None` for kinds of later versions.
    pub fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The name for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Status => "status",
            Kind::Pricing => "pricing",
        }
    }
}

/// The name of a feed: publishing party, kind, audience (`decisions.md` 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId {
    /// The party that publishes.
    pub party: PartyId,
    /// What it publishes.
    pub kind: Kind,
    /// For whom.
    pub audience: Audience,
}

impl FeedId {
    /// The public feed of a party.
    pub fn public(party: PartyId, kind: Kind) -> FeedId {
        FeedId { party, kind, audience: Audience::Public }
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.party, self.kind.name())?;
        match &self.audience {
            Audience::Public => Ok(()),
            audience => write!(f, "/{audience}"),
        }
    }
}

/// The state of a feed after a change, as its writer signs it (`decisions.md` 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The feed.
    pub feed: FeedId,
    /// Epoch of the delegation under which it is written.
    pub epoch: u64,
    /// Raised at every unclean start or restore: max(stored + 1, unix seconds).
    pub incarnation: u64,
    /// Number of the last change; continues over incarnations.
    pub seq: u64,
    /// Number of records.
    pub count: u64,
    /// Root hash over all records.
    pub root: Digest,
    /// When the writer signed, in unix milliseconds.
    pub created_unix_ms: u64,
    /// The `seq` before the changes that travel with this head; equal to `seq` if none do.
    pub base_seq: u64,
    /// SHA-256 of the changes that travel with this head, as sent; zero if none do.
    pub body: Digest,
    /// The OperatorID of the party as its backend spells it.
    pub operator_id: String,
    /// The OperatorName of the party, at most 100 characters (OICP `OperatorName`).
    pub operator_name: String,
}

impl Head {
    /// The order of heads of one feed: delegation epoch, then incarnation, then seq.
    pub fn position(&self) -> (u64, u64, u64) {
        (self.epoch, self.incarnation, self.seq)
    }
}

/// A head as bytes: a COSE_Sign1 object by the message key of a delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    bytes: Bytes,
}

/// Largest signed head in bytes: one of a closed audience lists its members.
const HEAD_BYTES_MAX: usize = 1024 + MEMBERS_MAX * 16;

#[derive(Serialize, Deserialize)]
struct HeadWire(
    String,
    u8,
    u64,
    u64,
    u64,
    u64,
    Hash,
    u64,
    u64,
    Hash,
    String,
    String,
    /// The members of a closed audience; not there for the public.
    #[serde(default, skip_serializing_if = "Limited::is_empty")]
    Limited<String, MEMBERS_MAX>,
);

impl SignedHead {
    /// Signs a head with the message key that `delegation` names.
    pub fn sign(head: &Head, network: &str, delegation: Digest, key: &SecretKey) -> SignedHead {
        let wire = HeadWire(
            head.feed.party.to_text(),
            head.feed.kind.code(),
            head.epoch,
            head.incarnation,
            head.seq,
            head.count,
            Hash(head.root),
            head.created_unix_ms,
            head.base_seq,
            Hash(head.body),
            head.operator_id.clone(),
            head.operator_name.clone(),
            Limited(head.feed.audience.to_texts()),
        );
        // The network's name was checked when the configuration was, and a head is small.
        let sealed = seal(Purpose::FeedHead, network, &delegation, key, &encode(&wire));
        debug_assert!(sealed.is_ok());
        SignedHead { bytes: sealed.unwrap_or_default().into() }
    }

    /// Takes the bytes of a signed head; nothing is checked but their number.
    pub fn from_bytes(bytes: Bytes) -> Result<SignedHead, ProtocolError> {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(ProtocolError::TooLarge { what: "head", size: bytes.len(), limit: HEAD_BYTES_MAX });
        }
        Ok(SignedHead { bytes })
    }

    /// The bytes as signed.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The hash of the delegation whose key should have signed this.
    pub fn delegation(&self, network: &str) -> Result<Digest, ProtocolError> {
        Ok(*self.open(network)?.signer())
    }

    /// Checks the signature and reads the head.
    pub fn verify(&self, network: &str, key: &PublicKey) -> Result<Head, ProtocolError> {
        let sealed = self.open(network)?;
        let payload = sealed
            .verify(key)
            .map_err(|_| ProtocolError::Invalid { what: "head", rule: "the signature does not verify" })?;
        read(payload)
    }

    fn open(&self, network: &str) -> Result<crate::identity::Unsealed<'_>, ProtocolError> {
        open(&self.bytes, Purpose::FeedHead, network)
            .map_err(|error| ProtocolError::Malformed { what: "head", why: error.to_string() })
    }
}

fn read(payload: &[u8]) -> Result<Head, ProtocolError> {
    let invalid = |rule| ProtocolError::Invalid { what: "head", rule };
    let wire: HeadWire = decode("head", payload, HEAD_BYTES_MAX)?;
    let party = PartyId::parse(&wire.0).map_err(|_| invalid("the party id is not canonical"))?;
    let kind = Kind::from_code(wire.1).ok_or(ProtocolError::UnknownKind { what: "head", kind: wire.1 })?;
    let audience = Audience::from_texts(&wire.12.0)?;
    let head = Head {
        feed: FeedId { party, kind, audience },
        epoch: wire.2,
        incarnation: wire.3,
        seq: wire.4,
        count: wire.5,
        root: wire.6.0,
        created_unix_ms: wire.7,
        base_seq: wire.8,
        body: wire.9.0,
        operator_id: wire.10,
        operator_name: wire.11,
    };
    if head.base_seq > head.seq {
        return Err(invalid("the changes begin after their end"));
    }
    if head.operator_id.len() > KEY_BYTES_MAX || head.operator_name.len() > 400 {
        return Err(invalid("the operator's id or name is too long"));
    }
    // SQLite and OICP count in signed 64 bit.
    if [head.epoch, head.incarnation, head.seq, head.count, head.created_unix_ms]
        .iter()
        .any(|n| *n > i64::MAX as u64)
    {
        return Err(invalid("a number is larger than 63 bits"));
    }
    Ok(head)
}
