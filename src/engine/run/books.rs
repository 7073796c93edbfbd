//! Accounts, as far as the engine has a part in them: it carries questions, and starts the tasks that answer.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::accounts::{AccountsCommand, answer};
use super::super::sessions::quiet_sessions;
use super::super::standing::Standing;
use super::Runner;
use crate::identity::PartyId;
use crate::protocol::BooksMessage;
use crate::roaming::reconcile::BooksServeId;
use crate::roaming::{CallId, FoundAgain, Input, LostFor, LostSession, OwnHand, rebuilt};

/// What a partner hears when storage fails: nothing of the inside of this node.
const NOT_READ: &str = "its storage cannot be read now";

impl Runner {
    pub(super) fn accounts_command(
        &mut self,
        call: CallId,
        command: AccountsCommand,
        inputs: &mut Vec<Input>,
    ) {
        match command {
            AccountsCommand::Ask { ours, partner, message, reply } => {
                self.books_calls.insert(call, reply);
                inputs.push(Input::AskBooks { call, ours, partner, message });
            }
            AccountsCommand::Resend { cdrs, reply } => {
                inputs.push(Input::ResendCdrs { cdrs });
                // The asker may have gone.
                let _gone = reply.send(());
            }
            AccountsCommand::TakeLost { ours, partner, session, evidence, reply } => {
                self.lost_calls.insert(call, reply);
                self.check_evidence(LostFor::Call(call), (ours, partner), session, evidence);
            }
            AccountsCommand::Quiet { before_unix_ms, reply } => {
                let _gone = reply.send(quiet_sessions(&self.parts.core, before_unix_ms));
            }
        }
    }

    /// A task reads what a partner asks of our common books.
    pub(super) fn serve_books(
        &self,
        serve: BooksServeId,
        (ours, partner): (PartyId, PartyId),
        message: BooksMessage,
        signed: Bytes,
    ) {
        let message = match message {
            BooksMessage::AskEvidence(session) => return self.read_evidence(serve, (ours, partner), session),
            BooksMessage::TakeEvidence { session, evidence } => {
                return self.check_evidence(LostFor::Partner(serve), (ours, partner), session, evidence);
            }
            other => other,
        };
        let (store, told) = (self.parts.store.clone(), self.parts.answered.clone());
        let now_unix_ms = self.parts.clock.now().unix_ms;
        self.parts.spawner.task(Box::pin(async move {
            let (message, again) =
                answer(&store, &ours, &partner, message, Some((signed, now_unix_ms))).await;
            let message = Box::new(message);
            // The engine may have stopped: then nobody waits for the answer.
            let _stopped = told.send(Input::BooksServed { serve, message }).await;
            if !again.is_empty() {
                let _stopped = told.send(Input::ResendCdrs { cdrs: again }).await;
            }
        }));
    }

    /// A task reads what the two said to each other in a session that the partner lost.
    fn read_evidence(&self, serve: BooksServeId, between: (PartyId, PartyId), session: String) {
        let (reader, told) = (self.parts.store.0.reader.clone(), self.parts.answered.clone());
        self.parts.spawner.task(Box::pin(async move {
            let answer = match reader.logged(session, Some(between)).await {
                Ok(logged) => Input::EvidenceRead { serve, logged: logged.map(Box::new) },
                Err(error) => {
                    tracing::warn!(%error, "evidence that a partner lacks was not read");
                    let message = Box::new(BooksMessage::Refused(NOT_READ.to_owned()));
                    Input::BooksServed { serve, message }
                }
            };
            let _stopped = told.send(answer).await;
        }));
    }

    /// A thread checks hundreds of signatures, if a partner likes; then storage says what it knows of the session.
    fn check_evidence(
        &self,
        waits: LostFor,
        (ours, partner): (PartyId, PartyId),
        session: String,
        evidence: Bytes,
    ) {
        let (store, told, threads) =
            (self.parts.store.clone(), self.parts.answered.clone(), self.parts.spawner.clone());
        let standing = self.parts.standings.borrow().clone();
        self.parts.spawner.task(Box::pin(async move {
            let (done, checked) = oneshot::channel();
            let name = session.clone();
            let work = Box::new(move || {
                // The task may have ended with the node.
                let _gone = done.send(proven(&standing, (&ours, &partner), &session, &evidence));
            });
            if let Err(error) = threads.thread("evidence-check", work) {
                tracing::warn!(%error, "no thread to check the evidence of a session");
            }
            let found = match checked.await.unwrap_or_else(|_| Err("it cannot be checked now".to_owned())) {
                Ok(lost) => match store.0.reader.cdrs_of(name.clone()).await {
                    Ok(stored) => Ok(Box::new(FoundAgain { lost, stored })),
                    Err(error) => {
                        tracing::warn!(%error, "a session that was lost could not be looked up");
                        Err(NOT_READ.to_owned())
                    }
                },
                Err(why) => {
                    tracing::debug!(session = %name, %why, "the evidence of a session proves none that is ours");
                    Err(why)
                }
            };
            let _stopped = told.send(Input::LostSession { waits, found }).await;
        }));
    }
}

/// What this evidence proves, to whom this node believes.
fn proven(
    standing: &Standing,
    (ours, partner): (&PartyId, &PartyId),
    session: &str,
    evidence: &[u8],
) -> Result<LostSession, String> {
    let own = standing.parties.iter().find(|own| own.party == *ours);
    let own = own.ok_or_else(|| format!("{ours} is no party of this node"))?;
    let (party, org_key, slot) = (own.party.clone(), *own.speaker.org_key(), own.speaker.slot());
    let own = OwnHand { party, org_key, slot };
    rebuilt(evidence, &standing.trust, session, &own, partner).map_err(|why| why.to_string())
}
