//! Addresses of nodes as people type them and as others can use them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{bail, ensure};
use chargemesh::mesh;

use super::keys::random;

/// Ports that are tried for a node: below those that systems give to outgoing connections, so that a
/// port that is free now is free at the start too.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// How many ports are tried before giving up.
const PORT_TRIES: usize = 64;

/// The mesh reads addresses in full when it starts; this finds what is plainly wrong before files are made.
pub(super) fn check<'a>(
    own: impl Iterator<Item = &'a String>,
    bootstrap: impl Iterator<Item = &'a String>,
) -> anyhow::Result<()> {
    for (address, of_another) in
        own.map(|address| (address, false)).chain(bootstrap.map(|other| (other, true)))
    {
        ensure!(
            address.starts_with('/') && address.split('/').count() >= 4,
            "{address:?} is no multiaddress: write for example /ip4/192.0.2.1/tcp/4001"
        );
        let peer = address.rsplit_once("/p2p/").and_then(|(_, peer)| mesh::node_from_text(peer));
        ensure!(
            !of_another || peer.is_some(),
            "{address:?} does not end in /p2p/PEER-ID: that node prints it when it runs"
        );
    }
    Ok(())
}

/// Where to listen for backends: address and port, or a port alone, on this machine only.
pub(super) fn facade(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").unwrap_or(text).parse::<u16>().ok();
    let address = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    address.or_else(|| text.parse().ok()).ok_or_else(|| {
        "write address and port, as in 127.0.0.1:8080, or a port alone for this machine only".to_owned()
    })
}

/// A port on this machine that nobody uses now.
pub(super) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..PORT_TRIES {
        let number = u16::from_be_bytes(*random::<2>()?);
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found on this machine: choose with --listen and --facade")
}

/// Whether an address that a node listens on is one that another can dial.
pub(super) fn is_dialable(address: &str) -> bool {
    !["/ip4/0.0.0.0/", "/ip6/::/"].iter().any(|any| address.starts_with(any)) && !address.ends_with("/tcp/0")
}

/// An address as others need it.
pub(super) fn with_peer_id(address: &str, peer_id: &str) -> String {
    if address.contains("/p2p/") { address.to_owned() } else { format!("{address}/p2p/{peer_id}") }
}

/// The part of an address that says how to dial.
pub(super) fn without_peer_id(address: &str) -> &str {
    address.split_once("/p2p/").map_or(address, |(dial, _)| dial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        for text in ["8080", "localhost:8080", "127.0.0.1:8080"] {
            assert_eq!(facade(text), Ok(SocketAddr::from(([127, 0, 0, 1], 8080))), "{text}");
        }
        assert_eq!(facade("[::1]:1").unwrap().port(), 1);
        for wrong in ["", "80800", "a.example:8080", "http://127.0.0.1:8080"] {
            assert!(facade(wrong).unwrap_err().contains("127.0.0.1:8080"), "{wrong}");
        }
    }
}
