//! Why something that a peer said is not taken.

use crate::protocol::Verdict;

/// Why something that came from the mesh was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not readable.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The chain behind it is wrong, or not trusted here.
    #[error("the sender's credential: {0}")]
    Chain(String),
    /// The sender is known and not trusted here.
    #[error("the sender is not trusted here")]
    Untrusted,
    /// Nobody told us who the sender is.
    #[error("the sender's credential is unknown")]
    UnknownSender,
    /// The sender may not say this.
    #[error("out of scope: {0}")]
    Scope(String),
    /// The head is older than what we have, or the same.
    #[error("already known")]
    Known,
    /// Signed outside the validity of its delegation, or in the future.
    #[error("signed at a time when it could not be")]
    Time,
    /// The writer showed two histories: frozen until a higher incarnation.
    #[error("the writer showed two histories")]
    Equivocation,
    /// The changes do not yield the signed root.
    #[error("the changes do not yield the signed root")]
    WrongRoot,
    /// Too many messages of this feed.
    #[error("too many messages of this feed")]
    RateLimit,
    /// What is known of the writer's revocation is too old.
    #[error("it is not known whether the writer was revoked: {0}")]
    Stale(super::Stale),
    /// This node does not hold such feeds, or no more of them.
    #[error("this node does not hold this feed")]
    NotHeld,
}

impl Refusal {
    /// Penalties only for what is wrong for everybody (`decisions.md` 5).
    pub fn verdict(&self) -> Verdict {
        match self {
            Refusal::Malformed(_) | Refusal::Scope(_) => Verdict::Reject,
            Refusal::Chain(_)
            | Refusal::Untrusted
            | Refusal::UnknownSender
            | Refusal::Known
            | Refusal::Time
            | Refusal::Equivocation
            | Refusal::WrongRoot
            | Refusal::RateLimit
            | Refusal::Stale(_)
            | Refusal::NotHeld => Verdict::Ignore,
        }
    }
}
