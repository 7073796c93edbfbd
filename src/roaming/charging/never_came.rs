//! Sessions that were asked about and never came: they must not begin later.

use super::{Asker, NEVER_CAME_MAX, NEVER_CAME_MS, Session};
use crate::identity::{MessageId, Role, Service};
use crate::oicp::charging::SessionId;
use crate::protocol::{SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

impl Roaming {
    /// It must not begin any more, whatever was held back on the way. What a partner could begin is remembered as a
    /// session that was refused, also over a restart. Bounded: the oldest is forgotten.
    pub(super) fn note_never_came(
        &mut self,
        asker: &Asker,
        id: SessionId,
        ask: MessageId,
        now: Now,
        fx: &mut Effects,
    ) {
        let operation = match asker.partner.role {
            Role::Emp => SessionOperation::RemoteStart,
            Role::Cpo | Role::Hub => SessionOperation::AuthorizeStart,
        };
        let may = |service| self.decide(&asker.ours, &asker.partner, service, now).code().is_none();
        let could_begin = may(Service::Authorization) || may(Service::Reservation);
        let is_noted = could_begin && self.charging.never_came.len() < NEVER_CAME_MAX;
        if is_noted && self.has_room_for_session(now) {
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
}

/// A session that a partner asks us for.
pub(super) fn asked_of_us(
    asker: &Asker,
    id: SessionId,
    operation: SessionOperation,
    now: Now,
) -> SessionRecord {
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
        via: Via::Direct,
        alias: None,
        opened_unix_ms: now.unix_ms,
        changed_unix_ms: now.unix_ms,
    }
}
