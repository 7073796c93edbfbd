//! The side that asks: a backend of ours wants something of a partner's backend.

use bytes::Bytes;

use super::answer::{HttpAnswer, refusal, refused_by_node, with_ids, with_reference};
use super::request::{ChargeRequest, in_upper_case, service};
use super::serve::own_yes;
use super::table::Event;
use super::{About, EvseSeen, OurMessage, Session, Told, Waiting, Way};
use crate::identity::{MessageId, PartyId, Role};
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, FieldValue, SessionId, read_acknowledgement, with_fields,
};
use crate::oicp::id::EvseKey;
use crate::oicp::status_code::Code;
use crate::planted::{Bug, planted};
use crate::protocol::{AskOutcome, Kind, SessionMessage, SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{CallId, Now};
use crate::roaming::ways::Routing;

/// How long a backend waits after the connection to its partner broke, in milliseconds: partners are dialled at once.
const LINK_BACK_MS: u64 = 10_000;

/// What the backend is told of a start that nobody answered.
fn unanswered(via: Via) -> &'static str {
    match via {
        Via::Direct => "the partner did not answer in time; what became of it is being asked",
        // The hub knows no such question.
        Via::Hub => "the hub did not answer in time; whether it charges is known when the hub tells of it",
    }
}

/// A backend's call, with what is needed to answer it.
pub(in crate::roaming) struct Asked<'a> {
    pub(in crate::roaming) call: CallId,
    pub(in crate::roaming) party: &'a PartyId,
    pub(in crate::roaming) request: &'a ChargeRequest,
    pub(in crate::roaming) body: Bytes,
    pub(in crate::roaming) evse: Option<EvseSeen>,
}

/// What is asked of a partner in a session.
pub(super) struct Wish {
    pub(super) operation: SessionOperation,
    pub(super) oicp: Bytes,
    /// The backend that waits, if it is not the session's.
    pub(super) call: Option<CallId>,
}

impl Roaming {
    /// A backend of ours asks. It is answered now, or when the partner has, or at the deadline.
    pub(in crate::roaming) fn charge(&mut self, asked: &Asked<'_>, now: Now, fx: &mut Effects) {
        let operation = asked.request.operation();
        if let Err(status) = self.refuse_unless_signing() {
            let answer = refusal(
                operation,
                Code::ServiceNotAvailable,
                &status.additional_info.unwrap_or_default(),
                None,
            );
            return reply(asked.call, answer, fx);
        }
        let refused = match operation {
            SessionOperation::AuthorizeStart => self.authorize_start(asked, now, fx),
            SessionOperation::RemoteStart | SessionOperation::ReservationStart => {
                self.remote_start(asked, now, fx)
            }
            SessionOperation::AuthorizeStop
            | SessionOperation::RemoteStop
            | SessionOperation::ReservationStop
            | SessionOperation::Notification => self.within_session(asked, now, fx),
        };
        if let Err(answer) = refused {
            reply(asked.call, answer, fx);
        }
    }

