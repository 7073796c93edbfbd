//! Feeds of closed audiences (`decisions.md` 1): which node may know of one, and how its members hear of a
//! change. Nothing of such a feed is ever gossiped, and who is no member learns not even that there is one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::effect::Effects;
use super::input::Now;
use super::publish::Pushed;
use super::visibility::Visibility;
use super::{Pending, Roaming};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::oicp::record::summarise;
use crate::protocol::{Announcement, Answer, Audience, FeedId, HeadMark, Kind, NodeId, Question, SignedHead};

/// Heads told at once, as many as an announcement may carry.
const HEADS_PER_TELL: usize = 16;

/// A record of ours that lies in the feed of another audience than the rules say, as after they were changed.
#[derive(Clone, Debug)]
pub struct Misplaced {
    /// Where it lies.
    pub feed: FeedId,
    /// The EVSE.
    pub key: EvseKey,
    /// Its value.
    pub value: Bytes,
}

/// What the core needs for closed audiences.
#[derive(Debug, Default)]
pub(super) struct Audiences {
    pub(super) rules: Visibility,
    /// Records to be moved as soon as we may write.
    misplaced: Vec<Misplaced>,
    /// Nodes that said whom they speak for and were not told of our feeds for them yet.
    to_greet: BTreeSet<NodeId>,
}

impl Roaming {
    /// The same core with rules for what only named parties may see, and what lies elsewhere than they say.
    #[must_use]
    pub fn with_visibility(mut self, rules: Visibility, misplaced: Vec<Misplaced>) -> Roaming {
        self.audiences.rules = rules;
        self.audiences.misplaced = misplaced;
        self
    }

    /// Whether a connected node may know of a feed: of a closed audience's only if it has proved that it
    /// speaks for a member or for the publisher, and that still holds.
    pub fn may_see(&self, node: &NodeId, feed_id: &FeedId, now: Now) -> bool {
        feed_id.audience.is_public() || concerns(feed_id, &self.parties_of(node, now))
    }

    /// The feeds of a party and kind that this node holds.
    pub(super) fn feeds_of(
        &self,
        party: &PartyId,
        kind: Kind,
    ) -> impl Iterator<Item = (&FeedId, &super::Feed)> {
        let first = FeedId::public(party.clone(), kind);
        self.feeds
            .range(first.clone()..)
            .take_while(move |(id, _)| id.party == first.party && id.kind == kind)
    }

    /// Feeds that a party of ours writes, or will when something falls under a rule.
    pub(super) fn own_feed_ids(&self) -> BTreeSet<FeedId> {
        let audiences: Vec<Audience> =
            [Audience::Public].into_iter().chain(self.audiences.rules.audiences()).collect();
        let written = self.parties.keys().flat_map(|party| {
            let of = |kind| {
                audiences.iter().map(move |audience| {
                    let audience = audience.clone();
                    FeedId { party: party.clone(), kind, audience }
                })
            };
            Kind::ALL.into_iter().flat_map(of).collect::<Vec<_>>()
        });
        let held = self.feeds.iter().filter(|(_, feed)| feed.own).map(|(id, _)| id.clone());
        written.chain(held).collect()
    }

    /// The feed that a mark of a peer is about; `None` if this version knows no such party or kind, or the
    /// peer may not know of such a feed, or we do not.
    pub(super) fn feed_of(&self, mark: &HeadMark, seen_by: &BTreeSet<PartyId>) -> Option<FeedId> {
        let (party, kind) = (PartyId::parse(&mark.party).ok()?, Kind::from_code(mark.kind)?);
        if mark.audience.is_none() {
            return Some(FeedId::public(party, kind));
        }
        let mut feeds = self.feeds_of(&party, kind).map(|(id, _)| id);
        feeds.find(|id| id.audience.name() == mark.audience && concerns(id, seen_by)).cloned()
    }

