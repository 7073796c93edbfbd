//! How the exchange with the central hub goes, for people.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode as Http};
use axum::response::Response;
use serde_json::{Value, json};

use super::admin::{check_admin, json_answer};
use super::answer::Answer;
use super::server::Peer;
use super::shared::Shared;
use crate::tls::Use;

/// What is asked of the hub, and what came through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubView {
    /// EVSEs that came through it.
    pub evses: u64,
    /// The operations that were called.
    pub calls: Vec<HubCallView>,
}

/// How calls of one operation went last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubCallView {
    /// Its name.
    pub operation: &'static str,
    /// When it was last answered as it should, in unix milliseconds.
    pub answered_unix_ms: Option<u64>,
    /// When it last failed, in unix milliseconds, and why.
    pub failed: Option<(u64, String)>,
}

/// Tells how it goes; `None` without a hub.
pub type HubViews = Arc<dyn Fn() -> Option<HubView> + Send + Sync>;

/// `GET /admin/v1/hub`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Some(HubView { evses, calls }) = (shared.hub)() else {
        return Ok(json_answer(Http::OK, &json!({ "is_on": false })));
    };
    let certificates = shared.certificates.all();
    let ours = certificates.iter().filter(|used| used.what_for == Use::Hub);
    let until_s = ours.map(|used| used.certificate.not_after_unix_s).min();
    let call = |call: HubCallView| {
        let (failed_unix_ms, why) = call.failed.unzip();
        json!({
            "operation": call.operation, "answered_unix_ms": call.answered_unix_ms,
            "failed_unix_ms": failed_unix_ms, "why": why,
        })
    };
    let calls: Vec<Value> = calls.into_iter().map(call).collect();
    let body = json!({ "is_on": true, "evses": evses, "calls": calls, "certificate_until_unix_s": until_s });
    Ok(json_answer(Http::OK, &body))
}
