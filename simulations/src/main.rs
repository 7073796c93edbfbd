//! Whole nodes of chargemesh in virtual time, many of them, from a seed. See `README.md`.

mod backend;
mod charging;
mod commands;
mod determinism;
mod invariants;
mod liars;
mod model;
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

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
