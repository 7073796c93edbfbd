//! Agreement: two parties say what each may ask of the other, and for how long.
//!
//! The offer is signed by the offerer's node, the acceptance by the accepter's and carries the whole offer, so
//! that it alone proves both consents. Either side ends it with a word of its own. All three are signed as
//! `agreement` and say which of them they are. An agreement is named by the hash of its offer.

use std::collections::BTreeSet;

use ciborium::value::Value;
use thiserror::Error;

use super::delegation::Operation;
use super::fields::{self, FieldError, Fields};
use super::id::{PartyId, Role};
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, hash_of, open, seal};
use super::speaker::{ScopeError, Speaker};

/// Longest validity of an agreement, seconds: five years. A longer friendship agrees again.
pub const AGREEMENT_VALIDITY_S_MAX: u64 = 5 * 366 * 86_400;
/// Bytes of the nonce that tells two offers of the same terms apart.
pub const NONCE_LENGTH: usize = 16;
/// Largest offer, bytes: an acceptance carries it and has to stay within the limit of its purpose.
const OFFER_SIZE_BYTES_MAX: usize = 3 * 1024;
/// Most services in one offer: ours, and room for those of later releases.
const SERVICES_MAX: usize = 32;
/// Longest name of a service, bytes.
const SERVICE_LENGTH_MAX: usize = 32;
/// Longest text of a party (`CPO:+999*999`) with some room, bytes.
const PARTY_LENGTH_MAX: usize = 24;

const WHAT: i64 = 1;
const OFFERER: i64 = 2;
const ACCEPTER: i64 = 3;
const SERVICES: i64 = 4;
const VALID_FROM: i64 = 5;
const VALID_UNTIL: i64 = 6;
const CREATED: i64 = 7;
const NONCE: i64 = 8;
const OFFER: i64 = 9;
const AGREEMENT: i64 = 10;

/// What a party may do with another: the services of OICP 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// EVSE data.
    EvseData,
    /// EVSE status.
    EvseStatus,
    /// Authorization and remote start and stop.
    Authorization,
    /// Reservations.
    Reservation,
    /// Charge detail records.
    Cdr,
    /// Prices.
    Pricing,
}

impl Service {
    /// Every service, in the order of the enum.
    pub const ALL: [Service; 6] = [
        Service::EvseData,
        Service::EvseStatus,
        Service::Authorization,
        Service::Reservation,
        Service::Cdr,
        Service::Pricing,
    ];

    /// The name in signed objects, in settings and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::EvseData => "EvseData",
            Service::EvseStatus => "EvseStatus",
            Service::Authorization => "Authorization",
            Service::Reservation => "Reservation",
            Service::Cdr => "Cdr",
            Service::Pricing => "Pricing",
        }
    }

    /// Reads a name, in whatever case it is written.
    pub fn parse(text: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether it belongs to the public directory, which needs no contract.
    pub fn is_public(self) -> bool {
        matches!(self, Service::EvseData | Service::EvseStatus)
    }

    /// What a node of this role must have been delegated to take part; `None`: nothing in particular.
    fn operation(self, role: Role) -> Option<Operation> {
        match (self, role) {
            (_, Role::Hub) => None,
            (Service::EvseData, Role::Cpo) => Some(Operation::EvsePublish),
            (Service::EvseStatus, Role::Cpo) => Some(Operation::StatusPublish),
            (Service::Pricing, Role::Cpo) => Some(Operation::PricePublish),
            (Service::EvseData | Service::EvseStatus | Service::Pricing, Role::Emp) => None,
            (Service::Authorization, Role::Cpo) => Some(Operation::AuthAsk),
            (Service::Authorization, Role::Emp) => Some(Operation::AuthAnswer),
            (Service::Reservation, Role::Cpo) => Some(Operation::RemoteAnswer),
            (Service::Reservation, Role::Emp) => Some(Operation::RemoteSend),
            (Service::Cdr, Role::Cpo) => Some(Operation::CdrSend),
            (Service::Cdr, Role::Emp) => Some(Operation::CdrAccept),
        }
    }
}

/// Why something about an agreement could not be signed or was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AgreementError {
    /// The object itself is wrong.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// The signer's delegation does not reach so far.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Signed by a party that it does not name.
    #[error("{signer} signed what is for {named} to sign")]
    OtherParty {
        /// Who signed.
        signer: PartyId,
        /// Who should have.
        named: PartyId,
    },
    /// An end of another agreement, or by somebody who is no party of it.
    #[error("{signer} ends an agreement that is not this one, or not its own")]
    NotItsEnd {
        /// Who signed.
        signer: PartyId,
    },
}

