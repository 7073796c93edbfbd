//! The product: decides, never does. Told what happened and when, it answers with what must be
//! remembered ([`change`]) and what is to be done ([`Action`]).
//!
//! One struct, one method: [`Roaming::handle`]. No clock, no randomness, no IO: time and seed are
//! arguments, so that a test calls it like a calculator and a simulation is a loop over many.

pub mod change;
mod claims;
mod compare;
mod config;
mod effect;
mod feed;
mod input;
mod judge;
mod publish;
mod records;
mod repair;
mod speakers;
mod tree;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use claims::{Conflict, decide};
pub use config::{Config, Replicate};
pub use effect::{Action, Effects, Misdeed, Refusal, Report};
pub use feed::{Feed, FeedState, KnownHead};
pub use input::{AskId, CallId, GossipId, Input, Now, RequestId, SyncId};
pub use tree::{Entry, Tree};
pub use view::{FeedSummary, View};

use crate::identity::{Chain, PartyId, SecretKey, Speaker, TrustList};
use crate::oicp::id::EvseKey;
use crate::protocol::{Digest, FeedId, Head, Kind, NodeId, SignedHead};
use change::{DirectoryChange, HeldPush, RecordChange};
use claims::Claims;
use records::Checked;
use repair::{Job, Slices};
use speakers::Speakers;

/// Ticks come at least this often while something waits, in milliseconds.
const TICK_BUSY_MS: u64 = 100;

/// ... and otherwise.
const TICK_IDLE_MS: u64 = 1_000;

/// A party of this node.
#[derive(Clone)]
pub struct OurParty {
    /// Who.
    pub party: PartyId,
    /// Its display name where a push gives none (OICP OperatorName).
    pub operator_name: String,
    /// Its verified credential and delegation.
    pub speaker: Arc<Speaker>,
    /// The same as bytes, for peers that ask.
    pub chain: Chain,
    /// The key that the delegation names.
    pub message_key: Arc<SecretKey>,
}

/// A feed as storage remembers it.
pub struct RestoredFeed {
    /// Its applied head.
    pub head: Head,
    /// As signed.
    pub signed: SignedHead,
    /// When it was heard, in unix milliseconds.
    pub received_unix_ms: u64,
    /// Its records.
    pub entries: Vec<Entry>,
}

/// What storage remembers.
#[derive(Default)]
pub struct Snapshot {
    /// Chains of others.
    pub chains: Vec<Chain>,
    /// Feeds of others.
    pub feeds: Vec<RestoredFeed>,
    /// Feeds of ours, from the ledger.
    pub own_feeds: Vec<RestoredFeed>,
    /// Held pushes.
    pub held: Vec<HeldPush>,
}

/// When the core wants to be told that time passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the monotonic clock, in milliseconds; in the past: at once.
    pub at_ms: u64,
    /// Why.
    pub why: &'static str,
}

/// What a question of ours was about.
#[derive(Debug)]
enum Pending {
    Heads,
    Chain(Digest),
    Notice,
}

/// A connected peer.
#[derive(Debug)]
struct Peer {
    compare_at_ms: u64,
    soon_until_ms: u64,
}

/// The core.
pub struct Roaming {
    config: Config,
    network: String,
    replicate_all: bool,
    parties: BTreeMap<PartyId, OurParty>,
    speakers: Speakers,
    feeds: BTreeMap<FeedId, Feed>,
    claims: Claims,
    noticed: BTreeMap<(Kind, EvseKey), Conflict>,
    notices: BTreeSet<(NodeId, Kind, EvseKey)>,
    peers: BTreeMap<NodeId, Peer>,
    requests: BTreeMap<RequestId, Pending>,
    jobs: BTreeMap<SyncId, Job>,
    slices: VecDeque<Slices>,
    held: BTreeMap<u64, HeldPush>,
    next_held: u64,
    waiting_pushes: VecDeque<Input>,
    /// Whether we may write: peers were asked for our own feeds, or there were none to ask.
    ready: bool,
    started_ms: u64,
    incarnation: u64,
    last_id: u64,
    last_tick_ms: u64,
    all_in_sync: bool,
    rng: ChaCha8Rng,
    /// What follows from what was restored; goes out with the first input.
    pending: Effects,
    records_accepted: u64,
    records_refused: u64,
}

