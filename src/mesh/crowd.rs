//! Names cost nothing, machines do: one machine with many names must not become all that a node sees of the
//! network. So connections are counted, and new ones chosen, by machine; some are always made by this node
//! itself, to machines of its own choice, and those are closed last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::actor::Actor;
use super::connections::{ASKED_IDLE, NO_CHURN};

/// Connections to nodes of one machine: a provider may host some nodes behind one address ...
const PER_MACHINE_MAX: usize = 8;

/// ... but those of a machine with more than so many are the first to go where there are too many, whatever they ask,
/// and are nobody's partners in gossip: all of them, as a few for each of some machines are all that a node keeps
/// (measured with four machines of twelve names: two of each left 2 honest peers of 14). Partners and other fixed nodes
/// are no names that cost nothing: they are not counted.
const COLOCATED_MAX: usize = 2;

/// A peer that has been connected for so long gives way to another of its machine.
const TURN: Duration = NO_CHURN;

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
/// IPv6 address has all that begin with the same 64 bits (RFC 4291, 2.5.1).
fn machine(address: &Multiaddr) -> Multiaddr {
    let whole = |parts| address.iter().take(parts).collect();
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) if ip.is_loopback() => whole(2),
        Some(Protocol::Ip6(ip)) if ip.is_loopback() => whole(2),
        Some(Protocol::Ip6(ip)) => {
            Protocol::Ip6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))).into()
        }
        _ => whole(1),
    }
}

/// A connected peer that is not fixed.
#[derive(Clone, Debug)]
struct Guest {
    peer: PeerId,
    machine: Multiaddr,
    since: Instant,
    /// Whether nothing is under way with it.
    idle: bool,
    /// When we last asked it, or when it came.
    used: Instant,
}

/// Those on machines with more than [`COLOCATED_MAX`] of them.
fn colocated(guests: &[Guest]) -> BTreeSet<PeerId> {
    let mut counts: BTreeMap<&Multiaddr, usize> = BTreeMap::new();
    guests.iter().for_each(|guest| *counts.entry(&guest.machine).or_default() += 1);
    let is_many = |guest: &&Guest| counts.get(&guest.machine).is_some_and(|count| *count > COLOCATED_MAX);
    guests.iter().filter(is_many).map(|guest| guest.peer).collect()
}

/// What a new peer finds on its machine.
#[derive(Debug, PartialEq)]
pub(super) enum Room {
    /// A place is free.
    Free,
    /// The place of this peer, which has had its time: all nodes of a machine get their turn.
    InPlaceOf(PeerId),
    /// No place.
    None,
}

/// The room for one more on a machine that may have `most`.
fn room(others: &[Guest], most: usize, now: Instant) -> Room {
    if others.len() < most {
        return Room::Free;
    }
    let had_its_turn = |guest: &&Guest| guest.idle && now.duration_since(guest.since) >= TURN;
    let longest_unused = others.iter().filter(had_its_turn).min_by_key(|guest| (guest.used, guest.peer));
    longest_unused.map_or(Room::None, |guest| Room::InPlaceOf(guest.peer))
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
    /// The room for a new peer at this address.
    pub(super) fn room_for(&self, peer: &PeerId, address: &Multiaddr) -> Room {
        if self.is_fixed(peer) {
            return Room::Free;
        }
        let here = machine(address);
        let others: Vec<Guest> =
            self.guests().into_iter().filter(|guest| guest.peer != *peer && guest.machine == here).collect();
        room(&others, per_machine_max(self.config.connections_max), Instant::now())
    }

    /// The peers on machines with more than [`COLOCATED_MAX`] of them.
    pub(super) fn colocated(&self) -> BTreeSet<PeerId> {
        colocated(&self.guests())
    }

    fn is_fixed(&self, peer: &PeerId) -> bool {
        self.keep.contains(peer) || self.partners.contains(peer) || self.bootstrap.contains(peer)
    }

    fn guests(&self) -> Vec<Guest> {
        let guest = |(id, peer): (&PeerId, &super::actor::Peer)| {
            Some(Guest {
                peer: *id,
                machine: machine(peer.address()?),
                since: peer.since,
                idle: !peer.we_asked(ASKED_IDLE) && !self.is_syncing(id),
                used: peer.used.unwrap_or(peer.since),
            })
        };
        self.peers.iter().filter(|(id, _)| !self.is_fixed(id)).filter_map(guest).collect()
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
        assert_eq!(incoming_max(96), 72);
        assert_eq!([96, 20, 4, 1].map(per_machine_max), [8, 3, 1, 1]);
    }

    fn guests(count: usize, host: usize, now: Instant) -> Vec<Guest> {
        let machine: Multiaddr = format!("/ip4/10.0.0.{host}").parse().unwrap();
        let guest = |number: u64| {
            let since = now + Duration::from_secs(number);
            Guest { peer: PeerId::random(), machine: machine.clone(), since, idle: true, used: since }
        };
        (0..count as u64).map(guest).collect()
    }

    #[tokio::test]
    async fn a_machine_with_more_than_two_names_has_many() {
        let now = Instant::now();
        let (many, few) = (guests(3, 1, now), guests(2, 2, now));
        let all: Vec<Guest> = many.iter().chain(&few).cloned().collect();
        assert_eq!(colocated(&all), many.iter().map(|guest| guest.peer).collect());
    }

    #[tokio::test]
    async fn who_comes_to_a_full_machine_gets_the_place_that_was_longest_unused() {
        let now = Instant::now();
        let mut others = guests(3, 1, now);
        let later = now + TURN + Duration::from_secs(2);
        assert_eq!(room(&others[..2], 3, now), Room::Free);
        assert_eq!(room(&others, 3, now), Room::None, "nobody has had its time");
        assert_eq!(room(&others, 3, later), Room::InPlaceOf(others[0].peer));
        others[0].used = later;
        assert_eq!(room(&others, 3, later), Room::InPlaceOf(others[1].peer));
        others.iter_mut().for_each(|guest| guest.idle = false);
        assert_eq!(room(&others, 3, later), Room::None, "nothing that is under way is cut off");
    }
}
