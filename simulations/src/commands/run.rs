//! `run` and `list`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::report::Report;
use crate::scenario::{self, Scenario};

/// What `run` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of a scenario or regression, or path of its file.
    scenario: String,
    /// Everything follows from it.
    #[arg(long)]
    seed: Option<u64>,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
    /// Writes the whole report, for `report`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// No progress.
    #[arg(long)]
    quiet: bool,
    /// The bug to plant; needs the feature `planted`.
    #[arg(long)]
    plant: Option<String>,
}

/// Prints the scenarios.
pub(super) fn list() -> Result<ExitCode> {
    for scenario in scenario::all()? {
        println!("{:<24} {:>5} nodes  {}", scenario.name, scenario.node_count(), scenario.about);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a scenario.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let mut scenario = Scenario::find(&options.scenario)?;
    plant(&mut scenario, options.plant.as_deref())?;
    let seed = options.seed.or(scenario.seed).unwrap_or(1);
    let (quiet, terminal) = (options.quiet, std::io::stderr().is_terminal());
    let progress = Box::new(move |line: &str| match (quiet, terminal && !line.starts_with("VIOLATED")) {
        (true, _) => {}
        (false, true) => eprint!("\r\x1b[K{line}"),
        (false, false) => eprintln!("{line}"),
    });
    let report = crate::run::run(scenario, seed, progress)?;
    if terminal && !quiet {
        eprintln!();
    }
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    print(&report);
    if options.json {
        println!("{}", line(&report));
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Switches a bug on, if one is named; the report then says so.
///
/// # Errors
/// If there is no such bug, or this program has none.
pub(super) fn plant(scenario: &mut Scenario, bug: Option<&str>) -> Result<()> {
    scenario.planted = bug.map(ToOwned::to_owned);
    Ok(bug.map(chargemesh::planted::plant).transpose().map(drop)?)
}

/// The run in one line for other programs.
fn line(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "scenario": report.scenario,
        "seed": report.seed,
        "ok": report.ok,
        "trace_hash": report.trace_hash,
        "events": report.events,
        "sim_seconds": report.sim_seconds,
        "wall_seconds": report.wall_seconds,
        "rss_mb": report.rss_mb,
        "nodes": report.nodes,
        "warm_up_s": report.warm_up_s,
        "repaired_s": report.repaired_s,
        "delivery": report.delivery,
        "latency_histogram": report.latency_histogram,
        "calls": report.calls,
        "violations": report.violations,
    })
}

/// The run for people.
pub(super) fn print(report: &Report) {
    let Report { scenario, seed, nodes, trace_hash, events, .. } = report;
    println!("{scenario}, seed {seed}: {}", if report.ok { "all invariants held" } else { "FAILED" });
    println!("  {nodes} nodes, {events} events, trace {trace_hash}");
    let (sim_s, wall_s, rss_mb) = (report.sim_seconds, report.wall_seconds, report.rss_mb);
    println!("  {sim_s:.0} s of virtual time in {wall_s:.1} s, {rss_mb:.0} MB");
    let seconds = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |s| format!("{s:.1} s"));
    println!(
        "  loaded everywhere after {}, repaired after {}",
        seconds(report.warm_up_s),
        seconds(report.repaired_s)
    );
    let delivery = &report.delivery;
    println!(
        "  {} deliveries: p50 {} ms, p99 {} ms, max {} ms",
        delivery.count, delivery.p50_ms, delivery.p99_ms, delivery.max_ms
    );
    println!("  calls of backends: {}", report.calls);
    for violation in &report.violations {
        println!(
            "  VIOLATED at {:.1} s: {}: {}",
            violation.at_ms as f64 / 1e3,
            violation.invariant,
            violation.what
        );
    }
    if !report.ok {
        println!(
            "  again: cargo run --release --manifest-path simulations/Cargo.toml -- run {scenario} --seed {seed}"
        );
    }
}
