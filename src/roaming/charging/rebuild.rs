//! A session that this node lost, made anew from what both sides signed of it. The partner's word alone makes none: the
//! message that decides carries the signature of our own party.

use super::ask::said_yes;
use super::request::{ChargeRequest, asker_role};
use super::{SEEN_MAX, SessionRecord};
use crate::identity::{MessageId, PartyId, Pin, PublicKey, Receipt, ReceiptVerdict, Role, TrustList};
use crate::oicp::charging::AuthorizationStart;
use crate::oicp::reading::Reading;
use crate::protocol::evidence::{EvidenceFault, EvidenceReport, Said, open_evidence};
use crate::protocol::{
    AskOutcome, BOOKS_EVIDENCE_BYTES_MAX, Digest, SessionMessage, SessionOperation, SessionPhase, Via,
    verify_evidence,
};

/// Most messages that are checked of one session: what a partner keeps of its begin and its end, twice over.
pub(super) const LOST_MESSAGES_MAX: usize = 256;

/// Most credential chains of such evidence: a new delegation of each side every day, for a month.
const LOST_CHAINS_MAX: usize = 64;

/// A party of ours, as far as its own signature is to be known again.
#[derive(Clone, Debug)]
pub struct OwnHand {
    /// Which.
    pub party: PartyId,
    /// Its org key; those that rotations led away from count as well.
    pub org_key: PublicKey,
    /// Which of the party's nodes this is.
    pub slot: u8,
}

/// A session as both sides signed it.
#[derive(Clone, Debug)]
pub struct LostSession {
    /// As this node would remember it if it runs.
    pub record: SessionRecord,
    /// Charge detail records of it that our node refused, by hash: perhaps for it did not know the session.
    pub refused_cdrs: Vec<Digest>,
}

/// Why a session is not made anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRebuilt {
    /// A signature, hash or field does not fit.
    #[error("its evidence is wrong: {0}")]
    Fault(#[from] EvidenceFault),
    /// More than is read.
    #[error("its evidence holds more than is read: {LOST_MESSAGES_MAX} messages, {LOST_CHAINS_MAX} chains")]
    TooMany,
    /// Another session, another log, or messages of others.
    #[error("its evidence is about something else, or about others as well")]
    Foreign,
    /// What began it is not there.
    #[error(
        "the message that began it is not in the evidence: deleted, or never kept because it carries a PIN"
    )]
    NoStart,
    /// What began it makes no sense.
    #[error("the message that began it cannot be read, or is not for this party to say")]
    Unreadable,
    /// It did not come to be, as far as the evidence tells.
    #[error("nothing in the evidence that is signed by whom it has to be says that it ran")]
    NeverRan,
    /// It was given up in favour of another EMP, or nobody heard that the card may charge.
    #[error("it was released: another EMP has it, or the CPO's backend no longer waited")]
    Released,
    /// Our party's other node led it.
    #[error("it was led by another node of {party} (slot {slot}): that one has to know it")]
    OtherNode {
        /// Our party.
        party: PartyId,
        /// Which of its nodes.
        slot: u8,
    },
}

/// The session that this evidence of a partner's log proves, if it is one between the two and our own signature is
/// under what decides: the ask of a session that our side began, else our side's yes, or, as CPO, a word of ours in it.
///
/// # Errors
/// [`NotRebuilt`].
pub fn rebuilt(
    evidence: &[u8],
    trust: &TrustList,
    session: &str,
    own: &OwnHand,
    partner: &PartyId,
) -> Result<LostSession, NotRebuilt> {
    let report = verified(evidence, trust, own)?;
    let said: Vec<&Said> = report.told.iter().filter_map(|told| told.said.as_ref()).collect();
    let is_between = |said: &&Said| {
        said.from == own.party && said.to == *partner || said.from == *partner && said.to == own.party
    };
    if report.session != session || report.party != *partner || !said.iter().all(is_between) {
        return Err(NotRebuilt::Foreign);
    }
    let talk = Talk { said: &said, own, partner };
    let start = talk.start(said.len() == report.told.len())?;
    if said.iter().any(|said| matches!(said.message, Some(SessionMessage::Release { .. }))) {
        return Err(NotRebuilt::Released);
    }
    let yes = talk.yes(&start);
    let sign = talk.sign_of_life(&start);
    let ran = yes.or(sign).ok_or(NotRebuilt::NeverRan)?;
    let decides = if start.asked_by_us { start.said } else { Some(ran) };
    let decides = decides.filter(|said| said.from == own.party).ok_or(NotRebuilt::NeverRan)?;
    if decides.slot != own.slot {
        return Err(NotRebuilt::OtherNode { party: own.party.clone(), slot: decides.slot });
    }
    Ok(LostSession { record: talk.record(session, &start, yes), refused_cdrs: talk.refused_cdrs() })
}

