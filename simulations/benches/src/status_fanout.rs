//! Benchmark 4: what one delivered status update costs: one operator's backend pushes single updates, all
//! other nodes take them; against bare gossipsub, signed and anonymous, on the same topology in the same
//! process. In the end 30 % of the nodes are killed while updates go on, and the others must miss none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use chargemesh::engine::Engine;
use chargemesh::identity::PartyId;
use chargemesh::node::Node;
use chargemesh::oicp::push::{read_evse_data, read_evse_status};
use chargemesh::oicp::reading::Reading;
use chargemesh::protocol::Kind;
use tokio::sync::broadcast::error::RecvError;

use crate::Options;
use crate::bare_gossip::{Authorship, BareGossip};
use crate::evses::{STATUSES, World};
use crate::measure::{self, Better, Pairs};
use crate::parties;

/// Charging points of the one operator.
const EVSES: usize = 1_000;

/// Bytes of a bare message: one OICP status record with its operator.
const BARE_BYTES: usize = 100;

/// How long what was sent may take to arrive everywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long connections get to settle, and idle cost to be measured.
const SETTLE: Duration = Duration::from_secs(15);

/// The shape of a run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Shape {
    /// Nodes that take the updates.
    #[arg(long, default_value_t = 30)]
    nodes: usize,
    /// Updates a second.
    #[arg(long, default_value_t = 100)]
    rate: usize,
    /// Updates in one push of the backend.
    #[arg(long, default_value_t = 1)]
    per_push: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 6)]
    seconds: usize,
}

/// Runs it.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, shape: Shape) -> Result<()> {
    let dir = options.scratch("status_fanout")?;
    crate::runtime()?.block_on(measure_all(options, shape, dir.path()))
}

async fn measure_all(options: &Options, shape: Shape, dir: &Path) -> Result<()> {
    let world = World::new(options.seed, 1, EVSES);
    let before_mb = measure::memory()?.rss_mb;
    let mut mesh = Product::start(&world, shape.nodes, dir).await?;
    let per_node_mb = (measure::memory()?.rss_mb - before_mb) / (shape.nodes + 1) as f64;
    tokio::time::sleep(SETTLE).await;
    let edges = mesh.edges().await?;
    println!(
        "  {} nodes, {} connections, {per_node_mb:.1} MB per node (target for an extra one: 2)",
        shape.nodes + 1,
        edges.len()
    );
    let before_mb = measure::memory()?.rss_mb;
    let signed = BareGossip::start(shape.nodes + 1, &edges, Authorship::Signed).await?;
    let anonymous = BareGossip::start(shape.nodes + 1, &edges, Authorship::Anonymous).await?;
    tokio::time::sleep(SETTLE).await;
    let bare_mb = (measure::memory()?.rss_mb - before_mb) / (2 * (shape.nodes + 1)) as f64;
    println!("  a bare node with as many connections: {bare_mb:.1} MB");
    let idle = Cost::begin()?.end_after(SETTLE).await?;
    println!("  all idle: {:.3} cores, {:.0} bytes/s", idle.cpu_s / idle.seconds, idle.bytes / idle.seconds);

    let [mut cpu, mut bytes, mut cpu_anonymous] = std::array::from_fn(|_| Pairs::new(Better::Lower));
    for pair in 0..options.pairs {
        let ours = mesh.send(shape, &idle).await?;
        let theirs = send_bare(&signed, shape, &idle).await?;
        let naked = send_bare(&anonymous, shape, &idle).await?;
        println!("  pair {pair}: {ours}; signed {theirs}; anonymous {naked}");
        cpu.add(ours.cpu_us, theirs.cpu_us);
        bytes.add(ours.bytes, theirs.bytes);
        cpu_anonymous.add(ours.cpu_us, naked.cpu_us);
    }
    drop((signed, anonymous));
    measure::print_pairs("bytes per delivery over signed", &bytes, "<= 0.2");
    measure::print_pairs("CPU per delivery over anonymous", &cpu_anonymous, "none");
    mesh.kill_some(shape).await?;
    let peak_mb = measure::memory()?.peak_mb;
    mesh.stop().await;
    measure::conclude("status_fanout_cost", &cpu, "<= 0.15", peak_mb, dir)
}

/// Cost of a stretch of time.
struct Cost {
    start: Instant,
    cpu_s: f64,
    bytes: f64,
    seconds: f64,
}

impl Cost {
    fn begin() -> Result<Cost> {
        Ok(Cost {
            start: Instant::now(),
            cpu_s: measure::cpu_s()?,
            bytes: measure::loopback_bytes()? as f64,
            seconds: 0.0,
        })
    }

