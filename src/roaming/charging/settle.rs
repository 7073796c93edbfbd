//! Until both sides agree: who asked and does not know asks what became of it; who asked several EMPs tells those
//! whose session it is not; a start that succeeded late is adopted or stopped.

use bytes::Bytes;

use super::answer::HttpAnswer;
use super::serve::{not_sent, own_yes};
use super::table::Event;
use super::{About, BackendAnswer, BackendCall, LateStart, OurMessage, Session, Told, Way};
use crate::identity::{MessageId, PartyId};
use crate::oicp::charging::{
    AuthorizeRemoteStop, ChargingNotification, NotificationKind, PartnerSessions, SessionId,
    read_acknowledgement,
};
use crate::oicp::id::{EvseId, ProviderId, provider_for_display};
use crate::oicp::time::DateTime;
use crate::planted::{Bug, planted};
use crate::protocol::{AskOutcome, SessionMessage, SessionOperation, SessionPhase, Via};
use crate::roaming::Roaming;
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{BackendCallId, CallId, Now};

/// First wait before the other side is asked again, in milliseconds: the EMP's backend is to hear of a late start
/// within five seconds.
pub(super) const WAIT_MS_MIN: u64 = 1_000;

/// Longest wait while a backend waits for it, in milliseconds: a driver stands at the charging point.
const WAIT_AWAITED_MS: u64 = 500;

/// Longest wait while the answer may come any moment, in milliseconds ...
const WAIT_SOON_MS: u64 = 2_000;

/// ... which is as long after the session began, in milliseconds.
const SOON_FOR_MS: u64 = 300_000;

/// Longest wait later, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// Time for the answer to such a question, in milliseconds.
const QUERY_TIMEOUT_MS: u64 = 5_000;

/// Time for our backend to take note of a late start, in milliseconds.
const NOTICE_TIMEOUT_MS: u64 = 10_000;

impl Roaming {
    /// What is due in a session that is not settled.
    pub(super) fn settle(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if session.settle_at_ms > now.mono_ms {
            return;
        }
        let age_ms = now.unix_ms.saturating_sub(session.record.opened_unix_ms);
        let longest_ms = match age_ms < SOON_FOR_MS {
            _ if !session.waiting.is_empty() => WAIT_AWAITED_MS,
            true => WAIT_SOON_MS,
            false => WAIT_MS_MAX,
        };
        session.settle_wait_ms = (session.settle_wait_ms * 2).min(longest_ms);
        session.settle_at_ms = now.mono_ms + session.settle_wait_ms;
        let record = &session.record;
        let (ours, partner) = (record.ours.clone(), record.partner.clone());
        // The hub cannot be asked what became of a start, and the partner's node knows nothing of it.
        let in_doubt = record.asked_by_us
            && record.via == Via::Direct
            && matches!(record.phase, SessionPhase::InDoubt | SessionPhase::Unconfirmed);
        let late =
            record.to_tell_backend && session.told != Told::UnderWay && record.phase == SessionPhase::Active;
        let is_told = session.broadcast.is_none() && !planted(Bug::ReleaseNotSent);
        let released = if is_told { record.to_release.clone() } else { Vec::new() };
        let ask = record.ask;
        let asked_as = self.asked_as(id);
        if let (true, Some(partner)) = (in_doubt, &partner) {
            let query = SessionMessage::Query { session: id.as_str().to_owned(), ask };
            self.send_about(word(id, About::Query, &ours, partner), &query, now, fx);
        }
        for emp in released {
            let release = SessionMessage::Release { session: asked_as.as_str().to_owned() };
            self.send_about(word(asked_as, About::Release, &ours, &emp), &release, now, fx);
        }
        if let (true, Some(partner)) = (late, &partner) {
            self.settle_late_start(id, &ours, partner, now, fx);
        }
    }

    fn send_about(&mut self, ours: OurMessage, message: &SessionMessage, now: Now, fx: &mut Effects) {
        let message_id = MessageId(self.random_16());
        self.send_as(message_id, ours, message, now, fx);
    }

    fn send_as(
        &mut self,
        message_id: MessageId,
        ours: OurMessage,
        message: &SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let same = |other: &OurMessage| {
            other.session == ours.session && other.about == ours.about && other.to == ours.to
        };
        if !self.charging.messages.values().any(same) {
            // Not sent: it is said again at the next turn.
            let _sent = self.send(message_id, message, ours, now, fx);
        }
    }

    /// The other side says what became of our start.
    pub(super) fn query_answered(&mut self, id: SessionId, outcome: AskOutcome, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let open = matches!(session.record.phase, SessionPhase::InDoubt | SessionPhase::Unconfirmed);
        if open && outcome != AskOutcome::Pending {
            self.start_settled(id, outcome, now, fx);
            // A late start is dealt with at once.
            if self.charging.sessions.get(&id).is_some_and(|session| session.record.to_tell_backend) {
                self.settle_at_once(id, now, fx);
            }
        }
    }

