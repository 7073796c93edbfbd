//! Who is behind a delegation hash: chains that were verified, those that are not trusted here, and
//! the messages that wait for an answer to "who is this?".

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::Refusal;
use super::input::{GossipId, Now};
use crate::identity::{
    self, Added, Chain, ChainError, IdConflict, PartyId, Registry, RegistryError, Speaker, TrustContext,
    TrustList,
};
use crate::protocol::{Announcement, Digest, NodeId};

/// Chains that are kept: one or two for each of some thousand parties.
const SPEAKERS_MAX: usize = 20_000;

/// Delegations that are remembered as not trusted here.
const DISTRUSTED_MAX: usize = 4_096;

/// How long "not trusted here" is believed before it is asked again, in milliseconds.
const DISTRUST_MS: u64 = 60_000;

/// A message whose sender is not known yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The peer that passed it on.
    pub from: NodeId,
    /// For the verdict; `None` if it did not come by gossip.
    pub gossip: Option<GossipId>,
    /// The message.
    pub announcement: Announcement,
    /// When to give up, on the monotonic clock.
    pub until_ms: u64,
}

/// What is known of a delegation hash.
pub(super) enum Knowledge {
    /// A verified chain.
    Known(Arc<Speaker>),
    /// A chain that does not count here.
    Distrusted,
    /// Nothing.
    Unknown,
}

/// What became of chains that were judged anew.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Speakers whose chains do not hold any more.
    pub fallen: Vec<Arc<Speaker>>,
    /// Speakers who may say something else than before.
    pub changed: Vec<Arc<Speaker>>,
}

/// All senders.
#[derive(Debug)]
pub(super) struct Speakers {
    network: String,
    trust: TrustList,
    registry: Registry,
    /// How often it has changed.
    registry_changes: u64,
    /// Its root, until it changes.
    registry_root: Option<Digest>,
    known: BTreeMap<Digest, (Arc<Speaker>, Chain)>,
    distrusted: BTreeMap<Digest, u64>,
    waiting: BTreeMap<Digest, Vec<Waiting>>,
    waiting_count: usize,
}

impl Speakers {
    /// Nobody yet.
    pub(super) fn new(network: String, trust: TrustList) -> Speakers {
        Speakers {
            network,
            trust,
            registry: Registry::empty(),
            registry_changes: 0,
            registry_root: None,
            known: BTreeMap::new(),
            distrusted: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_count: 0,
        }
    }