    fn end(self) -> Result<Cost> {
        let (cpu_s, bytes) = (measure::cpu_s()? - self.cpu_s, measure::loopback_bytes()? as f64 - self.bytes);
        Ok(Cost { cpu_s, bytes, seconds: self.start.elapsed().as_secs_f64(), ..self })
    }

    async fn end_after(self, time: Duration) -> Result<Cost> {
        tokio::time::sleep(time).await;
        self.end()
    }

    /// The cost of each of some deliveries, beyond what being idle costs.
    fn per_delivery(self, deliveries: u64, expected: u64, idle: &Cost) -> Result<Delivery> {
        let cost = self.end()?;
        let extra = |all: f64, idle_s: f64| (all - idle_s / idle.seconds * cost.seconds) / deliveries as f64;
        let arrived = deliveries as f64 / expected as f64;
        Ok(Delivery {
            cpu_us: extra(cost.cpu_s, idle.cpu_s) * 1e6,
            bytes: extra(cost.bytes, idle.bytes),
            arrived,
            seconds: cost.seconds,
        })
    }
}

/// What a delivery cost.
struct Delivery {
    cpu_us: f64,
    bytes: f64,
    arrived: f64,
    seconds: f64,
}

impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Delivery { cpu_us, bytes, arrived, seconds } = self;
        write!(f, "{cpu_us:.0} us CPU, {bytes:.0} bytes, {:.1} % in {seconds:.1} s", arrived * 100.0)
    }
}

async fn send_bare(bare: &BareGossip, shape: Shape, idle: &Cost) -> Result<Delivery> {
    let (before, updates) = (bare.delivered(), shape.rate * shape.seconds);
    let expected = (updates * shape.nodes) as u64;
    let cost = Cost::begin()?;
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / shape.rate as f64));
    for number in 0..updates {
        beat.tick().await;
        let mut message = vec![b' '; BARE_BYTES];
        message[..8].copy_from_slice(&(before + number as u64).to_be_bytes());
        message[8..24].copy_from_slice(&parties::unix_ms().to_be_bytes().repeat(2));
        bare.publish(message).await?;
    }
    wait_for(|| bare.delivered() - before >= expected).await;
    cost.per_delivery(bare.delivered() - before, expected, idle)
}

