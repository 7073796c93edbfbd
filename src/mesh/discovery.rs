//! Who is where: Kademlia, the cards in it, and the book of addresses with their dial back-off.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore as _};
use libp2p::kad::{self, GetRecordOk, InboundRequest, QueryResult, Quorum, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::Config;
use super::actor::Actor;
use super::behaviour::Names;
use super::event::{MeshEvent, Penalty};
use crate::protocol::NodeId;

/// Largest card in bytes (`decisions.md` 22).
pub(super) const CARD_BYTES_MAX: usize = 8 * 1024;

/// Longest life of a card.
const CARD_TTL: Duration = Duration::from_secs(48 * 3600);

/// Nodes in one bucket of the routing table. The library makes all 256 buckets at once, at 310 bytes a place:
/// its own 20 cost 1.6 MB a node (measured), and ten nodes at each distance are enough where nodes are
/// companies' servers.
const BUCKET_NODES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9);

/// Largest Kademlia message in bytes: a card, and 20 peers with some addresses each.
const PACKET_BYTES_MAX: usize = 24 * 1024;

/// Searches for cards at once.
const FINDS_MAX: usize = 64;

/// Cards of this node: one per party and slot.
const OWN_CARDS_MAX: usize = 64;

/// Nodes in the address book.
const BOOK_NODES_MAX: usize = 1024;

/// Addresses kept of one node.
const BOOK_ADDRESSES_MAX: usize = 8;

/// Dials in a row that may fail before a node that nobody asked for is forgotten.
const BOOK_FAILURES_MAX: u32 = 8;

/// Time between two refreshes of the routing table, as in the paper on Kademlia (2.3). Each searches at every
/// distance and dials a hundred nodes; the library's own five minutes doubled the connections of a quiet network
/// (measured).
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// What the check says of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFacts {
    /// Its number: of two cards under one key the higher wins.
    pub seq: u64,
    /// How long it is still valid, in seconds; the mesh has no calendar.
    pub valid_for_s: u64,
    /// The node that it speaks of.
    pub publisher: NodeId,
    /// Multiaddresses of that node.
    pub addresses: Vec<String>,
}

/// Why a card is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardRefusal {
    /// Wrong for everybody: malformed, wrong key, bad signature. Costs whoever sent it.
    #[error("the card is forged or malformed: {0}")]
    Forged(&'static str),
    /// Of no use here: expired, or of an issuer that is not trusted. Costs nothing.
    #[error("the card is of no use here: {0}")]
    Useless(&'static str),
}

/// Checks a card (key, value) before it is stored or believed; brought by the node.
pub type CardCheck = Arc<dyn Fn(&[u8; 32], &[u8]) -> Result<CardFacts, CardRefusal> + Send + Sync>;

pub(super) fn build(config: &Config, names: &Names, me: PeerId) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: config.cards_max,
        max_value_bytes: CARD_BYTES_MAX,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut settings = kad::Config::new(names.kad.clone());
    settings
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(CARD_TTL))
        // Our own cards are put again by us, at once after a failure.
        .set_publication_interval(None)
        .set_replication_interval(Some(Duration::from_secs(3600)))
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_max_packet_size(PACKET_BYTES_MAX)
        .set_query_timeout(Duration::from_secs(30))
        .set_kbucket_size(BUCKET_NODES_MAX)
        .set_parallelism(NonZeroUsize::MIN.saturating_add(2))
        .disjoint_query_paths(true)
        .set_periodic_bootstrap_interval(Some(REFRESH_INTERVAL));
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::with_config(me, store), settings);
    kad.set_mode(Some(if config.kad_client { kad::Mode::Client } else { kad::Mode::Server }));
    kad
}

/// Time until our own cards are put again: half of what others keep them for, at most ...
const CARDS_AGAIN: Duration = Duration::from_secs(1_800);

/// ... while nobody took them yet ...
const CARDS_AGAIN_EARLY: Duration = Duration::from_secs(5);

/// ... and after the first time, when the node knows more of the network.
const CARDS_AGAIN_SOON: Duration = Duration::from_secs(60);

/// Cards that are looked for, and our own.
pub(super) struct Cards {
    pub(super) check: CardCheck,
    finds: Vec<Find>,
    own: BTreeMap<[u8; 32], Bytes>,
    due: Instant,
    /// How often somebody took our cards since there was anybody.
    taken: u32,
}

struct Find {
    query: kad::QueryId,
    key: [u8; 32],
    best: Option<(u64, Vec<u8>)>,
}

