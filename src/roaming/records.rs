//! From a value that a writer signed to a record that may be kept: the checks that everybody would
//! make, and what decisions and pulls need of it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::change::RecordChange;
use super::effect::Refusal;
use super::tree::Entry;
use crate::identity::{Operation, ScopeError, Speaker, Verdict};
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::EvseKey;
use crate::oicp::price_key::PRODUCT_TAG_CHARACTERS;
use crate::oicp::pricing::check_price;
use crate::oicp::record::{Summary, summarise};
use crate::protocol::{Digest, Kind};

/// The operation that a delegation must name for a feed of this kind.
pub(super) fn operation(kind: Kind) -> Operation {
    match kind {
        Kind::Data => Operation::EvsePublish,
        Kind::Status => Operation::StatusPublish,
        Kind::Pricing => Operation::PricePublish,
    }
}

/// SHA-256 of a value.
pub(super) fn hash(value: &[u8]) -> Digest {
    Sha256::digest(value).into()
}

/// What stands for a ProductID in the key of its price: the beginning of its hash.
pub(super) fn product_tag(product_id: &str) -> String {
    let hex = hash(product_id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    hex.chars().take(PRODUCT_TAG_CHARACTERS).collect()
}

/// A checked version of a record.
#[derive(Debug)]
pub(super) struct Checked {
    /// The EVSE.
    pub key: EvseKey,
    /// Number of the change.
    pub seq: u64,
    /// When the writer took it, in unix milliseconds.
    pub at_unix_ms: u64,
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
    /// SHA-256 of the value, zero for a delete.
    pub hash: Digest,
    /// What pulls filter by (data records).
    pub summary: Option<Box<Summary>>,
}

impl Checked {
    /// What the tree keeps of it; `None` for a delete.
    pub(super) fn entry(&self) -> Option<Entry> {
        self.value.as_ref().map(|_| Entry {
            key: self.key.clone(),
            seq: self.seq,
            at_unix_ms: self.at_unix_ms,
            hash: self.hash,
        })
    }

    /// What storage keeps of it.
    pub(super) fn into_change(self, visible: bool) -> RecordChange {
        RecordChange {
            key: self.key,
            seq: self.seq,
            at_unix_ms: self.at_unix_ms,
            value: self.value,
            hash: self.hash,
            summary: self.summary,
            visible,
        }
    }
}

/// Checks one version of a record: the key is canonical and within the sender's own credential, the
/// value is what the kind promises, and it is about the EVSE of the key. A delete may be of any key: it
/// takes from the sender's own feed alone, and how else would it leave what its credential lost?
pub(super) fn check(
    kind: Kind,
    speaker: &Speaker,
    key: &str,
    seq: u64,
    at_unix_ms: u64,
    value: Option<Bytes>,
) -> Result<Checked, Refusal> {
    let key = match kind {
        Kind::Data | Kind::Status => EvseKey::parse_canonical(key),
        Kind::Pricing => EvseKey::parse_price(key),
    };
    let key = key.map_err(|error| Refusal::Malformed(error.to_string()))?;
    match speaker.may(operation(kind), key.operator()) {
        _ if value.is_none() => {}
        // Not trusted here is not wrong: the record belongs to the feed and stays out of the view.
        Ok(_) | Err(ScopeError::Untrusted { .. }) => {}
        Err(error) if error.verdict() == Verdict::Ignore => return Err(Refusal::Time),
        Err(error) => return Err(Refusal::Scope(error.to_string())),
    }
    let summary = match (&value, kind) {
        (None, _) => None,
        (Some(value), Kind::Data) => Some(Box::new(data_summary(&key, value)?)),
        (Some(value), Kind::Status) => {
            status_text(value)?;
            None
        }
        (Some(value), Kind::Pricing) => {
            let text = std::str::from_utf8(value).map_err(|_| "a price is not UTF-8");
            let checked = text.and_then(|text| check_price(text, &key, product_tag));
            checked.map_err(|why| Refusal::Malformed(why.to_owned()))?;
            None
        }
    };
    let hash = value.as_deref().map_or([0; 32], hash);
    Ok(Checked { key, seq, at_unix_ms, value, hash, summary })
}

fn data_summary(key: &EvseKey, value: &[u8]) -> Result<Summary, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::Malformed("a record is not UTF-8".into()))?;
    let summary = summarise(text).map_err(|error| Refusal::Malformed(error.to_string()))?;
    if summary.key != *key {
        return Err(Refusal::Malformed(format!("the record of {} is filed under {}", summary.key, key)));
    }
    Ok(summary)
}

fn status_text(value: &[u8]) -> Result<EvseStatus, Refusal> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(EvseStatus::parse).ok_or_else(|| Refusal::Malformed("a status is no status text".into()))
}
