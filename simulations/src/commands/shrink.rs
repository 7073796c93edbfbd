//! `shrink`: a failing run is made as small as it can be while it still breaks the same invariant, and kept
//! in `regressions/`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::children::{Job, Line, cores, jobs, run_all, whole};
use super::run::joined;
use super::sweep::span;
use crate::charging::Play;
use crate::determinism::wall_s;
use crate::scenario::{REGRESSIONS, Scenario, Span};
use crate::schedule::{Act, Entry, draw};
use crate::world::World;

/// Faults are not made shorter than this, in milliseconds.
const FAULT_MS_MIN: u64 = 250;

/// Most runs that can be asked for.
const TRIES_MAX: u64 = 1_000_000;

/// What `shrink` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of a scenario or path of its file.
    scenario: String,
    /// The seed that fails.
    #[arg(long, value_parser = seed)]
    seed: u64,
    /// The bug to plant; needs the feature `planted`.
    #[arg(long)]
    plant: Option<String>,
    /// The invariant that must stay broken; the first that breaks if not given.
    #[arg(long)]
    invariant: Option<String>,
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_parser = jobs)]
    jobs: Option<usize>,
    /// Most runs.
    #[arg(long, default_value_t = 400, value_parser = tries)]
    tries: usize,
    /// Longest time.
    #[arg(long = "for", value_parser = span, default_value = "20m")]
    limit: Span,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

/// A seed on the command line that fits into a file of TOML.
fn seed(text: &str) -> Result<u64, String> {
    whole(text, 0, i64::MAX.unsigned_abs())
}

fn tries(text: &str) -> Result<usize, String> {
    whole(text, 1, TRIES_MAX).map(|tries| tries as usize)
}

