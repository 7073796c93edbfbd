//! Who is where: Kademlia, and the cards in it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore as _};
use libp2p::kad::{self, GetRecordOk, InboundRequest, QueryResult, Quorum, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::Config;
use super::actor::Actor;
use super::anchors::{Known, Search};
use super::behaviour::Names;
use super::book::BOOK_ADDRESSES_MAX;
use super::event::{MeshEvent, Penalty};
use crate::protocol::NodeId;

/// Largest card in bytes (`decisions.md` 22).
pub(super) const CARD_BYTES_MAX: usize = 8 * 1024;

/// Longest life of a card.
const CARD_TTL: Duration = Duration::from_secs(48 * 3600);

/// Nodes in one bucket of the routing table. The library makes all 256 buckets at once, at 320 bytes a place:
/// its own 20 cost 1.6 MB a node (measured), and eight nodes at each distance, as in BitTorrent's network of home
/// computers, are enough where nodes are companies' servers.
const BUCKET_NODES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Nodes that a search ends with and that keep a card. The library's own twenty dial twice as many, and companies'
/// servers do not come and go as home computers do.
pub(super) const NEAREST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9);

/// Largest Kademlia message in bytes: a card, and 20 peers with some addresses each.
const PACKET_BYTES_MAX: usize = 24 * 1024;

/// Searches for cards at once.
const FINDS_MAX: usize = 64;

/// Cards of this node: one per party and slot.
const OWN_CARDS_MAX: usize = 64;

/// Time between two refreshes of the routing table, as in the paper on Kademlia (2.3). The library's own five minutes
/// doubled the connections of a quiet network (measured).
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
        .set_replication_factor(NEAREST)
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
    known: Known,
    own: BTreeMap<[u8; 32], Bytes>,
    due: Instant,
    /// How often somebody took our cards since there was anybody.
    taken: u32,
}

struct Find {
    /// The searches that are not over.
    searches: Vec<Search>,
    key: [u8; 32],
    best: Option<(u64, Vec<u8>)>,
}

impl Cards {
    pub(super) fn new(check: CardCheck) -> Cards {
        Cards {
            check,
            finds: Vec::new(),
            known: Known::default(),
            own: BTreeMap::new(),
            due: Instant::now(),
            taken: 0,
        }
    }
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
                    self.consider_card(Search::Nearest(id), found.peer, found.record);
                }
                if step.last {
                    self.end_search(Search::Nearest(id));
                }
            }
            kad::Event::OutboundQueryProgressed {
                result: QueryResult::GetClosestPeers(Ok(found)), ..
            } => {
                self.found_nodes(found.peers);
            }
            kad::Event::OutboundQueryProgressed { id, result: QueryResult::Bootstrap(_), step, .. }
                if !step.last =>
            {
                self.end_refresh(id);
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

    /// After the search for the nodes next to this one, a refresh would search at every distance and dial a hundred
    /// nodes, each time that a small table grows. Who is far off, searches for cards and random walks tell.
    fn end_refresh(&mut self, id: kad::QueryId) {
        if let Some(mut refresh) = self.swarm.behaviour_mut().kad.query_mut(&id) {
            refresh.finish();
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

    pub(super) fn consider_card(&mut self, search: Search, source: Option<PeerId>, record: Record) {
        let facts = match self.check_card(&record) {
            Ok(facts) => facts,
            Err(refusal) => {
                if let Some(source) = source {
                    self.refuse_card(source, &refusal);
                }
                return;
            }
        };
        let Some(find) = self.cards.finds.iter_mut().find(|find| find.searches.contains(&search)) else {
            return;
        };
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

    /// One search for a card is over; with the last one it is said what was found.
    pub(super) fn end_search(&mut self, search: Search) {
        let mine = |find: &Find| find.searches.contains(&search);
        let Some(at) = self.cards.finds.iter().position(mine) else { return };
        if let Some(find) = self.cards.finds.get_mut(at) {
            find.searches.retain(|other| *other != search);
            if !find.searches.is_empty() {
                return;
            }
        }
        let find = self.cards.finds.swap_remove(at);
        // What was found before counts as long as it is valid: nobody can make us forget it.
        let known = self.cards.known.get(&find.key).and_then(|card| {
            let facts = (self.cards.check)(&find.key, card).ok()?;
            Some((facts.seq, card.to_vec()))
        });
        let best = match (find.best, known) {
            (Some(found), Some(known)) => Some(if found.0 >= known.0 { found } else { known }),
            (found, known) => found.or(known),
        };
        match best {
            Some((_, value)) => {
                self.counts.cards_found += 1;
                self.cards.known.remember(find.key, &value);
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
        let nearest = self.swarm.behaviour_mut().kad.get_record(RecordKey::new(&key));
        let anchors = self.ask_anchors(&key).map(Search::Anchors);
        let searches = [Search::Nearest(nearest)].into_iter().chain(anchors).collect();
        self.cards.finds.push(Find { searches, key, best: None });
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
        for (key, value) in self.cards.own.clone() {
            let record = Record {
                key: RecordKey::new(&key),
                value: value.to_vec(),
                publisher: Some(*self.swarm.local_peer_id()),
                expires: Some((now + CARD_TTL).into_std()),
            };
            self.put_to_anchors(record.clone());
            if let Err(error) = self.swarm.behaviour_mut().kad.put_record(record, Quorum::One) {
                tracing::warn!(%error, "a card of this node was not put");
            }
        }
    }

    /// Puts our cards soon, if nobody has them yet: somebody new is there to take them. Each put dials the
    /// [`NEAREST`] nodes next to the card, so what others did not bring about must not be repeated for each of them.
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
        self.swarm.behaviour_mut().kad.get_n_closest_peers(place.to_vec(), NEAREST);
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
            self.swarm.behaviour_mut().kad.get_n_closest_peers(peer, NEAREST);
        }
    }
}
