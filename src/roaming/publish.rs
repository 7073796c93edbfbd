//! What backends of this node publish: the semantics of ActionType (OICP RULES section 2), the and from
//! there to signed heads and announcements.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::change::{DirectoryChange, LedgerChange};
use super::effect::{Action, Effects};
use super::feed::{Feed, KnownHead};
use super::input::{CallId, Input, Now};
use super::prices::Scope;
use super::records::{self, Checked};
use super::writer::Writer;
use super::{OurParty, Roaming};
use crate::identity::{PartyId, ScopeError};
use crate::oicp::id::EvseKey;
use crate::oicp::push::{ActionType, PushEvseData, PushEvseStatus};
use crate::oicp::record::Summary;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{Announcement, FeedId, Kind, NodeId, RECORD_BYTES_MAX, SignedHead, Topic};

/// Pushes that may wait while the node asks peers for its own feeds.
const WAITING_PUSHES_MAX: usize = 64;

/// EvseIDs named in an AdditionalInfo, which has 1,000 characters.
const IDS_NAMED_MAX: usize = 20;

/// A negative answer to a push.
pub(super) type Refused = StatusCode;

/// What a push does to one record; `None` deletes it.
pub(super) type Change = (EvseKey, Option<Pushed>);

/// Why a push cannot be done yet.
const STILL_ASKING: &str = "this node is still asking its peers for its own feeds: try again in some seconds";

/// One record of a push, of either kind.
#[derive(Clone)]
pub(super) struct Pushed {
    pub(super) key: EvseKey,
    /// The EVSE, or the product, as the backend spells it: what it is told about.
    pub(super) evse_id: Box<str>,
    pub(super) value: Bytes,
    pub(super) summary: Option<Box<Summary>>,
}

/// A push, of either kind.
pub(super) struct Push {
    pub(super) kind: Kind,
    pub(super) action: ActionType,
    /// How the operator calls itself; as before if the push does not say.
    pub(super) label: Option<(String, Option<String>)>,
    pub(super) records: Vec<Pushed>,
    /// Which records of the party's feeds of this kind it is about.
    pub(super) scope: Scope,
}

impl Roaming {
    pub(super) fn push_data(
        &mut self,
        call: CallId,
        party: PartyId,
        push: PushEvseData,
        body: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.must_wait(&party, now) {
            return self.wait_push(Input::PushData { call, party, push, body }, call, fx);
        }
        let outcome = self.push(&party, Push::of_data(push), Some(&body), now, fx);
        reply(call, outcome, fx);
    }

    pub(super) fn push_status(
        &mut self,
        call: CallId,
        party: PartyId,
        push: PushEvseStatus,
        body: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.must_wait(&party, now) {
            return self.wait_push(Input::PushStatus { call, party, push, body }, call, fx);
        }
        let outcome = self.push(&party, Push::of_status(push), Some(&body), now, fx);
        reply(call, outcome, fx);
    }

    /// Whether a party's feeds are still being asked for, or taken back from peers.
    pub(super) fn must_wait(&self, party: &PartyId, now: Now) -> bool {
        let taking_back = now.mono_ms < self.take_back_until_ms;
        let busy = |kind: &Kind| {
            self.feeds_of(party, *kind).any(|(_, feed)| feed.applying || taking_back && !feed.in_sync())
        };
        // A node that does not write says so at once.
        self.writes(party) && (!self.ready || Kind::ALL.iter().any(busy))
    }

    pub(super) fn wait_push(&mut self, input: Input, call: CallId, fx: &mut Effects) {
        if self.waiting_pushes.len() < WAITING_PUSHES_MAX {
            self.waiting_pushes.push_back(input);
        } else {
            reply(call, Err(StatusCode::with_info(Code::SystemError, STILL_ASKING)), fx);
        }
    }

