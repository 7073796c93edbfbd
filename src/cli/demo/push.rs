//! Pushes to the nodes' facades over HTTP, as a backend does.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use chargemesh::oicp::acknowledgement::Acknowledgement;
use chargemesh::outbound::OutboundError;
use chargemesh::protocol::Kind;
use futures::stream::{self, StreamExt as _};

use super::nodes::{Network, PartyNode};
use super::screen::Screen;
use super::world::Bodies;

/// Operators that push at the same time: as many as keep two cores busy.
const PUSHES_AT_ONCE: usize = 4;

/// How often a push is tried if the node is busy.
const TRIES_MAX: u32 = 10;

/// Wait before the second try; doubles up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(100);

/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What the first full loads came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Data records sent.
    pub(super) records: usize,
    /// Of these, refused by the operator's own node.
    pub(super) records_refused: usize,
    /// Statuses sent.
    pub(super) statuses: usize,
    /// Of these, refused.
    pub(super) statuses_refused: usize,
}

/// Pushes every operator's data and then its statuses, several operators at a time.
pub(super) async fn everything(
    network: &Network,
    bodies: Vec<Bodies>,
    screen: &Screen,
) -> anyhow::Result<Pushed> {
    let pushes = network.cpos.iter().zip(bodies).map(|(cpo, bodies)| operator(cpo, bodies, screen));
    let mut running = stream::iter(pushes).buffer_unordered(PUSHES_AT_ONCE);
    let mut all = Pushed::default();
    while let Some(one) = running.next().await {
        let one = one?;
        all.records += one.records;
        all.records_refused += one.records_refused;
        all.statuses += one.statuses;
        all.statuses_refused += one.statuses_refused;
    }
    Ok(all)
}

async fn operator(cpo: &PartyNode, bodies: Bodies, screen: &Screen) -> anyhow::Result<Pushed> {
    let Bodies { data, records, status, statuses } = bodies;
    let mut pushed = Pushed { records, statuses, ..Pushed::default() };
    if !done(cpo, Kind::Data, data, screen).await? {
        pushed.records_refused = records;
    }
    if let Some(status) = status
        && !done(cpo, Kind::Status, status, screen).await?
    {
        pushed.statuses_refused = statuses;
    }
    Ok(pushed)
}

/// Pushes, and says on the screen why if it was refused; whether it was carried out.
pub(super) async fn done(cpo: &PartyNode, kind: Kind, body: Bytes, screen: &Screen) -> anyhow::Result<bool> {
    let answer = patiently(cpo, kind, body).await.with_context(|| format!("a push of {}", cpo.id))?;
    if !answer.result {
        let status = &answer.status;
        let info = status.additional_info.as_deref().unwrap_or_default();
        screen.line(&format!("{}: push of {} refused with {}: {info}", cpo.id, kind.name(), status.code));
    }
    Ok(answer.result)
}

/// Tries again while the node says that it is busy. A push is the same however often it is made, except an
/// insert, which a busy node has not begun.
async fn patiently(cpo: &PartyNode, kind: Kind, body: Bytes) -> Result<Acknowledgement, OutboundError> {
    let mut wait = WAIT_FIRST;
    let mut tries = 1;
    loop {
        let answer = match kind {
            Kind::Data => cpo.client.push_evse_data(&cpo.id, body.clone()).await,
            Kind::Status => cpo.client.push_evse_status(&cpo.id, body.clone()).await,
            Kind::Pricing => cpo.client.push_evse_pricing(&cpo.id, body.clone()).await,
        };
        match answer {
            Err(OutboundError::TryAgain { .. }) if tries < TRIES_MAX => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
                tries += 1;
            }
            other => return other,
        }
    }
}
