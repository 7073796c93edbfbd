//! The EMP's side of a charge detail record: verified, committed, receipted, and given to its backend until that
//! answers, or kept until it is pulled.

use bytes::Bytes;

use super::answer::refusal;
use super::ask::reply;
use super::cdr::{CdrKey, CdrWaiter, OpenCdr, finding_texts, note_signer};
use super::cdr_findings::{CdrFacts, ended_unix_ms, with_directory, with_session};
use super::cdr_send::{may_have_cdr, may_replace, state_of};
use super::{About, Asker, BackendAnswer, OurMessage};
use crate::identity::{Chain, Operation, PartyId, Receipt, ReceiptVerdict, SignedCdr};
use crate::oicp::charging::{ChargeDetailRecord, SessionId, cdr_findings, read_acknowledgement};
use crate::oicp::id::operator_for_display;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::Code;
use crate::planted::{Bug, planted};
use crate::protocol::{
    AskOutcome, CdrRecord, CdrState, Digest, SessionMessage, SessionOperation, SessionPhase, Via,
};
use crate::roaming::Roaming;
use crate::roaming::change::StoredCdr;
use crate::roaming::effect::{Action, Effects, Report};
use crate::roaming::input::{BackendCallId, Now};
use crate::roaming::judge::FUTURE_MS_MAX;

/// Records under way to one backend at once.
const FORWARDS_MAX: usize = 16;

/// HTTP statuses from here on say that the backend itself is broken: no answer about the record.
const HTTP_BROKEN_FROM: u16 = 500;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// A record that a partner's node brings, verified.
#[derive(Debug)]
pub(super) struct Brought {
    cdr: Box<SignedCdr>,
    /// Its OICP message, if it can be read.
    pub(super) record: Option<Box<ChargeDetailRecord>>,
    signed: Bytes,
    signer: Digest,
    /// What the directory shows of its EVSE, if it could be read.
    pub(super) facts: Option<CdrFacts>,
}

impl Roaming {
    /// A partner's node brings a record.
    pub(super) fn serve_cdr(
        &mut self,
        asker: Asker,
        id: SessionId,
        (signed, chain): (Bytes, &Chain),
        now: Now,
        fx: &mut Effects,
    ) {
        let read = self.read_cdr(&signed, chain).and_then(|cdr| {
            let fits = cdr.from == asker.partner
                && cdr.to == asker.ours
                && cdr.session == id.as_str()
                && cdr.created_unix_ms <= now.unix_ms + FUTURE_MS_MAX;
            fits.then_some(cdr).ok_or_else(|| "it is of somebody else, or for somebody else".to_owned())
        });
        match read {
            Ok(cdr) => {
                if !self.charging.sessions.contains_key(&id) {
                    let (ours, partner) = (Some(&asker.ours), &asker.partner);
                    self.adopted_by_cdr(ours, partner, id, &cdr.oicp, now, fx);
                }
                let record = ChargeDetailRecord::parse(&cdr.oicp, Reading::Tolerant).ok().map(Box::new);
                let (cdr, signer) = (Box::new(cdr), chain.delegation_hash());
                let brought = Brought { cdr, record, signed, signer, facts: None };
                self.cdr_came(id, CdrWaiter::Theirs { asker, brought }, now, fx);
            }
            Err(why) => {
                let (session, partner) = (id.as_str().to_owned(), asker.partner.clone());
                fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
                self.refuse_cdr_message(asker, id, Code::UnauthorizedAccess, now, fx);
            }
        }
    }

    /// Verifies a record: its signer's chain at the time when it signed.
    fn read_cdr(&self, signed: &[u8], chain: &Chain) -> Result<SignedCdr, String> {
        let network = self.speakers.network();
        let at_unix_ms = SignedCdr::claimed_time(signed, network).map_err(|error| error.to_string())?;
        let speaker = self.signer(chain, at_unix_ms / 1_000).map_err(|error| error.to_string())?;
        let cdr = SignedCdr::open(signed, network, &speaker).map_err(|error| error.to_string())?;
        Ok(cdr.into_content())
    }

