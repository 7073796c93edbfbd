//! The command line.

mod again;
mod children;
mod model;
mod nightly;
mod plant;
mod regressions;
mod replay;
mod report;
mod run;
mod shrink;
mod summary;
mod sweep;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

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
    /// Runs one scenario with many seeds, each in a process of its own.
    Sweep(sweep::Options),
    /// Runs one seed once more and shows what happens, in virtual time.
    Replay(replay::Options),
    /// Makes a failing run as small as it can be and keeps it in `regressions/`.
    Shrink(shrink::Options),
    /// Runs everything in `regressions/`.
    Regressions(regressions::Options),
    /// Runs one seed twice and compares.
    CheckSeed(replay::CheckSeed),
    /// Runs fresh seeds of all scenarios until the time is over; shrinks what fails.
    Nightly(nightly::Options),
    /// Shows in how many seeds bugs that were planted on purpose are found.
    Plant(plant::Options),
    /// Draws what a run was like, and compares it with a baseline.
    Report(report::Options),
    /// Runs the core alone, without libp2p and SQLite: ten thousand nodes in one event queue.
    Model(model::Options),
}

/// Does what the command line says. The exit code is 0 if all invariants held, 1 if not, 2 if the
/// simulation itself failed.
///
/// # Errors
/// If the simulation itself failed.
pub(crate) fn main() -> Result<ExitCode> {
    let command = Arguments::parse().command;
    let filter = match &command {
        Command::Replay(options) => options.filter()?,
        _ => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off")),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_timer(replay::VirtualTime);
    log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    match command {
        Command::List => run::list(),
        Command::Run(options) => run::run(&options),
        Command::Sweep(options) => sweep::sweep(&options),
        Command::Replay(options) => replay::replay(&options),
        Command::Shrink(options) => shrink::shrink(&options),
        Command::Regressions(options) => regressions::regressions(&options),
        Command::CheckSeed(options) => replay::check_seed(&options),
        Command::Nightly(options) => nightly::nightly(&options),
        Command::Plant(options) => plant::plant(&options),
        Command::Report(options) => report::report(&options),
        Command::Model(options) => model::run(&options),
    }
}
