//! One machine of the world: its disk, its clock, and the node that runs on it, or not.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use chargemesh::engine::{Clock, Spawn, Task, Work};
use chargemesh::mesh::node_text;
use chargemesh::node::{Deps, Node, Settings};
use chargemesh::roaming::{self, Now, Replicate};
use chargemesh::storage::{MemoryDisk, Place};
use chargemesh::{mesh, storage};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::charging::{self, Charges, Side, SimulatedBackends};
use crate::determinism::{START_UNIX_S, elapsed};
use crate::network::{Network, NodeNumber, address};
use crate::operators::Operator;
use crate::people::{self, NETWORK, Party};
use crate::scenario::{Death, Scenario};

/// Page cache of one database in KiB: many nodes share one machine here, and the pages come from memory anyway.
const CACHE_KIB: u32 = 64;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Helps others to find each other.
    Bootstrap,
    /// An operator's, by its number.
    Cpo(u32),
    /// A provider's.
    Emp,
}

/// A clock that may be wrong.
pub(crate) struct SkewedClock(AtomicI64);

impl SkewedClock {
    pub(crate) fn new(skew_ms: i64) -> Arc<SkewedClock> {
        Arc::new(SkewedClock(AtomicI64::new(skew_ms)))
    }

    pub(crate) fn skew_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Now {
        let mono_ms = elapsed().as_millis() as u64;
        let unix_ms = (START_UNIX_S * 1_000 + mono_ms).saturating_add_signed(self.skew_ms());
        Now { unix_ms, mono_ms }
    }
}

/// The tasks of one life of a node: they can be ended where they stand.
#[derive(Clone)]
pub(crate) struct Tasks {
    handles: Arc<Mutex<Vec<AbortHandle>>>,
    alive: TaskTracker,
    /// Tells in the log which node speaks.
    span: tracing::Span,
}

impl Tasks {
    pub(crate) fn new(node: NodeNumber) -> Tasks {
        Tasks {
            handles: Arc::default(),
            alive: TaskTracker::new(),
            span: tracing::info_span!(target: "chargemesh", "node", number = node),
        }
    }

    pub(crate) fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let task = self.alive.track_future(task).instrument(self.span.clone());
        let handle = tokio::spawn(task).abort_handle();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.len() == handles.capacity() {
            handles.retain(|handle| !handle.is_finished());
        }
        handles.push(handle);
    }

    /// Ends all tasks where they stand, and waits until they are gone.
    pub(crate) async fn kill(self) {
        self.alive.close();
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        handles.iter().for_each(AbortHandle::abort);
        self.alive.wait().await;
    }
}

impl Spawn for Tasks {
    fn task(&self, task: Task) {
        self.spawn(task);
    }

    fn thread(&self, name: &'static str, _: Work) -> std::io::Result<()> {
        Err(std::io::Error::other(format!("a simulated node starts no thread, not even `{name}`")))
    }
}

/// A node while it runs.
pub(crate) struct Running {
    pub(crate) node: Node,
    tasks: Tasks,
}

/// One machine.
pub(crate) struct Host {
    pub(crate) number: NodeNumber,
    pub(crate) part: Part,
    pub(crate) party: Option<Party>,
    pub(crate) clock: Arc<SkewedClock>,
    /// Its party among those who charge.
    pub(crate) side: Option<Side>,
    disk: MemoryDisk,
    settings: Settings,
    /// How often it was started.
    pub(crate) starts: u64,
    pub(crate) running: Option<Running>,
}

impl Host {
    /// A machine with an empty disk.
    ///
    /// # Errors
    /// If the scenario's settings are not the product's.
    pub(crate) fn new(
        scenario: &Scenario,
        number: NodeNumber,
        part: Part,
        party: Option<Party>,
        skew_ms: i64,
        operators: &[Operator],
    ) -> Result<Host> {
        let mut settings = settings(scenario, number, part)?;
        let side = side(scenario, number, part);
        if let Some(side) = side {
            charging::settle(&mut settings, scenario, side, operators)?;
        }
        Ok(Host {
            side,
            number,
            part,
            party,
            clock: SkewedClock::new(skew_ms),
            disk: MemoryDisk::default(),
            settings,
            starts: 0,
            running: None,
        })
    }

