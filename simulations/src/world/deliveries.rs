//! How long changes take from their writer to everybody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chargemesh::engine::{AppliedChange, Engine};
use chargemesh::oicp::id::EvseKey;
use chargemesh::protocol::Kind;
use tokio::sync::broadcast::error::RecvError;

use super::host::unix_ms;
use crate::network::NodeNumber;

#[derive(Debug, Default)]
struct Measured {
    /// Whether it counts: not while everything is loaded for the first time.
    counting: bool,
    latencies_ms: Vec<u32>,
    /// The newest version that a node had of each record: a restored one is no delivery.
    newest: BTreeMap<(NodeNumber, Kind, EvseKey), u64>,
    missed: u64,
}

/// All deliveries of a run; a cheap clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    measured: Arc<Mutex<Measured>>,
    /// By how much the clock of each operator's node is wrong, by the operator part of its EvseIDs.
    skews_ms: Arc<BTreeMap<String, i64>>,
}

impl Deliveries {
    pub(crate) fn new(skews_ms: BTreeMap<String, i64>) -> Deliveries {
        Deliveries { measured: Arc::default(), skews_ms: Arc::new(skews_ms) }
    }

    /// From now on deliveries count.
    pub(crate) fn begin(&self) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).counting = true;
    }

    /// Watches a node until it ends.
    pub(crate) fn watch(&self, node: NodeNumber, engine: &Engine) {
        let (mut applied, all) = (engine.watch(), self.clone());
        tokio::spawn(async move {
            loop {
                match applied.recv().await {
                    Ok(changes) => changes.iter().for_each(|change| all.applied(node, change)),
                    Err(RecvError::Lagged(missed)) => {
                        all.measured.lock().unwrap_or_else(PoisonError::into_inner).missed += missed;
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn applied(&self, node: NodeNumber, change: &AppliedChange) {
        let AppliedChange { kind, key, at_unix_ms } = change.clone();
        let skew_ms = self.skews_ms.get(key.operator()).copied().unwrap_or(0);
        let taken_ms = at_unix_ms.saturating_add_signed(-skew_ms);
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = measured.newest.entry((node, kind, key)).or_default();
        let is_new = *newest < at_unix_ms;
        *newest = at_unix_ms.max(*newest);
        if is_new && measured.counting {
            measured.latencies_ms.push(unix_ms().saturating_sub(taken_ms) as u32);
        }
    }

    /// All latencies in milliseconds, sorted, and how many pieces of changes were not seen.
    pub(crate) fn latencies_ms(&self) -> (Vec<u32>, u64) {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies_ms = measured.latencies_ms.clone();
        latencies_ms.sort_unstable();
        (latencies_ms, measured.missed)
    }
}
