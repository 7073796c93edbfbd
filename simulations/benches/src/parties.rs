//! Who takes part: an issuer that vouches for everybody, operators and the nodes under measurement. Keys
//! follow from names, so that two processes agree without talking.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use chargemesh::identity::{
    Chain, Credential, CredentialTerms, Delegation, Issuer, IssuerClass, IssuerGrant, Operation, PartyId,
    Role, SecretKey, TrustList, hash_of,
};
use chargemesh::node::{Deps, Identity, Node, Settings};
use chargemesh::oicp::reading::Reading;
use chargemesh::{facade, mesh};

/// The network of all benchmarks.
pub(crate) const NETWORK: &str = "bench";

/// The provider whose node is measured, as `EMP:ID` and as its backend spells it.
pub(crate) const PROVIDER: (&str, &str) = ("EMP:DEEMP", "DE-EMP");

/// One day in seconds: everything is valid from yesterday to tomorrow.
const DAY_S: u64 = 86_400;

/// The time in unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The key of a name.
pub(crate) fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash_of(name.as_bytes()))
}

/// The seed of the key of a named node.
pub(crate) fn node_seed(name: &str) -> [u8; 32] {
    hash_of(format!("node {name}").as_bytes())
}

/// Whom all nodes believe.
pub(crate) fn trust(now_s: u64) -> TrustList {
    let grants = Role::ALL.into_iter().map(|role| IssuerGrant { country: "*".to_owned(), role }).collect();
    let issuer =
        Issuer { key: key("issuer").public(), name: "bench".into(), class: IssuerClass::Registrar, grants };
    TrustList { issuers: vec![issuer], pins: Vec::new(), seq: 1, valid_until_unix_s: now_s + DAY_S }
}

/// A party with what it needs to sign.
pub(crate) struct Party {
    /// Who.
    pub(crate) id: PartyId,
    /// Credential and delegation to the node called like the party.
    pub(crate) chain: Chain,
    /// The key that the delegation names.
    pub(crate) message_key: SecretKey,
}

/// A party whose node has a name. Chains of one name and time are equal.
///
/// # Errors
/// If the text names no party.
pub(crate) fn party(party: &str, node: &str, now_s: u64) -> Result<Party> {
    let id = PartyId::parse(party)?;
    let (org, message_key) = (key(&format!("org {party}")), key(&format!("message {party}")));
    let terms = CredentialTerms {
        party: id.clone(),
        sub_ids: Vec::new(),
        legal_name: format!("{party} AG"),
        register_number: String::new(),
        org_key: org.public(),
        next_org_key_hash: None,
        not_before_unix_s: now_s - DAY_S,
        expires_unix_s: now_s + DAY_S,
        serial: vec![1],
    };
    let credential = Credential::issue(NETWORK, &terms, "bench", &key("issuer"))?;
    let delegation = Delegation {
        party: id.clone(),
        peer_id: mesh::node_id_of_seed(&node_seed(node))?.as_bytes().to_vec(),
        message_key: message_key.public(),
        operations: Operation::ALL.into_iter().collect(),
        operations_unknown: BTreeSet::new(),
        prefixes: [id.id.clone()].into_iter().collect(),
        not_before_unix_s: now_s - DAY_S,
        expires_unix_s: now_s + DAY_S,
        epoch: 1,
        slot: 0,
    };
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org)?;
    Ok(Party { id, chain: Chain { credential, delegation }, message_key })
}

/// Settings of a node on loopback: its data in a directory, a facade if it has a party.
pub(crate) fn settings(data_dir: &Path, party: Option<&str>, bootstrap: &[String]) -> Settings {
    let mut settings = Settings {
        mesh: mesh::Config {
            network: NETWORK.to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            bootstrap: bootstrap.to_vec(),
            ..mesh::Config::default()
        },
        ..Settings::default()
    };
    settings.storage.data_dir = data_dir.to_owned();
    settings.facade = party.map(|party| facade::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        backends: vec![facade::BackendConfig {
            key: None,
            parties: vec![party.to_owned()],
            reading: Reading::Tolerant,
            ..facade::BackendConfig::default()
        }],
        ..facade::Config::default()
    });
    settings
}

/// Starts a node that speaks for one party; the node is called `name`.
///
/// # Errors
/// What the node says.
pub(crate) async fn start(name: &str, party_text: &str, settings: Settings) -> Result<Node> {
    start_with(name, &[party_text], settings).await
}

/// The same for several parties.
///
/// # Errors
/// What the node says.
pub(crate) async fn start_with(name: &str, parties: &[&str], settings: Settings) -> Result<Node> {
    let now_s = unix_ms() / 1_000;
    let mut identity = Identity::without_party(node_seed(name), trust(now_s));
    for text in parties {
        let party = party(text, name, now_s)?;
        identity.add_party(NETWORK, party.id, name, party.chain, party.message_key, now_s)?;
    }
    let [seed, ..] = node_seed(name);
    Ok(Node::start(settings, identity, Deps::system(seed.into())).await?)
}
