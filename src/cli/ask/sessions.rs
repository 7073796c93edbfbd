//! `chargemesh sessions`: the sessions that a running node knows.

use std::process::ExitCode;

use chargemesh::oicp::json::Node;

use super::table::{Table, age, grouped, shown};
use super::{Lines, Target, flag, items, now_unix_ms, number, parsed, print_json, text};
use crate::cli::text::print;

/// Arguments of `chargemesh sessions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only sessions of this phase.
    #[arg(long, value_name = "PHASE", value_parser = PHASES)]
    phase: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// How far a session can have come.
const PHASES: [&str; 8] =
    ["requested", "calling", "in-doubt", "unconfirmed", "active", "refused", "closed", "expired"];

/// Shows the sessions.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = match &args.phase {
        Some(phase) => format!("admin/v1/sessions?phase={phase}"),
        None => "admin/v1/sessions".to_owned(),
    };
    let answer = args.target.get(&path).await?;
    if args.target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let sessions = items(&root, "sessions");
    let mut out = Lines::default();
    let newest = match number(&root, "shown_max") {
        most if most > 0 && sessions.len() as u64 >= most => ", the newest",
        _ => "",
    };
    out.line(&format!("Sessions: {}{newest}", grouped(sessions.len() as u64)));
    let header = ["session", "operation", "asked by", "partner", "evse", "phase", "since", "opened"];
    let mut table = Table::new("  ").header(header).right([6, 7]);
    let now_ms = now_unix_ms();
    for session in sessions {
        table.row(row(session, now_ms));
    }
    out.0.push_str(&table.to_text());
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn row(session: &Node<'_>, now_ms: u64) -> [String; 8] {
    let or_dash = |name| match text(session, name) {
        none if none.is_empty() => "-".to_owned(),
        some => shown(&some),
    };
    [
        or_dash("session"),
        or_dash("operation"),
        if flag(session, "asked_by_us") { "us" } else { "partner" }.to_owned(),
        or_dash("partner"),
        or_dash("evse"),
        match text(session, "way").as_str() {
            // Only the hub says who the partner is.
            "hub" => format!("{}, {}", or_dash("phase"), or_dash("attested")),
            _ => or_dash("phase"),
        },
        age(now_ms, number(session, "changed_unix_ms")),
        format!("{} ago", age(now_ms, number(session, "opened_unix_ms"))),
    ]
}
