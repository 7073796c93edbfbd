//! Tombstone: this credential, delegation or org key is dead before its time.
//!
//! It carries the credential that it is about, so that everybody can judge at once who may say it: the
//! org key, the pre-committed next org key, or the issuer of that credential. Anybody may hand it on.

use ciborium::value::Value;

use super::credential::Credential;
use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, hash_of, seal};

/// Longest reason, bytes.
pub const REASON_LENGTH_MAX: usize = 120;

const CREDENTIAL: i64 = 1;
const WHAT: i64 = 2;
const DELEGATION: i64 = 3;
const EPOCH: i64 = 4;
const SINCE: i64 = 5;
const REASON: i64 = 6;

/// What is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The credential with this hash, and every delegation under it.
    Credential(Hash),
    /// The delegation with this hash.
    Delegation(Hash),
    /// This org key: every credential that names it, for the party of the tombstone.
    OrgKey(Hash),
}

/// A decoded tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Whose.
    pub party: PartyId,
    /// What is dead.
    pub subject: Subject,
    /// Who issued the credential that it is about, and the org key in it: a delegation is dead only under
    /// that key.
    pub issuer: Hash,
    /// See `issuer`.
    pub org_key: PublicKey,
    /// Of several for one subject the highest counts.
    pub epoch: u64,
    /// When trust ended, Unix time: what was said before stays evidence.
    pub since_unix_s: u64,
    /// For people; may be empty.
    pub reason: String,
}

/// What a tombstone is to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    /// The credential that is handed over.
    Credential,
    /// A delegation under it.
    Delegation(Hash),
    /// Its org key.
    OrgKey,
}

impl Tombstone {
    /// Signs a tombstone with the org key, the next org key or the issuer's key of `credential` (its signed
    /// bytes).
    ///
    /// # Errors
    /// [`SealError::Signer`] if the key may not say this, and every other [`SealError`].
    pub fn issue(
        network: &str,
        credential: &[u8],
        dead: Dead,
        epoch: u64,
        since_unix_s: u64,
        reason: &str,
        key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        let (what, delegation) = match dead {
            Dead::Credential => ("credential", None),
            Dead::Delegation(hash) => ("delegation", Some(hash)),
            Dead::OrgKey => ("org-key", None),
        };
        let mut entries = vec![
            (CREDENTIAL, fields::bytes(credential)),
            (WHAT, Value::from(what)),
            (EPOCH, fields::number(epoch)),
            (SINCE, fields::number(since_unix_s)),
        ];
        entries.extend(delegation.map(|hash| (DELEGATION, fields::bytes(&hash))));
        if !reason.is_empty() {
            entries.push((REASON, Value::from(reason)));
        }
        let payload = fields::encode(entries);
        let bytes = seal(Purpose::Tombstone, network, key.public().as_bytes(), key, &payload)?;
        // What nobody would believe is not signed.
        Tombstone::open(&bytes, network)?;
        Ok(bytes)
    }

    /// Checks signature and authority: the same outcome for everybody, whomever they trust.
    ///
    /// # Errors
    /// [`SealError::Signer`] if somebody else than the three who may signed it; every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<Tombstone>, SealError> {
        let unverified = Unverified::<Carried>::new(bytes, network)?;
        let signer = *unverified.signer();
        let key = PublicKey::from_bytes(&signer).map_err(|_| SealError::Signer)?;
        let carried = unverified.verify(&key)?;
        let credential = Credential::open(&carried.credential, network)?;
        let terms = &credential.terms;
        let next = terms.next_org_key_hash.is_some_and(|next| next == hash_of(&signer));
        if signer != *terms.org_key.as_bytes() && signer != *credential.signer() && !next {
            return Err(SealError::Signer);
        }
        // An issuer answers for what it issued, not for what the party does with its key elsewhere.
        let by_issuer_only = signer == *credential.signer() && signer != *terms.org_key.as_bytes() && !next;
        let subject = match carried.what {
            What::Credential => Subject::Credential(*credential.hash()),
            What::OrgKey if by_issuer_only => return Err(SealError::Signer),
            What::OrgKey => Subject::OrgKey(*terms.org_key.as_bytes()),
            What::Delegation(hash) => Subject::Delegation(hash),
        };
        let (party, org_key, issuer) = (terms.party.clone(), terms.org_key, *credential.signer());
        Ok(carried.map(|carried| Tombstone {
            party,
            subject,
            issuer,
            org_key,
            epoch: carried.epoch,
            since_unix_s: carried.since_unix_s,
            reason: carried.reason,
        }))
    }
}

/// The payload as it travels.
struct Carried {
    credential: Vec<u8>,
    what: What,
    epoch: u64,
    since_unix_s: u64,
    reason: String,
}

enum What {
    Credential,
    Delegation(Hash),
    OrgKey,
}

impl Content for Carried {
    const PURPOSE: Purpose = Purpose::Tombstone;

    fn decode(payload: &[u8]) -> Result<Carried, FieldError> {
        let mut fields = Fields::read(payload)?;
        let expected = "credential, delegation (with its hash) or org-key";
        let wrong = FieldError::Wrong { key: WHAT, name: "what is dead", expected };
        let delegation = fields.hash_maybe(DELEGATION, "delegation")?;
        let what = match (fields.text(WHAT, "what is dead", 16)?.as_str(), delegation) {
            ("credential", None) => What::Credential,
            ("delegation", Some(hash)) => What::Delegation(hash),
            ("org-key", None) => What::OrgKey,
            _ => return Err(wrong),
        };
        Ok(Carried {
            credential: fields.bytes(
                CREDENTIAL,
                "credential",
                Purpose::PartyCredential.size_bytes_max(),
            )?,
            what,
            epoch: fields.number(EPOCH, "epoch")?,
            since_unix_s: fields.number(SINCE, "since")?,
            reason: fields.text_maybe(REASON, "reason", REASON_LENGTH_MAX)?,
        })
    }
}
