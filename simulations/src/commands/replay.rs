//! `replay`: one run once more, with everything that happens in it. `check-seed`: one run twice.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::again::again;
use super::children::{Job, run_all};
use crate::determinism::elapsed;
use crate::report::Report;
use crate::scenario::Scenario;

/// What `replay` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of a scenario or regression, or path of its file.
    scenario: String,
    /// Everything follows from it.
    #[arg(long)]
    seed: Option<u64>,
    /// The bug to plant; needs the feature `planted`.
    #[arg(long)]
    plant: Option<String>,
    /// Also what the nodes log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `chargemesh::roaming=debug`.
    #[arg(long)]
    log: Option<String>,
    /// The trace hash that the run had before; another one is a failure.
    #[arg(long)]
    expect: Option<String>,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// What is to be shown.
    ///
    /// # Errors
    /// If `--log` is no filter.
    pub(super) fn filter(&self) -> Result<EnvFilter> {
        let log = match self.log.as_deref() {
            None => "off".to_owned(),
            Some(level) if level.contains('=') => format!("off,{level}"),
            Some(level) => format!("off,chargemesh={level}"),
        };
        Ok(EnvFilter::try_new(format!("{log},world=info"))?)
    }
}

/// Virtual time in a log, in seconds.
pub(super) struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:9.3} s", elapsed().as_secs_f64())
    }
}

/// Runs a scenario once more and shows what happens.
pub(super) fn replay(options: &Options) -> Result<ExitCode> {
    let mut scenario = Scenario::find(&options.scenario)?;
    let seed = options.seed.or(scenario.seed).unwrap_or(1);
    super::run::plant(&mut scenario, options.plant.as_deref())?;
    let told = Box::new(|line: &str| {
        if line.starts_with("VIOLATED") {
            tracing::info!(target: "world", "{line}");
        }
    });
    let mut report = crate::run::run(scenario, seed, told)?;
    report.again = again("run", &options.scenario, seed, options.plant.as_deref());
    super::run::print(&report);
    let expected = options.expect.as_ref().map(|expected| *expected == report.trace_hash);
    if let Some(same) = expected {
        let (verdict, hash) = (if same { "as expected" } else { "NOT as expected" }, &report.trace_hash);
        println!("  the trace hash is {hash}, {verdict}: another program, scenario or seed gives another");
    }
    if options.json {
        println!("{}", line(&report, expected));
    }
    Ok(if expected.unwrap_or(report.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run in one line for other programs. `expected`: whether it has the trace hash that it was to have.
fn line(report: &Report, expected: Option<bool>) -> serde_json::Value {
    let line = super::run::line(report);
    match expected {
        Some(expected) => super::run::joined(line, serde_json::json!({ "expected": expected })),
        None => line,
    }
}

/// What `check-seed` can be told.
#[derive(clap::Args)]
pub(crate) struct CheckSeed {
    /// Name of a scenario or path of its file.
    scenario: String,
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The two runs one after the other.
    #[arg(long)]
    one_by_one: bool,
}

/// Runs one seed in two processes: everything must be the same.
pub(super) fn check_seed(options: &CheckSeed) -> Result<ExitCode> {
    Scenario::find(&options.scenario)?;
    let job = |seed| Job { scenario: options.scenario.clone(), seed, plant: None };
    let jobs = [options.seed; 2].map(job);
    let at_once = if options.one_by_one { 1 } else { 2 };
    let outcomes = run_all(jobs.into_iter(), at_once, None, |outcome| {
        let seed = outcome.job.seed;
        match &outcome.result {
            Ok(line) => eprintln!("seed {seed}: trace {}, {:.1} s", line.trace_hash, line.wall_seconds),
            Err(error) => eprintln!("seed {seed}: {error:#}"),
        }
        true
    });
    let hashes = outcomes.into_iter().map(|outcome| Ok(outcome.result?.trace_hash));
    let hashes = hashes.collect::<Result<Vec<String>>>()?;
    ensure!(hashes.len() == 2, "not both runs were made");
    let same = hashes[0] == hashes[1];
    let verdict = if same { "twice the same trace" } else { "NOT the same trace twice" };
    println!("{}, seed {}: {verdict}", options.scenario, options.seed);
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{assert_holds, example};
    use super::*;

    #[test]
    fn the_line_says_whether_it_is_the_expected_run_beside_what_the_run_says() {
        let mut report = example();
        let alone = line(&report, None);
        assert_holds(&alone, &[]);
        assert!(alone.get("expected").is_none());
        for (ok, expected) in [(true, true), (true, false), (false, true)] {
            report.ok = ok;
            let line = line(&report, Some(expected));
            assert_holds(&line, &["expected"]);
            assert_eq!((&line["ok"], &line["expected"]), (&ok.into(), &expected.into()));
        }
    }
}
