//! Joins core and IO: collect, handle, commit, perform.

mod handle;

pub use handle::{ConflictView, Engine, EngineError, FeedView, HeldView, NodeView, PeerView, PushOutcome};
