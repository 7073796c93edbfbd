//! Party card: where a party's node can be reached, with the proof that it may say so. Self-certifying,
//! so it can lie in a Kademlia record that anybody stores (decisions.md 22).

use ciborium::value::Value;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::chain::{CLOCK_LEEWAY_S, Chain, ChainError, TrustContext, verify_parts};
use super::delegation::SLOT_MAX;
use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Hash, SealError, Verdict, hash_of, open, seal};
use super::speaker::Speaker;

/// Longest life of a card, seconds: 48 hours (design/trust.md).
pub const CARD_VALIDITY_S_MAX: u64 = 48 * 3_600;
/// Most addresses of one node.
pub const ADDRESSES_MAX: usize = 16;
/// Longest address, bytes of multiaddress text.
pub const ADDRESS_LENGTH_MAX: usize = 256;
/// Most capabilities.
pub const CAPABILITIES_MAX: usize = 32;
/// Longest capability, bytes.
pub const CAPABILITY_LENGTH_MAX: usize = 64;

const DELEGATION: i64 = 1;
const CREDENTIAL: i64 = 2;
const CREDENTIAL_HASH: i64 = 3;
const ADDRESSES: i64 = 4;
const CAPABILITIES: i64 = 5;
const SEQ: i64 = 6;
const ISSUED_AT: i64 = 7;
const EXPIRES: i64 = 8;

/// The credential of a card: in it, or named by hash when it is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialRef {
    /// The signed credential.
    Inline(Vec<u8>),
    /// Its hash; the bytes are fetched from the node itself.
    ByHash(Hash),
}

/// What a card says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartyCard {
    /// The credential or its hash.
    pub credential: CredentialRef,
    /// The signed delegation.
    pub delegation: Vec<u8>,
    /// Where the node listens, as multiaddress text; at most [`ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// What the node can do, free words; at most [`CAPABILITIES_MAX`].
    pub capabilities: Vec<String>,
    /// Counts the node's cards; a lower one never replaces a higher.
    pub seq: u64,
    /// When it was made, Unix time.
    pub issued_unix_s: u64,
    /// First second in which it is dead, Unix time; at most [`CARD_VALIDITY_S_MAX`] later.
    pub expires_unix_s: u64,
}

/// Why a card was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CardError {
    /// Damaged, unsigned, too large, or not signed by the delegated message key.
    #[error("party card: {0}")]
    Seal(#[from] SealError),
    /// Its chain makes no speaker.
    #[error("party card: {0}")]
    Chain(#[from] ChainError),
    /// The card names its credential by hash, and the bytes were not given.
    #[error("the party card names its credential by hash: fetch it from that node and verify again")]
    CredentialNeeded {
        /// The hash to ask for.
        hash: Hash,
    },
    /// The bytes that were fetched are not the credential that the card names.
    #[error("the fetched credential is not the one that the party card names")]
    OtherCredential,
    /// Made in the future or dead already.
    #[error("the party card is not valid at {at_unix_s}")]
    NotValidThen {
        /// The time in question, Unix time.
        at_unix_s: u64,
    },
}

impl CardError {
    /// Whose fault it is (decisions.md 5).
    pub fn verdict(&self) -> Verdict {
        match self {
            CardError::Seal(error) => error.verdict(),
            CardError::Chain(error) => error.verdict(),
            CardError::CredentialNeeded { .. }
            | CardError::OtherCredential
            | CardError::NotValidThen { .. } => Verdict::Ignore,
        }
    }
}

/// A card whose whole chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCard {
    card: PartyCard,
    speaker: Speaker,
    hash: Hash,
}

impl VerifiedCard {
    /// What the card says.
    pub fn card(&self) -> &PartyCard {
        &self.card
    }

    /// Who says it.
    pub fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// SHA-256 of the card's bytes.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The Kademlia key that this card, and no other place, belongs under.
    pub fn kad_key(&self, network: &str) -> Hash {
        kad_key(network, self.speaker.party(), self.speaker.slot())
    }
}

