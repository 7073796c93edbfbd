//! Revocations: an issuer buries a provider's credential at some node, and the time is taken until every node
//! knows of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use chargemesh::engine::Engine;
use chargemesh::identity::{Dead, Role, Tombstone};

use super::host::unix_ms;
use super::{Part, World};
use crate::determinism::elapsed;
use crate::network::NodeNumber;
use crate::people::{NETWORK, key, party, party_text, provider_id};

/// How often the nodes are asked: this is how exactly it is dated.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long each took until it was known everywhere, in milliseconds; `None`: longer than was waited.
pub(crate) type Times = Arc<Mutex<Vec<Option<u64>>>>;

impl World {
    /// Buries the credential of a provider at a node, or at the next one that runs, and takes the time.
    pub(super) async fn revoke(&self, provider: u32, node: NodeNumber) -> Result<()> {
        let text = party_text(Role::Emp, &provider_id(provider));
        let credential = party(&text, 0)?.chain.credential;
        let now_s = unix_ms() / 1_000;
        let reason = "a rehearsal";
        let tombstone =
            Tombstone::issue(NETWORK, &credential, Dead::Credential, now_s, now_s, reason, &key("issuer"))?;
        let running = |host: &super::Host| host.node().and_then(|node| node.engine()).cloned();
        // Round and round from that node on.
        let (before, from) = self.hosts.split_at(node as usize);
        let hosts = from.iter().chain(before).filter(|host| matches!(host.part, Part::Cpo(_) | Part::Emp));
        let engines: Vec<Engine> = hosts.filter_map(running).collect();
        let times = self.revocations.clone();
        self.calls.spawn(async move {
            let before = roots(&engines).await;
            let begin = elapsed();
            let took = match hand_in(&engines, &tombstone).await {
                Ok(()) => until_known(&engines, &before, begin).await,
                Err(error) => {
                    tracing::error!(target: "world", "the tombstone was not taken: {error:#}");
                    None
                }
            };
            times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        });
        Ok(())
    }

    /// How long each took, in milliseconds.
    pub(crate) fn revocation_times(&self) -> Vec<Option<u64>> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hands it to the first that takes it: a node may go down meanwhile.
async fn hand_in(engines: &[Engine], tombstone: &[u8]) -> Result<()> {
    let mut last = anyhow!("no node runs");
    for engine in engines {
        match engine.hand_in(Bytes::copy_from_slice(tombstone)).await {
            Ok(outcome) if outcome.result => return Ok(()),
            Ok(outcome) => last = anyhow!("{:?}", outcome.status),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// The roots of the registries that are held.
async fn roots(engines: &[Engine]) -> BTreeSet<String> {
    let mut roots = BTreeSet::new();
    for engine in engines {
        // A node that went down meanwhile counts for nothing.
        if let Ok(view) = engine.view().await {
            roots.insert(view.registry_root);
        }
    }
    roots
}

/// Waits until all hold the same, and something that none held before.
async fn until_known(engines: &[Engine], before: &BTreeSet<String>, begin: Duration) -> Option<u64> {
    while elapsed() < begin + PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = roots(engines).await;
        if now.len() == 1 && now.is_disjoint(before) {
            return Some((elapsed() - begin).as_millis() as u64);
        }
    }
    None
}
