//! The CPO's side of a charge detail record: taken from its backend, committed, then sent until the EMP's node has
//! said its last word.

use bytes::Bytes;

use super::answer::{HttpAnswer, acknowledgement, refusal};
use super::ask::reply;
use super::cdr::{CdrKey, ReadReceipt, cdr_hash, finding_texts, note_signer};
use super::cdr_findings::CdrArrival;
use super::table::{self, Event};
use super::{About, Asker, OurMessage, Way};
use crate::identity::{
    CDR_OICP_BYTES_MAX, Chain, MessageId, Operation, PartyId, Receipt, ReceiptVerdict, Role, SignedCdr,
};
use crate::oicp::charging::{CdrFinding, SessionId};
use crate::oicp::json;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::Code;
use crate::protocol::{
    AskOutcome, CdrRecord, CdrState, Digest, RECEIPTS_MAX, SessionMessage, SessionOperation, SessionPhase,
    SessionRecord, Via,
};
use crate::roaming::Roaming;
use crate::roaming::change::StoredCdr;
use crate::roaming::effect::{Action, Effects, Report};
use crate::roaming::input::{CallId, Now};
use crate::roaming::judge::FUTURE_MS_MAX;

/// Records and receipts under way to one partner at once.
const IN_FLIGHT_MAX: usize = 32;

/// Time for the partner's node to commit and answer, in milliseconds.
pub(super) const ANSWER_MS: u64 = 10_000;

/// A record that the partner's node has, and of which its backend has not been heard, is asked about this often, in
/// milliseconds: should that node have lost it, it gets it again.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// A record that a backend of ours brings.
pub(super) struct CdrWish {
    pub(super) call: CallId,
    pub(super) party: Option<PartyId>,
    pub(super) arrival: Box<CdrArrival>,
    pub(super) body: Bytes,
    pub(super) replaces: Option<Digest>,
}

/// Why it was not taken.
struct Refused(Code, String);

impl Roaming {
    /// Takes a record of our backend, given what is stored of its session.
    pub(super) fn take_our_cdr(
        &mut self,
        wish: CdrWish,
        known: &mut Vec<StoredCdr>,
        now: Now,
        fx: &mut Effects,
    ) {
        let (call, id) = (wish.call, self.resolved(wish.arrival.session));
        let taken = self.our_cdr(&wish, known, now);
        // With the ids of its session, if it is the caller's.
        let record = self.our_session(id, wish.party.as_ref()).cloned();
        match taken {
            Ok(None) => reply(call, yes(record.as_ref()), fx),
            Ok(Some(stored)) => {
                known.push(stored.clone());
                let key = CdrKey { session: id, hash: stored.hash, incoming: false };
                if stored.replaces.is_none() {
                    self.close_by_cdr(id, now, fx);
                }
                self.charging.cdrs.put(key, stored, now.mono_ms);
                self.remember_cdr(key, fx);
                reply(call, yes(record.as_ref()), fx);
                self.cdr_due(key, now, fx);
            }
            Err(Refused(code, info)) => {
                reply(call, refusal(SessionOperation::Notification, code, &info, record.as_ref()), fx);
            }
        }
    }

    /// The session of a party of ours as CPO.
    fn our_session(&self, id: SessionId, party: Option<&PartyId>) -> Option<&SessionRecord> {
        let record = &self.charging.sessions.get(&id)?.record;
        let ours = record.ours.role == Role::Cpo && party.is_none_or(|party| *party == record.ours);
        Some(record).filter(|_| ours)
    }

