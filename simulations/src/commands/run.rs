//! `run` and `list`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::again::again;
use crate::charging::SessionsReport;
use crate::determinism;
use crate::report::{Delivery, Report, Sample, units};
use crate::run::Progress;
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
    let mut broken = 0;
    for scenario in scenario::each()? {
        match scenario {
            Ok(scenario) => {
                println!("{:<24} {:>5} nodes  {}", scenario.name, scenario.node_count(), scenario.about);
            }
            Err(error) => {
                broken += 1;
                eprintln!("error: {error:#}");
            }
        }
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Runs a scenario.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let mut scenario = Scenario::find(&options.scenario)?;
    plant(&mut scenario, options.plant.as_deref())?;
    let seed = options.seed.or(scenario.seed).unwrap_or(1);
    let terminal = std::io::stderr().is_terminal();
    let mut report = crate::run::run(scenario, seed, progress(options.quiet, terminal))?;
    report.again = again("run", &options.scenario, seed, options.plant.as_deref());
    if terminal && !options.quiet {
        // What is shown next takes the place of the last look.
        eprint!("\r\x1b[K");
    }
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    print(&report);
    if let Some(path) = &options.out {
        println!("  plots          `report {}` draws them", path.display());
    }
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

/// Seconds between two looks in a log, so that hours do not fill it.
const LOG_EVERY_S: f64 = 2.0;

/// Tells how far a run is: a terminal has one line that changes, a log has one now and then. What must not be
/// missed has a line of its own in both.
fn progress(quiet: bool, terminal: bool) -> Progress {
    let began_s = determinism::wall_s();
    let told_s = std::sync::Mutex::new(f64::NEG_INFINITY);
    Box::new(move |line: &str| {
        let wall_s = determinism::wall_s() - began_s;
        let is_look = line.ends_with("in sync");
        let mut told_s = told_s.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (quiet, terminal, is_look) {
            (true, _, _) => {}
            (false, true, true) => eprint!("\r\x1b[K{line}  [{wall_s:.0} s]"),
            (false, true, false) => eprintln!("\r\x1b[K{line}"),
            (false, false, true) if wall_s - *told_s < LOG_EVERY_S => {}
            (false, false, true) => {
                *told_s = wall_s;
                eprintln!("{line}  [{wall_s:.0} s]");
            }
            (false, false, false) => eprintln!("{line}"),
        }
    })
}

/// The run in one line for other programs.
pub(super) fn line(report: &Report) -> serde_json::Value {
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
        "sessions": report.sessions,
        "violations": report.violations,
    })
}

/// A line with the keys of another behind its own.
pub(super) fn joined(mut line: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    line
}

/// Text in a colour, where a person sees it.
fn coloured(text: &str, code: u8) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The run for people.
pub(super) fn print(report: &Report) {
    let Report { scenario, seed, nodes, trace_hash, .. } = report;
    let verdict = if report.ok { coloured("all invariants held", 32) } else { coloured("FAILED", 31) };
    println!("{scenario}, seed {seed}: {verdict}");
    let (events, rss) = (units::count(report.events), units::bytes(report.rss_mb * 1e6));
    println!("  world          {nodes} nodes, {events} events, trace {trace_hash}");
    let (sim_s, wall_s) = (report.sim_seconds, report.wall_seconds);
    println!("  time           {sim_s:.0} s of virtual time in {wall_s:.1} s, peak memory {rss}");
    println!("  loaded         {}", loaded(report.warm_up_s));
    println!("  faults         {}", faults(report));
    println!("  repaired       {}", repaired(report.repaired_s));
    let delivery = &report.delivery;
    let [p50, p90, p99, max] = [delivery.p50_ms, delivery.p90_ms, delivery.p99_ms, delivery.max_ms]
        .map(|ms| units::milliseconds(ms.into()));
    let deliveries = units::count(delivery.count);
    println!("  deliveries     {deliveries}: p50 {p50}, p90 {p90}, p99 {p99}, max {max}");
    if let Some(last) = report.samples.last() {
        let sent = units::bytes(last.bytes_sent as f64 / f64::from((*nodes).max(1)));
        let most = |of: fn(&Sample) -> u64| report.samples.iter().map(of).max().unwrap_or(0);
        let (node, bootstrap) =
            (most(|sample| sample.connections_max), most(|sample| sample.connections_bootstrap_max));
        println!("  network        {sent} sent by a node in the mean");
        let mean = report.connections_mean().unwrap_or_default();
        println!(
            "  connections    {mean:.1} at a node in the mean at the end, {node} at most, without bootstrap nodes; \
             {bootstrap} at a bootstrap node at most"
        );
    }
    if !report.revocations_ms.is_empty() {
        println!("  revocations    {}", revoked(&report.revocations_ms));
    }
    println!("  backend calls  {}", calls(report));
    if let Some(sessions) = &report.sessions {
        print_sessions(sessions);
    }
    print_violations(report);
}

