//! The bare peer of fan-out: swarms with nothing but gossipsub on a given topology, signed by the library or
//! anonymous.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// How messages are vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorship {
    /// Signed and verified by the library.
    Signed,
    /// Not at all.
    Anonymous,
}

/// Messages that wait for the publishing swarm.
const QUEUE_MAX: usize = 1_024;

/// Connections are never closed for being idle.
const IDLE: Duration = Duration::from_secs(3_600);

/// A network of bare swarms, each run by a task of its own.
pub(crate) struct BareGossip {
    publish: mpsc::Sender<Vec<u8>>,
    delivered: Arc<AtomicU64>,
}

impl BareGossip {
    /// Starts `nodes` swarms and connects them along `edges`. Number 0 publishes and takes nothing.
    ///
    /// # Errors
    /// What libp2p says.
    pub(crate) async fn start(
        nodes: usize,
        edges: &[(usize, usize)],
        authorship: Authorship,
    ) -> Result<BareGossip> {
        let topic = IdentTopic::new("status");
        let mut swarms = Vec::new();
        let mut addresses: Vec<Multiaddr> = Vec::new();
        for number in 0..nodes {
            let mut swarm = swarm(authorship)?;
            if number > 0 {
                swarm.behaviour_mut().subscribe(&topic)?;
            }
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            };
            addresses.push(address);
            swarms.push(swarm);
        }
        for (from, to) in edges {
            let address = addresses.get(*to).context("an edge to nowhere")?;
            swarms.get_mut(*from).context("an edge from nowhere")?.dial(address.clone())?;
        }
        let (publish, mut wanted) = mpsc::channel::<Vec<u8>>(QUEUE_MAX);
        let delivered = Arc::new(AtomicU64::new(0));
        let mut swarms = swarms.into_iter();
        let mut publisher = swarms.next().context("no node")?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = wanted.recv() => {
                        let Some(message) = message else { return };
                        if let Err(error) = publisher.behaviour_mut().publish(topic.clone(), message) {
                            eprintln!("  bare gossip: {error}");
                        }
                    }
                    _ = publisher.select_next_some() => {}
                }
            }
        });
        for mut swarm in swarms {
            let (delivered, ended) = (delivered.clone(), publish.downgrade());
            tokio::spawn(async move {
                while ended.upgrade().is_some() {
                    if let SwarmEvent::Behaviour(gossipsub::Event::Message { .. }) =
                        swarm.select_next_some().await
                    {
                        delivered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Ok(BareGossip { publish, delivered })
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// If the publisher is gone.
    pub(crate) async fn publish(&self, message: Vec<u8>) -> Result<()> {
        Ok(self.publish.send(message).await?)
    }

    /// Deliveries so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

fn swarm(authorship: Authorship) -> Result<Swarm<gossipsub::Behaviour>> {
    let validation = match authorship {
        Authorship::Signed => ValidationMode::Strict,
        Authorship::Anonymous => ValidationMode::Anonymous,
    };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(validation)
        .message_id_fn(|message| {
            let digest: [u8; 32] = Sha256::digest(&message.data).into();
            MessageId::from(digest[..20].to_vec())
        })
        .build()?;
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(move |key| {
            let author = match authorship {
                Authorship::Signed => MessageAuthenticity::Signed(key.clone()),
                Authorship::Anonymous => MessageAuthenticity::Anonymous,
            };
            gossipsub::Behaviour::new(author, config).map_err(Into::into)
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}
