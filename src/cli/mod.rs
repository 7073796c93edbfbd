//! The command line: part of the binary, sees only the public API.

mod demo;

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
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Demo(args) => block_on(demo::run(args)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("chargemesh: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
