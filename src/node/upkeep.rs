//! Regular work that nobody waits for: old versions are deleted when their history is over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Deps;
use crate::engine::Store;

/// How often old versions are looked for.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Rows deleted in one transaction, so that no commit waits long.
const ROWS_PER_COMMIT: u32 = 10_000;

/// Starts the task.
pub(super) fn start(store: &Store, deps: &Deps, stop: &CancellationToken) {
    let (directory, clock, stop) = (store.0.directory.clone(), deps.clock.clone(), stop.clone());
    deps.spawner.task(Box::pin(async move {
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            loop {
                match directory.prune(clock.now().unix_ms, ROWS_PER_COMMIT).await {
                    Ok(0) => break,
                    Ok(rows) => tracing::debug!(rows, "old versions were deleted"),
                    Err(error) => {
                        tracing::warn!(%error, "old versions could not be deleted; trying again in an hour");
                        break;
                    }
                }
            }
        }
    }));
}
