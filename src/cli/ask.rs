//! `chargemesh evse`, `peers` and `sessions`: what a running node knows, for people or as JSON.

pub(super) mod accounts;
pub(super) mod agreement;
pub(super) mod cdr;
pub(super) mod certificates;
pub(super) mod doctor;
pub(super) mod evidence;
mod hub;
mod refusal;
pub(super) mod sessions;
mod table;
mod watch;
mod who;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use chargemesh::engine::SystemClock;
use chargemesh::oicp::id::EvseId;
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;
use chargemesh::outbound::Received;

use super::EXIT_FOUND;
use super::reach::node_client;
use super::text::print;
pub(super) use watch::{WatchArgs, watch};
pub(super) use who::{ShowArgs, show};

use refusal::reason as said;
use table::{Table, age, grouped, left, shown};

/// Members of a feed's audience that are all named.
const AUDIENCE_NAMED_MAX: usize = 3;

/// The node to ask.
#[derive(clap::Args)]
struct Target {
    /// Base URL of the node's facade, as `chargemesh run` prints it. An https:// one is checked against the PEM file that
    /// CHARGEMESH_CA names, else against the roots of this machine.
    #[arg(long, value_name = "URL", env = "CHARGEMESH_NODE", default_value = "http://127.0.0.1:8080")]
    node: String,
    /// Key of the admin API (`facade.admin_key`), if the node asks for one.
    #[arg(long, value_name = "KEY", env = "CHARGEMESH_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
    /// Print the node's own JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `chargemesh evse`.
#[derive(clap::Args)]
pub(crate) struct EvseArgs {
    /// EvseID, as in DE*ABC*E1.
    id: String,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `chargemesh peers`.
#[derive(clap::Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    target: Target,
    /// Only the pushes that wait for confirmation.
    #[arg(long)]
    held: bool,
}

impl Target {
    async fn get(&self, path: &str) -> anyhow::Result<Received> {
        let client = node_client(&self.node, None)?.with_admin_key(self.admin_key.as_deref());
        self.admitted(client.get(path).await?)
    }

    async fn post(&self, path: &str, body: Bytes) -> anyhow::Result<Received> {
        let client = node_client(&self.node, None)?.with_admin_key(self.admin_key.as_deref());
        self.admitted(client.admin_post(path, body).await?)
    }

