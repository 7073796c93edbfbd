//! Benchmark 5: how many statuses a second an EMP's node takes that holds all EVSEs: signed batches of 100
//! from 200 operators, by gossip from one peer that stands for all, verified and committed; against a bare
//! database that upserts the same rows in transactions of 100.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use chargemesh::engine::Applied;
use chargemesh::identity::hash_of;
use chargemesh::mesh::{self, Mesh, MeshEvent};
use chargemesh::node::Node;
use chargemesh::protocol::{Announcement, Change, ChangeSet, Kind, Topic};
use chargemesh::roaming::Entry;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::Options;
use crate::bare_sqlite::Bare;
use crate::child::Child;
use crate::client::Backend;
use crate::evses::{Dice, STATUSES, World};
use crate::measure::{self, Better, Pairs};
use crate::parties::{self, PROVIDER};
use crate::prefill::{self, Writing, status_hashes};

/// Statuses in one signed batch.
const BATCH: usize = 100;

/// Batches under way: enough to keep the node busy, few enough for the mesh's queues (256).
const WINDOW: usize = 128;

/// Page cache of the bare peer in KiB, as `performance.md` measured with.
const BARE_CACHE_KIB: u32 = 64 * 1024;

/// Between two questions of the reading backend.
const READ_EVERY: Duration = Duration::from_millis(10);

/// After this time without a status a run has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One batch: whose, and which of his charging points have which status now.
struct Batch {
    operator: usize,
    records: Vec<(usize, &'static str)>,
}

/// The batch of a number; parent and child make the same ones.
fn batch(world: &World, number: usize) -> Batch {
    let mut dice = Dice::new(world.seed ^ 5, number as u64);
    let operator = number % world.operators;
    let count = world.evses_of(operator);
    // Every one of a sequence with a step that is prime to the count is another one.
    let (first, step) = (dice.below(count), if count.is_multiple_of(7_919) { 1 } else { 7_919 });
    let of = |index: usize| ((first + index * step) % count, STATUSES[dice.below(STATUSES.len())]);
    Batch { operator, records: (0..BATCH.min(count)).map(of).collect() }
}

/// Runs it: `batches` in each pair.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, batches: usize) -> Result<()> {
    let world = options.world();
    let dir = options.scratch("status_ingest")?;
    let runtime = crate::runtime()?;
    let now_ms = parties::unix_ms();
    let data_dir = dir.path().join("node");
    prefill::fill(&data_dir, &world, &[Kind::Data, Kind::Status], now_ms)?;
    let mut bare = Bare::create(&dir.path().join("bare.sqlite"), BARE_CACHE_KIB)?;
    bare.load(&world)?;
    bare.load_statuses(&world)?;
    let total = batches * (options.pairs + 1);
    let arguments = [now_ms.to_string(), total.to_string()];
    let mut child = Child::start(&options.child("status-ingest-sender", &arguments))?;
    let address = child.expect("ready")?;
    measure::forget_peak();
    let before_mb = measure::memory()?.rss_mb;
    let settings = parties::settings(&data_dir, Some(PROVIDER.0), &[address]);
    let node = runtime.block_on(parties::start("emp", PROVIDER.0, settings))?;
    child.expect("subscribed")?;
    println!("  the node holds {} EVSEs: {:.0} MB", world.evses, measure::memory()?.rss_mb - before_mb);

