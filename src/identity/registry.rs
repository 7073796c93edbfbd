//! Registry: the credentials, tombstones, rotations and status lists that a node holds, of everybody.
//!
//! A set that only grows, united by hash (decisions.md 1), of tombstones and status lists only the highest.
//! Only what somebody trusted here vouches for is held, so that nobody else can fill it. Every check of a
//! chain asks it: is this dead, did this key follow that one, is somebody else already known by this id?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::credential::Credential;
use super::id::PartyId;
use super::key::PublicKey;
use super::purpose::Purpose;
use super::rotation::Rotation;
use super::sealed::{Hash, SealError, Verdict, Verified, peek};
use super::status_list::StatusList;
use super::tombstone::{Subject, Tombstone};
use super::trust_list::TrustList;

/// Parties that are held: ten times what the largest network plans with.
pub const PARTIES_MAX: usize = 20_000;
/// Credentials of one party by one issuer: a year each, and some that were replaced early.
pub const CREDENTIALS_PER_ISSUER_MAX: usize = 24;
/// Dead delegations of one party: of several hundred the highest epochs are kept.
pub const DEAD_DELEGATIONS_MAX: usize = 64;
/// Rotations of one party.
pub const ROTATIONS_MAX: usize = 32;

/// Why an object is not held.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// Damaged, forged, or signed by somebody who may not say it.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Of a purpose that does not belong here.
    #[error("a {} is not kept in the registry", .0.tag())]
    Purpose(Purpose),
    /// Nobody trusted here vouches for it.
    #[error("nobody trusted here vouches for it: add its issuer to the trust list, or pin the party")]
    Untrusted,
    /// A limit of this party or of all.
    #[error("there is no room: {0}")]
    Full(&'static str),
}

impl RegistryError {
    /// Whose fault it is (decisions.md 5).
    pub fn verdict(&self) -> Verdict {
        match self {
            RegistryError::Seal(error) => error.verdict(),
            RegistryError::Purpose(_) => Verdict::Reject,
            RegistryError::Untrusted | RegistryError::Full(_) => Verdict::Ignore,
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It is held from now on; what it outdoes no longer.
    New {
        /// Its name.
        hash: Hash,
        /// Whom it is about; an issuer's status list is about nobody alone.
        party: Option<PartyId>,
        /// What went for it.
        outdone: Option<Hash>,
    },
    /// It was held already.
    Known,
    /// Something higher is held.
    Outdone,
}

#[derive(Debug, Clone)]
enum Content {
    Credential(Box<Verified<Credential>>),
    Tombstone(Tombstone),
    Rotation(Rotation),
    StatusList(Verified<StatusList>),
}

#[derive(Debug, Clone)]
struct Item {
    bytes: Arc<[u8]>,
    content: Content,
    /// When this node first held it, Unix time.
    received_unix_s: u64,
}

/// What is held of one party.
#[derive(Debug, Clone, Default)]
struct OfParty {
    credentials: BTreeSet<Hash>,
    rotations: BTreeSet<Hash>,
    /// By subject: the epoch and the tombstone.
    dead: BTreeMap<Subject, (u64, Hash)>,
}

/// The set. Cheap to make, not to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    items: BTreeMap<Hash, Item>,
    parties: BTreeMap<PartyId, OfParty>,
    status_lists: BTreeMap<Hash, Hash>,
}

/// A party known by several org keys none of which follows another (decisions.md 20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdConflict {
    /// The id that both claim.
    pub party: PartyId,
    /// The key that goes on.
    pub incumbent: PublicKey,
    /// Those that are frozen.
    pub newcomers: BTreeSet<PublicKey>,
}

