//! Which connected node speaks for which party. Publishers are known by their feeds; EMPs have none, so nodes
//! with parties show each other their chains after they connect, and when these change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Action, Effects, Misdeed};
use super::input::Now;
use super::pace::Pace;
use super::speakers::Knowledge;
use super::{Peer, Pending, Roaming};
use crate::identity::{Chain, PartyId, Speaker};
use crate::protocol::{Answer, Digest, INTRODUCED_CHAINS_MAX, NodeId, Question};

/// How long after an introduction that was not heard the next one is tried, in milliseconds. Until it is, nothing can
/// be sent to the party behind that node, however well the link has recovered.
const AGAIN_MS: u64 = 5_000;

/// What connected nodes said of themselves.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    /// Who delegated to the node itself, as it held when the node showed it. Apart from the speakers of feeds,
    /// whose chains are stored. Bounded by peers and by chains per introduction.
    nodes: BTreeMap<NodeId, Vec<(Chain, Arc<Speaker>)>>,
    /// The delegations that we introduced ourselves with last.
    said: Vec<Digest>,
    /// The registry and trust list under which the chains above were judged last.
    pub(super) judged_under: Option<(Digest, u64)>,
    pace: Pace,
}

impl Introductions {
    /// A peer is gone.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }
}

impl Roaming {
    /// Says to a peer whom we speak for.
    pub(super) fn introduce_to(&mut self, node: &NodeId, now: Now, fx: &mut Effects) {
        let chains = self.own_chains();
        if !chains.is_empty() {
            self.ask(node.clone(), Pending::Introduction, Question::Introduce(chains), now, fx);
        }
    }

