//! The media that an EMP of this node uploaded (PushAuthenticationData), and what is answered from them when the EMP
//! has no backend or its backend does not answer (RULES 5.5). They never leave the node.

use std::collections::BTreeMap;

use super::authorize::refused_medium;
use super::references::partners;
use super::request::ChargeRequest;
use super::{BackendAnswer, Session};
use crate::identity::{PartyId, Role, Service};
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStop, HashedPin, Identification, MediumKey, ProviderMedia,
    PushAuthenticationData, QrSecret, SessionId,
};
use crate::oicp::id::{ProviderId, provider_for_display};
use crate::oicp::push::ActionType;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::SessionOperation;
use crate::roaming::Roaming;
use crate::roaming::change::{KnownMedium, LedgerChange, MediumChange};
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{BackendCallId, CallId, Now};
use crate::roaming::publish;

/// Media of one EMP: the cards of a large one. Bounds memory at some 100 MB.
pub const MEDIA_MAX: usize = 500_000;

/// PINs that are compared at once; more are refused: each takes a processor for up to half a second.
const PIN_CHECKS_MAX: usize = 64;

/// Places that a refusal names at most.
const PLACES_NAMED_MAX: usize = 20;

/// An upload of an EMP, without any PIN in clear text.
#[derive(Clone, Debug)]
pub struct AuthenticationPush {
    action: ActionType,
    /// With the place in the push, for refusals. A medium that comes twice counts as it came last.
    media: BTreeMap<MediumKey, (usize, KnownMedium)>,
    /// The providers of its contracts, each with the first place.
    providers: BTreeMap<String, usize>,
}

impl AuthenticationPush {
    /// What the core needs of an upload.
    ///
    /// # Errors
    /// The place of a record whose PIN was not hashed.
    pub fn new(push: PushAuthenticationData) -> Result<AuthenticationPush, usize> {
        let mut media = BTreeMap::new();
        let mut providers = BTreeMap::new();
        for (place, record) in push.records.into_iter().enumerate() {
            if let Some(contract) = record.evco_id() {
                providers.entry(contract.provider()).or_insert(place);
            }
            let key = record.medium_key();
            let known = match record {
                Identification::QrCode { secret: QrSecret::Hashed(hash), .. } => {
                    KnownMedium { pin: Some(hash), until_unix_ms: None }
                }
                Identification::QrCode { .. } => return Err(place),
                Identification::Rfid { expiry, .. } => {
                    let until = expiry.map(|expiry| u64::try_from(expiry.unix_ms()).unwrap_or(0));
                    KnownMedium { pin: None, until_unix_ms: until }
                }
                _ => KnownMedium::default(),
            };
            media.insert(key, (place, known));
        }
        Ok(AuthenticationPush { action: push.action, media, providers })
    }
}

/// What is known of a medium that somebody shows.
enum Found {
    Known,
    /// It is, if its PIN matches.
    WithPin(HashedPin),
    Unknown,
}

impl Roaming {
    /// What storage remembers of uploads; of parties that are not here any more nothing is taken.
    pub(in crate::roaming) fn reload_media(&mut self, media: Vec<(PartyId, MediumKey, KnownMedium)>) {
        for (party, key, known) in media {
            if self.parties.contains_key(&party) {
                self.charging.media.entry(party).or_default().insert(key, known);
            }
        }
    }

    /// How many media an EMP of this node has uploaded.
    pub fn media_of(&self, party: &PartyId) -> usize {
        self.charging.media.get(party).map_or(0, BTreeMap::len)
    }

