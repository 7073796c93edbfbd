//! Benchmarks 1 and 2: a remote start from the EMP's backend to the CPO's and back, through two nodes, signed and
//! committed by both, against the bare sum of its parts: HTTP echo, request-response, HTTP echo.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::bare_exchange::{BareExchange, Line};
use crate::charging_pair::{Pair, Wanted};
use crate::evses::World;
use crate::http::Caller;
use crate::measure::{self, Better, Pairs};
use crate::{Options, bare_http, slow_link};

/// EVSEs of the operator.
const EVSES: usize = 200;

/// Starts of one pair, one after the other.
const STARTS: usize = 200;

/// ... and through the slow link.
const STARTS_WAN: usize = 25;

/// Starts over a line that has to be opened first.
const STARTS_COLD: usize = 5;

/// Starts in flight at once in the second part, and how often each place is used in one pair.
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 25;

/// One way of the slow link.
const ONE_WAY: Duration = Duration::from_millis(20);

/// A line that is unused for so long is closed, where it is to be cold.
const LINE_IDLE: Duration = Duration::from_millis(200);

/// What a disk costs nothing on.
const MEMORY_DIR: &str = "/dev/shm";

/// Benchmark 1.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn loopback(options: &Options) -> Result<()> {
    let dir = options.scratch("remote_start")?;
    let memory = (Path::new(MEMORY_DIR).is_dir())
        .then(|| Options { dir: PathBuf::from(MEMORY_DIR), ..options.clone() }.scratch("remote_start"))
        .transpose()?;
    crate::runtime()?.block_on(async {
        let world = World::new(options.seed, 1, EVSES);
        let before_mb = measure::memory()?.rss_mb;
        let pair = Arc::new(Pair::start(&world, &dir.path().join("disk"), Wanted::default()).await?);
        let mut one = OneByOne::new(&pair).await?;
        let (mut sum, mut asks, mut lines) = (lower(), lower(), lower());
        for number in 0..=options.pairs {
            let figures = one.measure(&pair, STARTS).await?;
            // The first only warms everything.
            if number > 0 {
                println!("  {figures}");
                sum.add(figures.product_us, figures.sum_us);
                asks.add(figures.product_us, figures.ask_us);
                lines.add(figures.product_us, figures.line_us);
            }
        }
        measure::print_pairs("p50 over request-response alone", &asks, "none");
        measure::print_pairs("p50 over a kept-open stream alone", &lines, "none");
        let mut rates = Pairs::new(Better::Higher);
        for _ in 0..options.pairs {
            in_flight(&pair, &mut rates).await?;
        }
        measure::print_pairs("rate with 64 in flight over axum", &rates, ">= 0.20");
        let per_node_mb = (measure::memory()?.peak_mb - before_mb) / 2.0;
        drop(one);
        stop(pair).await;
        if let Some(memory) = &memory {
            without_disk(options, &world, memory.path()).await?;
        }
        measure::conclude("remote_start_loopback", &sum, "<= 1.3", per_node_mb, dir.path())
    })
}

/// The same once more where fdatasync costs nothing.
async fn without_disk(options: &Options, world: &World, dir: &Path) -> Result<()> {
    let pair = Arc::new(Pair::start(world, dir, Wanted::default()).await?);
    let mut one = OneByOne::new(&pair).await?;
    let mut sum = lower();
    for number in 0..=options.pairs {
        let figures = one.measure(&pair, STARTS).await?;
        if number > 0 {
            sum.add(figures.product_us, figures.sum_us);
        }
    }
    let mut rates = Pairs::new(Better::Higher);
    for _ in 0..options.pairs {
        in_flight(&pair, &mut rates).await?;
    }
    measure::print_pairs("in memory, without fdatasync: p50 over the bare sum", &sum, "<= 1.3");
    measure::print_pairs("in memory: rate with 64 in flight over axum", &rates, ">= 0.20");
    drop(one);
    stop(pair).await;
    Ok(())
}

/// Benchmark 2.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn wan(options: &Options) -> Result<()> {
    let dir = options.scratch("remote_start_wan")?;
    crate::runtime()?.block_on(async {
        let world = World::new(options.seed, 1, EVSES);
        let before_mb = measure::memory()?.rss_mb;
        let wanted = Wanted { delay: Some(ONE_WAY), ..Wanted::default() };
        let warm = Arc::new(Pair::start(&world, &dir.path().join("warm"), wanted).await?);
        let wanted = Wanted { line_idle: Some(LINE_IDLE), ..wanted };
        let cold = Arc::new(Pair::start(&world, &dir.path().join("cold"), wanted).await?);
        let bare = BareExchange::start(async |port| slow_link::to(port, ONE_WAY).await).await?;
        let mut caller = warm.emp_backend().await?;
        let mut cold_caller = cold.emp_backend().await?;
        let (mut ratio, mut over_bare, mut cold_ms) = (lower(), lower(), Vec::new());
        for number in 0..=options.pairs {
            let rtt_us = slow_link::round_trip_us(ONE_WAY, STARTS_WAN).await?;
            let starts = times(STARTS_WAN, async |at| warm.start_one(&mut caller, at).await).await?;
            let (_, body) = warm.remote_start(0);
            let asks = times(STARTS_WAN, async |_| bare.ask(body.as_bytes()).await.map(drop)).await?;
            let colds = times(STARTS_COLD, async |at| {
                tokio::time::sleep(LINE_IDLE * 3).await;
                let start = Instant::now();
                cold.start_one(&mut cold_caller, at).await?;
                cold_ms.push(start.elapsed().as_secs_f64() * 1e3 - 3.0 * rtt_us / 1e3);
                Ok(())
            });
            colds.await?;
            if number > 0 {
                println!(
                    "  round trip of the link {:.1} ms: a start {:.1} ms, bare request-response {:.1} ms",
                    rtt_us / 1e3,
                    starts / 1e3,
                    asks / 1e3
                );
                ratio.add(starts, rtt_us);
                over_bare.add(starts, asks);
            }
        }
        measure::print_pairs("warm over bare request-response", &over_bare, "none");
        println!(
            "  a line that is closed: three round trips and {:.1} ms, the worst of {} {:.1} ms (target 10)",
            measure::quantile(&mut cold_ms, 0.5),
            cold_ms.len(),
            measure::quantile(&mut cold_ms, 1.0)
        );
        let per_node_mb = (measure::memory()?.peak_mb - before_mb) / 4.0;
        drop((caller, cold_caller));
        stop(warm).await;
        stop(cold).await;
        measure::conclude("remote_start_wan", &ratio, "<= 1.10 round trips", per_node_mb, dir.path())
    })
}

