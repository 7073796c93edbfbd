//! Another trust list, other delegations and message keys, another policy, while everything goes on.
//!
//! A reload leads to the state that a restart with the same files would lead to, without the gap: the
//! view is a function of feeds and trust (`decisions.md` 2), so the feeds of those whom nobody vouches for
//! any more leave it at once, and what comes from them is ignored (`decisions.md` 5).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::compare::COMPARE_MS_MIN;
use super::effect::{Action, Effects};
use super::input::Now;
use super::policy::Policy;
use super::speakers::Knowledge;
use super::{OurParty, Roaming};
use crate::identity::{PartyId, TrustList};
use crate::protocol::{FeedId, Topic};

/// Why a node goes on with what it had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Another set of parties.
    #[error("{party} was {what}: parties are added and removed by a restart of the node")]
    Parties {
        /// The first that differs.
        party: PartyId,
        /// `added` or `removed`.
        what: &'static str,
    },
    /// A lower version of the trust list never replaces a higher.
    #[error("the trust list has the version {seq}, the running one {running}: install a newer list")]
    TrustListOlder {
        /// Version of the new list.
        seq: u64,
        /// Version of the one in use.
        running: u64,
    },
    /// Two lists with one version.
    #[error(
        "the trust list differs from the running one and has the same version {seq}: sign it with a higher"
    )]
    TrustListSameVersion {
        /// Version of both.
        seq: u64,
    },
    /// Nothing would count under it.
    #[error("the trust list expired at {until_unix_s} (Unix time): install a new one")]
    TrustListExpired {
        /// When, Unix time.
        until_unix_s: u64,
    },
    /// Peers take no head of a lower epoch.
    #[error(
        "the delegation of {party} has the epoch {epoch}, the running one {running}: issue a new one with a \
         higher epoch"
    )]
    DelegationOlder {
        /// Whose.
        party: PartyId,
        /// Epoch of the new delegation.
        epoch: u64,
        /// Epoch of the one in use.
        running: u64,
    },
    /// Whether this node writes the party's feeds hangs on the slot.
    #[error(
        "the delegation of {party} is for slot {slot}, the running one for slot {running}: restart the node"
    )]
    OtherSlot {
        /// Whose.
        party: PartyId,
        /// Slot of the new delegation.
        slot: u8,
        /// Slot of the one in use.
        running: u8,
    },
}

/// Whether a trust list may take the place of another: it is newer, or the same but for its pins, and not expired at
/// `at_unix_s`.
///
/// # Errors
/// [`ReloadError`] of the three kinds that speak of trust lists.
pub fn may_replace(running: &TrustList, new: &TrustList, at_unix_s: u64) -> Result<(), ReloadError> {
    // The node's own pins lie over the list and have no part in its version.
    let same_list = new.issuers == running.issuers && new.valid_until_unix_s == running.valid_until_unix_s;
    if new.seq == running.seq && same_list {
        return Ok(());
    }
    let seq = new.seq;
    match seq.cmp(&running.seq) {
        std::cmp::Ordering::Less => Err(ReloadError::TrustListOlder { seq, running: running.seq }),
        std::cmp::Ordering::Equal => Err(ReloadError::TrustListSameVersion { seq }),
        std::cmp::Ordering::Greater if at_unix_s >= new.valid_until_unix_s => {
            Err(ReloadError::TrustListExpired { until_unix_s: new.valid_until_unix_s })
        }
        std::cmp::Ordering::Greater => Ok(()),
    }
}

impl Roaming {
    /// All of it is taken, or nothing.
    pub(super) fn reloaded(
        &mut self,
        trust: TrustList,
        parties: Vec<OurParty>,
        policy: Policy,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), ReloadError> {
        self.may_reload(&trust, &parties, now)?;
        if trust != *self.speakers.trust() {
            self.believe(trust, now, fx);
        }
        self.speak_as(parties, now, fx);
        self.take_policy(policy);
        Ok(())
    }

