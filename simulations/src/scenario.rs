//! A scenario: what is built, what happens to it, what must hold. One TOML file each in `scenarios/`.

mod check;
mod span;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub(crate) use check::check_evses;
pub(crate) use span::Span;

use crate::network::Link;
use crate::schedule::Entry;

/// Where the files of scenarios are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// Where the files of failures that were found are: scenarios with their shrunk schedules.
pub(crate) const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");

/// How many nodes of which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nodes {
    /// Operators' nodes, one operator each.
    pub(crate) cpo: u32,
    /// Providers' nodes.
    pub(crate) emp: u32,
    /// Nodes that only help others to find each other.
    pub(crate) bootstrap: u32,
}

/// Every link of the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinkSettings {
    latency: Span,
    jitter: Span,
    loss: f64,
    bytes_per_s: u64,
}

impl Default for LinkSettings {
    fn default() -> LinkSettings {
        LinkSettings {
            latency: Span(Duration::from_millis(50)),
            jitter: Span(Duration::from_millis(20)),
            loss: 0.01,
            bytes_per_s: 0,
        }
    }
}

impl LinkSettings {
    pub(crate) fn link(self) -> Link {
        let LinkSettings { latency, jitter, loss, bytes_per_s } = self;
        Link { latency: latency.0, jitter: jitter.0, loss, bytes_per_s }
    }
}

/// Where operators and records come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// Made up from the seed.
    #[default]
    MadeUp,
    /// The Swiss register, each operator as it is; `evses` and the number of operators follow from it.
    Register,
    /// Records of the Swiss register, sampled; large operators are split until there is one per CPO node.
    RegisterSample,
}

/// What backends do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Workload {
    /// Status changes in a second, over all operators.
    pub(crate) status_per_s: f64,
    /// Changes of one operator that fall into this time are pushed together.
    pub(crate) batch: Span,
    /// Credentials of providers that are revoked, evenly over the time.
    pub(crate) revocations: u32,
    /// Pushes of EVSE data in a second, over all operators: new, changed and deleted records.
    pub(crate) data_per_s: f64,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            status_per_s: 5.0,
            batch: Span(Duration::from_millis(250)),
            revocations: 0,
            data_per_s: 0.5,
        }
    }
}

/// Drivers who charge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sessions {
    /// Charges that begin in a second, over all providers. 0: nobody has a contract, and no node a backend.
    pub(crate) per_s: f64,
    /// Operators that each provider has a contract with; 0: all.
    pub(crate) contracts: u32,
    /// Cards of each provider.
    pub(crate) cards: u32,
    /// Whether all charges begin with a card, and only the question about it is of interest.
    pub(crate) cards_only: bool,
    /// Share of the questions at which the asked backend is slow, silent, broken or off.
    pub(crate) faulty: f64,
    /// The slowest answer of a slow backend.
    pub(crate) slow: Span,
    /// Share of the starts that their backend asks for once more.
    pub(crate) again: f64,
    /// Share of the cards to which a second provider says yes.
    pub(crate) doubles: f64,
    /// Share of the charges of which there is a charge detail record.
    pub(crate) cdrs: f64,
    /// Whether providers upload their cards, and show operators a keyed picture of them, so that these do not ask them
    /// about other cards.
    pub(crate) filters: bool,
    /// The longest time after a charge until its record comes.
    pub(crate) cdr_within: Span,
    /// Charges begin only so long; 0: as long as the run lasts.
    pub(crate) until: Span,
    /// The node of the last provider is down for so long, a minute after the last charge began; 0: it is not.
    pub(crate) away: Span,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            per_s: 0.0,
            contracts: 0,
            cards: 20,
            cards_only: false,
            faulty: 0.25,
            slow: Span::from_secs(20),
            again: 0.2,
            doubles: 0.2,
            cdrs: 0.8,
            filters: false,
            cdr_within: Span::from_secs(15),
            until: Span::from_secs(0),
            away: Span::from_secs(0),
        }
    }
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Death {
    /// The process ends: the system closes its connections, its disks keep what was committed.
    Process,
    /// The power fails: connections stay half-open, and what was not synced is lost.
    Power,
    /// The process ends, and meanwhile the disk loses a record of the directory. Only at providers' nodes,
    /// which publish nothing.
    Damage,
}