/// What is agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementTerms {
    /// Who offers.
    pub offerer: PartyId,
    /// To whom; of another role.
    pub accepter: PartyId,
    /// What each may do with the other, at least one.
    pub services: BTreeSet<Service>,
    /// First second, Unix time.
    pub valid_from_unix_s: u64,
    /// First second after it, Unix time; at most [`AGREEMENT_VALIDITY_S_MAX`] later.
    pub valid_until_unix_s: u64,
    /// When it was offered, Unix time.
    pub created_unix_s: u64,
    /// Random, so that the same terms can be offered again after an end.
    pub nonce: [u8; NONCE_LENGTH],
}

impl AgreementTerms {
    /// Signs the offer with the message key of the offerer's node.
    ///
    /// # Errors
    /// [`AgreementError::OtherParty`] if the speaker is not the offerer, [`AgreementError::Scope`] if its
    /// delegation lacks an operation that a service needs or is not valid then, [`SealError::Content`] if a
    /// limit is broken, [`SealError::Signer`] if the key is not the speaker's.
    pub fn offer(
        &self,
        network: &str,
        offerer: &Speaker,
        key: &SecretKey,
    ) -> Result<Vec<u8>, AgreementError> {
        let bytes = signed(network, offerer, key, self.encode())?;
        // What nobody would believe is not signed.
        AgreementTerms::open(&bytes, network, offerer)?;
        Ok(bytes)
    }

    /// Checks an offer that `offerer` should have signed.
    ///
    /// # Errors
    /// [`AgreementError::Sealed`] if the object is wrong or of another signer, and as for
    /// [`AgreementTerms::offer`].
    pub fn open(
        bytes: &[u8],
        network: &str,
        offerer: &Speaker,
    ) -> Result<Verified<AgreementTerms>, AgreementError> {
        let terms = opened::<AgreementTerms>(bytes, network, offerer)?;
        terms.may_be_signed_by(&terms.offerer, offerer, terms.created_unix_s)?;
        Ok(terms)
    }

    /// Whether a party is one of the two.
    pub fn names(&self, party: &PartyId) -> bool {
        self.offerer == *party || self.accepter == *party
    }

    /// Whether the time is within the validity.
    pub fn is_valid_at(&self, at_unix_s: u64) -> bool {
        (self.valid_from_unix_s..self.valid_until_unix_s).contains(&at_unix_s)
    }

    fn may_be_signed_by(
        &self,
        named: &PartyId,
        speaker: &Speaker,
        at_unix_s: u64,
    ) -> Result<(), AgreementError> {
        if speaker.party() != named {
            let (signer, named) = (speaker.party().clone(), named.clone());
            return Err(AgreementError::OtherParty { signer, named });
        }
        speaker.may_at(at_unix_s)?;
        let needed = self.services.iter().filter_map(|service| service.operation(named.role));
        Ok(needed.into_iter().try_for_each(|operation| speaker.may_do(operation))?)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        fields::encode(vec![
            (WHAT, Value::from("offer")),
            (OFFERER, Value::from(self.offerer.to_text())),
            (ACCEPTER, Value::from(self.accepter.to_text())),
            (SERVICES, fields::texts(self.services.iter().map(|service| service.as_str()))),
            (VALID_FROM, fields::number(self.valid_from_unix_s)),
            (VALID_UNTIL, fields::number(self.valid_until_unix_s)),
            (CREATED, fields::number(self.created_unix_s)),
            (NONCE, fields::bytes(&self.nonce)),
        ])
    }
}

impl Content for AgreementTerms {
    const PURPOSE: Purpose = Purpose::Agreement;