    let mut feeder =
        Feeder { world: &world, child, applied: node.engine().context("no engine")?.watch(), next: 0 };
    let (mut rates, mut reads) = (Pairs::new(Better::Higher), Pairs::new(Better::Lower));
    for pair in 0..=options.pairs {
        let first = feeder.next;
        let idle = read_while(&node, &world, || {
            std::thread::sleep(Duration::from_secs(3));
            Ok(())
        })?;
        let cpu = measure::cpu_s()?;
        let mut spent = Duration::ZERO;
        let busy = read_while(&node, &world, || {
            let start = Instant::now();
            runtime.block_on(feeder.feed(batches))?;
            feeder.await_last(&node)?;
            spent = start.elapsed();
            Ok(())
        })?;
        let cpu = measure::cpu_s()? - cpu;
        let bare_time = upsert(&mut bare, &world, first, batches)?;
        // The first round only warms the caches of both.
        if pair > 0 {
            let rows = (batches * BATCH) as f64;
            let (rate, bare_rate) = (rows / spent.as_secs_f64(), rows / bare_time.as_secs_f64());
            rates.add(rate, bare_rate);
            reads.add(busy.1, idle.1);
            println!(
                "  pair {pair}: {rate:.0} statuses/s ({:.1} us CPU each), bare {bare_rate:.0}; reads p50 {:.0} us p99 {:.0} us, idle {:.0} and {:.0}",
                cpu / rows * 1e6,
                busy.0,
                busy.1,
                idle.0,
                idle.1
            );
        }
    }
    measure::print_pairs("facade read p99 over idle", &reads, "<= 3");
    let peak_mb = measure::memory()?.peak_mb - before_mb;
    drop(feeder);
    runtime.block_on(node.shutdown());
    measure::conclude("status_ingest", &rates, ">= 0.8", peak_mb, dir.path())
}

fn upsert(bare: &mut Bare, world: &World, first: usize, batches: usize) -> Result<Duration> {
    let prepared: Vec<(usize, Vec<(String, &str)>)> = (first..first + batches)
        .map(|number| {
            let Batch { operator, records } = batch(world, number);
            let key = |number| world.evse_id(operator, number).replace('*', "");
            (operator, records.into_iter().map(|(number, status)| (key(number), status)).collect())
        })
        .collect();
    let start = Instant::now();
    for (seq, (operator, rows)) in prepared.iter().enumerate() {
        bare.upsert(*operator, seq as u64, rows.iter().map(|(key, status)| (key.as_str(), *status)))?;
    }
    Ok(start.elapsed())
}

/// Reads ten statuses by id every ten milliseconds while something is done; p50 and p99 in microseconds.
fn read_while(node: &Node, world: &World, work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let mut backend = Backend::connect(node.facade_address())?;
    let (done, world) = (Arc::new(AtomicBool::new(false)), world.clone());
    let reader = std::thread::spawn({
        let done = done.clone();
        move || -> Result<Vec<f64>> {
            let (mut dice, mut times) = (Dice::new(world.seed, 55), Vec::new());
            while !done.load(Ordering::Relaxed) {
                let mut any = || {
                    let operator = dice.below(world.operators);
                    (world.evse_id(operator, dice.below(world.evses_of(operator))), "")
                };
                let ids: Vec<(String, &str)> = (0..10).map(|_| any()).collect();
                let start = Instant::now();
                backend.have_statuses(&ids)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
                std::thread::sleep(READ_EVERY);
            }
            Ok(times)
        }
    });
    let worked = work();
    done.store(true, Ordering::Relaxed);
    let Ok(times) = reader.join() else { bail!("the reading backend broke off") };
    worked?;
    let mut times = times?;
    Ok((measure::quantile(&mut times, 0.5), measure::quantile(&mut times, 0.99)))
}

/// Feeds the node through the child.
struct Feeder<'w> {
    world: &'w World,
    child: Child,
    applied: Receiver<Applied>,
    next: usize,
}