impl Roaming {
    /// The core as it was when it stopped, or a new one.
    pub fn restore(
        config: Config,
        network: &str,
        trust: TrustList,
        parties: Vec<OurParty>,
        seed: u64,
        snapshot: Snapshot,
        now: Now,
    ) -> Roaming {
        let publishes_only =
            !parties.is_empty() && parties.iter().all(|p| p.party.role == crate::identity::Role::Cpo);
        let replicate_all = match config.replicate {
            Replicate::All => true,
            Replicate::Own => false,
            Replicate::Auto => !publishes_only,
        };
        let mut core = Roaming {
            replicate_all,
            network: network.to_owned(),
            parties: parties.into_iter().map(|party| (party.party.clone(), party)).collect(),
            speakers: Speakers::new(network.to_owned(), trust),
            feeds: BTreeMap::new(),
            claims: Claims::default(),
            noticed: BTreeMap::new(),
            notices: BTreeSet::new(),
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            jobs: BTreeMap::new(),
            slices: VecDeque::new(),
            next_held: snapshot.held.iter().map(|held| held.id + 1).max().unwrap_or(1),
            held: BTreeMap::new(),
            waiting_pushes: VecDeque::new(),
            ready: false,
            started_ms: now.mono_ms,
            incarnation: now.unix_s(),
            last_id: 0,
            last_tick_ms: now.mono_ms,
            all_in_sync: false,
            rng: ChaCha8Rng::seed_from_u64(seed),
            pending: Effects::default(),
            records_accepted: 0,
            records_refused: 0,
            config,
        };
        core.reload(snapshot, now);
        core.ready = core.parties.is_empty();
        core
    }

    fn reload(&mut self, snapshot: Snapshot, now: Now) {
        let own_chains: Vec<Chain> = self.parties.values().map(|party| party.chain.clone()).collect();
        for chain in own_chains.into_iter().chain(snapshot.chains) {
            // A chain that is no longer trusted takes its feeds out of the view; it is asked for again.
            let _distrusted = self.speakers.admit(chain, now);
        }
        self.held = snapshot.held.into_iter().map(|held| (held.id, held)).collect();
        let own = snapshot.own_feeds.into_iter().map(|feed| (true, feed));
        for (own, restored) in own.chain(snapshot.feeds.into_iter().map(|feed| (false, feed))) {
            if own != self.parties.contains_key(&restored.head.feed.party) {
                continue;
            }
            self.reload_feed(own, restored, now);
        }
        let ids: Vec<FeedId> = self.feeds.keys().cloned().collect();
        ids.iter().for_each(|id| self.claims_of_speaker(id));
        self.reload_conflicts();
    }

    fn reload_feed(&mut self, own: bool, restored: RestoredFeed, now: Now) {
        let Ok((head, speaker)) = self.verify_head(&restored.signed, now) else {
            return;
        };
        let mut feed = Feed::new(own);
        restored.entries.into_iter().for_each(|entry| drop(feed.tree.put(entry)));
        self.incarnation = if own { self.incarnation.max(head.incarnation + 1) } else { self.incarnation };
        let known = KnownHead { head, signed: restored.signed };
        feed.received_unix_ms = restored.received_unix_ms;
        feed.speaker = Some(speaker);
        feed.newest = Some(known.clone());
        if feed.tree.count() == known.head.count && feed.tree.root() == known.head.root {
            feed.applied = Some(known);
        } else if own {
            // The ledger commits records and head together, so this cannot be; peers are asked.
            feed.mismatches = 2;
        }
        self.feeds.insert(restored.head.feed.clone(), feed);
    }

