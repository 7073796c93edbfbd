//! The chain from this node's trust list over credential and delegation to a speaker.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::credential::Credential;
use super::delegation::Delegation;
use super::id::{CanonicalId, PartyId};
use super::registry::Registry;
use super::sealed::{Hash, SealError, Unverified, Verdict, Verified};
use super::speaker::{Assurance, GrantClass, Speaker};
use super::trust_list::{Issuer, IssuerClass, Pin, TrustList};

/// How far in the future a validity may begin and still count, seconds: clocks differ
/// (decisions.md 23 begins to worry at a minute). An end is never stretched.
pub const CLOCK_LEEWAY_S: u64 = 60;

/// How many independent attesters stand for one registrar (design/trust.md).
const ATTESTERS_NEEDED: usize = 2;

/// Against what a chain is judged.
#[derive(Debug, Clone, Copy)]
pub struct TrustContext<'a> {
    /// The network this node is in.
    pub network: &'a str,
    /// Whom this node believes.
    pub trust: &'a TrustList,
    /// What else is known of everybody: what is dead, what followed what, who came first.
    pub registry: &'a Registry,
    /// When: arrival, or for a feed head its creation (decisions.md 7). Unix time.
    pub at_unix_s: u64,
}

/// Why a chain makes no speaker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// The credential is damaged, unsigned, or of another kind or network.
    #[error("credential: {0}")]
    Credential(SealError),
    /// The delegation is damaged, unsigned, not signed by the credential's org key, or of another kind or
    /// network.
    #[error("delegation: {0}")]
    Delegation(SealError),
    /// The delegation names another credential than the one it came with.
    #[error("the delegation was made for another credential than the one shown with it")]
    NotThisCredential,
    /// The delegation is for another party than the credential.
    #[error("the credential is for {credential}, the delegation for {delegation}")]
    OtherParty {
        /// The credential's party.
        credential: PartyId,
        /// The delegation's party.
        delegation: PartyId,
    },
    /// The delegation names an id that the credential does not.
    #[error("the delegation names {prefix}, which is not in the credential of {party}")]
    OutsideCredential {
        /// Who.
        party: PartyId,
        /// The id.
        prefix: CanonicalId,
    },
    /// The issuer is not in the trust list, or not for this country and role, and there is no pin.
    #[error("no trusted issuer vouches for {party}: add its issuer to the trust list, or pin the party")]
    UntrustedIssuer {
        /// Who.
        party: PartyId,
    },
    /// Only one attester vouches; two are needed.
    #[error("one attester alone vouches for {party}: a registrar, a second attester or a pin is needed")]
    OneAttester {
        /// Who.
        party: PartyId,
    },
    /// The party is pinned with another org key.
    #[error("{party} is pinned with another org key: somebody else claims its id, or it changed its key")]
    PinnedOtherwise {
        /// Who.
        party: PartyId,
    },
    /// Credential or delegation is not valid yet.
    #[error("credential or delegation of {party} is not valid before {from_unix_s}: compare the clocks")]
    NotYetValid {
        /// Who.
        party: PartyId,
        /// When it begins, Unix time.
        from_unix_s: u64,
    },
    /// Credential or delegation has expired.
    #[error("credential or delegation of {party} expired at {until_unix_s}: it has to be renewed there")]
    Expired {
        /// Who.
        party: PartyId,
        /// When it ended, Unix time.
        until_unix_s: u64,
    },
    /// Another org key is known for this id, and nothing leads from it to this one (decisions.md 20).
    #[error(
        "somebody else is known here as {party}: this newcomer is frozen until a rotation, or the end or \
         tombstone of the other key, settles it"
    )]
    Frozen {
        /// Whose id.
        party: PartyId,
    },
    /// Declared dead.
    #[error("credential or delegation of {party} was revoked")]
    Revoked {
        /// Who.
        party: PartyId,
    },
    /// This node's own trust list is too old.
    #[error("this node's trust list expired at {until_unix_s}: install a new one")]
    TrustListExpired {
        /// When, Unix time.
        until_unix_s: u64,
    },
}

impl ChainError {
    /// Whose fault it is: what everybody would see is rejected, what depends on this node's trust, clock
    /// or knowledge is ignored (decisions.md 5).
    pub fn verdict(&self) -> Verdict {
        match self {
            ChainError::Credential(error) | ChainError::Delegation(error) => error.verdict(),
            ChainError::NotThisCredential
            | ChainError::OtherParty { .. }
            | ChainError::OutsideCredential { .. } => Verdict::Reject,
            ChainError::UntrustedIssuer { .. }
            | ChainError::OneAttester { .. }
            | ChainError::PinnedOtherwise { .. }
            | ChainError::NotYetValid { .. }
            | ChainError::Expired { .. }
            | ChainError::Revoked { .. }
            | ChainError::Frozen { .. }
            | ChainError::TrustListExpired { .. } => Verdict::Ignore,
        }
    }
}

