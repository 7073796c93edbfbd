//! What operators push: EVSE data, statuses and prices.

use bytes::Bytes;

use super::handle::{Command, Engine, EngineError, PushOutcome};
use crate::identity::PartyId;
use crate::oicp::pricing::PushPrices;
use crate::oicp::push::{PushEvseData, PushEvseStatus};

impl Engine {
    /// Publishes EVSE data of a party of this node. Returns after the durable commit.
    pub async fn push_data(
        &self,
        party: PartyId,
        push: PushEvseData,
        body: Bytes,
    ) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::PushData { party, push, body, reply }).await?
    }

    /// Publishes EVSE statuses of a party of this node. Returns after the durable commit.
    pub async fn push_status(
        &self,
        party: PartyId,
        push: PushEvseStatus,
        body: Bytes,
    ) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::PushStatus { party, push, body, reply }).await?
    }

    /// Confirms a push that the guard rail held.
    pub async fn confirm(&self, held: u64) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::Confirm { held, reply }).await?
    }

    /// Publishes prices of a party of this node. Returns after the durable commit.
    pub async fn push_prices(
        &self,
        party: PartyId,
        push: PushPrices,
        body: Bytes,
    ) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::PushPrices { party, push, body, reply }).await?
    }
}
