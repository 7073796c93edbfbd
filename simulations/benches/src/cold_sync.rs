//! Benchmark 7: an empty node until every EVSE answers by id and by radius, from three peers over loopback,
//! against a bare load of the same rows into a table and an R*Tree.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chargemesh::node::Node;
use chargemesh::protocol::Kind;

use crate::bare_sqlite::Bare;
use crate::child::Child;
use crate::client::Backend;
use crate::evses::{Dice, World};
use crate::http::Client;
use crate::measure::{self, Better, Pairs};
use crate::parties::{self, PROVIDER};
use crate::{Options, prefill};

/// Peers that hold everything.
const SOURCES: usize = 3;

/// Page cache of the bare peer in KiB, as `performance.md` measured with.
const BARE_CACHE_KIB: u32 = 64 * 1024;

/// Between two looks at the node's view.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// After this time a run has failed.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Circles that both peers are asked for in the end.
const CIRCLES: usize = 5;

/// Runs it.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options) -> Result<()> {
    let world = options.world();
    let dir = options.scratch("cold_sync")?;
    let runtime = crate::runtime()?;
    let mut child = Child::start(&options.child("cold-sync-sources", &[dir.path().display().to_string()]))?;
    let addresses: Vec<String> = child.expect("ready")?.split(' ').map(str::to_owned).collect();
    let mut times = Pairs::new(Better::Lower);
    let mut peak_mb: f64 = 0.0;
    for pair in 0..options.pairs {
        let data_dir = dir.path().join("node");
        let filled = runtime.block_on(fill(&data_dir, &world, &addresses))?;
        let bare_path = dir.path().join("bare.sqlite");
        let mut bare = Bare::create(&bare_path, BARE_CACHE_KIB)?;
        let bare_time = bare.load(&world)?;
        compare(&filled.node, &bare, &world)?;
        let per_evse = |value: f64| value / world.evses as f64;
        println!(
            "  pair {pair}: {:.2} s (first record after {:.2} s; {:.1} us CPU per EVSE), bare {:.2} s; {:.1} bytes per EVSE on the wire (target <= 50); peak {:.0} MB",
            filled.time.as_secs_f64(),
            filled.quiet.as_secs_f64(),
            per_evse(filled.cpu_s) * 1e6,
            bare_time.as_secs_f64(),
            per_evse(filled.wire_bytes as f64),
            filled.peak_mb,
        );
        times.add(filled.time.as_secs_f64(), bare_time.as_secs_f64());
        peak_mb = peak_mb.max(filled.peak_mb);
        runtime.block_on(filled.node.shutdown());
        drop(bare);
        std::fs::remove_dir_all(&data_dir)?;
        for end in ["", "-wal", "-shm"] {
            // SQLite removes its helpers itself when it closes in good order.
            let _absent = std::fs::remove_file(format!("{}{end}", bare_path.display()));
        }
    }
    drop(child);
    measure::conclude("cold_sync", &times, "<= 1.25", peak_mb, dir.path())
}

/// A node that was empty and now holds everything.
struct Filled {
    node: Node,
    time: Duration,
    /// Until the first record was there.
    quiet: Duration,
    cpu_s: f64,
    wire_bytes: u64,
    /// Beyond what the process had before.
    peak_mb: f64,
}

async fn fill(data_dir: &Path, world: &World, sources: &[String]) -> Result<Filled> {
    measure::forget_peak();
    let before_mb = measure::memory()?.rss_mb;
    let (cpu, bytes, start) = (measure::cpu_s()?, measure::loopback_bytes()?, Instant::now());
    let settings = parties::settings(data_dir, Some(PROVIDER.0), sources);
    let node = parties::start("emp", PROVIDER.0, settings).await?;
    let engine = node.engine().context("a node with a party has an engine")?;
    let (mut told, mut quiet) = (Instant::now(), None);
    loop {
        let view = engine.view().await?;
        if view.view_evses > 0 {
            quiet.get_or_insert_with(|| start.elapsed());
        }
        if view.view_evses == world.evses as u64 && view.feeds.iter().all(|feed| feed.in_sync) {
            break;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!(
                "  {} of {} EVSEs after {:.0} s",
                view.view_evses,
                world.evses,
                start.elapsed().as_secs_f64()
            );
        }
        if start.elapsed() > PATIENCE {
            bail!("the node did not fill: {} of {} EVSEs", view.view_evses, world.evses);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    await_last_records(&node, world)?;
    Ok(Filled {
        time: start.elapsed(),
        quiet: quiet.unwrap_or_default(),
        cpu_s: measure::cpu_s()? - cpu,
        wire_bytes: measure::loopback_bytes()? - bytes,
        peak_mb: measure::memory()?.peak_mb - before_mb,
        node,
    })
}

/// The view is ahead of the database by some commits: the last record of each operator has to answer.
fn await_last_records(node: &Node, world: &World) -> Result<()> {
    let mut http = Client::connect(node.facade_address().context("the node has no facade")?)?;
    for operator in 0..world.operators {
        let id = world.evse_id(operator, world.evses_of(operator).saturating_sub(1));
        while http.get(&format!("/admin/v1/evse/{id}"))?.0 != 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Both answer the same by radius.
fn compare(node: &Node, bare: &Bare, world: &World) -> Result<()> {
    let mut backend = Backend::connect(node.facade_address())?;
    let mut dice = Dice::new(world.seed, 7);
    for _ in 0..CIRCLES {
        let (lat, lon) = world.place(&mut dice);
        let place = ((lat * 1e5).round() / 1e5, (lon * 1e5).round() / 1e5);
        let around = backend.around(place, 20.0, "Google")?;
        let (total, _) = bare.within(place.0, place.1, 20.0, 0)?;
        ensure!(around.total.abs_diff(total) <= 1 + total / 1_000, "{} EVSEs, bare {total}", around.total);
    }
    Ok(())
}

/// The child process: three nodes that hold everything, until the parent is gone.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn sources(options: &Options, dir: &Path) -> Result<()> {
    let world = options.world();
    let runtime = crate::runtime()?;
    let dirs: Vec<PathBuf> = (0..SOURCES).map(|number| dir.join(format!("source-{number}"))).collect();
    prefill::fill(&dirs[0], &world, &[Kind::Data], parties::unix_ms())?;
    for copy in &dirs[1..] {
        std::fs::create_dir_all(copy)?;
        std::fs::copy(dirs[0].join("directory.sqlite"), copy.join("directory.sqlite"))?;
    }
    let mut nodes: Vec<Node> = Vec::new();
    for (number, dir) in dirs.iter().enumerate() {
        let party = format!("EMP:DES{number:02}");
        let bootstrap: Vec<String> = nodes.iter().flat_map(|node| node.mesh_addresses()).cloned().collect();
        let settings = parties::settings(dir, None, &bootstrap);
        nodes.push(runtime.block_on(parties::start(&format!("source {number}"), &party, settings))?);
    }
    let addresses: Vec<String> = nodes.iter().flat_map(|node| node.mesh_addresses()).cloned().collect();
    println!("ready {}", addresses.join(" "));
    crate::until_parent_ends();
    Ok(())
}
