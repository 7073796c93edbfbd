//! Brings the nodes up in a folder of their own that vanishes at the end, and takes them down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chargemesh::backend::{self, Backend};
use chargemesh::engine::{Clock, Engine, NodeView, Spawn, SystemClock, SystemSpawner};
use chargemesh::identity::{PartyId, Role};
use chargemesh::node::{Deps, Identity, Node, Settings};
use chargemesh::oicp::id::ProviderId;
use chargemesh::oicp::reading::Reading;
use chargemesh::outbound::HubClient;
use chargemesh::{facade, mesh, outbound, roaming, storage};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::charge::card;
use super::keys::{Keys, NETWORK};
use super::latency::Latencies;
use super::world::World;

/// ProviderIDs of the EMP nodes.
const PROVIDER_IDS: [&str; 3] = ["DE-EM1", "NL-EM2", "FR-EM3"];

/// Random bytes in the name of the demo's folder.
const FOLDER_NAME_BYTES: usize = 8;

/// How long messages wait for their sender's credential, in milliseconds.
const UNKNOWN_SENDER_MS: u64 = 10_000;

/// A running node of one party.
pub(super) struct PartyNode {
    /// OperatorID or ProviderID.
    pub(super) id: String,
    /// OperatorName; the ProviderID of an EMP.
    pub(super) name: String,
    /// Its engine.
    pub(super) engine: Engine,
    /// Its facade.
    pub(super) client: HubClient,
    /// Where its facade listens.
    pub(super) address: SocketAddr,
    /// Its backend, which is played.
    pub(super) backend: Backend,
}

impl PartyNode {
    /// What the node holds.
    pub(super) async fn view(&self) -> anyhow::Result<NodeView> {
        self.engine.view().await.with_context(|| format!("the node of {}", self.id))
    }
}

/// All nodes of the demo.
pub(super) struct Network {
    /// One per operator, in the order of the world.
    pub(super) cpos: Vec<PartyNode>,
    /// The EMPs.
    pub(super) emps: Vec<PartyNode>,
    /// The demo's own clock.
    pub(super) clock: Arc<dyn Clock>,
    nodes: Vec<Node>,
    keys: Keys,
    folder: Folder,
    spawner: Arc<dyn Spawn>,
    stop: CancellationToken,
}

impl Network {
    /// A network without nodes.
    pub(super) fn new() -> anyhow::Result<Network> {
        let clock = SystemClock::start();
        Ok(Network {
            cpos: Vec::new(),
            emps: Vec::new(),
            nodes: Vec::new(),
            keys: Keys::new(clock.now().unix_s())?,
            folder: Folder::new()?,
            spawner: SystemSpawner::shared(),
            stop: CancellationToken::new(),
            clock,
        })
    }

    /// Brings up the bootstrap node, the EMPs and one CPO per operator.
    pub(super) async fn start(&mut self, world: &World) -> anyhow::Result<()> {
        let boot = self.settings("bootstrap", &Meet::default());
        let boot = self.start_node("bootstrap", boot, self.keys.bare(0)).await?;
        let mut meet = Meet { bootstrap: boot.mesh_addresses().to_vec(), keep: Vec::new() };
        self.nodes.push(boot);
        let none = std::collections::BTreeSet::new();
        for provider_id in PROVIDER_IDS.iter().take(world.emp_nodes) {
            let number = self.nodes.len() as u32;
            let identity = self.keys.of_party(number, Role::Emp, provider_id, provider_id, &none)?;
            let backend = self.backend_of_emp(provider_id).await?;
            let settings = self.settings(provider_id, &meet);
            let settings = with_party(settings, Role::Emp, provider_id, &backend)?;
            let node = self.start_node(provider_id, settings, identity).await?;
            meet.keep.extend_from_slice(node.mesh_addresses());
            let party = self.adopt(node, provider_id, provider_id, backend)?;
            self.emps.push(party);
        }
        for operator in &world.operators {
            let (id, number) = (operator.id.as_str(), self.nodes.len() as u32);
            let identity = self.keys.of_party(number, Role::Cpo, id, &operator.name, &operator.prefixes)?;
            let clock = Arc::clone(&self.clock);
            let backend = Backend::start(backend::Config::new(backend::Kind::Cpo, clock)).await?;
            let settings = self.settings(&format!("cpo-{number}"), &meet);
            let settings = with_party(settings, Role::Cpo, id, &backend)?;
            let node = self.start_node(id, settings, identity).await?;
            let party = self.adopt(node, id, &operator.name, backend)?;
            self.cpos.push(party);
        }
        Ok(())
    }

