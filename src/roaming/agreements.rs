//! Agreements: offered and accepted here or by a partner's node, and ended by either. `papers` tells them.
//!
//! What is known of one agreement only grows: an offer, then an acceptance, then an end. So papers may come
//! twice, late and in any order, and all nodes of the two parties come to hold the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::effect::{Action, Effects, Report};
use super::freshness::{Operation, Stale};
use super::input::{CallId, Now};
use super::pace::Pace;
use super::policy::{Decision, Policy};
use super::{OurParty, Roaming, TICK_IDLE_MS};
use crate::identity::agreement::NONCE_LENGTH;
use crate::identity::{
    Agreement, AgreementEnd, AgreementError, AgreementTerms, ChainError, PartyId, SealError, Service, hash_of,
};
use crate::protocol::{AgreementPapers, Digest, NodeId, ProtocolError};

/// What somebody wants to do about an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementAct {
    /// Offer one.
    Offer {
        /// By which party of ours; `None` if there is only one that can.
        ours: Option<PartyId>,
        /// To whom.
        partner: PartyId,
        /// What each may do with the other.
        services: BTreeSet<Service>,
        /// First second, Unix time; `None`: now.
        valid_from_unix_s: Option<u64>,
        /// First second after it, Unix time.
        valid_until_unix_s: u64,
    },
    /// Accept an offer.
    Accept(Digest),
    /// End an agreement, take back an offer, or decline one.
    End(Digest),
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgreementRefusal {
    /// No such agreement.
    #[error("there is no such agreement or offer here: see `chargemesh agreement list`")]
    Unknown,
    /// Not a party of this node.
    #[error("{0} is no party of this node")]
    NotOurs(PartyId),
    /// Which of several parties?
    #[error("say for which party of this node: {0}")]
    WhichParty(String),
    /// An offer of ours waits for the other side.
    #[error("this is our own offer: {0} has to accept it")]
    OwnOffer(PartyId),
    /// It is over.
    #[error("it was ended, or its time is over: make a new offer")]
    Over,
    /// The time makes no sense.
    #[error("the agreement would be over already: give a later end")]
    Past,
    /// No room.
    #[error("no room for more: end offers that nobody answers")]
    Full,
    /// It cannot be signed.
    #[error(transparent)]
    Signing(#[from] AgreementError),
    /// The other signer is not believed here.
    #[error("the other side's credential: {0}")]
    Chain(#[from] ChainError),
    /// Papers of a peer that are not what they should be.
    #[error("{0}")]
    Malformed(String),
    /// Signed too long ago, or in the future.
    #[error("signed at a time that does not count any more, or not yet: offer it again")]
    Time,
    /// What is known of revocations is too old.
    #[error("it is not known whether {partner} was revoked: {why}, or pin the partner")]
    Stale {
        /// The other side.
        partner: PartyId,
        /// What is too old.
        why: Stale,
    },
    /// Two of one role.
    #[error(
        "an agreement is made between an operator (CPO) and a provider (EMP), and {partner} has the role of {ours}"
    )]
    SameRole {
        /// The party of this node.
        ours: PartyId,
        /// The other.
        partner: PartyId,
    },
    /// Of parties of other nodes.
    #[error("an agreement of others")]
    OfOthers,
}

impl From<SealError> for AgreementRefusal {
    fn from(error: SealError) -> AgreementRefusal {
        AgreementError::from(error).into()
    }
}

impl From<ProtocolError> for AgreementRefusal {
    fn from(error: ProtocolError) -> AgreementRefusal {
        AgreementRefusal::Malformed(error.to_string())
    }
}

/// One agreement or offer, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementSummary {
    /// The hash of the offer.
    pub id: Digest,
    /// What is offered or agreed.
    pub terms: AgreementTerms,
    /// When it was accepted, Unix time.
    pub accepted_unix_s: Option<u64>,
    /// Who ended it, and when, Unix time.
    pub ended: Option<(PartyId, u64)>,
    /// Whether a party of this node is the offerer.
    pub own_offer: bool,
    /// Whether those who signed it are believed now: else it is not in force.
    pub believed: bool,
}

