//! Calls of our own backend: at most one for what a partner asks, and what its answer, or its silence, means.

use super::ask::said_yes;
use super::request::ChargeRequest;
use super::serve::{not_sent, refused};
use super::table::Event;
use super::{Asker, BackendAnswer, BackendCall, Demand, Session};
use crate::oicp::status_code::Code;
use crate::planted::{Bug, planted};
use crate::protocol::{AskOutcome, SessionOperation, SessionPhase};
use crate::roaming::Roaming;
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{BackendCallId, Now};

/// HTTP statuses from here on say that the backend itself is broken: no answer about the session.
const HTTP_BROKEN_FROM: u16 = 500;

impl Roaming {
    pub(super) fn call_backend(
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
        if self.hub_answered(call, &answer, now, fx) {
            return;
        }
        if self.cdr_backend_answered(call, &answer, now, fx) {
            return self.cdrs_next(now, fx);
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
        let (mut outcome, event) = judged(call.operation, answer);
        if call.operation.begins() {
            if let (AskOutcome::Answered(oicp), Some(session)) =
                (&outcome, self.charging.sessions.get_mut(&call.session))
            {
                session.record.answer = Some(oicp.clone());
                // Of a party of this node that has been answered already.
                let late = session.record.asked_by_us && call.back.is_none();
                session.record.to_tell_backend |= late && event == Event::Confirmed;
            }
            // Whether a station runs is its CPO's to say; whether a card may charge is the EMP's alone.
            let lives = |session: &Session| {
                matches!(session.record.phase, SessionPhase::Active | SessionPhase::Closed)
                    && session.record.operation != SessionOperation::AuthorizeStart
            };
            if !self.step(call.session, event, now, fx)
                && self.charging.sessions.get(&call.session).is_some_and(lives)
            {
                // A notification or record has shown that it runs, whatever the backend says of the start now.
                outcome = self.outcome_of(call.session, &call.partner);
            }
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

    /// Askers whose time is over hear that the backend is still at it, and their places are free again.
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
