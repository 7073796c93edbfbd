//! Joins core and IO: collect, handle, commit, perform.

mod handle;

#[cfg(test)]
pub(crate) use handle::Command;
pub use handle::{ConflictView, Engine, EngineError, FeedView, HeldView, NodeView, PeerView, PushOutcome};
