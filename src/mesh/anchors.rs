//! The nodes that the operator named (`bootstrap`, `keep`), asked for cards beside Kademlia.
//!
//! A search in Kademlia asks those next to the card's key, and who is there nobody chooses: hostile names can
//! be made until two hundred of them lie nearest, and then they alone are asked. So every card is also put to
//! the anchors, and every search also begins at them, by a routing table in which nobody else has a place.
//! What was found once is remembered, for the case that the anchors are away too.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::kad::{self, GetRecordOk, QueryResult, Quorum, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use super::actor::Actor;
use super::behaviour::Names;
use super::discovery::{CARD_BYTES_MAX, NEAREST};

/// Anchors at one distance that have a place: a search begins with twenty in all.
const AT_ONE_DISTANCE_MAX: usize = 20;

/// Anchors asked at once: all of them, before what one of them says leads elsewhere.
const ASKED_AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// How long a search may take.
const SEARCH_DEADLINE: Duration = Duration::from_secs(30);

/// Cards that are remembered: partners of a node, at some kilobytes each.
const KNOWN_CARDS_MAX: usize = 512;

/// Kademlia with a table of its own; `None` without anchors. It asks, and answers nobody.
pub(super) fn build(names: &Names, me: PeerId, anchors: &[PeerId]) -> Option<kad::Behaviour<MemoryStore>> {
    let bucket_size = NonZeroUsize::new(most_at_one_distance(me, anchors).min(AT_ONE_DISTANCE_MAX))?;
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: CARD_BYTES_MAX,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut settings = kad::Config::new(names.kad.clone());
    settings
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_kbucket_size(bucket_size)
        .set_replication_factor(NEAREST)
        .set_parallelism(ASKED_AT_ONCE)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_query_timeout(SEARCH_DEADLINE)
        .set_periodic_bootstrap_interval(None);
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::with_config(me, store), settings);
    kad.set_mode(Some(kad::Mode::Client));
    Some(kad)
}

/// How many share a bucket: all shall have a place, and no more are made, as the library makes those of all 256 buckets
/// at once, at some 300 bytes each.
fn most_at_one_distance(me: PeerId, anchors: &[PeerId]) -> usize {
    let me = kad::KBucketKey::from(me);
    let mut at: BTreeMap<Option<u32>, BTreeSet<PeerId>> = BTreeMap::new();
    for peer in anchors {
        at.entry(kad::KBucketKey::from(*peer).distance(&me).ilog2()).or_default().insert(*peer);
    }
    at.values().map(BTreeSet::len).max().unwrap_or(0)
}

/// Cards that were found, by their key.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<[u8; 32], Bytes>);

impl Known {
    /// Remembers a card. When there are too many, any other goes.
    pub(super) fn remember(&mut self, key: [u8; 32], card: &[u8]) {
        if self.0.len() >= KNOWN_CARDS_MAX && !self.0.contains_key(&key) {
            // The keys are hashes: the first is as good as any.
            self.0.pop_first();
        }
        self.0.insert(key, Bytes::copy_from_slice(card));
    }

    /// The card that was found last.
    pub(super) fn get(&self, key: &[u8; 32]) -> Option<&Bytes> {
        self.0.get(key)
    }
}

impl Actor {
    /// Gives the anchors their places.
    pub(super) fn add_anchors(&mut self, anchors: &[(PeerId, Multiaddr)]) {
        let Some(kad) = self.swarm.behaviour_mut().anchors.as_mut() else { return };
        for (peer, address) in anchors {
            kad.add_address(peer, address.clone());
        }
    }

    /// Asks the anchors for a card.
    pub(super) fn ask_anchors(&mut self, key: &[u8; 32]) -> Option<kad::QueryId> {
        let kad = self.swarm.behaviour_mut().anchors.as_mut()?;
        Some(kad.get_record(RecordKey::new(key)))
    }

    /// Puts a card of ours to the anchors, whatever lies next to its key.
    pub(super) fn put_to_anchors(&mut self, record: Record) {
        let anchors: Vec<PeerId> = self.bootstrap.union(&self.keep).copied().collect();
        let Some(kad) = self.swarm.behaviour_mut().anchors.as_mut().filter(|_| !anchors.is_empty()) else {
            return;
        };
        kad.put_record_to(record, anchors.into_iter(), Quorum::One);
    }

    pub(super) fn on_anchors(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { id, result: QueryResult::GetRecord(result), step, .. } =
            event
        else {
            return;
        };
        if let Ok(GetRecordOk::FoundRecord(found)) = result {
            self.consider_card(Search::Anchors(id), found.peer, found.record);
        }
        if step.last {
            self.end_search(Search::Anchors(id));
        }
    }
}

/// One of the two searches for a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Among those next to its key.
    Nearest(kad::QueryId),
    /// From the anchors on.
    Anchors(kad::QueryId),
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn every_anchor_has_a_place() {
        let peer = |seed: u8| PeerId::from(Keypair::ed25519_from_bytes([seed; 32]).unwrap().public());
        let names = Names::of("test").unwrap();
        assert!(build(&names, peer(0), &[]).is_none());
        let anchors: Vec<PeerId> = (1..=24).map(peer).collect();
        let mut kad = build(&names, peer(0), &anchors).unwrap();
        for anchor in &anchors {
            kad.add_address(anchor, "/ip4/192.0.2.1/tcp/4001".parse().unwrap());
        }
        assert_eq!(kad.kbuckets().map(|bucket| bucket.num_entries()).sum::<usize>(), anchors.len());
    }

    #[test]
    fn the_memory_of_cards_is_bounded() {
        let mut known = Known::default();
        for number in 0..KNOWN_CARDS_MAX + 5 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            known.remember(key, &[1]);
        }
        assert_eq!(known.0.len(), KNOWN_CARDS_MAX);
        let last = *known.0.last_key_value().unwrap().0;
        known.remember(last, &[2]);
        assert_eq!((known.0.len(), known.get(&last).unwrap().as_ref()), (KNOWN_CARDS_MAX, &[2][..]));
    }
}
