//! Trust list: which issuers this node believes, for which country and role, and whom it pinned.
//!
//! A node's own choice, and local: two nodes may differ, so nobody is punished for an issuer that only
//! somebody else trusts.

use std::collections::BTreeSet;

use ciborium::value::Value;

use super::fields::{self, FieldError, Fields};
use super::id::{CanonicalId, PartyId, Role};
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, seal};

/// Most issuers of one list.
pub const ISSUERS_MAX: usize = 1_000;
/// Most (country, role) pairs of one issuer: every country and role there is.
pub const GRANTS_MAX: usize = 1_500;
/// Most pins of one list: every party there is.
pub const PINS_MAX: usize = 10_000;
/// Longest issuer name, bytes.
const NAME_LENGTH_MAX: usize = 200;
/// The country that stands for all.
const EVERY_COUNTRY: &str = "*";

const ISSUERS: i64 = 1;
const PINS: i64 = 2;
const SEQ: i64 = 3;
const VALID_UNTIL: i64 = 4;

const ISSUER_KEY: i64 = 1;
const ISSUER_NAME: i64 = 2;
const ISSUER_CLASS: i64 = 3;
const ISSUER_GRANTS: i64 = 4;

const GRANT_COUNTRY: i64 = 1;
const GRANT_ROLE: i64 = 2;

const PIN_PARTY: i64 = 1;
const PIN_ORG_KEY: i64 = 2;
const PIN_SUB_IDS: i64 = 3;

/// How much an issuer's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssuerClass {
    /// One suffices.
    Registrar,
    /// Two independent ones are needed; one alone does not carry a chain.
    Attester,
}

/// One country and role that an issuer is trusted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerGrant {
    /// `CH`, `+41` or `*`. ISO and DIN are granted apart.
    pub country: String,
    /// The role.
    pub role: Role,
}

/// An issuer that this node believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The key that signs its credentials.
    pub key: PublicKey,
    /// For people.
    pub name: String,
    /// How much its word counts.
    pub class: IssuerClass,
    /// What for.
    pub grants: BTreeSet<IssuerGrant>,
}

impl Issuer {
    /// Whether this issuer's word counts for an id of this country in this role.
    pub fn is_trusted_for(&self, country: &str, role: Role) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.role == role && (grant.country == country || grant.country == EVERY_COUNTRY))
    }
}

/// A party that the operator of this node knows by its org key. Suffices without any issuer, only here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The party.
    pub party: PartyId,
    /// The org key that was compared with it.
    pub org_key: PublicKey,
    /// Which further ids are accepted from it without an issuer; usually none.
    pub sub_ids: BTreeSet<CanonicalId>,
}

/// Issuers and pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustList {
    /// Whom this node believes.
    pub issuers: Vec<Issuer>,
    /// Whom it knows itself.
    pub pins: Vec<Pin>,
    /// Counts the versions of the list; a lower one never replaces a higher.
    pub seq: u64,
    /// First second in which the list is too old to be used, Unix time.
    pub valid_until_unix_s: u64,
}

impl TrustList {
    /// Signs the list with a key that the nodes which use it name in their configuration.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`], [`SealError::NetworkName`].
    pub fn issue(&self, network: &str, key: &SecretKey) -> Result<Vec<u8>, SealError> {
        let payload = self.encode();
        // What we would not accept we do not sign.
        TrustList::decode(&payload)?;
        seal(Purpose::TrustList, network, key.public().as_bytes(), key, &payload)
    }

    /// Reads a list that must be signed by `signer`, the key that this node's configuration names.
    ///
    /// # Errors
    /// [`SealError::Signer`] if somebody else signed it, and every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str, signer: &PublicKey) -> Result<TrustList, SealError> {
        let unverified = Unverified::<TrustList>::new(bytes, network)?;
        if unverified.signer() != signer.as_bytes() {
            return Err(SealError::Signer);
        }
        Ok(unverified.verify(signer)?.into_content())
    }

    /// The issuer with this key (the signer that a credential names).
    pub fn issuer(&self, key: &Hash) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.key.as_bytes() == key)
    }

    /// The pin of a party.
    pub fn pin(&self, party: &PartyId) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.party == *party)
    }

    /// This list with the node's own pins, which go over those of the list for the same party.
    #[must_use]
    pub fn with_pins(mut self, own: Vec<Pin>) -> TrustList {
        self.pins.retain(|pin| !own.iter().any(|own| own.party == pin.party));
        self.pins.extend(own);
        self
    }

    fn encode(&self) -> Vec<u8> {
        fields::encode(vec![
            (ISSUERS, Value::Array(self.issuers.iter().map(encode_issuer).collect())),
            (PINS, Value::Array(self.pins.iter().map(encode_pin).collect())),
            (SEQ, fields::number(self.seq)),
            (VALID_UNTIL, fields::number(self.valid_until_unix_s)),
        ])
    }
}

impl Content for TrustList {
    const PURPOSE: Purpose = Purpose::TrustList;

