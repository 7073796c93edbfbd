//! Many cores in one world: virtual time, a queue of events with latency, storage in memory. What the
//! engine and the mesh do with real streams is done here by hand, so that a test is a function of its
//! seed.

mod agreements;
mod audience;
mod bodies;
mod charging;
mod claims;
mod envelopes;
mod freshness;
mod gossip;
mod late;
mod liars;
mod links;
mod offline;
mod partners;
mod people;
mod prices;
mod publish;
mod random;
mod reload;
mod repair;
mod restart;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::oicp::pricing::PushPrices;
use crate::oicp::push::{ActionType, read_evse_data, read_evse_status};
use crate::oicp::reading::Reading;
use crate::oicp::status_code::StatusCode;
use crate::protocol::{Digest, SyncRequest, Topic, Verdict};
use bodies::body;
use people::{NETWORK, Person, START_UNIX_S, node_id, number, swiss};
use store::{Reply, Store};

/// Longest time that a message is under way, in milliseconds.
const LATENCY_MS_MAX: u64 = 40;

/// Something that reaches a node.
enum Event {
    Input(Input),
    Gossip { from: usize, topic: Topic, bytes: Bytes },
    Ask { from: usize, request: RequestId, bytes: Bytes },
    Sync { from: usize, sync: SyncId, bytes: Bytes },
}

struct Delivery {
    to: usize,
    /// The peer that it comes from; it is lost if the connection is gone.
    from: Option<usize>,
    /// Of the receiver: a node that restarted does not hear what was for its former self.
    life: u64,
    event: Event,
}

type Lie = fn(&mut Reply);

#[derive(Default)]
struct Node {
    core: Option<Roaming>,
    config: Config,
    people: Vec<Person>,
    trust: Option<TrustList>,
    policy: Policy,
    visibility: Visibility,
    store: Store,
    life: u64,
    links: BTreeSet<usize>,
    seen: BTreeSet<Digest>,
    gossip: BTreeMap<GossipId, (usize, Topic, Bytes)>,
    asks: BTreeMap<AskId, (usize, RequestId)>,
    lie: Option<Lie>,
    replies: BTreeMap<CallId, (bool, StatusCode)>,
    reloads: BTreeMap<CallId, Result<(), ReloadError>>,
    /// How far its wall clock is ahead, in milliseconds.
    ahead_ms: i64,
    agreed: BTreeMap<CallId, Result<Digest, AgreementRefusal>>,
    verdicts: Vec<(usize, Verdict)>,
    penalised: Vec<(usize, Misdeed)>,
    reports: Vec<Report>,
    syncs_served: u64,
    published: Vec<(Topic, Bytes)>,
    partners: partners::Told,
    charging: charging::Told,
}

