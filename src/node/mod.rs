//! The composition root: opens, builds, joins, shuts down. Nothing is decided here.

mod alarms;
mod backends;
mod cards;
mod deps;
mod error;
mod hub;
mod hub_data;
mod identity;
mod load;
mod restore;
mod trust_seen;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use backends::HttpBackends;
pub use deps::Deps;
pub use error::NodeError;
pub use identity::Identity;
pub use load::{LoadError, load, settings};

use crate::engine::{
    Accounts, Backends, Clock, Command, Engine, EngineError, Identities, Parts, Runner, Spawn, Standing,
    Standings, Store, Watchers,
};
use crate::facade::{self, Facade, FacadeDeps};
use crate::hub::{CallLog, Exchange, HubConfig};
use crate::identity::Registry;
use crate::mesh::{self, Mesh};
use crate::outbound;
use crate::protocol::Topic;
use crate::roaming;
use crate::storage;
use crate::tls::{InUse, Used};

/// Calls of backends and people that may wait for the engine.
const COMMANDS_MAX: usize = 1_024;

/// How long the ends of a node get to finish when it stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of a node, one section per module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The network between nodes.
    pub mesh: mesh::Config,
    /// The databases.
    pub storage: storage::Config,
    /// Whose feeds are held, guard rails.
    pub replication: roaming::Config,
    /// Who may do what with our parties.
    pub policy: roaming::Policy,
    /// Who may see what our parties publish.
    pub visibility: roaming::Visibility,
    /// Sessions: times and limits.
    pub charging: roaming::ChargingConfig,
    /// The backends of our parties.
    pub outbound: outbound::Config,
    /// The central hub as one more peer.
    pub hub: HubConfig,
    /// The OICP face; a bootstrap node has none.
    pub facade: Option<facade::Config>,
}

/// What is needed to read certificates and keys anew.
#[derive(Default)]
struct Https {
    backends: Option<Arc<HttpBackends>>,
    hub: Option<Arc<hub::Hub>>,
    exchange: Option<Exchange>,
    hub_calls: CallLog,
    certificates: InUse,
}

/// A running node.
pub struct Node {
    engine: Option<Engine>,
    reader: Option<storage::Reader>,
    store: Option<Store>,
    mesh: Mesh,
    addresses: Vec<String>,
    facade: Option<Facade>,
    https: Https,
    standings: Standings,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    stopped: tokio_util::task::TaskTracker,
}

impl Node {
    /// Starts a node. It listens when this returns.
    ///
    /// # Errors
    /// [`NodeError`] names the part and what to do.
    pub async fn start(settings: Settings, identity: Identity, deps: Deps) -> Result<Node, NodeError> {
        let stop = CancellationToken::new();
        let stopped = tokio_util::task::TaskTracker::new();
        let standing = Standing {
            trust: identity.trust.clone(),
            parties: identity.parties.clone(),
            policy: settings.policy.clone(),
        };
        let (standings, _) = watch::channel(Arc::new(standing));
        if identity.parties.is_empty() && settings.mesh.bootstrap_only {
            return Node::bootstrap(settings, &identity, &deps, standings, stop, stopped).await;
        }
        let network = settings.mesh.network.clone();
        let store = open_store(&settings.storage, &deps)?;
        trust_seen::check(&store, &identity).await?;
        trust_seen::note(&store, &identity).await.map_err(NodeError::Restore)?;
        upkeep::start(&store, &deps, &stop);
        let traits = backends::traits(&settings.outbound)?;
        let restore = restore::restorer(&settings, &traits, &standings, &store, &deps);
        let core = restore().await.map_err(NodeError::Restore)?;
        // Who is who concerns everybody.
        let topics = if core.replicates_all() { Topic::ALL.to_vec() } else { vec![Topic::Identity] };
        let (identities, _) = watch::channel(Arc::new(core.known_identities().0.clone()));
        let known = (&standings, &identities);
        let (mesh, events) = start_mesh(&settings.mesh, &identity, known, &deps, topics)?;
        let (commands, commanded) = mpsc::channel::<Command>(COMMANDS_MAX);
        let (answered, answers) = mpsc::channel(COMMANDS_MAX);
        let (called, mut https) = backends(&settings.outbound, &deps)?;
        let watchers = Arc::new(Watchers::default());
        let engine = Engine::new(commands, watchers.clone());
        let reader = store.0.reader.clone();
        let parts = Parts {
            core,
            parties: identity.parties.iter().map(|party| party.party.to_text()).collect(),
            restore,
            standings: standings.clone(),
            identities,
            store: store.clone(),
            mesh: mesh.clone(),
            events,
            commands: commanded,
            backends: called,
            hub: hub::hub(&settings.hub, &mut https, &deps.clock)?,
            answers,
            answered,
            watchers,
            clock: deps.clock.clone(),
            spawner: deps.spawner.clone(),
            stop: stop.clone(),
        };
        deps.spawner.task(Box::pin(stopped.track_future(Runner::new(parts).run())));
        let addresses = mesh.listen_addresses().await.map_err(|_| NodeError::MeshStopped)?;
        cards::start(&network, &standings, &settings.mesh, &addresses, &mesh, &deps, &stop);
        let started =
            hub_data::start(settings.hub, &https.hub_calls, (&engine, &store), &identity, &deps, &stop);
        https.exchange = started.await?;
        let facade = match settings.facade {
            Some(config) => {
                let accounts = accounts(&engine, &store, &identity, &settings.charging, &deps, &stop);
                let sources = (engine.clone(), accounts, reader.clone());
                let corrections = settings.charging.forward_corrections;
                let extras = (corrections, &https);
                Some(start_facade(config, sources, extras, &identity, &deps, &stopped).await?)
            }
            None => None,
        };
        let (engine, reader, store, clock) = (Some(engine), Some(reader), Some(store), deps.clock);
        Ok(Node { engine, reader, store, mesh, addresses, facade, https, standings, clock, stop, stopped })
    }

