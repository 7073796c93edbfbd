//! `plant`: in how many of many seeds the simulation finds each bug that was planted on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use chargemesh::planted::BUGS;

use super::children::{Job, Outcome, cores, run_all};
use super::sweep::{Progress, Seeds};
use crate::determinism::wall_s;
use crate::scenario::Scenario;

/// The scenario that a bug is looked for with, where it is another than [`SCENARIO`].
const SCENARIOS: &[(&str, &str)] = &[
    ("retry-not-joined", CHARGING),
    ("session-forgotten", CHARGING),
    ("release-not-sent", CHARGING),
    ("late-answer-dropped", CHARGING),
    ("cdr-dedupe-forgotten", CHARGING),
    ("outbox-forgotten", CHARGING),
    ("unheard-forgotten", CHARGING),
];

/// The same with drivers who charge.
const CHARGING: &str = "charge-small";

/// Small and quick, with every fault.
const SCENARIO: &str = "plant-small";

/// What `plant` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Bugs; all if none is named.
    names: Vec<String>,
    /// `7`, `1..100`, `3,5,8` or `random:300`.
    #[arg(long, default_value = "1..100")]
    seeds: Seeds,
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_parser = super::children::jobs)]
    jobs: Option<usize>,
    /// Another scenario than that which fits the bug.
    #[arg(long)]
    scenario: Option<String>,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

/// How often a bug was found, or, without a bug, a failure.
#[derive(Debug, Default)]
struct Found {
    runs: usize,
    found: usize,
    seeds: BTreeSet<u64>,
    invariants: BTreeMap<String, usize>,
    wall_s: f64,
}

/// Plants bugs and tells how often they are found. The exit code is 0 if each was found, and nothing was found
/// where none was planted.
pub(super) fn plant(options: &Options) -> Result<ExitCode> {
    ensure!(
        cfg!(feature = "planted"),
        "this program has no bugs to plant: build it with `--features planted`"
    );
    let known = |name: &String| BUGS.iter().any(|(other, _)| other == name);
    if let Some(unknown) = options.names.iter().find(|name| !known(name)) {
        let names = BUGS.map(|(name, _)| name).join(", ");
        bail!("there is no bug `{unknown}` to plant; there are: {names}");
    }
    let chosen = |name: &&str| options.names.is_empty() || options.names.iter().any(|other| other == name);
    let bugs: Vec<&str> = BUGS.iter().map(|(name, _)| *name).filter(chosen).collect();
    let scenario_of = |bug: &str| {
        let own =
            SCENARIOS.iter().find(|(other, _)| *other == bug).map_or(SCENARIO, |(_, scenario)| scenario);
        options.scenario.clone().unwrap_or_else(|| own.to_owned())
    };
    let mut scenarios: Vec<String> = bugs.iter().map(|bug| scenario_of(bug)).collect();
    scenarios.sort();
    scenarios.dedup();
    for scenario in &scenarios {
        Scenario::find(scenario)?;
    }
    let (mut table, mut right) = (Vec::new(), true);
    let mut without: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for scenario in scenarios {
        let found = look_for(&scenario, None, options, &BTreeSet::new());
        right &= found.found == 0;
        without.insert(scenario.clone(), found.seeds.clone());
        table.push((scenario, "(none)", found));
    }
    for bug in bugs {
        let scenario = scenario_of(bug);
        let found = look_for(&scenario, Some(bug), options, &without[&scenario]);
        right &= found.found > 0;
        table.push((scenario, bug, found));
    }
    print(&table);
    if options.json {
        println!("{}", json(&table));
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all seeds. One that fails `without` the bug is no find.
fn look_for(scenario: &str, bug: Option<&str>, options: &Options, without: &BTreeSet<u64>) -> Found {
    eprintln!("{}, {scenario}", bug.unwrap_or("no bug"));
    let job =
        |seed: &u64| Job { scenario: scenario.to_owned(), seed: *seed, plant: bug.map(ToOwned::to_owned) };
    let jobs = options.seeds.0.iter().map(job);
    let at_once = options.jobs.unwrap_or_else(cores);
    let mut progress = Progress::new(Some(options.seeds.0.len()), None);
    let begin_s = wall_s();
    let outcomes = run_all(jobs, at_once, None, |outcome| {
        // To find a planted bug is what is wanted: that is no line of its own.
        if bug.is_none() || outcome.result.is_err() {
            progress.tell(outcome)
        } else {
            progress.count(outcome)
        }
        true
    });
    progress.end();
    let mut found = Found { runs: outcomes.len(), wall_s: wall_s() - begin_s, ..Found::default() };
    let is_find = |outcome: &&Outcome| !outcome.ok() && !without.contains(&outcome.job.seed);
    for outcome in outcomes.iter().filter(is_find) {
        found.found += 1;
        found.seeds.insert(outcome.job.seed);
        for invariant in outcome.invariants() {
            *found.invariants.entry(invariant.to_owned()).or_default() += 1;
        }
    }
    found
}

fn print(table: &[(String, &str, Found)]) {
    println!("{:<22} {:<14} {:>12} {:>10} {:>9}  by", "bug", "scenario", "found", "first seed", "mean");
    for (scenario, bug, Found { runs, found, seeds, invariants, wall_s }) in table {
        let mut by: Vec<(&String, &usize)> = invariants.iter().collect();
        by.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let by: Vec<String> =
            by.into_iter().map(|(invariant, count)| format!("{invariant} {count}")).collect();
        let first = seeds.first().map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        let mean_s = wall_s / (*runs).max(1) as f64;
        println!(
            "{bug:<22} {scenario:<14} {:>12} {first:>10} {mean_s:>7.1} s  {}",
            format!("{found} of {runs}"),
            by.join(", ")
        );
    }
}

fn json(table: &[(String, &str, Found)]) -> serde_json::Value {
    let row = |(scenario, bug, found): &(String, &str, Found)| {
        let Found { runs, found, seeds, invariants, wall_s } = found;
        serde_json::json!({
            "bug": bug,
            "scenario": scenario,
            "runs": runs,
            "found": found,
            "first_seed": seeds.first(),
            "invariants": invariants,
            "mean_s": wall_s / (*runs).max(1) as f64,
        })
    };
    table.iter().map(row).collect()
}
