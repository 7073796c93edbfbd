//! The way through the central hub, at the side that is asked: it names a partner that signs nothing, waits over HTTP, and
//! knows sessions by its own SessionID. Only the routes open it, and only sessions that it began are open to it.

use bytes::Bytes;

use super::answer::{refusal_in_full, what_it_says};
use super::ask::{reply, with_session};
use super::request::{ChargeRequest, asker_role, service};
use super::{Asker, Back, Demand, HttpAnswer};
use crate::identity::{MessageId, PartyId, Role, hash_of};
use crate::oicp::charging::{AuthorizationStart, FieldValue, Identification, SessionId, with_fields};
use crate::oicp::id::{EvseId, EvseKey, provider_for_display};
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{AskOutcome, SessionMessage, SessionOperation, SessionPhase, SessionRecord, Via};
use crate::roaming::Roaming;
use crate::roaming::effect::Effects;
use crate::roaming::input::{CallId, Now};

use super::by_hub::same_evse;

/// Time that is left for our own answer to the hub, in milliseconds.
const WAY_MS: u64 = 500;

/// A start that comes over both ways is one if it comes within this time, in milliseconds: five minutes, as long as a
/// driver tries again.
const SAME_START_MS: u64 = 300_000;

impl Back {
    /// Over which way it came.
    pub(super) fn via(&self) -> Via {
        match self {
            Back::Hub(..) => Via::Hub,
            Back::Peer(..) | Back::Local => Via::Direct,
        }
    }
}

impl Roaming {
    /// The hub asks on behalf of a partner.
    pub(in crate::roaming) fn hub_asks(
        &mut self,
        call: CallId,
        partner: PartyId,
        request: &ChargeRequest,
        body: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        let operation = request.operation();
        self.count_message(&partner, Via::Hub);
        match self.hub_demand(call, partner, request, body, now, fx) {
            Ok((asker, demand)) => match operation.begins() {
                true => self.serve_start(asker, demand, now, fx),
                false => {
                    self.may_be_stopped_again(&asker, &demand);
                    self.serve_within(asker, demand, now, fx);
                }
            },
            Err((code, info)) => {
                let status = StatusCode::with_info(code, info);
                reply(call, refusal_in_full(operation, status, None), fx);
            }
        }
    }

