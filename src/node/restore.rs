//! The core as storage remembers it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Deps, Settings};
use crate::engine::{EngineError, Restore, Standings, Store};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::oicp::record::summarise;
use crate::protocol::{Kind, SessionRecord};
use crate::roaming::change::{DirectoryChange, RecordChange, StoredCdr};
use crate::roaming::{
    BackendTraits, Entry, Misplaced, RestoredFeed, Roaming, SESSION_OVER_FOR_MS, Snapshot, Visibility,
};
use crate::storage::{self, LedgerState, StorageError};

/// Records read and written at once while a directory is rebuilt.
const RECORDS_PER_COMMIT: usize = 1_000;

/// Makes the core anew from what is stored, at the start and after storage refused a change.
pub(super) fn restorer(
    settings: &Settings,
    backends: &BTreeMap<PartyId, BackendTraits>,
    standings: &Standings,
    store: &Store,
    deps: &Deps,
) -> Restore {
    let (config, network) = (settings.replication.clone(), settings.mesh.network.clone());
    let (standing, store) = (standings.subscribe(), store.clone());
    let (clock, seed) = (deps.clock.clone(), deps.seed);
    let (charging, backends) = (settings.charging.clone(), backends.clone());
    let visibility = settings.visibility.clone();
    let ways = settings.hub.ways();
    Box::new(move || {
        let (config, network) = (config.clone(), network.clone());
        let (standing, store, clock) = (standing.borrow().clone(), store.clone(), clock.clone());
        let (charging, backends) = (charging.clone(), backends.clone());
        let (visibility, ways) = (visibility.clone(), ways.clone());
        Box::pin(async move {
            let snapshot = snapshot(&store, clock.now().unix_ms).await?;
            let misplaced = misplaced(&store, &snapshot.own_feeds, &visibility).await?;
            let (trust, parties) = (standing.trust.clone(), standing.parties.clone());
            let now = clock.now();
            // A core that is made anew must not give the ids again that the one before gave to sessions.
            let seed = seed.rotate_left(32) ^ now.unix_ms;
            let core = Roaming::restore(config, &network, trust, parties, seed, snapshot, now);
            let core = core.with_policy(standing.policy.clone()).with_visibility(visibility, misplaced);
            Ok(core.with_charging(charging, backends).with_ways(ways))
        })
    })
}

async fn snapshot(store: &Store, now_unix_ms: u64) -> Result<Snapshot, EngineError> {
    let reader = &store.0.reader;
    let LedgerState { feeds: own_feeds, held, identity, .. } =
        reader.restore_ledger().await.map_err(refused)?;
    let directory = reader.restore_directory().await.map_err(refused)?;
    for feed in own_feeds.iter().filter(|own| !directory.iter().any(|feed| same(feed, own))) {
        publish_again(store, feed).await?;
    }
    let chains = reader.chains().await.map_err(refused)?;
    Ok(Snapshot {
        chains: chains.into_iter().map(|(_, chain)| chain).collect(),
        feeds: directory.into_iter().map(restored).collect(),
        own_feeds: own_feeds.into_iter().map(restored).collect(),
        held,
        identity,
        equivocations: reader.equivocations().await.map_err(refused)?,
        agreements: reader.agreements().await.map_err(refused)?,
        sessions: sessions(reader, now_unix_ms).await?,
        cdrs: outbox(reader).await?,
        media: reader.media().await.map_err(refused)?,
        log: reader.log_tail().await.map_err(refused)?,
    })
}

/// The open sessions, and those that were over lately: late messages of theirs are known.
async fn sessions(reader: &storage::Reader, now_unix_ms: u64) -> Result<Vec<SessionRecord>, EngineError> {
    let stored = reader.sessions(now_unix_ms.saturating_sub(SESSION_OVER_FOR_MS)).await.map_err(refused)?;
    let damaged = |error: crate::protocol::ProtocolError| EngineError::Storage(error.to_string());
    stored.iter().map(|(session, bytes)| SessionRecord::decode(session, bytes).map_err(damaged)).collect()
}

