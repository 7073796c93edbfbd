//! Party request: what a party sends to an issuer, signed by the org key that is to be vouched for.

use ciborium::value::Value;

use super::credential::{
    LEGAL_NAME, NAME_LENGTH_MAX, NEXT_ORG_KEY_HASH, REGISTER_NUMBER, SUB_IDS, SUB_IDS_MAX, claim,
    confirmation, confirmed_key, is_without_main_id, party_of,
};
use super::fields::{self, FieldError, Fields};
use super::id::{CanonicalId, PartyId};
use super::key::{PublicKey, SecretKey};
use super::purpose::Purpose;
use super::sealed::{Content, SealError, Unverified, Verified, seal};

/// What a party asks an issuer to state. It proves that the asker has the org key, and nothing else: who the
/// asker is, and whether the ids are its own, is what the issuer has to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartyRequest {
    /// Who asks.
    pub party: PartyId,
    /// Further ids that are asked for, at most [`SUB_IDS_MAX`], ascending, without the main id.
    pub sub_ids: Vec<CanonicalId>,
    /// Name in the commercial register.
    pub legal_name: String,
    /// Number there; empty if there is none.
    pub register_number: String,
    /// The key that is to sign the party's delegations; it signs the request.
    pub org_key: PublicKey,
    /// SHA-256 of the org key that may follow.
    pub next_org_key_hash: Option<[u8; 32]>,
    /// When it was made, Unix time.
    pub created_unix_s: u64,
}

impl PartyRequest {
    /// Signs the request. `org_key` must be the one that the request names.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::Signer`] for another key,
    /// [`SealError::TooLarge`], [`SealError::NetworkName`].
    pub fn issue(&self, network: &str, org_key: &SecretKey) -> Result<Vec<u8>, SealError> {
        if org_key.public() != self.org_key {
            return Err(SealError::Signer);
        }
        let payload = self.encode();
        // What we would not accept we do not sign.
        PartyRequest::decode(&payload)?;
        seal(Purpose::PartyRequest, network, self.org_key.as_bytes(), org_key, &payload)
    }

    /// Checks that the key which the request asks for has signed it.
    ///
    /// # Errors
    /// Every [`SealError`].
    pub fn open(bytes: &[u8], network: &str) -> Result<Verified<PartyRequest>, SealError> {
        let unverified = Unverified::<PartyRequest>::new(bytes, network)?;
        let signer = PublicKey::from_bytes(unverified.signer()).map_err(|_| SealError::Signer)?;
        let request = unverified.verify(&signer)?;
        if request.org_key != signer {
            return Err(SealError::Signer);
        }
        Ok(request)
    }

    fn encode(&self) -> Vec<u8> {
        let mut sub_ids: Vec<&str> = self.sub_ids.iter().map(CanonicalId::as_str).collect();
        sub_ids.sort_unstable();
        sub_ids.dedup();
        sub_ids.retain(|id| *id != self.party.id.as_str());
        let mut claims = vec![
            (claim::SUBJECT, Value::from(self.party.to_text())),
            (claim::ISSUED_AT, fields::number(self.created_unix_s)),
            (claim::CONFIRMATION, confirmation(&self.org_key)),
            (SUB_IDS, fields::texts(sub_ids.into_iter())),
            (LEGAL_NAME, Value::from(self.legal_name.as_str())),
        ];
        if !self.register_number.is_empty() {
            claims.push((REGISTER_NUMBER, Value::from(self.register_number.as_str())));
        }
        if let Some(hash) = &self.next_org_key_hash {
            claims.push((NEXT_ORG_KEY_HASH, fields::bytes(hash)));
        }
        fields::encode(claims)
    }
}

impl Content for PartyRequest {
    const PURPOSE: Purpose = Purpose::PartyRequest;

    fn decode(payload: &[u8]) -> Result<Self, FieldError> {
        let mut claims = Fields::read(payload)?;
        let party = party_of(&mut claims)?;
        let sub_ids = claims.ids(SUB_IDS, "sub ids", SUB_IDS_MAX)?;
        is_without_main_id(&sub_ids, &party)?;
        Ok(PartyRequest {
            party,
            sub_ids,
            legal_name: claims.text(LEGAL_NAME, "legal name", NAME_LENGTH_MAX)?,
            register_number: claims.text_maybe(REGISTER_NUMBER, "register number", NAME_LENGTH_MAX)?,
            org_key: confirmed_key(&mut claims)?,
            next_org_key_hash: claims.hash_maybe(NEXT_ORG_KEY_HASH, "hash of the next org key")?,
            created_unix_s: claims.number(claim::ISSUED_AT, "issued at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Role;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn request() -> PartyRequest {
        PartyRequest {
            party: PartyId::new(Role::Cpo, "DE*GEF").unwrap(),
            sub_ids: vec![CanonicalId::parse("DE*ABC").unwrap()],
            legal_name: "Example Charging GmbH".to_owned(),
            register_number: String::new(),
            org_key: key(1).public(),
            next_org_key_hash: Some(key(2).public().id().0),
            created_unix_s: 1_800_000_000,
        }
    }

    #[test]
    fn a_request_comes_back_and_belongs_to_one_network() {
        let bytes = request().issue("test", &key(1)).unwrap();
        assert_eq!(PartyRequest::open(&bytes, "test").unwrap().into_content(), request());
        assert_eq!(PartyRequest::open(&bytes, "other").unwrap_err(), SealError::Network);
        assert!(Unverified::<crate::identity::Credential>::new(&bytes, "test").is_err(), "no credential");
    }

    #[test]
    fn nobody_can_ask_for_a_key_that_is_not_theirs() {
        assert_eq!(request().issue("test", &key(3)), Err(SealError::Signer));
        let forged =
            seal(Purpose::PartyRequest, "test", key(3).public().as_bytes(), &key(3), &request().encode());
        assert_eq!(PartyRequest::open(&forged.unwrap(), "test").unwrap_err(), SealError::Signer);
    }

    #[test]
    fn no_changed_byte_passes() {
        let bytes = request().issue("test", &key(1)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(PartyRequest::open(&changed, "test").is_err(), "byte {at}");
        }
    }

    #[test]
    fn any_payload_is_read_or_refused_and_never_panics() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = PartyRequest::decode(input);
            assert!(PartyRequest::open(input, "test").is_err());
        });
    }
}
