//! Attacks on signed objects, each with its refusal. Here: one registrar, one party and its node.

mod agreement;
mod attacks;
mod attesters;
mod card;
mod chain;
mod envelope;
mod frame;
mod registry;
mod rotation;
mod sub_grant;
mod tombstone;

use std::collections::BTreeSet;

use super::*;

const NETWORK: &str = "test";
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn issuer_key() -> SecretKey {
    key(1)
}

fn org_key() -> SecretKey {
    key(2)
}

fn message_key() -> SecretKey {
    key(3)
}

fn id(wire: &str) -> CanonicalId {
    CanonicalId::parse(wire).unwrap()
}

fn ids(wires: &[&str]) -> Vec<CanonicalId> {
    wires.iter().map(|wire| id(wire)).collect()
}

fn issuer(key: &SecretKey, class: IssuerClass, grants: &[(&str, Role)]) -> Issuer {
    Issuer {
        key: key.public(),
        name: "Registrar".to_owned(),
        class,
        grants: grants
            .iter()
            .map(|(country, role)| IssuerGrant { country: (*country).to_owned(), role: *role })
            .collect(),
    }
}

/// One registrar that counts for Swiss CPOs.
fn swiss_trust() -> TrustList {
    TrustList {
        issuers: vec![issuer(&issuer_key(), IssuerClass::Registrar, &[("CH", Role::Cpo)])],
        pins: Vec::new(),
        seq: 1,
        valid_until_unix_s: NOW + 365 * DAY,
    }
}

fn terms(role: Role, main: &str, subs: &[&str]) -> CredentialTerms {
    CredentialTerms {
        party: PartyId::new(role, main).unwrap(),
        sub_ids: ids(subs),
        legal_name: "Example Charging AG".to_owned(),
        register_number: "CHE-000.000.000".to_owned(),
        org_key: org_key().public(),
        next_org_key_hash: Some([9; 32]),
        not_before_unix_s: NOW - DAY,
        expires_unix_s: NOW + 300 * DAY,
        serial: vec![1, 2, 3],
    }
}

fn delegation(role: Role, main: &str, prefixes: &[&str]) -> Delegation {
    Delegation {
        party: PartyId::new(role, main).unwrap(),
        peer_id: vec![0, 36, 8, 1],
        message_key: message_key().public(),
        operations: BTreeSet::from([Operation::EvsePublish, Operation::StatusPublish]),
        operations_unknown: BTreeSet::from(["meter.publish".to_owned()]),
        prefixes: ids(prefixes).into_iter().collect(),
        not_before_unix_s: NOW - 3_600,
        expires_unix_s: NOW + 6 * DAY,
        epoch: 4,
        slot: 0,
    }
}

fn chain_of(terms: &CredentialTerms, delegation: &Delegation) -> Chain {
    let credential = Credential::issue(NETWORK, terms, "Registrar", &issuer_key()).unwrap();
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org_key()).unwrap();
    Chain { credential, delegation }
}

fn swiss_chain() -> Chain {
    chain_of(
        &terms(Role::Cpo, "CH*SCH", &["CH*ABC", "FR*N54"]),
        &delegation(Role::Cpo, "CH*SCH", &["CH*SCH", "CH*ABC", "FR*N54"]),
    )
}

fn judge_at(chain: &Chain, trust: &TrustList, network: &str, at_unix_s: u64) -> Result<Speaker, ChainError> {
    let registry = Registry::empty();
    chain.verify(&TrustContext { network, trust, registry: &registry, at_unix_s })
}

fn judge(chain: &Chain, trust: &TrustList) -> Result<Speaker, ChainError> {
    judge_at(chain, trust, NETWORK, NOW)
}

/// Somebody who holds what others say.
struct Watcher {
    trust: TrustList,
    registry: Registry,
}

impl Watcher {
    fn of(trust: TrustList) -> Watcher {
        Watcher { trust, registry: Registry::empty() }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<Added, RegistryError> {
        self.registry.add(bytes, NETWORK, &self.trust)
    }

    /// Adds what must be accepted.
    fn hold(&mut self, bytes: &[u8]) {
        let added = self.add(bytes).unwrap();
        assert!(matches!(added, Added::New { .. }), "{added:?}");
    }

    fn judge(&self, chain: &Chain) -> Result<Speaker, ChainError> {
        self.judge_at(chain, NOW)
    }

    fn judge_at(&self, chain: &Chain, at_unix_s: u64) -> Result<Speaker, ChainError> {
        let (trust, registry) = (&self.trust, &self.registry);
        chain.verify(&TrustContext { network: NETWORK, trust, registry, at_unix_s })
    }

    fn conflict(&self, party: &PartyId) -> Option<IdConflict> {
        self.registry.id_conflict(party, &self.trust, NOW)
    }
}

fn cpo(wire: &str) -> PartyId {
    PartyId::new(Role::Cpo, wire).unwrap()
}

/// Registrars for all CPOs.
fn registrars(keys: &[&SecretKey]) -> TrustList {
    let issuers = keys.iter().map(|key| issuer(key, IssuerClass::Registrar, &[("*", Role::Cpo)]));
    TrustList { issuers: issuers.collect(), ..swiss_trust() }
}

/// Nobody but one pinned key.
fn only_pinned(party: &PartyId, org_key: &SecretKey) -> TrustList {
    let pin = Pin { party: party.clone(), org_key: org_key.public(), sub_ids: BTreeSet::new() };
    TrustList { issuers: Vec::new(), pins: vec![pin], ..swiss_trust() }
}

/// A CPO's credential: by whom, for which ids, with which org key, committed to which next one.
fn credential_of(
    issuer_key: &SecretKey,
    main: &str,
    subs: &[&str],
    org_key: &SecretKey,
    next: &SecretKey,
) -> Vec<u8> {
    let mut terms = terms(Role::Cpo, main, subs);
    terms.org_key = org_key.public();
    terms.next_org_key_hash = Some(hash_of(next.public().as_bytes()));
    Credential::issue(NETWORK, &terms, "Issuer", issuer_key).unwrap()
}

/// A delegation for all ids of a CPO's credential, signed by an org key.
fn under(credential: &[u8], org_key: &SecretKey) -> Chain {
    let opened = Credential::open(credential, NETWORK).unwrap();
    let mut made = delegation(Role::Cpo, "CH*SCH", &[]);
    made.party = opened.terms.party.clone();
    made.prefixes = opened.terms.sub_ids.iter().cloned().chain([made.party.id.clone()]).collect();
    let delegation = made.issue(NETWORK, opened.hash(), org_key).unwrap();
    Chain { credential: credential.to_vec(), delegation }
}

fn tombstone(credential: &[u8], dead: Dead, epoch: u64, signer: &SecretKey) -> Result<Vec<u8>, SealError> {
    Tombstone::issue(NETWORK, credential, dead, epoch, NOW, "test", signer)
}

/// Revoked, whoever the party is.
fn is_revoked(outcome: Result<Speaker, ChainError>) -> bool {
    matches!(outcome, Err(ChainError::Revoked { .. }))
}

fn card_of(chain: &Chain) -> PartyCard {
    PartyCard {
        addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        capabilities: vec!["evse/1".to_owned()],
        ..PartyCard::of_chain(chain, 7, NOW - 60)
    }
}

fn judge_card(bytes: &[u8], fetched: Option<&[u8]>, at_unix_s: u64) -> Result<VerifiedCard, CardError> {
    let (trust, registry) = (swiss_trust(), Registry::empty());
    let context = TrustContext { network: NETWORK, trust: &trust, registry: &registry, at_unix_s };
    PartyCard::verify(bytes, fetched, &context)
}
