//! `chargemesh evidence`: what was said in a session, signed: listed, exported and deleted at a running node, and
//! checked anywhere.

mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use chargemesh::identity::TrustList;
use chargemesh::oicp::charging::SessionId;
use chargemesh::oicp::json::Node;
use chargemesh::oicp::time::{format_ms, parse_ms};
use chargemesh::outbound::Received;
use chargemesh::protocol::evidence::{EVIDENCE_FILE_BYTES_MAX, verify_evidence};

use super::table::{Table, shown};
use super::{Lines, Target, flag, items, number, parsed, print_json, said, text};
use crate::cli::EXIT_FOUND;
use crate::cli::files;
use crate::cli::text::{print, shell};
use crate::cli::trust::list;

/// Prove a session: list, export, check and delete the signed messages that were said in it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the log of a running node: who said what to whom, the newest first.
    List {
        /// Only this session.
        #[arg(long, value_name = "SESSION", value_parser = session)]
        session: Option<String>,
        /// How many messages.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Only messages before this number, to go on where a list ended.
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        #[command(flatten)]
        target: Target,
    },
    /// Show what a running node can prove of a session.
    Show {
        /// SessionID.
        #[arg(value_parser = session)]
        session: String,
        /// Also print the OICP messages; they may name the driver.
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Write the file that proves a session: messages, receipts, and the credentials of who signed.
    Export {
        /// SessionID.
        #[arg(value_parser = session)]
        session: String,
        /// The file [default: SESSION.evidence].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
    /// Check such a file and say what happened. Needs no node and no network.
    ///
    /// Exit codes: 0 all of it holds; 1 the place is named that does not, or where it ends too early or is no evidence;
    /// 2 there is no such file, or it may not be opened.
    Verify {
        /// The file.
        file: PathBuf,
        /// Whom to believe: a trust list or a node's pins, several if need be. Without one, who issued the credentials
        /// is taken at his word.
        #[arg(long = "trust-list", value_name = "FILE")]
        trust_lists: Vec<PathBuf>,
        /// Also print the OICP messages; they may name the driver.
        #[arg(long)]
        full: bool,
    },
    /// Delete personal data at a running node for good: messages, what sessions know of drivers, charge detail records.
    /// The hashes stay, so that the log can still be checked.
    Erase {
        /// SessionID of a session that is over.
        #[arg(value_parser = session, required_unless_present = "before")]
        session: Option<String>,
        /// All that is older, as in 2026-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = past, conflicts_with = "session")]
        before: Option<u64>,
        /// Do it: there is no way back.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: Target,
    },
}

fn session(text: &str) -> Result<String, String> {
    let id =
        SessionId::parse(text).ok_or("a SessionID is a UUID, as in b2688855-7f00-4002-6d8e-48d883f6abb6")?;
    Ok(id.as_str().to_owned())
}

fn past(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text).and_then(|ms| u64::try_from(ms).ok());
    ms.ok_or_else(|| "write a time with its zone, as in 2026-01-01T00:00:00Z".to_owned())
}

/// Does what the command says.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { session, limit, before, target } => {
            show_log(&target, session.as_deref(), limit, before).await
        }
        Command::Show { session, full, target } => match fetched(&target, &session).await? {
            // The node that is asked speaks for itself.
            Some(file) => told(&file, None, full),
            None => Ok(ExitCode::from(EXIT_FOUND)),
        },
        Command::Export { session, out, target } => export(&target, &session, out).await,
        Command::Verify { file, trust_lists, full } => {
            let bytes = files::read(&file, EVIDENCE_FILE_BYTES_MAX as u64)?;
            told(&bytes, believed(&trust_lists)?.as_ref(), full)
        }
        Command::Erase { session, before, yes, target } => {
            ensure!(yes, "this deletes for good: say it with --yes");
            let path = match (session, before) {
                (Some(session), _) => format!("admin/v1/evidence/{session}/erase"),
                (None, Some(before)) => format!("admin/v1/evidence/erase?before_unix_ms={before}"),
                (None, None) => bail!("name a session, or a time with --before"),
            };
            erase(&target, &path).await
        }
    }
}