/// A credential and a delegation under it, as signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The signed credential.
    pub credential: Vec<u8>,
    /// The signed delegation.
    pub delegation: Vec<u8>,
}

impl Chain {
    /// Walks the chain: signatures and form first (same for everybody), then trust, time and revocation.
    ///
    /// # Errors
    /// [`ChainError`]; ask its verdict.
    pub fn verify(&self, context: &TrustContext<'_>) -> Result<Speaker, ChainError> {
        verify_parts(&self.credential, &self.delegation, context)
    }

    /// The hash that this chain's speaker is named by.
    pub fn delegation_hash(&self) -> Hash {
        super::sealed::hash_of(&self.delegation)
    }
}

/// [`Chain::verify`] on borrowed bytes.
pub(super) fn verify_parts(
    credential: &[u8],
    delegation: &[u8],
    context: &TrustContext<'_>,
) -> Result<Speaker, ChainError> {
    let credential = Credential::open(credential, context.network).map_err(ChainError::Credential)?;
    let delegation = open_delegation(delegation, &credential, context.network)?;
    let ground = Ground::find(&credential, context)?;
    let (valid_from_unix_s, valid_until_unix_s) = check_time(&credential, &delegation, context)?;
    let (grants, untrusted) = sort_prefixes(&credential, &delegation, &ground);
    Ok(Speaker {
        party: credential.terms.party.clone(),
        credential_hash: *credential.hash(),
        delegation_hash: *delegation.hash(),
        epoch: delegation.epoch,
        slot: delegation.slot,
        peer_id: delegation.peer_id.clone(),
        org_key: credential.terms.org_key,
        message_key: delegation.message_key,
        operations: delegation.operations.clone(),
        valid_from_unix_s,
        valid_until_unix_s,
        grants,
        untrusted,
        assurance: ground.assurance(&credential.terms.party),
        credential_until_unix_s: credential.terms.expires_unix_s,
        legal_name: credential.terms.legal_name.clone(),
    })
}

/// The delegation must name this credential, be signed by its org key, and stay within it.
fn open_delegation(
    bytes: &[u8],
    credential: &Verified<Credential>,
    network: &str,
) -> Result<Verified<Delegation>, ChainError> {
    let unverified = Unverified::<Delegation>::new(bytes, network).map_err(ChainError::Delegation)?;
    if unverified.signer() != credential.hash() {
        return Err(ChainError::NotThisCredential);
    }
    let delegation = unverified.verify(&credential.terms.org_key).map_err(ChainError::Delegation)?;
    if delegation.party != credential.terms.party {
        return Err(ChainError::OtherParty {
            credential: credential.terms.party.clone(),
            delegation: delegation.party.clone(),
        });
    }
    if let Some(prefix) = delegation.prefixes.iter().find(|prefix| !credential.covers(prefix)) {
        return Err(ChainError::OutsideCredential {
            party: delegation.party.clone(),
            prefix: prefix.clone(),
        });
    }
    Ok(delegation)
}

/// Why this node believes the credential's main id; decides which of its other ids count.
struct Ground<'a> {
    registrar: Option<&'a Issuer>,
    /// Two or more, each trusted for the main id.
    attesters: Vec<&'a Issuer>,
    pin: Option<&'a Pin>,
}

impl<'a> Ground<'a> {
    fn find(credential: &Verified<Credential>, context: &TrustContext<'a>) -> Result<Self, ChainError> {
        let until_unix_s = context.trust.valid_until_unix_s;
        if context.at_unix_s >= until_unix_s {
            return Err(ChainError::TrustListExpired { until_unix_s });
        }
        let party = &credential.terms.party;
        let pin = context.trust.pin(party);
        let org_key = &credential.terms.org_key;
        if pin.is_some_and(|pin| !context.registry.follows(party, &pin.org_key, org_key)) {
            return Err(ChainError::PinnedOtherwise { party: party.clone() });
        }
        let issuer = context.trust.issuer(credential.signer());
        let registrar = issuer.filter(|issuer| issuer.class == IssuerClass::Registrar);
        let covered = |issuer: &&Issuer| issuer.is_trusted_for(party.id.country(), party.role);
        let conflict = context.registry.id_conflict(party, context.trust, context.at_unix_s);
        if conflict.is_some_and(|conflict| conflict.newcomers.contains(org_key)) {
            return Err(ChainError::Frozen { party: party.clone() });
        }
        if pin.is_some() || registrar.as_ref().is_some_and(covered) {
            return Ok(Ground { registrar, attesters: Vec::new(), pin });
        }
        let attesters = attesters_of(credential, context);
        if attesters.len() >= ATTESTERS_NEEDED {
            return Ok(Ground { registrar: None, attesters, pin });
        }
        if issuer.as_ref().is_some_and(covered) {
            return Err(ChainError::OneAttester { party: party.clone() });
        }
        Err(ChainError::UntrustedIssuer { party: party.clone() })
    }

