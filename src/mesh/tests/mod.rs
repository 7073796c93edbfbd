//! Real nodes over TCP on loopback. Nothing sleeps: every step waits for an event, with a time-out.

mod abuse;
mod cards;
mod connections;
mod eclipse;
mod exchange;
mod gossip;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::protocol::{NodeId, Verdict};

/// Far above what any step takes, so that only a hang fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
pub(super) struct Node {
    pub(super) mesh: Mesh,
    pub(super) events: mpsc::Receiver<MeshEvent>,
    pub(super) address: String,
    pub(super) seed: [u8; 32],
}

pub(super) fn executor() -> Executor {
    Arc::new(|task| drop(tokio::runtime::Handle::current().spawn(task)))
}

/// A card is `key[0]`, seq, and anything; a wrong first byte is a forgery.
pub(super) fn card_check() -> CardCheck {
    Arc::new(|key, value| match value {
        [first, seq, ..] if *first == key[0] => {
            let publisher = node_id_of_seed(&[1; 32]).unwrap();
            Ok(CardFacts { seq: u64::from(*seq), valid_for_s: 3600, publisher, addresses: Vec::new() })
        }
        _ => Err(CardRefusal::Forged("wrong first byte")),
    })
}

pub(super) async fn node_with(seed: u8, subscribe: &[Topic], change: impl FnOnce(&mut Config)) -> Node {
    let seed = [seed; 32];
    let mut config = Config { dial_backoff_ms: 50, review_interval_ms: 200, ..Config::default() };
    change(&mut config);
    let (mesh, mut events) = start(Start {
        config,
        node_seed: seed,
        transport: Transport::tcp(&seed).unwrap(),
        executor: executor(),
        card_check: card_check(),
        subscribe: subscribe.to_vec(),
        rng_seed: 7,
    })
    .unwrap();
    let address = loop {
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            MeshEvent::Listening { address } => break address,
            _ => continue,
        }
    };
    Node { mesh, events, address, seed }
}

pub(super) async fn node(seed: u8, subscribe: &[Topic], bootstrap: &[&Node]) -> Node {
    let bootstrap = bootstrap.iter().map(|node| node.address.clone()).collect();
    node_with(seed, subscribe, |config| config.bootstrap = bootstrap).await
}

impl Node {
    /// The first event that `pick` wants; all before it are dropped.
    pub(super) async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(MeshEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the mesh runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
    }

    pub(super) async fn up(&mut self, peer: &NodeId) {
        self.until("peer up", |e| matches!(e, MeshEvent::PeerUp { node, .. } if node == *peer).then_some(()))
            .await;
    }

    pub(super) async fn subscribed(&mut self, peer: &NodeId, topic: Topic) {
        let wanted =
            |e| matches!(e, MeshEvent::PeerSubscribed { node, topic: t } if node == *peer && t == topic);
        self.until("a subscription", |e| wanted(e).then_some(())).await;
    }

    pub(super) fn id(&self) -> NodeId {
        self.mesh.node_id().clone()
    }
}

/// Reads a condition until it holds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let poll = async {
        while !check().await {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(wrong(|c| c.network = "A B".into()).contains("mesh.network"));
    assert!(wrong(|c| c.tick_ms = 5_000).contains("mesh.tick_ms"));
    assert!(wrong(|c| c.connections_low = 50).contains("mesh.connections_low"));
    let error = parse_peers("bootstrap", &["/ip4/127.0.0.1/tcp/1".into()]).unwrap_err();
    assert!(error.to_string().contains("/p2p/"), "{error}");
}
