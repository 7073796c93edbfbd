//! Party credential: an issuer's word that a party with these ids has this org key. A CWT (RFC 8392).

use ciborium::value::Value;

use super::fields::{self, FieldError, Fields};
use super::id::{CanonicalId, PartyId};
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, SealError, Unverified, Verified, seal};

/// Longest validity, seconds: 13 months, at most 397 days (design/trust.md).
pub const CREDENTIAL_VALIDITY_S_MAX: u64 = 397 * 86_400;
/// Most sub-operator or sub-provider ids of one party. The largest in the Swiss register has under 20.
pub const SUB_IDS_MAX: usize = 1_000;
/// Longest name or register number, bytes.
pub const NAME_LENGTH_MAX: usize = 200;
/// Longest serial, bytes.
pub const SERIAL_LENGTH_MAX: usize = 32;

/// Registered claims (RFC 8392 section 3.1, RFC 8747 section 3.1).
pub(super) mod claim {
    pub(crate) const ISSUER: i64 = 1;
    pub(crate) const SUBJECT: i64 = 2;
    pub(crate) const EXPIRES: i64 = 4;
    pub(crate) const NOT_BEFORE: i64 = 5;
    pub(crate) const ISSUED_AT: i64 = 6;
    pub(crate) const CWT_ID: i64 = 7;
    pub(crate) const CONFIRMATION: i64 = 8;
}

// Private claims: RFC 8392 section 9.1.1 leaves numbers below -65536 to applications.
pub(super) const SUB_IDS: i64 = -70_001;
pub(super) const LEGAL_NAME: i64 = -70_002;
pub(super) const REGISTER_NUMBER: i64 = -70_003;
pub(super) const NEXT_ORG_KEY_HASH: i64 = -70_004;

/// What an issuer states about a party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialTerms {
    /// Who is vouched for.
    pub party: PartyId,
    /// Further ids that the party publishes or contracts under, at most [`SUB_IDS_MAX`]; any order.
    pub sub_ids: Vec<CanonicalId>,
    /// Name in the commercial register.
    pub legal_name: String,
    /// Number there; empty if there is none.
    pub register_number: String,
    /// The key that signs the party's delegations.
    pub org_key: PublicKey,
    /// SHA-256 of the org key that may follow, so that a thief of today's key cannot choose it.
    pub next_org_key_hash: Option<[u8; 32]>,
    /// First second of validity, Unix time.
    pub not_before_unix_s: u64,
    /// First second after it, Unix time.
    pub expires_unix_s: u64,
    /// Chosen by the issuer, unique there, at most [`SERIAL_LENGTH_MAX`] bytes.
    pub serial: Vec<u8>,
}

/// Who vouched, as the credential says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// The issuer's name for people; proves nothing.
    pub name: String,
}

/// A decoded credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What is stated; `sub_ids` ascending, without the main id.
    pub terms: CredentialTerms,
    /// Who states it.
    pub issuer: Voucher,
}

impl Credential {
    /// Signs a credential: the offline act of an issuer, or of a party itself when it is pinned.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`], [`SealError::NetworkName`].
    pub fn issue(
        network: &str,
        terms: &CredentialTerms,
        issuer_name: &str,
        issuer_key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        let payload = encode(terms, issuer_name);
        // What we would not accept we do not sign.
        Credential::decode(&payload)?;
        seal(Purpose::PartyCredential, network, issuer_key.public().as_bytes(), issuer_key, &payload)
    }

    /// Checks the signature with the key that the credential itself names. This proves who signed, which
    /// everybody judges alike; whether that issuer counts is the trust list's business.
    ///
    /// # Errors
    /// Every [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<Credential>, SealError> {
        let unverified = Unverified::<Credential>::new(bytes, network)?;
        let issuer = PublicKey::from_bytes(unverified.signer()).map_err(|_| SealError::Signer)?;
        unverified.verify(&issuer)
    }

    /// Whether the party may carry this id at all.
    pub fn covers(&self, id: &CanonicalId) -> bool {
        self.terms.party.id == *id || self.terms.sub_ids.binary_search(id).is_ok()
    }
}

impl Content for Credential {
    const PURPOSE: Purpose = Purpose::PartyCredential;

    fn decode(payload: &[u8]) -> Result<Self, FieldError> {
        let mut claims = Fields::read(payload)?;
        let issuer = Voucher { name: claims.text(claim::ISSUER, "issuer", NAME_LENGTH_MAX)? };
        let party = party_of(&mut claims)?;
        let (not_before_unix_s, expires_unix_s) = validity(&mut claims, CREDENTIAL_VALIDITY_S_MAX)?;
        let sub_ids = claims.ids(SUB_IDS, "sub ids", SUB_IDS_MAX)?;
        is_without_main_id(&sub_ids, &party)?;
        let terms = CredentialTerms {
            party,
            sub_ids,
            legal_name: claims.text(LEGAL_NAME, "legal name", NAME_LENGTH_MAX)?,
            register_number: claims.text_maybe(REGISTER_NUMBER, "register number", NAME_LENGTH_MAX)?,
            org_key: confirmed_key(&mut claims)?,
            next_org_key_hash: claims.hash_maybe(NEXT_ORG_KEY_HASH, "hash of the next org key")?,
            not_before_unix_s,
            expires_unix_s,
            serial: claims.bytes(claim::CWT_ID, "serial", SERIAL_LENGTH_MAX)?,
        };
        Ok(Credential { terms, issuer })
    }
}

