//! `chargemesh backend`: plays the backend of a CPO or an EMP, for who has none yet.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use chargemesh::backend::{Backend, Behaviour, Behaviours, Config, Kind, Play, Received, Sent};
use chargemesh::engine::SystemClock;
use chargemesh::oicp::charging::Uid;
use chargemesh::oicp::evco::EvcoId;
use chargemesh::oicp::id::{OperatorId, ProviderId};
use chargemesh::oicp::time::format_ms;

use super::text::shown;

/// Characters shown of a value from outside.
const VALUE_CHARACTERS_MAX: usize = 64;
/// Characters shown of an answer; a node's error may be longer.
const ANSWER_CHARACTERS_MAX: usize = 200;
/// Characters shown of a body.
const BODY_CHARACTERS_MAX: usize = 4_000;

/// Play a backend, or the central hub: a small real server that takes what a node sends there.
///
/// Name it in the node's settings as [[outbound.backend]], or under [hub]. Every request is shown on one line.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The backend of a charge point operator: takes remote starts and stops, and reservations.
    Cpo(CpoArgs),
    /// The backend of a provider: authorizes, takes notifications and charge detail records.
    Emp(EmpArgs),
    /// The central hub: takes pushes, answers pulls, and forwards messages between its partners.
    Hub(super::played_hub::HubArgs),
}

/// What both sides can be told.
#[derive(clap::Args)]
struct CommonArgs {
    /// answer, refuse, refuse=CODE, slow=MILLISECONDS, silent, garbage, http=STATUS, die or twice; for single
    /// operations in a list, as in answer,remote-start:slow=5000,remote-stop:refuse=501.
    #[arg(long, value_name = "LIST", default_value = "answer")]
    behaviour: Behaviours,
    /// Show the bodies, too: they hold card numbers and contracts.
    #[arg(short, long)]
    verbose: bool,
}

/// Arguments of `chargemesh backend cpo`.
#[derive(clap::Args)]
pub(crate) struct CpoArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    #[command(flatten)]
    common: CommonArgs,
    /// The CPO's own node: tell it of each session that was started, to the charge detail record.
    #[arg(long, value_name = "URL", requires = "operator")]
    node: Option<String>,
    /// The backend's key, if the node asks for one.
    #[arg(long, env = "CHARGEMESH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The CPO's id, as in CH*ABC.
    #[arg(long, value_name = "ID", requires = "node", value_parser = operator)]
    operator: Option<OperatorId>,
    /// How long a session lasts, unless it is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    session_seconds: u64,
}

/// Arguments of `chargemesh backend emp`.
#[derive(clap::Args)]
pub(crate) struct EmpArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    listen: SocketAddr,
    #[command(flatten)]
    common: CommonArgs,
    /// The EMP's id in its answers, as in DE-DCB.
    #[arg(long, value_name = "ID", value_parser = provider)]
    provider: Option<ProviderId>,
    /// The cards that may charge; without cards and contracts everybody may.
    #[arg(long = "card", value_name = "UID", value_delimiter = ',', value_parser = card)]
    cards: Vec<Uid>,
    /// The contracts that may charge.
    #[arg(long = "contract", value_name = "EVCOID", value_delimiter = ',', value_parser = contract)]
    contracts: Vec<EvcoId>,
}

fn operator(text: &str) -> Result<OperatorId, String> {
    OperatorId::parse(text).map_err(|error| error.to_string())
}

fn provider(text: &str) -> Result<ProviderId, String> {
    ProviderId::parse(text).map_err(|error| error.to_string())
}

fn card(text: &str) -> Result<Uid, String> {
    Uid::parse(text).ok_or_else(|| "a UID has 8, 14 or 20 hex digits".to_owned())
}

fn contract(text: &str) -> Result<EvcoId, String> {
    EvcoId::parse(text).map_err(|error| error.to_string())
}

/// Plays the backend until Ctrl-C, or until it dies as it was told to.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let clock = SystemClock::start();
    let (config, verbose) = match command {
        Command::Hub(args) => return super::played_hub::run(args).await,
        Command::Cpo(args) => {
            let length = Duration::from_secs(args.session_seconds);
            let play = args.node.zip(args.operator);
            let play = play.map(|(node, operator)| Play { node, key: args.key, operator, length });
            let behaviours = args.common.behaviour;
            let config = Config { listen: args.listen, behaviours, play, ..Config::new(Kind::Cpo, clock) };
            (config, args.common.verbose)
        }
        Command::Emp(args) => {
            let config = Config {
                listen: args.listen,
                behaviours: args.common.behaviour,
                provider: args.provider,
                cards: args.cards,
                contracts: args.contracts,
                ..Config::new(Kind::Emp, clock)
            };
            (config, args.common.verbose)
        }
    };
    let kind = config.kind;
    let backend = Backend::start(config).await?;
    println!("running: {kind} backend at {}", backend.url());
    let also = if kind == Kind::Emp { ", notifications = true" } else { "" };
    println!("  setting  [[outbound.backend]] of the node: url = \"{}\"{also}", backend.url());
    println!("  stop     Ctrl-C");
    show(&backend, verbose).await;
    backend.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn show(backend: &Backend, verbose: bool) {
    let stop = async {
        // Without signals only a kill ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            received = backend.next() => {
                println!("{}", received_line(&received));
                if verbose {
                    println!("             {}", shown(&String::from_utf8_lossy(&received.body), BODY_CHARACTERS_MAX));
                }
                if received.behaviour == Behaviour::Die {
                    return;
                }
            }
            sent = backend.next_sent() => println!("{}", sent_line(&sent)),
        }
    }
}

/// A request on one line, without personal data.
fn received_line(received: &Received) -> String {
    let what = match &received.session {
        Some(session) => shown(session, VALUE_CHARACTERS_MAX),
        // What it is about is unknown, so where it went may help.
        None => shown(&received.path, 2 * VALUE_CHARACTERS_MAX),
    };
    let evse = received
        .evse
        .as_ref()
        .map_or_else(String::new, |evse| format!(" at {}", shown(evse, VALUE_CHARACTERS_MAX)));
    let delay = match received.behaviour {
        Behaviour::Slow(time) => format!(" in {} ms", time.as_millis()),
        Behaviour::Twice => " twice".to_owned(),
        _ => String::new(),
    };
    let answer = shown(&received.answer, ANSWER_CHARACTERS_MAX);
    format!("{} <- {:<17} {what}{evse}: {answer}{delay}", time(received.at), received.operation)
}

/// A message of a session that is played, on one line.
fn sent_line(sent: &Sent) -> String {
    let Sent { what, session, answer, .. } = sent;
    format!("{} -> {what:<21} {session}: {}", time(sent.at), shown(answer, ANSWER_CHARACTERS_MAX))
}

/// The time of day (UTC), as in 14:27:43.052.
fn time(unix_ms: u64) -> String {
    let text = format_ms(i64::try_from(unix_ms).unwrap_or(i64::MAX));
    text.split(['T', 'Z']).nth(1).unwrap_or_default().to_owned()
}