    /// A node without a party: it helps others to find each other, and holds nothing.
    async fn bootstrap(
        settings: Settings,
        identity: &Identity,
        deps: &Deps,
        standings: Standings,
        stop: CancellationToken,
        stopped: tokio_util::task::TaskTracker,
    ) -> Result<Node, NodeError> {
        let (nobody, _) = watch::channel(Arc::new(Registry::empty()));
        let known = (&standings, &nobody);
        let (mesh, mut events) = start_mesh(&settings.mesh, identity, known, deps, Vec::new())?;
        let ended = stop.clone();
        deps.spawner.task(Box::pin(stopped.track_future(async move {
            // Nothing that happens on the mesh concerns a node without a party.
            while ended.run_until_cancelled(events.recv()).await.flatten().is_some() {}
        })));
        let addresses = mesh.listen_addresses().await.map_err(|_| NodeError::MeshStopped)?;
        let clock = deps.clock.clone();
        let (engine, reader, store, facade) = (None, None, None, None);
        let https = Https::default();
        Ok(Node { engine, reader, store, mesh, addresses, facade, https, standings, clock, stop, stopped })
    }

    /// Goes on with another trust list, other delegations and other message keys, without a gap. The card
    /// of each party is published anew. All is taken, or nothing.
    ///
    /// # Errors
    /// [`NodeError::Reload`] and [`NodeError::OtherNodeKey`] say what needs a restart or another file,
    /// [`NodeError::Engine`] that the node is stopping, busy, or cannot store.
    pub async fn reload(&self, identity: Identity) -> Result<(), NodeError> {
        let node = mesh::node_id_of_seed(&identity.node_seed).map_err(NodeError::Mesh)?;
        if node != *self.mesh.node_id() {
            return Err(NodeError::OtherNodeKey);
        }
        if let (Some(engine), Some(store)) = (&self.engine, &self.store) {
            trust_seen::check(store, &identity).await?;
            let policy = self.standings.borrow().policy.clone();
            let taken = engine.reload(identity.trust.clone(), identity.parties.clone(), policy).await;
            taken.map_err(not_reloaded)?;
            return trust_seen::note(store, &identity).await.map_err(NodeError::Engine);
        }
        let Identity { trust, parties, .. } = identity;
        if let Some(ours) = parties.first() {
            let added = roaming::ReloadError::Parties { party: ours.party.clone(), what: "added" };
            return Err(NodeError::Reload(added));
        }
        let running = self.standings.borrow().clone();
        roaming::may_replace(&running.trust, &trust, self.clock.now().unix_s())?;
        let policy = running.policy.clone();
        self.standings.send_replace(Arc::new(Standing { trust, parties, policy }));
        Ok(())
    }

    /// Goes on with another policy. Sessions and agreements that there are stay; what is asked from now on is decided
    /// by it.
    ///
    /// # Errors
    /// [`NodeError::Engine`] if the node is stopping, busy, or cannot store.
    pub async fn reload_policy(&self, policy: roaming::Policy) -> Result<(), NodeError> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let Standing { trust, parties, .. } = (**self.standings.borrow()).clone();
        engine.reload(trust, parties, policy).await.map_err(not_reloaded)
    }

    /// Reads the certificates and keys of HTTPS anew, the facade's and those for calls of backends and of the hub, and
    /// which certificate belongs to which backend. Connections that are open go on. Gives what could not be used: there it goes on with
    /// what it had.
    pub fn reload_certificates(&self, settings: &Settings) -> Vec<NodeError> {
        let facade = match (&self.facade, &settings.facade) {
            (Some(facade), Some(config)) => {
                facade.reload_certificates(config).map_err(NodeError::Facade).err()
            }
            _ => None,
        };
        let backends = self.https.backends.as_ref().map(|backends| backends.reload(&settings.outbound));
        let hub = self.https.hub.as_ref();
        let hub = hub.and_then(|hub| hub.reload(&settings.hub, self.https.exchange.as_ref()).err());
        facade.into_iter().chain(backends.into_iter().flatten()).chain(hub).collect()
    }

    /// The certificates of HTTPS that are in use.
    pub fn certificates(&self) -> Vec<Used> {
        self.https.certificates.all()
    }

    /// The engine; a bootstrap node has none.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The read pool: what pulls are answered from. A bootstrap node has none.
    pub fn reader(&self) -> Option<&storage::Reader> {
        self.reader.as_ref()
    }

    /// The mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Where the facade listens.
    pub fn facade_address(&self) -> Option<SocketAddr> {
        self.facade.as_ref().map(Facade::address)
    }

    /// Base URL of the facade, `http://` or `https://`.
    pub fn facade_url(&self) -> Option<String> {
        self.facade.as_ref().map(Facade::base_url)
    }

    /// Multiaddresses that other nodes can use as `mesh.bootstrap`, ending in `/p2p/<peer id>`.
    pub fn mesh_addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The node's peer id in base58.
    pub fn peer_id(&self) -> &str {
        self.mesh.node_text()
    }

    /// Stops: the facade answers what is open, the engine commits what it has, the databases are closed.
    pub async fn shutdown(self) {
        if let Some(facade) = &self.facade {
            facade.stop();
        }
        self.stop.cancel();
        self.stopped.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.stopped.wait()).await.is_err() {
            tracing::error!("the node did not stop in time; nothing acknowledged is lost");
        }
        self.mesh.shutdown().await;
    }
}