fn encode(terms: &CredentialTerms, issuer_name: &str) -> Vec<u8> {
    let mut sub_ids: Vec<&str> = terms.sub_ids.iter().map(CanonicalId::as_str).collect();
    sub_ids.sort_unstable();
    sub_ids.dedup();
    sub_ids.retain(|id| *id != terms.party.id.as_str());
    let mut claims = vec![
        (claim::ISSUER, Value::from(issuer_name)),
        (claim::SUBJECT, Value::from(terms.party.to_text())),
        (claim::EXPIRES, fields::number(terms.expires_unix_s)),
        (claim::NOT_BEFORE, fields::number(terms.not_before_unix_s)),
        (claim::ISSUED_AT, fields::number(terms.not_before_unix_s)),
        (claim::CWT_ID, fields::bytes(&terms.serial)),
        (claim::CONFIRMATION, confirmation(&terms.org_key)),
        (SUB_IDS, fields::texts(sub_ids.into_iter())),
        (LEGAL_NAME, Value::from(terms.legal_name.as_str())),
    ];
    if !terms.register_number.is_empty() {
        claims.push((REGISTER_NUMBER, Value::from(terms.register_number.as_str())));
    }
    if let Some(hash) = &terms.next_org_key_hash {
        claims.push((NEXT_ORG_KEY_HASH, fields::bytes(hash)));
    }
    fields::encode(claims)
}

/// Ascending sub ids name the main id nowhere.
pub(super) fn is_without_main_id(sub_ids: &[CanonicalId], party: &PartyId) -> Result<(), FieldError> {
    match sub_ids.binary_search(&party.id) {
        Err(_) => Ok(()),
        Ok(_) => {
            let expected = "ids other than the main id";
            Err(FieldError::Wrong { key: SUB_IDS, name: "sub ids", expected })
        }
    }
}

/// The subject claim as a party.
pub(super) fn party_of(claims: &mut Fields) -> Result<PartyId, FieldError> {
    const SUBJECT_LENGTH_MAX: usize = 24;
    let text = claims.text(claim::SUBJECT, "subject", SUBJECT_LENGTH_MAX)?;
    PartyId::parse(&text).map_err(|_| FieldError::Wrong {
        key: claim::SUBJECT,
        name: "subject",
        expected: "role and canonical id, as in CPO:CHSCH",
    })
}

/// `nbf` and `exp`: in order, and no further apart than allowed.
pub(super) fn validity(claims: &mut Fields, seconds_max: u64) -> Result<(u64, u64), FieldError> {
    let not_before = claims.number(claim::NOT_BEFORE, "not before")?;
    let expires = claims.number(claim::EXPIRES, "expires")?;
    match expires.checked_sub(not_before) {
        Some(seconds) if seconds > 0 && seconds <= seconds_max => Ok((not_before, expires)),
        _ => Err(FieldError::Wrong {
            key: claim::EXPIRES,
            name: "expires",
            expected: "a time after `not before` and within the longest validity of such an object",
        }),
    }
}

// COSE_Key of an Ed25519 public key (RFC 9053 section 7.2): kty OKP, crv Ed25519, x.
const COSE_KEY: i64 = 1;
const KEY_TYPE: i64 = 1;
const KEY_TYPE_OKP: u64 = 1;
const CURVE: i64 = -1;
const CURVE_ED25519: u64 = 6;
const X: i64 = -2;

/// The confirmation claim (RFC 8747) for a key.
pub(super) fn confirmation(key: &PublicKey) -> Value {
    let cose_key = vec![
        (Value::from(KEY_TYPE), fields::number(KEY_TYPE_OKP)),
        (Value::from(CURVE), fields::number(CURVE_ED25519)),
        (Value::from(X), fields::bytes(key.as_bytes())),
    ];
    Value::Map(vec![(Value::from(COSE_KEY), Value::Map(cose_key))])
}

/// The key in the confirmation claim.
pub(super) fn confirmed_key(claims: &mut Fields) -> Result<PublicKey, FieldError> {
    let mut confirmation = Fields::of(claims.must(claim::CONFIRMATION, "confirmation key")?)?;
    let mut cose_key = Fields::of(confirmation.must(COSE_KEY, "COSE_Key")?)?;
    if cose_key.number(KEY_TYPE, "key type")? != KEY_TYPE_OKP {
        return Err(FieldError::Wrong { key: KEY_TYPE, name: "key type", expected: "1 (OKP)" });
    }
    if cose_key.number(CURVE, "curve")? != CURVE_ED25519 {
        return Err(FieldError::Wrong { key: CURVE, name: "curve", expected: "6 (Ed25519)" });
    }
    cose_key.key(X, "public key")
}
