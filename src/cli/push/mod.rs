//! `chargemesh push`: a register or status file to a node, as an operator's backend would push it.

mod plan;
mod progress;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use chargemesh::oicp::acknowledgement::Acknowledgement;
use chargemesh::oicp::id::OperatorId;
use chargemesh::oicp::push::ActionType;
use chargemesh::oicp::register::RegisterKind;
use chargemesh::oicp::status_code::Code;
use chargemesh::outbound::{HubClient, OutboundError};

use super::reach::{Https, backend_client};
use super::text::{counted, print, shown};
use super::{EXIT_FOUND, input};
use plan::{Plan, Push};
use progress::Progress;

/// How often a push is tried while the node is busy: about half a minute.
const TRIES_MAX: u32 = 8;

/// Wait before the second try; doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(250);

/// Characters shown of what a node says; it may say 1000 (OICP AdditionalInfo).
const SAID_CHARACTERS_MAX: usize = 1000;

/// Push a register or status file to a node, as an operator's backend would: one push for each operator.
///
/// Exit codes: 0 all accepted; 1 something was refused, held or left out; 2 not done.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Subcommand>,
    /// EVSE data or statuses in any known envelope, may be gzipped; `-` reads the standard input.
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// The backend's key, if the node asks for one.
    #[arg(long, env = "CHARGEMESH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Push only this operator; with a file of one operator: whose the records are.
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    /// fullLoad, insert, update or delete [default: what the file says, else fullLoad].
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Option<ActionType>,
    /// Confirm at once what the node holds because it would remove much.
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Subcommand {
    /// Carry out a push that the node holds because it would remove much.
    Confirm {
        /// Its number, as the answer to the push and `chargemesh peers --held` give it.
        #[arg(value_name = "NUMBER")]
        held: u64,
        #[command(flatten)]
        node: NodeArgs,
    },
}

/// Which node.
#[derive(clap::Args, Debug)]
struct NodeArgs {
    /// The node's address for backends.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    node: String,
    /// Key of the admin API, which confirms; on the node's own machine none is needed by default.
    #[arg(long, value_name = "KEY", env = "CHARGEMESH_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
    #[command(flatten)]
    https: Https,
}

impl NodeArgs {
    fn client(&self, key: Option<&str>) -> anyhow::Result<HubClient> {
        Ok(backend_client(&self.node, key, &self.https)?.with_admin_key(self.admin_key.as_deref()))
    }
}

fn action(text: &str) -> Result<ActionType, String> {
    ActionType::parse(text).ok_or_else(|| "write fullLoad, insert, update or delete".to_owned())
}

/// Pushes the file, or confirms a held push.
///
/// # Errors
/// The file cannot be read, or the node cannot be reached.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Subcommand::Confirm { held, node }) = &args.command {
        return confirm(node, *held).await;
    }
    let Some(file) = &args.file else { bail!("a FILE to push is needed") };
    let name = file.display().to_string();
    let only = match &args.operator {
        Some(text) => Some(OperatorId::parse(text).with_context(|| format!("--operator {text}"))?),
        None => None,
    };
    let body = input::read(file)?;
    let plan = plan::read(&body, only.as_ref(), args.action).with_context(|| name.clone())?;
    drop(body);
    let client = args.node.client(args.key.as_deref())?;
    announce(&name, &plan, &args.node.node);
    let (rows, broken) = push_all(&client, &plan, args.yes).await;
    print(&summary(&plan, &rows, &args.node.node))?;
    match broken {
        Some(error) => Err(error.into()),
        None if rows.iter().all(Row::is_accepted) && plan.left_out.is_empty() => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::from(EXIT_FOUND)),
    }
}

async fn confirm(node: &NodeArgs, held: u64) -> anyhow::Result<ExitCode> {
    let client = node.client(None)?;
    let answer = client.confirm(held).await?;
    if answer.result {
        print(&format!("{held}: done\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{held}: refused with {}\n", said(&answer)))?;
    Ok(ExitCode::from(EXIT_FOUND))
}

/// Says before the first push what will be done.
fn announce(name: &str, plan: &Plan, node: &str) {
    let what = match plan.kind {
        RegisterKind::EvseData => "EVSE data",
        RegisterKind::EvseStatus => "EVSE statuses",
    };
    let records = plan.pushes.iter().map(|push| push.records).sum();
    eprintln!(
        "{name}: {what}, {} of {} to {}, ActionType {}",
        counted(records, "record"),
        counted(plan.pushes.len(), "operator"),
        without_key(node),
        plan.action.as_str(),
    );
    for (received, id) in &plan.derived {
        eprintln!("OperatorID {} is invalid: its EvseIDs say {}", shown(received, 100), id.as_str());
    }
    for reason in &plan.left_out {
        eprintln!("left out: {}; --operator ID picks or states one", shown(reason, SAID_CHARACTERS_MAX));
    }
}

/// The address without a key in its path.
fn without_key(url: &str) -> &str {
    url.split_once("/k/").map_or(url, |(before, _)| before)
}

/// What became of one operator's push.
struct Row {
    operator: String,
    records: usize,
    outcome: Outcome,
}

enum Outcome {
    Accepted,
    /// Held by the guard rail under this number.
    Held(u64, String),
    Refused(String),
}

impl Row {
    fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted)
    }
}

