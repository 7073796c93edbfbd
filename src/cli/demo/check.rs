//! Whether all nodes agree, and the figures of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use chargemesh::engine::{FeedView, NodeView};
use chargemesh::oicp::evse_status::EvseStatus;
use chargemesh::oicp::id::{EvseId, EvseKey};
use chargemesh::oicp::json;
use chargemesh::oicp::json_write::Writer;
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::register::RegisterKind;
use futures::future::try_join_all;

use super::charge::Charged;
use super::latency::Latencies;
use super::nodes::{Network, PartyNode};
use super::push::Pushed;
use super::screen::Screen;
use super::trace::Trace;
use super::world;

/// Differences that are named; a broken run has thousands.
const DIFFERENCES_NAMED_MAX: usize = 10;

/// (party, kind) of a feed.
type FeedName = (String, &'static str);

/// What the EMP nodes hold beside what the CPO nodes signed.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Every EMP has every feed with the writer's own root, and all EMPs show the same numbers.
    pub(super) converged: bool,
    /// What differs, at most [`DIFFERENCES_NAMED_MAX`].
    pub(super) differences: Vec<String>,
    /// Records that the writers signed, data and status.
    signed: u64,
    /// Each EMP's own numbers.
    emps: Vec<EmpCounts>,
}

/// The numbers of one EMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EmpCounts {
    records: u64,
    statuses: u64,
    view: u64,
    conflicts: u64,
    refused: u64,
}

impl Comparison {
    /// Asks all nodes.
    pub(super) async fn of(network: &Network) -> anyhow::Result<Comparison> {
        let cpos = try_join_all(network.cpos.iter().map(PartyNode::view)).await?;
        let emps = try_join_all(network.emps.iter().map(PartyNode::view)).await?;
        Ok(Comparison::of_views(&cpos, &emps))
    }

    fn of_views(cpos: &[NodeView], emps: &[NodeView]) -> Comparison {
        let mut signed: BTreeMap<FeedName, &FeedView> = BTreeMap::new();
        for feed in cpos.iter().flat_map(|view| &view.feeds).filter(|feed| feed.own) {
            signed.insert((feed.party.clone(), feed.kind), feed);
        }
        let mut comparison =
            Comparison { signed: signed.values().map(|feed| feed.count).sum(), ..Comparison::default() };
        for (place, view) in emps.iter().enumerate() {
            let held: BTreeMap<FeedName, &FeedView> =
                view.feeds.iter().map(|feed| ((feed.party.clone(), feed.kind), feed)).collect();
            for (name, own) in &signed {
                if let Some(difference) = difference(own, held.get(name).copied()) {
                    comparison.differ(format!("EMP {}: {} {}: {difference}", place + 1, name.0, name.1));
                }
            }
            comparison.emps.push(EmpCounts::of(view));
        }
        if comparison.emps.windows(2).any(|pair| matches!(pair, [left, right] if left != right)) {
            comparison.differ(format!("the EMPs do not show the same numbers: {:?}", comparison.emps));
        }
        comparison.converged = comparison.differences.is_empty() && !signed.is_empty();
        comparison
    }

    fn differ(&mut self, what: String) {
        if self.differences.len() < DIFFERENCES_NAMED_MAX {
            self.differences.push(what);
        }
    }

    /// How the EMPs fill.
    pub(super) fn to_text(&self, since: Duration) -> String {
        let held: Vec<String> =
            self.emps.iter().map(|emp| format!("{} + {}", emp.records, emp.statuses)).collect();
        format!(
            "{:5.1} s: {} records and statuses signed; EMPs hold {}",
            since.as_secs_f64(),
            self.signed,
            held.join(" | ")
        )
    }

    /// The lowest of the EMPs' numbers: what is true of every EMP.
    fn least(&self, number: impl Fn(&EmpCounts) -> u64) -> u64 {
        self.emps.iter().map(number).min().unwrap_or(0)
    }

    fn most(&self, number: impl Fn(&EmpCounts) -> u64) -> u64 {
        self.emps.iter().map(number).max().unwrap_or(0)
    }
}

