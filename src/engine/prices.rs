//! What operators push of prices.

use bytes::Bytes;

use super::handle::{Command, Engine, EngineError, PushOutcome};
use crate::identity::PartyId;
use crate::oicp::pricing::PushPrices;

impl Engine {
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
