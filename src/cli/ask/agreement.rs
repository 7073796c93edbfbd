//! `chargemesh agreement`: offer, accept, list and end agreements at a running node.

use std::process::ExitCode;

use anyhow::bail;
use bytes::Bytes;
use chargemesh::identity::Service;
use chargemesh::oicp::json::Node;
use chargemesh::oicp::json_write::Writer;
use chargemesh::oicp::time::{format_ms, parse_ms};
use chargemesh::outbound::Received;

use super::table::{Table, shown};
use super::{Lines, Target, flag, items, now_unix_ms, number, parsed, print_json, said, text};
use crate::cli::EXIT_FOUND;
use crate::cli::party::party_id;
use crate::cli::text::print;

/// A day in seconds.
const DAY_S: u64 = 86_400;

/// Hex digits of a whole name: a SHA-256.
const NAME_LENGTH: usize = 64;

/// Hex digits that are shown of an agreement's name; enough to tell one's own apart.
const NAME_DIGITS: usize = 12;

/// Longest validity of an offer in days: what an agreement may last (five years).
const DAYS_MAX: u64 = 5 * 366;

/// Agree with other parties who may do what, and see what was agreed.
///
/// An agreement is between an operator (CPO) and a provider (EMP), and in force while both its signers are believed. Rules
/// under `[policy]` in node.toml go over it.
///
/// Exit codes: 0 done; 1 the node refuses, or there is no such agreement; 2 not done.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Offer an agreement. It is in force when the other side has accepted it.
    Offer {
        /// To whom: role and id, as in EMP:DE-XYZ.
        partner: String,
        /// What each may do with the other: EvseData, EvseStatus, Authorization, Reservation, Cdr, Pricing.
        #[arg(long, value_delimiter = ',', required = true, value_parser = service)]
        services: Vec<Service>,
        /// How long it is to last, in days.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
        days: u64,
        /// When it begins, as in 2026-01-01T00:00:00Z [default: now].
        #[arg(long, value_name = "TIME", value_parser = unix_s)]
        from: Option<u64>,
        /// For which party of the node, if it has several: as in CPO:DE*ABC.
        #[arg(long, value_name = "PARTY")]
        party: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Accept an offer.
    Accept {
        /// Its name, or the beginning of it.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// End an agreement at once, take back an offer, or decline one.
    End {
        /// Its name, or the beginning of it.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Show agreements and offers.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show what a party may do with those of the node, by its policy and by agreements.
    Check {
        /// Role and id, as in EMP:DE-XYZ.
        partner: String,
        #[command(flatten)]
        target: Target,
    },
}

fn service(text: &str) -> Result<Service, String> {
    let known: Vec<&str> = Service::ALL.iter().map(|service| service.as_str()).collect();
    Service::parse(text).ok_or_else(|| format!("write some of {}", known.join(",")))
}

fn unix_s(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text).and_then(|ms| u64::try_from(ms).ok());
    ms.map(|ms| ms / 1_000).ok_or_else(|| "write a time with its zone, as in 2026-01-01T00:00:00Z".to_owned())
}

/// Does what the command says.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Offer { partner, services, days, from, party, target } => {
            let (partner, ours) = (canonical(&partner), party.as_deref().map(canonical));
            if is_of_the_node(&target, &partner).await? {
                print(&format!(
                    "refused: {} is a party of this node: nobody needs an agreement with itself\n",
                    shown(&partner)
                ))?;
                return Ok(ExitCode::from(EXIT_FOUND));
            }
            let begin = from.unwrap_or_else(|| now_unix_ms() / 1_000);
            let body = offer_body(&partner, ours.as_deref(), &services, from, begin + days * DAY_S);
            let answer = target.post("admin/v1/agreements", body).await?;
            let exit = told(&target, &answer, "offered; it is in force when the other side has accepted it")?;
            if answer.http_status == 200 && !target.json && !is_known(&target, &partner).await? {
                print(&format!(
                    "Nobody here knows {} yet: it hears of the offer when a node of it connects. Is the id right?\n",
                    shown(&partner)
                ))?;
            }
            Ok(exit)
        }
        Command::Accept { id, target } => act(&target, &id, "accept", "accepted", "agreed").await,
        Command::End { id, target } => act(&target, &id, "end", "ended", "ended").await,
        Command::List { target } => list(&target).await,
        Command::Check { partner, target } => check(&target, &partner).await,
    }
}