    /// `None`: it is known already.
    fn our_cdr(&self, wish: &CdrWish, known: &[StoredCdr], now: Now) -> Result<Option<StoredCdr>, Refused> {
        let id = self.resolved(wish.arrival.session);
        let invalid = |why: &str| Refused(Code::SessionInvalid, why.to_owned());
        let no_session = "no session of yours has this SessionID";
        let record = self.our_session(id, wish.party.as_ref()).ok_or_else(|| invalid(no_session))?;
        let partner = record.partner.clone().ok_or_else(|| invalid(no_session))?;
        let hash = cdr_hash(&wish.body);
        let ours: Vec<&StoredCdr> =
            known.iter().filter(|cdr| !cdr.incoming && cdr.ours == record.ours).collect();
        if let Some(same) = ours.iter().find(|cdr| cdr.hash == hash) {
            if wish.replaces.is_some() && wish.replaces != same.replaces {
                return Err(invalid(
                    "nothing is corrected: a record of this session with these very bytes was taken",
                ));
            }
            return match self.charging.config.refuse_identical_cdr {
                true => Err(invalid("the session is closed: this charge detail record was taken before")),
                false => Ok(None),
            };
        }
        match wish.replaces {
            None if !ours.is_empty() || record.phase == SessionPhase::Closed => {
                let why = "the session is closed: another charge detail record of it was taken; see `chargemesh \
                           cdr correct`";
                return Err(invalid(why));
            }
            None if !may_have_cdr(record) => {
                return Err(invalid(&format!("the session's status is {}", record.phase.as_str())));
            }
            None => {}
            Some(replaced) if !may_replace(&ours, &replaced) => {
                let why = "no charge detail record of this session has the hash that is to be replaced, or \
                           another correction replaced it";
                return Err(invalid(why));
            }
            Some(replaced)
                if ours.iter().any(|cdr| cdr.hash == replaced && says_the_same(cdr, &wish.body)) =>
            {
                return Err(invalid(
                    "nothing is corrected: it says the same as the record that it is to replace",
                ));
            }
            Some(_) => {}
        }
        let no_party = || Refused(Code::UnauthorizedAccess, "no party of this node".to_owned());
        let speaker = &self.parties.get(&record.ours).ok_or_else(no_party)?.speaker;
        let findings = wish.arrival.findings_of(record);
        self.check_our_cdr(speaker, wish, &findings)?;
        self.signed_cdr(wish, record, partner, (hash, &findings), now).map(Some)
    }

    fn check_our_cdr(
        &self,
        speaker: &crate::identity::Speaker,
        wish: &CdrWish,
        findings: &[CdrFinding],
    ) -> Result<(), Refused> {
        let evse = &wish.arrival.evse;
        if speaker.may(Operation::CdrSend, evse.key().operator()).is_err() {
            return Err(Refused(Code::InconsistentEvseId, evse.as_str().to_owned()));
        }
        for finding in findings {
            if let Some(code) = finding.refusal() {
                return Err(Refused(code, finding.message.clone()));
            }
        }
        if wish.body.len() > CDR_OICP_BYTES_MAX {
            let why = format!("the message has more than {CDR_OICP_BYTES_MAX} bytes");
            return Err(Refused(Code::DataError, why));
        }
        if !self.has_room_for_cdr() {
            let why = "too many charge detail records wait for their partners (charging.open_cdrs_max)";
            return Err(Refused(Code::HubSystemError, why.to_owned()));
        }
        if !self.may_sign() {
            let why = "the clock of this node is wrong, so it signs nothing: send the message again later";
            return Err(Refused(Code::HubSystemError, why.to_owned()));
        }
        Ok(())
    }

    fn signed_cdr(
        &self,
        wish: &CdrWish,
        record: &SessionRecord,
        partner: PartyId,
        (hash, findings): (Digest, &[CdrFinding]),
        now: Now,
    ) -> Result<StoredCdr, Refused> {
        let cdr = SignedCdr {
            session: record.session.clone(),
            from: record.ours.clone(),
            to: partner.clone(),
            created_unix_ms: now.unix_ms,
            replaces: wish.replaces,
            oicp: wish.body.to_vec(),
        };
        let refused = |why: String| Refused(Code::HubSystemError, why);
        let ours = self.parties.get(&record.ours).ok_or_else(|| refused("no such party".to_owned()))?;
        let signed = cdr
            .issue(self.speakers.network(), &ours.speaker, &ours.message_key)
            .map_err(|error| refused(format!("it cannot be signed: {error}")))?;
        let mut stored = StoredCdr {
            session: cdr.session,
            hash,
            incoming: false,
            ours: cdr.from,
            partner,
            operator: wish.arrival.evse.key().operator().to_owned(),
            is_open: true,
            state: CdrState::Waiting,
            stored_unix_ms: now.unix_ms,
            ended_unix_ms: wish.arrival.ended_unix_ms,
            replaces: wish.replaces,
            signed: Some(signed.into()),
            record: CdrRecord { findings: finding_texts(findings), via: record.via, ..CdrRecord::default() },
        };
        note_signer(&mut stored, *ours.speaker.delegation_hash(), Some(&ours.chain));
        Ok(stored)
    }

    /// Its record ends a session, whatever was known of it.
    pub(super) fn close_by_cdr(&mut self, id: SessionId, now: Now, fx: &mut Effects) {
        if let Some(session) = self.charging.sessions.get_mut(&id) {
            // A start that succeeded late is told by the record itself.
            session.record.to_tell_backend = false;
        }
        self.step(id, Event::CdrTaken, now, fx);
    }