    /// An EMP knows that the session is not its.
    pub(super) fn released_by(&mut self, id: SessionId, emp: &PartyId, fx: &mut Effects) {
        let id = self.resolved(id);
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        session.record.to_release.retain(|other| other != emp);
        self.remember(id, fx);
    }

    fn settle_late_start(
        &mut self,
        id: SessionId,
        ours: &PartyId,
        cpo: &PartyId,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.stops_late_starts(ours) {
            self.stop_late_start(id, ours, cpo, now, fx);
        } else if self.takes_notifications(ours) {
            self.notify_of_late_start(id, cpo, now, fx);
        } else {
            self.late_start_done(id, fx);
        }
    }

    /// The backends that wait for a start are told that it succeeded. Until one has heard, the ledger says that it is
    /// still to be told: this node may die before that.
    pub(super) fn tell_started(
        &mut self,
        id: SessionId,
        answers: Vec<(CallId, HttpAnswer)>,
        fx: &mut Effects,
    ) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        session.told = Told::UnderWay;
        if !std::mem::replace(&mut session.record.to_tell_backend, true) {
            self.remember_quietly(id, fx);
        }
        // If it is stopped after a crash unless one heard, that must be on disk at once.
        let is_urgent =
            self.charging.sessions.get(&id).is_some_and(|s| self.stops_late_starts(&s.record.ours));
        fx.actions.push(Action::ReplyStarted { session: id, answers, is_urgent });
    }

    /// They were told. If all had given up, it is a late start like any other.
    pub(in crate::roaming) fn start_told(&mut self, id: SessionId, heard: bool, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        // A retry that joined may have given up, when the first had heard.
        let heard = heard || session.told == Told::Heard;
        session.told = if heard { Told::Heard } else { Told::NotYet };
        if session.record.operation == SessionOperation::AuthorizeStart {
            if !heard {
                self.give_back_authorization(id, now, fx);
            }
            return;
        }
        // Also where it ended in the meantime: who heard of it is owed nothing.
        if heard || planted(Bug::UnheardForgotten) {
            if std::mem::take(&mut session.record.to_tell_backend) {
                self.remember_quietly(id, fx);
            }
            return;
        }
        if session.record.phase != SessionPhase::Active {
            return;
        }
        if !std::mem::replace(&mut session.record.to_tell_backend, true) {
            self.remember_quietly(id, fx);
        }
        self.settle_at_once(id, now, fx);
    }

    pub(super) fn settle_at_once(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            session.settle_at_ms = now.mono_ms;
            session.settle_wait_ms = WAIT_MS_MIN;
            self.settle(id, now, fx);
        }
    }

    fn takes_notifications(&self, ours: &PartyId) -> bool {
        self.charging.backends.get(ours).is_some_and(|backend| backend.notifications)
    }

    /// Whether a start that succeeded after its backend had heard otherwise is stopped, rather than told to it.
    pub(super) fn stops_late_starts(&self, ours: &PartyId) -> bool {
        match self.charging.config.late_start {
            LateStart::Adopt => false,
            LateStart::Auto => !self.takes_notifications(ours),
            LateStart::Stop => true,
        }
    }

    /// Our backend hears of a start that succeeded late: nothing but what the CPO confirmed.
    fn notify_of_late_start(&mut self, id: SessionId, cpo: &PartyId, now: Now, fx: &mut Effects) {
        if self.charging.calls.values().any(|call| call.session == id && call.late_notice) {
            return;
        }
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let Some(body) = late_notice(session, id) else { return };
        let (ours, ask) = (session.record.ours.clone(), session.record.ask);
        let call = BackendCallId(self.next_id());
        fx.actions.push(Action::CallBackend {
            call,
            party: ours.clone(),
            operation: SessionOperation::Notification,
            path_id: String::new(),
            body: body.into(),
            timeout_ms: NOTICE_TIMEOUT_MS,
        });
        let waiting = BackendCall {
            session: id,
            operation: SessionOperation::Notification,
            back: None,
            message: ask,
            ours,
            partner: cpo.clone(),
            until_ms: now.mono_ms + NOTICE_TIMEOUT_MS,
            late_notice: true,
            question: Bytes::new(),
            offline: false,
            checks_pin: false,
        };
        self.charging.calls.insert(call, waiting);
    }

    /// Said again until the backend answers anything that is an answer.
    pub(super) fn late_notice_answered(&mut self, id: SessionId, answer: &BackendAnswer, fx: &mut Effects) {
        let BackendAnswer::Answered { http_status: 200, body } = answer else { return };
        if read_acknowledgement(body).is_ok() {
            self.late_start_done(id, fx);
        }
    }

    fn stop_late_start(&mut self, id: SessionId, ours: &PartyId, cpo: &PartyId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let evse = session.record.evse.as_deref().and_then(|evse| EvseId::parse(evse).ok());
        let provider = ProviderId::parse(&provider_for_display(ours.id.as_str())).ok();
        let (Some(evse_id), Some(provider_id)) = (evse, provider) else { return };
        let stop = AuthorizeRemoteStop {
            session_id: id,
            partners: partners_of(session),
            provider_id,
            evse_id,
            findings: Vec::new(),
        };
        let operation = match session.record.operation {
            SessionOperation::ReservationStart => SessionOperation::ReservationStop,
            _ => SessionOperation::RemoteStop,
        };
        // The fields of both are the same.
        if session.record.via == Via::Hub {
            let about = word(id, About::LateStop, ours, cpo);
            return self.say_to_hub(about, Some(operation), stop.to_json().into(), fx);
        }
        let message = SessionMessage::Ask {
            session: id.as_str().to_owned(),
            operation,
            budget_ms: u32::try_from(QUERY_TIMEOUT_MS).unwrap_or(u32::MAX),
            oicp: stop.to_json().into(),
        };
        // Always as the same message, so that the operator's backend is asked once, however often it is sent.
        let message_id = MessageId(session.record.ask.0.map(|byte| !byte));
        self.send_as(message_id, word(id, About::LateStop, ours, cpo), &message, now, fx);
    }

    /// The operator's node says what became of the stop of a late start.
    pub(super) fn late_stop_answered(&mut self, id: SessionId, outcome: &AskOutcome, fx: &mut Effects) {
        // A backend that could not be reached is asked again.
        if *outcome != not_sent() {
            self.late_start_done(id, fx);
        }
    }

    /// The other side says of a session of ours that it lives, perhaps before it answered our start.
    pub(super) fn shown_alive_to_asker(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let is_news = self.step(id, Event::ShownAlive, now, fx);
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if !is_news || !session.record.asked_by_us {
            return;
        }
        if session.waiting.is_empty() {
            // Who asked for it heard that it did not start, or nothing.
            session.record.to_tell_backend = true;
            return self.remember(id, fx);
        }
        let answer = HttpAnswer::verbatim(own_yes(&session.record));
        self.answer_all(id, &answer, fx);
    }

    /// What our backend's answer to anything but a start leaves behind.
    pub(super) fn after_backend(
        &mut self,
        call: &BackendCall,
        event: Event,
        outcome: &AskOutcome,
        fx: &mut Effects,
    ) {
        let Some(session) = self.charging.sessions.get_mut(&call.session) else { return };
        let record = &mut session.record;
        if call.operation == SessionOperation::Notification && event == Event::Confirmed {
            // It knows now that the session runs.
            if std::mem::take(&mut record.to_tell_backend) {
                self.remember(call.session, fx);
            }
        } else if !call.operation.begins() && *outcome == not_sent() {
            // It heard nothing, so the same message may come once more.
            record.seen.retain(|message| *message != call.message);
            session.said = None;
            self.remember(call.session, fx);
        }
    }

    /// The late start is known where it has to be, or stopped.
    pub(super) fn late_start_done(&mut self, id: SessionId, fx: &mut Effects) {
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            session.record.to_tell_backend = false;
            self.remember(id, fx);
        }
    }

    /// A partner is back: what is in doubt is asked at once.
    pub(in crate::roaming) fn settle_soon(&mut self, now: Now) {
        self.cdrs_soon(now);
        for id in &self.charging.unsettled {
            if let Some(session) = self.charging.sessions.get_mut(id) {
                session.settle_at_ms = session.settle_at_ms.min(now.mono_ms);
                session.settle_wait_ms = WAIT_MS_MIN;
            }
        }
    }
}

/// A word of our own in a session, for which no backend waits.
fn word(session: SessionId, about: About, ours: &PartyId, to: &PartyId) -> OurMessage {
    let (ours, to) = (ours.clone(), to.clone());
    OurMessage { session, about, ours, to, call: None, timeout_ms: QUERY_TIMEOUT_MS, way: Way::default() }
}

fn partners_of(session: &Session) -> PartnerSessions {
    super::references::partners(Some(&session.record))
}

fn late_notice(session: &Session, id: SessionId) -> Option<String> {
    let record = &session.record;
    let evse = EvseId::parse(record.evse.as_deref()?).ok()?;
    let confirmed = i64::try_from(record.changed_unix_ms).ok().map(DateTime::from_unix_ms);
    let notification = ChargingNotification {
        partners: partners_of(session),
        charging_start: confirmed,
        ..ChargingNotification::new(NotificationKind::Start, id, evse)
    };
    Some(notification.to_json())
}
