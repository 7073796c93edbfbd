//! What a CPO's backend pushes to its node until the central hub has all of it: first everything in one full load, then
//! another one in which every record has changed, which goes to the hub as differences. The bare peer is the backend
//! that pushes to the hub itself, in messages of the same size.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chargemesh::backend::{Hub, HubConfig, HubOperation};
use chargemesh::engine::SystemClock;
use chargemesh::hub::HubLimits;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::Options;
use crate::evses::World;
use crate::http::Client;
use crate::hub_node::{HubNode, Pace};
use crate::measure::{self, Better, Pairs};

/// Charging points of the Swiss register: what is pushed unless a flag says otherwise.
const EVSES: usize = 18_427;

/// Records of one message of differences that the node sends to the hub.
const PAGE: usize = 500;

/// When the hub has heard nothing for this time, it is looked what it has.
const QUIET: Duration = Duration::from_secs(2);

/// After this time a push has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// What stands in every record, and what it changes to.
const CHANGED: (&str, &str) = ("T08:", "T09:");

/// Runs it. `per_call`: records of one call of the backend; 0: all in one.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, per_call: usize, pace: Pace) -> Result<()> {
    let evses = options.evses.unwrap_or(EVSES);
    let world = World::new(options.seed, 1, evses);
    let records: Vec<String> = world.evses(0).map(|evse| evse.json).collect();
    let changed: Vec<String> = records.iter().map(|json| json.replacen(CHANGED.0, CHANGED.1, 1)).collect();
    let per_call = if per_call == 0 { evses.max(1) } else { per_call };
    println!("  {evses} records, {per_call} in a call of the backend; {}", pace.name());
    let runtime = crate::runtime()?;
    let dir = options.scratch("hub_push")?;
    let (mut ratios, mut peak_mb) = (Pairs::new(Better::Lower), 0.0_f64);
    let (mut full_s, mut changed_s) = (Vec::new(), Vec::new());
    for pair in 0..options.pairs {
        let mut through = Through::start(options, &runtime, &world, (dir.path(), pair), pace)?;
        let full = through.push(&runtime, &messages(&world, &records, per_call, true), CHANGED.0, evses)?;
        let page = messages(&world, &records, evses.max(1), true);
        let full_direct_s = direct(&runtime, &world, &[], &page)?;
        report(pair, "a full load", &full, full_direct_s);
        // Several full loads would each take away what the one before brought.
        let anew = per_call >= evses;
        let all = through.push(&runtime, &messages(&world, &changed, per_call, anew), CHANGED.1, evses)?;
        let pages = messages(&world, &changed, PAGE, false);
        report(pair, "all changed", &all, direct(&runtime, &world, &page, &pages)?);
        ratios.add(full.all_s, full_direct_s);
        full_s.push(full.all_s);
        changed_s.push(all.all_s);
        peak_mb = peak_mb.max(through.node.memory()?.peak_mb);
        drop(through.node);
        runtime.block_on(through.hub.stop());
    }
    let (full, worst) = (measure::quantile(&mut full_s, 0.5), measure::quantile(&mut full_s, 1.0));
    let all = measure::quantile(&mut changed_s, 0.5);
    println!(
        "  full load: median {full:.2} s, worst {worst:.2} s (target < 5 s); all changed: median {all:.2} s"
    );
    measure::conclude("hub_push", &ratios, "none; full load < 5 s", peak_mb, dir.path())
}

fn report(pair: usize, what: &str, pushed: &Pushed, direct_s: f64) {
    println!(
        "  pair {pair}: {what}: the node answered after {:.2} s, the hub had {} records after {:.2} s in {} calls (limit {} a minute); straight to the hub {direct_s:.2} s",
        pushed.answered_s,
        pushed.held,
        pushed.all_s,
        pushed.calls,
        HubLimits::default().push_data,
    );
}

/// A push that the hub has.
struct Pushed {
    /// Seconds until the node had answered the last call of the backend.
    answered_s: f64,
    /// Seconds until the hub had taken the last call of the node.
    all_s: f64,
    calls: usize,
    held: usize,
}

/// A node between backend and hub.
struct Through {
    node: HubNode,
    hub: Hub,
    backend: Client,
    path: String,
    operator: String,
}

