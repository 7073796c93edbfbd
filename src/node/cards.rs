//! Party cards: what Kademlia holds about a party, and how a node checks the cards of others before it
//! stores or believes them (`decisions.md` 22).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Deps, Identity};
use crate::engine::Clock;
use crate::identity::{PartyCard, Registry, TrustContext, Verdict, kad_key};
use crate::mesh::{self, CardCheck, CardFacts, CardRefusal, Mesh};
use crate::protocol::NodeId;
use crate::roaming::OurParty;

/// A card is valid for 48 hours; a new one is made after a quarter of that.
const RENEW_AFTER: Duration = Duration::from_secs(12 * 3_600);

/// Wait before a card is put again because nobody was there to take it.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Checks a card: key, chain, signature, and that it speaks of the node that signed it.
pub(super) fn check(network: &str, identity: &Identity, clock: Arc<dyn Clock>) -> CardCheck {
    let (network, trust) = (network.to_owned(), identity.trust.clone());
    Arc::new(move |key: &[u8; 32], value: &[u8]| {
        let at_unix_s = clock.now().unix_s();
        let registry = Registry::empty();
        let context = TrustContext { network: &network, trust: &trust, registry: &registry, at_unix_s };
        let verified = PartyCard::verify(value, None, &context).map_err(|error| match error.verdict() {
            Verdict::Reject => CardRefusal::Forged("its signature or its chain does not hold"),
            Verdict::Ignore => CardRefusal::Useless("it is expired, or nobody trusted here vouches for it"),
        })?;
        if verified.kad_key(&network) != *key {
            return Err(CardRefusal::Forged("it is filed under another party's key"));
        }
        let publisher = NodeId::from_bytes(verified.speaker().peer_id());
        Ok(CardFacts {
            seq: verified.card().seq,
            valid_for_s: verified.card().expires_unix_s.saturating_sub(at_unix_s),
            publisher: publisher.ok_or(CardRefusal::Forged("it names no node"))?,
            addresses: verified.card().addresses.clone(),
        })
    })
}

/// Publishes the cards of our parties, and renews them.
pub(super) fn start(
    network: &str,
    identity: &Identity,
    config: &mesh::Config,
    listening: &[String],
    mesh: &Mesh,
    deps: &Deps,
    stop: &CancellationToken,
) {
    let addresses = if config.announce.is_empty() { listening.to_vec() } else { config.announce.clone() };
    let publisher = Publisher {
        network: network.to_owned(),
        parties: identity.parties.clone(),
        addresses,
        mesh: mesh.clone(),
        clock: deps.clock.clone(),
    };
    let stop = stop.clone();
    deps.spawner.task(Box::pin(async move {
        while !stop.is_cancelled() {
            let wait = if publisher.publish().await { RENEW_AFTER } else { RETRY_AFTER };
            let _stopped = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }));
}

struct Publisher {
    network: String,
    parties: Vec<OurParty>,
    addresses: Vec<String>,
    mesh: Mesh,
    clock: Arc<dyn Clock>,
}

impl Publisher {
    /// Whether there was somebody to take the cards.
    async fn publish(&self) -> bool {
        for party in &self.parties {
            let now_s = self.clock.now().unix_s();
            let mut card = PartyCard::of_chain(&party.chain, now_s, now_s);
            card.addresses.clone_from(&self.addresses);
            let key = kad_key(&self.network, &party.party, party.speaker.slot());
            let put = match card.issue(&self.network, &party.message_key) {
                Ok(bytes) => self.mesh.put_card(key, bytes.into()).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = put {
                tracing::warn!(party = %party.party, error, "the party card was not published");
            }
        }
        self.mesh.peers().await.is_ok_and(|peers| !peers.is_empty())
    }
}