/// Shrinks a failing run.
pub(super) fn shrink(options: &Options) -> Result<ExitCode> {
    let job = Job { scenario: options.scenario.clone(), seed: options.seed, plant: options.plant.clone() };
    let limits = ShrinkLimits {
        at_once: options.jobs.unwrap_or_else(cores),
        tries: options.tries,
        until_s: wall_s() + options.limit.0.as_secs_f64(),
    };
    let kept = shrink_to_file(&job, options.invariant.clone(), limits)?;
    println!("kept as {}; delete it if it is of no use", kept.path.display());
    let name = kept.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    println!("again: {}", Job { scenario: name, ..job }.again());
    if options.json {
        println!("{}", kept.json()?);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is left of a failing run.
pub(super) struct Kept {
    /// The file, in `regressions/`.
    pub(super) path: PathBuf,
    /// What it still breaks.
    invariant: String,
    /// Entries of its schedule.
    entries: usize,
    /// Runs that it took.
    tried: usize,
    /// What the run with this schedule said.
    line: Line,
}

impl Kept {
    /// The run that is kept in one line for other programs.
    fn json(&self) -> Result<serde_json::Value> {
        let Kept { path, invariant, entries, tried, line } = self;
        let kept = serde_json::json!({
            "invariant": invariant,
            "kept": path.display().to_string(),
            "entries": entries,
            "tries": tried,
        });
        Ok(joined(serde_json::to_value(line)?, kept))
    }
}

/// How much may be spent.
#[derive(Clone, Copy)]
pub(super) struct ShrinkLimits {
    pub(super) at_once: usize,
    pub(super) tries: usize,
    /// In [`wall_s`].
    pub(super) until_s: f64,
}

/// Shrinks a failing run and writes what is left into `regressions/`.
///
/// # Errors
/// If it does not fail, or the simulation itself does.
pub(super) fn shrink_to_file(job: &Job, invariant: Option<String>, limits: ShrinkLimits) -> Result<Kept> {
    let line = job.run()?;
    let first = line.violations.first().map(|violation| violation.invariant.clone());
    let Some(invariant) = invariant.or(first) else {
        bail!("{} with seed {} breaks no invariant", job.scenario, job.seed);
    };
    let mut scenario = Scenario::find(&job.scenario)?;
    let schedule = match scenario.schedule.take() {
        Some(schedule) => schedule,
        None => draw(&scenario, job.seed, &World::new(scenario.clone(), job.seed)?.evses_of()),
    };
    // What is a regression already keeps its name.
    if scenario.seed.is_none() {
        let bug = job.plant.as_ref().map_or_else(String::new, |bug| format!("-{bug}"));
        scenario.about = format!("{} with seed {} broke {invariant}; shrunk.", scenario.name, job.seed);
        scenario.name = format!("{}-{}-{invariant}{bug}", scenario.name, job.seed);
    }
    scenario.seed = Some(job.seed);
    scenario.planted.clone_from(&job.plant);
    let begin_s = wall_s();
    let mut shrinking = Shrinking { job, invariant, scenario, schedule, line, limits, tried: 0, begin_s };
    let Some(line) = shrinking.fails(&[shrinking.schedule.clone()])?.into_iter().flatten().next() else {
        bail!("with its schedule spelled out it does not break {} any more", shrinking.invariant);
    };
    shrinking.line = line;
    shrinking.entries()?;
    shrinking.parts()?;
    shrinking.entries()?;
    shrinking.keep()
}

struct Shrinking<'j> {
    job: &'j Job,
    invariant: String,
    scenario: Scenario,
    schedule: Vec<Entry>,
    /// What the run with this schedule said.
    line: Line,
    limits: ShrinkLimits,
    tried: usize,
    begin_s: f64,
}

impl Shrinking<'_> {
    fn is_over(&self) -> bool {
        self.tried >= self.limits.tries || wall_s() >= self.limits.until_s
    }

    /// Runs with each of these schedules, and gives what those said that still break the invariant.
    fn fails(&mut self, schedules: &[Vec<Entry>]) -> Result<Vec<Option<Line>>> {
        let directory = std::env::temp_dir().join(format!("chargemesh-shrink-{}", std::process::id()));
        std::fs::create_dir_all(&directory).context("making a directory for what is tried")?;
        let mut jobs = Vec::new();
        for (number, schedule) in schedules.iter().enumerate() {
            let path = directory.join(format!("{number}.toml"));
            write(&path, &self.scenario, schedule, "")?;
            jobs.push(Job { scenario: path.display().to_string(), ..self.job.clone() });
        }
        let paths: Vec<String> = jobs.iter().map(|job| job.scenario.clone()).collect();
        let outcomes = run_all(jobs.into_iter(), self.limits.at_once, None, |_| true);
        self.tried += outcomes.len();
        let of = |path: &String| outcomes.iter().find(|outcome| outcome.job.scenario == *path);
        let fails = paths.iter().map(|path| {
            let outcome = of(path)?;
            let breaks = outcome.invariants().contains(&self.invariant.as_str());
            outcome.result.as_ref().ok().filter(|_| breaks).cloned()
        });
        let fails = fails.collect();
        std::fs::remove_dir_all(&directory).context("removing what was tried")?;
        Ok(fails)
    }

    /// Takes the first of these schedules that still breaks the invariant, and gives its number.
    fn take_first(&mut self, candidates: Vec<Vec<Entry>>) -> Result<Option<usize>> {
        for (group, candidates) in candidates.chunks(self.limits.at_once.max(1)).enumerate() {
            if self.is_over() {
                return Ok(None);
            }
            let fails = self.fails(candidates)?;
            if let Some((at, line)) = fails.into_iter().enumerate().find_map(|(at, line)| Some((at, line?))) {
                self.schedule.clone_from(&candidates[at]);
                self.line = line;
                self.tell();
                return Ok(Some(group * self.limits.at_once.max(1) + at));
            }
        }
        Ok(None)
    }

    fn tell(&self) {
        let (tried, took_s) = (self.tried, wall_s() - self.begin_s);
        let faults = self.schedule.iter().filter(|entry| entry.act.is_fault()).count();
        let work = self.schedule.len() - faults;
        eprintln!("{tried} tries, {took_s:.0} s: {faults} faults and {work} pushes are left");
    }

    /// Leaves out entries: halves first, then quarters, at last single ones.
    fn entries(&mut self) -> Result<()> {
        let only = |faults: bool| -> Vec<Entry> {
            self.schedule.iter().filter(|entry| entry.act.is_fault() == faults).cloned().collect()
        };
        self.take_first(vec![Vec::new(), only(true), only(false)])?;
        let mut size = self.schedule.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.schedule.len() && !self.is_over() {
                let starts: Vec<usize> = (from..self.schedule.len()).step_by(size).collect();
                let without = |start: &usize| {
                    let end = (start + size).min(self.schedule.len());
                    [&self.schedule[..*start], &self.schedule[end..]].concat()
                };
                let candidates = starts.iter().map(without).collect();
                // What was left out moves the rest to its place.
                match self.take_first(candidates)? {
                    Some(number) => from = starts[number],
                    None => break,
                }
            }
            if size == 1 || self.is_over() {
                return Ok(());
            }
            size = size.div_ceil(2);
        }
    }

    /// Makes what is left smaller: shorter faults, fewer changes in a push.
    fn parts(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.schedule.len() && !self.is_over() {
            let with = |act: Act| {
                let mut schedule = self.schedule.clone();
                schedule[at].act = act;
                schedule
            };
            let candidates: Vec<_> = smaller(&self.schedule[at].act).into_iter().map(with).collect();
            if self.take_first(candidates)?.is_none() {
                at += 1;
            }
        }
        Ok(())
    }

    fn keep(self) -> Result<Kept> {
        std::fs::create_dir_all(REGRESSIONS).context("making the directory of regressions")?;
        let path = Path::new(REGRESSIONS).join(format!("{}.toml", self.scenario.name));
        let Shrinking { job: Job { scenario, seed, plant }, invariant, tried, .. } = &self;
        let bug = plant.as_ref().map_or_else(String::new, |bug| format!(", with the bug `{bug}` planted"));
        let comment = format!(
            "# {scenario} with seed {seed}{bug} broke `{invariant}`: what was left of its schedule after {tried} runs.\n"
        );
        write(&path, &self.scenario, &self.schedule, &comment)?;
        let Shrinking { invariant, schedule, tried, line, .. } = self;
        Ok(Kept { path, invariant, entries: schedule.len(), tried, line })
    }
}

