//! Sessions that one side lost, after a backup was put back, say: the other side proves them, and they go on.

use bytes::Bytes;

use super::evidence::EvidenceRefusal;
use super::rebuild::{LOST_MESSAGES_MAX, LostSession};
use super::{Session, SessionPhase, SessionRecord};
use crate::identity::Role;
use crate::oicp::charging::SessionId;
use crate::protocol::evidence::{EvidenceEntry, LoggedSession};
use crate::protocol::{BOOKS_EVIDENCE_BYTES_MAX, BooksMessage, CdrState, Digest, SessionOperation};
use crate::roaming::Roaming;
use crate::roaming::change::CdrsOfSession;
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{CallId, Now};
use crate::roaming::reconcile::BooksServeId;

/// Messages from the begin of a session, and as many from its end, that are handed out: a charge of days tells of
/// itself hundreds of times.
const HANDED_OUT_MAX: usize = LOST_MESSAGES_MAX / 4;

/// Larger messages are left out if the whole is too large, in bytes: charge detail records, which have ways of their own.
const LARGE_BYTES: usize = 16 * 1024;

/// Who waits for a lost session to be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostFor {
    /// A comparison of ours.
    Call(CallId),
    /// A partner that proved it.
    Partner(BooksServeId),
}

/// What proves a lost session, and what storage holds of it.
#[derive(Clone, Debug)]
pub struct FoundAgain {
    /// As both sides signed it.
    pub lost: LostSession,
    /// The session and its records here.
    pub stored: CdrsOfSession,
}

impl Roaming {
    /// The evidence of a session for the partner that lost it: as much as fits an envelope.
    ///
    /// # Errors
    /// [`EvidenceRefusal`].
    pub fn evidence_for_partner(
        &self,
        mut logged: LoggedSession,
        now: Now,
    ) -> Result<Bytes, EvidenceRefusal> {
        let entries = &mut logged.parts.entries;
        let last = entries.len().saturating_sub(HANDED_OUT_MAX).max(HANDED_OUT_MAX);
        let between = entries.iter_mut().take(last).skip(HANDED_OUT_MAX);
        between.for_each(|entry| entry.content = None);
        let file = self.evidence_file(logged.clone(), now)?;
        if file.len() <= BOOKS_EVIDENCE_BYTES_MAX {
            return Ok(file);
        }
        let is_large = |entry: &&mut EvidenceEntry| {
            entry.content.as_ref().is_some_and(|content| content.message.len() > LARGE_BYTES)
        };
        logged.parts.entries.iter_mut().filter(is_large).for_each(|entry| entry.content = None);
        let file = self.evidence_file(logged, now)?;
        match file.len() <= BOOKS_EVIDENCE_BYTES_MAX {
            true => Ok(file),
            false => Err(EvidenceRefusal::TooLargeToSend),
        }
    }

    /// The log was read for a partner that lost a session.
    pub(in crate::roaming) fn serve_evidence(
        &mut self,
        serve: BooksServeId,
        logged: Option<LoggedSession>,
        now: Now,
        fx: &mut Effects,
    ) {
        let file =
            logged.ok_or(EvidenceRefusal::Nothing).and_then(|logged| self.evidence_for_partner(logged, now));
        let answer = file.map_or_else(|why| BooksMessage::Refused(why.to_string()), BooksMessage::Evidence);
        self.books_served(serve, &answer, now, fx);
    }

    /// A lost session was proven, or not: it goes on here from now on, or why not.
    pub(in crate::roaming) fn lost_session_came(
        &mut self,
        waits: LostFor,
        found: Result<FoundAgain, String>,
        now: Now,
        fx: &mut Effects,
    ) {
        let taken = found.and_then(|found| self.take_lost_session(found, now, fx));
        match waits {
            LostFor::Call(call) => fx.actions.push(Action::LostSessionTaken { call, taken }),
            LostFor::Partner(serve) => {
                let answer = taken.map_or_else(BooksMessage::Refused, |_| BooksMessage::Taken);
                self.books_served(serve, &answer, now, fx);
            }
        }
    }

    /// Remembers it; gives the records of it that were refused before.
    fn take_lost_session(
        &mut self,
        FoundAgain { lost, stored }: FoundAgain,
        now: Now,
        fx: &mut Effects,
    ) -> Result<Vec<Digest>, String> {
        let LostSession { mut record, refused_cdrs } = lost;
        let id = SessionId::parse(&record.session).ok_or("it has no SessionID")?;
        if !self.parties.contains_key(&record.ours) {
            return Err(format!("{} is no party of this node", record.ours));
        }
        let held = self.charging.sessions.get(&id).map(|session| &session.record);
        match held.or(stored.session.as_ref()) {
            Some(known) if is_place_holder(known) => {}
            Some(known) if known.ours == record.ours && known.partner == record.partner => {
                return match known.phase {
                    SessionPhase::Active | SessionPhase::Closed | SessionPhase::Expired => Ok(refused_cdrs),
                    other => Err(format!("it is known here, as {}", other.as_str())),
                };
            }
            Some(_) => return Err("another session has its SessionID here".to_owned()),
            None => {}
        }
        if !self.has_room_for_session(now) {
            return Err("too many sessions are open here".to_owned());
        }
        let of_it = stored
            .cdrs
            .iter()
            .filter(|cdr| cdr.ours == record.ours && Some(&cdr.partner) == record.partner.as_ref());
        if of_it.clone().any(|cdr| cdr.state != CdrState::Refused) {
            record.phase = SessionPhase::Closed;
        }
        // Without a backend only this node can have answered.
        record.offline = record.operation == SessionOperation::AuthorizeStart
            && record.ours.role == Role::Emp
            && !self.charging.backends.contains_key(&record.ours);
        self.charging.never_came.remove(&id);
        self.charging.sessions.insert(id, Session::new(record, now));
        self.remember(id, fx);
        Ok(refused_cdrs)
    }
}

/// What stands for a session that the partner spoke of and that was unknown here ([`Roaming::note_never_came`]): nothing
/// was decided about it.
pub(super) fn is_place_holder(record: &SessionRecord) -> bool {
    record.phase == SessionPhase::Refused
        && !record.asked_by_us
        && record.answer.is_none()
        && record.evse.is_none()
        && record.medium.is_none()
        && record.ask_expires_unix_ms == record.opened_unix_ms
}