    /// The media of the EMPs of this node that let a CPO authorize, for a backend that keeps them itself
    /// (PullAuthenticationData). At most so many; `None` if there are more.
    pub fn media_for(&self, cpo: &PartyId, most: usize, now: Now) -> Option<Vec<ProviderMedia>> {
        let allowed = |emp: &PartyId| self.decide(emp, cpo, Service::Authorization, now).code().is_none();
        let is_valid =
            |known: &KnownMedium| known.until_unix_ms.is_none_or(|until_unix_ms| now.unix_ms < until_unix_ms);
        let emps = self.charging.media.iter().filter(|(emp, _)| allowed(emp));
        let of = |(emp, media): (&PartyId, &BTreeMap<MediumKey, KnownMedium>)| ProviderMedia {
            provider_id: provider_for_display(emp.id.as_str()),
            media: media
                .iter()
                .filter(|(_, known)| is_valid(known))
                .map(|(key, known)| (key.clone(), known.pin.clone()))
                .collect(),
        };
        let all: usize = emps.clone().map(|(_, media)| media.len()).sum();
        (all <= most).then(|| emps.map(of).collect())
    }

    /// An EMP's backend uploads media: all of it is taken, or nothing.
    pub(in crate::roaming) fn push_authentication(
        &mut self,
        call: CallId,
        party: &PartyId,
        push: AuthenticationPush,
        now: Now,
        fx: &mut Effects,
    ) {
        let outcome =
            self.media_changes(party, push, now).map(|changes| self.apply_media(party, changes, now, fx));
        publish::reply(call, outcome, fx);
    }

    fn media_changes(
        &self,
        party: &PartyId,
        push: AuthenticationPush,
        now: Now,
    ) -> Result<Vec<MediumChange>, StatusCode> {
        if party.role != Role::Emp || !self.parties.contains_key(party) {
            return Err(Code::UnauthorizedAccess.into());
        }
        let foreign = |provider: &str| match PartyId::new(Role::Emp, provider) {
            Ok(named) => named != *party && !self.speaks_for_id(party, &named, now),
            Err(_) => true,
        };
        let of_others = push.providers.iter().filter(|(provider, _)| foreign(provider)).map(|(_, at)| *at);
        refuse_if_any(Code::InconsistentEvcoId, "contracts of other providers, first at records", of_others)?;
        let nothing = BTreeMap::new();
        let known = self.charging.media.get(party).unwrap_or(&nothing);
        let places = |wanted: bool| {
            let found = push.media.iter().filter(move |(key, _)| known.contains_key(*key) == wanted);
            found.map(|(_, (at, _))| *at)
        };
        match push.action {
            ActionType::Insert => {
                let info = "exist already, nothing was inserted: records";
                refuse_if_any(Code::DataTransactionError, info, places(true))?;
            }
            ActionType::Update => {
                let info = "do not exist, nothing was updated: records";
                refuse_if_any(Code::DataTransactionError, info, places(false))?;
            }
            // Deleting what is not there reaches the state that is asked for.
            ActionType::FullLoad | ActionType::Delete => {}
        }
        let news = places(false).count();
        let after = match push.action {
            ActionType::FullLoad => push.media.len(),
            ActionType::Delete => 0,
            ActionType::Insert | ActionType::Update => known.len() + news,
        };
        if after > MEDIA_MAX {
            let info = format!("this node keeps at most {MEDIA_MAX} media of one party");
            return Err(StatusCode::with_info(Code::DataTransactionError, &info));
        }
        Ok(changes(known, push))
    }

    fn apply_media(&mut self, party: &PartyId, changes: Vec<MediumChange>, now: Now, fx: &mut Effects) {
        if changes.is_empty() {
            return;
        }
        let media = self.charging.media.entry(party.clone()).or_default();
        for MediumChange { key, known } in &changes {
            match known {
                Some(known) => drop(media.insert(key.clone(), known.clone())),
                None => drop(media.remove(key)),
            }
        }
        fx.ledger.push(LedgerChange::Media { party: party.clone(), changes });
        self.media_changed(party, now, fx);
    }

