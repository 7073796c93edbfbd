//! What all handlers share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::auth::Access;
use super::body::BodyReader;
use super::directory::{Directory, Version};
use super::hub_view::HubViews;
use super::lanes::Lanes;
use super::metrics::Metrics;
use super::rates::Rates;
use super::snapshot::Snapshots;
use super::workers::Workers;
use crate::engine::{Accounts, Engine};
use crate::tls::InUse;

/// A clock: unix milliseconds. The engine's, so that ages are compared with one clock only.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Numbers of other parts of the node at a time in unix milliseconds.
pub type MoreGauges = Arc<dyn Fn(u64) -> Vec<super::MoreGauge> + Send + Sync>;

/// State of the facade.
pub(super) struct Shared {
    pub(super) access: Access,
    pub(super) bodies: BodyReader,
    pub(super) requests: Arc<Semaphore>,
    /// Places of requests about sessions: they wait long and hold little.
    pub(super) session_requests: Arc<Semaphore>,
    /// Turns of starts at looking their EVSE up.
    pub(super) evse_lookups: Semaphore,
    pub(super) answer_timeout: Duration,
    pub(super) lanes: Lanes,
    pub(super) workers: Workers,
    pub(super) snapshots: Snapshots<Snapshot>,
    pub(super) metrics: Metrics,
    pub(super) rates: Rates,
    /// Whether PullAuthenticationData, which OICP 2.3 has no more, is answered.
    pub(super) pull_authentication_data: bool,
    pub(super) engine: Engine,
    pub(super) accounts: Option<Accounts>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) now_unix_ms: Clock,
    /// Whether pulls of charge detail records show corrections.
    pub(super) pull_corrections: bool,
    pub(super) more_gauges: MoreGauges,
    pub(super) hub: HubViews,
    /// Certificates in use, the facade's and those of calls to others.
    pub(super) certificates: InUse,
    /// Places of those who listen to events.
    pub(super) event_listeners: Arc<Semaphore>,
    /// When it is cancelled, what would go on for ever ends.
    pub(super) stop: CancellationToken,
}

/// What the pages of one pull have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    pub(super) version: Version,
    /// Whether the history reached back to LastCall.
    pub(super) delta: bool,
}
