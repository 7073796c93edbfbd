//! What must hold. Adding one is one function and one line in a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use chargemesh::identity::kad_key;
use chargemesh::protocol::Kind;
use chargemesh::roaming::{Entry, Tree};

use crate::network::NodeNumber;
use crate::observe::{NodeSeen, Position, Seen, shown, stored};
use crate::people::NETWORK;
use crate::scenario::Limits;
use crate::world::{Part, World};

/// A check of one look at the world, made again and again while it runs.
type Always = fn(&Seen, &mut Past, &Limits) -> Result<(), String>;

/// Checked while the world runs, with every look.
const ALWAYS: &[(&str, Always)] = &[
    ("versions-never-go-back", versions_never_go_back),
    ("no-foreign-feed", no_foreign_feed),
    ("connections-bounded", connections_bounded),
    ("memory-bounded", memory_bounded),
    ("every-call-answered", every_call_answered),
    ("no-push-refused", no_push_refused),
    ("every-charge-answered", |seen, _, _| about_sessions(seen, "every-charge-answered")),
    ("every-charge-answered-in-time", |seen, _, _| about_sessions(seen, "every-charge-answered-in-time")),
    ("no-backend-asked-twice", |seen, _, _| about_sessions(seen, "no-backend-asked-twice")),
    ("no-foreign-session-served", |seen, _, _| about_sessions(seen, "no-foreign-session-served")),
    ("cdrs-at-most-once", |seen, _, _| about_sessions(seen, "cdrs-at-most-once")),
    ("backends-understand", |seen, _, _| about_sessions(seen, "backends-understand")),
    ("sessions-bounded", sessions_bounded),
    ("nobody-honest-doubted", nobody_honest_doubted),
    ("nobody-honest-blocked", nobody_honest_blocked),
];

/// Checked once, after the world has settled, on one look.
const SETTLED: &[(&str, Always)] = &[
    ("roots-equal", roots_equal),
    ("feeds-in-order", feeds_in_order),
    ("connections-settled", connections_settled),
    ("connections-steady", connections_steady),
    ("no-more-full-loads", no_more_full_loads),
];

/// What earlier looks saw.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Incarnation and seq of each feed at each node, and whether it is its own.
    positions: BTreeMap<(NodeNumber, String, &'static str), (u64, u64, bool)>,
    /// Nodes that lost their power and have not been seen since.
    powerless: BTreeSet<NodeNumber>,
    /// Feeds that had been asked for as a whole when everything was loaded.
    pub(crate) full_loads: u64,
    /// When all was quiet, in milliseconds, and how many connections all nodes had dialled by then.
    quiet: Option<(u64, u64)>,
}

impl Past {
    /// From now on connections should stay as they are.
    pub(crate) fn quiet_from(&mut self, seen: &Seen) {
        self.quiet = Some((seen.at_ms, dialled(seen)));
    }
}

fn dialled(seen: &Seen) -> u64 {
    bounded(seen).map(|node| node.traffic.dialled).sum()
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Violation {
    /// Which invariant.
    pub(crate) invariant: String,
    /// When, in milliseconds of virtual time.
    pub(crate) at_ms: u64,
    /// What was seen.
    pub(crate) what: String,
}

fn run(checks: &[(&str, Always)], seen: &Seen, past: &mut Past, limits: &Limits) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (invariant, check) in checks {
        if let Err(what) = check(seen, past, limits) {
            violations.push(Violation { invariant: (*invariant).to_owned(), at_ms: seen.at_ms, what });
        }
    }
    violations
}

/// What must hold at any time.
pub(crate) fn always(seen: &Seen, past: &mut Past, limits: &Limits) -> Vec<Violation> {
    run(ALWAYS, seen, past, limits)
}

