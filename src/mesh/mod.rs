//! The network between nodes: gossip, questions and answers, sync, discovery, over libp2p. It moves
//! bytes and says who sent them; what they mean is the engine's business.
//!
//! One task owns the swarm. [`Mesh`] is the way in and never waits for a peer; [`MeshEvent`]s are the
//! way out, over a bounded channel: while it is full, nothing more is read from the network.

mod actor;
mod anchors;
mod behaviour;
mod book;
mod boxed;
mod config;
mod connections;
mod crowd;
mod discovery;
mod event;
mod exchange;
mod framing;
mod full;
mod gossip;
mod handle;
mod inbound;
mod lost;
mod offences;
mod partners;
mod peers;
mod streams;
mod sync;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Swarm};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use discovery::{CardCheck, CardFacts, CardRefusal};
pub use event::{
    AskFailure, FrameCredit, GossipToken, MeshCounts, MeshError, MeshEvent, PeerInfo, Penalty, Purpose,
    Refused, RequestId, SyncFailure, SyncId,
};
pub use exchange::AskToken;
pub use handle::Mesh;
pub use partners::PARTNERS_MAX;
pub use streams::Executor;
pub use sync::{Closed, SyncResponder};
pub use transport::{Transport, is_address_of, node_from_text, node_id_of_seed, node_text};

use crate::protocol::Topic;
use actor::Actor;
use boxed::Boxed;
use streams::{Gate, Streams};

/// Notices of stream tasks that wait for the swarm's task.
const NOTICES_MAX: usize = 1024;

/// Streams of one connection that may be negotiating; libp2p closes what comes beyond.
const NEGOTIATING_MAX: usize = 64;

/// libp2p's own time-out of unused connections; it hardly ever fires, see `connections.rs`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the node brings to start a mesh.
pub struct Start {
    /// The settings.
    pub config: Config,
    /// The secret seed of the node's ed25519 key (RFC 8032).
    pub node_seed: [u8; 32],
    /// The transport, made with the same seed.
    pub transport: Transport,
    /// Starts tasks.
    pub executor: Executor,
    /// Checks cards.
    pub card_check: CardCheck,
    /// The topics to subscribe to. Publishing needs no subscription.
    pub subscribe: Vec<Topic>,
    /// Seed of back-off jitter and random walks.
    pub rng_seed: u64,
}

