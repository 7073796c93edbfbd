//! What happens in a run, drawn from the seed before it begins: so a failing schedule can be shrunk entry by
//! entry, and kept.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::charging::{self, Notice, Play, Start};
use crate::liars;
use crate::network::{NodeNumber, share};
use crate::people::RENEWED_MS;
use crate::scenario::{Death, LiarAct, PartitionKind, Scenario, Span};

/// Statuses that are drawn.
pub(crate) const STATUSES: [&str; 4] = ["Available", "Occupied", "Reserved", "OutOfService"];

/// Long enough that its peers have given up its connections.
const VICTIM_DOWN_MS: u64 = 5_000;

/// Something that happens. Each entry stands for itself: what it begins, it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, in milliseconds after the warm-up.
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) act: Act,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Act {
    /// A backend pushes statuses: number of the EVSE within its operator, and of the status.
    Status { operator: u32, changes: Vec<(u32, usize)> },
    /// A backend pushes new versions of records.
    Update { operator: u32, evses: Vec<u32>, version: u32 },
    /// A backend deletes records; those that are gone already are left out.
    Delete { operator: u32, evses: Vec<u32> },
    /// A backend pushes records again that were deleted.
    Insert { operator: u32, evses: Vec<u32>, version: u32 },
    /// The issuer revokes the credential of a provider at a node.
    Revoke { provider: u32, node: NodeNumber },
    /// All parties delegate to their nodes anew.
    Renew { epoch: u64 },
    /// A driver wants to charge.
    Start(Start),
    /// Whoever asked for that start asks for it once more, unless he has heard that it charges.
    Again { charge: u32 },
    /// He wants to stop. A `stranger` names a session that is nobody's.
    Stop {
        charge: u32,
        #[serde(default)]
        stranger: bool,
        play: Play,
    },
    /// The operator's backend tells how charging goes.
    Notify {
        charge: u32,
        kind: Notice,
        #[serde(default)]
        stranger: bool,
        play: Play,
    },
    /// The operator's backend brings the charge detail record; `other`: with another content than the one before.
    Cdr {
        charge: u32,
        #[serde(default)]
        other: bool,
        play: Play,
    },
    /// A node dies, and is started again.
    Crash { node: NodeNumber, kind: Death, down_ms: u64 },
    /// A node's directory is safe on its disk up to here.
    Checkpoint { node: NodeNumber },
    /// The network is cut, and heals.
    Partition { kind: PartitionKind, nodes: Vec<NodeNumber>, lasts_ms: u64 },
    /// A link is slow for a while.
    SlowLink { a: NodeNumber, b: NodeNumber, latency_ms: u64, lasts_ms: u64 },
}

impl Act {
    /// Whether it is a fault rather than work.
    pub(crate) fn is_fault(&self) -> bool {
        !matches!(
            self,
            Act::Status { .. }
                | Act::Update { .. }
                | Act::Delete { .. }
                | Act::Insert { .. }
                | Act::Revoke { .. }
                | Act::Renew { .. }
                | Act::Start(_)
                | Act::Again { .. }
                | Act::Stop { .. }
                | Act::Notify { .. }
                | Act::Cdr { .. }
        )
    }

    /// When it is over, in milliseconds after its begin.
    pub(crate) fn lasts_ms(&self) -> u64 {
        match self {
            Act::Crash { down_ms, .. } => *down_ms,
            Act::Partition { lasts_ms, .. } | Act::SlowLink { lasts_ms, .. } => *lasts_ms,
            _ => 0,
        }
    }
}

/// Draws what happens in a run, in the order of time.
pub(crate) fn draw(scenario: &Scenario, seed: u64, evses_of: &[u32]) -> Vec<Entry> {
    let mut draw = Draw {
        // A stream of its own: the schedule does not depend on what else is drawn.
        chance: ChaCha8Rng::seed_from_u64(seed ^ 0x5c4e_d01e),
        scenario,
        evses_of,
        entries: Vec::new(),
    };
    draw.statuses();
    draw.records();
    draw.revocations();
    draw.renewals();
    draw.crashes();
    draw.victim();
    draw.partitions();
    draw.slow_links();
    draw.entries.extend(charging::draw(scenario, seed, evses_of));
    // Of a charge that begins late, the rest would come when nothing happens any more.
    let end_ms = scenario.duration.ms();
    draw.entries.retain(|entry| entry.at_ms <= end_ms);
    draw.entries.sort_by_key(|entry| entry.at_ms);
    draw.entries
}

struct Draw<'s> {
    chance: ChaCha8Rng,
    scenario: &'s Scenario,
    evses_of: &'s [u32],
    entries: Vec<Entry>,
}

