//! What a writer gossips: its new head and the changes that lead to it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::codec::{ProtocolError, compress, decode, decompress, encode};
use super::wire::{Buf, Limited};
use super::{CHANGES_MAX, Digest, GOSSIP_BYTES_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX, SignedHead};

/// Largest body of an announcement in bytes after decompression.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The canonical key of the EVSE.
    pub key: String,
    /// When the writer took the change, in unix milliseconds (`observed_at` of a status).
    pub at_unix_ms: u64,
    /// The new value; `None` deletes the record.
    pub value: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct ChangeWire(String, u64, Option<Buf>);

/// Changes in the order of their numbers, as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    bytes: Bytes,
}

impl ChangeSet {
    /// Encodes and compresses changes.
    pub fn encode(changes: &[Change]) -> ChangeSet {
        let wire: Vec<ChangeWire> = changes
            .iter()
            .map(|c| ChangeWire(c.key.clone(), c.at_unix_ms, c.value.clone().map(Buf)))
            .collect();
        ChangeSet { bytes: compress(&encode(&Limited::<_, CHANGES_MAX>(wire))).into() }
    }

    /// SHA-256 of the bytes as they travel; what the head's `body` must be.
    pub fn digest(&self) -> Digest {
        Sha256::digest(&self.bytes).into()
    }

    /// Size in bytes as it travels.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Decompresses and decodes, with all limits.
    pub fn decode(&self) -> Result<Vec<Change>, ProtocolError> {
        let plain = decompress("changes", &self.bytes, BODY_BYTES_MAX)?;
        let wire: Limited<ChangeWire, CHANGES_MAX> = decode("changes", &plain, BODY_BYTES_MAX)?;
        wire.0.into_iter().map(change).collect()
    }
}

fn change(wire: ChangeWire) -> Result<Change, ProtocolError> {
    let ChangeWire(key, at_unix_ms, value) = wire;
    let value = value.map(|buf| buf.0);
    check_record("change", &key, at_unix_ms, value.as_deref())?;
    Ok(Change { key, at_unix_ms, value })
}

pub(super) fn check_record(
    what: &'static str,
    key: &str,
    at_unix_ms: u64,
    value: Option<&[u8]>,
) -> Result<(), ProtocolError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(ProtocolError::Invalid { what, rule: "the key is empty or too long" });
    }
    if at_unix_ms > i64::MAX as u64 {
        return Err(ProtocolError::Invalid { what, rule: "the time is larger than 63 bits" });
    }
    match value {
        Some(value) if value.len() > RECORD_BYTES_MAX => {
            Err(ProtocolError::TooLarge { what, size: value.len(), limit: RECORD_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// A head with the changes that lead to it. The changes are bound to the signature by the head's
/// `body`, so the head can be handed on alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The heads: one with changes, or several without (a heartbeat).
    pub heads: Vec<SignedHead>,
    /// The changes of the only head.
    pub changes: Option<ChangeSet>,
}

/// Most heads in one heartbeat.
const HEADS_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
struct AnnouncementWire(Limited<Buf, HEADS_MAX>, Option<Buf>);

impl Announcement {
    /// Encodes for gossip.
    pub fn encode(&self) -> Bytes {
        let heads = self.heads.iter().map(|h| Buf(h.as_bytes().clone())).collect();
        let changes = self.changes.as_ref().map(|c| Buf(c.bytes.clone()));
        encode(&AnnouncementWire(Limited(heads), changes)).into()
    }

    /// Decodes what came by gossip; the head and its changes are still unverified.
    pub fn decode(bytes: &[u8]) -> Result<Announcement, ProtocolError> {
        let wire: AnnouncementWire = decode("announcement", bytes, GOSSIP_BYTES_MAX)?;
        let heads = wire.0.0;
        if heads.is_empty() {
            return Err(ProtocolError::Invalid { what: "announcement", rule: "no head" });
        }
        if wire.1.is_some() && heads.len() != 1 {
            return Err(ProtocolError::Invalid { what: "announcement", rule: "changes with several heads" });
        }
        let heads = heads.into_iter().map(|buf| SignedHead::from_bytes(buf.0)).collect::<Result<_, _>>()?;
        let announcement = Announcement { heads, changes: wire.1.map(|buf| ChangeSet { bytes: buf.0 }) };
        // The frame is under no signature: with several spellings of it anybody could make one message many.
        if announcement.encode() != bytes {
            return Err(ProtocolError::Invalid { what: "announcement", rule: "not spelt in the one way" });
        }
        Ok(announcement)
    }
}
