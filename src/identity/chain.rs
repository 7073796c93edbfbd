//! The chain from this node's trust list over credential and delegation to a speaker.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::credential::Credential;
use super::delegation::Delegation;
use super::ground::Ground;
use super::id::{CanonicalId, PartyId};
use super::registry::Registry;
use super::sealed::{Hash, SealError, Unverified, Verdict, Verified};
use super::speaker::{GrantClass, Speaker};
use super::sub_grant::SubGrant;
use super::trust_list::TrustList;

/// How far in the future a validity may begin and still count, seconds: clocks differ
/// (decisions.md 23 begins to worry at a minute). An end is never stretched.
pub const CLOCK_LEEWAY_S: u64 = 60;

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
    let ground = find_ground(&credential, context)?;
    let (valid_from_unix_s, valid_until_unix_s) = check_time(&credential, &delegation, context)?;
    let prefixes = sort_prefixes(&credential, &delegation, &ground, context);
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
        grants: prefixes.grants,
        untrusted: prefixes.untrusted,
        counter_signed_until_unix_s: prefixes.counter_signed_until_unix_s,
        credential_until_unix_s: credential.terms.expires_unix_s,
        delegation_until_unix_s: delegation.expires_unix_s,
        assurance: ground.assurance(&credential.terms.party),
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

/// Why this node believes the credential's main id, and that nobody else goes by it.
fn find_ground<'a>(
    credential: &'a Verified<Credential>,
    context: &TrustContext<'a>,
) -> Result<Ground<'a>, ChainError> {
    let TrustContext { trust, registry, at_unix_s, .. } = *context;
    let until_unix_s = trust.valid_until_unix_s;
    // A pin is this node's own word, whatever became of the list.
    if at_unix_s >= until_unix_s && trust.pin(&credential.terms.party).is_none() {
        return Err(ChainError::TrustListExpired { until_unix_s });
    }
    let ground = Ground::of(credential, registry, trust, at_unix_s)?;
    let party = &credential.terms.party;
    if registry.is_frozen(party, &credential.terms.org_key, trust, at_unix_s) {
        return Err(ChainError::Frozen { party: party.clone() });
    }
    Ok(ground)
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
    check_credential(credential, context)?;
    let terms = &credential.terms;
    if context.registry.is_delegation_dead(&terms.party, &terms.org_key, delegation.hash()) {
        return Err(ChainError::Revoked { party: party() });
    }
    Ok((from_unix_s, until_unix_s))
}

/// Valid at the time in question and not dead.
fn check_credential(credential: &Verified<Credential>, context: &TrustContext<'_>) -> Result<(), ChainError> {
    let terms = &credential.terms;
    let party = || terms.party.clone();
    if context.at_unix_s.saturating_add(CLOCK_LEEWAY_S) < terms.not_before_unix_s {
        return Err(ChainError::NotYetValid { party: party(), from_unix_s: terms.not_before_unix_s });
    }
    if context.at_unix_s >= terms.expires_unix_s {
        return Err(ChainError::Expired { party: party(), until_unix_s: terms.expires_unix_s });
    }
    if context.registry.is_credential_dead(credential) {
        return Err(ChainError::Revoked { party: party() });
    }
    Ok(())
}

/// The delegation's prefixes by the ground that each has.
#[derive(Default)]
struct Prefixes {
    grants: BTreeMap<CanonicalId, GrantClass>,
    untrusted: BTreeSet<CanonicalId>,
    /// The earliest end of a counter-signature.
    counter_signed_until_unix_s: Option<u64>,
}

/// Each prefix of the delegation is either granted on a ground or claimed without one.
fn sort_prefixes(
    credential: &Credential,
    delegation: &Delegation,
    ground: &Ground<'_>,
    context: &TrustContext<'_>,
) -> Prefixes {
    let party = &credential.terms.party;
    let mut sorted = Prefixes::default();
    for prefix in &delegation.prefixes {
        let class = if *prefix == party.id {
            GrantClass::MainId
        } else if let Some(until) = counter_signed_until(party, prefix, context) {
            let earliest = sorted.counter_signed_until_unix_s.unwrap_or(until).min(until);
            sorted.counter_signed_until_unix_s = Some(earliest);
            GrantClass::CounterSigned
        } else if ground.vouches_for(prefix, party) {
            GrantClass::IssuerOnly
        } else {
            sorted.untrusted.insert(prefix.clone());
            continue;
        };
        sorted.grants.insert(prefix.clone(), class);
    }
    sorted
}

/// Until when the holder of an id lets this party publish under it: the holder's org key must be believed
/// here as if it spoke itself.
fn counter_signed_until(party: &PartyId, id: &CanonicalId, context: &TrustContext<'_>) -> Option<u64> {
    let holder = PartyId { role: party.role, id: id.clone() };
    let registry = context.registry;
    let until = |grant: &SubGrant| {
        let held = registry.credentials(&holder).chain([grant.credential()]);
        let mut believed = held.filter(|credential| {
            credential.terms.org_key == grant.org_key
                && check_credential(credential, context).is_ok()
                && find_ground(credential, context).is_ok()
        });
        let ends = believed.by_ref().map(|credential| credential.terms.expires_unix_s).max()?;
        Some(ends.min(grant.expires_unix_s))
    };
    let live = |grant: &&SubGrant| grant.grantee == *party && grant.is_live(context.at_unix_s);
    registry.sub_grants(&holder).filter(live).filter_map(until).max()
}