    /// Remote start and reservation.
    fn remote_start(&mut self, asked: &Asked<'_>, now: Now, fx: &mut Effects) -> Result<(), HttpAnswer> {
        let operation = asked.request.operation();
        let refuse = |code, info: &str| refusal(operation, code, info, None);
        let (Some(evse), Some(medium)) = (asked.request.evse(), asked.request.identification()) else {
            return Err(refuse(Code::DataError, "EvseID and Identification are needed"));
        };
        let cpo = self
            .operator_of(evse.key())
            .or_else(|| self.operator_at_hub(asked.party, evse.key(), operation, now))
            .ok_or_else(|| refuse(Code::PartnerNotFound, "no operator that is known here has this EvseID"))?;
        let via =
            self.way_to(asked.party, &cpo, operation, now).map_err(|(code, info)| refuse(code, &info))?;
        match asked.evse {
            None if via == Via::Direct && self.publishes_any(&cpo) => {
                return Err(refuse(Code::UnknownEvseId, "its operator publishes no such EVSE"));
            }
            Some(EvseSeen { compatible: false }) => {
                return Err(refuse(Code::EvseNotHubjectCompatible, "IsHubjectCompatible is false"));
            }
            _ => {}
        }
        let until_ms = now.mono_ms + self.budget_ms(operation);
        let reference = asked.request.partners().emp.as_ref();
        let emp_partner_session = reference.map(|reference| reference.as_str().to_owned());
        let waiting = Waiting { call: asked.call, emp_partner_session, until_ms };
        let medium = medium.medium_key().expose().to_owned();
        if let Some(id) = self.same_start(asked.party, operation, evse.as_str(), &medium) {
            return self
                .join_start(id, waiting, now, fx)
                .map_err(|info| refuse(Code::ServiceNotAvailable, info));
        }
        let id = self
            .begin(asked, Some(cpo.clone()), now)
            .map_err(|code| refuse(code, "too many open sessions"))?;
        let body = with_session(&in_upper_case(&asked.body), id);
        let may_turn = via == Via::Direct && self.may_turn_to_hub(asked.party, &cpo, operation, now);
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            session.waiting.push(waiting);
            session.record.via = via;
            session.begins_with = may_turn.then(|| body.clone());
        }
        self.remember(id, fx);
        self.ask_partner(id, &cpo, Wish { operation, oicp: body, call: None }, now, fx);
        Ok(())
    }

    /// A retry waits for what becomes of the first start, or hears that it succeeded late.
    fn join_start(
        &mut self,
        id: SessionId,
        waiting: Waiting,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), &'static str> {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return Ok(()) };
        if session.record.phase != SessionPhase::Active {
            session.waiting.push(waiting);
            session.settle_at_ms = session.settle_at_ms.min(now.mono_ms);
            self.note_unsettled(id);
            return Ok(());
        }
        let (ours, yes) = (session.record.ours.clone(), own_yes(&session.record));
        if session.told != Told::UnderWay && self.stops_late_starts(&ours) {
            return Err(
                "an earlier start of it succeeded too late and is being stopped; start again after that",
            );
        }
        let Some(session) = self.charging.sessions.get_mut(&id) else { return Ok(()) };
        session.waiting.push(waiting);
        self.answer_all(id, &HttpAnswer::verbatim(yes), fx);
        Ok(())
    }

    /// A start of the same EVSE for the same driver that is still open, or of whose late success our backend has not
    /// heard: a retry joins it (`decisions.md` 27).
    fn same_start(
        &self,
        ours: &PartyId,
        operation: SessionOperation,
        evse: &str,
        medium: &str,
    ) -> Option<SessionId> {
        let same = |record: &SessionRecord| {
            !planted(Bug::RetryNotJoined)
                && record.asked_by_us
                && record.operation == operation
                && (matches!(record.phase, SessionPhase::Requested | SessionPhase::InDoubt)
                    || record.phase == SessionPhase::Active && record.to_tell_backend)
                && record.ours == *ours
                && record.evse.as_deref() == Some(evse)
                && record.medium.as_deref() == Some(medium)
        };
        let open = self.charging.unsettled.iter();
        open.copied().find(|id| self.charging.sessions.get(id).is_some_and(|session| same(&session.record)))
    }

    /// A new session of ours.
    pub(super) fn begin(
        &mut self,
        asked: &Asked<'_>,
        partner: Option<PartyId>,
        now: Now,
    ) -> Result<SessionId, Code> {
        if !self.has_room_for_session(now) {
            return Err(Code::HubSystemError);
        }
        let id = self.new_session_id();
        let operation = asked.request.operation();
        let text = |reference: &Option<crate::oicp::charging::PartnerSessionId>| {
            reference.as_ref().map(|reference| reference.as_str().to_owned())
        };
        let partners = asked.request.partners();
        let record = SessionRecord {
            session: id.as_str().to_owned(),
            operation,
            asked_by_us: true,
            ours: asked.party.clone(),
            partner,
            phase: SessionPhase::Requested,
            ask: MessageId(self.random_16()),
            ask_expires_unix_ms: now.unix_ms + self.budget_ms(operation),
            evse: asked.request.evse().map(|evse| evse.as_str().to_owned()),
            medium: asked.request.identification().map(|medium| medium.medium_key().expose().to_owned()),
            stop_media: Vec::new(),
            answer: None,
            cpo_partner_session: text(&partners.cpo),
            emp_partner_session: text(&partners.emp),
            to_release: Vec::new(),
            seen: Vec::new(),
            offline: false,
            to_tell_backend: false,
            via: Via::Direct,
            alias: None,
            opened_unix_ms: now.unix_ms,
            changed_unix_ms: now.unix_ms,
        };
        self.charging.sessions.insert(id, Session::new(record, now));
        Ok(id)
    }

    /// Asks the partner. If it cannot be reached the backends that wait are answered at once.
    pub(super) fn ask_partner(
        &mut self,
        id: SessionId,
        partner: &PartyId,
        wish: Wish,
        now: Now,
        fx: &mut Effects,
    ) {
        let Wish { operation, oicp, call } = wish;
        let Some(session) = self.charging.sessions.get(&id) else { return };
        if session.record.via == Via::Hub {
            return self.ask_hub(id, partner, Wish { operation, oicp, call }, fx);
        }
        let ask = session.record.ask;
        let ours = match session.record.ours == *partner {
            true => session.record.partner.clone().unwrap_or_else(|| partner.clone()),
            false => session.record.ours.clone(),
        };
        let message_id = if operation.begins() && session.record.partner.is_some() {
            ask
        } else {
            MessageId(self.random_16())
        };
        let timeout_ms = self.budget_ms(operation);
        let message = SessionMessage::Ask {
            session: id.as_str().to_owned(),
            operation,
            budget_ms: u32::try_from(timeout_ms).unwrap_or(u32::MAX),
            oicp,
        };
        let about = || OurMessage {
            session: id,
            about: About::Ask(operation),
            ours: ours.clone(),
            to: partner.clone(),
            call,
            timeout_ms,
            way: Way::default(),
        };
        if !self.send(message_id, &message, about(), now, fx) {
            self.ask_unanswered(about(), operation, false, now, fx);
        }
    }

    /// The partner's node says what became of what we asked.
    pub(super) fn ask_answered(&mut self, ours: OurMessage, outcome: AskOutcome, now: Now, fx: &mut Effects) {
        let About::Ask(operation) = ours.about else { return };
        if operation == SessionOperation::AuthorizeStart {
            return self.authorization_answered(ours.session, &ours.to, outcome, now, fx);
        }
        if operation.begins() {
            return self.start_settled(ours.session, outcome, now, fx);
        }
        self.within_answered(&ours, operation, outcome, now, fx);
    }

    /// No answer came in time, or nothing could be sent.
    pub(super) fn ask_unanswered(
        &mut self,
        ours: OurMessage,
        operation: SessionOperation,
        sent: bool,
        now: Now,
        fx: &mut Effects,
    ) {
        if operation == SessionOperation::AuthorizeStart {
            return self.authorization_unanswered(ours.session, &ours.to, sent, now, fx);
        }
        if operation.begins() && sent {
            self.step(ours.session, Event::Silence, now, fx);
            return self.await_link(ours.session, now, fx);
        }
        let info = match sent {
            true => {
                "the partner did not answer in time; it may have been carried out all the same: send it again"
            }
            false => self.why_unsent(&ours, operation, now),
        };
        if operation.begins() {
            if self.turn_to_hub(ours.session, fx) {
                return;
            }
            self.step(ours.session, Event::NotSent, now, fx);
            return self.answer_waiting(ours.session, Code::PartnerDidNotRespond, info, fx);
        }
        self.within_unanswered(&ours, operation, info, fx);
    }

    /// Why something could not be sent, for the backend that asked for it.
    fn why_unsent(&self, ours: &OurMessage, operation: SessionOperation, now: Now) -> &'static str {
        if self.is_full(&ours.to) {
            return "too much is under way to the partner: ask again";
        }
        match self.routing(&ours.ours, &ours.to, service(operation), now) {
            Routing::Direct => "no node of the partner can be reached for it",
            Routing::Hub => "the hub cannot be reached for it",
            Routing::DirectThenHub => "neither a node of the partner nor the hub can be reached for it",
        }
    }

    /// What became of a start is known, now or late: `settle` comes here too.
    pub(super) fn start_settled(&mut self, id: SessionId, outcome: AskOutcome, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let operation = session.record.operation;
        session.begins_with = None;
        match outcome {
            AskOutcome::Answered(oicp) => {
                let yes = said_yes(operation, &oicp);
                let is_late =
                    matches!(session.record.phase, SessionPhase::InDoubt | SessionPhase::Unconfirmed);
                let is_to_tell = is_late || !session.waiting.is_empty();
                session.record.answer = Some(oicp.clone());
                session.record.to_tell_backend |= is_to_tell && yes == Some(true);
                let event = match yes {
                    Some(true) => Event::Confirmed,
                    Some(false) => Event::Denied,
                    None => Event::Unclear,
                };
                self.step(id, event, now, fx);
                let answer = HttpAnswer::verbatim(with_ids(
                    &oicp,
                    self.charging.sessions.get(&id).map(|session| &session.record),
                ));
                self.answer_all(id, &answer, fx);
            }
            AskOutcome::Refused(code) => {
                self.step(id, Event::Denied, now, fx);
                let record = self.charging.sessions.get(&id).map(|session| &session.record);
                let answer = refused_by_node(operation, &code, record);
                self.answer_all(id, &answer, fx);
            }
            AskOutcome::NeverCame => {
                self.step(id, Event::Denied, now, fx);
                self.answer_waiting(id, Code::PartnerDidNotRespond, "the partner never received it", fx);
            }
            AskOutcome::Pending => drop(self.step(id, Event::Silence, now, fx)),
            AskOutcome::Unconfirmed => {
                self.step(id, Event::Unclear, now, fx);
                let info = "the operator's backend did not say whether it started; it is not asked again";
                self.answer_waiting(id, Code::PartnerDidNotRespond, info, fx);
            }
        }
    }

    /// Answers everybody who waits for a session's start.
    pub(super) fn answer_all(&mut self, id: SessionId, answer: &HttpAnswer, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let first = session.record.emp_partner_session.as_deref();
        let own =
            |waiting: Waiting| (waiting.call, with_reference(answer, waiting.emp_partner_session, first));
        let answers: Vec<(CallId, HttpAnswer)> = session.waiting.drain(..).map(own).collect();
        if !answers.is_empty() && session.record.phase == SessionPhase::Active {
            self.tell_started(id, answers, fx);
        } else {
            answers.into_iter().for_each(|(call, answer)| reply(call, answer, fx));
        }
        self.note_unsettled(id);
    }

    fn answer_waiting(&mut self, id: SessionId, code: Code, info: &str, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let answer = refusal(session.record.operation, code, info, Some(&session.record));
        self.answer_all(id, &answer, fx);
    }

    /// No answer to a start: its time is over, or its connection broke. Then the next may be there in a moment, and
    /// what became of the start is asked over it.
    fn await_link(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let longest_ms = now.mono_ms + LINK_BACK_MS;
        session.waiting.iter_mut().for_each(|waiting| waiting.until_ms = waiting.until_ms.min(longest_ms));
        session.settle_at_ms = session.settle_at_ms.min(now.mono_ms + super::TICK_MS);
        self.answer_late(id, now.mono_ms + super::TICK_MS, fx);
        self.note_unsettled(id);
    }

    /// Backends that joined a start wait no longer than they would alone.
    pub(super) fn tick_waiting(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        self.answer_late(id, now.mono_ms.saturating_sub(super::TICK_MS), fx);
    }

    /// Answers those whose time ends by then, on the monotonic clock.
    fn answer_late(&mut self, id: SessionId, until_ms: u64, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let late = |waiting: &Waiting| waiting.until_ms <= until_ms;
        let expired: Vec<Waiting> = session.waiting.extract_if(.., |waiting| late(waiting)).collect();
        let first = session.record.emp_partner_session.as_deref();
        let info = unanswered(session.record.via);
        for waiting in expired {
            let operation = session.record.operation;
            let answer = refusal(operation, Code::PartnerDidNotRespond, info, Some(&session.record));
            reply(waiting.call, with_reference(&answer, waiting.emp_partner_session, first), fx);
        }
    }

    /// How long a backend of ours waits for an answer, in milliseconds.
    pub(super) fn budget_ms(&self, operation: SessionOperation) -> u64 {
        let config = &self.charging.config;
        match operation {
            SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop => config.authorize_ms,
            SessionOperation::Notification => config.notification_ms,
            SessionOperation::RemoteStart
            | SessionOperation::RemoteStop
            | SessionOperation::ReservationStart
            | SessionOperation::ReservationStop => config.remote_ms,
        }
    }

    /// The CPO of an EVSE: who publishes it, else who may.
    pub(super) fn operator_of(&self, evse: &EvseKey) -> Option<PartyId> {
        let publishes = |party: &&PartyId| {
            self.feeds_of(party, Kind::Data).any(|(_, feed)| feed.tree.get(evse).is_some())
        };
        let may = || self.claims.publishers(evse.operator());
        let publisher = match self.claims.get(Kind::Data, evse) {
            Some(conflict) => conflict.shown.clone(),
            None => may().find(publishes).cloned(),
        };
        publisher.or_else(|| {
            let main = PartyId::new(Role::Cpo, evse.operator()).ok()?;
            let known = self.parties.contains_key(&main)
                || may().any(|party| *party == main)
                || self.introduced_parties().contains(&main);
            known.then_some(main)
        })
    }

    pub(super) fn publishes_any(&self, cpo: &PartyId) -> bool {
        self.feeds_of(cpo, Kind::Data).any(|(_, feed)| feed.tree.count() > 0)
    }
}

/// Whether a partner's answer is a yes; `None` if it is no answer.
pub(super) fn said_yes(operation: SessionOperation, oicp: &[u8]) -> Option<bool> {
    match operation {
        SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop => {
            let answer = AuthorizationStart::read(oicp).ok()?;
            Some(answer.verdict == AuthorizationStatus::Authorized)
        }
        _ => Some(read_acknowledgement(oicp).ok()?.result),
    }
}

pub(super) fn reply(call: CallId, answer: HttpAnswer, fx: &mut Effects) {
    fx.actions.push(Action::ReplyOicp { call, answer });
}

/// The message with our SessionID; every other byte as it came.
pub(super) fn with_session(body: &Bytes, id: SessionId) -> Bytes {
    let fields = [("SessionID", FieldValue::Text(id.as_str()))];
    // It was read as JSON before.
    with_fields(body, &fields).map_or_else(|_| body.clone(), Bytes::from)
}
