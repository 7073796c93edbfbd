//! Peers, partners and held pushes, as the view of a node shows them.

/// One connected peer.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PeerView {
    /// Peer id (base58).
    pub node: String,
    /// Address of the connection.
    pub address: String,
    /// Round trip in milliseconds, if measured.
    pub rtt_ms: Option<f64>,
    /// Why the connection is kept.
    pub purpose: String,
}

/// One partner.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PartnerView {
    /// `ROLE:ID`.
    pub party: String,
    /// Whether a node that speaks for it is connected.
    pub connected: bool,
    /// Peer ids (base58) of those nodes.
    pub nodes: Vec<String>,
    /// Since when it is looked for, in unix milliseconds; `None` if it is connected.
    pub looked_for_since_unix_ms: Option<u64>,
}

/// One held push.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HeldView {
    /// Number for `chargemesh push confirm`.
    pub id: u64,
    /// The feed.
    pub feed: String,
    /// How many records it would remove.
    pub removes: u64,
    /// Of how many.
    pub of: u64,
    /// When it came, in unix milliseconds.
    pub at_unix_ms: u64,
}
