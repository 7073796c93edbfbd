//! Benchmark 9: PullEvseData around a point, 10 km, as JSON over HTTP, against the same circle read from a
//! bare R*Tree and a table of records. First over the smallest client, plain HTTP/1.1, which the ratio in the end is
//! of; then as rows over HTTP/1.1 and HTTP/2, with and without TLS, in each encoding.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chargemesh::node::Node;
use chargemesh::protocol::Kind;
use tokio::runtime::Runtime;

use crate::bare_sqlite::Bare;
use crate::client::{Backend, PAGE_SIZE};
use crate::evses::Dice;
use crate::measure::{self, Better, Pairs};
use crate::parties::{self, PROVIDER};
use crate::radius_rows::{self, Questions};
use crate::wire::{OwnCertificate, Spoken};
use crate::{Options, prefill};

/// Radius of every question in kilometres.
const RADIUS_KM: f64 = 10.0;

/// Questions of one pair.
const QUESTIONS: usize = 200;

/// Page cache of the bare peer in KiB: what the bare figures of `performance.md` were measured with.
const BARE_CACHE_KIB: u32 = 64 * 1024;

/// Runs it. `notation`: in which the puller wants coordinates; another than the publisher's means that every
/// record is written anew.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, notation: &str) -> Result<()> {
    let world = options.world();
    let dir = options.scratch("radius_query")?;
    let runtime = crate::runtime()?;
    let now_ms = parties::unix_ms();
    let data_dir = dir.path().join("node");
    prefill::fill(&data_dir, &world, &[Kind::Data], now_ms)?;
    measure::forget_peak();
    let before_mb = measure::memory()?.rss_mb;
    let settings = parties::settings(&data_dir, Some(PROVIDER.0), &[]);
    let node = runtime.block_on(parties::start("emp", PROVIDER.0, settings))?;
    println!("  the node holds {} EVSEs: {:.0} MB", world.evses, measure::memory()?.rss_mb - before_mb);
    let mut bare = Bare::create(&dir.path().join("bare.sqlite"), BARE_CACHE_KIB)?;
    bare.load(&world)?;
    let mut backend = Backend::connect(node.facade_address())?;

    let (mut p50, mut p99) = (Pairs::new(Better::Lower), Pairs::new(Better::Lower));
    let mut dice = Dice::new(options.seed, 9);
    for pair in 0..=options.pairs {
        let mut times = Times::default();
        for _ in 0..QUESTIONS {
            times.ask(&mut backend, &bare, world.place(&mut dice), notation)?;
        }
        // The first round only warms the caches of both.
        if pair > 0 {
            times.report(&mut p50, &mut p99);
        }
    }
    measure::print_pairs("p99", &p99, "<= 2");
    let memory = measure::memory()?;
    drop(backend);
    let places = (0..QUESTIONS).map(|_| as_it_travels(world.place(&mut dice))).collect();
    let questions = Questions { places, radius_km: RADIUS_KM, notation, pairs: options.pairs };
    rows(&runtime, dir.path(), node, (&bare, &questions))?;
    println!("  with all rows: rss {:.0} MB", measure::memory()?.peak_mb - before_mb);
    measure::conclude("radius_query", &p50, "<= 1.5", memory.peak_mb - before_mb, dir.path())
}

/// The rows over plain HTTP, and those over TLS, for which the node starts again.
fn rows(runtime: &Runtime, dir: &Path, node: Node, asked: (&Bare, &Questions<'_>)) -> Result<()> {
    let facade = node.facade_address().context("the node has no facade")?;
    radius_rows::run(runtime, facade, &[Spoken::Plain], None, asked)?;
    runtime.block_on(node.shutdown());
    let shown = OwnCertificate::write(dir)?;
    let mut settings = parties::settings(&dir.join("node"), Some(PROVIDER.0), &[]);
    settings.facade.iter_mut().for_each(|facade| facade.tls = shown.settings());
    let node = runtime.block_on(parties::start("emp", PROVIDER.0, settings))?;
    let facade = node.facade_address().context("the node has no facade")?;
    radius_rows::run(runtime, facade, &[Spoken::One, Spoken::Two], Some(&shown), asked)?;
    runtime.block_on(node.shutdown());
    Ok(())
}

/// A place as a question names it, so that product and bare peer mean the same circle.
fn as_it_travels(place: (f64, f64)) -> (f64, f64) {
    ((place.0 * 1e5).round() / 1e5, (place.1 * 1e5).round() / 1e5)
}

/// Times of one pair in microseconds.
#[derive(Default)]
struct Times {
    product_us: Vec<f64>,
    bare_us: Vec<f64>,
    hits: usize,
    bytes: usize,
}

impl Times {
    fn ask(&mut self, backend: &mut Backend, bare: &Bare, place: (f64, f64), notation: &str) -> Result<()> {
        let place = as_it_travels(place);
        let start = Instant::now();
        let around = backend.around(place, RADIUS_KM, notation)?;
        self.product_us.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        let (total, records) = bare.within(place.0, place.1, RADIUS_KM, PAGE_SIZE)?;
        self.bare_us.push(start.elapsed().as_secs_f64() * 1e6);
        // A place on the very edge may fall to either side: the bare peer knows millionths of a degree only.
        ensure!(around.total.abs_diff(total) <= 1 + total / 1_000, "{} EVSEs, bare {total}", around.total);
        self.hits += records.len();
        self.bytes += around.bytes;
        Ok(())
    }

    fn report(mut self, p50: &mut Pairs, p99: &mut Pairs) {
        let mut at = |part| {
            (measure::quantile(&mut self.product_us, part), measure::quantile(&mut self.bare_us, part))
        };
        let (middle, late) = (at(0.5), at(0.99));
        p50.add(middle.0, middle.1);
        p99.add(late.0, late.1);
        println!(
            "  {} records, {} KB a question: p50 {:.0} us, bare {:.0} us; p99 {:.0} us, bare {:.0} us",
            self.hits / QUESTIONS,
            self.bytes / QUESTIONS / 1_000,
            middle.0,
            middle.1,
            late.0,
            late.1
        );
    }
}