    fn hub_demand(
        &mut self,
        call: CallId,
        partner: PartyId,
        request: &ChargeRequest,
        oicp: Bytes,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(Asker, Demand), (Code, &'static str)> {
        let operation = request.operation();
        if partner.role != asker_role(operation) {
            return Err((Code::DataError, "a party of this role does not ask this"));
        }
        let given = request.session().ok_or((Code::DataError, "SessionID is needed"))?;
        let (ours, partner, session) = match operation.begins() {
            true => (self.meant_by_hub(request, now)?, partner, given),
            false => {
                let session = self.session_of_hub(given).or_else(|| {
                    let evse = request.evse().map(EvseId::as_str)?;
                    // A stop of a start that never was one needs no session.
                    (operation == SessionOperation::Notification)
                        .then(|| self.found_in_doubt((None, &partner), (evse, None), given, now, fx))?
                });
                let known = session.and_then(|id| Some((id, &self.charging.sessions.get(&id)?.record)));
                let (id, record) = known.ok_or((Code::SessionInvalid, "no session has this SessionID"))?;
                // A CPO that is a hub speaks for the operators that it bundles.
                let both_cpos = |known: &PartyId| known.role == Role::Cpo && partner.role == Role::Cpo;
                let bundled = |known: &&PartyId| {
                    let evse = request.evse().map(|evse| evse.key().operator());
                    both_cpos(known) && evse == Some(known.id.as_str())
                };
                let speaks = record.partner.as_ref().filter(bundled).cloned().unwrap_or(partner);
                (record.ours.clone(), speaks, id)
            }
        };
        if !self.routing(&ours, &partner, service(operation), now).may_hub() {
            return Err((Code::NoValidContract, "this partner is not served through the hub"));
        }
        let message = message_of(operation, given, &oicp);
        let asker = Asker { back: Back::Hub(call, operation), partner, ours, message };
        let oicp = if session == given { oicp } else { with_session(&oicp, session) };
        let until_ms = now.mono_ms + self.budget_ms(operation).saturating_sub(WAY_MS);
        Ok((asker, Demand { session, operation, oicp, until_ms }))
    }

    /// The party of ours, a partner of the hub, that something begins with.
    fn meant_by_hub(&self, request: &ChargeRequest, now: Now) -> Result<PartyId, (Code, &'static str)> {
        let ours = &self.charging.hub.ways.parties;
        match (request.operation(), request.identification(), request.evse()) {
            (SessionOperation::AuthorizeStart, Some(medium), _) => self.emp_of_card(medium, now),
            (_, _, Some(evse)) => {
                let mut cpos = ours.iter().filter(|party| party.role == Role::Cpo);
                let cpo = cpos.find(|party| self.operates(party, evse.key(), now)).cloned();
                cpo.ok_or((Code::UnknownEvseId, "no CPO here operates it"))
            }
            _ => Err((Code::DataError, "EvseID and Identification are needed")),
        }
    }

    /// The EMP that the contract names, that uploaded the card, or that is the only one.
    fn emp_of_card(&self, medium: &Identification, now: Now) -> Result<PartyId, (Code, &'static str)> {
        let ours = &self.charging.hub.ways.parties;
        let emps: Vec<&PartyId> = ours.iter().filter(|party| party.role == Role::Emp).collect();
        let named = medium.evco_id().and_then(|id| PartyId::new(Role::Emp, &id.provider()).ok());
        let key = medium.medium_key();
        let found = match (named, emps.as_slice()) {
            (Some(named), all) => {
                all.iter().find(|emp| ***emp == named || self.speaks_for_id(emp, &named, now))
            }
            (None, [only]) => Some(only),
            (None, all) => {
                let media = &self.charging.media;
                all.iter().find(|emp| media.get(*emp).is_some_and(|media| media.contains_key(&key)))
            }
        };
        found.map(|emp| (*emp).clone()).ok_or((Code::NoPositiveAuthentication, "no EMP here knows it"))
    }

    fn operates(&self, cpo: &PartyId, evse: &EvseKey, now: Now) -> bool {
        let named = PartyId::new(Role::Cpo, evse.operator());
        named.is_ok_and(|named| named == *cpo || self.speaks_for_id(cpo, &named, now))
    }

    /// The session that the hub means: one that it began, or one that was begun over it as well.
    pub(super) fn session_of_hub(&self, given: SessionId) -> Option<SessionId> {
        let id = self.resolved(given);
        let record = &self.charging.sessions.get(&id)?.record;
        (record.via == Via::Hub || id != given).then_some(id)
    }

    /// Whether a peer names a session that only the hub attests: whose it is nobody has signed, so no node is told of it.
    /// Its record may come directly all the same.
    pub(super) fn is_closed_to(&self, back: &Back, given: SessionId) -> bool {
        let by_hub = self.charging.sessions.get(&given).is_some_and(|session| session.record.via == Via::Hub);
        by_hub && matches!(back, Back::Peer(..))
    }

    /// A start or reservation of the same partner, EVSE and driver that came over the other way a moment ago.
    pub(super) fn begun_over_other_way(
        &self,
        asker: &Asker,
        request: &ChargeRequest,
        operation: SessionOperation,
        now: Now,
    ) -> Option<SessionId> {
        let remote = matches!(operation, SessionOperation::RemoteStart | SessionOperation::ReservationStart);
        // Without a hub there is one way only.
        if !remote || !self.charging.hub.ways.parties.contains(&asker.ours) {
            return None;
        }
        let (evse, medium) = (request.evse()?.as_str(), request.identification()?.medium_key());
        let same = |record: &SessionRecord| {
            !record.asked_by_us
                && record.via != asker.back.via()
                && record.operation == operation
                && record.ours == asker.ours
                && record.partner.as_ref() == Some(&asker.partner)
                && matches!(
                    record.phase,
                    SessionPhase::Calling | SessionPhase::Unconfirmed | SessionPhase::Active
                )
                && now.unix_ms.saturating_sub(record.opened_unix_ms) < SAME_START_MS
                && record.medium.as_deref() == Some(medium.expose())
                && record.evse.as_deref().is_some_and(|known| same_evse(known, evse))
        };
        let mut sessions = self.charging.sessions.iter();
        sessions.find(|(_, session)| same(&session.record)).map(|(id, _)| *id)
    }

    /// The same start over the other way: the backend is not asked again, and who asks hears what is known.
    pub(super) fn join_other_way(
        &mut self,
        begun: SessionId,
        asker: Asker,
        given: SessionId,
        now: Now,
        fx: &mut Effects,
    ) {
        if let Some(session) = self.charging.sessions.get_mut(&begun) {
            session.record.alias = Some(given.as_str().to_owned());
            self.charging.hub.aliases.insert(given, begun);
            self.remember(begun, fx);
        }
        let outcome = self.outcome_of(begun, &asker.partner);
        self.say(asker, begun.as_str(), outcome, now, fx);
    }

    /// The SessionID by which the other side knows a session.
    pub(super) fn spoken_id(&self, session: &str, via: Via) -> String {
        let id = SessionId::parse(session);
        let record = id.and_then(|id| self.charging.sessions.get(&id)).map(|session| &session.record);
        let other = record.filter(|record| record.via != via && !record.asked_by_us);
        other.and_then(|record| record.alias.clone()).unwrap_or_else(|| session.to_owned())
    }

    /// A stop comes over HTTP without a name of its own: if the one before was not carried out, it is another one.
    fn may_be_stopped_again(&mut self, asker: &Asker, demand: &Demand) {
        if demand.operation == SessionOperation::Notification {
            return;
        }
        let same =
            |session: SessionId, message: MessageId| session == demand.session && message == asker.message;
        let runs = self.charging.calls.values().any(|call| same(call.session, call.message));
        let Some(session) = self.charging.sessions.get_mut(&demand.session) else { return };
        let done = matches!(&session.said, Some((message, AskOutcome::Answered(oicp)))
            if *message == asker.message
                && what_it_says(demand.operation, oicp).is_some_and(|(yes, _)| yes));
        if !runs && !done {
            session.record.seen.retain(|seen| *seen != asker.message);
        }
    }

    /// Answers the hub: always the operation's message with HTTP 200.
    pub(super) fn answer_hub(
        &mut self,
        call: CallId,
        operation: SessionOperation,
        message: SessionMessage,
        fx: &mut Effects,
    ) {
        let SessionMessage::Outcome { session, outcome } = message else { return };
        let spoken = self.spoken_id(&session, Via::Hub);
        let record = SessionId::parse(&session).and_then(|id| self.charging.sessions.get(&id));
        let record = record.map(|held| SessionRecord { session: spoken.clone(), ..held.record.clone() });
        let refuse =
            |code, info: &str| refusal_in_full(operation, StatusCode::with_info(code, info), record.as_ref());
        let answer = match outcome {
            AskOutcome::Answered(oicp) => {
                let yes = what_it_says(operation, &oicp).is_some_and(|(yes, _)| yes);
                // An EMP's backend may leave out who it is.
                let nameless = operation == SessionOperation::AuthorizeStart
                    && AuthorizationStart::read(&oicp).is_ok_and(|answer| answer.provider_id.is_none());
                let provider = record.as_ref().map(|record| provider_for_display(record.ours.id.as_str()));
                let mut fields = vec![("SessionID", FieldValue::Text(&spoken))];
                if let (true, Some(provider)) = (nameless, &provider) {
                    fields.push(("ProviderID", FieldValue::Text(provider)));
                }
                let named = with_fields(&oicp, &fields).ok().filter(|_| yes);
                HttpAnswer::verbatim(named.map_or(oicp, Bytes::from))
            }
            AskOutcome::Refused(code) => refuse(Code::parse(&code).unwrap_or(Code::SystemError), ""),
            AskOutcome::NeverCame => refuse(Code::SessionInvalid, ""),
            AskOutcome::Pending | AskOutcome::Unconfirmed => {
                refuse(Code::SystemError, "its backend has not answered")
            }
        };
        reply(call, answer, fx);
    }
}

/// A name for a message that has none, so that the same one is known again: of what begins its SessionID, of all else its
/// content.
fn message_of(operation: SessionOperation, given: SessionId, oicp: &Bytes) -> MessageId {
    let content: &[u8] = if operation.begins() { b"" } else { oicp };
    let named = [operation.as_str().as_bytes(), b" ", given.as_str().as_bytes(), b" ", content].concat();
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(hash_of(&named)) {
        *place = byte;
    }
    MessageId(id)
}