/// What is known of one, verified.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) papers: AgreementPapers,
    pub(super) terms: AgreementTerms,
    pub(super) accepted_unix_s: Option<u64>,
    pub(super) ended: Option<(PartyId, u64)>,
    /// Whether those who signed it are believed now.
    pub(super) believed: bool,
}

impl Kept {
    fn is_over(&self, now: Now) -> bool {
        self.ended.is_some() || self.terms.valid_until_unix_s <= now.unix_s()
    }

    pub(super) fn is_open_offer(&self, now: Now) -> bool {
        self.accepted_unix_s.is_none() && !self.is_over(now)
    }

    pub(super) fn is_live(&self, now: Now) -> bool {
        self.believed
            && self.accepted_unix_s.is_some()
            && !self.is_over(now)
            && self.terms.is_valid_at(now.unix_s())
    }
}

/// All agreements of our parties.
#[derive(Debug, Default)]
pub(super) struct Agreements {
    pub(super) policy: Policy,
    pub(super) kept: BTreeMap<Digest, Kept>,
    /// Stored ones whose signers are not believed since the start. Bounded by what is stored.
    pub(super) waiting: Vec<AgreementPapers>,
    /// Whether something was learned since they were tried.
    pub(super) retry: bool,
    /// Who is to be told of what, and from when on, on the monotonic clock. Bounded by peers and agreements.
    pub(super) to_tell: BTreeMap<(NodeId, Digest), u64>,
    pub(super) pace: Pace,
}

impl Agreements {
    /// A peer is gone; it is told when it comes back.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.to_tell.retain(|(other, _), _| other != node);
    }

    /// Whether somebody is to be told soon.
    pub(super) fn is_telling(&self, now_ms: u64) -> bool {
        self.to_tell.values().any(|at_ms| *at_ms <= now_ms + TICK_IDLE_MS)
    }
}

