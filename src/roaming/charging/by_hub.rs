//! The way through the central hub, at the side that asks: what is sent there in the place of a partner's node, and what
//! its answers mean. The hub is no peer: it signs nothing, so what it says is attested by it alone.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::answer::{refused_as_stale, what_it_says};
use super::ask::Wish;
use super::request::{service, what_it_is};
use super::{About, BackendAnswer, OurMessage, Session, Way};
use crate::identity::{PartyId, Role, Service};
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, FieldValue, Identification, SessionId, read_acknowledgement,
    with_fields,
};
use crate::oicp::id::{EvseKey, operator_for_display, provider_for_display};
use crate::oicp::status_code::Code;
use crate::protocol::{AskOutcome, SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::change::{LedgerChange, SessionAccount};
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{BackendCallId, Now};
use crate::roaming::policy::Decision;
use crate::roaming::ways::{Routing, Ways};

/// Partners whose messages are counted by way; the hub may name any number of them.
const COUNTED_MAX: usize = 4_096;

/// HTTP status of a hub that has not looked at the message: too many of them.
const HTTP_TOO_MANY: u16 = 429;

/// What the core has of the hub.
#[derive(Default)]
pub(super) struct Bridge {
    pub(super) ways: Ways,
    /// Messages to the hub under way.
    pub(super) calls: BTreeMap<BackendCallId, OurMessage>,
    /// Further SessionIDs of sessions.
    pub(super) aliases: BTreeMap<SessionId, SessionId>,
    /// How many messages went to and came from each partner, by way.
    counts: BTreeMap<PartyId, [u64; 2]>,
}

/// What a hub's answer to something in a session means.
enum Heard {
    /// It has not taken it.
    NotSent,
    /// Nobody knows.
    Silent,
    Outcome(AskOutcome),
}

impl Roaming {
    /// The same core with the ways to partners; without it everything is direct.
    #[must_use]
    pub fn with_ways(mut self, ways: Ways) -> Roaming {
        self.charging.hub.ways = ways;
        self
    }

    /// Messages about sessions and charge detail records to and from each partner since the start: directly, and
    /// through the hub.
    pub fn messages_by_way(&self) -> impl Iterator<Item = (&PartyId, [u64; 2])> {
        self.charging.hub.counts.iter().map(|(party, counts)| (party, *counts))
    }

    pub(super) fn count_message(&mut self, partner: &PartyId, via: Via) {
        let counts = &mut self.charging.hub.counts;
        if counts.len() < COUNTED_MAX || counts.contains_key(partner) {
            let of_partner = counts.entry(partner.clone()).or_default();
            match via {
                Via::Direct => of_partner[0] += 1,
                Via::Hub => of_partner[1] += 1,
            }
        }
    }

    /// Which ways may be taken to a partner. Whom a rule of the policy forbids is not reached through the hub either.
    pub(super) fn routing(&self, ours: &PartyId, partner: &PartyId, service: Service, now: Now) -> Routing {
        match self.decide(ours, partner, service, now) {
            Decision::Denied => Routing::Direct,
            _ => self.charging.hub.ways.of(ours, partner, service),
        }
    }

    /// The way for something that begins, or why there is none.
    pub(super) fn way_to(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        operation: SessionOperation,
        now: Now,
    ) -> Result<Via, (Code, String)> {
        match self.routing(ours, partner, service(operation), now) {
            Routing::Hub => Ok(Via::Hub),
            Routing::Direct => self.may_directly(ours, partner, operation, now).map(|()| Via::Direct),
            Routing::DirectThenHub => {
                let direct = self.may_directly(ours, partner, operation, now).is_ok()
                    && self.is_reachable(partner, now);
                Ok(if direct { Via::Direct } else { Via::Hub })
            }
        }
    }

    fn may_directly(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        operation: SessionOperation,
        now: Now,
    ) -> Result<(), (Code, String)> {
        if let Some(code) = self.decide(ours, partner, service(operation), now).code() {
            let info =
                format!("no agreement with {partner} for this service: see `chargemesh agreement offer`");
            return Err((code, info));
        }
        match self.may_still(partner, what_it_is(operation), now).refused() {
            Some(why) => Err((Code::ServiceNotAvailable, refused_as_stale(partner, why))),
            None => Ok(()),
        }
    }

    pub(super) fn is_reachable(&self, partner: &PartyId, now: Now) -> bool {
        self.parties.contains_key(partner) || !self.nodes_of(partner, now).is_empty()
    }

    /// The operator of an EVSE that nobody here knows: the hub may.
    pub(super) fn operator_at_hub(
        &self,
        ours: &PartyId,
        evse: &EvseKey,
        operation: SessionOperation,
        now: Now,
    ) -> Option<PartyId> {
        let cpo = PartyId::new(Role::Cpo, evse.operator()).ok()?;
        self.routing(ours, &cpo, service(operation), now).may_hub().then_some(cpo)
    }

    /// Whether the hub is asked if nothing can be sent directly after all.
    pub(super) fn may_turn_to_hub(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        operation: SessionOperation,
        now: Now,
    ) -> bool {
        self.routing(ours, partner, service(operation), now) == Routing::DirectThenHub
    }

    /// Nothing was sent to the partner's node, for sure: the same message goes to the hub. False if it may not.
    pub(super) fn turn_to_hub(&mut self, id: SessionId, fx: &mut Effects) -> bool {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return false };
        let (operation, partner) = (session.record.operation, session.record.partner.clone());
        let waits = session.record.phase == SessionPhase::Requested && session.record.via == Via::Direct;
        let Some((oicp, partner)) = session.begins_with.take().zip(partner).filter(|_| waits) else {
            return false;
        };
        session.record.via = Via::Hub;
        self.remember(id, fx);
        self.ask_hub(id, &partner, Wish { operation, oicp, call: None }, fx);
        true
    }

    /// Asks the partner through the hub.
    pub(super) fn ask_hub(&mut self, id: SessionId, partner: &PartyId, wish: Wish, fx: &mut Effects) {
        let Wish { operation, oicp, call } = wish;
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let about = OurMessage {
            session: id,
            about: About::Ask(operation),
            ours: session.record.ours.clone(),
            to: partner.clone(),
            call,
            timeout_ms: match operation.begins() {
                // A late answer decides about the session.
                true => self.budget_ms(operation).max(self.charging.config.backend_patience_ms),
                false => self.budget_ms(operation),
            },
            way: Way::default(),
        };
        let body = if operation.begins() { without_session(&oicp) } else { oicp };
        self.say_to_hub(about, Some(operation), body, fx);
    }

    /// Says something to the hub; nothing is said again while it has not answered.
    pub(super) fn say_to_hub(
        &mut self,
        about: OurMessage,
        operation: Option<SessionOperation>,
        body: Bytes,
        fx: &mut Effects,
    ) {
        let again = |other: &OurMessage| other.session == about.session && other.about == about.about;
        let once = !matches!(about.about, About::Ask(_));
        if once && self.charging.hub.calls.values().any(again) {
            return;
        }
        if about.to != about.ours {
            self.count_message(&about.to, Via::Hub);
        }
        let call = BackendCallId(self.next_id());
        let (party, timeout_ms) = (about.ours.clone(), about.timeout_ms);
        let path_id = match party.role {
            Role::Emp => provider_for_display(party.id.as_str()),
            Role::Cpo | Role::Hub => operator_for_display(party.id.as_str()),
        };
        self.charging.hub.calls.insert(call, about);
        fx.actions.push(Action::CallHub { call, party, operation, path_id, body, timeout_ms });
    }

    /// The hub answered, or did not. False if the call was about something else.
    pub(super) fn hub_answered(
        &mut self,
        call: BackendCallId,
        answer: &BackendAnswer,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(ours) = self.charging.hub.calls.remove(&call) else { return false };
        match ours.about {
            About::Ask(SessionOperation::AuthorizeStart) => self.hub_judged(ours.session, answer, now, fx),
            About::Ask(operation) => match heard(operation, answer) {
                Heard::NotSent => self.ask_unanswered(ours, operation, false, now, fx),
                Heard::Silent => self.ask_unanswered(ours, operation, true, now, fx),
                Heard::Outcome(outcome) => self.hub_settled(ours, operation, outcome, now, fx),
            },
            About::LateStop => {
                if let Heard::Outcome(outcome) = heard(SessionOperation::RemoteStop, answer) {
                    self.late_stop_answered(ours.session, &outcome, fx);
                }
            }
            About::Cdr(hash) => {
                self.hub_took_cdr(ours.session, hash, answer, now, fx);
                // A place is free.
                self.cdrs_next(now, fx);
            }
            About::Query | About::Release | About::Receipts(_) => {}
        }
        true
    }

    fn hub_settled(
        &mut self,
        mut ours: OurMessage,
        operation: SessionOperation,
        outcome: AskOutcome,
        now: Now,
        fx: &mut Effects,
    ) {
        let given = match &outcome {
            AskOutcome::Answered(oicp) if operation.begins() => read_acknowledgement(oicp).ok(),
            _ => None,
        };
        if let Some(given) = given.filter(|said| said.result).and_then(|said| said.session()) {
            if !self.rename(ours.session, given, now, fx) {
                // Its SessionID is another session's: whatever runs there, we cannot speak of it.
                return self.ask_answered(ours, AskOutcome::Unconfirmed, now, fx);
            }
            ours.session = given;
        }
        self.ask_answered(ours, outcome, now, fx);
    }

    /// The hub's word about a card.
    fn hub_judged(&mut self, id: SessionId, answer: &BackendAnswer, now: Now, fx: &mut Effects) {
        let said = match answer {
            BackendAnswer::Answered { http_status, body } if *http_status != HTTP_TOO_MANY => {
                AuthorizationStart::read(body).ok().map(|answer| (answer, body.clone()))
            }
            _ => None,
        };
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let ours = session.record.ours.clone();
        let Some(broadcast) = &mut session.broadcast else { return };
        broadcast.hub_said(said.as_ref().map(|(answer, _)| answer));
        let yes = said.filter(|(answer, _)| answer.verdict == AuthorizationStatus::Authorized);
        let named = yes.and_then(|(answer, body)| {
            let emp = PartyId::new(Role::Emp, answer.provider_id.as_ref()?.as_str()).ok()?;
            Some((emp, answer.session_id?, answer, body))
        });
        match named {
            Some((emp, given, answer, body))
                if self.routing(&ours, &emp, Service::Authorization, now).may_hub()
                    && self.rename(id, given, now, fx) =>
            {
                if let Some(session) = self.charging.sessions.get_mut(&given) {
                    session.record.via = Via::Hub;
                }
                self.count_message(&emp, Via::Hub);
                self.authorized(given, &emp, &answer, body, now, fx);
            }
            _ => self.next_emps(id, now, fx),
        }
    }

    /// Whether the hub may know a card: the EMP that its contract names may be asked there, or any may.
    pub(super) fn hub_may_know(&self, ours: &PartyId, identification: &Identification, now: Now) -> bool {
        let derived = identification.evco_id().map(|contract| contract.provider());
        match derived.map(|provider| PartyId::new(Role::Emp, &provider)) {
            Some(Ok(emp)) => self.routing(ours, &emp, Service::Authorization, now).may_hub(),
            Some(Err(_)) => false,
            None => self.charging.hub.ways.of_anybody(ours, Service::Authorization).may_hub(),
        }
    }

    /// Asks the hub about a card, after everybody who can be asked directly.
    pub(super) fn ask_hub_about_card(&mut self, id: SessionId, body: Bytes, left_ms: u64, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let ours = session.record.ours.clone();
        let about = OurMessage {
            session: id,
            about: About::Ask(SessionOperation::AuthorizeStart),
            // Who it will be the hub says.
            to: ours.clone(),
            ours,
            call: None,
            timeout_ms: left_ms,
            way: Way::default(),
        };
        self.say_to_hub(about, Some(SessionOperation::AuthorizeStart), without_session(&body), fx);
    }

    /// A session goes on under the SessionID that the hub gave it, which all its messages carry from now on. The old one
    /// is still found. False if another session has it.
    pub(super) fn rename(&mut self, old: SessionId, new: SessionId, now: Now, fx: &mut Effects) -> bool {
        if old == new {
            return true;
        }
        if self.charging.sessions.contains_key(&new) || self.charging.hub.aliases.contains_key(&new) {
            return false;
        }
        let Some(mut session) = self.charging.sessions.remove(&old) else { return false };
        self.charging.unsettled.remove(&old);
        let mut gone = SessionRecord {
            phase: SessionPhase::Refused,
            to_release: Vec::new(),
            to_tell_backend: false,
            changed_unix_ms: now.unix_ms,
            ..session.record.clone()
        };
        gone.forget_driver();
        fx.ledger.push(LedgerChange::Session {
            session: gone.session.clone(),
            is_over: true,
            changed_unix_ms: now.unix_ms,
            record: gone.encode(),
            account: SessionAccount::of(&gone),
        });
        session.record.alias = Some(old.as_str().to_owned());
        session.record.session = new.as_str().to_owned();
        self.charging.sessions.insert(new, session);
        self.charging.hub.aliases.insert(old, new);
        self.remember(new, fx);
        true
    }

    /// Notes under which other SessionID a session is known.
    pub(super) fn note_alias(&mut self, id: SessionId, record: &SessionRecord) {
        if let Some(alias) = record.alias.as_deref().and_then(SessionId::parse) {
            self.charging.hub.aliases.insert(alias, id);
        }
    }

    /// The session that a SessionID names, which may be its other one.
    pub(super) fn resolved(&self, id: SessionId) -> SessionId {
        match self.charging.sessions.contains_key(&id) {
            true => id,
            false => self.charging.hub.aliases.get(&id).copied().unwrap_or(id),
        }
    }

    /// The SessionID under which EMPs were asked directly about a card.
    pub(super) fn asked_as(&self, id: SessionId) -> SessionId {
        let of = |session: &Session| {
            let record = &session.record;
            let renamed = record.asked_by_us && record.via == Via::Hub;
            record.alias.as_deref().filter(|_| renamed).and_then(SessionId::parse)
        };
        self.charging.sessions.get(&id).and_then(of).unwrap_or(id)
    }

    /// A start of ours through the hub of which nobody knows what became, with the same partner, EVSE and driver: what
    /// speaks of a session that nobody here has is about it. It goes on under that SessionID.
    pub(super) fn found_in_doubt(
        &mut self,
        (ours, partner): (Option<&PartyId>, &PartyId),
        (evse, medium): (&str, Option<&str>),
        given: SessionId,
        now: Now,
        fx: &mut Effects,
    ) -> Option<SessionId> {
        let same = |record: &SessionRecord| {
            record.asked_by_us
                && record.via == Via::Hub
                && record.operation != SessionOperation::AuthorizeStart
                && matches!(record.phase, SessionPhase::InDoubt | SessionPhase::Unconfirmed)
                && record.partner.as_ref() == Some(partner)
                && ours.is_none_or(|ours| *ours == record.ours)
                && record.evse.as_deref().is_some_and(|known| same_evse(known, evse))
                && medium.is_none_or(|medium| record.medium.as_deref() == Some(medium))
        };
        let sessions = &self.charging.sessions;
        let mut found = self
            .charging
            .unsettled
            .iter()
            .copied()
            .filter(|id| sessions.get(id).is_some_and(|session| same(&session.record)));
        let id = found.next()?;
        // Two that could be meant: neither is.
        if found.next().is_some() {
            return None;
        }
        self.rename(id, given, now, fx).then_some(given)
    }
}