    /// Whether this node can answer for a party of its own what concerns a medium, without its backend.
    pub(super) fn answers_offline(
        &self,
        ours: &PartyId,
        session: SessionId,
        operation: SessionOperation,
    ) -> bool {
        match operation {
            SessionOperation::AuthorizeStart => self.media_of(ours) > 0,
            SessionOperation::AuthorizeStop => {
                let record = self.charging.sessions.get(&session).map(|session| &session.record);
                record.is_some_and(|record| {
                    let by_medium = record.operation == SessionOperation::AuthorizeStart;
                    record.offline || by_medium && self.media_of(ours) > 0
                })
            }
            _ => false,
        }
    }

    /// A call of our backend is answered in the backend's place. `failed` is how the backend failed, if it was asked:
    /// what it did not say no to, and is not uploaded, is not refused in its name.
    pub(super) fn answer_offline(
        &mut self,
        call: BackendCallId,
        failed: Option<BackendAnswer>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(waiting) = self.charging.calls.get_mut(&call) else { return };
        waiting.offline = true;
        let (id, operation, ours) = (waiting.session, waiting.operation, waiting.ours.clone());
        let request = ChargeRequest::parse(operation, &waiting.question, Reading::Tolerant).ok();
        let Some(shown) = request.as_ref().and_then(ChargeRequest::identification) else {
            return self.say_offline(call, Err(Code::DataError), now, fx);
        };
        let found = match operation {
            SessionOperation::AuthorizeStop => self.medium_of_session(&ours, id, shown),
            _ => self.medium_of_party(&ours, shown, now),
        };
        let no = refused_medium(shown);
        if let (Found::Unknown, Some(failed)) = (&found, failed) {
            return self.backend_answered(call, failed, now, fx);
        }
        match (found, shown) {
            (Found::Known, _) => self.say_offline(call, Ok(()), now, fx),
            (Found::WithPin(hash), Identification::QrCode { secret: QrSecret::Pin(pin), .. }) => {
                let calls = &mut self.charging.calls;
                if calls.values().filter(|call| call.checks_pin).count() >= PIN_CHECKS_MAX {
                    return self.say_offline(call, Err(Code::HubSystemError), now, fx);
                }
                if let Some(waiting) = calls.get_mut(&call) {
                    waiting.checks_pin = true;
                }
                fx.actions.push(Action::CheckPin { call, pin: pin.clone(), hash });
            }
            (Found::WithPin(_) | Found::Unknown, _) => self.say_offline(call, Err(no), now, fx),
        }
    }

    /// A PIN was compared with its hash.
    pub(in crate::roaming) fn pin_checked(
        &mut self,
        call: BackendCallId,
        matches: bool,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.charging.calls.get(&call).is_some_and(|call| call.checks_pin) {
            let outcome = if matches { Ok(()) } else { Err(Code::QrCodeInvalidCredentials) };
            self.say_offline(call, outcome, now, fx);
        }
    }

    fn medium_of_party(&self, ours: &PartyId, shown: &Identification, now: Now) -> Found {
        let media = self.charging.media.get(ours);
        let known = media.and_then(|media| media.get(&shown.medium_key()));
        match known.filter(|known| known.until_unix_ms.is_none_or(|until| now.unix_ms < until)) {
            Some(known) => found(shown, known.pin.as_ref()),
            None => Found::Unknown,
        }
    }

    /// Who started it may stop it, also after its medium has expired or was deleted.
    fn medium_of_session(&self, ours: &PartyId, id: SessionId, shown: &Identification) -> Found {
        let key = shown.medium_key();
        let session = self.charging.sessions.get(&id).map(|session| &session.record);
        let same = session.is_some_and(|record| {
            record.medium.as_deref() == Some(key.expose())
                || record.stop_media.iter().any(|medium| medium == key.expose())
        });
        if !same {
            return Found::Unknown;
        }
        let known = self.charging.media.get(ours).and_then(|media| media.get(&key));
        found(shown, known.and_then(|known| known.pin.as_ref()))
    }

