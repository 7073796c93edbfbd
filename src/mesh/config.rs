//! Settings of the mesh: every limit with its unit and its reason.

use serde::{Deserialize, Serialize};

/// Settings of the mesh of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the network: lower-case letters, digits and `-`, at most 32. Nodes of different
    /// networks have no protocol name in common.
    pub network: String,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses under which others reach this node, if they differ from `listen` (NAT, proxy).
    pub announce: Vec<String>,
    /// Multiaddresses, each ending in `/p2p/<peer id>`, dialled until enough peers are connected.
    pub bootstrap: Vec<String>,
    /// Multiaddresses, each ending in `/p2p/<peer id>`, of nodes whose connection is always kept and
    /// always remade: the partners that one cannot do without.
    pub keep: Vec<String>,
    /// Only help others to find each other: Kademlia and identify, no gossip, no streams
    /// (`decisions.md` 22).
    pub bootstrap_only: bool,
    /// Take part in Kademlia as a client only: for nodes that nobody can dial.
    pub kad_client: bool,
    /// Connected peers wanted; below it known nodes are dialled. Six gossip partners and two to spare.
    pub peers_target: usize,
    /// Connections above which those without a purpose are closed; one end costs some 100 KB (measured).
    pub connections_high: usize,
    /// How many connections are left when the surplus has been closed: well below `connections_high`,
    /// so that closing is rare.
    pub connections_low: usize,
    /// Established connections at which new ones are refused: 3 MB of memory. Partners come on top of them. A
    /// bootstrap node that many join at once needs more.
    pub connections_max: u32,
    /// Connections being made at once in either direction: a burst of dials has no reason to be larger.
    pub connections_pending_max: u32,
    /// Resident memory of the process in bytes above which new connections are refused; 0 is no
    /// limit. A node with a million EVSEs is planned with 256 MB.
    pub memory_bytes_max: usize,
    /// Time without a purpose, in milliseconds, before a connection counts as surplus: a new peer
    /// must have time to subscribe or to ask.
    pub connection_grace_ms: u64,
    /// First wait before an address is dialled again, in milliseconds; doubles up to `dial_backoff_max_ms`.
    pub dial_backoff_ms: u64,
    /// Longest wait between two dials of one node, in milliseconds.
    pub dial_backoff_max_ms: u64,
    /// How often connections are reviewed, in milliseconds.
    pub review_interval_ms: u64,
    /// Longest time between two polls of the swarm, in milliseconds. gossipsub 0.50.1 resets its
    /// heartbeat timer without polling it: on a quiet node it stalls without this tick (measured).
    pub tick_ms: u64,
    /// Time between two heartbeats of gossipsub, in milliseconds: the library's own default. It is kept
    /// only as well as `tick_ms` allows.
    pub heartbeat_ms: u64,
    /// Time between two pings of one peer, in milliseconds.
    pub ping_interval_ms: u64,
    /// A ping that is late by more than this, in milliseconds, is reported as a gap (`decisions.md` 8).
    pub ping_gap_ms: u64,
    /// Time in milliseconds in which a frame must have come from its first byte to its last, and in
    /// which one must be taken off our hands: bounds what a slow peer can hold.
    pub frame_deadline_ms: u64,
    /// Time in milliseconds that opening a stream may take, dialling included.
    pub open_deadline_ms: u64,
    /// Time in milliseconds after which an unused partner stream is closed.
    pub exchange_idle_ms: u64,
    /// Questions that may wait for an answer of one partner: 64 in flight are the largest benchmark.
    pub asks_in_flight_max: usize,
    /// Questions on one stream that may wait for our answer; then nothing more is read from it.
    pub asks_inbound_max: usize,
    /// Bytes of all questions that wait for our answer, in KiB.
    pub asks_inbound_kib_max: usize,
    /// Exchange streams that one peer may hold open: one, and one more for each connection that is
    /// dead and not yet noticed.
    pub exchange_streams_max: usize,
    /// Sync answers that one peer may draw at once.
    pub sync_serves_per_peer_max: usize,
    /// Sync answers served at once to all peers.
    pub sync_serves_max: usize,
    /// Sync questions of ours that run at once.
    pub syncs_max: usize,
    /// Time in milliseconds that a peer may take from one sync frame to the next.
    pub sync_idle_ms: u64,
    /// Cards held for others: some thousand parties, 8 KiB each.
    pub cards_max: usize,
    /// Events that wait for the engine; when they are this many, the swarm is not polled.
    pub events_max: usize,
    /// Commands that wait for the mesh; one more is answered `Busy`.
    pub commands_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            network: "local".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            announce: Vec::new(),
            bootstrap: Vec::new(),
            keep: Vec::new(),
            bootstrap_only: false,
            kad_client: false,
            peers_target: 8,
            connections_high: 18,
            connections_low: 12,
            connections_max: 32,
            connections_pending_max: 32,
            memory_bytes_max: 2 * 1024 * 1024 * 1024,
            connection_grace_ms: 10_000,
            dial_backoff_ms: 1_000,
            dial_backoff_max_ms: 60_000,
            review_interval_ms: 5_000,
            tick_ms: 500,
            heartbeat_ms: 1_000,
            ping_interval_ms: 15_000,
            ping_gap_ms: 5_000,
            frame_deadline_ms: 10_000,
            open_deadline_ms: 10_000,
            exchange_idle_ms: 300_000,
            asks_in_flight_max: 2_048,
            asks_inbound_max: 2_048,
            asks_inbound_kib_max: 32 * 1024,
            exchange_streams_max: 4,
            sync_serves_per_peer_max: 4,
            sync_serves_max: 16,
            syncs_max: 8,
            sync_idle_ms: 30_000,
            cards_max: 4096,
            events_max: 256,
            commands_max: 1024,
        }
    }
}

impl Config {
    /// Checks what can be checked without the network.
    pub(super) fn check(&self) -> Result<(), super::MeshError> {
        let wrong = |key, rule| Err(super::MeshError::Config { key, rule });
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.network.is_empty() || self.network.len() > 32 || !self.network.chars().all(letters) {
            return wrong("network", "must be 1 to 32 lower-case letters, digits or `-`");
        }
        if self.connections_low > self.connections_high {
            return wrong("connections_low", "must not be above connections_high");
        }
        if self.connections_high >= self.connections_max as usize {
            return wrong("connections_high", "must be below connections_max");
        }
        if self.tick_ms == 0 || self.tick_ms > 500 {
            return wrong("tick_ms", "must be 1 to 500: gossipsub stalls if it is polled less often");
        }
        if self.heartbeat_ms < self.tick_ms {
            return wrong("heartbeat_ms", "must not be below tick_ms");
        }
        if self.review_interval_ms == 0 {
            return wrong("review_interval_ms", "must not be 0");
        }
        if self.events_max == 0 || self.commands_max == 0 {
            return wrong("events_max", "events_max and commands_max must not be 0");
        }
        let counts = [self.asks_in_flight_max, self.asks_inbound_max, self.exchange_streams_max];
        let syncs = [self.sync_serves_per_peer_max, self.sync_serves_max, self.syncs_max, self.cards_max];
        if counts.into_iter().chain(syncs).any(|n| n == 0 || n > 65_536) {
            return wrong("asks_in_flight_max", "this and the other limits of streams must be 1 to 65536");
        }
        if self.asks_inbound_kib_max < 1025 || self.asks_inbound_kib_max > 1024 * 1024 {
            return wrong("asks_inbound_kib_max", "must be 1025 (one frame) to 1048576");
        }
        Ok(())
    }
}
