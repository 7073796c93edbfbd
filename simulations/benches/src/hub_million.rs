//! A node keeps what others publish at the central hub: how long until all of it is here, and changes after that, and
//! how much memory the node takes. The hub is played in this process, the node has its own. Without a bare peer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chargemesh::backend::{Hub, HubConfig, SEEDS_MAX};
use chargemesh::engine::SystemClock;
use chargemesh::hub::HubLimits;
use chargemesh::oicp::evse_status::EvseStatus;
use chargemesh::oicp::id::EvseId;

use crate::Options;
use crate::client::Backend;
use crate::http::Client;
use crate::hub_node::{HubNode, Pace, metric};
use crate::measure::{self, Memory};
use crate::parties::{self, PROVIDER};

/// What the node's process may take, in MB.
const CAP_MB: f64 = 256.0;

/// Records of a page (OICP 2.3), and statuses that the node asks for at once.
const PAGE: u64 = 2_000;
const STATUSES_PER_CALL: u64 = 20_000;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Beyond what the limits take, a stage fails after this time.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Longest pause between two pulls of data after which changes of records are waited for.
const AWAITED_S: u64 = 3_600;

/// Statuses that are looked at; PullEvseStatusByID takes 100.
const LOOKED_AT: usize = 100;

/// Runs it.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, mut pace: Pace) -> Result<()> {
    let evses = options.evses() as u64;
    ensure!((100..=SEEDS_MAX).contains(&evses), "the played hub makes up 100 to {SEEDS_MAX} charging points");
    if pace.unlimited {
        pace.pull_s.get_or_insert(1);
    }
    let runtime = crate::runtime()?;
    let dir = options.scratch("hub_million")?;
    let mut config = HubConfig::new(
        vec![format!("EMP:{}", PROVIDER.1).parse().map_err(anyhow::Error::msg)?],
        SystemClock::start(),
    );
    (config.seeds, config.limits) = (evses, pace.of_hub());
    let hub = runtime.block_on(Hub::start(config))?;
    let least = announce(evses, pace);

    let begun = Instant::now();
    let node = HubNode::start(options, &dir.path().join("node"), &hub.url(), PROVIDER.0, pace)?;
    let http = Client::connect(node.facade())?;
    let mut watched = Watched { node, http, stage: begun, patience: least + PATIENCE };
    watched.until("all records", |http| Ok(metric(http, "chargemesh_hub_evses")? == evses as f64))?;
    let filled_s = begun.elapsed().as_secs_f64();
    let pages = watched.calls("PullEvseData")?;
    watched.told(&format!("{evses} records in {pages:.0} pages"))?;
    let age = "chargemesh_hub_age_seconds{operation=\"PullEvseStatus\"}";
    watched.until("all statuses", |http| Ok(metric(http, age)?.is_finite()))?;
    let calls = watched.calls("PullEvseStatus")? + watched.calls("PullEvseStatusByOperatorId")?;
    watched.told(&format!("their statuses in {calls:.0} answers"))?;
    let all_s = begun.elapsed().as_secs_f64();
    let seen_s = changes(&hub, &mut watched, evses / 100, pace)?;
    let memory = watched.node.memory()?;
    drop(watched);
    runtime.block_on(hub.stop());
    println!(
        "  surroundings: load average {}; the node's memory in the end {:.0} MB",
        measure::load_average(),
        memory.rss_mb
    );
    println!(
        "hub_million: {evses} records after {filled_s:.0} s, with statuses after {all_s:.0} s, changed statuses after {seen_s:.0} s ({}) rss {:.0} MB (cap {CAP_MB} MB)",
        pace.name(),
        memory.peak_mb,
    );
    Ok(())
}

/// Says what the limits allow; gives the least time that they make a full pull take.
fn announce(evses: u64, pace: Pace) -> Duration {
    let limits = HubLimits::default();
    let minutes = |calls: u64, limit: u32| calls.saturating_sub(1) / u64::from(limit.max(1));
    let pages = evses.div_ceil(PAGE);
    let status_calls = evses.div_ceil(STATUSES_PER_CALL);
    let least = minutes(pages, limits.pull_data) + minutes(status_calls, limits.pull_status_by_operator_id);
    println!(
        "  {evses} records are {pages} pages, at {} a minute at least {least} minutes; now: {}",
        limits.pull_data,
        pace.name()
    );
    if pace.unlimited { Duration::ZERO } else { Duration::from_secs(least * 61) }
}

/// One in a hundred changes, data and status. Gives the seconds until the statuses were seen.
fn changes(hub: &Hub, watched: &mut Watched, count: u64, pace: Pace) -> Result<f64> {
    let mut backend = Backend::connect(Some(watched.node.facade()))?;
    let before: Vec<(String, EvseStatus)> = (0..count).map(|at| seed(hub, at)).collect::<Result<_>>()?;
    let since_ms = parties::unix_ms();
    // The changes must be later than the time that is asked with.
    std::thread::sleep(LOOK_EVERY);
    watched.stage = Instant::now();
    hub.touch_seeds(0..count);
    let mut wanted = Vec::new();
    for (at, (id, before)) in before.into_iter().enumerate() {
        let now = seed(hub, at as u64)?.1;
        if now != before {
            wanted.push((id, now));
        }
    }
    // A status may come to be what it was: those that did not are looked at, from all over the changes.
    let every = wanted.len().div_ceil(LOOKED_AT).max(1);
    let wanted: Vec<(String, &str)> =
        wanted.iter().step_by(every).map(|(id, status)| (id.clone(), status.as_str())).collect();
    ensure!(!wanted.is_empty(), "no status changed: run it once more");
    watched.until("changed statuses", |_| backend.have_statuses(&wanted))?;
    let seen_s = watched.stage.elapsed().as_secs_f64();
    let settings = pace.hub("", PROVIDER.0);
    let every_s = settings.pull_status_s;
    watched.told(&format!("statuses of {count} changes, pulled every {every_s} s"))?;
    let every_s = settings.pull_data_s;
    if every_s > AWAITED_S {
        println!("  records of the changes: not waited for, they are pulled every {every_s} s (--pull-s)");
        return Ok(seen_s);
    }
    watched.until("changed records", |_| Ok(backend.changed_since(since_ms)? as u64 == count))?;
    watched.told(&format!("records of {count} changes, pulled every {every_s} s"))?;
    Ok(seen_s)
}

/// EvseID and status of a charging point of the hub.
fn seed(hub: &Hub, number: u64) -> Result<(String, EvseStatus)> {
    let id = Hub::seed_id(number);
    let status = hub.status_of(EvseId::parse(&id)?.key()).context("the hub knows what it made up")?;
    Ok((id, status))
}

/// A node that is watched from outside.
struct Watched {
    node: HubNode,
    http: Client,
    /// When what is waited for began.
    stage: Instant,
    patience: Duration,
}

impl Watched {
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Client) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is_so(&mut self.http)? {
            if begun.elapsed() > self.patience {
                let failed = metric(&mut self.http, "chargemesh_hub_failures")?;
                bail!("waited in vain for {what}; calls of the hub that failed: {failed}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Calls of an operation so far.
    fn calls(&mut self, operation: &str) -> Result<f64> {
        metric(&mut self.http, &format!("chargemesh_hub_calls{{operation=\"{operation}\"}}"))
    }

    fn told(&mut self, what: &str) -> Result<()> {
        let Memory { rss_mb, peak_mb } = self.node.memory()?;
        let after_s = self.stage.elapsed().as_secs_f64();
        println!("  after {after_s:>6.1} s {what}: {rss_mb:.0} MB, peak {peak_mb:.0} MB");
        Ok(())
    }
}
