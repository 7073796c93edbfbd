//! The log of messages: every signed message that matters, as it was sent or received, at its place in a chain of
//! hashes. It is committed with what the message led to, before anybody hears of that.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Session;
use crate::identity::evidence_seal::EVIDENCE_ENTRIES_MAX;
use crate::identity::{Chain, Credential, Envelope, EvidenceSeal, PartyId};
use crate::oicp::charging::SessionId;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::evidence::{
    Direction, EVIDENCE_CHAINS_MAX, EVIDENCE_OBJECTS_MAX, EvidenceEntry, LogTail, LoggedSession,
    SaltedMessage, carries_pin, content_hash, is_evidence, leaf_hash, what_is_said,
};
use crate::protocol::{Digest, SessionMessage};
use crate::roaming::Roaming;
use crate::roaming::change::{LedgerChange, NewEvidence, PersonalData};
use crate::roaming::effect::{Action, Effects};
use crate::roaming::input::{CallId, Now};

/// Chains that are remembered as stored: beyond that they are handed to storage again, which has them.
const CHAINS_REMEMBERED_MAX: usize = 4_096;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The end of the log.
#[derive(Debug, Default)]
pub(super) struct Log {
    tail: LogTail,
    /// Delegations whose chains are stored.
    chains: BTreeSet<Digest>,
}

/// A message and whose it is.
pub(super) struct Letter<'a> {
    pub(super) direction: Direction,
    pub(super) ours: &'a PartyId,
    pub(super) partner: &'a PartyId,
    pub(super) message: &'a SessionMessage,
    /// The envelope as it was signed.
    pub(super) bytes: &'a Bytes,
}

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceRefusal {
    /// Nothing is logged about the session.
    #[error("nothing is logged about this session")]
    Nothing,
    /// The party of the log is none of this node any more.
    #[error("the party whose messages these are is none of this node: nobody here can sign the file")]
    OtherParty,
    /// More than fits a file.
    #[error("the log holds more about this session than one file can: {EVIDENCE_ENTRIES_MAX} entries")]
    TooLarge,
    /// More than fits an envelope.
    #[error("what the log holds about this session is too large to be sent: export it and take it there")]
    TooLargeToSend,
}

impl Roaming {
    /// The end of the log as storage remembers it.
    pub(in crate::roaming) fn reload_log(&mut self, tail: LogTail) {
        self.charging.log = Log { tail, chains: BTreeSet::new() };
    }

    /// Number and hash of the log's last entry.
    pub fn log_head(&self) -> (u64, Digest) {
        let head = self.charging.log.tail.head();
        (head.number, head.hash)
    }

    /// A message that a party of ours signed goes out.
    pub(super) fn log_ours(&mut self, letter: &Letter<'_>, now: Now, fx: &mut Effects) {
        let Some(speaker) = self.parties.get(letter.ours).map(|ours| ours.speaker.clone()) else { return };
        if self.is_logged(letter, now) {
            self.log(letter, speaker.delegation_hash(), now, fx);
        }
    }

    /// A message between two parties of this node: it is signed for the log alone.
    pub(super) fn log_within(
        &mut self,
        ours: &PartyId,
        envelope: &Envelope,
        message: &SessionMessage,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(own) = self.parties.get(ours).filter(|_| is_evidence(message)) else { return };
        // It goes nowhere, so it names this node itself.
        let envelope = &Envelope { node: own.speaker.peer_id().to_vec(), ..envelope.clone() };
        if let Some(bytes) = self.sealed(ours, envelope) {
            let (direction, partner) = (Direction::Within, &envelope.to);
            self.log_ours(&Letter { direction, ours, partner, message, bytes: &bytes }, now, fx);
        }
    }

    /// A partner's message came, verified.
    pub(super) fn log_received(&mut self, letter: &Letter<'_>, signer: &Digest, now: Now, fx: &mut Effects) {
        if self.is_logged(letter, now) {
            self.log(letter, signer, now, fx);
        }
    }

    /// Whether a message goes into the log: it matters, and it is about a session that is known here or comes from a
    /// partner. A stranger cannot fill the disk.
    fn is_logged(&self, letter: &Letter<'_>, now: Now) -> bool {
        let Some(id) = SessionId::parse(letter.message.session()) else { return false };
        let known = self.charging.sessions.contains_key(&id) || letter.direction == Direction::Within;
        is_evidence(letter.message) && (known || self.is_partner(letter.partner, now))
    }

    fn log(&mut self, letter: &Letter<'_>, signer: &Digest, now: Now, fx: &mut Effects) {
        let Letter { direction, ours, partner, message, bytes } = *letter;
        self.log_chain(signer, fx);
        let (salt, at_unix_ms) = (self.random_16(), now.unix_ms);
        let content_hash = content_hash(&salt, bytes);
        let leaf = leaf_hash(at_unix_ms, direction, message.session(), &content_hash);
        let place = self.charging.log.tail.append(leaf);
        let entry = EvidenceEntry {
            number: place.number,
            at_unix_ms,
            direction,
            content_hash,
            content: (!carries_pin(message)).then(|| SaltedMessage { salt, message: bytes.clone() }),
            previous: place.previous,
            skipped: place.skipped,
        };
        fx.ledger.push(LedgerChange::Evidence(Box::new(NewEvidence {
            entry,
            hash: place.hash(),
            session: message.session().to_owned(),
            ours: ours.clone(),
            partner: partner.clone(),
            signer: *signer,
            what: what_is_said(message),
        })));
    }

