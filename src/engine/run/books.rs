//! Accounts, as far as the engine has a part in them: it carries questions, and starts the tasks that answer.

use bytes::Bytes;

use super::super::accounts::{AccountsCommand, answer};
use super::super::sessions::quiet_sessions;
use super::Runner;
use crate::identity::PartyId;
use crate::protocol::BooksMessage;
use crate::roaming::reconcile::BooksServeId;
use crate::roaming::{CallId, Input};

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
}
