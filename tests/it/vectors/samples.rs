//! The objects of the vectors, made from fixed seeds by the public functions that a node uses.

mod agreements;
mod cdrs;
mod ends;
mod feeds;
pub(crate) mod meanings;
mod messages;
mod trust;

use std::collections::BTreeSet;

use chargemesh::identity::{
    CanonicalId, Chain, Delegation, Hash, Operation, PartyId, Registry, SecretKey, Speaker, TrustContext,
    TrustList, hash_of,
};
use chargemesh::mesh;

use meanings::Meanings;

/// The network of all vectors.
pub(crate) const NETWORK: &str = "vectors";
/// When everything was made: 2026-01-01T00:00:00Z.
const MADE_UNIX_S: u64 = 1_767_225_600;
/// Who has a key here. The seed of each is 32 times its place in this list, counted from 1.
const KEYS: [&str; 9] = [
    "trust",
    "issuer",
    "org",
    "next org",
    "node",
    "message",
    "pinned org",
    "provider node",
    "provider message",
];

/// All vectors, in the order of the chain.
pub(crate) fn all(cast: &Cast) -> Vec<Sample> {
    vec![
        trust::trust_list(cast),
        trust::party_request(cast),
        trust::party_credential(cast),
        trust::node_delegation(cast),
        trust::party_card(cast),
        trust::party_card_by_hash(cast),
        ends::tombstone(cast),
        ends::rotation(cast),
        ends::status_list(cast),
        feeds::feed_head(cast),
        feeds::feed_announcement(cast),
        feeds::heartbeat(cast),
        agreements::provider_credential(cast),
        agreements::provider_delegation(cast),
        agreements::offer(cast),
        agreements::acceptance(cast),
        agreements::end(cast),
        messages::envelope(cast),
        messages::sub_grant(cast),
        cdrs::delegation(cast),
        cdrs::signed_cdr(cast),
        cdrs::receipt(cast),
        cdrs::evidence_seal(cast),
    ]
}

/// One vector: an object and everything that is to be said of it.
pub(crate) struct Sample {
    /// The file's name without its ending.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whose key signed it, and whom its `kid` names. None for a bare frame around signed objects.
    pub(crate) signed: Option<(&'static str, Kid)>,
    /// Names of all keys that are in it.
    pub(crate) keys: &'static [&'static str],
    pub(crate) bytes: Vec<u8>,
    pub(crate) meanings: &'static [Meanings],
    /// The records under the root, if it has one.
    pub(crate) records: Vec<feeds::Held>,
    /// What else a reader may want to compare, by name.
    pub(crate) further: Vec<(&'static str, String)>,
    /// Takes the object as a node would, and compares it with what was put in.
    pub(crate) accept: fn(&Cast, &[u8]) -> Result<(), String>,
}

/// What the `kid` of an object is.
#[derive(Clone, Copy)]
pub(crate) enum Kid {
    /// The public key with this name.
    PublicKey(&'static str),
    /// The hash of the object of this vector.
    HashOf(&'static str, Hash),
}

/// The secret key with a name of [`KEYS`].
pub(crate) fn secret(name: &str) -> SecretKey {
    let place = KEYS.iter().position(|key| *key == name).unwrap();
    SecretKey::from_seed(&[place as u8 + 1; 32])
}

fn id(text: &str) -> CanonicalId {
    CanonicalId::parse(text).unwrap()
}

/// Everybody who appears in the vectors, and what they signed for each other.
pub(crate) struct Cast {
    party: PartyId,
    trust: TrustList,
    delegation: Delegation,
    chain: Chain,
    /// The pinned provider's.
    provider: Chain,
    registry: Registry,
}

impl Cast {
    pub(crate) fn new() -> Cast {
        let party = PartyId::parse("CPO:CHABC").unwrap();
        let credential = trust::issue_credential(&party);
        let node = mesh::node_id_of_seed(&secret("node").seed()).unwrap();
        let delegation = Delegation {
            party: party.clone(),
            peer_id: node.as_bytes().to_vec(),
            message_key: secret("message").public(),
            operations: [Operation::EvsePublish, Operation::StatusPublish].into(),
            operations_unknown: BTreeSet::new(),
            prefixes: [party.id.clone(), id("+41*031")].into(),
            not_before_unix_s: MADE_UNIX_S,
            expires_unix_s: MADE_UNIX_S + 7 * 86_400,
            epoch: 1,
            slot: 0,
        };
        let signed = delegation.issue(NETWORK, &hash_of(&credential), &secret("org")).unwrap();
        Cast {
            party,
            trust: trust::trusted(),
            delegation,
            chain: Chain { credential, delegation: signed },
            provider: agreements::provider_chain(),
            registry: Registry::empty(),
        }
    }

    /// The judgement of a node that has the trust list, an hour after everything was made.
    fn context(&self) -> TrustContext<'_> {
        TrustContext {
            network: NETWORK,
            trust: &self.trust,
            registry: &self.registry,
            at_unix_s: MADE_UNIX_S + 3_600,
        }
    }

    /// Whom the chain makes a speaker.
    fn speaker(&self) -> Speaker {
        self.chain.verify(&self.context()).unwrap()
    }

    /// Whom the pin makes one.
    fn provider(&self) -> Speaker {
        self.provider.verify(&self.context()).unwrap()
    }

    fn kid_of_delegation(&self) -> Kid {
        Kid::HashOf("node-delegation", self.chain.delegation_hash())
    }
}

/// What was read is what was put in.
fn same<T: PartialEq + std::fmt::Debug>(read: &T, put_in: &T) -> Result<(), String> {
    if read == put_in { Ok(()) } else { Err(format!("read {read:?}\nput in {put_in:?}")) }
}

/// An error as text: what the flipped bits break differs.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
