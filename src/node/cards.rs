//! Party cards: what Kademlia holds about a party, and how a node checks the cards of others before it
//! stores or believes them (`decisions.md` 22).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Deps;
use crate::engine::{Clock, Identities, Standing, Standings};
use crate::identity::{PartyCard, TrustContext, Verdict, kad_key};
use crate::mesh::{self, CardCheck, CardFacts, CardRefusal, Mesh};
use crate::protocol::NodeId;

/// A card is valid for 48 hours; a new one is made after a quarter of that.
const RENEW_AFTER: Duration = Duration::from_secs(12 * 3_600);

/// Wait before a card is put again because nobody was there to take it.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Checks a card: key, chain, signature, that it speaks of the node that signed it, and that nobody who may say so said
/// that it is dead. A bootstrap node knows of nobody, and keeps the card of a dead one until it ends.
pub(super) fn check(
    network: &str,
    standings: &Standings,
    identities: &Identities,
    clock: Arc<dyn Clock>,
) -> CardCheck {
    let (network, standing, known) = (network.to_owned(), standings.subscribe(), identities.subscribe());
    Arc::new(move |key: &[u8; 32], value: &[u8]| {
        let at_unix_s = clock.now().unix_s();
        let registry = known.borrow().clone();
        let standing = standing.borrow().clone();
        let trust = &standing.trust;
        let context = TrustContext { network: &network, trust, registry: &registry, at_unix_s };
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

/// Publishes the cards of our parties, renews them, and publishes them anew under a new delegation.
pub(super) fn start(
    network: &str,
    standings: &Standings,
    config: &mesh::Config,
    listening: &[String],
    mesh: &Mesh,
    deps: &Deps,
    stop: &CancellationToken,
) {
    let addresses = if config.announce.is_empty() { listening.to_vec() } else { config.announce.clone() };
    let mut standing = standings.subscribe();
    let mut publisher = Publisher {
        network: network.to_owned(),
        last_seq: 0,
        addresses,
        mesh: mesh.clone(),
        clock: deps.clock.clone(),
    };
    let stop = stop.clone();
    deps.spawner.task(Box::pin(async move {
        while !stop.is_cancelled() {
            let now = standing.borrow_and_update().clone();
            let wait = if publisher.publish(&now).await { RENEW_AFTER } else { RETRY_AFTER };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = standing.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }));
}

struct Publisher {
    network: String,
    /// Of the cards published last: a newer one needs a higher.
    last_seq: u64,
    addresses: Vec<String>,
    mesh: Mesh,
    clock: Arc<dyn Clock>,
}

impl Publisher {
    /// Whether there was somebody to take the cards.
    async fn publish(&mut self, standing: &Standing) -> bool {
        let now_s = self.clock.now().unix_s();
        self.last_seq = now_s.max(self.last_seq + 1);
        for party in &standing.parties {
            let mut card = PartyCard::of_chain(&party.chain, self.last_seq, now_s);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::watch;

    use super::*;
    use crate::engine::SystemClock;
    use crate::identity::{
        Chain, Credential, CredentialTerms, Dead, Delegation, Operation, PartyId, Pin, Registry, SecretKey,
        Tombstone, TrustList, hash_of,
    };

    const NETWORK: &str = "test";

    fn key(number: u8) -> SecretKey {
        SecretKey::from_seed(&[number; 32])
    }

    /// A party that vouches for itself, and a node of it.
    fn chain(now_s: u64) -> (PartyId, Chain) {
        let party = PartyId::parse("CPO:DEGEF").unwrap();
        let (not_before_unix_s, expires_unix_s) = (now_s - 60, now_s + 86_400);
        let terms = CredentialTerms {
            party: party.clone(),
            sub_ids: Vec::new(),
            legal_name: "GEF GmbH".to_owned(),
            register_number: String::new(),
            org_key: key(1).public(),
            next_org_key_hash: None,
            not_before_unix_s,
            expires_unix_s,
            serial: vec![1],
        };
        let credential = Credential::issue(NETWORK, &terms, "itself", &key(1)).unwrap();
        let delegation = Delegation {
            party: party.clone(),
            peer_id: mesh::node_id_of_seed(&[3; 32]).unwrap().as_bytes().to_vec(),
            message_key: key(2).public(),
            operations: Operation::ALL.into_iter().collect(),
            operations_unknown: BTreeSet::new(),
            prefixes: [party.id.clone()].into(),
            not_before_unix_s,
            expires_unix_s,
            epoch: 1,
            slot: 0,
        };
        let delegation = delegation.issue(NETWORK, &hash_of(&credential), &key(1)).unwrap();
        (party, Chain { credential, delegation })
    }

    #[test]
    fn the_card_of_a_dead_delegation_is_not_kept() {
        let clock = SystemClock::start();
        let now_s = clock.now().unix_s();
        let (party, chain) = chain(now_s);
        let pin = Pin { party: party.clone(), org_key: key(1).public(), sub_ids: BTreeSet::new() };
        let valid_until_unix_s = now_s + 86_400;
        let trust = TrustList { issuers: Vec::new(), pins: vec![pin], seq: 1, valid_until_unix_s };
        let standing = Standing { trust: trust.clone(), parties: Vec::new(), policy: Default::default() };
        let standings: Standings = watch::channel(Arc::new(standing)).0;
        let identities: Identities = watch::channel(Arc::new(Registry::empty())).0;
        let check = check(NETWORK, &standings, &identities, clock);
        let place = kad_key(NETWORK, &party, 0);
        let card = PartyCard::of_chain(&chain, now_s, now_s).issue(NETWORK, &key(2)).unwrap();
        assert!(check(&place, &card).is_ok());
        assert!(matches!(check(&[7; 32], &card), Err(CardRefusal::Forged(_))));

        let dead = Dead::Delegation(chain.delegation_hash());
        let buried = Tombstone::issue(NETWORK, &chain.credential, dead, 1, now_s, "stolen", &key(1)).unwrap();
        let mut registry = Registry::empty();
        registry.add(&buried, NETWORK, &trust).unwrap();
        identities.send_replace(Arc::new(registry));
        // Nobody who passes it on is to blame.
        assert!(matches!(check(&place, &card), Err(CardRefusal::Useless(_))));
    }
}