/// Sessions: how they ended, how long each operation took, and who sees cards.
fn print_sessions(sessions: &SessionsReport) {
    let count = |counts: &std::collections::BTreeMap<String, u64>| {
        let texts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} x{count}")).collect();
        texts.join(", ")
    };
    println!("  sessions       {}; {}", count(&sessions.phases), agreed(sessions.agreed_s));
    let took = |took: &Delivery| {
        let [p50, p99, max] =
            [took.p50_ms, took.p99_ms, took.max_ms].map(|ms| units::milliseconds(ms.into()));
        format!("{:>5}: p50 {p50}, p99 {p99}, max {max}", units::count(took.count))
    };
    for operation in &sessions.operations {
        println!("    {:<36} {}; {}", operation.operation, took(&operation.took), count(&operation.codes));
    }
    if sessions.late_told.count > 0 {
        println!("    {:<36} {}", "late start told after the yes", took(&sessions.late_told));
    }
    if sessions.cdrs_given.count > 0 {
        println!("    {:<36} {}", "CDRs given to the EMP after the 000", took(&sessions.cdrs_given));
        println!("    {:<36} {}", "CDRs at the EMPs' nodes", count(&sessions.cdrs));
    }
    println!("    {} calls lost with their node, {} left out", sessions.lost, sessions.left_out);
    let cards = &sessions.cards;
    if cards.cards > 0 {
        println!(
            "  cards          {} in {} questions; {:.1} providers asked in each, a card is known to {:.1} in the mean, {} at most",
            cards.cards, cards.questions, cards.asked_mean, cards.seen_by_mean, cards.seen_by_max
        );
    }
}

fn loaded(warm_up_s: Option<f64>) -> String {
    warm_up_s.map_or_else(
        || "not everywhere before the warm-up was over".to_owned(),
        |s| format!("everywhere after {s:.1} s"),
    )
}

fn repaired(repaired_s: Option<f64>) -> String {
    repaired_s.map_or_else(
        || "not before the time to settle was over".to_owned(),
        |s| format!("{s:.1} s after the last fault or change"),
    )
}

fn agreed(agreed_s: Option<f64>) -> String {
    agreed_s.map_or_else(
        || "not agreed before the time to settle was over".to_owned(),
        |s| format!("agreed after {s:.1} s"),
    )
}

/// When revocations were known everywhere.
fn revoked(times_ms: &[Option<u64>]) -> String {
    let known: Vec<String> =
        times_ms.iter().flatten().map(|ms| format!("{:.1} s", *ms as f64 / 1_000.0)).collect();
    let unknown = times_ms.len() - known.len();
    let known = (!known.is_empty()).then(|| format!("known everywhere after {}", known.join(", ")));
    let unknown = (unknown > 0).then(|| format!("{unknown} not known everywhere"));
    known.into_iter().chain(unknown).collect::<Vec<_>>().join("; ")
}

/// The faults by kind.
fn faults(report: &Report) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for fault in &report.faults {
        *counts.entry(fault.kind).or_insert(0) += 1;
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(kind, count)| format!("{} x{count}", kind.label())).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// What became of the calls, without what did not happen.
fn calls(report: &Report) -> String {
    let counts = report.calls.as_object().into_iter().flatten();
    let counts = counts.filter_map(|(name, count)| Some((name, count.as_u64()?)));
    let some = counts.filter(|(_, count)| *count > 0);
    let texts: Vec<String> =
        some.map(|(name, count)| format!("{} {}", units::count(count), name.replace('_', " "))).collect();
    texts.join(", ")
}

fn print_violations(report: &Report) {
    if report.ok {
        return;
    }
    println!();
    for violation in &report.violations {
        let at_s = violation.at_ms as f64 / 1e3;
        println!("  {} at {at_s:.1} s: {}", coloured("VIOLATED", 31), violation.invariant);
        println!("    {}", violation.what);
    }
    println!("  again: {}", report.again);
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::children::Line;
    use super::*;

    /// What the line of every command holds.
    const KEYS: [&str; 8] =
        ["scenario", "seed", "ok", "trace_hash", "events", "sim_seconds", "wall_seconds", "rss_mb"];

    /// A run as it was once.
    pub(in crate::commands) fn example() -> Report {
        let path = crate::report::baseline::path_of("first");
        crate::report::baseline::read(&path).unwrap()
    }

    /// That a line is one, and holds what every line holds, and these keys.
    pub(in crate::commands) fn assert_holds(line: &serde_json::Value, more: &[&str]) {
        assert!(!line.to_string().contains('\n'), "{line}");
        for key in KEYS.iter().chain(more) {
            assert!(line.get(*key).is_some_and(|value| !value.is_null()), "`{key}` is not in {line}");
        }
    }

    #[test]
    fn a_line_holds_what_others_look_for_and_is_read_as_it_was_said() {
        let report = example();
        let said = line(&report);
        assert_holds(&said, &["nodes", "delivery", "violations"]);
        let read: Line = serde_json::from_value(said.clone()).unwrap();
        for (key, value) in serde_json::to_value(&read).unwrap().as_object().unwrap() {
            assert_eq!(*value, said[key], "{key}");
        }
        let more = joined(said, serde_json::json!({ "kept": "a.toml" }));
        assert_holds(&more, &["nodes", "kept"]);
    }

    #[test]
    fn what_did_not_happen_is_told_in_a_sentence() {
        assert_eq!(loaded(Some(2.5)), "everywhere after 2.5 s");
        assert_eq!(loaded(None), "not everywhere before the warm-up was over");
        assert_eq!(repaired(Some(0.5)), "0.5 s after the last fault or change");
        assert_eq!(repaired(None), "not before the time to settle was over");
        assert_eq!(agreed(Some(0.5)), "agreed after 0.5 s");
        assert_eq!(agreed(None), "not agreed before the time to settle was over");
        assert_eq!(
            revoked(&[Some(1_200), None, Some(900)]),
            "known everywhere after 1.2 s, 0.9 s; 1 not known everywhere"
        );
        assert_eq!(revoked(&[None]), "1 not known everywhere");
    }
}