    /// A partner's node brings receipts.
    pub(super) fn serve_receipts(
        &mut self,
        asker: Asker,
        id: SessionId,
        (receipts, chains): (&[Bytes], &[Chain]),
        now: Now,
        fx: &mut Effects,
    ) {
        match self.read_receipts(&asker.ours, &asker.partner, id, (receipts, chains), now) {
            Ok(receipts) => self.cdr_came(id, CdrWaiter::Receipts { asker, receipts }, now, fx),
            Err(why) => {
                let (session, partner) = (id.as_str().to_owned(), asker.partner.clone());
                fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
                self.refuse_cdr_message(asker, id, Code::UnauthorizedAccess, now, fx);
            }
        }
    }

    /// What cannot be receipted: the other side tries again.
    fn refuse_cdr_message(&mut self, asker: Asker, id: SessionId, code: Code, now: Now, fx: &mut Effects) {
        let outcome = AskOutcome::Refused(code.as_str().to_owned());
        self.answer_message(
            asker,
            SessionMessage::Outcome { session: id.as_str().to_owned(), outcome },
            now,
            fx,
        );
    }

    /// Storage could not say what it knows of the session: nothing was done.
    pub(super) fn cdr_not_looked_up(&mut self, waiter: CdrWaiter, now: Now, fx: &mut Effects) {
        match waiter {
            CdrWaiter::Ours { call, .. } => {
                let info = "the session could not be looked up: send the message again";
                reply(call, refusal(SessionOperation::Notification, Code::HubDatabaseError, info, None), fx);
            }
            CdrWaiter::Hub { call, .. } => {
                let info = "the session could not be looked up: send the message again";
                reply(call, super::hub_cdr::refused_cdr(Code::HubDatabaseError, info), fx);
            }
            CdrWaiter::Theirs { asker, brought } => {
                self.put_off_partner(asker, brought.cdr.session, now, fx);
            }
            CdrWaiter::Receipts { asker, receipts } => {
                if let Some(session) = receipts.first().map(|read| read.receipt.session.clone()) {
                    self.put_off_partner(asker, session, now, fx);
                }
            }
        }
    }

    fn put_off_partner(&mut self, asker: Asker, session: String, now: Now, fx: &mut Effects) {
        let outcome = AskOutcome::Pending;
        self.answer_message(asker, SessionMessage::Outcome { session, outcome }, now, fx);
    }

    /// Takes a verified record of a partner, given what is stored of its session.
    pub(super) fn take_their_cdr(
        &mut self,
        id: SessionId,
        asker: Asker,
        brought: Brought,
        known: &mut Vec<StoredCdr>,
        now: Now,
        fx: &mut Effects,
    ) {
        let hash = brought.cdr.cdr_hash();
        let ours = |cdr: &&StoredCdr| cdr.incoming && cdr.ours == asker.ours && cdr.partner == asker.partner;
        let is_same = |cdr: &&StoredCdr| cdr.hash == hash && !planted(Bug::CdrDedupeForgotten);
        if let Some(same) = known.iter_mut().filter(|cdr| ours(&&**cdr)).find(|cdr| is_same(&&**cdr)) {
            if same.record.receipts.is_empty() {
                // It came through the hub before, which takes no receipts.
                self.receipt_late(id, same, now, fx);
            }
            let answer = receipts_of(same);
            return self.answer_message(asker, answer, now, fx);
        }
        let before: Vec<&StoredCdr> = known.iter().filter(ours).collect();
        match self.their_cdr(id, &asker, &brought, &before, now) {
            Ok(read) if self.has_room_for_cdr() && self.may_sign() => {
                let taken = self.receipted_cdr(&asker, brought, &read, now);
                match taken {
                    Ok(stored) => {
                        known.push(stored.clone());
                        self.keep_their_cdr(id, asker, stored, now, fx);
                    }
                    Err(why) => {
                        let (session, partner) = (id.as_str().to_owned(), asker.partner.clone());
                        fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
                        self.put_off_partner(asker, id.as_str().to_owned(), now, fx);
                    }
                }
            }
            Ok(_) => self.put_off_partner(asker, id.as_str().to_owned(), now, fx),
            Err(code) => self.refuse_cdr(id, asker, hash, code, now, fx),
        }
    }

