//! What a run tells: one JSON document, and what a person makes of it: plots, a page, a comparison.

pub(crate) mod baseline;
pub(crate) mod compare;
pub(crate) mod faults;
pub(crate) mod page;
mod plots;
mod scale;
mod svg;
pub(crate) mod units;

use serde::{Deserialize, Serialize};

use crate::charging::SessionsReport;
use crate::invariants::Violation;
use crate::world::Part;
pub(crate) use faults::FaultSpan;

/// One look at the world while it ran.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Virtual time in seconds.
    pub(crate) at_s: f64,
    /// Share of all (node, feed) that are what their writer has, 0 to 1.
    pub(crate) in_sync: f64,
    /// Nodes that run.
    pub(crate) running: u64,
    /// Mean and largest number of connections of a node, bootstrap nodes left out: everybody comes to them.
    pub(crate) connections_mean: f64,
    pub(crate) connections_max: u64,
    /// Largest number of connections of a bootstrap node.
    #[serde(default)]
    pub(crate) connections_bootstrap_max: u64,
    /// Bytes that all nodes sent so far.
    pub(crate) bytes_sent: u64,
}

/// What a node is for, as reports name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// The report does not say.
    #[default]
    Unknown,
    Bootstrap,
    Operator,
    Provider,
    Liar,
}

impl Role {
    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Unknown => "unknown",
            Role::Bootstrap => "bootstrap",
            Role::Operator => "operator",
            Role::Provider => "provider",
            Role::Liar => "liar",
        }
    }
}

impl From<Part> for Role {
    fn from(part: Part) -> Role {
        match part {
            Part::Bootstrap => Role::Bootstrap,
            Part::Cpo(_) => Role::Operator,
            Part::Emp => Role::Provider,
        }
    }
}

/// One node at the end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct NodeTotals {
    pub(crate) node: u32,
    #[serde(default)]
    pub(crate) role: Role,
    pub(crate) bytes_sent: u64,
    pub(crate) connections: u64,
}

/// Milliseconds from a writer's change to another node's view.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) count: u64,
    pub(crate) p50_ms: u32,
    pub(crate) p90_ms: u32,
    pub(crate) p99_ms: u32,
    pub(crate) max_ms: u32,
}

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) ok: bool,
    /// Hash over everything that happened, in hex.
    pub(crate) trace_hash: String,
    /// Events that it is over.
    pub(crate) events: u64,
    pub(crate) sim_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) rss_mb: f64,
    pub(crate) nodes: u32,
    /// Time from the load to equality at all nodes, in seconds of virtual time; `None`: never.
    pub(crate) warm_up_s: Option<f64>,
    /// Time from the end of the last fault to equality, in seconds of virtual time; `None`: never.
    pub(crate) repaired_s: Option<f64>,
    /// Time until everybody knew of each revocation, in milliseconds; `None`: never.
    #[serde(default)]
    pub(crate) revocations_ms: Vec<Option<u64>>,
    pub(crate) calls: serde_json::Value,
    /// Sessions, if anybody charged.
    #[serde(default)]
    pub(crate) sessions: Option<SessionsReport>,
    pub(crate) delivery: Delivery,
    /// How many deliveries took up to that many milliseconds.
    pub(crate) latency_histogram: Vec<(u32, u64)>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) totals: Vec<NodeTotals>,
    /// The faults in the order of time.
    #[serde(default)]
    pub(crate) faults: Vec<FaultSpan>,
    /// When the workload began and ended, in seconds of virtual time.
    #[serde(default)]
    pub(crate) work_s: Option<(f64, f64)>,
    pub(crate) violations: Vec<Violation>,
    /// The planted bug, if one was switched on.
    pub(crate) planted: Option<String>,
    /// The command that makes the run once more, for a shell in the directory where it was made; empty: not known.
    #[serde(default)]
    pub(crate) again: String,
}

impl Report {
    /// Connections of a node at the end in the mean, without bootstrap nodes. A large baseline keeps only some of its
    /// nodes, and liars are not among them: then the last sample has it.
    pub(crate) fn connections_mean(&self) -> Option<f64> {
        let nodes = self.totals.iter().filter(|node| node.role != Role::Bootstrap);
        let (count, all) = nodes.fold((0, 0), |(count, all), node| (count + 1, all + node.connections));
        let complete = count > 0 && self.totals.len() == self.nodes as usize;
        let last = self.samples.last().map(|sample| sample.connections_mean);
        if complete { Some(all as f64 / f64::from(count)) } else { last }
    }
}