    fn decode(payload: &[u8]) -> Result<Self, FieldError> {
        let mut list = Fields::read(payload)?;
        let issuers: Vec<Issuer> = list
            .array(ISSUERS, "issuers", ISSUERS_MAX)?
            .into_iter()
            .map(decode_issuer)
            .collect::<Result<_, _>>()?;
        let pins: Vec<Pin> =
            list.array(PINS, "pins", PINS_MAX)?.into_iter().map(decode_pin).collect::<Result<_, _>>()?;
        let keys: BTreeSet<&PublicKey> = issuers.iter().map(|issuer| &issuer.key).collect();
        if keys.len() != issuers.len() {
            return Err(FieldError::Wrong { key: ISSUERS, name: "issuers", expected: "each key once" });
        }
        let parties: BTreeSet<&PartyId> = pins.iter().map(|pin| &pin.party).collect();
        if parties.len() != pins.len() {
            return Err(FieldError::Wrong { key: PINS, name: "pins", expected: "each party once" });
        }
        let seq = list.number(SEQ, "seq")?;
        let valid_until_unix_s = list.number(VALID_UNTIL, "valid until")?;
        Ok(TrustList { issuers, pins, seq, valid_until_unix_s })
    }
}

fn encode_issuer(issuer: &Issuer) -> Value {
    let grants = issuer.grants.iter().map(|grant| {
        Value::Map(vec![
            (Value::from(GRANT_COUNTRY), Value::from(grant.country.as_str())),
            (Value::from(GRANT_ROLE), Value::from(grant.role.as_str())),
        ])
    });
    Value::Map(vec![
        (Value::from(ISSUER_KEY), fields::bytes(issuer.key.as_bytes())),
        (Value::from(ISSUER_NAME), Value::from(issuer.name.as_str())),
        (Value::from(ISSUER_CLASS), Value::from(class_text(issuer.class))),
        (Value::from(ISSUER_GRANTS), Value::Array(grants.collect())),
    ])
}

fn decode_issuer(value: Value) -> Result<Issuer, FieldError> {
    const CLASS_LENGTH_MAX: usize = 16;
    let mut issuer = Fields::of(value)?;
    let class = issuer.text(ISSUER_CLASS, "class", CLASS_LENGTH_MAX)?;
    let class = [IssuerClass::Registrar, IssuerClass::Attester]
        .into_iter()
        .find(|known| class_text(*known) == class)
        .ok_or(FieldError::Wrong { key: ISSUER_CLASS, name: "class", expected: "registrar or attester" })?;
    Ok(Issuer {
        key: issuer.key(ISSUER_KEY, "issuer key")?,
        name: issuer.text(ISSUER_NAME, "name", NAME_LENGTH_MAX)?,
        class,
        grants: issuer
            .array(ISSUER_GRANTS, "grants", GRANTS_MAX)?
            .into_iter()
            .map(decode_grant)
            .collect::<Result<_, _>>()?,
    })
}

fn class_text(class: IssuerClass) -> &'static str {
    match class {
        IssuerClass::Registrar => "registrar",
        IssuerClass::Attester => "attester",
    }
}

fn decode_grant(value: Value) -> Result<IssuerGrant, FieldError> {
    const COUNTRY_LENGTH_MAX: usize = 4;
    let mut grant = Fields::of(value)?;
    let country = grant.text(GRANT_COUNTRY, "country", COUNTRY_LENGTH_MAX)?;
    if !is_country(&country) {
        let expected = "two capitals, + and a calling code, or *";
        return Err(FieldError::Wrong { key: GRANT_COUNTRY, name: "country", expected });
    }
    let role = role_of(&mut grant, GRANT_ROLE)?;
    Ok(IssuerGrant { country, role })
}

/// `CH`, `+41` or `*`: a misspelt country would silently grant nothing.
fn is_country(text: &str) -> bool {
    let iso = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    let din = text.strip_prefix('+').is_some_and(|code| {
        (1..=3).contains(&code.len()) && !code.starts_with('0') && code.bytes().all(|b| b.is_ascii_digit())
    });
    iso || din || text == EVERY_COUNTRY
}

fn role_of(fields: &mut Fields, key: i64) -> Result<Role, FieldError> {
    const ROLE_LENGTH_MAX: usize = 3;
    let text = fields.text(key, "role", ROLE_LENGTH_MAX)?;
    Role::parse(&text).map_err(|_| FieldError::Wrong { key, name: "role", expected: "CPO, EMP or HUB" })
}

fn encode_pin(pin: &Pin) -> Value {
    Value::Map(vec![
        (Value::from(PIN_PARTY), Value::from(pin.party.to_text())),
        (Value::from(PIN_ORG_KEY), fields::bytes(pin.org_key.as_bytes())),
        (Value::from(PIN_SUB_IDS), fields::texts(pin.sub_ids.iter().map(CanonicalId::as_str))),
    ])
}

fn decode_pin(value: Value) -> Result<Pin, FieldError> {
    const PARTY_LENGTH_MAX: usize = 24;
    let mut pin = Fields::of(value)?;
    let party = PartyId::parse(&pin.text(PIN_PARTY, "party", PARTY_LENGTH_MAX)?).map_err(|_| {
        FieldError::Wrong { key: PIN_PARTY, name: "party", expected: "role and id, as in CPO:CHSCH" }
    })?;
    Ok(Pin {
        party,
        org_key: pin.key(PIN_ORG_KEY, "org key")?,
        sub_ids: pin.ids(PIN_SUB_IDS, "sub ids", super::credential::SUB_IDS_MAX)?.into_iter().collect(),
    })
}
