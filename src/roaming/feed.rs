//! One feed as this node holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::input::{Now, SyncId};
use super::tree::Tree;
use crate::identity::Speaker;
use crate::planted::{Bug, planted};
use crate::protocol::{Head, NodeId, SignedHead};

/// Peers remembered as holders of a feed's newest head.
const SOURCES_MAX: usize = 16;

/// Peers remembered as asked in vain: more than a node is ever connected to.
const TRIED_MAX: usize = 1_024;

/// Longest wait between two attempts to repair, in milliseconds.
const BACKOFF_MS_MAX: u64 = 300_000;

/// A head as read and as signed.
#[derive(Clone, Debug)]
pub struct KnownHead {
    /// What it says.
    pub head: Head,
    /// Its bytes.
    pub signed: SignedHead,
}

impl KnownHead {
    fn same_state(&self, other: &KnownHead) -> bool {
        self.head.position() == other.head.position() && self.head.root == other.head.root
    }

    /// Whether another head says more.
    pub(super) fn is_outdone_by(&self, other: &Head) -> bool {
        let (ours, theirs) = (self.head.position(), other.position());
        ours < theirs || planted(Bug::StaleHeadAccepted) && ours != theirs
    }

    fn created(&self) -> u64 {
        self.head.created_unix_ms
    }
}

/// Whether a feed can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// Nothing wrong with it; it may still be behind.
    Ok,
    /// Its writer's changes do not yield its own root; repair goes on, ever more slowly.
    Inconsistent,
    /// Its writer showed two histories in this (epoch, incarnation): frozen until a higher one.
    Equivocated {
        /// Delegation epoch of the two heads.
        epoch: u64,
        /// Their incarnation.
        incarnation: u64,
    },
}

/// A feed.
#[derive(Debug)]
pub struct Feed {
    /// Whether a party of this node writes it.
    pub own: bool,
    /// Under whose credential the applied or newest head was signed.
    pub speaker: Option<Arc<Speaker>>,
    /// The head that `tree` was verified against.
    pub applied: Option<KnownHead>,
    /// The newest head that we know to be signed.
    pub newest: Option<KnownHead>,
    /// When the newest head came, in unix milliseconds.
    pub received_unix_ms: u64,
    /// The records.
    pub tree: Tree,
    /// Whether it can be relied on.
    pub state: FeedState,
    /// Of two histories the head that `newest` contradicts: peers hear of both.
    pub rival: Option<SignedHead>,
    /// The repair under way.
    pub sync: Option<SyncId>,
    /// Whether a verified answer is still being written to storage.
    pub applying: bool,
    /// Peers that showed us the newest head.
    pub sources: BTreeSet<NodeId>,
    /// Peers that were asked in vain since the last success.
    pub tried: BTreeSet<NodeId>,
    /// Earliest next attempt, on the monotonic clock.
    pub retry_at_ms: u64,
    /// Wait after the next failure, in milliseconds.
    pub backoff_ms: u64,
    /// How often in a row an answer did not match; leads from "changes since" to "buckets" to "all".
    pub mismatches: u32,
    /// When it is time for a heartbeat (own feeds), on the monotonic clock.
    pub heartbeat_at_ms: u64,
    /// Announcements still allowed now, and when that was counted (a token bucket).
    tokens: (u32, u64),
}