    /// Conflicts are a function of the feeds: found again, not remembered.
    fn reload_conflicts(&mut self) {
        let mut fx = Effects::default();
        let contested: Vec<(FeedId, EvseKey)> = self
            .feeds
            .iter()
            .flat_map(|(id, feed)| feed.tree.iter().map(move |entry| (id, entry)))
            .filter(|(_, entry)| self.claims.rivals(entry.key.operator()).is_some())
            .map(|(id, entry)| (id.clone(), entry.key.clone()))
            .collect();
        for (feed_id, key) in contested {
            self.contest(&feed_id, &key, &mut fx);
        }
        self.pending = fx;
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Now) -> Effects {
        let mut fx = std::mem::take(&mut self.pending);
        match input {
            Input::PushData { call, party, push, body } => {
                self.push_data(call, party, push, body, now, &mut fx)
            }
            Input::PushStatus { call, party, push, body } => {
                self.push_status(call, party, push, body, now, &mut fx)
            }
            Input::Confirm { call, held } => self.confirm(call, held, now, &mut fx),
            Input::PeerUp(node) => self.peer_up(node, now, &mut fx),
            Input::PeerDown(node) => drop(self.peers.remove(&node)),
            Input::GapSuspected(node) => self.gap_suspected(&node, now),
            Input::Announced { from, gossip, topic: _, bytes } => {
                self.announced(from, gossip, &bytes, now, &mut fx)
            }
            Input::Asked { from, ask, bytes } => self.asked(&from, ask, &bytes, now, &mut fx),
            Input::Answered { from, request, bytes } => self.answered(&from, request, &bytes, now, &mut fx),
            Input::AskFailed { request } => self.ask_failed(request, now, &mut fx),
            Input::SyncFrame { sync, bytes } => self.sync_frame(sync, &bytes, now, &mut fx),
            Input::SyncFailed { sync } => self.sync_failed(sync, now, &mut fx),
            Input::Tick => self.tick(now, &mut fx),
        }
        fx
    }

