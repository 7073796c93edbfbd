//! Whole nodes of chargemesh in virtual time, many of them, from a seed. See `README.md`.

mod backend;
mod commands;
mod determinism;
mod invariants;
mod liars;
mod network;
mod observe;
mod operators;
mod people;
mod reference;
mod report;
mod run;
mod scenario;
mod schedule;
mod trace;
mod world;

fn main() -> anyhow::Result<std::process::ExitCode> {
    commands::main()
}