/// Checked like any evidence file; our own key is known without anybody else.
fn verified(evidence: &[u8], trust: &TrustList, own: &OwnHand) -> Result<EvidenceReport, NotRebuilt> {
    let parts = open_evidence(evidence)?.parts;
    let messages = parts.entries.iter().filter(|entry| entry.content.is_some()).count();
    let too_large = evidence.len() > BOOKS_EVIDENCE_BYTES_MAX;
    if too_large || messages > LOST_MESSAGES_MAX || parts.chains.len() > LOST_CHAINS_MAX {
        return Err(NotRebuilt::TooMany);
    }
    let mut trust = trust.clone();
    trust.pins.retain(|pin| pin.party != own.party);
    let sub_ids = std::collections::BTreeSet::new();
    trust.pins.push(Pin { party: own.party.clone(), org_key: own.org_key, sub_ids });
    Ok(verify_evidence(evidence, Some(&trust))?)
}

/// What began a session.
struct Start<'a> {
    /// The message; `None` if it was never kept because it carries a PIN.
    said: Option<&'a Said>,
    ask: MessageId,
    operation: SessionOperation,
    request: Option<ChargeRequest>,
    asked_by_us: bool,
    opened_unix_ms: u64,
    budget_ms: u32,
}

/// What the two said to each other.
struct Talk<'a> {
    said: &'a [&'a Said],
    own: &'a OwnHand,
    partner: &'a PartyId,
}