/// Where the card of a party's node lies: SHA-256 over network, role, id and slot, each with its length in
/// front so that no two places share a spelling. Slots over 7 are taken as 7.
pub fn kad_key(network: &str, party: &PartyId, slot: u8) -> Hash {
    let slot = [slot.min(SLOT_MAX)];
    let parts: [&[u8]; 5] = [
        b"chargemesh card",
        network.as_bytes(),
        party.role.as_str().as_bytes(),
        party.id.as_str().as_bytes(),
        &slot,
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl PartyCard {
    /// A card of this chain without addresses: the caller fills in the rest and seals it.
    pub fn of_chain(chain: &Chain, seq: u64, issued_unix_s: u64) -> PartyCard {
        PartyCard {
            credential: CredentialRef::Inline(chain.credential.clone()),
            delegation: chain.delegation.clone(),
            addresses: Vec::new(),
            capabilities: Vec::new(),
            seq,
            issued_unix_s,
            expires_unix_s: issued_unix_s.saturating_add(CARD_VALIDITY_S_MAX),
        }
    }

    /// Signs the card with the delegated message key. If it is over 8 KiB with its credential inside, the
    /// credential is named by hash.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] if it does not fit even so, [`SealError::Content`] if a limit is broken,
    /// [`SealError::NetworkName`].
    pub fn issue(&self, network: &str, message_key: &SecretKey) -> Result<Vec<u8>, SealError> {
        match (self.seal_as_is(network, message_key), &self.credential) {
            (Err(SealError::TooLarge { .. }), CredentialRef::Inline(bytes)) => {
                let credential = CredentialRef::ByHash(hash_of(bytes));
                PartyCard { credential, ..self.clone() }.seal_as_is(network, message_key)
            }
            (sealed, _) => sealed,
        }
    }

    fn seal_as_is(&self, network: &str, message_key: &SecretKey) -> Result<Vec<u8>, SealError> {
        let payload = self.encode();
        let size_bytes = payload.len();
        if size_bytes > Purpose::PartyCard.size_bytes_max() {
            return Err(SealError::TooLarge { purpose: Purpose::PartyCard, size_bytes });
        }
        // What we would not accept we do not sign.
        PartyCard::decode(&payload)?;
        seal(Purpose::PartyCard, network, &hash_of(&self.delegation), message_key, &payload)
    }

    /// Verifies a received card with its whole chain. `fetched` is the credential's bytes if the card names
    /// it by hash and they are known.
    ///
    /// # Errors
    /// [`CardError`]; ask its verdict.
    pub fn verify(
        bytes: &[u8],
        fetched: Option<&[u8]>,
        context: &TrustContext<'_>,
    ) -> Result<VerifiedCard, CardError> {
        let unsealed = open(bytes, Purpose::PartyCard, context.network)?;
        // The card brings the proof of its own key, so it is read first and believed only below.
        let card = PartyCard::decode(unsealed.payload_unproven()).map_err(SealError::Content)?;
        if *unsealed.signer() != hash_of(&card.delegation) {
            return Err(CardError::Seal(SealError::Signer));
        }
        let credential = match (&card.credential, fetched) {
            (CredentialRef::Inline(bytes), _) => bytes.as_slice(),
            (CredentialRef::ByHash(hash), None) => {
                return Err(CardError::CredentialNeeded { hash: *hash });
            }
            (CredentialRef::ByHash(hash), Some(bytes)) if hash_of(bytes) == *hash => bytes,
            (CredentialRef::ByHash(_), Some(_)) => return Err(CardError::OtherCredential),
        };
        let speaker = verify_parts(credential, &card.delegation, context)?;
        unsealed.verify(speaker.message_key())?;
        let at_unix_s = context.at_unix_s;
        let begun = card.issued_unix_s <= at_unix_s.saturating_add(CLOCK_LEEWAY_S);
        if !begun || at_unix_s >= card.expires_unix_s {
            return Err(CardError::NotValidThen { at_unix_s });
        }
        Ok(VerifiedCard { card, speaker, hash: unsealed.hash() })
    }

    /// The credential inside a card of which nothing is proven yet; none if the card names it by hash. From it
    /// a person is shown whom the card claims to be of, before there is any trust to verify it against.
    ///
    /// # Errors
    /// [`SealError`] for what is no card of this network.
    pub fn credential_unproven(bytes: &[u8], network: &str) -> Result<Option<Vec<u8>>, SealError> {
        let unsealed = open(bytes, Purpose::PartyCard, network)?;
        let card = PartyCard::decode(unsealed.payload_unproven())?;
        Ok(match card.credential {
            CredentialRef::Inline(bytes) => Some(bytes),
            CredentialRef::ByHash(_) => None,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let credential = match &self.credential {
            CredentialRef::Inline(bytes) => (CREDENTIAL, fields::bytes(bytes)),
            CredentialRef::ByHash(hash) => (CREDENTIAL_HASH, fields::bytes(hash)),
        };
        fields::encode(vec![
            (DELEGATION, fields::bytes(&self.delegation)),
            credential,
            (ADDRESSES, texts(&self.addresses)),
            (CAPABILITIES, texts(&self.capabilities)),
            (SEQ, fields::number(self.seq)),
            (ISSUED_AT, fields::number(self.issued_unix_s)),
            (EXPIRES, fields::number(self.expires_unix_s)),
        ])
    }

    pub(super) fn decode(payload: &[u8]) -> Result<PartyCard, FieldError> {
        let size_bytes_max = Purpose::PartyCard.size_bytes_max();
        let mut card = Fields::read(payload)?;
        let credential = match card.hash_maybe(CREDENTIAL_HASH, "credential hash")? {
            Some(hash) => CredentialRef::ByHash(hash),
            None => CredentialRef::Inline(card.bytes(CREDENTIAL, "credential", size_bytes_max)?),
        };
        let issued_unix_s = card.number(ISSUED_AT, "issued at")?;
        let expires_unix_s = card.number(EXPIRES, "expires")?;
        match expires_unix_s.checked_sub(issued_unix_s) {
            Some(seconds) if seconds > 0 && seconds <= CARD_VALIDITY_S_MAX => {}
            _ => {
                let expected = "a time within 48 hours after the making";
                return Err(FieldError::Wrong { key: EXPIRES, name: "expires", expected });
            }
        }
        Ok(PartyCard {
            credential,
            delegation: card.bytes(DELEGATION, "delegation", size_bytes_max)?,
            addresses: card.texts(ADDRESSES, "addresses", ADDRESSES_MAX, ADDRESS_LENGTH_MAX)?,
            capabilities: card.texts(
                CAPABILITIES,
                "capabilities",
                CAPABILITIES_MAX,
                CAPABILITY_LENGTH_MAX,
            )?,
            seq: card.number(SEQ, "seq")?,
            issued_unix_s,
            expires_unix_s,
        })
    }
}

fn texts(values: &[String]) -> Value {
    fields::texts(values.iter().map(String::as_str))
}
