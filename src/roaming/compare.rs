//! Comparing heads with peers, so that nothing that gossip lost stays lost (`decisions.md` 8), and the
//! questions and answers on the exchange streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::audience::concerns;
use super::effect::{Action, Effects, Misdeed, Refusal, Report};
use super::feed::KnownHead;
use super::input::{AskId, Now, RequestId};
use super::speakers::Waiting;
use super::{Asking, Feed, Peer, Pending, Roaming};
use crate::identity::{PartyId, Speaker};
use crate::planted::{Bug, planted};
use crate::protocol::{Announcement, Answer, FeedId, Head, HeadMark, NodeId, Question, SignedHead};

/// Heads in one answer.
const HEADS_PER_ANSWER_MAX: usize = 1_024;

/// ... and their bytes: an answer has to fit one frame of an exchange stream.
const HEAD_BYTES_PER_ANSWER_MAX: usize = 768 * 1024;

/// An answer with more heads than this may have been cut, or have more unknown signers than can be asked
/// for at once: the comparison is repeated after a second.
const HEADS_AT_ONCE: usize = 64;

/// Shortest time between two comparisons with one peer, in milliseconds.
pub(super) const COMPARE_MS_MIN: u64 = 1_000;

/// Peers that are compared with in one round of "soon": with more of them the rounds get longer.
const PEERS_PER_ROUND: usize = 8;

/// How long an answer to a question of ours is waited for, in milliseconds: longer than the engine's own
/// time-out, so that it matters only if the engine forgets to tell.
const ANSWER_MS_MAX: u64 = 30_000;

/// How long pushes wait for a feed of ours to be taken back from peers, in milliseconds. Who holds the
/// records may be away for good; then the writer's word goes on without them.
pub(super) const TAKE_BACK_MS_MAX: u64 = 30_000;

impl Roaming {
    pub(super) fn peer_up(&mut self, node: NodeId, now: Now, fx: &mut Effects) {
        let soon_until_ms = now.mono_ms + self.config.compare_soon_for_s * 1_000;
        // At once with a few; a node that joins meets many, who all hold the same.
        let asking = self.requests.values().filter(|asking| matches!(asking.about, Pending::Heads)).count();
        let rounds = (asking / PEERS_PER_ROUND) as u64;
        let peer = Peer {
            compare_at_ms: now.mono_ms + rounds * COMPARE_MS_MIN,
            soon_until_ms,
            ask_back_from_ms: 0,
            silent_until_ms: 0,
            introduce_at_ms: None,
        };
        self.peers.insert(node.clone(), peer);
        self.compare_registry(&node, now, fx);
        if rounds == 0 && self.registry_heard(now) {
            self.compare(&node, now, fx);
        }
        self.notice_all_to(&node);
        self.introduce_to(&node, now, fx);
    }

    pub(super) fn peer_down(&mut self, node: &NodeId) {
        self.peers.remove(node);
        self.introductions.forget(node);
        self.agreements.forget(node);
        self.charging.card_filters.forget(node);
        self.partners.look_soon();
    }

