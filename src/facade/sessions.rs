//! Sessions over the admin API: how far each has come, and with whom.

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode as Http};
use axum::response::Response;
use serde_json::json;

use super::admin::{check_admin, json_answer};
use super::answer::Answer;
use super::server::Peer;
use super::shared::Shared;
use crate::engine::{SESSIONS_SHOWN_MAX, SessionPhase};

/// `GET /admin/v1/sessions[?phase=PHASE]`: the sessions that changed last, the newest first, at most 1,000.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    check_admin(&shared, peer, &headers)?;
    match phase(query.as_deref().unwrap_or_default()) {
        Ok(phase) => {
            let sessions = shared.engine.sessions(phase).await?;
            let body = json!({ "sessions": sessions, "shown_max": SESSIONS_SHOWN_MAX });
            Ok(json_answer(Http::OK, &body))
        }
        Err(why) => Ok(json_answer(Http::BAD_REQUEST, &json!({ "refused": why }))),
    }
}

/// The phase that a query asks for; `in-doubt` has no space there.
fn phase(query: &str) -> Result<Option<SessionPhase>, String> {
    if query.is_empty() {
        return Ok(None);
    }
    let name = |phase: &SessionPhase| phase.as_str().replace(' ', "-");
    let asked = query.strip_prefix("phase=");
    let found = SessionPhase::ALL.into_iter().find(|phase| asked.is_some_and(|asked| asked == name(phase)));
    found.map(Some).ok_or_else(|| {
        let names: Vec<String> = SessionPhase::ALL.iter().map(name).collect();
        format!("the query may be phase=PHASE, with one of: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_and_what_is_none_is_told() {
        assert_eq!(phase(""), Ok(None));
        assert_eq!(phase("phase=active"), Ok(Some(SessionPhase::Active)));
        assert_eq!(phase("phase=in-doubt"), Ok(Some(SessionPhase::InDoubt)));
        for query in ["phase=", "phase=open", "active", "phase=active&x=1"] {
            assert!(phase(query).unwrap_err().contains("in-doubt, unconfirmed"), "{query}");
        }
    }
}