/// Whether two spellings name one EVSE.
pub(super) fn same_evse(one: &str, other: &str) -> bool {
    let key = |text: &str| crate::oicp::id::EvseId::parse(text).ok().map(|id| id.key().clone());
    one == other || key(one).is_some_and(|one| key(other) == Some(one))
}

/// What begins has no SessionID yet: the hub makes it.
fn without_session(oicp: &Bytes) -> Bytes {
    with_fields(oicp, &[("SessionID", FieldValue::Null)]).map_or_else(|_| oicp.clone(), Bytes::from)
}

/// What a hub's answer means; its code is read from the body, whatever the HTTP status.
fn heard(operation: SessionOperation, answer: &BackendAnswer) -> Heard {
    let (http_status, body) = match answer {
        BackendAnswer::NotSent(_) => return Heard::NotSent,
        BackendAnswer::Silent(_) => return Heard::Silent,
        BackendAnswer::Answered { http_status: HTTP_TOO_MANY, .. } => return Heard::NotSent,
        BackendAnswer::Answered { http_status, body } => (*http_status, body),
    };
    let Some((yes, code)) = what_it_says(operation, body) else { return Heard::Silent };
    let unclear = matches!(
        code,
        Some(Code::PartnerDidNotRespond | Code::HubSystemError | Code::HubDatabaseError | Code::SystemError)
    );
    Heard::Outcome(match yes {
        true => AskOutcome::Answered(body.clone()),
        // The hub stopped to wait, or broke: the operator may have begun all the same.
        false if operation.begins() && unclear => AskOutcome::Unconfirmed,
        false if http_status == 200 => AskOutcome::Answered(body.clone()),
        false => AskOutcome::Refused(code.unwrap_or(Code::SystemError).as_str().to_owned()),
    })
}
