//! What nodes tell each other of agreements: papers are verified, joined with what is known, kept, and told to
//! every connected node of the two parties until it has taken note.

use std::sync::Arc;

use super::agreements::{AgreementRefusal, Kept};
use super::change::LedgerChange;
use super::effect::{Action, Effects, Report};
use super::input::Now;
use super::{Pending, Roaming};
use crate::identity::agreement::claimed_times;
use crate::identity::chain::CLOCK_LEEWAY_S;
use crate::identity::{Agreement, AgreementEnd, AgreementTerms, Chain, ChainError, Speaker};
use crate::protocol::{AgreementPapers, Answer, Digest, NodeId, Question};

/// Agreements and offers that are kept, those that are over included: one or two for each partner.
const AGREEMENTS_MAX: usize = 4_096;

/// Offers of one party that wait for an answer: nobody can fill the table alone.
const OFFERS_PER_PARTY_MAX: usize = 16;

/// An offer or acceptance that is new here counts only so long after it was signed, in seconds: it is judged at
/// the time when it was signed, and a key that was stolen after its delegation had ended must not sign for
/// earlier days. The longest that partners may be out of touch; after that it is offered again.
const DELIVERY_S_MAX: u64 = 7 * 86_400;

/// Agreements under way to peers at once.
const TELLS_MAX: usize = 16;

/// Wait before a peer that did not answer is told again, in milliseconds.
const TELL_AGAIN_MS: u64 = 10_000;

/// ... and one that answered that it does not take it.
const REFUSED_AGAIN_MS: u64 = 600_000;

impl Roaming {
    /// A peer tells of an agreement.
    pub(super) fn agreement_told(
        &mut self,
        from: &NodeId,
        papers: AgreementPapers,
        now: Now,
        fx: &mut Effects,
    ) -> Answer {
        // No penalty: a host of many parties may have much to tell, and tells it again.
        if !self.agreements.pace.admits(from, now.mono_ms) {
            return Answer::NotFound;
        }
        match self.take_papers(from, papers, now, fx) {
            Ok(()) => Answer::Noted,
            Err(why) => {
                fx.actions.push(Action::Report(Report::AgreementRefused { from: from.clone(), why }));
                Answer::NotFound
            }
        }
    }

    fn take_papers(
        &mut self,
        from: &NodeId,
        papers: AgreementPapers,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), AgreementRefusal> {
        let (id, mut new) = self.read_papers(papers)?;
        if !self.parties.keys().any(|party| new.terms.names(party)) {
            return Err(AgreementRefusal::OfOthers);
        }
        let fresh = |signed_unix_s: u64| {
            signed_unix_s <= now.unix_s() + CLOCK_LEEWAY_S && signed_unix_s + DELIVERY_S_MAX > now.unix_s()
        };
        let known = self.agreements.kept.get(&id);
        let is_accepted = known.is_some_and(|old| old.accepted_unix_s.is_some());
        let offer_counts = known.is_some() || fresh(new.terms.created_unix_s);
        if !offer_counts || !is_accepted && !new.accepted_unix_s.is_none_or(fresh) {
            return Err(AgreementRefusal::Time);
        }
        match known {
            None if new.terms.valid_until_unix_s <= now.unix_s() => return Err(AgreementRefusal::Over),
            None => self.make_room(&new.terms, now, fx)?,
            Some(old) => {
                let (accepts, ends) = (
                    !is_accepted && new.accepted_unix_s.is_some(),
                    old.ended.is_none() && new.ended.is_some(),
                );
                let knows_less = is_accepted && new.accepted_unix_s.is_none()
                    || old.ended.is_some() && new.ended.is_none();
                if !accepts && !ends {
                    if knows_less {
                        self.agreements.to_tell.insert((from.clone(), id), now.mono_ms);
                    }
                    return Ok(());
                }
                if !accepts {
                    (new.papers.signed, new.papers.accepter) =
                        (old.papers.signed.clone(), old.papers.accepter.clone());
                    new.accepted_unix_s = old.accepted_unix_s;
                }
                if !ends {
                    (new.papers.end, new.ended) = (old.papers.end.clone(), old.ended.clone());
                }
                if knows_less {
                    self.agreements.to_tell.insert((from.clone(), id), now.mono_ms);
                }
            }
        }
        self.keep_agreement(id, new, Some(from), now, fx);
        Ok(())
    }

