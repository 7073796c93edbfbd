//! One run: build, load, let happen, settle, judge.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::determinism::{self, elapsed};
use crate::healing::Healing;
use crate::invariants::{self, Past, Violation};
use crate::observe::{Seen, look};
use crate::report::{NodeTotals, Report, Sample, delivery, faults, histogram};
use crate::scenario::{OneCut, Scenario, Span, check_evses};
use crate::schedule::{Entry, draw};
use crate::world::{Part, World};

/// How often equality is looked for while it is awaited: this is how exactly it is dated.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The last part of settling, in which no node should need another connection, in milliseconds.
const QUIET_MS: u64 = 20_000;

/// The first part, in which they may still look for others.
const LEAST_SETTLED: Duration = Duration::from_secs(10);

/// Stack of the simulation's thread: many nodes' futures are polled on it.
const STACK_BYTES: usize = 64 << 20;

/// Tells how far a run is.
pub(crate) type Progress = Box<dyn Fn(&str) + Send>;

/// Runs a scenario on a thread of its own, for chance and clocks are the thread's. Only the first run of a
/// process follows from its seed alone: libp2p numbers connections per process.
///
/// # Errors
/// If the simulation itself fails; that an invariant does not hold is no error.
pub(crate) fn run(scenario: Scenario, seed: u64, progress: Progress) -> Result<Report> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let file = scenario.file.clone();
    let thread = thread.spawn(move || {
        determinism::enter(seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(async {
            determinism::start_clock();
            // A task, so that it takes its turn like all others.
            tokio::spawn(simulate(scenario, seed, progress)).await.context("the simulation panicked")?
        })
    })?;
    let outcome = thread.join().map_err(|_| anyhow::anyhow!("the simulation's thread panicked"))?;
    // What a node says of its settings is said of those in the scenario.
    outcome.with_context(|| format!("in {}", file.display()))
}

struct Run {
    world: World,
    past: Past,
    samples: Vec<Sample>,
    violations: Vec<Violation>,
    progress: Progress,
    /// Time from the end of all faults and calls until both sides agreed on every session.
    agreed_s: Option<f64>,
    /// Since the last fault that was over, while no other began.
    healing: Option<Healing>,
    /// What had been written at the look before, where a cut is to be felt.
    before: Option<Healing>,
    /// When somebody had not what had been written at the look before, in seconds.
    behind_at_s: Vec<f64>,
}

async fn simulate(scenario: Scenario, seed: u64, progress: Progress) -> Result<Report> {
    let wall_s = determinism::wall_s();
    let planted = scenario.planted.clone();
    let world = World::new(scenario, seed)?;
    let past = Past::default();
    let mut run = Run {
        world,
        past,
        samples: Vec::new(),
        violations: Vec::new(),
        progress,
        agreed_s: None,
        healing: None,
        before: None,
        behind_at_s: Vec::new(),
    };
    let warm_up_s = run.warm_up().await?;
    let schedule = match &run.world.scenario.schedule {
        Some(kept) => {
            check_evses(kept, &run.world.evses_of())?;
            kept.clone()
        }
        None => draw(&run.world.scenario, seed, &run.world.evses_of()),
    };
    let work_from_s = elapsed().as_secs_f64();
    run.happen(&schedule).await?;
    // What is spelled out may have lost its cut when it was shrunk.
    if let (Some(cut), None) = (run.world.scenario.faults.cut, &run.world.scenario.schedule)
        && !was_felt(cut, work_from_s, &run.behind_at_s)
    {
        let what =
            "at every look while the network was cut everybody had what had been written at the look before";
        run.violate("cut-was-felt", what.to_owned());
    }
    let (repaired_s, seen) = run.settle().await?;
    let held = crate::charging::invariants::held(run.world.honest()).await?;
    let cdrs = crate::charging::cdrs::stored(run.world.honest()).await?;
    let (phases, cdrs) = (crate::charging::invariants::phases(&held), crate::charging::cdrs::states(&cdrs));
    let sessions = run.world.charges.report(phases, cdrs, run.agreed_s);
    let (trace_hash, events) = run.world.trace.hash();
    let (latencies_ms, missed) = run.world.deliveries.latencies_ms();
    if missed > 0 {
        (run.progress)(&format!("{missed} pieces of changes came too fast to be measured"));
    }
    let totals = |node: &crate::observe::NodeSeen| NodeTotals {
        node: node.number,
        role: node.part.into(),
        bytes_sent: node.traffic.bytes_sent,
        connections: node.traffic.open,
    };
    let scenario = &run.world.scenario;
    Ok(Report {
        scenario: scenario.name.clone(),
        seed,
        ok: run.violations.is_empty(),
        trace_hash: format!("{trace_hash:016x}"),
        events,
        sim_seconds: elapsed().as_secs_f64(),
        wall_seconds: determinism::wall_s() - wall_s,
        rss_mb: determinism::peak_rss_mb(),
        nodes: scenario.node_count(),
        warm_up_s,
        repaired_s,
        revocations_ms: run.world.revocation_times(),
        calls: serde_json::to_value(seen.calls)?,
        sessions,
        delivery: delivery(&latencies_ms),
        latency_histogram: histogram(&latencies_ms),
        samples: run.samples,
        totals: seen.nodes.iter().map(totals).collect(),
        faults: faults::spans(&schedule, work_from_s),
        work_s: Some((work_from_s, work_from_s + scenario.duration.0.as_secs_f64())),
        violations: run.violations,
        planted,
        again: String::new(),
    })
}

