//! The world: nodes, links between them, and what happens next.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use chargemesh::identity::TrustList;
use chargemesh::mesh;
use chargemesh::protocol::NodeId;
use chargemesh::roaming::{Config, Effects, Input, Now, Roaming};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

use super::facts::Facts;
use super::queue::{Event, Node, Queue, What};
use super::store::{Applied, Store};
use super::workload::{Act, Publisher, acts, kills, publishers};
use super::{LOADED_AT_MS, Settings};
use crate::determinism::START_UNIX_S;
use crate::people::{NETWORK, node_seed, trust};
use crate::reference::Reference;

/// Links that every node asks for; each has as many again from others, so about eight.
const LINKS_ASKED: usize = 4;

/// Latency of a link, in milliseconds.
const LATENCY_MS: (u64, u64) = (30, 70);

/// Nodes start within so many milliseconds, so that they do not all tick at once.
const START_WITHIN_MS: u64 = 1_000;

/// After so many milliseconds a node notices that a peer is dead.
const DEATH_NOTICED_MS: u64 = 100;

/// Violations that are told; one is enough to fail.
const VIOLATIONS_MAX: usize = 20;

/// An event that is for a node whatever became of it meanwhile.
const ANY_LIFE: u32 = u32::MAX;

/// One end of a connection.
pub(super) struct Link {
    pub(super) to: Node,
    pub(super) latency_ms: u64,
    /// When the last thing that was sent arrives: nothing overtakes it.
    pub(super) busy_until_ms: u64,
    pub(super) up: bool,
}

/// A node.
#[derive(Default)]
pub(super) struct Host {
    pub(super) core: Option<Roaming>,
    pub(super) store: Store,
    pub(super) links: Vec<Link>,
    pub(super) life: u32,
    /// Gossip that it has heard, one bit for each message.
    pub(super) heard: Vec<u64>,
    /// The tick that counts; others in the queue are of the past.
    tick_at_ms: u64,
    started_ms: u64,
    /// Last change of each feed that it had.
    seqs: Vec<u64>,
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Pushes of operators: done, refused, without answer because the node died, left out.
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) left_out: u64,
    /// Nodes that were killed, some with their disk.
    pub(crate) kills: u64,
    pub(crate) disks_lost: u64,
    /// Gossip messages that were new to a node, that it had already, and that were lost.
    pub(crate) gossip_new: u64,
    pub(crate) gossip_again: u64,
    pub(crate) gossip_lost: u64,
    /// Questions, repairs, ticks.
    pub(crate) asks: u64,
    pub(crate) syncs: u64,
    pub(crate) ticks: u64,
    /// Longest time from a node's start to a change that it had missed, in milliseconds.
    pub(crate) caught_up_ms_max: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { acknowledged, refused, lost, left_out, kills, disks_lost, .. } = self;
        writeln!(f, "pushes: {acknowledged} done, {refused} refused, {lost} lost, {left_out} left out")?;
        let caught_up_s = self.caught_up_ms_max as f64 / 1e3;
        writeln!(
            f,
            "  {kills} nodes killed, {disks_lost} with their disk, caught up after {caught_up_s:.1} s at most"
        )?;
        let Counts { gossip_new, gossip_again, gossip_lost, asks, syncs, ticks, .. } = self;
        writeln!(f, "  gossip: {gossip_new} new, {gossip_again} again, {gossip_lost} lost")?;
        write!(f, "  {asks} questions, {syncs} repairs, {ticks} ticks")
    }
}

/// What happened, as one number (FNV-1a over words).
pub(super) struct Trace {
    pub(super) hash: u64,
    pub(super) events: u64,
}

impl Trace {
    fn add(&mut self, words: [u64; 3]) {
        self.events += 1;
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }
}

/// Everything.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) hosts: Vec<Host>,
    pub(super) ids: Vec<NodeId>,
    pub(super) publishers: Vec<Publisher>,
    pub(super) reference: Reference,
    pub(super) facts: Facts,
    pub(super) queue: Queue,
    pub(super) now_ms: u64,
    pub(super) chance: ChaCha8Rng,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    pub(super) violations: BTreeSet<String>,
    pub(super) deliveries_ms: Vec<u32>,
    acts: Vec<Act>,
    trust: TrustList,
    /// By feed and number of the change: when its writer had it.
    written_ms: Vec<Vec<u64>>,
}

