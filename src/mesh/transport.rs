//! How bytes get from node to node: TCP with noise and yamux, or what the simulation brings.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, ed25519};
use libp2p::{Multiaddr, PeerId, Transport as _, noise, tcp, yamux};
use zeroize::Zeroize as _;

use super::MeshError;
use crate::protocol::NodeId;

/// Time in which a connection must be encrypted and multiplexed.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Streams on one connection in both directions. yamux gives each a window of 256 KiB, so this bounds
/// a connection to 64 MiB before auto-tuning; libp2p-yamux 0.48 has no setting for the total window.
const YAMUX_STREAMS_MAX: usize = 256;

/// Connections that wait to be accepted by us.
const TCP_BACKLOG: u32 = 256;

/// The transport of a node; opaque, so that no libp2p type leaves this module.
pub struct Transport(pub(super) Boxed<(PeerId, StreamMuxerBox)>);

impl Transport {
    /// TCP (without delay), encrypted by noise with the node's key, multiplexed by yamux. With the
    /// feature `quic` also QUIC. Must be called within a tokio runtime with IO.
    ///
    /// # Errors
    /// [`MeshError::Build`] if the key is not usable.
    pub fn tcp(seed: &[u8; 32]) -> Result<Transport, MeshError> {
        let key = keypair(seed)?;
        let noise = noise::Config::new(&key)
            .map_err(|error| MeshError::Build { part: "encryption", why: error.to_string() })?;
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true).listen_backlog(TCP_BACKLOG))
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux_config())
            .timeout(HANDSHAKE_DEADLINE);
        #[cfg(feature = "quic")]
        let both = {
            use libp2p::core::transport::OrTransport;
            use libp2p::futures::future::Either;
            let quic = libp2p::quic::tokio::Transport::new(libp2p::quic::Config::new(&key));
            OrTransport::new(quic, tcp)
                .map(|either, _| match either {
                    Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
                    Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
                })
                .boxed()
        };
        #[cfg(not(feature = "quic"))]
        let both = tcp.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed();
        Ok(Transport(both))
    }

    /// A transport made elsewhere: encrypted and multiplexed already.
    #[cfg(feature = "simulation")]
    pub fn from_libp2p(boxed: Boxed<(PeerId, StreamMuxerBox)>) -> Transport {
        Transport(boxed)
    }
}

/// The multiplexer's settings.
fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(YAMUX_STREAMS_MAX);
    config
}

/// The name of the node that has this secret seed.
///
/// # Errors
/// [`MeshError::Build`] if the seed does not make a key; no seed of 32 bytes is known that does not.
pub fn node_id_of_seed(seed: &[u8; 32]) -> Result<NodeId, MeshError> {
    Ok(node_id(&keypair(seed)?.public().to_peer_id()))
}

/// A node's name in base58, as in the last part of a multiaddress; `None` if the bytes are no peer id.
pub fn node_text(node: &NodeId) -> Option<String> {
    PeerId::from_bytes(node.as_bytes()).ok().map(|peer| peer.to_base58())
}

/// The node with this base58 name; `None` if it is none.
pub fn node_from_text(text: &str) -> Option<NodeId> {
    text.parse::<PeerId>().ok().map(|peer| node_id(&peer))
}

/// Whether a text is a multiaddress that ends in the name of this node: what `mesh.bootstrap` takes.
pub fn is_address_of(text: &str, node: &NodeId) -> bool {
    let parsed = text.parse::<Multiaddr>().is_ok();
    let named =
        text.rsplit_once("/p2p/").and_then(|(dial, name)| node_from_text(name).filter(|_| !dial.is_empty()));
    parsed && named.as_ref() == Some(node)
}

pub(super) fn keypair(seed: &[u8; 32]) -> Result<Keypair, MeshError> {
    let mut copy = *seed;
    let secret = ed25519::SecretKey::try_from_bytes(&mut copy)
        .map_err(|error| MeshError::Build { part: "node key", why: error.to_string() });
    copy.zeroize();
    Ok(Keypair::from(ed25519::Keypair::from(secret?)))
}

pub(super) fn node_id(peer: &PeerId) -> NodeId {
    // A peer id is a multihash of at most 42 bytes: it always fits.
    let bytes = peer.to_bytes();
    NodeId::from_bytes(&bytes).unwrap_or_else(|| unreachable!("a peer id has 34 to 42 bytes"))
}

pub(super) fn peer_id(node: &NodeId) -> Option<PeerId> {
    PeerId::from_bytes(node.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_name() {
        let node = node_id_of_seed(&[7; 32]).unwrap();
        assert_eq!(node, node_id_of_seed(&[7; 32]).unwrap());
        assert_ne!(node, node_id_of_seed(&[8; 32]).unwrap());
        let text = node_text(&node).unwrap();
        assert!(text.starts_with("12D3Koo"), "{text}");
        assert_eq!(node_from_text(&text), Some(node));
        assert_eq!(node_from_text("nobody"), None);
    }
}