    pub(super) fn gap_suspected(&mut self, node: &NodeId, now: Now) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.soon_until_ms = now.mono_ms + self.config.compare_soon_for_s * 1_000;
            peer.compare_at_ms = peer.compare_at_ms.min(now.mono_ms + COMPARE_MS_MIN);
        }
    }

    /// Asks the peers whose turn it is.
    pub(super) fn tick_compare(&mut self, now: Now, fx: &mut Effects) {
        if !self.registry_heard(now) {
            return;
        }
        let due = |peer: &Peer| peer.compare_at_ms <= now.mono_ms && !planted(Bug::PeersNotCompared);
        let due: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| due(peer)).map(|(node, _)| node.clone()).collect();
        for node in due {
            self.compare(&node, now, fx);
        }
    }

    /// The first comparison after the start; the others follow with the ticks.
    pub(super) fn compare_first(&mut self, node: &NodeId, now: Now, fx: &mut Effects) {
        if self.peers.contains_key(node) {
            self.compare(node, now, fx);
        }
    }

    fn compare(&mut self, node: &NodeId, now: Now, fx: &mut Effects) {
        let peers = self.peers.len().max(1);
        let jitter = self.random();
        let Some(peer) = self.peers.get_mut(node) else { return };
        let wait_ms = if peer.soon_until_ms > now.mono_ms {
            self.config.compare_soon_s * 1_000 * peers.div_ceil(PEERS_PER_ROUND) as u64
        } else {
            // Every minute with one random peer: spread over all of them.
            let slow_ms = self.config.compare_s * 1_000 * peers as u64;
            slow_ms / 2 + jitter % (slow_ms + 1)
        };
        peer.compare_at_ms = now.mono_ms + wait_ms.max(COMPARE_MS_MIN);
        let question = if self.replicate_all {
            let seen_by = self.parties_of(node, now);
            let applied = self.applied_for(&seen_by);
            Question::Heads(applied.map(|known| HeadMark::of(&known.head)).collect())
        } else if self.parties.is_empty() {
            return;
        } else {
            Question::HeadsOf(self.own_marks(node, now))
        };
        self.ask(node.clone(), Pending::Heads, question, now, fx);
    }

    /// The applied heads of the feeds that a node which speaks for these parties may know of.
    fn applied_for(&self, seen_by: &BTreeSet<PartyId>) -> impl Iterator<Item = &KnownHead> {
        let seen = move |id: &FeedId| id.audience.is_public() || concerns(id, seen_by);
        self.feeds.iter().filter(move |(id, _)| seen(id)).filter_map(|(_, feed)| feed.applied.as_ref())
    }

    fn own_marks(&self, node: &NodeId, now: Now) -> Vec<HeadMark> {
        let feeds = self.own_feed_ids().into_iter().filter(|id| self.may_see(node, id, now));
        let mark = |feed_id: FeedId| {
            let applied = self.feeds.get(&feed_id).and_then(|feed| feed.applied.as_ref());
            applied.map_or_else(|| HeadMark::nothing(&feed_id), |known| HeadMark::of(&known.head))
        };
        feeds.map(mark).collect()
    }

    /// Asks a peer and remembers what about.
    pub(super) fn ask(&mut self, to: NodeId, about: Pending, question: Question, now: Now, fx: &mut Effects) {
        self.ask_within(to, about, question, ANSWER_MS_MAX, now, fx);
    }

    /// The same with a time for the answer, in milliseconds.
    pub(super) fn ask_within(
        &mut self,
        to: NodeId,
        about: Pending,
        question: Question,
        timeout_ms: u64,
        now: Now,
        fx: &mut Effects,
    ) {
        let request = RequestId(self.next_id());
        let until_ms = now.mono_ms + timeout_ms;
        self.requests.insert(request, Asking { to: to.clone(), about, until_ms });
        fx.actions.push(Action::Ask { to, request, bytes: question.encode(), timeout_ms });
    }

    /// A peer asks.
    pub(super) fn asked(&mut self, from: &NodeId, ask: AskId, bytes: &[u8], now: Now, fx: &mut Effects) {
        let answer = match Question::decode(bytes) {
            Ok(Question::Heads(_) | Question::HeadsOf(_) | Question::Time { .. })
                if !self.pace.admits(from, now.mono_ms) =>
            {
                fx.actions.push(Action::Penalise { node: from.clone(), why: Misdeed::Flood });
                Answer::NotFound
            }
            Ok(Question::Heads(marks)) => self.heads_for(from, &marks, false, now),
            Ok(Question::HeadsOf(marks)) => self.heads_for(from, &marks, true, now),
            Ok(Question::Chain(delegation)) => {
                self.speakers.chain(&delegation).cloned().map_or(Answer::NotFound, Answer::Chain)
            }
            Ok(Question::Registry(root)) => self.names_for(&root),
            Ok(Question::Objects(names)) => self.objects_for(&names),
            Ok(Question::Conflict(notice)) => self.noticed(notice, fx),
            Ok(Question::Time { id, asker }) => self.tell_time(from, id, asker, now),
            Ok(Question::Introduce(chains)) => self.introduced(from, chains, now, fx),
            Ok(Question::Announce(told)) => self.announce_told(from, *told, now, fx),
            Ok(Question::CardFilter(filter)) => self.card_filter_told(from, *filter, now),
            Ok(Question::Agreement(papers)) => self.agreement_told(from, *papers, now, fx),
            Ok(Question::Books(envelope)) => match self.books_asked(from, ask, &envelope, now, fx) {
                Some(answer) => answer,
                None => return,
            },
            Ok(Question::Message(envelope)) => match self.message_came(from, ask, &envelope, now, fx) {
                Some(answer) => answer,
                None => return,
            },
            // A later version's question, or no question at all: said so, never a disconnect.
            Err(_) => Answer::Unsupported,
        };
        fx.actions.push(Action::Answer { ask, bytes: answer.encode() });
    }

    /// Our heads that the asker lacks; if it has newer ones, we ask it in turn.
    fn heads_for(&mut self, from: &NodeId, marks: &[HeadMark], only_these: bool, now: Now) -> Answer {
        let seen_by = self.parties_of(from, now);
        if self.holds_the_same(marks, &seen_by) {
            return Answer::Heads(Vec::new());
        }
        let theirs: BTreeMap<FeedId, &HeadMark> =
            marks.iter().filter_map(|mark| Some((self.feed_of(mark, &seen_by)?, mark))).collect();
        if theirs.iter().any(|(feed_id, mark)| self.is_behind(feed_id, mark))
            && let Some(peer) = self.peers.get_mut(from)
            && peer.ask_back_from_ms <= now.mono_ms
        {
            peer.compare_at_ms = peer.compare_at_ms.min(now.mono_ms + COMPARE_MS_MIN);
        }
        let start = self.random() as usize;
        let newer = |head: &Head| theirs.get(&head.feed).map_or(!only_these, |mark| mark.is_outdone_by(head));
        let applied = self.applied_for(&seen_by);
        let newer = applied.filter(|k| newer(&k.head)).map(|k| &k.signed);
        // Who holds one of two histories cannot know that there is another.
        let rivals =
            self.feeds.iter().filter(|(feed_id, feed)| feed.is_frozen() && theirs.contains_key(*feed_id));
        let newer: Vec<&SignedHead> =
            newer.chain(rivals.filter_map(|(_, feed)| feed.rival.as_ref())).collect();
        // Where not all fit, another part comes each time: an asker may not want the first ones.
        let first = if newer.len() > HEADS_PER_ANSWER_MAX { start % newer.len() } else { 0 };
        let mut bytes = 0;
        let fits = |signed: &&&SignedHead| {
            bytes += signed.as_bytes().len();
            bytes <= HEAD_BYTES_PER_ANSWER_MAX
        };
        let turned = newer.iter().cycle().skip(first).take(newer.len().min(HEADS_PER_ANSWER_MAX));
        Answer::Heads(turned.take_while(fits).map(|signed| (*signed).clone()).collect())
    }

    /// Whether the marks are those of our own heads, one by one: so it is nearly always, and then no more
    /// needs to be looked at.
    fn holds_the_same(&self, marks: &[HeadMark], seen_by: &BTreeSet<PartyId>) -> bool {
        if self.feeds.values().any(Feed::is_frozen) {
            return false;
        }
        let mut marks = marks.iter();
        let mut applied = self.applied_for(seen_by);
        applied.all(|known| marks.next().is_some_and(|mark| mark.is_of(&known.head)))
            && marks.next().is_none()
    }

    fn is_behind(&self, feed_id: &FeedId, mark: &HeadMark) -> bool {
        if !self.holds(feed_id) {
            return false;
        }
        let newest = self.feeds.get(feed_id).and_then(|feed| feed.newest.as_ref());
        newest.map_or((0, 0, 0), |known| known.head.position()) < mark.position()
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
        if self.requests.get(&request).is_none_or(|asking| asking.to != *from) {
            return;
        }
        let Some(asking) = self.requests.remove(&request) else { return };
        let answer = Answer::decode(bytes).unwrap_or(Answer::Unsupported);
        match (asking.about, answer) {
            (Pending::Heads, Answer::Heads(heads)) => self.heads_answered(from, heads, now, fx),
            (Pending::Chain(delegation), Answer::Chain(chain)) => {
                self.chain_answered(from, delegation, Some(chain), now, fx);
            }
            (Pending::Chain(delegation), _) => self.chain_answered(from, delegation, None, now, fx),
            (Pending::Registry, Answer::Names(names)) => self.names_answered(from, names, now, fx),
            (Pending::Objects { asked, later }, Answer::Objects(objects)) => {
                self.objects_answered(from, asked, later, objects, now, fx);
            }
            (Pending::Registry, Answer::Noted) => {
                self.registry_compared(now);
                self.registry_done(from, now, fx);
            }
            (Pending::Registry | Pending::Objects { .. }, _) => self.registry_done(from, now, fx),
            (Pending::Introduction, Answer::Chains(chains)) => self.learn_parties(from, chains, now),
            (Pending::Books(id), answer) => self.books_replied(from, id, answer, now, fx),
            (Pending::Message(id), answer) => self.message_replied(from, id, answer, now, fx),
            (Pending::Agreement(id), answer) => self.agreement_answered(from, id, Some(&answer), now),
            (Pending::Time(id), answer) => self.time_told(from, id, &answer, now),
            (Pending::CardFilter(party), answer) => {
                self.card_filter_answered(from, &party, Some(&answer), now)
            }
            (Pending::Introduction, _) => self.introduce_again_to(from, now),
            (Pending::Notice | Pending::Heads | Pending::Announcement, _) => {}
        }
    }

    fn heads_answered(&mut self, from: &NodeId, heads: Vec<SignedHead>, now: Now, fx: &mut Effects) {
        let many = heads.len() > HEADS_AT_ONCE;
        let mut news = false;
        for signed in heads {
            let announcement = Announcement { heads: vec![signed], changes: None };
            let message = Waiting { from: from.clone(), gossip: None, announcement, until_ms: 0 };
            news |= self.take(message, now, fx);
        }
        let futile_ms = self.config.compare_s * 1_000;
        if let Some(peer) = self.peers.get_mut(from) {
            // Two nodes that trust different parties would else ask each other back for ever.
            peer.ask_back_from_ms = if news { 0 } else { now.mono_ms + futile_ms };
            if many && news {
                peer.compare_at_ms = peer.compare_at_ms.min(now.mono_ms + COMPARE_MS_MIN);
            }
        }
    }

    pub(super) fn ask_failed(&mut self, request: RequestId, sent: bool, now: Now, fx: &mut Effects) {
        let Some(asking) = self.requests.remove(&request) else { return };
        match asking.about {
            Pending::Chain(delegation) => self.chain_answered(&asking.to, delegation, None, now, fx),
            Pending::Registry | Pending::Objects { .. } => self.registry_done(&asking.to, now, fx),
            Pending::Agreement(id) => self.agreement_answered(&asking.to, id, None, now),
            Pending::Books(id) => self.books_failed(id, fx),
            Pending::Message(id) => self.message_failed(id, sent, now, fx),
            Pending::CardFilter(party) => self.card_filter_answered(&asking.to, &party, None, now),
            Pending::Introduction => self.introduce_again_to(&asking.to, now),
            Pending::Heads | Pending::Notice | Pending::Time(_) | Pending::Announcement => {}
        }
    }

    /// Questions of which the engine told nothing more.
    pub(super) fn tick_requests(&mut self, now: Now, fx: &mut Effects) {
        let late = |asking: &Asking| asking.until_ms <= now.mono_ms;
        let late: Vec<RequestId> =
            self.requests.iter().filter(|(_, asking)| late(asking)).map(|(id, _)| *id).collect();
        for request in late {
            self.ask_failed(request, true, now, fx);
        }
    }

    /// Whether some peer has not said yet whether it holds newer heads of our own feeds.
    pub(super) fn comparing(&self) -> bool {
        let own = |about: &Pending| match about {
            Pending::Heads => true,
            // Heads are asked for when the registry has been heard.
            Pending::Registry | Pending::Objects { .. } => !self.registry_heard,
            Pending::Chain(_)
            | Pending::Notice
            | Pending::Introduction
            | Pending::Agreement(_)
            | Pending::Announcement
            | Pending::Time(_)
            | Pending::Books(_)
            | Pending::CardFilter(_)
            | Pending::Message(_) => false,
        };
        self.requests.values().any(|asking| own(&asking.about))
    }

    /// A head of a feed of ours came from outside.
    pub(super) fn own_head(
        &mut self,
        known: KnownHead,
        speaker: Arc<Speaker>,
        from: &NodeId,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        let feed_id = known.head.feed.clone();
        let feed = self.feeds.entry(feed_id.clone()).or_insert_with(|| Feed::new(true));
        let ours = feed.newest.as_ref().map(|newest| newest.head.position());
        if ours.is_some_and(|ours| ours >= known.head.position()) {
            feed.shown_by(from, &known.head);
            return Err(Refusal::Known);
        }
        // Only this party's own key can have signed it: we forgot something that we once said, as after
        // the restore of a backup. Our peers remember. What we say from now on is a new incarnation.
        self.incarnation = self.incarnation.max(known.head.incarnation.saturating_add(1));
        self.take_back_until_ms = now.mono_ms + TAKE_BACK_MS_MAX;
        feed.learn(known, Some(from), now);
        feed.retry_at_ms = now.mono_ms;
        self.speaks(&feed_id, speaker, fx);
        fx.actions.push(Action::Report(Report::OwnFeedBehind { feed: feed_id.clone() }));
        self.want(&feed_id, now, fx);
        Ok(())
    }
}
