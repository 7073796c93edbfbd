//! Envelopes out and in: to whom, signed by whom, and where the answer goes.

use bytes::Bytes;

use super::evidence::Letter;
use super::request::asker_role;
use super::{About, Asker, Back, Charging, OurMessage, Way};
use crate::identity::envelope::ENVELOPE_VALIDITY_MS_MAX;
use crate::identity::{Envelope, MessageId, Operation, PartyId, Role, Speaker};
use crate::protocol::{Answer, Direction, NodeId, Question, SessionMessage, SessionOperation, Via};
use crate::roaming::effect::{Action, Effects, Refusal, Report};
use crate::roaming::input::{AskId, Now};
use crate::roaming::judge::FUTURE_MS_MAX;
use crate::roaming::speakers::Knowledge;
use crate::roaming::{Pending, Roaming};

/// Time for the way there and back, added to the time that the backend has, in milliseconds.
const WAY_MS: u64 = 500;

impl Roaming {
    /// Sends a message, and remembers what it was about. False if nothing was sent.
    pub(super) fn send(
        &mut self,
        id: MessageId,
        message: &SessionMessage,
        mut about: OurMessage,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        if self.is_full(&about.to) {
            return false;
        }
        let is_local = self.parties.contains_key(&about.to);
        let node = match is_local {
            true => None,
            false => self.nodes_of(&about.to, now).into_iter().next(),
        };
        let envelope = Envelope {
            id,
            to: about.to.clone(),
            node: node.as_ref().map(|node| node.as_bytes().to_vec()).unwrap_or_default(),
            reply_to: None,
            created_unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms + (about.timeout_ms + WAY_MS).min(ENVELOPE_VALIDITY_MS_MAX),
            body: message.encode(),
        };
        if is_local {
            let ours = about.ours.clone();
            self.log_within(&ours, &envelope, message, now, fx);
            self.charging.messages.insert(id, about);
            self.serve(Back::Local, &ours, &envelope, message.clone(), now, fx);
            return true;
        }
        let Some(node) = node else { return false };
        let Some(bytes) = self.sealed(&about.ours, &envelope) else { return false };
        let (ours, partner) = (&about.ours, &about.to);
        let letter = Letter { direction: Direction::Sent, ours, partner, message, bytes: &bytes };
        self.log_ours(&letter, now, fx);
        let timeout_ms = about.timeout_ms;
        about.way = Way {
            sealed: Some(bytes.clone()),
            node: Some(node.clone()),
            is_lost: false,
            introduced: false,
            until_ms: now.mono_ms + timeout_ms,
        };
        self.count_message(&about.to, Via::Direct);
        self.charging.messages.insert(id, about);
        self.ask_within(node, Pending::Message(id), Question::Message(bytes), timeout_ms, now, fx);
        true
    }

    /// Whether as much is under way to a partner as may be.
    pub(super) fn is_full(&self, partner: &PartyId) -> bool {
        let under_way = self.charging.messages.values().filter(|other| other.to == *partner).count();
        under_way >= self.charging.config.in_flight_per_partner_max
    }

    pub(in crate::roaming) fn sealed(&self, ours: &PartyId, envelope: &Envelope) -> Option<Bytes> {
        let ours = self.parties.get(ours).filter(|_| self.may_sign())?;
        let network = self.speakers.network();
        envelope.issue(network, &ours.speaker, &ours.message_key).ok().map(Bytes::from)
    }

    /// Answers a message.
    pub(super) fn answer_message(
        &mut self,
        asker: Asker,
        message: SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let Asker { back, partner, ours, message: reply_to } = asker;
        let node = match &back {
            Back::Peer(node, _) => node.as_bytes().to_vec(),
            Back::Local => Vec::new(),
            Back::Hub(call, operation) => return self.answer_hub(*call, *operation, message, fx),
        };
        let envelope = Envelope {
            id: MessageId(self.random_16()),
            to: partner,
            node,
            reply_to: Some(reply_to),
            created_unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms + ENVELOPE_VALIDITY_MS_MAX,
            body: message.encode(),
        };
        match back {
            Back::Local => {
                self.log_within(&ours, &envelope, &message, now, fx);
                self.message_answered(reply_to, message, now, fx);
            }
            Back::Hub(..) => {}
            Back::Peer(_, ask) => {
                let sealed = self.sealed(&ours, &envelope);
                if let Some(bytes) = &sealed {
                    let (ours, partner, message) = (&ours, &envelope.to, &message);
                    self.log_ours(
                        &Letter { direction: Direction::Sent, ours, partner, message, bytes },
                        now,
                        fx,
                    );
                }
                let answer = sealed.map_or(Answer::NotFound, Answer::Message);
                fx.actions.push(Action::Answer { ask, bytes: answer.encode() });
            }
        }
    }

