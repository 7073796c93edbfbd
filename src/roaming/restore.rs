//! The core as storage remembers it.

use bytes::Bytes;

use super::change::{DirectoryChange, HeldPush, KnownMedium, StoredCdr};
use super::effect::Effects;
use super::feed::{Feed, FeedState, KnownHead};
use super::input::Now;
use super::tree::Entry;
use super::{Roaming, compare};
use crate::identity::{Chain, PartyId};
use crate::oicp::charging::MediumKey;
use crate::oicp::id::EvseKey;
use crate::planted::{Bug, planted};
use crate::protocol::evidence::LogTail;
use crate::protocol::{FeedId, Head, SessionRecord, SignedHead};

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
    /// Two histories that writers showed: two heads each.
    pub equivocations: Vec<(SignedHead, SignedHead)>,
    /// Feeds of ours, from the ledger.
    pub own_feeds: Vec<RestoredFeed>,
    /// Held pushes.
    pub held: Vec<HeldPush>,
    /// The registry's objects, and when each was first held, in unix seconds.
    pub identity: Vec<(Bytes, u64)>,
    /// Agreements and offers ([`crate::protocol::AgreementPapers`]).
    pub agreements: Vec<bytes::Bytes>,
    /// Sessions that are open, or were until lately.
    pub sessions: Vec<SessionRecord>,
    /// Charge detail records that are not settled.
    pub cdrs: Vec<StoredCdr>,
    /// Media that EMPs of ours uploaded.
    pub media: Vec<(PartyId, MediumKey, KnownMedium)>,
    /// The end of the log of messages.
    pub log: LogTail,
}

impl Roaming {
    pub(super) fn reload(&mut self, snapshot: Snapshot, now: Now) {
        self.reload_registry(snapshot.identity, now);
        for ours in self.parties.values() {
            self.speakers.keep_own(ours.speaker.clone(), ours.chain.clone());
        }
        for chain in snapshot.chains {
            // A chain that is no longer trusted takes its feeds along; it is asked for again.
            let _distrusted = self.speakers.admit(chain, now);
        }
        self.reload_agreements(snapshot.agreements);
        self.reload_media(snapshot.media);
        self.reload_log(snapshot.log);
        self.reload_sessions(snapshot.sessions, now);
        self.reload_cdrs(snapshot.cdrs, now);
        self.held = snapshot.held.into_iter().map(|held| (held.id, held)).collect();
        let mut forgotten = Vec::new();
        let own = snapshot.own_feeds.into_iter().map(|feed| (true, feed));
        for (own, restored) in own.chain(snapshot.feeds.into_iter().map(|feed| (false, feed))) {
            let ours = self.writes(&restored.head.feed.party);
            if own != ours || !self.holds(&restored.head.feed) {
                // The directory's copy of a feed of ours is no news; what nobody asks for any more goes.
                if !own && !ours {
                    forgotten.push(restored);
                }
                continue;
            }
            if let Err(restored) = self.reload_feed(own, restored, now) {
                forgotten.push(*restored);
            }
        }
        for proof in &snapshot.equivocations {
            self.freeze_again(proof, now);
        }
        self.judge_anew(&forgotten);
    }

    /// A proof of two histories outlives a restart: the feed stays frozen until a higher incarnation.
    fn freeze_again(&mut self, proof: &(SignedHead, SignedHead), now: Now) {
        let (Ok((first, _)), Ok((second, _))) =
            (self.verify_head(&proof.0, now), self.verify_head(&proof.1, now))
        else {
            return;
        };
        let (epoch, incarnation) = (first.epoch, first.incarnation);
        let contradict = first.position() == second.position() && first.root != second.root;
        if let Some(feed) =
            self.feeds.get_mut(&first.feed).filter(|_| contradict && first.feed == second.feed)
            && feed
                .newest
                .as_ref()
                .is_some_and(|n| (n.head.epoch, n.head.incarnation) <= (epoch, incarnation))
        {
            feed.state = FeedState::Equivocated { epoch, incarnation };
            let holds_first = feed.newest.as_ref().is_some_and(|newest| newest.head.root == first.root);
            feed.rival = Some(if holds_first { proof.1.clone() } else { proof.0.clone() });
        }
    }

