//! The command line: part of the binary, sees only the public API.

/// As that of `std`, which panics when the reader has gone.
macro_rules! print {
    ($($text:tt)+) => { crate::cli::text::say(format_args!($($text)+)) };
}

/// As that of `std`, which panics when the reader has gone.
macro_rules! println {
    ($($text:tt)+) => { crate::cli::text::say(format_args!("{}\n", format_args!($($text)+))) };
}

/// As that of `std`, which panics when the reader has gone.
macro_rules! eprint {
    ($($text:tt)+) => { crate::cli::text::complain(format_args!($($text)+)) };
}

/// As that of `std`, which panics when the reader has gone.
macro_rules! eprintln {
    ($($text:tt)+) => { crate::cli::text::complain(format_args!("{}\n", format_args!($($text)+))) };
}

mod addresses;
mod ask;
mod backend;
mod demo;
mod files;
mod fingerprint;
mod init;
mod input;
mod keys;
mod lint;
mod outlet;
mod party;
mod played_hub;
mod push;
mod reach;
mod run;
mod settings;
mod text;
mod trust;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of a command that found what it was asked to find: deviations, a difference, no convergence.
const EXIT_FOUND: u8 = 1;

/// Exit code of a command that could not do its work.
const EXIT_FAILED: u8 = 2;

/// A peer-to-peer EV roaming node: OICP 2.3 towards your backend, a signed mesh towards everybody else.
///
/// Exit codes: 0 done; 1 done, and something was found that you should look at; 2 not done.
#[derive(Parser)]
#[command(name = "chargemesh", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up a whole network on this machine and watch it work: no files, no network, no flags needed.
    Demo(demo::Args),
    /// Make a directory with settings, keys and a party, ready to run.
    Init(init::Args),
    /// Prolong what lets a node speak for its parties; its delegation ends after a week.
    Renew(party::RenewArgs),
    /// Become a party: ask an issuer, or exchange cards and pin each other.
    #[command(subcommand)]
    Party(party::Command),
    /// Vouch for parties, and make trust lists.
    #[command(subcommand)]
    Trust(trust::Command),
    /// Run a node.
    Run(run::Args),
    /// Push a register or status file to a node, as an operator's backend would.
    Push(push::Args),
    /// Say what in a file deviates from OICP 2.3.
    Lint(lint::Args),
    /// Ask a running node what it knows of an EVSE.
    Evse(ask::EvseArgs),
    /// Ask a running node for its peers, feeds, conflicts and held pushes.
    Peers(ask::PeersArgs),
    /// Ask a running node for its sessions: how far each has come, and with whom.
    Sessions(ask::sessions::Args),
    /// Prove a session: list, export, check and delete the signed messages that were said in it.
    Evidence(ask::evidence::Args),
    /// See how far charge detail records have come, and correct one.
    Cdr(ask::cdr::Args),
    /// Play the backend of a CPO or an EMP, or the central hub, to try a node before there is one.
    #[command(subcommand)]
    Backend(backend::Command),
    Statement(ask::accounts::StatementArgs),
    Reconcile(ask::accounts::ReconcileArgs),
    Doctor(ask::doctor::Args),
    Certificates(ask::certificates::Args),
    /// Agree with other parties who may do what.
    Agreement(ask::agreement::Args),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Init(args) => init::run(&args),
        Command::Renew(args) => party::renew(&args),
        Command::Party(command) => party::run(&command),
        Command::Trust(command) => trust::run(&command),
        Command::Lint(args) => lint::run(&args),
        Command::Run(args) => block_on(run::run(args)),
        Command::Push(args) => block_on(push::run(args)),
        Command::Evse(args) => block_on(ask::evse(args)),
        Command::Peers(args) => block_on(ask::peers(args)),
        Command::Sessions(args) => block_on(ask::sessions::run(args)),
        Command::Evidence(args) => block_on(ask::evidence::run(args)),
        Command::Cdr(args) => block_on(ask::cdr::run(args)),
        Command::Backend(command) => block_on(backend::run(command)),
        Command::Statement(args) => block_on(ask::accounts::statement(args)),
        Command::Reconcile(args) => block_on(ask::accounts::reconcile(args)),
        Command::Certificates(args) => block_on(ask::certificates::run(args)),
        Command::Doctor(args) => block_on(ask::doctor::run(args)),
        Command::Agreement(args) => block_on(ask::agreement::run(args)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("chargemesh: {}", told(&error));
        ExitCode::from(EXIT_FAILED)
    })
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// An error and its causes, each text once: many of our errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.contains(&cause) {
            told.extend([if told.is_empty() { "" } else { ": " }, &cause]);
        }
    }
    told
}