impl Run {
    /// Everything is started and published, and everybody has it.
    async fn warm_up(&mut self) -> Result<Option<f64>> {
        self.world.start().await?;
        let loaded = elapsed();
        self.world.load().await?;
        let (equal, seen) = self.until_equal(self.world.scenario.warm_up).await?;
        self.past.full_loads = seen.full_loads();
        let took_s = equal.map(|at| (at - loaded).as_secs_f64());
        match took_s {
            Some(took_s) => (self.progress)(&format!("loaded everywhere after {took_s:.1} s")),
            None => {
                let what = format!("not everybody had everything after {}", self.world.scenario.warm_up);
                self.violate("loaded-everywhere", what);
            }
        }
        self.world.deliveries.begin();
        Ok(took_s)
    }

    fn violate(&mut self, invariant: &str, what: String) {
        let at_ms = elapsed().as_millis() as u64;
        self.add([Violation { invariant: invariant.to_owned(), at_ms, what }]);
    }

    /// What does not hold at one look seldom holds at the next: each invariant is told once, when it breaks.
    fn add(&mut self, violations: impl IntoIterator<Item = Violation>) {
        for violation in violations {
            if self.violations.iter().all(|told| told.invariant != violation.invariant) {
                (self.progress)(&format!("VIOLATED {}: {}", violation.invariant, violation.what));
                self.violations.push(violation);
            }
        }
    }

    async fn look(&mut self) -> Result<Seen> {
        let seen = look(&mut self.world).await?;
        let violations = invariants::always(&seen, &mut self.past, &self.world.scenario.limits);
        self.add(violations);
        let (all, same) = seen.in_sync();
        let open = |bootstrap: bool| {
            let nodes = seen.nodes.iter().filter(move |node| (node.part == Part::Bootstrap) == bootstrap);
            nodes.map(|node| node.traffic.open)
        };
        let sample = Sample {
            at_s: seen.at_ms as f64 / 1_000.0,
            in_sync: if all == 0 { 0.0 } else { same as f64 / all as f64 },
            running: seen.nodes.iter().filter(|node| node.view.is_some()).count() as u64,
            connections_mean: open(false).sum::<u64>() as f64 / open(false).count().max(1) as f64,
            connections_max: open(false).max().unwrap_or(0),
            connections_bootstrap_max: open(true).max().unwrap_or(0),
            bytes_sent: seen.nodes.iter().map(|node| node.traffic.bytes_sent).sum(),
        };
        self.world.trace.event(&format!("in sync {same} of {all}"));
        let Sample { at_s, in_sync, running, .. } = sample;
        let all = self.world.honest().count();
        let share = in_sync * 100.0;
        (self.progress)(&format!("{at_s:7.1} s  {running} of {all} directories up  {share:5.1} % in sync"));
        self.samples.push(sample);
        if self.world.scenario.faults.cut.is_some() {
            let before = self.before.replace(Healing::begin(&seen, Span::default()));
            if before.is_some_and(|before| before.judge(&seen).is_err()) {
                self.behind_at_s.push(at_s);
            }
        }
        Ok(seen)
    }

