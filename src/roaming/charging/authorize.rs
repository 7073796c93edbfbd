//! Who is asked about a card: the EMP that its contract names, else the one that is known for the card, else all
//! under contract, in parallel; the first `Authorized` wins (`decisions.md` 28).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::answer::{HttpAnswer, refusal, refusal_in_full, refused_as_stale, with_cpo_reference};
use super::ask::{Asked, Wish, reply, with_session};
use super::references::partners;
use super::request::{in_upper_case, what_it_is};
use super::table::Event;
use crate::identity::{PartyId, Role, Service};
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, FieldValue, Identification, MediumKey, SessionId, with_fields,
};
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{AskOutcome, SESSION_ASKED_MAX, SessionOperation, SessionPhase, Via};
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{CallId, Now};
use crate::roaming::{Roaming, Stale};

const OPERATION: SessionOperation = SessionOperation::AuthorizeStart;

/// A question about a card that is under way.
pub(super) struct Broadcast {
    call: CallId,
    /// The end of it all, on the monotonic clock.
    until_ms: u64,
    /// Who has not answered yet.
    open: BTreeSet<PartyId>,
    /// Who is asked if the one that is known for the card says no, or nothing until then.
    later: Vec<PartyId>,
    later_at_ms: u64,
    body: Bytes,
    /// Whether anybody answered at all.
    heard: bool,
    /// The code if all say no.
    refusal: Code,
    /// Why the one that the contract names says no, in its own words.
    said: Option<StatusCode>,
    medium: MediumKey,
    /// EMPs that were told of the card.
    told: usize,
    hub: HubTurn,
    /// When the hub is asked at the latest, on the monotonic clock: it needs its share of the time.
    hub_at_ms: u64,
    /// Whether the contract names its EMP: once that has answered, the hub would ask it again.
    named: bool,
}

/// How far asking the hub about a card has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HubTurn {
    /// It is not asked, or has answered.
    Never,
    /// It is asked if nobody says yes before.
    Later,
    /// It has not answered yet.
    Asked,
}

impl Broadcast {
    /// The hub answered, or did not.
    pub(super) fn hub_said(&mut self, answer: Option<&AuthorizationStart>) {
        self.hub = HubTurn::Never;
        self.heard |= answer.is_some();
        // The EMP's own word, if it came as well, says more.
        self.said = self.said.take().or(self.reason(answer));
    }

    /// An EMP answered, or did not.
    fn emp_said(&mut self, answer: Option<&AuthorizationStart>) {
        self.heard |= answer.is_some();
        self.said = self.reason(answer).or(self.said.take());
    }

    /// Of several EMPs that say no each has its own reason. What the one that the contract names says is all that tells
    /// of a contract or certificate that it does not accept (RULES 5.7).
    fn reason(&self, answer: Option<&AuthorizationStart>) -> Option<StatusCode> {
        let no = answer.filter(|answer| answer.verdict == AuthorizationStatus::NotAuthorized);
        let status = no.filter(|_| self.named).map(|no| no.status.clone().cut());
        status.filter(is_about_medium)
    }
}

/// How many EMPs were told of cards, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardQuestions {
    /// Questions about cards and contracts of a CPO of ours.
    pub questions: u64,
    /// EMPs that were told of a card, over all questions.
    pub told: u64,
    /// EMPs under contract that were not, because they have said that they cannot know it.
    pub spared: u64,
    /// How many questions were told to how many EMPs. Bounded by [`SESSION_ASKED_MAX`].
    pub by_told: BTreeMap<usize, u64>,
}

/// Which EMP said yes to a card last. A hint, in memory only.
#[derive(Default)]
pub(super) struct Learned {
    by_medium: BTreeMap<MediumKey, PartyId>,
    order: VecDeque<MediumKey>,
}

impl Learned {
    fn note(&mut self, medium: MediumKey, emp: PartyId, max: usize) {
        if self.by_medium.insert(medium.clone(), emp).is_none() {
            self.order.push_back(medium);
        }
        while self.order.len() > max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_medium.remove(&oldest);
            }
        }
    }
}

impl CardQuestions {
    fn note(&mut self, told: usize) {
        self.questions += 1;
        self.told += told as u64;
        *self.by_told.entry(told).or_default() += 1;
    }
}

