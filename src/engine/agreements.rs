//! Agreements as callers of the engine see them: what may be done about them, and who may do what.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::handle::{Command, Engine, EngineError};
use crate::identity::{PartyId, Service};
use crate::protocol::Digest;
use crate::roaming::{AgreementAct, AgreementRefusal, AgreementSummary, Now, Roaming};

/// Who waits for what becomes of an act.
pub(crate) type AgreementReply = oneshot::Sender<Result<Result<Digest, AgreementRefusal>, EngineError>>;

/// What is to be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOffer {
    /// By which party of this node; `None` if only one can be meant.
    pub ours: Option<PartyId>,
    /// To whom.
    pub partner: PartyId,
    /// What each may do with the other.
    pub services: BTreeSet<Service>,
    /// First second, Unix time; `None`: now.
    pub valid_from_unix_s: Option<u64>,
    /// First second after it, Unix time.
    pub valid_until_unix_s: u64,
}

/// What became of an act: the agreement's name, or why not.
pub type AgreementOutcome = Result<Digest, AgreementRefusal>;

impl Engine {
    /// Offers an agreement. Returns after the durable commit; the partner's nodes are told when they are
    /// connected.
    ///
    /// # Errors
    /// [`EngineError`]; a refusal is an `Ok`.
    pub async fn offer_agreement(&self, offer: NewOffer) -> Result<AgreementOutcome, EngineError> {
        let NewOffer { ours, partner, services, valid_from_unix_s, valid_until_unix_s } = offer;
        self.on_agreement(AgreementAct::Offer {
            ours,
            partner,
            services,
            valid_from_unix_s,
            valid_until_unix_s,
        })
        .await
    }

    /// Accepts an offer; accepting twice changes nothing.
    ///
    /// # Errors
    /// As [`Engine::offer_agreement`].
    pub async fn accept_agreement(&self, id: Digest) -> Result<AgreementOutcome, EngineError> {
        self.on_agreement(AgreementAct::Accept(id)).await
    }

    /// Ends an agreement at once, takes back an offer, or declines one; ending twice changes nothing.
    ///
    /// # Errors
    /// As [`Engine::offer_agreement`].
    pub async fn end_agreement(&self, id: Digest) -> Result<AgreementOutcome, EngineError> {
        self.on_agreement(AgreementAct::End(id)).await
    }

    /// What a partner may do now with each party of this node.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn permissions(&self, partner: PartyId) -> Result<Vec<PermissionView>, EngineError> {
        self.ask(|reply| Command::Permissions { partner, reply }).await
    }

    async fn on_agreement(&self, act: AgreementAct) -> Result<AgreementOutcome, EngineError> {
        self.ask(|reply| Command::Agreement { act, reply }).await?
    }
}

/// One agreement or offer.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AgreementView {
    /// The hash of the offer, in hex.
    pub id: String,
    /// Who offered it, as `ROLE:ID`.
    pub offerer: String,
    /// To whom.
    pub accepter: String,
    /// Whether a party of this node offered it.
    pub own_offer: bool,
    /// What each may do with the other.
    pub services: Vec<&'static str>,
    /// Whether those who signed it are believed now: else it is not in force.
    pub believed: bool,
    /// `offered`, `agreed` or `ended`, whatever the time.
    pub state: &'static str,
    /// First second, Unix time.
    pub valid_from_unix_s: u64,
    /// First second after it, Unix time.
    pub valid_until_unix_s: u64,
    /// When it was offered, Unix time.
    pub offered_unix_s: u64,
    /// When it was accepted, Unix time.
    pub accepted_unix_s: Option<u64>,
    /// When it was ended, Unix time.
    pub ended_unix_s: Option<u64>,
    /// By whom.
    pub ended_by: Option<String>,
}

pub(super) fn agreement_view(agreement: &AgreementSummary) -> AgreementView {
    let terms = &agreement.terms;
    let state = match (&agreement.ended, agreement.accepted_unix_s) {
        (Some(_), _) => "ended",
        (None, Some(_)) => "agreed",
        (None, None) => "offered",
    };
    AgreementView {
        id: agreement.id.iter().map(|byte| format!("{byte:02x}")).collect(),
        offerer: terms.offerer.to_text(),
        accepter: terms.accepter.to_text(),
        own_offer: agreement.own_offer,
        services: terms.services.iter().map(|service| service.as_str()).collect(),
        believed: agreement.believed,
        state,
        valid_from_unix_s: terms.valid_from_unix_s,
        valid_until_unix_s: terms.valid_until_unix_s,
        offered_unix_s: terms.created_unix_s,
        accepted_unix_s: agreement.accepted_unix_s,
        ended_unix_s: agreement.ended.as_ref().map(|(_, at_unix_s)| *at_unix_s),
        ended_by: agreement.ended.as_ref().map(|(party, _)| party.to_text()),
    }
}

/// What a partner may do with a party of this node.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PermissionView {
    /// The party of this node, as `ROLE:ID`.
    pub ours: String,
    /// The service.
    pub service: &'static str,
    /// `allowed`, `no contract` or `denied`.
    pub decision: &'static str,
    /// The OICP status code of a refusal.
    pub code: Option<String>,
}

pub(super) fn permissions(core: &Roaming, partner: &PartyId, now: Now) -> Vec<PermissionView> {
    let of = |ours: &PartyId, service: Service| {
        let decision = core.decide(ours, partner, service, now);
        PermissionView {
            ours: ours.to_text(),
            service: service.as_str(),
            decision: decision.as_str(),
            code: decision.code().map(|code| code.as_str().to_owned()),
        }
    };
    core.parties().flat_map(|ours| Service::ALL.map(|service| of(ours, service))).collect()
}
