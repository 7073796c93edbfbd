//! The log of messages as callers of the engine see it: its lines, files about a session, and the end of personal data.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::handle::{Command, Engine, EngineError, PushOutcome};
use crate::identity::PartyId;
use crate::protocol::evidence::LoggedSession;
use crate::roaming::{EvidenceRefusal, PersonalData};
use crate::storage::{Between, LogLine};

/// Most lines of the log in one answer: more than anybody reads at once.
pub const LOG_LINES_MAX: u32 = 1_000;

/// What callers can tell the engine about the log.
pub(crate) enum EvidenceCommand {
    Read {
        session: String,
        /// Only what these two said to each other.
        between: Between,
        reply: oneshot::Sender<Result<Option<LoggedSession>, EngineError>>,
    },
    Seal {
        logged: Box<LoggedSession>,
        /// For a partner that lost the session: as much as fits an envelope.
        is_for_partner: bool,
        reply: oneshot::Sender<Result<Bytes, EvidenceRefusal>>,
    },
    Lines {
        session: Option<String>,
        before: Option<u64>,
        most: u32,
        reply: oneshot::Sender<Result<Vec<LogLine>, EngineError>>,
    },
    IsLeft {
        before_unix_ms: u64,
        reply: oneshot::Sender<Result<bool, EngineError>>,
    },
    Erase {
        what: PersonalData,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
}

impl EvidenceCommand {
    /// Answers that it cannot be done now; true if nobody hears it.
    pub(crate) fn refuse(self, error: EngineError) -> bool {
        match self {
            EvidenceCommand::Read { reply, .. } => reply.send(Err(error)).is_err(),
            EvidenceCommand::Lines { reply, .. } => reply.send(Err(error)).is_err(),
            EvidenceCommand::IsLeft { reply, .. } => reply.send(Err(error)).is_err(),
            EvidenceCommand::Erase { reply, .. } => reply.send(Err(error)).is_err(),
            EvidenceCommand::Seal { .. } => false,
        }
    }
}

impl Engine {
    /// The file that proves a session ([`crate::protocol::evidence`]), sealed by its party of this node.
    ///
    /// # Errors
    /// [`EngineError`]; that there is nothing to prove is an `Ok`.
    pub async fn evidence_file(
        &self,
        session: String,
    ) -> Result<Result<Bytes, EvidenceRefusal>, EngineError> {
        self.sealed_evidence(session, None).await
    }

    /// The same for the partner of one of our parties, which lost the session: of what these two said to each other, as
    /// much as fits an envelope.
    pub(super) async fn evidence_for_partner(
        &self,
        session: String,
        (ours, partner): (PartyId, PartyId),
    ) -> Result<Result<Bytes, EvidenceRefusal>, EngineError> {
        self.sealed_evidence(session, Some((ours, partner))).await
    }

    async fn sealed_evidence(
        &self,
        session: String,
        between: Between,
    ) -> Result<Result<Bytes, EvidenceRefusal>, EngineError> {
        let is_for_partner = between.is_some();
        let of = |reply| EvidenceCommand::Read { session, between, reply };
        let Some(logged) = self.ask(|reply| Command::Evidence(of(reply))).await?? else {
            return Ok(Err(EvidenceRefusal::Nothing));
        };
        let logged = Box::new(logged);
        self.ask(|reply| Command::Evidence(EvidenceCommand::Seal { logged, is_for_partner, reply })).await
    }

    /// At most `most` (and [`LOG_LINES_MAX`]) lines of the log before a number (`None`: its end), the newest first; of
    /// one session only, if one is given.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn log_lines(
        &self,
        session: Option<String>,
        before: Option<u64>,
        most: u32,
    ) -> Result<Vec<LogLine>, EngineError> {
        let most = most.min(LOG_LINES_MAX);
        self.ask(|reply| Command::Evidence(EvidenceCommand::Lines { session, before, most, reply })).await?
    }

    /// Deletes personal data for good: messages with their salts, what sessions that are over know of drivers, and charge
    /// detail records. The log stays verifiable. Returns when all of it is gone.
    ///
    /// # Errors
    /// [`EngineError`]; a refusal is an `Ok`.
    pub async fn erase(&self, what: PersonalData) -> Result<PushOutcome, EngineError> {
        loop {
            let this = what.clone();
            let outcome =
                self.ask(|reply| Command::Evidence(EvidenceCommand::Erase { what: this, reply })).await??;
            let PersonalData::Before(before_unix_ms) = what else { return Ok(outcome) };
            // It goes in parts, so that nobody who charges waits for it.
            let of = |reply| EvidenceCommand::IsLeft { before_unix_ms, reply };
            if !outcome.result || !self.ask(|reply| Command::Evidence(of(reply))).await?? {
                return Ok(outcome);
            }
        }
    }
}