    /// Sends a record to the partner's node. False if there was no room for it.
    pub(super) fn send_cdr(&mut self, key: CdrKey, now: Now, fx: &mut Effects) -> bool {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return true };
        let stored = &open.stored;
        if stored.record.via == Via::Hub {
            return self.send_cdr_to_hub(key, now, fx);
        }
        let (Some(signed), Some(chain)) = (stored.signed.clone(), stored.record.chains.first().cloned())
        else {
            // Its content was deleted: there is nothing to send.
            self.put_off(&key, ASK_AGAIN_MS, now);
            return true;
        };
        let message = SessionMessage::Cdr { session: stored.session.clone(), signed, chain };
        let (ours, to) = (stored.ours.clone(), stored.partner.clone());
        self.send_about_cdr(key, About::Cdr(key.hash), (ours, to), &message, now, fx)
    }

    pub(super) fn send_about_cdr(
        &mut self,
        key: CdrKey,
        about: About,
        (ours, to): (PartyId, PartyId),
        message: &SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let of_cdrs =
            |other: &&OurMessage| other.to == to && matches!(other.about, About::Cdr(_) | About::Receipts(_));
        let under_way = self.charging.messages.values().filter(of_cdrs);
        if under_way.clone().any(|other| other.session == key.session && other.about == about) {
            self.again(&key, now);
            return true;
        }
        if under_way.count() >= IN_FLIGHT_MAX {
            return false;
        }
        let word = OurMessage {
            session: key.session,
            about,
            ours,
            to,
            call: None,
            way: Way::default(),
            timeout_ms: ANSWER_MS,
        };
        let id = MessageId(self.random_16());
        let received =
            self.charging.cdrs.open.get(&key).is_some_and(|o| o.stored.state == CdrState::Received);
        let later_ms = if received && !key.incoming { ASK_AGAIN_MS } else { ANSWER_MS };
        match self.send(id, message, word, now, fx) {
            true => {
                if let Some(open) = self.charging.cdrs.open.get_mut(&key) {
                    open.stored.record.attempts += 1;
                }
                self.put_off(&key, later_ms, now);
            }
            // Nobody there: it is sent when somebody comes.
            false => self.put_off(&key, 0, now),
        }
        true
    }

    /// The partner's node answered a record.
    pub(super) fn cdr_answered(
        &mut self,
        ours: &OurMessage,
        answer: SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let About::Cdr(hash) = ours.about else { return };
        let key = CdrKey { session: ours.session, hash, incoming: false };
        let why = match answer {
            SessionMessage::Receipts { receipts, chains, .. } => {
                let read = self.read_receipts(&ours.ours, &ours.to, ours.session, (&receipts, &chains), now);
                match read {
                    Ok(read) => return self.add_receipts(key, read, now, fx),
                    Err(why) => why,
                }
            }
            SessionMessage::Outcome { outcome: AskOutcome::Pending, .. } => return self.again(&key, now),
            SessionMessage::Outcome { outcome: AskOutcome::Refused(code), .. } => {
                format!("its node answers {code} without a receipt")
            }
            _ => "its node answers something else".to_owned(),
        };
        let (session, partner) = (ours.session.as_str().to_owned(), ours.to.clone());
        fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
        self.again(&key, now);
    }

    /// Verifies receipts: each signer's chain at the time when it signed.
    pub(super) fn read_receipts(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        session: SessionId,
        (receipts, chains): (&[Bytes], &[Chain]),
        now: Now,
    ) -> Result<Vec<ReadReceipt>, String> {
        let network = self.speakers.network();
        let read = |bytes: &Bytes| {
            let (signer, at_unix_ms) = Receipt::claimed(bytes, network).map_err(|error| error.to_string())?;
            let chain = chains.iter().find(|chain| chain.delegation_hash() == signer);
            let chain = chain.ok_or("a receipt comes without the chain of its signer")?;
            let speaker = self.signer(chain, at_unix_ms / 1_000).map_err(|error| error.to_string())?;
            let receipt = Receipt::open(bytes, network, &speaker).map_err(|error| error.to_string())?;
            let receipt = receipt.into_content();
            let fits = receipt.from == *partner
                && receipt.to == *ours
                && receipt.session == session.as_str()
                && receipt.at_unix_ms <= now.unix_ms + FUTURE_MS_MAX;
            fits.then(|| ReadReceipt { receipt, bytes: bytes.clone(), signer })
                .ok_or_else(|| "a receipt is for something else".to_owned())
        };
        receipts.iter().map(read).collect()
    }

    /// Takes note of receipts for a record that is open.
    pub(super) fn add_receipts(
        &mut self,
        key: CdrKey,
        receipts: Vec<ReadReceipt>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(open) = self.charging.cdrs.open.get_mut(&key) else { return };
        if note_receipts(&mut open.stored, receipts, key.hash) {
            let received = open.stored.state == CdrState::Received;
            self.remember_cdr(key, fx);
            if received {
                self.put_off(&key, ASK_AGAIN_MS, now);
            }
        } else if open.stored.state.is_final() {
            // Sent again although the partner's node had it all the time.
            open.stored.is_open = false;
            self.remember_cdr(key, fx);
        }
    }

    /// A partner's node brings receipts of its own accord: it hears that they are committed.
    pub(super) fn take_receipts(
        &mut self,
        id: SessionId,
        asker: Asker,
        receipts: Vec<ReadReceipt>,
        known: &mut [StoredCdr],
        now: Now,
        fx: &mut Effects,
    ) {
        let mut all_known = true;
        for read in receipts {
            let hash = read.receipt.cdr;
            let key = CdrKey { session: id, hash, incoming: false };
            // Only whom the record went to can receipt it.
            let is_between = |cdr: &StoredCdr| cdr.partner == asker.partner && cdr.ours == asker.ours;
            let of_key = |cdr: &&mut StoredCdr| !cdr.incoming && cdr.hash == hash && is_between(cdr);
            if self.charging.cdrs.open.get(&key).is_some_and(|open| is_between(&open.stored)) {
                self.add_receipts(key, vec![read], now, fx);
            } else if let Some(stored) = known.iter_mut().find(of_key) {
                // Settled before: nothing is to be done but to keep it.
                if note_receipts(stored, vec![read], hash) {
                    stored.is_open = false;
                    let cdr = Box::new(stored.clone());
                    fx.ledger.push(crate::roaming::change::LedgerChange::Cdr { cdr });
                }
            } else {
                all_known = false;
            }
        }
        let session = id.as_str().to_owned();
        let answer = match all_known {
            true => SessionMessage::Noted { session },
            false => {
                let code = Code::SessionInvalid.as_str().to_owned();
                SessionMessage::Outcome { session, outcome: AskOutcome::Refused(code) }
            }
        };
        self.answer_message(asker, answer, now, fx);
    }
}