fn lower() -> Pairs {
    Pairs::new(Better::Lower)
}

async fn stop(pair: Arc<Pair>) {
    if let Some(pair) = Arc::into_inner(pair) {
        pair.stop().await;
    }
}

/// Median of some times in microseconds.
async fn times(count: usize, mut what: impl AsyncFnMut(usize) -> Result<()>) -> Result<f64> {
    let mut all = Vec::with_capacity(count);
    for at in 0..count {
        let start = Instant::now();
        what(at).await?;
        all.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(measure::quantile(&mut all, 0.5))
}

/// One start after the other, and the parts of one.
struct OneByOne {
    backend: Caller,
    echo: Caller,
    bare: BareExchange,
    line: Line,
}

/// Medians in microseconds.
struct Figures {
    product_us: f64,
    sum_us: f64,
    echo_us: f64,
    ask_us: f64,
    line_us: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { product_us, sum_us, echo_us, ask_us, line_us } = self;
        write!(
            f,
            "a start {product_us:.0} us, bare sum {sum_us:.0} us (HTTP echo {echo_us:.0}, request-response {ask_us:.0}, kept-open stream {line_us:.0})"
        )
    }
}

impl OneByOne {
    async fn new(pair: &Pair) -> Result<OneByOne> {
        let bare = BareExchange::start(async |port| Ok(port)).await?;
        Ok(OneByOne {
            backend: pair.emp_backend().await?,
            echo: Caller::connect(bare_http::echo().await?).await?,
            line: bare.line().await?,
            bare,
        })
    }

    async fn measure(&mut self, pair: &Pair, starts: usize) -> Result<Figures> {
        let mut all: [Vec<f64>; 5] = Default::default();
        for number in 0..starts {
            let (path, body) = pair.remote_start(number);
            let begun = Instant::now();
            pair.start_one(&mut self.backend, number).await?;
            let product = begun.elapsed();
            let begun = Instant::now();
            ensure!(self.echo.post(&path, &body).await?.0 == 200, "no echo");
            let echo = begun.elapsed();
            let begun = Instant::now();
            self.bare.ask(body.as_bytes()).await?;
            let ask = begun.elapsed();
            let begun = Instant::now();
            ensure!(self.echo.post(&path, &body).await?.0 == 200, "no echo");
            let second = begun.elapsed();
            let begun = Instant::now();
            self.line.ask(body.as_bytes()).await?;
            let line = begun.elapsed();
            for (times, time) in all.iter_mut().zip([product, echo + ask + second, echo, ask, line]) {
                times.push(time.as_secs_f64() * 1e6);
            }
        }
        let [product_us, sum_us, echo_us, ask_us, line_us] =
            all.map(|mut times| measure::quantile(&mut times, 0.5));
        Ok(Figures { product_us, sum_us, echo_us, ask_us, line_us })
    }
}

/// Starts with many in flight, and echoes with as many.
async fn in_flight(pair: &Arc<Pair>, rates: &mut Pairs) -> Result<()> {
    let mut callers = Vec::new();
    for _ in 0..IN_FLIGHT {
        callers.push(pair.emp_backend().await?);
    }
    let begun = Instant::now();
    let cpu_s = measure::cpu_s()?;
    let tasks = callers.into_iter().enumerate().map(|(place, mut caller)| {
        let pair = pair.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                pair.start_one(&mut caller, place + round * IN_FLIGHT).await?;
            }
            Ok::<(), anyhow::Error>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let product = (IN_FLIGHT * ROUNDS) as f64 / begun.elapsed().as_secs_f64();
    let cpu_us = (measure::cpu_s()? - cpu_s) * 1e6 / (IN_FLIGHT * ROUNDS) as f64;

    let echo = bare_http::echo().await?;
    let mut callers = Vec::new();
    for _ in 0..IN_FLIGHT {
        callers.push(Caller::connect(echo).await?);
    }
    let (path, body) = pair.remote_start(0);
    let (begun, cpu_s) = (Instant::now(), measure::cpu_s()?);
    let tasks = callers.into_iter().map(|mut caller| {
        let (path, body) = (path.clone(), body.clone());
        tokio::spawn(async move {
            for _ in 0..ROUNDS * 4 {
                ensure!(caller.post(&path, &body).await?.0 == 200, "no echo");
            }
            Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let bare = (IN_FLIGHT * ROUNDS * 4) as f64 / begun.elapsed().as_secs_f64();
    let bare_us = (measure::cpu_s()? - cpu_s) * 1e6 / (IN_FLIGHT * ROUNDS * 4) as f64;
    println!(
        "  64 in flight: {product:.0} starts/s at {cpu_us:.0} us CPU each, axum {bare:.0} echoes/s at {bare_us:.0} us"
    );
    rates.add(product, bare);
    Ok(())
}