    /// Whether a record is of a session that we have with this partner, and the first one of it or a correction.
    fn their_cdr(
        &self,
        id: SessionId,
        asker: &Asker,
        brought: &Brought,
        before: &[&StoredCdr],
        now: Now,
    ) -> Result<Box<ReadCdr>, Code> {
        let session =
            self.charging.sessions.get(&id).filter(|s| s.is_with(&asker.ours, &asker.partner, &asker.back));
        let record = &session.ok_or(Code::SessionInvalid)?.record;
        match brought.cdr.replaces {
            None if !before.is_empty() || record.phase == SessionPhase::Closed || !may_have_cdr(record) => {
                return Err(Code::SessionInvalid);
            }
            Some(replaced) if !may_replace(before, &replaced) => return Err(Code::SessionInvalid),
            _ => {}
        }
        let read = brought.record.as_ref().ok_or(Code::DataError)?;
        if read.session_id != id {
            return Err(Code::DataError);
        }
        let operator = read.evse_id.key().operator().to_owned();
        let theirs = asker.partner.id.as_str() == operator
            || self.speakers_for(&asker.partner, now).any(|s| s.may(Operation::CdrSend, &operator).is_ok());
        if !theirs {
            return Err(Code::InconsistentEvseId);
        }
        let now_ms = i64::try_from(now.unix_ms).unwrap_or(i64::MAX);
        // What the CPO's side refuses is a finding here: it did not, and the record is owed.
        let mut findings = cdr_findings(read, now_ms);
        findings.extend(with_directory(read, record, brought.facts.as_ref()));
        findings.extend(with_session(read, record));
        Ok(Box::new(ReadCdr {
            operator,
            ended_unix_ms: ended_unix_ms(read),
            findings: finding_texts(&findings),
        }))
    }

    /// The record with our first receipts.
    fn receipted_cdr(
        &self,
        asker: &Asker,
        brought: Brought,
        read: &ReadCdr,
        now: Now,
    ) -> Result<StoredCdr, String> {
        let Brought { cdr, signed, signer, .. } = brought;
        let replaces = cdr.replaces;
        let mut stored = StoredCdr {
            session: cdr.session.clone(),
            hash: cdr.cdr_hash(),
            incoming: true,
            ours: asker.ours.clone(),
            partner: asker.partner.clone(),
            operator: read.operator.clone(),
            is_open: true,
            state: CdrState::Received,
            stored_unix_ms: now.unix_ms,
            ended_unix_ms: read.ended_unix_ms,
            replaces,
            signed: Some(signed),
            record: CdrRecord { findings: read.findings.clone(), ..CdrRecord::default() },
        };
        note_signer(&mut stored, signer, None);
        self.sign_receipt(&mut stored, ReceiptVerdict::Received, now)?;
        let online = self.charging.backends.contains_key(&asker.ours);
        if !online || replaces.is_some() && !self.charging.config.forward_corrections {
            self.sign_receipt(&mut stored, ReceiptVerdict::Kept, now)?;
            stored.is_open = false;
        }
        Ok(stored)
    }

    /// Commits it, says so, and gives it to our backend.
    fn keep_their_cdr(&mut self, id: SessionId, asker: Asker, stored: StoredCdr, now: Now, fx: &mut Effects) {
        let key = CdrKey { session: id, hash: stored.hash, incoming: true };
        if stored.replaces.is_none() {
            self.close_by_cdr(id, now, fx);
        }
        let answer = receipts_of(&stored);
        self.charging.cdrs.put(key, stored, now.mono_ms);
        self.remember_cdr(key, fx);
        self.answer_message(asker, answer, now, fx);
        self.cdr_due(key, now, fx);
    }

