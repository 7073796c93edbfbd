//! `sweep`: one scenario with many seeds.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, ensure};

use super::children::{Job, Outcome, cores, jobs, run_all};
use super::run::joined;
use super::summary::Summary;
use crate::determinism::wall_s;
use crate::scenario::{Scenario, Span};

/// Seeds are drawn below this: they must fit into a file of TOML, and are easier to read.
const SEED_MAX: u64 = 1 << 32;

/// Most seeds of one sweep.
const SEEDS_MAX: u64 = 1_000_000;

/// Seeds as text: `7`, `1..100` (both ends belong to it), `3,5,8`, `random:300`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(pub(super) Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let wrong = || format!("`{text}` are no seeds, such as 7, 1..100, 3,5,8 or random:300");
        let too_many = || format!("`{text}` are more than {SEEDS_MAX} seeds");
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let seeds = if let Some(count) = text.strip_prefix("random:") {
            let count = number(count)?;
            if count > SEEDS_MAX {
                return Err(too_many());
            }
            (0..count).map(|_| fresh_seed()).collect()
        } else if let Some((first, last)) = text.split_once("..") {
            let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
            if last.saturating_sub(first) >= SEEDS_MAX {
                return Err(too_many());
            }
            (first..=last).collect()
        } else {
            text.split(',').map(number).collect::<Result<_, _>>()?
        };
        Ok(Seeds(seeds)).and_then(|seeds| if seeds.0.is_empty() { Err(wrong()) } else { Ok(seeds) })
    }
}

/// A seed that nobody chose.
pub(super) fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds its hash maps from the system, and each differently.
    std::collections::hash_map::RandomState::new().build_hasher().finish() % SEED_MAX
}

/// What `sweep` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of a scenario or path of its file.
    scenario: String,
    /// `7`, `1..100`, `3,5,8` or `random:300`.
    #[arg(long, default_value = "1..100")]
    seeds: Seeds,
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_parser = jobs)]
    jobs: Option<usize>,
    /// No run is begun after this time.
    #[arg(long = "for", value_parser = span)]
    limit: Option<Span>,
    /// Ends with the first run that fails.
    #[arg(long)]
    stop_at_first: bool,
    /// The bug to plant; needs the feature `planted`.
    #[arg(long)]
    plant: Option<String>,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

/// A length of time on the command line.
///
/// # Errors
/// If it is none, or 0: nothing would be done.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let span = Span::try_from(text.to_owned())?;
    if span.0.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(span) }
}

/// Runs a scenario with many seeds.
pub(super) fn sweep(options: &Options) -> Result<ExitCode> {
    let scenario = Scenario::find(&options.scenario)?;
    let job =
        |seed: &u64| Job { scenario: options.scenario.clone(), seed: *seed, plant: options.plant.clone() };
    let jobs: Vec<Job> = options.seeds.0.iter().map(job).collect();
    ensure!(!jobs.is_empty(), "no seeds");
    let until_s = options.limit.map(|limit| wall_s() + limit.0.as_secs_f64());
    let mut progress = Progress::new(Some(jobs.len()), until_s);
    let outcomes = run_all(jobs.into_iter(), options.jobs.unwrap_or_else(cores), until_s, |outcome| {
        progress.tell(outcome);
        outcome.ok() || !options.stop_at_first
    });
    progress.end();
    let summary = Summary::new(outcomes);
    summary.print();
    if options.json {
        println!("{}", line(&scenario, &options.seeds, &summary));
    }
    Ok(summary.exit_code())
}

/// All runs in one line for other programs.
fn line(scenario: &Scenario, seeds: &Seeds, summary: &Summary) -> serde_json::Value {
    let which = serde_json::json!({ "scenario": scenario.name, "seeds": seeds.0.len() });
    joined(which, summary.json())
}

/// Tells how far a row of runs is: one line that is written over on a terminal, a line from time to time
/// elsewhere.
pub(super) struct Progress {
    all: Option<usize>,
    done: usize,
    failed: usize,
    begin_s: f64,
    until_s: Option<f64>,
    told_s: f64,
    terminal: bool,
}