    fn admitted(&self, answer: Received) -> anyhow::Result<Received> {
        match answer.http_status {
            401 if self.admin_key.is_some() => bail!("{} refuses this admin key", self.node),
            401 => bail!(
                "{} answers only with its admin key: give it with --admin-key or in CHARGEMESH_ADMIN_KEY",
                self.node
            ),
            _ => Ok(answer),
        }
    }
}

/// Shows one EVSE.
pub(crate) async fn evse(args: EvseArgs) -> anyhow::Result<ExitCode> {
    // Checked here, so that nothing but an id gets into the path.
    let id = EvseId::parse(&args.id).with_context(|| format!("{:?} is no EvseID", args.id))?;
    let answer = args.target.get(&format!("admin/v1/evse/{}", id.as_str())).await?;
    if answer.http_status == 404 {
        print(&format!("{}: no party that this node follows publishes this EVSE\n", id.as_str()))?;
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    if args.target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let mut out = Lines::default();
    out.line(id.as_str());
    let mut table = Table::new("  ");
    table.row([
        "operator".to_owned(),
        format!("{}  {}", shown(&text(&root, "operator_id")), shown(&text(&root, "operator_name"))),
    ]);
    if text(&root, "attested") == "bridge-attested" {
        let what = "the central hub (bridge-attested): nobody signed it, and no other node is told of it";
        table.row(["from".to_owned(), what.to_owned()]);
    }
    table.row(["status".to_owned(), status_line(&root)]);
    match root.field("record") {
        Some(record) => record_rows(&mut table, record, &root),
        None => table.row(["data".to_owned(), "none in the view".to_owned()]),
    }
    for conflict in items(&root, "conflicts") {
        table.row(["conflict".to_owned(), conflict_line(conflict)]);
    }
    out.0.push_str(&table.to_text());
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn status_line(root: &Node<'_>) -> String {
    let Some(status) = root.field("status") else { return "none in the view".to_owned() };
    let now_ms = now_unix_ms();
    let since = |name| age(now_ms, number(status, name));
    format!(
        "{}  for {}, confirmed {} ago by {}",
        shown(&text(status, "evse_status")),
        since("observed_at_unix_ms"),
        since("confirmed_at_unix_ms"),
        shown(&text(status, "operator_id"))
    )
}

fn record_rows(table: &mut Table<2>, record: &Node<'_>, root: &Node<'_>) {
    let address = record.field("Address");
    let part = |name| address.map(|address| text(address, name)).unwrap_or_default();
    let station = items(record, "ChargingStationNames").first().map(|name| text(name, "value"));
    let place = format!(
        "{} {}, {} {}, {}",
        part("Street"),
        part("HouseNum"),
        part("PostalCode"),
        part("City"),
        part("Country")
    );
    table.row(["station".to_owned(), shown(&station.unwrap_or_default())]);
    table.row(["address".to_owned(), shown(&place)]);
    let google = record.field("GeoCoordinates").and_then(|geo| geo.field("Google"));
    if let Some(google) = google {
        table.row(["position".to_owned(), shown(&text(google, "Coordinates"))]);
    }
    let plugs: Vec<&str> = items(record, "Plugs").iter().filter_map(Node::as_str).collect();
    table.row(["plugs".to_owned(), shown(&plugs.join(", "))]);
    let facility =
        |facility: &Node<'_>| format!("{} kW {}", text(facility, "Power"), text(facility, "PowerType"));
    let facilities: Vec<String> = items(record, "ChargingFacilities").iter().map(facility).collect();
    table.row(["power".to_owned(), shown(&facilities.join(", "))]);
    let changed = age(now_unix_ms(), number(root, "committed_at_unix_ms"));
    table.row(["data".to_owned(), format!("changed here {changed} ago")]);
}

/// Shows the node, its peers, feeds, conflicts and held pushes.
pub(crate) async fn peers(args: PeersArgs) -> anyhow::Result<ExitCode> {
    let answer = args.target.get("admin/v1/view").await?;
    if answer.http_status != 200 {
        bail!("{} answered with HTTP {}: {}", args.target.node, answer.http_status, said(&answer));
    }
    if args.target.json {
        return print_json(&answer);
    }
    let root = parsed(&answer)?;
    let mut out = Lines::default();
    if !args.held {
        node_lines(&root, &mut out);
        peer_table(&root, &mut out);
        partner_table(&root, &mut out);
        feed_table(&root, &mut out);
        if let Some(hub) = hub::Hub::of(&args.target).await {
            out.0.push_str(&hub.to_text(now_unix_ms()));
        }
        conflict_lines(&root, &mut out);
        out.line("");
    }
    held_table(&root, &args.target.node, &mut out);
    print(&out.0)?;
    Ok(ExitCode::SUCCESS)
}

fn node_lines(root: &Node<'_>, out: &mut Lines) {
    let parties: Vec<&str> = items(root, "parties").iter().filter_map(Node::as_str).collect();
    let count = |name| grouped(number(root, name));
    out.line(&format!("Node {}", shown(&text(root, "node"))));
    out.line(&format!(
        "  speaks for {}",
        if parties.is_empty() { "nobody".into() } else { shown(&parties.join(", ")) }
    ));
    out.line(&format!(
        "  shows {} EVSEs and {} statuses; took {} records of others, refused {} messages",
        count("view_evses"),
        count("view_statuses"),
        count("records_accepted"),
        count("records_refused")
    ));
    trust_lines(root, out);
}

/// Until when the node speaks for its parties, and what is wrong with its clock.
fn trust_lines(root: &Node<'_>, out: &mut Lines) {
    let now_s = now_unix_ms() / 1_000;
    for own in items(root, "own") {
        let left = |name| left(now_s, number(own, name));
        out.line(&format!(
            "  {}: delegation {}, credential {}",
            shown(&text(own, "party")),
            left("delegation_until_unix_s"),
            left("credential_until_unix_s")
        ));
        if flag(own, "revoked") {
            out.line("    REVOKED: nobody believes what this node says for it. Install a new credential or delegation.");
        }
    }
    if let Some(list) = root.field("trust_list") {
        let until = left(now_s, number(list, "until_unix_s"));
        out.line(&format!("  the trust list, version {}, {until}", number(list, "seq")));
    }
    if !flag(root, "signs") {
        out.line(
            "  SIGNS NOTHING: other parties agree that the clock of this machine is wrong. Set it right.",
        );
    }
}

fn peer_table(root: &Node<'_>, out: &mut Lines) {
    let peers = items(root, "peers");
    out.line(&format!("\nPeers: {}", peers.len()));
    let mut table = Table::new("  ").header(["peer", "address", "round trip", "kept as"]);
    for peer in peers {
        let rtt_ms = peer.field("rtt_ms").and_then(Node::number_text).and_then(|ms| ms.parse::<f64>().ok());
        table.row([
            shown(&text(peer, "node")),
            shown(dialled(&text(peer, "address"))),
            rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
            shown(&text(peer, "purpose")),
        ]);
    }
    out.0.push_str(&table.to_text());
}

fn partner_table(root: &Node<'_>, out: &mut Lines) {
    let partners = items(root, "partners");
    if partners.is_empty() {
        return;
    }
    let connected = partners.iter().filter(|partner| flag(partner, "connected")).count();
    out.line(&format!("\nPartners: {}, connected {connected}", partners.len()));
    let mut table = Table::new("  ").header(["partner", "state", "nodes"]);
    let now_ms = now_unix_ms();
    for partner in partners {
        let nodes: Vec<&str> = items(partner, "nodes").iter().filter_map(Node::as_str).collect();
        let state = match flag(partner, "connected") {
            true => "connected".to_owned(),
            false => format!("looked for since {}", age(now_ms, number(partner, "looked_for_since_unix_ms"))),
        };
        table.row([shown(&text(partner, "party")), state, shown(&nodes.join(", "))]);
    }
    out.0.push_str(&table.to_text());
}

/// An address without the name of the node, which stands beside it.
fn dialled(address: &str) -> &str {
    address.split_once("/p2p/").map_or(address, |(dialled, _)| dialled)
}

fn feed_table(root: &Node<'_>, out: &mut Lines) {
    let feeds = items(root, "feeds");
    let in_sync = feeds.iter().filter(|feed| flag(feed, "in_sync")).count();
    out.line(&format!("\nFeeds: {}, in sync {in_sync}", feeds.len()));
    let header = ["party", "kind", "operator", "name", "records", "hidden", "change", "confirmed", "state"];
    let mut table = Table::new("  ").header(header).right([4, 5, 6, 7]);
    let now_ms = now_unix_ms();
    for feed in feeds {
        let state = match (flag(feed, "own"), flag(feed, "in_sync")) {
            (true, _) => "own".to_owned(),
            (false, true) => "in sync".to_owned(),
            (false, false) => shown(&text(feed, "state")),
        };
        table.row([
            shown(&text(feed, "party")),
            feed_kind(feed),
            shown(&text(feed, "operator_id")),
            shown(&text(feed, "operator_name")),
            grouped(number(feed, "count")),
            grouped(number(feed, "shadowed")),
            grouped(number(feed, "seq")),
            format!("{} ago", age(now_ms, number(feed, "confirmed_at_unix_ms"))),
            state,
        ]);
    }
    out.0.push_str(&table.to_text());
}

/// What a feed holds, and for whom: a party may have several of one kind.
fn feed_kind(feed: &Node<'_>) -> String {
    let members: Vec<&str> = items(feed, "audience").iter().filter_map(Node::as_str).collect();
    let kind = text(feed, "kind");
    shown(&match members.as_slice() {
        [] => kind,
        few if few.len() <= AUDIENCE_NAMED_MAX => format!("{kind} for {}", few.join(", ")),
        [first, others @ ..] => format!("{kind} for {first} and {} more", others.len()),
    })
}

fn conflict_lines(root: &Node<'_>, out: &mut Lines) {
    let conflicts = items(root, "conflicts");
    if conflicts.is_empty() {
        return;
    }
    out.line(&format!("\nConflicts: {} (several parties claim one EVSE)", conflicts.len()));
    for conflict in conflicts {
        out.line(&format!("  {}  {}", shown(&text(conflict, "key")), conflict_line(conflict)));
    }
}

fn conflict_line(conflict: &Node<'_>) -> String {
    let claims: Vec<&str> = items(conflict, "claimed_by").iter().filter_map(Node::as_str).collect();
    let outcome = match conflict.field("shown").and_then(Node::as_str) {
        Some(party) => format!("{party} is shown"),
        None => "a tie, nobody is shown".to_owned(),
    };
    let told = if flag(conflict, "reported_by_peer") { " (told by a peer)" } else { "" };
    shown(&format!("{}: claimed by {}; {outcome}{told}", text(conflict, "kind"), claims.join(" and ")))
}

fn held_table(root: &Node<'_>, url: &str, out: &mut Lines) {
    let held = items(root, "held");
    out.line(&format!("Held pushes: {}", held.len()));
    let mut table =
        Table::new("  ").header(["number", "feed", "would remove", "of", "came"]).right([0, 2, 3]);
    let now_ms = now_unix_ms();
    for push in held {
        table.row([
            number(push, "id").to_string(),
            shown(&text(push, "feed")),
            grouped(number(push, "removes")),
            grouped(number(push, "of")),
            format!("{} ago", age(now_ms, number(push, "at_unix_ms"))),
        ]);
    }
    out.0.push_str(&table.to_text());
    if let Some(first) = held.first() {
        out.line(&format!(
            "  carry one out with: chargemesh push confirm {} --node {url}",
            number(first, "id")
        ));
    }
}

/// What is to be printed; at once at the end, since the reader may be gone by then.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }
}

fn print_json(answer: &Received) -> anyhow::Result<ExitCode> {
    // Only JSON is passed on, so that a program never reads an error page as an answer.
    parsed(answer)?;
    print(&format!("{}\n", String::from_utf8_lossy(&answer.body)))?;
    Ok(if answer.http_status == 200 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

fn parsed(answer: &Received) -> anyhow::Result<Node<'_>> {
    let root = json::parse(&answer.body, Reading::Tolerant)
        .context("the answer is no JSON: does --node name the facade of a chargemesh node?")?;
    if answer.http_status != 200 {
        bail!("the node answered with HTTP {}: {}", answer.http_status, said(answer));
    }
    Ok(root)
}

fn now_unix_ms() -> u64 {
    SystemClock::start().now().unix_ms
}

fn items<'a, 'n>(node: &'a Node<'n>, name: &str) -> &'a [Node<'n>] {
    node.field(name).map_or(&[], Node::items)
}

/// A text or a number; empty if there is none.
fn text(node: &Node<'_>, name: &str) -> String {
    let value = node.field(name);
    value.and_then(|value| value.as_str().or_else(|| value.number_text())).unwrap_or_default().to_owned()
}

fn number(node: &Node<'_>, name: &str) -> u64 {
    node.field(name).and_then(Node::number_text).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn flag(node: &Node<'_>, name: &str) -> bool {
    node.field(name).and_then(Node::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_of_one_party_are_told_apart_by_who_may_see_them() {
        let table = [
            ("[]", "pricing"),
            (r#"["EMP:DEABC"]"#, "pricing for EMP:DEABC"),
            (r#"["EMP:DEXYZ"]"#, "pricing for EMP:DEXYZ"),
            (r#"["EMP:DEA","EMP:DEB","EMP:DEC"]"#, "pricing for EMP:DEA, EMP:DEB, EMP:DEC"),
            (r#"["EMP:DEA","EMP:DEB","EMP:DEC","EMP:DED"]"#, "pricing for EMP:DEA and 3 more"),
        ];
        for (audience, expected) in table {
            let text = format!(r#"{{"kind":"pricing","audience":{audience}}}"#);
            let feed = json::parse(text.as_bytes(), Reading::Tolerant).unwrap();
            assert_eq!(feed_kind(&feed), expected);
        }
    }
}
