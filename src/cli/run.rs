//! `chargemesh run`: one node, until it is told to stop.

mod ends;
mod files;
mod reload;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chargemesh::config::{Config, LogConfig, LogFormat, Origin, Override, environment_overrides};
use chargemesh::engine::{EngineError, SystemClock};
use chargemesh::identity::PartyId;
use chargemesh::node::{self, Deps, Node};
use tracing_subscriber::EnvFilter;

use super::EXIT_FAILED;
use ends::Ends;
use files::Files;
use reload::Loaded;

/// Libraries that report at `info` or `warn` what is no news for the operator of a node. A filter that names
/// one of them goes over this.
const QUIET_LIBRARIES: &str = "libp2p_swarm=warn,libp2p_kad=error,rusqlite_migration=warn";

/// How often the node looks whether it is still whole and what is about to end.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How often the node looks whether the files that say who it is have changed.
const FILES_INTERVAL: Duration = Duration::from_secs(5);

/// Exit code after a second Ctrl-C: 128 and the number of SIGINT, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

/// Arguments of `chargemesh run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The settings; `chargemesh init` makes them.
    #[arg(long, value_name = "FILE", default_value = "node.toml", env = "CHARGEMESH_CONFIG")]
    config: PathBuf,
    /// A setting that goes over file and environment, as in mesh.peers_target=4; may be given often.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Override>,
    /// What is logged: a level, or a filter by module such as warn,chargemesh::mesh=debug.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

fn setting(text: &str) -> Result<Override, String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| "write KEY=VALUE, as in mesh.peers_target=4".to_owned())?;
    Ok(Override { key: key.trim().to_owned(), value: value.to_owned(), origin: Origin::Flag("--set".into()) })
}

/// Runs the node.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, &overrides(&args))?;
    start_log(&config.log)?;
    let clock = SystemClock::start();
    let files = Files::of(&args.config, &config);
    let (settings, identity) = node::load(&config, clock.now().unix_s())?;
    let (running, identity_ends) = (settings.clone(), identity.clone());
    let mut ends = Ends::of(&identity, &[]);
    ends.warn(clock.now().unix_s());
    let parties: Vec<PartyId> = identity.parties.iter().map(|party| party.party.clone()).collect();
    let mut stop = StopSignals::new()?;
    let mut hangup = Hangup::new()?;
    let node = tokio::select! {
        started = Node::start(settings, identity, Deps::system(seed()?)) => started?,
        () = stop.next() => return Ok(ExitCode::SUCCESS),
    };
    announce(&node, &running.mesh.network, &parties);
    ends.replace(&identity_ends, &node.certificates());
    ends.warn(clock.now().unix_s());
    let mut loaded = Loaded { args: &args, running, clock, files, ends };
    let whole = watch(&node, &mut loaded, &mut hangup, &mut stop).await;
    say("stopping; a second Ctrl-C stops at once");
    tokio::select! {
        () = node.shutdown() => {}
        () = stop.next() => std::process::exit(EXIT_INTERRUPTED),
    }
    match whole {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!(%error, "the node ended by itself");
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

/// Returns when the node is to stop: told by a signal, or because its engine has ended.
async fn watch(
    node: &Node,
    loaded: &mut Loaded<'_>,
    hangup: &mut Hangup,
    stop: &mut StopSignals,
) -> Result<(), EngineError> {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    let mut files_interval = tokio::time::interval(FILES_INTERVAL);
    loop {
        tokio::select! {
            () = stop.next() => return Ok(()),
            () = hangup.next() => loaded.take(node, "SIGHUP").await,
            _ = files_interval.tick() => {
                loaded.look(node).await;
                continue;
            }
            _ = interval.tick() => {}
        }
        loaded.ends.warn(loaded.clock.now().unix_s());
        if let Some(engine) = node.engine()
            && let Err(error @ EngineError::Stopped) = engine.view().await
        {
            return Err(error);
        }
    }
}

fn overrides(args: &Args) -> Vec<Override> {
    // A variable that is not Unicode is none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let log = args.log.iter().map(|filter| Override {
        key: "log.filter".to_owned(),
        value: filter.clone(),
        origin: Origin::Flag("--log".to_owned()),
    });
    environment_overrides(variables).into_iter().chain(args.settings.iter().cloned()).chain(log).collect()
}

/// Log lines go to the error output, so that what the node says for people stands alone.
fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = format!("{QUIET_LIBRARIES},{}", config.filter);
    let filter = EnvFilter::try_new(&filter).with_context(|| {
        format!(
            "log.filter = {:?} is no filter: write a level (info) or warn,chargemesh::mesh=debug",
            config.filter
        )
    })?;
    let colours = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the operating system gives no random bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

/// Where to look, once everything listens.
fn announce(node: &Node, network: &str, parties: &[PartyId]) {
    let who = match parties {
        [] => "no party".to_owned(),
        parties => parties.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    say(&format!("running: {who} in the network `{network}`"));
    say(&format!("  peer id  {}", node.peer_id()));
    for address in node.mesh_addresses() {
        say(&format!("  mesh     {address}"));
    }
    if let Some(url) = node.facade_url() {
        say(&format!("  facade   {url}   (base URL for OICP backends)"));
        say(&format!("  look     chargemesh peers --node {url}"));
    }
    say("  stop     Ctrl-C");
}

/// A line for people. That nobody reads them any more is no reason for a node to end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads the standard output");
    }
}

/// What tells a node to stop.
struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    #[cfg(unix)]
    fn new() -> anyhow::Result<StopSignals> {
        use tokio::signal::unix::{SignalKind, signal};
        let context = "cannot listen for Ctrl-C and SIGTERM";
        let interrupt = signal(SignalKind::interrupt()).context(context)?;
        let terminate = signal(SignalKind::terminate()).context(context)?;
        Ok(StopSignals { interrupt, terminate })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> anyhow::Result<StopSignals> {
        Ok(StopSignals {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        // Without signals the node can only be ended from outside; it still runs.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What tells a node to load its files anew; elsewhere than on Unix it only looks at them.
struct Hangup(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangup {
    #[cfg(unix)]
    fn new() -> anyhow::Result<Hangup> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Hangup(signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?))
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    fn new() -> anyhow::Result<Hangup> {
        Ok(Hangup())
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_last() {
        assert!(setting("mesh.listen").is_err());
        let over = setting("facade.listen=127.0.0.1:0").unwrap();
        assert_eq!((over.key.as_str(), over.value.as_str()), ("facade.listen", "127.0.0.1:0"));
        let args = Args { config: "x".into(), settings: vec![over], log: Some("debug".into()) };
        let keys: Vec<String> = overrides(&args).into_iter().map(|over| over.key).collect();
        assert_eq!(keys.last().map(String::as_str), Some("log.filter"));
    }
}