impl EmpCounts {
    fn of(view: &NodeView) -> EmpCounts {
        let records = |kind| view.feeds.iter().filter(|feed| feed.kind == kind).map(|feed| feed.count).sum();
        let mut contested: Vec<&str> = view.conflicts.iter().map(|conflict| conflict.key.as_str()).collect();
        contested.sort_unstable();
        contested.dedup();
        EmpCounts {
            records: records("data"),
            statuses: records("status"),
            view: view.view_evses,
            conflicts: contested.len() as u64,
            refused: view.records_refused,
        }
    }
}

fn difference(own: &FeedView, held: Option<&FeedView>) -> Option<String> {
    match held {
        None => Some(format!("missing, {} records were signed", own.count)),
        Some(held) if held.root != own.root => {
            Some(format!("{} of {} records, {}", held.count, own.count, held.state))
        }
        Some(held) if !held.in_sync => Some(format!("not in sync: {}", held.state)),
        Some(_) => None,
    }
}

/// Pulls the statuses of every EMP over HTTP and compares them with the end of the trace.
pub(super) async fn equals_end(network: &Network, trace: &Trace, screen: &Screen) -> anyhow::Result<bool> {
    let mut equal = true;
    for emp in &network.emps {
        let body = format!(r#"{{"ProviderID":"{}"}}"#, emp.id);
        let answer = emp.client.pull_evse_status(&emp.id, body.into()).await?;
        let pulled = statuses(&answer.body).with_context(|| format!("the statuses of {}", emp.id))?;
        let differences = differences(&trace.end, &pulled);
        if differences.is_empty() {
            screen.line(&format!("{}: all {} statuses are as at the end of the trace", emp.id, pulled.len()));
        } else {
            equal = false;
            screen.line(&format!(
                "{}: {} statuses differ from the end of the trace",
                emp.id,
                differences.len()
            ));
            differences.iter().take(DIFFERENCES_NAMED_MAX).for_each(|difference| screen.line(difference));
        }
    }
    Ok(equal)
}

fn statuses(body: &[u8]) -> anyhow::Result<BTreeMap<EvseKey, EvseStatus>> {
    let root = json::parse(body, Reading::Tolerant)?;
    let blocks = world::blocks(&root, RegisterKind::EvseStatus, std::path::Path::new("the answer"))?;
    let mut statuses = BTreeMap::new();
    for record in blocks.iter().flat_map(|block| &block.records) {
        let id = EvseId::parse(world::evse_id(record).unwrap_or_default())?;
        let status = record.field_any_case(&["EvseStatus"]).and_then(json::Node::as_str);
        let status = status.and_then(EvseStatus::parse).context("a record without status")?;
        statuses.insert(id.key().clone(), status);
    }
    Ok(statuses)
}

fn differences(wanted: &BTreeMap<EvseKey, EvseStatus>, found: &BTreeMap<EvseKey, EvseStatus>) -> Vec<String> {
    let text = |status: Option<&EvseStatus>| status.map_or("-", EvseStatus::as_str).to_owned();
    let mut differences = Vec::new();
    for (key, status) in wanted {
        if found.get(key) != Some(status) {
            differences.push(format!("  {key}: {status} expected, {} found", text(found.get(key))));
        }
    }
    for (key, status) in found.iter().filter(|(key, _)| !wanted.contains_key(key)) {
        differences.push(format!("  {key}: nothing expected, {status} found"));
    }
    differences
}

/// The figures of a run, in the order of the result line.
#[derive(Debug, Default)]
pub(super) struct Figures {
    nodes: usize,
    operators: usize,
    records_pushed: usize,
    records_accepted: u64,
    records_refused: u64,
    conflicts: u64,
    view: u64,
    statuses: u64,
    converged: bool,
    seconds_to_converge: f64,
    status_p50: Option<Duration>,
    status_p99: Option<Duration>,
    trace_changes: Option<usize>,
    trace_end_equal: Option<bool>,
    rss_mb: Option<u64>,
    refused_by_own_node: usize,
    all_statuses_taken: bool,
    charged: Charged,
}

impl Figures {
    /// After the first full loads.
    pub(super) fn new(network: &Network, pushed: &Pushed, settled: &Comparison, took: Duration) -> Figures {
        let mut figures = Figures {
            nodes: network.size(),
            operators: network.cpos.len(),
            records_pushed: pushed.records,
            seconds_to_converge: took.as_secs_f64(),
            converged: true,
            refused_by_own_node: pushed.records_refused,
            all_statuses_taken: pushed.statuses_refused == 0,
            ..Figures::default()
        };
        figures.changed(settled);
        figures
    }

    /// After more changes.
    pub(super) fn changed(&mut self, end: &Comparison) {
        self.converged &= end.converged;
        self.records_accepted = end.least(|emp| emp.records);
        self.records_refused = end.most(|emp| emp.refused).saturating_add(self.refused_by_own_node as u64);
        self.conflicts = end.most(|emp| emp.conflicts);
        self.view = end.least(|emp| emp.view);
        self.statuses = end.least(|emp| emp.statuses);
    }

    /// After a trace.
    pub(super) fn replayed(&mut self, changes: usize, equal: bool, end: &Comparison) {
        self.changed(end);
        self.trace_changes = Some(changes);
        self.trace_end_equal = Some(equal);
    }

    /// After the sessions.
    pub(super) fn charged(&mut self, charged: Charged) {
        self.charged = charged;
    }

    /// Adds what is measured over the whole run.
    pub(super) fn finish(&mut self, latencies: &Latencies, screen: &Screen) {
        let summary = latencies.summary();
        (self.status_p50, self.status_p99) = (summary.p50, summary.p99);
        if summary.open + summary.missed > 0 {
            screen.line(&format!(
                "latency: {} measured, {} not seen singly, {} pieces too fast to look at",
                summary.count, summary.open, summary.missed
            ));
        }
        self.rss_mb = highest_memory_mb();
    }

    /// Whether everything is as it should be.
    pub(super) fn is_good(&self) -> bool {
        self.converged
            && self.records_accepted == self.records_pushed as u64
            && self.records_refused == 0
            && self.all_statuses_taken
            && self.trace_end_equal != Some(false)
            && self.charged.failed == 0
    }

    /// One line of JSON; what does not apply is null.
    pub(super) fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        let w = &mut writer;
        w.begin_object();
        w.key("nodes").integer(self.nodes as u64).key("operators").integer(self.operators as u64);
        w.key("records_pushed").integer(self.records_pushed as u64);
        w.key("records_accepted").integer(self.records_accepted);
        w.key("records_refused").integer(self.records_refused);
        w.key("conflicts").integer(self.conflicts).key("view").integer(self.view);
        w.key("statuses").integer(self.statuses).key("converged").bool(self.converged);
        w.key("seconds_to_converge").raw(&format!("{:.3}", self.seconds_to_converge));
        milliseconds(w, "status_p50_ms", self.status_p50);
        milliseconds(w, "status_p99_ms", self.status_p99);
        let changes = self.trace_changes.map(|changes| changes.to_string());
        w.key("trace_changes").raw(changes.as_deref().unwrap_or("null"));
        let equal = self.trace_end_equal.map(|equal| equal.to_string());
        w.key("trace_end_equal").raw(equal.as_deref().unwrap_or("null"));
        let memory = self.rss_mb.map(|mb| mb.to_string());
        w.key("rss_mb").raw(memory.as_deref().unwrap_or("null"));
        w.key("sessions").integer(self.charged.sessions as u64);
        w.key("sessions_failed").integer(self.charged.failed as u64);
        milliseconds(w, "session_start_p50_ms", self.charged.start(50));
        milliseconds(w, "session_start_p99_ms", self.charged.start(99));
        w.end_object();
        writer.finish()
    }

    /// The same for people.
    pub(super) fn to_text(&self) -> String {
        let line = self.to_json();
        let inner = line.trim_start_matches('{').trim_end_matches('}');
        inner
            .split(',')
            .map(|pair| pair.replace('"', "").replacen(':', ": ", 1))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn milliseconds(writer: &mut Writer, name: &str, time: Option<Duration>) {
    let spelling = time.map(|time| format!("{:.3}", time.as_secs_f64() * 1_000.0));
    writer.key(name).raw(spelling.as_deref().unwrap_or("null"));
}

/// The most memory that this process has held, in MB; `None` where the system does not say.
fn highest_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    high_water_kib(&status).map(|kib| kib.div_ceil(1024))
}

fn high_water_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(party: &str, kind: &'static str, count: u64, root: &str, own: bool) -> FeedView {
        FeedView {
            party: party.to_owned(),
            kind,
            audience: Vec::new(),
            operator_id: String::new(),
            operator_name: String::new(),
            count,
            shadowed: 0,
            seq: 1,
            incarnation: 1,
            root: root.to_owned(),
            in_sync: true,
            state: "ok",
            confirmed_at_unix_ms: 0,
            own,
        }
    }

    fn view(feeds: Vec<FeedView>, view_evses: u64) -> NodeView {
        NodeView { feeds, view_evses, ..NodeView::default() }
    }

    #[test]
    fn nodes_agree_root_by_root() {
        let cpo = || view(vec![feed("CPO:CHABC", "data", 3, "aa", true)], 3);
        let good = || view(vec![feed("CPO:CHABC", "data", 3, "aa", false)], 3);
        let agreed = Comparison::of_views(&[cpo()], &[good(), good()]);
        assert!(agreed.converged, "{agreed:?}");
        for bad in [
            view(vec![], 0),
            view(vec![feed("CPO:CHABC", "data", 3, "bb", false)], 3),
            view(vec![FeedView { in_sync: false, ..feed("CPO:CHABC", "data", 3, "aa", false) }], 3),
            view(vec![feed("CPO:CHABC", "data", 3, "aa", false)], 2),
        ] {
            let compared = Comparison::of_views(&[cpo()], &[good(), bad]);
            assert!(!compared.converged && !compared.differences.is_empty(), "{compared:?}");
        }
        assert!(!Comparison::of_views(&[], &[good()]).converged, "nothing signed is nothing shown");
    }

    #[test]
    fn the_line_has_exactly_the_agreed_keys() {
        let line = Figures::default().to_json();
        let root = json::parse_text(&line).unwrap();
        let names: Vec<&str> = root.members().iter().map(|(name, _)| name.as_ref()).collect();
        let agreed = "nodes operators records_pushed records_accepted records_refused conflicts view statuses \
                      converged seconds_to_converge status_p50_ms status_p99_ms trace_changes trace_end_equal rss_mb \
                      sessions sessions_failed session_start_p50_ms session_start_p99_ms";
        assert_eq!(names, agreed.split_whitespace().collect::<Vec<_>>());
        assert!(root.member("trace_changes").unwrap().is_null());
    }

    #[test]
    fn statuses_are_compared_by_key_in_both_directions() {
        let of = |ids: &[(&str, &str)]| -> BTreeMap<EvseKey, EvseStatus> {
            let entry = |(id, status): &(&str, &str)| {
                (EvseId::parse(id).unwrap().key().clone(), EvseStatus::parse(status).unwrap())
            };
            ids.iter().map(entry).collect()
        };
        let wanted = of(&[("CH*ABC*E1", "Available"), ("CH*ABC*E2", "Occupied")]);
        assert!(differences(&wanted, &of(&[("ch*abc*e1", "Available"), ("CHABCE2", "Occupied")])).is_empty());
        let found = of(&[("CH*ABC*E1", "Unknown"), ("CH*ABC*E3", "Occupied")]);
        assert_eq!(differences(&wanted, &found).len(), 3);
    }

    #[test]
    fn memory_is_read_from_the_status_file() {
        assert_eq!(high_water_kib("Name:\tx\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n"), Some(123_456));
        assert_eq!(high_water_kib("Name:\tx\n"), None);
    }
}
