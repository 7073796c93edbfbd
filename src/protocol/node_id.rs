//! The name of a node on the mesh.

use std::fmt;
use std::sync::Arc;

/// A node's libp2p peer id as bytes (a multihash of its public key, at most 64 bytes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<[u8]>);

impl NodeId {
    /// Longest peer id in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Takes the bytes of a peer id; `None` if there are none or too many.
    pub fn from_bytes(bytes: &[u8]) -> Option<NodeId> {
        (!bytes.is_empty() && bytes.len() <= NodeId::BYTES_MAX).then(|| NodeId(bytes.into()))
    }

    /// The bytes of the peer id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    /// The last eight bytes in hex: enough to tell nodes apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.0.len().saturating_sub(8);
        self.0.iter().skip(tail).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}