impl Through {
    fn start(
        options: &Options,
        runtime: &Runtime,
        world: &World,
        (dir, pair): (&Path, usize),
        pace: Pace,
    ) -> Result<Through> {
        let hub = runtime.block_on(played(world, pace))?;
        let operator = world.operator_id(0).replace('*', "");
        let data_dir = dir.join(format!("node-{pair}"));
        let node = HubNode::start(options, &data_dir, &hub.url(), &format!("CPO:{operator}"), pace)?;
        let backend = Client::connect(node.facade())?;
        Ok(Through { node, hub, backend, path: path(world), operator })
    }

    fn push(&mut self, runtime: &Runtime, calls: &[String], mark: &str, evses: usize) -> Result<Pushed> {
        let begun = Instant::now();
        for body in calls {
            post(&mut self.backend, &self.path, body)?;
        }
        let answered_s = begun.elapsed().as_secs_f64();
        let (mut all_s, mut calls, mut seen_before) = (0.0, 0, false);
        loop {
            match runtime.block_on(async { timeout(QUIET, self.hub.next()).await }) {
                Ok(call) if call.operation == HubOperation::PushData => {
                    all_s = begun.elapsed().as_secs_f64();
                    calls += 1;
                }
                Ok(_) => {}
                Err(_quiet) => {
                    let held = self.hub.data_of(&self.operator);
                    let has_all = held.len() == evses && held.iter().all(|record| record.contains(mark));
                    // The hub has a record before it tells of the call: that is waited for once more.
                    if std::mem::replace(&mut seen_before, has_all) && has_all && calls > 0 {
                        return Ok(Pushed { answered_s, all_s, calls, held: held.len() });
                    }
                    if begun.elapsed() > PATIENCE {
                        let last = self.hub.received().pop().context("the hub heard nothing")?;
                        bail!("the hub has {} records; its last call: {}", held.len(), last.to_json());
                    }
                }
            }
        }
    }
}

/// Seconds that a backend takes to push messages straight to a hub that has taken others before.
fn direct(runtime: &Runtime, world: &World, before: &[String], messages: &[String]) -> Result<f64> {
    let hub = runtime.block_on(played(world, Pace { unlimited: true, pull_s: None }))?;
    let mut backend = Client::connect(hub.address())?;
    let path = path(world);
    for body in before {
        post(&mut backend, &path, body)?;
    }
    let begun = Instant::now();
    for body in messages {
        post(&mut backend, &path, body)?;
    }
    let took_s = begun.elapsed().as_secs_f64();
    runtime.block_on(hub.stop());
    Ok(took_s)
}

async fn played(world: &World, pace: Pace) -> Result<Hub> {
    let partner = format!("CPO:{}", world.operator_id(0)).parse().map_err(anyhow::Error::msg)?;
    let mut config = HubConfig::new(vec![partner], SystemClock::start());
    config.limits = pace.of_hub();
    Ok(Hub::start(config).await?)
}

fn path(world: &World) -> String {
    format!("/api/oicp/evsepush/v23/operators/{}/data-records", world.operator_id(0))
}

fn post(backend: &mut Client, path: &str, body: &str) -> Result<()> {
    let (status, answer) = backend.post(path, body)?;
    let done = answer.windows(13).any(|part| part == b"\"Result\":true");
    ensure!(status == 200 && done, "HTTP {status}: {}", String::from_utf8_lossy(answer));
    Ok(())
}

/// PushEvseData of records, so many in a message. `anew`: the first takes the place of all there is, the others
/// insert; else all of them update.
fn messages(world: &World, records: &[String], size: usize, anew: bool) -> Vec<String> {
    let operator = world.operator_id(0);
    let message = |(number, part): (usize, &[String])| {
        let action = match (anew, number) {
            (false, _) => "update",
            (true, 0) => "fullLoad",
            (true, _) => "insert",
        };
        format!(
            r#"{{"ActionType":"{action}","OperatorEvseData":{{"OperatorID":"{operator}","OperatorName":"Operator","EvseDataRecord":[{}]}}}}"#,
            part.join(",")
        )
    };
    records.chunks(size).enumerate().map(message).collect()
}
