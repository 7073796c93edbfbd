//! Two hundred hostile names around the key of a card: whoever asks next to the key hears nothing, other
//! hostile names, or forgeries. The honest party's card is found all the same, by who has anchors.

use libp2p::futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, RecordStore as _};
use libp2p::kad::{self, Record, RecordKey};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, connection_limits, identify};
use sha2::{Digest as _, Sha256};

use super::*;

const HOSTILE: usize = 200;
const KEY: [u8; 32] = [9; 32];
const HONEST: &[u8] = &[9, 5, 1];
const FORGED: &[u8] = &[7, 9, 9];

/// How far a node is from the card, in Kademlia's metric.
fn distance(peer: &PeerId) -> [u8; 32] {
    let (peer, key) = (Sha256::digest(peer.to_bytes()), Sha256::digest(KEY));
    std::array::from_fn(|at| peer[at] ^ key[at])
}

fn peer_of(seed: u8) -> PeerId {
    transport::keypair(&[seed; 32]).unwrap().public().to_peer_id()
}

/// Seeds of honest nodes, those nearest to the card first. One that asks from near has room for many hostile
/// names in its table, at each distance some.
fn seeds() -> Vec<u8> {
    let mut seeds: Vec<u8> = (1..=60).collect();
    seeds.sort_by_key(|seed| distance(&peer_of(*seed)));
    seeds
}

#[derive(NetworkBehaviour)]
struct Hostile {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
    /// They dial nobody: two hundred that know each other would open twenty thousand connections.
    limits: connection_limits::Behaviour,
}

/// Names made until a hundred lie next to the card, and a hundred at every distance below that of the others.
fn hostile_keys() -> Vec<Keypair> {
    let seed = |number: u32| {
        let mut seed = [200; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        seed
    };
    let mut keys: Vec<Keypair> =
        (0..16 * HOSTILE as u32).map(|number| transport::keypair(&seed(number)).unwrap()).collect();
    keys.sort_by_cached_key(|key| distance(&key.public().to_peer_id()));
    let (near, rest) = keys.split_at(HOSTILE / 2);
    let spread = rest.iter().step_by(14).take(HOSTILE / 2);
    near.iter().chain(spread).cloned().collect()
}

/// A node that keeps no card that it is given, knows hostile names only, and every third offers a forgery.
async fn hostile(number: usize, key: &Keypair) -> Swarm<Hostile> {
    let me = key.public().to_peer_id();
    let network = Config::default().network;
    let names = behaviour::Names::of(&network).unwrap();
    let mut settings = kad::Config::new(StreamProtocol::try_from_owned(names.kad.to_string()).unwrap());
    settings
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None);
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), settings);
    kad.set_mode(Some(kad::Mode::Server));
    if number.is_multiple_of(3) {
        kad.store_mut().put(Record::new(RecordKey::new(&KEY), FORGED.to_vec())).unwrap();
    }
    let identify = identify::Behaviour::new(identify::Config::new("chargemesh".into(), key.public()));
    let limits = connection_limits::ConnectionLimits::default().with_max_pending_outgoing(Some(0));
    let limits = connection_limits::Behaviour::new(limits);
    let seed = *key.clone().try_into_ed25519().unwrap().secret().as_ref().first_chunk::<32>().unwrap();
    let transport = Transport::tcp(&seed).unwrap().0;
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
    let mut swarm = Swarm::new(transport, Hostile { kad, identify, limits }, me, config);
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    while swarm.listeners().next().is_none() {
        let listening = |event| matches!(event, SwarmEvent::NewListenAddr { .. });
        while !listening(swarm.select_next_some().await) {}
    }
    swarm
}

/// All of them, and where they are: each knows the thirty that come after it, and the thirty nearest.
async fn swarm_of_hostile_nodes() -> Vec<(NodeId, String)> {
    let keys = hostile_keys();
    let mut swarms = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        swarms.push(hostile(number, key).await);
    }
    let places: Vec<(PeerId, Multiaddr)> = swarms
        .iter()
        .map(|swarm| {
            let me = *swarm.local_peer_id();
            (me, swarm.listeners().next().unwrap().clone().with_p2p(me).unwrap())
        })
        .collect();
    for (number, mut swarm) in swarms.into_iter().enumerate() {
        for next in (0..30).chain(number + 1..number + 31) {
            let (peer, address) = &places[next % HOSTILE];
            if peer != swarm.local_peer_id() {
                swarm.behaviour_mut().kad.add_address(peer, address.clone());
            }
        }
        executor()(Box::pin(async move {
            loop {
                swarm.select_next_some().await;
            }
        }));
    }
    places.into_iter().map(|(peer, at)| (transport::node_id(&peer), at.to_string())).collect()
}

fn told(node: &Node, places: &[(NodeId, String)]) {
    for (peer, address) in places {
        node.mesh.add_known_address(peer.clone(), address.clone()).unwrap();
    }
}

/// A search for the card: hostile nodes can draw it out until the query's own time-out of 30 s.
async fn search(node: &mut Node) -> Option<Bytes> {
    node.mesh.find_card(KEY).unwrap();
    let ended = async {
        loop {
            match node.events.recv().await.expect("the mesh runs") {
                MeshEvent::CardFound { value, .. } => return Some(value),
                MeshEvent::CardNotFound { .. } => return None,
                _ => {}
            }
        }
    };
    timeout(PATIENCE * 2, ended).await.expect("a search ends")
}

fn place_of(node: &Node) -> (NodeId, String) {
    (node.id(), node.address.clone())
}

/// Enough connections that nothing fails for want of them: what is left is who is asked.
fn roomy(config: &mut Config) {
    (config.connections_max, config.connections_high) = (600, 500);
    config.connections_pending_max = 600;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_card_is_found_among_two_hundred_hostile_nodes() {
    let places = swarm_of_hostile_nodes().await;
    assert_eq!(places.len(), HOSTILE);
    let seeds = seeds();
    let [.., honest_seed, anchor_seed] = seeds[..] else { panic!() };
    let mut anchor = node(anchor_seed, &[], &[]).await;
    // The honest party: those next to its card swallow it.
    let anchors = vec![anchor.address.clone()];
    let honest = node_with(honest_seed, &[], |config| {
        roomy(config);
        config.bootstrap.clone_from(&anchors);
    });
    let honest = honest.await;
    anchor.up(honest.mesh.node_id()).await;
    told(&honest, &places);
    let (mesh, mut events) = (honest.mesh.clone(), honest.events);
    executor()(Box::pin(async move { while events.recv().await.is_some() {} }));
    mesh.put_card(KEY, Bytes::from_static(HONEST)).unwrap();

    // The attack: who knows the anchor as one node among many finds nothing, however often it asks.
    let mut eclipsed = node_with(seeds[0], &[], roomy).await;
    told(&eclipsed, &places);
    told(&eclipsed, &[place_of(&anchor)]);
    assert_eq!(search(&mut eclipsed).await, None, "the attack works");
    assert!(eclipsed.mesh.counts().await.unwrap().cards_refused > 0, "it was offered forgeries");

    // Its refusal: who was told by its operator whom to ask.
    let mut anchored = node_with(seeds[1], &[], |config| config.bootstrap = anchors).await;
    told(&anchored, &places);
    assert_eq!(search(&mut anchored).await.as_deref(), Some(HONEST));
    // The anchor goes away too: what was found is not forgotten.
    anchor.mesh.shutdown().await;
    mesh.shutdown().await;
    assert_eq!(search(&mut anchored).await.as_deref(), Some(HONEST));
}