    /// Our node's own no, signed.
    fn refuse_cdr(
        &mut self,
        id: SessionId,
        asker: Asker,
        hash: Digest,
        code: Code,
        now: Now,
        fx: &mut Effects,
    ) {
        let (session, partner) = (id.as_str().to_owned(), asker.partner.clone());
        let why = format!("refused with {}", code.as_str());
        fx.actions.push(Action::Report(Report::CdrNotTaken { session: session.clone(), partner, why }));
        let verdict = ReceiptVerdict::Refused(code.as_str().to_owned());
        let receipt = Receipt {
            session: session.clone(),
            cdr: hash,
            from: asker.ours.clone(),
            to: asker.partner.clone(),
            verdict,
            at_unix_ms: now.unix_ms,
        };
        let ours = self.parties.get(&asker.ours).filter(|_| self.may_sign());
        let signed = ours.and_then(|ours| {
            let signed = receipt.issue(self.speakers.network(), &ours.speaker, &ours.message_key).ok()?;
            Some((Bytes::from(signed), ours.chain.clone()))
        });
        match signed {
            Some((receipt, chain)) => {
                let answer =
                    SessionMessage::Receipts { session, receipts: vec![receipt], chains: vec![chain] };
                self.answer_message(asker, answer, now, fx);
            }
            None => self.put_off_partner(asker, session, now, fx),
        }
    }

    /// Adds a receipt of ours.
    pub(super) fn sign_receipt(
        &self,
        stored: &mut StoredCdr,
        verdict: ReceiptVerdict,
        now: Now,
    ) -> Result<(), String> {
        let ours = self.parties.get(&stored.ours).ok_or("no party of this node")?;
        let state = state_of(&verdict);
        let receipt = Receipt {
            session: stored.session.clone(),
            cdr: stored.hash,
            from: stored.ours.clone(),
            to: stored.partner.clone(),
            verdict,
            at_unix_ms: now.unix_ms,
        };
        let signed = receipt.issue(self.speakers.network(), &ours.speaker, &ours.message_key);
        stored.record.receipts.push(signed.map_err(|error| error.to_string())?.into());
        note_signer(stored, *ours.speaker.delegation_hash(), Some(&ours.chain));
        stored.state = state;
        Ok(())
    }

