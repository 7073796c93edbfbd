//! A hostile peer: a bare mesh node that says what the test wants, and the pen of a writer that signs
//! whatever it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chargemesh::engine::{Spawn, SystemSpawner};
use chargemesh::identity::{Chain, PartyId, SecretKey};
use chargemesh::mesh::{self, CardFacts, Mesh, MeshEvent, Transport};
use chargemesh::node::Node;
use chargemesh::oicp::id::EvseId;
use chargemesh::protocol::{
    Announcement, Answer, Change, ChangeSet, FeedId, Head, Kind, NodeId, Question, SignedHead, SyncChunk,
    SyncEntry, SyncFrame, SyncRequest, SyncStart, Topic, Verdict,
};
use chargemesh::roaming::{Entry, Tree};
use tokio::sync::watch;

use crate::support::{NETWORK, PATIENCE, Plan, World, key, node_seed, record, unix_s};

/// What the hostile node answers.
#[derive(Default)]
pub(crate) struct Script {
    /// To "which heads do you hold?".
    pub(crate) heads: Vec<SignedHead>,
    /// To "who is behind this delegation?".
    pub(crate) chains: Vec<Chain>,
    /// To repair questions; what is not here ends at once.
    frames: BTreeMap<FeedId, Vec<SyncFrame>>,
}

impl Script {
    /// Sets the answer to repair questions about a pen's feed.
    pub(crate) fn serve(&mut self, pen: &Pen, frames: Vec<SyncFrame>) {
        self.frames.insert(pen.head.feed.clone(), frames);
    }
}

/// What the hostile node has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Gossip of others, newest last.
    pub(crate) gossip: Vec<Bytes>,
    /// Repair questions.
    pub(crate) syncs: Vec<SyncRequest>,
    /// Cards found, and searches in vain.
    pub(crate) cards: Vec<Option<Bytes>>,
    /// Answers to its questions.
    pub(crate) answers: Vec<Bytes>,
    /// Whether the victim is connected.
    pub(crate) up: bool,
    /// Topics that the victim listens to.
    pub(crate) topics: BTreeSet<Topic>,
}

/// A hostile node.
pub(crate) struct Attacker {
    pub(crate) mesh: Mesh,
    pub(crate) script: Arc<Mutex<Script>>,
    seen: watch::Receiver<Seen>,
}

impl Attacker {
    /// Joins the network at a node, and waits until that node listens to it.
    pub(crate) async fn join(name: &str, victim: &Node) -> Attacker {
        let seed = node_seed(&Plan::new(name, None, std::path::Path::new("")));
        let config = mesh::Config {
            network: NETWORK.to_owned(),
            keep: victim.mesh_addresses().to_vec(),
            // It serves nobody's cards: it would believe any.
            kad_client: true,
            dial_backoff_ms: 50,
            review_interval_ms: 200,
            ..mesh::Config::default()
        };
        let spawner = SystemSpawner::shared();
        let tasks = spawner.clone();
        // It believes every card, its own forgeries first.
        let believe = |_: &[u8; 32], _: &[u8]| {
            let publisher = mesh::node_id_of_seed(&[1; 32]).unwrap();
            Ok(CardFacts { seq: 1, valid_for_s: 3_600, publisher, addresses: Vec::new() })
        };
        let (mesh, mut events) = mesh::start(mesh::Start {
            config,
            node_seed: seed,
            transport: Transport::tcp(&seed).unwrap(),
            executor: Arc::new(move |task| tasks.task(task)),
            card_check: Arc::new(believe),
            subscribe: Topic::ALL.to_vec(),
            rng_seed: 7,
        })
        .unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (told, seen) = watch::channel(Seen::default());
        let (speaker, answers) = (mesh.clone(), script.clone());
        let sending = spawner.clone();
        let known = mesh::node_from_text(victim.peer_id()).unwrap();
        spawner.task(Box::pin(async move {
            while let Some(event) = events.recv().await {
                told.send_modify(|seen| notice(&event, &known, seen));
                answer(event, &speaker, &answers, &sending);
            }
        }));
        let mut attacker = Attacker { mesh, script, seen };
        attacker.until("the victim listens", |seen| seen.up && seen.topics.len() == Topic::ALL.len()).await;
        attacker
    }

    /// Waits until something was seen.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        let waiting = tokio::time::timeout(PATIENCE, self.seen.wait_for(wanted));
        if let Ok(seen) = waiting.await {
            return seen.unwrap().clone();
        }
        panic!("the attacker waited in vain for: {what}; it has seen {:?}", self.seen());
    }

    /// What was seen.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Gossips anything.
    pub(crate) fn gossip(&self, topic: Topic, bytes: impl Into<Bytes>) {
        self.mesh.try_publish(topic, bytes.into()).unwrap();
    }

    /// Changes what it answers.
    pub(crate) fn say(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Whether the victim still has it as a peer.
    pub(crate) fn is_connected(&self) -> bool {
        self.seen().up
    }
}

fn notice(event: &MeshEvent, victim: &NodeId, seen: &mut Seen) {
    match event {
        MeshEvent::PeerUp { node, .. } if node == victim => seen.up = true,
        MeshEvent::PeerDown { node } if node == victim => (seen.up, seen.topics) = (false, BTreeSet::new()),
        MeshEvent::PeerSubscribed { node, topic } if node == victim => drop(seen.topics.insert(*topic)),
        MeshEvent::Gossip { data, .. } => seen.gossip.push(data.clone()),
        MeshEvent::SyncAsked { request, .. } => seen.syncs.extend(SyncRequest::decode(request)),
        MeshEvent::Answered { body, .. } => seen.answers.push(body.clone()),
        MeshEvent::CardFound { value, .. } => seen.cards.push(Some(value.clone())),
        MeshEvent::CardNotFound { .. } => seen.cards.push(None),
        _ => {}
    }
}

