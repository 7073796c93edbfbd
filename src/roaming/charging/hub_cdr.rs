//! Charge detail records over the central hub. What goes there is settled with the hub's word, which says that it is
//! stored and no more; what comes from there is the CPO's message without its signature, so there are no receipts.

use bytes::Bytes;

use super::answer::{HttpAnswer, acknowledgement, refusal_in_full};
use super::ask::reply;
use super::cdr::{CdrKey, CdrWaiter, cdr_hash, finding_texts};
use super::cdr_findings::CdrArrival;
use super::cdr_send::may_have_cdr;
use super::{About, BackendAnswer, OurMessage, Way};
use crate::identity::{PartyId, ReceiptVerdict, Role, Service};
use crate::oicp::charging::{ChargeDetailRecord, SessionId, read_acknowledgement};
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{CdrRecord, CdrState, Digest, SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::change::StoredCdr;
use crate::roaming::effect::{Action, Effects, Report};
use crate::roaming::input::{CallId, Now};

/// Records under way to the hub at once: more than it takes in a second.
const IN_FLIGHT_MAX: usize = 32;

/// Time for the hub's answer to a record, in milliseconds.
const ANSWER_MS: u64 = 30_000;

/// HTTP status of a hub that has not looked at the message: too many of them.
const HTTP_TOO_MANY: u16 = 429;

/// What the hub says of a session whose record it has taken.
const CLOSED: &str = "CLOSED";

impl Roaming {
    /// Sends a record through the hub. False if there was no room for it.
    pub(super) fn send_cdr_to_hub(&mut self, key: CdrKey, now: Now, fx: &mut Effects) -> bool {
        let of_cdrs = |other: &&OurMessage| matches!(other.about, About::Cdr(_));
        let under_way = self.charging.hub.calls.values().filter(of_cdrs);
        if under_way.clone().any(|other| other.session == key.session && other.about == About::Cdr(key.hash))
        {
            self.again(&key, now);
            return true;
        }
        if under_way.count() >= IN_FLIGHT_MAX {
            return false;
        }
        let Some(open) = self.charging.cdrs.open.get_mut(&key) else { return true };
        let (ours, to) = (open.stored.ours.clone(), open.stored.partner.clone());
        let oicp = open.stored.oicp();
        open.stored.record.attempts += 1;
        self.put_off(&key, ANSWER_MS, now);
        // Its content may have been deleted: there is nothing to send.
        if let Some(oicp) = oicp {
            let (session, about, way) = (key.session, About::Cdr(key.hash), Way::default());
            let about = OurMessage { session, about, ours, to, call: None, timeout_ms: ANSWER_MS, way };
            self.say_to_hub(about, None, oicp, fx);
        }
        true
    }

    /// The hub's word about a record.
    pub(super) fn hub_took_cdr(
        &mut self,
        session: SessionId,
        hash: Digest,
        answer: &BackendAnswer,
        now: Now,
        fx: &mut Effects,
    ) {
        let key = CdrKey { session, hash, incoming: false };
        let said = match answer {
            BackendAnswer::Answered { http_status, body } if *http_status != HTTP_TOO_MANY => {
                read_acknowledgement(body).ok()
            }
            _ => None,
        };
        let Some(said) = said else { return self.again(&key, now) };
        let Some(open) = self.charging.cdrs.open.get(&key) else { return };
        let stored = &open.stored;
        let info = said.status.additional_info.as_deref().unwrap_or_default();
        let is_closed =
            said.status.description.as_deref().unwrap_or_default().contains(CLOSED) || info.contains(CLOSED);
        // An answer to an earlier attempt was lost.
        let was_taken = is_closed && stored.record.attempts > 1;
        match said.status.known() {
            _ if said.result => self.hub_settled_cdr(key, CdrState::Kept, None, now, fx),
            Some(Code::SessionInvalid) if was_taken => {
                self.hub_settled_cdr(key, CdrState::Kept, None, now, fx);
            }
            // The hub gave the session up while it went on here.
            Some(Code::SessionInvalid) if self.may_go_directly(stored, now) => self.cdr_turns(key, now, fx),
            Some(Code::HubSystemError | Code::HubDatabaseError | Code::SystemError) => self.again(&key, now),
            code => {
                let code = code.unwrap_or(Code::SystemError).as_str();
                let why = format!("the hub refuses it with {code}");
                self.hub_settled_cdr(key, CdrState::Refused, Some(why), now, fx);
            }
        }
    }

    /// Whether the partner has a node that may be given the record.
    fn may_go_directly(&self, stored: &StoredCdr, now: Now) -> bool {
        let partner = &stored.partner;
        let has_node = self.is_reachable(partner, now) || self.agreement_partners().contains(partner);
        has_node && self.routing(&stored.ours, partner, Service::Cdr, now).may_direct()
    }

    fn cdr_turns(&mut self, key: CdrKey, now: Now, fx: &mut Effects) {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return };
        let mut stored = open.stored.clone();
        stored.record.via = Via::Direct;
        self.charging.cdrs.put(key, stored, now.mono_ms);
        self.remember_cdr(key, fx);
        // Whatever finds no room is sent with the next tick.
        let _sent = self.send_cdr(key, now, fx);
    }

    fn hub_settled_cdr(
        &mut self,
        key: CdrKey,
        state: CdrState,
        why: Option<String>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return };
        let mut stored = open.stored.clone();
        stored.state = state;
        stored.is_open = false;
        if let Some(why) = why {
            let (session, partner) = (stored.session.clone(), stored.partner.clone());
            if stored.record.findings.len() < crate::protocol::CDR_FINDINGS_MAX {
                stored.record.findings.push(why.clone());
            }
            fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
        }
        self.charging.cdrs.put(key, stored, now.mono_ms);
        self.remember_cdr(key, fx);
    }

    /// The hub brings a record.
    pub(in crate::roaming) fn hub_cdr(
        &mut self,
        (call, partner): (CallId, PartyId),
        arrival: Box<CdrArrival>,
        body: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        self.count_message(&partner, Via::Hub);
        let given = arrival.session;
        let known = self.resolved(given);
        let id = match self.charging.sessions.contains_key(&known) {
            true => known,
            false => self.adopted_by_cdr(None, &partner, given, &body, now, fx).unwrap_or(known),
        };
        self.cdr_came(id, CdrWaiter::Hub { call, partner, arrival, body }, now, fx);
    }

    /// The session of a record that speaks of none that is known here: a start through the hub that timed out.
    pub(super) fn adopted_by_cdr(
        &mut self,
        ours: Option<&PartyId>,
        partner: &PartyId,
        given: SessionId,
        oicp: &[u8],
        now: Now,
        fx: &mut Effects,
    ) -> Option<SessionId> {
        // Nobody waits for the hub: nothing is read.
        if self.charging.hub.ways.parties.is_empty() {
            return None;
        }
        let cdr = ChargeDetailRecord::parse(oicp, Reading::Tolerant).ok()?;
        let medium = cdr.identification.medium_key();
        let what = (cdr.evse_id.as_str(), Some(medium.expose()));
        self.found_in_doubt((ours, partner), what, given, now, fx)
    }

    /// Takes a record that the hub brought, given what is stored of its session.
    pub(super) fn take_hub_cdr(
        &mut self,
        id: SessionId,
        (call, partner): (CallId, PartyId),
        (arrival, body): (&CdrArrival, Bytes),
        known: &mut Vec<StoredCdr>,
        now: Now,
        fx: &mut Effects,
    ) {
        let answer = match self.their_cdr_by_hub(id, &partner, arrival, &body, known, now) {
            Ok(None) => said_yes(self.charging.sessions.get(&id).map(|session| &session.record)),
            Ok(Some(stored)) => {
                known.push((*stored).clone());
                let key = CdrKey { session: id, hash: stored.hash, incoming: true };
                self.close_by_cdr(id, now, fx);
                self.charging.cdrs.put(key, *stored, now.mono_ms);
                self.remember_cdr(key, fx);
                let yes = said_yes(self.charging.sessions.get(&id).map(|session| &session.record));
                reply(call, yes, fx);
                // Whatever finds no room is given to our backend with the next tick.
                let _forwarded = self.forward_cdr(key, now, fx);
                return;
            }
            Err((code, why)) => {
                let session = id.as_str().to_owned();
                fx.actions.push(Action::Report(Report::CdrNotTaken {
                    session,
                    partner,
                    why: why.to_owned(),
                }));
                refused_cdr(code, why)
            }
        };
        reply(call, answer, fx);
    }

    /// `None`: it is known already, over whichever way it came.
    fn their_cdr_by_hub(
        &self,
        id: SessionId,
        partner: &PartyId,
        arrival: &CdrArrival,
        body: &Bytes,
        known: &[StoredCdr],
        now: Now,
    ) -> Result<Option<Box<StoredCdr>>, (Code, &'static str)> {
        let invalid = (Code::SessionInvalid, "no session has this SessionID");
        let record = &self.charging.sessions.get(&id).ok_or(invalid)?.record;
        let hash = cdr_hash(body);
        let operator = arrival.evse.key().operator();
        // A hub partner speaks for the operators that it bundles.
        let theirs = record
            .partner
            .as_ref()
            .filter(|known| *known == partner || known.role == Role::Cpo && known.id.as_str() == operator);
        let Some(theirs) = theirs.filter(|_| record.ours.role == Role::Emp) else { return Err(invalid) };
        let mut before = known.iter().filter(|cdr| cdr.incoming && cdr.ours == record.ours);
        if before.clone().any(|cdr| cdr.hash == hash) {
            return Ok(None);
        }
        if record.via != Via::Hub {
            return Err((Code::SessionInvalid, "the session is not one of the hub"));
        }
        if before.next().is_some() || record.phase == SessionPhase::Closed || !may_have_cdr(record) {
            return Err((Code::SessionInvalid, "Session found but status is not valid CLOSED!"));
        }
        if !self.has_room_for_cdr() {
            return Err((Code::HubSystemError, "too many charge detail records wait: send it again later"));
        }
        let findings = arrival.findings_of(record);
        let online = self.charging.backends.contains_key(&record.ours);
        Ok(Some(Box::new(StoredCdr {
            session: record.session.clone(),
            hash,
            incoming: true,
            ours: record.ours.clone(),
            partner: theirs.clone(),
            operator: operator.to_owned(),
            is_open: online,
            state: if online { CdrState::Received } else { CdrState::Kept },
            stored_unix_ms: now.unix_ms,
            ended_unix_ms: arrival.ended_unix_ms,
            replaces: None,
            // The message itself: nobody signed it.
            signed: Some(body.clone()),
            record: CdrRecord { findings: finding_texts(&findings), via: Via::Hub, ..CdrRecord::default() },
        })))
    }

    /// Our backend's last word about a record that came through the hub: there is nobody to tell.
    pub(super) fn hub_cdr_settled(
        &mut self,
        mut stored: StoredCdr,
        key: CdrKey,
        verdict: &ReceiptVerdict,
        now: Now,
        fx: &mut Effects,
    ) {
        stored.state = super::cdr_send::state_of(verdict);
        stored.is_open = false;
        self.charging.cdrs.put(key, stored, now.mono_ms);
        self.remember_cdr(key, fx);
    }

    /// A record that came through the hub comes directly as well: it counts once, and has its receipts now.
    pub(super) fn receipt_late(&mut self, id: SessionId, stored: &mut StoredCdr, now: Now, fx: &mut Effects) {
        let verdict = match stored.state {
            CdrState::Waiting | CdrState::Received | CdrState::Refused => None,
            CdrState::Accepted => Some(ReceiptVerdict::Accepted),
            CdrState::Rejected => Some(ReceiptVerdict::Rejected(Code::SystemError.as_str().to_owned())),
            CdrState::Kept => Some(ReceiptVerdict::Kept),
        };
        let state = stored.state;
        let mut signed = stored.clone();
        let receipts = std::iter::once(ReceiptVerdict::Received).chain(verdict);
        for verdict in receipts {
            // Without a clock nothing is signed: the other side asks again.
            if !self.may_sign() || self.sign_receipt(&mut signed, verdict, now).is_err() {
                return;
            }
        }
        signed.state = state;
        *stored = signed;
        let key = CdrKey { session: id, hash: stored.hash, incoming: true };
        if let Some(open) = self.charging.cdrs.open.get_mut(&key) {
            open.stored.record = stored.record.clone();
        }
        fx.ledger.push(crate::roaming::change::LedgerChange::Cdr { cdr: Box::new(stored.clone()) });
    }
}

fn said_yes(record: Option<&SessionRecord>) -> HttpAnswer {
    HttpAnswer::verbatim(acknowledgement(true, record).to_json().into())
}

pub(super) fn refused_cdr(code: Code, why: &str) -> HttpAnswer {
    refusal_in_full(SessionOperation::Notification, StatusCode::with_info(code, why), None)
}
