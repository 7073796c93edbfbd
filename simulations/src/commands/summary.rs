//! What many runs came to, for people and for programs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use sha2::{Digest as _, Sha256};

use super::children::{Job, Line, Outcome};

/// Failed runs that are told one by one, with the command that runs them again.
const FAILED_TOLD_MAX: usize = 50;

/// The outcomes of a row of runs.
pub(super) struct Summary {
    outcomes: Vec<Outcome>,
}

impl Summary {
    pub(super) fn new(mut outcomes: Vec<Outcome>) -> Summary {
        outcomes.sort_by(|a, b| (&a.job.scenario, a.job.seed).cmp(&(&b.job.scenario, b.job.seed)));
        Summary { outcomes }
    }

    /// The runs that failed.
    pub(super) fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.ok())
    }

    /// Whether all runs were in order. Where none was made, nothing is known.
    fn ok(&self) -> bool {
        !self.outcomes.is_empty() && self.failed().next().is_none()
    }

    /// 0 if all runs were in order, 1 if not, 2 if none was made.
    pub(super) fn exit_code(&self) -> ExitCode {
        match (self.ok(), self.outcomes.is_empty()) {
            (true, _) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(2),
        }
    }

    /// What the runs said, but for those that never came to it.
    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok())
    }

    /// Hash over those of all runs, in hex: the same runs give the same.
    fn trace_hash(&self) -> String {
        let mut all = Sha256::new();
        self.lines().for_each(|line| all.update(&line.trace_hash));
        all.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many runs broke each invariant, and the first of them.
    fn broken(&self) -> BTreeMap<&str, (usize, &Job)> {
        let mut broken: BTreeMap<&str, (usize, &Job)> = BTreeMap::new();
        for outcome in self.failed() {
            for invariant in outcome.invariants() {
                broken.entry(invariant).or_insert((0, &outcome.job)).0 += 1;
            }
        }
        broken
    }

    /// How many deliveries took up to that many milliseconds, over all runs.
    fn histogram(&self) -> BTreeMap<u32, u64> {
        let mut all = BTreeMap::new();
        for (bound, count) in self.lines().flat_map(|line| &line.latency_histogram) {
            *all.entry(*bound).or_default() += count;
        }
        all
    }

    fn slowest(&self) -> Option<(&Job, f64)> {
        let took = |outcome: &Outcome| outcome.result.as_ref().ok().map(|line| line.wall_seconds);
        let took = self.outcomes.iter().filter_map(|outcome| Some((&outcome.job, took(outcome)?)));
        took.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn delivery_max_ms(&self) -> u32 {
        self.lines().map(|line| line.delivery.max_ms).max().unwrap_or(0)
    }

    /// For people.
    pub(super) fn print(&self) {
        if self.outcomes.is_empty() {
            println!("no run was made, so nothing is known: give more time with --for");
            return;
        }
        let failed = self.failed().count();
        println!("{} runs: {} ok, {failed} failed", self.outcomes.len(), self.outcomes.len() - failed);
        let histogram = self.histogram();
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| quantile(&histogram, share));
        let count: u64 = histogram.values().sum();
        println!(
            "  {count} deliveries: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {} ms",
            self.delivery_max_ms()
        );
        if let Some((Job { scenario, seed, .. }, took_s)) = self.slowest() {
            println!("  slowest: {scenario} --seed {seed}, {took_s:.1} s");
        }
        for (invariant, (runs, Job { scenario, seed, .. })) in self.broken() {
            println!("  {invariant}: broken in {runs} runs, first {scenario} --seed {seed}");
        }
        for outcome in self.failed().take(FAILED_TOLD_MAX) {
            println!("  {}", outcome.job.again());
        }
        if failed > FAILED_TOLD_MAX {
            println!("  ... and {} more", failed - FAILED_TOLD_MAX);
        }
    }

    /// For programs, in one line. Events and times are those of all runs together, the memory is that of the run with
    /// most.
    pub(super) fn json(&self) -> serde_json::Value {
        let histogram = self.histogram();
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| quantile(&histogram, share));
        let broken = self.broken().into_iter().map(|(invariant, (runs, job))| {
            let Job { scenario, seed, .. } = job;
            let first = serde_json::json!({ "scenario": scenario, "seed": seed });
            (invariant.to_owned(), serde_json::json!({ "runs": runs, "first": first }))
        });
        let failed = self.failed().map(|outcome| {
            let Job { scenario, seed, .. } = &outcome.job;
            serde_json::json!({
                "scenario": scenario,
                "seed": seed,
                "invariants": outcome.invariants(),
                "trace_hash": outcome.result.as_ref().map(|line| &*line.trace_hash).unwrap_or_default(),
                "replay": outcome.job.again(),
            })
        });
        serde_json::json!({
            "runs": self.outcomes.len(),
            "ok": self.ok(),
            "trace_hash": self.trace_hash(),
            "events": self.lines().map(|line| line.events).sum::<u64>(),
            "sim_seconds": self.lines().map(|line| line.sim_seconds).sum::<f64>(),
            "wall_seconds": self.lines().map(|line| line.wall_seconds).sum::<f64>(),
            "rss_mb": self.lines().map(|line| line.rss_mb).fold(0.0, f64::max),
            "delivery": { "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": self.delivery_max_ms() },
            "slowest_s": self.slowest().map(|(_, took_s)| took_s),
            "broken": broken.collect::<serde_json::Map<_, _>>(),
            "failed": failed.collect::<Vec<_>>(),
        })
    }
}