/// Upper bounds of the histogram in milliseconds: steps of a quarter of a power of two, up to some days, as a
/// long partition delays.
fn bounds_ms() -> impl Iterator<Item = u32> {
    (0..112).map(|step| 2f64.powf(f64::from(step) / 4.0).round() as u32)
}

/// How many of the sorted latencies took up to each bound and longer than the one before; empty steps are left
/// out.
pub(crate) fn histogram(sorted_ms: &[u32]) -> Vec<(u32, u64)> {
    let (mut histogram, mut from) = (Vec::new(), 0);
    for bound in bounds_ms() {
        let to = sorted_ms.partition_point(|ms| *ms <= bound);
        if to > from {
            histogram.push((bound, (to - from) as u64));
            from = to;
        }
    }
    histogram
}

/// Quantiles of sorted latencies.
pub(crate) fn delivery(sorted_ms: &[u32]) -> Delivery {
    let at = |share: f64| {
        let last = sorted_ms.len().saturating_sub(1);
        sorted_ms.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    };
    Delivery {
        count: sorted_ms.len() as u64,
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    }
}

/// A small run with a bit of everything, for tests.
#[cfg(test)]
fn golden() -> Report {
    let latencies_ms: Vec<u32> = (0..1_000).map(|n| if n < 980 { 40 + n / 10 } else { n * 4 }).collect();
    let sample = |n: u64| Sample {
        at_s: n as f64 * 2.5,
        in_sync: if n < 2 { 0.0 } else { 1.0 - 0.1 * (n % 3) as f64 },
        running: 4,
        connections_mean: 2.5,
        connections_max: 3,
        connections_bootstrap_max: 3,
        bytes_sent: n * 50_000,
    };
    let roles = [Role::Bootstrap, Role::Operator, Role::Operator, Role::Provider];
    let node = |(number, role): (usize, Role)| NodeTotals {
        node: number as u32,
        role,
        bytes_sent: 100_000 + 20_000 * number as u64,
        connections: 2 + number as u64 % 2,
    };
    let fault = |from_s, kind| FaultSpan { from_s, to_s: from_s + 10.0, kind };
    Report {
        scenario: "golden".to_owned(),
        seed: 7,
        ok: true,
        trace_hash: "00112233445566ff".to_owned(),
        events: 12_345,
        sim_seconds: 50.0,
        wall_seconds: 2.0,
        rss_mb: 60.0,
        nodes: 4,
        warm_up_s: Some(4.0),
        repaired_s: Some(1.5),
        calls: serde_json::json!({ "made": 10, "acknowledged": 9 }),
        delivery: delivery(&latencies_ms),
        latency_histogram: histogram(&latencies_ms),
        samples: (0..20).map(sample).collect(),
        totals: roles.into_iter().enumerate().map(node).collect(),
        faults: vec![fault(12.0, faults::FaultKind::Crash), fault(20.0, faults::FaultKind::Split)],
        work_s: Some((5.0, 40.0)),
        revocations_ms: Vec::new(),
        sessions: None,
        violations: Vec::new(),
        planted: None,
        again: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_connections_is_without_bootstrap_nodes() {
        let mut report = golden();
        for node in &mut report.totals {
            node.connections = if node.role == Role::Bootstrap { 90 } else { 2 };
        }
        assert_eq!(report.connections_mean(), Some(2.0));
        report.totals.truncate(2);
        assert_eq!(report.connections_mean(), Some(2.5));
        report.samples.clear();
        assert_eq!(report.connections_mean(), None);
    }

    #[test]
    fn a_histogram_has_every_latency_in_its_step() {
        let sorted_ms = [0, 1, 2, 50, 54, 55, 6 * 3_600_000];
        let histogram = histogram(&sorted_ms);
        assert_eq!(histogram[..4], [(1, 2), (2, 1), (54, 2), (64, 1)]);
        assert_eq!(histogram.iter().map(|(_, count)| count).sum::<u64>(), 7);
        let Delivery { count, p50_ms, max_ms, .. } = delivery(&sorted_ms);
        assert_eq!((count, p50_ms, max_ms), (7, 50, 21_600_000));
    }
}
