//! No older trust list than one that was in use: whoever can put files back cannot undo what was withdrawn. The
//! ledger remembers it; a bootstrap node has none, and believes whatever its file says at a start.

use super::{Identity, NodeError};
use crate::engine::{EngineError, Store};
use crate::roaming::change::LedgerChange;

/// Compares a list with what this node has used of its signer.
///
/// # Errors
/// [`NodeError::TrustListRolledBack`]; [`NodeError::Restore`] if the ledger cannot be read.
pub(super) async fn check(store: &Store, identity: &Identity) -> Result<(), NodeError> {
    let Some(signer) = &identity.trust_signer else { return Ok(()) };
    let seen = store.0.reader.trust_list_seen(*signer.as_bytes()).await;
    let seen = seen.map_err(|error| NodeError::Restore(EngineError::Storage(error.to_string())))?;
    let seq = identity.trust.seq;
    if seq < seen { Err(NodeError::TrustListRolledBack { seq, seen }) } else { Ok(()) }
}

/// Remembers that a list is in use.
///
/// # Errors
/// [`EngineError`] if the ledger cannot be written.
pub(super) async fn note(store: &Store, identity: &Identity) -> Result<(), EngineError> {
    let Some(signer) = &identity.trust_signer else { return Ok(()) };
    let (signer, seq) = (*signer.as_bytes(), identity.trust.seq);
    if store.0.reader.trust_list_seen(signer).await.is_ok_and(|seen| seen == seq) {
        // Nothing to write at nearly every start.
        return Ok(());
    }
    store.commit_ledger(vec![LedgerChange::TrustListSeen { signer, seq }]).await
}
