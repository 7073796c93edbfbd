//! Sub-operator grant: the holder of a main id lets another party publish under it until a time. Signed by
//! the holder's org key and carries the holder's credential, so that everybody can judge it at once. It is
//! the stronger of the two grounds for a sub id (decisions.md 3).

use ciborium::value::Value;

use super::chain::CLOCK_LEEWAY_S;
use super::credential::{CREDENTIAL_VALIDITY_S_MAX, Credential, claim, validity};
use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, seal};

/// Longest validity, seconds: that of a credential.
pub const SUB_GRANT_VALIDITY_S_MAX: u64 = CREDENTIAL_VALIDITY_S_MAX;

/// Longest text of a party, bytes.
const PARTY_LENGTH_MAX: usize = 24;

const CREDENTIAL: i64 = 1;
const GRANTEE: i64 = 2;
const EPOCH: i64 = 3;

/// What the holder of an id states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubGrantTerms {
    /// Who may publish under the holder's main id; of the same role as the holder.
    pub grantee: PartyId,
    /// Of several for one grantee the highest counts. One that has ended withdraws those below it.
    pub epoch: u64,
    /// First second of validity, Unix time.
    pub not_before_unix_s: u64,
    /// First second after it, Unix time; at most [`SUB_GRANT_VALIDITY_S_MAX`] later.
    pub expires_unix_s: u64,
}

/// A decoded grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubGrant {
    /// Whose main id it is about.
    pub holder: PartyId,
    /// Who issued the holder's credential, and the org key in it, which signed the grant.
    pub issuer: Hash,
    /// See `issuer`.
    pub org_key: PublicKey,
    /// Who may publish under the holder's main id.
    pub grantee: PartyId,
    /// Of several for one grantee the highest counts.
    pub epoch: u64,
    /// First second of validity, Unix time.
    pub not_before_unix_s: u64,
    /// First second after it, Unix time.
    pub expires_unix_s: u64,
    credential: Box<Verified<Credential>>,
}

impl SubGrant {
    /// Signs a grant with the org key of `credential` (its signed bytes).
    ///
    /// # Errors
    /// [`SealError::Signer`] if `org_key` is not the credential's, [`SealError::Content`] if the grantee is the
    /// holder or of another role or a limit is broken; every other [`SealError`].
    pub fn issue(
        network: &str,
        credential: &[u8],
        terms: &SubGrantTerms,
        org_key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        let payload = fields::encode(vec![
            (CREDENTIAL, fields::bytes(credential)),
            (GRANTEE, Value::from(terms.grantee.to_text())),
            (EPOCH, fields::number(terms.epoch)),
            (claim::NOT_BEFORE, fields::number(terms.not_before_unix_s)),
            (claim::EXPIRES, fields::number(terms.expires_unix_s)),
        ]);
        let bytes = seal(Purpose::SubGrant, network, org_key.public().as_bytes(), org_key, &payload)?;
        // What nobody would believe is not signed.
        SubGrant::open(&bytes, network)?;
        Ok(bytes)
    }

    /// Checks signature and form: the same outcome for everybody. Whether the holder is believed is asked when
    /// a chain is verified.
    ///
    /// # Errors
    /// [`SealError::Signer`] if somebody else than the holder signed it; every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<SubGrant>, SealError> {
        let unverified = Unverified::<Carried>::new(bytes, network)?;
        let org_key = PublicKey::from_bytes(unverified.signer()).map_err(|_| SealError::Signer)?;
        let carried = unverified.verify(&org_key)?;
        let credential = Credential::open(&carried.credential, network)?;
        if credential.terms.org_key != org_key {
            return Err(SealError::Signer);
        }
        let (holder, issuer) = (credential.terms.party.clone(), *credential.signer());
        if carried.grantee == holder || carried.grantee.role != holder.role {
            let expected = "another party of the same role as the holder";
            return Err(FieldError::Wrong { key: GRANTEE, name: "grantee", expected }.into());
        }
        Ok(carried.map(|carried| SubGrant {
            holder,
            issuer,
            org_key,
            grantee: carried.grantee,
            epoch: carried.epoch,
            not_before_unix_s: carried.not_before_unix_s,
            expires_unix_s: carried.expires_unix_s,
            credential: Box::new(credential),
        }))
    }

    /// The holder's credential, as the grant carries it.
    pub fn credential(&self) -> &Verified<Credential> {
        &self.credential
    }

    /// Whether it is valid at a time. A beginning has the leeway of [`CLOCK_LEEWAY_S`].
    pub fn is_live(&self, at_unix_s: u64) -> bool {
        self.not_before_unix_s <= at_unix_s.saturating_add(CLOCK_LEEWAY_S) && at_unix_s < self.expires_unix_s
    }
}

/// The payload as it travels.
struct Carried {
    credential: Vec<u8>,
    grantee: PartyId,
    epoch: u64,
    not_before_unix_s: u64,
    expires_unix_s: u64,
}

impl Content for Carried {
    const PURPOSE: Purpose = Purpose::SubGrant;

    fn decode(payload: &[u8]) -> Result<Carried, FieldError> {
        let mut fields = Fields::read(payload)?;
        let (not_before_unix_s, expires_unix_s) = validity(&mut fields, SUB_GRANT_VALIDITY_S_MAX)?;
        let expected = "role and canonical id, as in CPO:CHSCH";
        let size_bytes_max = Purpose::PartyCredential.size_bytes_max();
        Ok(Carried {
            credential: fields.bytes(CREDENTIAL, "credential", size_bytes_max)?,
            grantee: PartyId::parse(&fields.text(GRANTEE, "grantee", PARTY_LENGTH_MAX)?)
                .map_err(|_| FieldError::Wrong { key: GRANTEE, name: "grantee", expected })?,
            epoch: fields.number(EPOCH, "epoch")?,
            not_before_unix_s,
            expires_unix_s,
        })
    }
}