    /// How many nodes run.
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Lets every EMP node tell when it shows a change.
    pub(super) fn watch(&self, latencies: &Latencies) -> anyhow::Result<()> {
        for (place, emp) in self.emps.iter().enumerate() {
            let (applied, latencies) = (emp.engine.watch(), latencies.clone());
            let stop = self.stop.clone();
            self.spawner.task(Box::pin(async move {
                let _stopped = stop.run_until_cancelled(latencies.watch(place, applied)).await;
            }));
        }
        Ok(())
    }

    /// Stops all nodes and removes their files.
    pub(super) async fn shutdown(mut self) {
        self.stop.cancel();
        let nodes = std::mem::take(&mut self.nodes);
        join_all(nodes.into_iter().map(Node::shutdown)).await;
        self.folder.remove();
    }

    async fn start_node(&self, name: &str, settings: Settings, identity: Identity) -> anyhow::Result<Node> {
        let seed = self.nodes.len() as u64;
        let started = Node::start(settings, identity, Deps::system(seed)).await;
        started.with_context(|| format!("the node {name} does not start"))
    }

    /// It knows one card.
    async fn backend_of_emp(&self, provider_id: &str) -> anyhow::Result<Backend> {
        let config = backend::Config {
            provider: Some(ProviderId::parse(provider_id)?),
            cards: vec![card(self.emps.len())?],
            ..backend::Config::new(backend::Kind::Emp, Arc::clone(&self.clock))
        };
        Ok(Backend::start(config).await?)
    }

    fn adopt(&mut self, node: Node, id: &str, name: &str, backend: Backend) -> anyhow::Result<PartyNode> {
        let address = node.facade_address().context("the node has no facade")?;
        let engine = node.engine().context("the node has no engine")?.clone();
        self.nodes.push(node);
        let client = HubClient::new(&format!("http://{address}"), None)?;
        Ok(PartyNode { id: id.to_owned(), name: name.to_owned(), engine, client, address, backend })
    }

    /// Those of a node without party.
    fn settings(&self, folder: &str, meet: &Meet) -> Settings {
        // Everybody shares one process and meets at the same few nodes.
        let mesh = mesh::Config {
            network: NETWORK.to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            bootstrap: meet.bootstrap.clone(),
            keep: meet.keep.clone(),
            bootstrap_only: true,
            connections_low: 200,
            connections_high: 250,
            connections_max: 512,
            memory_bytes_max: 0,
            ..mesh::Config::default()
        };
        let storage = storage::Config {
            data_dir: self.folder.path.join(folder),
            writer_cache_kib: 4 * 1024,
            reader_cache_kib: 2 * 1024,
            readers: 1,
            ..storage::Config::default()
        };
        // Nobody has been here before, so there is no own feed to ask peers for. And all nodes share a few
        // cores: who is behind a message may take longer to learn than in a node that has a machine, and
        // comparing heads costs no network.
        let replication = roaming::Config {
            own_check_ms: 500,
            unknown_sender_ms: UNKNOWN_SENDER_MS,
            compare_soon_s: 2,
            compare_s: 5,
            ..roaming::Config::default()
        };
        Settings { mesh, storage, replication, ..Settings::default() }
    }
}

/// The settings of a node that speaks for a party with this backend.
fn with_party(settings: Settings, role: Role, id: &str, backend: &Backend) -> anyhow::Result<Settings> {
    let party = PartyId::new(role, id)?.to_text();
    let facade = facade::Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        backends: vec![facade::BackendConfig {
            key: None,
            parties: vec![party.clone()],
            reading: Reading::Tolerant,
            ..facade::BackendConfig::default()
        }],
        worker_threads: 1,
        ..facade::Config::default()
    };
    let target = outbound::BackendTarget {
        party,
        url: backend.url(),
        notifications: role == Role::Emp,
        ..outbound::BackendTarget::default()
    };
    Ok(Settings {
        mesh: mesh::Config { bootstrap_only: false, ..settings.mesh },
        facade: Some(facade),
        outbound: outbound::Config { backends: vec![target], ..outbound::Config::default() },
        ..settings
    })
}

/// Whom a new node meets first.
#[derive(Default)]
struct Meet {
    bootstrap: Vec<String>,
    /// The EMPs: partners whose connection a CPO keeps.
    keep: Vec<String>,
}

/// A folder that is removed with its owner.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let mut name = [0; FOLDER_NAME_BYTES];
        getrandom::fill(&mut name).context("the operating system gives no random bytes")?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("chargemesh-demo-{name}"));
        std::fs::create_dir_all(&path).with_context(|| cannot_make(&path))?;
        Ok(Folder { path })
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder was not removed");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

fn cannot_make(path: &Path) -> String {
    format!("cannot make {}: set TMPDIR to a folder that can be written", path.display())
}
