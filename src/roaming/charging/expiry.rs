//! How long sessions are remembered: those that are open until nobody has spoken of them for weeks, those that are over
//! for a day as far as there is room. Storage has them longer.

use std::collections::BTreeSet;

use super::table::Event;
use super::{Charging, NEVER_CAME_MS, SESSION_OVER_FOR_MS, Session};
use crate::oicp::charging::SessionId;
use crate::protocol::SessionPhase;
use crate::roaming::Roaming;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

/// Shortest time between two searches for sessions that can give way, in milliseconds: where nearly all are open, each
/// would look at all of them for nothing.
const ROOM_SOUGHT_MS: u64 = 1_000;

impl Roaming {
    /// Sessions that nobody speaks of any more, and those that were over long ago.
    pub(super) fn expire_sessions(&mut self, now: Now, fx: &mut Effects) {
        let expiry_ms = self.charging.config.session_expiry_days.saturating_mul(86_400_000);
        let age = |session: &Session| now.unix_ms.saturating_sub(session.record.changed_unix_ms);
        let old = |(id, session): (&SessionId, &Session)| (age(session) >= expiry_ms).then_some(*id);
        let expired: Vec<SessionId> = self.charging.sessions.iter().filter_map(old).collect();
        for id in expired {
            if let Some(session) = self.charging.sessions.get_mut(&id) {
                session.record.to_release.clear();
                session.record.to_tell_backend = false;
            }
            self.step(id, Event::Expired, now, fx);
        }
        let awaited = self.charging.with_open_cdr();
        let gone = |id: &SessionId, session: &Session| {
            is_done(session) && age(session) >= SESSION_OVER_FOR_MS && !awaited.contains(id)
        };
        self.charging.sessions.retain(|id, session| !gone(id, session));
        self.charging.drop_aliases();
        self.charging.never_came.retain(|_, until_ms| *until_ms > now.mono_ms);
    }

    /// Makes room for one more session; false if too many are open. Those that are over give way before their day is
    /// over, first what was refused: else a partner whose cards are refused could fill the memory for a day.
    pub(super) fn has_room_for_session(&mut self, now: Now) -> bool {
        let charging = &mut self.charging;
        if charging.sessions.len() < charging.config.sessions_max {
            return true;
        }
        if charging.room_sought_ms.is_some_and(|at_ms| now.mono_ms < at_ms + ROOM_SOUGHT_MS) {
            return false;
        }
        charging.room_sought_ms = Some(now.mono_ms);
        let awaited = charging.with_open_cdr();
        let is_awaited = |id: &SessionId| awaited.contains(id) || charging.unsettled.contains(id);
        // What was begun must not begin again, whatever comes twice: it is known as long as its start is valid. A
        // second no does no harm.
        let may_come_again = |session: &Session| {
            let record = &session.record;
            let age_ms = now.unix_ms.saturating_sub(record.changed_unix_ms);
            record.phase != SessionPhase::Refused && age_ms < NEVER_CAME_MS
        };
        let gives_way = |id: &SessionId, session: &Session| {
            is_done(session) && !is_awaited(id) && !may_come_again(session)
        };
        let done = charging.sessions.iter().filter(|(id, session)| gives_way(id, session));
        let mut done: Vec<(bool, u64, SessionId)> = done
            .map(|(id, session)| {
                (session.record.phase != SessionPhase::Refused, session.record.changed_unix_ms, *id)
            })
            .collect();
        done.sort_unstable();
        // Half of them at least: the next ones find room without a search.
        let too_many = charging.sessions.len() + 1 - charging.config.sessions_max;
        done.truncate(done.len().div_ceil(2).max(too_many));
        done.iter().for_each(|(_, _, id)| drop(charging.sessions.remove(id)));
        charging.drop_aliases();
        charging.sessions.len() < charging.config.sessions_max
    }
}

impl Charging {
    /// Sessions of which a charge detail record is on its way: who asks about one must not hear that it never came.
    fn with_open_cdr(&self) -> BTreeSet<SessionId> {
        self.cdrs.open.keys().map(|key| key.session).collect()
    }

    fn drop_aliases(&mut self) {
        let Charging { sessions, hub, .. } = self;
        hub.aliases.retain(|_, id| sessions.contains_key(id));
    }
}

/// Whether nothing is left to be done for a session.
fn is_done(session: &Session) -> bool {
    session.record.phase.is_over() && session.record.to_release.is_empty()
}