/// Crashes, drawn evenly over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Crashes {
    /// How many in a minute, over all nodes.
    pub(crate) per_min: f64,
    /// Shortest and longest time until the node is started again.
    pub(crate) down: [Span; 2],
    /// Kinds to draw from.
    pub(crate) kinds: Vec<Death>,
}

/// Kinds of partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PartitionKind {
    /// Two groups that do not hear each other.
    Split,
    /// One group hears the other, which does not hear it.
    OneWay,
    /// One node that nobody hears.
    Isolate,
}

/// Partitions, drawn evenly over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partitions {
    /// How many in a minute.
    pub(crate) per_min: f64,
    /// Shortest and longest time until it heals.
    pub(crate) lasts: [Span; 2],
    /// Kinds to draw from.
    pub(crate) kinds: Vec<PartitionKind>,
}

/// One cut of the network in two. On both sides are operators and providers, work goes on, and the cut must be felt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneCut {
    /// When, after the warm-up.
    pub(crate) at: Span,
    /// How long.
    pub(crate) lasts: Span,
}

/// Links that become slow, drawn evenly over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlowLinks {
    /// How many in a minute.
    pub(crate) per_min: f64,
    /// Latency in addition.
    pub(crate) latency: Span,
    /// Shortest and longest time.
    pub(crate) lasts: [Span; 2],
}

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Faults {
    pub(crate) crash: Option<Crashes>,
    pub(crate) partition: Option<Partitions>,
    pub(crate) cut: Option<OneCut>,
    pub(crate) slow_link: Option<SlowLinks>,
    /// Largest difference of a node's clock from the true time, in either direction.
    pub(crate) clock_skew: Span,
}

/// Nodes that do not follow the protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Liars {
    /// How many; each takes the next of the acts.
    pub(crate) nodes: u32,
    /// What they do.
    pub(crate) acts: Vec<LiarAct>,
}

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LiarAct {
    /// Sends old messages of others again.
    Replay,
    /// Signs records of others with its own key, and breaks signatures.
    Forge,
    /// Signs two histories of its own feed.
    Equivocate,
    /// Asks and announces as fast as it can.
    Flood,
    /// Takes everything and passes nothing on, and answers no repair.
    Withhold,
    /// Answers repairs with records that do not match the head.
    FalseSnapshot,
    /// Claims heads that do not exist.
    LyingHeads,
    /// Wants to be all that one node is connected to, under many names, and gives it nothing.
    Eclipse,
}

/// What is asked for beyond what always holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Connections of one node while it runs.
    pub(crate) connections: u64,
    /// Connections of one node after settling.
    pub(crate) connections_settled: u64,
    /// Connections that a node dials in a minute in the mean, when all is quiet after settling.
    pub(crate) dials_per_min: f64,
    /// Time from the end of the last fault until all nodes hold the same.
    pub(crate) repaired_within: Span,
    /// Time until every node knows that a credential is dead.
    pub(crate) revoked_within: Span,
    /// Resident memory in MB per node.
    pub(crate) memory_mb_per_node: f64,
    /// Full loads after the start: 0 where repair must do with less.
    pub(crate) full_syncs: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 40,
            connections_settled: 40,
            dials_per_min: 6.0,
            repaired_within: Span::from_secs(10),
            revoked_within: Span::from_secs(10),
            memory_mb_per_node: 12.0,
            full_syncs: None,
        }
    }
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Name; that of its file.
    pub(crate) name: String,
    /// One sentence: what it shows.
    pub(crate) about: String,
    /// How many nodes.
    pub(crate) nodes: Nodes,
    /// Charging points of all operators together.
    pub(crate) evses: u32,
    #[serde(default)]
    pub(crate) source: Source,
    /// Time between the starts of two nodes.
    #[serde(default = "stagger")]
    pub(crate) stagger: Span,
    /// Longest time until everything that was loaded first is everywhere.
    #[serde(default = "warm_up")]
    pub(crate) warm_up: Span,
    /// How long workload and faults last.
    pub(crate) duration: Span,
    /// How long the network gets afterwards.
    pub(crate) settle: Span,
    /// How often the invariants are checked meanwhile.
    #[serde(default = "check_every")]
    pub(crate) check_every: Span,
    #[serde(default)]
    pub(crate) link: LinkSettings,
    #[serde(default)]
    pub(crate) workload: Workload,
    #[serde(default)]
    pub(crate) sessions: Sessions,
    #[serde(default)]
    pub(crate) faults: Faults,
    #[serde(default)]
    pub(crate) liars: Liars,
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Settings of the nodes' mesh that differ from the product's own.
    #[serde(default)]
    pub(crate) mesh: toml::Table,
    /// Settings of the nodes' replication that differ from the product's own.
    #[serde(default)]
    pub(crate) replication: toml::Table,
    /// Settings of charging that differ from the product's own.
    #[serde(default)]
    pub(crate) charging: toml::Table,
    /// In a regression: the seed, and what happens, instead of what would be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// The planted bug that it finds, if it was found by planting one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) planted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<Vec<Entry>>,
    /// Where it was read from, for errors.
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