fn not_reloaded(error: EngineError) -> NodeError {
    match error {
        EngineError::Reload(error) => NodeError::Reload(error),
        error => NodeError::Engine(error),
    }
}

fn open_store(config: &storage::Config, deps: &Deps) -> Result<Store, NodeError> {
    let place = match &deps.place {
        Some(place) => place.clone(),
        None => storage::Place::directory(&config.data_dir).map_err(NodeError::Storage)?,
    };
    let runner = deps.storage_runner();
    let (storage, _) = storage::Storage::open(&place, config, &runner).map_err(NodeError::Storage)?;
    Ok(Store(storage))
}

fn start_mesh(
    config: &mesh::Config,
    identity: &Identity,
    (standings, identities): (&Standings, &Identities),
    deps: &Deps,
    subscribe: Vec<Topic>,
) -> Result<(Mesh, mpsc::Receiver<mesh::MeshEvent>), NodeError> {
    let transport = match deps.take_transport() {
        Some(transport) => transport,
        None => mesh::Transport::tcp(&identity.node_seed).map_err(NodeError::Mesh)?,
    };
    let spawner = deps.spawner.clone();
    let start = mesh::Start {
        config: config.clone(),
        node_seed: *identity.node_seed,
        transport,
        executor: Arc::new(move |task| spawner.task(task)),
        card_check: cards::check(&config.network, standings, identities, deps.clock.clone()),
        subscribe,
        rng_seed: deps.seed,
    };
    mesh::start(start).map_err(NodeError::Mesh)
}

/// How backends are called, and what is needed to read certificates anew.
fn backends(config: &outbound::Config, deps: &Deps) -> Result<(Arc<dyn Backends>, Https), NodeError> {
    let certificates = InUse::default();
    if let Some(backends) = deps.backends.clone() {
        return Ok((backends, Https { certificates, ..Https::default() }));
    }
    let backends = Arc::new(HttpBackends::new(config, &certificates)?);
    Ok((backends.clone(), Https { backends: Some(backends), certificates, ..Https::default() }))
}

/// The accounts of the parties, and the task that looks for alarms.
fn accounts(
    engine: &Engine,
    store: &Store,
    identity: &Identity,
    config: &roaming::ChargingConfig,
    deps: &Deps,
    stop: &CancellationToken,
) -> Accounts {
    let parties = identity.parties.iter().map(|party| party.party.clone()).collect();
    let accounts = Accounts::new(engine.clone(), store.clone(), deps.clock.clone(), parties, config);
    alarms::start(&accounts, engine, deps, stop);
    accounts
}

async fn start_facade(
    config: facade::Config,
    (engine, accounts, reader): (Engine, Accounts, storage::Reader),
    (pull_corrections, https): (bool, &Https),
    identity: &Identity,
    deps: &Deps,
    stopped: &tokio_util::task::TaskTracker,
) -> Result<Facade, NodeError> {
    let spawner: Arc<dyn Spawn> = deps.spawner.clone();
    let clock = deps.clock.clone();
    let facade_deps = FacadeDeps {
        engine,
        accounts: Some(accounts),
        directory: Arc::new(reader),
        parties: identity.parties.iter().map(|party| party.party.clone()).collect(),
        threads: Arc::new(move |name, work| spawner.thread(name, work)),
        now_unix_ms: Arc::new(move || clock.now().unix_ms),
        pull_corrections,
        more_gauges: hub_data::gauges(https.exchange.clone()),
        hub: hub_data::views(https.exchange.clone(), https.hub_calls.clone()),
        certificates: https.certificates.clone(),
    };
    let (facade, serving) = Facade::start(config, facade_deps).await.map_err(NodeError::Facade)?;
    deps.spawner.task(Box::pin(stopped.track_future(serving)));
    Ok(facade)
}
