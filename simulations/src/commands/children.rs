//! Runs in child processes, some at once: libp2p numbers connections per process, so only the first run of a
//! process follows from its seed alone.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::again::again;
use crate::determinism::wall_s;
use crate::invariants::Violation;
use crate::report::Delivery;

/// Runs at once at most: each is a process, and has a thread that waits for it.
const JOBS_MAX: u64 = 1_000;

/// One run that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Name of a scenario or path of its file.
    pub(super) scenario: String,
    pub(super) seed: u64,
    /// The bug to plant.
    pub(super) plant: Option<String>,
}

/// What a run said in its last line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) scenario: String,
    pub(super) seed: u64,
    pub(super) ok: bool,
    pub(super) trace_hash: String,
    pub(super) events: u64,
    pub(super) sim_seconds: f64,
    pub(super) wall_seconds: f64,
    pub(super) rss_mb: f64,
    pub(super) delivery: Delivery,
    #[serde(default)]
    pub(super) latency_histogram: Vec<(u32, u64)>,
    pub(super) violations: Vec<Violation>,
}

/// What became of a job.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) job: Job,
    /// The error is one of the simulation itself: it could not start, or panicked.
    pub(super) result: Result<Line>,
}

impl Job {
    /// The command that runs it once more and tells everything.
    pub(super) fn again(&self) -> String {
        again("replay", &self.scenario, self.seed, self.plant.as_deref())
    }

    /// Runs it in a process of its own and waits for its end.
    ///
    /// # Errors
    /// If the simulation itself failed.
    pub(super) fn run(&self) -> Result<Line> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", &self.scenario, "--seed", &self.seed.to_string(), "--json", "--quiet"]);
        if let Some(bug) = &self.plant {
            command.args(["--plant", bug]);
        }
        let output = command.stdin(Stdio::null()).output().context("starting a run")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().filter(|line| line.starts_with('{'));
        let Some(last) = last else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint: Vec<&str> = complaint.lines().take(5).collect();
            bail!("the simulation itself failed, {}: {}", output.status, complaint.join(" | "));
        };
        serde_json::from_str(last).context("reading a run's last line")
    }
}

impl Outcome {
    /// Whether all invariants held.
    pub(super) fn ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|line| line.ok)
    }

    /// The invariants that did not hold, each once.
    pub(super) fn invariants(&self) -> Vec<&str> {
        let Ok(line) = &self.result else { return vec!["the-simulation-itself"] };
        let mut names: Vec<&str> = line.violations.iter().map(|violation| &*violation.invariant).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A whole number on the command line.
///
/// # Errors
/// If it is none, or not within its bounds: says these.
pub(super) fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be {least} to {most}"))
}

/// How many runs at once, on the command line.
///
/// # Errors
/// As [`whole`].
pub(super) fn jobs(text: &str) -> Result<usize, String> {
    whole(text, 1, JOBS_MAX).map(|jobs| jobs as usize)
}

/// Processors of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs jobs, `at_once` of them at a time, until there are no more, or no more time is left (in
/// [`wall_s`]), or `each`, which is told of every outcome, wants no more.
pub(super) fn run_all(
    jobs: impl Iterator<Item = Job> + Send,
    at_once: usize,
    until_s: Option<f64>,
    mut each: impl FnMut(&Outcome) -> bool,
) -> Vec<Outcome> {
    let jobs = Mutex::new(Some(jobs));
    let (done, outcomes) = mpsc::sync_channel(1);
    let next = || {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let late = until_s.is_some_and(|until_s| wall_s() >= until_s);
        if late { None } else { jobs.as_mut()?.next() }
    };
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(job) = next() {
                    let result = job.run();
                    if done.send(Outcome { job, result }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for outcome in outcomes {
            if !each(&outcome) {
                *jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            all.push(outcome);
        }
    });
    all
}