    /// A body is given if the guard rail applies.
    pub(super) fn push(
        &mut self,
        party: &PartyId,
        push: Push,
        body: Option<&Bytes>,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Refused> {
        if !self.parties.contains_key(party) {
            return Err(StatusCode::from(Code::PartnerNotFound));
        }
        self.refuse_unless_writer(party, push.kind)?;
        self.refuse_unless_signing()?;
        self.refuse_unless_delegated(party, push.kind)?;
        check_ids(&self.parties, party, &push)?;
        let changes = self.changes_of(party, &push)?;
        if push.kind == Kind::Pricing {
            self.refuse_too_many_providers(party, &changes)?;
        }
        if let Some(body) = body {
            self.guard(&FeedId::public(party.clone(), push.kind), &push, &changes, body, now, fx)?;
        }
        let vanished = match push.kind {
            Kind::Data => self.orphaned_statuses(party, &changes),
            Kind::Status | Kind::Pricing => Vec::new(),
        };
        let label = push.label.or_else(|| self.label_of_data(party));
        self.publish_to_all(party, push.kind, changes, label.as_ref(), now, fx);
        self.publish_to_all(party, Kind::Status, vanished, label.as_ref(), now, fx);
        Ok(())
    }

    /// A party may have several nodes, and one of them writes its feeds.
    fn refuse_unless_writer(&self, party: &PartyId, kind: Kind) -> Result<(), Refused> {
        let slot = match self.parties.get(party) {
            Some(ours) if !ours.speaker.is_writer() => ours.speaker.slot(),
            _ => return Ok(()),
        };
        let feed = self.feeds.get(&FeedId::public(party.clone(), kind));
        let writer = feed.and_then(|feed| NodeId::from_bytes(feed.speaker.as_ref()?.peer_id()));
        let known = writer.map(|node| format!(" ({node})")).unwrap_or_default();
        let text = format!(
            "this node has slot {slot} of {party} and writes no feed: push to the party's node with slot 0{known}"
        );
        Err(StatusCode::with_info(Code::DataTransactionError, &text))
    }

    /// What a push changes, or why it is refused as a whole. Records that stay equal, for the same audience, are
    /// no change.
    fn changes_of(&self, party: &PartyId, push: &Push) -> Result<Vec<Change>, Refused> {
        let feeds: Vec<(&FeedId, &Feed)> = self.feeds_of(party, push.kind).collect();
        let known =
            |key: &EvseKey| feeds.iter().find_map(|(id, feed)| Some((&id.audience, feed.tree.get(key)?)));
        if push.kind == Kind::Status && push.action != ActionType::Delete {
            let data: Vec<&Feed> = self.feeds_of(party, Kind::Data).map(|(_, feed)| feed).collect();
            let unknown = |pushed: &&Pushed| data.iter().all(|data| data.tree.get(&pushed.key).is_none());
            refuse_if_any(Code::UnknownEvseId, "no EVSE data for", push.records.iter().filter(unknown))?;
        }
        match push.action {
            ActionType::Insert => {
                let present = push.records.iter().filter(|pushed| known(&pushed.key).is_some());
                refuse_if_any(Code::DataTransactionError, "exists already, nothing was inserted:", present)?;
            }
            ActionType::Update => {
                let missing = push.records.iter().filter(|pushed| known(&pushed.key).is_none());
                refuse_if_any(Code::DataTransactionError, "does not exist, nothing was updated:", missing)?;
                self.refuse_update_of_nothing(push, |key| known(key).is_some())?;
            }
            ActionType::FullLoad | ActionType::Delete => {}
        }
        let mut changes = Vec::new();
        if push.action == ActionType::Delete {
            // Deleting what is not there is a success: the state asked for is reached (GAPS C3).
            changes.extend(
                push.records.iter().filter(|p| known(&p.key).is_some()).map(|p| (p.key.clone(), None)),
            );
        } else {
            for pushed in &push.records {
                let always = push.kind == Kind::Status && push.action != ActionType::FullLoad;
                if always || !self.is_same(&feeds, pushed) {
                    changes.push((pushed.key.clone(), Some(pushed.clone())));
                }
            }
        }
        if push.action == ActionType::FullLoad {
            let wanted: BTreeSet<&EvseKey> = push.records.iter().map(|pushed| &pushed.key).collect();
            let entries = feeds.iter().flat_map(|(_, feed)| feed.tree.iter());
            let gone = entries.filter(|e| push.scope.replaces(&e.key) && !wanted.contains(&e.key));
            changes.extend(gone.map(|entry| (entry.key.clone(), None)));
        }
        self.with_default_price(push, &feeds, &mut changes);
        Ok(changes)
    }

    /// Whether a record lies where it belongs and as it was pushed.
    pub(super) fn is_same(&self, feeds: &[(&FeedId, &Feed)], pushed: &Pushed) -> bool {
        let known = feeds.iter().find_map(|(id, feed)| Some((&id.audience, feed.tree.get(&pushed.key)?)));
        known.is_some_and(|(audience, entry)| {
            entry.hash == records::hash(&pushed.value)
                && *audience == self.audiences.rules.audience_of(&pushed.key)
        })
    }

    fn orphaned_statuses(&self, party: &PartyId, changes: &[Change]) -> Vec<Change> {
        let statuses: Vec<&Feed> = self.feeds_of(party, Kind::Status).map(|(_, feed)| feed).collect();
        let gone = changes.iter().filter(|(_, value)| value.is_none());
        gone.filter(|(key, _)| statuses.iter().any(|feed| feed.tree.get(key).is_some()))
            .map(|(key, _)| (key.clone(), None))
            .collect()
    }

    /// Records under ids that our credential no longer has leave our feeds: nobody would take them.
    pub(super) fn leave_lost_prefixes(&mut self, now: Now, fx: &mut Effects) {
        let own: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| feed.own).map(|(id, _)| id.clone()).collect();
        for feed_id in own {
            let (Some(party), Some(feed)) = (self.parties.get(&feed_id.party), self.feeds.get(&feed_id))
            else {
                continue;
            };
            let operation = records::operation(feed_id.kind);
            let lost = |key: &EvseKey| {
                matches!(party.speaker.may(operation, key.operator()), Err(ScopeError::Foreign { .. }))
            };
            let lost = feed.tree.iter().filter(|entry| lost(&entry.key));
            let changes: Vec<Change> = lost.map(|entry| (entry.key.clone(), None)).collect();
            self.publish(&feed_id, changes, None, now, fx);
        }
    }