    fn decode(payload: &[u8]) -> Result<AgreementTerms, FieldError> {
        let mut fields = read_as("offer", payload)?;
        let offerer = party(&mut fields, OFFERER, "offerer")?;
        let accepter = party(&mut fields, ACCEPTER, "accepter")?;
        if offerer.role == accepter.role {
            let expected = "a party of another role than the offerer";
            return Err(FieldError::Wrong { key: ACCEPTER, name: "accepter", expected });
        }
        let expected = "one or more known services, each once and in order";
        let wrong = || FieldError::Wrong { key: SERVICES, name: "services", expected };
        let mut services = BTreeSet::new();
        let mut last = None;
        for text in fields.texts(SERVICES, "services", SERVICES_MAX, SERVICE_LENGTH_MAX)? {
            let known = Service::ALL.into_iter().find(|service| service.as_str() == text);
            let service = known.filter(|service| last < Some(*service)).ok_or_else(wrong)?;
            last = Some(service);
            services.insert(service);
        }
        if services.is_empty() {
            return Err(wrong());
        }
        let valid_from_unix_s = fields.number(VALID_FROM, "valid from")?;
        let valid_until_unix_s = fields.number(VALID_UNTIL, "valid until")?;
        match valid_until_unix_s.checked_sub(valid_from_unix_s) {
            Some(1..=AGREEMENT_VALIDITY_S_MAX) => {}
            _ => {
                let expected = "a time after `valid from`, at most five years later";
                return Err(FieldError::Wrong { key: VALID_UNTIL, name: "valid until", expected });
            }
        }
        let nonce = fields
            .bytes(NONCE, "nonce", NONCE_LENGTH)?
            .try_into()
            .map_err(|_| FieldError::Wrong { key: NONCE, name: "nonce", expected: "16 bytes" })?;
        let created_unix_s = fields.number(CREATED, "created")?;
        Ok(AgreementTerms {
            offerer,
            accepter,
            services,
            valid_from_unix_s,
            valid_until_unix_s,
            created_unix_s,
            nonce,
        })
    }
}

/// An agreement that both parties signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Its name: the hash of the offer.
    pub id: Hash,
    /// What is agreed on.
    pub terms: AgreementTerms,
    /// When it was accepted, Unix time.
    pub accepted_unix_s: u64,
    /// The signed offer.
    pub offer: Vec<u8>,
}

impl Agreement {
    /// Accepts an offer: signs it as a whole with the message key of the accepter's node.
    ///
    /// # Errors
    /// As [`AgreementTerms::offer`], for the offer and for the acceptance.
    pub fn accept(
        network: &str,
        offer: &[u8],
        offerer: &Speaker,
        accepter: &Speaker,
        key: &SecretKey,
        created_unix_s: u64,
    ) -> Result<Vec<u8>, AgreementError> {
        let payload = fields::encode(vec![
            (WHAT, Value::from("acceptance")),
            (OFFER, fields::bytes(offer)),
            (CREATED, fields::number(created_unix_s)),
        ]);
        let bytes = signed(network, accepter, key, payload)?;
        Agreement::open(&bytes, network, offerer, accepter)?;
        Ok(bytes)
    }

    /// Checks both signatures, and that each signer is the party that the terms name.
    ///
    /// # Errors
    /// As [`AgreementTerms::open`], for the offer and for the acceptance.
    pub fn open(
        bytes: &[u8],
        network: &str,
        offerer: &Speaker,
        accepter: &Speaker,
    ) -> Result<Verified<Agreement>, AgreementError> {
        let acceptance = opened::<Acceptance>(bytes, network, accepter)?;
        let terms = AgreementTerms::open(&acceptance.offer, network, offerer)?;
        terms.may_be_signed_by(&terms.accepter, accepter, acceptance.created_unix_s)?;
        let (id, terms) = (*terms.hash(), terms.into_content());
        Ok(acceptance.map(|acceptance| Agreement {
            id,
            terms,
            accepted_unix_s: acceptance.created_unix_s,
            offer: acceptance.offer,
        }))
    }
}

struct Acceptance {
    offer: Vec<u8>,
    created_unix_s: u64,
}

impl Content for Acceptance {
    const PURPOSE: Purpose = Purpose::Agreement;

    fn decode(payload: &[u8]) -> Result<Acceptance, FieldError> {
        let mut fields = read_as("acceptance", payload)?;
        Ok(Acceptance {
            offer: fields.bytes(OFFER, "offer", OFFER_SIZE_BYTES_MAX)?,
            created_unix_s: fields.number(CREATED, "created")?,
        })
    }
}

/// One side ends an agreement, or takes back or declines an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementEnd {
    /// Which.
    pub agreement: Hash,
    /// Since when, Unix time.
    pub created_unix_s: u64,
}

impl AgreementEnd {
    /// Signs the end with the message key of a node of either party.
    ///
    /// # Errors
    /// [`SealError::Signer`] if the key is not the speaker's; otherwise as [`AgreementEnd::open`].
    pub fn issue(
        &self,
        network: &str,
        terms: &AgreementTerms,
        speaker: &Speaker,
        key: &SecretKey,
    ) -> Result<Vec<u8>, AgreementError> {
        let payload = fields::encode(vec![
            (WHAT, Value::from("end")),
            (AGREEMENT, fields::bytes(&self.agreement)),
            (CREATED, fields::number(self.created_unix_s)),
        ]);
        let bytes = signed(network, speaker, key, payload)?;
        AgreementEnd::open(&bytes, network, &self.agreement, terms, speaker)?;
        Ok(bytes)
    }