fn offer_body(
    partner: &str,
    ours: Option<&str>,
    services: &[Service],
    from: Option<u64>,
    until: u64,
) -> Bytes {
    let mut writer = Writer::new();
    writer.begin_object().key("partner").string(partner);
    if let Some(ours) = ours {
        writer.key("ours").string(ours);
    }
    writer.key("services").begin_array();
    for service in services {
        writer.string(service.as_str());
    }
    writer.end_array();
    if let Some(from) = from {
        writer.key("valid_from_unix_s").integer(from);
    }
    writer.key("valid_until_unix_s").integer(until).end_object();
    writer.finish().into()
}

/// A party as the node spells it. What is none stays as typed: the node finds the words for it.
fn canonical(typed: &str) -> String {
    party_id(typed).map_or_else(|_| typed.to_owned(), |party| party.to_text())
}

/// Whether the node speaks for the party.
async fn is_of_the_node(target: &Target, party: &str) -> anyhow::Result<bool> {
    let answer = target.get("admin/v1/view").await?;
    Ok(items(&parsed(&answer)?, "parties").iter().any(|own| own.as_str() == Some(party)))
}

/// Whether the node has heard of the party from somebody whom it believes.
async fn is_known(target: &Target, party: &str) -> anyhow::Result<bool> {
    let answer = target.get(super::who::PATH).await?;
    Ok(items(&parsed(&answer)?, "parties").iter().any(|known| text(known, "party") == party))
}

