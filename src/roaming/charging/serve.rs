//! The side that is asked: a partner's node wants something of our backend. What is asked is committed before
//! the backend hears of it, and nothing is carried out twice.

use bytes::Bytes;

use super::ask::{said_yes, with_session};
use super::never_came::asked_of_us;
use super::request::{ChargeRequest, asker_role, service, what_it_is};
use super::table::Event;
use super::{Asker, Back, Deferred, Demand, Session};
use crate::identity::{Envelope, PartyId};
use crate::oicp::charging::SessionId;
use crate::oicp::id::EvseKey;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::Code;
use crate::protocol::{AskOutcome, Kind, SessionMessage, SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

impl Roaming {
    /// A partner's message, verified.
    pub(super) fn serve(
        &mut self,
        back: Back,
        partner: &PartyId,
        envelope: &Envelope,
        message: SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let asker = Asker { back, partner: partner.clone(), ours: envelope.to.clone(), message: envelope.id };
        let Some(id) = SessionId::parse(message.session()) else {
            return self.say(asker, message.session(), refused(Code::SessionInvalid), now, fx);
        };
        self.count_message(partner, Via::Direct);
        let of_record = matches!(message, SessionMessage::Cdr { .. } | SessionMessage::Receipts { .. });
        if !of_record && self.is_closed_to(&asker.back, id) {
            return self.say(asker, id.as_str(), refused(Code::SessionInvalid), now, fx);
        }
        match message {
            SessionMessage::Ask { operation, budget_ms, oicp, .. } => {
                let until_ms = now.mono_ms + u64::from(budget_ms);
                let session = if operation.begins() { id } else { self.resolved(id) };
                let oicp = if session == id { oicp } else { with_session(&oicp, session) };
                let demand = Demand { session, operation, oicp, until_ms };
                match operation.begins() {
                    true => self.serve_start(asker, demand, now, fx),
                    false => self.serve_within(asker, demand, now, fx),
                }
            }
            SessionMessage::Query { ask, .. } => {
                if !self.charging.sessions.contains_key(&id) {
                    self.note_never_came(&asker, id, ask, now, fx);
                }
                let outcome = self.outcome_of(id, partner);
                self.say(asker, id.as_str(), outcome, now, fx);
            }
            SessionMessage::Release { session } => {
                self.serve_release(&asker, id, now, fx);
                self.answer_message(asker, SessionMessage::Released { session }, now, fx);
            }
            SessionMessage::Cdr { signed, chain, .. } => {
                self.serve_cdr(asker, id, (signed, &chain), now, fx);
            }
            SessionMessage::Receipts { receipts, chains, .. } => {
                self.serve_receipts(asker, id, (&receipts, &chains), now, fx);
            }
            // An answer is no question.
            SessionMessage::Outcome { .. }
            | SessionMessage::Released { .. }
            | SessionMessage::Noted { .. } => {
                self.say(asker, id.as_str(), refused(Code::DataError), now, fx);
            }
        }
    }

    pub(super) fn say(
        &mut self,
        asker: Asker,
        session: &str,
        outcome: AskOutcome,
        now: Now,
        fx: &mut Effects,
    ) {
        let session = match asker.back {
            Back::Peer(..) => self.spoken_id(session, Via::Direct),
            Back::Local | Back::Hub(..) => session.to_owned(),
        };
        let message = SessionMessage::Outcome { session, outcome };
        self.answer_message(asker, message, now, fx);
    }

    /// A start, a reservation, or a question about a card.
    pub(super) fn serve_start(&mut self, asker: Asker, demand: Demand, now: Now, fx: &mut Effects) {
        let id = demand.session;
        if let Some(session) = self.charging.sessions.get(&id) {
            // Never a second call: what is known is said again.
            if asker.back == Back::Local && session.record.phase == SessionPhase::Requested {
                return self.serve_own(asker, demand, now, fx);
            }
            let same = session.is_with(&asker.ours, &asker.partner, &asker.back)
                && session.record.ask == asker.message;
            let outcome = match same {
                true => self.outcome_of(id, &asker.partner),
                false => refused(Code::SessionInvalid),
            };
            return self.say(asker, id.as_str(), outcome, now, fx);
        }
        let request = match self.may_start(&asker, &demand, now) {
            Ok(request) => request,
            Err(code) => return self.say(asker, id.as_str(), refused(code), now, fx),
        };
        if let Some(begun) = self.begun_over_other_way(&asker, &request, demand.operation, now) {
            return self.join_other_way(begun, asker, id, now, fx);
        }
        let text = |reference: &Option<crate::oicp::charging::PartnerSessionId>| {
            reference.as_ref().map(|reference| reference.as_str().to_owned())
        };
        let record = SessionRecord {
            ask_expires_unix_ms: now.unix_ms + demand.until_ms.saturating_sub(now.mono_ms),
            evse: request.evse().map(|evse| evse.as_str().to_owned()),
            medium: request.identification().map(|medium| medium.medium_key().expose().to_owned()),
            cpo_partner_session: text(&request.partners().cpo),
            emp_partner_session: text(&request.partners().emp),
            via: asker.back.via(),
            ..asked_of_us(&asker, id, demand.operation, now)
        };
        self.charging.sessions.insert(id, Session::new(record, now));
        self.remember(id, fx);
        self.call_backend(asker, demand, &request, now, fx);
    }

    /// A party of this node asks another: the record is there already.
    fn serve_own(&mut self, asker: Asker, demand: Demand, now: Now, fx: &mut Effects) {
        let id = demand.session;
        match self.may_start(&asker, &demand, now) {
            Ok(request) => self.call_backend(asker, demand, &request, now, fx),
            Err(code) => self.say(asker, id.as_str(), refused(code), now, fx),
        }
    }

    fn may_start(&mut self, asker: &Asker, demand: &Demand, now: Now) -> Result<ChargeRequest, Code> {
        if self.charging.never_came.contains_key(&demand.session) {
            return Err(Code::SessionInvalid);
        }
        if !self.has_room_for_session(now) {
            return Err(Code::HubSystemError);
        }
        let request = self.may_ask(asker, demand, now)?;
        // Who comes over the hub has its contract with the hub, and the routes were asked.
        if asker.back.via() == Via::Direct {
            let service = service(demand.operation);
            if let Some(code) = self.decide(&asker.ours, &asker.partner, service, now).code() {
                return Err(code);
            }
            if self.may_still(&asker.partner, what_it_is(demand.operation), now).refused().is_some() {
                return Err(Code::ServiceNotAvailable);
            }
        }
        // One who asks without end takes the places of nobody else.
        let of_partner = self.charging.calls.values().filter(|call| call.partner == asker.partner).count();
        if of_partner >= self.charging.config.in_flight_per_partner_max {
            return Err(Code::ServiceNotAvailable);
        }
        match request.evse() {
            Some(evse) if demand.operation != SessionOperation::AuthorizeStart => {
                self.is_ours(&asker.ours, evse.key())?;
            }
            _ => {}
        }
        Ok(request)
    }

    /// Reads what is asked; the partner must be of the role that asks it, and name itself.
    pub(super) fn may_ask(&self, asker: &Asker, demand: &Demand, now: Now) -> Result<ChargeRequest, Code> {
        let role = asker_role(demand.operation);
        if asker.partner.role != role || asker.ours.role == role {
            return Err(Code::UnauthorizedAccess);
        }
        let online = self.charging.backends.contains_key(&asker.ours);
        if !online && !self.answers_offline(&asker.ours, demand.session, demand.operation) {
            return Err(Code::ServiceNotAvailable);
        }
        let request = ChargeRequest::parse(demand.operation, &demand.oicp, Reading::Tolerant)
            .map_err(|_| Code::DataError)?;
        match request.asker().map(|id| PartyId::new(role, id)) {
            Some(Ok(named)) if named == asker.partner || self.speaks_for_id(&asker.partner, &named, now) => {
                Ok(request)
            }
            None => Ok(request),
            // Who speaks the hub says, and it has compared the ids.
            _ if asker.back.via() == Via::Hub => Ok(request),
            Some(_) => Err(Code::UnauthorizedAccess),
        }
    }

    /// 603 for an EVSE that we do not publish, if we publish any.
    fn is_ours(&self, ours: &PartyId, evse: &EvseKey) -> Result<(), Code> {
        let mut feeds =
            self.feeds_of(ours, Kind::Data).map(|(_, feed)| &feed.tree).filter(|tree| tree.count() > 0);
        let publishes = feeds.next();
        let known = publishes.into_iter().chain(feeds).any(|tree| tree.get(evse).is_some());
        if publishes.is_some() && !known { Err(Code::UnknownEvseId) } else { Ok(()) }
    }

    /// Stops that waited for the answer to their start.
    pub(super) fn resume_deferred(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if session.record.phase == SessionPhase::Calling {
            return;
        }
        for Deferred { asker, demand } in std::mem::take(&mut session.deferred) {
            self.serve_within(asker, demand, now, fx);
        }
        self.note_unsettled(id);
    }

    /// Stops that waited too long are answered; so are askers whose time is over, to free their places.
    pub(super) fn tick_deferred(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let late = |deferred: &mut Deferred| deferred.demand.until_ms <= now.mono_ms;
        let expired: Vec<Deferred> = session.deferred.extract_if(.., late).collect();
        for Deferred { asker, .. } in expired {
            self.say(asker, id.as_str(), AskOutcome::Pending, now, fx);
        }
    }

    /// What became of a session's start, for the partner that asked it.
    pub(super) fn outcome_of(&self, id: SessionId, partner: &PartyId) -> AskOutcome {
        let Some(session) = self.charging.sessions.get(&id) else { return AskOutcome::NeverCame };
        let record = &session.record;
        let theirs = record.partner.as_ref() == Some(partner) && !record.asked_by_us;
        if !(theirs || record.ours == *partner && self.is_between_own(record)) {
            return refused(Code::SessionInvalid);
        }
        match (record.phase, &record.answer) {
            (SessionPhase::Calling | SessionPhase::Requested | SessionPhase::InDoubt, _) => {
                AskOutcome::Pending
            }
            (SessionPhase::Unconfirmed, _) => AskOutcome::Unconfirmed,
            (SessionPhase::Active | SessionPhase::Closed, Some(answer))
                if said_yes(record.operation, answer) == Some(true) =>
            {
                AskOutcome::Answered(answer.clone())
            }
            // It was settled by what came later: a yes in our own words.
            (SessionPhase::Active | SessionPhase::Closed, _) => AskOutcome::Answered(own_yes(record)),
            (SessionPhase::Refused, Some(answer)) if said_yes(record.operation, answer) == Some(false) => {
                AskOutcome::Answered(answer.clone())
            }
            (SessionPhase::Refused | SessionPhase::Expired, _) => AskOutcome::NeverCame,
        }
    }

    /// The session is another EMP's, or the CPO did not wait.
    fn serve_release(&mut self, asker: &Asker, id: SessionId, now: Now, fx: &mut Effects) {
        match self.charging.sessions.get(&id) {
            None => self.note_never_came(asker, id, asker.message, now, fx),
            Some(session) => {
                let record = &session.record;
                let theirs = record.partner.as_ref() == Some(&asker.partner) && !record.asked_by_us;
                if theirs && record.operation == SessionOperation::AuthorizeStart {
                    self.step(id, Event::Released, now, fx);
                }
            }
        }
    }
}

pub(super) fn refused(code: Code) -> AskOutcome {
    AskOutcome::Refused(code.as_str().to_owned())
}

/// A yes in our own words.
pub(super) fn own_yes(record: &SessionRecord) -> Bytes {
    super::answer::acknowledgement(true, Some(record)).to_json().into()
}

/// Our backend cannot be reached: it has heard nothing.
pub(super) fn not_sent() -> AskOutcome {
    refused(Code::PartnerDidNotRespond)
}
