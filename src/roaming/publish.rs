//! What backends of this node publish: the semantics of ActionType (OICP RULES section 2), the guard
//! rail, and from there to signed heads and announcements.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::change::{DirectoryChange, HeldPush, LedgerChange};
use super::effect::{Action, Effects, Report};
use super::feed::KnownHead;
use super::input::{CallId, Input, Now};
use super::records::{self, Checked};
use super::{OurParty, Roaming};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::oicp::push::{ActionType, PushEvseData, PushEvseStatus};
use crate::oicp::reading::Reading;
use crate::oicp::record::Summary;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{
    Announcement, CHANGES_MAX, Change, ChangeSet, FeedId, GOSSIP_BYTES_MAX, Head, Kind, SignedHead, Topic,
};

/// Pushes that may wait while the node asks peers for its own feeds.
const WAITING_PUSHES_MAX: usize = 64;

/// Raw bytes of changes that are tried in one announcement: real records compress to an eighth.
const RAW_BYTES_PER_ANNOUNCEMENT: usize = 256 * 1024;

/// Announcements for one push; what needs more is announced as a head and pulled (`replication.md`).
const ANNOUNCEMENTS_PER_PUSH_MAX: usize = 4;

/// Room that a head takes in a gossip message, in bytes.
const HEAD_ROOM_BYTES: usize = 1_200;

/// EvseIDs named in an AdditionalInfo, which has 1,000 characters.
const IDS_NAMED_MAX: usize = 20;

/// A negative answer to a push.
type Refused = StatusCode;

/// One record of a push, of either kind.
struct Pushed {
    key: EvseKey,
    value: Bytes,
    summary: Option<Box<Summary>>,
}

/// A push, of either kind.
struct Push {
    kind: Kind,
    action: ActionType,
    operator_id: String,
    operator_name: Option<String>,
    records: Vec<Pushed>,
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
        if self.must_wait(&party) {
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
        if self.must_wait(&party) {
            return self.wait_push(Input::PushStatus { call, party, push, body }, call, fx);
        }
        let outcome = self.push(&party, Push::of_status(push), Some(&body), now, fx);
        reply(call, outcome, fx);
    }

    /// Does a held push after all.
    pub(super) fn confirm(&mut self, call: CallId, held: u64, now: Now, fx: &mut Effects) {
        let Some(push) = self.held.remove(&held) else {
            let info = format!("there is no held push {held}: see `chargemesh peers --held`");
            return reply(call, Err(StatusCode::with_info(Code::DataError, &info)), fx);
        };
        fx.ledger.push(LedgerChange::HeldDone { id: held });
        let party = push.feed.party.clone();
        // It was read when it was held; reading it again tolerantly cannot be stricter.
        let parsed = match push.feed.kind {
            Kind::Data => crate::oicp::push::read_evse_data(&push.body, Reading::Tolerant).map(Push::of_data),
            Kind::Status => {
                crate::oicp::push::read_evse_status(&push.body, Reading::Tolerant).map(Push::of_status)
            }
        };
        let outcome = match parsed {
            Ok(parsed) => self.push(&party, parsed, None, now, fx),
            Err(fault) => Err(StatusCode::with_info(Code::DataError, &fault.to_string())),
        };
        reply(call, outcome, fx);
    }

    /// Whether a party's feeds are still being asked for, or taken back from peers.
    fn must_wait(&self, party: &PartyId) -> bool {
        !self.ready
            || Kind::ALL.iter().any(|kind| {
                self.feeds
                    .get(&FeedId::public(party.clone(), *kind))
                    .is_some_and(|feed| feed.sync.is_some() || feed.applying)
            })
    }

    fn wait_push(&mut self, input: Input, call: CallId, fx: &mut Effects) {
        if self.waiting_pushes.len() < WAITING_PUSHES_MAX {
            self.waiting_pushes.push_back(input);
        } else {
            let info = "this node is still asking its peers for its own feeds: try again in some seconds";
            reply(call, Err(StatusCode::with_info(Code::SystemError, info)), fx);
        }
    }

    /// A body is given if the guard rail applies.
    fn push(
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
        check_ids(&self.parties, party, &push)?;
        let feed_id = FeedId::public(party.clone(), push.kind);
        let changes = self.changes_of(&feed_id, &push)?;
        if let Some(body) = body {
            self.guard(&feed_id, &changes, body, now, fx)?;
        }
        let label = (push.operator_id, push.operator_name);
        let vanished = match push.kind {
            Kind::Data => self.orphaned_statuses(party, &changes),
            Kind::Status => Vec::new(),
        };
        self.publish(&feed_id, changes, Some(&label), now, fx);
        if !vanished.is_empty() {
            self.publish(&FeedId::public(party.clone(), Kind::Status), vanished, Some(&label), now, fx);
        }
        Ok(())
    }