    /// Remembers and tells.
    pub(super) fn keep_agreement(
        &mut self,
        id: Digest,
        kept: Kept,
        except: Option<&NodeId>,
        now: Now,
        fx: &mut Effects,
    ) {
        fx.ledger.push(LedgerChange::Agreement { id, papers: kept.papers.encode() });
        let what = match (&kept.ended, kept.accepted_unix_s) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "agreed",
            (None, None) => "offered",
        };
        let (offerer, accepter) = (kept.terms.offerer.clone(), kept.terms.accepter.clone());
        fx.actions.push(Action::Report(Report::Agreement { id, what, offerer, accepter }));
        for node in self.introduced_nodes().into_iter().filter(|node| Some(node) != except) {
            if self.parties_of(&node, now).iter().any(|party| kept.terms.names(party)) {
                self.agreements.to_tell.insert((node, id), now.mono_ms);
            }
        }
        self.agreements.kept.insert(id, kept);
        self.partners.agreements_changed();
    }

    /// Room for one more offer: those that are over go first, by the end of their validity, because until then
    /// nobody must be able to bring back what was ended.
    pub(super) fn make_room(
        &mut self,
        terms: &AgreementTerms,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), AgreementRefusal> {
        let open = |kept: &&Kept| kept.terms.offerer == terms.offerer && kept.is_open_offer(now);
        if self.agreements.kept.values().filter(open).count() >= OFFERS_PER_PARTY_MAX {
            return Err(AgreementRefusal::Full);
        }
        if self.agreements.kept.len() < AGREEMENTS_MAX {
            return Ok(());
        }
        let past = |kept: &Kept| kept.terms.valid_until_unix_s <= now.unix_s();
        let oldest = self.agreements.kept.iter().filter(|(_, kept)| past(kept));
        let oldest = oldest.min_by_key(|(_, kept)| kept.terms.valid_until_unix_s).map(|(id, _)| *id);
        let id = oldest.ok_or(AgreementRefusal::Full)?;
        self.agreements.kept.remove(&id);
        self.agreements.to_tell.retain(|(_, told), _| *told != id);
        fx.ledger.push(LedgerChange::AgreementForgotten { id });
        Ok(())
    }

    /// Verifies papers: each signer's chain at the time when it signed, then each signature.
    pub(super) fn read_papers(&self, papers: AgreementPapers) -> Result<(Digest, Kept), AgreementRefusal> {
        let network = self.speakers.network();
        let (signed_unix_s, offered_unix_s) = claimed_times(&papers.signed, network)?;
        let offerer = self.signer(&papers.offerer, offered_unix_s.unwrap_or(signed_unix_s))?;
        let (id, terms, accepted_unix_s) = match &papers.accepter {
            None => {
                let terms = AgreementTerms::open(&papers.signed, network, &offerer)?;
                (*terms.hash(), terms.into_content(), None)
            }
            Some(chain) => {
                let accepter = self.signer(chain, signed_unix_s)?;
                let agreement = Agreement::open(&papers.signed, network, &offerer, &accepter)?.into_content();
                (agreement.id, agreement.terms, Some(agreement.accepted_unix_s))
            }
        };
        let ended = match &papers.end {
            None => None,
            Some((end, chain)) => {
                let speaker = self.signer(chain, claimed_times(end, network)?.0)?;
                let end = AgreementEnd::open(end, network, &id, &terms, &speaker)?;
                Some((speaker.party().clone(), end.created_unix_s))
            }
        };
        Ok((id, Kept { papers, terms, accepted_unix_s, ended, believed: true }))
    }

    /// Who signs with this chain: a party of ours whomever this node trusts, anybody else if it does.
    pub(super) fn signer(&self, chain: &Chain, at_unix_s: u64) -> Result<Arc<Speaker>, ChainError> {
        match self.parties.values().find(|ours| ours.chain == *chain) {
            Some(ours) => Ok(ours.speaker.clone()),
            None => self.speakers.verify_former(chain, at_unix_s).map(Arc::new),
        }
    }

    /// A node said whom it speaks for: it hears of every agreement of its parties that is not yet over.
    pub(super) fn tell_agreements_to(&mut self, node: &NodeId, now: Now) {
        let parties = self.parties_of(node, now);
        for (id, kept) in &self.agreements.kept {
            let lasts = kept.terms.valid_until_unix_s > now.unix_s();
            if lasts && parties.iter().any(|party| kept.terms.names(party)) {
                self.agreements.to_tell.insert((node.clone(), *id), now.mono_ms);
            }
        }
    }

    /// Tells whom it is time to tell.
    pub(super) fn tick_agreements(&mut self, now: Now, fx: &mut Effects) {
        fx.actions.extend(std::mem::take(&mut self.unbelieved).into_iter().map(Action::Report));
        let telling =
            self.requests.values().filter(|asking| matches!(asking.about, Pending::Agreement(_))).count();
        let due: Vec<(NodeId, Digest)> = (self.agreements.to_tell.iter())
            .filter(|(_, at_ms)| **at_ms <= now.mono_ms)
            .map(|(whom, _)| whom.clone())
            .take(TELLS_MAX.saturating_sub(telling))
            .collect();
        for (node, id) in due {
            self.agreements.to_tell.remove(&(node.clone(), id));
            let Some(kept) = self.agreements.kept.get(&id) else { continue };
            let question = Question::Agreement(Box::new(kept.papers.clone()));
            self.ask(node, Pending::Agreement(id), question, now, fx);
        }
    }

    /// A peer answered, or did not (`None`): it is told again unless it took note.
    pub(super) fn agreement_answered(
        &mut self,
        node: &NodeId,
        id: Digest,
        answer: Option<&Answer>,
        now: Now,
    ) {
        let again_ms = match answer {
            Some(Answer::Noted) => return,
            Some(_) => REFUSED_AGAIN_MS,
            None => TELL_AGAIN_MS,
        };
        if self.peers.contains_key(node) {
            // Something newer may wait already.
            let due_ms = now.mono_ms + again_ms;
            self.agreements.to_tell.entry((node.clone(), id)).or_insert(due_ms);
        }
    }
}