    /// Publishes each change in the feed of the audience that it is for, and takes what lies elsewhere from
    /// there.
    pub(super) fn publish_to_all(
        &mut self,
        party: &PartyId,
        kind: Kind,
        changes: Vec<Change>,
        label: Option<&(String, Option<String>)>,
        now: Now,
        fx: &mut Effects,
    ) {
        let held: Vec<FeedId> = self.feeds_of(party, kind).map(|(id, _)| id.clone()).collect();
        let all_public = self.audiences.rules.rules.is_empty() && kind != Kind::Pricing;
        if all_public && held.iter().all(|id| id.audience.is_public()) {
            return self.publish(&FeedId::public(party.clone(), kind), changes, label, now, fx);
        }
        let mut by_feed: BTreeMap<FeedId, Vec<Change>> = BTreeMap::new();
        for (key, value) in changes {
            let audience = value.is_some().then(|| self.audiences.rules.audience_of(&key));
            let elsewhere = held.iter().filter(|id| Some(&id.audience) != audience.as_ref());
            for feed_id in elsewhere {
                if self.feeds.get(feed_id).is_some_and(|feed| feed.tree.get(&key).is_some()) {
                    by_feed.entry(feed_id.clone()).or_default().push((key.clone(), None));
                }
            }
            if let Some(audience) = audience {
                let target = FeedId { party: party.clone(), kind, audience };
                by_feed.entry(target).or_default().push((key, value));
            }
        }
        for (feed_id, changes) in by_feed {
            self.publish(&feed_id, changes, label, now, fx);
        }
    }