    /// Tells the connected nodes of an audience's members what the public would hear by gossip. Who misses it
    /// finds out when heads are compared.
    pub(super) fn tell_members(
        &mut self,
        feed_id: &FeedId,
        told: &[Announcement],
        now: Now,
        fx: &mut Effects,
    ) {
        for node in self.introduced_nodes() {
            if !self.may_see(&node, feed_id, now) {
                continue;
            }
            for announcement in told {
                let question = Question::Announce(Box::new(announcement.clone()));
                self.ask(node.clone(), Pending::Announcement, question, now, fx);
            }
        }
    }

    /// A node said whom it speaks for: it will hear which of the feeds here are for them.
    pub(super) fn greet(&mut self, node: &NodeId) {
        if self.feeds.keys().any(|id| !id.audience.is_public()) {
            self.audiences.to_greet.insert(node.clone());
        }
    }

    pub(super) fn is_greeting(&self) -> bool {
        !self.audiences.to_greet.is_empty()
    }

    pub(super) fn tick_audiences(&mut self, now: Now, fx: &mut Effects) {
        for node in std::mem::take(&mut self.audiences.to_greet) {
            let parties = self.parties_of(&node, now);
            let theirs =
                self.feeds.iter().filter(|(id, _)| !id.audience.is_public() && concerns(id, &parties));
            let heads: Vec<SignedHead> = theirs
                .filter_map(|(_, feed)| feed.applied.as_ref().map(|known| known.signed.clone()))
                .collect();
            for heads in heads.chunks(HEADS_PER_TELL) {
                let announcement = Announcement { heads: heads.to_vec(), changes: None };
                let question = Question::Announce(Box::new(announcement));
                self.ask(node.clone(), Pending::Announcement, question, now, fx);
            }
        }
    }

    /// A peer tells of a feed. It is judged like a head that we asked for, and only looked at if the peer speaks
    /// for a party: so do publishers and members, and to check a signature costs more than to send one.
    pub(super) fn announce_told(
        &mut self,
        from: &NodeId,
        announcement: Announcement,
        now: Now,
        fx: &mut Effects,
    ) -> Answer {
        if self.parties_of(from, now).is_empty() {
            return Answer::NotFound;
        }
        let message =
            super::speakers::Waiting { from: from.clone(), gossip: None, announcement, until_ms: 0 };
        self.take(message, now, fx);
        Answer::Noted
    }

    /// We may write now: what the rules place elsewhere than where it lies goes there.
    pub(super) fn move_misplaced(&mut self, now: Now, fx: &mut Effects) {
        let mut by_feed: BTreeMap<FeedId, Vec<Misplaced>> = BTreeMap::new();
        for misplaced in std::mem::take(&mut self.audiences.misplaced) {
            by_feed.entry(misplaced.feed.clone()).or_default().push(misplaced);
        }
        for (from, records) in by_feed {
            let lies_here =
                |key: &EvseKey| self.feeds.get(&from).is_some_and(|feed| feed.tree.get(key).is_some());
            let moved: Vec<_> = (records.into_iter())
                .filter(|record| lies_here(&record.key) && self.may_publish(&from, &record.key))
                .filter_map(|record| Some((record.key.clone(), Some(pushed(from.kind, record)?))))
                .collect();
            self.publish_to_all(&from.party, from.kind, moved, None, now, fx);
        }
    }

    fn may_publish(&self, feed_id: &FeedId, key: &EvseKey) -> bool {
        let operation = super::records::operation(feed_id.kind);
        self.parties
            .get(&feed_id.party)
            .is_some_and(|ours| ours.speaker.may(operation, key.operator()).is_ok())
    }
}

/// Whether a feed is for one of these parties, or written by it.
pub(super) fn concerns(feed_id: &FeedId, parties: &BTreeSet<PartyId>) -> bool {
    parties.iter().any(|party| *party == feed_id.party || feed_id.audience.admits(party))
}

fn pushed(kind: Kind, record: Misplaced) -> Option<Pushed> {
    let summary = match kind {
        Kind::Data => Some(Box::new(summarise(std::str::from_utf8(&record.value).ok()?).ok()?)),
        Kind::Status | Kind::Pricing => None,
    };
    Some(Pushed::again(record.key, record.value, summary))
}