    /// Gives a record to our backend. False if there was no room.
    pub(super) fn forward_cdr(&mut self, key: CdrKey, now: Now, fx: &mut Effects) -> bool {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return true };
        let stored = &open.stored;
        let age_ms = now.unix_ms.saturating_sub(stored.stored_unix_ms);
        let given_up = age_ms >= self.charging.config.cdr_backend_days.saturating_mul(DAY_MS);
        if given_up || !self.charging.backends.contains_key(&stored.ours) {
            self.cdr_settled(key, ReceiptVerdict::Kept, now, fx);
            return true;
        }
        if self.charging.cdrs.calls_backend_for(&key) {
            self.again(&key, now);
            return true;
        }
        let of_party = |called: &&CdrKey| {
            self.charging.cdrs.open.get(*called).is_some_and(|open| open.stored.ours == stored.ours)
        };
        if self.charging.cdrs.calls.values().filter(of_party).count() >= FORWARDS_MAX {
            return false;
        }
        let Some(oicp) = stored.oicp() else {
            // Its content was deleted: nobody can be given it.
            self.cdr_settled(key, ReceiptVerdict::Kept, now, fx);
            return true;
        };
        let timeout_ms = self.charging.config.cdr_backend_ms;
        let (party, path_id) = (stored.ours.clone(), operator_for_display(stored.partner.id.as_str()));
        let call = BackendCallId(self.next_id());
        self.charging.cdrs.calls.insert(call, key);
        if let Some(open) = self.charging.cdrs.open.get_mut(&key) {
            open.stored.record.attempts += 1;
        }
        self.put_off(&key, timeout_ms, now);
        fx.actions.push(Action::ForwardCdr { call, party, path_id, body: oicp, timeout_ms });
        true
    }

    /// Our backend answered a record, or did not. False if the call was about something else.
    pub(super) fn cdr_backend_answered(
        &mut self,
        call: BackendCallId,
        answer: &BackendAnswer,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(key) = self.charging.cdrs.calls.remove(&call) else { return false };
        let verdict = match answer {
            BackendAnswer::Answered { http_status, body } if *http_status < HTTP_BROKEN_FROM => {
                read_acknowledgement(body).ok().map(|said| match (said.result, said.status.known()) {
                    (true, _) => ReceiptVerdict::Accepted,
                    (false, Some(code)) => ReceiptVerdict::Rejected(code.as_str().to_owned()),
                    (false, None) => ReceiptVerdict::Rejected(Code::SystemError.as_str().to_owned()),
                })
            }
            _ => None,
        };
        match verdict {
            Some(verdict) => self.cdr_settled(key, verdict, now, fx),
            None => self.again(&key, now),
        }
        true
    }

    /// The EMP's last word about a record: the partner is told until it takes note.
    fn cdr_settled(&mut self, key: CdrKey, verdict: ReceiptVerdict, now: Now, fx: &mut Effects) {
        let open = self.charging.cdrs.open.get(&key);
        // One that came directly as well has receipts, and its partner waits for the last.
        let by_hub_alone = |open: &&OpenCdr| {
            let record = &open.stored.record;
            record.via == Via::Hub && record.receipts.is_empty()
        };
        if let Some(open) = open.filter(by_hub_alone) {
            return self.hub_cdr_settled(open.stored.clone(), key, &verdict, now, fx);
        }
        if !self.may_sign() {
            return self.again(&key, now);
        }
        let Some(open) = self.charging.cdrs.open.get(&key).filter(|open| !open.stored.state.is_final())
        else {
            return;
        };
        let mut stored = open.stored.clone();
        match self.sign_receipt(&mut stored, verdict, now) {
            Ok(()) => {
                stored.record.to_tell = true;
                self.charging.cdrs.put(key, stored, now.mono_ms);
                self.remember_cdr(key, fx);
                self.cdr_due(key, now, fx);
            }
            Err(why) => {
                let (session, partner) = (stored.session, stored.partner);
                fx.actions.push(Action::Report(Report::CdrNotTaken { session, partner, why }));
                self.again(&key, now);
            }
        }
    }

    /// Tells the partner's node our receipts. False if there was no room.
    pub(super) fn tell_receipts(&mut self, key: CdrKey, now: Now, fx: &mut Effects) -> bool {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return true };
        let stored = &open.stored;
        let (ours, to): (PartyId, PartyId) = (stored.ours.clone(), stored.partner.clone());
        let age_ms = now.unix_ms.saturating_sub(stored.stored_unix_ms);
        if age_ms >= self.charging.config.session_expiry_days.saturating_mul(DAY_MS) {
            // It may still ask for them: they are stored.
            self.receipts_noted(key, fx);
            return true;
        }
        let message = receipts_of(stored);
        self.send_about_cdr(key, About::Receipts(key.hash), (ours, to), &message, now, fx)
    }

    /// The partner's node answered our receipts.
    pub(super) fn receipts_answered(&mut self, ours: &OurMessage, answer: &SessionMessage, fx: &mut Effects) {
        let (About::Receipts(hash), SessionMessage::Noted { .. }) = (ours.about, answer) else { return };
        self.receipts_noted(CdrKey { session: ours.session, hash, incoming: true }, fx);
    }

    fn receipts_noted(&mut self, key: CdrKey, fx: &mut Effects) {
        if let Some(open) = self.charging.cdrs.open.get_mut(&key) {
            open.stored.record.to_tell = false;
            open.stored.is_open = false;
            self.remember_cdr(key, fx);
        }
    }
}

/// What is looked at of a record.
struct ReadCdr {
    operator: String,
    ended_unix_ms: u64,
    findings: Vec<String>,
}

fn receipts_of(stored: &StoredCdr) -> SessionMessage {
    SessionMessage::Receipts {
        session: stored.session.clone(),
        receipts: stored.record.receipts.clone(),
        chains: stored.record.chains.clone(),
    }
}
