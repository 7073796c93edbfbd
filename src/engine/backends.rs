//! The backends of our parties, as the engine calls them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::identity::PartyId;
use crate::protocol::SessionOperation;
use crate::roaming::BackendAnswer;

/// What a backend of ours is asked.
#[derive(Clone)]
pub struct BackendQuestion {
    /// Whose backend.
    pub party: PartyId,
    /// What.
    pub operation: BackendOperation,
    /// The id in the path: OperatorID or ProviderID of who asks, as it spells it; empty where the path has none.
    pub path_id: String,
    /// The OICP message.
    pub body: Bytes,
    /// How long the answer is waited for.
    pub timeout: Duration,
}

/// What a backend is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendOperation {
    /// Something of a session that goes on.
    Session(SessionOperation),
    /// To take a charge detail record.
    ChargeDetailRecord,
}

impl std::fmt::Debug for BackendQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the message: it names drivers.
        let BackendQuestion { party, operation, body, .. } = self;
        write!(f, "BackendQuestion({party}, {operation:?}, {} bytes)", body.len())
    }
}

/// Calls backends. A simulation brings its own.
pub trait Backends: Send + Sync + 'static {
    /// Asks once; never twice for one question.
    fn ask(&self, question: BackendQuestion) -> BoxFuture<'static, BackendAnswer>;
}

/// A node whose parties have no backend that could be asked.
pub struct NoBackends;

impl Backends for NoBackends {
    fn ask(&self, question: BackendQuestion) -> BoxFuture<'static, BackendAnswer> {
        let why = format!("{} has no backend in the settings: see [[outbound.backend]]", question.party);
        Box::pin(std::future::ready(BackendAnswer::NotSent(why)))
    }
}