impl World {
    /// Nobody runs yet; everything that will happen from outside is in the queue.
    ///
    /// # Errors
    /// If the simulation itself fails.
    pub(super) fn new(settings: &Settings) -> Result<World> {
        let publishers = publishers(settings)?;
        let mut facts = Facts::default();
        for publisher in &publishers {
            facts.add_operator(publisher.feeds(), publisher.operator.evses.iter().map(|evse| &evse.key));
        }
        let ids = (0..settings.nodes).map(|node| mesh::node_id_of_seed(&node_seed(node)));
        let feeds = 2 * publishers.len();
        let host = |_| Host { tick_at_ms: u64::MAX, seqs: vec![0; feeds], ..Host::default() };
        let mut world = World {
            settings: settings.clone(),
            hosts: (0..settings.nodes).map(host).collect(),
            ids: ids.collect::<Result<_, _>>().context("the id of a node")?,
            acts: acts(settings, &publishers),
            publishers,
            reference: Reference::default(),
            facts,
            queue: Queue::default(),
            now_ms: 0,
            chance: ChaCha8Rng::seed_from_u64(settings.seed),
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0 },
            counts: Counts::default(),
            violations: BTreeSet::new(),
            deliveries_ms: Vec::new(),
            trust: trust(),
            written_ms: vec![vec![0]; feeds],
        };
        world.link_at_random();
        world.schedule();
        Ok(world)
    }

    fn link_at_random(&mut self) {
        let nodes = self.hosts.len() as u64;
        for one in 0..nodes as Node {
            for _ in 0..LINKS_ASKED {
                let other = (self.chance.next_u64() % nodes) as Node;
                let linked = self.hosts[one as usize].links.iter().any(|link| link.to == other);
                if one == other || linked {
                    continue;
                }
                let (least, most) = LATENCY_MS;
                let latency_ms = least + self.chance.next_u64() % (most - least + 1);
                for (from, to) in [(one, other), (other, one)] {
                    let link = Link { to, latency_ms, busy_until_ms: 0, up: false };
                    self.hosts[from as usize].links.push(link);
                }
            }
        }
    }

    fn schedule(&mut self) {
        for node in 0..self.settings.nodes {
            let at_ms = self.chance.next_u64() % START_WITHIN_MS;
            self.queue.push(at_ms, Event { to: node, life: ANY_LIFE, what: What::Start });
        }
        for kill in kills(&self.settings) {
            let what = What::Kill { disk_lost: kill.disk_lost };
            self.queue.push(kill.at_ms, Event { to: kill.node, life: ANY_LIFE, what });
            self.queue.push(kill.until_ms, Event { to: kill.node, life: ANY_LIFE, what: What::Start });
        }
        for (number, act) in self.acts.iter().enumerate() {
            let what = What::Act(number as u32);
            self.queue.push(act.at_ms, Event { to: act.operator, life: ANY_LIFE, what });
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// If the simulation itself fails.
    pub(super) fn run_until(&mut self, until_ms: u64) -> Result<()> {
        while let Some((at_ms, Event { to, life, what })) = self.queue.pop(until_ms) {
            self.now_ms = at_ms;
            let alive = life == ANY_LIFE || life == self.hosts[to as usize].life;
            match what {
                What::Start => self.start(to),
                What::Kill { disk_lost } => self.kill(to, disk_lost),
                What::Act(act) => self.do_act(to, act)?,
                What::Tick if !alive || self.hosts[to as usize].tick_at_ms != at_ms => {}
                What::Tick => self.tick(to),
                what if alive => self.arrive(to, what),
                what => self.arrived_too_late(what),
            }
        }
        self.now_ms = until_ms;
        Ok(())
    }

    /// Makes an event part of the trace.
    pub(super) fn note(&mut self, node: Node, what: u64, detail: u64) {
        self.trace.add([self.now_ms, u64::from(node) << 8 | what, detail]);
    }

    /// Something that must not be.
    pub(super) fn violate(&mut self, node: Node, what: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.insert(format!("{:.3} s, node {node}: {what}", self.now_ms as f64 / 1e3));
        }
    }

    pub(super) fn push(&mut self, after_ms: u64, to: Node, what: What) {
        let life = self.hosts[to as usize].life;
        self.queue.push(self.now_ms + after_ms, Event { to, life, what });
    }

    fn now(&self) -> Now {
        Now { unix_ms: START_UNIX_S * 1_000 + self.now_ms, mono_ms: self.now_ms }
    }

    fn start(&mut self, node: Node) {
        let (now, seed) = (self.now(), self.chance.next_u64());
        let ours = self.publishers.get(node as usize).map(|publisher| publisher.ours.clone());
        let host = &mut self.hosts[node as usize];
        let snapshot = host.store.snapshot(&self.facts);
        let ours = ours.into_iter().collect();
        let (config, trust) = (Config::default(), self.trust.clone());
        host.core = Some(Roaming::restore(config, NETWORK, trust, ours, seed, snapshot, now));
        host.started_ms = self.now_ms;
        self.note(node, 1, seed);
        let peers: Vec<(Node, u64)> =
            self.hosts[node as usize].links.iter().map(|link| (link.to, link.latency_ms)).collect();
        for (peer, latency_ms) in peers {
            if !self.runs(peer) {
                continue;
            }
            for (one, other) in [(node, peer), (peer, node)] {
                if let Some(link) = self.link(one, other) {
                    link.up = true;
                }
                self.push(2 * latency_ms, one, What::PeerUp(other));
            }
        }
        self.set_tick(node);
    }

    /// Stops a node where it stands: what it committed stays, what was under way is lost.
    fn kill(&mut self, node: Node, disk_lost: bool) {
        self.note(node, 2, disk_lost.into());
        self.counts.kills += 1;
        let host = &mut self.hosts[node as usize];
        (host.core, host.tick_at_ms) = (None, u64::MAX);
        host.life += 1;
        host.heard.clear();
        if disk_lost {
            self.counts.disks_lost += 1;
            host.store = Store::default();
            host.seqs.fill(0);
        }
        let peers: Vec<Node> = host.links.iter().filter(|link| link.up).map(|link| link.to).collect();
        for peer in peers {
            for (one, other) in [(node, peer), (peer, node)] {
                if let Some(link) = self.link(one, other) {
                    link.up = false;
                }
            }
            self.push(DEATH_NOTICED_MS, peer, What::PeerDown(node));
        }
        if let Some((_, changes)) = self.publishers.get_mut(node as usize).and_then(|p| p.waiting.take()) {
            self.counts.lost += 1;
            self.reference.lost(changes);
        }
    }

    pub(super) fn runs(&self, node: Node) -> bool {
        self.hosts[node as usize].core.is_some()
    }

    /// A node's end of its link to a peer.
    pub(super) fn link(&mut self, node: Node, peer: Node) -> Option<&mut Link> {
        self.hosts[node as usize].links.iter_mut().find(|link| link.to == peer)
    }

    fn do_act(&mut self, node: Node, act: u32) -> Result<()> {
        let act = &self.acts[act as usize];
        let publisher = &mut self.publishers[act.operator as usize];
        let input = match self.hosts[node as usize].core {
            Some(_) => publisher.call(act, &self.reference)?,
            None => None,
        };
        match input {
            Some(input) => self.handle(node, input),
            None => self.counts.left_out += 1,
        }
        Ok(())
    }

    fn tick(&mut self, node: Node) {
        let host = &mut self.hosts[node as usize];
        host.tick_at_ms = u64::MAX;
        let due = host.core.as_ref().is_some_and(|core| core.next_deadline().at_ms <= self.now_ms);
        if due {
            self.counts.ticks += 1;
            self.note(node, 3, 0);
            self.handle(node, Input::Tick);
        } else {
            self.set_tick(node);
        }
    }

    /// Puts the next tick into the queue, unless there is one before it: that will find that it is too early.
    fn set_tick(&mut self, node: Node) {
        let host = &mut self.hosts[node as usize];
        let Some(core) = &host.core else { return };
        let at_ms = core.next_deadline().at_ms.max(self.now_ms);
        if at_ms < host.tick_at_ms {
            host.tick_at_ms = at_ms;
            self.queue.push(at_ms, Event { to: node, life: host.life, what: What::Tick });
        }
    }

    /// What the engine does: handle, commit, act.
    pub(super) fn handle(&mut self, node: Node, input: Input) {
        let now = self.now();
        let host = &mut self.hosts[node as usize];
        let Some(core) = &mut host.core else { return };
        let Effects { ledger, directory, actions } = core.handle(input, now);
        if !ledger.is_empty() || !directory.is_empty() {
            match host.store.commit(ledger, directory, &mut self.facts) {
                Ok(applied) => applied.into_iter().for_each(|applied| self.applied(node, &applied)),
                Err(what) => self.violate(node, &what),
            }
        }
        for action in actions {
            self.act(node, action);
        }
        self.set_tick(node);
    }

    /// A node has a newer head: how old are the changes that it brought?
    fn applied(&mut self, node: Node, applied: &Applied) {
        let &Applied { feed, incarnation, seq } = applied;
        self.note(node, 4, (feed as u64) << 56 ^ incarnation << 32 ^ seq);
        let written = &mut self.written_ms[feed];
        if node as usize == feed / 2 {
            written.resize((seq + 1) as usize, self.now_ms);
            return;
        }
        let host = &mut self.hosts[node as usize];
        let before = std::mem::replace(&mut host.seqs[feed], seq);
        for written_ms in written.iter().take(seq as usize + 1).skip(before as usize + 1) {
            if *written_ms < host.started_ms {
                let caught_up_ms = self.now_ms - host.started_ms;
                self.counts.caught_up_ms_max = self.counts.caught_up_ms_max.max(caught_up_ms);
            } else if *written_ms >= LOADED_AT_MS {
                self.deliveries_ms.push((self.now_ms - written_ms) as u32);
            }
        }
    }
}
