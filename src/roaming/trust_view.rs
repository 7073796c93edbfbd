//! Who is who, for people: for each party who vouches for it and until when, and what is wrong with it.

use super::Roaming;
use super::input::Now;
use std::sync::Arc;

use crate::identity::delegation::DELEGATION_VALIDITY_S_MAX;
use crate::identity::{
    Credential, IdConflict, IssuerClass, PartyId, PublicKey, Speaker, Subject, Tombstone, Verified,
};
use crate::protocol::Digest;

/// What a node knows of everybody.
#[derive(Clone, Debug, Default)]
pub struct TrustView {
    /// Version of this node's trust list.
    pub list_seq: u64,
    /// First second in which it is too old to be used, unix time.
    pub list_until_unix_s: u64,
    /// Objects in the registry.
    pub objects: u64,
    /// One hash over them: equal at two nodes that know the same.
    pub root: Digest,
    /// When a peer's registry was compared with ours last, in unix milliseconds; `None`: not since the start.
    pub compared_unix_ms: Option<u64>,
    /// Whether that is too long ago to start anything new with partners that are not pinned.
    pub is_stale: bool,
    /// The issuers of the trust list.
    pub issuers: Vec<IssuerSummary>,
    /// The parties that somebody trusted here vouches for, by their newest credential.
    pub parties: Vec<PartySummary>,
    /// Ids that several claim (decisions.md 20).
    pub conflicts: Vec<IdConflict>,
}

/// An issuer of the trust list.
#[derive(Clone, Debug)]
pub struct IssuerSummary {
    /// Its name there.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// How much its word counts.
    pub class: IssuerClass,
    /// Number of its newest status list.
    pub status_list_seq: Option<u64>,
    /// Until when its newest status list holds, unix time; none was ever seen: nothing is said.
    pub status_list_until_unix_s: Option<u64>,
}

/// How a party stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartyStanding {
    /// Believed.
    Live,
    /// Its credential has ended.
    Expired,
    /// Its credential or its key was declared dead.
    Revoked,
    /// The delegation that its node spoke with was declared dead, and no other is known here.
    DelegationDead,
    /// It claims an id that is known here under another key.
    Frozen,
    /// One attester vouches for it, and no other yet.
    OneAttester,
    /// Another org key has followed this one, and is in use.
    Replaced,
}

impl PartyStanding {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            PartyStanding::Live => "live",
            PartyStanding::Expired => "expired",
            PartyStanding::Revoked => "revoked",
            PartyStanding::DelegationDead => "delegation-dead",
            PartyStanding::Frozen => "frozen",
            PartyStanding::OneAttester => "one-attester",
            PartyStanding::Replaced => "replaced",
        }
    }
}

/// A party under one org key.
#[derive(Clone, Debug)]
pub struct PartySummary {
    /// Who.
    pub party: PartyId,
    /// Name in the commercial register, as it is vouched for.
    pub legal_name: String,
    /// Its org key.
    pub org_key: PublicKey,
    /// Who vouches for it: names of issuers, and `pinned here`.
    pub vouched_by: Vec<String>,
    /// Until when, unix time: the last of its credentials under this key.
    pub until_unix_s: u64,
    /// Further ids.
    pub sub_ids: Vec<String>,
    /// Rotations that led to other keys or to this one.
    pub rotations: u64,
    /// How it stands.
    pub standing: PartyStanding,
}

impl Roaming {
    /// Who is who.
    pub fn trust_view(&self, now: Now) -> TrustView {
        let (registry, trust) = (self.speakers.registry(), self.speakers.trust());
        let issuer = |issuer: &crate::identity::Issuer| IssuerSummary {
            name: issuer.name.clone(),
            key: issuer.key,
            class: issuer.class,
            status_list_seq: registry.status_list(issuer.key.as_bytes()).map(|list| list.seq),
            status_list_until_unix_s: registry
                .status_list(issuer.key.as_bytes())
                .map(|list| list.valid_until_unix_s),
        };
        TrustView {
            list_seq: trust.seq,
            list_until_unix_s: trust.valid_until_unix_s,
            objects: registry.len() as u64,
            root: self.speakers.registry_root_now(),
            compared_unix_ms: self.compared.map(|compared| compared.unix_ms),
            is_stale: !self.is_compared(now),
            issuers: trust.issuers.iter().map(issuer).collect(),
            parties: registry.parties().flat_map(|party| self.summaries(party, now)).collect(),
            conflicts: self.id_conflicts().cloned().collect(),
        }
    }

