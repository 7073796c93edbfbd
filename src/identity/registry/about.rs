//! What the registry holds about some parties, to be handed on: whether a credential was valid at a time can be
//! judged from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::id::PartyId;
use super::super::sealed::Hash;
use super::{Item, OfParty, Registry};

impl Registry {
    /// Credentials, rotations and tombstones of these parties and the newest status lists of these issuers, as they
    /// were signed, in the order in which they came; at most `most`.
    pub fn about(
        &self,
        parties: &BTreeSet<PartyId>,
        issuers: &BTreeSet<Hash>,
        most: usize,
    ) -> Vec<Arc<[u8]>> {
        let of_party = |of: &Arc<OfParty>| -> Vec<Hash> {
            of.credentials().chain(of.rotations()).chain(of.tombstones()).copied().collect()
        };
        let held = parties.iter().filter_map(|party| self.parties.get(party)).flat_map(of_party);
        let lists = issuers.iter().filter_map(|issuer| self.status_lists.get(issuer)).copied();
        let mut items: Vec<&Arc<Item>> = held.chain(lists).filter_map(|hash| self.items.get(&hash)).collect();
        items.sort_by_key(|item| item.order);
        items.into_iter().take(most).map(|item| item.bytes.clone()).collect()
    }
}