impl Cards {
    pub(super) fn new(check: CardCheck) -> Cards {
        Cards { check, finds: Vec::new(), own: BTreeMap::new(), due: Instant::now(), taken: 0 }
    }
}

/// Where nodes are said to be, and when they may be dialled.
#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<PeerId, Entry>,
}

struct Entry {
    addresses: Vec<Multiaddr>,
    failures: u32,
    next_dial: Option<Instant>,
    /// Bootstrap, or kept by the settings: never forgotten.
    fixed: bool,
    /// A partner's: not forgotten while it is one, and known even without an address.
    partner: bool,
}

impl Entry {
    fn new() -> Entry {
        Entry { addresses: Vec::new(), failures: 0, next_dial: None, fixed: false, partner: false }
    }
}

impl Book {
    /// Notes an address; drops the oldest of a node, and refuses new nodes when full.
    pub(super) fn add(&mut self, peer: PeerId, address: Multiaddr, fixed: bool) {
        let full = self.entries.len() >= BOOK_NODES_MAX;
        if full && !fixed && !self.entries.contains_key(&peer) {
            return;
        }
        let entry = self.entries.entry(peer).or_insert_with(Entry::new);
        entry.fixed |= fixed;
        if !entry.addresses.contains(&address) {
            if entry.addresses.len() >= BOOK_ADDRESSES_MAX {
                entry.addresses.remove(0);
            }
            entry.addresses.push(address);
        }
    }

    /// These are partners' nodes from now on, and no others.
    pub(super) fn keep(&mut self, partners: &BTreeSet<PeerId>) {
        self.entries.iter_mut().for_each(|(peer, entry)| entry.partner = partners.contains(peer));
        self.entries.retain(|_, entry| entry.fixed || entry.partner || !entry.addresses.is_empty());
        for peer in partners {
            self.entries.entry(*peer).or_insert_with(Entry::new).partner = true;
        }
    }

    /// Something new is known of a node: it may be dialled at once.
    pub(super) fn due_now(&mut self, peer: &PeerId) {
        self.succeeded(peer);
    }

    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.entries.get(peer).map(|entry| entry.addresses.clone()).unwrap_or_default()
    }

    /// An address of a node: the one that was learned last.
    pub(super) fn address(&self, peer: &PeerId) -> Option<Multiaddr> {
        self.entries.get(peer)?.addresses.last().cloned()
    }

    /// Whether the back-off of a node is over.
    pub(super) fn is_due(&self, peer: &PeerId, now: Instant) -> bool {
        self.entries.get(peer).is_none_or(|entry| entry.next_dial.is_none_or(|at| at <= now))
    }

    /// Not before this time again.
    pub(super) fn hold_off(&mut self, peer: &PeerId, until: Instant) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.next_dial = Some(until);
        }
    }

    pub(super) fn succeeded(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            (entry.failures, entry.next_dial) = (0, None);
        }
    }

    /// Notes a failed dial; `jitter` is a share (0 to 1) of the wait that is added.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant, config: &Config, jitter: f64) {
        let Some(entry) = self.entries.get_mut(peer) else { return };
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures > BOOK_FAILURES_MAX && !entry.fixed && !entry.partner {
            self.entries.remove(peer);
            return;
        }
        let doubled = config.dial_backoff_ms.saturating_mul(1 << (entry.failures - 1).min(16));
        let wait = Duration::from_millis(doubled.min(config.dial_backoff_max_ms));
        entry.next_dial = Some(now + wait + wait.mul_f64(jitter / 4.0));
    }

    /// Nodes that may be dialled now, except those given.
    pub(super) fn candidates(&self, now: Instant, except: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        self.entries.keys().filter(|peer| !except(peer) && self.is_due(peer, now)).copied().collect()
    }
}

/// Whether an address that a peer claims may be believed: loopback only of a peer that came over
/// loopback, and nothing that names no host.
pub(super) fn believable(claimed: &Multiaddr, came_over: &Multiaddr) -> bool {
    let loopback = |address: &Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    };
    let names_host = match claimed.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    names_host && (!loopback(claimed) || loopback(came_over))
}

