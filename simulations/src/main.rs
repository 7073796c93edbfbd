//! Whole nodes of chargemesh in virtual time, many of them, from a seed. See `README.md`.

mod backend;
mod charging;
mod commands;
mod determinism;
mod healing;
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

/// A fifth less CPU than glibc's with hundreds of nodes, and memory that was asked for but never touched, as most places
/// of libp2p's routing tables, does not count. SQLite's C code keeps glibc's, which fits its pages better.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    end_at_a_panic();
    commands::main().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// A task's panic ends with the task alone: what it was to show would be missing, and the run would pass.
fn end_at_a_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(2);
    }));
}