/// The bound below which this share of a histogram lies.
fn quantile(histogram: &BTreeMap<u32, u64>, share: f64) -> u32 {
    let count: u64 = histogram.values().sum();
    let wanted = (count as f64 * share).ceil() as u64;
    let mut so_far = 0;
    let reached = histogram.iter().find(|(_, count)| {
        so_far += **count;
        so_far >= wanted
    });
    reached.map_or(0, |(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    /// A run that said something, with these changes; `None`: the simulation itself failed.
    fn outcome(seed: u64, change: Option<&dyn Fn(&mut Line)>) -> Outcome {
        let said = serde_json::from_value(super::super::run::line(&example()));
        let mut line: Line = said.unwrap();
        line.seed = seed;
        let job = Job { scenario: line.scenario.clone(), seed, plant: None };
        let result = match change {
            Some(change) => {
                change(&mut line);
                Ok(line)
            }
            None => Err(anyhow::anyhow!("no memory")),
        };
        Outcome { job, result }
    }

    #[test]
    fn many_runs_are_added_up() {
        let small = |line: &mut Line| (line.events, line.sim_seconds, line.rss_mb) = (10, 1.5, 30.0);
        let large = |line: &mut Line| (line.events, line.sim_seconds, line.rss_mb) = (5, 2.0, 90.0);
        let all = Summary::new(vec![outcome(1, Some(&small)), outcome(2, Some(&large))]).json();
        assert_eq!((&all["ok"], &all["runs"], &all["events"]), (&true.into(), &2.into(), &15.into()));
        assert_eq!((&all["sim_seconds"], &all["rss_mb"]), (&3.5.into(), &90.0.into()));
        // In the order of seeds, whichever ended first.
        let again = Summary::new(vec![outcome(2, Some(&large)), outcome(1, Some(&small))]).json();
        assert_eq!(all["trace_hash"], again["trace_hash"]);
        let other = |line: &mut Line| line.trace_hash = "0".repeat(16);
        let other = Summary::new(vec![outcome(1, Some(&small)), outcome(2, Some(&other))]).json();
        assert_ne!(all["trace_hash"], other["trace_hash"]);
    }

    #[test]
    fn only_runs_that_were_made_and_held_are_in_order() {
        let held = || outcome(1, Some(&|_| {}));
        let broke = || outcome(2, Some(&|line| line.ok = false));
        for (what, outcomes, ok, code) in [
            ("held", vec![held()], true, ExitCode::SUCCESS),
            ("one broke", vec![held(), broke()], false, ExitCode::FAILURE),
            ("the simulation failed", vec![held(), outcome(3, None)], false, ExitCode::FAILURE),
            ("none was made", Vec::new(), false, ExitCode::from(2)),
        ] {
            let summary = Summary::new(outcomes);
            assert_eq!(summary.json()["ok"], ok, "{what}");
            // Exit codes are not comparable.
            assert_eq!(format!("{:?}", summary.exit_code()), format!("{code:?}"), "{what}");
        }
    }

    #[test]
    fn quantiles_of_a_histogram() {
        let histogram = BTreeMap::from([(10, 50), (20, 40), (100, 10)]);
        assert_eq!([0.5, 0.9, 0.99].map(|share| quantile(&histogram, share)), [10, 20, 100]);
        assert_eq!(quantile(&BTreeMap::new(), 0.5), 0);
    }
}
