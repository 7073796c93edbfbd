//! `chargemesh cdr`: the charge detail records of a running node, and corrections.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chargemesh::oicp::charging::SessionId;
use chargemesh::oicp::json::Node;

use super::refusal::print_refusal;
use super::table::{Table, age, grouped, shown};
use super::{Lines, Target, flag, items, now_unix_ms, number, parsed, print_json, said, text};
use crate::cli::EXIT_FOUND;
use crate::cli::text::{self, print};

/// See how far charge detail records have come, and correct one.
///
/// Exit codes: 0 done; 1 the node refuses, or there is none; 2 not done.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the newest charge detail records.
    List {
        /// Only those that have come so far.
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// Only those with this party, as in EMP:DE-XYZ.
        #[arg(long, value_name = "PARTY")]
        partner: Option<String>,
        /// Most records.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
        #[command(flatten)]
        target: Target,
    },
    /// Show all charge detail records of a session, with what was said of them. Personal data is left out.
    Show {
        /// SessionID.
        session: String,
        /// Print the OICP messages as well: they name drivers.
        #[arg(long)]
        content: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Send a charge detail record that takes the place of an earlier one of its session. Both are kept.
    Correct {
        /// The new record, as OICP's JSON.
        file: PathBuf,
        /// Name of the record that it replaces, as `chargemesh cdr show` prints it.
        #[arg(long, value_name = "HASH")]
        replaces: String,
        #[command(flatten)]
        target: Target,
    },
}

/// How far a record can have come.
const STATES: [&str; 6] = ["waiting", "received", "accepted", "rejected", "refused", "kept"];

/// Longest finding in characters: it is shown whole, with the values that it speaks of.
const FINDING_CHARACTERS_MAX: usize = 2_000;

/// Hex digits of a record's name.
const NAME_LENGTH: usize = 64;

/// Does what the command says.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { state, partner, limit, target } => list(&target, state, partner, limit).await,
        Command::Show { session, content, target } => show(&target, &session, content).await,
        Command::Correct { file, replaces, target } => correct(&target, &file, &replaces).await,
    }
}

async fn list(
    target: &Target,
    state: Option<String>,
    partner: Option<String>,
    limit: u64,
) -> anyhow::Result<ExitCode> {
    let mut path = format!("admin/v1/cdrs?limit={limit}");
    if let Some(state) = state {
        path.push_str(&format!("&state={state}"));
    }
    if let Some(partner) = partner {
        // Checked here, so that nothing but an id gets into the path.
        path.push_str(&format!("&partner={}", crate::cli::party::party_id(&partner)?.to_text()));
    }
    let answer = target.get(&path).await?;
    if answer.http_status != 200 {
        bail!("{} answered with HTTP {}: {}", target.node, answer.http_status, said(&answer));
    }
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let cdrs = items(&root, "cdrs");
    let mut out = Lines::default();
    out.line(&format!("Charge detail records: {}", grouped(cdrs.len() as u64)));
    let header = ["session", "direction", "partner", "state", "stored ago", "messages", "findings"];
    let mut table = Table::new("  ").header(header).right([4, 5, 6]);
    let now_ms = now_unix_ms();
    for cdr in cdrs {
        table.row([
            shown(&text(cdr, "session")),
            shown(&text(cdr, "direction")),
            shown(&text(cdr, "partner")),
            state_line(cdr),
            age(now_ms, number(cdr, "stored_unix_ms")),
            grouped(number(cdr, "attempts")),
            grouped(items(cdr, "findings").len() as u64),
        ]);
    }
    out.0.push_str(&table.to_text());
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn state_line(cdr: &Node<'_>) -> String {
    let state = shown(&text(cdr, "state"));
    // Nobody signed what the hub brought.
    let state = match text(cdr, "way").as_str() {
        "hub" => format!("{state}, {}", shown(&text(cdr, "attested"))),
        _ => state,
    };
    match (flag(cdr, "to_tell"), text(cdr, "replaces").is_empty()) {
        (true, _) => format!("{state}, to be told"),
        (false, false) => format!("{state}, a correction"),
        (false, true) => state,
    }
}

async fn show(target: &Target, session: &str, content: bool) -> anyhow::Result<ExitCode> {
    // Checked here, so that nothing but an id gets into the path.
    let id = SessionId::parse(session).with_context(|| format!("{session:?} is no SessionID"))?;
    let answer = target.get(&format!("admin/v1/cdrs/{id}")).await?;
    if answer.http_status == 404 {
        print(&format!("{id}: this node has no charge detail record of this session\n"))?;
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let mut out = Lines::default();
    let now_ms = now_unix_ms();
    for cdr in items(&root, "cdrs") {
        // Whole: `cdr correct --replaces` takes it.
        let name = text::shown(&text(cdr, "hash"), NAME_LENGTH);
        out.line(&format!("{name}  {}", shown(&text(cdr, "direction"))));
        out.line(&format!("  {} with {}", shown(&text(cdr, "party")), shown(&text(cdr, "partner"))));
        out.line(&format!(
            "  {}, stored {} ago, messages and calls for it: {}",
            state_line(cdr),
            age(now_ms, number(cdr, "stored_unix_ms")),
            grouped(number(cdr, "attempts"))
        ));
        for (name, words) in [("replaces", "replaces"), ("replaced_by", "replaced by")] {
            let other = text(cdr, name);
            if !other.is_empty() {
                out.line(&format!("  {words} {}", text::shown(&other, NAME_LENGTH)));
            }
        }
        for receipt in items(cdr, "receipts") {
            let when = age(now_ms, number(receipt, "at_unix_ms"));
            let code = text(receipt, "code");
            let code = if code.is_empty() { code } else { format!(" with {code}") };
            out.line(&format!("  receipt: {}{}, {when} ago", shown(&text(receipt, "verdict")), shown(&code)));
        }
        for finding in items(cdr, "findings").iter().filter_map(Node::as_str) {
            out.line(&format!("  finding: {}", text::shown(finding, FINDING_CHARACTERS_MAX)));
        }
        if content {
            out.line(&text(cdr, "oicp"));
        }
    }
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

async fn correct(target: &Target, file: &std::path::Path, replaces: &str) -> anyhow::Result<ExitCode> {
    if replaces.len() != NAME_LENGTH || !replaces.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{replaces:?} is no name of a record: 64 hex digits, as `chargemesh cdr show` prints them");
    }
    let body = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let path = format!("admin/v1/cdrs/corrections?replaces={}", replaces.to_ascii_lowercase());
    let answer = target.post(&path, body.into()).await?;
    match answer.http_status {
        200 if !flag(&parsed(&answer)?, "Result") => print_refusal(target, &answer, EXIT_FOUND),
        200 if target.json => print_json(&answer),
        200 => {
            print("taken; the partner's node is told\n")?;
            Ok(ExitCode::SUCCESS)
        }
        400 | 401 | 404 | 409 | 413 => print_refusal(target, &answer, EXIT_FOUND),
        status => bail!("{} answered with HTTP {status}: {}", target.node, said(&answer)),
    }
}