    /// When to call [`Roaming::handle`] with [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Deadline {
        if !self.slices.is_empty() {
            return Deadline { at_ms: 0, why: "a verified repair is being written" };
        }
        let busy = !self.ready
            || !self.jobs.is_empty()
            || !self.notices.is_empty()
            || self.speakers.is_waiting()
            || !self.all_in_sync;
        let (wait_ms, why) = if busy {
            (TICK_BUSY_MS, "something waits")
        } else {
            (TICK_IDLE_MS, "heartbeats and comparisons")
        };
        Deadline { at_ms: self.last_tick_ms + wait_ms, why }
    }

    fn tick(&mut self, now: Now, fx: &mut Effects) {
        if !self.slices.is_empty() {
            self.next_slice(now, fx);
        }
        if now.mono_ms < self.last_tick_ms + TICK_BUSY_MS {
            return;
        }
        self.last_tick_ms = now.mono_ms;
        self.give_up_waiting(now, fx);
        self.tick_repairs(now, fx);
        self.tick_compare(now, fx);
        self.tick_notices(fx);
        self.tick_own(now, fx);
        self.drop_stale(now, fx);
        self.all_in_sync = self.feeds.values().all(Feed::in_sync);
    }

    /// Own feeds: may we write yet, and is it time for a heartbeat?
    fn tick_own(&mut self, now: Now, fx: &mut Effects) {
        if !self.ready && now.mono_ms >= self.started_ms + self.config.own_check_ms {
            self.become_ready(now, fx);
        }
        let beat_ms = self.config.heartbeat_s * 1_000;
        let due = |feed: &Feed| {
            let idle = feed.sync.is_none() && !feed.applying && feed.applied.is_some();
            feed.own && idle && feed.announced_at_ms.is_none_or(|at| now.mono_ms >= at + beat_ms)
        };
        let due: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| self.ready && due(feed)).map(|(id, _)| id.clone()).collect();
        if !due.is_empty() {
            self.heartbeat(&due, now, fx);
        }
    }

    /// A peer compared heads with us: if it had newer ones of our own feeds, they are on their way.
    fn heads_compared(&mut self, now: Now, fx: &mut Effects) {
        if !self.ready {
            self.become_ready(now, fx);
        }
    }

    fn become_ready(&mut self, now: Now, fx: &mut Effects) {
        self.ready = true;
        self.resume_pushes(now, fx);
    }

    /// Pushes that waited for our own feeds.
    fn resume_pushes(&mut self, now: Now, fx: &mut Effects) {
        for input in std::mem::take(&mut self.waiting_pushes) {
            fx.append(self.handle(input, now));
        }
    }

    /// Feeds that nobody confirmed for weeks (`decisions.md` 7).
    fn drop_stale(&mut self, now: Now, fx: &mut Effects) {
        let limit_ms = self.config.stale_after_days.saturating_mul(86_400_000);
        let stale = |feed: &Feed| {
            let created = feed.newest.as_ref().map_or(0, |known| known.head.created_unix_ms);
            !feed.own
                && feed.sync.is_none()
                && !feed.applying
                && created.saturating_add(limit_ms) < now.unix_ms
        };
        let gone: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| stale(feed)).map(|(id, _)| id.clone()).collect();
        for feed_id in gone {
            let keys: Vec<EvseKey> = self
                .feeds
                .remove(&feed_id)
                .iter()
                .flat_map(|f| f.tree.iter())
                .map(|e| e.key.clone())
                .collect();
            keys.iter().for_each(|key| drop(self.contest(&feed_id, key, fx)));
            fx.directory.push(DirectoryChange::Dropped { feed: feed_id });
        }
    }

    /// A feed's speaker is known: what it may publish under can now be contested.
    fn claims_of_speaker(&mut self, feed_id: &FeedId) {
        let Some(speaker) = self.feeds.get(feed_id).and_then(|feed| feed.speaker.clone()) else { return };
        for operator in speaker.grants().keys() {
            self.claims.add_publisher(operator.as_str(), &feed_id.party);
        }
    }

    /// A record that is already in its tree, with whether it is shown.
    fn shown(&mut self, feed_id: &FeedId, checked: Checked, _now: Now, fx: &mut Effects) -> RecordChange {
        let visible = self.contest(feed_id, &checked.key, fx);
        let visible = visible && checked.value.is_some();
        checked.into_change(visible)
    }

    /// Decides who is shown for an EVSE after a change in `feed_id`; tells the others, and says whether
    /// it is this feed.
    fn contest(&mut self, feed_id: &FeedId, key: &EvseKey, fx: &mut Effects) -> bool {
        let operation = records::operation(feed_id.kind);
        let class = |core: &Roaming, party: &PartyId| {
            let feed = core.feeds.get(&FeedId::public(party.clone(), feed_id.kind))?;
            feed.tree.get(key)?;
            feed.speaker.as_ref()?.may(operation, key.operator()).ok()
        };
        let Some(rivals) = self.claims.rivals(key.operator()) else {
            return class(self, &feed_id.party).is_some();
        };
        let claims: Vec<_> = rivals
            .iter()
            .filter_map(|party| class(self, party).map(|class| (party.clone(), class)))
            .collect();
        let shown = decide(&claims);
        let claimed_by: Vec<PartyId> = claims.into_iter().map(|(party, _)| party).collect();
        let conflict =
            (claimed_by.len() > 1).then(|| Conflict { shown: shown.clone(), claimed_by: claimed_by.clone() });
        let before = self.claims.settle(feed_id.kind, key, conflict.clone());
        if before != conflict {
            self.tell_conflict(feed_id, key, before, shown.as_ref(), &claimed_by, fx);
        }
        shown.as_ref() == Some(&feed_id.party)
    }

    fn tell_conflict(
        &mut self,
        feed_id: &FeedId,
        key: &EvseKey,
        before: Option<Conflict>,
        shown: Option<&PartyId>,
        claimed_by: &[PartyId],
        fx: &mut Effects,
    ) {
        let kind = feed_id.kind;
        for party in claimed_by.iter().filter(|party| **party != feed_id.party) {
            let was = before.as_ref().is_none_or(|conflict| conflict.shown.as_ref() == Some(party));
            let is = shown == Some(party);
            if was != is {
                let feed = FeedId::public(party.clone(), kind);
                fx.directory.push(DirectoryChange::Visibility { feed, key: key.clone(), visible: is });
            }
        }
        let (shown, claimed_by) = (shown.cloned(), claimed_by.to_vec());
        fx.directory.push(DirectoryChange::Conflict {
            key: key.clone(),
            kind,
            shown: shown.clone(),
            claimed_by: claimed_by.clone(),
        });
        if claimed_by.len() > 1 {
            self.notice(kind, key, &claimed_by);
            fx.actions.push(Action::Report(Report::Conflict { key: key.clone(), kind, shown, claimed_by }));
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