impl Draw<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.chance.next_u64() % limit.max(1)
    }

    fn between(&mut self, [low, high]: [Span; 2]) -> u64 {
        low.ms() + self.below(high.ms().saturating_sub(low.ms()) + 1)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let index = self.below(list.len() as u64) as usize;
        list.get(index).copied()
    }

    fn add(&mut self, at_ms: u64, act: Act) {
        self.entries.push(Entry { at_ms, act });
    }

    /// Moments at a mean rate, evenly drawn.
    fn moments(&mut self, per_s: f64) -> Vec<u64> {
        let duration_ms = self.scenario.duration.ms();
        let count = (per_s * duration_ms as f64 / 1_000.0).round() as u64;
        let mut moments: Vec<u64> = (0..count).map(|_| self.below(duration_ms)).collect();
        moments.sort_unstable();
        moments
    }

    /// An operator, the larger the likelier, and one of its EVSEs.
    fn evse(&mut self) -> (u32, u32) {
        let all: u64 = self.evses_of.iter().map(|count| u64::from(*count)).sum();
        let mut number = self.below(all);
        for (operator, count) in self.evses_of.iter().enumerate() {
            match number.checked_sub((*count).into()) {
                Some(rest) => number = rest,
                None => return (operator as u32, number as u32),
            }
        }
        (0, 0)
    }

    fn statuses(&mut self) {
        let batch_ms = self.scenario.workload.batch.ms().max(1);
        let mut batches: std::collections::BTreeMap<(u64, u32), Vec<(u32, usize)>> = Default::default();
        for at_ms in self.moments(self.scenario.workload.status_per_s) {
            let (operator, evse) = self.evse();
            let status = self.below(STATUSES.len() as u64) as usize;
            batches.entry((at_ms / batch_ms, operator)).or_default().push((evse, status));
        }
        for ((batch, operator), mut changes) in batches {
            // One record of a push for one EVSE: the last.
            changes.reverse();
            changes.sort_by_key(|(evse, _)| *evse);
            changes.dedup_by_key(|(evse, _)| *evse);
            self.add((batch + 1) * batch_ms, Act::Status { operator, changes });
        }
    }

    /// One after the other, so that each can be told from the next.
    fn revocations(&mut self) {
        let nodes = self.scenario.nodes;
        let count = self.scenario.workload.revocations.min(nodes.emp);
        let gap_ms = self.scenario.duration.ms() / u64::from(count + 1);
        for provider in 0..count {
            let node = nodes.bootstrap + self.below(u64::from(nodes.cpo + nodes.emp)) as u32;
            self.add(u64::from(provider + 1) * gap_ms, Act::Revoke { provider, node });
        }
    }

    /// In a long run delegations end.
    fn renewals(&mut self) {
        for time in 1..=self.scenario.duration.ms() / RENEWED_MS {
            self.add(time * RENEWED_MS, Act::Renew { epoch: time + 1 });
        }
    }

    fn records(&mut self) {
        for (number, at_ms) in self.moments(self.scenario.workload.data_per_s).into_iter().enumerate() {
            let (operator, first) = self.evse();
            let count = 1 + self.below(4) as u32;
            let last = self.evses_of[operator as usize];
            let evses: Vec<u32> = (first..last.min(first + count)).collect();
            let version = number as u32 + 1;
            let act = match self.below(4) {
                0 => Act::Delete { operator, evses },
                1 => Act::Insert { operator, evses, version },
                _ => Act::Update { operator, evses, version },
            };
            self.add(at_ms, act);
        }
    }

    /// Any node but those that help others to find each other.
    fn node(&mut self) -> NodeNumber {
        let nodes = self.scenario.nodes;
        nodes.bootstrap + self.below(u64::from(nodes.cpo + nodes.emp)) as NodeNumber
    }

    fn crashes(&mut self) {
        let Some(crash) = self.scenario.faults.crash.clone() else { return };
        for at_ms in self.moments(crash.per_min / 60.0) {
            let Some(kind) = self.pick(&crash.kinds) else { return };
            let (mut node, down_ms) = (self.node(), self.between(crash.down));
            if kind == Death::Damage {
                let nodes = self.scenario.nodes;
                node = nodes.bootstrap + nodes.cpo + node % nodes.emp.max(1);
            }
            if kind == Death::Power {
                // Some of what came last is lost, or all of it.
                let before_ms = self.below(20_000);
                if self.below(4) > 0 {
                    self.add(at_ms.saturating_sub(before_ms), Act::Checkpoint { node });
                }
            }
            self.add(at_ms, Act::Crash { node, kind, down_ms });
        }
    }

    /// Whoever is to be eclipsed starts again while those who want it are there: then it knows nobody yet.
    fn victim(&mut self) {
        let Scenario { nodes, liars, duration, .. } = self.scenario;
        if liars.acts.contains(&LiarAct::Eclipse) {
            let node = liars::victim(*nodes);
            self.add(duration.ms() / 3, Act::Crash { node, kind: Death::Process, down_ms: VICTIM_DOWN_MS });
        }
    }

    fn partitions(&mut self) {
        if let Some(cut) = self.scenario.faults.cut {
            let nodes = self.side();
            let act = Act::Partition { kind: PartitionKind::Split, nodes, lasts_ms: cut.lasts.ms() };
            self.add(cut.at.ms(), act);
        }
        let Some(partition) = self.scenario.faults.partition.clone() else { return };
        for at_ms in self.moments(partition.per_min / 60.0) {
            let Some(kind) = self.pick(&partition.kinds) else { return };
            let lasts_ms = self.between(partition.lasts);
            let nodes = match kind {
                PartitionKind::Isolate => vec![self.node()],
                PartitionKind::Split | PartitionKind::OneWay => self.side(),
            };
            self.add(at_ms, Act::Partition { kind, nodes, lasts_ms });
        }
    }

    /// The smaller side of a cut, as a rule. On both sides there is an operator and a provider: a cut that has nobody on
    /// one side, or nobody who writes, shows nothing.
    fn side(&mut self) -> Vec<NodeNumber> {
        let nodes = self.scenario.nodes;
        let share_cut = 0.1 + 0.4 * share(&mut self.chance);
        let all = 0..self.scenario.node_count();
        let mut side: BTreeSet<NodeNumber> = all.filter(|_| share(&mut self.chance) < share_cut).collect();
        let (cpo, emp) = ((nodes.bootstrap, nodes.cpo), (nodes.bootstrap + nodes.cpo, nodes.emp));
        let roles = if nodes.cpo.min(nodes.emp) < 2 {
            vec![(nodes.bootstrap, nodes.cpo + nodes.emp)]
        } else {
            vec![cpo, emp]
        };
        for (first, count) in roles {
            let within = self.below(count.into()) as u32;
            let without = (within + 1 + self.below(u64::from(count) - 1) as u32) % count;
            side.insert(first + within);
            side.remove(&(first + without));
        }
        side.into_iter().collect()
    }

    fn slow_links(&mut self) {
        let Some(slow) = self.scenario.faults.slow_link.clone() else { return };
        for at_ms in self.moments(slow.per_min / 60.0) {
            let (a, b) = (self.node(), self.node());
            let (latency_ms, lasts_ms) = (slow.latency.ms(), self.between(slow.lasts));
            self.add(at_ms, Act::SlowLink { a, b, latency_ms, lasts_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Nodes, OneCut};

    /// The cuts of a schedule, with what each leaves on its two sides: operators and providers.
    fn sides(scenario: &Scenario, seed: u64) -> Vec<[(usize, usize); 2]> {
        let Nodes { cpo, emp, bootstrap } = scenario.nodes;
        let evses_of = vec![4; cpo as usize];
        let cut = |entry: Entry| match entry.act {
            Act::Partition { kind: PartitionKind::Split | PartitionKind::OneWay, nodes, .. } => Some(nodes),
            _ => None,
        };
        let sides = |cut: Vec<NodeNumber>| {
            let count = |from: u32, count: u32, within: bool| {
                (from..from + count).filter(|node| cut.contains(node) == within).count()
            };
            [true, false].map(|side| (count(bootstrap, cpo, side), count(bootstrap + cpo, emp, side)))
        };
        draw(scenario, seed, &evses_of).into_iter().filter_map(cut).map(sides).collect()
    }

    #[test]
    fn every_cut_has_operators_and_providers_on_both_sides() {
        let mut scenario = Scenario::find("plant-small").unwrap();
        scenario.faults.cut = Some(OneCut { at: Span::from_secs(1), lasts: Span::from_secs(9) });
        for seed in 0..300 {
            let cuts = sides(&scenario, seed);
            assert!(!cuts.is_empty());
            assert!(cuts.iter().flatten().all(|(cpo, emp)| *cpo > 0 && *emp > 0), "seed {seed}: {cuts:?}");
        }
        // Where there is one operator only, somebody is on each side.
        scenario.nodes = Nodes { cpo: 1, emp: 2, bootstrap: 1 };
        for seed in 0..300 {
            let cuts = sides(&scenario, seed);
            assert!(cuts.iter().flatten().all(|(cpo, emp)| cpo + emp > 0), "seed {seed}: {cuts:?}");
        }
    }

    #[test]
    fn who_is_to_be_eclipsed_starts_again_while_the_liars_are_there() {
        let scenario = Scenario::find("liars-eclipse").unwrap();
        let victim = liars::victim(scenario.nodes);
        for seed in 0..20 {
            let schedule = draw(&scenario, seed, &[40; 6]);
            let starts_again = |entry: &Entry| matches!(entry.act, Act::Crash { node, .. } if node == victim);
            assert!(schedule.iter().any(starts_again), "seed {seed}");
        }
    }
}
