//! The view: which record is shown where several parties publish one EVSE, and who is told.

use super::change::{DirectoryChange, RecordChange};
use super::claims::{Conflict, decide};
use super::effect::{Action, Effects, Report};
use super::records::{self, Checked};
use super::{Feed, Roaming};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::protocol::FeedId;

impl Roaming {
    /// A record that is already in its tree, with whether it is shown.
    pub(super) fn shown(&mut self, feed_id: &FeedId, checked: Checked, fx: &mut Effects) -> RecordChange {
        let visible = self.contest(feed_id, &checked.key, fx);
        let visible = visible && checked.value.is_some();
        checked.into_change(visible)
    }

    /// Decides who is shown for an EVSE after a change in `feed_id`; tells the others, and says whether
    /// it is this feed.
    pub(super) fn contest(&mut self, feed_id: &FeedId, key: &EvseKey, fx: &mut Effects) -> bool {
        self.contest_closed(feed_id, key, fx);
        if !feed_id.audience.is_public() {
            return self.is_shown_to_members(feed_id, key);
        }
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

    /// Whether a closed audience sees its record: unless another party has a better claim, in any feed that is
    /// held here. Nobody is told of such a conflict, and it hides nothing from the public.
    pub(super) fn is_shown_to_members(&self, feed_id: &FeedId, key: &EvseKey) -> bool {
        let operation = records::operation(feed_id.kind);
        let class = |feed: &Feed| {
            feed.tree.get(key)?;
            feed.speaker.as_ref()?.may(operation, key.operator()).ok()
        };
        let Some(own) = self.feeds.get(feed_id).and_then(class) else { return false };
        let rivals = self.claims.rivals(key.operator()).into_iter().flatten();
        let rivals = rivals.filter(|party| **party != feed_id.party);
        let others = rivals.filter_map(|party| {
            let best = self.feeds_of(party, feed_id.kind).filter_map(|(_, feed)| class(feed)).min()?;
            Some((party.clone(), best))
        });
        let claims: Vec<_> = others.chain([(feed_id.party.clone(), own)]).collect();
        decide(&claims).as_ref() == Some(&feed_id.party)
    }

    /// A change in one feed may decide otherwise who is shown to the closed audiences of other parties.
    fn contest_closed(&self, feed_id: &FeedId, key: &EvseKey, fx: &mut Effects) {
        let rivals = self.claims.rivals(key.operator()).into_iter().flatten();
        for party in rivals.filter(|party| **party != feed_id.party) {
            let closed = self.feeds_of(party, feed_id.kind).filter(|(id, _)| !id.audience.is_public());
            for (id, _) in closed.filter(|(_, feed)| feed.tree.get(key).is_some()) {
                let (feed, visible) = (id.clone(), self.is_shown_to_members(id, key));
                fx.directory.push(DirectoryChange::Visibility { feed, key: key.clone(), visible });
            }
        }
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
        let concerned = before.map(|conflict| conflict.claimed_by).unwrap_or_default();
        self.notice(kind, key, if claimed_by.len() > 1 { &claimed_by } else { &concerned });
        if claimed_by.len() > 1 || !concerned.is_empty() {
            fx.actions.push(Action::Report(Report::Conflict { key: key.clone(), kind, shown, claimed_by }));
        }
    }

    /// Says anew of records of a feed whether they are shown: what decides that has changed.
    pub(super) fn show_again(
        &mut self,
        feed_id: &FeedId,
        which: impl Fn(&EvseKey) -> bool,
        fx: &mut Effects,
    ) {
        let Some(feed) = self.feeds.get(feed_id) else { return };
        let keys: Vec<EvseKey> =
            feed.tree.iter().map(|entry| &entry.key).filter(|key| which(key)).cloned().collect();
        for key in keys {
            let visible = self.contest(feed_id, &key, fx);
            fx.directory.push(DirectoryChange::Visibility { feed: feed_id.clone(), key, visible });
        }
    }
}
