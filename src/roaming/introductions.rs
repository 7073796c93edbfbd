//! Which connected node speaks for which party. Publishers are known by their feeds; EMPs have none, so nodes
//! with parties show each other their chains after they connect, and when these change.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Action, Effects, Misdeed};
use super::input::Now;
use super::pace::Pace;
use super::speakers::Knowledge;
use super::{Pending, Roaming};
use crate::identity::{Chain, PartyId};
use crate::protocol::{Answer, Digest, INTRODUCED_CHAINS_MAX, NodeId, Question};

/// What connected nodes said of themselves.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    /// Delegations to the node itself that held when it showed them. Bounded by peers and by chains per
    /// introduction.
    nodes: BTreeMap<NodeId, BTreeSet<Digest>>,
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
        let mut held = BTreeSet::new();
        for chain in chains.into_iter().take(INTRODUCED_CHAINS_MAX) {
            let delegation = chain.delegation_hash();
            let speaker = match self.speakers.of(&delegation, now) {
                Knowledge::Known(speaker) => speaker,
                Knowledge::Distrusted => continue,
                Knowledge::Unknown => match self.speakers.admit(chain, now) {
                    Ok(speaker) => speaker,
                    Err(_) => continue,
                },
            };
            if speaker.peer_id() == from.as_bytes() {
                held.insert(delegation);
            }
        }
        self.introductions.nodes.insert(from.clone(), held);
        self.tell_agreements_to(from, now);
    }

    /// The parties that a connected node speaks for now.
    pub(super) fn parties_of(&self, node: &NodeId, now: Now) -> BTreeSet<PartyId> {
        let delegations = self.introductions.nodes.get(node).into_iter().flatten();
        let party = |delegation: &Digest| match self.speakers.of(delegation, now) {
            Knowledge::Known(speaker) if speaker.may_at(now.unix_s()).is_ok() => Some(speaker.party().clone()),
            _ => None,
        };
        delegations.filter_map(party).collect()
    }

    /// Connected nodes that introduced themselves.
    pub(super) fn introduced_nodes(&self) -> Vec<NodeId> {
        self.introductions.nodes.keys().cloned().collect()
    }
}