    /// Believes others from now on, and judges every chain anew but those of this node's own parties.
    pub(super) fn believe(&mut self, trust: TrustList, is_ours: impl Fn(&PartyId) -> bool, now: Now) {
        self.trust = trust;
        self.distrusted.clear();
        let (ours, others) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(_, (speaker, _))| is_ours(speaker.party()));
        self.known = ours;
        let others: BTreeMap<Digest, (Arc<Speaker>, Chain)> = others;
        for (_, chain) in others.into_values() {
            // One that does not count any more is remembered as such, for a while.
            let _distrusted = self.admit(chain, now);
        }
    }

    /// The network all of this is about.
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    /// What is known of a delegation.
    pub(super) fn of(&self, delegation: &Digest, now: Now) -> Knowledge {
        match self.known.get(delegation) {
            Some((speaker, _)) => Knowledge::Known(speaker.clone()),
            None if self.distrusted.get(delegation).is_some_and(|until| *until > now.mono_ms) => {
                Knowledge::Distrusted
            }
            None => Knowledge::Unknown,
        }
    }

    /// The chain behind a delegation, to hand on.
    pub(super) fn chain(&self, delegation: &Digest) -> Option<&Chain> {
        self.known.get(delegation).map(|(_, chain)| chain)
    }

    /// Keeps the chain of a party of this node, whomever else this node trusts.
    pub(super) fn keep_own(&mut self, speaker: Arc<Speaker>, chain: Chain) {
        self.known.insert(*speaker.delegation_hash(), (speaker, chain));
    }

    /// Whether no more chains can be kept.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= SPEAKERS_MAX
    }

    /// Forgets all chains but these: delegations live for days, their writers for years.
    pub(super) fn keep_only(&mut self, used: &std::collections::BTreeSet<Digest>) {
        self.known.retain(|delegation, _| used.contains(delegation));
    }

    /// Verifies a chain and keeps it. One that has ended is kept too: a joiner learns feeds whose writer
    /// is offline, and each head is judged at the time when it was signed (`decisions.md` 7).
    pub(super) fn admit(&mut self, chain: Chain, now: Now) -> Result<Arc<Speaker>, Refusal> {
        let delegation = chain.delegation_hash();
        let verified = match self.verify(&chain, now.unix_s()) {
            Err(ChainError::Expired { until_unix_s, .. }) => {
                self.verify(&chain, until_unix_s.saturating_sub(1))
            }
            other => other,
        };
        match verified {
            Ok(speaker) if self.known.len() < SPEAKERS_MAX || self.known.contains_key(&delegation) => {
                let speaker = Arc::new(speaker);
                self.known.insert(delegation, (speaker.clone(), chain));
                Ok(speaker)
            }
            Ok(_) => Err(Refusal::NotHeld),
            // Not the credential that the delegation names: says nothing of the delegation.
            Err(ChainError::NotThisCredential | ChainError::Credential(_)) => Err(Refusal::UnknownSender),
            Err(error) => {
                if self.distrusted.len() >= DISTRUSTED_MAX {
                    self.distrusted.clear();
                }
                self.distrusted.insert(delegation, now.mono_ms + DISTRUST_MS);
                Err(match error.verdict() {
                    identity::Verdict::Reject => Refusal::Malformed(error.to_string()),
                    identity::Verdict::Ignore => Refusal::Chain(error.to_string()),
                })
            }
        }
    }

    /// Takes an object into the registry.
    pub(super) fn learn(&mut self, bytes: &[u8]) -> Result<Added, RegistryError> {
        let added = self.registry.add(bytes, &self.network, &self.trust)?;
        if matches!(added, Added::New { .. }) {
            self.registry_changes += 1;
            self.registry_root = None;
        }
        Ok(added)
    }

    /// What is known of everybody.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A number that is another one whenever the registry is.
    pub(super) fn registry_changes(&self) -> u64 {
        self.registry_changes
    }

    /// One hash over all of it.
    pub(super) fn registry_root(&mut self) -> Digest {
        *self.registry_root.get_or_insert_with(|| self.registry.root())
    }

    /// The same for who only looks.
    pub(super) fn registry_root_now(&self) -> Digest {
        self.registry_root.unwrap_or_else(|| self.registry.root())
    }

    /// Whom this node believes.
    pub(super) fn trust(&self) -> &TrustList {
        &self.trust
    }

    /// Who claims a party's id.
    pub(super) fn id_conflict(&self, party: &PartyId, now: Now) -> Option<IdConflict> {
        self.registry.id_conflict(party, &self.trust, now.unix_s())
    }

    /// Judges the chains anew that something new about a party concerns (all, for a status list), ours
    /// excepted: those of the party, and of others who speak for its id. Forgets those that do not hold any
    /// more, and what was not believed before.
    pub(super) fn judge_anew(&mut self, party: Option<&PartyId>, own: &[Digest], now: Now) -> Judged {
        self.distrusted.clear();
        let concerned = |delegation: &Digest, speaker: &Speaker| {
            let about = |party: &PartyId| party == speaker.party() || speaker.names(&party.id);
            !own.contains(delegation) && party.is_none_or(about)
        };
        let mut judged = Judged::default();
        let mut fallen = Vec::new();
        for (delegation, (speaker, chain)) in self.known.iter().filter(|(d, (s, _))| concerned(d, s)) {
            let at_unix_s = now.unix_s().min(speaker.valid_until_unix_s().saturating_sub(1));
            match self.verify(chain, at_unix_s) {
                Ok(new) if new != **speaker => judged.changed.push(Arc::new(new)),
                Ok(_) => {}
                Err(_) => fallen.push((*delegation, speaker.clone())),
            }
        }
        for speaker in &judged.changed {
            if let Some((held, _)) = self.known.get_mut(speaker.delegation_hash()) {
                *held = speaker.clone();
            }
        }
        for (delegation, speaker) in fallen {
            self.known.remove(&delegation);
            judged.fallen.push(speaker);
        }
        judged
    }

    /// Whether a party goes on under something newer than this speaker's chain: a believed org key that follows
    /// its own by a rotation, or a delegation of a higher epoch.
    pub(super) fn is_replaced(&self, gone: &Speaker, at_unix_s: u64) -> bool {
        let (registry, party) = (&self.registry, gone.party());
        let follows =
            |key: &identity::PublicKey| key != gone.org_key() && registry.follows(party, gone.org_key(), key);
        let live = |credential: &&identity::Verified<identity::Credential>| {
            credential.terms.expires_unix_s > at_unix_s && !registry.is_credential_dead(credential)
        };
        let rotated = registry.credentials(party).filter(live).any(|c| follows(&c.terms.org_key));
        rotated
            || self.live(party, at_unix_s).any(|s| s.org_key() == gone.org_key() && s.epoch() > gone.epoch())
    }

    /// The speakers of a party that hold now.
    pub(super) fn live<'a>(
        &'a self,
        party: &'a PartyId,
        at_unix_s: u64,
    ) -> impl Iterator<Item = &'a Arc<Speaker>> {
        let speakers = self.known.values().map(|(speaker, _)| speaker);
        speakers.filter(move |speaker| speaker.party() == party && speaker.may_at(at_unix_s).is_ok())
    }

    /// Judges a chain under an org key that rotations led away from, as it was judged while it was the pinned
    /// one: what it signed before still counts. What was revoked does not.
    pub(super) fn verify_former(&self, chain: &Chain, at_unix_s: u64) -> Result<Speaker, ChainError> {
        let verified = self.verify(chain, at_unix_s);
        let Err(ChainError::PinnedOtherwise { party }) = &verified else { return verified };
        let credential = identity::Credential::open(&chain.credential, &self.network);
        let former = credential.map_err(ChainError::Credential)?.terms.org_key;
        let mut trust = self.trust.clone();
        let Some(pin) = trust.pins.iter_mut().find(|pin| pin.party == *party) else { return verified };
        if !self.registry.follows(party, &former, &pin.org_key) {
            return verified;
        }
        pin.org_key = former;
        let (network, registry) = (&self.network, &self.registry);
        chain.verify(&TrustContext { network, trust: &trust, registry, at_unix_s })
    }

    /// Judges a chain without keeping it.
    pub(super) fn verify(&self, chain: &Chain, at_unix_s: u64) -> Result<Speaker, ChainError> {
        chain.verify(&TrustContext {
            network: &self.network,
            trust: &self.trust,
            registry: &self.registry,
            at_unix_s,
        })
    }

    /// Holds a message until its sender is known. `Err` gives it back: no room.
    pub(super) fn hold(
        &mut self,
        delegation: Digest,
        message: Waiting,
        room: usize,
    ) -> Result<bool, Waiting> {
        if self.waiting_count >= room {
            return Err(message);
        }
        self.waiting_count += 1;
        let list = self.waiting.entry(delegation).or_default();
        list.push(message);
        Ok(list.len() == 1)
    }

    /// The messages that waited for this sender.
    pub(super) fn release(&mut self, delegation: &Digest) -> Vec<Waiting> {
        let released = self.waiting.remove(delegation).unwrap_or_default();
        self.waiting_count -= released.len();
        released
    }

    /// The messages that waited too long.
    pub(super) fn expired(&mut self, now: Now) -> Vec<Waiting> {
        let mut expired = Vec::new();
        for list in self.waiting.values_mut() {
            let (late, rest) = std::mem::take(list).into_iter().partition(|w| w.until_ms <= now.mono_ms);
            *list = rest;
            expired.extend::<Vec<Waiting>>(late);
        }
        self.waiting.retain(|_, list| !list.is_empty());
        self.waiting_count -= expired.len();
        expired
    }

    /// Whether any message waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_count > 0
    }
}
