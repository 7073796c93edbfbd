//! The one task that owns the swarm. It tells the engine one event after another, and polls the swarm
//! only when all that came before has found room: a slow engine slows the peers, and nothing piles up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt as _;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, Swarm};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Config;
use super::behaviour::{Behaviour, Names};
use super::book::Book;
use super::boxed::Boxed;
use super::discovery::Cards;
use super::event::{AskFailure, MeshCounts, MeshEvent, Penalty, RequestId, SyncFailure, SyncId};
use super::exchange::{self, Line};
use super::handle::Command;
use super::inbound::Opened;
use super::lost::Lost;
use super::offences::Offences;
use super::streams::{Gate, Notice, Streams};
use super::sync::{self, Asking};
use super::transport::{node_id, peer_id};
use crate::protocol::{NodeId, Topic};

/// Events that one command may add while the engine is slow; above it no command is taken.
const OUTBOX_MAX: usize = 256;

/// Askers for our addresses that wait while a listener opens.
const ADDRESS_WAITERS_MAX: usize = 16;

/// Lines to partners; each has a task and a table of up to 64 questions.
const LINES_MAX: usize = 1024;

/// One connection to a peer.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) address: Multiaddr,
    /// Whether we made it.
    pub(super) dialled: bool,
    pub(super) since: Instant,
    /// Whether a ping came back over it since there is no newer one: it is made at the other end as well.
    pub(super) answers: bool,
    /// Held too by each question of the peer that came over it and has no answer yet.
    pub(super) questions: Arc<()>,
    /// Ends what serves its streams: yamux 0.14.1 wakes no reader when we close a connection (found by the
    /// simulation), so the tasks would wait for ever, and the peer would seem to hold more and more of them.
    pub(super) gone: DropGuard,
}

/// One connected peer.
pub(super) struct Peer {
    /// One, or two after both dialled each other at once.
    pub(super) links: Vec<Link>,
    /// Whether it was a search of Kademlia that made the first.
    pub(super) searched: bool,
    pub(super) since: Instant,
    /// Whether the engine was told of it.
    pub(super) up: bool,
    pub(super) rtt: Option<Duration>,
    pub(super) pinged: Instant,
    /// When we last asked it.
    pub(super) used: Option<Instant>,
    /// When it last asked us.
    pub(super) asked: Option<Instant>,
    pub(super) topics: BTreeSet<Topic>,
}

impl Peer {
    /// Whether we made its connection.
    pub(super) fn is_dialled(&self) -> bool {
        self.links.first().is_some_and(|link| link.dialled)
    }

    /// Whether we asked it within this time.
    pub(super) fn we_asked(&self, within: Duration) -> bool {
        self.used.is_some_and(|used| used.elapsed() < within)
    }

    /// Whether we asked it or it asked us within this time.
    pub(super) fn is_asked(&self, within: Duration) -> bool {
        self.used.max(self.asked).is_some_and(|used| used.elapsed() < within)
    }

    /// Where it is.
    pub(super) fn address(&self) -> Option<&Multiaddr> {
        self.links.first().map(|link| &link.address)
    }
}

/// Everything that the swarm's task owns.
pub(super) struct Actor {
    pub(super) swarm: Swarm<Boxed<Behaviour>>,
    pub(super) config: Arc<Config>,
    pub(super) names: Names,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) outbox: VecDeque<MeshEvent>,
    pub(super) streams: Streams,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) lines: BTreeMap<PeerId, Line>,
    pub(super) syncs: BTreeMap<SyncId, (PeerId, CancellationToken)>,
    pub(super) sync_places: Arc<Semaphore>,
    pub(super) exchange_gate: Gate,
    pub(super) sync_gate: Gate,
    pub(super) ask_memory: Arc<Semaphore>,
    pub(super) book: Book,
    pub(super) cards: Cards,
    pub(super) lost: Lost,
    pub(super) offences: Offences,
    pub(super) bootstrap: BTreeSet<PeerId>,
    pub(super) keep: BTreeSet<PeerId>,
    /// Nodes of partners, as the core said last.
    pub(super) partners: BTreeSet<PeerId>,
    /// Nodes that are being dialled by choice, not by a search of Kademlia.
    pub(super) dialling: BTreeSet<PeerId>,
    pub(super) published: BTreeSet<Topic>,
    pub(super) counts: MeshCounts,
    pub(super) rng: ChaCha8Rng,
    /// The last random walk.
    pub(super) walked: Option<Instant>,
    /// Listeners that have no address yet.
    pub(super) opening: Vec<ListenerId>,
    /// Who waits for their addresses.
    pub(super) address_waiters: Vec<oneshot::Sender<Vec<String>>>,
}

