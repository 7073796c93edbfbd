//! Sessions and charge detail records that the hub remembers.

use std::collections::BTreeMap;

use crate::oicp::charging::{GetChargeDetailRecords, MediumKey, PartnerSessions, SessionId};
use crate::oicp::page::{self, PageRequest};
use crate::oicp::status_code::{Code, StatusCode};

use super::reply::Reply;

/// Most sessions that are remembered; the ones with the smallest ids give way, which are as random as any.
pub const HUB_SESSIONS_MAX: usize = 100_000;
/// Most charge detail records that are remembered; the oldest give way.
pub const HUB_CDRS_MAX: usize = 100_000;
/// Shortest time between two notifications of progress (OPERATIONS 4), in milliseconds.
const PROGRESS_MS: u64 = 300_000;

/// A session.
#[derive(Clone)]
pub(super) struct Session {
    /// The CPO's id without separators.
    pub(super) cpo: String,
    /// The EMP's.
    pub(super) emp: String,
    pub(super) partners: PartnerSessions,
    /// What authorized it, if the hub did on uploaded media: only this may stop it.
    pub(super) offline: Option<MediumKey>,
    /// It has its record.
    pub(super) closed: bool,
    /// When its last progress was told, by the monotonic clock.
    pub(super) progress_ms: Option<u64>,
}

/// A record that was taken.
#[derive(Clone)]
pub(super) struct Cdr {
    pub(super) emp: String,
    pub(super) cpo: String,
    pub(super) session: SessionId,
    /// When, in milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) raw: String,
    /// The EMP's backend has answered 000.
    pub(super) forwarded: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    cdrs: Vec<Cdr>,
    /// Who authorized a medium last, so that it is asked alone.
    known: BTreeMap<MediumKey, String>,
}

impl Sessions {
    pub(super) fn begin(&mut self, id: SessionId, session: Session) {
        while self.open.len() >= HUB_SESSIONS_MAX {
            self.open.pop_first();
        }
        self.open.insert(id, session);
    }

    pub(super) fn forget(&mut self, id: SessionId) {
        self.open.remove(&id);
    }

    /// The session, if a partner takes part in it.
    pub(super) fn of(&self, id: SessionId, canonical: &str) -> Option<Session> {
        self.open.get(&id).filter(|session| session.cpo == canonical || session.emp == canonical).cloned()
    }

    /// How many there are that have no record yet.
    pub(super) fn open_count(&self) -> usize {
        self.open.values().filter(|session| !session.closed).count()
    }

    /// Notes a reference that a partner told.
    pub(super) fn learn(&mut self, id: SessionId, partners: PartnerSessions) {
        if let Some(session) = self.open.get_mut(&id) {
            session.partners = partners.or(&session.partners);
        }
    }

    pub(super) fn remember_medium(&mut self, medium: MediumKey, emp: &str) {
        while self.known.len() >= HUB_SESSIONS_MAX {
            self.known.pop_first();
        }
        self.known.insert(medium, emp.to_owned());
    }

    pub(super) fn known_medium(&self, medium: &MediumKey) -> Option<&str> {
        self.known.get(medium).map(String::as_str)
    }

    /// Whether progress may be told again; notes it.
    pub(super) fn progress(&mut self, id: SessionId, now_ms: u64) -> bool {
        let Some(session) = self.open.get_mut(&id) else { return false };
        let soon = session.progress_ms.is_some_and(|before| now_ms.saturating_sub(before) < PROGRESS_MS);
        if !soon {
            session.progress_ms = Some(now_ms);
        }
        !soon
    }

    /// Takes a record and closes its session.
    pub(super) fn close(&mut self, cdr: Cdr) {
        if let Some(session) = self.open.get_mut(&cdr.session) {
            session.closed = true;
        }
        if self.cdrs.len() >= HUB_CDRS_MAX {
            self.cdrs.remove(0);
        }
        self.cdrs.push(cdr);
    }

    pub(super) fn forwarded(&mut self, id: SessionId) {
        if let Some(cdr) = self.cdrs.iter_mut().rev().find(|cdr| cdr.session == id) {
            cdr.forwarded = true;
        }
    }

    /// Session and bytes of all records, the oldest first.
    pub(super) fn cdrs(&self) -> Vec<(SessionId, String)> {
        self.cdrs.iter().map(|cdr| (cdr.session, cdr.raw.clone())).collect()
    }

    /// GetChargeDetailRecords: all that the hub took in the period, whoever has had them before.
    pub(super) fn page(&self, emp: &str, asked: &GetChargeDetailRecords, page: PageRequest) -> Reply {
        let operators: Vec<String> = asked.operator_ids.iter().map(|id| id.canonical()).collect();
        let fits = |cdr: &&Cdr| {
            cdr.emp == emp
                && (asked.from.unix_ms()..=asked.to.unix_ms()).contains(&cdr.at_ms)
                && (asked.session_ids.is_empty() || asked.session_ids.contains(&cdr.session))
                && (operators.is_empty() || operators.contains(&cdr.cpo))
                && asked.forwarded.is_none_or(|wanted| wanted == cdr.forwarded)
        };
        let found: Vec<&str> = self.cdrs.iter().filter(fits).map(|cdr| cdr.raw.as_str()).collect();
        let first = usize::try_from(page.offset()).unwrap_or(usize::MAX).min(found.len());
        let last = first.saturating_add(page.size() as usize).min(found.len());
        let shown = found.get(first..last).unwrap_or_default();
        let text = page::write(page, found.len() as u64, shown, &StatusCode::from(Code::Success));
        Reply::message(text, format!("000 {} records", shown.len()))
    }
}