impl Feed {
    /// Whether its writer showed two histories, and nothing later.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.state, FeedState::Equivocated { .. })
    }

    /// A feed of which nothing is known yet.
    pub fn new(own: bool) -> Feed {
        Feed {
            own,
            speaker: None,
            applied: None,
            newest: None,
            received_unix_ms: 0,
            tree: Tree::default(),
            state: FeedState::Ok,
            rival: None,
            sync: None,
            applying: false,
            sources: BTreeSet::new(),
            tried: BTreeSet::new(),
            retry_at_ms: 0,
            backoff_ms: 0,
            mismatches: 0,
            heartbeat_at_ms: 0,
            tokens: (0, 0),
        }
    }

    /// Number of the last change that is in the tree.
    pub fn seq(&self) -> u64 {
        self.applied.as_ref().map_or(0, |known| known.head.seq)
    }

    /// Number of the last change that was ever signed, as far as we know.
    pub fn last_seq(&self) -> u64 {
        self.newest.as_ref().map_or(0, |known| known.head.seq).max(self.seq())
    }

    /// Whether this (epoch, incarnation) is one in which the writer showed two histories, or before it.
    pub fn is_frozen_for(&self, head: &Head) -> bool {
        match self.state {
            FeedState::Equivocated { epoch, incarnation } => {
                (head.epoch, head.incarnation) <= (epoch, incarnation)
            }
            FeedState::Ok | FeedState::Inconsistent => false,
        }
    }

    /// Whether it is behind and there is something to be done about it.
    pub fn is_behind(&self) -> bool {
        !self.in_sync() && !matches!(self.state, FeedState::Equivocated { .. })
    }

    /// Whether the tree is what the newest head was signed over.
    pub fn in_sync(&self) -> bool {
        match (&self.applied, &self.newest) {
            (Some(applied), Some(newest)) => {
                !applied.is_outdone_by(&newest.head) || applied.head.root == newest.head.root
            }
            (Some(_), None) => true,
            (None, newest) => newest.is_none(),
        }
    }

    /// Takes a newer head, and the peer that showed it.
    pub fn learn(&mut self, known: KnownHead, from: Option<&NodeId>, now: Now) {
        if self.newest.as_ref().is_none_or(|old| old.head.position() < known.head.position()) {
            self.sources.clear();
        }
        if let Some(from) = from
            && self.sources.len() < SOURCES_MAX
        {
            self.sources.insert(from.clone());
        }
        if !self.is_frozen_for(&known.head) && matches!(self.state, FeedState::Equivocated { .. }) {
            self.state = FeedState::Ok;
        }
        self.received_unix_ms = now.unix_ms;
        self.newest = Some(known);
    }

    /// A peer showed a head that is known: if it is the newest, the peer can be asked. Says whether that
    /// is of use, because the feed is behind and the peer was not asked yet.
    pub fn shown_by(&mut self, from: &NodeId, head: &Head) -> bool {
        let newest = self
            .newest
            .as_ref()
            .is_some_and(|newest| newest.head.position() == head.position() && newest.head.root == head.root);
        newest
            && self.sources.len() < SOURCES_MAX
            && self.sources.insert(from.clone())
            && self.is_behind()
            && !self.tried.contains(from)
    }

    /// The tree is what this head was signed over. Gives the head to remember: a later heartbeat over the
    /// same records counts more.
    pub fn settled(&mut self, known: KnownHead) -> KnownHead {
        let known = match self.newest.take() {
            Some(newest) if newest.head.position() > known.head.position() => {
                self.newest = Some(newest);
                known
            }
            Some(newest) if newest.same_state(&known) && newest.created() > known.created() => newest,
            _ => known,
        };
        if self.newest.is_none() {
            self.newest = Some(known.clone());
        }
        self.state = if self.is_frozen_for(&known.head) { self.state } else { FeedState::Ok };
        self.applied = Some(known.clone());
        self.tried.clear();
        self.mismatches = 0;
        self.backoff_ms = 0;
        self.retry_at_ms = 0;
        known
    }

    /// A peer was asked in vain.
    pub fn failed_at(&mut self, peer: NodeId) {
        if self.tried.len() >= TRIED_MAX {
            self.tried.clear();
        }
        self.sources.remove(&peer);
        self.tried.insert(peer);
    }

    /// An attempt failed: wait longer each time.
    pub fn back_off(&mut self, now: Now, jitter: u64) {
        self.backoff_ms = (self.backoff_ms * 2).clamp(500, BACKOFF_MS_MAX);
        self.retry_at_ms = now.mono_ms + self.backoff_ms / 2 + jitter % (self.backoff_ms / 2 + 1);
    }

    /// Whether one more announcement may be taken now: `per_s` a second, averaged over ten seconds.
    pub fn admits(&mut self, per_s: u32, now: Now) -> bool {
        let full = per_s.saturating_mul(10);
        let (tokens, counted) = self.tokens;
        let earned = now.mono_ms.saturating_sub(counted).saturating_mul(u64::from(per_s)) / 1_000;
        let tokens = if counted == 0 {
            full
        } else {
            tokens.saturating_add(earned.min(u64::from(full)) as u32).min(full)
        };
        let counted = if earned > 0 || counted == 0 { now.mono_ms.max(1) } else { counted };
        self.tokens = (tokens.saturating_sub(1), counted);
        tokens > 0
    }
}
