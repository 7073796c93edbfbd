//! Peers that lie: each has a valid node key and a valid credential of a party of its own, runs the
//! product's mesh, and says what it likes. One file for each act; a new one is a file and a line in
//! [`act_of`].

mod archive;
mod eclipse;
mod equivocate;
mod false_snapshot;
mod flood;
mod forge;
mod invariants;
mod liar;
mod lying_heads;
mod own;
mod replay;
mod withhold;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use chargemesh::identity::{PublicKey, Role};
use chargemesh::mesh::{self, Mesh, node_text};
use chargemesh::protocol::{NodeId, Topic};

pub(crate) use invariants::settled;

use crate::network::{Network, NodeNumber, address};
use crate::people::{self, Party, operator_id, party_text};
use crate::scenario::{LiarAct, Nodes, Scenario};
use crate::world::{Host, Part};
use archive::Credentials;
use liar::{Act, SharedDeeds, Who, identity_seed};

/// Number of the first liar's operator: beyond all honest ones.
pub(crate) const FIRST_OPERATOR: u32 = 2_000;

/// One liar.
pub(crate) struct Member {
    number: NodeNumber,
    act: LiarAct,
    /// How many liars before it do the same.
    ordinal: usize,
    party: Party,
    operator: String,
    /// Its identities on the network.
    ids: Vec<NodeId>,
    deeds: SharedDeeds,
    meshes: Vec<Mesh>,
}

/// All liars of a world.
pub(crate) struct Liars {
    seed: u64,
    members: Vec<Member>,
    bootstrap: Vec<String>,
    /// The node that is to be eclipsed.
    victim: NodeNumber,
    credentials: Credentials,
}

impl Liars {
    /// The liars of a scenario; none of them runs yet.
    ///
    /// # Errors
    /// If a party cannot be made.
    pub(crate) fn new(scenario: &Scenario, seed: u64, hosts: &[Host]) -> Result<Liars> {
        let nodes = scenario.nodes;
        let mut members: Vec<Member> = Vec::new();
        for (index, act) in (0..scenario.liars.nodes).zip(scenario.liars.acts.iter().cycle()) {
            let number = nodes.bootstrap + nodes.cpo + nodes.emp + index;
            let operator = operator_id(FIRST_OPERATOR + index);
            let party = people::party(&party_text(Role::Cpo, &operator), number)?;
            let identities = match act {
                LiarAct::Eclipse => eclipse::IDENTITIES,
                // One that listens, and one that speaks.
                LiarAct::Replay => 2,
                _ => 1,
            };
            let id = |identity| Ok(mesh::node_id_of_seed(&identity_seed(number, identity))?);
            let ids = (0..identities).map(id).collect::<Result<_>>()?;
            let ordinal = members.iter().filter(|member| member.act == *act).count();
            let (deeds, meshes) = (SharedDeeds::default(), Vec::new());
            members.push(Member { number, act: *act, ordinal, party, operator, ids, deeds, meshes });
        }
        let parties = hosts.iter().filter_map(|host| host.party.as_ref());
        let parties = parties.chain(members.iter().map(|member| &member.party));
        let credential = |party: &Party| {
            (party.chain.delegation_hash(), (party.message_key.public(), party.chain.clone()))
        };
        let credentials = Arc::new(parties.map(credential).collect());
        let bootstrap = (0..nodes.bootstrap).map(node_address).collect::<Result<_>>()?;
        Ok(Liars { seed, members, bootstrap, victim: victim(nodes), credentials })
    }

    /// Starts all liars.
    ///
    /// # Errors
    /// If a mesh does not start.
    pub(crate) fn start(&mut self, network: &Network) -> Result<()> {
        let victim = node_address(self.victim)?;
        for member in &mut self.members {
            // The last first: by it the others may speak.
            for identity in (0..member.ids.len() as u32).rev() {
                let speaks_for_another = member.act == LiarAct::Replay && identity > 0;
                let who = Who {
                    number: member.number,
                    node_seed: identity_seed(member.number, identity),
                    party: member.party.clone(),
                    operator: member.operator.clone(),
                    listens: identity == 0,
                    subscribe: if speaks_for_another { Vec::new() } else { Topic::ALL.to_vec() },
                    mouth: member.meshes.last().filter(|_| member.act == LiarAct::Replay).cloned(),
                    keep: if member.act == LiarAct::Eclipse { vec![victim.clone()] } else { Vec::new() },
                };
                let seed = self.seed ^ u64::from(member.number) << 32 ^ u64::from(identity) << 16;
                let act: Box<dyn Act> = match speaks_for_another {
                    true => Box::new(replay::Mouth),
                    false => act_of(member.act, member.ordinal),
                };
                let (credentials, deeds) = (self.credentials.clone(), member.deeds.clone());
                let mesh = liar::start(who, self.bootstrap.clone(), network, credentials, seed, deeds, act)?;
                member.meshes.push(mesh);
            }
        }
        Ok(())
    }

    /// A node starts: what it was told before it does not know.
    pub(crate) fn forgotten_by(&self, node: NodeNumber) {
        let Ok(id) = mesh::node_id_of_seed(&people::node_seed(node)) else { return };
        for member in &self.members {
            member.deeds.lock().unwrap_or_else(PoisonError::into_inner).lies.remove(&id);
        }
    }

    /// The parties in whose name liars may speak, as `ROLE:ID`, with their keys.
    pub(crate) fn parties(&self) -> impl Iterator<Item = (String, PublicKey)> {
        self.members.iter().map(|member| (member.party.id.to_text(), member.party.message_key.public()))
    }

    /// Whether EVSEs of this operator (canonical id) are a liar's own.
    pub(crate) fn operates(&self, operator: &str) -> bool {
        self.members.iter().any(|member| member.party.id.id.as_str() == operator)
    }

    fn ids(&self) -> BTreeSet<&NodeId> {
        self.members.iter().flat_map(|member| &member.ids).collect()
    }
}

/// The node that is to be eclipsed: that of the first provider.
pub(crate) fn victim(nodes: Nodes) -> NodeNumber {
    nodes.bootstrap + nodes.cpo
}

/// What a liar does: the n-th of its kind may do it in another way than the first.
fn act_of(act: LiarAct, ordinal: usize) -> Box<dyn Act> {
    match act {
        LiarAct::Replay => Box::new(replay::Replay::default()),
        LiarAct::Forge => Box::new(forge::Forge::default()),
        LiarAct::Equivocate => Box::new(equivocate::Equivocate::default()),
        LiarAct::Flood => Box::new(flood::Flood::new(ordinal)),
        LiarAct::Withhold => Box::new(withhold::Withhold::new(ordinal)),
        LiarAct::FalseSnapshot => Box::new(false_snapshot::FalseSnapshot),
        LiarAct::LyingHeads => Box::new(lying_heads::LyingHeads::new(ordinal)),
        LiarAct::Eclipse => Box::new(eclipse::Eclipse),
    }
}

/// Multiaddress of an honest node, ending in `/p2p/<peer id>`.
fn node_address(number: NodeNumber) -> Result<String> {
    let node = mesh::node_id_of_seed(&people::node_seed(number))?;
    let text = node_text(&node).context("a node's name")?;
    Ok(format!("{}/p2p/{text}", address(number)))
}

/// Whether a host holds the directory.
fn is_full(host: &Host) -> bool {
    matches!(host.part, Part::Cpo(_) | Part::Emp)
}
