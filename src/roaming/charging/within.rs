//! What a backend of ours says within a session that is there: stops and notifications.

use super::answer::{HttpAnswer, refusal};
use super::ask::{Asked, Wish, with_session};
use super::request::ChargeRequest;
use super::table::Event;
use crate::oicp::charging::{NotificationKind, SessionId};
use crate::oicp::status_code::Code;
use crate::protocol::{SessionOperation, SessionRecord};
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
        let session = asked.request.session();
        let known = session.and_then(|id| self.charging.sessions.get(&id).map(|session| (id, session)));
        let valid = known.filter(|(_, session)| {
            let record = &session.record;
            let ours = record.ours == *asked.party || record.partner.as_ref() == Some(asked.party);
            ours && !record.phase.is_over() && fits(operation, record)
        });
        let other = |record: &SessionRecord| match record.ours == *asked.party {
            true => record.partner.clone(),
            // Both are parties of this node.
            false => Some(record.ours.clone()),
        };
        let Some((id, partner)) = valid.and_then(|(id, session)| Some((id, other(&session.record)?))) else {
            let info = "no open session of yours has this SessionID";
            return Err(refusal(operation, Code::SessionInvalid, info, None));
        };
        self.notification_is_due(id, asked, now)?;
        if operation == SessionOperation::Notification {
            // Our own backend says that it lives.
            self.step(id, Event::ShownAlive, now, fx);
        }
        let body = with_session(&asked.body, id);
        let wish = Wish { operation, oicp: body, call: Some(asked.call) };
        self.ask_partner(id, &partner, wish, now, fx);
        Ok(())
    }

    fn notification_is_due(&mut self, id: SessionId, asked: &Asked<'_>, now: Now) -> Result<(), HttpAnswer> {
        let ChargeRequest::Notification(notification) = asked.request else { return Ok(()) };
        if notification.kind != NotificationKind::Progress {
            return Ok(());
        }
        let every_ms = self.charging.config.progress_every_s * 1_000;
        let Some(session) = self.charging.sessions.get_mut(&id) else { return Ok(()) };
        if session.progress_ms.is_some_and(|last_ms| now.mono_ms < last_ms + every_ms) {
            let info = format!("a session's Progress may come every {} s", every_ms / 1_000);
            let operation = SessionOperation::Notification;
            return Err(refusal(operation, Code::DataError, &info, Some(&session.record)));
        }
        session.progress_ms = Some(now.mono_ms);
        Ok(())
    }
}

/// Whether a session is of the kind that the operation is about.
fn fits(operation: SessionOperation, record: &SessionRecord) -> bool {
    match operation {
        SessionOperation::AuthorizeStop => {
            !record.asked_by_us || record.operation == SessionOperation::AuthorizeStart
        }
        SessionOperation::RemoteStop => record.operation != SessionOperation::ReservationStart,
        SessionOperation::ReservationStop => record.operation == SessionOperation::ReservationStart,
        _ => true,
    }
}