impl Registry {
    /// Nothing is known.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// Takes an object in, if it is in order and somebody trusted here vouches for it.
    ///
    /// # Errors
    /// [`RegistryError`]; ask its verdict.
    pub fn add(
        &mut self,
        bytes: &[u8],
        network: &str,
        trust: &TrustList,
        received_unix_s: u64,
    ) -> Result<Added, RegistryError> {
        if self.items.contains_key(&super::sealed::hash_of(bytes)) {
            return Ok(Added::Known);
        }
        let (hash, content) = match peek(bytes)?.purpose {
            Purpose::PartyCredential => {
                let credential = Credential::open(bytes, network)?;
                (*credential.hash(), Content::Credential(Box::new(credential)))
            }
            Purpose::Tombstone => {
                let tombstone = Tombstone::open(bytes, network)?;
                (*tombstone.hash(), Content::Tombstone(tombstone.into_content()))
            }
            Purpose::Rotation => {
                let rotation = Rotation::open(bytes, network)?;
                (*rotation.hash(), Content::Rotation(rotation.into_content()))
            }
            Purpose::StatusList => {
                let list = StatusList::open(bytes, network)?;
                (*list.hash(), Content::StatusList(list))
            }
            other => return Err(RegistryError::Purpose(other)),
        };
        let item = Item { bytes: bytes.into(), content, received_unix_s };
        match &item.content {
            Content::StatusList(_) => self.add_status_list(hash, item, trust),
            _ => self.add_of_party(hash, item, trust),
        }
    }

    fn add_status_list(
        &mut self,
        hash: Hash,
        item: Item,
        trust: &TrustList,
    ) -> Result<Added, RegistryError> {
        let Content::StatusList(list) = &item.content else { return Ok(Added::Outdone) };
        let issuer = *list.signer();
        if trust.issuer(&issuer).is_none() {
            return Err(RegistryError::Untrusted);
        }
        let held = self.status_lists.get(&issuer).copied();
        if self.status_list(&issuer).is_some_and(|held| held.seq >= list.seq) {
            return Ok(Added::Outdone);
        }
        self.status_lists.insert(issuer, hash);
        held.map(|held| self.items.remove(&held));
        self.items.insert(hash, item);
        Ok(Added::New { hash, party: None, outdone: held })
    }

    fn add_of_party(&mut self, hash: Hash, item: Item, trust: &TrustList) -> Result<Added, RegistryError> {
        let (party, issuer, org_key) = match &item.content {
            Content::Credential(c) => (c.terms.party.clone(), *c.signer(), c.terms.org_key),
            Content::Tombstone(t) => (t.party.clone(), t.issuer, t.org_key),
            Content::Rotation(r) => (r.party.clone(), r.issuer, r.old_key),
            Content::StatusList(_) => return Ok(Added::Outdone),
        };
        if !self.is_vouched_for(&party, &issuer, &org_key, trust) {
            return Err(RegistryError::Untrusted);
        }
        if self.parties.len() >= PARTIES_MAX && !self.parties.contains_key(&party) {
            return Err(RegistryError::Full("as many parties as can be are known"));
        }
        let of_issuer = self.credentials(&party).filter(|c| *c.signer() == issuer).count();
        let entry = self.parties.entry(party.clone()).or_default();
        let mut outdone = None;
        match &item.content {
            Content::Credential(_) if of_issuer >= CREDENTIALS_PER_ISSUER_MAX => {
                return Err(RegistryError::Full("this issuer vouches for the party too often"));
            }
            Content::Credential(_) => drop(entry.credentials.insert(hash)),
            Content::Rotation(_) if entry.rotations.len() >= ROTATIONS_MAX => {
                return Err(RegistryError::Full("the party has rotated its key too often"));
            }
            Content::Rotation(_) => drop(entry.rotations.insert(hash)),
            Content::Tombstone(tombstone) => match entry.bury(tombstone, hash) {
                Burial::Done(gone) => outdone = gone,
                Burial::Outdone => return Ok(Added::Outdone),
            },
            Content::StatusList(_) => {}
        }
        outdone.map(|gone| self.items.remove(&gone));
        self.items.insert(hash, item);
        Ok(Added::New { hash, party: Some(party), outdone })
    }

