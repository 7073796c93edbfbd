//! The core as storage remembers it.

use std::sync::Arc;

use super::{Deps, Identity, Settings};
use crate::engine::{EngineError, Restore, Store};
use crate::roaming::{Entry, RestoredFeed, Roaming, Snapshot};
use crate::storage;

/// Makes the core anew from what is stored, at the start and after storage refused a change.
pub(super) fn restorer(settings: &Settings, identity: &Identity, store: &Store, deps: &Deps) -> Restore {
    let (config, network) = (settings.replication.clone(), settings.mesh.network.clone());
    let (identity, store) = (Arc::new(identity.clone()), store.clone());
    let (clock, seed) = (deps.clock.clone(), deps.seed);
    Box::new(move || {
        let (config, network) = (config.clone(), network.clone());
        let (identity, store, clock) = (identity.clone(), store.clone(), clock.clone());
        Box::pin(async move {
            let snapshot = snapshot(&store).await?;
            let parties = identity.parties.clone();
            Ok(Roaming::restore(config, &network, identity.trust.clone(), parties, seed, snapshot, clock.now()))
        })
    })
}

async fn snapshot(store: &Store) -> Result<Snapshot, EngineError> {
    let refused = |error: storage::StorageError| EngineError::Storage(error.to_string());
    let ledger = store.reader.restore_ledger().await.map_err(refused)?;
    let chains = store.reader.chains().await.map_err(refused)?;
    let feeds = store.reader.restore_directory().await.map_err(refused)?;
    Ok(Snapshot {
        chains: chains.into_iter().map(|(_, chain)| chain).collect(),
        feeds: feeds.into_iter().map(restored).collect(),
        own_feeds: ledger.feeds.into_iter().map(restored).collect(),
        held: ledger.held,
    })
}

fn restored(feed: storage::RestoredFeed) -> RestoredFeed {
    let entry = |e: storage::RestoredEntry| Entry { key: e.key, seq: e.seq, at_unix_ms: e.at_unix_ms, hash: e.hash };
    RestoredFeed {
        head: feed.head,
        signed: feed.signed,
        received_unix_ms: feed.received_unix_ms,
        entries: feed.entries.into_iter().map(entry).collect(),
    }
}