/// What must hold when the world has settled.
///
/// # Errors
/// If a node does not answer.
pub(crate) async fn settled(world: &World, seen: &Seen, past: &mut Past) -> Result<Vec<Violation>> {
    let mut violations = run(SETTLED, seen, past, &world.scenario.limits);
    let mut check = |invariant: &str, outcome: Result<(), String>| {
        if let Err(what) = outcome {
            violations.push(Violation { invariant: invariant.to_owned(), at_ms: seen.at_ms, what });
        }
    };
    check("as-the-reference-says", as_the_reference_says(world).await?);
    check("signed-by-its-owner", signed_by_its_owner(world).await?);
    check("lookups-succeed", lookups_succeed(world).await?);
    for (invariant, outcome) in crate::charging::invariants::settled(world).await? {
        check(invariant, outcome);
    }
    for (invariant, outcome) in crate::liars::settled(world, seen).await? {
        check(invariant, outcome);
    }
    Ok(violations)
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// No feed at any node ever becomes older; a loss of power may undo what was not synced of others' feeds.
fn versions_never_go_back(seen: &Seen, past: &mut Past, _: &Limits) -> Result<(), String> {
    let mut back = Ok(());
    past.powerless.extend(&seen.lost_power);
    for node in &seen.nodes {
        let Some(view) = &node.view else { continue };
        if past.powerless.remove(&node.number) {
            past.positions.retain(|(other, ..), (_, _, own)| *other != node.number || *own);
        }
        for feed in &view.feeds {
            let now = (feed.incarnation, feed.seq, feed.own);
            let key = (node.number, feed.party.clone(), feed.kind);
            let before = past.positions.insert(key, now).unwrap_or_default();
            if now < before && back.is_ok() {
                let (party, kind) = (&feed.party, feed.kind);
                back = Err(format!("node {}: {party}/{kind} was at {before:?}, is at {now:?}", node.number));
            }
        }
    }
    back
}

/// Every feed anywhere is that of a party that there is.
fn no_foreign_feed(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    for node in &seen.nodes {
        let parties = node.view.iter().flat_map(|view| &view.feeds).map(|feed| &*feed.party);
        if let Some(party) = foreign(parties, &seen.parties) {
            return Err(format!("node {} holds a feed of {party}, and there is no such party", node.number));
        }
    }
    Ok(())
}

/// The first that is none of those that there are.
fn foreign<'p>(mut held: impl Iterator<Item = &'p str>, parties: &BTreeSet<String>) -> Option<&'p str> {
    held.find(|party| !parties.contains(*party))
}

/// Connections that are being made or refused, in addition: a refusal comes after the handshake.
const OPEN_FACTOR_MAX: u64 = 3;

/// The nodes whose connections are bounded: everybody comes to a bootstrap node, and a liar does as it likes.
fn bounded(seen: &Seen) -> impl Iterator<Item = &NodeSeen> {
    seen.nodes.iter().filter(|node| node.part != Part::Bootstrap)
}

/// What the connections of a node are good for. Those that are open beyond the established ones are being made,
/// refused or closed.
fn connections_of(node: &NodeSeen) -> String {
    let role = crate::report::Role::from(node.part).as_str();
    let (number, open, counts) = (node.number, node.traffic.open, node.counts);
    let mut purposes: BTreeMap<&str, u64> = BTreeMap::new();
    for peer in node.view.iter().flat_map(|view| &view.peers) {
        *purposes.entry(&peer.purpose).or_default() += 1;
    }
    let peers: u64 = purposes.values().sum();
    let purposes: Vec<String> =
        purposes.iter().map(|(purpose, count)| format!("{purpose} {count}")).collect();
    format!(
        "node {number} ({role}) has {open} connections: {} established to {peers} peers ({}), {} pending",
        counts.connections_open,
        purposes.join(", "),
        counts.connections_pending
    )
}

/// Of a node's connections those that are established (two with one peer count twice); and all that are open, those
/// that are being made or refused included.
fn connections_bounded(seen: &Seen, _: &mut Past, limits: &Limits) -> Result<(), String> {
    let counts = bounded(seen).map(|node| (node.number, node.counts.connections_open, node.traffic.open));
    too_many_connections(counts, limits.connections)
}

