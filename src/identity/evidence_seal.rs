//! Evidence seal: a node's word that a file is what its log holds about a session. Without it who changes a file
//! could compute all of its hashes anew.

use ciborium::value::Value;

use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, open, seal};
use super::speaker::Speaker;

/// Sections of a file, each sealed by its hash, so that a change is found in its place.
pub const EVIDENCE_SECTIONS: usize = 4;
/// Most entries of one file: a session has some tens; one that tells of its progress every five minutes has 8,000
/// after two weeks.
pub const EVIDENCE_ENTRIES_MAX: usize = 8_192;
/// Longest text of a party (`CPO:+999*999`) with some room, bytes.
const PARTY_LENGTH_MAX: usize = 24;
/// Longest SessionID, bytes.
const SESSION_LENGTH_MAX: usize = 36;
/// Bytes of a number of an entry.
const NUMBER_LENGTH: usize = 8;

const PARTY: i64 = 1;
const SESSION: i64 = 2;
const MADE_MS: i64 = 3;
const HEAD_NUMBER: i64 = 4;
const HEAD_HASH: i64 = 5;
const ENTRIES: i64 = 6;
const SECTIONS: i64 = 7;

/// What is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceSeal {
    /// Whose log it is.
    pub party: PartyId,
    /// SessionID.
    pub session: String,
    /// When the file was made, unix milliseconds.
    pub made_unix_ms: u64,
    /// Number of the log's last entry then.
    pub head_number: u64,
    /// Hash of that entry.
    pub head_hash: Hash,
    /// Numbers of the session's entries, ascending, at most [`EVIDENCE_ENTRIES_MAX`].
    pub entries: Vec<u64>,
    /// SHA-256 of each section.
    pub sections: [Hash; EVIDENCE_SECTIONS],
}

impl EvidenceSeal {
    /// Signs it with the message key of the party that `speaker` speaks for.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`].
    pub fn issue(
        &self,
        network: &str,
        speaker: &Speaker,
        message_key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        let numbers: Vec<u8> = self.entries.iter().flat_map(|number| number.to_be_bytes()).collect();
        let payload = fields::encode(vec![
            (PARTY, Value::from(self.party.to_text())),
            (SESSION, Value::from(self.session.as_str())),
            (MADE_MS, fields::number(self.made_unix_ms)),
            (HEAD_NUMBER, fields::number(self.head_number)),
            (HEAD_HASH, fields::bytes(&self.head_hash)),
            (ENTRIES, fields::bytes(&numbers)),
            (SECTIONS, fields::bytes(&self.sections.concat())),
        ]);
        // What we would not accept we do not sign.
        EvidenceSeal::decode(&payload)?;
        seal(Purpose::EvidenceSeal, network, speaker.delegation_hash(), message_key, &payload)
    }

    /// The hash of the delegation that the signer names; nothing is proven yet.
    ///
    /// # Errors
    /// As [`open`].
    pub fn claimed_signer(bytes: &[u8], network: &str) -> Result<Hash, SealError> {
        Ok(*open(bytes, Purpose::EvidenceSeal, network)?.signer())
    }

    /// When the file says that it was made, in unix milliseconds: the time at which its signer is to be judged.
    /// Nothing is proven yet.
    ///
    /// # Errors
    /// As [`open`], and [`SealError::Content`].
    pub fn claimed_time(bytes: &[u8], network: &str) -> Result<u64, SealError> {
        let unsealed = open(bytes, Purpose::EvidenceSeal, network)?;
        Ok(EvidenceSeal::decode(unsealed.payload_unproven())?.made_unix_ms)
    }

    /// Reads a seal that this speaker should have signed, for its own party.
    ///
    /// # Errors
    /// [`SealError::Signer`] if it names another delegation or party, and every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str, speaker: &Speaker) -> Result<Verified<EvidenceSeal>, SealError> {
        let unverified = Unverified::<EvidenceSeal>::new(bytes, network)?;
        if unverified.signer() != speaker.delegation_hash() {
            return Err(SealError::Signer);
        }
        let seal = unverified.verify(speaker.message_key())?;
        if seal.party == *speaker.party() { Ok(seal) } else { Err(SealError::Signer) }
    }
}

impl Content for EvidenceSeal {
    const PURPOSE: Purpose = Purpose::EvidenceSeal;

    fn decode(payload: &[u8]) -> Result<EvidenceSeal, FieldError> {
        let mut fields = Fields::read(payload)?;
        let party = PartyId::parse(&fields.text(PARTY, "party", PARTY_LENGTH_MAX)?).map_err(|_| {
            FieldError::Wrong {
                key: PARTY,
                name: "party",
                expected: "role and canonical id, as in CPO:CHSCH",
            }
        })?;
        let numbers = fields.bytes(ENTRIES, "entries", EVIDENCE_ENTRIES_MAX * NUMBER_LENGTH)?;
        let (numbers, rest) = numbers.as_chunks::<NUMBER_LENGTH>();
        let entries: Vec<u64> = numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
        if !rest.is_empty() || !entries.is_sorted_by(|one, two| one < two) {
            let expected = "numbers of 8 bytes, ascending";
            return Err(FieldError::Wrong { key: ENTRIES, name: "entries", expected });
        }
        let sections = fields.bytes(SECTIONS, "sections", EVIDENCE_SECTIONS * size_of::<Hash>())?;
        let (hashes, _) = sections.as_chunks::<32>();
        let wrong =
            FieldError::Wrong { key: SECTIONS, name: "sections", expected: "four hashes of 32 bytes" };
        let sections = <[Hash; EVIDENCE_SECTIONS]>::try_from(hashes).map_err(|_| wrong)?;
        let head_hash = fields.hash_maybe(HEAD_HASH, "hash of the last entry")?;
        Ok(EvidenceSeal {
            party,
            session: fields.text(SESSION, "session", SESSION_LENGTH_MAX)?,
            made_unix_ms: fields.number(MADE_MS, "made")?,
            head_number: fields.number(HEAD_NUMBER, "number of the last entry")?,
            head_hash: head_hash
                .ok_or(FieldError::Missing { key: HEAD_HASH, name: "hash of the last entry" })?,
            entries,
            sections,
        })
    }
}
