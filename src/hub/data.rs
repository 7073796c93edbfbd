//! The two tasks that exchange EVSE data and status with the hub, and what they share.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::calls::CallLog;
use super::config::HubConfig;
use super::pace::Pace;
use super::peer::{HubFigure, HubFigures, Later, Peer};
use super::{pull, push};
use crate::engine::{Clock, Engine, Spawn};
use crate::identity::{PartyId, Role};
use crate::oicp::id::EvseKey;
use crate::outbound::{HubClient, OutboundError, Tls};
use crate::protocol::{Digest, Kind};
use crate::storage::{Acknowledged, Directory, Reader, StorageError, Writer};

/// What the tasks work with.
pub struct HubData {
    /// `[hub]`.
    pub config: HubConfig,
    /// The parties of this node.
    pub parties: Vec<PartyId>,
    /// Tells what our parties publish.
    pub engine: Engine,
    /// Reads the directory.
    pub reader: Reader,
    /// Writes what came through the hub.
    pub directory: Writer<Directory>,
    /// The node's clock.
    pub clock: Arc<dyn Clock>,
    /// Starts the tasks, and a thread for each page that is read.
    pub spawner: Arc<dyn Spawn>,
    /// Where it is noted how calls went.
    pub calls: CallLog,
    /// Seed of the jitter.
    pub seed: u64,
    /// Ends the tasks.
    pub stop: CancellationToken,
}

/// Why the exchange with the hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum HubStartError {
    /// The hub's URL or the certificates cannot be used.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// Storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Starts pushing and pulling; `None` without a hub, and then nothing is left of what came through it.
///
/// # Errors
/// [`HubStartError`].
pub async fn start(parts: HubData) -> Result<Option<Exchange>, HubStartError> {
    let HubData { config, parties, engine, reader, directory, clock, spawner, calls, seed, stop } = parts;
    let partners = config.ways().parties;
    let emps: Vec<PartyId> = partners.iter().filter(|party| party.role == Role::Emp).cloned().collect();
    directory.set_hub_partners(emps.clone()).await?;
    if !config.is_on() {
        return Ok(None);
    }
    let client = HubClient::with_tls(&config.url, None, &config.tls()?)?;
    let pace = Pace::new(config.limits.clone());
    let peer = Arc::new(Peer::new(client, pace, clock.clone(), HubFigures::new(calls)));
    let exchange = Exchange(peer.clone());
    let cpos: Vec<PartyId> = partners.iter().filter(|party| party.role == Role::Cpo).cloned().collect();
    let emp = emps.into_iter().next();
    let data =
        Arc::new(Data { config, parties, engine, reader, directory, clock, spawner: spawner.clone(), peer });
    if !cpos.is_empty() {
        let (data, stop) = (Arc::clone(&data), stop.clone());
        spawner.task(Box::pin(async move {
            // Nothing to say when it was stopped: what the hub took is noted after each push.
            stop.run_until_cancelled(push::run(data, cpos, seed)).await;
        }));
    }
    if let Some(emp) = emp {
        spawner.task(Box::pin(async move {
            stop.run_until_cancelled(pull::run(data, emp, seed.rotate_left(32))).await;
        }));
    }
    Ok(Some(exchange))
}

/// The exchange that runs; clones are the same one.
#[derive(Clone)]
pub struct Exchange(Arc<Peer>);

impl Exchange {
    /// What is counted of it, at a time in unix milliseconds.
    #[must_use]
    pub fn figures(&self, now_unix_ms: u64) -> Vec<HubFigure> {
        self.0.figures.all(now_unix_ms)
    }

    /// EVSEs that came through the hub.
    #[must_use]
    pub fn evses(&self) -> u64 {
        self.0.figures.evses()
    }

    /// Calls the hub with another certificate, or believes other roots, from now on; what is under way goes on.
    ///
    /// # Errors
    /// [`OutboundError`] if they cannot be used; then nothing changes.
    pub fn show(&self, url: &str, tls: &Tls) -> Result<(), OutboundError> {
        self.0.replace(HubClient::with_tls(url, None, tls)?);
        Ok(())
    }
}

/// What the two tasks share.
pub(super) struct Data {
    pub(super) config: HubConfig,
    parties: Vec<PartyId>,
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) directory: Writer<Directory>,
    clock: Arc<dyn Clock>,
    spawner: Arc<dyn Spawn>,
    pub(super) peer: Arc<Peer>,
}

impl Data {
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }

    /// Whether an EVSE's operator part is a party's id.
    pub(super) fn is_of(&self, key: &EvseKey, party: &PartyId) -> bool {
        key.operator() == party.id.as_str()
    }

    /// Whether an EVSE is one of this node's own CPOs: what the hub says of it is no news.
    pub(super) fn is_ours(&self, key: &EvseKey) -> bool {
        self.parties.iter().any(|party| party.role == Role::Cpo && self.is_of(key, party))
    }

    pub(super) async fn acknowledged(
        &self,
        party: &PartyId,
        kind: Kind,
    ) -> Result<BTreeMap<EvseKey, Digest>, Later> {
        self.reader.hub_acknowledged(party.clone(), kind).await.map_err(Data::stored)
    }

    pub(super) async fn acknowledge(&self, taken: Acknowledged) -> Result<(), Later> {
        self.directory.acknowledge(taken).await.map_err(Data::stored)
    }

    pub(super) async fn marks(&self) -> Result<BTreeMap<String, u64>, Later> {
        self.reader.hub_marks().await.map_err(Data::stored)
    }

    pub(super) async fn mark_of(
        &self,
        what: &str,
        party: &PartyId,
        kind: Kind,
    ) -> Result<Option<u64>, Later> {
        Ok(self.marks().await?.get(&name(what, party, kind)).copied())
    }

    pub(super) async fn set_mark(&self, what: &str, party: &PartyId, kind: Kind) -> Result<(), Later> {
        self.set_mark_named(&name(what, party, kind), self.now_ms()).await
    }

    pub(super) async fn set_mark_named(&self, name: &str, at_ms: u64) -> Result<(), Later> {
        self.directory.mark(name.to_owned(), at_ms).await.map_err(Data::stored)
    }

    /// Tells metrics how much came through the hub.
    pub(super) async fn count_bridged(&self) -> Result<(), Later> {
        let operators = self.reader.bridged_operators().await.map_err(Data::stored)?;
        self.peer.figures.bridged(operators.iter().map(|(_, count)| count).sum());
        Ok(())
    }

    /// Does what takes long on a thread of its own.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Later> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move || {
            // The node stops: nobody waits.
            let _gone = reply.send(work()).is_err();
        });
        self.spawner.thread("hub", work).map_err(|error| Later(error.to_string()))?;
        answer.await.map_err(|_| Later("a thread ended without an answer".to_owned()))
    }

    pub(super) fn stored(error: StorageError) -> Later {
        Later(error.to_string())
    }
}

fn name(what: &str, party: &PartyId, kind: Kind) -> String {
    format!("{what} {party} {}", kind.code())
}