impl Roaming {
    /// The same core with a policy.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Roaming {
        self.take_policy(policy);
        self
    }

    /// From now on another policy decides. What runs is not asked again.
    pub(super) fn take_policy(&mut self, policy: Policy) {
        if policy != self.agreements.policy {
            self.agreements.policy = policy;
            self.partners.policy_changed();
        }
    }

    /// Whether `partner` may do this with our party `ours` now.
    pub fn decide(&self, ours: &PartyId, partner: &PartyId, service: Service, now: Now) -> Decision {
        let covers = |kept: &Kept| {
            kept.terms.names(ours)
                && kept.terms.names(partner)
                && kept.terms.services.contains(&service)
                && kept.is_live(now)
        };
        // Nobody needs a contract with itself, and one party cannot be both sides.
        let agreed = || ours != partner && self.agreements.kept.values().any(covers);
        self.agreements.policy.decide(partner, service, agreed)
    }

    /// The other sides of all agreements.
    pub(super) fn agreement_partners(&self) -> BTreeSet<PartyId> {
        let both = self.agreements.kept.values().map(|kept| [&kept.terms.offerer, &kept.terms.accepter]);
        both.flatten().filter(|party| !self.parties.contains_key(*party)).cloned().collect()
    }

    /// The parties of this node.
    pub fn parties(&self) -> impl Iterator<Item = &PartyId> {
        self.parties.keys()
    }

    /// All agreements and offers, by their hash.
    pub fn agreements(&self) -> Vec<AgreementSummary> {
        let summary = |(id, kept): (&Digest, &Kept)| AgreementSummary {
            id: *id,
            terms: kept.terms.clone(),
            accepted_unix_s: kept.accepted_unix_s,
            ended: kept.ended.clone(),
            own_offer: self.parties.contains_key(&kept.terms.offerer),
            believed: kept.believed,
        };
        self.agreements.kept.iter().map(summary).collect()
    }

    /// What storage remembers. Papers whose signers are not believed any more are not in force; they stay
    /// stored, and count again when trust in their signers is restored.
    pub(super) fn reload_agreements(&mut self, stored: Vec<Bytes>) {
        for bytes in stored {
            match AgreementPapers::decode(&bytes) {
                Ok(papers) => self.agreements.waiting.push(papers),
                Err(error) => self.unbelieved.push(Report::AgreementNotBelieved { why: error.into() }),
            }
        }
        for why in self.believe_waiting().1 {
            self.unbelieved.push(Report::AgreementNotBelieved { why });
        }
    }

    /// Takes in what waits for trust in its signers: what counts now, and why the rest does not.
    fn believe_waiting(&mut self) -> (Vec<Digest>, Vec<AgreementRefusal>) {
        let (mut believed, mut refused) = (Vec::new(), Vec::new());
        for papers in std::mem::take(&mut self.agreements.waiting) {
            match self.read_papers(papers.clone()) {
                Ok((id, kept)) => {
                    believed.push(id);
                    self.agreements.kept.insert(id, kept);
                }
                Err(why) => {
                    self.agreements.waiting.push(papers);
                    refused.push(why);
                }
            }
        }
        (believed, refused)
    }

    /// Something new is known of a party, or of everybody: are the signers of its agreements believed?
    pub(super) fn judge_agreements(&mut self, party: Option<&PartyId>, fx: &mut Effects) {
        let concerned = |kept: &Kept| party.is_none_or(|party| kept.terms.names(party));
        let kept = self.agreements.kept.iter().filter(|(_, kept)| concerned(kept));
        let judged: Vec<_> =
            kept.map(|(id, kept)| (*id, self.read_papers(kept.papers.clone()).map(drop))).collect();
        for (id, outcome) in judged {
            let Some(kept) = self.agreements.kept.get_mut(&id) else { continue };
            let before = std::mem::replace(&mut kept.believed, outcome.is_ok());
            match outcome {
                Ok(()) if !before => fx.actions.push(Action::Report(Report::AgreementBelieved { id })),
                Err(why) if before => fx.actions.push(Action::Report(Report::AgreementNotBelieved { why })),
                _ => {}
            }
        }
        self.agreements.retry |= party.is_some() && !self.agreements.waiting.is_empty();
        if party.is_none() {
            self.retry_agreements(fx);
        }
    }

    /// What waits for trust is tried again. Now and then, for a joiner learns of thousands of parties at once.
    pub(super) fn retry_agreements(&mut self, fx: &mut Effects) {
        self.agreements.retry = false;
        for id in self.believe_waiting().0 {
            fx.actions.push(Action::Report(Report::AgreementBelieved { id }));
        }
    }

    /// Somebody at this node offers, accepts or ends.
    pub(super) fn act_on_agreement(&mut self, call: CallId, act: AgreementAct, now: Now, fx: &mut Effects) {
        let done = match act {
            AgreementAct::Offer { ours, partner, services, valid_from_unix_s, valid_until_unix_s } => {
                let valid_from_unix_s = valid_from_unix_s.unwrap_or_else(|| now.unix_s());
                let mut nonce = [0; NONCE_LENGTH];
                let random = self.random().to_be_bytes().into_iter().chain(self.random().to_be_bytes());
                nonce.iter_mut().zip(random).for_each(|(to, from)| *to = from);
                self.offerer(ours, &partner).and_then(|offerer| {
                    let (accepter, created_unix_s) = (partner, now.unix_s());
                    self.offer(
                        AgreementTerms {
                            offerer,
                            accepter,
                            services,
                            valid_from_unix_s,
                            valid_until_unix_s,
                            created_unix_s,
                            nonce,
                        },
                        now,
                        fx,
                    )
                })
            }
            AgreementAct::Accept(id) => self.accept(id, now, fx),
            AgreementAct::End(id) => self.end(id, now, fx),
        };
        fx.actions.push(Action::AgreementDone { call, done });
        self.tick_agreements(now, fx);
    }

    /// The party of ours that offers.
    fn offerer(&self, ours: Option<PartyId>, partner: &PartyId) -> Result<PartyId, AgreementRefusal> {
        let same_role =
            |ours: &PartyId| AgreementRefusal::SameRole { ours: ours.clone(), partner: partner.clone() };
        match ours {
            Some(ours) if !self.parties.contains_key(&ours) => return Err(AgreementRefusal::NotOurs(ours)),
            Some(ours) if ours.role == partner.role => return Err(same_role(&ours)),
            Some(ours) => return Ok(ours),
            None => {}
        }
        let mut able = self.parties.keys().filter(|party| party.role != partner.role && *party != partner);
        match (able.next(), able.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(self.parties.keys().next().map_or(AgreementRefusal::OfOthers, same_role)),
            _ => {
                let all: Vec<String> = self.parties.keys().map(PartyId::to_text).collect();
                Err(AgreementRefusal::WhichParty(all.join(", ")))
            }
        }
    }

    fn offer(
        &mut self,
        terms: AgreementTerms,
        now: Now,
        fx: &mut Effects,
    ) -> Result<Digest, AgreementRefusal> {
        let Some(ours) = self.parties.get(&terms.offerer) else {
            return Err(AgreementRefusal::NotOurs(terms.offerer));
        };
        if terms.valid_until_unix_s <= now.unix_s() {
            return Err(AgreementRefusal::Past);
        }
        let signed: Bytes = terms.offer(self.speakers.network(), &ours.speaker, &ours.message_key)?.into();
        let id = hash_of(&signed);
        let papers = AgreementPapers { signed, offerer: ours.chain.clone(), accepter: None, end: None };
        self.make_room(&terms, now, fx)?;
        self.keep_agreement(
            id,
            Kept { papers, terms, accepted_unix_s: None, ended: None, believed: true },
            None,
            now,
            fx,
        );
        Ok(id)
    }

    fn accept(&mut self, id: Digest, now: Now, fx: &mut Effects) -> Result<Digest, AgreementRefusal> {
        let kept = self.agreements.kept.get(&id).ok_or(AgreementRefusal::Unknown)?;
        if kept.is_over(now) {
            return Err(AgreementRefusal::Over);
        }
        if kept.accepted_unix_s.is_some() {
            return Ok(id);
        }
        let Some(ours) = self.parties.get(&kept.terms.accepter) else {
            return Err(AgreementRefusal::OwnOffer(kept.terms.accepter.clone()));
        };
        self.check_fresh(&kept.terms.offerer, now)?;
        let offerer = self.signer(&kept.papers.offerer, kept.terms.created_unix_s)?;
        let (network, created) = (self.speakers.network(), now.unix_s());
        let signed = Agreement::accept(
            network,
            &kept.papers.signed,
            &offerer,
            &ours.speaker,
            &ours.message_key,
            created,
        )?;
        let accepter = Some(ours.chain.clone());
        let papers = AgreementPapers { signed: signed.into(), accepter, ..kept.papers.clone() };
        let (terms, ended) = (kept.terms.clone(), None);
        self.keep_agreement(
            id,
            Kept { papers, terms, accepted_unix_s: Some(created), ended, believed: true },
            None,
            now,
            fx,
        );
        Ok(id)
    }

    fn check_fresh(&self, partner: &PartyId, now: Now) -> Result<(), AgreementRefusal> {
        match self.may_still(partner, Operation::AgreementStart, now).refused() {
            Some(why) => Err(AgreementRefusal::Stale { partner: partner.clone(), why }),
            None => Ok(()),
        }
    }

    fn end(&mut self, id: Digest, now: Now, fx: &mut Effects) -> Result<Digest, AgreementRefusal> {
        let kept = self.agreements.kept.get(&id).ok_or(AgreementRefusal::Unknown)?;
        if kept.ended.is_some() {
            return Ok(id);
        }
        let terms = kept.terms.clone();
        let ours = [&terms.offerer, &terms.accepter].into_iter().find_map(|party| self.parties.get(party));
        let Some(OurParty { party, speaker, message_key, chain, .. }) = ours else {
            return Err(AgreementRefusal::OfOthers);
        };
        let created_unix_s = now.unix_s();
        let end = AgreementEnd { agreement: id, created_unix_s };
        let signed = end.issue(self.speakers.network(), &terms, speaker, message_key)?;
        let papers = AgreementPapers { end: Some((signed.into(), chain.clone())), ..kept.papers.clone() };
        let (accepted_unix_s, ended) = (kept.accepted_unix_s, Some((party.clone(), created_unix_s)));
        self.keep_agreement(
            id,
            Kept { papers, terms, accepted_unix_s, ended, believed: true },
            None,
            now,
            fx,
        );
        Ok(id)
    }
}
