//! ID watch: is one id claimed with several org keys, and who goes on (decisions.md 20)?

use std::collections::{BTreeMap, BTreeSet};

use super::super::ground::Ground;
use super::super::id::PartyId;
use super::super::key::PublicKey;
use super::super::tombstone::Subject;
use super::super::trust_list::TrustList;
use super::{IdConflict, Registry};

impl Registry {
    /// The keys under which a party is known at a time, where they are several and none follows another:
    /// who goes on, and who is frozen. The pinned one goes on, else of those that this node believes the one
    /// that was held here first, else the one with more rotations behind it. A key that one attester alone
    /// vouches for is named, and freezes nobody.
    pub fn id_conflict(&self, party: &PartyId, trust: &TrustList, at_unix_s: u64) -> Option<IdConflict> {
        self.conflict_with(party, None, trust, at_unix_s)
    }

    /// Whether somebody else goes by this id, so that a believed credential with this key does not count; also
    /// for one that is shown for the first time.
    pub(in super::super) fn is_frozen(
        &self,
        party: &PartyId,
        org_key: &PublicKey,
        trust: &TrustList,
        at_unix_s: u64,
    ) -> bool {
        let conflict = self.conflict_with(party, Some(org_key), trust, at_unix_s);
        conflict.is_some_and(|conflict| conflict.newcomers.contains(org_key))
    }

    fn conflict_with(
        &self,
        party: &PartyId,
        shown: Option<&PublicKey>,
        trust: &TrustList,
        at_unix_s: u64,
    ) -> Option<IdConflict> {
        let known = self.credentials(party).map(|credential| &credential.terms.org_key);
        let pin = trust.pin(party).map(|pin| pin.org_key);
        let keys: BTreeSet<&PublicKey> = known.chain(shown).chain(&pin).collect();
        if keys.len() < 2 {
            // As it nearly always is.
            return None;
        }
        let believed = self.claims(party, shown, trust, at_unix_s);
        let rank = |key: &PublicKey, is_believed: bool| {
            let pinned = pin.is_some_and(|pin| self.follows(party, &pin, key));
            let rotated = self.rotations(party).filter(|r| self.follows(party, &r.new_key, key)).count();
            (!pinned, !is_believed, self.held_since(party, key, trust), usize::MAX - rotated, *key)
        };
        let ranked = believed.iter().map(|(key, is_believed)| rank(key, *is_believed));
        let (.., incumbent) = ranked.min()?;
        let related =
            |key: &PublicKey| self.follows(party, &incumbent, key) || self.follows(party, key, &incumbent);
        let newcomers: BTreeSet<PublicKey> = believed.into_keys().filter(|key| !related(key)).collect();
        (!newcomers.is_empty()).then(|| IdConflict { party: party.clone(), incumbent, newcomers })
    }

    /// The keys of live credentials that somebody trusted vouches for, and whether that suffices to be
    /// believed. A pinned key is one even if no credential of it is held.
    fn claims(
        &self,
        party: &PartyId,
        shown: Option<&PublicKey>,
        trust: &TrustList,
        at_unix_s: u64,
    ) -> BTreeMap<PublicKey, bool> {
        let mut claims: BTreeMap<PublicKey, bool> = shown.map(|key| (*key, true)).into_iter().collect();
        for credential in self.credentials(party) {
            let live = credential.terms.expires_unix_s > at_unix_s && !self.is_credential_dead(credential);
            if live && self.source_of_credential(credential, trust).is_some() {
                let is_believed = Ground::of(credential, self, trust, at_unix_s).is_ok();
                *claims.entry(credential.terms.org_key).or_insert(false) |= is_believed;
            }
        }
        let pin = trust.pin(party).map(|pin| pin.org_key);
        if let Some(key) = pin.filter(|pin| !claims.keys().any(|key| self.follows(party, pin, key)))
            && !self.has_buried_itself(party, &key)
        {
            claims.insert(key, true);
        }
        claims
    }

    /// The place of the first credential with this key, or with one that it follows, in the order in which
    /// credentials were held here: neither renewal nor rotation makes a newcomer.
    fn held_since(&self, party: &PartyId, key: &PublicKey, trust: &TrustList) -> u64 {
        let held = self.credentials_in_order(party).filter(|(credential, _)| {
            self.source_of_credential(credential, trust).is_some()
                && self.follows(party, &credential.terms.org_key, key)
        });
        held.map(|(_, order)| order).min().unwrap_or(u64::MAX)
    }

    fn has_buried_itself(&self, party: &PartyId, key: &PublicKey) -> bool {
        let subject = Subject::OrgKey(*key.as_bytes());
        self.tombstones(party).any(|t| t.subject == subject && t.signer == *key.as_bytes())
    }

    /// Whether rotations lead from one org key of a party to another, or they are the same.
    pub fn follows(&self, party: &PartyId, from: &PublicKey, to: &PublicKey) -> bool {
        let mut reached = BTreeSet::from([*from]);
        let mut waiting = vec![*from];
        while let Some(key) = waiting.pop() {
            if key == *to {
                return true;
            }
            let next = self.rotations(party).filter(|r| r.old_key == key).map(|r| r.new_key);
            waiting.extend(next.filter(|next| reached.insert(*next)));
        }
        false
    }
}