    /// Starts the node on what is on its disk.
    ///
    /// # Errors
    /// What the node says.
    pub(crate) async fn start(&mut self, network: &Network, charges: &Charges) -> Result<()> {
        self.starts += 1;
        let tasks = Tasks::new(self.number);
        let seed = people::node_seed(self.number);
        let mut deps = Deps::system(u64::from(self.number) << 32 | self.starts);
        deps.spawner = Arc::new(tasks.clone());
        deps.clock = self.clock.clone();
        deps.place = Some(Place::Memory(self.disk.clone()));
        deps.storage_inline = true;
        if let Some(side) = self.side {
            deps.backends = Some(Arc::new(SimulatedBackends { charges: charges.clone(), side }));
        }
        let deps = deps.with_transport(network.transport(self.number, &seed)?);
        let identity = people::identity(self.number, self.party.as_ref(), unix_ms() / 1_000)?;
        let node = Node::start(self.settings.clone(), identity, deps).await;
        let node = node.with_context(|| format!("starting node {}", self.number))?;
        self.running = Some(Running { node, tasks });
        Ok(())
    }

    /// Ends the node where it stands.
    ///
    /// # Errors
    /// What storage says of a disk that is damaged.
    pub(crate) async fn crash(&mut self, kind: Death, network: &Network) -> Result<()> {
        let Some(Running { node, tasks }) = self.running.take() else { return Ok(()) };
        if kind == Death::Power {
            network.lose_power(self.number);
        }
        tasks.kill().await;
        drop(node);
        match kind {
            Death::Process => {}
            Death::Power => self.disk.lose_power(),
            // Which record is as good as random.
            Death::Damage => self.disk.lose_status(elapsed().as_micros() as u64)?,
        }
        Ok(())
    }

    /// The party delegates to its node anew. A node that is down finds that when it starts.
    ///
    /// # Errors
    /// If the node does not take it.
    pub(crate) async fn renew(&mut self, epoch: u64) -> Result<()> {
        let Some(party) = &self.party else { return Ok(()) };
        let now_unix_s = unix_ms() / 1_000;
        let renewed = people::party_of_epoch(&party.id.to_text(), self.number, epoch, now_unix_s)?;
        let identity = people::identity(self.number, Some(&renewed), now_unix_s)?;
        self.party = Some(renewed);
        if let Some(node) = self.node() {
            node.reload(identity).await.with_context(|| format!("renewing node {}", self.number))?;
        }
        Ok(())
    }

    /// What is committed now survives a loss of power.
    ///
    /// # Errors
    /// What storage says.
    pub(crate) fn checkpoint(&self) -> Result<(), storage::StorageError> {
        self.disk.checkpoint()
    }

    /// The node, if it runs.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.running.as_ref().map(|running| &running.node)
    }
}

fn side(scenario: &Scenario, number: NodeNumber, part: Part) -> Option<Side> {
    match part {
        Part::Bootstrap => None,
        Part::Cpo(operator) => Some(Side::Operator(operator)),
        Part::Emp => number.checked_sub(scenario.nodes.bootstrap + scenario.nodes.cpo).map(Side::Provider),
    }
}

fn settings(scenario: &Scenario, number: NodeNumber, part: Part) -> Result<Settings> {
    let bootstrap = (0..scenario.nodes.bootstrap).map(bootstrap_address).collect::<Result<_>>()?;
    let mut mesh: mesh::Config = scenario.mesh.clone().try_into().context("mesh")?;
    mesh.network = NETWORK.to_owned();
    mesh.listen = vec![address(number).to_string()];
    mesh.announce = mesh.listen.clone();
    mesh.bootstrap = bootstrap;
    mesh.bootstrap_only = part == Part::Bootstrap;
    if mesh.bootstrap_only {
        // All the others come at once, which they do not where nodes are real.
        let all = scenario.node_count();
        (mesh.connections_high, mesh.connections_low) = (64, 32);
        mesh.connections_max = all.max(96);
    }
    // The process is all nodes together.
    mesh.memory_bytes_max = 0;
    let mut replication: roaming::Config = scenario.replication.clone().try_into().context("replication")?;
    // Every node is asked whether it has everything.
    replication.replicate = Replicate::All;
    let storage =
        storage::Config { writer_cache_kib: CACHE_KIB, reader_cache_kib: CACHE_KIB, ..Default::default() };
    Ok(Settings { mesh, storage, replication, facade: None, ..Settings::default() })
}

fn bootstrap_address(number: NodeNumber) -> Result<String> {
    let node = mesh::node_id_of_seed(&people::node_seed(number))?;
    let text = node_text(&node).context("a node's name")?;
    Ok(format!("{}/p2p/{text}", address(number)))
}

/// True time in unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    START_UNIX_S * 1_000 + elapsed().as_millis() as u64
}

/// Lets virtual time pass.
pub(crate) async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}