    /// A peer brings an envelope. `None`: it is answered later.
    pub(in crate::roaming) fn message_came(
        &mut self,
        from: &NodeId,
        ask: AskId,
        bytes: &[u8],
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
            let message = SessionMessage::decode(&envelope.body).map_err(|error| error.to_string());
            message.map(|message| (envelope, message)).map_err(Refusal::Malformed)
        });
        let (envelope, message) = match checked {
            Ok(checked) => checked,
            Err(refusal) => return Some(self.refuse_message(from, refusal, fx)),
        };
        if !self.parties.contains_key(&envelope.to) {
            return Some(Answer::NotFound);
        }
        if let SessionMessage::Ask { operation, .. } = &message
            && operation.begins()
            && !self.may_sign()
        {
            // The answer could not be signed: nothing is begun.
            return Some(self.refuse_message(from, Refusal::Time, fx));
        }
        if let SessionMessage::Ask { operation, .. } = &message
            && let Err(error) = speaker.may_do(delegated(*operation))
        {
            return Some(self.refuse_message(from, Refusal::Scope(error.to_string()), fx));
        }
        let (ours, partner) = (&envelope.to, speaker.party());
        let bytes = &Bytes::copy_from_slice(bytes);
        let letter = Letter { direction: Direction::Received, ours, partner, message: &message, bytes };
        self.log_received(&letter, speaker.delegation_hash(), now, fx);
        self.serve(Back::Peer(from.clone(), ask), speaker.party(), &envelope, message, now, fx);
        None
    }

    pub(in crate::roaming) fn open_envelope(
        &self,
        from: &NodeId,
        bytes: &[u8],
        speaker: &Speaker,
        now: Now,
    ) -> Result<Envelope, Refusal> {
        let opened = Envelope::open(bytes, self.speakers.network(), speaker);
        let envelope = opened.map_err(|error| Refusal::Malformed(error.to_string()))?.into_content();
        let theirs = from.as_bytes() == speaker.peer_id();
        // Another node of the party would not know that this one has seen it.
        let here = self.parties.get(&envelope.to).is_none_or(|ours| ours.speaker.peer_id() == envelope.node);
        let in_time = envelope.created_unix_ms <= now.unix_ms + FUTURE_MS_MAX
            && now.unix_ms < envelope.expires_unix_ms + FUTURE_MS_MAX;
        match in_time && speaker.may_at(now.unix_s()).is_ok() {
            _ if !theirs => Err(Refusal::Scope("an envelope of another node's party".to_owned())),
            _ if !here => Err(Refusal::Scope("an envelope for another node of our party".to_owned())),
            false => Err(Refusal::Time),
            true => Ok(envelope),
        }
    }

    pub(in crate::roaming) fn refuse_message(
        &mut self,
        from: &NodeId,
        why: Refusal,
        fx: &mut Effects,
    ) -> Answer {
        fx.actions.push(Action::Report(Report::Refused { from: from.clone(), why }));
        Answer::NotFound
    }

    pub(in crate::roaming) fn speaker_of(
        &self,
        delegation: &[u8; 32],
        now: Now,
    ) -> Option<std::sync::Arc<Speaker>> {
        match self.speakers.of(delegation, now) {
            Knowledge::Known(speaker) => Some(speaker),
            _ => self.introduced_speaker(delegation),
        }
    }

    /// A peer answered a message of ours, or did not.
    pub(in crate::roaming) fn message_replied(
        &mut self,
        from: &NodeId,
        id: MessageId,
        answer: Answer,
        now: Now,
        fx: &mut Effects,
    ) {
        if let Answer::WhoAreYou = answer {
            return self.send_again(id, now, fx);
        }
        let read = |core: &Roaming| {
            let Answer::Message(bytes) = &answer else { return None };
            let signer = Envelope::claimed_signer(bytes, core.speakers.network()).ok()?;
            let speaker = core.speaker_of(&signer, now)?;
            let envelope = core.open_envelope(from, bytes, &speaker, now).ok()?;
            let ours = core.charging.messages.get(&id)?;
            let fits =
                *speaker.party() == ours.to && envelope.to == ours.ours && envelope.reply_to == Some(id);
            let message = SessionMessage::decode(&envelope.body).ok().filter(|_| fits)?;
            Some((message, envelope.to, speaker, bytes.clone()))
        };
        match read(self) {
            Some((message, ours, speaker, bytes)) => {
                let asked = self.charging.messages.get(&id);
                if asked.is_some_and(|asked| asked.session.as_str() == message.session()) {
                    let (ours, partner, message, bytes) = (&ours, speaker.party(), &message, &bytes);
                    let letter = Letter { direction: Direction::Received, ours, partner, message, bytes };
                    self.log_received(&letter, speaker.delegation_hash(), now, fx);
                }
                self.message_answered(id, message, now, fx);
            }
            // An answer, and of no use: asking again would give the same.
            None => {
                if let Some(ours) = self.charging.messages.remove(&id) {
                    self.unanswered(ours, true, now, fx);
                }
            }
        }
    }

    /// The peer does not know who speaks: it hears that first. Its backend waits no longer for that.
    fn send_again(&mut self, id: MessageId, now: Now, fx: &mut Effects) {
        let again = self.charging.messages.get_mut(&id).and_then(|message| {
            let first = !std::mem::replace(&mut message.way.introduced, true);
            let way = first.then_some(&message.way)?;
            let left_ms = way.until_ms.checked_sub(now.mono_ms).filter(|left_ms| *left_ms > 0)?;
            Some((way.node.clone()?, way.sealed.clone()?, left_ms))
        });
        match again {
            Some((node, bytes, left_ms)) => {
                self.introduce_to(&node, now, fx);
                self.ask_within(node, Pending::Message(id), Question::Message(bytes), left_ms, now, fx);
            }
            None => self.message_failed(id, false, now, fx),
        }
    }

    /// What the other side says to a message of ours.
    fn message_answered(&mut self, id: MessageId, answer: SessionMessage, now: Now, fx: &mut Effects) {
        let Some(ours) = self.charging.messages.remove(&id) else { return };
        if answer.session() != ours.session.as_str() {
            return self.unanswered(ours, true, now, fx);
        }
        match (ours.about, answer) {
            (About::Ask(_), SessionMessage::Outcome { outcome, .. }) => {
                self.ask_answered(ours, outcome, now, fx)
            }
            (About::Query, SessionMessage::Outcome { outcome, .. }) => {
                self.query_answered(ours.session, outcome, now, fx);
            }
            (About::Release, SessionMessage::Released { .. }) => {
                self.released_by(ours.session, &ours.to, fx);
            }
            (About::LateStop, SessionMessage::Outcome { outcome, .. }) => {
                self.late_stop_answered(ours.session, &outcome, fx);
            }
            (About::Cdr(_), answer) => {
                self.cdr_answered(&ours, answer, now, fx);
                self.cdrs_next(now, fx);
            }
            (About::Receipts(_), answer) => {
                self.receipts_answered(&ours, &answer, fx);
                self.cdrs_next(now, fx);
            }
            _ => self.unanswered(ours, true, now, fx),
        }
    }

    /// A message of ours has no answer; `sent` says whether it may have been received.
    pub(in crate::roaming) fn message_failed(
        &mut self,
        id: MessageId,
        sent: bool,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(mut ours) = self.charging.messages.remove(&id) else { return };
        // Its connection broke. A start is asked about (`settle`); all else is sent again as it was.
        let again = matches!(ours.about, About::Ask(operation) if !operation.begins());
        if sent && again && ours.way.sealed.is_some() && now.mono_ms < ours.way.until_ms {
            ours.way.is_lost = true;
            self.charging.messages.insert(id, ours);
            return;
        }
        self.unanswered(ours, sent, now, fx);
    }

    /// Messages whose connection broke: sent over the next one, and given up at their deadline. The other side
    /// carries out none of them twice.
    pub(super) fn send_lost(&mut self, now: Now, fx: &mut Effects) {
        let waiting = self.charging.messages.iter().filter(|(_, message)| message.way.is_lost);
        let waiting: Vec<MessageId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            let Some(message) = self.charging.messages.get(&id) else { continue };
            let (to, until_ms) = (message.to.clone(), message.way.until_ms);
            let Some(bytes) = message.way.sealed.clone() else { continue };
            let its_node = message.way.node.clone();
            if until_ms <= now.mono_ms {
                self.message_failed(id, true, now, fx);
            } else if let Some(node) =
                self.nodes_of(&to, now).into_iter().find(|node| Some(node) == its_node.as_ref())
            {
                if let Some(message) = self.charging.messages.get_mut(&id) {
                    message.way.is_lost = false;
                }
                let left_ms = until_ms - now.mono_ms;
                let question = Question::Message(bytes);
                self.ask_within(node, Pending::Message(id), question, left_ms, now, fx);
            }
        }
    }

    fn unanswered(&mut self, ours: OurMessage, sent: bool, now: Now, fx: &mut Effects) {
        // A query, a release and a late stop are said again by `settle`, records and receipts by `cdr`.
        if let About::Ask(operation) = ours.about {
            self.ask_unanswered(ours, operation, sent, now, fx);
        }
    }
}

impl Charging {
    /// Whether a message waits for a connection.
    pub(super) fn waits_for_link(&self) -> bool {
        self.messages.values().any(|message| message.way.is_lost)
    }
}

/// What a node must have been delegated to ask this.
fn delegated(operation: SessionOperation) -> Operation {
    match asker_role(operation) {
        Role::Cpo | Role::Hub => Operation::AuthAsk,
        Role::Emp => Operation::RemoteSend,
    }
}