impl Feeder<'_> {
    /// Has batches sent, never more than the window ahead of what the node has taken.
    async fn feed(&mut self, batches: usize) -> Result<()> {
        let rows: usize =
            (self.next..self.next + batches).map(|number| batch(self.world, number).records.len()).sum();
        let (mut taken, mut sent) = (0, 0);
        while taken < rows {
            let room = (taken / BATCH + WINDOW).min(batches).saturating_sub(sent);
            if room >= WINDOW / 4 || room > 0 && sent + room == batches {
                self.child.tell(&room.to_string())?;
                sent += room;
            }
            let received = tokio::time::timeout(PATIENCE, self.applied.recv()).await;
            taken += match received.with_context(|| format!("{taken} of {rows} statuses, then nothing"))? {
                Ok(changes) => changes.len(),
                Err(RecvError::Lagged(_)) => bail!("the node took more at once than can be counted"),
                Err(RecvError::Closed) => bail!("the node stopped"),
            };
        }
        self.next += batches;
        Ok(())
    }

    /// What the node has taken is visible a commit later: the last batch has to answer.
    fn await_last(&self, node: &Node) -> Result<()> {
        let Batch { operator, records } = batch(self.world, self.next - 1);
        let wanted: Vec<(String, &str)> = records
            .into_iter()
            .map(|(number, status)| (self.world.evse_id(operator, number), status))
            .collect();
        let mut backend = Backend::connect(node.facade_address())?;
        let start = Instant::now();
        while !backend.have_statuses(&wanted)? {
            if start.elapsed() > PATIENCE {
                bail!("the last batch never became visible");
            }
        }
        Ok(())
    }
}

/// The child process: signs all batches, then gossips as many as it is told to.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn sender(options: &Options, now_ms: u64, batches: usize) -> Result<()> {
    let world = options.world();
    let announcements = announcements(&world, now_ms, batches)?;
    let runtime = crate::runtime()?;
    let _context = runtime.enter();
    let start = mesh::Start {
        config: parties::settings(std::path::Path::new(""), None, &[]).mesh,
        node_seed: parties::node_seed("sender"),
        transport: mesh::Transport::tcp(&parties::node_seed("sender"))?,
        executor: Arc::new(|task| drop(tokio::spawn(task))),
        card_check: Arc::new(|_, _| Err(mesh::CardRefusal::Useless("nobody keeps cards here"))),
        subscribe: Vec::new(),
        rng_seed: 1,
    };
    let (mesh, mut events) = mesh::start(start)?;
    println!("ready {}", runtime.block_on(listening(&mesh))?);
    runtime.spawn(async move {
        while let Some(event) = events.recv().await {
            if matches!(event, MeshEvent::PeerSubscribed { topic: Topic::Status, .. }) {
                println!("subscribed");
            }
        }
    });
    publish(&mesh, announcements)
}

/// The mesh listens some moments after it was started.
async fn listening(mesh: &Mesh) -> Result<String> {
    loop {
        if let Some(address) = mesh.listen_addresses().await?.into_iter().next() {
            return Ok(address);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn publish(mesh: &Mesh, announcements: Vec<Bytes>) -> Result<()> {
    let mut waiting = announcements.into_iter();
    for line in std::io::stdin().lock().lines() {
        let count: usize = line?.trim().parse()?;
        for bytes in waiting.by_ref().take(count) {
            mesh.try_publish(Topic::Status, bytes)?;
        }
    }
    Ok(())
}

fn announcements(world: &World, now_ms: u64, batches: usize) -> Result<Vec<Bytes>> {
    let first =
        |operator| Writing::first(world, operator, Kind::Status, now_ms, &status_hashes(world, operator));
    let mut feeds: Vec<Writing> = (0..world.operators).map(first).collect::<Result<_>>()?;
    let mut signed = Vec::with_capacity(batches);
    for number in 0..batches {
        let Batch { operator, records } = batch(world, number);
        let Writing { tree, head, .. } = &mut feeds[operator];
        head.base_seq = head.seq;
        let mut changes = Vec::with_capacity(records.len());
        for (number, status) in records {
            let key = world.key(operator, number);
            head.seq += 1;
            changes.push(Change {
                key: key.as_str().to_owned(),
                at_unix_ms: now_ms,
                value: Some(Bytes::from_static(status.as_bytes())),
            });
            tree.put(Entry { key, seq: head.seq, at_unix_ms: now_ms, hash: hash_of(status.as_bytes()) });
        }
        let set = ChangeSet::encode(&changes);
        (head.root, head.body) = (tree.root(), set.digest());
        signed.push(Announcement { heads: vec![feeds[operator].sign()], changes: Some(set) }.encode());
    }
    Ok(signed)
}