/// The records for which something is still to be done.
async fn outbox(reader: &storage::Reader) -> Result<Vec<StoredCdr>, EngineError> {
    let (mut open, mut next) = reader.open_cdrs(None).await.map_err(refused)?;
    while next.is_some() {
        let (page, after) = reader.open_cdrs(next).await.map_err(refused)?;
        open.extend(page);
        next = after;
    }
    Ok(open)
}

/// What lies elsewhere than the rules say now.
async fn misplaced(
    store: &Store,
    own_feeds: &[RestoredFeed],
    visibility: &Visibility,
) -> Result<Vec<Misplaced>, EngineError> {
    let mut found = Vec::new();
    for RestoredFeed { head, entries, .. } in own_feeds {
        let moved = entries.iter().filter(|entry| visibility.audience_of(&entry.key) != head.feed.audience);
        let keys: Vec<EvseKey> = moved.map(|entry| entry.key.clone()).collect();
        for keys in keys.chunks(RECORDS_PER_COMMIT) {
            let values =
                store.0.reader.own_values(head.feed.clone(), keys.to_vec()).await.map_err(refused)?;
            let of = |(key, value): (&EvseKey, Option<Bytes>)| {
                Some(Misplaced { feed: head.feed.clone(), key: key.clone(), value: value? })
            };
            found.extend(keys.iter().zip(values).filter_map(of));
        }
    }
    Ok(found)
}

fn refused(error: StorageError) -> EngineError {
    EngineError::Storage(error.to_string())
}

fn same(feed: &storage::RestoredFeed, own: &storage::RestoredFeed) -> bool {
    feed.feed == own.feed && feed.head.seq == own.head.seq && feed.head.root == own.head.root
}

/// The directory may have been deleted, or have missed the last commit: our own feeds are in the ledger.
async fn publish_again(store: &Store, own: &storage::RestoredFeed) -> Result<(), EngineError> {
    let drop_old = DirectoryChange::Dropped { feed: own.feed.clone() };
    store.commit_directory(vec![drop_old], own.received_unix_ms).await?;
    for entries in own.entries.chunks(RECORDS_PER_COMMIT) {
        let keys = entries.iter().map(|entry| entry.key.clone()).collect();
        let values = store.0.reader.own_values(own.feed.clone(), keys).await.map_err(refused)?;
        let records =
            entries.iter().zip(values).map(|(entry, value)| record(own.feed.kind, entry, value)).collect();
        let change = DirectoryChange::Records { feed: own.feed.clone(), records };
        store.commit_directory(vec![change], own.received_unix_ms).await?;
    }
    let (head, signed) = (own.head.clone(), own.signed.clone());
    let change = DirectoryChange::Head { head, signed, received_unix_ms: own.received_unix_ms };
    store.commit_directory(vec![change], own.received_unix_ms).await
}

fn record(kind: Kind, entry: &storage::RestoredEntry, value: Option<Bytes>) -> RecordChange {
    let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
    let summary = text.filter(|_| kind == Kind::Data).and_then(|text| summarise(text).ok()).map(Box::new);
    RecordChange {
        key: entry.key.clone(),
        seq: entry.seq,
        at_unix_ms: entry.at_unix_ms,
        value,
        hash: entry.hash,
        summary,
        // The core says at its start which are not.
        visible: true,
    }
}

fn restored(feed: storage::RestoredFeed) -> RestoredFeed {
    let entry =
        |e: storage::RestoredEntry| Entry { key: e.key, seq: e.seq, at_unix_ms: e.at_unix_ms, hash: e.hash };
    RestoredFeed {
        head: feed.head,
        signed: feed.signed,
        received_unix_ms: feed.received_unix_ms,
        entries: feed.entries.into_iter().map(entry).collect(),
    }
}
