//! Who takes part: an issuer that vouches for everybody, operators, providers. Keys follow from names.

use std::collections::BTreeSet;

use anyhow::Result;
use chargemesh::identity::{
    Chain, Credential, CredentialTerms, Delegation, Issuer, IssuerClass, IssuerGrant, Operation, PartyId,
    Role, SecretKey, TrustList, hash_of,
};
use chargemesh::mesh;
use chargemesh::node::Identity;

use crate::determinism::START_UNIX_S;
use crate::network::NodeNumber;

/// The network of all simulations.
pub(crate) const NETWORK: &str = "sim";

/// A day, in seconds.
const DAY_S: u64 = 86_400;

/// How long credentials are valid after the start, in days: two months.
pub(crate) const VALID_DAYS: u64 = 60;

/// Credentials and the trust list are valid from a day before the start, in seconds.
const VALID_S: (u64, u64) = (START_UNIX_S - DAY_S, START_UNIX_S + VALID_DAYS * DAY_S);

/// A delegation is valid from a day before it is issued until five days after it, in seconds: some lives of
/// delegations fit into a long run.
const DELEGATION_S: (u64, u64) = (DAY_S, 5 * DAY_S);

/// Delegations are issued anew this often, in milliseconds.
pub(crate) const RENEWED_MS: u64 = 4 * DAY_S * 1_000;

/// The key of a name.
pub(crate) fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash_of(name.as_bytes()))
}

/// The seed of a node's key.
pub(crate) fn node_seed(node: NodeNumber) -> [u8; 32] {
    hash_of(format!("node {node}").as_bytes())
}

/// Whom all nodes believe.
pub(crate) fn trust() -> TrustList {
    let grants = Role::ALL.into_iter().map(|role| IssuerGrant { country: "*".to_owned(), role }).collect();
    let issuer =
        Issuer { key: key("issuer").public(), name: "sim".into(), class: IssuerClass::Registrar, grants };
    TrustList { issuers: vec![issuer], pins: Vec::new(), seq: 1, valid_until_unix_s: VALID_S.1 }
}

/// A party with what it needs to sign.
#[derive(Clone)]
pub(crate) struct Party {
    /// Who.
    pub(crate) id: PartyId,
    /// Credential and delegation to its node.
    pub(crate) chain: Chain,
    /// The key that the delegation names.
    pub(crate) message_key: SecretKey,
}

/// A party, such as `CPO:DEABC`, whose messages a node signs.
///
/// # Errors
/// If the text names no party.
pub(crate) fn party(text: &str, node: NodeNumber) -> Result<Party> {
    party_of_epoch(text, node, 1, START_UNIX_S)
}

/// The same with another delegation, issued at a time (unix seconds).
///
/// # Errors
/// If the text names no party.
pub(crate) fn party_of_epoch(text: &str, node: NodeNumber, epoch: u64, issued_unix_s: u64) -> Result<Party> {
    let id = PartyId::parse(text)?;
    let (org, message_key) = (key(&format!("org {text}")), key(&format!("message {text}")));
    let terms = CredentialTerms {
        party: id.clone(),
        sub_ids: Vec::new(),
        legal_name: format!("{text} AG"),
        register_number: String::new(),
        org_key: org.public(),
        next_org_key_hash: None,
        not_before_unix_s: VALID_S.0,
        expires_unix_s: VALID_S.1,
        serial: vec![1],
    };
    let credential = Credential::issue(NETWORK, &terms, "sim", &key("issuer"))?;
    let delegation = Delegation {
        party: id.clone(),
        peer_id: mesh::node_id_of_seed(&node_seed(node))?.as_bytes().to_vec(),
        message_key: message_key.public(),
        operations: Operation::ALL.into_iter().collect(),
        operations_unknown: BTreeSet::new(),
        prefixes: [id.id.clone()].into_iter().collect(),
        not_before_unix_s: issued_unix_s - DELEGATION_S.0,
        expires_unix_s: issued_unix_s + DELEGATION_S.1,
        epoch,
        slot: 0,
    };
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org)?;
    Ok(Party { id, chain: Chain { credential, delegation }, message_key })
}

/// The identity of a node with at most one party, at a time (unix seconds).
///
/// # Errors
/// If the party does not belong to the node.
pub(crate) fn identity(node: NodeNumber, party: Option<&Party>, now_unix_s: u64) -> Result<Identity> {
    let mut identity = Identity::without_party(node_seed(node), trust());
    if let Some(Party { id, chain, message_key }) = party.cloned() {
        identity.add_party(NETWORK, id, "Operator", chain, message_key, now_unix_s)?;
    }
    Ok(identity)
}

/// Made-up operators that there can be: 26 * 26 * 10 in each of four countries.
pub(crate) const IDS: u32 = 4 * 26 * 26 * 10;

/// The OperatorID of a made-up operator, such as `DE*A07`; below [`IDS`] each has its own.
pub(crate) fn operator_id(number: u32) -> String {
    const COUNTRIES: [&str; 4] = ["DE", "CH", "FR", "NL"];
    let letter = |number: u32| char::from(b'A' + (number % 26) as u8);
    let (country, number) = (COUNTRIES[number as usize % 4], number / 4);
    format!("{country}*{}{}{}", letter(number / 260), letter(number / 10), number % 10)
}

/// The ProviderID of a made-up provider, in the same way.
pub(crate) fn provider_id(number: u32) -> String {
    operator_id(number).replace('*', "-")
}

/// A party as text, from its role and its id as OICP spells it.
pub(crate) fn party_text(role: Role, id: &str) -> String {
    let role = if role == Role::Cpo { "CPO" } else { "EMP" };
    // The separator belongs to a DIN id (`+41*031`) and not to an ISO one.
    let canonical = if id.starts_with('+') { id.to_owned() } else { id.replace(['*', '-'], "") };
    format!("{role}:{canonical}")
}