    /// Whether an issuer of the trust list stands behind it, or a pin on this key or on one that it follows.
    fn is_vouched_for(&self, party: &PartyId, issuer: &Hash, org_key: &PublicKey, trust: &TrustList) -> bool {
        let listed = trust.issuer(issuer);
        listed.is_some_and(|issuer| issuer.is_trusted_for(party.id.country(), party.role))
            || trust.pin(party).is_some_and(|pin| self.follows(party, &pin.org_key, org_key))
    }

    /// The object with this hash, as it was signed.
    pub fn bytes(&self, hash: &Hash) -> Option<&Arc<[u8]>> {
        self.items.get(hash).map(|item| &item.bytes)
    }

    /// The names of all objects, ascending.
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.items.keys()
    }

    /// How many objects are held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One hash over all names: equal at two nodes that hold the same.
    pub fn root(&self) -> Hash {
        let mut hasher = Sha256::new();
        self.items.keys().for_each(|hash| hasher.update(hash));
        hasher.finalize().into()
    }

    /// The parties that anything is held of.
    pub fn parties(&self) -> impl Iterator<Item = &PartyId> {
        self.parties.keys()
    }

    /// The credentials of a party, those that ended included.
    pub fn credentials(&self, party: &PartyId) -> impl Iterator<Item = &Verified<Credential>> {
        self.credentials_and_times(party).map(|(credential, _)| credential)
    }

    fn credentials_and_times(&self, party: &PartyId) -> impl Iterator<Item = (&Verified<Credential>, u64)> {
        let hashes = self.parties.get(party).into_iter().flat_map(|of| &of.credentials);
        hashes.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Credential(credential) => Some((credential.as_ref(), item.received_unix_s)),
            _ => None,
        })
    }

    /// The tombstones of a party.
    pub fn tombstones(&self, party: &PartyId) -> impl Iterator<Item = &Tombstone> {
        let dead = self.parties.get(party).into_iter().flat_map(|of| of.dead.values());
        dead.filter_map(|(_, hash)| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Tombstone(tombstone) => Some(tombstone),
            _ => None,
        })
    }

    /// The newest status list of an issuer.
    pub fn status_list(&self, issuer: &Hash) -> Option<&Verified<StatusList>> {
        match &self.items.get(self.status_lists.get(issuer)?)?.content {
            Content::StatusList(list) => Some(list),
            _ => None,
        }
    }

    /// Whether a credential is dead: itself, its org key, or by its issuer's list.
    pub fn is_credential_dead(&self, credential: &Verified<Credential>) -> bool {
        let terms = &credential.terms;
        let subjects =
            [Subject::Credential(*credential.hash()), Subject::OrgKey(*terms.org_key.as_bytes())];
        let buried = self.parties.get(&terms.party).is_some_and(|of| {
            subjects.iter().any(|subject| of.dead.contains_key(subject))
        });
        buried
            || self.status_list(credential.signer()).is_some_and(|list| list.is_revoked(credential.hash()))
    }

    /// Whether a delegation under this org key of this party is dead.
    pub fn is_delegation_dead(&self, party: &PartyId, org_key: &PublicKey, delegation: &Hash) -> bool {
        let of = self.parties.get(party);
        let buried = of.and_then(|of| of.dead.get(&Subject::Delegation(*delegation)));
        buried.and_then(|(_, hash)| self.items.get(hash)).is_some_and(|item| {
            matches!(&item.content, Content::Tombstone(tombstone) if tombstone.org_key == *org_key)
        })
    }

    /// Whether rotations lead from one org key of a party to another, or they are the same.
    pub fn follows(&self, party: &PartyId, from: &PublicKey, to: &PublicKey) -> bool {
        self.rotations_between(party, from, to).is_some()
    }

    /// How many rotations lead from one key to the other.
    fn rotations_between(&self, party: &PartyId, from: &PublicKey, to: &PublicKey) -> Option<usize> {
        let mut reached = BTreeMap::from([(*from.as_bytes(), 0)]);
        let mut waiting = vec![*from.as_bytes()];
        while let Some(key) = waiting.pop() {
            let steps = reached.get(&key).copied().unwrap_or(0);
            for rotation in self.rotations(party).filter(|r| r.old_key.as_bytes() == &key) {
                let next = *rotation.new_key.as_bytes();
                if !reached.contains_key(&next) {
                    reached.insert(next, steps + 1);
                    waiting.push(next);
                }
            }
        }
        reached.get(to.as_bytes()).copied()
    }

    /// The rotations of a party.
    pub fn rotations(&self, party: &PartyId) -> impl Iterator<Item = &Rotation> {
        let hashes = self.parties.get(party).into_iter().flat_map(|of| &of.rotations);
        hashes.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Rotation(rotation) => Some(rotation),
            _ => None,
        })
    }

    /// The keys under which a party is known at a time, where they are several and none follows another:
    /// who goes on, and who is frozen. The pinned one goes on, else the one that was held here first, else
    /// the one with more rotations behind it.
    pub fn id_conflict(&self, party: &PartyId, trust: &TrustList, at_unix_s: u64) -> Option<IdConflict> {
        let live = |credential: &Verified<Credential>| {
            credential.terms.expires_unix_s > at_unix_s
                && !self.is_credential_dead(credential)
                && self.is_vouched_for(party, credential.signer(), &credential.terms.org_key, trust)
        };
        let mut first_held: BTreeMap<PublicKey, u64> = BTreeMap::new();
        for (credential, received) in self.credentials_and_times(party).filter(|(c, _)| live(c)) {
            let first = first_held.entry(credential.terms.org_key).or_insert(received);
            *first = received.min(*first);
        }
        if first_held.len() < 2 {
            return None;
        }
        let pin = trust.pin(party).map(|pin| pin.org_key);
        let rank = |key: &PublicKey| {
            let pinned = pin.is_some_and(|pin| self.follows(party, &pin, key));
            let rotated = self.rotations(party).filter(|r| self.follows(party, &r.new_key, key)).count();
            // A key that follows another inherits the other's age.
            let ancestors = first_held.iter().filter(|(old, _)| self.follows(party, old, key));
            let since = ancestors.map(|(_, since)| *since).min().unwrap_or(u64::MAX);
            (!pinned, since, usize::MAX - rotated, *key.as_bytes())
        };
        let incumbent = *first_held.keys().min_by_key(|key| rank(key))?;
        let related = |key: &PublicKey| {
            self.follows(party, &incumbent, key) || self.follows(party, key, &incumbent)
        };
        let newcomers: BTreeSet<PublicKey> = first_held.into_keys().filter(|key| !related(key)).collect();
        (!newcomers.is_empty()).then(|| IdConflict { party: party.clone(), incumbent, newcomers })
    }
}

