//! The ground on which this node believes a credential: a registrar, two attesters or its own pin.

use std::collections::BTreeMap;

use super::chain::{CLOCK_LEEWAY_S, ChainError};
use super::credential::Credential;
use super::id::{CanonicalId, PartyId};
use super::registry::Registry;
use super::sealed::{Hash, Verified};
use super::speaker::Assurance;
use super::trust_list::{Issuer, IssuerClass, Pin, TrustList};

/// How many independent attesters stand for one registrar (design/trust.md).
const ATTESTERS_NEEDED: usize = 2;

/// Why this node believes the credential's main id; decides which of its other ids count.
pub(super) struct Ground<'a> {
    /// The credential's own issuer, if it is a registrar; what for is asked per id.
    registrar: Option<&'a Issuer>,
    attesters: Vec<Attester<'a>>,
    pin: Option<&'a Pin>,
}

/// An attester trusted for the main id, and what it signed about this party with this org key.
struct Attester<'a> {
    issuer: &'a Issuer,
    credentials: Vec<&'a Verified<Credential>>,
}

impl<'a> Ground<'a> {
    /// Finds it. Whether credential, trust list and delegation are valid at the time, and whether somebody
    /// else goes by the id, is asked elsewhere.
    pub(super) fn of(
        credential: &'a Verified<Credential>,
        registry: &'a Registry,
        trust: &'a TrustList,
        at_unix_s: u64,
    ) -> Result<Ground<'a>, ChainError> {
        let party = &credential.terms.party;
        let pin = trust.pin(party);
        if pin.is_some_and(|pin| !registry.follows(party, &pin.org_key, &credential.terms.org_key)) {
            return Err(ChainError::PinnedOtherwise { party: party.clone() });
        }
        let is_for_main = |issuer: &&Issuer| issuer.is_trusted_for(party.id.country(), party.role);
        let issuer = trust.issuer(credential.signer());
        let registrar = issuer.filter(|issuer| issuer.class == IssuerClass::Registrar);
        // A credential by somebody unknown is not carried by what others said in theirs.
        let own = issuer.filter(is_for_main).filter(|issuer| issuer.class == IssuerClass::Attester);
        let attesters = own.map_or_else(Vec::new, |_| attesters_of(credential, registry, trust, at_unix_s));
        let ground = Ground { registrar, attesters, pin };
        if pin.is_some()
            || ground.registrar.as_ref().is_some_and(is_for_main)
            || ground.attesters.len() >= ATTESTERS_NEEDED
        {
            return Ok(ground);
        }
        Err(match own {
            Some(_) => ChainError::OneAttester { party: party.clone() },
            None => ChainError::UntrustedIssuer { party: party.clone() },
        })
    }

    /// For people.
    pub(super) fn assurance(&self, party: &PartyId) -> Assurance {
        let is_for_main = |issuer: &&Issuer| issuer.is_trusted_for(party.id.country(), party.role);
        match self.registrar.filter(is_for_main) {
            Some(registrar) => Assurance::Registrar { name: registrar.name.clone() },
            None if self.attesters.len() < ATTESTERS_NEEDED => Assurance::Pinned,
            None => {
                let names = self.attesters.iter().map(|attester| attester.issuer.name.clone());
                Assurance::Attesters { names: names.collect() }
            }
        }
    }

    /// Whether it carries a further id of the credential: one that its registrar is trusted for, that is
    /// pinned with it, or that two attesters name.
    pub(super) fn vouches_for(&self, id: &CanonicalId, party: &PartyId) -> bool {
        let trusted = |issuer: &Issuer| issuer.is_trusted_for(id.country(), party.role);
        let attest = self.attesters.iter().filter(|attester| {
            trusted(attester.issuer) && attester.credentials.iter().any(|credential| credential.covers(id))
        });
        self.pin.is_some_and(|pin| pin.sub_ids.contains(id))
            || attest.count() >= ATTESTERS_NEEDED
            || self.registrar.is_some_and(trusted)
    }
}

/// The attesters of the trust list who vouch for this party with this org key, each once: this credential's
/// and those of other live credentials that are known.
fn attesters_of<'a>(
    credential: &'a Verified<Credential>,
    registry: &'a Registry,
    trust: &'a TrustList,
    at_unix_s: u64,
) -> Vec<Attester<'a>> {
    let party = &credential.terms.party;
    let live = |other: &&Verified<Credential>| {
        other.terms.org_key == credential.terms.org_key
            && other.terms.not_before_unix_s <= at_unix_s.saturating_add(CLOCK_LEEWAY_S)
            && other.terms.expires_unix_s > at_unix_s
            && !registry.is_credential_dead(other)
    };
    let mut attesters: BTreeMap<Hash, Attester<'a>> = BTreeMap::new();
    for said in registry.credentials(party).filter(live).chain([credential]) {
        let Some(issuer) = trust.issuer(said.signer()) else { continue };
        if issuer.class == IssuerClass::Attester && issuer.is_trusted_for(party.id.country(), party.role) {
            let attester = attesters.entry(*said.signer());
            attester.or_insert_with(|| Attester { issuer, credentials: Vec::new() }).credentials.push(said);
        }
    }
    attesters.into_values().collect()
}
