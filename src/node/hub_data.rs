//! The exchange of data with the central hub: started, and told to metrics.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::deps::Deps;
use super::error::NodeError;
use super::identity::Identity;
use crate::engine::{Engine, Store};
use crate::facade::{HubCallView, HubView, HubViews, MoreGauge, MoreGauges};
use crate::hub::{self, CallLog, Exchange, HubConfig, HubData, HubFigure};

/// Starts it, if there is a hub.
pub(super) async fn start(
    config: HubConfig,
    calls: &CallLog,
    (engine, store): (&Engine, &Store),
    identity: &Identity,
    deps: &Deps,
    stop: &CancellationToken,
) -> Result<Option<Exchange>, NodeError> {
    let data = HubData {
        config,
        parties: identity.parties.iter().map(|party| party.party.clone()).collect(),
        engine: engine.clone(),
        reader: store.0.reader.clone(),
        directory: store.0.directory.clone(),
        clock: deps.clock.clone(),
        spawner: deps.spawner.clone(),
        calls: calls.clone(),
        seed: deps.seed,
        stop: stop.clone(),
    };
    hub::start(data).await.map_err(NodeError::HubData)
}

/// What is counted of it.
pub(super) fn gauges(exchange: Option<Exchange>) -> MoreGauges {
    let gauge = |HubFigure { name, help, operation, value }| MoreGauge { name, help, operation, value };
    Arc::new(move |now_unix_ms| {
        let figures = exchange.iter().flat_map(|exchange| exchange.figures(now_unix_ms));
        figures.map(gauge).collect()
    })
}

/// How it goes, for people.
pub(super) fn views(exchange: Option<Exchange>, calls: CallLog) -> HubViews {
    Arc::new(move || {
        let evses = exchange.as_ref()?.evses();
        let call = |(operation, last): (&'static str, hub::LastCalls)| HubCallView {
            operation,
            answered_unix_ms: last.answered_unix_ms,
            failed: last.failed,
        };
        Some(HubView { evses, calls: calls.all().into_iter().map(call).collect() })
    })
}
