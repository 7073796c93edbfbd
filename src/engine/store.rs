//! Storage as the engine uses it: two writers and the read pool.

use std::pin::Pin;

use super::handle::EngineError;
use super::serve::Reading;
use crate::oicp::charging::SessionId;
use crate::protocol::SyncRequest;
use crate::roaming::change::{CdrFacts, CdrSubject, CdrsOfSession, DirectoryChange, LedgerChange};
use crate::storage::{Storage, StorageError};

/// A commit of the directory that is under way.
pub(crate) type DirectoryCommit = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>;

/// Both databases.
#[derive(Clone)]
pub(crate) struct Store(pub(crate) Storage);

impl Store {
    /// Commits promises durably.
    pub(crate) async fn commit_ledger(&self, changes: Vec<LedgerChange>) -> Result<(), EngineError> {
        // The ledger dates nothing: the time of its commit is of no interest.
        self.0.ledger.commit(changes, 0).await.map(drop).map_err(refused)
    }

    /// Commits what can be rebuilt.
    pub(crate) fn commit_directory(
        &self,
        changes: Vec<DirectoryChange>,
        now_unix_ms: u64,
    ) -> DirectoryCommit {
        let writer = self.0.directory.clone();
        // Queued here and now, so that commits keep their order; only the outcome is waited for.
        match writer.try_commit(changes, now_unix_ms) {
            Ok(committed) => Box::pin(async move {
                match committed.await {
                    Ok(outcome) => outcome.map(drop).map_err(refused),
                    Err(_) => Err(EngineError::Stopped),
                }
            }),
            Err(changes) => {
                Box::pin(async move { writer.commit(changes, now_unix_ms).await.map(drop).map_err(refused) })
            }
        }
    }

    /// Waits until what others publish is committed as far as it was queued: then pulls show it too.
    pub(crate) async fn settled(self) {
        self.0.directory.settled().await;
    }

    /// Reads the answer to a repair question.
    pub(crate) fn feed_answer(&self, request: SyncRequest) -> Reading {
        let reader = self.0.reader.clone();
        Box::pin(async move { reader.feed_answer(request).await.map_err(refused) })
    }

    /// Reads a session and its charge detail records; `None` if that failed, which is logged. And what the directory
    /// says of the subject.
    pub(crate) fn cdrs_of(
        &self,
        session: SessionId,
        subject: Option<CdrSubject>,
    ) -> impl Future<Output = (Option<CdrsOfSession>, Option<CdrFacts>)> + Send + 'static {
        let reader = self.0.reader.clone();
        async move {
            let failed =
                |error: &StorageError| tracing::warn!(%session, %error, "a session could not be looked up");
            let facts = match subject {
                None => None,
                Some(subject) => match reader.cdr_facts(subject).await {
                    Ok(facts) => Some(facts),
                    // There is too much to do just now: whoever asks comes again.
                    Err(error @ (StorageError::Busy | StorageError::Closed)) => {
                        failed(&error);
                        return (None, None);
                    }
                    // The directory is damaged, say: no reason not to take what is owed.
                    Err(error) => {
                        tracing::warn!(%session, %error, "a charge detail record is not held against its EVSE");
                        None
                    }
                },
            };
            let found = reader.cdrs_of(session.as_str().to_owned()).await;
            (found.inspect_err(failed).ok(), facts)
        }
    }

    /// Closes both databases in good order.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.0.close().await {
            tracing::error!(%error, "a database was not closed cleanly; nothing acknowledged is lost");
        }
    }
}

/// Storage refused.
pub(crate) fn refused(error: StorageError) -> EngineError {
    EngineError::Storage(error.to_string())
}
