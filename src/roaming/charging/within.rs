//! What is said within a session that is there, stops and notifications: at the side that asks, and at the side that
//! is asked.

use super::answer::{HttpAnswer, refusal, refused_by_node};
use super::ask::{Asked, Wish, reply, said_yes, with_session};
use super::references::with_references;
use super::request::{ChargeRequest, in_upper_case};
use super::serve::refused;
use super::table::Event;
use super::{Asker, Back, BackendCall, Deferred, Demand, EvseSeen, OurMessage, SEEN_MAX};
use crate::identity::PartyId;
use crate::oicp::charging::{NotificationKind, SessionId};
use crate::oicp::id::EvseId;
use crate::oicp::status_code::Code;
use crate::protocol::{AskOutcome, SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::Roaming;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

impl Roaming {
    /// Stops and notifications: of a session that both sides hold.
    pub(super) fn within_session(
        &mut self,
        asked: &Asked<'_>,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), HttpAnswer> {
        let operation = asked.request.operation();
        let session = asked.request.session().map(|id| self.resolved(id));
        let known = session.and_then(|id| self.charging.sessions.get(&id).map(|session| (id, session)));
        let valid = known.filter(|(_, session)| {
            let record = &session.record;
            let ours = record.ours == *asked.party || record.partner.as_ref() == Some(asked.party);
            ours && !record.phase.is_over() && fits(operation, record, asked.party)
        });
        let other = |record: &SessionRecord| match record.ours == *asked.party {
            true => record.partner.clone(),
            // Both are parties of this node.
            false => Some(record.ours.clone()),
        };
        let of_session = valid.and_then(|(_, session)| session.record.evse.as_deref());
        self.check_evse_of_stop(asked, of_session, now)?;
        let Some((id, partner)) = valid.and_then(|(id, session)| Some((id, other(&session.record)?))) else {
            let info = "no open session of yours has this SessionID";
            return Err(refusal(operation, Code::SessionInvalid, info, None));
        };
        self.notification_is_due(id, asked, now)?;
        if operation == SessionOperation::Notification {
            // Our own backend says that it lives.
            self.step(id, Event::ShownAlive, now, fx);
        }
        let body = match operation {
            // The EMP knows the medium as it was said at the start.
            SessionOperation::AuthorizeStop => in_upper_case(&asked.body),
            _ => asked.body.clone(),
        };
        let mut body = with_session(&body, id);
        if let Some(session) = self.charging.sessions.get(&id) {
            body = with_references(&body, &session.record);
        }
        let wish = Wish { operation, oicp: body, call: Some(asked.call) };
        self.ask_partner(id, &partner, wish, now, fx);
        Ok(())
    }

    /// Stops are refused for their EVSE before their session is looked at (RULES 1). The session's own EVSE is right
    /// whatever the directory says of it by now: the driver wants to stop.
    fn check_evse_of_stop(
        &self,
        asked: &Asked<'_>,
        of_session: Option<&str>,
        now: Now,
    ) -> Result<(), HttpAnswer> {
        let operation = asked.request.operation();
        let is_stop = matches!(operation, SessionOperation::RemoteStop | SessionOperation::ReservationStop);
        let Some(evse) = asked.request.evse().filter(|_| is_stop) else { return Ok(()) };
        let of_session = of_session.and_then(|text| EvseId::parse(text).ok());
        if of_session.is_some_and(|of_session| of_session.key() == evse.key()) {
            return Ok(());
        }
        let refuse = |code, info| Err(refusal(operation, code, info, None));
        let direct = self.operator_of(evse.key());
        if direct.is_none() && self.operator_at_hub(asked.party, evse.key(), operation, now).is_none() {
            return refuse(Code::PartnerNotFound, "no operator that is known here has this EvseID");
        }
        match asked.evse {
            None if direct.is_some_and(|cpo| self.publishes_any(&cpo)) => {
                refuse(Code::UnknownEvseId, "its operator publishes no such EVSE")
            }
            Some(EvseSeen { compatible: false }) => {
                refuse(Code::EvseNotHubjectCompatible, "IsHubjectCompatible is false")
            }
            _ => Ok(()),
        }
    }

    fn notification_is_due(&mut self, id: SessionId, asked: &Asked<'_>, now: Now) -> Result<(), HttpAnswer> {
        let ChargeRequest::Notification(notification) = asked.request else { return Ok(()) };
        if notification.kind != NotificationKind::Progress {
            return Ok(());
        }
        let every_ms = self.charging.config.progress_every_s * 1_000;
        let Some(session) = self.charging.sessions.get_mut(&id) else { return Ok(()) };
        if session.progress.is_some_and(|(last_ms, _)| now.mono_ms < last_ms + every_ms) {
            let info = format!("a session's Progress may come every {} s", every_ms / 1_000);
            let operation = SessionOperation::Notification;
            return Err(refusal(operation, Code::DataError, &info, Some(&session.record)));
        }
        session.progress = Some((now.mono_ms, asked.call));
        Ok(())
    }

    /// The partner's node says what became of a stop or a notification.
    pub(super) fn within_answered(
        &mut self,
        ours: &OurMessage,
        operation: SessionOperation,
        outcome: AskOutcome,
        now: Now,
        fx: &mut Effects,
    ) {
        let is_yes =
            matches!(&outcome, AskOutcome::Answered(oicp) if said_yes(operation, oicp) == Some(true));
        match is_yes {
            true => drop(self.step(ours.session, Event::ShownAlive, now, fx)),
            false => self.progress_may_come(ours),
        }
        let record = self.charging.sessions.get(&ours.session).map(|session| &session.record);
        let answer = match outcome {
            AskOutcome::Answered(oicp) => HttpAnswer::verbatim(oicp),
            AskOutcome::Refused(code) => refused_by_node(operation, &code, record),
            AskOutcome::NeverCame => {
                refusal(operation, Code::SessionInvalid, "unknown to the partner", record)
            }
            AskOutcome::Pending | AskOutcome::Unconfirmed => {
                refusal(operation, Code::PartnerDidNotRespond, "its backend did not answer", record)
            }
        };
        if let Some(call) = ours.call {
            reply(call, answer, fx);
        }
    }

    /// Nobody says what became of a stop or a notification, or it could not be sent.
    pub(super) fn within_unanswered(
        &mut self,
        ours: &OurMessage,
        operation: SessionOperation,
        info: &str,
        fx: &mut Effects,
    ) {
        self.progress_may_come(ours);
        let session = self.charging.sessions.get(&ours.session).map(|session| &session.record);
        if let Some(call) = ours.call {
            reply(call, refusal(operation, Code::PartnerDidNotRespond, info, session), fx);
        }
    }

    /// Nobody said yes to it. If it was a Progress, it may come again before its time.
    fn progress_may_come(&mut self, ours: &OurMessage) {
        let Some(session) = self.charging.sessions.get_mut(&ours.session) else { return };
        session.progress = session.progress.filter(|(_, call)| Some(*call) != ours.call);
    }

    /// A stop or a notification.
    pub(super) fn serve_within(&mut self, asker: Asker, mut demand: Demand, now: Now, fx: &mut Effects) {
        let (id, operation) = (demand.session, demand.operation);
        let Some(session) = self.charging.sessions.get_mut(&id) else {
            // It speaks of a session that never came here: it must not begin any more.
            self.note_never_came(&asker, id, asker.message, now, fx);
            return self.say(asker, id.as_str(), refused(Code::SessionInvalid), now, fx);
        };
        let is_open =
            session.is_with(&asker.ours, &asker.partner, &asker.back) && !session.record.phase.is_over();
        if !is_open || !is_of_kind(operation, &session.record) {
            return self.say(asker, id.as_str(), refused(Code::SessionInvalid), now, fx);
        }
        if session.record.seen.contains(&asker.message) {
            return self.serve_again(asker, &demand, now, fx);
        }
        if session.record.phase == SessionPhase::Calling && operation != SessionOperation::Notification {
            // It comes again, over another connection. Whoever still waits for the first one's answer has one too: a
            // question without answer keeps its place.
            let same = |earlier: &mut Deferred| earlier.asker.message == asker.message;
            let earlier: Vec<Deferred> = session.deferred.extract_if(.., same).collect();
            session.deferred.push(Deferred { asker, demand });
            for Deferred { asker, .. } in earlier {
                self.say(asker, id.as_str(), AskOutcome::Pending, now, fx);
            }
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
            // What our own backend answered of its own the partner's node need not know yet.
            demand.oicp = with_references(&demand.oicp, &session.record);
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
            call.until_ms = demand.until_ms;
            // Over HTTP each has its own answer, and a peer's question without answer keeps its place.
            if let Some(back @ (Back::Hub(..) | Back::Peer(..))) = call.back.replace(asker.back.clone()) {
                let first = Asker { back, ..asker };
                self.say(first, demand.session.as_str(), AskOutcome::Pending, now, fx);
            }
            return;
        }
        let session = self.charging.sessions.get(&demand.session);
        let said = session.and_then(|session| session.said.clone());
        let said = said.filter(|(message, _)| *message == asker.message);
        let outcome = said.map_or(AskOutcome::Unconfirmed, |(_, outcome)| outcome);
        self.say(asker, demand.session.as_str(), outcome, now, fx);
    }
}

/// Whether the backend of this party of ours may ask this of a session. By card stops the CPO, be the EMP another party
/// of this node.
fn fits(operation: SessionOperation, record: &SessionRecord, party: &PartyId) -> bool {
    let asked_by_it = record.asked_by_us && record.ours == *party;
    let may_stop_by_card = !asked_by_it || record.operation == SessionOperation::AuthorizeStart;
    is_of_kind(operation, record) && (operation != SessionOperation::AuthorizeStop || may_stop_by_card)
}

/// Whether a session is of the kind that the operation is about: a reservation is not stopped but given back.
fn is_of_kind(operation: SessionOperation, record: &SessionRecord) -> bool {
    match operation {
        SessionOperation::RemoteStop => record.operation != SessionOperation::ReservationStart,
        SessionOperation::ReservationStop => record.operation == SessionOperation::ReservationStart,
        _ => true,
    }
}
