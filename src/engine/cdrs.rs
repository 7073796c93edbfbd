//! What backends and the hub say about sessions and charge detail records, from the facade to the core; and in numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::handle::{Command, Engine, EngineError};
use crate::identity::PartyId;
use crate::protocol::Digest;
use crate::roaming::{CallId, CdrArrival, ChargeRequest, EvseSeen, HttpAnswer, Input, Roaming};

/// Charge detail records that are not settled, by direction and state, and how many of them wait too long.
pub(super) type CdrCounts = (BTreeMap<String, u64>, u64);

/// Where the answer about a session goes.
pub(crate) type ChargeReply = oneshot::Sender<Result<HttpAnswer, EngineError>>;

/// What the central hub says.
pub(crate) enum HubWord {
    /// Something about a session.
    Asks { partner: PartyId, request: Box<ChargeRequest>, body: Bytes },
    /// A charge detail record.
    Cdr { partner: PartyId, arrival: Box<CdrArrival>, body: Bytes },
}

impl HubWord {
    /// For the core.
    pub(super) fn input(self, call: CallId) -> Input {
        match self {
            HubWord::Asks { partner, request, body } => Input::HubAsks { call, partner, request, body },
            HubWord::Cdr { partner, arrival, body } => Input::HubCdr { call, partner, arrival, body },
        }
    }
}

impl Engine {
    /// A backend asks about a session: authorization, remote start or stop, reservation, notification. Returns when
    /// the partner has answered, or at the deadline. A negative outcome is a value, not an error.
    pub async fn charge(
        &self,
        party: PartyId,
        request: ChargeRequest,
        body: Bytes,
        evse: Option<EvseSeen>,
    ) -> Result<HttpAnswer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(request);
        // The facade bounds how many there are: a burst waits for its turn, for a driver waits for the answer.
        let sent = self.commands.send(Command::Charge { party, request, body, evse, reply }).await;
        sent.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }

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

    /// The central hub asks about a session on behalf of a partner. A negative outcome is a value, not an error.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn hub_asks(
        &self,
        partner: PartyId,
        request: ChargeRequest,
        body: Bytes,
    ) -> Result<HttpAnswer, EngineError> {
        self.hub(HubWord::Asks { partner, request: Box::new(request), body }).await
    }

    /// The central hub brings a charge detail record of a CPO. Returns after the durable commit.
    ///
    /// # Errors
    /// [`EngineError`]; nothing was taken then.
    pub async fn hub_cdr(
        &self,
        partner: PartyId,
        arrival: CdrArrival,
        body: Bytes,
    ) -> Result<HttpAnswer, EngineError> {
        self.hub(HubWord::Cdr { partner, arrival: Box::new(arrival), body }).await
    }

    async fn hub(&self, word: HubWord) -> Result<HttpAnswer, EngineError> {
        let (reply, answer) = oneshot::channel();
        // The facade bounds how many there are.
        let sent = self.commands.send(Command::Hub { word, reply }).await;
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