    fn assurance(&self, party: &PartyId) -> Assurance {
        let covered = |issuer: &&Issuer| issuer.is_trusted_for(party.id.country(), party.role);
        match self.registrar.filter(covered) {
            Some(registrar) => Assurance::Registrar { name: registrar.name.clone() },
            None if self.attesters.is_empty() => Assurance::Pinned,
            None => Assurance::Attesters { names: self.attesters.iter().map(|a| a.name.clone()).collect() },
        }
    }

    fn vouches_for(&self, id: &CanonicalId, party: &PartyId) -> bool {
        let attest = self.attesters.iter().filter(|issuer| issuer.is_trusted_for(id.country(), party.role));
        self.pin.is_some_and(|pin| pin.sub_ids.contains(id))
            || attest.count() >= ATTESTERS_NEEDED
            || self.registrar.is_some_and(|issuer| issuer.is_trusted_for(id.country(), party.role))
    }
}

/// The attesters of the trust list who vouch for this party with this org key, each once: this credential's
/// and those of other live credentials that are known. They vouch for the sub ids that all of them name.
fn attesters_of<'a>(credential: &Verified<Credential>, context: &TrustContext<'a>) -> Vec<&'a Issuer> {
    let party = &credential.terms.party;
    let same = |other: &&Verified<Credential>| {
        other.terms.org_key == credential.terms.org_key
            && other.terms.expires_unix_s > context.at_unix_s
            && !context.registry.is_credential_dead(other)
            && credential.terms.sub_ids.iter().all(|id| other.covers(id))
    };
    let others = context.registry.credentials(party).filter(same).map(|other| *other.signer());
    let signers: BTreeSet<Hash> = others.chain([*credential.signer()]).collect();
    let trusted = |issuer: &&Issuer| {
        issuer.class == IssuerClass::Attester && issuer.is_trusted_for(party.id.country(), party.role)
    };
    signers.iter().filter_map(|signer| context.trust.issuer(signer)).filter(trusted).collect()
}

/// Both valid at the time in question; the answer is when both are.
fn check_time(
    credential: &Verified<Credential>,
    delegation: &Verified<Delegation>,
    context: &TrustContext<'_>,
) -> Result<(u64, u64), ChainError> {
    let party = || delegation.party.clone();
    let from_unix_s = credential.terms.not_before_unix_s.max(delegation.not_before_unix_s);
    let until_unix_s = credential.terms.expires_unix_s.min(delegation.expires_unix_s);
    if context.at_unix_s.saturating_add(CLOCK_LEEWAY_S) < from_unix_s {
        return Err(ChainError::NotYetValid { party: party(), from_unix_s });
    }
    if context.at_unix_s >= until_unix_s {
        return Err(ChainError::Expired { party: party(), until_unix_s });
    }
    let terms = &credential.terms;
    if context.registry.is_credential_dead(credential)
        || context.registry.is_delegation_dead(&terms.party, &terms.org_key, delegation.hash())
    {
        return Err(ChainError::Revoked { party: party() });
    }
    Ok((from_unix_s, until_unix_s))
}

/// Each prefix of the delegation is either granted on a ground or claimed without one.
fn sort_prefixes(
    credential: &Credential,
    delegation: &Delegation,
    ground: &Ground<'_>,
) -> (BTreeMap<CanonicalId, GrantClass>, BTreeSet<CanonicalId>) {
    let party = &credential.terms.party;
    let mut grants = BTreeMap::new();
    let mut untrusted = BTreeSet::new();
    for prefix in &delegation.prefixes {
        if *prefix == party.id {
            grants.insert(prefix.clone(), GrantClass::MainId);
        } else if ground.vouches_for(prefix, party) {
            grants.insert(prefix.clone(), GrantClass::IssuerOnly);
        } else {
            untrusted.insert(prefix.clone());
        }
    }
    (grants, untrusted)
}
