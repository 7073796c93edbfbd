//! Which connected node speaks for which party. Publishers are known by their feeds; EMPs have none, so nodes
//! with parties show each other their chains after they connect, and when these change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Action, Effects, Misdeed};
use super::input::Now;
use super::pace::Pace;
use super::speakers::Knowledge;
use super::{Pending, Roaming};
use crate::identity::{Chain, PartyId, Speaker};
use crate::protocol::{Answer, Digest, INTRODUCED_CHAINS_MAX, NodeId, Question};

/// What connected nodes said of themselves.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    /// Who delegated to the node itself, as it held when the node showed it. Apart from the speakers of feeds,
    /// whose chains are stored. Bounded by peers and by chains per introduction.
    nodes: BTreeMap<NodeId, Vec<Arc<Speaker>>>,
    /// The delegations that we introduced ourselves with last.
    said: Vec<Digest>,
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

    fn own_chains(&self) -> Vec<Chain> {
        self.parties.values().take(INTRODUCED_CHAINS_MAX).map(|ours| ours.chain.clone()).collect()
    }

    /// Parties may have new chains since peers heard of them.
    pub(super) fn tick_introductions(&mut self, now: Now, fx: &mut Effects) {
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
        let verified = |chain: &Chain| match self.speakers.of(&chain.delegation_hash(), now) {
            Knowledge::Known(speaker) => Some(speaker),
            Knowledge::Distrusted => None,
            Knowledge::Unknown => self.speakers.verify(chain, now.unix_s()).ok().map(Arc::new),
        };
        let speakers = chains.iter().take(INTRODUCED_CHAINS_MAX).filter_map(verified);
        let held = speakers.filter(|speaker| speaker.peer_id() == from.as_bytes()).collect();
        self.introductions.nodes.insert(from.clone(), held);
        self.partners.look_soon();
        self.tell_agreements_to(from, now);
        self.settle_soon(now);
    }

    /// The parties that a connected node speaks for now.
    pub(super) fn parties_of(&self, node: &NodeId, now: Now) -> BTreeSet<PartyId> {
        let speakers = self.introductions.nodes.get(node).into_iter().flatten();
        let current = speakers.filter(|speaker| speaker.may_at(now.unix_s()).is_ok());
        current.map(|speaker| speaker.party().clone()).collect()
    }

    /// What connected nodes speak with now.
    pub(super) fn introduced_speakers(&self, now: Now) -> impl Iterator<Item = (&NodeId, &Speaker)> {
        let all = self.introductions.nodes.iter();
        let all = all.flat_map(|(node, speakers)| speakers.iter().map(move |speaker| (node, &**speaker)));
        all.filter(move |(_, speaker)| speaker.may_at(now.unix_s()).is_ok())
    }

    /// Connected nodes that introduced themselves.
    pub(super) fn introduced_nodes(&self) -> Vec<NodeId> {
        self.introductions.nodes.keys().cloned().collect()
    }

    /// Who speaks with a delegation, as a connected node has shown.
    pub(super) fn introduced_speaker(&self, delegation: &Digest) -> Option<Arc<Speaker>> {
        let speakers = self.introductions.nodes.values().flatten();
        speakers.into_iter().find(|speaker| speaker.delegation_hash() == delegation).cloned()
    }

    /// The parties that connected nodes speak for.
    pub(super) fn introduced_parties(&self) -> BTreeSet<PartyId> {
        self.introductions.nodes.values().flatten().map(|speaker| speaker.party().clone()).collect()
    }

    /// Whether a party speaks for another id too: that of one that it bundles.
    pub(super) fn speaks_for_id(&self, party: &PartyId, other: &PartyId, now: Now) -> bool {
        let own = self.parties.get(party).map(|ours| &ours.speaker);
        let mut speakers = self.introductions.nodes.values().flatten().chain(own);
        let names = |speaker: &&Arc<Speaker>| {
            *speaker.party() == *party && speaker.may_at(now.unix_s()).is_ok() && speaker.names(&other.id)
        };
        party.role == other.role && speakers.any(|speaker| names(&speaker))
    }
}
