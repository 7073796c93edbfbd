//! The network between simulated nodes: byte pipes in memory with latency, jitter, loss and bandwidth,
//! and everything that goes wrong with real ones. All chance comes from one seed; all time is tokio's.

mod link;
mod pipe;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::sync::mpsc;

pub(crate) use link::{Cut, Link, share};
use transport::Incoming;

use crate::trace::Trace;

/// Number of a node in its world; also the last part of its address.
pub(crate) type NodeNumber = u32;

/// The port on which every node listens.
const PORT: u16 = 4001;

/// The address of node 0.
const FIRST_ADDRESS: u32 = 0x0a00_0001;

/// Where a node listens.
pub(crate) fn address(node: NodeNumber) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Ip4((FIRST_ADDRESS + node).into())).with(Protocol::Tcp(PORT))
}

fn node_at(address: &Multiaddr) -> Option<NodeNumber> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Tcp(PORT)) => u32::from(ip).checked_sub(FIRST_ADDRESS),
        _ => None,
    }
}

/// What a node sent and how it is connected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes that it sent.
    pub(crate) bytes_sent: u64,
    /// Connections that it dialled and that were accepted.
    pub(crate) dialled: u64,
    /// Connections that are open now.
    pub(crate) open: u64,
}

/// The whole network.
struct State {
    chance: ChaCha8Rng,
    link: Link,
    listeners: BTreeMap<NodeNumber, (ListenerId, mpsc::Sender<Incoming>)>,
    /// How often each node lost its power: a pipe of an earlier life carries nothing.
    lives: Vec<u32>,
    cuts: BTreeMap<u64, Cut>,
    slow: BTreeMap<u64, (NodeNumber, NodeNumber, Duration)>,
    next_fault: u64,
    /// Readers whose bytes are held back by a cut.
    held_back: Vec<Waker>,
    next_port: u16,
    traffic: Vec<Traffic>,
    trace: Trace,
}

/// A handle to the network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    /// A network of `nodes`, all links alike and whole.
    pub(crate) fn new(seed: u64, nodes: usize, link: Link, trace: Trace) -> Network {
        Network(Arc::new(Mutex::new(State {
            chance: ChaCha8Rng::seed_from_u64(seed),
            link,
            listeners: BTreeMap::new(),
            lives: vec![0; nodes],
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
            next_fault: 0,
            held_back: Vec::new(),
            next_port: 0,
            traffic: vec![Traffic::default(); nodes],
            trace,
        })))
    }

    /// Cuts the network until [`Network::heal`] is called with the number returned.
    pub(crate) fn cut(&self, cut: Cut) -> u64 {
        let mut state = self.lock();
        state.next_fault += 1;
        let number = state.next_fault;
        state.cuts.insert(number, cut);
        number
    }

    /// Adds latency between two nodes until [`Network::heal`].
    pub(crate) fn slow_down(&self, a: NodeNumber, b: NodeNumber, latency: Duration) -> u64 {
        let mut state = self.lock();
        state.next_fault += 1;
        let number = state.next_fault;
        state.slow.insert(number, (a, b, latency));
        number
    }

    /// Ends a fault.
    pub(crate) fn heal(&self, fault: u64) {
        let mut state = self.lock();
        state.slow.remove(&fault);
        state.cuts.remove(&fault);
        let readers = std::mem::take(&mut state.held_back);
        drop(state);
        readers.into_iter().for_each(Waker::wake);
    }

    /// A node is gone without a word: its connections stay half-open at the other end.
    pub(crate) fn lose_power(&self, node: NodeNumber) {
        let mut state = self.lock();
        state.lives[node as usize] += 1;
        state.listeners.remove(&node);
    }

    /// What each node sent.
    pub(crate) fn traffic(&self) -> Vec<Traffic> {
        self.lock().traffic.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport of a node: encrypted and multiplexed as the product's own.
    pub(crate) fn transport(
        &self,
        node: NodeNumber,
        seed: &[u8; 32],
    ) -> anyhow::Result<chargemesh::mesh::Transport> {
        transport::encrypted(self.clone(), node, seed)
    }
}

impl State {
    /// Whether nothing gets from one node to another.
    fn is_cut(&self, from: NodeNumber, to: NodeNumber) -> bool {
        self.cuts.values().any(|cut| cut.holds_back(from, to))
    }

    /// When bytes that are sent now arrive, from now on.
    fn delay(&mut self, from: NodeNumber, to: NodeNumber, bytes: usize) -> Duration {
        let pair = |a: NodeNumber, b: NodeNumber| (a, b) == (from, to) || (b, a) == (from, to);
        let extra: Duration = self.slow.values().filter(|slow| pair(slow.0, slow.1)).map(|slow| slow.2).sum();
        extra + self.link.delay(bytes, &mut self.chance)
    }
}
