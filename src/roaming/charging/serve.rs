//! The side that is asked: a partner's node wants something of our backend. What is asked is committed before
//! the backend hears of it, and nothing is carried out twice.

use bytes::Bytes;

use super::ask::said_yes;
use super::request::{ChargeRequest, asker_role, service, what_it_is};
use super::table::Event;
use super::{
    Asker, Back, BackendAnswer, BackendCall, Deferred, Demand, NEVER_CAME_MAX, NEVER_CAME_MS, SEEN_MAX,
    Session,
};
use crate::identity::{Envelope, MessageId, PartyId, Role, Service};
use crate::oicp::charging::SessionId;
use crate::oicp::id::EvseKey;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::Code;
use crate::planted::{Bug, planted};
use crate::protocol::{AskOutcome, Kind, SessionMessage, SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::Roaming;
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{BackendCallId, Now};

/// HTTP statuses from here on say that the backend itself is broken: no answer about the session.
const HTTP_BROKEN_FROM: u16 = 500;

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
        match message {
            SessionMessage::Ask { operation, budget_ms, oicp, .. } => {
                let until_ms = now.mono_ms + u64::from(budget_ms);
                let demand = Demand { session: id, operation, oicp, until_ms };
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

    fn say(&mut self, asker: Asker, session: &str, outcome: AskOutcome, now: Now, fx: &mut Effects) {
        let message = SessionMessage::Outcome { session: session.to_owned(), outcome };
        self.answer_message(asker, message, now, fx);
    }

    /// A start, a reservation, or a question about a card.
    fn serve_start(&mut self, asker: Asker, demand: Demand, now: Now, fx: &mut Effects) {
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
        let text = |reference: &Option<crate::oicp::charging::PartnerSessionId>| {
            reference.as_ref().map(|reference| reference.as_str().to_owned())
        };
        let record = SessionRecord {
            ask_expires_unix_ms: now.unix_ms + demand.until_ms.saturating_sub(now.mono_ms),
            evse: request.evse().map(|evse| evse.as_str().to_owned()),
            medium: request.identification().map(|medium| medium.medium_key().expose().to_owned()),
            cpo_partner_session: text(&request.partners().cpo),
            emp_partner_session: text(&request.partners().emp),
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

    fn may_start(&self, asker: &Asker, demand: &Demand, now: Now) -> Result<ChargeRequest, Code> {
        if self.charging.never_came.contains_key(&demand.session) {
            return Err(Code::SessionInvalid);
        }
        if !self.has_room_for_session() {
            return Err(Code::HubSystemError);
        }
        let request = self.may_ask(asker, demand, now)?;
        let service = service(demand.operation);
        if let Some(code) = self.decide(&asker.ours, &asker.partner, service, now).code() {
            return Err(code);
        }
        if self.may_still(&asker.partner, what_it_is(demand.operation), now).refused().is_some() {
            return Err(Code::ServiceNotAvailable);
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
    fn may_ask(&self, asker: &Asker, demand: &Demand, now: Now) -> Result<ChargeRequest, Code> {
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

    /// A stop or a notification.
    fn serve_within(&mut self, asker: Asker, demand: Demand, now: Now, fx: &mut Effects) {
        let (id, operation) = (demand.session, demand.operation);
        let Some(session) = self.charging.sessions.get_mut(&id) else {
            // It speaks of a session that never came here: it must not begin any more.
            self.note_never_came(&asker, id, asker.message, now, fx);
            return self.say(asker, id.as_str(), refused(Code::SessionInvalid), now, fx);
        };
        if !session.is_with(&asker.ours, &asker.partner, &asker.back) || session.record.phase.is_over() {
            return self.say(asker, id.as_str(), refused(Code::SessionInvalid), now, fx);
        }
        if session.record.seen.contains(&asker.message) {
            return self.serve_again(asker, &demand, now, fx);
        }
        if session.record.phase == SessionPhase::Calling && operation != SessionOperation::Notification {
            // It comes again, over another connection.
            session.deferred.retain(|earlier| earlier.asker.message != asker.message);
            session.deferred.push(Deferred { asker, demand });
            return self.note_unsettled(id);
        }
        let request = match self.may_ask(&asker, &demand, now) {
            Ok(request) => request,
            Err(code) => return self.say(asker, id.as_str(), refused(code), now, fx),
        };
        if operation == SessionOperation::Notification {
            // It lives, whatever we thought.
            self.shown_alive_to_asker(id, now, fx);
            if !self.charging.backends.get(&asker.ours).is_some_and(|backend| backend.notifications) {
                return self.say(asker, id.as_str(), refused(Code::ServiceNotAvailable), now, fx);
            }
        }
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            let seen = &mut session.record.seen;
            seen.push(asker.message);
            seen.drain(..seen.len().saturating_sub(SEEN_MAX));
        }
        self.remember(id, fx);
        self.call_backend(asker, demand, &request, now, fx);
    }

    /// The message of a stop or a notification comes again, for its connection broke: it is not carried out twice,
    /// and who waits hears what the backend says.
    fn serve_again(&mut self, asker: Asker, demand: &Demand, now: Now, fx: &mut Effects) {
        let mut running = self.charging.calls.values_mut();
        let same = |call: &&mut BackendCall| call.session == demand.session && call.message == asker.message;
        if let Some(call) = running.find(same) {
            call.back = Some(asker.back);
            call.until_ms = demand.until_ms;
            return;
        }
        let session = self.charging.sessions.get(&demand.session);
        let said = session.and_then(|session| session.said.clone());
        let said = said.filter(|(message, _)| *message == asker.message);
        let outcome = said.map_or(AskOutcome::Unconfirmed, |(_, outcome)| outcome);
        self.say(asker, demand.session.as_str(), outcome, now, fx);
    }

    fn call_backend(
        &mut self,
        asker: Asker,
        demand: Demand,
        request: &ChargeRequest,
        now: Now,
        fx: &mut Effects,
    ) {
        let call = BackendCallId(self.next_id());
        let Demand { session, operation, oicp, until_ms } = demand;
        let Asker { back, partner, ours, message } = asker;
        let left_ms = until_ms.saturating_sub(now.mono_ms);
        let falls_back =
            self.charging.config.offline_fallback && self.answers_offline(&ours, session, operation);
        let timeout_ms = match operation.begins() {
            // Half is left for our own answer.
            _ if falls_back => left_ms / 2,
            // A late answer decides about the session.
            true => left_ms.max(self.charging.config.backend_patience_ms),
            false => left_ms,
        };
        let begun_offline = operation == SessionOperation::AuthorizeStop
            && self.charging.sessions.get(&session).is_some_and(|session| session.record.offline);
        let waiting = BackendCall {
            session,
            operation,
            back: Some(back),
            message,
            ours: ours.clone(),
            partner,
            until_ms,
            late_notice: false,
            question: oicp.clone(),
            offline: false,
            checks_pin: false,
        };
        self.charging.calls.insert(call, waiting);
        if begun_offline || !self.charging.backends.contains_key(&ours) {
            return self.answer_offline(call, None, now, fx);
        }
        fx.actions.push(Action::CallBackend {
            call,
            party: ours,
            operation,
            path_id: request.asker().unwrap_or_default().to_owned(),
            body: oicp,
            timeout_ms,
        });
    }

    /// Our backend answered, or did not.
    pub(in crate::roaming) fn backend_answered(
        &mut self,
        call: BackendCallId,
        answer: BackendAnswer,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.cdr_backend_answered(call, &answer, now, fx) {
            return;
        }
        if self.charging.calls.get(&call).is_some_and(|asked| self.falls_back(asked, &answer)) {
            return self.answer_offline(call, Some(answer), now, fx);
        }
        let Some(call) = self.charging.calls.remove(&call) else { return };
        if call.late_notice {
            return self.late_notice_answered(call.session, &answer, fx);
        }
        if planted(Bug::LateAnswerDropped) && call.back.is_none() {
            return;
        }
        let (outcome, event) = judged(call.operation, answer);
        if call.operation.begins() {
            if let (AskOutcome::Answered(oicp), Some(session)) =
                (&outcome, self.charging.sessions.get_mut(&call.session))
            {
                session.record.answer = Some(oicp.clone());
                // Of a party of this node that has been answered already.
                let late = session.record.asked_by_us && call.back.is_none();
                session.record.to_tell_backend |= late && event == Event::Confirmed;
            }
            self.step(call.session, event, now, fx);
        } else {
            if event == Event::Confirmed {
                self.step(call.session, Event::ShownAlive, now, fx);
            }
            if let Some(session) = self.charging.sessions.get_mut(&call.session) {
                session.said = Some((call.message, outcome.clone()));
            }
        }
        self.after_backend(&call, event, &outcome, fx);
        let BackendCall { session, back, message, ours, partner, .. } = call;
        if let Some(back) = back {
            self.say(Asker { back, partner, ours, message }, session.as_str(), outcome, now, fx);
        }
        self.resume_deferred(session, now, fx);
    }

    /// Whether our backend did not answer, somebody waits, and this node may answer in its place.
    fn falls_back(&self, call: &BackendCall, answer: &BackendAnswer) -> bool {
        let waits = call.back.is_some() && !call.offline && !call.late_notice;
        waits
            && self.charging.config.offline_fallback
            && self.answers_offline(&call.ours, call.session, call.operation)
            && !matches!(judged(call.operation, answer.clone()).0, AskOutcome::Answered(_))
    }

    /// Stops that waited for the answer to their start.
    fn resume_deferred(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
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

    pub(super) fn tick_calls(&mut self, now: Now, fx: &mut Effects) {
        let mut late = Vec::new();
        for call in self.charging.calls.values_mut().filter(|call| call.until_ms <= now.mono_ms) {
            let (partner, ours, message) = (call.partner.clone(), call.ours.clone(), call.message);
            let asker = call.back.take().map(|back| Asker { back, partner, ours, message });
            late.extend(asker.map(|asker| (call.session, asker)));
        }
        for (session, asker) in late {
            self.say(asker, session.as_str(), AskOutcome::Pending, now, fx);
        }
    }

    /// What became of a session's start, for the partner that asked it.
    fn outcome_of(&self, id: SessionId, partner: &PartyId) -> AskOutcome {
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

    /// It must not begin any more, whatever was held back on the way. What a partner could begin is remembered as a
    /// session that was refused, also over a restart. Bounded: the oldest is forgotten.
    fn note_never_came(&mut self, asker: &Asker, id: SessionId, ask: MessageId, now: Now, fx: &mut Effects) {
        let operation = match asker.partner.role {
            Role::Emp => SessionOperation::RemoteStart,
            Role::Cpo | Role::Hub => SessionOperation::AuthorizeStart,
        };
        let may = |service| self.decide(&asker.ours, &asker.partner, service, now).code().is_none();
        let could_begin = may(Service::Authorization) || may(Service::Reservation);
        let has_room = self.charging.never_came.len() < NEVER_CAME_MAX && self.has_room_for_session();
        if could_begin && has_room {
            let record =
                SessionRecord { phase: SessionPhase::Refused, ask, ..asked_of_us(asker, id, operation, now) };
            self.charging.sessions.insert(id, Session::new(record, now));
            self.remember(id, fx);
        }
        let never_came = &mut self.charging.never_came;
        if never_came.len() >= NEVER_CAME_MAX
            && let Some(oldest) = never_came.iter().min_by_key(|(_, until_ms)| **until_ms).map(|(id, _)| *id)
        {
            never_came.remove(&oldest);
        }
        never_came.insert(id, now.mono_ms + NEVER_CAME_MS);
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

/// A session that a partner asks us for.
fn asked_of_us(asker: &Asker, id: SessionId, operation: SessionOperation, now: Now) -> SessionRecord {
    SessionRecord {
        session: id.as_str().to_owned(),
        operation,
        asked_by_us: false,
        ours: asker.ours.clone(),
        partner: Some(asker.partner.clone()),
        phase: SessionPhase::Calling,
        ask: asker.message,
        ask_expires_unix_ms: now.unix_ms,
        evse: None,
        medium: None,
        stop_media: Vec::new(),
        answer: None,
        cpo_partner_session: None,
        emp_partner_session: None,
        to_release: Vec::new(),
        seen: Vec::new(),
        offline: false,
        to_tell_backend: false,
        opened_unix_ms: now.unix_ms,
        changed_unix_ms: now.unix_ms,
    }
}

fn refused(code: Code) -> AskOutcome {
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

/// What a backend's answer means for the partner, and for a session that begins with it.
fn judged(operation: SessionOperation, answer: BackendAnswer) -> (AskOutcome, Event) {
    let unknown = match operation {
        // Nothing was begun: silence is a no.
        SessionOperation::AuthorizeStart => (refused(Code::PartnerDidNotRespond), Event::Denied),
        _ => (AskOutcome::Unconfirmed, Event::Unclear),
    };
    match answer {
        BackendAnswer::NotSent(_) => (not_sent(), Event::Denied),
        BackendAnswer::Silent(_) => unknown,
        BackendAnswer::Answered { http_status, body } => match said_yes(operation, &body) {
            Some(true) if http_status == 200 => (AskOutcome::Answered(body), Event::Confirmed),
            Some(false) if http_status < HTTP_BROKEN_FROM => (AskOutcome::Answered(body), Event::Denied),
            _ => unknown,
        },
    }
}
