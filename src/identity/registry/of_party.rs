//! What is held of one party, by name. Each who vouches for it (an issuer, or the pinned key itself) has
//! limits of his own; what is kept within them does not depend on the order of arrival where it matters.

use std::collections::BTreeMap;

use super::super::id::PartyId;
use super::super::sealed::Hash;
use super::super::tombstone::Subject;
use super::{
    CREDENTIALS_PER_ISSUER_MAX, DEAD_CREDENTIALS_MAX, DEAD_DELEGATIONS_MAX, ROTATIONS_MAX, SUB_GRANTS_MAX,
};

/// Names of what is held; `source` is who vouches for it.
#[derive(Debug, Clone, Default)]
pub(super) struct OfParty {
    /// Credential and source, ascending. Most parties have one, and a map takes room for eleven.
    credentials: Vec<(Hash, Hash)>,
    /// One per pair of keys: the signer could write as many as it likes.
    rotations: BTreeMap<RotationPlace, Hash>,
    /// The highest per subject and signer: who may not bury something cannot outdo who may.
    dead: BTreeMap<DeadPlace, (u64, Hash)>,
    /// The highest per grantee and org key.
    sub_grants: BTreeMap<GrantPlace, (u64, Hash)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RotationPlace {
    old_key: Hash,
    new_key: Hash,
    source: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DeadPlace {
    subject: Subject,
    signer: Hash,
    source: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GrantPlace {
    grantee: PartyId,
    org_key: Hash,
    source: Hash,
}

/// What is to be held.
pub(super) enum Entry {
    Credential,
    /// Old and new key.
    Rotation(Hash, Hash),
    /// What is dead, who says so, epoch.
    Tombstone(Subject, Hash, u64),
    /// Who is allowed, by which org key, epoch.
    SubGrant(PartyId, Hash, u64),
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is held; what went for it.
    Held(Option<Hash>),
    Outdone,
    Full(&'static str),
}

impl OfParty {
    pub(super) fn take(&mut self, entry: Entry, source: Hash, hash: Hash) -> Taken {
        match entry {
            Entry::Credential => {
                let of_source = self.credentials.iter().filter(|(_, by)| *by == source).count();
                if of_source >= CREDENTIALS_PER_ISSUER_MAX {
                    return Taken::Full("this issuer vouches for the party too often");
                }
                match self.credentials.binary_search_by(|(held, _)| held.cmp(&hash)) {
                    Ok(_) => Taken::Outdone,
                    Err(at) => {
                        self.credentials.reserve_exact(1);
                        self.credentials.insert(at, (hash, source));
                        Taken::Held(None)
                    }
                }
            }
            Entry::Rotation(old_key, new_key) => {
                let place = RotationPlace { old_key, new_key, source };
                let full = Taken::Full("the party has rotated its key too often");
                let of_source = self.rotations.keys().filter(|place| place.source == source).count();
                replace(&mut self.rotations, place, hash, |hash| *hash, of_source < ROTATIONS_MAX, full)
            }
            Entry::SubGrant(grantee, org_key, epoch) => {
                let place = GrantPlace { grantee, org_key, source };
                let full = Taken::Full("the party lets too many others publish under its id");
                let of_source = self.sub_grants.keys().filter(|place| place.source == source).count();
                let room = of_source < SUB_GRANTS_MAX;
                replace(&mut self.sub_grants, place, (epoch, hash), |(_, hash)| *hash, room, full)
            }
            Entry::Tombstone(subject, signer, epoch) => {
                self.bury(DeadPlace { subject, signer, source }, (epoch, hash))
            }
        }
    }

    /// Keeps the highest per place, and of each source and sort those with the highest epochs.
    fn bury(&mut self, place: DeadPlace, new: (u64, Hash)) -> Taken {
        let is_delegation = |place: &DeadPlace| matches!(place.subject, Subject::Delegation(_));
        let most = if is_delegation(&place) { DEAD_DELEGATIONS_MAX } else { DEAD_CREDENTIALS_MAX };
        let alike =
            |other: &DeadPlace| other.source == place.source && is_delegation(other) == is_delegation(&place);
        let mut gone = None;
        if !self.dead.contains_key(&place) && self.dead.keys().filter(|other| alike(other)).count() >= most {
            let held = self.dead.iter().filter(|(other, _)| alike(other));
            match held.min_by_key(|(_, held)| **held).map(|(other, held)| (*other, *held)) {
                Some((lowest, held)) if held < new => {
                    self.dead.remove(&lowest);
                    gone = Some(held.1);
                }
                _ => return Taken::Outdone,
            }
        }
        match replace(&mut self.dead, place, new, |(_, hash)| *hash, true, Taken::Outdone) {
            Taken::Held(None) => Taken::Held(gone),
            other => other,
        }
    }

    /// Whether anything is held by the word of this source.
    pub(super) fn has_of(&self, source: &Hash) -> bool {
        self.credentials.iter().any(|(_, by)| by == source)
            || self.rotations.keys().any(|place| place.source == *source)
            || self.dead.keys().any(|place| place.source == *source)
            || self.sub_grants.keys().any(|place| place.source == *source)
    }

    pub(super) fn credentials(&self) -> impl Iterator<Item = &Hash> {
        self.credentials.iter().map(|(hash, _)| hash)
    }

    pub(super) fn rotations(&self) -> impl Iterator<Item = &Hash> {
        self.rotations.values()
    }

    pub(super) fn tombstones(&self) -> impl Iterator<Item = &Hash> {
        self.dead.values().map(|(_, hash)| hash)
    }

    pub(super) fn tombstones_of(&self, subject: Subject) -> impl Iterator<Item = &Hash> {
        let first = DeadPlace { subject, signer: Hash::default(), source: Hash::default() };
        let of_subject = self.dead.range(first..).take_while(move |(place, _)| place.subject == subject);
        of_subject.map(|(_, (_, hash))| hash)
    }

    pub(super) fn sub_grants(&self) -> impl Iterator<Item = &Hash> {
        self.sub_grants.values().map(|(_, hash)| hash)
    }
}

/// Puts the higher of two into a place, or the first one if there is room.
fn replace<K: Ord, V: Ord>(
    held: &mut BTreeMap<K, V>,
    place: K,
    new: V,
    name: impl Fn(&V) -> Hash,
    room: bool,
    full: Taken,
) -> Taken {
    match held.get_mut(&place) {
        Some(old) if *old >= new => Taken::Outdone,
        Some(old) => {
            let gone = name(old);
            *old = new;
            Taken::Held(Some(gone))
        }
        None if room => {
            held.insert(place, new);
            Taken::Held(None)
        }
        None => full,
    }
}
