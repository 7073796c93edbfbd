//! `regressions`: failures that were found once stay mended.

use std::process::ExitCode;

use anyhow::Result;

use super::children::{Job, cores, run_all};
use crate::scenario;

/// What `regressions` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_parser = super::children::jobs)]
    jobs: Option<usize>,
}

/// Runs all files in `regressions/`: they must pass, and those that were found by planting a bug must fail
/// with it, if this program has it.
pub(super) fn regressions(options: &Options) -> Result<ExitCode> {
    let mut jobs = Vec::new();
    for scenario in scenario::regressions()? {
        let job = |plant| Job { scenario: scenario.name.clone(), seed: scenario.seed.unwrap_or(1), plant };
        jobs.push(job(None));
        if cfg!(feature = "planted") && scenario.planted.is_some() {
            jobs.push(job(scenario.planted.clone()));
        }
    }
    let mut wrong = 0;
    let outcomes = run_all(jobs.into_iter(), options.jobs.unwrap_or_else(cores), None, |outcome| {
        let Job { scenario, plant, .. } = &outcome.job;
        let wanted = outcome.ok() == plant.is_none();
        wrong += usize::from(!wanted);
        let with = plant.as_ref().map_or_else(String::new, |bug| format!(" with {bug}"));
        let ended = if outcome.ok() { "passed".to_owned() } else { outcome.invariants().join(", ") };
        println!("{} {scenario}{with}: {ended}", if wanted { "ok    " } else { "WRONG " });
        if !wanted {
            println!("       {}", outcome.job.again());
        }
        true
    });
    println!("{} runs, {wrong} not as they should be", outcomes.len());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
