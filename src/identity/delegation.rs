//! Node delegation: the org key lets one node do some things for some ids, for days. A CWT (RFC 8392).

use std::collections::BTreeSet;

use ciborium::value::Value;

use super::credential::{SUB_IDS_MAX, claim, confirmation, confirmed_key, party_of, validity};
use super::fields::{self, FieldError, Fields};
use super::id::{CanonicalId, PartyId};
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, seal};

/// Usual validity, seconds: 7 days (design/trust.md).
pub const DELEGATION_VALIDITY_S_DEFAULT: u64 = 7 * 86_400;
/// Longest validity, seconds: 31 days. What is stolen dies by itself.
pub const DELEGATION_VALIDITY_S_MAX: u64 = 31 * 86_400;
/// Most nodes that have an address of their own for one party: slots 0 to 7 (decisions.md 22).
pub const SLOT_MAX: u8 = 7;
/// The one node of a party that writes its feeds; its others, at higher slots, write none.
pub const WRITER_SLOT: u8 = 0;
/// Longest libp2p peer id, bytes; an Ed25519 one has 38.
pub const PEER_ID_LENGTH_MAX: usize = 64;
/// Most ids of a delegation: the main id and all sub ids.
pub const PREFIXES_MAX: usize = SUB_IDS_MAX + 1;
/// Most operations of a delegation, known or not.
const OPERATIONS_MAX: usize = 64;
/// Longest name of an operation, bytes.
const OPERATION_LENGTH_MAX: usize = 48;
/// The issuer claim of a delegation: the party's org key.
const ISSUER_NAME: &str = "org-key";

// Private claims, continued from the credential's.
const PEER_ID: i64 = -70_010;
const OPERATIONS: i64 = -70_011;
const PREFIXES: i64 = -70_012;
const EPOCH: i64 = -70_013;
const SLOT: i64 = -70_014;

/// What a node may do for its party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Publish EVSE data.
    EvsePublish,
    /// Publish EVSE status.
    StatusPublish,
    /// Publish prices.
    PricePublish,
    /// Ask EMPs whether somebody may charge.
    AuthAsk,
    /// Answer such a question.
    AuthAnswer,
    /// Send remote starts, stops and reservations.
    RemoteSend,
    /// Answer them.
    RemoteAnswer,
    /// Send charge detail records.
    CdrSend,
    /// Accept them.
    CdrAccept,
}

impl Operation {
    /// Every operation, in the order of the enum.
    pub const ALL: [Operation; 9] = [
        Operation::EvsePublish,
        Operation::StatusPublish,
        Operation::PricePublish,
        Operation::AuthAsk,
        Operation::AuthAnswer,
        Operation::RemoteSend,
        Operation::RemoteAnswer,
        Operation::CdrSend,
        Operation::CdrAccept,
    ];

    /// The text in the delegation.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::EvsePublish => "evse.publish",
            Operation::StatusPublish => "status.publish",
            Operation::PricePublish => "price.publish",
            Operation::AuthAsk => "auth.ask",
            Operation::AuthAnswer => "auth.answer",
            Operation::RemoteSend => "remote.send",
            Operation::RemoteAnswer => "remote.answer",
            Operation::CdrSend => "cdr.send",
            Operation::CdrAccept => "cdr.accept",
        }
    }
}

/// What an org key grants to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// For whom the node acts.
    pub party: PartyId,
    /// The node's libp2p peer id, 1 to [`PEER_ID_LENGTH_MAX`] bytes.
    pub peer_id: Vec<u8>,
    /// The key that signs what the node says.
    pub message_key: PublicKey,
    /// What it may do.
    pub operations: BTreeSet<Operation>,
    /// Operations of a later release: kept, never granted here.
    pub operations_unknown: BTreeSet<String>,
    /// For which of the credential's ids, at most [`PREFIXES_MAX`].
    pub prefixes: BTreeSet<CanonicalId>,
    /// First second of validity, Unix time.
    pub not_before_unix_s: u64,
    /// First second after it, Unix time; at most [`DELEGATION_VALIDITY_S_MAX`] later.
    pub expires_unix_s: u64,
    /// Counts the party's delegations; a higher one wins over a lower.
    pub epoch: u64,
    /// Which of the party's nodes it is, 0 to [`SLOT_MAX`].
    pub slot: u8,
}

impl Delegation {
    /// Signs the delegation under the credential with hash `credential`.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`], [`SealError::NetworkName`].
    pub fn issue(&self, network: &str, credential: &Hash, org_key: &SecretKey) -> Result<Vec<u8>, SealError> {
        let payload = self.encode();
        // What we would not accept we do not sign.
        Delegation::decode(&payload)?;
        seal(Purpose::NodeDelegation, network, credential, org_key, &payload)
    }

    fn encode(&self) -> Vec<u8> {
        let operations: BTreeSet<&str> = (self.operations.iter().map(|operation| operation.as_str()))
            .chain(self.operations_unknown.iter().map(String::as_str))
            .collect();
        fields::encode(vec![
            (claim::ISSUER, Value::from(ISSUER_NAME)),
            (claim::SUBJECT, Value::from(self.party.to_text())),
            (claim::EXPIRES, fields::number(self.expires_unix_s)),
            (claim::NOT_BEFORE, fields::number(self.not_before_unix_s)),
            (claim::ISSUED_AT, fields::number(self.not_before_unix_s)),
            (claim::CONFIRMATION, confirmation(&self.message_key)),
            (PEER_ID, fields::bytes(&self.peer_id)),
            (OPERATIONS, fields::texts(operations.into_iter())),
            (PREFIXES, fields::texts(self.prefixes.iter().map(CanonicalId::as_str))),
            (EPOCH, fields::number(self.epoch)),
            (SLOT, fields::number(u64::from(self.slot))),
        ])
    }
}

impl Content for Delegation {
    const PURPOSE: Purpose = Purpose::NodeDelegation;

    fn decode(payload: &[u8]) -> Result<Self, FieldError> {
        let mut claims = Fields::read(payload)?;
        let party = party_of(&mut claims)?;
        let (not_before_unix_s, expires_unix_s) = validity(&mut claims, DELEGATION_VALIDITY_S_MAX)?;
        let peer_id = claims.bytes(PEER_ID, "peer id", PEER_ID_LENGTH_MAX)?;
        if peer_id.is_empty() {
            return Err(FieldError::Wrong { key: PEER_ID, name: "peer id", expected: "some bytes" });
        }
        let mut operations = BTreeSet::new();
        let mut operations_unknown = BTreeSet::new();
        for text in claims.texts(OPERATIONS, "operations", OPERATIONS_MAX, OPERATION_LENGTH_MAX)? {
            match Operation::ALL.into_iter().find(|operation| operation.as_str() == text) {
                Some(operation) => drop(operations.insert(operation)),
                None => drop(operations_unknown.insert(text)),
            }
        }
        let slot = u8::try_from(claims.number(SLOT, "slot")?).ok().filter(|slot| *slot <= SLOT_MAX);
        Ok(Delegation {
            party,
            peer_id,
            message_key: confirmed_key(&mut claims)?,
            operations,
            operations_unknown,
            prefixes: claims.ids(PREFIXES, "prefixes", PREFIXES_MAX)?.into_iter().collect(),
            not_before_unix_s,
            expires_unix_s,
            epoch: claims.number(EPOCH, "epoch")?,
            slot: slot.ok_or(FieldError::Wrong { key: SLOT, name: "slot", expected: "0 to 7" })?,
        })
    }
}
