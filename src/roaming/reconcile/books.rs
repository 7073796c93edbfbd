//! Questions about books to a partner's node and back: who may ask, in which envelope, and until when. What is asked
//! and answered is read from storage by others: a comparison of a year must not hold up a remote start.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::identity::{Envelope, MessageId, PartyId};
use crate::protocol::{Answer, BooksMessage, NodeId, Question};
use crate::roaming::effect::{Action, Effects, Refusal};
use crate::roaming::input::{AskId, CallId, Now};
use crate::roaming::{Pending, Roaming};

/// How long a partner's answer is waited for, in milliseconds: it reads a day of records.
const ANSWER_MS: u64 = 20_000;

/// Life of an envelope in milliseconds: the way there and back on top.
const ENVELOPE_MS: u64 = ANSWER_MS + 10_000;

/// Questions of one partner that are read at once; more are refused. One comparison asks one after the other.
const SERVED_PER_PARTNER_MAX: usize = 2;

/// ... and of all partners: storage has two readers, and pulls need them.
const SERVED_MAX: usize = 8;

/// Questions of our own under way at once.
const ASKED_MAX: usize = 64;

/// A partner's question that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BooksServeId(pub u64);

/// What a partner answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksAnswer {
    /// What it says.
    pub message: BooksMessage,
    /// The envelope that asked, as we signed it; empty between two parties of this node.
    pub asked: Bytes,
    /// The envelope that answers, as the partner signed it: with the chain of its signer it proves the answer.
    pub signed: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BooksFailure {
    /// No node of it is connected.
    #[error("no node of {0} is connected: see `chargemesh peers`")]
    Away(PartyId),
    /// It did not answer, or not in time.
    #[error(
        "the node of {0} did not answer: try again, and see whether it runs a version that compares books"
    )]
    Silent(PartyId),
    /// Too many questions are under way.
    #[error("too many comparisons are under way: try again later")]
    Busy,
    /// Not a party of this node.
    #[error("{0} is no party of this node")]
    NotOurs(PartyId),
}

#[derive(Debug)]
struct Asked {
    call: CallId,
    ours: PartyId,
    to: PartyId,
    node: NodeId,
    signed: Bytes,
    /// Whether it may be sent once more to a peer that did not know us.
    again: bool,
}

#[derive(Debug)]
struct Served {
    ask: AskId,
    node: NodeId,
    ours: PartyId,
    partner: PartyId,
    message: MessageId,
    until_ms: u64,
}

/// Questions under way.
#[derive(Debug, Default)]
pub(in crate::roaming) struct Books {
    asked: BTreeMap<MessageId, Asked>,
    served: BTreeMap<BooksServeId, Served>,
}

impl Roaming {
    /// A party of ours asks a partner.
    pub(in crate::roaming) fn ask_books(
        &mut self,
        call: CallId,
        (ours, to): (PartyId, PartyId),
        message: &BooksMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let fail = |why| Action::BooksAnswered { call, answer: Err(why) };
        if !self.parties.contains_key(&ours) {
            return fx.actions.push(fail(BooksFailure::NotOurs(ours)));
        }
        if self.books.asked.len() >= ASKED_MAX {
            return fx.actions.push(fail(BooksFailure::Busy));
        }
        let Some(node) = self.nodes_of(&to, now).into_iter().next() else {
            return fx.actions.push(fail(BooksFailure::Away(to)));
        };
        let id = MessageId(self.random_16());
        let envelope = Envelope {
            id,
            to: to.clone(),
            node: node.as_bytes().to_vec(),
            reply_to: None,
            created_unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms + ENVELOPE_MS,
            body: message.encode().to_vec(),
        };
        let Some(signed) = self.sealed(&ours, &envelope) else {
            return fx.actions.push(fail(BooksFailure::Away(to)));
        };
        let asked = Asked { call, ours, to, node: node.clone(), signed: signed.clone(), again: true };
        self.books.asked.insert(id, asked);
        self.ask_within(node, Pending::Books(id), Question::Books(signed), ANSWER_MS, now, fx);
    }

