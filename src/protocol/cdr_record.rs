//! How a node remembers what became of a charge detail record: a part of one row of the ledger.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Digest;
use super::codec::{ProtocolError, decode, encode};
use super::session::{ChainWire, RECEIPTS_MAX, chain_from_wire, chain_to_wire};
use super::session_record::Via;
use super::wire::{Buf, Hash, Limited};
use crate::identity::{Chain, Purpose};

/// Most findings that are kept of one record: there are fewer rules.
pub const CDR_FINDINGS_MAX: usize = 64;

/// Longest finding in bytes; what is longer is cut.
pub const CDR_FINDING_BYTES_MAX: usize = 1_000;

/// Largest stored form in bytes: all receipts, chains and findings at their limits, and some room.
const CDR_RECORD_BYTES_MAX: usize = 512 * 1024;

/// How far a charge detail record has come. The numbers are those of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CdrState {
    /// Ours, and the partner's node has not said that it has it.
    Waiting = 1,
    /// Ours: the partner's node has it. A partner's: it is here, and our backend has yet to answer.
    Received = 2,
    /// The EMP's backend took it.
    Accepted = 3,
    /// The EMP's backend said no.
    Rejected = 4,
    /// The EMP's node said no.
    Refused = 5,
    /// The EMP's node keeps it until its backend pulls it.
    Kept = 6,
}

impl CdrState {
    /// Every state.
    pub const ALL: [CdrState; 6] = [
        CdrState::Waiting,
        CdrState::Received,
        CdrState::Accepted,
        CdrState::Rejected,
        CdrState::Refused,
        CdrState::Kept,
    ];

    /// For people, the admin API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CdrState::Waiting => "waiting",
            CdrState::Received => "received",
            CdrState::Accepted => "accepted",
            CdrState::Rejected => "rejected",
            CdrState::Refused => "refused",
            CdrState::Kept => "kept",
        }
    }

    /// The state with this number of storage.
    pub fn of_code(code: u8) -> Option<CdrState> {
        CdrState::ALL.into_iter().find(|state| *state as u8 == code)
    }

    /// Whether the EMP's side has said its last word.
    pub fn is_final(self) -> bool {
        !matches!(self, CdrState::Waiting | CdrState::Received)
    }
}

/// What is known of a charge detail record besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrRecord {
    /// The signed receipts, the oldest first.
    pub receipts: Vec<Bytes>,
    /// The delegations that signed the record and the receipts, by their hashes.
    pub signers: Vec<Digest>,
    /// The chains under which we signed, to go along whenever it is sent again.
    pub chains: Vec<Chain>,
    /// How often it was sent to the partner, or to our backend.
    pub attempts: u64,
    /// Whether the partner has yet to take note of our receipts.
    pub to_tell: bool,
    /// What both sides should look at, a sentence each. Names no person.
    pub findings: Vec<String>,
    /// Over which way it goes or came. Over the hub there are neither signatures of the other side nor receipts.
    pub via: Via,
}

#[derive(Serialize, Deserialize)]
struct RecordWire {
    receipts: Limited<Buf, RECEIPTS_MAX>,
    signers: Limited<Hash, { RECEIPTS_MAX + 1 }>,
    chains: Limited<ChainWire, RECEIPTS_MAX>,
    attempts: u64,
    tell: bool,
    findings: Limited<String, CDR_FINDINGS_MAX>,
    #[serde(default, skip_serializing_if = "Via::is_direct")]
    via: u8,
}

impl CdrRecord {
    /// As storage keeps it.
    pub fn encode(&self) -> Bytes {
        encode(&RecordWire {
            receipts: Limited(self.receipts.iter().cloned().map(Buf).collect()),
            signers: Limited(self.signers.iter().copied().map(Hash).collect()),
            chains: Limited(self.chains.iter().map(chain_to_wire).collect()),
            attempts: self.attempts,
            tell: self.to_tell,
            findings: Limited(self.findings.clone()),
            via: self.via as u8,
        })
        .into()
    }

    /// From storage.
    ///
    /// # Errors
    /// [`ProtocolError`] if it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<CdrRecord, ProtocolError> {
        const WHAT: &str = "stored charge detail record";
        let wire: RecordWire = decode(WHAT, bytes, CDR_RECORD_BYTES_MAX)?;
        if wire.receipts.0.iter().any(|receipt| receipt.0.len() > Purpose::Receipt.size_bytes_max()) {
            return Err(ProtocolError::Invalid { what: WHAT, rule: "a receipt is over its limit" });
        }
        Ok(CdrRecord {
            receipts: wire.receipts.0.into_iter().map(|receipt| receipt.0).collect(),
            signers: wire.signers.0.into_iter().map(|signer| signer.0).collect(),
            chains: wire.chains.0.into_iter().map(chain_from_wire).collect(),
            attempts: wire.attempts,
            to_tell: wire.tell,
            findings: wire.findings.0,
            via: Via::of_code(wire.via)
                .ok_or(ProtocolError::Invalid { what: WHAT, rule: "an unknown way" })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_remembered_as_it_was() {
        let record = CdrRecord {
            receipts: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
            signers: vec![[1; 32], [2; 32]],
            chains: vec![Chain { credential: vec![1], delegation: vec![2, 3] }],
            attempts: 7,
            to_tell: true,
            findings: vec!["what is odd".to_owned()],
            via: Via::Hub,
        };
        let bytes = record.encode();
        for read in [record, CdrRecord::default()] {
            assert_eq!(CdrRecord::decode(&read.encode()).unwrap(), read);
        }
        for cut in 0..bytes.len() {
            assert!(CdrRecord::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for state in CdrState::ALL {
            assert_eq!(CdrState::of_code(state as u8), Some(state));
        }
    }
}