enum Burial {
    Done(Option<Hash>),
    Outdone,
}

impl OfParty {
    /// Keeps the highest tombstone per subject, and of dead delegations those with the highest epochs: both
    /// do not depend on the order of arrival.
    fn bury(&mut self, tombstone: &Tombstone, hash: Hash) -> Burial {
        let new = (tombstone.epoch, hash);
        match self.dead.get(&tombstone.subject) {
            Some(held) if *held >= new => return Burial::Outdone,
            Some((_, held)) => {
                let held = *held;
                self.dead.insert(tombstone.subject, new);
                return Burial::Done(Some(held));
            }
            None => {}
        }
        let delegations = || self.dead.iter().filter(|(s, _)| matches!(s, Subject::Delegation(_)));
        let is_delegation = matches!(tombstone.subject, Subject::Delegation(_));
        let mut gone = None;
        if is_delegation && delegations().count() >= DEAD_DELEGATIONS_MAX {
            let lowest = delegations().min_by_key(|(_, held)| **held).map(|(s, held)| (*s, *held));
            match lowest {
                Some((subject, held)) if held < new => {
                    self.dead.remove(&subject);
                    gone = Some(held.1);
                }
                _ => return Burial::Outdone,
            }
        }
        self.dead.insert(tombstone.subject, new);
        Burial::Done(gone)
    }
}