async fn wait_for(arrived: impl Fn() -> bool) {
    let start = Instant::now();
    while !arrived() && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The product's network: the operator's node, then the others.
struct Product {
    operator: Node,
    party: PartyId,
    world: World,
    others: Vec<Node>,
    delivered: Arc<AtomicU64>,
    round: usize,
}

impl Product {
    async fn start(world: &World, nodes: usize, dir: &Path) -> Result<Product> {
        let party = format!("CPO:{}", world.operator_id(0).replace('*', ""));
        let settings = parties::settings(&dir.join("operator"), None, &[]);
        let operator = parties::start("operator", &party, settings).await?;
        let mut others = Vec::new();
        let delivered = Arc::new(AtomicU64::new(0));
        for number in 0..nodes {
            let name = format!("emp-{number}");
            let settings = parties::settings(&dir.join(&name), None, operator.mesh_addresses());
            let node = parties::start(&name, &format!("EMP:DEE{number:02}"), settings).await?;
            count(engine(&node)?, delivered.clone());
            others.push(node);
        }
        let mut mesh = Product {
            operator,
            party: PartyId::parse(&party)?,
            world: world.clone(),
            others,
            delivered,
            round: 0,
        };
        mesh.publish_everything().await?;
        Ok(mesh)
    }

    async fn publish_everything(&mut self) -> Result<()> {
        let records: Vec<String> = self.world.evses(0).map(|evse| evse.json).collect();
        let id = self.world.operator_id(0);
        let body = Bytes::from(format!(
            r#"{{"ActionType":"fullLoad","OperatorEvseData":{{"OperatorID":"{id}","OperatorName":"Operator","EvseDataRecord":[{}]}}}}"#,
            records.join(",")
        ));
        let push = read_evse_data(&body, Reading::Tolerant).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let outcome = engine(&self.operator)?.push_data(self.party.clone(), push, body).await?;
        ensure!(outcome.result, "the full load was refused: {outcome:?}");
        self.push_statuses("fullLoad", (0..EVSES).collect()).await?;
        self.until_equal().await
    }

    async fn push_statuses(&self, action: &str, numbers: Vec<usize>) -> Result<()> {
        let status = |number: usize| STATUSES[(number + self.round) % STATUSES.len()];
        let record = |number: &usize| {
            format!(r#"{{"EvseID":"{}","EvseStatus":"{}"}}"#, self.world.evse_id(0, *number), status(*number))
        };
        let records: Vec<String> = numbers.iter().map(record).collect();
        let id = self.world.operator_id(0);
        let body = Bytes::from(format!(
            r#"{{"ActionType":"{action}","OperatorEvseStatus":{{"OperatorID":"{id}","OperatorName":"Operator","EvseStatusRecord":[{}]}}}}"#,
            records.join(",")
        ));
        let push =
            read_evse_status(&body, Reading::Tolerant).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let outcome = engine(&self.operator)?.push_status(self.party.clone(), push, body).await?;
        ensure!(outcome.result, "statuses were refused: {outcome:?}");
        Ok(())
    }

    async fn updates(&mut self, shape: Shape) -> Result<usize> {
        let updates = shape.rate * shape.seconds / shape.per_push * shape.per_push;
        let mut beat =
            tokio::time::interval(Duration::from_secs_f64(shape.per_push as f64 / shape.rate as f64));
        for first in (0..updates).step_by(shape.per_push) {
            beat.tick().await;
            self.push_statuses(
                "update",
                (first..first + shape.per_push).map(|number| number % EVSES).collect(),
            )
            .await?;
        }
        self.round += 1;
        Ok(updates)
    }

    async fn send(&mut self, shape: Shape, idle: &Cost) -> Result<Delivery> {
        let before = self.delivered.load(Ordering::Relaxed);
        let cost = Cost::begin()?;
        let expected = (self.updates(shape).await? * self.others.len()) as u64;
        let delivered = self.delivered.clone();
        wait_for(|| delivered.load(Ordering::Relaxed) - before >= expected).await;
        cost.per_delivery(self.delivered.load(Ordering::Relaxed) - before, expected, idle)
    }

    /// Who is connected to whom, by number; the operator's node is 0.
    async fn edges(&self) -> Result<Vec<(usize, usize)>> {
        let nodes: Vec<&Node> = std::iter::once(&self.operator).chain(&self.others).collect();
        let numbers: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.peer_id(), at)).collect();
        let mut edges = BTreeSet::new();
        for (at, node) in nodes.iter().enumerate() {
            for peer in engine(node)?.view().await?.peers {
                if let Some(to) = numbers.get(peer.node.as_str()) {
                    edges.insert((at.min(*to), at.max(*to)));
                }
            }
        }
        Ok(edges.into_iter().collect())
    }

    /// Waits until every node holds exactly what the operator signed.
    async fn until_equal(&self) -> Result<()> {
        let start = Instant::now();
        let root = status_root(&self.operator).await?;
        for (number, node) in self.others.iter().enumerate() {
            while status_root(node).await? != root {
                if start.elapsed() > PATIENCE {
                    bail!("node {number} never came to hold what the operator signed");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Updates go on while 30 % of the nodes die; the others end with every one of them.
    async fn kill_some(&mut self, shape: Shape) -> Result<()> {
        let dying = self.others.split_off(self.others.len() - self.others.len() * 3 / 10);
        let count = dying.len();
        let killing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            futures::future::join_all(dying.into_iter().map(Node::shutdown)).await;
        });
        self.updates(shape).await?;
        let sent = Instant::now();
        self.until_equal().await?;
        killing.await?;
        println!(
            "  {count} nodes killed: the other {} hold 100 % of it {:.1} s after the last update",
            self.others.len(),
            sent.elapsed().as_secs_f64()
        );
        Ok(())
    }

    async fn stop(self) {
        futures::future::join_all(self.others.into_iter().chain([self.operator]).map(Node::shutdown)).await;
    }
}

fn engine(node: &Node) -> Result<&Engine> {
    node.engine().context("a node with a party has an engine")
}

async fn status_root(node: &Node) -> Result<Option<String>> {
    let view = engine(node)?.view().await?;
    let feed = view.feeds.into_iter().find(|feed| feed.kind == Kind::Status.name() && feed.in_sync);
    Ok(feed.map(|feed| feed.root))
}

/// Counts the statuses that a node takes.
fn count(engine: &Engine, delivered: Arc<AtomicU64>) {
    let mut applied = engine.watch();
    tokio::spawn(async move {
        loop {
            match applied.recv().await {
                Ok(changes) => {
                    let statuses = changes.iter().filter(|change| change.kind == Kind::Status).count();
                    delivered.fetch_add(statuses as u64, Ordering::Relaxed);
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
}
