//! Replays a trace through the facades: every operator strictly in order, all operators at once.

use chargemesh::oicp::evse_status::EvseStatus;
use chargemesh::protocol::Kind;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::latency::Latencies;
use super::nodes::{Network, PartyNode};
use super::push;
use super::schedule::{Due, action, group_length};
use super::screen::Screen;
use super::trace::{Change, Event, Trace};
use super::world::{status_body, status_record};

/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What the workers of all operators share.
struct Shared<'r> {
    network: &'r Network,
    events: &'r [Event],
    latencies: &'r Latencies,
    screen: &'r Screen,
    begin: Instant,
    done: Cell<usize>,
    failed: Cell<usize>,
}

/// Replays; gives the number of changes that a node refused.
pub(super) async fn run(
    network: &Network,
    trace: &Trace,
    plan: BTreeMap<usize, Vec<Due>>,
    latencies: &Latencies,
    screen: &Screen,
) -> anyhow::Result<usize> {
    let last = plan.values().filter_map(|dues| dues.last()).map(|due| due.after).max().unwrap_or_default();
    screen.line(&format!(
        "replaying {} changes of {} operators in {:.0} s",
        trace.events.len(),
        plan.len(),
        last.as_secs_f64()
    ));
    let shared = Shared {
        network,
        events: &trace.events,
        latencies,
        screen,
        begin: Instant::now(),
        done: Cell::new(0),
        failed: Cell::new(0),
    };
    let workers =
        plan.iter().filter_map(|(place, dues)| Some(shared.operator(network.cpos.get(*place)?, dues)));
    let work = try_join_all(workers);
    let report = async {
        loop {
            shared.report();
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
    };
    tokio::select! {
        worked = work => { worked?; }
        () = report => {}
    }
    Ok(shared.failed.get())
}

impl Shared<'_> {
    async fn operator(&self, cpo: &PartyNode, mut dues: &[Due]) -> anyhow::Result<()> {
        while let Some(first) = dues.first() {
            tokio::time::sleep_until(self.begin + first.after).await;
            // What has become due while the last push was under way goes together.
            let length = group_length(dues, self.events, self.begin.elapsed()).max(1);
            let (group, rest) = dues.split_at(length);
            self.push(cpo, group).await?;
            dues = rest;
        }
        Ok(())
    }

    async fn push(&self, cpo: &PartyNode, group: &[Due]) -> anyhow::Result<()> {
        let events: Vec<&Event> = group.iter().filter_map(|due| self.events.get(due.event)).collect();
        let Some(first) = events.first() else { return Ok(()) };
        let records: Vec<String> = events.iter().map(|event| record(event)).collect();
        let body = status_body(action(&first.change), &cpo.id, &cpo.name, &records);
        let keys = || events.iter().map(|event| &event.key);
        self.latencies.begin(keys(), self.network.clock.now().unix_ms);
        if !push::done(cpo, Kind::Status, body, self.screen).await? {
            self.latencies.refused(keys());
            self.failed.set(self.failed.get() + events.len());
        }
        self.done.set(self.done.get() + events.len());
        Ok(())
    }

    fn report(&self) {
        let summary = self.latencies.summary();
        let ms = |latency: Option<Duration>| latency.map_or(0.0, |l| l.as_secs_f64() * 1_000.0);
        self.screen.progress(&format!(
            "{:5.1} s: {} of {} changes; p50 {:.1} ms, p99 {:.1} ms",
            self.begin.elapsed().as_secs_f64(),
            self.done.get(),
            self.events.len(),
            ms(summary.p50),
            ms(summary.p99)
        ));
    }
}

fn record(event: &Event) -> String {
    match &event.change {
        Change::Insert(status) | Change::Update(status) => status_record(&event.evse_id, status.as_str()),
        // A record has a status also where it is deleted (the schema asks for it).
        Change::Delete => status_record(&event.evse_id, EvseStatus::Unknown.as_str()),
    }
}