    /// What a push changes, or why it is refused as a whole. Records that stay equal are no change.
    fn changes_of(&self, feed_id: &FeedId, push: &Push) -> Result<Vec<(EvseKey, Option<Pushed>)>, Refused> {
        let feed = self.feeds.get(feed_id);
        let known = |key: &EvseKey| feed.and_then(|feed| feed.tree.get(key));
        if push.kind == Kind::Status && push.action != ActionType::Delete {
            let data = self.feeds.get(&FeedId::public(feed_id.party.clone(), Kind::Data));
            let unknown = |pushed: &&Pushed| data.is_none_or(|data| data.tree.get(&pushed.key).is_none());
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
            }
            ActionType::FullLoad | ActionType::Delete => {}
        }
        let mut changes = Vec::new();
        if push.action == ActionType::Delete {
            // Deleting what is not there is a success: the state asked for is reached (GAPS C3).
            changes.extend(
                push.records.iter().filter(|p| known(&p.key).is_some()).map(|p| (p.key.clone(), None)),
            );
            return Ok(changes);
        }
        for pushed in &push.records {
            let same = known(&pushed.key).is_some_and(|entry| entry.hash == records::hash(&pushed.value));
            if !same || push.kind == Kind::Status && push.action != ActionType::FullLoad {
                changes.push((pushed.key.clone(), Some(pushed.clone())));
            }
        }
        if push.action == ActionType::FullLoad {
            let wanted: BTreeSet<&EvseKey> = push.records.iter().map(|pushed| &pushed.key).collect();
            let gone =
                feed.into_iter().flat_map(|feed| feed.tree.iter()).filter(|e| !wanted.contains(&e.key));
            changes.extend(gone.map(|entry| (entry.key.clone(), None)));
        }
        Ok(changes)
    }

    fn orphaned_statuses(
        &self,
        party: &PartyId,
        changes: &[(EvseKey, Option<Pushed>)],
    ) -> Vec<(EvseKey, Option<Pushed>)> {
        let statuses = self.feeds.get(&FeedId::public(party.clone(), Kind::Status));
        let gone = changes.iter().filter(|(_, value)| value.is_none());
        gone.filter(|(key, _)| statuses.is_some_and(|feed| feed.tree.get(key).is_some()))
            .map(|(key, _)| (key.clone(), None))
            .collect()
    }

    /// The guard rail (`decisions.md` 12): a push that would remove much is held, not done.
    fn guard(
        &mut self,
        feed_id: &FeedId,
        changes: &[(EvseKey, Option<Pushed>)],
        body: &Bytes,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Refused> {
        let removes = changes.iter().filter(|(_, value)| value.is_none()).count() as u64;
        let of = self.feeds.get(feed_id).map_or(0, |feed| feed.tree.count());
        let share = u64::from(self.config.guard_share_percent);
        if removes <= self.config.guard_records || removes.saturating_mul(100) <= share.saturating_mul(of) {
            return Ok(());
        }
        let digest = records::hash(body);
        let joined = self.held.values().find(|held| held.feed == *feed_id && held.digest == digest);
        let id = match joined {
            Some(held) => held.id,
            None => {
                if self.held.len() >= self.config.held_pushes_max
                    && let Some((oldest, _)) = self.held.pop_first()
                {
                    fx.ledger.push(LedgerChange::HeldDone { id: oldest });
                }
                let id = self.next_held;
                self.next_held += 1;
                let push = HeldPush {
                    id,
                    feed: feed_id.clone(),
                    digest,
                    body: body.clone(),
                    at_unix_ms: now.unix_ms,
                    removes,
                    of,
                };
                fx.ledger.push(LedgerChange::Held { push: push.clone() });
                fx.actions.push(Action::Report(Report::Held { id, feed: feed_id.clone(), removes }));
                self.held.insert(id, push);
                id
            }
        };
        let info = format!(
            "held: this push would remove {removes} of {of} records. Nothing was changed. To do it: chargemesh push confirm {id}"
        );
        Err(StatusCode::with_info(Code::DataTransactionError, &info))
    }

    /// Numbers changes, signs, and gives them to storage and gossip.
    fn publish(
        &mut self,
        feed_id: &FeedId,
        changes: Vec<(EvseKey, Option<Pushed>)>,
        label: Option<&(String, Option<String>)>,
        now: Now,
        fx: &mut Effects,
    ) {
        if changes.is_empty() {
            return;
        }
        let Some(party) = self.parties.get(&feed_id.party) else { return };
        let mut feed = self.feeds.remove(feed_id).unwrap_or_else(|| super::Feed::new(true));
        let mut writer = Writer::new(&self.network, party, feed_id, &feed, self.incarnation, label);
        let checked: Vec<Checked> =
            changes.into_iter().map(|(key, pushed)| writer.number(key, pushed, now)).collect();
        let announcements = writer.announce(&mut feed.tree, &checked, now);
        let known = writer.known();
        feed.own = true;
        feed.speaker = Some(party.speaker.clone());
        feed.announced_at_ms = Some(now.mono_ms);
        feed.received_unix_ms = now.unix_ms;
        feed.settled(known.clone());
        self.feeds.insert(feed_id.clone(), feed);
        self.claims_of_speaker(feed_id);
        let records: Vec<_> =
            checked.into_iter().map(|checked| self.shown(feed_id, checked, now, fx)).collect();
        fx.ledger.push(LedgerChange::Records { feed: feed_id.clone(), records: records.clone() });
        fx.ledger.push(LedgerChange::Head { head: known.head.clone(), signed: known.signed.clone() });
        fx.directory.push(DirectoryChange::Records { feed: feed_id.clone(), records });
        fx.directory.push(head_change(&known, now));
        let topic = topic_of(feed_id.kind);
        fx.actions.extend(announcements.into_iter().map(|a| Action::Publish { topic, bytes: a.encode() }));
    }

    /// Signs the heads of our feeds again, unchanged: "still here, still this" (`decisions.md` 9).
    pub(super) fn heartbeat(&mut self, feeds: &[FeedId], now: Now, fx: &mut Effects) {
        let mut by_party: BTreeMap<&PartyId, Vec<SignedHead>> = BTreeMap::new();
        for feed_id in feeds {
            let (Some(party), Some(feed)) = (self.parties.get(&feed_id.party), self.feeds.get_mut(feed_id))
            else {
                continue;
            };
            let mut writer = Writer::new(&self.network, party, feed_id, feed, self.incarnation, None);
            writer.seal(&mut feed.tree, now);
            let known = writer.known();
            feed.announced_at_ms = Some(now.mono_ms);
            feed.received_unix_ms = now.unix_ms;
            feed.speaker = Some(party.speaker.clone());
            feed.settled(known.clone());
            fx.ledger.push(LedgerChange::Head { head: known.head.clone(), signed: known.signed.clone() });
            fx.directory.push(head_change(&known, now));
            by_party.entry(&feed_id.party).or_default().push(known.signed);
        }
        for heads in by_party.into_values() {
            let bytes = Announcement { heads, changes: None }.encode();
            fx.actions.push(Action::Publish { topic: Topic::Heads, bytes });
        }
    }
}