impl Actor {
    /// Runs until the mesh is stopped, or nobody holds a handle or takes events any more.
    pub(super) async fn run(mut self) {
        let mut tick = ticker(self.config.tick_ms);
        let mut review = ticker(self.config.review_interval_ms);
        let (stop, events) = (self.streams.stop.clone(), self.streams.events.clone());
        loop {
            let (quiet, has_room) = (self.outbox.is_empty(), self.outbox.len() < OUTBOX_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                permit = events.reserve(), if !quiet => if !self.deliver(permit) { break },
                _ = tick.tick() => self.on_tick(),
                _ = review.tick() => self.review(),
                command = self.commands.recv(), if has_room => if !self.on_command(command) { break },
                Some(notice) = self.notices.recv(), if quiet => self.on_notice(notice),
                event = self.swarm.select_next_some(), if quiet => self.on_swarm_event(event),
            }
        }
        // The stream tasks end with the swarm's.
        stop.cancel();
    }

    fn deliver(&mut self, permit: Result<mpsc::Permit<'_, MeshEvent>, mpsc::error::SendError<()>>) -> bool {
        let Ok(permit) = permit else { return false };
        if let Some(event) = self.outbox.pop_front() {
            permit.send(event);
        }
        true
    }

    /// Tells the engine when it has room.
    pub(super) fn emit(&mut self, event: MeshEvent) {
        self.outbox.push_back(event);
    }

    /// What the tick is for is that the loop goes round and polls the swarm.
    fn on_tick(&mut self) {
        self.dial_fixed();
        self.dial_partners();
        self.lost.take_fresh().into_iter().for_each(|peer| self.dial(peer));
        self.trim();
        self.pardon();
        self.lines.retain(|_, line| !line.is_closed());
    }

    fn on_command(&mut self, command: Option<Command>) -> bool {
        let Some(command) = command else { return false };
        match command {
            Command::Publish { topic, data } => self.publish(topic, data),
            Command::Judge { token, verdict } => self.judge(&token, verdict),
            Command::Ask { to, request, body, deadline } => self.ask(&to, request, body, deadline),
            Command::Sync { to, sync, request } => self.sync(&to, sync, request),
            Command::CancelSync { sync } => {
                self.syncs.get(&sync).inspect(|(_, cancel)| cancel.cancel());
            }
            Command::Penalise { node, penalty } => {
                if let Some(peer) = peer_id(&node) {
                    self.offend(peer, penalty);
                }
            }
            Command::PutCard { key, value } => self.put_card(key, value),
            Command::FindCard { key } => self.find_card(key),
            Command::AddAddress { node, address } => self.add_address(&node, &address),
            Command::KeepPartners { nodes } => self.keep_partners(&nodes),
            // Whoever asked and went away does not want to know.
            Command::Peers { reply } => drop(reply.send(self.peer_infos())),
            Command::Addresses { reply } => {
                self.address_waiters.truncate(ADDRESS_WAITERS_MAX);
                self.address_waiters.push(reply);
                self.tell_addresses();
            }
            Command::Counts { reply } => {
                // The asker may have gone.
                let _gone = reply.send(self.counts_now());
            }
            Command::Blocked { reply } => {
                drop(reply.send(self.offences.blocked().map(node_id).collect()));
            }
        }
        true
    }

    fn counts_now(&self) -> MeshCounts {
        let network = self.swarm.network_info();
        let connections = network.connection_counters();
        MeshCounts {
            streams_open: self.exchange_gate.held() as u64,
            connections_open: connections.num_established().into(),
            connections_pending: connections.num_pending().into(),
            ..self.counts
        }
    }

    fn ask(&mut self, to: &NodeId, request: RequestId, body: Bytes, deadline: Instant) {
        if let Err(why) = self.try_ask(to, request, body, deadline) {
            self.emit(MeshEvent::AskFailed { request, to: to.clone(), why });
        }
    }

