//! What must hold although some lie.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::Result;
use chargemesh::mesh::node_id_of_seed;
use chargemesh::node::Node;
use chargemesh::protocol::NodeId;

use super::{Liars, Member, is_full};
use crate::observe::Seen;
use crate::people::node_seed;
use crate::scenario::LiarAct;
use crate::world::World;

/// Provable lies after which a node must have found a liar: three block it, and some are under way or cost
/// nothing (a question within the limits, an answer that came too late to count).
const LIES_FOUND_AT: u64 = 6;

/// Questions that a node takes in a burst, and some that are under way.
const QUESTIONS_FOUND_AT: u64 = 100;

/// Honest nodes that every honest node must be connected to after settling.
const HONEST_PEERS_MIN: usize = 3;

type Outcome = (&'static str, Result<(), String>);

/// Checked after settling.
///
/// # Errors
/// If a node does not answer.
pub(crate) async fn settled(world: &World, seen: &Seen) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![("liars-feeds", liars_feeds(&world.liars, seen))];
    if world.liars.members.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Ok(());
    let mut connected = Ok(());
    for host in world.hosts.iter().filter(|host| is_full(host)) {
        let Some(node) = host.node() else { continue };
        let peers: BTreeSet<NodeId> = node.mesh().peers().await?.into_iter().map(|peer| peer.node).collect();
        let me = format!("node {}", host.number);
        found = found.and(liars_found(&world.liars, &me, node, &peers));
        connected = connected.and(honest_connected(world, &me, &peers));
    }
    outcomes.push(("liars-lose-their-connections", found));
    outcomes.push(("honest-stay-connected", connected));
    outcomes.push(("liars-were-heard", liars_heard(&world.liars)));
    Ok(outcomes)
}

/// Whether what it does can be proved by everybody.
fn is_provable(member: &Member) -> bool {
    match member.act {
        LiarAct::Forge | LiarAct::FalseSnapshot => true,
        // With repairs, and with what is well signed, everybody may be as fast as he is let.
        LiarAct::Flood => member.ordinal % 3 != 2,
        LiarAct::LyingHeads => member.ordinal % 2 == 1,
        LiarAct::Replay | LiarAct::Equivocate | LiarAct::Withhold | LiarAct::Eclipse => false,
    }
}

/// A node that was lied to often enough is not connected to the liar any more.
fn liars_found(liars: &Liars, me: &str, node: &Node, peers: &BTreeSet<NodeId>) -> Result<(), String> {
    for member in liars.members.iter().filter(|member| is_provable(member)) {
        let told = {
            let lies = member.lies.lock().unwrap_or_else(PoisonError::into_inner);
            lies.get(node.mesh().node_id()).copied().unwrap_or(0)
        };
        let questions = member.act == LiarAct::Flood && member.ordinal % 3 == 0;
        let limit = if questions { QUESTIONS_FOUND_AT } else { LIES_FOUND_AT };
        if told >= limit && member.ids.iter().any(|id| peers.contains(id)) {
            let (number, act) = (member.number, member.act);
            return Err(format!("{me} is connected to {number} ({act:?}) after {told} provable lies"));
        }
    }
    Ok(())
}

/// Each liar that lies unasked lied often enough to somebody: otherwise the scenario shows nothing. Whether
/// one is asked for repairs is chance.
fn liars_heard(liars: &Liars) -> Result<(), String> {
    let unasked = |member: &&Member| is_provable(member) && member.act != LiarAct::FalseSnapshot;
    for member in liars.members.iter().filter(unasked) {
        let lies = member.lies.lock().unwrap_or_else(PoisonError::into_inner);
        if lies.values().all(|told| *told < 3) {
            return Err(format!("{} ({:?}) never got to lie thrice to a node", member.number, member.act));
        }
    }
    Ok(())
}

/// Every honest node is connected to other honest nodes.
fn honest_connected(world: &World, me: &str, peers: &BTreeSet<NodeId>) -> Result<(), String> {
    let full = || world.hosts.iter().filter(|host| is_full(host));
    let honest = full().filter_map(|host| node_id_of_seed(&node_seed(host.number)).ok());
    let connected = honest.filter(|id| peers.contains(id)).count();
    let wanted = HONEST_PEERS_MIN.min(full().count().saturating_sub(1));
    if connected >= wanted {
        return Ok(());
    }
    let liars = world.liars.ids().into_iter().filter(|id| peers.contains(*id)).count();
    Err(format!("{me} is connected to {connected} honest nodes and {liars} liars"))
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
