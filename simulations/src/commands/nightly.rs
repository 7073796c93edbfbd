//! `nightly`: fresh seeds for as long as there is time, over all scenarios; what fails is shrunk and kept.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;

use super::children::{Job, cores, jobs, run_all};
use super::shrink::{ShrinkLimits, shrink_to_file};
use super::summary::Summary;
use super::sweep::{Progress, fresh_seed, span};
use crate::determinism::wall_s;
use crate::scenario::{self, Scenario, Span};

/// Share of the time for runs; the rest is for shrinking what failed.
const RUNNING_SHARE: f64 = 0.75;

/// Runs that one failure is shrunk with at most.
const TRIES_MAX: usize = 300;

/// What `nightly` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For how long.
    #[arg(long = "for", value_parser = span, default_value = "2h")]
    limit: Span,
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_parser = jobs)]
    jobs: Option<usize>,
    /// Only scenarios with at most so many nodes.
    #[arg(long, default_value_t = u32::MAX)]
    nodes_max: u32,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

/// Runs fresh seeds until the time is over.
pub(super) fn nightly(options: &Options) -> Result<ExitCode> {
    let mut scenarios = scenario::all()?;
    scenarios.retain(|scenario| scenario.node_count() <= options.nodes_max);
    anyhow::ensure!(!scenarios.is_empty(), "no scenario has at most {} nodes", options.nodes_max);
    let (begin_s, limit_s) = (wall_s(), options.limit.0.as_secs_f64());
    let at_once = options.jobs.unwrap_or_else(cores);
    let until_s = begin_s + limit_s * RUNNING_SHARE;
    let mut progress = Progress::new(None, Some(until_s));
    let jobs = std::iter::repeat_with(|| drawn(&scenarios));
    let outcomes = run_all(jobs, at_once, Some(until_s), |outcome| {
        progress.tell(outcome);
        true
    });
    progress.end();
    let summary = Summary::new(outcomes);
    let limits = ShrinkLimits { at_once, tries: TRIES_MAX, until_s: begin_s + limit_s };
    keep_failures(&summary, limits);
    summary.print();
    if options.json {
        println!("{}", summary.json());
    }
    Ok(summary.exit_code())
}

/// A scenario and a seed: small worlds often, large ones rarely, for a run costs about the square of its
/// nodes.
fn drawn(scenarios: &[Scenario]) -> Job {
    let weight = |scenario: &Scenario| (1_000_000 / u64::from(scenario.node_count()).pow(2)).max(1);
    let all: u64 = scenarios.iter().map(weight).sum();
    let mut number = fresh_seed() % all.max(1);
    let fit = scenarios.iter().find(|scenario| match number.checked_sub(weight(scenario)) {
        Some(rest) => {
            number = rest;
            false
        }
        None => true,
    });
    let name = fit.or(scenarios.first()).map(|scenario| scenario.name.clone());
    Job { scenario: name.unwrap_or_default(), seed: fresh_seed(), plant: None }
}

/// One failure of each kind, as far as there is time.
fn keep_failures(summary: &Summary, limits: ShrinkLimits) {
    let mut kinds: BTreeMap<(&str, &str), &Job> = BTreeMap::new();
    for outcome in summary.failed().filter(|outcome| outcome.result.is_ok()) {
        if let Some(invariant) = outcome.invariants().first() {
            kinds.entry((&outcome.job.scenario, invariant)).or_insert(&outcome.job);
        }
    }
    for job in kinds.into_values() {
        if wall_s() >= limits.until_s {
            return;
        }
        eprintln!("shrinking {} --seed {}", job.scenario, job.seed);
        match shrink_to_file(job, None, limits) {
            Ok(kept) => println!("kept as {}; delete it if it is of no use", kept.path.display()),
            Err(error) => eprintln!("not shrunk: {error:#}"),
        }
    }
}
