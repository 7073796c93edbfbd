//! The command line.

mod model;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Whole nodes of chargemesh in virtual time, many of them, from a seed.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the scenarios.
    List,
    /// Runs one scenario with one seed.
    Run(run::Options),
    /// Runs the core alone, without libp2p and SQLite: ten thousand nodes in one event queue.
    Model(model::Options),
}

/// Does what the command line says. The exit code is 0 if all invariants held, 1 if not, 2 if the
/// simulation itself failed.
///
/// # Errors
/// If the simulation itself failed.
pub(crate) fn main() -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Arguments::parse().command {
        Command::List => run::list(),
        Command::Run(options) => run::run(&options),
        Command::Model(options) => model::run(&options),
    }
}
