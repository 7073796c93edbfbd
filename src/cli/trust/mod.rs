//! `chargemesh trust`: what issuers and makers of trust lists do, offline.

mod issue;
mod issuer;
mod list;

use std::process::ExitCode;

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
}

/// Does what the command says.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Issuer(command) => issuer::run(command),
        Command::Issue(args) => issue::run(args),
        Command::List(command) => list::run(command),
    }
}
