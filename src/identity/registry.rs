//! Registry: the credentials, tombstones, rotations and status lists that a node holds, of everybody.
//!
//! A set that only grows, united by hash (decisions.md 1); of tombstones, grants and status lists only the
//! highest. Only what somebody trusted here vouches for is held, so that nobody else can fill it; and each who
//! is trusted has limits of his own, so that one rogue takes no room from others. Every check of a chain asks
//! it: is this dead, did this key follow that one, is somebody else already known by this id?

mod about;
mod id_watch;
mod of_party;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::credential::Credential;
use super::id::PartyId;
use super::key::PublicKey;
use super::purpose::Purpose;
use super::rotation::Rotation;
use super::sealed::{Hash, SealError, Verdict, Verified, hash_of, peek};
use super::status_list::StatusList;
use super::sub_grant::SubGrant;
use super::tombstone::{Subject, Tombstone};
use super::trust_list::TrustList;

use of_party::{Entry, OfParty, Taken};

/// Parties that are held: ten times what the largest network plans with.
pub const PARTIES_MAX: usize = 20_000;
/// Parties that one issuer vouches for: the largest network is planned with 10,000, and a rogue or careless
/// issuer must leave room for those of others.
pub const PARTIES_PER_ISSUER_MAX: usize = 12_000;
/// Credentials of one party by one issuer: a year each, and some that were replaced early.
pub const CREDENTIALS_PER_ISSUER_MAX: usize = 24;
/// Dead delegations of one party under one issuer: the highest epochs are kept.
pub const DEAD_DELEGATIONS_MAX: usize = 64;
/// Dead credentials and org keys of one party under one issuer, by each who may say it: as above, each twice.
pub const DEAD_CREDENTIALS_MAX: usize = 48;
/// Rotations of one party under one issuer: some more than its credentials.
pub const ROTATIONS_MAX: usize = 32;
/// Grants of one party under one issuer: parties that publish under its id. The Swiss register has under 20.
pub const SUB_GRANTS_MAX: usize = 128;

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
    /// One issuer vouches for more parties than one may.
    #[error("an issuer vouches for more than {max} parties: this node keeps no more of it")]
    IssuerFull {
        /// Its key.
        issuer: Hash,
        /// How many are kept.
        max: usize,
    },
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
            RegistryError::Untrusted | RegistryError::IssuerFull { .. } | RegistryError::Full(_) => {
                Verdict::Ignore
            }
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

/// In boxes: a credential, which most are, needs less room than the largest.
#[derive(Debug, Clone)]
enum Content {
    Credential(Box<Verified<Credential>>),
    Tombstone(Box<Tombstone>),
    Rotation(Box<Rotation>),
    SubGrant(Box<SubGrant>),
    StatusList(Box<Verified<StatusList>>),
}

