//! The demo's own issuer, and what it issues: credentials, and delegations to the demo's nodes. All keys are
//! made from one random secret that lives as long as the process.

use std::collections::BTreeSet;

use anyhow::Context as _;
use chargemesh::identity::{
    CanonicalId, Chain, Credential, CredentialTerms, Delegation, Issuer, IssuerClass, IssuerGrant, Operation,
    PartyId, Role, SecretKey, TrustList, hash_of,
};
use chargemesh::mesh;
use chargemesh::node::Identity;

/// Name of the demo's network: nodes of other networks have no protocol in common with it.
pub(super) const NETWORK: &str = "demo";

/// Name of the demo's issuer.
const ISSUER_NAME: &str = "demo issuer";

/// How long what is issued is valid, in seconds; nobody watches a demo for a week.
const VALIDITY_S: u64 = 7 * 86_400;

/// Validity begins this long before now, in seconds, so that no clock is too early.
const BACKDATED_S: u64 = 60;

/// Makes keys and issues credentials.
pub(super) struct Keys {
    secret: [u8; 32],
    issuer: SecretKey,
    now_unix_s: u64,
}

impl Keys {
    /// A new issuer.
    pub(super) fn new(now_unix_s: u64) -> anyhow::Result<Keys> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the operating system gives no random bytes")?;
        let issuer = SecretKey::from_seed(&seed(&secret, "issuer", 0));
        Ok(Keys { secret, issuer, now_unix_s })
    }

    /// The trust list of all nodes: this issuer, for every country and role.
    pub(super) fn trust(&self) -> TrustList {
        let grant = |role| IssuerGrant { country: "*".to_owned(), role };
        let issuer = Issuer {
            key: self.issuer.public(),
            name: ISSUER_NAME.to_owned(),
            class: IssuerClass::Registrar,
            grants: Role::ALL.into_iter().map(grant).collect(),
        };
        TrustList {
            issuers: vec![issuer],
            pins: Vec::new(),
            seq: 1,
            valid_until_unix_s: self.now_unix_s.saturating_add(VALIDITY_S),
        }
    }

    /// The identity of node `number`, without a party.
    pub(super) fn bare(&self, number: u32) -> Identity {
        Identity::without_party(seed(&self.secret, "node", number), self.trust())
    }

    /// The identity of node `number`, which speaks for one party under its main id and `prefixes`.
    pub(super) fn of_party(
        &self,
        number: u32,
        role: Role,
        main_id: &str,
        name: &str,
        prefixes: &BTreeSet<String>,
    ) -> anyhow::Result<Identity> {
        let party = PartyId::new(role, main_id).with_context(|| format!("the party {main_id}"))?;
        let mut ids = BTreeSet::from([party.id.clone()]);
        for prefix in prefixes {
            ids.insert(CanonicalId::parse(prefix).with_context(|| format!("the prefixes of {main_id}"))?);
        }
        let mut identity = self.bare(number);
        let message_key = SecretKey::from_seed(&seed(&self.secret, "message", number));
        let chain = self
            .chain(&identity, number, &party, name, ids, &message_key)
            .with_context(|| format!("the credential of {party}"))?;
        identity.add_party(NETWORK, party, name, chain, message_key, self.now_unix_s)?;
        Ok(identity)
    }

    fn chain(
        &self,
        identity: &Identity,
        number: u32,
        party: &PartyId,
        name: &str,
        ids: BTreeSet<CanonicalId>,
        message_key: &SecretKey,
    ) -> anyhow::Result<Chain> {
        let org_key = SecretKey::from_seed(&seed(&self.secret, "org", number));
        let not_before_unix_s = self.now_unix_s.saturating_sub(BACKDATED_S);
        let expires_unix_s = self.now_unix_s.saturating_add(VALIDITY_S);
        let terms = CredentialTerms {
            party: party.clone(),
            sub_ids: ids.iter().filter(|id| **id != party.id).cloned().collect(),
            legal_name: name.to_owned(),
            register_number: String::new(),
            org_key: org_key.public(),
            next_org_key_hash: None,
            not_before_unix_s,
            expires_unix_s,
            serial: number.to_be_bytes().to_vec(),
        };
        let credential = Credential::issue(NETWORK, &terms, ISSUER_NAME, &self.issuer)?;
        let node = mesh::node_id_of_seed(&identity.node_seed)?;
        let delegation = Delegation {
            party: party.clone(),
            peer_id: node.as_bytes().to_vec(),
            message_key: message_key.public(),
            operations: Operation::ALL.into_iter().collect(),
            operations_unknown: BTreeSet::new(),
            prefixes: ids,
            not_before_unix_s,
            expires_unix_s,
            epoch: 1,
            slot: 0,
        };
        let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org_key)?;
        Ok(Chain { credential, delegation })
    }
}

fn seed(secret: &[u8; 32], purpose: &str, number: u32) -> [u8; 32] {
    let mut text = secret.to_vec();
    text.extend_from_slice(purpose.as_bytes());
    text.extend_from_slice(&number.to_be_bytes());
    hash_of(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_operator_gets_all_its_prefixes() {
        let keys = Keys::new(1_800_000_000).unwrap();
        let prefixes = BTreeSet::from(["CHCCI".to_owned(), "FRN54".to_owned(), "+41*002".to_owned()]);
        let identity = keys.of_party(3, Role::Cpo, "CH*CCC", "Move", &prefixes).unwrap();
        let speaker = &identity.parties[0].speaker;
        for prefix in ["CHCCC", "CHCCI", "FRN54", "+41*002"] {
            assert!(speaker.may(Operation::EvsePublish, prefix).is_ok(), "{prefix}");
        }
        assert!(speaker.may(Operation::EvsePublish, "DEGEF").is_err());
    }

    #[test]
    fn a_derived_din_operator_gets_its_credential() {
        let keys = Keys::new(1_800_000_000).unwrap();
        let prefixes = BTreeSet::from(["+41*002".to_owned()]);
        assert!(keys.of_party(3, Role::Cpo, "+41*002", "MOBILECHARGE", &prefixes).is_ok());
    }
}
