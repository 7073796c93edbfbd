//! A peer that runs the product's mesh, and something else instead of its engine and core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use chargemesh::mesh::{
    self, AskToken, CardRefusal, GossipToken, Mesh, MeshEvent, RequestId, SyncId, SyncResponder,
};
use chargemesh::protocol::{Answer, Digest, NodeId, Question, SyncFrame, SyncRequest, Topic, Verdict};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;

use super::archive::{Archive, Credentials};
use super::own::OwnFeed;
use crate::determinism::{START_UNIX_S, elapsed};
use crate::network::{Network, NodeNumber, address};
use crate::people::{self, NETWORK, Party};

/// Time in which a question of a liar must be answered.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Repairs that a liar leaves hanging at once.
const HANGING_MAX: usize = 64;

/// What a liar did so far; all its identities together.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// How often each node was told something that every node can see to be wrong, since that node started.
    pub(super) lies: BTreeMap<NodeId, u64>,
    /// How often it did what it is there for, whether that can be proved or not.
    pub(super) done: u64,
}

/// Shared by the identities of a liar and those who judge.
pub(super) type SharedDeeds = Arc<Mutex<Deeds>>;

/// What a liar is and knows.
pub(super) struct Liar {
    pub(super) mesh: Mesh,
    pub(super) party: Party,
    pub(super) own: OwnFeed,
    pub(super) archive: Archive,
    /// Nodes that are connected and answer questions.
    pub(super) peers: BTreeSet<NodeId>,
    pub(super) chance: ChaCha8Rng,
    /// By which it publishes: its own mesh, or one whose gossip has heard nothing and so repeats everything.
    mouth: Mesh,
    deeds: SharedDeeds,
    last_id: u64,
    hanging: Vec<SyncResponder>,
}

/// What a liar does with a repair that it is asked for.
pub(super) enum Served {
    /// It sends these frames.
    Frames(Vec<SyncFrame>),
    /// It takes the question and never says anything.
    Silence,
}

/// How a liar lies. What is not lied about is done as an honest node would.
pub(super) trait Act: Send {
    /// How often [`Act::tick`] is called.
    fn every(&self) -> Duration;

    /// Does something unasked.
    fn tick(&mut self, liar: &mut Liar);

    /// Judges a message; `None`: never, so it is not passed on.
    fn gossip(&mut self, _: &mut Liar, _: &Bytes) -> Option<Verdict> {
        Some(Verdict::Accept)
    }

    /// Answers a question; `None`: never.
    fn asked(&mut self, liar: &mut Liar, _: &NodeId, question: &Question) -> Option<Answer> {
        Some(liar.archive.honest_answer(question))
    }

    /// Serves a repair.
    fn served(&mut self, _: &mut Liar, _: &NodeId, _: &SyncRequest) -> Served {
        Served::Frames(vec![SyncFrame::Unavailable])
    }
}

/// Who a liar is on the network.
pub(super) struct Who {
    /// The machine.
    pub(super) number: NodeNumber,
    /// Seed of the node's key: a machine may have many.
    pub(super) node_seed: [u8; 32],
    pub(super) party: Party,
    /// OperatorID of the party.
    pub(super) operator: String,
    /// Whether others can dial it; a machine has one listener.
    pub(super) listens: bool,
    /// What it hears of what others publish.
    pub(super) subscribe: Vec<Topic>,
    /// By which it publishes, if not by its own mesh.
    pub(super) mouth: Option<Mesh>,
    /// Multiaddresses whose nodes it always wants to be connected to.
    pub(super) keep: Vec<String>,
}

/// Starts a liar; gives its mesh.
///
/// # Errors
/// If the mesh does not start.
pub(super) fn start(
    who: Who,
    bootstrap: Vec<String>,
    network: &Network,
    credentials: Credentials,
    seed: u64,
    deeds: SharedDeeds,
    act: Box<dyn Act>,
) -> Result<Mesh> {
    let here = address(who.number).to_string();
    let config = mesh::Config {
        network: NETWORK.to_owned(),
        listen: if who.listens { vec![here.clone()] } else { Vec::new() },
        announce: vec![here],
        bootstrap,
        keep: who.keep,
        memory_bytes_max: 0,
        // Who wants to do harm tries again soon.
        dial_backoff_max_ms: 2_000,
        peers_target: 64,
        ..mesh::Config::default()
    };
    let start = mesh::Start {
        config,
        node_seed: who.node_seed,
        transport: network.transport(who.number, &who.node_seed)?,
        executor: Arc::new(|task| drop(tokio::spawn(task))),
        card_check: Arc::new(|_, _| Err(CardRefusal::Useless("a liar keeps no cards"))),
        subscribe: who.subscribe,
        rng_seed: seed,
    };
    let (mesh, events) = mesh::start(start).with_context(|| format!("starting liar {}", who.number))?;
    let liar = Liar {
        mesh: mesh.clone(),
        own: OwnFeed::new(&who.party, &who.operator)?,
        party: who.party,
        archive: Archive::new(credentials),
        peers: BTreeSet::new(),
        chance: ChaCha8Rng::seed_from_u64(seed),
        mouth: who.mouth.unwrap_or_else(|| mesh.clone()),
        deeds,
        last_id: 0,
        hanging: Vec::new(),
    };
    tokio::spawn(liar.live(act, events));
    Ok(mesh)
}

