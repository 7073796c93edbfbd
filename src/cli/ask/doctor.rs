//! `chargemesh doctor`: is the node well, and if not, what is to be done.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use chargemesh::config::Config;
use chargemesh::engine::AlarmKind;
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::json_write::Writer;
use chargemesh::oicp::reading::Reading;

use super::hub::Hub;
use super::table::{age, grouped, left, shown};
use super::{Target, flag, items, now_unix_ms, number, text};
use crate::cli::text::{self as words, print};
use crate::cli::{EXIT_FOUND, told};

/// A day in seconds.
const DAY_S: u64 = 86_400;

/// A delegation lives for a week: below this it should have been renewed.
const DELEGATION_LEFT_S: u64 = 2 * DAY_S;

/// A new credential takes an issuer some days.
const CREDENTIAL_LEFT_S: u64 = 30 * DAY_S;

/// A new trust list is fetched by somebody.
const TRUST_LIST_LEFT_S: u64 = 7 * DAY_S;

/// A certificate of HTTPS takes an issuer some days.
const CERTIFICATE_LEFT_S: u64 = super::certificates::LEFT_S;

/// With less than this left it is urgent.
const CERTIFICATE_BAD_S: u64 = DAY_S;

/// Longest time without hearing what was revoked, in milliseconds: half of what stops new business.
const COMPARED_MS_MAX: u64 = 12 * 3_600_000;

/// How far the clock may be off, in milliseconds.
const CLOCK_OFF_MS_MAX: u64 = 2_000;

/// A partner may be away for a restart, in milliseconds.
const PARTNER_AWAY_MS_MAX: u64 = 10 * 60_000;

/// Alarms of one kind that are named.
const NAMED_MAX: usize = 5;

/// Say whether a node is well, and what to do if it is not.
///
/// Exit codes: 0 it is well; 1 something needs attention; 2 it cannot be reached.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also checks this file with the settings, and the files that it names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Look,
    Bad,
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Health::Good => "ok",
            Health::Look => "look",
            Health::Bad => "BAD",
        }
    }
}

/// What was looked at.
struct Finding {
    name: &'static str,
    health: Health,
    what: String,
    /// What to do; empty if it is well.
    advice: String,
}

/// All findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, name: &'static str, what: impl Into<String>) {
        self.0.push(Finding { name, health: Health::Good, what: what.into(), advice: String::new() });
    }

    fn look(&mut self, name: &'static str, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { name, health: Health::Look, what: what.into(), advice: advice.into() });
    }

    fn bad(&mut self, name: &'static str, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { name, health: Health::Bad, what: what.into(), advice: advice.into() });
    }

    fn is_well(&self) -> bool {
        self.0.iter().all(|finding| finding.health == Health::Good)
    }
}