impl Content {
    fn party(&self) -> Option<&PartyId> {
        match self {
            Content::Credential(credential) => Some(&credential.terms.party),
            Content::Tombstone(tombstone) => Some(&tombstone.party),
            Content::Rotation(rotation) => Some(&rotation.party),
            Content::SubGrant(grant) => Some(&grant.holder),
            Content::StatusList(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Item {
    bytes: Arc<[u8]>,
    content: Content,
    /// The how many-th it was: who was first is told by this. Of one second there may be several, and a wall
    /// clock can be set back.
    order: u64,
}

/// The set. A copy shares the objects: some milliseconds for those of 10,000 parties.
#[derive(Debug, Clone)]
pub struct Registry {
    items: BTreeMap<Hash, Arc<Item>>,
    /// Objects that were ever held, for their order.
    held_ever: u64,
    /// Parties of each who vouches.
    parties_by_source: BTreeMap<Hash, usize>,
    parties_per_issuer_max: usize,
    parties: BTreeMap<PartyId, Arc<OfParty>>,
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

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            items: BTreeMap::new(),
            held_ever: 0,
            parties_by_source: BTreeMap::new(),
            parties_per_issuer_max: PARTIES_PER_ISSUER_MAX,
            parties: BTreeMap::new(),
            status_lists: BTreeMap::new(),
        }
    }
}

impl Registry {
    /// Nothing is known.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// The same with another limit than [`PARTIES_PER_ISSUER_MAX`].
    #[cfg(test)]
    pub(crate) fn with_parties_per_issuer(max: usize) -> Registry {
        Registry { parties_per_issuer_max: max, ..Registry::default() }
    }

    /// Takes an object in, if it is in order and somebody trusted here vouches for it: an issuer that the trust
    /// list has for the party's country and role, or the pinned org key itself by its signature. Who was first is
    /// told by the order in which objects are added. A pinned party
    /// can rotate only to the key that the first credential held here commits to, so hold the one that came
    /// with the pin.
    ///
    /// # Errors
    /// [`RegistryError`]; ask its verdict.
    pub fn add(&mut self, bytes: &[u8], network: &str, trust: &TrustList) -> Result<Added, RegistryError> {
        if self.items.contains_key(&hash_of(bytes)) {
            return Ok(Added::Known);
        }
        let (hash, content) = match peek(bytes)?.purpose {
            Purpose::PartyCredential => {
                let credential = Credential::open(bytes, network)?;
                (*credential.hash(), Content::Credential(Box::new(credential)))
            }
            Purpose::Tombstone => {
                let tombstone = Tombstone::open(bytes, network)?;
                (*tombstone.hash(), Content::Tombstone(Box::new(tombstone.into_content())))
            }
            Purpose::Rotation => {
                let rotation = Rotation::open(bytes, network)?;
                (*rotation.hash(), Content::Rotation(Box::new(rotation.into_content())))
            }
            Purpose::SubGrant => {
                let grant = SubGrant::open(bytes, network)?;
                (*grant.hash(), Content::SubGrant(Box::new(grant.into_content())))
            }
            Purpose::StatusList => {
                let list = StatusList::open(bytes, network)?;
                (*list.hash(), Content::StatusList(Box::new(list)))
            }
            other => return Err(RegistryError::Purpose(other)),
        };
        self.held_ever += 1;
        let item = Item { bytes: bytes.into(), content, order: self.held_ever };
        match &item.content {
            Content::StatusList(_) => self.add_status_list(hash, item, trust),
            _ => self.add_of_party(hash, item, trust),
        }
    }

    fn add_status_list(&mut self, hash: Hash, item: Item, trust: &TrustList) -> Result<Added, RegistryError> {
        let Content::StatusList(list) = &item.content else { return Ok(Added::Outdone) };
        let issuer = *list.signer();
        if trust.issuer(&issuer).is_none() {
            return Err(RegistryError::Untrusted);
        }
        let held = self.status_lists.get(&issuer).copied();
        // Of two with one number the hash decides, so that the order of arrival does not.
        if self.status_list(&issuer).is_some_and(|held| (held.seq, *held.hash()) >= (list.seq, hash)) {
            return Ok(Added::Outdone);
        }
        self.status_lists.insert(issuer, hash);
        held.map(|held| self.items.remove(&held));
        self.items.insert(hash, Arc::new(item));
        Ok(Added::New { hash, party: None, outdone: held })
    }

    fn add_of_party(&mut self, hash: Hash, item: Item, trust: &TrustList) -> Result<Added, RegistryError> {
        let party = item.content.party().ok_or(RegistryError::Untrusted)?.clone();
        let source = self.source(&item.content, trust).ok_or(RegistryError::Untrusted)?;
        if self.parties.len() >= PARTIES_MAX && !self.parties.contains_key(&party) {
            return Err(RegistryError::Full("as many parties as can be are known"));
        }
        let is_new = !self.parties.get(&party).is_some_and(|of| of.has_of(&source));
        let max = self.parties_per_issuer_max;
        if is_new && self.parties_of(&source) >= max {
            return Err(RegistryError::IssuerFull { issuer: source, max });
        }
        let entry = match &item.content {
            Content::Credential(_) => Entry::Credential,
            Content::Rotation(rotation) => {
                Entry::Rotation(*rotation.old_key.as_bytes(), *rotation.new_key.as_bytes())
            }
            Content::Tombstone(tombstone) => {
                Entry::Tombstone(tombstone.subject, tombstone.signer, tombstone.epoch)
            }
            Content::SubGrant(grant) => {
                Entry::SubGrant(grant.grantee.clone(), *grant.org_key.as_bytes(), grant.epoch)
            }
            Content::StatusList(_) => return Ok(Added::Outdone),
        };
        let of_party = Arc::make_mut(self.parties.entry(party.clone()).or_default());
        let outdone = match of_party.take(entry, source, hash) {
            Taken::Held(outdone) => outdone,
            Taken::Outdone => return Ok(Added::Outdone),
            Taken::Full(what) => return Err(RegistryError::Full(what)),
        };
        if is_new {
            *self.parties_by_source.entry(source).or_default() += 1;
        }
        outdone.map(|gone| self.items.remove(&gone));
        self.items.insert(hash, Arc::new(item));
        Ok(Added::New { hash, party: Some(party), outdone })
    }

    /// Who answers here for an object about a party: its issuer if the trust list has it for the party, else
    /// the pinned key, or one that follows it, for what it signed itself. Anybody can name a pinned key in a
    /// credential of his own making.
    fn source(&self, content: &Content, trust: &TrustList) -> Option<Hash> {
        let (party, issuer, author) = match content {
            Content::Credential(credential) => return self.source_of_credential(credential, trust),
            Content::Tombstone(tombstone) => {
                let own = [tombstone.signer, tombstone.issuer].contains(tombstone.org_key.as_bytes());
                (&tombstone.party, &tombstone.issuer, own.then_some(&tombstone.org_key))
            }
            Content::Rotation(rotation) => {
                let author = match self.leads_to_pin(rotation, trust) {
                    true => Some(&rotation.new_key),
                    false => self.is_committed(rotation).then_some(&rotation.old_key),
                };
                (&rotation.party, &rotation.issuer, author)
            }
            Content::SubGrant(grant) => (&grant.holder, &grant.issuer, Some(&grant.org_key)),
            Content::StatusList(_) => return None,
        };
        self.source_of(party, issuer, author, trust)
    }

    fn source_of_credential(&self, credential: &Verified<Credential>, trust: &TrustList) -> Option<Hash> {
        let org_key = &credential.terms.org_key;
        let author = (credential.signer() == org_key.as_bytes()).then_some(org_key);
        self.source_of(&credential.terms.party, credential.signer(), author, trust)
    }

    fn source_of(
        &self,
        party: &PartyId,
        issuer: &Hash,
        author: Option<&PublicKey>,
        trust: &TrustList,
    ) -> Option<Hash> {
        let listed = trust.issuer(issuer);
        if listed.is_some_and(|issuer| issuer.is_trusted_for(party.id.country(), party.role)) {
            return Some(*issuer);
        }
        let pin = trust.pin(party)?;
        let author = author?;
        if self.follows(party, &pin.org_key, author) {
            return Some(*author.as_bytes());
        }
        // The keys before the pinned one: what was signed under them can be proved, and is believed no more for
        // that. They share the room of the pinned key, which alone says that it follows them.
        self.follows(party, author, &pin.org_key).then(|| *pin.org_key.as_bytes())
    }

    /// Whether the pinned key, or one that it follows, consents to be the new one: its own word.
    fn leads_to_pin(&self, rotation: &Rotation, trust: &TrustList) -> bool {
        let pin = trust.pin(&rotation.party);
        pin.is_some_and(|pin| self.follows(&rotation.party, &rotation.new_key, &pin.org_key))
    }

    /// Whether the first credential that was held here with the old key commits to the new one. Who stole a
    /// pinned key can make another commitment, but not the first.
    fn is_committed(&self, rotation: &Rotation) -> bool {
        let held = self.credentials_in_order(&rotation.party);
        let of_key = held.filter(|(credential, _)| credential.terms.org_key == rotation.old_key);
        let first = of_key.min_by_key(|(_, order)| *order);
        let commitment = first.and_then(|(credential, _)| credential.terms.next_org_key_hash);
        commitment == Some(hash_of(rotation.new_key.as_bytes()))
    }

    /// The object with this hash, as it was signed.
    pub fn bytes(&self, hash: &Hash) -> Option<&Arc<[u8]>> {
        self.items.get(hash).map(|item| &item.bytes)
    }

    /// The names of all objects, ascending.
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.items.keys()
    }

    /// The same, with tombstones, rotations and status lists before credentials: so should others hear them.
    pub fn hashes_by_urgency(&self) -> Vec<Hash> {
        let is_credential = |item: &Item| matches!(item.content, Content::Credential(_));
        let (credentials, others): (Vec<_>, Vec<_>) =
            self.items.iter().partition(|(_, item)| is_credential(item));
        others.into_iter().chain(credentials).map(|(hash, _)| *hash).collect()
    }

    /// The object whose hash begins with these bytes.
    pub fn bytes_of_name(&self, name: &[u8; 16]) -> Option<&Arc<[u8]>> {
        let mut from = [0; 32];
        from.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let (hash, item) = self.items.range(from..).next()?;
        hash.starts_with(name).then_some(&item.bytes)
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

    /// How many parties are held by the word of an issuer.
    pub fn parties_of(&self, issuer: &Hash) -> usize {
        self.parties_by_source.get(issuer).copied().unwrap_or(0)
    }

    /// The parties that anything is held of.
    pub fn parties(&self) -> impl Iterator<Item = &PartyId> {
        self.parties.keys()
    }

    /// The credentials of a party, those that ended included.
    pub fn credentials(&self, party: &PartyId) -> impl Iterator<Item = &Verified<Credential>> {
        self.credentials_in_order(party).map(|(credential, _)| credential)
    }

    /// With the order in which they came.
    fn credentials_in_order(&self, party: &PartyId) -> impl Iterator<Item = (&Verified<Credential>, u64)> {
        let hashes = self.parties.get(party).into_iter().flat_map(|of| of.credentials());
        hashes.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Credential(credential) => Some((credential.as_ref(), item.order)),
            _ => None,
        })
    }

