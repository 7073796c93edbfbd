//! Issuers, parties and their chains, from seeds.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::identity::{
    Chain, Credential, CredentialTerms, Delegation, Issuer, IssuerClass, IssuerGrant, Operation, PartyId,
    Registry, Role, SecretKey, TrustContext, TrustList,
};
use crate::protocol::NodeId;
use crate::roaming::OurParty;

pub(super) const NETWORK: &str = "test";
pub(super) const START_UNIX_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

/// The issuer that everybody trusts, and one that nobody does unless a test says so.
pub(super) const REGISTRAR: u8 = 1;
pub(super) const STRANGER: u8 = 2;

pub(super) fn key(kind: u8, number: u8) -> SecretKey {
    let mut seed = [kind; 32];
    seed[31] = number;
    SecretKey::from_seed(&seed)
}

pub(super) fn trust(issuers: &[(u8, &[&str])]) -> TrustList {
    let issuer = |(number, countries): &(u8, &[&str])| Issuer {
        key: key(100, *number).public(),
        name: format!("Issuer {number}"),
        class: IssuerClass::Registrar,
        grants: countries
            .iter()
            .flat_map(|country| [Role::Cpo, Role::Emp].map(|role| (*country, role)))
            .map(|(country, role)| IssuerGrant { country: country.to_owned(), role })
            .collect(),
    };
    TrustList {
        issuers: issuers.iter().map(issuer).collect(),
        pins: Vec::new(),
        seq: 1,
        valid_until_unix_s: START_UNIX_S + 3_650 * DAY_S,
    }
}

/// Everybody's usual trust: the registrar for Switzerland.
pub(super) fn swiss() -> TrustList {
    trust(&[(REGISTRAR, &["CH"])])
}

pub(super) fn everybody() -> TrustList {
    trust(&[(REGISTRAR, &["*"]), (STRANGER, &["*"])])
}

pub(super) fn node_id(number: usize) -> NodeId {
    NodeId::from_bytes(&[0, 36, 8, 1, number as u8]).unwrap()
}

/// The number in a node's name.
pub(super) fn number(node: &NodeId) -> usize {
    usize::from(node.as_bytes()[4])
}

pub(super) fn party(id: &str) -> PartyId {
    PartyId::new(Role::Cpo, id).unwrap()
}

/// A party as a test describes it.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) role: Role,
    pub(super) subs: Vec<String>,
    pub(super) issuer: u8,
    pub(super) epoch: u64,
    /// Tells keys apart.
    pub(super) number: u8,
    pub(super) days: u64,
    /// Tells its message keys apart.
    pub(super) rotation: u8,
}

impl Person {
    pub(super) fn new(id: &str, number: u8) -> Person {
        Person {
            id: id.to_owned(),
            role: Role::Cpo,
            subs: Vec::new(),
            issuer: REGISTRAR,
            epoch: 1,
            number,
            days: 6,
            rotation: 0,
        }
    }

    pub(super) fn with_subs(mut self, subs: &[&str]) -> Person {
        self.subs = subs.iter().map(|sub| (*sub).to_owned()).collect();
        self
    }

    pub(super) fn by(mut self, issuer: u8) -> Person {
        self.issuer = issuer;
        self
    }

    pub(super) fn emp(self) -> Person {
        Person { role: Role::Emp, ..self }
    }

    pub(super) fn party(&self) -> PartyId {
        PartyId { role: self.role, ..party(&self.id) }
    }

    pub(super) fn message_key(&self) -> SecretKey {
        let mut seed = [102; 32];
        seed[30] += self.rotation;
        seed[31] = self.number;
        SecretKey::from_seed(&seed)
    }

    /// Another message key under a delegation of a higher epoch.
    pub(super) fn rotate(&mut self) {
        self.epoch += 1;
        self.rotation += 1;
    }

    pub(super) fn chain(&self, node: &NodeId) -> Chain {
        let org_key = key(101, self.number);
        let subs = || self.subs.iter().map(|sub| party(sub).id);
        let terms = CredentialTerms {
            party: self.party(),
            sub_ids: subs().collect(),
            legal_name: "Example Charging AG".to_owned(),
            register_number: "CHE-000.000.000".to_owned(),
            org_key: org_key.public(),
            next_org_key_hash: None,
            not_before_unix_s: START_UNIX_S - DAY_S,
            expires_unix_s: START_UNIX_S + 300 * DAY_S,
            serial: vec![self.number],
        };
        let delegation = Delegation {
            party: self.party(),
            peer_id: node.as_bytes().to_vec(),
            message_key: self.message_key().public(),
            operations: Operation::ALL.into_iter().collect(),
            operations_unknown: BTreeSet::new(),
            prefixes: subs().chain([self.party().id]).collect(),
            not_before_unix_s: START_UNIX_S - 3_600,
            expires_unix_s: START_UNIX_S + self.days * DAY_S,
            epoch: self.epoch,
            slot: 0,
        };
        let credential = Credential::issue(NETWORK, &terms, "Issuer", &key(100, self.issuer)).unwrap();
        let delegation = delegation.issue(NETWORK, &crate::identity::hash_of(&credential), &org_key).unwrap();
        Chain { credential, delegation }
    }

    /// As the party's own node sees it: it trusts whoever issued its credential.
    pub(super) fn ours(&self, node: &NodeId) -> OurParty {
        let chain = self.chain(node);
        let (trust, registry) = (everybody(), Registry::empty());
        let context =
            TrustContext { network: NETWORK, trust: &trust, registry: &registry, at_unix_s: START_UNIX_S };
        OurParty {
            party: self.party(),
            operator_name: format!("Operator {}", self.id),
            speaker: Arc::new(chain.verify(&context).unwrap()),
            chain,
            message_key: Arc::new(self.message_key()),
        }
    }
}
