//! The event queue: what will happen, in order of time and, at one time, in the order in which it was
//! decided.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use chargemesh::roaming::{RequestId, SyncId};

use super::facts::MessageId;

/// The number of a node.
pub(super) type Node = u32;

/// What happens to a node.
pub(super) enum What {
    /// Its core may want to know how late it is.
    Tick,
    /// A connection is made ...
    PeerUp(Node),
    /// ... or noticed to be gone.
    PeerDown(Node),
    /// Gossip comes from a peer.
    Gossip { from: Node, message: MessageId },
    /// A peer asks.
    Ask { from: Node, request: RequestId, bytes: Bytes },
    /// A peer answers.
    Answer { from: Node, request: RequestId, bytes: Bytes },
    /// A question found nobody.
    AskFailed(RequestId),
    /// A peer wants to repair a feed.
    Sync { from: Node, sync: SyncId, bytes: Bytes },
    /// A frame of a repair.
    SyncFrame { from: Node, sync: SyncId, bytes: Bytes },
    /// A repair found nobody.
    SyncFailed(SyncId),
    /// The node is killed, with or without its disk.
    Kill { disk_lost: bool },
    /// It starts again.
    Start,
    /// Its operator does something.
    Act(u32),
}

/// Something that will happen.
pub(super) struct Event {
    pub(super) to: Node,
    /// Of the receiver: who restarted does not hear what was for its former self.
    pub(super) life: u32,
    pub(super) what: What,
}

/// All that will happen. Most of it within the next second, so that there are few different times and
/// putting something in its place is cheap, however much there is.
#[derive(Default)]
pub(super) struct Queue {
    by_time: BTreeMap<u64, VecDeque<Event>>,
}

impl Queue {
    /// Something will happen.
    pub(super) fn push(&mut self, at_ms: u64, event: Event) {
        self.by_time.entry(at_ms).or_default().push_back(event);
    }

    /// What happens next, if it is not later than this.
    pub(super) fn pop(&mut self, until_ms: u64) -> Option<(u64, Event)> {
        loop {
            let mut first = self.by_time.first_entry()?;
            let at_ms = *first.key();
            if at_ms > until_ms {
                return None;
            }
            if let Some(event) = first.get_mut().pop_front() {
                return Some((at_ms, event));
            }
            first.remove();
        }
    }
}