    /// The answer goes the way of a backend's.
    fn say_offline(&mut self, call: BackendCallId, outcome: Result<(), Code>, now: Now, fx: &mut Effects) {
        let Some(waiting) = self.charging.calls.get(&call) else { return };
        let (id, operation, provider) =
            (waiting.session, waiting.operation, provider_for_display(waiting.ours.id.as_str()));
        let Some(session) = self.charging.sessions.get_mut(&id) else { return };
        if operation == SessionOperation::AuthorizeStart {
            session.record.offline = true;
        }
        let body = answer(operation, id, session, &provider, outcome);
        let answer = BackendAnswer::Answered { http_status: 200, body: body.into() };
        self.backend_answered(call, answer, now, fx);
    }
}

/// A QR code counts only with its PIN, every other medium by itself.
fn found(shown: &Identification, pin: Option<&HashedPin>) -> Found {
    match (shown, pin) {
        (Identification::QrCode { .. }, Some(hash)) => Found::WithPin(hash.clone()),
        (Identification::QrCode { .. }, None) => Found::Unknown,
        _ => Found::Known,
    }
}

fn answer(
    operation: SessionOperation,
    id: SessionId,
    session: &Session,
    provider: &str,
    outcome: Result<(), Code>,
) -> String {
    let partners = partners(Some(&session.record));
    // Our own id is one: the answer would else only name no provider, as the asker adds it.
    let provider = ProviderId::parse(provider).ok();
    let refusal = |code: Code| StatusCode::from(code);
    if operation == SessionOperation::AuthorizeStop {
        let base = AuthorizationStop::not_authorized(outcome.map_or_else(refusal, |()| Code::Success.into()));
        let said = match (outcome, provider) {
            (Ok(()), Some(provider)) => AuthorizationStop::authorized(id, provider),
            _ => AuthorizationStop { session_id: Some(id), ..base },
        };
        return AuthorizationStop { partners, ..said }.to_json();
    }
    let said = match (outcome, provider) {
        (Ok(()), Some(provider)) => AuthorizationStart::authorized(id, provider),
        (outcome, _) => {
            AuthorizationStart::not_authorized(refusal(outcome.err().unwrap_or(Code::SystemError)))
        }
    };
    AuthorizationStart { partners, ..said }.to_json()
}

/// What an allowed push changes; what stays equal is no change.
fn changes(known: &BTreeMap<MediumKey, KnownMedium>, push: AuthenticationPush) -> Vec<MediumChange> {
    let gone = |key: &MediumKey| MediumChange { key: key.clone(), known: None };
    match push.action {
        ActionType::Delete => {
            let here = push.media.keys().filter(|key| known.contains_key(*key));
            here.map(gone).collect()
        }
        ActionType::FullLoad | ActionType::Insert | ActionType::Update => {
            let replaces = push.action == ActionType::FullLoad;
            let left_out = known.keys().filter(|key| replaces && !push.media.contains_key(*key));
            let mut changes: Vec<MediumChange> = left_out.map(gone).collect();
            let news = push.media.into_iter().filter(|(key, (_, medium))| known.get(key) != Some(medium));
            changes.extend(news.map(|(key, (_, medium))| MediumChange { key, known: Some(medium) }));
            changes
        }
    }
}

/// Names places, never media: refusals end up in logs.
fn refuse_if_any(code: Code, what: &str, places: impl Iterator<Item = usize>) -> Result<(), StatusCode> {
    let mut places: Vec<usize> = places.collect();
    if places.is_empty() {
        return Ok(());
    }
    places.sort_unstable();
    let count = places.len();
    let named: Vec<String> = places.iter().take(PLACES_NAMED_MAX).map(usize::to_string).collect();
    let more = if count > PLACES_NAMED_MAX {
        format!(" and {} more", count - PLACES_NAMED_MAX)
    } else {
        String::new()
    };
    Err(StatusCode::with_info(code, &format!("{what} {}{more} (counted from 0)", named.join(", "))))
}
