//! The address book: where nodes are said to be, and when they may be dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::config::Config;

/// Nodes in the address book.
const BOOK_NODES_MAX: usize = 1024;

/// Addresses kept of one node.
pub(super) const BOOK_ADDRESSES_MAX: usize = 8;

/// Dials in a row that may fail before a node that nobody asked for is forgotten.
const BOOK_FAILURES_MAX: u32 = 8;

/// Where nodes are said to be, and when they may be dialled.
#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<PeerId, Entry>,
}

struct Entry {
    addresses: Vec<Multiaddr>,
    failures: u32,
    next_dial: Option<Instant>,
    /// Bootstrap, or kept by the settings: never forgotten.
    fixed: bool,
    /// A partner's: not forgotten while it is one, and known even without an address.
    partner: bool,
}

impl Entry {
    fn new() -> Entry {
        Entry { addresses: Vec::new(), failures: 0, next_dial: None, fixed: false, partner: false }
    }
}

impl Book {
    /// Notes an address; drops the oldest of a node, and refuses new nodes when full.
    pub(super) fn add(&mut self, peer: PeerId, address: Multiaddr, fixed: bool) {
        let full = self.entries.len() >= BOOK_NODES_MAX;
        if full && !fixed && !self.entries.contains_key(&peer) {
            return;
        }
        let entry = self.entries.entry(peer).or_insert_with(Entry::new);
        entry.fixed |= fixed;
        if !entry.addresses.contains(&address) {
            if entry.addresses.len() >= BOOK_ADDRESSES_MAX {
                entry.addresses.remove(0);
            }
            entry.addresses.push(address);
        }
    }

    /// These are partners' nodes from now on, and no others.
    pub(super) fn keep(&mut self, partners: &BTreeSet<PeerId>) {
        self.entries.iter_mut().for_each(|(peer, entry)| entry.partner = partners.contains(peer));
        self.entries.retain(|_, entry| entry.fixed || entry.partner || !entry.addresses.is_empty());
        for peer in partners {
            self.entries.entry(*peer).or_insert_with(Entry::new).partner = true;
        }
    }

    /// Something new is known of a node: it may be dialled at once.
    pub(super) fn due_now(&mut self, peer: &PeerId) {
        self.succeeded(peer);
    }

    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.entries.get(peer).map(|entry| entry.addresses.clone()).unwrap_or_default()
    }

    /// An address of a node: the one that was learned last.
    pub(super) fn address(&self, peer: &PeerId) -> Option<Multiaddr> {
        self.entries.get(peer)?.addresses.last().cloned()
    }

    /// Whether the back-off of a node is over.
    pub(super) fn is_due(&self, peer: &PeerId, now: Instant) -> bool {
        self.entries.get(peer).is_none_or(|entry| entry.next_dial.is_none_or(|at| at <= now))
    }

    /// Not before this time again.
    pub(super) fn hold_off(&mut self, peer: &PeerId, until: Instant) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.next_dial = Some(until);
        }
    }

    pub(super) fn succeeded(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            (entry.failures, entry.next_dial) = (0, None);
        }
    }

    /// Notes a failed dial; `jitter` is a share (0 to 1) of the wait that is added.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant, config: &Config, jitter: f64) {
        let Some(entry) = self.entries.get_mut(peer) else { return };
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures > BOOK_FAILURES_MAX && !entry.fixed && !entry.partner {
            self.entries.remove(peer);
            return;
        }
        let doubled = config.dial_backoff_ms.saturating_mul(1 << (entry.failures - 1).min(16));
        let wait = Duration::from_millis(doubled.min(config.dial_backoff_max_ms));
        entry.next_dial = Some(now + wait + wait.mul_f64(jitter / 4.0));
    }

    /// Nodes that may be dialled now, except those given.
    pub(super) fn candidates(&self, now: Instant, except: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        self.entries.keys().filter(|peer| !except(peer) && self.is_due(peer, now)).copied().collect()
    }
}

/// Whether an address that a peer claims may be believed: loopback only of a peer that came over
/// loopback, and nothing that names no host.
pub(super) fn believable(claimed: &Multiaddr, came_over: &Multiaddr) -> bool {
    let loopback = |address: &Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    };
    let names_host = match claimed.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    names_host && (!loopback(claimed) || loopback(came_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_believed_only_what_may_be_true() {
        let [lan, loopback]: [Multiaddr; 2] =
            ["/ip4/10.0.0.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001"].map(|a| a.parse().unwrap());
        assert!(believable(&lan, &loopback));
        assert!(believable(&loopback, &loopback));
        assert!(!believable(&loopback, &lan), "a stranger would make us dial ourselves");
        for never in ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/ip4/224.0.0.1/tcp/1", "/memory/7"] {
            assert!(!believable(&never.parse().unwrap(), &loopback), "{never}");
        }
    }

    #[test]
    fn the_book_backs_off_and_forgets() {
        let config = Config::default();
        let [guest, fixed] = [PeerId::random(), PeerId::random()];
        let mut book = Book::default();
        let now = Instant::now();
        let address = |n: usize| format!("/ip4/10.0.0.1/tcp/{}", n + 1).parse::<Multiaddr>().unwrap();
        (0..20).for_each(|n| book.add(guest, address(n), false));
        assert_eq!(book.addresses(&guest).len(), BOOK_ADDRESSES_MAX);
        book.add(fixed, address(0), true);
        for n in 0..20 {
            book.failed(&fixed, now, &config, 0.0);
            let wait = Duration::from_millis((1000u64 << n.min(16)).min(60_000));
            assert!(!book.is_due(&fixed, now + wait - Duration::from_millis(1)));
            assert!(book.is_due(&fixed, now + wait));
            book.failed(&guest, now, &config, 0.0);
        }
        assert!(book.addresses(&guest).is_empty(), "forgotten");
        assert_eq!(book.addresses(&fixed).len(), 1, "dialled for ever");
    }
}