fn stagger() -> Span {
    Span(Duration::from_millis(20))
}

fn warm_up() -> Span {
    Span::from_secs(120)
}

fn check_every() -> Span {
    Span::from_secs(5)
}

impl Scenario {
    /// Reads a scenario by the name of its file in `scenarios/` or `regressions/`, or by its path.
    ///
    /// # Errors
    /// Says which file is wrong and where, or which names there are.
    pub(crate) fn find(name: &str) -> Result<Scenario> {
        let path =
            if name.contains('/') || name.ends_with(".toml") { Some(PathBuf::from(name)) } else { None };
        let of = |directory: &str| Path::new(directory).join(format!("{name}.toml"));
        let path = path.or_else(|| [of(SCENARIOS), of(REGRESSIONS)].into_iter().find(|path| path.is_file()));
        let Some(path) = path else {
            let names = paths(SCENARIOS)?;
            let names: Vec<_> = names.iter().map(|path| name_of(path)).collect();
            bail!("there is no scenario `{name}`; there are: {}", names.join(", "));
        };
        Scenario::read(&path)
    }

    fn read(path: &Path) -> Result<Scenario> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut scenario: Scenario =
            toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        check::check(&scenario).with_context(|| format!("in {}", path.display()))?;
        path.clone_into(&mut scenario.file);
        Ok(scenario)
    }

    /// Reads a file that is found by its name.
    fn read_named(path: &Path) -> Result<Scenario> {
        let scenario = Scenario::read(path)?;
        let (name, wanted) = (&scenario.name, name_of(path));
        ensure!(
            *name == wanted,
            "in {}: name = {name:?}: must be that of the file, `{wanted}`",
            path.display()
        );
        Ok(scenario)
    }

    /// All nodes, liars included.
    pub(crate) fn node_count(&self) -> u32 {
        self.nodes.bootstrap + self.nodes.cpo + self.nodes.emp + self.liars.nodes
    }
}

/// All scenarios, by name.
///
/// # Errors
/// As [`Scenario::find`].
pub(crate) fn all() -> Result<Vec<Scenario>> {
    each()?.into_iter().collect()
}

/// All scenarios, by name, each by itself: what is wrong with one does not hide the others.
///
/// # Errors
/// If there is no directory of scenarios.
pub(crate) fn each() -> Result<Vec<Result<Scenario>>> {
    each_in(SCENARIOS)
}

fn each_in(directory: &str) -> Result<Vec<Result<Scenario>>> {
    Ok(paths(directory)?.iter().map(|path| Scenario::read_named(path)).collect())
}

/// All regressions, by name.
///
/// # Errors
/// As [`Scenario::find`].
pub(crate) fn regressions() -> Result<Vec<Scenario>> {
    each_in(REGRESSIONS)?.into_iter().collect()
}

/// The name that a file must bear.
fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_stem().unwrap_or_default().to_string_lossy()
}

/// The files of scenarios in a directory, by name.
fn paths(directory: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("reading {directory}"))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
