//! `chargemesh party`: from nothing to a node that speaks for a party, with an issuer or without.

mod card;
pub(super) mod delegate;
mod fingerprint;
mod further_node;
mod grant;
mod install;
mod node_key;
mod pin;
mod pins;
mod renew;
pub(super) mod request;
mod rotate;

use std::process::ExitCode;

use anyhow::Context as _;
use chargemesh::identity::{PartyId, Role};

pub(crate) use renew::{Args as RenewArgs, run as renew};

/// The commands of `chargemesh party`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a node's directory with new keys, and the request that an issuer signs a credential for.
    Request(request::Args),
    /// Take an issuer's credential into the node's directory.
    Install(install::Args),
    /// What others pin this party by.
    #[command(subcommand)]
    Card(CardCommand),
    /// Believe a party by its own key, without any issuer, after comparing six words.
    Pin(pin::Args),
    /// Believe a pinned party no longer, unless an issuer vouches for it.
    Unpin(pin::UnpinArgs),
    /// Print the six words of a party's org key.
    Fingerprint(fingerprint::Args),
    /// Let a further node speak for this party, beside the one that writes its feeds.
    Delegate(further_node::Args),
    /// Let the next org key follow the present one, after a theft or after some years.
    Rotate(rotate::Args),
    /// Let another party publish under this party's main id (sub-operator), or no longer.
    Grant(grant::Args),
    /// Prolong the delegation; the same as `chargemesh renew`.
    Renew(RenewArgs),
}

/// The commands of `chargemesh party card`.
#[derive(clap::Subcommand)]
pub(crate) enum CardCommand {
    /// Write the card of this node's party: who it is, how to reach it, and the proof.
    Export(card::Args),
}

/// Does what the command says.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Request(args) => request::run(args),
        Command::Install(args) => install::run(args),
        Command::Card(CardCommand::Export(args)) => card::run(args),
        Command::Pin(args) => pin::run(args),
        Command::Unpin(args) => pin::unpin(args),
        Command::Fingerprint(args) => fingerprint::run(args),
        Command::Delegate(args) => further_node::run(args),
        Command::Rotate(args) => rotate::run(args),
        Command::Grant(args) => grant::run(args),
        Command::Renew(args) => renew(args),
    }
}

/// A party as people type it, or as something prints it: `CPO:DE*ABC`, `cpo:deabc`, `CPO DE-ABC`.
pub(super) fn party_id(typed: &str) -> anyhow::Result<PartyId> {
    let (role, id) = typed.trim().split_once([':', ' ']).with_context(|| {
        format!("{typed:?} is no party: write role, colon and id, as in CPO:DE*ABC or EMP:DE-ABC")
    })?;
    Ok(PartyId::new(Role::parse(&role.to_ascii_uppercase())?, id.trim())?)
}

/// The same for the settings: the role as they have it, the id as it was typed.
pub(super) fn party_setting(typed: &str) -> anyhow::Result<String> {
    let role = party_id(typed)?.role;
    let id = typed.trim().split_once([':', ' ']).map_or("", |(_, id)| id.trim());
    Ok(format!("{role}:{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_party_is_read() {
        for typed in ["CPO:DE*ABC", "cpo:de-abc", "CPO:DEABC", " CPO DE*ABC ", "Cpo: deabc"] {
            assert_eq!(party_id(typed).unwrap().to_string(), "CPO:DEABC", "{typed:?}");
        }
        assert_eq!(party_setting("emp: de-abc").unwrap(), "EMP:de-abc");
        for wrong in ["DE*ABC", "", "CPO:", "XYZ:DE*ABC", "CPO:D*ABC"] {
            assert!(party_id(wrong).is_err(), "{wrong:?}");
        }
    }
}