fn answer(event: MeshEvent, mesh: &Mesh, script: &Mutex<Script>, spawner: &Arc<dyn Spawn>) {
    let script = script.lock().unwrap();
    match event {
        MeshEvent::Gossip { token, .. } => mesh.judge(token, Verdict::Ignore),
        MeshEvent::Asked { body, token, .. } => {
            let chain = |hash| script.chains.iter().find(|chain| chain.delegation_hash() == hash).cloned();
            let said = match Question::decode(&body) {
                Ok(Question::Heads(_)) => Answer::Heads(script.heads.clone()),
                // Else the victim would not know who was revoked, and begin nothing.
                Ok(Question::Registry(_)) => Answer::Noted,
                Ok(Question::Chain(hash)) => chain(hash).map_or(Answer::NotFound, Answer::Chain),
                _ => Answer::Unsupported,
            };
            mesh.answer(token, said.encode()).unwrap();
        }
        MeshEvent::SyncAsked { mut responder, request, .. } => {
            let asked = SyncRequest::decode(&request).ok();
            let frames = asked.and_then(|asked| script.frames.get(&asked.feed).cloned()).unwrap_or_default();
            spawner.task(Box::pin(async move {
                for frame in frames {
                    if responder.send(frame.encode()).await.is_err() {
                        return;
                    }
                }
                responder.finish().await;
            }));
        }
        _ => {}
    }
}

/// The pen of one feed: it keeps the records that the writer claims to have, and signs what it is told.
pub(crate) struct Pen {
    pub(crate) chain: Chain,
    pub(crate) key: SecretKey,
    pub(crate) head: Head,
    pub(crate) tree: Tree,
    pub(crate) entries: Vec<SyncEntry>,
}

impl Pen {
    /// The pen of a party with a credential of this world.
    pub(crate) fn new(world: &World, name: &str, party: &str, kind: Kind) -> Pen {
        let plan = Plan::new(name, Some(party), std::path::Path::new(""));
        let party = PartyId::parse(party).unwrap();
        let head = Head {
            feed: FeedId::public(party.clone(), kind),
            epoch: 1,
            incarnation: unix_s(),
            seq: 0,
            count: 0,
            root: [0; 32],
            created_unix_ms: unix_s() * 1_000,
            base_seq: 0,
            body: [0; 32],
            operator_id: party.id.to_string(),
            operator_name: name.to_owned(),
        };
        let chain = world.chain(&plan, &party, 1);
        Pen { chain, key: key(&format!("message {name}")), head, tree: Tree::default(), entries: Vec::new() }
    }

    /// Adds records to the feed and says so, as an honest writer would.
    pub(crate) fn write(&mut self, evse_ids: &[&str]) -> Announcement {
        let records: Vec<(String, Bytes)> =
            evse_ids.iter().map(|id| (canonical(id), record(id).into())).collect();
        self.write_values(&records)
    }

    /// The same with any keys and values.
    pub(crate) fn write_values(&mut self, records: &[(String, Bytes)]) -> Announcement {
        self.head.base_seq = self.head.seq;
        let at_unix_ms = self.head.created_unix_ms;
        for (key, value) in records {
            self.head.seq += 1;
            let hash = chargemesh::identity::hash_of(value);
            let seq = self.head.seq;
            if let Ok(key) = chargemesh::oicp::id::EvseKey::parse_canonical(key) {
                self.tree.put(Entry { key, seq, at_unix_ms, hash });
            }
            self.entries.push(SyncEntry { key: key.clone(), seq, at_unix_ms, value: Some(value.clone()) });
        }
        (self.head.count, self.head.root) = (self.tree.count(), self.tree.root());
        let change = |(key, value): &(String, Bytes)| Change {
            key: key.clone(),
            at_unix_ms,
            value: Some(value.clone()),
        };
        let changes = ChangeSet::encode(&records.iter().map(change).collect::<Vec<_>>());
        self.announce(changes)
    }

    /// Signs the head as it is over these changes.
    pub(crate) fn announce(&mut self, changes: ChangeSet) -> Announcement {
        self.head.body = changes.digest();
        Announcement { heads: vec![self.sign()], changes: Some(changes) }
    }

    /// Signs the head as it is.
    pub(crate) fn sign(&self) -> SignedHead {
        SignedHead::sign(&self.head, NETWORK, self.chain.delegation_hash(), &self.key)
    }

    /// A whole answer to a repair question: the head, these records, the end.
    pub(crate) fn frames(&self, entries: &[SyncEntry]) -> Vec<SyncFrame> {
        let all = (0..=255).collect();
        let mut entries = entries.to_vec();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        let start = SyncStart { head: self.sign(), buckets: Some(all) };
        vec![SyncFrame::Start(start), SyncFrame::Chunk(SyncChunk::encode(&entries)), SyncFrame::End]
    }
}

/// The key of an EvseID.
pub(crate) fn canonical(evse_id: &str) -> String {
    EvseId::parse(evse_id).unwrap().key().as_str().to_owned()
}
