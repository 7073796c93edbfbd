//! The world: machines on a network, backends, a schedule. It runs in virtual time and is a function of
//! scenario and seed.

mod deliveries;
mod host;
mod revocations;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chargemesh::engine::Engine;
use chargemesh::identity::Role;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio_util::task::TaskTracker;

pub(crate) use deliveries::Deliveries;
pub(crate) use host::{Host, Part};
pub(crate) use revocations::{PATIENCE as REVOCATION_PATIENCE, Times};

use crate::backend::{Backend, Known};
use crate::charging::{Charges, Reach, Side};
use crate::determinism::elapsed;
use crate::liars::Liars;
use crate::network::{Cut, Network, NodeNumber};
use crate::operators::{Operator, operators};
use crate::people::{self, party_text, provider_id};
use crate::scenario::{Death, PartitionKind, Scenario, Sessions};
use crate::schedule::{Act, Entry};

use crate::trace::Trace;
use host::wait;

/// The engines that backends reach, by operator; `None`: the node is down.
type Engines = Arc<Mutex<Vec<Option<Engine>>>>;

/// Something that was begun and ends later.
enum End {
    Heal(u64),
    Restart(NodeNumber),
}

/// The world.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) liars: Liars,
    pub(crate) known: Arc<Mutex<Known>>,
    pub(crate) deliveries: Deliveries,
    pub(crate) charges: Charges,
    /// How long revocations took.
    pub(crate) revocations: Times,
    /// When the last fault was over, in virtual time.
    pub(crate) healed_at: Duration,
    /// Nodes that lost their power, or a part of their disk, since the last look: what they held of others may be older than before.
    pub(crate) lost_power: Vec<NodeNumber>,
    backends: Vec<Arc<Backend>>,
    engines: Engines,
    ends: BTreeMap<(u64, u64), End>,
    count: u64,
    calls: TaskTracker,
}

impl World {
    /// A world in which nothing runs yet.
    ///
    /// # Errors
    /// If the scenario cannot be built.
    pub(crate) fn new(scenario: Scenario, seed: u64) -> Result<World> {
        let trace = Trace::default();
        let nodes = scenario.node_count();
        let network = Network::new(seed, nodes as usize, scenario.link.link(), trace.clone());
        let operators = operators(&scenario, seed)?;
        let hosts = hosts(&scenario, seed, &operators)?;
        let liars = Liars::new(&scenario, seed, &hosts)?;
        let skews = hosts.iter().filter_map(|host| match host.part {
            Part::Cpo(operator) => {
                Some((operators[operator as usize].id.replace('*', ""), host.clock.skew_ms()))
            }
            _ => None,
        });
        let deliveries = Deliveries::new(skews.collect());
        let charges = Charges::new(&scenario, &operators, trace.clone())?;
        let known: Arc<Mutex<Known>> = Arc::default();
        let backend = |operator: Operator| {
            let party = party_text(Role::Cpo, &operator.id);
            let party = chargemesh::identity::PartyId::parse(&party)?;
            Ok(Arc::new(Backend::new(operator, party, known.clone(), trace.clone())))
        };
        let backends: Vec<Arc<Backend>> = operators.into_iter().map(backend).collect::<Result<_>>()?;
        let engines = Arc::new(Mutex::new(vec![None; backends.len()]));
        Ok(World {
            scenario,
            trace,
            network,
            hosts,
            liars,
            known,
            deliveries,
            charges,
            healed_at: Duration::ZERO,
            revocations: Times::default(),
            lost_power: Vec::new(),
            backends,
            engines,
            ends: BTreeMap::new(),
            count: 0,
            calls: TaskTracker::new(),
        })
    }

    /// Charging points of each operator.
    pub(crate) fn evses_of(&self) -> Vec<u32> {
        self.backends.iter().map(|backend| backend.evses().len() as u32).collect()
    }

