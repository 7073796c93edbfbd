//! Status list: an issuer's word about which of its credentials are dead. The slow, sure way of revocation:
//! whoever has a list that is still valid knows that it knows.

use super::fields::{self, FieldError, Fields};
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, seal};

/// Most credentials of one list: all that an issuer revoked and that have not ended by themselves.
pub const REVOKED_MAX: usize = 10_000;

const SEQ: i64 = 1;
const VALID_UNTIL: i64 = 2;
const REVOKED: i64 = 3;
const CREATED: i64 = 4;

/// A decoded status list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList {
    /// Of several of one issuer the highest counts.
    pub seq: u64,
    /// When it was made, Unix time.
    pub created_unix_s: u64,
    /// First second in which it no longer shows that a credential is alive, Unix time; usually a day after it
    /// was made. What it declares dead stays dead, so that nobody wins by withholding the next list.
    pub valid_until_unix_s: u64,
    /// Hashes of the dead credentials, ascending, at most [`REVOKED_MAX`].
    pub revoked: Vec<Hash>,
}

impl StatusList {
    /// Signs a list; sorts the hashes.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`], [`SealError::NetworkName`].
    pub fn issue(&self, network: &str, issuer_key: &SecretKey) -> Result<Vec<u8>, SealError> {
        let mut revoked = self.revoked.clone();
        revoked.sort_unstable();
        revoked.dedup();
        let payload = fields::encode(vec![
            (SEQ, fields::number(self.seq)),
            (CREATED, fields::number(self.created_unix_s)),
            (VALID_UNTIL, fields::number(self.valid_until_unix_s)),
            (REVOKED, fields::bytes(&revoked.concat())),
        ]);
        // What we would not accept we do not sign.
        StatusList::decode(&payload)?;
        seal(Purpose::StatusList, network, issuer_key.public().as_bytes(), issuer_key, &payload)
    }

    /// Checks the signature with the issuer key that the list names; whether that issuer counts is the trust
    /// list's business.
    ///
    /// # Errors
    /// Every [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<StatusList>, SealError> {
        let unverified = Unverified::<StatusList>::new(bytes, network)?;
        let issuer = PublicKey::from_bytes(unverified.signer()).map_err(|_| SealError::Signer)?;
        unverified.verify(&issuer)
    }

    /// Whether it still shows that what is not on it is alive.
    pub fn is_fresh(&self, at_unix_s: u64) -> bool {
        at_unix_s < self.valid_until_unix_s
    }

    /// Whether a credential is on it.
    pub fn is_revoked(&self, credential: &Hash) -> bool {
        self.revoked.binary_search(credential).is_ok()
    }
}

impl Content for StatusList {
    const PURPOSE: Purpose = Purpose::StatusList;

    fn decode(payload: &[u8]) -> Result<StatusList, FieldError> {
        let mut fields = Fields::read(payload)?;
        let bytes = fields.bytes(REVOKED, "revoked", REVOKED_MAX * size_of::<Hash>())?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || !hashes.is_sorted_by(|one, two| one < two) {
            let expected = "hashes of 32 bytes, ascending, each once";
            return Err(FieldError::Wrong { key: REVOKED, name: "revoked", expected });
        }
        Ok(StatusList {
            seq: fields.number(SEQ, "seq")?,
            created_unix_s: fields.number(CREATED, "created")?,
            valid_until_unix_s: fields.number(VALID_UNTIL, "valid until")?,
            revoked: hashes.to_vec(),
        })
    }
}
