//! Names cost nothing, machines do: one machine with many names must not become all that a node sees of the
//! network. So connections are counted, and new ones chosen, by machine; some are always made by this node
//! itself, to machines of its own choice, and those are closed last.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::actor::Actor;

/// Connections to nodes of one machine: a provider may host some nodes behind one address ...
const PER_MACHINE_MAX: usize = 8;

/// ... but those of a machine with more than so many are the first to go where there are too many, whatever they ask,
/// and are nobody's partners in gossip.
pub(super) const COLOCATED_MAX: usize = 2;

/// No machine has more than one of so many of the connections that others may make: some must not keep everybody else
/// out of a small node.
const MACHINE_SHARE: u32 = 4;

/// The share of the wanted peers that this node wants to have dialled itself: one of so many. With all of
/// them, two nodes that are full would close each other's connections for ever.
const DIALLED_SHARE: usize = 2;

/// Connections that others may make, of `all`: the rest is for those that this node makes.
pub(super) fn incoming_max(all: u32) -> u32 {
    all - all / 4
}

/// Connections to nodes of one machine, of `all`.
fn per_machine_max(all: u32) -> usize {
    (incoming_max(all) / MACHINE_SHARE).clamp(1, PER_MACHINE_MAX as u32) as usize
}

/// The machine behind an address. On loopback each port is one: many nodes on one machine are a test.
fn machine(address: &Multiaddr) -> Multiaddr {
    let loopback = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    };
    address.iter().take(if loopback { 2 } else { 1 }).collect()
}

/// Nodes to dial, with their addresses: at most `count`, each on another machine, each machine as likely as
/// every other. `chance` gives numbers to choose by.
pub(super) fn choose(
    candidates: Vec<(PeerId, Option<Multiaddr>)>,
    count: usize,
    mut chance: impl FnMut() -> usize,
) -> Vec<PeerId> {
    let mut machines: BTreeMap<Option<Multiaddr>, Vec<PeerId>> = BTreeMap::new();
    for (peer, address) in candidates {
        machines.entry(address.as_ref().map(machine)).or_default().push(peer);
    }
    let mut machines: Vec<Vec<PeerId>> = machines.into_values().collect();
    let mut chosen = Vec::new();
    while chosen.len() < count && !machines.is_empty() {
        let mut names = machines.swap_remove(chance() % machines.len());
        chosen.push(names.swap_remove(chance() % names.len()));
    }
    chosen
}

impl Actor {
    /// Whether a new peer's machine has as many connections as it may.
    pub(super) fn is_crowded(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        let fixed = self.keep.contains(peer) || self.partners.contains(peer) || self.bootstrap.contains(peer);
        let here = machine(address);
        let others = self
            .peers
            .iter()
            .filter(|(id, other)| *id != peer && other.address().map(machine).as_ref() == Some(&here));
        !fixed && others.count() >= per_machine_max(self.config.connections_max)
    }

    /// The peers on machines with more than [`COLOCATED_MAX`] of them.
    pub(super) fn colocated(&self) -> BTreeSet<PeerId> {
        let mut machines: BTreeMap<Multiaddr, Vec<PeerId>> = BTreeMap::new();
        for (id, peer) in &self.peers {
            if let Some(address) = peer.address() {
                machines.entry(machine(address)).or_default().push(*id);
            }
        }
        machines.into_values().filter(|peers| peers.len() > COLOCATED_MAX).flatten().collect()
    }

    /// Whether too few connections are of this node's own choice.
    pub(super) fn lacks_dialled(&self) -> bool {
        let own = |(id, peer): &(&PeerId, &super::actor::Peer)| {
            peer.up && peer.is_dialled() && !self.bootstrap.contains(*id)
        };
        self.peers.iter().filter(own).count() < self.config.peers_target / DIALLED_SHARE
            && self.peers.len() < self.config.connections_max as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_many_names_is_chosen_as_often_as_one_with_one() {
        let address = |host: usize| format!("/ip4/10.0.0.{host}/tcp/4001").parse::<Multiaddr>().unwrap();
        let mut candidates: Vec<_> = (0..90).map(|_| (PeerId::random(), Some(address(1)))).collect();
        let honest: Vec<PeerId> = (2..5).map(|_| PeerId::random()).collect();
        candidates.extend(honest.iter().zip(2..).map(|(peer, host)| (*peer, Some(address(host)))));
        for first in 0..20 {
            let mut numbers = first..;
            let chosen = choose(candidates.clone(), 4, || numbers.next().unwrap() * 7);
            assert_eq!(chosen.iter().filter(|peer| honest.contains(peer)).count(), 3);
            assert_eq!(chosen.len(), 4);
        }
    }

    #[test]
    fn ports_of_loopback_are_machines() {
        let of = |text: &str| machine(&text.parse().unwrap());
        assert_ne!(of("/ip4/127.0.0.1/tcp/1"), of("/ip4/127.0.0.1/tcp/2"));
        assert_eq!(of("/ip4/10.0.0.1/tcp/1"), of("/ip4/10.0.0.1/tcp/2"));
        assert_ne!(of("/ip4/10.0.0.1/tcp/1"), of("/ip4/10.0.0.2/tcp/1"));
        assert_eq!(incoming_max(96), 72);
        assert_eq!([96, 20, 4, 1].map(per_machine_max), [8, 3, 1, 1]);
    }
}