/// Nodes with too many connections that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// `counts`: number, established and open connections of each node.
fn too_many_connections(
    counts: impl Iterator<Item = (NodeNumber, u64, u64)>,
    limit: u64,
) -> Result<(), String> {
    let open_max = OPEN_FACTOR_MAX.saturating_mul(limit);
    let mut most: Vec<_> =
        counts.filter(|(_, established, open)| *established > limit || *open > open_max).collect();
    most.sort_by_key(|(number, established, open)| (std::cmp::Reverse((*established, *open)), *number));
    let named = most.iter().take(NAMED_MAX);
    let named = named.map(|(number, established, open)| {
        format!("node {number} has {established} established connections and {open} open ones")
    });
    let mut what: Vec<String> = named.collect();
    if most.len() > NAMED_MAX {
        what.push(format!("{} more nodes have too many", most.len() - NAMED_MAX));
    }
    ensure(most.is_empty(), || {
        format!("{}; limits.connections allows {limit} established and {open_max} open", what.join(", "))
    })
}

/// Memory of the process beside that of the nodes, in MB.
const OWN_MB: f64 = 64.0;

fn memory_bounded(seen: &Seen, _: &mut Past, limits: &Limits) -> Result<(), String> {
    let limit_mb = OWN_MB + limits.memory_mb_per_node * seen.nodes.len() as f64;
    ensure(seen.rss_mb <= limit_mb, || format!("{:.0} MB resident, {limit_mb:.0} are allowed", seen.rss_mb))
}

/// A node that lives answers every backend, and none twice: the second would have nobody to go to.
fn every_call_answered(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    let unanswered = seen.calls.unanswered;
    ensure(unanswered == 0, || format!("{unanswered} calls of backends were never answered"))
}

/// What operators' backends push here is in order: a node that refuses it is wrong, unless the operator lost a push
/// before.
fn no_push_refused(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    seen.refusal.clone().map_or(Ok(()), |first| Err(format!("a push was refused: {first}")))
}

/// What backends themselves noticed about sessions.
fn about_sessions(seen: &Seen, invariant: &str) -> Result<(), String> {
    seen.sessions_wrong.get(invariant).map_or(Ok(()), |what| Err(what.clone()))
}

/// No node holds more sessions than ever began.
fn sessions_bounded(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    for node in &seen.nodes {
        let held: u64 = node.view.iter().flat_map(|view| view.session_counts.values()).sum();
        let begun = seen.sessions_begun;
        ensure(held <= begun, || format!("node {} holds {held} sessions, {begun} began", node.number))?;
    }
    Ok(())
}

/// No writer that follows the protocol is found to contradict itself.
fn nobody_honest_doubted(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    for node in &seen.nodes {
        let written: BTreeSet<&String> =
            seen.nodes.iter().flat_map(|node| node.view.iter().flat_map(|view| &view.parties)).collect();
        let feeds = node.view.iter().flat_map(|view| &view.feeds);
        let mut feeds = feeds.filter(|feed| written.contains(&feed.party));
        if let Some(feed) = feeds.find(|feed| matches!(feed.state, "inconsistent" | "equivocated")) {
            let (party, kind, state) = (&feed.party, feed.kind, &feed.state);
            return Err(format!(
                "node {}: {party}/{kind} is {state}, and its writer does not lie",
                node.number
            ));
        }
    }
    Ok(())
}

fn position((incarnation, seq, root): &Position) -> String {
    format!("incarnation {incarnation}, seq {seq}, root {root}")
}

/// Every honest node holds every feed as its writer has it.
fn roots_equal(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    let written = seen.written();
    for node in seen.nodes.iter().filter(|node| node.view.is_some()) {
        let held = node.positions();
        let other = written.iter().find(|(feed, head)| held.get(*feed) != Some(*head));
        if let Some(((party, kind), head)) = other {
            let held = held.get(&(party.clone(), *kind));
            let held = held.map_or_else(|| "not there".to_owned(), |held| format!("at {}", position(held)));
            let head = position(head);
            return Err(format!("node {}: {party}/{kind} is {held}, its writer is at {head}", node.number));
        }
    }
    Ok(())
}

