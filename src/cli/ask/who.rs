//! `chargemesh trust show`: who is who at a running node.

use std::process::ExitCode;

use chargemesh::identity::{KeyPurpose, PartyId, PublicKey, fingerprint};
use chargemesh::oicp::json::Node;

use super::table::{Table, left, shown};
use super::{Lines, Target, flag, items, now_unix_ms, number, parsed, print_json, text};
use crate::cli::EXIT_FOUND;
use crate::cli::text::{day, print};

/// Where the node says it.
pub(super) const PATH: &str = "admin/v1/trust";

/// Arguments of `chargemesh trust show`.
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    target: Target,
}

/// Shows parties, issuers and conflicts.
pub(crate) async fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let answer = args.target.get(PATH).await?;
    let root = parsed(&answer)?;
    let is_claimed = !items(&root, "own_conflicts").is_empty();
    let exit = if is_claimed { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS };
    if args.target.json {
        print_json(&answer)?;
        return Ok(exit);
    }
    let mut out = Lines::default();
    party_table(&root, &mut out);
    issuer_table(&root, &mut out);
    out.line(&format!(
        "Revocations: {}",
        heard(now_unix_ms(), number(&root, "compared_unix_ms"), flag(&root, "stale"))
    ));
    for party in names(&root, "conflicts") {
        out.line(&format!("\nConflict: {} is claimed with several org keys", shown(&party)));
        out.0.push_str(&claims(&root, &party));
    }
    for party in names(&root, "own_conflicts") {
        out.line(&own_alarm(&party));
    }
    print(&out.0)?;
    Ok(exit)
}

fn party_table(root: &Node<'_>, out: &mut Lines) {
    let parties = items(root, "parties");
    out.line(&format!("Parties: {}", parties.len()));
    let header = ["party", "name", "standing", "vouched by", "until", "six words"];
    let mut table = Table::new("  ").header(header);
    for party in parties {
        table.row([
            shown(&text(party, "party")),
            shown(&text(party, "legal_name")),
            shown(&text(party, "standing")),
            shown(&names(party, "vouched_by").join(", ")),
            day(number(party, "until_unix_s")),
            words(party),
        ]);
    }
    out.0.push_str(&table.to_text());
}

fn issuer_table(root: &Node<'_>, out: &mut Lines) {
    let (issuers, now_unix_s) = (items(root, "issuers"), now_unix_ms() / 1_000);
    let until = left(now_unix_s, number(root, "list_until_unix_s"));
    out.line(&format!(
        "\nIssuers: {} (the trust list, version {}, {until})",
        issuers.len(),
        number(root, "list_seq")
    ));
    let mut table = Table::new("  ").header(["issuer", "class", "status list"]);
    for issuer in issuers {
        let [seq, until] = ["status_list_seq", "status_list_until_unix_s"].map(|name| number(issuer, name));
        let list = status_list(now_unix_s, seq, until);
        table.row([shown(&text(issuer, "name")), shown(&text(issuer, "class")), list]);
    }
    out.0.push_str(&table.to_text());
}

/// How old what the node knows of revocations is.
fn heard(now_unix_ms: u64, compared_unix_ms: u64, is_stale: bool) -> String {
    let ago = match compared_unix_ms {
        0 => "no peer was asked since the start".to_owned(),
        at_ms => format!("a peer was asked {} ago", span(now_unix_ms.saturating_sub(at_ms) / 1_000)),
    };
    match is_stale {
        true => format!("STALE, {ago}; nothing new is started but with pinned partners"),
        false => ago,
    }
}

/// How old an issuer's newest status list is: an old one hides what was revoked since.
fn status_list(now_unix_s: u64, seq: u64, until_unix_s: u64) -> String {
    match until_unix_s {
        0 => "none seen".to_owned(),
        until if until > now_unix_s => format!("number {seq}, good for {}", span(until - now_unix_s)),
        until => format!("number {seq}, OVERDUE for {}", span(now_unix_s - until)),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The texts of a list.
pub(super) fn names(node: &Node<'_>, name: &str) -> Vec<String> {
    items(node, name).iter().filter_map(Node::as_str).map(str::to_owned).collect()
}

/// The six words of a party's org key.
pub(super) fn words(party: &Node<'_>) -> String {
    let id = PartyId::parse(&text(party, "party")).ok();
    let key = PublicKey::from_text(KeyPurpose::Org, &text(party, "org_key")).ok();
    id.zip(key).map_or_else(|| "-".to_owned(), |(id, key)| fingerprint::words(&key, &id).join(" "))
}

/// Who claims an id, one line for each org key.
pub(super) fn claims(root: &Node<'_>, id: &str) -> String {
    let mut table = Table::new("  ");
    for party in items(root, "parties").iter().filter(|party| text(party, "party") == id) {
        table.row([
            shown(&text(party, "standing")),
            shown(&text(party, "legal_name")),
            shown(&format!("vouched for by {}", names(party, "vouched_by").join(", "))),
            words(party),
        ]);
    }
    table.to_text()
}

/// What the holder of a claimed id is told.
pub(super) fn own_alarm(id: &str) -> String {
    format!(
        "\nALARM: {id} is YOUR id, and somebody else has a credential for it. The frozen key is believed by nobody \
         who knew yours before.\n  1. Compare the six words with `chargemesh party fingerprint DIR`: which line is \
         yours?\n  2. Call whoever vouches for the other: it has to revoke that credential (`chargemesh trust \
         status-list` or `trust bury`).\n  3. If it does not, take that issuer out of the trust list (`chargemesh \
         trust list remove`), and tell the other operators.",
        id = shown(id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_knowledge_of_revocations_is_told_in_capitals() {
        assert_eq!(heard(10_000_000, 9_940_000, false), "a peer was asked 1 min ago");
        assert!(heard(10_000_000, 1_000, true).starts_with("STALE, a peer was asked 2 h ago"));
        assert!(heard(10_000_000, 0, true).starts_with("STALE, no peer was asked since the start"));
    }

    #[test]
    fn an_old_status_list_is_told_in_capitals() {
        for (until, text) in [
            (0, "none seen"),
            (10_000, "number 7, OVERDUE for 0 min"),
            (10_060, "number 7, good for 1 min"),
            (10_000 + 86_400, "number 7, good for 24 h"),
            (1_000, "number 7, OVERDUE for 2 h"),
        ] {
            assert_eq!(status_list(10_000, 7, until), text);
        }
    }
}