    /// Starts all nodes, one after the other.
    ///
    /// # Errors
    /// What a node says.
    pub(crate) async fn start(&mut self) -> Result<()> {
        for number in 0..self.hosts.len() {
            self.start_node(number as NodeNumber).await?;
            wait(self.scenario.stagger.0).await;
        }
        self.liars.start(&self.network)
    }

    /// All backends publish what they have.
    ///
    /// # Errors
    /// If a node refuses.
    pub(crate) async fn load(&self) -> Result<()> {
        let engines = self.engines().clone();
        for (backend, engine) in self.backends.iter().zip(engines) {
            backend.load(engine.context("an operator's node is down")?).await?;
        }
        self.everything_taken()?;
        let Sessions { filters, cards, .. } = self.scenario.sessions;
        for host in self.hosts.iter().filter(|_| filters) {
            if let (Some(Side::Provider(number)), Some(engine)) =
                (host.side, host.node().and_then(|node| node.engine()))
            {
                self.charges.upload(number, cards, engine).await?;
            }
        }
        Ok(())
    }

    fn everything_taken(&self) -> Result<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (calls, refusal) = (known.calls, &known.refusal);
        ensure!(
            calls.made == calls.acknowledged,
            "not every node took what there is: {calls:?}, {refusal:?}"
        );
        Ok(())
    }

    fn engines(&self) -> std::sync::MutexGuard<'_, Vec<Option<Engine>>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start_node(&mut self, number: NodeNumber) -> Result<()> {
        let host = &mut self.hosts[number as usize];
        host.start(&self.network, &self.charges).await?;
        // Liars may have gone on talking to it while it was down.
        self.liars.forgotten_by(number);
        let (part, engine) = (host.part, host.node().and_then(|node| node.engine()).cloned());
        match (part, engine) {
            (Part::Cpo(operator), engine) => self.engines()[operator as usize] = engine,
            (Part::Emp, Some(engine)) => self.deliveries.watch(number, &engine),
            _ => {}
        }
        self.trace.event(&format!("start {number}"));
        Ok(())
    }

    async fn crash_node(&mut self, number: NodeNumber, kind: Death) -> Result<()> {
        let host = &mut self.hosts[number as usize];
        if let Part::Cpo(operator) = host.part {
            self.engines.lock().unwrap_or_else(PoisonError::into_inner)[operator as usize] = None;
        }
        host.crash(kind, &self.network).await?;
        if kind != Death::Process {
            self.lost_power.push(number);
        }
        self.trace.event(&format!("crash {number} {kind:?}"));
        Ok(())
    }

    /// Begins an entry of the schedule.
    ///
    /// # Errors
    /// If the simulation is at fault.
    pub(crate) async fn begin(&mut self, entry: &Entry) -> Result<()> {
        if !matches!(entry.act, Act::Crash { .. }) {
            tracing::info!(target: "world", "{:?}", entry.act);
        }
        match &entry.act {
            Act::Crash { node, kind, down_ms } => {
                if self.hosts[*node as usize].running.is_some() {
                    self.crash_node(*node, *kind).await?;
                    self.end_in(*down_ms, End::Restart(*node));
                }
            }
            Act::Revoke { provider, node } => self.revoke(*provider, *node).await?,
            Act::Renew { epoch } => {
                for host in &mut self.hosts {
                    host.renew(*epoch).await?;
                }
            }
            Act::Checkpoint { node } => self.hosts[*node as usize].checkpoint()?,
            Act::Partition { kind, nodes, lasts_ms } => {
                let nodes = nodes.clone();
                let fault = self.network.cut(match kind {
                    PartitionKind::Split => Cut::Split(nodes),
                    PartitionKind::OneWay => Cut::OneWay(nodes),
                    PartitionKind::Isolate => Cut::Isolate(nodes),
                });
                self.end_in(*lasts_ms, End::Heal(fault));
            }
            Act::SlowLink { a, b, latency_ms, lasts_ms } => {
                let fault = self.network.slow_down(*a, *b, Duration::from_millis(*latency_ms));
                self.end_in(*lasts_ms, End::Heal(fault));
            }
            Act::Status { operator, .. }
            | Act::Update { operator, .. }
            | Act::Delete { operator, .. }
            | Act::Insert { operator, .. } => self.push(*operator, entry.act.clone()),
            Act::Start(_) | Act::Again { .. } | Act::Stop { .. } | Act::Notify { .. } | Act::Cdr { .. } => {
                self.charge(entry.act.clone());
            }
        }
        Ok(())
    }

    fn push(&self, operator: u32, act: Act) {
        let (backend, engines) = (self.backends[operator as usize].clone(), self.engines.clone());
        self.calls.spawn(async move {
            let engine = || engines.lock().unwrap_or_else(PoisonError::into_inner)[operator as usize].clone();
            if let Err(error) = backend.act(&act, engine).await {
                // A push that the product does not read: the simulation itself is wrong.
                panic!("{act:?}: {error:#}");
            }
        });
    }

    fn charge(&self, act: Act) {
        let Some(side) = self.charges.side_of(&act) else { return self.charges.left_out() };
        let host = self.hosts.iter().find(|host| host.side == Some(side));
        let reach = host
            .and_then(Host::node)
            .and_then(|node| Some(Reach { engine: node.engine()?.clone(), reader: node.reader()?.clone() }));
        let Some(reach) = reach else { return self.charges.left_out() };
        let charges = self.charges.clone();
        self.calls.spawn(async move {
            if let Err(error) = charges.call(&act, side, reach).await {
                // A message that the product does not read: the simulation itself is wrong.
                panic!("{act:?}: {error:#}");
            }
        });
    }

    fn end_in(&mut self, after_ms: u64, end: End) {
        self.count += 1;
        let at_ms = elapsed().as_millis() as u64 + after_ms;
        self.ends.insert((at_ms, self.count), end);
    }

    /// When the next fault ends, in milliseconds of virtual time.
    pub(crate) fn next_end_ms(&self) -> Option<u64> {
        self.ends.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Ends the fault that is due next.
    ///
    /// # Errors
    /// If a node does not start again.
    pub(crate) async fn end_next(&mut self) -> Result<()> {
        let Some((_, end)) = self.ends.pop_first() else { return Ok(()) };
        match end {
            End::Heal(fault) => {
                self.network.heal(fault);
                tracing::info!(target: "world", "a fault of the network is over");
            }
            End::Restart(node) => self.start_node(node).await?,
        }
        self.healed_at = elapsed();
        Ok(())
    }

    /// Waits until all calls of backends have been answered.
    pub(crate) async fn calls_answered(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.calls.reopen();
    }

    /// The hosts whose nodes follow the protocol and hold the directory.
    pub(crate) fn honest(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| matches!(host.part, Part::Cpo(_) | Part::Emp))
    }
}

fn hosts(scenario: &Scenario, seed: u64, operators: &[Operator]) -> Result<Vec<Host>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0xc10c_5ce3);
    let skew_max_ms = scenario.faults.clock_skew.ms();
    let mut skew_ms = || match skew_max_ms {
        0 => 0,
        max => (chance.next_u64() % (2 * max + 1)).cast_signed() - max.cast_signed(),
    };
    let nodes = scenario.nodes;
    let bootstrap = (0..nodes.bootstrap).map(|_| (Part::Bootstrap, None));
    let cpo = operators.iter().enumerate();
    let cpo =
        cpo.map(|(number, operator)| (Part::Cpo(number as u32), Some(party_text(Role::Cpo, &operator.id))));
    let emp = (0..nodes.emp).map(|number| (Part::Emp, Some(party_text(Role::Emp, &provider_id(number)))));
    let all = bootstrap.chain(cpo).chain(emp).enumerate();
    let host = |(number, (part, party)): (usize, (Part, Option<String>))| {
        let number = number as NodeNumber;
        let party = party.map(|text| people::party(&text, number)).transpose()?;
        Host::new(scenario, number, part, party, skew_ms(), operators)
    };
    all.map(host).collect()
}
