//! Joins core and IO: collect, handle, commit, perform. The only clock, and the only caller of
//! [`Roaming::handle`](crate::roaming::Roaming::handle).

mod agreements;
mod clock;
mod gathered;
mod handle;
mod run;
mod serve;
mod spawner;
mod standing;
mod store;
mod tell;
mod view;

pub use crate::roaming::AgreementRefusal;
pub use agreements::{AgreementOutcome, AgreementView, NewOffer, PermissionView};
pub use clock::{Clock, SystemClock};
pub use handle::{
    AppliedChange, ConflictView, Engine, EngineError, FeedView, HeldView, IssuerView, NodeView, OwnPartyView,
    PartyView, PeerView, PushOutcome, StatusListView, TrustListView, TrustSummary,
};
pub(crate) use handle::{Command, Watchers};
pub(crate) use run::{Parts, Restore, Runner};
pub use spawner::{Spawn, SystemSpawner, Task, Work};
pub(crate) use standing::{Standing, Standings};
pub(crate) use store::Store;
