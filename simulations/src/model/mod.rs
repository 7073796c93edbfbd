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

use std::fmt::Display;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::determinism;
use crate::people::{IDS, RENEWED_MS};
use crate::report::units::digits;
use crate::report::{Delivery, delivery};
use world::World;

/// Time for which nothing new happens at the end, in milliseconds: every peer is compared with four times.
const SETTLE_MS: u64 = 20_000;

/// Time after which operators load, in milliseconds: a writer asks its peers for its own feeds first.
const LOAD_AT_MS: u64 = 4_000;

/// Time in which everybody must have what was loaded, in milliseconds.
const LOADED_AT_MS: u64 = 10_000;

/// Nodes of one world: the id of a question has twenty bits for the node that asks.
const NODES_MAX: u32 = 1_000_000;

/// Charging points of all operators together: the largest register has so many.
const EVSES_MAX: u32 = 1_000_000;

/// Pushes of one run: each is kept in memory.
const PUSHES_MAX: f64 = 1e6;

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
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) loss: f64,
    /// Share of nodes that are killed and restarted while it runs, in percent; every fourth loses its disk.
    #[arg(long, default_value_t = 10.0, allow_negative_numbers = true)]
    pub(crate) churn: f64,
    /// Pushes per second of all operators together.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) pushes_per_s: f64,
}

impl Settings {
    /// Refuses what cannot run, or would not show anything.
    ///
    /// # Errors
    /// The first option that is wrong, its value, and what is allowed.
    pub(crate) fn check(&self) -> Result<()> {
        let Settings { nodes, operators, evses, seconds, loss, churn, pushes_per_s, .. } = self;
        let within = |option: &str, value: &u32, least: u32, most: u32, why: &str| {
            must((least..=most).contains(value), option, value, format_args!("{least} to {most}{why}"))
        };
        within("--nodes", nodes, 2, NODES_MAX, "")?;
        within("--operators", operators, 1, IDS.min(*nodes), ", one node each and one id each")?;
        let allowed = format!("{operators} (one for each of --operators) to {EVSES_MAX}");
        must((*operators..=EVSES_MAX).contains(evses), "--evses", evses, allowed)?;
        // Loading and settling need their time, and nobody issues a delegation anew.
        let (rest_s, most_s) = ((LOADED_AT_MS + SETTLE_MS) / 1_000, RENEWED_MS / 1_000);
        let holds = (rest_s + 1..=most_s).contains(seconds);
        must(holds, "--seconds", seconds, format_args!("{} to {most_s}", rest_s + 1))?;
        let percent = |option: &str, value: &f64| {
            must((0.0..=100.0).contains(value), option, value, "0 to 100, in percent")
        };
        percent("--loss", loss)?;
        percent("--churn", churn)?;
        let work_s = seconds - rest_s;
        let most = PUSHES_MAX / work_s as f64;
        let allowed = format!("0 to {}, which is {PUSHES_MAX} pushes in {work_s} s", digits(most));
        must((0.0..=most).contains(pushes_per_s), "--pushes-per-s", pushes_per_s, allowed)
    }

    fn end_ms(&self) -> u64 {
        self.seconds * 1_000
    }

    /// When pushes, restarts and losses end.
    fn quiet_from_ms(&self) -> u64 {
        self.end_ms().saturating_sub(SETTLE_MS)
    }
}

fn must(holds: bool, option: &str, value: impl Display, allowed: impl Display) -> Result<()> {
    ensure!(holds, "{option} = {value}: must be {allowed}");
    Ok(())
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
/// If an option makes no sense, or the simulation itself fails; that an invariant does not hold is no error.
pub(crate) fn run(settings: &Settings, progress: &dyn Fn(&str)) -> Result<Outcome> {
    settings.check()?;
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
