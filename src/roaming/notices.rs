//! Telling publishers that somebody else publishes an EVSE of theirs (`decisions.md` 3), and being told.

use super::claims::Conflict;
use super::effect::{Action, Effects, Report};
use super::input::Now;
use super::{Pending, Roaming};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::protocol::{Answer, ConflictNotice, FeedId, Kind, NodeId, Question};

/// Conflict notices of peers that are kept.
const NOTICES_MAX: usize = 10_000;

/// Conflict notices under way at once.
const NOTICES_ASKED_MAX: usize = 16;

/// Conflict notices that wait to be sent.
const NOTICES_WAITING_MAX: usize = 10_000;

impl Roaming {
    /// Queues a notice about a conflict for the publishers' nodes.
    pub(super) fn notice(&mut self, kind: Kind, key: &EvseKey, parties: &[PartyId]) {
        for party in parties {
            if self.writes(party) {
                continue;
            }
            let Some(node) = self.node_of(&FeedId::public(party.clone(), kind)) else { continue };
            if self.notices.len() < NOTICES_WAITING_MAX {
                self.notices.insert((node, kind, key.clone()));
            }
        }
    }

    /// A node is connected: it hears of every conflict of its parties.
    pub(super) fn notice_all_to(&mut self, node: &NodeId) {
        let mut notices = Vec::new();
        for ((kind, key), conflict) in self.claims.conflicts() {
            let published_there = |party: &PartyId| {
                let feed_id = FeedId::public(party.clone(), *kind);
                !self.writes(party) && self.node_of(&feed_id).as_ref() == Some(node)
            };
            if conflict.claimed_by.iter().any(published_there) {
                notices.push((node.clone(), *kind, key.clone()));
            }
        }
        let room = NOTICES_WAITING_MAX.saturating_sub(self.notices.len());
        self.notices.extend(notices.into_iter().take(room));
    }

    fn node_of(&self, feed_id: &FeedId) -> Option<NodeId> {
        NodeId::from_bytes(self.feeds.get(feed_id)?.speaker.as_ref()?.peer_id())
    }

    /// Sends queued notices to publishers that are connected; the others hear when they come up. A
    /// publisher is always connected to somebody who holds its feed, so somebody tells it.
    pub(super) fn tick_notices(&mut self, now: Now, fx: &mut Effects) {
        let asked = self.requests.values().filter(|asking| matches!(asking.about, Pending::Notice)).count();
        for _ in asked..NOTICES_ASKED_MAX {
            let Some((node, kind, key)) = self.notices.pop_first() else { return };
            if !self.peers.contains_key(&node) {
                continue;
            }
            // No conflict any more: said too, by a list of nobody.
            let conflict = self.claims.get(kind, &key);
            let shown = conflict.and_then(|conflict| conflict.shown.as_ref());
            let claimed_by = conflict.map(|conflict| conflict.claimed_by.as_slice()).unwrap_or_default();
            let notice = ConflictNotice {
                key: key.as_str().to_owned(),
                kind: kind.code(),
                shown: shown.map(PartyId::to_text),
                claimed_by: claimed_by.iter().map(PartyId::to_text).collect(),
            };
            self.ask(node, Pending::Notice, Question::Conflict(notice), now, fx);
        }
    }

    /// A peer tells us that somebody else publishes an EVSE of ours, or does so no longer. It is told,
    /// not proved: it changes nothing but what people see, and only of EVSEs that we publish.
    pub(super) fn noticed(&mut self, notice: ConflictNotice, fx: &mut Effects) -> Answer {
        let (Some(kind), Ok(key)) = (Kind::from_code(notice.kind), EvseKey::parse_filed(&notice.key)) else {
            return Answer::NotFound;
        };
        let published = |party: &PartyId| {
            let feed = self.feeds.get(&FeedId::public(party.clone(), kind));
            feed.is_some_and(|feed| feed.tree.get(&key).is_some())
        };
        if !self.parties.keys().any(published) {
            self.noticed.remove(&(kind, key));
            return Answer::NotFound;
        }
        let claimed_by: Vec<PartyId> =
            notice.claimed_by.iter().filter_map(|text| PartyId::parse(text).ok()).collect();
        let shown = notice.shown.as_deref().and_then(|text| PartyId::parse(text).ok());
        let place = (kind, key.clone());
        let changed = if claimed_by.len() < 2 {
            self.noticed.remove(&place).is_some()
        } else {
            let conflict = Conflict { shown: shown.clone(), claimed_by: claimed_by.clone() };
            let room = self.noticed.len() < NOTICES_MAX || self.noticed.contains_key(&place);
            room && self.noticed.insert(place, conflict.clone()).as_ref() != Some(&conflict)
        };
        if changed {
            fx.actions.push(Action::Report(Report::Conflict { key, kind, shown, claimed_by }));
        }
        Answer::Noted
    }
}