/// Smaller forms of one act, the smallest first.
fn smaller(act: &Act) -> Vec<Act> {
    let lasts_ms = act.lasts_ms();
    let mut all: Vec<Act> = [lasts_ms / 8, lasts_ms / 2]
        .into_iter()
        .filter(|ms| *ms >= FAULT_MS_MIN)
        .map(|shorter_ms| with_length(act.clone(), shorter_ms))
        .collect();
    match act.clone() {
        Act::Partition { kind, nodes, lasts_ms } => {
            all.extend(halves(&nodes).into_iter().map(|nodes| Act::Partition { kind, nodes, lasts_ms }));
        }
        Act::Status { operator, changes } => {
            all.extend(halves(&changes).into_iter().map(|changes| Act::Status { operator, changes }));
        }
        Act::Update { operator, evses, version } => {
            all.extend(halves(&evses).into_iter().map(|evses| Act::Update { operator, evses, version }));
        }
        Act::Delete { operator, evses } => {
            all.extend(halves(&evses).into_iter().map(|evses| Act::Delete { operator, evses }));
        }
        Act::Insert { operator, evses, version } => {
            all.extend(halves(&evses).into_iter().map(|evses| Act::Insert { operator, evses, version }));
        }
        Act::Start(start) if !start.play.is_usual() || start.hangs_up_ms.is_some() => {
            all.push(Act::Start(crate::charging::Start { play: Play::Yes, hangs_up_ms: None, ..start }));
        }
        Act::Stop { charge, stranger, play } if !play.is_usual() => {
            all.push(Act::Stop { charge, stranger, play: Play::Yes });
        }
        Act::Notify { charge, kind, stranger, play } if !play.is_usual() => {
            all.push(Act::Notify { charge, kind, stranger, play: Play::Yes });
        }
        Act::Cdr { charge, other, play } if !play.is_usual() => {
            all.push(Act::Cdr { charge, other, play: Play::Yes });
        }
        Act::Crash { .. }
        | Act::SlowLink { .. }
        | Act::Checkpoint { .. }
        | Act::Revoke { .. }
        | Act::Renew { .. }
        | Act::Start(_)
        | Act::Again { .. }
        | Act::Stop { .. }
        | Act::Notify { .. }
        | Act::Cdr { .. } => {}
    }
    all
}