    /// One line for each org key of a party.
    fn summaries(&self, party: &PartyId, now: Now) -> Vec<PartySummary> {
        let registry = self.speakers.registry();
        let mut keys: Vec<PublicKey> = registry.credentials(party).map(|c| c.terms.org_key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().filter_map(|key| self.summary_of_key(party, key, now)).collect()
    }

    fn summary_of_key(&self, party: &PartyId, org_key: PublicKey, now: Now) -> Option<PartySummary> {
        let (registry, trust) = (self.speakers.registry(), self.speakers.trust());
        let all: Vec<&Verified<Credential>> =
            registry.credentials(party).filter(|c| c.terms.org_key == org_key).collect();
        let newest = all.iter().max_by_key(|c| (c.terms.expires_unix_s, *c.hash()))?;
        let holds = |c: &&&Verified<Credential>| {
            c.terms.expires_unix_s > now.unix_s() && !registry.is_credential_dead(c)
        };
        let issuers: Vec<_> = all.iter().filter(holds).filter_map(|c| trust.issuer(c.signer())).collect();
        let pinned = trust.pin(party).is_some_and(|pin| registry.follows(party, &pin.org_key, &org_key));
        let registrar = issuers.iter().any(|issuer| issuer.class == IssuerClass::Registrar);
        let mut vouched_by: Vec<String> = issuers.iter().map(|issuer| issuer.name.clone()).collect();
        vouched_by.sort_unstable();
        vouched_by.dedup();
        let frozen = self.id_conflicts.get(party).is_some_and(|c| c.newcomers.contains(&org_key));
        let standing = if all.iter().all(|c| registry.is_credential_dead(c)) {
            PartyStanding::Revoked
        } else if newest.terms.expires_unix_s <= now.unix_s() {
            PartyStanding::Expired
        } else if frozen {
            PartyStanding::Frozen
        } else if self.is_replaced(party, &org_key, now) {
            PartyStanding::Replaced
        } else if !pinned && !registrar && vouched_by.len() < 2 {
            PartyStanding::OneAttester
        } else if self.is_silenced(party, &org_key, now) {
            PartyStanding::DelegationDead
        } else {
            PartyStanding::Live
        };
        vouched_by.extend(pinned.then(|| "pinned here".to_owned()));
        Some(PartySummary {
            party: party.clone(),
            legal_name: newest.terms.legal_name.clone(),
            org_key,
            vouched_by,
            until_unix_s: newest.terms.expires_unix_s,
            sub_ids: newest.terms.sub_ids.iter().map(ToString::to_string).collect(),
            rotations: registry.rotations(party).count() as u64,
            standing,
        })
    }

    /// Whether a key that follows this one has a credential that holds.
    fn is_replaced(&self, party: &PartyId, org_key: &PublicKey, now: Now) -> bool {
        let registry = self.speakers.registry();
        let follows = |key: &PublicKey| key != org_key && registry.follows(party, org_key, key);
        registry.credentials(party).any(|credential| {
            let terms = &credential.terms;
            let begun = terms.not_before_unix_s <= now.unix_s();
            begun
                && terms.expires_unix_s > now.unix_s()
                && follows(&terms.org_key)
                && !registry.is_credential_dead(credential)
        })
    }

    /// Whether a delegation under this key was buried, not so long ago that it has ended by itself, and nobody
    /// is known here who speaks under another one.
    fn is_silenced(&self, party: &PartyId, org_key: &PublicKey, now: Now) -> bool {
        let buried = |tombstone: &Tombstone| {
            matches!(tombstone.subject, Subject::Delegation(_))
                && tombstone.signer == *org_key.as_bytes()
                && tombstone.since_unix_s.saturating_add(DELEGATION_VALIDITY_S_MAX) > now.unix_s()
        };
        let registry = self.speakers.registry();
        let alive = |speaker: &Arc<Speaker>| {
            speaker.org_key() == org_key
                && !registry.is_delegation_dead(party, org_key, speaker.delegation_hash())
        };
        registry.tombstones(party).any(buried)
            && !self.speakers.live(party, now.unix_s()).any(alive)
            && !self.speakers_for(party, now).any(alive)
    }
}
