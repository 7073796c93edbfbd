//! Comparing heads with peers, so that nothing that gossip lost stays lost (`decisions.md` 8), and the
//! questions of peers.

use super::effect::{Action, Effects, Report};
use super::feed::KnownHead;
use super::input::{AskId, Now, RequestId};
use super::{Peer, Pending, Roaming};
use crate::identity::{PartyId, Speaker};
use crate::oicp::id::EvseKey;
use crate::protocol::{Answer, ConflictNotice, FeedId, HeadMark, Kind, NodeId, Question, SignedHead};

/// Heads in one answer.
const HEADS_PER_ANSWER_MAX: usize = 1_024;

/// Conflict notices of peers that are kept.
const NOTICES_MAX: usize = 10_000;

/// Conflict notices under way at once.
const NOTICES_ASKED_MAX: usize = 16;

/// Conflict notices that wait to be sent.
const NOTICES_WAITING_MAX: usize = 10_000;

impl Roaming {
    pub(super) fn peer_up(&mut self, node: NodeId, now: Now, fx: &mut Effects) {
        let soon_until_ms = now.mono_ms + self.config.compare_soon_for_s * 1_000;
        self.peers.insert(node.clone(), Peer { compare_at_ms: now.mono_ms, soon_until_ms });
        self.compare(&node, now, fx);
        self.notice_all_to(&node);
    }