impl Roaming {
    /// How many EMPs were told of cards, since the start.
    pub fn card_questions(&self) -> &CardQuestions {
        &self.charging.card_questions
    }

    /// A CPO's backend asks whether a card may charge.
    pub(super) fn authorize_start(
        &mut self,
        asked: &Asked<'_>,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), HttpAnswer> {
        let refuse = |code, info: &str| {
            with_cpo_reference(refusal(OPERATION, code, info, None), asked.request.partners())
        };
        let Some(identification) = asked.request.identification() else {
            return Err(refuse(Code::DataError, "Identification is needed"));
        };
        let targets = self.whom_to_ask(asked.party, identification, now);
        let hub = self.hub_may_know(asked.party, identification, now);
        if targets.is_empty() && !hub {
            let info = "no EMP that could know it has an agreement with you";
            return Err(refuse(Code::NoValidContract, info));
        }
        let (mut targets, stale) = self.known_to_be_alive(targets, now);
        if let (true, Some((emp, why))) = (targets.is_empty() && !hub, stale) {
            return Err(refuse(Code::ServiceNotAvailable, &refused_as_stale(&emp, why)));
        }
        let contracted = targets.len();
        targets.retain(|emp| !self.cannot_know(emp, identification, now));
        self.charging.card_questions.spared += (contracted - targets.len()) as u64;
        if targets.is_empty() && !hub {
            self.charging.card_questions.note(0);
            return Err(refuse(refused_medium(identification), "no EMP under contract knows it"));
        }
        let id = self.begin(asked, None, now).map_err(|code| refuse(code, "too many open sessions"))?;
        let medium = identification.medium_key();
        let known = self.who_knows(&medium).filter(|emp| targets.contains(emp)).cloned();
        let (first, later) = match known {
            Some(emp) => {
                let others = targets.into_iter().filter(|other| *other != emp).collect();
                (vec![emp], others)
            }
            None => (targets, Vec::new()),
        };
        let config = &self.charging.config;
        let broadcast = Broadcast {
            call: asked.call,
            until_ms: now.mono_ms + config.authorize_ms,
            open: BTreeSet::new(),
            later,
            later_at_ms: now.mono_ms + config.learned_alone_ms,
            body: with_session(&in_upper_case(&asked.body), id),
            heard: false,
            refusal: refused_medium(identification),
            said: None,
            medium,
            told: 0,
            hub: if hub { HubTurn::Later } else { HubTurn::Never },
            hub_at_ms: now.mono_ms + config.authorize_ms / 2,
            named: identification.evco_id().is_some(),
        };
        let asks_nobody = first.is_empty();
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            session.broadcast = Some(broadcast);
        }
        self.ask_emps(id, first, now, fx);
        if asks_nobody {
            self.next_emps(id, now, fx);
        }
        Ok(())
    }

    /// The EMPs that may hear of a card: under contract, and only the one that the contract id names.
    fn whom_to_ask(&self, ours: &PartyId, identification: &Identification, now: Now) -> Vec<PartyId> {
        let mut emps = self.introduced_parties();
        emps.extend(self.agreement_partners());
        emps.extend(self.parties.keys().cloned());
        emps.retain(|party| party.role == Role::Emp);
        let may = |emp: &PartyId| {
            self.decide(ours, emp, Service::Authorization, now).code().is_none()
                && self.routing(ours, emp, Service::Authorization, now).may_direct()
        };
        let derived = identification.evco_id().map(|contract| contract.provider());
        match derived.map(|provider| PartyId::new(Role::Emp, &provider)) {
            Some(Ok(emp)) => {
                let bundled = || emps.iter().find(|party| self.speaks_for_id(party, &emp, now)).cloned();
                let target = if emps.contains(&emp) { Some(emp.clone()) } else { bundled() };
                target.into_iter().filter(may).collect()
            }
            Some(Err(_)) => Vec::new(),
            None => emps.into_iter().filter(may).take(SESSION_ASKED_MAX).collect(),
        }
    }

    /// Those of which it is known lately enough that they were not revoked, and one of which it is not.
    fn known_to_be_alive(&self, emps: Vec<PartyId>, now: Now) -> (Vec<PartyId>, Option<(PartyId, Stale)>) {
        let (mut alive, mut stale) = (Vec::new(), None);
        for emp in emps {
            match self.may_still(&emp, what_it_is(OPERATION), now).refused() {
                None => alive.push(emp),
                Some(why) => stale = Some((emp, why)),
            }
        }
        (alive, stale)
    }

    /// The EMP of this node that uploaded a medium, else the one that said yes to it last.
    fn who_knows(&self, medium: &MediumKey) -> Option<&PartyId> {
        let uploaded = self.charging.media.iter().find(|(_, media)| media.contains_key(medium));
        uploaded.map(|(emp, _)| emp).or_else(|| self.charging.learned.by_medium.get(medium))
    }

    fn ask_emps(&mut self, id: SessionId, emps: Vec<PartyId>, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = &mut session.broadcast else { return };
        broadcast.open.extend(emps.iter().cloned());
        let body = broadcast.body.clone();
        // Who was asked must hear how it ended, whatever happens to us.
        session.record.to_release.extend(emps.iter().cloned());
        self.remember(id, fx);
        for emp in emps {
            let Some(session) = self.charging.sessions.get_mut(&id) else { return };
            match &mut session.broadcast {
                Some(broadcast) => broadcast.told += 1,
                // An EMP of this node has said yes already: the others need not hear of the card.
                None => {
                    session.record.to_release.retain(|other| *other != emp);
                    continue;
                }
            }
            let wish = Wish { operation: OPERATION, oicp: body.clone(), call: None };
            self.ask_partner(id, &emp, wish, now, fx);
        }
    }

    /// An EMP answered.
    pub(super) fn authorization_answered(
        &mut self,
        id: SessionId,
        emp: &PartyId,
        outcome: AskOutcome,
        now: Now,
        fx: &mut Effects,
    ) {
        let answer = match &outcome {
            AskOutcome::Answered(oicp) => AuthorizationStart::read(oicp).ok(),
            _ => None,
        };
        let refused = matches!(outcome, AskOutcome::Refused(_) | AskOutcome::NeverCame)
            || answer.as_ref().is_some_and(|answer| answer.verdict == AuthorizationStatus::NotAuthorized);
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if refused {
            session.record.to_release.retain(|other| other != emp);
        }
        let Some(broadcast) = &mut session.broadcast else { return self.note_unsettled(id) };
        broadcast.open.remove(emp);
        broadcast.emp_said(answer.as_ref());
        match (answer, outcome) {
            (Some(answer), AskOutcome::Answered(oicp))
                if answer.verdict == AuthorizationStatus::Authorized =>
            {
                self.authorized(id, emp, &answer, oicp, now, fx);
            }
            _ => self.next_emps(id, now, fx),
        }
    }

    /// An EMP did not answer: it counts as a no.
    pub(super) fn authorization_unanswered(
        &mut self,
        id: SessionId,
        emp: &PartyId,
        sent: bool,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if !sent {
            session.record.to_release.retain(|other| other != emp);
        }
        if let Some(broadcast) = &mut session.broadcast {
            broadcast.told -= usize::from(!sent).min(broadcast.told);
            broadcast.open.remove(emp);
            self.next_emps(id, now, fx);
        }
        self.note_unsettled(id);
    }

    pub(super) fn authorized(
        &mut self,
        id: SessionId,
        emp: &PartyId,
        answer: &AuthorizationStart,
        oicp: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = session.broadcast.take() else { return };
        self.charging.card_questions.note(broadcast.told);
        let record = &mut session.record;
        record.partner = Some(emp.clone());
        record.to_release.retain(|other| other != emp);
        record.answer = Some(oicp.clone());
        let media = answer.stop_identifications.iter().map(|medium| medium.medium_key().expose().to_owned());
        record.stop_media = media.collect();
        if let Some(reference) = &answer.partners.emp {
            record.emp_partner_session = Some(reference.as_str().to_owned());
        }
        let known = partners(Some(record));
        let mut fields = vec![("SessionID", FieldValue::Text(id.as_str()))];
        let provider = crate::oicp::id::provider_for_display(emp.id.as_str());
        if answer.provider_id.is_none() {
            fields.push(("ProviderID", FieldValue::Text(&provider)));
        }
        if let (None, Some(reference)) = (&answer.partners.cpo, &known.cpo) {
            fields.push(("CPOPartnerSessionID", FieldValue::Text(reference.as_str())));
        }
        let body = with_fields(&oicp, &fields).map_or(oicp, Bytes::from);
        self.charging.learned.note(broadcast.medium, emp.clone(), self.charging.config.learned_max);
        self.step(id, Event::Confirmed, now, fx);
        let answers = vec![(broadcast.call, HttpAnswer::verbatim(body))];
        fx.actions.push(Action::ReplyStarted { session: id, answers, is_urgent: false });
    }

    /// The CPO's backend had given up before it heard of a yes: nobody charges on it, and the EMP is told so.
    pub(super) fn give_back_authorization(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let record = &mut session.record;
        // The hub has no message for it.
        let emp = record.partner.clone().filter(|_| record.via == Via::Direct);
        if record.phase == SessionPhase::Active {
            record.to_release.extend(emp);
            self.step(id, Event::Released, now, fx);
            self.settle_at_once(id, now, fx);
        }
    }

    /// Asks who is left, or ends it.
    pub(super) fn next_emps(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = &mut session.broadcast else { return };
        if !broadcast.open.is_empty() || broadcast.hub == HubTurn::Asked {
            return;
        }
        if !broadcast.later.is_empty() {
            let later = std::mem::take(&mut broadcast.later);
            return self.ask_emps(id, later, now, fx);
        }
        if broadcast.hub == HubTurn::Later && !(broadcast.named && broadcast.heard) {
            return self.turn_card_to_hub(id, now, fx);
        }
        self.not_authorized(id, now, fx);
    }

    fn turn_card_to_hub(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = &mut session.broadcast else { return };
        broadcast.hub = HubTurn::Asked;
        let (body, left_ms) = (broadcast.body.clone(), broadcast.until_ms.saturating_sub(now.mono_ms));
        self.ask_hub_about_card(id, body, left_ms, fx);
    }

    fn not_authorized(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = session.broadcast.take() else { return };
        self.charging.card_questions.note(broadcast.told);
        let status = match (broadcast.said, broadcast.heard) {
            (Some(said), _) => said,
            (None, true) => StatusCode::with_info(broadcast.refusal, "every EMP that was asked says no"),
            (None, false) => StatusCode::with_info(Code::NoPositiveAuthentication, "no EMP answered"),
        };
        let answer = refusal_in_full(OPERATION, status, Some(&session.record));
        self.step(id, Event::Released, now, fx);
        reply(broadcast.call, answer, fx);
    }

    pub(super) fn tick_broadcast(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        let Some(broadcast) = &mut session.broadcast else { return };
        if broadcast.until_ms <= now.mono_ms {
            return self.not_authorized(id, now, fx);
        }
        if !broadcast.later.is_empty() && broadcast.later_at_ms <= now.mono_ms {
            let later = std::mem::take(&mut broadcast.later);
            self.ask_emps(id, later, now, fx);
        } else if broadcast.hub == HubTurn::Later && broadcast.hub_at_ms <= now.mono_ms {
            self.turn_card_to_hub(id, now, fx);
        }
        debug_assert!(
            self.charging
                .sessions
                .get(&id)
                .is_none_or(|session| session.record.phase != SessionPhase::Calling)
        );
    }
}

/// Whether a no says why: an authentication code, or the hub's word that there is no contract. Others speak of who asks,
/// which is our own node and not the CPO's backend, or of nothing that this backend could mend.
fn is_about_medium(status: &StatusCode) -> bool {
    let about = ["101", "102", "103", "105", "106", "110", "120", "121", "122", "200", "210"];
    status.known().is_some_and(|code| about.contains(&code.as_str()))
}

/// The code when every EMP says no (GAPS D5).
pub(super) fn refused_medium(identification: &Identification) -> Code {
    match identification {
        Identification::MifareFamily { .. } | Identification::Rfid { .. } => Code::RfidInvalidUid,
        Identification::QrCode { .. } => Code::QrCodeInvalidCredentials,
        Identification::PlugAndCharge { .. } | Identification::Remote { .. } => Code::PlcInvalidEvcoId,
    }
}
