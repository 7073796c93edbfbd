//! `chargemesh statement` and `reconcile`: a month on paper, and whether the other side sees it the same way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use bytes::Bytes;
use chargemesh::engine::Month;
use chargemesh::oicp::json::Node;
use chargemesh::oicp::json_write::Writer;
use chargemesh::outbound::Received;

use super::refusal::print_refusal;
use super::table::{Table, grouped, shown};
use super::{Lines, Target, flag, items, number, parsed, print_json, said, text};
use crate::cli::party::party_id;
use crate::cli::text::{complain, print};
use crate::cli::{EXIT_FAILED, EXIT_FOUND, files, text as words};

/// Characters shown of a reason: a hundred validation errors fit.
pub(super) const REASON_CHARACTERS_MAX: usize = 8_000;

/// Reasons why something was not done that are shown; `--json` has all.
const REASONS_SHOWN_MAX: usize = 10;

/// Differences that are shown; `--json` has up to 10,000.
const DIFFERENCES_SHOWN_MAX: usize = 50;

/// Between whom.
#[derive(clap::Args)]
struct Sides {
    /// The other side: role and id, as in EMP:DE-XYZ.
    #[arg(long, value_name = "PARTY", value_parser = canonical)]
    partner: String,
    /// Which party of the node, if it has several: as in CPO:DE*ABC.
    #[arg(long, value_name = "PARTY", value_parser = canonical)]
    party: Option<String>,
}

/// Make the statement of a month: all charge detail records between two parties whose sessions ended in it (UTC).
///
/// Both sides make the same file, to the byte.
///
/// Exit codes: 0 done; 1 there is no record or signature, or the other side has another statement;
/// 2 not done.
#[derive(clap::Args)]
pub(crate) struct StatementArgs {
    #[command(flatten)]
    sides: Sides,
    /// The month, as in 2026-11.
    #[arg(long)]
    month: Month,
    /// What kind of file.
    #[arg(long, default_value = "csv", value_parser = ["csv", "json", "html"])]
    format: String,
    /// Writes it to a new file instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Has the partner's node sign the same statement, and keeps both signatures, for --signed to show; prints no
    /// statement.
    #[arg(long, conflicts_with_all = ["format", "out"])]
    sign: bool,
    /// Prints what both sides signed for the month, as JSON: digest, sums, and both signed messages (COSE, in hex).
    #[arg(long, conflicts_with_all = ["format", "out", "sign"])]
    signed: bool,
    #[command(flatten)]
    target: Target,
}

/// Compare with the partner's node who holds which charge detail records, and how far sessions have come; records that
/// the EMP lacks are sent again.
///
/// A session that one side lost, which ran at the other, comes back with the proof that both signed.
///
/// A session differs if it runs or ran at one side and not at the other, or if one side does not know yet: that side
/// asks by itself. Refused and unknown are the same.
///
/// Exit codes: 0 both sides hold the same; 1 they differ; 2 not done.
#[derive(clap::Args)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    sides: Sides,
    /// The first day (UTC), as in 2026-11-01: of the ends of sessions for records, of their begins for sessions.
    #[arg(long, value_name = "DAY")]
    from: String,
    /// The last day, as in 2026-11-30.
    #[arg(long, value_name = "DAY")]
    to: String,
    #[command(flatten)]
    target: Target,
}

fn canonical(typed: &str) -> Result<String, String> {
    party_id(typed).map(|party| party.to_text()).map_err(|error| error.to_string())
}