    /// A peer did not hear us, or did not say who it is: the link may hang, or it may have been asked too much.
    pub(super) fn introduce_again_to(&mut self, node: &NodeId, now: Now) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.introduce_at_ms = Some(now.mono_ms + AGAIN_MS);
        }
    }

    fn own_chains(&self) -> Vec<Chain> {
        self.parties.values().take(INTRODUCED_CHAINS_MAX).map(|ours| ours.chain.clone()).collect()
    }

    /// Parties may have new chains since peers heard of them, and peers may not have heard of us.
    pub(super) fn tick_introductions(&mut self, now: Now, fx: &mut Effects) {
        self.judge_introductions_anew(now);
        let is_due = |peer: &mut Peer| peer.introduce_at_ms.take_if(|at_ms| *at_ms <= now.mono_ms).is_some();
        let due: Vec<NodeId> =
            self.peers.iter_mut().filter_map(|(node, peer)| is_due(peer).then(|| node.clone())).collect();
        for node in due {
            self.introduce_to(&node, now, fx);
        }
        let ours = self.parties.values().take(INTRODUCED_CHAINS_MAX);
        let current: Vec<Digest> = ours.map(|ours| *ours.speaker.delegation_hash()).collect();
        if current == self.introductions.said {
            return;
        }
        let first = self.introductions.said.is_empty();
        self.introductions.said = current;
        // At the start each peer was told when it came.
        let peers: Vec<NodeId> = if first { Vec::new() } else { self.peers.keys().cloned().collect() };
        for node in peers {
            self.introduce_to(&node, now, fx);
        }
    }

    /// A peer says whom it speaks for.
    pub(super) fn introduced(
        &mut self,
        from: &NodeId,
        chains: Vec<Chain>,
        now: Now,
        fx: &mut Effects,
    ) -> Answer {
        if !self.introductions.pace.admits(from, now.mono_ms) {
            fx.actions.push(Action::Penalise { node: from.clone(), why: Misdeed::Flood });
            return Answer::NotFound;
        }
        self.learn_parties(from, chains, now);
        Answer::Chains(self.own_chains())
    }

    /// Keeps what holds: a chain that delegates to the very node that shows it. Another's chain gives
    /// nothing, whoever shows it.
    pub(super) fn learn_parties(&mut self, from: &NodeId, chains: Vec<Chain>, now: Now) {
        if !self.peers.contains_key(from) {
            return;
        }
        let verified = |chain: Chain| match self.speakers.of(&chain.delegation_hash(), now) {
            Knowledge::Known(speaker) => Some((chain, speaker)),
            Knowledge::Distrusted => None,
            Knowledge::Unknown => {
                let speaker = self.speakers.verify(&chain, now.unix_s()).ok().map(Arc::new)?;
                Some((chain, speaker))
            }
        };
        let speakers = chains.into_iter().take(INTRODUCED_CHAINS_MAX).filter_map(verified);
        let held = speakers.filter(|(_, speaker)| speaker.peer_id() == from.as_bytes()).collect();
        self.introductions.nodes.insert(from.clone(), held);
        self.partners.look_soon();
        self.tell_agreements_to(from, now);
        self.settle_soon(now);
        self.greet(from);
    }

    /// What was learned since may have taken the ground from under a chain: who spoke by it is nobody then.
    fn judge_introductions_anew(&mut self, now: Now) {
        let under = Some((self.speakers.registry_root_now(), self.speakers.trust().seq));
        if self.introductions.judged_under == under {
            return;
        }
        self.introductions.judged_under = under;
        let mut nodes = std::mem::take(&mut self.introductions.nodes);
        for held in nodes.values_mut() {
            held.retain(|(chain, _)| self.speakers.verify(chain, now.unix_s()).is_ok());
        }
        self.introductions.nodes = nodes;
    }

    /// The parties that a connected node speaks for now.
    pub(super) fn parties_of(&self, node: &NodeId, now: Now) -> BTreeSet<PartyId> {
        let held = self.introductions.nodes.get(node).into_iter().flatten();
        let current = held.map(|(_, speaker)| speaker).filter(|speaker| speaker.may_at(now.unix_s()).is_ok());
        current.map(|speaker| speaker.party().clone()).collect()
    }

    /// What connected nodes speak with now.
    pub(super) fn introduced_speakers(&self, now: Now) -> impl Iterator<Item = (&NodeId, &Speaker)> {
        let all = self.introductions.nodes.iter();
        let all =
            all.flat_map(|(node, speakers)| speakers.iter().map(move |(_, speaker)| (node, &**speaker)));
        all.filter(move |(_, speaker)| speaker.may_at(now.unix_s()).is_ok())
    }

    /// Under what connected nodes said that they speak for a party.
    pub(super) fn speakers_for<'a>(
        &'a self,
        party: &'a PartyId,
        now: Now,
    ) -> impl Iterator<Item = &'a Arc<Speaker>> {
        let speakers = self.all_introduced();
        speakers.filter(move |speaker| speaker.party() == party && speaker.may_at(now.unix_s()).is_ok())
    }

    /// Connected nodes that introduced themselves.
    pub(super) fn introduced_nodes(&self) -> Vec<NodeId> {
        self.introductions.nodes.keys().cloned().collect()
    }

    fn all_introduced(&self) -> impl Iterator<Item = &Arc<Speaker>> {
        self.introductions.nodes.values().flatten().map(|(_, speaker)| speaker)
    }

    /// Who speaks with a delegation, as a connected node has shown.
    pub(super) fn introduced_speaker(&self, delegation: &Digest) -> Option<Arc<Speaker>> {
        self.all_introduced().find(|speaker| speaker.delegation_hash() == delegation).cloned()
    }

    /// The chain behind a delegation, as a connected node has shown it.
    pub(super) fn introduced_chain(&self, delegation: &Digest) -> Option<&Chain> {
        let held = self.introductions.nodes.values().flatten();
        held.filter(|(_, speaker)| speaker.delegation_hash() == delegation).map(|(chain, _)| chain).next()
    }

    /// The parties that connected nodes speak for.
    pub(super) fn introduced_parties(&self) -> BTreeSet<PartyId> {
        self.all_introduced().map(|speaker| speaker.party().clone()).collect()
    }

    /// Whether a party speaks for another id too: that of one that it bundles.
    pub(super) fn speaks_for_id(&self, party: &PartyId, other: &PartyId, now: Now) -> bool {
        let own = self.parties.get(party).map(|ours| &ours.speaker);
        let mut speakers = self.all_introduced().chain(own);
        let names = |speaker: &&Arc<Speaker>| {
            *speaker.party() == *party && speaker.may_at(now.unix_s()).is_ok() && speaker.names(&other.id)
        };
        party.role == other.role && speakers.any(|speaker| names(&speaker))
    }
}
