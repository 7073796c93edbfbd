//! Many sessions at once.

use std::collections::BTreeSet;
use std::time::Duration;

use chargemesh::backend::{Kind, Operation};

use super::stage::{REMOTE_START, Stage, remote_start};
use crate::support::runtime;

/// Sessions in flight: the figure.
const SESSIONS: usize = 2_000;

#[test]
fn two_thousand_sessions_in_flight_are_all_answered() {
    runtime().block_on(async {
        let stage = Stage::with(|_, plan| {
            plan.settings.charging.remote_ms = 60_000;
            plan.settings.charging.backend_patience_ms = 60_000;
        })
        .await;
        // Slow enough that all of them wait at the same time.
        stage.cpo.behave("slow=10000");
        let start =
            |number| stage.begins(Kind::Emp, REMOTE_START, remote_start(&format!("CH*ABC*E{number}")));
        let calls: Vec<_> = (0..SESSIONS).map(start).collect();
        let mut sessions = BTreeSet::new();
        let mut longest = Duration::ZERO;
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            longest = longest.max(answer.took);
            assert!(sessions.insert(answer.yes()), "{answer:?}");
        }
        println!("{SESSIONS} starts, the longest took {longest:?}");
        let active = |view: &serde_json::Value| view["session_counts"]["active"] == SESSIONS;
        for kind in [Kind::Cpo, Kind::Emp] {
            stage.until(kind, "all sessions to be active", active).await;
        }
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), SESSIONS);
        stage.end().await;
    });
}
