//! What must hold although some lie.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use anyhow::Result;
use chargemesh::mesh::node_id_of_seed;
use chargemesh::protocol::NodeId;

use super::liar::Deeds;
use super::{Liars, Member, is_full};
use crate::network::NodeNumber;
use crate::observe::Seen;
use crate::people::node_seed;
use crate::scenario::LiarAct;
use crate::world::World;

/// Provable lies after which a node must have blocked a liar: three are enough, and as many may be under way, or come
/// twice by gossip and count once.
const LIES_FOUND_AT: u64 = 6;

/// Questions that a node takes in a burst, and some that are under way.
const QUESTIONS_FOUND_AT: u64 = 100;

/// Messages that a replaying liar must have got out, in a minute and more.
const REPLAYED_MIN: u64 = 100;

/// How often any other must have done what it is there for.
const DEEDS_MIN: u64 = 10;

/// Honest nodes that every honest node must be connected to after settling.
const HONEST_PEERS_MIN: usize = 3;

type Outcome = (&'static str, Result<(), String>);

/// What honest nodes hold against a liar.
#[derive(Default)]
struct Standing {
    /// Honest nodes that run.
    nodes: usize,
    /// Of these, how many have blocked it.
    blocking: usize,
    /// Messages that it published.
    published: u64,
    /// What one of them should have done.
    wrong: Option<String>,
}

/// Checked after settling.
///
/// # Errors
/// If a node does not answer.
pub(crate) async fn settled(world: &World, seen: &Seen) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![("liars-feeds", liars_feeds(&world.liars, seen))];
    let members = &world.liars.members;
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let mut standings: Vec<Standing> = members.iter().map(|_| Standing::default()).collect();
    let mut connected = Ok(());
    for host in world.hosts.iter().filter(|host| is_full(host)) {
        let Some(node) = host.node() else { continue };
        let peers: BTreeSet<NodeId> = node.mesh().peers().await?.into_iter().map(|peer| peer.node).collect();
        let blocked: BTreeSet<NodeId> = node.mesh().blocked().await?.into_iter().collect();
        for (member, standing) in members.iter().zip(&mut standings) {
            let told = deeds(member).lies.get(node.mesh().node_id()).copied().unwrap_or(0);
            judge(member, host.number, told, &peers, &blocked, standing);
        }
        connected = connected.and(honest_connected(world, host.number, &peers));
    }
    let (mut found, mut heard) = (Ok(()), Ok(()));
    for (member, standing) in members.iter().zip(&mut standings) {
        for mesh in &member.meshes {
            standing.published += mesh.counts().await?.published;
        }
        found = found.and(is_found(member, standing));
        heard = heard.and(was_heard(member, standing));
    }
    outcomes.push(("liars-lose-their-connections", found));
    outcomes.push(("honest-stay-connected", connected));
    outcomes.push(("liars-were-heard", heard));
    Ok(outcomes)
}

fn deeds(member: &Member) -> MutexGuard<'_, Deeds> {
    member.deeds.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what it does unasked can be proved by everybody.
fn is_provable(member: &Member) -> bool {
    match member.act {
        LiarAct::Forge => true,
        // With repairs, and with what is well signed, everybody may be as fast as he is let.
        LiarAct::Flood => member.ordinal % 3 != 2,
        LiarAct::LyingHeads => member.ordinal.is_multiple_of(2),
        // Whether one is asked for repairs is chance.
        LiarAct::FalseSnapshot => false,
        LiarAct::Replay | LiarAct::Equivocate | LiarAct::Withhold | LiarAct::Eclipse => false,
    }
}

/// A node that was lied to often enough has blocked the liar; and whoever is blocked is not connected. `told`: provable
/// lies since the node started.
fn judge(
    member: &Member,
    node: NodeNumber,
    told: u64,
    peers: &BTreeSet<NodeId>,
    blocked: &BTreeSet<NodeId>,
    standing: &mut Standing,
) {
    let questions = member.act == LiarAct::Flood && member.ordinal.is_multiple_of(3);
    let limit = if questions { QUESTIONS_FOUND_AT } else { LIES_FOUND_AT };
    let is_blocked = member.ids.iter().any(|id| blocked.contains(id));
    let stays = member.ids.iter().any(|id| peers.contains(id) && blocked.contains(id));
    standing.nodes += 1;
    standing.blocking += usize::from(is_blocked);
    let (number, act) = (member.number, member.act);
    if stays {
        standing.wrong =
            Some(format!("node {node} is connected to {number} ({act:?}), which it has blocked"));
    } else if told >= limit && !is_blocked {
        standing.wrong =
            Some(format!("node {node} has not blocked {number} ({act:?}) after {told} provable lies"));
    }
}

/// Most of those who live have blocked it; those who have just started may not know it yet.
fn is_found(member: &Member, standing: &Standing) -> Result<(), String> {
    let Standing { nodes, blocking, wrong, .. } = standing;
    if let Some(wrong) = wrong {
        return Err(wrong.clone());
    }
    if is_provable(member) && 2 * blocking < *nodes {
        let (number, act) = (member.number, member.act);
        return Err(format!("{number} ({act:?}) is blocked by {blocking} of {nodes} honest nodes"));
    }
    Ok(())
}

/// Each liar did what it is there for: otherwise the scenario shows nothing.
fn was_heard(member: &Member, standing: &Standing) -> Result<(), String> {
    let (done, published) = (deeds(member).done, standing.published);
    let enough = match member.act {
        // What its own gossip takes for a message that it had already does not go out.
        LiarAct::Replay => published >= REPLAYED_MIN,
        LiarAct::FalseSnapshot => true,
        _ => done >= DEEDS_MIN,
    };
    if enough {
        return Ok(());
    }
    let (number, act) = (member.number, member.act);
    Err(format!("{number} ({act:?}) lied {done} times and published {published} messages"))
}

/// Every honest node is connected to other honest nodes.
fn honest_connected(world: &World, me: NodeNumber, peers: &BTreeSet<NodeId>) -> Result<(), String> {
    let full = || world.hosts.iter().filter(|host| is_full(host));
    let honest = full().filter_map(|host| node_id_of_seed(&node_seed(host.number)).ok());
    let connected = honest.filter(|id| peers.contains(id)).count();
    let wanted = HONEST_PEERS_MIN.min(full().count().saturating_sub(1));
    if connected >= wanted {
        return Ok(());
    }
    let liars = world.liars.ids().into_iter().filter(|id| peers.contains(*id)).count();
    Err(format!("node {me} is connected to {connected} honest nodes and {liars} liars"))
}

/// No node holds anything of a liar but its own valid feed, and where that has two histories, it is known.
fn liars_feeds(liars: &Liars, seen: &Seen) -> Result<(), String> {
    for node in &seen.nodes {
        for feed in node.view.iter().flat_map(|view| &view.feeds) {
            let party = |member: &&Member| member.party.id.to_text() == feed.party;
            let Some(member) = liars.members.iter().find(party) else { continue };
            let at = || format!("node {}: {}/{} of {:?}", node.number, feed.party, feed.kind, member.act);
            match member.act {
                LiarAct::Equivocate if feed.state != "equivocated" => {
                    return Err(format!("{} is {}", at(), feed.state));
                }
                LiarAct::Equivocate => {}
                _ if feed.count > 0 => return Err(format!("{} has {} records", at(), feed.count)),
                _ => {}
            }
        }
    }
    Ok(())
}
