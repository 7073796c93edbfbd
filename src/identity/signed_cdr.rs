//! A charge detail record as the CPO's node vouches for it: the OICP message byte for byte, for which session, from
//! whom to whom. It travels unchanged in as many envelopes as it takes (decisions.md 26), and proves itself years
//! later with the chain of the node that signed it.

use ciborium::value::Value;
use thiserror::Error;

use super::delegation::Operation;
use super::fields::{self, FieldError, Fields};
use super::id::{PartyId, Role};
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, hash_of, open, peek, seal};
use super::speaker::{ScopeError, Speaker};

/// Largest OICP message of a record, bytes: with its signature and a chain it fits an envelope. Ten signed meter
/// values of 3,000 characters are 30 KiB.
pub const CDR_OICP_BYTES_MAX: usize = 200 * 1024;

/// Characters of a SessionID.
const SESSION_LENGTH_MAX: usize = 36;
/// Longest text of a party (`CPO:+999*999`) with some room, bytes.
const PARTY_LENGTH_MAX: usize = 24;

const SESSION: i64 = 1;
const FROM: i64 = 2;
const TO: i64 = 3;
const CREATED_MS: i64 = 4;
const REPLACES: i64 = 5;
const OICP: i64 = 6;

/// Why a signed record or a receipt was not made or not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CdrError {
    /// The object itself is wrong.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// The signer's delegation does not reach so far.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Signed by another party than the one that it is from.
    #[error("{signer} signed what is from {from}")]
    OtherParty {
        /// Who signed.
        signer: PartyId,
        /// From whom it says that it is.
        from: PartyId,
    },
}

/// A charge detail record with its address.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCdr {
    /// SessionID, lower case.
    pub session: String,
    /// The CPO.
    pub from: PartyId,
    /// The EMP.
    pub to: PartyId,
    /// When it was signed, unix milliseconds.
    pub created_unix_ms: u64,
    /// A correction names the record that it replaces, by the hash of its OICP message.
    pub replaces: Option<Hash>,
    /// The OICP message as the CPO's backend sent it; at most [`CDR_OICP_BYTES_MAX`].
    pub oicp: Vec<u8>,
}

impl std::fmt::Debug for SignedCdr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the message: it names a driver.
        f.debug_struct("SignedCdr")
            .field("session", &self.session)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl SignedCdr {
    /// Its name: SHA-256 of the OICP message.
    pub fn cdr_hash(&self) -> Hash {
        hash_of(&self.oicp)
    }

    /// Signs it with the message key of the CPO's node.
    ///
    /// # Errors
    /// What [`SignedCdr::open`] would refuse, and [`SealError::Signer`] if the key is not the speaker's.
    pub fn issue(&self, network: &str, speaker: &Speaker, key: &SecretKey) -> Result<Vec<u8>, CdrError> {
        let mut entries = vec![
            (SESSION, Value::from(self.session.as_str())),
            (FROM, Value::from(self.from.to_text())),
            (TO, Value::from(self.to.to_text())),
            (CREATED_MS, fields::number(self.created_unix_ms)),
            (OICP, fields::bytes(&self.oicp)),
        ];
        entries.extend(self.replaces.map(|hash| (REPLACES, fields::bytes(&hash))));
        let bytes = issue(Purpose::SignedCdr, network, speaker, key, entries)?;
        // What nobody would believe is not signed.
        SignedCdr::open(&bytes, network, speaker)?;
        Ok(bytes)
    }

    /// Checks a record that this speaker should have signed, and that it might when it did.
    ///
    /// # Errors
    /// [`CdrError`]: of another signer, not for CDRs delegated then, or wrong in itself.
    pub fn open(bytes: &[u8], network: &str, speaker: &Speaker) -> Result<Verified<SignedCdr>, CdrError> {
        let cdr = opened::<SignedCdr>(bytes, network, speaker)?;
        may_sign(speaker, &cdr.from, Operation::CdrSend, cdr.created_unix_ms)?;
        Ok(cdr)
    }

    /// When it says that it was signed, unix milliseconds: at that time its signer's chain is to be judged. Nothing
    /// is proven yet.
    ///
    /// # Errors
    /// Every [`SealError`] but `Signature`.
    pub fn claimed_time(bytes: &[u8], network: &str) -> Result<u64, SealError> {
        let unsealed = open(bytes, Purpose::SignedCdr, network)?;
        Ok(SignedCdr::decode(unsealed.payload_unproven())?.created_unix_ms)
    }

    /// Reads a record that was verified before it was stored.
    ///
    /// # Errors
    /// Every [`SealError`] but `Signature`.
    pub fn read_stored(bytes: &[u8]) -> Result<SignedCdr, SealError> {
        let header = peek(bytes)?;
        let unsealed = open(bytes, Purpose::SignedCdr, &header.network)?;
        Ok(SignedCdr::decode(unsealed.payload_unproven())?)
    }
}

impl Content for SignedCdr {
    const PURPOSE: Purpose = Purpose::SignedCdr;

    fn decode(payload: &[u8]) -> Result<SignedCdr, FieldError> {
        let mut fields = Fields::read(payload)?;
        let (from, to) = addresses(&mut fields, Role::Cpo, [(FROM, "from"), (TO, "to")])?;
        Ok(SignedCdr {
            session: fields.text(SESSION, "session", SESSION_LENGTH_MAX)?,
            from,
            to,
            created_unix_ms: fields.number(CREATED_MS, "created")?,
            replaces: fields.hash_maybe(REPLACES, "replaces")?,
            oicp: fields.bytes(OICP, "OICP message", CDR_OICP_BYTES_MAX)?,
        })
    }
}

pub(super) fn issue(
    purpose: Purpose,
    network: &str,
    speaker: &Speaker,
    key: &SecretKey,
    entries: Vec<(i64, Value)>,
) -> Result<Vec<u8>, SealError> {
    if key.public() != *speaker.message_key() {
        return Err(SealError::Signer);
    }
    seal(purpose, network, speaker.delegation_hash(), key, &fields::encode(entries))
}

pub(super) fn opened<T: Content>(
    bytes: &[u8],
    network: &str,
    speaker: &Speaker,
) -> Result<Verified<T>, SealError> {
    let unverified = Unverified::<T>::new(bytes, network)?;
    if unverified.signer() != speaker.delegation_hash() {
        return Err(SealError::Signer);
    }
    unverified.verify(speaker.message_key())
}

pub(super) fn may_sign(
    speaker: &Speaker,
    from: &PartyId,
    operation: Operation,
    at_unix_ms: u64,
) -> Result<(), CdrError> {
    if speaker.party() != from {
        return Err(CdrError::OtherParty { signer: speaker.party().clone(), from: from.clone() });
    }
    speaker.may_at(at_unix_ms / 1_000)?;
    Ok(speaker.may_do(operation)?)
}

/// Sender and receiver: the one of `role`, the other of the other.
pub(super) fn addresses(
    fields: &mut Fields,
    role: Role,
    names: [(i64, &'static str); 2],
) -> Result<(PartyId, PartyId), FieldError> {
    let expected = "role and canonical id of a CPO and an EMP, as in CPO:CHSCH";
    let mut read = |(key, name): (i64, &'static str), of_role: bool| {
        let text = fields.text(key, name, PARTY_LENGTH_MAX)?;
        let party = PartyId::parse(&text).ok().filter(|party| (party.role == role) == of_role);
        party.ok_or(FieldError::Wrong { key, name, expected })
    };
    let [from, to] = names;
    Ok((read(from, true)?, read(to, false)?))
}
