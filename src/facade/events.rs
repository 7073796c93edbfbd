//! Events as they happen, as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode as Http};
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::unfold;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::admin::{check_admin, json_answer};
use super::answer::Answer;
use super::server::Peer;
use super::shared::Shared;

/// Who may listen at once.
pub(super) const LISTENERS_MAX: usize = 16;

/// `GET /admin/v1/events`: every event from now on. `event:` is its kind, `data:` a JSON object with `at_unix_ms`, `kind`
/// and `facts`. Who is too slow gets `missed` with how many; then ask for the state. 503 when 16 listen already.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    let Ok(place) = Arc::clone(&shared.event_listeners).try_acquire_owned() else {
        let why = format!("{LISTENERS_MAX} listen already: let one of them go");
        return Ok(json_answer(Http::SERVICE_UNAVAILABLE, &json!({ "refused": why })));
    };
    let events = shared.engine.events();
    let lines = unfold((events, place), |(mut events, place)| async move {
        let line = match events.recv().await {
            Ok(event) => line(event.kind, &json!(*event)),
            Err(RecvError::Lagged(missed)) => line("missed", &json!({ "missed": missed })),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<Line, Infallible>(line), (events, place)))
    });
    let lines = lines.take_until(shared.stop.clone().cancelled_owned());
    // A comment every 15 s, so that who has gone is noticed.
    Ok(Sse::new(lines).keep_alive(KeepAlive::default()).into_response())
}

fn line(kind: &str, data: &serde_json::Value) -> Line {
    Line::default().event(kind).data(data.to_string())
}