fn feeds_in_order(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    for node in &seen.nodes {
        let feeds = node.view.iter().flat_map(|view| &view.feeds);
        let mut feeds = feeds.filter(|feed| !seen.liars.contains(&feed.party));
        if let Some(feed) = feeds.find(|feed| !feed.in_sync || feed.state != "ok") {
            let (party, kind, state) = (&feed.party, feed.kind, feed.state);
            let in_sync = feed.in_sync;
            return Err(format!("node {}: {party}/{kind} is {state}, in_sync {in_sync}", node.number));
        }
    }
    Ok(())
}

/// Where the scenario says so, repair does without asking for whole feeds.
fn no_more_full_loads(seen: &Seen, past: &mut Past, limits: &Limits) -> Result<(), String> {
    let Some(limit) = limits.full_syncs else { return Ok(()) };
    let since = seen.full_loads().saturating_sub(past.full_loads);
    ensure(since <= limit, || format!("{since} feeds were asked for as a whole, {limit} are allowed"))
}

fn connections_settled(seen: &Seen, _: &mut Past, limits: &Limits) -> Result<(), String> {
    let Some(most) = bounded(seen).max_by_key(|node| node.traffic.open) else { return Ok(()) };
    ensure(most.traffic.open <= limits.connections_settled, || {
        format!("{}; {} are allowed", connections_of(most), limits.connections_settled)
    })
}

/// When nothing happens any more, nodes keep the connections that they have: what is dialled anew is counted.
fn connections_steady(seen: &Seen, past: &mut Past, limits: &Limits) -> Result<(), String> {
    let Some((from_ms, before)) = past.quiet else { return Ok(()) };
    let minutes = seen.at_ms.saturating_sub(from_ms) as f64 / 60_000.0;
    let nodes = bounded(seen).count() as f64;
    let per_min = (dialled(seen) - before) as f64 / nodes.max(1.0) / minutes.max(f64::EPSILON);
    let allowed = limits.dials_per_min;
    ensure(per_min <= allowed, || {
        format!(
            "when all was quiet each node dialled {per_min:.1} times a minute in the mean; {allowed} are allowed"
        )
    })
}

/// Nobody who keeps to the protocol is taken for a liar.
fn nobody_honest_blocked(seen: &Seen, _: &mut Past, _: &Limits) -> Result<(), String> {
    for node in &seen.nodes {
        if let Some(other) = seen.nodes.iter().find(|other| node.blocked.contains(&other.id)) {
            return Err(format!(
                "node {} has blocked node {}, which does not lie",
                node.number, other.number
            ));
        }
    }
    Ok(())
}

/// Every node shows what backends were told is published.
async fn as_the_reference_says(world: &World) -> Result<Result<(), String>> {
    let mut first = None;
    for host in world.honest() {
        let Some(node) = host.node() else { continue };
        let mut shown = shown(node).await?;
        // Liars may publish what is theirs.
        shown.retain(|(_, key), _| !world.liars.operates(key.operator()));
        let mut known = world.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = match known.reference.settle(first.as_ref().unwrap_or(&shown)) {
            Ok(wanted) => wanted,
            Err(half) => return Ok(Err(half)),
        };
        if shown != *wanted {
            let differs = |key: &&(Kind, _)| shown.get(*key) != wanted.get(*key);
            let wrong: Vec<_> = wanted.keys().chain(shown.keys()).filter(differs).collect();
            let example =
                wrong.first().map(|(kind, key)| format!(", {}/{} is one", kind.name(), key.as_str()));
            let (number, wrong, example) = (host.number, wrong.len(), example.unwrap_or_default());
            return Ok(Err(format!(
                "node {number} shows {} records, the reference has {}; {wrong} differ{example}",
                shown.len(),
                wanted.len()
            )));
        }
        first.get_or_insert(shown);
    }
    Ok(Ok(()))
}