/// A fault that lasts another time.
fn with_length(mut act: Act, ms: u64) -> Act {
    if let Act::Crash { down_ms: lasts_ms, .. }
    | Act::Partition { lasts_ms, .. }
    | Act::SlowLink { lasts_ms, .. } = &mut act
    {
        *lasts_ms = ms;
    }
    act
}

/// The first and the second half of a list; nothing if it has only one item.
fn halves<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    if list.len() < 2 {
        return Vec::new();
    }
    let (first, second) = list.split_at(list.len() / 2);
    vec![first.to_vec(), second.to_vec()]
}

fn write(path: &Path, scenario: &Scenario, schedule: &[Entry], comment: &str) -> Result<()> {
    let scenario = Scenario { schedule: Some(schedule.to_vec()), ..scenario.clone() };
    let text = toml::to_string(&scenario).context("writing the scenario as TOML")?;
    std::fs::write(path, format!("{comment}{text}")).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_with_its_schedule_survives_a_file() {
        let mut scenario = Scenario::find("chaos-20").unwrap();
        let schedule = draw(&scenario, 7, &[20; 8]);
        scenario.seed = Some(7);
        let path = std::env::temp_dir().join(format!("chargemesh-shrink-test-{}.toml", std::process::id()));
        write(&path, &scenario, &schedule, "# A comment.\n").unwrap();
        let read = Scenario::find(&path.display().to_string()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, Scenario { schedule: Some(schedule), file: path, ..scenario });
    }

    #[test]
    fn every_smaller_act_is_smaller() {
        let status = Act::Status { operator: 1, changes: vec![(1, 1), (2, 2), (3, 3)] };
        assert_eq!(smaller(&status).len(), 2);
        assert!(smaller(&Act::Status { operator: 1, changes: vec![(1, 1)] }).is_empty());
        let crash = Act::Crash { node: 1, kind: crate::scenario::Death::Power, down_ms: 8_000 };
        assert!(smaller(&crash).iter().all(|act| act.lasts_ms() < 8_000));
    }

    #[test]
    fn the_line_holds_the_run_that_is_kept() {
        use super::super::run::{line, tests};
        let mut line: Line = serde_json::from_value(line(&tests::example())).unwrap();
        line.ok = false;
        let path = Path::new(REGRESSIONS).join("a.toml");
        let kept =
            Kept { path: path.clone(), invariant: "converged".to_owned(), entries: 3, tried: 40, line };
        let line = kept.json().unwrap();
        tests::assert_holds(&line, &["invariant", "kept", "entries", "tries"]);
        assert_eq!((&line["ok"], &line["entries"]), (&false.into(), &3.into()));
        assert_eq!(line["kept"], path.display().to_string());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            options: Options,
        }
        for (seed, other, wanted) in [
            ("--seed=-1", "--tries=1", "'-1' for '--seed <SEED>': must be 0 to 9223372036854775807"),
            ("--seed=9223372036854775808", "--tries=1", "for '--seed <SEED>': must be 0 to"),
            ("--seed=7", "--tries=0", "'0' for '--tries <TRIES>': must be 1 to 1000000"),
            ("--seed=7", "--for=0m", "'0m' for '--for <LIMIT>': must be more than 0"),
            ("--seed=7", "--jobs=0", "'0' for '--jobs <JOBS>': must be 1 to"),
        ] {
            let error = Program::try_parse_from(["shrink", "first", seed, other]).map(drop).unwrap_err();
            assert!(error.to_string().contains(wanted), "{seed} {other}: {error}");
        }
        let good = ["shrink", "first", "--seed=7", "--tries=1", "--for=1s", "--jobs=1", "--json"];
        assert!(Program::try_parse_from(good).is_ok());
    }
}
