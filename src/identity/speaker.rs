//! A speaker: a party's node whose chain was verified, and what it may say.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::chain::CLOCK_LEEWAY_S;
use super::delegation::{Operation, WRITER_SLOT};
use super::id::{CanonicalId, PartyId};
use super::key::PublicKey;
use super::purpose::Purpose;
use super::sealed::{Hash, SealError, Verdict, open};

/// On what ground a prefix is granted; the order is the precedence for an EvseID (decisions.md 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantClass {
    /// The party's own main id.
    MainId,
    /// A sub id that the main id's own org key signed for as well ([`SubGrant`](super::SubGrant)).
    CounterSigned,
    /// A sub id that only an issuer vouched for, or this node's own pin.
    IssuerOnly,
}

/// Why this node believes a party, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assurance {
    /// This node's own pin.
    Pinned,
    /// One registrar of the trust list.
    Registrar {
        /// Its name there.
        name: String,
    },
    /// Several attesters of the trust list.
    Attesters {
        /// Their names there.
        names: Vec<String>,
    },
}

impl std::fmt::Display for Assurance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Assurance::Pinned => f.write_str("pinned here"),
            Assurance::Registrar { name } => write!(f, "registrar {name}"),
            Assurance::Attesters { names } => write!(f, "attesters {}", names.join(", ")),
        }
    }
}

/// Why a verified speaker may not say something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScopeError {
    /// The delegation does not name the operation.
    #[error("{party} may not do {}: the delegation does not name it", operation.as_str())]
    Operation {
        /// Who spoke.
        party: PartyId,
        /// What it tried.
        operation: Operation,
    },
    /// The id is not among those of credential and delegation: wrong for everybody.
    #[error("{prefix:?} does not belong to {party}: it is in its credential or delegation nowhere")]
    Foreign {
        /// Who spoke.
        party: PartyId,
        /// The id as given.
        prefix: String,
    },
    /// The id is in credential and delegation, but nobody whom this node trusts for it vouched for it.
    #[error(
        "nobody trusted for the country and role of {prefix} vouches for it: add an issuer to the trust list \
         if {party} should be believed"
    )]
    Untrusted {
        /// Who spoke.
        party: PartyId,
        /// The id.
        prefix: CanonicalId,
    },
    /// Outside the validity of credential and delegation.
    #[error("{party}'s delegation is not valid at {at_unix_s}")]
    NotValidThen {
        /// Who spoke.
        party: PartyId,
        /// The time in question, Unix time.
        at_unix_s: u64,
    },
}

impl ScopeError {
    /// Whose fault it is (decisions.md 5).
    pub fn verdict(&self) -> Verdict {
        match self {
            ScopeError::Operation { .. } | ScopeError::Foreign { .. } => Verdict::Reject,
            ScopeError::Untrusted { .. } | ScopeError::NotValidThen { .. } => Verdict::Ignore,
        }
    }
}

/// A verified chain's outcome. Only [`Chain::verify`](super::Chain::verify) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    pub(super) party: PartyId,
    pub(super) credential_hash: Hash,
    pub(super) delegation_hash: Hash,
    pub(super) epoch: u64,
    pub(super) slot: u8,
    pub(super) peer_id: Vec<u8>,
    pub(super) org_key: PublicKey,
    pub(super) message_key: PublicKey,
    pub(super) operations: BTreeSet<Operation>,
    pub(super) valid_from_unix_s: u64,
    pub(super) valid_until_unix_s: u64,
    pub(super) credential_until_unix_s: u64,
    pub(super) delegation_until_unix_s: u64,
    pub(super) grants: BTreeMap<CanonicalId, GrantClass>,
    pub(super) untrusted: BTreeSet<CanonicalId>,
    pub(super) counter_signed_until_unix_s: Option<u64>,
    pub(super) assurance: Assurance,
    pub(super) legal_name: String,
}

impl Speaker {
    /// For whom it speaks.
    pub fn party(&self) -> &PartyId {
        &self.party
    }

    /// Why this node believed it when the chain was verified.
    pub fn assurance(&self) -> &Assurance {
        &self.assurance
    }

    /// Whether the delegation names the id, on whatever ground.
    pub fn names(&self, id: &CanonicalId) -> bool {
        self.grants.contains_key(id) || self.untrusted.contains(id)
    }

    /// First second in which credential or delegation is no longer valid, Unix time.
    pub fn valid_until_unix_s(&self) -> u64 {
        self.valid_until_unix_s
    }

    /// First second in which the credential is no longer valid, Unix time.
    pub fn credential_until_unix_s(&self) -> u64 {
        self.credential_until_unix_s
    }

    /// Name in the commercial register, as the issuer states it.
    pub fn legal_name(&self) -> &str {
        &self.legal_name
    }