    /// Keeps the chain of who signs, once.
    fn log_chain(&mut self, delegation: &Digest, fx: &mut Effects) {
        if self.charging.log.chains.contains(delegation) {
            return;
        }
        let own = self.parties.values().find(|ours| ours.speaker.delegation_hash() == delegation);
        let chain = own.map(|ours| &ours.chain).or_else(|| self.speakers.chain(delegation));
        let Some(chain) = chain.or_else(|| self.introduced_chain(delegation)).cloned() else { return };
        if self.charging.log.chains.len() >= CHAINS_REMEMBERED_MAX {
            self.charging.log.chains.clear();
        }
        self.charging.log.chains.insert(*delegation);
        fx.ledger.push(LedgerChange::EvidenceChain { delegation: *delegation, chain });
    }

    /// Makes the file about a session: what the log holds, what the registry holds about who signed, sealed.
    ///
    /// # Errors
    /// [`EvidenceRefusal`].
    pub fn evidence_file(&self, logged: LoggedSession, now: Now) -> Result<Bytes, EvidenceRefusal> {
        let LoggedSession { session, party, head, mut parts } = logged;
        let ours = self.parties.get(&party).ok_or(EvidenceRefusal::OtherParty)?;
        if !parts.chains.contains(&ours.chain) {
            parts.chains.push(ours.chain.clone());
        }
        if parts.entries.len() > EVIDENCE_ENTRIES_MAX || parts.chains.len() > EVIDENCE_CHAINS_MAX {
            return Err(EvidenceRefusal::TooLarge);
        }
        parts.registry = self.facts_about(&parts.chains);
        let encoded = parts.encode();
        let seal = EvidenceSeal {
            party,
            session,
            made_unix_ms: now.unix_ms,
            head_number: head.number,
            head_hash: head.hash,
            entries: parts.entries.iter().map(|entry| entry.number).collect(),
            sections: encoded.hashes(),
        };
        let seal = seal.issue(self.speakers.network(), &ours.speaker, &ours.message_key);
        seal.map(|seal| encoded.into_file(&seal).into()).map_err(|_| EvidenceRefusal::TooLarge)
    }

    /// What the registry holds about the parties of these chains, and whom their issuers declared dead.
    fn facts_about(&self, chains: &[Chain]) -> Vec<Bytes> {
        let opened = chains
            .iter()
            .filter_map(|chain| Credential::open(&chain.credential, self.speakers.network()).ok());
        let (mut parties, mut issuers) = (BTreeSet::new(), BTreeSet::new());
        for credential in opened {
            issuers.insert(*credential.signer());
            parties.insert(credential.into_content().terms.party);
        }
        let held = self.speakers.registry().about(&parties, &issuers, EVIDENCE_OBJECTS_MAX);
        held.into_iter().map(|object| Bytes::copy_from_slice(&object)).collect()
    }

    /// The operator has personal data deleted; of a session that goes on it is still needed.
    pub(in crate::roaming) fn erase(&mut self, call: CallId, what: PersonalData, fx: &mut Effects) {
        let open = |session: &Session| !session.record.phase.is_over();
        let is_open = match &what {
            PersonalData::Session(id) => {
                let held = SessionId::parse(id).and_then(|id| self.charging.sessions.get(&id));
                held.is_some_and(open)
            }
            PersonalData::Before(_) => false,
        };
        let (result, status) = match is_open {
            true => {
                let info = "the session is not over: what it knows is still needed";
                (false, StatusCode::with_info(Code::DataError, info))
            }
            false => {
                self.forget_drivers(&what);
                fx.ledger.push(LedgerChange::PersonalDataErased(what));
                (true, StatusCode::with_info(Code::Success, "deleted; the log stays verifiable"))
            }
        };
        fx.actions.push(Action::Reply { call, result, status });
    }

    /// What is held in memory of sessions that are over is not to be stored again.
    fn forget_drivers(&mut self, what: &PersonalData) {
        for session in self.charging.sessions.values_mut() {
            let record = &mut session.record;
            let meant = match what {
                PersonalData::Session(id) => record.session == *id,
                PersonalData::Before(unix_ms) => record.changed_unix_ms < *unix_ms,
            };
            if meant && record.phase.is_over() {
                record.forget_driver();
            }
        }
    }

    /// What is older than the settings allow is deleted, some at a time.
    pub(super) fn erase_old(&mut self, now: Now, fx: &mut Effects) {
        let kept_ms = self.charging.config.personal_data_days.saturating_mul(DAY_MS);
        if kept_ms == 0 || self.charging.log.tail.head().number == 0 {
            return;
        }
        if let Some(before) = now.unix_ms.checked_sub(kept_ms) {
            fx.ledger.push(LedgerChange::PersonalDataErased(PersonalData::Before(before)));
        }
    }
}