/// Does it, or says that it was done before: the agreement is in the state that the act leads to.
async fn act(target: &Target, id: &str, act: &str, done: &str, state: &str) -> anyhow::Result<ExitCode> {
    let Some(found) = found(target, id).await? else { return Ok(ExitCode::from(EXIT_FOUND)) };
    let id = &found.id;
    if found.state == state && !target.json {
        let by = if found.by.is_empty() { String::new() } else { format!(" by {}", shown(&found.by)) };
        print(&format!("{id}: {done} already, on {}{by}; nothing was changed\n", day(found.at_unix_s)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.state == "ended" && act == "accept" && !target.json {
        let (on, by) = (day(found.at_unix_s), shown(&found.by));
        print(&format!("refused: {id} was ended on {on} by {by}: there has to be a new offer\n"))?;
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    let answer = target.post(&format!("admin/v1/agreements/{id}/{act}"), Bytes::new()).await?;
    told(target, &answer, done)
}

/// An agreement that somebody named.
struct Found {
    id: String,
    /// `offered`, `agreed` or `ended`.
    state: String,
    /// Since when, Unix time; 0 for an offer.
    at_unix_s: u64,
    /// Who ended it, if somebody did.
    by: String,
}

impl Found {
    fn of(agreement: &Node<'_>) -> Found {
        let state = text(agreement, "state");
        let since = if state == "ended" { "ended_unix_s" } else { "accepted_unix_s" };
        Found {
            id: crate::cli::text::shown(&text(agreement, "id"), NAME_LENGTH),
            at_unix_s: number(agreement, since),
            by: text(agreement, "ended_by"),
            state,
        }
    }
}

/// The agreement whose name begins like this; says why there is none.
async fn found(target: &Target, beginning: &str) -> anyhow::Result<Option<Found>> {
    let beginning = beginning.to_ascii_lowercase();
    if beginning.is_empty() || !beginning.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{beginning:?} is no name of an agreement: see `chargemesh agreement list`");
    }
    let answer = target.get("admin/v1/agreements").await?;
    let root = parsed(&answer)?;
    let all = items(&root, "agreements").iter().map(Found::of);
    let mut fitting: Vec<Found> = all.filter(|found| found.id.starts_with(&beginning)).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(found), true) => return Ok(Some(found)),
        (None, _) => print(&format!("{beginning}: no agreement or offer begins like this\n"))?,
        (Some(_), false) => print(&format!("{beginning}: several begin like this: write more of it\n"))?,
    }
    Ok(None)
}

/// What the node said to an act.
fn told(target: &Target, answer: &Received, done: &str) -> anyhow::Result<ExitCode> {
    if target.json {
        return print_json_of_any_status(answer);
    }
    match answer.http_status {
        200 => {
            let root = parsed(answer)?;
            print(&format!("{}: {done}\n", crate::cli::text::shown(&text(&root, "id"), NAME_LENGTH)))?;
            Ok(ExitCode::SUCCESS)
        }
        400 | 404 | 409 => {
            print(&format!("refused: {}\n", said(answer)))?;
            Ok(ExitCode::from(EXIT_FOUND))
        }
        status => bail!("{} answered with HTTP {status}: {}", target.node, said(answer)),
    }
}

fn print_json_of_any_status(answer: &Received) -> anyhow::Result<ExitCode> {
    print(&format!("{}\n", String::from_utf8_lossy(&answer.body)))?;
    match answer.http_status {
        200 => Ok(ExitCode::SUCCESS),
        400 | 404 | 409 => Ok(ExitCode::from(EXIT_FOUND)),
        status => bail!("the node answered with HTTP {status}"),
    }
}

async fn list(target: &Target) -> anyhow::Result<ExitCode> {
    let answer = target.get("admin/v1/agreements").await?;
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let agreements = items(&root, "agreements");
    let mut out = Lines::default();
    out.line(&format!("Agreements and offers: {}", agreements.len()));
    let header = ["name", "offered by", "to", "services", "from", "until", "state"];
    let mut table = Table::new("  ").header(header);
    let now_unix_s = now_unix_ms() / 1_000;
    for agreement in agreements {
        let services: Vec<&str> = items(agreement, "services").iter().filter_map(Node::as_str).collect();
        let day = |name| day(number(agreement, name));
        table.row([
            shown(text(agreement, "id").get(..NAME_DIGITS).unwrap_or_default()),
            shown(&text(agreement, "offerer")),
            shown(&text(agreement, "accepter")),
            shown(&services.join(",")),
            day("valid_from_unix_s"),
            day("valid_until_unix_s"),
            shown(&state(agreement, now_unix_s)),
        ]);
    }
    out.0.push_str(&table.to_text());
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn state(agreement: &Node<'_>, now_unix_s: u64) -> String {
    let (from, until) = (number(agreement, "valid_from_unix_s"), number(agreement, "valid_until_unix_s"));
    match (text(agreement, "state").as_str(), flag(agreement, "own_offer")) {
        ("ended", _) => format!("ended by {}", text(agreement, "ended_by")),
        _ if until <= now_unix_s => "over".to_owned(),
        ("agreed", _) if !flag(agreement, "believed") => "NOT in force: a signer is not believed".to_owned(),
        ("agreed", _) if now_unix_s < from => "agreed, not yet begun".to_owned(),
        ("agreed", _) => "in force".to_owned(),
        (_, true) => "waits for the other side".to_owned(),
        (_, false) => "offered to us: accept or end it".to_owned(),
    }
}

fn day(unix_s: u64) -> String {
    let ms = i64::try_from(unix_s).unwrap_or(i64::MAX).saturating_mul(1_000);
    format_ms(ms).chars().take("2026-01-01".len()).collect()
}

async fn check(target: &Target, partner: &str) -> anyhow::Result<ExitCode> {
    let partner = canonical(partner);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":*+-".contains(&byte);
    // Checked here, so that nothing but an id gets into the path.
    if !partner.bytes().all(fits) {
        bail!("{partner:?} is no party: write role and id, as in EMP:DE-XYZ");
    }
    let answer = target.get(&format!("admin/v1/permissions/{partner}")).await?;
    if answer.http_status == 400 {
        bail!("{}", said(&answer));
    }
    if target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let mut out = Lines::default();
    out.line(&format!("{} may do with this node's parties:", shown(&text(&root, "partner"))));
    let mut table = Table::new("  ").header(["party", "service", "decision", "code"]);
    for permission in items(&root, "permissions") {
        table.row(["ours", "service", "decision", "code"].map(|name| shown(&text(permission, name))));
    }
    out.0.push_str(&table.to_text());
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}