/// Looks at everything and says what was found.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut found = Findings::default();
    if let Some(file) = &args.config {
        settings(file, &mut found);
    }
    let view = args.target.get("admin/v1/view").await;
    let reached = match &view {
        Ok(answer) if answer.http_status == 200 => json::parse(&answer.body, Reading::Tolerant).ok(),
        _ => None,
    };
    match &reached {
        Some(root) => {
            found.good("node", format!("{} answers", args.target.node));
            look_at(root, now_unix_ms(), &mut found);
            certificates(&args.target, &mut found).await;
            if let Some(hub) = Hub::of(&args.target).await {
                central_hub(&hub, now_unix_ms(), &mut found);
            }
            alarms(&args.target, &mut found).await;
        }
        None => {
            let why = view.as_ref().map_or_else(told, |answer| format!("HTTP {}", answer.http_status));
            let advice =
                "is `chargemesh run` running, and does --node name its facade? Its log says why it stopped";
            found.bad(
                "node",
                format!("{} does not answer: {}", args.target.node, words::shown(&why, 200)),
                advice,
            );
        }
    }
    print(&if args.target.json { to_json(&found) } else { to_text(&found) })?;
    Ok(match (reached.is_some(), found.is_well()) {
        (false, _) => ExitCode::from(crate::cli::EXIT_FAILED),
        (true, false) => ExitCode::from(EXIT_FOUND),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// The file with the settings, and the files that it names.
fn settings(file: &std::path::Path, found: &mut Findings) {
    let config = match Config::load(file, &[]) {
        Ok(config) => config,
        Err(error) => {
            let what = words::shown(&told(&anyhow::Error::from(error)), 300);
            let advice = "put it right: `bootstrap/node.toml` of the source explains every setting";
            return found.bad("settings", what, advice);
        }
    };
    found.good("settings", format!("{} can be read", file.display()));
    let secrets = config.parties.iter().map(|party| &party.message_key).chain([&config.node.key]);
    let secrets = secrets.chain(https_keys(&config));
    let others = config.parties.iter().flat_map(|party| [&party.credential, &party.delegation]);
    let mut files: Vec<(&PathBuf, bool)> = secrets.map(|file| (file, true)).collect();
    files.extend(others.map(|file| (file, false)));
    for (path, secret) in files {
        match std::fs::metadata(path) {
            Err(error) => {
                let advice = "restore it from your backup, or set the right path in the settings";
                found.bad("files", format!("{} cannot be read: {error}", path.display()), advice);
            }
            Ok(meta) if secret && !is_private(&meta) => {
                let advice = format!("chmod 600 {}", words::shell(path));
                found.bad("files", format!("{} holds a key and others can read it", path.display()), advice);
            }
            Ok(_) => {}
        }
    }
    if !found.0.iter().any(|finding| finding.name == "files") {
        found.good("files", "keys, credentials and delegations are there");
    }
}

/// The keys of HTTPS: the facade's, and those of calls to backends and to the hub.
fn https_keys(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let backends = config.outbound.backends.iter().map(|backend| &backend.key);
    backends.chain([&config.facade.tls.key, &config.hub.key]).filter(|key| !key.as_os_str().is_empty())
}

#[cfg(unix)]
fn is_private(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_: &std::fs::Metadata) -> bool {
    true
}

/// What the node says of itself.
fn look_at(root: &Node<'_>, now_ms: u64, found: &mut Findings) {
    let now_s = now_ms / 1_000;
    for own in items(root, "own") {
        party(own, now_s, found);
    }
    if let Some(list) = root.field("trust_list") {
        let until_s = number(list, "until_unix_s");
        let what = format!("version {}, {}", number(list, "seq"), left(now_s, until_s));
        match until_s.saturating_sub(now_s) {
            0..TRUST_LIST_LEFT_S if until_s != 0 => {
                found.look(
                    "trust list",
                    what,
                    "get a newer one from whoever makes it, and put it in its place",
                );
            }
            _ => found.good("trust list", what),
        }
    }
    clock(root, found);
    mesh(root, now_ms, found);
    let held = items(root, "held").len();
    if held > 0 {
        let advice = "see `chargemesh peers --held`, and confirm with `chargemesh push confirm NUMBER`";
        found.look("pushes", format!("{} would remove much and waits", words::counted(held, "push")), advice);
    }
    conflicts(root, found);
}

fn party(own: &Node<'_>, now_s: u64, found: &mut Findings) {
    let name = shown(&text(own, "party"));
    if flag(own, "revoked") {
        let advice = "nobody believes what this node says for it: install a new credential or delegation \
                      (`chargemesh party install`)";
        return found.bad("party", format!("{name} was REVOKED"), advice);
    }
    let [delegation, credential] =
        ["delegation_until_unix_s", "credential_until_unix_s"].map(|until| number(own, until));
    let what =
        format!("{name}: delegation {}, credential {}", left(now_s, delegation), left(now_s, credential));
    let (delegation_s, credential_s) = (delegation.saturating_sub(now_s), credential.saturating_sub(now_s));
    let renew = "run `chargemesh renew` where the org key is, every few days";
    let ask = "ask the issuer for a new credential (`chargemesh party request`)";
    match (delegation_s, credential_s) {
        (0, _) => found.bad("party", what, renew),
        (_, 0) => found.bad("party", what, ask),
        (..DELEGATION_LEFT_S, _) => found.look("party", what, renew),
        (_, ..CREDENTIAL_LEFT_S) => found.look("party", what, ask),
        _ => found.good("party", what),
    }
}

fn clock(root: &Node<'_>, found: &mut Findings) {
    let advice = "set it right and keep it so, as with `timedatectl set-ntp true`";
    if !flag(root, "signs") {
        return found.bad("clock", "other parties agree that it is wrong: nothing is signed", advice);
    }
    let off = root.field("clock_off_ms").and_then(Node::number_text).and_then(|ms| ms.parse::<i64>().ok());
    match off {
        Some(off) if off.unsigned_abs() > CLOCK_OFF_MS_MAX => {
            found.look("clock", format!("{off} ms off those of other parties"), advice);
        }
        Some(off) => found.good("clock", format!("{off} ms off those of other parties")),
        None => found.good("clock", "no other party's was heard lately"),
    }
}

fn mesh(root: &Node<'_>, now_ms: u64, found: &mut Findings) {
    match items(root, "peers").len() {
        0 => {
            let advice = "set `mesh.bootstrap` to the address of a node that runs, and let the port through";
            found.bad("peers", "connected to nobody", advice);
        }
        peers => found.good("peers", words::counted(peers, "connection")),
    }
    let partners = items(root, "partners");
    let mut away = 0;
    for partner in partners.iter().filter(|partner| !flag(partner, "connected")) {
        let since = number(partner, "looked_for_since_unix_ms");
        if since != 0 && now_ms.saturating_sub(since) > PARTNER_AWAY_MS_MAX {
            away += 1;
            let what = format!("{} is away since {}", shown(&text(partner, "party")), age(now_ms, since));
            let advice = "ask it whether its node runs; `mesh.keep` takes its address if it is not found";
            found.look("partners", what, advice);
        }
    }
    if away == 0 && !partners.is_empty() {
        found.good("partners", format!("{}, none away for long", grouped(partners.len() as u64)));
    }
    let (compared, foreign) = (number(root, "registry_compared_unix_ms"), items(root, "peers").len());
    if foreign > 0 && (compared == 0 || now_ms.saturating_sub(compared) > COMPARED_MS_MAX) {
        let advice =
            "connect to more nodes: without it nothing new is started with partners that are not pinned";
        found.look("revocations", format!("last heard of {} ago", age(now_ms, compared)), advice);
    }
    let odd = items(root, "feeds")
        .iter()
        .filter(|feed| matches!(text(feed, "state").as_str(), "inconsistent" | "equivocated" | "stale"));
    for feed in odd.take(NAMED_MAX) {
        let what = format!("{} {}: {}", shown(&text(feed, "party")), text(feed, "kind"), text(feed, "state"));
        found.look("feeds", what, "its writer has to look: tell it");
    }
}

fn conflicts(root: &Node<'_>, found: &mut Findings) {
    let ids: Vec<&str> = items(root, "id_conflicts").iter().filter_map(Node::as_str).collect();
    if !ids.is_empty() {
        let advice = "`chargemesh party show` says who: ask the issuer that vouched for the newcomer";
        found.bad("ids", format!("claimed by several keys: {}", shown(&ids.join(", "))), advice);
    }
    let claimed = items(root, "conflicts").len();
    if claimed > 0 {
        let advice = "see `chargemesh peers`: one of the parties should stop to publish them";
        found.look("EVSEs", format!("{} claimed by several parties", grouped(claimed as u64)), advice);
    }
}

/// Certificates of HTTPS that end soon.
async fn certificates(target: &Target, found: &mut Findings) {
    let Ok(answer) = target.get("admin/v1/certificates").await else { return };
    let Ok(root) = json::parse(&answer.body, Reading::Tolerant) else { return };
    certificate_ends(&root, now_unix_ms() / 1_000, found);
}

fn certificate_ends(root: &Node<'_>, now_s: u64, found: &mut Findings) {
    let all = items(root, "certificates");
    let before = found.0.len();
    for used in all {
        let until_s = number(used, "until_unix_s");
        let name = format!("{} {}", text(used, "what"), text(used, "party"));
        let what =
            format!("{} ({}): {}", shown(name.trim()), shown(&text(used, "subject")), left(now_s, until_s));
        let advice = "put a new one in its place: it is taken without a restart";
        match until_s.saturating_sub(now_s) {
            0..CERTIFICATE_BAD_S => found.bad("HTTPS", what, advice),
            CERTIFICATE_BAD_S..CERTIFICATE_LEFT_S => found.look("HTTPS", what, advice),
            _ => {}
        }
    }
    if found.0.len() == before && !all.is_empty() {
        found
            .good("HTTPS", format!("{} good for 30 days and more", words::counted(all.len(), "certificate")));
    }
}

/// What is asked of the central hub.
fn central_hub(hub: &Hub, now_ms: u64, found: &mut Findings) {
    let troubles = hub.troubles(now_ms);
    if troubles.is_empty() {
        found.good("hub", hub.ages(now_ms));
    }
    let advice = "is the hub up, does it know our certificate (`chargemesh certificates`), is [hub] right?";
    troubles.into_iter().for_each(|what| found.look("hub", what, advice));
}

/// What is wrong with charge detail records.
async fn alarms(target: &Target, found: &mut Findings) {
    let answer = match target.get("admin/v1/alarms").await {
        Ok(answer) if answer.http_status == 200 => answer,
        _ => {
            return found.look(
                "records",
                "the node does not say how its records stand",
                "run its newest version",
            );
        }
    };
    let Ok(root) = json::parse(&answer.body, Reading::Tolerant) else { return };
    let before = found.0.len();
    for kind in AlarmKind::ALL {
        let count = root.field("counts").map_or(0, |counts| number(counts, kind.as_str()));
        if count == 0 {
            continue;
        }
        let of_kind = items(&root, "alarms").iter().filter(|alarm| text(alarm, "kind") == kind.as_str());
        // A node may speak for parties on both sides.
        let advice: BTreeSet<&str> =
            of_kind.clone().map(|alarm| kind.advice(&text(alarm, "party"))).collect();
        let advice: Vec<&str> = advice.into_iter().collect();
        let named: Vec<String> = of_kind
            .take(NAMED_MAX)
            .map(|alarm| {
                format!("{} with {}", shown(&text(alarm, "session")), shown(&text(alarm, "partner")))
            })
            .collect();
        let more = if count > named.len() as u64 { ", ..." } else { "" };
        let what = format!("{} {}: {}{more}", grouped(count), kind.as_str(), named.join(", "));
        found.bad("records", what, advice.join("; "));
    }
    if found.0.len() == before {
        found.good("records", "none waits too long, none was rejected, none is missing");
    }
}

fn to_text(found: &Findings) -> String {
    let mut out = String::new();
    for finding in &found.0 {
        out.push_str(&format!("{:>5}  {:<12} {}\n", finding.health.as_str(), finding.name, finding.what));
        if !finding.advice.is_empty() {
            out.push_str(&format!("{:>5}  {:<12} -> {}\n", "", "", finding.advice));
        }
    }
    let to_see = found.0.iter().filter(|finding| finding.health != Health::Good).count();
    out.push_str(&match to_see {
        0 => "The node is well.\n".to_owned(),
        _ => format!("{} to look at.\n", words::counted(to_see, "thing")),
    });
    out
}

fn to_json(found: &Findings) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key("well").bool(found.is_well()).key("findings").begin_array();
    for Finding { name, health, what, advice } in &found.0 {
        writer.begin_object().key("name").string(name);
        writer.key("health").string(&health.as_str().to_lowercase());
        writer.key("what").string(what).key("advice").string(advice).end_object();
    }
    writer.end_array().end_object();
    let mut text = writer.finish();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