    /// `Err` gives a feed back that does not count any more.
    fn reload_feed(&mut self, own: bool, restored: RestoredFeed, now: Now) -> Result<(), Box<RestoredFeed>> {
        // What we signed ourselves needs no proof, and may hang on a delegation that was renewed since.
        let ours = self.parties.get(&restored.head.feed.party).filter(|_| own);
        let verified = match ours {
            Some(ours) => Some((restored.head.clone(), ours.speaker.clone())),
            None => {
                self.verify_head(&restored.signed, now).ok().filter(|(head, _)| !self.is_stale(head, now))
            }
        };
        let Some((head, speaker)) = verified else { return Err(Box::new(restored)) };
        let feed_id = head.feed.clone();
        let mut feed = Feed::new(own);
        restored.entries.into_iter().for_each(|entry| drop(feed.tree.put(entry)));
        let known = KnownHead { head, signed: restored.signed };
        feed.received_unix_ms = restored.received_unix_ms;
        feed.newest = Some(known.clone());
        if own {
            self.incarnation = self.incarnation.max(known.head.incarnation.saturating_add(1));
        }
        if planted(Bug::DedupLostOnCrash) && !own {
            feed.newest = None;
        } else if feed.tree.adds_up_to(&known.head) {
            feed.applied = Some(known);
        } else if own {
            // A crash while the feed was taken back from peers: they still have it.
            self.take_back_until_ms = now.mono_ms + compare::TAKE_BACK_MS_MAX;
        }
        self.feeds.insert(feed_id.clone(), feed);
        self.speaks(&feed_id, speaker, &mut Effects::default());
        Ok(())
    }

    /// The view is a function of feeds and trust, and trust may be another than when it was stored: what
    /// can have changed is told to storage with the first tick. Ids of a party's own main id cannot.
    fn judge_anew(&mut self, forgotten: &[RestoredFeed]) {
        let mut fx = Effects::default();
        let ids: Vec<FeedId> = self.feeds.keys().cloned().collect();
        for feed_id in &ids {
            let main = feed_id.party.id.to_string();
            let contested: Vec<EvseKey> = self.contested_keys(feed_id);
            let doubtful = |key: &EvseKey| key.operator() != main || contested.binary_search(key).is_ok();
            self.show_again(feed_id, doubtful, &mut fx);
        }
        for restored in forgotten {
            let gone = &restored.head.feed;
            for entry in &restored.entries {
                let rivals: Vec<FeedId> = self
                    .claims
                    .publishers(entry.key.operator())
                    .map(|party| FeedId::public(party.clone(), gone.kind))
                    .collect();
                for rival in rivals {
                    self.show_again_one(&rival, &entry.key, &mut fx);
                }
            }
            fx.directory.push(DirectoryChange::Dropped { feed: gone.clone() });
        }
        self.pending = fx.directory;
    }

    fn contested_keys(&self, feed_id: &FeedId) -> Vec<EvseKey> {
        let Some(feed) = self.feeds.get(feed_id) else { return Vec::new() };
        let contested = feed.tree.iter().filter(|entry| self.claims.rivals(entry.key.operator()).is_some());
        let mut keys: Vec<EvseKey> = contested.map(|entry| entry.key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    fn show_again_one(&mut self, feed_id: &FeedId, key: &EvseKey, fx: &mut Effects) {
        if self.feeds.get(feed_id).is_some_and(|feed| feed.tree.get(key).is_some()) {
            let visible = self.contest(feed_id, key, fx);
            let (feed, key) = (feed_id.clone(), key.clone());
            fx.directory.push(DirectoryChange::Visibility { feed, key, visible });
        }
    }
}