    /// A partner answered.
    pub(in crate::roaming) fn books_replied(
        &mut self,
        from: &NodeId,
        id: MessageId,
        answer: Answer,
        now: Now,
        fx: &mut Effects,
    ) {
        if let Answer::WhoAreYou = answer {
            return self.ask_books_again(id, now, fx);
        }
        let read = |core: &Roaming| {
            let Answer::Message(signed) = &answer else { return None };
            let asked = core.books.asked.get(&id)?;
            let signer = Envelope::claimed_signer(signed, core.speakers.network()).ok()?;
            let speaker = core.speaker_of(&signer, now)?;
            let envelope = core.open_envelope(from, signed, &speaker, now).ok()?;
            let fits =
                *speaker.party() == asked.to && envelope.to == asked.ours && envelope.reply_to == Some(id);
            let message = fits.then(|| BooksMessage::decode(&envelope.body).ok()).flatten()?;
            Some(BooksAnswer { message, asked: asked.signed.clone(), signed: signed.clone() })
        };
        match read(self) {
            Some(answer) => self.books_done(id, Ok(answer), fx),
            None => self.books_failed(id, fx),
        }
    }

    fn ask_books_again(&mut self, id: MessageId, now: Now, fx: &mut Effects) {
        let again = self.books.asked.get_mut(&id).filter(|asked| asked.again).map(|asked| {
            asked.again = false;
            (asked.node.clone(), asked.signed.clone())
        });
        let Some((node, signed)) = again else { return self.books_failed(id, fx) };
        self.introduce_to(&node, now, fx);
        self.ask_within(node, Pending::Books(id), Question::Books(signed), ANSWER_MS, now, fx);
    }

    /// A partner did not answer, or nothing that counts.
    pub(in crate::roaming) fn books_failed(&mut self, id: MessageId, fx: &mut Effects) {
        let Some(to) = self.books.asked.get(&id).map(|asked| asked.to.clone()) else { return };
        self.books_done(id, Err(BooksFailure::Silent(to)), fx);
    }

    fn books_done(&mut self, id: MessageId, answer: Result<BooksAnswer, BooksFailure>, fx: &mut Effects) {
        if let Some(Asked { call, .. }) = self.books.asked.remove(&id) {
            fx.actions.push(Action::BooksAnswered { call, answer });
        }
    }

    /// A partner asks. `None`: it is answered when storage was read.
    pub(in crate::roaming) fn books_asked(
        &mut self,
        from: &NodeId,
        ask: AskId,
        bytes: &Bytes,
        now: Now,
        fx: &mut Effects,
    ) -> Option<Answer> {
        let network = self.speakers.network().to_owned();
        let signer = match Envelope::claimed_signer(bytes, &network) {
            Ok(signer) => signer,
            Err(error) => return Some(self.refuse_message(from, Refusal::Malformed(error.to_string()), fx)),
        };
        let Some(speaker) = self.speaker_of(&signer, now) else { return Some(Answer::WhoAreYou) };
        let checked = self.open_envelope(from, bytes, &speaker, now).and_then(|envelope| {
            let message = BooksMessage::decode(&envelope.body).map_err(|error| error.to_string());
            message.map(|message| (envelope, message)).map_err(Refusal::Malformed)
        });
        let (envelope, message) = match checked {
            Ok(checked) => checked,
            Err(refusal) => return Some(self.refuse_message(from, refusal, fx)),
        };
        let (ours, partner) = (envelope.to, speaker.party().clone());
        // It hears of nothing but what it sent or received itself.
        if !self.parties.contains_key(&ours) || ours == partner {
            return Some(Answer::NotFound);
        }
        self.books.served.retain(|_, served| served.until_ms > now.mono_ms);
        let of_partner = self.books.served.values().filter(|served| served.partner == partner).count();
        if of_partner >= SERVED_PER_PARTNER_MAX || self.books.served.len() >= SERVED_MAX {
            return Some(Answer::NotFound);
        }
        let serve = BooksServeId(self.next_id());
        let until_ms = now.mono_ms + ANSWER_MS;
        let node = from.clone();
        let (of, with) = (ours.clone(), partner.clone());
        let served = Served { ask, node, ours: of, partner: with, message: envelope.id, until_ms };
        self.books.served.insert(serve, served);
        fx.actions.push(Action::ServeBooks { serve, ours, partner, message, signed: bytes.clone() });
        None
    }

    /// Storage was read for a partner's question.
    pub(in crate::roaming) fn books_served(
        &mut self,
        serve: BooksServeId,
        message: &BooksMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(Served { ask, node, ours, partner, message: reply_to, .. }) =
            self.books.served.remove(&serve)
        else {
            return;
        };
        let envelope = Envelope {
            id: MessageId(self.random_16()),
            to: partner,
            node: node.as_bytes().to_vec(),
            reply_to: Some(reply_to),
            created_unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms + ENVELOPE_MS,
            body: message.encode().to_vec(),
        };
        let answer = self.sealed(&ours, &envelope).map_or(Answer::NotFound, Answer::Message);
        fx.actions.push(Action::Answer { ask, bytes: answer.encode() });
    }
}
