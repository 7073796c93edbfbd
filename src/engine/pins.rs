//! What EMPs upload, and the PINs among it: they are compared on threads of their own, for that takes tens of
//! milliseconds, and the engine waits for nobody.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::handle::{Command, Engine, EngineError, PushOutcome};
use super::spawner::Spawn;
use crate::identity::PartyId;
use crate::oicp::charging::{HashedPin, Pin, ProviderMedia};
use crate::pins;
use crate::roaming::{AuthenticationPush, BackendCallId, Input};

/// Media that are told at once: copying them keeps the engine for some ten milliseconds.
pub const MEDIA_PULLED_MAX: usize = 100_000;

/// Threads that compare at once: no flood of questions takes all processors.
pub(super) const CHECKS_AT_ONCE: usize = 2;

impl Engine {
    /// Takes media of an EMP of this node, to answer for it. Returns after the durable commit.
    pub async fn push_authentication(
        &self,
        party: PartyId,
        push: AuthenticationPush,
    ) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::PushAuthentication { party, push, reply }).await?
    }

    /// The media of EMPs of this node that let a CPO of this node authorize; `None` if there are more than
    /// [`MEDIA_PULLED_MAX`].
    pub async fn pull_authentication(&self, cpo: PartyId) -> Result<Option<Vec<ProviderMedia>>, EngineError> {
        self.ask(|reply| Command::PullAuthentication { cpo, reply }).await
    }
}

/// Compares, and tells the engine.
pub(super) fn check(
    spawner: &Arc<dyn Spawn>,
    places: Arc<Semaphore>,
    told: mpsc::Sender<Input>,
    call: BackendCallId,
    (pin, hash): (Pin, HashedPin),
) {
    let threads = spawner.clone();
    spawner.task(Box::pin(async move {
        let Ok(_place) = places.acquire_owned().await else { return };
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            // The engine may have stopped.
            let _stopped = done.send(pins::matches(&pin, &hash));
        });
        if let Err(error) = threads.thread("pin-check", work) {
            tracing::warn!(%error, "no thread to compare a PIN; it counts as wrong");
        }
        let matches = result.await.unwrap_or(false);
        let _stopped = told.send(Input::PinChecked { call, matches }).await;
    }));
}
