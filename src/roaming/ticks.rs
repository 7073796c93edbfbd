//! What time brings: when the core wants to be called again, and what it does then.

use super::change::DirectoryChange;
use super::effect::Effects;
use super::input::Now;
use super::{Deadline, Feed, Roaming, TICK_BUSY_MS, TICK_IDLE_MS};
use crate::protocol::FeedId;

/// Feeds are looked through for stale ones this often, in milliseconds.
const STALE_CHECK_MS: u64 = 60_000;

/// How long peers that do not answer keep a starting node from writing, in milliseconds: as long as an
/// answer may take. One that is silent for ever would else keep it for ever.
const OWN_CHECK_MS_MAX: u64 = 10_000;

impl Roaming {
    /// When to call [`Roaming::handle`] with [`Input::Tick`](super::Input::Tick) at the latest.
    pub fn next_deadline(&self) -> Deadline {
        if !self.slices.is_empty() {
            return Deadline { at_ms: 0, why: "a verified repair is being written" };
        }
        if !self.pending.is_empty() || !self.pending_ledger.is_empty() {
            return Deadline { at_ms: 0, why: "what was restored is judged anew" };
        }
        let busy = !self.ready
            || !self.jobs.is_empty()
            || !self.notices.is_empty()
            || self.is_greeting()
            || self.agreements.is_telling(self.last_tick_ms)
            || self.charging.is_busy(self.last_tick_ms)
            || self.speakers.is_waiting()
            || !self.parties.is_empty() && self.partners.is_due(self.last_tick_ms)
            || !self.all_in_sync;
        let (wait_ms, why) = if busy {
            (TICK_BUSY_MS, "something waits")
        } else {
            (TICK_IDLE_MS, "heartbeats and comparisons")
        };
        Deadline { at_ms: self.last_tick_ms + wait_ms, why }
    }

    pub(super) fn tick(&mut self, now: Now, fx: &mut Effects) {
        fx.directory.append(&mut self.pending);
        fx.ledger.append(&mut self.pending_ledger);
        if !self.slices.is_empty() {
            self.next_slice(now, fx);
        }
        if now.mono_ms < self.last_tick_ms + TICK_BUSY_MS {
            return;
        }
        self.last_tick_ms = now.mono_ms;
        self.give_up_waiting(now, fx);
        self.tick_requests(now, fx);
        self.tick_repairs(now, fx);
        self.tick_compare(now, fx);
        self.tick_registry(now, fx);
        self.tick_freshness(now, fx);
        self.tick_notices(now, fx);
        self.tick_clock(now, fx);
        self.tick_introductions(now, fx);
        self.tick_agreements(now, fx);
        self.tick_charging(now, fx);
        self.tick_partners(now, fx);
        self.tick_audiences(now, fx);
        self.tick_own(now, fx);
        if now.mono_ms >= self.stale_at_ms {
            self.stale_at_ms = now.mono_ms + STALE_CHECK_MS;
            self.drop_stale(now, fx);
            if self.agreements.retry {
                self.retry_agreements(fx);
            }
        }
        self.all_in_sync = !self.feeds.values().any(Feed::is_behind);
    }

    /// Own feeds: may we write yet, and is it time for a heartbeat?
    fn tick_own(&mut self, now: Now, fx: &mut Effects) {
        // One peer may know nothing of us: all that are connected are heard, and some time is left for
        // the first connections.
        let waited_ms = now.mono_ms.saturating_sub(self.started_ms);
        let heard = waited_ms >= self.config.own_check_ms && !self.comparing();
        if !self.ready && (heard || waited_ms >= self.config.own_check_ms + OWN_CHECK_MS_MAX) {
            self.ready = true;
            self.leave_lost_prefixes(now, fx);
            self.move_misplaced(now, fx);
        }
        if !self.waiting_pushes.is_empty() {
            self.resume_pushes(now, fx);
        }
        self.beat_own(now, fx);
    }

    /// Pushes that waited for our own feeds.
    fn resume_pushes(&mut self, now: Now, fx: &mut Effects) {
        for input in std::mem::take(&mut self.waiting_pushes) {
            fx.append(self.handle(input, now));
        }
    }

    /// Feeds that nobody confirmed for weeks (`decisions.md` 7).
    fn drop_stale(&mut self, now: Now, fx: &mut Effects) {
        let stale = |feed: &Feed| {
            let newest = feed.newest.as_ref();
            let stale = newest.is_none_or(|known| self.is_stale(&known.head, now));
            !feed.own && feed.sync.is_none() && !feed.applying && stale
        };
        let gone: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| stale(feed)).map(|(id, _)| id.clone()).collect();
        for feed_id in gone {
            self.drop_feed(&feed_id, fx);
        }
    }

    /// Forgets a feed; others that claim its EVSEs are shown instead.
    pub(super) fn drop_feed(&mut self, feed_id: &FeedId, fx: &mut Effects) {
        let Some(feed) = self.feeds.remove(feed_id) else { return };
        for entry in feed.tree.iter() {
            self.contest(feed_id, &entry.key, fx);
        }
        fx.directory.push(DirectoryChange::Dropped { feed: feed_id.clone() });
    }
}