    pub(super) fn gap_suspected(&mut self, node: &NodeId, now: Now) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.soon_until_ms = now.mono_ms + self.config.compare_soon_for_s * 1_000;
            peer.compare_at_ms = now.mono_ms;
        }
    }

    /// Asks the peers whose turn it is.
    pub(super) fn tick_compare(&mut self, now: Now, fx: &mut Effects) {
        let due: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.compare_at_ms <= now.mono_ms)
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.compare(&node, now, fx);
        }
    }

    fn compare(&mut self, node: &NodeId, now: Now, fx: &mut Effects) {
        let peers = self.peers.len().max(1) as u64;
        let jitter = self.random();
        let Some(peer) = self.peers.get_mut(node) else { return };
        let soon = peer.soon_until_ms > now.mono_ms && !self.all_in_sync;
        // Every minute with one random peer: spread over all of them.
        let slow_ms = self.config.compare_s * 1_000 * peers;
        let wait_ms =
            if soon { self.config.compare_soon_s * 1_000 } else { slow_ms / 2 + jitter % (slow_ms + 1) };
        peer.compare_at_ms = now.mono_ms + wait_ms.max(1_000);
        if !self.replicate_all && self.parties.is_empty() {
            return;
        }
        let request = self.request(Pending::Heads);
        let marks = self.feeds.values().filter_map(|feed| feed.applied.as_ref()).map(mark).collect();
        fx.actions.push(Action::Ask { to: node.clone(), request, bytes: Question::Heads(marks).encode() });
    }

    /// A peer asks.
    pub(super) fn asked(&mut self, from: &NodeId, ask: AskId, bytes: &[u8], now: Now, fx: &mut Effects) {
        let answer = match Question::decode(bytes) {
            Ok(Question::Heads(marks)) => self.heads_for(from, &marks, now),
            Ok(Question::Chain(delegation)) => {
                self.speakers.chain(&delegation).cloned().map_or(Answer::NotFound, Answer::Chain)
            }
            Ok(Question::Conflict(notice)) => self.noticed(notice, fx),
            // A later version's question, or no question at all: said so, never a disconnect.
            Err(_) => Answer::Unsupported,
        };
        fx.actions.push(Action::Answer { ask, bytes: answer.encode() });
    }

    /// Our heads that the asker lacks; if it has newer ones, we ask it in turn.
    fn heads_for(&mut self, from: &NodeId, marks: &[HeadMark], now: Now) -> Answer {
        let theirs: std::collections::BTreeMap<(&str, u8), &HeadMark> =
            marks.iter().map(|mark| ((mark.party.as_str(), mark.kind), mark)).collect();
        let mut heads: Vec<SignedHead> = Vec::new();
        for known in self.feeds.values().filter_map(|feed| feed.applied.as_ref()) {
            let head = &known.head;
            let party = head.feed.party.to_text();
            let newer = match theirs.get(&(party.as_str(), head.feed.kind.code())) {
                None => true,
                Some(mark) => {
                    let position = (mark.epoch, mark.incarnation, mark.seq);
                    head.position() > position || head.position() == position && head.root != mark.root
                }
            };
            if newer && heads.len() < HEADS_PER_ANSWER_MAX {
                heads.push(known.signed.clone());
            }
        }
        if self.replicate_all
            && marks.iter().any(|mark| self.is_behind(mark))
            && let Some(peer) = self.peers.get_mut(from)
        {
            peer.compare_at_ms = peer.compare_at_ms.min(now.mono_ms + 1_000);
        }
        Answer::Heads(heads)
    }

    fn is_behind(&self, mark: &HeadMark) -> bool {
        let party = PartyId::parse(&mark.party).ok();
        let Some((party, kind)) = party.zip(Kind::from_code(mark.kind)) else { return false };
        let newest = self.feeds.get(&FeedId::public(party, kind)).and_then(|feed| feed.newest.as_ref());
        newest.is_none_or(|known| known.head.position() < (mark.epoch, mark.incarnation, mark.seq))
    }

    /// A peer answered.
    pub(super) fn answered(
        &mut self,
        from: &NodeId,
        request: RequestId,
        bytes: &[u8],
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(pending) = self.requests.remove(&request) else { return };
        let answer = Answer::decode(bytes).unwrap_or(Answer::Unsupported);
        match (pending, answer) {
            (Pending::Heads, Answer::Heads(heads)) => {
                for signed in heads {
                    self.take_answered_head(signed, from, now, fx);
                }
                self.heads_compared(now, fx);
            }
            (Pending::Chain(delegation), Answer::Chain(chain)) => {
                self.chain_answered(delegation, Some(chain), now, fx)
            }
            (Pending::Chain(delegation), _) => self.chain_answered(delegation, None, now, fx),
            (Pending::Notice, _) | (Pending::Heads, _) => {}
        }
    }

    pub(super) fn ask_failed(&mut self, request: RequestId, now: Now, fx: &mut Effects) {
        if let Some(Pending::Chain(delegation)) = self.requests.remove(&request) {
            self.chain_answered(delegation, None, now, fx);
        }
    }

    fn take_answered_head(&mut self, signed: SignedHead, from: &NodeId, now: Now, fx: &mut Effects) {
        let announcement = crate::protocol::Announcement { heads: vec![signed], changes: None };
        self.take(
            super::speakers::Waiting { from: from.clone(), gossip: None, announcement, until_ms: 0 },
            now,
            fx,
        );
    }

    /// A head of a feed of ours came from outside.
    pub(super) fn own_head(
        &mut self,
        known: KnownHead,
        speaker: std::sync::Arc<Speaker>,
        from: &NodeId,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), super::effect::Refusal> {
        let feed = self.feeds.entry(known.head.feed.clone()).or_insert_with(|| super::Feed::new(true));
        let ours = feed.newest.as_ref().map(|newest| newest.head.position());
        if ours.is_some_and(|ours| ours >= known.head.position()) {
            return Err(super::effect::Refusal::Known);
        }
        // Only this party's own key can have signed it: we forgot something that we once said, as after
        // the restore of a backup. Our peers remember.
        let feed_id = known.head.feed.clone();
        feed.learn(known, speaker, Some(from), now);
        fx.actions.push(Action::Report(Report::OwnFeedBehind { feed: feed_id.clone() }));
        self.want(&feed_id, now, fx);
        Ok(())
    }

    /// Queues a notice about a conflict for the publishers' nodes.
    pub(super) fn notice(&mut self, kind: Kind, key: &EvseKey, parties: &[PartyId]) {
        for party in parties.iter().filter(|party| !self.parties.contains_key(party)) {
            let Some(node) = self.node_of(&FeedId::public(party.clone(), kind)) else { continue };
            if self.notices.len() < NOTICES_WAITING_MAX {
                self.notices.insert((node, kind, key.clone()));
            }
        }
    }

    fn notice_all_to(&mut self, node: &NodeId) {
        let conflicts: Vec<(Kind, EvseKey, Vec<PartyId>)> = self
            .claims
            .conflicts()
            .map(|((kind, key), c)| (*kind, key.clone(), c.claimed_by.clone()))
            .collect();
        for (kind, key, parties) in conflicts {
            let theirs = parties
                .iter()
                .any(|party| self.node_of(&FeedId::public(party.clone(), kind)).as_ref() == Some(node));
            if theirs && self.notices.len() < NOTICES_WAITING_MAX {
                self.notices.insert((node.clone(), kind, key));
            }
        }
    }

    fn node_of(&self, feed_id: &FeedId) -> Option<NodeId> {
        NodeId::from_bytes(self.feeds.get(feed_id)?.speaker.as_ref()?.peer_id())
    }

    /// Sends queued notices to publishers that are connected; the others hear when they come up. A
    /// publisher is always connected to somebody who holds its feed, so somebody tells it.
    pub(super) fn tick_notices(&mut self, fx: &mut Effects) {
        let asked = self.requests.values().filter(|pending| matches!(pending, Pending::Notice)).count();
        for _ in asked..NOTICES_ASKED_MAX {
            let Some((node, kind, key)) = self.notices.pop_first() else { return };
            let found = self.claims.conflicts().find(|((k, e), _)| *k == kind && *e == key);
            let (Some((_, conflict)), true) = (found, self.peers.contains_key(&node)) else { continue };
            let notice = ConflictNotice {
                key: key.as_str().to_owned(),
                kind: kind.code(),
                shown: conflict.shown.as_ref().map(PartyId::to_text),
                claimed_by: conflict.claimed_by.iter().map(PartyId::to_text).collect(),
            };
            let request = self.request(Pending::Notice);
            fx.actions.push(Action::Ask { to: node, request, bytes: Question::Conflict(notice).encode() });
        }
    }

    /// A peer tells us that somebody else publishes an EVSE of ours.
    fn noticed(&mut self, notice: ConflictNotice, fx: &mut Effects) -> Answer {
        let parties: Vec<PartyId> =
            notice.claimed_by.iter().filter_map(|text| PartyId::parse(text).ok()).collect();
        let ours = parties.iter().any(|party| self.parties.contains_key(party));
        let (Some(kind), Ok(key), true) =
            (Kind::from_code(notice.kind), EvseKey::parse_canonical(&notice.key), ours)
        else {
            return Answer::NotFound;
        };
        let shown = notice.shown.as_deref().and_then(|text| PartyId::parse(text).ok());
        let conflict = super::claims::Conflict { shown, claimed_by: parties };
        let known = self.noticed.get(&(kind, key.clone())) == Some(&conflict);
        if !known && self.noticed.len() < NOTICES_MAX {
            let (shown, claimed_by) = (conflict.shown.clone(), conflict.claimed_by.clone());
            fx.actions.push(Action::Report(Report::Conflict { key: key.clone(), kind, shown, claimed_by }));
            self.noticed.insert((kind, key), conflict);
        }
        Answer::Noted
    }
}

fn mark(known: &KnownHead) -> HeadMark {
    let head = &known.head;
    HeadMark {
        party: head.feed.party.to_text(),
        kind: head.feed.kind.code(),
        epoch: head.epoch,
        incarnation: head.incarnation,
        seq: head.seq,
        root: head.root,
    }
}