    /// Hash of the credential.
    pub fn credential_hash(&self) -> &Hash {
        &self.credential_hash
    }

    /// Hash of the delegation: what this node's signed objects name as signer.
    pub fn delegation_hash(&self) -> &Hash {
        &self.delegation_hash
    }

    /// The delegation's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which of the party's nodes it is, 0 to 7.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Whether it is the one node that writes the party's feeds ([`WRITER_SLOT`]).
    pub fn is_writer(&self) -> bool {
        self.slot == WRITER_SLOT
    }

    /// The node's libp2p peer id, bytes.
    pub fn peer_id(&self) -> &[u8] {
        &self.peer_id
    }

    /// The party's org key.
    pub fn org_key(&self) -> &PublicKey {
        &self.org_key
    }

    /// The key that signs what the node says.
    pub fn message_key(&self) -> &PublicKey {
        &self.message_key
    }

    /// What the delegation allows.
    pub fn operations(&self) -> &BTreeSet<Operation> {
        &self.operations
    }

    /// The ids it may speak for here, and on what ground.
    pub fn grants(&self) -> &BTreeMap<CanonicalId, GrantClass> {
        &self.grants
    }

    /// First second in which one of the counter-signatures among the grants has ended, Unix time: the chain is
    /// to be verified again then. `None` if none of them is counter-signed.
    pub fn counter_signed_until_unix_s(&self) -> Option<u64> {
        self.counter_signed_until_unix_s
    }

    /// Ids that it claims and that nobody trusted here vouches for.
    pub fn untrusted_prefixes(&self) -> &BTreeSet<CanonicalId> {
        &self.untrusted
    }

    /// First second of validity and first second after it, Unix time: credential and delegation together.
    pub fn validity(&self) -> (u64, u64) {
        (self.valid_from_unix_s, self.valid_until_unix_s)
    }

    /// First second after the credential's and after the delegation's validity, Unix time: who has to renew
    /// them is told which.
    pub fn ends(&self) -> (u64, u64) {
        (self.credential_until_unix_s, self.delegation_until_unix_s)
    }

    /// Whether credential and delegation were valid then. A feed head is judged at its creation
    /// (decisions.md 7), everything else at its arrival. A beginning has the leeway of [`CLOCK_LEEWAY_S`].
    ///
    /// # Errors
    /// [`ScopeError::NotValidThen`].
    pub fn may_at(&self, at_unix_s: u64) -> Result<(), ScopeError> {
        let begun = self.valid_from_unix_s <= at_unix_s.saturating_add(CLOCK_LEEWAY_S);
        if begun && at_unix_s < self.valid_until_unix_s {
            return Ok(());
        }
        Err(ScopeError::NotValidThen { party: self.party.clone(), at_unix_s })
    }

    /// Whether the delegation names the operation, whatever the id.
    ///
    /// # Errors
    /// [`ScopeError::Operation`].
    pub fn may_do(&self, operation: Operation) -> Result<(), ScopeError> {
        if self.operations.contains(&operation) {
            return Ok(());
        }
        Err(ScopeError::Operation { party: self.party.clone(), operation })
    }

    /// Whether it may do this for the operator or provider part of an EvseID or EvcoID, in any wire
    /// spelling, and on what ground. Does not look at time: see [`Speaker::may_at`].
    ///
    /// # Errors
    /// Every [`ScopeError`] but `NotValidThen`.
    pub fn may(&self, operation: Operation, prefix: &str) -> Result<GrantClass, ScopeError> {
        self.may_do(operation)?;
        // Asked for every record: the canonical spelling needs no parsing.
        if let Some(class) = self.grants.get(prefix) {
            return Ok(*class);
        }
        let foreign = || ScopeError::Foreign {
            party: self.party.clone(),
            prefix: prefix.chars().take(super::id::ID_WIRE_LENGTH_MAX).collect(),
        };
        let id = CanonicalId::parse(prefix).map_err(|_| foreign())?;
        if let Some(class) = self.grants.get(&id) {
            return Ok(*class);
        }
        if self.untrusted.contains(&id) {
            return Err(ScopeError::Untrusted { party: self.party.clone(), prefix: id });
        }
        Err(foreign())
    }

    /// Opens an object that this speaker should have signed with its message key and gives the payload.
    ///
    /// # Errors
    /// [`SealError::Signer`] if the object names another delegation, and every other [`SealError`] but
    /// `Content`.
    pub fn open<'a>(&self, bytes: &'a [u8], purpose: Purpose, network: &str) -> Result<&'a [u8], SealError> {
        let unsealed = open(bytes, purpose, network)?;
        if *unsealed.signer() != self.delegation_hash {
            return Err(SealError::Signer);
        }
        unsealed.verify(&self.message_key)
    }
}