    /// Checks that a party of the agreement `id` ended it.
    ///
    /// # Errors
    /// [`AgreementError::NotItsEnd`], [`AgreementError::Sealed`], and [`AgreementError::Scope`] if the signer's
    /// delegation was not valid then.
    pub fn open(
        bytes: &[u8],
        network: &str,
        id: &Hash,
        terms: &AgreementTerms,
        speaker: &Speaker,
    ) -> Result<Verified<AgreementEnd>, AgreementError> {
        let end = opened::<AgreementEnd>(bytes, network, speaker)?;
        if end.agreement != *id || !terms.names(speaker.party()) {
            return Err(AgreementError::NotItsEnd { signer: speaker.party().clone() });
        }
        speaker.may_at(end.created_unix_s)?;
        Ok(end)
    }
}

impl Content for AgreementEnd {
    const PURPOSE: Purpose = Purpose::Agreement;

    fn decode(payload: &[u8]) -> Result<AgreementEnd, FieldError> {
        let mut fields = read_as("end", payload)?;
        let expected = "the hash of an offer";
        let missing = FieldError::Wrong { key: AGREEMENT, name: "agreement", expected };
        Ok(AgreementEnd {
            agreement: fields.hash_maybe(AGREEMENT, "agreement")?.ok_or(missing)?,
            created_unix_s: fields.number(CREATED, "created")?,
        })
    }
}

/// When an offer, acceptance or end says that it was signed, and for an acceptance also when its offer says
/// so. Nothing of it is proven: it only tells at which time the signer's chain is to be judged.
///
/// # Errors
/// Every [`SealError`] but `Signature`.
pub fn claimed_times(bytes: &[u8], network: &str) -> Result<(u64, Option<u64>), SealError> {
    let unsealed = open(bytes, Purpose::Agreement, network)?;
    let mut fields = Fields::read(unsealed.payload_unproven())?;
    let created = fields.number(CREATED, "created")?;
    let offer = match fields.text(WHAT, "what it is", SERVICE_LENGTH_MAX)?.as_str() {
        "acceptance" => Some(fields.bytes(OFFER, "offer", OFFER_SIZE_BYTES_MAX)?),
        _ => None,
    };
    let of_offer = match offer {
        None => None,
        Some(offer) => {
            let unsealed = open(&offer, Purpose::Agreement, network)?;
            Some(Fields::read(unsealed.payload_unproven())?.number(CREATED, "created")?)
        }
    };
    Ok((created, of_offer))
}

fn signed(
    network: &str,
    speaker: &Speaker,
    key: &SecretKey,
    payload: Vec<u8>,
) -> Result<Vec<u8>, AgreementError> {
    if key.public() != *speaker.message_key() {
        return Err(SealError::Signer.into());
    }
    Ok(seal(Purpose::Agreement, network, speaker.delegation_hash(), key, &payload)?)
}

fn opened<T: Content>(bytes: &[u8], network: &str, speaker: &Speaker) -> Result<Verified<T>, SealError> {
    let unverified = Unverified::<T>::new(bytes, network)?;
    if unverified.signer() != speaker.delegation_hash() {
        return Err(SealError::Signer);
    }
    let verified = unverified.verify(speaker.message_key())?;
    debug_assert_eq!(*verified.hash(), hash_of(bytes));
    Ok(verified)
}

/// Offer, acceptance and end have one purpose: each says which it is.
fn read_as(what: &'static str, payload: &[u8]) -> Result<Fields, FieldError> {
    let mut fields = Fields::read(payload)?;
    if fields.text(WHAT, "what it is", SERVICE_LENGTH_MAX)? == what {
        return Ok(fields);
    }
    Err(FieldError::Wrong { key: WHAT, name: "what it is", expected: what })
}

fn party(fields: &mut Fields, key: i64, name: &'static str) -> Result<PartyId, FieldError> {
    let text = fields.text(key, name, PARTY_LENGTH_MAX)?;
    let expected = "role and canonical id, as in CPO:CHSCH";
    PartyId::parse(&text).map_err(|_| FieldError::Wrong { key, name, expected })
}
