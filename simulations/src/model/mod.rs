//! The sans-IO core alone: as many cores as one likes in one plain event queue, without libp2p, SQLite or
//! tasks. What the engine, the mesh and storage do with streams and databases is done here by hand, so that
//! ten thousand nodes take seconds. What whole nodes do is the matter of the other scenarios.

mod check;
mod facts;
mod queue;
mod store;
#[cfg(test)]
mod tests;
mod traffic;
mod workload;
mod world;

use anyhow::Result;
use serde::Serialize;

use crate::determinism;
use crate::report::{Delivery, delivery};
use world::World;

/// Time for which nothing new happens at the end, in milliseconds: every peer is compared with four times.
const SETTLE_MS: u64 = 20_000;

/// Time after which operators load, in milliseconds: a writer asks its peers for its own feeds first.
const LOAD_AT_MS: u64 = 4_000;

/// Time in which everybody must have what was loaded, in milliseconds.
const LOADED_AT_MS: u64 = 10_000;

/// What a run is made of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Nodes.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) nodes: u32,
    /// Nodes that publish: each the charging points of one operator.
    #[arg(long, default_value_t = 10)]
    pub(crate) operators: u32,
    /// Charging points of all operators together.
    #[arg(long, default_value_t = 200)]
    pub(crate) evses: u32,
    /// Virtual time, the load at the start and the settling at the end included.
    #[arg(long, default_value_t = 120)]
    pub(crate) seconds: u64,
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Share of gossip messages that are lost on a link, in percent.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) loss: f64,
    /// Share of nodes that are killed and restarted while it runs, in percent; every fourth loses its disk.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) churn: f64,
    /// Pushes per second of all operators together.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) pushes_per_s: f64,
}

impl Settings {
    fn end_ms(&self) -> u64 {
        self.seconds * 1_000
    }

    /// When pushes, restarts and losses end.
    fn quiet_from_ms(&self) -> u64 {
        self.end_ms().saturating_sub(SETTLE_MS)
    }
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    /// Hash over everything that happened, in hex.
    pub(crate) trace_hash: String,
    /// Events that it is over.
    pub(crate) events: u64,
    pub(crate) sim_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) rss_mb: f64,
    pub(crate) delivery: Delivery,
    pub(crate) counts: world::Counts,
    pub(crate) violations: Vec<String>,
}

/// Runs it. `progress` hears of every second of virtual time.
///
/// # Errors
/// If the simulation itself fails; that an invariant does not hold is no error.
pub(crate) fn run(settings: &Settings, progress: &dyn Fn(&str)) -> Result<Outcome> {
    let least_s = (LOADED_AT_MS + SETTLE_MS) / 1_000;
    anyhow::ensure!(settings.seconds > least_s, "it takes more than {least_s} s of virtual time");
    anyhow::ensure!((1..=settings.nodes).contains(&settings.operators), "as many operators as nodes at most");
    let wall_s = determinism::wall_s();
    let mut world = World::new(settings)?;
    for second in 1..=settings.seconds {
        world.run_until(second * 1_000)?;
        progress(&format!("{second:5} s, {} events", world.trace.events));
        if second * 1_000 == LOADED_AT_MS {
            world.check_loaded();
        }
    }
    world.check_settled()?;
    world.deliveries_ms.sort_unstable();
    Ok(Outcome {
        ok: world.violations.is_empty(),
        trace_hash: format!("{:016x}", world.trace.hash),
        events: world.trace.events,
        sim_seconds: settings.seconds as f64,
        wall_seconds: determinism::wall_s() - wall_s,
        rss_mb: determinism::peak_rss_mb(),
        delivery: delivery(&world.deliveries_ms),
        counts: world.counts,
        violations: world.violations.into_iter().collect(),
    })
}