impl Progress {
    /// `all`: how many runs there will be, if that is known; `until_s`: when no more are begun.
    pub(super) fn new(all: Option<usize>, until_s: Option<f64>) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { all, done: 0, failed: 0, begin_s: wall_s(), until_s, told_s: f64::MIN, terminal }
    }

    /// One run more is done. A failure is told at once.
    pub(super) fn tell(&mut self, outcome: &Outcome) {
        if !outcome.ok() {
            let Job { scenario, seed, .. } = &outcome.job;
            let clear = if self.terminal { "\r\x1b[K" } else { "" };
            let what = match &outcome.result {
                Ok(line) => line.violations.first().map_or("", |violation| &violation.what).to_owned(),
                Err(error) => format!("{error:#}"),
            };
            eprintln!("{clear}FAILED {scenario} --seed {seed}: {}: {what}", outcome.invariants().join(", "));
        }
        self.count(outcome);
    }

    /// One run more is done.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.done += 1;
        self.failed += usize::from(!outcome.ok());
        let every_s = if self.terminal { 0.2 } else { 10.0 };
        if wall_s() - self.told_s >= every_s {
            self.told_s = wall_s();
            let line = self.line();
            if self.terminal {
                eprint!("\r\x1b[K{line}");
            } else {
                eprintln!("{line}");
            }
        }
    }

    fn line(&self) -> String {
        let took_s = wall_s() - self.begin_s;
        let by_count = self.all.map(|all| took_s / self.done as f64 * all.saturating_sub(self.done) as f64);
        let by_time = self.until_s.map(|until_s| (until_s - wall_s()).max(0.0));
        let left_s = [by_count, by_time].into_iter().flatten().reduce(f64::min).unwrap_or(0.0);
        let of = self.all.map_or_else(String::new, |all| format!(" of {all}"));
        let Progress { done, failed, .. } = self;
        format!("{done}{of} runs, {failed} failed, {took_s:.0} s, {left_s:.0} s left")
    }

    /// No more runs.
    pub(super) fn end(&self) {
        let line = self.line();
        if self.terminal {
            eprintln!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_people_write_them() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("7").unwrap(), [7]);
        assert_eq!(seeds("1..4").unwrap(), [1, 2, 3, 4]);
        assert_eq!(seeds("3,5, 8").unwrap(), [3, 5, 8]);
        let drawn = seeds("random:20").unwrap();
        assert_eq!(drawn.len(), 20);
        assert!(drawn.iter().all(|seed| *seed < SEED_MAX));
        for wrong in ["", "x", "4..1", "1..", "random:", "random:0", "random:9999999", "1..9999999"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    /// The options as they come from the command line.
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        use clap::Parser as _;
        let read = |argument: &str| Program::try_parse_from(["sweep", "first", argument]);
        for good in ["--for=1ms", "--jobs=1", "--seeds=0"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for (argument, option, wanted) in [
            ("--for=0s", "'0s' for '--for <LIMIT>'", "must be more than 0"),
            ("--for=0d", "'0d' for '--for <LIMIT>'", "must be more than 0"),
            ("--for=-1s", "'-1s' for '--for <LIMIT>'", "is no length of time"),
            ("--jobs=0", "'0' for '--jobs <JOBS>'", "must be 1 to 1000"),
            ("--jobs=1001", "'1001' for '--jobs <JOBS>'", "must be 1 to 1000"),
            ("--seeds=random:0", "'random:0' for '--seeds <SEEDS>'", "are no seeds, such as 7, 1..100"),
            ("--seeds=random:1000001", "'random:1000001' for '--seeds", "more than 1000000 seeds"),
        ] {
            let error = read(argument).map(drop).unwrap_err().to_string();
            assert!(error.contains(option) && error.contains(wanted), "{argument}: {error}");
        }
    }

    #[test]
    fn the_line_holds_what_others_look_for() {
        let scenario = Scenario::find("first").unwrap();
        let line = line(&scenario, &Seeds(vec![1, 2, 3]), &Summary::new(Vec::new()));
        assert_eq!(
            (&line["scenario"], &line["seeds"], &line["runs"]),
            (&"first".into(), &3.into(), &0.into())
        );
        assert_eq!(line["ok"], false);
        for key in ["trace_hash", "events", "sim_seconds", "wall_seconds", "rss_mb"] {
            assert!(line.get(key).is_some_and(|value| !value.is_null()), "`{key}` is not in {line}");
        }
    }
}