/// Starts the mesh. Must be called within a tokio runtime.
///
/// # Errors
/// [`MeshError`] says which setting or address is wrong.
pub fn start(start: Start) -> Result<(Mesh, mpsc::Receiver<MeshEvent>), MeshError> {
    let config = start.config;
    config.check()?;
    let names = behaviour::Names::of(&config.network)?;
    let key = transport::keypair(&start.node_seed)?;
    let me = key.public().to_peer_id();
    let parse = |key, texts: &[String]| -> Result<Vec<(PeerId, Multiaddr)>, MeshError> {
        // One list for all nodes of a network may name this one too.
        Ok(parse_peers(key, texts)?.into_iter().filter(|(peer, _)| *peer != me).collect())
    };
    let bootstrap = parse("bootstrap", &config.bootstrap)?;
    let keep = parse("keep", &config.keep)?;
    let kept: Vec<PeerId> = keep.iter().map(|(peer, _)| *peer).collect();
    // Whoever fills this node with connections must not cut it off from those that its operator named.
    let anchors: Vec<(PeerId, Multiaddr)> = bootstrap.iter().chain(&keep).cloned().collect();
    let anchored: Vec<PeerId> = anchors.iter().map(|(peer, _)| *peer).collect();
    let behaviour = behaviour::build(&config, &names, &key, &anchored)?;
    let control = behaviour.streams.new_control();
    let tasks = TaskTracker::new();
    let settings = swarm_config(&start.executor, &tasks);
    let mut swarm = Swarm::new(start.transport.0, Boxed(behaviour), me, settings);
    let opening = open(&mut swarm, &config, &start.subscribe)?;
    let (events, received) = mpsc::channel(config.events_max);
    let (notices, noticed) = mpsc::channel(NOTICES_MAX);
    let (commands, commanded) = mpsc::channel(config.commands_max);
    let stop = CancellationToken::new();
    let config = Arc::new(config);
    let streams = Streams {
        control,
        events,
        notices,
        stop: stop.clone(),
        config: config.clone(),
        executor: start.executor.clone(),
        tasks: tasks.clone(),
    };
    let mut book = book::Book::default();
    for (peer, address) in &anchors {
        book.add(*peer, address.clone(), true);
        swarm.behaviour_mut().kad.add_address(peer, address.clone());
    }
    let bootstrap: BTreeSet<PeerId> = bootstrap.into_iter().map(|(peer, _)| peer).collect();
    let mut actor = Actor {
        swarm,
        names,
        commands: commanded,
        notices: noticed,
        outbox: VecDeque::new(),
        streams,
        peers: Default::default(),
        lines: Default::default(),
        syncs: Default::default(),
        sync_places: Arc::new(Semaphore::new(config.syncs_max)),
        exchange_gate: Gate::new(
            config.exchange_streams_max,
            (config.connections_max as usize + PARTNERS_MAX) * config.exchange_streams_max,
        ),
        sync_gate: Gate::new(config.sync_serves_per_peer_max, config.sync_serves_max),
        ask_memory: exchange::ask_memory(config.asks_inbound_kib_max),
        book,
        cards: discovery::Cards::new(start.card_check),
        lost: Default::default(),
        offences: Default::default(),
        bootstrap,
        keep: kept.into_iter().collect(),
        partners: Default::default(),
        dialling: Default::default(),
        published: Default::default(),
        counts: Default::default(),
        rng: ChaCha8Rng::seed_from_u64(start.rng_seed),
        walked: None,
        opening,
        address_waiters: Vec::new(),
        config,
    };
    actor.add_anchors(&anchors);
    (start.executor)(Box::pin(tasks.track_future(actor.run())));
    let mesh = Mesh { node: transport::node_id(&me), node_text: me.to_base58(), commands, stop, tasks };
    Ok((mesh, received))
}

/// Opens the listeners, names the addresses to be told, subscribes. Gives the listeners that are opening.
fn open(
    swarm: &mut Swarm<Boxed<behaviour::Behaviour>>,
    config: &Config,
    topics: &[Topic],
) -> Result<Vec<ListenerId>, MeshError> {
    let mut opening = Vec::new();
    for address in &config.listen {
        let listened = swarm.listen_on(parse_address("listen", address)?);
        let failed = |error: libp2p::TransportError<std::io::Error>| MeshError::Listen {
            address: address.clone(),
            // The library's own text for the other kind is empty.
            why: match error {
                libp2p::TransportError::Other(error) => error.to_string(),
                other => other.to_string(),
            },
        };
        opening.push(listened.map_err(failed)?);
    }
    for address in &config.announce {
        swarm.add_external_address(parse_address("announce", address)?);
    }
    let Some(gossip) = swarm.behaviour_mut().gossip.as_mut() else { return Ok(opening) };
    for topic in topics {
        gossip
            .subscribe(&gossip::ident(*topic, config))
            .map_err(|error| MeshError::Build { part: "subscriptions", why: error.to_string() })?;
    }
    Ok(opening)
}

fn swarm_config(executor: &Executor, tasks: &TaskTracker) -> libp2p::swarm::Config {
    let (executor, tasks) = (executor.clone(), tasks.clone());
    libp2p::swarm::Config::with_executor(move |task| executor(Box::pin(tasks.track_future(task))))
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX)
}

fn parse_address(key: &'static str, text: &str) -> Result<Multiaddr, MeshError> {
    let rule = "is no multiaddress, such as /ip4/192.0.2.1/tcp/4001";
    text.parse().map_err(|_| MeshError::Address { key, address: text.into(), rule })
}

fn parse_peers(key: &'static str, texts: &[String]) -> Result<Vec<(PeerId, Multiaddr)>, MeshError> {
    let parse = |text: &String| {
        let address = parse_address(key, text)?;
        match address.iter().last() {
            Some(Protocol::P2p(peer)) => Ok((peer, address)),
            _ => {
                Err(MeshError::Address { key, address: text.clone(), rule: "does not end in /p2p/<peer id>" })
            }
        }
    };
    texts.iter().map(parse).collect()
}