    fn may_reload(&self, trust: &TrustList, parties: &[OurParty], now: Now) -> Result<(), ReloadError> {
        may_replace(self.speakers.trust(), trust, now.unix_s())?;
        let named: BTreeSet<&PartyId> = parties.iter().map(|ours| &ours.party).collect();
        let differs = |party: &PartyId, what| ReloadError::Parties { party: party.clone(), what };
        if let Some(gone) = self.parties.keys().find(|party| !named.contains(party)) {
            return Err(differs(gone, "removed"));
        }
        for ours in parties {
            let Some(running) = self.parties.get(&ours.party) else {
                return Err(differs(&ours.party, "added"));
            };
            let same = ours.speaker.delegation_hash() == running.speaker.delegation_hash();
            let (slot, at_slot) = (ours.speaker.slot(), running.speaker.slot());
            if slot != at_slot {
                return Err(ReloadError::OtherSlot { party: ours.party.clone(), slot, running: at_slot });
            }
            let (epoch, running) = (ours.speaker.epoch(), running.speaker.epoch());
            if !same && epoch <= running {
                return Err(ReloadError::DelegationOlder { party: ours.party.clone(), epoch, running });
            }
        }
        Ok(())
    }

    /// Judges everybody by another trust list.
    fn believe(&mut self, trust: TrustList, now: Now, fx: &mut Effects) {
        let parties = &self.parties;
        self.speakers.believe(trust, |party| parties.contains_key(party), now);
        self.judge_registry_anew(now, fx);
        self.introductions.judged_under = None;
        let others: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| !feed.own).map(|(id, _)| id.clone()).collect();
        let mut dropped = Vec::new();
        for feed_id in others {
            let speaker = self.feeds.get(&feed_id).and_then(|feed| feed.speaker.as_ref());
            let Some(delegation) = speaker.map(|speaker| *speaker.delegation_hash()) else { continue };
            match self.speakers.of(&delegation, now) {
                Knowledge::Known(speaker) => self.speaks(&feed_id, speaker, fx),
                Knowledge::Distrusted | Knowledge::Unknown => dropped.push(feed_id),
            }
        }
        self.judge_repairs_anew(&dropped, now, fx);
        for feed_id in &dropped {
            self.drop_feed(feed_id, fx);
        }
        // Those who count now were not listened to before: peers know what they said.
        for (number, peer) in self.peers.values_mut().enumerate() {
            peer.ask_back_from_ms = 0;
            peer.compare_at_ms = peer.compare_at_ms.min(now.mono_ms + COMPARE_MS_MIN * (1 + number as u64));
        }
    }

    /// Our feeds go on under other delegations. Peers hear of these with the next head, which goes out at
    /// once, and ask for what they do not know.
    fn speak_as(&mut self, parties: Vec<OurParty>, now: Now, fx: &mut Effects) {
        for ours in parties {
            let before = self.parties.insert(ours.party.clone(), ours.clone());
            let same = before.is_some_and(|b| b.speaker.delegation_hash() == ours.speaker.delegation_hash());
            // The old chain stays: heads hang on it until they are signed anew.
            let credential = Bytes::from(ours.chain.credential.clone());
            self.speakers.keep_own(ours.speaker.clone(), ours.chain);
            // A node may not trust its own issuer; its peers decide for themselves.
            if let Ok(true) = self.learn(&credential, now, fx) {
                fx.actions.push(Action::Publish { topic: Topic::Identity, bytes: credential });
            }
            let of_party = |feed_id: &FeedId| !same && feed_id.party == ours.party;
            for (_, feed) in self.feeds.iter_mut().filter(|(feed_id, _)| of_party(feed_id)) {
                feed.heartbeat_at_ms = now.mono_ms;
            }
        }
        self.judge_own(now, fx);
        self.judge_agreements(None, fx);
        if self.ready && self.may_sign() {
            self.leave_lost_prefixes(now, fx);
        }
        self.beat_own(now, fx);
    }
}
