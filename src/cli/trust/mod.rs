//! `chargemesh trust`: what issuers and makers of trust lists do, offline; and who is who at a running node.

mod bury;
mod issue;
mod issuer;
pub(super) mod list;
mod status_list;
mod submit;

use std::process::ExitCode;

use super::{ask, block_on};

/// The commands of `chargemesh trust`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// An issuer's key.
    #[command(subcommand)]
    Issuer(issuer::Command),
    /// Sign a credential: vouch for a party.
    Issue(Box<issue::Args>),
    /// A trust list: which issuers count, for which country and role. Each change is signed as a new version.
    #[command(subcommand)]
    List(list::Command),
    /// Say that a credential, a delegation or an org key is dead before its time.
    Bury(bury::Args),
    /// Say which of an issuer's credentials are dead; to be made anew every day, for nodes that have seen one begin nothing
    /// new with its parties when the next is overdue.
    StatusList(status_list::Args),
    /// Hand a signed object to a running node, which tells everybody.
    Submit(submit::Args),
    /// Who is who at a running node, who vouches for it and until when, and how old what the node knows of revocations
    /// is: if it is STALE, or the status list of a partner's issuer OVERDUE, nothing new begins with that partner unless
    /// it is pinned; what runs goes on. Exit code 1 if somebody else claims an id of this node's own.
    Show(ask::ShowArgs),
    /// Tell what changes there. Ends with exit code 1 when somebody else claims an id of this node's own, and when nobody
    /// reads what it says.
    Watch(ask::WatchArgs),
}

/// Does what the command says.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Issuer(command) => issuer::run(command),
        Command::Issue(args) => issue::run(args),
        Command::List(command) => list::run(command),
        Command::Bury(args) => bury::run(args),
        Command::StatusList(args) => status_list::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Show(args) => block_on(ask::show(args)),
        Command::Watch(args) => block_on(ask::watch(args)),
    }
}