/// The topic of a kind.
pub(super) fn topic_of(kind: Kind) -> Topic {
    match kind {
        Kind::Data => Topic::Data,
        Kind::Status => Topic::Status,
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

fn reply(call: CallId, outcome: Result<(), Refused>, fx: &mut Effects) {
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
    let ids: Vec<&str> = records.map(|pushed| pushed.key.as_str()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let named = ids.iter().take(IDS_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = ids.len().saturating_sub(IDS_NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(StatusCode::with_info(code, &format!("{what} {named}{rest}")))
}

impl Clone for Pushed {
    fn clone(&self) -> Pushed {
        Pushed { key: self.key.clone(), value: self.value.clone(), summary: self.summary.clone() }
    }
}

impl Push {
    fn of_data(push: PushEvseData) -> Push {
        let record = |record: crate::oicp::push::PushedRecord| Pushed {
            key: record.summary.key.clone(),
            value: Bytes::from(String::from(record.raw)),
            summary: Some(Box::new(record.summary)),
        };
        Push {
            kind: Kind::Data,
            action: push.action,
            operator_id: push.operator_id.as_str().to_owned(),
            operator_name: push.operator_name,
            records: push.records.into_iter().map(record).collect(),
        }
    }

    fn of_status(push: PushEvseStatus) -> Push {
        let record = |record: crate::oicp::push::PushedStatus| Pushed {
            key: record.key,
            value: Bytes::copy_from_slice(record.status.as_str().as_bytes()),
            summary: None,
        };
        Push {
            kind: Kind::Status,
            action: push.action,
            operator_id: push.operator_id.as_str().to_owned(),
            operator_name: push.operator_name,
            records: push.records.into_iter().map(record).collect(),
        }
    }
}

/// Numbers changes and signs heads of one feed.
struct Writer<'a> {
    network: &'a str,
    party: &'a OurParty,
    head: Head,
    signed: Option<SignedHead>,
    next_seq: u64,
}

impl<'a> Writer<'a> {
    fn new(
        network: &'a str,
        party: &'a OurParty,
        feed_id: &FeedId,
        feed: &super::Feed,
        incarnation: u64,
        label: Option<&(String, Option<String>)>,
    ) -> Writer<'a> {
        let before = feed.applied.as_ref().map(|known| &known.head);
        let seq = feed.seq();
        let operator_id = label.map(|l| l.0.clone()).or_else(|| before.map(|h| h.operator_id.clone()));
        let operator_name = label
            .and_then(|l| l.1.clone())
            .or_else(|| before.map(|h| h.operator_name.clone()).filter(|name| !name.is_empty()))
            .unwrap_or_else(|| party.operator_name.clone());
        let head = Head {
            feed: feed_id.clone(),
            epoch: party.speaker.epoch(),
            incarnation: incarnation.max(before.map_or(0, |head| head.incarnation)),
            seq,
            count: 0,
            root: [0; 32],
            created_unix_ms: 0,
            base_seq: seq,
            body: [0; 32],
            operator_id: operator_id.unwrap_or_else(|| party.party.id.to_string()),
            operator_name,
        };
        Writer { network, party, head, signed: None, next_seq: seq + 1 }
    }

    fn number(&mut self, key: EvseKey, pushed: Option<Pushed>, now: Now) -> Checked {
        let seq = self.next_seq;
        self.next_seq += 1;
        let (value, summary) = pushed.map_or((None, None), |pushed| (Some(pushed.value), pushed.summary));
        let hash = value.as_deref().map_or([0; 32], records::hash);
        Checked { key, seq, at_unix_ms: now.unix_ms, value, hash, summary }
    }

    /// Puts the changes into the tree and signs: in up to some announcements that carry them, or, if
    /// they are too many for gossip, in one that only says what to pull.
    fn announce(&mut self, tree: &mut super::Tree, changes: &[Checked], now: Now) -> Vec<Announcement> {
        let sets = change_sets(changes);
        let mut announcements = Vec::new();
        let mut rest = changes;
        for (set, length) in sets.unwrap_or_default() {
            let (these, others) = rest.split_at(length);
            rest = others;
            apply(tree, these);
            self.head.base_seq = self.head.seq;
            self.head.seq += length as u64;
            self.head.body = set.digest();
            let signed = self.sign(tree, now);
            announcements.push(Announcement { heads: vec![signed], changes: Some(set) });
        }
        if !rest.is_empty() {
            apply(tree, rest);
            self.head.seq += rest.len() as u64;
            self.seal(tree, now);
            announcements
                .extend(self.signed.clone().map(|head| Announcement { heads: vec![head], changes: None }));
        }
        announcements
    }

    /// Signs the state as it is, without changes.
    fn seal(&mut self, tree: &mut super::Tree, now: Now) {
        self.head.base_seq = self.head.seq;
        self.head.body = [0; 32];
        self.sign(tree, now);
    }

    fn sign(&mut self, tree: &mut super::Tree, now: Now) -> SignedHead {
        self.head.count = tree.count();
        self.head.root = tree.root();
        self.head.created_unix_ms = now.unix_ms;
        let signed = SignedHead::sign(
            &self.head,
            self.network,
            *self.party.speaker.delegation_hash(),
            &self.party.message_key,
        );
        self.signed = Some(signed.clone());
        signed
    }

    fn known(&self) -> KnownHead {
        let delegation = *self.party.speaker.delegation_hash();
        let signed = self.signed.clone();
        let signed = signed.unwrap_or_else(|| {
            SignedHead::sign(&self.head, self.network, delegation, &self.party.message_key)
        });
        KnownHead { head: self.head.clone(), signed }
    }
}

fn apply(tree: &mut super::Tree, changes: &[Checked]) {
    for change in changes {
        match change.entry() {
            Some(entry) => tree.put(entry),
            None => tree.remove(&change.key),
        };
    }
}

/// Cuts changes into sets that fit a gossip message each; `None` if that takes too many messages.
fn change_sets(changes: &[Checked]) -> Option<Vec<(ChangeSet, usize)>> {
    let mut sets = Vec::new();
    let mut rest = changes;
    while !rest.is_empty() {
        if sets.len() == ANNOUNCEMENTS_PER_PUSH_MAX {
            return None;
        }
        let mut raw = 0;
        let fits = |change: &&Checked| {
            raw += change.key.as_str().len() + change.value.as_ref().map_or(0, Bytes::len);
            raw <= RAW_BYTES_PER_ANNOUNCEMENT
        };
        let length = rest.iter().take(CHANGES_MAX).take_while(fits).count().max(1);
        let (these, others) = rest.split_at(length);
        let wire: Vec<Change> = these
            .iter()
            .map(|c| Change {
                key: c.key.as_str().to_owned(),
                at_unix_ms: c.at_unix_ms,
                value: c.value.clone(),
            })
            .collect();
        let set = ChangeSet::encode(&wire);
        if set.size_bytes() + HEAD_ROOM_BYTES > GOSSIP_BYTES_MAX {
            return None;
        }
        sets.push((set, length));
        rest = others;
    }
    Some(sets)
}