    /// Looks until all nodes hold the same, and when that was.
    async fn until_equal(&mut self, patience: Span) -> Result<(Option<Duration>, Seen)> {
        let deadline = elapsed() + patience.0;
        loop {
            let seen = self.look().await?;
            let (all, same) = seen.in_sync();
            if all > 0 && all == same {
                return Ok((Some(elapsed()), seen));
            }
            if elapsed() >= deadline {
                return Ok((None, seen));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The schedule, with a look from time to time.
    async fn happen(&mut self, schedule: &[Entry]) -> Result<()> {
        let begin_ms = elapsed().as_millis() as u64;
        let end_ms = begin_ms + self.world.scenario.duration.ms();
        let look_ms = self.world.scenario.check_every.ms();
        let mut next_look_ms = begin_ms + look_ms;
        let mut entries = schedule.iter().peekable();
        loop {
            let entry_ms = entries.peek().map(|entry| begin_ms + entry.at_ms);
            let end_of_fault_ms = self.world.next_end_ms();
            let healed_ms = self.healing.as_ref().map(|healing| healing.due_ms);
            let due = [entry_ms, end_of_fault_ms, healed_ms, Some(next_look_ms)].into_iter().flatten().min();
            // Faults that began in time may end later.
            let Some(due_ms) = due.filter(|due| *due <= end_ms || end_of_fault_ms == Some(*due)) else {
                break;
            };
            wait_until(due_ms).await;
            if end_of_fault_ms == Some(due_ms) {
                self.end_fault().await?;
            } else if healed_ms == Some(due_ms) {
                self.judge_healing().await?;
            } else if entry_ms == Some(due_ms) {
                if let Some(entry) = entries.next() {
                    self.begin(entry).await?;
                }
            } else {
                next_look_ms += look_ms;
                self.look().await?;
            }
        }
        wait_until(end_ms).await;
        // What is not healed yet is judged when the world settles.
        self.healing = None;
        while let Some(at_ms) = self.world.next_end_ms() {
            wait_until(at_ms).await;
            self.world.end_next().await?;
        }
        Ok(())
    }

    async fn begin(&mut self, entry: &Entry) -> Result<()> {
        if entry.act.lasts_ms() > 0 {
            self.healing = None;
        }
        self.world.begin(entry).await
    }

    async fn end_fault(&mut self) -> Result<()> {
        self.world.end_next().await?;
        if self.world.next_end_ms().is_none() {
            let seen = self.look().await?;
            self.healing = Some(Healing::begin(&seen, self.world.scenario.limits.repaired_within));
        }
        Ok(())
    }

    async fn judge_healing(&mut self) -> Result<()> {
        let Some(healing) = self.healing.take() else { return Ok(()) };
        let seen = self.look().await?;
        if let Err(what) = healing.judge(&seen) {
            self.violate("repaired-in-time", what);
        }
        Ok(())
    }

    /// Looks until both sides hold the same of every session.
    async fn until_agreed(&mut self, begin: Duration, until: Duration) -> Result<()> {
        if self.world.scenario.sessions.per_s <= 0.0 {
            return Ok(());
        }
        let from = self.world.healed_at.max(begin);
        while elapsed() < until {
            let all = crate::charging::invariants::held(self.world.honest()).await?;
            if crate::charging::invariants::agreed(&self.world, &all) {
                self.agreed_s = Some(elapsed().saturating_sub(from).as_secs_f64());
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// No more work and no more faults: soon everybody has everything.
    async fn settle(&mut self) -> Result<(Option<f64>, Seen)> {
        self.world.calls_answered().await;
        let (settle, begin) = (self.world.scenario.settle, elapsed());
        let (equal, _) = self.until_equal(settle).await?;
        let repaired = equal.map(|at| at.saturating_sub(self.world.healed_at.max(begin)));
        let limit = self.world.scenario.limits.repaired_within;
        if repaired.is_none_or(|took| took > limit.0) {
            self.violate("repaired-in-time", late_repair(repaired, limit, settle));
        }
        self.until_agreed(begin, begin + settle.0).await?;
        // Connections have their own pace.
        let end_ms = (begin + settle.0).as_millis() as u64;
        let quiet_ms = end_ms.saturating_sub(QUIET_MS);
        // Where there is too little time to settle nothing is said of it.
        if quiet_ms >= (elapsed().max(begin + LEAST_SETTLED)).as_millis() as u64 {
            wait_until(quiet_ms).await;
            let quiet = self.look().await?;
            self.past.quiet_from(&quiet);
        }
        wait_until(end_ms).await;
        let allowed_ms = self.world.scenario.limits.revoked_within.ms();
        let times = self.world.revocation_times();
        if times.iter().any(|took| took.is_none_or(|ms| ms > allowed_ms)) {
            self.violate("revoked-in-time", late_revocations(&times, allowed_ms));
        }
        let seen = self.look().await?;
        let violations = invariants::settled(&self.world, &seen, &mut self.past).await?;
        self.add(violations);
        Ok((repaired.map(|took| took.as_secs_f64()), seen))
    }
}

/// Whether somebody missed something while the network was cut.
fn was_felt(cut: OneCut, work_from_s: f64, behind_at_s: &[f64]) -> bool {
    let from_s = work_from_s + cut.at.0.as_secs_f64();
    let during = from_s..from_s + cut.lasts.0.as_secs_f64();
    behind_at_s.iter().any(|at_s| during.contains(at_s))
}

fn late_repair(repaired: Option<Duration>, limit: Span, settle: Span) -> String {
    match repaired {
        Some(took) => format!("repaired after {:.1} s, {limit} are allowed", took.as_secs_f64()),
        None => format!("not repaired within the {settle} to settle, {limit} are allowed"),
    }
}

fn late_revocations(times_ms: &[Option<u64>], allowed_ms: u64) -> String {
    let took =
        |ms: &Option<u64>| ms.map_or_else(|| "longer than was waited".to_owned(), |ms| format!("{ms} ms"));
    let took: Vec<String> = times_ms.iter().map(took).collect();
    format!("until all knew of the revocations it took {}; {allowed_ms} ms are allowed", took.join(", "))
}

async fn wait_until(at_ms: u64) {
    let rest = Duration::from_millis(at_ms).saturating_sub(elapsed());
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_felt_if_somebody_missed_something_while_it_lasted() {
        let cut = OneCut { at: Span::from_secs(10), lasts: Span::from_secs(20) };
        // It is from second 15 to second 35.
        let felt = |behind_at_s: &[f64]| was_felt(cut, 5.0, behind_at_s);
        assert!(felt(&[14.0, 34.0]));
        assert!(!felt(&[14.0, 36.0]));
        assert!(!felt(&[]));
    }

    #[test]
    fn what_came_late_or_not_at_all_is_told_in_a_sentence() {
        let (limit, settle) = (Span::from_secs(10), Span::from_secs(60));
        let late = late_repair(Some(Duration::from_millis(12_340)), limit, settle);
        assert_eq!(late, "repaired after 12.3 s, 10s are allowed");
        let never = late_repair(None, limit, settle);
        assert_eq!(never, "not repaired within the 1m to settle, 10s are allowed");
        let revoked = late_revocations(&[Some(12_000), None], 10_000);
        let wanted = "until all knew of the revocations it took 12000 ms, longer than was waited; 10000 ms are allowed";
        assert_eq!(revoked, wanted);
    }
}
