//! What many runs came to, for people and for programs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::children::{Job, Outcome};

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

    /// 0 if all runs were in order.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.failed().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
        let lines = self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
        for (bound, count) in lines.flat_map(|line| &line.latency_histogram) {
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
        let lines = self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
        lines.map(|line| line.delivery.max_ms).max().unwrap_or(0)
    }

    /// For people.
    pub(super) fn print(&self) {
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

    /// For programs, in one line.
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
            "ok": self.failed().next().is_none(),
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
    use super::*;

    #[test]
    fn quantiles_of_a_histogram() {
        let histogram = BTreeMap::from([(10, 50), (20, 40), (100, 10)]);
        assert_eq!([0.5, 0.9, 0.99].map(|share| quantile(&histogram, share)), [10, 20, 100]);
        assert_eq!(quantile(&BTreeMap::new(), 0.5), 0);
    }
}
