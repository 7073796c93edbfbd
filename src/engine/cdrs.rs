//! Charge detail records from the facade to the core, and in numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::handle::{Command, Engine, EngineError};
use crate::identity::PartyId;
use crate::protocol::Digest;
use crate::roaming::{CdrArrival, HttpAnswer, Roaming};

/// Charge detail records that are not settled, by direction and state, and how many of them wait too long.
pub(super) type CdrCounts = (BTreeMap<String, u64>, u64);

/// Where the answer about a session goes.
pub(crate) type ChargeReply = oneshot::Sender<Result<HttpAnswer, EngineError>>;

impl Engine {
    /// A CPO's backend brings a charge detail record, or a person the correction of one (`replaces`: the hash of the
    /// message that it takes the place of; `party`: `None` if it is the session's). Returns after the durable
    /// commit. A negative outcome is a value, not an error.
    ///
    /// # Errors
    /// [`EngineError`]; nothing was taken then.
    pub async fn charge_detail_record(
        &self,
        party: Option<PartyId>,
        arrival: CdrArrival,
        body: Bytes,
        replaces: Option<Digest>,
    ) -> Result<HttpAnswer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let arrival = Box::new(arrival);
        // The facade bounds how many there are.
        let sent = self.commands.send(Command::Cdr { party, arrival, body, replaces, reply }).await;
        sent.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }
}

/// How many are not settled, by direction and state, and how many of them wait too long.
pub(super) fn cdr_counts(core: &Roaming) -> CdrCounts {
    let (counts, overdue) = core.open_cdrs();
    let name = |incoming| if incoming { "received" } else { "sent" };
    let counts = counts
        .into_iter()
        .map(|((incoming, state), count)| (format!("{} {}", name(incoming), state.as_str()), count));
    (counts.collect(), overdue)
}
