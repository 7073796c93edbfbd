//! `chargemesh demo`: a whole network on this machine, over real sockets, from real or generated input.

mod charge;
mod check;
mod contracts;
mod curl;
mod drift;
mod generate;
mod generate_places;
mod keys;
mod latency;
mod nodes;
mod operator_ids;
mod push;
mod replay;
mod schedule;
mod screen;
mod trace;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use check::{Comparison, Figures};
use latency::Latencies;
use nodes::Network;
use screen::Screen;
use trace::Trace;
use world::World;

/// Exit code after Ctrl-C in a check, as a shell gives it.
const EXIT_INTERRUPTED: u8 = 130;

/// How long the nodes may take to agree before a check gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// While the nodes do not agree, what is missing is named this often.
const NAME_AFTER: Duration = Duration::from_secs(10);

/// Time between two looks at the nodes while they fill.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Bring up a whole network on this machine and watch it work. Needs no files, no network and no flags.
///
/// Exit codes: 0 all is well; 1 the check found a difference; 2 something failed; 130 a check was interrupted.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// EVSE data of a real register (JSON, may be gzipped): one CPO node per operator of it.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Statuses belonging to --data (JSON, may be gzipped). A trace brings its own and makes these useless.
    #[arg(long, value_name = "FILE", requires = "data")]
    status: Option<PathBuf>,
    /// Replay real status changes: a folder with base.json.gz, events.tsv.gz and end.json.gz.
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// How many times faster than in reality the trace runs [default: 600].
    #[arg(long, value_name = "N", requires = "trace")]
    speed: Option<f64>,
    /// Replay the changes of one sample at one instant instead of spreading them over the gap to the next.
    #[arg(long, requires = "trace")]
    as_recorded: bool,
    /// Seed of everything random that is no key: generated records, spreading, changes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Sessions that are started, told of and stopped once the nodes agree.
    #[arg(long, value_name = "N", default_value_t = SESSIONS_DEFAULT, value_parser = clap::value_parser!(u32).range(0..=SESSIONS_MAX))]
    sessions: u32,
    /// Exit when done, with code 1 if the nodes do not agree or a session failed.
    #[arg(long)]
    check: bool,
    /// With --check: print the result as one line of JSON, everything else to the error output.
    #[arg(long, requires = "check")]
    json: bool,
}

/// Sessions if `--sessions` is not given: enough to see, and done in a second or two.
const SESSIONS_DEFAULT: u32 = 20;

/// Most sessions: a backend remembers what it heard of all of them.
const SESSIONS_MAX: i64 = 2_000;

/// Environment variable with a filter for the nodes' log, such as `info` or `chargemesh::mesh=debug`.
const LOG_VARIABLE: &str = "CHARGEMESH_LOG";

/// Virtual seconds per second if `--speed` is not given: a day in two and a half minutes.
const SPEED_DEFAULT: f64 = 600.0;

/// Runs the demo until it is done (`--check`) or Ctrl-C.
///
/// # Errors
/// What could not be read, started or pushed.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_log();
    let screen = Screen::new(args.json);
    let (world, trace) = prepare(&args, &screen)?;
    let started = Instant::now();
    let operators = world.operators.len();
    screen.line(&format!(
        "starting 1 bootstrap, {operators} CPO and {} EMP nodes on this machine ...",
        world.emp_nodes
    ));
    let mut network = Network::new()?;
    let outcome = {
        let work = work(&args, &screen, world, trace, &mut network, started);
        tokio::select! {
            outcome = work => Some(outcome),
            () = interrupted() => None,
        }
    };
    screen.line("stopping ...");
    network.shutdown().await;
    match outcome {
        Some(Ok(good)) => Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FOUND) }),
        Some(Err(error)) => Err(error),
        None if args.check => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Ends with Ctrl-C, or when the system asks the process to end, so that no files are left behind.
