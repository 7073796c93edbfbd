//! The faults of a run with their times, for the plots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scenario::{Death, PartitionKind};
use crate::schedule::{Act, Entry};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// A node's process ended.
    Crash,
    /// A node lost its power.
    PowerLoss,
    /// The network was cut in two groups.
    Split,
    /// One group was not heard by the other.
    OneWay,
    /// One node was cut off.
    Isolate,
    /// A link was slow.
    SlowLink,
}

impl FaultKind {
    /// As a person reads it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            FaultKind::Crash => "crash",
            FaultKind::PowerLoss => "power loss",
            FaultKind::Split => "split",
            FaultKind::OneWay => "one-way cut",
            FaultKind::Isolate => "node cut off",
            FaultKind::SlowLink => "slow link",
        }
    }

    /// Whether the network was cut.
    pub(crate) fn is_partition(self) -> bool {
        matches!(self, FaultKind::Split | FaultKind::OneWay | FaultKind::Isolate)
    }
}

/// A fault and how long it lasted, in seconds of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FaultSpan {
    pub(crate) from_s: f64,
    /// A node was started again, or the network was as before.
    pub(crate) to_s: f64,
    pub(crate) kind: FaultKind,
}

/// The faults of a schedule that began at this virtual time. A crash of a node that is down is none.
pub(crate) fn spans(schedule: &[Entry], begun_s: f64) -> Vec<FaultSpan> {
    let mut up_again_ms = BTreeMap::new();
    let mut spans = Vec::new();
    for entry in schedule {
        let kind = match &entry.act {
            Act::Crash { node, kind, down_ms } => {
                let up_ms = up_again_ms.entry(*node).or_insert(0);
                if *up_ms > entry.at_ms {
                    continue;
                }
                *up_ms = entry.at_ms + down_ms;
                match kind {
                    Death::Process | Death::Damage => FaultKind::Crash,
                    Death::Power => FaultKind::PowerLoss,
                }
            }
            Act::Partition { kind: PartitionKind::Split, .. } => FaultKind::Split,
            Act::Partition { kind: PartitionKind::OneWay, .. } => FaultKind::OneWay,
            Act::Partition { kind: PartitionKind::Isolate, .. } => FaultKind::Isolate,
            Act::SlowLink { .. } => FaultKind::SlowLink,
            _ => continue,
        };
        let from_s = begun_s + entry.at_ms as f64 / 1e3;
        spans.push(FaultSpan { from_s, to_s: from_s + entry.act.lasts_ms() as f64 / 1e3, kind });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_their_times_and_a_dead_node_does_not_die() {
        let crash =
            |at_ms, node| Entry { at_ms, act: Act::Crash { node, kind: Death::Power, down_ms: 3_000 } };
        let checkpoint = Entry { at_ms: 100, act: Act::Checkpoint { node: 1 } };
        let cut = Act::Partition { kind: PartitionKind::OneWay, nodes: vec![1], lasts_ms: 500 };
        let schedule =
            [checkpoint, crash(1_000, 1), crash(2_000, 1), crash(2_000, 2), Entry { at_ms: 9_000, act: cut }];
        let span = |from_s, to_s, kind| FaultSpan { from_s, to_s, kind };
        let expected = [
            span(11.0, 14.0, FaultKind::PowerLoss),
            span(12.0, 15.0, FaultKind::PowerLoss),
            span(19.0, 19.5, FaultKind::OneWay),
        ];
        assert_eq!(spans(&schedule, 10.0), expected);
    }
}