impl<'a> Talk<'a> {
    fn start(&self, is_whole: bool) -> Result<Start<'a>, NotRebuilt> {
        let start = self.said.iter().find_map(|said| match &said.message {
            Some(SessionMessage::Ask { operation, budget_ms, oicp, .. }) if operation.begins() => {
                Some((*said, *operation, *budget_ms, oicp))
            }
            _ => None,
        });
        let Some((said, operation, budget_ms, oicp)) = start else {
            return self.start_with_pin().filter(|_| !is_whole).ok_or(NotRebuilt::NoStart);
        };
        let request = ChargeRequest::parse(operation, oicp, Reading::Tolerant);
        let request = Some(request.map_err(|_| NotRebuilt::Unreadable)?);
        if said.from.role != asker_role(operation) || said.to.role == said.from.role {
            return Err(NotRebuilt::Unreadable);
        }
        let (ask, opened_unix_ms) = (said.id, said.created_unix_ms);
        let (said, asked_by_us) = (Some(said), said.from == self.own.party);
        Ok(Start { said, ask, operation, request, asked_by_us, opened_unix_ms, budget_ms })
    }

    /// A message with a PIN is in no log. That our EMP authorized it is, and says as much as is needed.
    fn start_with_pin(&self) -> Option<Start<'a>> {
        let operation = SessionOperation::AuthorizeStart;
        let authorizes = |said: &&&Said| {
            said.from == self.own.party
                && said.from.role == Role::Emp
                && said.to.role == Role::Cpo
                && answer_of(said).is_some_and(|oicp| said_yes(operation, oicp) == Some(true))
        };
        let yes = self.said.iter().find(authorizes)?;
        let (ask, opened_unix_ms) = (yes.reply_to?, yes.created_unix_ms);
        let (said, request, asked_by_us, budget_ms) = (None, None, false, 0);
        Some(Start { said, ask, operation, request, asked_by_us, opened_unix_ms, budget_ms })
    }

    /// The yes of whom the start asks: the answer to it, or, of a station, to the question what became of it.
    fn yes(&self, start: &Start<'_>) -> Option<&'a Said> {
        let asked = if start.asked_by_us { self.partner } else { &self.own.party };
        let is_ask = |id: MessageId| {
            let ask = |said: &&&Said| matches!(said.message, Some(SessionMessage::Ask { .. }));
            self.said.iter().filter(ask).any(|said| said.id == id)
        };
        let answers = |said: &Said| match said.reply_to {
            Some(id) if id == start.ask => true,
            // Such questions are in no log.
            Some(id) => start.operation != SessionOperation::AuthorizeStart && !is_ask(id),
            None => false,
        };
        let says_yes = |said: &Said| {
            let answer = answer_of(said);
            said.from == *asked
                && answers(said)
                && answer.is_some_and(|oicp| said_yes(start.operation, oicp) == Some(true))
        };
        self.said.iter().rev().copied().find(|said| says_yes(said))
    }

    /// A station of which its CPO speaks runs, whatever was said of its start. Whether a card may charge is the EMP's
    /// alone to say.
    fn sign_of_life(&self, start: &Start<'_>) -> Option<&'a Said> {
        let is_sign = |said: &&Said| {
            let tells = match &said.message {
                Some(SessionMessage::Ask { operation, .. }) => *operation == SessionOperation::Notification,
                Some(SessionMessage::Cdr { .. }) => true,
                _ => false,
            };
            tells && said.from.role == Role::Cpo
        };
        let of_station = start.operation != SessionOperation::AuthorizeStart;
        self.said.iter().copied().find(|said| of_station && is_sign(said))
    }

    fn record(&self, session: &str, start: &Start<'_>, yes: Option<&Said>) -> SessionRecord {
        let text = |reference: &Option<crate::oicp::charging::PartnerSessionId>| {
            reference.as_ref().map(|reference| reference.as_str().to_owned())
        };
        let opened_unix_ms = start.opened_unix_ms;
        let last = self.said.iter().map(|said| said.created_unix_ms).max();
        let request = start.request.as_ref();
        let medium = request.and_then(|request| request.identification()).map(|medium| medium.medium_key());
        let partners = request.map(|request| request.partners());
        let mut record = SessionRecord {
            session: session.to_owned(),
            operation: start.operation,
            asked_by_us: start.asked_by_us,
            ours: self.own.party.clone(),
            partner: Some(self.partner.clone()),
            phase: SessionPhase::Active,
            ask: start.ask,
            ask_expires_unix_ms: opened_unix_ms.saturating_add(u64::from(start.budget_ms)),
            evse: request.and_then(|request| request.evse()).map(|evse| evse.as_str().to_owned()),
            medium: medium.map(|medium| medium.expose().to_owned()),
            stop_media: Vec::new(),
            answer: yes.and_then(answer_of).cloned(),
            cpo_partner_session: partners.and_then(|partners| text(&partners.cpo)),
            emp_partner_session: partners.and_then(|partners| text(&partners.emp)),
            to_release: Vec::new(),
            seen: self.seen(),
            offline: false,
            to_tell_backend: false,
            via: Via::Direct,
            alias: None,
            opened_unix_ms,
            changed_unix_ms: last.unwrap_or(opened_unix_ms),
        };
        // As the side that asks about a card notes it.
        let authorized = start.asked_by_us && start.operation == SessionOperation::AuthorizeStart;
        let answer = record.answer.as_ref().filter(|_| authorized);
        if let Some(answer) = answer.and_then(|oicp| AuthorizationStart::read(oicp).ok()) {
            let media = answer.stop_identifications.iter();
            record.stop_media = media.map(|medium| medium.medium_key().expose().to_owned()).collect();
            record.emp_partner_session = text(&answer.partners.emp).or(record.emp_partner_session);
        }
        record
    }

    /// The partner's stops and notifications: none is carried out twice.
    fn seen(&self) -> Vec<MessageId> {
        let within = |said: &&&Said| {
            let asks =
                matches!(&said.message, Some(SessionMessage::Ask { operation, .. }) if !operation.begins());
            asks && said.from == *self.partner
        };
        let seen: Vec<MessageId> = self.said.iter().filter(within).map(|said| said.id).collect();
        seen[seen.len().saturating_sub(SEEN_MAX)..].to_vec()
    }

    fn refused_cdrs(&self) -> Vec<Digest> {
        let receipts = self.said.iter().filter(|said| said.from == self.own.party);
        let receipts = receipts.filter_map(|said| match &said.message {
            Some(SessionMessage::Receipts { receipts, .. }) => Some(receipts),
            _ => None,
        });
        let mut refused = Vec::new();
        for receipt in receipts.flatten().filter_map(|bytes| Receipt::read_stored(bytes).ok()) {
            refused.retain(|hash| *hash != receipt.cdr);
            if let ReceiptVerdict::Refused(_) = receipt.verdict {
                refused.push(receipt.cdr);
            }
        }
        refused
    }
}

fn answer_of(said: &Said) -> Option<&bytes::Bytes> {
    match &said.message {
        Some(SessionMessage::Outcome { outcome: AskOutcome::Answered(oicp), .. }) => Some(oicp),
        _ => None,
    }
}