/// Makes or signs a statement.
pub(crate) async fn statement(args: StatementArgs) -> anyhow::Result<ExitCode> {
    let StatementArgs { sides, month, format, out, sign, signed: kept, target } = args;
    let mut query = format!("partner={}&month={month}", in_query(&sides.partner));
    if let Some(party) = &sides.party {
        query.push_str(&format!("&party={}", in_query(party)));
    }
    if sign {
        return signed(
            &target,
            target.post(&format!("admin/v1/statement/sign?{query}"), Bytes::new()).await?,
        );
    }
    if kept {
        let answer = target.get(&format!("admin/v1/statement/sign?{query}")).await?;
        if answer.http_status != 200 {
            return refused(&target, &answer);
        }
        print_json(&answer)?;
        let is_signed = !items(&parsed(&answer)?, "signed").is_empty();
        return Ok(if is_signed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) });
    }
    let format = if target.json { "json".to_owned() } else { format };
    let answer = target.get(&format!("admin/v1/statement?{query}&format={format}")).await?;
    if answer.http_status != 200 {
        return refused(&target, &answer);
    }
    match out {
        Some(file) => {
            files::write_new(&file, &answer.body)?;
            print(&format!("{}: {} bytes\n", file.display(), grouped(answer.body.len() as u64)))?;
        }
        None => print(&String::from_utf8_lossy(&answer.body))?,
    }
    if !has_records(&format, &answer.body) {
        complain(format_args!("chargemesh: no session with {} ended in {month}\n", sides.partner));
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a statement of this format lists any record. Read from its end or beginning: it may be large.
fn has_records(format: &str, statement: &[u8]) -> bool {
    match format {
        "json" => !statement.trim_ascii_end().ends_with(b"\"records\":[]}"),
        "html" => !String::from_utf8_lossy(statement).contains(">No session ended in this month.<"),
        // A line for each behind the header.
        _ => statement.trim_ascii_end().contains(&b'\n'),
    }
}

/// A party in a query: nothing in an id but the plus of DIN ids has a meaning there.
fn in_query(party: &str) -> String {
    party.replace('+', "%2B")
}

fn signed(target: &Target, answer: Received) -> anyhow::Result<ExitCode> {
    if answer.http_status != 200 {
        return refused(target, &answer);
    }
    let root = parsed(&answer)?;
    let agreed = flag(&root, "agreed");
    if target.json {
        print_json(&answer)?;
    } else {
        let mut out = Lines::default();
        let side = |records: &str, energy: &str, digest: &str| {
            format!(
                "{}, {} kWh, digest {}",
                words::counted(usize::try_from(number(&root, records)).unwrap_or(usize::MAX), "record"),
                shown(&text(&root, energy)),
                text(&root, digest).chars().take(16).collect::<String>()
            )
        };
        out.line(match agreed {
            true => "Both sides have the same statement, and signed it.",
            false => "The statements DIFFER: nothing was signed. Compare with `chargemesh reconcile`.",
        });
        out.line(&format!("  here:  {}", side("records", "energy_kwh", "digest")));
        out.line(&format!("  there: {}", side("partner_records", "partner_energy_kwh", "partner_digest")));
        print(&out.0)?;
    }
    Ok(if agreed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

fn refused(target: &Target, answer: &Received) -> anyhow::Result<ExitCode> {
    if !matches!(answer.http_status, 400 | 409) {
        bail!("{} answered with HTTP {}: {}", target.node, answer.http_status, said(answer));
    }
    print_refusal(target, answer, EXIT_FAILED)
}

/// Compares with the partner's node.
pub(crate) async fn reconcile(args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    let ReconcileArgs { sides, from, to, target } = args;
    let mut body = Writer::new();
    body.begin_object().key("partner").string(&sides.partner);
    if let Some(party) = &sides.party {
        body.key("party").string(party);
    }
    body.key("from").string(&from).key("to").string(&to).end_object();
    let answer = target.post("admin/v1/reconcile", body.finish().into()).await?;
    if answer.http_status != 200 {
        return refused(&target, &answer);
    }
    let root = parsed(&answer)?;
    let of_sessions = root.field("sessions").map_or(0, |sessions| number(sessions, "difference_count"));
    let found = number(&root, "difference_count") + of_sessions;
    if target.json {
        print_json(&answer)?;
    } else {
        print(&told(&root))?;
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

fn told(root: &Node<'_>) -> String {
    let mut out = Lines::default();
    let shown_text = |name| shown(&text(root, name));
    out.line(&format!(
        "{} and {}, {} to {} (UTC)",
        shown_text("ours"),
        shown_text("partner"),
        shown_text("from"),
        shown_text("to")
    ));
    out.line(&format!(
        "Records of sessions that ended: {} here, {} there",
        grouped(number(root, "records_here")),
        grouped(number(root, "records_there"))
    ));
    differences_told(
        root,
        Some(("record", |record| text(record, "hash").chars().take(12).collect())),
        &mut out,
    );
    reasons_told(root, "not_sent", "Not sent to the EMP", &mut out);
    match number(root, "sent_again") {
        0 => {}
        again => out.line(&format!(
            "  {} on the way to the side that lacks them: compare again in a minute.",
            grouped(again)
        )),
    }
    // A node of an older version says nothing of them.
    if let Some(sessions) = root.field("sessions") {
        sessions_told(sessions, &mut out);
    }
    out.0
}

fn sessions_told(sessions: &Node<'_>, out: &mut Lines) {
    let why = text(sessions, "not_compared");
    if !why.is_empty() {
        out.line(&format!("Sessions: NOT COMPARED, {}", words::shown(&why, REASON_CHARACTERS_MAX)));
        return;
    }
    out.line(&format!(
        "Sessions that began: {} here, {} there",
        grouped(number(sessions, "here")),
        grouped(number(sessions, "there"))
    ));
    differences_told(sessions, Some(("known again", known_again)), out);
    reasons_told(sessions, "not_fetched", "Not brought back", out);
}

/// At which side a session that was lost there is known again; empty if none was lost.
fn known_again(difference: &Node<'_>) -> String {
    let is_lost = !text(difference, "not_fetched").is_empty();
    let is_lost_here = matches!(text(difference, "here").as_str(), "absent" | "refused");
    let word = match flag(difference, "fetched") {
        true if is_lost_here => "here",
        true => "there",
        false if is_lost => "NO",
        false => "",
    };
    word.to_owned()
}

/// Why something was not done about differences: each reason once.
fn reasons_told(part: &Node<'_>, name: &str, what: &str, out: &mut Lines) {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for why in items(part, "differences").iter().map(|difference| text(difference, name)) {
        if !why.is_empty() {
            *reasons.entry(why).or_default() += 1;
        }
    }
    for (why, times) in reasons.into_iter().take(REASONS_SHOWN_MAX) {
        let why = words::shown(&why, REASON_CHARACTERS_MAX);
        out.line(&format!("  {what} ({}): {why}", grouped(times as u64)));
    }
}

/// A further column: its name, and what stands in it.
type Column = (&'static str, fn(&Node<'_>) -> String);

/// What differs, as a table.
fn differences_told(part: &Node<'_>, more: Option<Column>, out: &mut Lines) {
    let (found, days) = (number(part, "difference_count"), number(part, "differing_days"));
    if found == 0 {
        return out.line("  Both sides hold the same.");
    }
    out.line(&format!("  DIFFERENCES: {} on {} of the days", grouped(found), grouped(days)));
    let name = more.map_or("", |(name, _)| name);
    let mut table = Table::new("  ").header(["day", "session", "here", "there", name]);
    for difference in items(part, "differences").iter().take(DIFFERENCES_SHOWN_MAX) {
        let shown_text = |name| shown(&text(difference, name));
        table.row([
            shown_text("day"),
            shown_text("session"),
            shown_text("here"),
            shown_text("there"),
            more.map(|(_, cell)| cell(difference)).unwrap_or_default(),
        ]);
    }
    out.0.push_str(&table.to_text());
    if found > DIFFERENCES_SHOWN_MAX as u64 {
        out.line("  ... `--json` has more of them.");
    }
}