    fn try_ask(
        &mut self,
        to: &NodeId,
        request: RequestId,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), AskFailure> {
        let peer = self.reachable(to).ok_or(AskFailure::Unreachable)?;
        if let Some(known) = self.peers.get_mut(&peer) {
            known.used = Some(Instant::now());
        }
        self.lines.retain(|_, line| !line.is_closed());
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&peer) {
            return Err(AskFailure::Busy);
        }
        let (streams, name) = (&self.streams, &self.names.exchange);
        let line = self.lines.entry(peer).or_insert_with(|| Line::start(streams, peer, name.clone()));
        line.ask(request, body, deadline)
    }

    /// The peer id of a node other than this one; dials it if it is not connected.
    fn reachable(&mut self, node: &NodeId) -> Option<PeerId> {
        let peer = peer_id(node).filter(|peer| peer != self.swarm.local_peer_id())?;
        if !self.swarm.is_connected(&peer) {
            self.dial(peer);
        }
        Some(peer)
    }

    fn sync(&mut self, to: &NodeId, sync: SyncId, request: Bytes) {
        if let Err(why) = self.try_sync(to, sync, request) {
            self.emit(MeshEvent::SyncFailed { sync, from: to.clone(), why });
        }
    }

    fn try_sync(&mut self, to: &NodeId, sync: SyncId, request: Bytes) -> Result<(), SyncFailure> {
        let place = self.sync_places.clone().try_acquire_owned().map_err(|_| SyncFailure::Busy)?;
        if self.syncs.contains_key(&sync) {
            return Err(SyncFailure::Busy);
        }
        let peer = self.reachable(to).ok_or(SyncFailure::Unreachable)?;
        let cancel = CancellationToken::new();
        self.syncs.insert(sync, (peer, cancel.clone()));
        let protocol = self.names.sync.clone();
        let asking = Asking { sync, peer, protocol, request, cancel, place };
        self.streams.spawn(sync::ask(self.streams.clone(), asking));
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Used(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.asked = Some(Instant::now());
                }
            }
            Notice::Offence(peer, penalty) => self.offend(peer, penalty),
            Notice::SyncOver(sync) => drop(self.syncs.remove(&sync)),
            Notice::Seek(peer) => self.seek(peer),
        }
    }

    /// Lets a stream of a peer in, or closes it if the peer holds too many.
    pub(super) fn on_opened(&mut self, opened: Opened) {
        let Opened { peer, connection, protocol, stream, dropped } = opened;
        let is_sync = protocol == self.names.sync;
        let Some((streams, questions)) = self.streams_of(&peer, connection) else { return };
        self.counts.streams_refused += dropped;
        if dropped > 0 {
            tracing::debug!(%peer, dropped, "a peer opens streams faster than they are taken");
            self.offend(peer, Penalty::Flood);
        }
        let gate = if is_sync { &mut self.sync_gate } else { &mut self.exchange_gate };
        match gate.enter(peer) {
            Some(place) if is_sync => streams.spawn(sync::serve(streams.clone(), peer, stream, place)),
            Some(place) => {
                let memory = self.ask_memory.clone();
                streams.spawn(exchange::serve(streams.clone(), peer, stream, (memory, questions), place));
            }
            // A peer may not know how many syncs we serve to others.
            None if is_sync => {
                self.counts.streams_refused += 1;
                streams.spawn(sync::refuse(streams.clone(), stream));
            }
            None => {
                tracing::debug!(%peer, "a peer holds too many lines");
                self.counts.streams_refused += 1;
                drop(stream);
                self.offend(peer, Penalty::Flood);
            }
        }
    }

    /// A listener has an address, or never will.
    pub(super) fn opened(&mut self, listener: ListenerId) {
        self.opening.retain(|other| *other != listener);
        self.tell_addresses();
    }

    fn tell_addresses(&mut self) {
        if !self.opening.is_empty() {
            return;
        }
        let addresses = self.listen_addresses();
        for waiter in self.address_waiters.drain(..) {
            // Who asked may have gone.
            let _gone = waiter.send(addresses.clone());
        }
    }

    fn listen_addresses(&self) -> Vec<String> {
        let me = *self.swarm.local_peer_id();
        let whole =
            |address: &Multiaddr| address.clone().with_p2p(me).unwrap_or_else(|same| same).to_string();
        self.swarm.listeners().map(whole).collect()
    }

    pub(super) fn jitter(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    pub(super) fn random_bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Tasks that end with a connection, and what counts its questions; `None` if it is gone already.
    fn streams_of(&self, peer: &PeerId, connection: ConnectionId) -> Option<(Streams, Weak<()>)> {
        let link = self.peers.get(peer)?.links.iter().find(|link| link.id == connection)?;
        let streams = Streams { stop: link.gone.token().clone(), ..self.streams.clone() };
        Some((streams, Arc::downgrade(&link.questions)))
    }

    pub(super) fn peer_down(&mut self, id: PeerId) {
        if let Some(line) = self.lines.get(&id) {
            line.disconnected();
        }
        let Some(peer) = self.peers.remove(&id) else { return };
        if peer.up {
            self.emit(MeshEvent::PeerDown { node: node_id(&id) });
        } else if peer.is_dialled() && self.book.is_due(&id, Instant::now()) {
            // It has blocked us, or is full: it lets us connect, and closes. Whom we closed is not due.
            let jitter = self.jitter();
            self.book.failed(&id, Instant::now(), &self.config, jitter);
        }
    }
}

fn ticker(period_ms: u64) -> tokio::time::Interval {
    let mut ticker = interval(Duration::from_millis(period_ms));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
