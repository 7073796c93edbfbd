//! Names cost nothing, machines do: one machine with many names must not become all that a node sees of the
//! network. So connections are counted, and new ones chosen, by machine; some are always made by this node
//! itself, to machines of its own choice, and those are closed last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::actor::Actor;

/// Connections to nodes of one machine: a provider may host some nodes behind one address ...
const PER_MACHINE_MAX: usize = 8;

/// ... but those of a machine with more than so many are the first to go where there are too many, whatever they ask,
/// and are nobody's partners in gossip: all of them, as a few for each of some machines are all that a node keeps
/// (measured with four machines of twelve names: two of each left 2 honest peers of 14). Partners and other fixed nodes
/// are no names that cost nothing: they are not counted.
const COLOCATED_MAX: usize = 2;

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

/// The machine behind an address. On loopback each port is one: many nodes on one machine are a test. Whoever has an
/// IPv6 address is usually given all that begin with the same 64 bits (RFC 6177); an IPv4 address in an IPv6 one is
/// what it stands for (RFC 4291, 2.5.5.2, and RFC 6052, 2.1).
fn machine(address: &Multiaddr) -> Multiaddr {
    let whole = |parts| address.iter().take(parts).collect();
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) if ip.is_loopback() => whole(2),
        Some(Protocol::Ip6(ip)) if ip.to_canonical().is_loopback() => whole(2),
        Some(Protocol::Ip6(ip)) => {
            let translated =
                (ip.to_bits() >> 32 == NAT64_PREFIX).then(|| Ipv4Addr::from_bits(ip.to_bits() as u32));
            match ip.to_ipv4_mapped().or(translated) {
                Some(ip) => Protocol::Ip4(ip).into(),
                None => Protocol::Ip6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))).into(),
            }
        }
        _ => whole(1),
    }
}

/// The first 96 bits of addresses that stand for IPv4 ones behind a translator, `64:ff9b::`.
const NAT64_PREFIX: u128 = 0x0064_ff9b_0000_0000_0000_0000;

/// Those on machines with more than [`COLOCATED_MAX`] of them.
fn colocated(guests: &[(PeerId, Multiaddr)]) -> BTreeSet<PeerId> {
    let mut counts: BTreeMap<&Multiaddr, usize> = BTreeMap::new();
    guests.iter().for_each(|(_, machine)| *counts.entry(machine).or_default() += 1);
    let is_many =
        |(_, machine): &&(PeerId, Multiaddr)| counts.get(machine).is_some_and(|count| *count > COLOCATED_MAX);
    guests.iter().filter(is_many).map(|(peer, _)| *peer).collect()
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
        let here = machine(address);
        let others = self.guests().into_iter().filter(|(id, machine)| id != peer && *machine == here);
        !self.is_fixed(peer) && others.count() >= per_machine_max(self.config.connections_max)
    }

    /// The peers on machines with more than [`COLOCATED_MAX`] of them.
    pub(super) fn colocated(&self) -> BTreeSet<PeerId> {
        colocated(&self.guests())
    }

    fn is_fixed(&self, peer: &PeerId) -> bool {
        self.keep.contains(peer) || self.partners.contains(peer) || self.bootstrap.contains(peer)
    }

    /// The peers that are not fixed, with their machines.
    fn guests(&self) -> Vec<(PeerId, Multiaddr)> {
        let guests = self.peers.iter().filter(|(id, _)| !self.is_fixed(id));
        guests.filter_map(|(id, peer)| Some((*id, machine(peer.address()?)))).collect()
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
        assert_ne!(of("/ip6/::1/tcp/1"), of("/ip6/::1/tcp/2"));
        assert_eq!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8::ffff:2/tcp/1"));
        assert_ne!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8:0:1::1/tcp/1"));
        assert_eq!(of("/ip6/::ffff:10.0.0.1/tcp/1"), of("/ip4/10.0.0.1/tcp/1"));
        assert_eq!(of("/ip6/64:ff9b::10.0.0.1/tcp/1"), of("/ip4/10.0.0.1/tcp/1"));
        assert_eq!(incoming_max(96), 72);
        assert_eq!([96, 20, 4, 1].map(per_machine_max), [8, 3, 1, 1]);
    }

    #[test]
    fn a_machine_with_more_than_two_names_has_many() {
        let guests = |count: usize, host: usize| -> Vec<(PeerId, Multiaddr)> {
            let machine: Multiaddr = format!("/ip4/10.0.0.{host}").parse().unwrap();
            (0..count).map(|_| (PeerId::random(), machine.clone())).collect()
        };
        let (many, few) = (guests(3, 1), guests(2, 2));
        let all = [many.clone(), few].concat();
        assert_eq!(colocated(&all), many.iter().map(|(peer, _)| *peer).collect());
    }
}
