//! Judging what others announce: accept, ignore or reject, before it is passed on (`decisions.md` 4-7).

use std::sync::Arc;

use super::change::DirectoryChange;
use super::effect::{Action, Effects, Misdeed, Refusal, Report};
use super::feed::{Feed, FeedState, KnownHead};
use super::freshness::Operation;
use super::input::{GossipId, Now};
use super::publish::head_change;
use super::records::{self, Checked};
use super::speakers::{Knowledge, Waiting};
use super::{Pending, Roaming};
use crate::identity::{Chain, Speaker};
use crate::planted::{Bug, planted};
use crate::protocol::{
    Announcement, Change, ChangeSet, Digest, FeedId, Head, NodeId, ProtocolError, Question, SignedHead,
    Verdict,
};

/// How far in the future a head may be signed, in milliseconds: the clocks of honest nodes differ.
pub(super) const FUTURE_MS_MAX: u64 = 300_000;

/// Why a head was not taken now.
pub(super) enum Stop {
    /// It will not be taken.
    Refused(Refusal),
    /// Its signer is not known yet.
    Unknown(Digest),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl Roaming {
    /// A gossip message.
    pub(super) fn announced(
        &mut self,
        from: NodeId,
        gossip: GossipId,
        bytes: &[u8],
        now: Now,
        fx: &mut Effects,
    ) {
        match Announcement::decode(bytes) {
            Ok(announcement) if !self.concerns_us(&announcement, now) => {
                self.refuse(&from, Some(gossip), Refusal::NotHeld, fx);
            }
            Ok(announcement) => {
                let message = Waiting { from, gossip: Some(gossip), announcement, until_ms: 0 };
                self.take(message, now, fx);
            }
            Err(error) => self.refuse(&from, Some(gossip), refusal_of(&error), fx),
        }
    }

    /// A node that holds its own feeds alone does not ask who strangers are.
    fn concerns_us(&self, announcement: &Announcement, now: Now) -> bool {
        let known = |signed: &SignedHead| match signed.delegation(self.speakers.network()) {
            Ok(delegation) => matches!(self.speakers.of(&delegation, now), Knowledge::Known(_)),
            Err(_) => true,
        };
        self.replicate_all || announcement.heads.iter().any(known)
    }

    /// A message whose sender may or may not be known. Says whether there is, or may be, news in it.
    pub(super) fn take(&mut self, message: Waiting, now: Now, fx: &mut Effects) -> bool {
        let Waiting { from, gossip, announcement, .. } = &message;
        let mut refused = None;
        let mut accepted = false;
        for signed in &announcement.heads {
            match self.take_head(signed, announcement.changes.as_ref(), from, gossip.is_some(), now, fx) {
                Ok(()) => accepted = true,
                Err(Stop::Unknown(delegation)) => return self.hold(delegation, message, now, fx),
                Err(Stop::Refused(refusal)) => {
                    if refused.as_ref().is_none_or(|old: &Refusal| old.verdict() != Verdict::Reject) {
                        refused = Some(refusal);
                    }
                }
            }
        }
        match refused {
            Some(refusal) if !accepted || refusal.verdict() == Verdict::Reject => {
                let (from, gossip) = (from.clone(), *gossip);
                self.refuse(&from, gossip, refusal, fx);
            }
            _ => judge(*gossip, Verdict::Accept, fx),
        }
        accepted
    }

    fn hold(&mut self, delegation: Digest, message: Waiting, now: Now, fx: &mut Effects) -> bool {
        let until_ms = match message.until_ms {
            0 => now.mono_ms + self.config.unknown_sender_ms,
            // It waited already, for the signer of another of its heads.
            until_ms => until_ms,
        };
        let from = message.from.clone();
        let room = self.config.unknown_sender_messages_max;
        match self.speakers.hold(delegation, Waiting { until_ms, ..message }, room) {
            Ok(first) => {
                if first {
                    self.ask(from, Pending::Chain(delegation), Question::Chain(delegation), now, fx);
                }
                true
            }
            Err(message) => {
                self.refuse(&message.from, message.gossip, Refusal::UnknownSender, fx);
                false
            }
        }
    }

    /// The chain behind a delegation came, or will not come from this peer.
    pub(super) fn chain_answered(
        &mut self,
        from: &NodeId,
        delegation: Digest,
        chain: Option<Chain>,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.speakers.is_full() {
            self.forget_unused_speakers();
        }
        let admitted = match chain {
            Some(chain) if chain.delegation_hash() == delegation => {
                let kept = chain.clone();
                // Who is who is remembered, and told; whether the chain counts is said below.
                let _known = self.learn(&chain.credential.clone().into(), now, fx);
                let admitted = self.speakers.admit(chain, now);
                admitted.map(|_| fx.directory.push(DirectoryChange::Chain { delegation, chain: kept }))
            }
            _ => Err(Refusal::UnknownSender),
        };
        let mut others = Vec::new();
        for message in self.speakers.release(&delegation) {
            match &admitted {
                Ok(()) => drop(self.take(message, now, fx)),
                // It is this peer that does not know: the others who passed such messages on may.
                Err(Refusal::UnknownSender) if message.from != *from => others.push(message),
                Err(refusal) => self.refuse(&message.from, message.gossip, refusal.clone(), fx),
            }
        }
        for message in others {
            self.hold(delegation, message, now, fx);
        }
    }

    /// Chains are kept for the heads that hang on them.
    fn forget_unused_speakers(&mut self) {
        let network = self.speakers.network();
        let heads = self.feeds.values().flat_map(|feed| feed.applied.iter().chain(&feed.newest));
        let used = heads.filter_map(|known| known.signed.delegation(network).ok());
        let own = self.parties.values().map(|party| *party.speaker.delegation_hash());
        let used = used.chain(own).collect();
        self.speakers.keep_only(&used);
    }

    /// Messages whose sender stayed unknown.
    pub(super) fn give_up_waiting(&mut self, now: Now, fx: &mut Effects) {
        for message in self.speakers.expired(now) {
            // What it announced is lost for us; whoever passed it on has the head.
            self.gap_suspected(&message.from, now);
            self.refuse(&message.from, message.gossip, Refusal::UnknownSender, fx);
        }
    }

    fn refuse(&mut self, from: &NodeId, gossip: Option<GossipId>, refusal: Refusal, fx: &mut Effects) {
        let verdict = refusal.verdict();
        if verdict == Verdict::Reject {
            self.records_refused += 1;
            if gossip.is_none() {
                // Of gossip the mesh hears by the verdict.
                fx.actions.push(Action::Penalise { node: from.clone(), why: Misdeed::Malformed });
            }
        }
        if refusal != Refusal::Known {
            fx.actions.push(Action::Report(Report::Refused { from: from.clone(), why: refusal }));
        }
        judge(gossip, verdict, fx);
    }

    /// One head, with the changes that lead to it or without.
    fn take_head(
        &mut self,
        signed: &SignedHead,
        changes: Option<&ChangeSet>,
        from: &NodeId,
        by_gossip: bool,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Stop> {
        let (head, speaker) = self.who_signed(signed, now)?;
        if by_gossip {
            self.hear_clock(&speaker, head.created_unix_ms, now);
        }
        self.check_head(&head, &speaker, now)?;
        let known = KnownHead { head, signed: signed.clone() };
        let feed_id = known.head.feed.clone();
        if by_gossip && !feed_id.audience.is_public() {
            return Err(Refusal::Malformed("a feed of a closed audience was gossiped".into()).into());
        }
        // The writer is bound to the changes even where we do not need them: what is passed on is right.
        let changes = changes.map(|set| checked_changes(&known.head, &speaker, set)).transpose()?;
        if self.writes(&feed_id.party) {
            return Ok(self.own_head(known, speaker, from, now, fx)?);
        }
        if !self.holds(&feed_id)
            || !self.feeds.contains_key(&feed_id) && self.feeds.len() >= self.config.feeds_max
        {
            return Err(Refusal::NotHeld.into());
        }
        if self.is_stale(&known.head, now) {
            return Err(Refusal::Time.into());
        }
        let is_new = !self.feeds.contains_key(&feed_id);
        let stale = || self.may_still(&feed_id.party, Operation::Directory, now).refused();
        if let Some(stale) = is_new.then(stale).flatten() {
            return Err(Refusal::Stale(stale).into());
        }
        let per_s = self.config.announcements_per_s;
        let feed = self.feeds.entry(feed_id.clone()).or_insert_with(|| Feed::new(false));
        if let Err(refusal) = fresh(feed, &known, fx) {
            if feed.shown_by(from, &known.head) {
                feed.retry_at_ms = now.mono_ms;
                self.want(&feed_id, now, fx);
            }
            return Err(refusal.into());
        }
        let admitted = feed.admits(per_s, now);
        feed.learn(known.clone(), Some(from), now);
        self.speaks(&feed_id, speaker, fx);
        if !admitted {
            // Remembered, so that it is repaired, at the pace of repairs.
            return Err(Refusal::RateLimit.into());
        }
        self.follow(&feed_id, known, changes, now, fx)
    }

    /// Whether feeds like this are held here.
    pub(super) fn holds(&self, feed_id: &FeedId) -> bool {
        let for_us = || self.parties.keys().any(|party| feed_id.audience.admits(party));
        let others = self.replicate_all && (feed_id.audience.is_public() || for_us());
        others || self.parties.contains_key(&feed_id.party)
    }

    /// Whether a head is too old to be kept (`decisions.md` 7).
    pub(super) fn is_stale(&self, head: &Head, now: Now) -> bool {
        let limit_ms = self.config.stale_after_days.saturating_mul(86_400_000);
        head.created_unix_ms.saturating_add(limit_ms) < now.unix_ms
    }

    /// Signature, signer, scope and time: the same for every head, wherever it comes from.
    pub(super) fn verify_head(&self, signed: &SignedHead, now: Now) -> Result<(Head, Arc<Speaker>), Stop> {
        let (head, speaker) = self.who_signed(signed, now)?;
        self.check_head(&head, &speaker, now)?;
        Ok((head, speaker))
    }

    /// Signature and signer.
    fn who_signed(&self, signed: &SignedHead, now: Now) -> Result<(Head, Arc<Speaker>), Stop> {
        let network = self.speakers.network();
        let delegation = signed.delegation(network).map_err(|error| refusal_of(&error))?;
        let speaker = match self.speakers.of(&delegation, now) {
            Knowledge::Known(speaker) => speaker,
            Knowledge::Distrusted => return Err(Refusal::Untrusted.into()),
            Knowledge::Unknown => return Err(Stop::Unknown(delegation)),
        };
        let head = signed.verify(network, speaker.message_key()).map_err(|error| refusal_of(&error))?;
        if head.feed.party != *speaker.party() || head.epoch != speaker.epoch() {
            return Err(Refusal::Scope(format!("{} signs for {}", speaker.party(), head.feed)).into());
        }
        Ok((head, speaker))
    }

    /// Scope and time.
    fn check_head(&self, head: &Head, speaker: &Speaker, now: Now) -> Result<(), Refusal> {
        speaker
            .may_do(records::operation(head.feed.kind))
            .map_err(|error| Refusal::Scope(error.to_string()))?;
        if !speaker.is_writer() {
            let (party, slot) = (speaker.party(), speaker.slot());
            return Err(Refusal::Scope(format!(
                "slot {slot} of {party} signs a head, and slot 0 writes its feeds"
            )));
        }
        let valid_then = speaker.may_at(head.created_unix_ms / 1_000).is_ok();
        if !valid_then || head.created_unix_ms > now.unix_ms + FUTURE_MS_MAX {
            return Err(Refusal::Time);
        }
        if head.count > self.config.records_max {
            return Err(Refusal::NotHeld);
        }
        Ok(())
    }

    /// A newer head was learned: apply its changes if they follow on what we have, else repair.
    fn follow(
        &mut self,
        feed_id: &FeedId,
        known: KnownHead,
        changes: Option<Vec<Checked>>,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Stop> {
        let Some(feed) = self.feeds.get_mut(feed_id) else { return Ok(()) };
        if feed.tree.count() == known.head.count && feed.tree.root() == known.head.root && !feed.applying {
            let known = feed.settled(known);
            fx.directory.push(head_change(&known, now));
            return Ok(());
        }
        let seq = feed.seq();
        let busy = feed.sync.is_some() || feed.applying;
        let follows = (known.head.base_seq <= seq || planted(Bug::GapIgnored)) && seq < known.head.seq;
        if let (Some(changes), false, true) = (changes, busy, follows) {
            let new: Vec<Checked> = changes.into_iter().filter(|change| change.seq > seq).collect();
            let same_history = feed.applied.as_ref().is_some_and(|applied| {
                (applied.head.epoch, applied.head.incarnation) == (known.head.epoch, known.head.incarnation)
            });
            // From the very beginning there is no other past that could be ours.
            let same_history = same_history || known.head.base_seq == 0 && feed.tree.count() == 0;
            if self.apply(feed_id, &known, new, now, fx) {
                return Ok(());
            }
            if same_history {
                // Our state is what an earlier head of this writer was signed over, so the fault is his.
                self.inconsistent(feed_id, now, fx);
                return Err(Refusal::WrongRoot.into());
            }
        }
        self.want(feed_id, now, fx);
        Ok(())
    }

    /// Applies changes if they yield the signed root; else everything is as before.
    fn apply(
        &mut self,
        feed_id: &FeedId,
        known: &KnownHead,
        changes: Vec<Checked>,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(feed) = self.feeds.get_mut(feed_id) else { return false };
        let mut undo = Vec::with_capacity(changes.len());
        for change in &changes {
            let before = match change.entry() {
                Some(entry) => feed.tree.put(entry),
                None => feed.tree.remove(&change.key),
            };
            undo.push((change.key.clone(), before));
        }
        let unchecked = planted(Bug::GapIgnored) && known.head.base_seq > feed.seq();
        if !feed.tree.adds_up_to(&known.head) && !unchecked {
            for (key, before) in undo.into_iter().rev() {
                match before {
                    Some(entry) => feed.tree.put(entry),
                    None => feed.tree.remove(&key),
                };
            }
            return false;
        }
        let known = feed.settled(known.clone());
        self.records_accepted += changes.len() as u64;
        let records =
            last_of_each(changes).into_iter().map(|checked| self.shown(feed_id, checked, fx)).collect();
        fx.directory.push(DirectoryChange::Records { feed: feed_id.clone(), records });
        fx.directory.push(head_change(&known, now));
        true
    }

    pub(super) fn inconsistent(&mut self, feed_id: &FeedId, now: Now, fx: &mut Effects) {
        let jitter = self.random();
        let Some(feed) = self.feeds.get_mut(feed_id) else { return };
        if feed.state != FeedState::Inconsistent {
            feed.state = FeedState::Inconsistent;
            fx.actions.push(Action::Report(Report::Inconsistent { feed: feed_id.clone() }));
        }
        feed.back_off(now, jitter);
    }

    /// Under whose credential a feed is signed from now on. If that covers other ids than before, the
    /// feed's records enter or leave the view.
    pub(super) fn speaks(&mut self, feed_id: &FeedId, speaker: Arc<Speaker>, fx: &mut Effects) {
        let Some(feed) = self.feeds.get_mut(feed_id) else { return };
        let before = feed.speaker.replace(speaker.clone());
        if before.as_ref().is_some_and(|before| before.grants() == speaker.grants()) {
            return;
        }
        for operator in speaker.grants().keys() {
            self.claims.add_publisher(operator.as_str(), &feed_id.party);
        }
        if before.is_some() {
            self.show_again(feed_id, |_| true, fx);
        }
    }
}

/// Wrong for everybody, or only new.
fn refusal_of(error: &ProtocolError) -> Refusal {
    match error {
        ProtocolError::UnknownKind { .. } => Refusal::NotHeld,
        error => Refusal::Malformed(error.to_string()),
    }
}

/// Newer than what we know, or a proof that the writer shows two histories.
fn fresh(feed: &mut Feed, known: &KnownHead, fx: &mut Effects) -> Result<(), Refusal> {
    let head = &known.head;
    if feed.is_frozen_for(head) {
        return Err(Refusal::Equivocation);
    }
    let Some(newest) = &feed.newest else { return Ok(()) };
    match head.position().cmp(&newest.head.position()) {
        std::cmp::Ordering::Greater => Ok(()),
        std::cmp::Ordering::Less if planted(Bug::StaleHeadAccepted) => Ok(()),
        std::cmp::Ordering::Less => Err(Refusal::Known),
        std::cmp::Ordering::Equal if head.root != newest.head.root => {
            let (first, second) = (newest.signed.clone(), known.signed.clone());
            fx.directory.push(DirectoryChange::Equivocation { feed: head.feed.clone(), first, second });
            fx.actions.push(Action::Report(Report::Equivocation { feed: head.feed.clone() }));
            feed.rival = Some(known.signed.clone());
            feed.state = FeedState::Equivocated { epoch: head.epoch, incarnation: head.incarnation };
            Err(Refusal::Equivocation)
        }
        std::cmp::Ordering::Equal if head.created_unix_ms > newest.head.created_unix_ms => Ok(()),
        std::cmp::Ordering::Equal => Err(Refusal::Known),
    }
}

/// The changes are those that the head was signed with, and each is in order.
fn checked_changes(head: &Head, speaker: &Speaker, set: &ChangeSet) -> Result<Vec<Checked>, Refusal> {
    if set.digest() != head.body {
        return Err(Refusal::Malformed("the changes are not those that the head was signed with".into()));
    }
    let changes = set.decode().map_err(|error| Refusal::Malformed(error.to_string()))?;
    if changes.len() as u64 != head.seq - head.base_seq {
        return Err(Refusal::Malformed("the number of changes is not what the head says".into()));
    }
    let kind = head.feed.kind;
    let check = |(index, change): (usize, Change)| {
        let seq = head.base_seq + 1 + index as u64;
        records::check(kind, speaker, &change.key, seq, change.at_unix_ms, change.value)
    };
    changes.into_iter().enumerate().map(check).collect()
}

/// Storage takes one version per key: the last.
fn last_of_each(changes: Vec<Checked>) -> Vec<Checked> {
    let mut last = std::collections::BTreeMap::new();
    for change in changes {
        last.insert(change.key.clone(), change);
    }
    last.into_values().collect()
}

fn judge(gossip: Option<GossipId>, verdict: Verdict, fx: &mut Effects) {
    if let Some(gossip) = gossip {
        fx.actions.push(Action::Judge { gossip, verdict });
    }
}