impl Liar {
    async fn live(mut self, mut act: Box<dyn Act>, mut events: Receiver<MeshEvent>) {
        let mut ticks = tokio::time::interval(act.every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.event(act.as_mut(), event),
                    None => return,
                },
                _ = ticks.tick() => act.tick(&mut self),
            }
        }
    }

    fn event(&mut self, act: &mut dyn Act, event: MeshEvent) {
        match event {
            MeshEvent::PeerUp { node, answers: true, .. } => drop(self.peers.insert(node)),
            MeshEvent::PeerDown { node } => drop(self.peers.remove(&node)),
            MeshEvent::Gossip { topic, data, token, .. } => self.gossip(act, topic, &data, token),
            MeshEvent::Asked { from, body, token } => self.asked(act, &from, &body, token),
            MeshEvent::SyncAsked { from, request, responder } => {
                self.sync_asked(act, &from, &request, responder);
            }
            MeshEvent::Answered { body, .. } => {
                if let Ok(Answer::Heads(heads)) = Answer::decode(&body) {
                    heads.iter().for_each(|head| drop(self.archive.learn(head)));
                }
            }
            _ => {}
        }
    }

    fn gossip(&mut self, act: &mut dyn Act, topic: Topic, data: &Bytes, token: GossipToken) {
        self.archive.heard(topic, data);
        if let Some(verdict) = act.gossip(self, data) {
            self.mesh.judge(token, verdict);
        }
    }

    fn asked(&mut self, act: &mut dyn Act, from: &NodeId, body: &[u8], token: AskToken) {
        let Ok(question) = Question::decode(body) else { return };
        if let Some(answer) = act.asked(self, from, &question) {
            // An answer that is too large is not given.
            let _ = self.mesh.answer(token, answer.encode());
        }
    }

    fn sync_asked(&mut self, act: &mut dyn Act, from: &NodeId, body: &[u8], mut responder: SyncResponder) {
        let Ok(request) = SyncRequest::decode(body) else { return };
        match act.served(self, from, &request) {
            Served::Silence if self.hanging.len() < HANGING_MAX => self.hanging.push(responder),
            Served::Silence => {}
            Served::Frames(frames) => drop(tokio::spawn(async move {
                for frame in frames {
                    if responder.send(frame.encode()).await.is_err() {
                        return;
                    }
                }
                responder.finish().await;
            })),
        }
    }

    /// True time in unix milliseconds.
    pub(super) fn now_unix_ms(&self) -> u64 {
        START_UNIX_S * 1_000 + elapsed().as_millis() as u64
    }

    /// The hash that its own heads name as signer.
    pub(super) fn delegation(&self) -> Digest {
        self.own.delegation()
    }

    /// A number below `limit`, 0 if that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.chance.next_u64() % (limit as u64).max(1)) as usize
    }

    /// One of the peers.
    pub(super) fn some_peer(&mut self) -> Option<NodeId> {
        let at = self.below(self.peers.len());
        self.peers.iter().nth(at).cloned()
    }

    /// Asks; what is answered is learned from.
    pub(super) fn ask(&mut self, to: NodeId, question: &Question) {
        self.last_id += 1;
        // What finds no room is not asked.
        let _ = self.mesh.try_ask(to, RequestId(self.last_id), question.encode(), ASK_TIMEOUT);
    }

    /// Asks for a repair and takes nothing of it.
    pub(super) fn sync(&mut self, to: NodeId, request: &SyncRequest) {
        self.last_id += 1;
        // What finds no room is not asked.
        let _ = self.mesh.try_sync(to, SyncId(self.last_id), request.encode());
    }

    /// Publishes. What finds no room is not published.
    pub(super) fn publish(&self, topic: Topic, data: Bytes) {
        let _ = self.mouth.try_publish(topic, data);
    }

    /// It did what it is there for.
    pub(super) fn did(&self) {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).done += 1;
    }

    /// Publishes something that every node can see to be wrong.
    pub(super) fn publish_lie(&self, topic: Topic, data: Bytes) {
        self.peers.iter().for_each(|node| self.lied_to(node));
        self.publish(topic, data);
    }

    /// A node was told something that it can see to be wrong.
    pub(super) fn lied_to(&self, node: &NodeId) {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        *deeds.lies.entry(node.clone()).or_default() += 1;
        deeds.done += 1;
    }
}

/// The key of a machine's n-th identity.
pub(super) fn identity_seed(number: NodeNumber, identity: u32) -> [u8; 32] {
    if identity == 0 {
        return people::node_seed(number);
    }
    chargemesh::identity::hash_of(format!("node {number} as {identity}").as_bytes())
}
