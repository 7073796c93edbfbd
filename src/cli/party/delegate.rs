//! The delegation that a party's org key gives to its node.

use std::collections::BTreeSet;

use chargemesh::identity::delegation::WRITER_SLOT;
use chargemesh::identity::{CredentialTerms, Delegation, Operation, PublicKey, Role, SecretKey};
use chargemesh::mesh;

use crate::cli::text::DAY_S;

/// How long a credential made here is valid if nothing else is asked for, in days; identity allows 397.
pub(in crate::cli) const CREDENTIAL_DAYS: u64 = 365;
/// Longest validity of a credential, in days.
pub(in crate::cli) const CREDENTIAL_DAYS_MAX: u64 = 397;
/// Longest validity of a delegation, in days.
const DELEGATION_DAYS_MAX: u64 = 31;

/// How long a new delegation is valid.
#[derive(clap::Args)]
pub(in crate::cli) struct Validity {
    /// Days until the node needs a new delegation (1 to 31): what is stolen dies by itself.
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 7,
        value_parser = clap::value_parser!(u64).range(1..=DELEGATION_DAYS_MAX)
    )]
    pub(in crate::cli) delegation_days: u64,
}

impl Validity {
    /// The end of a delegation that begins now: never later than that of the credential.
    pub(in crate::cli) fn end(&self, terms: &CredentialTerms, now_unix_s: u64) -> u64 {
        terms.expires_unix_s.min(now_unix_s + self.delegation_days * DAY_S)
    }
}

/// Lets a node do for its party what its role has to do, for all ids of the credential.
///
/// # Errors
/// The node key makes no peer id.
pub(in crate::cli) fn delegation(
    terms: &CredentialTerms,
    node_key: &SecretKey,
    message_key: PublicKey,
    slot: u8,
    now_unix_s: u64,
    expires_unix_s: u64,
) -> anyhow::Result<Delegation> {
    Ok(Delegation {
        party: terms.party.clone(),
        peer_id: mesh::node_id_of_seed(&node_key.seed())?.as_bytes().to_vec(),
        message_key,
        operations: operations(terms.party.role, slot),
        operations_unknown: BTreeSet::new(),
        prefixes: terms.sub_ids.iter().cloned().chain([terms.party.id.clone()]).collect(),
        not_before_unix_s: now_unix_s,
        expires_unix_s,
        // Of two delegations the later has the higher number, whoever made it.
        epoch: now_unix_s,
        slot,
    })
}

/// What a node of this role has to do at this slot, and nothing else.
pub(in crate::cli) fn operations(role: Role, slot: u8) -> BTreeSet<Operation> {
    let writes = slot == WRITER_SLOT;
    operations_of(role).into_iter().filter(|operation| writes || !PUBLISHING.contains(operation)).collect()
}

/// What only the node that writes the party's feeds may do.
const PUBLISHING: [Operation; 3] =
    [Operation::EvsePublish, Operation::StatusPublish, Operation::PricePublish];

fn operations_of(role: Role) -> BTreeSet<Operation> {
    match role {
        Role::Cpo => BTreeSet::from([
            Operation::EvsePublish,
            Operation::StatusPublish,
            Operation::PricePublish,
            Operation::AuthAsk,
            Operation::RemoteAnswer,
            Operation::CdrSend,
        ]),
        Role::Emp => BTreeSet::from([Operation::AuthAnswer, Operation::RemoteSend, Operation::CdrAccept]),
        Role::Hub => Operation::ALL.into_iter().collect(),
    }
}