    /// Numbers changes, signs, and gives them to storage and to gossip, or to the members of the audience.
    fn publish(
        &mut self,
        feed_id: &FeedId,
        changes: Vec<Change>,
        label: Option<&(String, Option<String>)>,
        now: Now,
        fx: &mut Effects,
    ) {
        if changes.is_empty() {
            return;
        }
        let heartbeat_at_ms = self.next_heartbeat(now);
        let Some(party) = self.parties.get(&feed_id.party) else { return };
        let speaker = party.speaker.clone();
        let mut feed = self.feeds.remove(feed_id).unwrap_or_else(|| Feed::new(true));
        // A repair that is under way is of the past: what it brings will be older than this.
        feed.sync = None;
        let mut writer = Writer::new(&self.network, party, feed_id, &feed, self.incarnation, label);
        let checked: Vec<Checked> =
            changes.into_iter().map(|(key, pushed)| writer.number(key, pushed, now)).collect();
        let announcements = writer.announce(&mut feed.tree, &checked, now);
        let known = feed.settled(writer.known());
        feed.heartbeat_at_ms = heartbeat_at_ms;
        feed.received_unix_ms = now.unix_ms;
        self.feeds.insert(feed_id.clone(), feed);
        self.speaks(feed_id, speaker, fx);
        let records: Vec<_> = checked.into_iter().map(|checked| self.shown(feed_id, checked, fx)).collect();
        fx.ledger.push(LedgerChange::Records { feed: feed_id.clone(), records: records.clone() });
        fx.ledger.push(LedgerChange::Head { head: known.head.clone(), signed: known.signed.clone() });
        fx.directory.push(DirectoryChange::Records { feed: feed_id.clone(), records });
        fx.directory.push(head_change(&known, now));
        if !feed_id.audience.is_public() {
            return self.tell_members(feed_id, &announcements, now, fx);
        }
        let topic = topic_of(feed_id.kind);
        fx.actions.extend(announcements.into_iter().map(|a| Action::Publish { topic, bytes: a.encode() }));
    }

    /// Heartbeats of our feeds that are due.
    pub(super) fn beat_own(&mut self, now: Now, fx: &mut Effects) {
        let signing = self.ready && self.may_sign();
        let due = |feed: &Feed| {
            let idle = feed.sync.is_none() && !feed.applying && feed.applied.is_some();
            feed.own && idle && now.mono_ms >= feed.heartbeat_at_ms
        };
        let own = self.feeds.iter().filter(|(_, feed)| signing && due(feed));
        let due: Vec<FeedId> = own.map(|(id, _)| id.clone()).collect();
        if !due.is_empty() {
            self.heartbeat(&due, now, fx);
        }
    }

    /// Signs the heads of our feeds again, unchanged: "still here, still this" (`decisions.md` 9). The
    /// incarnation stays too, so that a node with an old backup outdoes nobody just by being there.
    pub(super) fn heartbeat(&mut self, feeds: &[FeedId], now: Now, fx: &mut Effects) {
        let mut by_party: BTreeMap<&PartyId, Vec<SignedHead>> = BTreeMap::new();
        for feed_id in feeds {
            let heartbeat_at_ms = self.next_heartbeat(now);
            let (Some(party), Some(feed)) = (self.parties.get(&feed_id.party), self.feeds.get_mut(feed_id))
            else {
                continue;
            };
            feed.heartbeat_at_ms = heartbeat_at_ms;
            if party.speaker.may_do(records::operation(feed_id.kind)).is_err() {
                continue;
            }
            let mut writer = Writer::new(&self.network, party, feed_id, feed, 0, None);
            writer.seal(&mut feed.tree, now);
            let known = feed.settled(writer.known());
            feed.received_unix_ms = now.unix_ms;
            let speaker = party.speaker.clone();
            self.speaks(feed_id, speaker, fx);
            fx.ledger.push(LedgerChange::Head { head: known.head.clone(), signed: known.signed.clone() });
            fx.directory.push(head_change(&known, now));
            if feed_id.audience.is_public() {
                by_party.entry(&feed_id.party).or_default().push(known.signed);
            } else {
                let told = Announcement { heads: vec![known.signed], changes: None };
                self.tell_members(feed_id, &[told], now, fx);
            }
        }
        for heads in by_party.into_values() {
            let bytes = Announcement { heads, changes: None }.encode();
            fx.actions.push(Action::Publish { topic: Topic::Heads, bytes });
        }
    }