    /// The tombstones of a party.
    pub fn tombstones(&self, party: &PartyId) -> impl Iterator<Item = &Tombstone> {
        let held = self.parties.get(party).into_iter().flat_map(|of| of.tombstones());
        self.tombstones_named(held)
    }

    fn tombstones_named<'a>(
        &'a self,
        hashes: impl Iterator<Item = &'a Hash>,
    ) -> impl Iterator<Item = &'a Tombstone> {
        hashes.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Tombstone(tombstone) => Some(tombstone.as_ref()),
            _ => None,
        })
    }

    /// The grants of a party to others, those that ended included.
    pub fn sub_grants(&self, holder: &PartyId) -> impl Iterator<Item = &SubGrant> {
        let held = self.parties.get(holder).into_iter().flat_map(|of| of.sub_grants());
        held.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::SubGrant(grant) => Some(grant.as_ref()),
            _ => None,
        })
    }

    /// The newest status list of an issuer.
    pub fn status_list(&self, issuer: &Hash) -> Option<&Verified<StatusList>> {
        match &self.items.get(self.status_lists.get(issuer)?)?.content {
            Content::StatusList(list) => Some(list.as_ref()),
            _ => None,
        }
    }

    /// Whether a credential is dead: itself, its org key, or by its issuer's list.
    pub fn is_credential_dead(&self, credential: &Verified<Credential>) -> bool {
        let terms = &credential.terms;
        let subjects = [Subject::Credential(*credential.hash()), Subject::OrgKey(*terms.org_key.as_bytes())];
        let of = self.parties.get(&terms.party);
        let about = of.into_iter().flat_map(|of| subjects.into_iter().flat_map(|s| of.tombstones_of(s)));
        self.tombstones_named(about).any(|tombstone| tombstone.is_of(credential))
            || self.status_list(credential.signer()).is_some_and(|list| list.is_revoked(credential.hash()))
    }

    /// Whether a delegation under this org key of this party is dead.
    pub fn is_delegation_dead(&self, party: &PartyId, org_key: &PublicKey, delegation: &Hash) -> bool {
        let of = self.parties.get(party);
        let about = of.into_iter().flat_map(|of| of.tombstones_of(Subject::Delegation(*delegation)));
        self.tombstones_named(about).any(|tombstone| tombstone.signer == *org_key.as_bytes())
    }

    /// The rotations of a party.
    pub fn rotations(&self, party: &PartyId) -> impl Iterator<Item = &Rotation> {
        let hashes = self.parties.get(party).into_iter().flat_map(|of| of.rotations());
        hashes.filter_map(|hash| self.items.get(hash)).filter_map(|item| match &item.content {
            Content::Rotation(rotation) => Some(rotation.as_ref()),
            _ => None,
        })
    }
}
