//! The libp2p protocols of a node, each with its limits.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, StreamProtocol, allow_block_list, connection_limits, gossipsub, identify, kad,
    memory_connection_limits, ping,
};

use super::{Config, MeshError, crowd, discovery, exchange, full, gossip, inbound, sync};
use crate::protocol::PROTOCOL_VERSION;

/// Connections of one peer: one, and a second while both have dialled each other at once.
const CONNECTIONS_PER_PEER_MAX: u32 = 2;

/// Time after which a ping has failed.
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// Time between two identify exchanges on one connection.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(300);

/// The protocols; the limits come first, so that what they deny costs nothing more.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) full: full::Behaviour,
    pub(super) memory: Toggle<memory_connection_limits::Behaviour>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(super) anchors: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    pub(super) gossip: Toggle<gossipsub::Behaviour>,
    pub(super) inbound: Toggle<inbound::Behaviour>,
    pub(super) streams: libp2p_stream::Behaviour,
}

/// The names of our own protocols on a network.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) kad: StreamProtocol,
    pub(super) exchange: StreamProtocol,
    pub(super) sync: StreamProtocol,
}

impl Names {
    pub(super) fn of(network: &str) -> Result<Names, MeshError> {
        let wrong = || MeshError::Config { key: "network", rule: "must fit into a protocol name" };
        let kad = StreamProtocol::try_from_owned(format!("/chargemesh/{network}/kad/{PROTOCOL_VERSION}"));
        Ok(Names {
            kad: kad.map_err(|_| wrong())?,
            exchange: exchange::protocol(network).ok_or_else(wrong)?,
            sync: sync::protocol(network).ok_or_else(wrong)?,
        })
    }
}

/// Builds all protocols.
pub(super) fn build(
    config: &Config,
    names: &Names,
    key: &Keypair,
    anchors: &[PeerId],
) -> Result<Behaviour, MeshError> {
    let me = key.public().to_peer_id();
    let full = !config.bootstrap_only;
    let gossip = full.then(|| gossip::build(config)).transpose()?;
    let inbound = full.then(|| inbound::Behaviour::new(vec![names.exchange.clone(), names.sync.clone()]));
    let memory = (config.memory_bytes_max > 0)
        .then(|| memory_connection_limits::Behaviour::with_max_bytes(config.memory_bytes_max));
    let mut limits = connection_limits::Behaviour::new(
        connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(config.connections_pending_max))
            .with_max_pending_outgoing(Some(config.connections_pending_max))
            // How many there may be in all, `full` decides.
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX)),
    );
    anchors.iter().for_each(|peer| limits.bypass_peer_id(peer));
    let incoming_max = crowd::incoming_max(config.connections_max);
    let full_up = full::Behaviour::new(incoming_max, config.connections_max, anchors);
    let version = format!("chargemesh/{}/{PROTOCOL_VERSION}", config.network);
    let identify = identify::Config::new(version, key.public())
        .with_agent_version(concat!("chargemesh/", env!("CARGO_PKG_VERSION")).into())
        .with_interval(IDENTIFY_INTERVAL)
        // Addresses reach kad and our own book, where they are filtered and counted.
        .with_cache_size(0);
    let ping = ping::Config::new()
        .with_interval(Duration::from_millis(config.ping_interval_ms))
        .with_timeout(PING_DEADLINE);
    Ok(Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        limits,
        full: full_up,
        memory: memory.into(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        kad: discovery::build(config, names, me),
        anchors: super::anchors::build(names, me, anchors).into(),
        gossip: gossip.into(),
        inbound: inbound.into(),
        streams: libp2p_stream::Behaviour::new(),
    })
}