    /// With jitter, so that nodes that started together do not speak together for ever.
    fn next_heartbeat(&mut self, now: Now) -> u64 {
        let beat_ms = self.config.heartbeat_s * 1_000;
        now.mono_ms + beat_ms - self.random() % (beat_ms / 10 + 1)
    }
}

/// The topic of a kind.
pub(super) fn topic_of(kind: Kind) -> Topic {
    match kind {
        Kind::Data => Topic::Data,
        Kind::Status => Topic::Status,
        Kind::Pricing => Topic::Pricing,
    }
}

/// What storage keeps of an applied head.
pub(super) fn head_change(known: &KnownHead, now: Now) -> DirectoryChange {
    DirectoryChange::Head {
        head: known.head.clone(),
        signed: known.signed.clone(),
        received_unix_ms: now.unix_ms,
    }
}

pub(super) fn reply(call: CallId, outcome: Result<(), Refused>, fx: &mut Effects) {
    let (result, status) = match outcome {
        Ok(()) => (true, StatusCode::from(Code::Success)),
        Err(status) => (false, status),
    };
    fx.actions.push(Action::Reply { call, result, status });
}

/// 018: an EvseID twice in one push, or of somebody else.
fn check_ids(parties: &BTreeMap<PartyId, OurParty>, party: &PartyId, push: &Push) -> Result<(), Refused> {
    let Some(ours) = parties.get(party) else { return Ok(()) };
    let mut seen = BTreeSet::new();
    let repeated = push.records.iter().filter(|pushed| !seen.insert(&pushed.key));
    refuse_if_any(Code::InconsistentEvseId, "Duplicate EVSE IDs:", repeated)?;
    // A peer would not take it.
    let header = if let Scope::List(header) = &push.scope { Some(header.as_ref()) } else { None };
    let large = push.records.iter().chain(header).filter(|pushed| pushed.value.len() > RECORD_BYTES_MAX);
    refuse_if_any(Code::DataError, "a record is larger than 64 KiB:", large)?;
    let operation = records::operation(push.kind);
    let foreign =
        push.records.iter().filter(|pushed| ours.speaker.may(operation, pushed.key.operator()).is_err());
    refuse_if_any(Code::InconsistentEvseId, &format!("not covered by the credential of {party}:"), foreign)
}

fn refuse_if_any<'a>(
    code: Code,
    what: &str,
    records: impl Iterator<Item = &'a Pushed>,
) -> Result<(), Refused> {
    let ids: Vec<&str> = records.map(|pushed| pushed.evse_id.as_ref()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let named = ids.iter().take(IDS_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = ids.len().saturating_sub(IDS_NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(StatusCode::with_info(code, &format!("{what} {named}{rest}")))
}

impl Pushed {
    /// A record of ours that goes to another feed.
    pub(super) fn again(key: EvseKey, value: Bytes, summary: Option<Box<Summary>>) -> Pushed {
        let evse_id = summary.as_ref().map_or_else(|| key.as_str().into(), |summary| summary.evse_id.clone());
        Pushed { key, evse_id, value, summary }
    }
}

impl Push {
    pub(super) fn of_data(push: PushEvseData) -> Push {
        let record = |record: crate::oicp::push::PushedRecord| Pushed {
            key: record.summary.key.clone(),
            evse_id: record.summary.evse_id.clone(),
            value: Bytes::from(String::from(record.raw)),
            summary: Some(Box::new(record.summary)),
        };
        Push {
            kind: Kind::Data,
            action: push.action,
            label: Some((push.operator_id.as_str().to_owned(), push.operator_name)),
            records: push.records.into_iter().map(record).collect(),
            scope: Scope::All,
        }
    }

    pub(super) fn of_status(push: PushEvseStatus) -> Push {
        let record = |record: crate::oicp::push::PushedStatus| Pushed {
            key: record.key,
            evse_id: record.evse_id,
            value: Bytes::copy_from_slice(record.status.as_str().as_bytes()),
            summary: None,
        };
        Push {
            kind: Kind::Status,
            action: push.action,
            label: Some((push.operator_id.as_str().to_owned(), push.operator_name)),
            records: push.records.into_iter().map(record).collect(),
            scope: Scope::All,
        }
    }
}
