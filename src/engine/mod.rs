//! Joins core and IO: collect, handle, commit, perform. The only clock, and the only caller of
//! [`Roaming::handle`](crate::roaming::Roaming::handle).

mod accounts;
mod agreements;
mod backends;
mod cdrs;
mod clock;
mod events;
mod evidence;
mod gathered;
mod handle;
mod partners;
mod peer_view;
mod pins;
mod push;
mod run;
mod serve;
mod sessions;
mod spawner;
mod standing;
mod store;
mod tell;
mod view;
mod watchers;

pub use crate::protocol::{SessionOperation, SessionPhase};
pub use crate::roaming::statement::{Month, Statement, StatementError};
pub use crate::roaming::{AgreementRefusal, EvidenceRefusal, PersonalData};
pub use crate::roaming::{
    AuthenticationPush, BackendAnswer, CdrArrival, ChargeRequest, EvseSeen, HttpAnswer,
};
pub use accounts::{
    AccountError, Accounts, Alarm, AlarmKind, Alarms, CoSigned, DifferenceView, Reconciled,
    SessionDifferenceView, SessionsCompared, SignedView,
};
pub use agreements::{AgreementOutcome, AgreementView, NewOffer, PermissionView};
pub use backends::{BackendOperation, BackendQuestion, Backends, NoBackends};
pub use clock::{Clock, SystemClock};
pub use events::Event;
pub use evidence::LOG_LINES_MAX;
pub(crate) use handle::Command;
pub use handle::{
    ConflictView, Engine, EngineError, FeedView, IssuerView, NodeView, OwnPartyView, PartyView, PushOutcome,
    StatusListView, TrustSummary,
};
pub use peer_view::{HeldView, PartnerView, PeerView};
pub use pins::MEDIA_PULLED_MAX;
pub(crate) use run::{Parts, Restore, Runner};
pub use sessions::{CardsView, MessagesView, SESSIONS_SHOWN_MAX, SessionView};
pub use spawner::{Spawn, SystemSpawner, Task, Work};
pub(crate) use standing::{Identities, Standing, Standings};
pub(crate) use store::Store;
pub use view::TrustListView;
pub(crate) use watchers::Watchers;
pub use watchers::{Applied, AppliedChange};