/// Pushes one operator after the other. An error that will meet the others too ends it.
async fn push_all(client: &HubClient, plan: &Plan, yes: bool) -> (Vec<Row>, Option<OutboundError>) {
    let progress = Progress::new(plan.pushes.iter().map(|push| push.body.len() as u64).sum());
    let mut rows = Vec::new();
    let mut broken = None;
    for push in &plan.pushes {
        let operator = push.operator_id.as_str().to_owned();
        progress.begin(format!("{operator}: {}", counted(push.records, "record")));
        match outcome(client, plan.kind, push, yes).await {
            Ok(outcome) => rows.push(Row { operator, records: push.records, outcome }),
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
        progress.done(push.body.len() as u64);
    }
    progress.finish();
    (rows, broken)
}

async fn outcome(
    client: &HubClient,
    kind: RegisterKind,
    push: &Push,
    yes: bool,
) -> Result<Outcome, OutboundError> {
    let answer = match patiently(client, kind, push.operator_id.as_str(), &push.body).await {
        Ok(answer) => answer,
        // No acknowledgement but the hub's FaultBody: about this body only.
        Err(OutboundError::Unexpected { http_status, said, .. }) => {
            return Ok(Outcome::Refused(unreadable(http_status, &said)));
        }
        Err(broken @ OutboundError::Unreachable { .. }) => {
            return match refusal(client, kind, push.operator_id.as_str()).await {
                Some(refusal) => Ok(Outcome::Refused(refusal)),
                None => Err(broken),
            };
        }
        Err(error) => return Err(error),
    };
    match held(&answer) {
        Some(number) if yes => {
            let confirmed = client.confirm(number).await?;
            Ok(if confirmed.result {
                Outcome::Accepted
            } else {
                Outcome::Held(number, format!("its confirmation was refused with {}", said(&confirmed)))
            })
        }
        Some(number) => Ok(Outcome::Held(number, said(&answer))),
        None if answer.result => Ok(Outcome::Accepted),
        None => Ok(Outcome::Refused(said(&answer))),
    }
}

/// Who may not act for an operator is refused before the body is read, so a large push sees only that the
/// connection breaks. An empty object, which is no push, gets the answer.
async fn refusal(client: &HubClient, kind: RegisterKind, operator: &str) -> Option<String> {
    let answer = once(client, kind, operator, &Bytes::from_static(b"{}")).await.ok()?;
    (!answer.result).then(|| said(&answer))
}

/// Tries again while the node is busy; a busy node has not begun, so no push is made twice.
async fn patiently(
    client: &HubClient,
    kind: RegisterKind,
    operator: &str,
    body: &Bytes,
) -> Result<Acknowledgement, OutboundError> {
    let mut wait = WAIT_FIRST;
    for _ in 1..TRIES_MAX {
        match once(client, kind, operator, body).await {
            Err(OutboundError::TryAgain { .. }) => tokio::time::sleep(wait).await,
            other => return other,
        }
        wait *= 2;
    }
    once(client, kind, operator, body).await
}

async fn once(
    client: &HubClient,
    kind: RegisterKind,
    operator: &str,
    body: &Bytes,
) -> Result<Acknowledgement, OutboundError> {
    match kind {
        RegisterKind::EvseData => client.push_evse_data(operator, body.clone()).await,
        RegisterKind::EvseStatus => client.push_evse_status(operator, body.clone()).await,
    }
}

/// The number of a held push: the guard rail answers 009 and names the command that confirms it
/// (`decisions.md` 12).
fn held(answer: &Acknowledgement) -> Option<u64> {
    if answer.result || answer.status.known() != Some(Code::DataTransactionError) {
        return None;
    }
    let (_, rest) = answer.status.additional_info.as_deref()?.split_once("push confirm ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Code, description and AdditionalInfo on one line.
fn said(answer: &Acknowledgement) -> String {
    let status = &answer.status;
    let parts = [status.description.as_deref(), status.additional_info.as_deref()];
    let text: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    shown(format!("{} {}", status.code, text.join(": ")).trim_end(), SAID_CHARACTERS_MAX)
}

fn unreadable(http_status: u16, said: &str) -> String {
    let advice = match http_status {
        400 => {
            "; the node reads this backend strictly: `chargemesh lint FILE --fix OUT` repairs what can be, or set `reading = \"tolerant\"` under [[facade.backend]]"
        }
        413 => "; raise `body_size_bytes_max` under [facade]",
        404 => "; is this the address for backends of a chargemesh node?",
        _ => "",
    };
    format!("HTTP {http_status}: {}{advice}", shown(said, 200))
}

/// One line per operator that needs a look, and the totals.
fn summary(plan: &Plan, rows: &[Row], node: &str) -> String {
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{arguments}");
    };
    let (mut accepted, mut held, mut refused) = (Total::default(), Total::default(), Total::default());
    for row in rows {
        let (operator, records) = (&row.operator, counted(row.records, "record"));
        match &row.outcome {
            Outcome::Accepted => accepted.add(row),
            Outcome::Held(number, why) => {
                held.add(row);
                line(format_args!("{operator}: {records} held: {why}"));
                line(format_args!(
                    "  to do it: chargemesh push confirm {number} --node {}",
                    without_key(node)
                ));
            }
            Outcome::Refused(why) => {
                refused.add(row);
                line(format_args!("{operator}: {records} refused: {why}"));
            }
        }
    }
    let all = plan.pushes.iter().map(|push| push.records).sum::<usize>();
    let unsent = all - accepted.records - held.records - refused.records;
    let left_out = plan.left_out.len();
    line(format_args!("accepted {accepted}; held {held}; refused {refused}"));
    if unsent > 0 {
        line(format_args!("not sent {}", counted(unsent, "record")));
    }
    if left_out > 0 {
        line(format_args!("left out {}", counted(left_out, "operator")));
    }
    text
}

#[derive(Default)]
struct Total {
    operators: usize,
    records: usize,
}

impl Total {
    fn add(&mut self, row: &Row) {
        self.operators += 1;
        self.records += row.records;
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.operators {
            0 => f.write_str("0"),
            operators => {
                write!(f, "{} of {}", counted(self.records, "record"), counted(operators, "operator"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