async fn show_log(
    target: &Target,
    session: Option<&str>,
    limit: u32,
    before: Option<u64>,
) -> anyhow::Result<ExitCode> {
    let mut path = format!("admin/v1/evidence?limit={limit}");
    path.extend(session.map(|session| format!("&session={session}")));
    path.extend(before.map(|before| format!("&before={before}")));
    let answer = target.get(&path).await?;
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let messages = items(&root, "messages");
    let mut table = Table::new("").header(["number", "time", "session", "from", "to", "what"]).right([0]);
    for message in messages {
        table.row(line(message));
    }
    let mut out = Lines(table.to_text());
    match messages.last() {
        None => out.line("nothing is logged"),
        Some(last) if messages.len() as u64 >= number(&root, "shown_max") => {
            out.line(&format!("go on with --before {}", number(last, "number")));
        }
        Some(_) => {}
    }
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn line(message: &Node<'_>) -> [String; 6] {
    let (ours, partner) = (shown(&text(message, "party")), shown(&text(message, "partner")));
    let (from, to) = if text(message, "direction") == "received" { (partner, ours) } else { (ours, partner) };
    let what = shown(&text(message, "what"));
    [
        number(message, "number").to_string(),
        format_ms(i64::try_from(number(message, "at_unix_ms")).unwrap_or(i64::MAX)),
        shown(&text(message, "session")),
        from,
        to,
        if flag(message, "erased") { format!("{what} (deleted)") } else { what },
    ]
}

/// The file about a session; `None`, and said, if the node has nothing.
async fn fetched(target: &Target, session: &str) -> anyhow::Result<Option<Bytes>> {
    let Received { http_status, body } = target.get(&format!("admin/v1/evidence/{session}")).await?;
    match http_status {
        200 => Ok(Some(body)),
        404 => {
            print(&format!("{}: nothing is logged about {session}\n", target.node))?;
            Ok(None)
        }
        _ => bail!("the node answered with HTTP {http_status}: {}", said(&Received { http_status, body })),
    }
}

async fn export(target: &Target, session: &str, out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let Some(file) = fetched(target, session).await? else { return Ok(ExitCode::from(EXIT_FOUND)) };
    let report = verify_evidence(&file, None).context("the node made a file that does not hold")?;
    let out = out.unwrap_or_else(|| PathBuf::from(format!("{session}.evidence")));
    ensure!(!out.exists(), "{} is there already: nothing is ever overwritten", out.display());
    files::write_secret(&out, &file)?;
    print(&format!(
        "{}: {} of the log of {}. It may name the driver: give it only to who may know.\n\
         Check it with: chargemesh evidence verify {}\n",
        out.display(),
        crate::cli::text::counted(report.told.len(), "message"),
        report.party,
        shell(&out),
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn erase(target: &Target, path: &str) -> anyhow::Result<ExitCode> {
    let answer = target.post(path, Bytes::new()).await?;
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let info = root.field("StatusCode").map(|status| text(status, "AdditionalInfo")).unwrap_or_default();
    let done = flag(&root, "Result");
    print(&format!("{}{}\n", if done { "" } else { "refused: " }, shown(&info)))?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

/// All lists as one; `None` without any.
fn believed(lists: &[PathBuf]) -> anyhow::Result<Option<TrustList>> {
    let mut all: Option<TrustList> = None;
    for file in lists {
        let (_, _, list) = list::read(&list::file_of(file))?;
        match &mut all {
            None => all = Some(list),
            Some(all) => {
                let new =
                    list.issuers.into_iter().filter(|issuer| all.issuer(issuer.key.as_bytes()).is_none());
                let new: Vec<_> = new.collect();
                all.issuers.extend(new);
                all.valid_until_unix_s = all.valid_until_unix_s.min(list.valid_until_unix_s);
                *all = all.clone().with_pins(list.pins);
            }
        }
    }
    Ok(all)
}

/// What a file proves, or where it is wrong.
fn told(file: &[u8], trust: Option<&TrustList>, full: bool) -> anyhow::Result<ExitCode> {
    match verify_evidence(file, trust) {
        Ok(report) => {
            print(&report::text_of(&report, full))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            print(&format!("This file does not hold.\n  {}: {}\n", shown(&fault.place), fault.why))?;
            Ok(ExitCode::from(EXIT_FOUND))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_or_a_time_gets_into_a_path() {
        let id = "B2688855-7f00-4002-6d8e-48d883f6abb6";
        assert_eq!(session(id).unwrap(), id.to_lowercase());
        assert!(session("../view").is_err());
        assert_eq!(past("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(past("yesterday").is_err());
    }
}