/// Every stored record was pushed by its owner's backend, and every feed yields the root that its owner signed.
async fn signed_by_its_owner(world: &World) -> Result<Result<(), String>> {
    let keys: BTreeMap<String, _> = world
        .hosts
        .iter()
        .filter_map(|host| host.party.as_ref())
        .map(|party| (party.id.to_text(), party.message_key.public()))
        .chain(world.liars.parties())
        .collect();
    let liars: BTreeSet<String> = world.liars.parties().map(|(party, _)| party).collect();
    for host in world.honest() {
        let Some(node) = host.node() else { continue };
        for feed in stored(node).await? {
            let at = format!("node {}: {}", host.number, feed.feed);
            let Some(key) = keys.get(&feed.feed.party.to_text()) else {
                return Ok(Err(format!("{at} is nobody's")));
            };
            let head = match feed.signed.verify(NETWORK, key) {
                Ok(head) => head,
                Err(error) => return Ok(Err(format!("{at}: {error}"))),
            };
            let known = world.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut tree = Tree::default();
            for entry in feed.entries {
                let lied = liars.contains(&feed.feed.party.to_text());
                if !lied && !known.said.contains(&(feed.feed.kind, entry.key.as_str().to_owned(), entry.hash))
                {
                    return Ok(Err(format!("{at}: nobody ever said this of {}", entry.key.as_str())));
                }
                let (key, seq, at_unix_ms, hash) = (entry.key, entry.seq, entry.at_unix_ms, entry.hash);
                tree.put(Entry { key, seq, at_unix_ms, hash });
            }
            if head != feed.head || tree.root() != head.root {
                return Ok(Err(format!("{at}: the records do not yield the root that was signed")));
            }
        }
    }
    Ok(Ok(()))
}

/// Nodes that look for the card of an operator by Kademlia, each for another one.
const LOOKUPS: usize = 20;

/// Longer than a query of Kademlia may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(40);

/// Whoever looks for an operator finds its card, though most nodes are not connected to each other.
async fn lookups_succeed(world: &World) -> Result<Result<(), String>> {
    let operators: Vec<_> = world.honest().filter(|host| matches!(host.part, Part::Cpo(_))).collect();
    let seekers: Vec<_> = world.honest().filter(|host| host.part == Part::Emp).take(LOOKUPS).collect();
    let mut before = Vec::new();
    for (seeker, operator) in seekers.iter().zip(operators.iter().cycle()) {
        let (Some(node), Some(party)) = (seeker.node(), &operator.party) else { continue };
        before.push((seeker.number, node.mesh(), node.mesh().counts().await?));
        node.mesh().find_card(kad_key(NETWORK, &party.id, 0))?;
    }
    tokio::time::sleep(LOOKUP_DEADLINE).await;
    let mut failed = Vec::new();
    for (number, mesh, before) in &before {
        if mesh.counts().await?.cards_found == before.cards_found {
            failed.push(*number);
        }
    }
    Ok(ensure(failed.is_empty() && !before.is_empty(), || {
        format!("{} of {} searches found nothing: {failed:?}", failed.len(), before.len())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_that_there_is_not_is_foreign() {
        let parties = BTreeSet::from(["CPO:DEABC".to_owned(), "CPO:CHXYZ".to_owned()]);
        assert_eq!(foreign(["CPO:DEABC", "CPO:CHXYZ"].into_iter(), &parties), None);
        assert_eq!(foreign(["CPO:DEABC", "EMP:DEABC"].into_iter(), &parties), Some("EMP:DEABC"));
    }

    #[test]
    fn too_many_connections_are_told_in_one_line() {
        let told = |counts: &[(NodeNumber, u64, u64)]| too_many_connections(counts.iter().copied(), 40);
        assert_eq!(told(&[(1, 40, 120)]), Ok(()));
        let two = told(&[(1, 41, 50), (2, 40, 120), (3, 12, 121)]);
        let wanted = "node 1 has 41 established connections and 50 open ones, node 3 has 12 established \
                      connections and 121 open ones; limits.connections allows 40 established and 120 open";
        assert_eq!(two, Err(wanted.to_owned()));
        let many: Vec<_> = (0..9).map(|number| (number, 50, 60)).collect();
        assert!(
            told(&many)
                .is_err_and(|what| what.contains("node 4 has") && what.contains(", 4 more nodes have"))
        );
    }
}