async fn interrupted() {
    let interrupt = async {
        // Without signals the demo can only be ended by force; it still runs.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

/// What the nodes say themselves, to the error output: errors only, unless the environment asks for more.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env(LOG_VARIABLE);
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // If the process has a log already, that one is used.
    let _other = log.try_init();
}

fn prepare(args: &Args, screen: &Screen) -> anyhow::Result<(World, Option<Trace>)> {
    if let Some(folder) = &args.trace {
        if args.status.is_some() {
            screen.line("--status is not looked at: the trace begins with statuses of its own");
        }
        let (world, trace) = trace::read(folder, args.data.as_deref(), args.seed, screen)?;
        return Ok((world, Some(trace)));
    }
    let world = match &args.data {
        Some(data) => world::from_register(data, args.status.as_deref(), screen)?,
        None => generate::world(args.seed),
    };
    Ok((world, None))
}

/// Everything between the start of the nodes and their end; whether all came out well.
async fn work(
    args: &Args,
    screen: &Screen,
    mut world: World,
    trace: Option<Trace>,
    network: &mut Network,
    started: Instant,
) -> anyhow::Result<bool> {
    network.start(&world).await?;
    screen.line(&format!("all nodes run after {:.1} s", started.elapsed().as_secs_f64()));
    let latencies = Latencies::new(network.emps.len());
    network.watch(&latencies)?;

    let pushing = Instant::now();
    let bodies = world.take_bodies();
    let filling = fill(network, screen, pushing);
    let pushed = tokio::select! {
        pushed = push::everything(network, bodies, screen) => pushed?,
        error = filling => return Err(error),
    };
    let settled = settle(network, screen, pushing).await?;
    let mut figures = Figures::new(network, &pushed, &settled, pushing.elapsed());
    if !args.check {
        curl::show(network, &world, screen);
    }
    if args.sessions > 0 {
        let agreeing = Instant::now();
        let agreements = contracts::make(network).await?;
        screen.line(&format!("{agreements} agreements made in {:.1} s", agreeing.elapsed().as_secs_f64()));
        figures.charged(charge::run(network, &world, args.seed, args.sessions, screen).await?);
    }
    match &trace {
        Some(trace) => {
            let speed = args.speed.unwrap_or(SPEED_DEFAULT);
            let plan = schedule::plan(&trace.events, speed, args.as_recorded, args.seed);
            let failed = replay::run(network, trace, plan, &latencies, screen).await?;
            let end = settle(network, screen, Instant::now()).await?;
            let equal = check::equals_end(network, trace, screen).await?;
            figures.replayed(trace.events.len(), equal && failed == 0, &end);
        }
        None if world.is_generated => {
            let changes = args.check.then_some(drift::CHANGES_IN_CHECK);
            drift::run(network, &world, args.seed, changes, &latencies, screen).await?;
            figures.changed(&settle(network, screen, Instant::now()).await?);
        }
        None => {}
    }
    if !args.check {
        screen.line("nothing changes any more; Ctrl-C ends the demo");
        std::future::pending::<()>().await;
    }
    figures.finish(&latencies, screen);
    if args.json {
        screen.result(&figures.to_json());
    } else {
        screen.result(&figures.to_text());
    }
    Ok(figures.is_good())
}

/// Shows how the EMPs fill, until it is dropped; ends only with an error.
async fn fill(network: &Network, screen: &Screen, since: Instant) -> anyhow::Error {
    loop {
        match Comparison::of(network).await {
            Ok(now) => screen.progress(&now.to_text(since.elapsed())),
            Err(error) => return error,
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until every EMP holds what the writers signed, or until patience ends.
async fn settle(network: &Network, screen: &Screen, since: Instant) -> anyhow::Result<Comparison> {
    let begin = Instant::now();
    let mut named = begin;
    loop {
        let now = Comparison::of(network).await.context("asking the nodes what they hold")?;
        screen.progress(&now.to_text(since.elapsed()));
        if !now.converged && named.elapsed() > NAME_AFTER {
            named = Instant::now();
            now.differences
                .iter()
                .for_each(|difference| screen.line(&format!("  still missing: {difference}")));
        }
        if now.converged || begin.elapsed() > PATIENCE {
            if !now.converged {
                screen.line(&format!("the nodes do not agree after {} s:", PATIENCE.as_secs()));
                now.differences.iter().for_each(|difference| screen.line(difference));
            }
            return Ok(now);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