/// Adds receipts that are new; false if none is.
fn note_receipts(stored: &mut StoredCdr, receipts: Vec<ReadReceipt>, hash: Digest) -> bool {
    let mut is_news = false;
    for ReadReceipt { receipt, bytes, signer } in receipts {
        let full = stored.record.receipts.len() >= RECEIPTS_MAX;
        if receipt.cdr != hash || full || stored.record.receipts.contains(&bytes) {
            continue;
        }
        is_news = true;
        stored.record.receipts.push(bytes);
        note_signer(stored, signer, None);
        let state = state_of(&receipt.verdict);
        // A last word stays, but what was kept may be given to the backend later.
        if !stored.state.is_final() && stored.state < state
            || stored.state == CdrState::Kept && state.is_final()
        {
            stored.state = state;
        }
    }
    stored.is_open = !stored.state.is_final();
    is_news
}

pub(super) fn state_of(verdict: &ReceiptVerdict) -> CdrState {
    match verdict {
        ReceiptVerdict::Received => CdrState::Received,
        ReceiptVerdict::Kept => CdrState::Kept,
        ReceiptVerdict::Accepted => CdrState::Accepted,
        ReceiptVerdict::Rejected(_) => CdrState::Rejected,
        ReceiptVerdict::Refused(_) => CdrState::Refused,
    }
}

/// Whether a session can have been charged in.
pub(super) fn may_have_cdr(record: &SessionRecord) -> bool {
    // A card that nobody has authorized yet opened nothing.
    let unanswered = record.operation == SessionOperation::AuthorizeStart
        && matches!(record.phase, SessionPhase::Requested | SessionPhase::Calling);
    !unanswered && table::next(record.phase, Event::CdrTaken).is_some()
}

/// Whether a message has the content of a record, however it is written: its white space and escapes do not count.
fn says_the_same(cdr: &StoredCdr, body: &[u8]) -> bool {
    let content = |body: &[u8]| json::parse(body, Reading::Tolerant).map(|root| root.to_json()).ok();
    let stored = cdr.oicp();
    stored.and_then(|stored| content(&stored)).is_some_and(|stored| content(body) == Some(stored))
}

/// Whether a correction may take the place of a record: that is there, and nothing else replaced it.
pub(super) fn may_replace(cdrs: &[&StoredCdr], replaced: &Digest) -> bool {
    cdrs.iter().any(|cdr| cdr.hash == *replaced) && !cdrs.iter().any(|cdr| cdr.replaces == Some(*replaced))
}

fn yes(record: Option<&SessionRecord>) -> HttpAnswer {
    HttpAnswer::verbatim(acknowledgement(true, record).to_json().into())
}
