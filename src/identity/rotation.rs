//! Rotation: a new org key follows an old one. Signed by both, and the new key must be the one that the
//! old credential committed to by its hash: who stole today's key cannot choose tomorrow's.

use ciborium::value::Value;

use super::credential::Credential;
use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, hash_of, seal};

const CREDENTIAL: i64 = 1;
const NEW_KEY: i64 = 2;
const CREATED: i64 = 3;
const BY_NEW_KEY: i64 = 4;

/// A decoded rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Whose.
    pub party: PartyId,
    /// Who issued the credential with the old key.
    pub issuer: Hash,
    /// The key that ends.
    pub old_key: PublicKey,
    /// The key that follows.
    pub new_key: PublicKey,
    /// When, Unix time.
    pub created_unix_s: u64,
}

impl Rotation {
    /// Signs a rotation away from the org key of `credential` (its signed bytes).
    ///
    /// # Errors
    /// [`SealError::Signer`] if `old_key` is not the credential's org key or `new_key` not the one that the
    /// credential committed to; every other [`SealError`].
    pub fn issue(
        network: &str,
        credential: &[u8],
        old_key: &SecretKey,
        new_key: &SecretKey,
        created_unix_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        let said = vec![
            (CREDENTIAL, fields::bytes(credential)),
            (NEW_KEY, fields::bytes(new_key.public().as_bytes())),
            (CREATED, fields::number(created_unix_s)),
        ];
        let consent =
            seal(Purpose::Rotation, network, new_key.public().as_bytes(), new_key, &fields::encode(said))?;
        let whole = fields::encode(vec![(BY_NEW_KEY, Value::Bytes(consent))]);
        let bytes = seal(Purpose::Rotation, network, old_key.public().as_bytes(), old_key, &whole)?;
        // What nobody would believe is not signed.
        Rotation::open(&bytes, network)?;
        Ok(bytes)
    }

    /// Checks both signatures and the commitment: the same outcome for everybody.
    ///
    /// # Errors
    /// [`SealError::Signer`] if one of the keys is not the right one; every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<Rotation>, SealError> {
        let outer = Unverified::<Outer>::new(bytes, network)?;
        let old_key = PublicKey::from_bytes(outer.signer()).map_err(|_| SealError::Signer)?;
        let outer = outer.verify(&old_key)?;
        let inner = Unverified::<Inner>::new(&outer.by_new_key, network)?;
        let new_key = PublicKey::from_bytes(inner.signer()).map_err(|_| SealError::Signer)?;
        let inner = inner.verify(&new_key)?.into_content();
        let credential = Credential::open(&inner.credential, network)?;
        let terms = &credential.terms;
        let committed = terms.next_org_key_hash == Some(hash_of(new_key.as_bytes()));
        if inner.new_key != new_key || terms.org_key != old_key || !committed {
            return Err(SealError::Signer);
        }
        let (party, created_unix_s) = (terms.party.clone(), inner.created_unix_s);
        let issuer = *credential.signer();
        Ok(outer.map(|_| Rotation { party, issuer, old_key, new_key, created_unix_s }))
    }
}

/// What the old key signs: the new key's consent.
struct Outer {
    by_new_key: Vec<u8>,
}

impl Content for Outer {
    const PURPOSE: Purpose = Purpose::Rotation;

    fn decode(payload: &[u8]) -> Result<Outer, FieldError> {
        let size_bytes_max = Purpose::Rotation.size_bytes_max();
        Ok(Outer {
            by_new_key: Fields::read(payload)?.bytes(BY_NEW_KEY, "the new key's consent", size_bytes_max)?,
        })
    }
}

/// What the new key signs.
struct Inner {
    credential: Vec<u8>,
    new_key: PublicKey,
    created_unix_s: u64,
}

impl Content for Inner {
    const PURPOSE: Purpose = Purpose::Rotation;

    fn decode(payload: &[u8]) -> Result<Inner, FieldError> {
        let mut fields = Fields::read(payload)?;
        let size_bytes_max = Purpose::PartyCredential.size_bytes_max();
        Ok(Inner {
            credential: fields.bytes(CREDENTIAL, "credential", size_bytes_max)?,
            new_key: fields.key(NEW_KEY, "new org key")?,
            created_unix_s: fields.number(CREATED, "created")?,
        })
    }
}