struct World {
    nodes: Vec<Node>,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Delivery>,
    count: u64,
    rng: ChaCha8Rng,
    /// Gossip that is lost, in percent.
    loss_percent: u64,
    calls: u64,
    cards: BTreeMap<Digest, Bytes>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            nodes: Vec::new(),
            now_ms: 0,
            queue: BTreeMap::new(),
            count: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss_percent: 0,
            calls: 0,
            cards: BTreeMap::new(),
        }
    }

    /// A node of these parties; of none: a reader of everything.
    fn add(&mut self, people: &[Person]) -> usize {
        self.add_with(people, Config::default(), swiss())
    }

    fn add_with(&mut self, people: &[Person], config: Config, trust: TrustList) -> usize {
        let node = Node { people: people.to_vec(), config, trust: Some(trust), ..Node::default() };
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        self.start(index);
        index
    }

    fn add_each(&mut self, people: &[Person]) {
        for person in people {
            self.add(std::slice::from_ref(person));
        }
    }

    fn add_readers(&mut self, count: usize) {
        for _ in 0..count {
            self.add(&[]);
        }
    }

    /// One node per party and `readers` nodes without, connected, past the time of asking for their feeds.
    fn meshed(seed: u64, people: &[Person], readers: usize) -> World {
        let mut world = World::new(seed);
        world.add_each(people);
        world.add_readers(readers);
        world.connect_all();
        world.run(3_000);
        world
    }

    fn now(&self) -> Now {
        Now { unix_ms: START_UNIX_S * 1_000 + self.now_ms, mono_ms: self.now_ms }
    }

    fn start(&mut self, index: usize) {
        let (now, seed) = (self.now(), self.rng.next_u64());
        let node = &mut self.nodes[index];
        let ours = node.people.iter().map(|person| person.ours(&node_id(index))).collect();
        let (snapshot, config) = (node.store.snapshot(), node.config.clone());
        let trust = node.trust.clone().unwrap();
        let misplaced = node.store.misplaced(&node.visibility);
        let core = Roaming::restore(config, NETWORK, trust, ours, seed, snapshot, now);
        let core = core.with_policy(node.policy.clone()).with_visibility(node.visibility.clone(), misplaced);
        node.core = Some(node.charging.settings(core, &node.people));
    }

    /// Stops a node where it stands: what it committed stays, what was under way is lost.
    fn kill(&mut self, index: usize) {
        for peer in self.nodes[index].links.clone() {
            self.disconnect(index, peer);
        }
        let node = &mut self.nodes[index];
        node.core = None;
        node.life += 1;
        node.seen.clear();
        node.gossip.clear();
        node.asks.clear();
    }

    /// Storage refused something: the core is made anew, and the node's connections and what is under way
    /// on them outlive it (`engine::run`, `recover`).
    fn recover(&mut self, index: usize) {
        self.start(index);
        let node = &mut self.nodes[index];
        node.gossip.clear();
        node.asks.clear();
        for peer in node.links.clone() {
            self.handle(index, Input::PeerUp(node_id(peer)));
        }
    }

    fn latency(&mut self) -> u64 {
        1 + self.rng.next_u64() % LATENCY_MS_MAX
    }

    fn deliver(&mut self, to: usize, from: Option<usize>, after_ms: u64, event: Event) {
        self.count += 1;
        let life = self.nodes[to].life;
        self.queue.insert((self.now_ms + after_ms, self.count), Delivery { to, from, life, event });
    }

    /// Lets time pass.
    fn run(&mut self, for_ms: u64) {
        let end = self.now_ms + for_ms;
        loop {
            let ticks = self.nodes.iter().enumerate().filter_map(|(index, node)| {
                let at_ms = node.core.as_ref()?.next_deadline().at_ms;
                Some((at_ms.max(self.now_ms), index))
            });
            let tick = ticks.min();
            let event = self.queue.first_key_value().map(|((at_ms, _), _)| *at_ms);
            let event_first = event.is_some_and(|at| tick.is_none_or(|(tick, _)| at <= tick));
            match (event_first, event, tick) {
                (true, Some(at_ms), _) if at_ms <= end => {
                    self.now_ms = at_ms;
                    let Some((_, delivery)) = self.queue.pop_first() else { continue };
                    self.arrive(delivery);
                }
                (false, _, Some((at_ms, index))) if at_ms <= end => {
                    self.now_ms = at_ms;
                    self.handle(index, Input::Tick);
                }
                _ => break,
            }
        }
        self.now_ms = end;
    }

    fn arrive(&mut self, delivery: Delivery) {
        let node = &self.nodes[delivery.to];
        if node.life != delivery.life || node.core.is_none() {
            return;
        }
        if delivery.from.is_some_and(|from| !node.links.contains(&from)) {
            return self.lose(delivery);
        }
        let Delivery { to, event, .. } = delivery;
        self.count += 1;
        let count = self.count;
        let node = &mut self.nodes[to];
        match event {
            Event::Input(input) => self.handle(to, input),
            Event::Gossip { from, topic, bytes } => {
                let id: Digest = Sha256::digest(&bytes).into();
                let hears = node.core.as_ref().is_some_and(Roaming::replicates_all);
                if !hears && topic != Topic::Identity {
                    return;
                }
                if node.seen.insert(id) {
                    let gossip = GossipId(count);
                    node.gossip.insert(gossip, (from, topic, bytes.clone()));
                    self.handle(to, Input::Announced { from: node_id(from), gossip, topic, bytes });
                }
            }
            Event::Ask { from, request, bytes } => {
                let ask = AskId(count);
                node.asks.insert(ask, (from, request));
                self.handle(to, Input::Asked { from: node_id(from), ask, bytes });
            }
            Event::Sync { from, sync, bytes } => self.serve(to, from, sync, &bytes),
        }
    }

    fn serve(&mut self, server: usize, asker: usize, sync: SyncId, bytes: &[u8]) {
        let request = SyncRequest::decode(bytes).unwrap();
        let may_see = self.core(server).may_see(&node_id(asker), &request.feed, self.now());
        let node = &mut self.nodes[server];
        node.syncs_served += 1;
        let mut reply = node.store.answer(&request).filter(|_| may_see);
        if let (Some(reply), Some(lie)) = (&mut reply, node.lie) {
            lie(reply);
        }
        let unavailable = || vec![crate::protocol::SyncFrame::Unavailable.encode()];
        let frames = reply.map_or_else(unavailable, Reply::frames);
        let mut after_ms = self.latency();
        for bytes in frames {
            after_ms += self.latency() / 4;
            self.deliver(asker, Some(server), after_ms, Event::Input(Input::SyncFrame { sync, bytes }));
        }
    }

    /// What the engine does: handle, commit, act.
    fn handle(&mut self, index: usize, input: Input) {
        let now = self.now();
        let node = &mut self.nodes[index];
        let now = Now { unix_ms: now.unix_ms.saturating_add_signed(node.ahead_ms), ..now };
        let Some(core) = &mut node.core else { return };
        let Effects { ledger, directory, actions } = core.handle(input, now);
        node.store.commit(ledger, directory);
        for action in actions {
            self.act(index, action);
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        let node = &mut self.nodes[index];
        match action {
            Action::Publish { topic, bytes } => {
                node.seen.insert(Sha256::digest(&bytes).into());
                node.published.push((topic, bytes.clone()));
                self.spread(index, None, topic, &bytes);
            }
            Action::Judge { gossip, verdict } => {
                let (from, topic, bytes) = node.gossip.remove(&gossip).expect("judged once");
                node.verdicts.push((from, verdict));
                if verdict == Verdict::Accept {
                    self.spread(index, Some(from), topic, &bytes);
                }
            }
            Action::Ask { to, request, bytes, .. } => {
                node.charging.said.push(bytes.clone());
                let after_ms = self.latency();
                self.send(index, &to, after_ms, Event::Ask { from: index, request, bytes });
            }
            Action::Answer { ask, bytes } => {
                node.charging.said.push(bytes.clone());
                let (to, request) = node.asks.remove(&ask).expect("answered once");
                let after_ms = self.latency();
                let from = node_id(index);
                self.deliver(
                    to,
                    Some(index),
                    after_ms,
                    Event::Input(Input::Answered { from, request, bytes }),
                );
            }
            Action::Sync { to, sync, bytes } => {
                let after_ms = self.latency();
                self.send(index, &to, after_ms, Event::Sync { from: index, sync, bytes });
            }
            Action::CancelSync { .. } => {}
            Action::Penalise { node: peer, why } => node.penalised.push((number(&peer), why)),
            Action::Reply { call, result, status } => {
                assert!(node.replies.insert(call, (result, status)).is_none(), "one reply to a call");
            }
            Action::Reloaded { call, outcome } => drop(node.reloads.insert(call, outcome)),
            Action::AgreementDone { call, done } => drop(node.agreed.insert(call, done)),
            Action::FindCard { key } => self.find_card(index, key),
            Action::KnowAddress { node: of, address } => node.partners.addresses.push((number(&of), address)),
            Action::KeepPartners(nodes) => node.partners.kept.push(nodes.iter().map(number).collect()),
            Action::Report(report) => node.reports.push(report),
            about_sessions => self.told_of_charging(index, about_sessions),
        }
    }

    fn send(&mut self, from: usize, to: &NodeId, after_ms: u64, event: Event) {
        let to = number(to);
        match self.nodes[to].core {
            Some(_) => self.deliver(to, Some(from), after_ms, event),
            None => self.lose(Delivery { to, from: Some(from), life: 0, event }),
        }
    }

    fn spread(&mut self, from: usize, except: Option<usize>, topic: Topic, bytes: &Bytes) {
        for to in self.nodes[from].links.clone() {
            let lost = self.rng.next_u64() % 100 < self.loss_percent;
            let after_ms = self.latency();
            if Some(to) != except && !lost {
                let bytes = bytes.clone();
                self.deliver(to, Some(from), after_ms, Event::Gossip { from, topic, bytes });
            }
        }
    }

    /// A backend pushes: (EvseID, note or status).
    fn push(&mut self, node: usize, kind: Kind, action: ActionType, records: &[(&str, &str)]) -> CallId {
        let party = self.nodes[node].people[0].party();
        self.push_for(node, party, kind, action, records)
    }

    fn push_for(
        &mut self,
        node: usize,
        party: PartyId,
        kind: Kind,
        action: ActionType,
        records: &[(&str, &str)],
    ) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let body = body(kind, action, &party, records);
        let input = match kind {
            Kind::Data => {
                let push = read_evse_data(&body, Reading::Tolerant).unwrap();
                Input::PushData { call, party, push, body }
            }
            Kind::Status => {
                let push = read_evse_status(&body, Reading::Tolerant).unwrap();
                Input::PushStatus { call, party, push, body }
            }
            Kind::Pricing => {
                let push = PushPrices::read(&body, Reading::Tolerant).unwrap();
                Input::PushPrices { call, party, push, body }
            }
        };
        self.handle(node, input);
        call
    }

    /// Pushes and expects success at once.
    fn pushed(&mut self, node: usize, kind: Kind, action: ActionType, records: &[(&str, &str)]) {
        let call = self.push(node, kind, action, records);
        let reply = self.nodes[node].replies.get(&call);
        assert!(matches!(reply, Some((true, _))), "{reply:?}");
    }

    /// A full load of `count` records of a party, all with the same note.
    fn load(&mut self, node: usize, id: &str, count: usize, note: &str) {
        let ids: Vec<String> = (0..count).map(|n| format!("{id}*E{n:04}")).collect();
        let records: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), note)).collect();
        self.pushed(node, Kind::Data, ActionType::FullLoad, &records);
    }

    fn code(&self, node: usize, call: CallId) -> String {
        let (result, status) = self.nodes[node].replies.get(&call).expect("a reply");
        let code = status.known().map(|code| code.as_str().to_owned()).unwrap();
        assert_eq!(*result, code == "000");
        code
    }

    fn core(&self, node: usize) -> &Roaming {
        self.nodes[node].core.as_ref().unwrap()
    }

    fn feed(&self, node: usize, party: &str, kind: Kind) -> Option<FeedSummary> {
        let feed_id = FeedId::public(people::party(party), kind);
        self.core(node).view().feeds.into_iter().find(|feed| feed.feed == feed_id)
    }

    /// What pulls show at a node, after a look at whether core and storage agree.
    fn view(&self, node: usize) -> BTreeMap<(Kind, String), (String, String)> {
        self.check(node);
        self.nodes[node].store.view()
    }

    /// What a feed's party says at its own node, key by key.
    fn own(&self, node: usize, kind: Kind) -> BTreeMap<String, String> {
        let feed_id = FeedId::public(self.nodes[node].people[0].party(), kind);
        let rows =
            self.nodes[node].store.ledger.get(&feed_id).map(|feed| feed.rows.clone()).unwrap_or_default();
        rows.iter()
            .map(|(key, row)| (key.as_str().to_owned(), String::from_utf8(row.value.to_vec()).unwrap()))
            .collect()
    }

    /// Core and storage hold the same, feed by feed, and agree on what is shown.
    fn check(&self, node: usize) {
        let (core, store) = (self.core(node), &self.nodes[node].store);
        for (feed_id, feed) in core.feeds.iter().filter(|(_, feed)| !feed.applying) {
            let Some(applied) = &feed.applied else { continue };
            let stored =
                store.feeds.get(feed_id).unwrap_or_else(|| panic!("{node}: {feed_id} is not stored"));
            let head = stored.head.as_ref().map(|(head, ..)| head.clone());
            assert_eq!(head.as_ref(), Some(&applied.head), "{node}: head of {feed_id}");
            assert_eq!(stored.tree().root(), applied.head.root, "{node}: records of {feed_id}");
            assert_eq!(feed.tree.clone().root(), applied.head.root, "{node}: tree of {feed_id}");
            if feed.own {
                let own = store.ledger.get(feed_id).expect("an own feed is in the ledger");
                assert_eq!(own.tree().root(), applied.head.root, "{node}: ledger of {feed_id}");
                assert_eq!(own.head.as_ref().map(|(head, ..)| head), Some(&applied.head));
            }
        }
        let view = core.view();
        let shown = |kind| store.view().keys().filter(|(k, _)| *k == kind).count() as u64;
        if core.feeds.values().all(|feed| feed.in_sync() && !feed.applying) {
            assert_eq!(view.view_evses, shown(Kind::Data), "{node}: EVSEs in the view");
            assert_eq!(view.view_statuses, shown(Kind::Status), "{node}: statuses in the view");
        }
    }

    /// All these nodes show the same, and it is this many EVSEs and statuses.
    fn agree(&self, nodes: &[usize], evses: usize, statuses: usize) {
        let first = self.view(nodes[0]);
        for node in nodes {
            let view = self.view(*node);
            assert_eq!(view, first, "nodes {} and {node} show the same", nodes[0]);
            assert!(self.core(*node).view().feeds.iter().all(|feed| feed.in_sync && feed.state == "ok"));
        }
        let of = |kind| first.keys().filter(|(k, _)| *k == kind).count();
        assert_eq!((of(Kind::Data), of(Kind::Status)), (evses, statuses));
    }
}
