//! Who watches the engine: records that are taken, and events.

use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

use super::events::{EVENTS_MAX, Event};
use crate::oicp::id::EvseKey;
use crate::protocol::Kind;

/// Pieces that a watcher may be behind; then it misses some and is told.
const PIECES_MAX: usize = 256;

/// Changes in one piece: with [`PIECES_MAX`] they hold 11 MB at most.
pub(super) const PIECE_CHANGES_MAX: usize = 1_024;

/// Who watches the records that are taken, and who the events. A channel is made for the first of them: most nodes
/// have none.
#[derive(Default)]
pub(crate) struct Watchers {
    applied: OnceLock<broadcast::Sender<Applied>>,
    events: OnceLock<broadcast::Sender<Arc<Event>>>,
}

impl Watchers {
    /// A new watcher of records.
    pub(super) fn applied(&self) -> broadcast::Receiver<Applied> {
        self.applied.get_or_init(|| broadcast::Sender::new(PIECES_MAX)).subscribe()
    }

    /// A new listener to events.
    pub(super) fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.get_or_init(|| broadcast::Sender::new(EVENTS_MAX)).subscribe()
    }

    /// The channel of records, if anybody listens to it.
    pub(crate) fn listening(&self) -> Option<&broadcast::Sender<Applied>> {
        self.applied.get().filter(|channel| channel.receiver_count() > 0)
    }

    /// Tells who listens to events. It is made only if somebody does.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Option<Event>) {
        if let Some(channel) = self.events.get().filter(|channel| channel.receiver_count() > 0)
            && let Some(event) = event()
        {
            // The last listener may have left meanwhile.
            let _listeners = channel.send(Arc::new(event));
        }
    }
}

/// The records that the engine took at once, in their order, or a piece of them where they are many; never empty.
pub type Applied = Arc<[AppliedChange]>;

/// A record that this node has taken, of a feed of its own or another's.
#[derive(Clone, Debug)]
pub struct AppliedChange {
    /// Kind of the feed.
    pub kind: Kind,
    /// The EVSE.
    pub key: EvseKey,
    /// When the writer took the change, in unix milliseconds.
    pub at_unix_ms: u64,
}
