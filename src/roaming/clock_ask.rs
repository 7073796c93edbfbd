//! Asking for the time: a node that only publishes hears no heads of others, so it asks the nodes of other parties
//! what time it is. The answer is signed and answers a random number: it is fresh, whoever passed it on.

use std::collections::BTreeMap;

use super::effect::Effects;
use super::input::Now;
use super::{Pending, Roaming};
use crate::identity::{Envelope, MessageId, PartyId, PublicKey};
use crate::protocol::{Answer, NodeId, Question};

/// Nobody is asked while so many parties were heard lately: more than agree that a clock is wrong, with some room
/// for those that are wrong themselves.
const ENOUGH: usize = 9;

/// What was heard that long ago is asked for again, in milliseconds: well before it counts no more.
const RENEW_MS: u64 = 300_000;

/// Who did not answer is asked again after this time, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// Parties asked at once, in one tick.
const ASKED_AT_ONCE: usize = 4;

/// Time for the answer, in milliseconds: an answer that was under way for longer says too little.
const TIMEOUT_MS: u64 = 5_000;

/// How long an answer counts as an envelope, in milliseconds: what is told is when it was made.
const VALIDITY_MS: u64 = 10_000;

/// When parties were asked last, by org key, on the monotonic clock. Bounded by the peers of a minute.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<PublicKey, u64>);

impl Roaming {
    /// Asks some of the connected parties that were not heard lately.
    pub(super) fn ask_times(&mut self, now: Now, fx: &mut Effects) {
        let Some(asker) = self.parties.keys().next().cloned() else { return };
        let since_ms = now.mono_ms.saturating_sub(RENEW_MS);
        let check = &self.clock_check;
        if check.heard_since(since_ms) >= ENOUGH {
            return;
        }
        let wanted = |key: &PublicKey| {
            !check.was_heard_since(key, since_ms) && !check.asked.0.contains_key(key) && !self.is_own_key(key)
        };
        let unheard = self.introduced_speakers(now).filter(|(_, speaker)| wanted(speaker.org_key()));
        let to_ask: BTreeMap<PublicKey, NodeId> =
            unheard.map(|(node, speaker)| (*speaker.org_key(), node.clone())).take(ASKED_AT_ONCE).collect();
        self.clock_check.asked.0.retain(|_, at_ms| now.mono_ms < at_ms.saturating_add(AGAIN_MS));
        for (org_key, node) in to_ask {
            self.clock_check.asked.0.insert(org_key, now.mono_ms);
            let id = MessageId(self.random_16());
            let question = Question::Time { id, asker: asker.clone() };
            self.ask_within(node, Pending::Time(id), question, TIMEOUT_MS, now, fx);
        }
    }

    /// A peer asks what time it is. Who doubts his own clock says nothing.
    pub(super) fn tell_time(&mut self, from: &NodeId, id: MessageId, asker: PartyId, now: Now) -> Answer {
        let random = self.random_16();
        let Some(ours) = self.parties.values().next().filter(|_| self.may_sign()) else {
            return Answer::NotFound;
        };
        let envelope = Envelope {
            id: MessageId(random),
            to: asker,
            node: from.as_bytes().to_vec(),
            reply_to: Some(id),
            created_unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms + VALIDITY_MS,
            body: Vec::new(),
        };
        let sealed = envelope.issue(self.speakers.network(), &ours.speaker, &ours.message_key);
        sealed.map_or(Answer::NotFound, |bytes| Answer::Message(bytes.into()))
    }

    /// A peer says what time it is.
    pub(super) fn time_told(&mut self, from: &NodeId, id: MessageId, answer: &Answer, now: Now) {
        let Answer::Message(bytes) = answer else { return };
        let network = self.speakers.network();
        let signer = Envelope::claimed_signer(bytes, network).ok();
        let speakers = self.introduced_speakers(now);
        let Some(speaker) = signer.and_then(|signer| {
            let mut theirs = speakers.filter(|(node, _)| *node == from);
            theirs
                .find(|(_, speaker)| *speaker.delegation_hash() == signer)
                .map(|(_, speaker)| speaker.clone())
        }) else {
            return;
        };
        let Ok(told) = Envelope::open(bytes, network, &speaker) else { return };
        let for_us = self.parties.get(&told.to).is_some_and(|ours| ours.speaker.peer_id() == told.node);
        if for_us && told.reply_to == Some(id) && told.body.is_empty() {
            self.hear_clock(&speaker, told.created_unix_ms, now);
        }
    }
}