impl Actor {
    pub(super) fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { source, record: Some(record), .. },
            } => self.take_card(source, record),
            kad::Event::OutboundQueryProgressed {
                id, result: QueryResult::GetRecord(result), step, ..
            } => {
                if let Ok(GetRecordOk::FoundRecord(found)) = result {
                    self.consider_card(id, found.peer, found.record);
                }
                if step.last {
                    self.end_find(id);
                }
            }
            kad::Event::OutboundQueryProgressed {
                result: QueryResult::GetClosestPeers(Ok(found)), ..
            } => {
                self.found_nodes(found.peers);
            }
            kad::Event::OutboundQueryProgressed { result: QueryResult::PutRecord(Ok(_)), .. } => {
                self.cards.taken = self.cards.taken.saturating_add(1);
            }
            kad::Event::OutboundQueryProgressed { result: QueryResult::PutRecord(Err(error)), .. } => {
                tracing::debug!(%error, "a card was not put");
                self.cards.due = self.cards.due.min(Instant::now() + Duration::from_secs(15));
            }
            _ => {}
        }
    }

    /// Stores a card that a peer puts, if it is right and not older than what is held.
    fn take_card(&mut self, source: PeerId, mut record: Record) {
        let facts = match self.check_card(&record) {
            Ok(facts) => facts,
            Err(refusal) => return self.refuse_card(source, &refusal),
        };
        let held = self.swarm.behaviour_mut().kad.store_mut().get(&record.key).map(|held| held.into_owned());
        if held.and_then(|held| self.check_card(&held).ok()).is_some_and(|held| held.seq > facts.seq) {
            self.counts.cards_ignored += 1;
            return;
        }
        let life = CARD_TTL.min(Duration::from_secs(facts.valid_for_s));
        record.expires = Some((Instant::now() + life).into_std());
        if self.swarm.behaviour_mut().kad.store_mut().put(record).is_err() {
            self.counts.cards_ignored += 1;
        }
    }

    fn check_card(&self, record: &Record) -> Result<CardFacts, CardRefusal> {
        let key: &[u8; 32] =
            record.key.as_ref().try_into().map_err(|_| CardRefusal::Forged("the key has not 32 bytes"))?;
        if record.value.len() > CARD_BYTES_MAX {
            return Err(CardRefusal::Forged("too large"));
        }
        (self.cards.check)(key, &record.value)
    }

    fn refuse_card(&mut self, source: PeerId, refusal: &CardRefusal) {
        tracing::debug!(peer = %source, %refusal, "a card is refused");
        match refusal {
            CardRefusal::Forged(_) => {
                self.counts.cards_refused += 1;
                self.offend(source, Penalty::BadSignature);
            }
            CardRefusal::Useless(_) => self.counts.cards_ignored += 1,
        }
    }

    fn consider_card(&mut self, query: kad::QueryId, source: Option<PeerId>, record: Record) {
        let facts = match self.check_card(&record) {
            Ok(facts) => facts,
            Err(refusal) => {
                if let Some(source) = source {
                    self.refuse_card(source, &refusal);
                }
                return;
            }
        };
        let Some(find) = self.cards.finds.iter_mut().find(|find| find.query == query) else { return };
        if find.key.as_slice() != record.key.as_ref() {
            return;
        }
        if find.best.as_ref().is_none_or(|(seq, _)| *seq < facts.seq) {
            find.best = Some((facts.seq, record.value));
            for address in facts.addresses.iter().take(BOOK_ADDRESSES_MAX) {
                self.add_address(&facts.publisher, address);
            }
        }
    }

    fn end_find(&mut self, query: kad::QueryId) {
        let Some(at) = self.cards.finds.iter().position(|find| find.query == query) else { return };
        let find = self.cards.finds.swap_remove(at);
        match find.best {
            Some((_, value)) => {
                self.counts.cards_found += 1;
                self.emit(MeshEvent::CardFound { key: find.key, value: value.into() });
            }
            None => {
                self.counts.cards_not_found += 1;
                self.emit(MeshEvent::CardNotFound { key: find.key });
            }
        }
    }

    pub(super) fn find_card(&mut self, key: [u8; 32]) {
        if self.cards.finds.len() >= FINDS_MAX {
            tracing::warn!("too many searches for cards at once: this one is answered not found");
            return self.emit(MeshEvent::CardNotFound { key });
        }
        let query = self.swarm.behaviour_mut().kad.get_record(RecordKey::new(&key));
        self.cards.finds.push(Find { query, key, best: None });
    }

    pub(super) fn put_card(&mut self, key: [u8; 32], value: Bytes) {
        if self.cards.own.len() >= OWN_CARDS_MAX && !self.cards.own.contains_key(&key) {
            tracing::warn!(limit = OWN_CARDS_MAX, "this node has too many cards: one is not put");
            return;
        }
        self.cards.own.insert(key, value);
        self.cards.due = Instant::now();
        self.put_own_cards();
    }

    /// Puts our cards again when they are due: soon if there is nobody to put them to.
    pub(super) fn put_own_cards(&mut self) {
        let now = Instant::now();
        if self.cards.own.is_empty() || self.cards.due > now {
            return;
        }
        let wait = match self.cards.taken {
            // Nobody is there yet, or nobody that keeps cards.
            0 => CARDS_AGAIN_EARLY,
            // The first who took them were those next to us, not next to the card.
            1 => CARDS_AGAIN_SOON,
            _ => CARDS_AGAIN,
        };
        self.cards.due = now + wait;
        for (key, value) in &self.cards.own {
            let record = Record {
                key: RecordKey::new(key),
                value: value.to_vec(),
                publisher: Some(*self.swarm.local_peer_id()),
                expires: Some((now + CARD_TTL).into_std()),
            };
            if let Err(error) = self.swarm.behaviour_mut().kad.put_record(record, Quorum::One) {
                tracing::warn!(%error, "a card of this node was not put");
            }
        }
    }

    /// Puts our cards soon, if nobody has them yet: somebody new is there to take them. Each put dials the
    /// twenty nodes next to the card, so what others did not bring about must not be repeated for each of them.
    pub(super) fn cards_due_soon(&mut self) {
        if self.cards.taken == 0 {
            self.cards.due = self.cards.due.min(Instant::now() + Duration::from_secs(2));
        }
    }

    pub(super) fn add_address(&mut self, node: &NodeId, address: &str) {
        let (Some(peer), Ok(address)) = (super::transport::peer_id(node), address.parse::<Multiaddr>())
        else {
            tracing::debug!(%node, address, "not an address");
            return;
        };
        if let Ok(address) = address.with_p2p(peer) {
            self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            let news = !self.book.addresses(&peer).contains(&address);
            self.book.add(peer, address, false);
            if news && self.partners.contains(&peer) {
                self.book.due_now(&peer);
            }
        }
    }

    /// Asks Kademlia who is near a random place, and so learns of nodes.
    pub(super) fn random_walk(&mut self) {
        let place = self.random_bytes();
        self.swarm.behaviour_mut().kad.get_closest_peers(place.to_vec());
    }

    /// Looks for a node of which no address is known.
    pub(super) fn seek(&mut self, peer: PeerId) {
        let searching: BTreeSet<Vec<u8>> = self
            .swarm
            .behaviour()
            .kad
            .iter_queries()
            .filter_map(|query| match query.info() {
                kad::QueryInfo::GetClosestPeers { key, .. } => Some(key.clone()),
                _ => None,
            })
            .collect();
        if searching.len() < FINDS_MAX && !searching.contains(&peer.to_bytes()) {
            self.swarm.behaviour_mut().kad.get_closest_peers(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_believed_only_what_may_be_true() {
        let [lan, loopback]: [Multiaddr; 2] =
            ["/ip4/10.0.0.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001"].map(|a| a.parse().unwrap());
        assert!(believable(&lan, &loopback));
        assert!(believable(&loopback, &loopback));
        assert!(!believable(&loopback, &lan), "a stranger would make us dial ourselves");
        for never in ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/ip4/224.0.0.1/tcp/1", "/memory/7"] {
            assert!(!believable(&never.parse().unwrap(), &loopback), "{never}");
        }
    }

    #[test]
    fn the_book_backs_off_and_forgets() {
        let config = Config::default();
        let [guest, fixed] = [PeerId::random(), PeerId::random()];
        let mut book = Book::default();
        let now = Instant::now();
        let address = |n: usize| format!("/ip4/10.0.0.1/tcp/{}", n + 1).parse::<Multiaddr>().unwrap();
        (0..20).for_each(|n| book.add(guest, address(n), false));
        assert_eq!(book.addresses(&guest).len(), BOOK_ADDRESSES_MAX);
        book.add(fixed, address(0), true);
        for n in 0..20 {
            book.failed(&fixed, now, &config, 0.0);
            let wait = Duration::from_millis((1000u64 << n.min(16)).min(60_000));
            assert!(!book.is_due(&fixed, now + wait - Duration::from_millis(1)));
            assert!(book.is_due(&fixed, now + wait));
            book.failed(&guest, now, &config, 0.0);
        }
        assert!(book.addresses(&guest).is_empty(), "forgotten");
        assert_eq!(book.addresses(&fixed).len(), 1, "dialled for ever");
    }
}
