//! Peers that do not keep to the rules.

use std::pin::pin;

use libp2p::futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{Stream, StreamProtocol};

use super::*;

/// A bare libp2p node that only opens streams.
async fn stranger(victim: &Node) -> (PeerId, libp2p_stream::Control) {
    let seed = [77; 32];
    let me = transport::keypair(&seed).unwrap().public().to_peer_id();
    let settings = libp2p::swarm::Config::with_tokio_executor();
    let mut swarm =
        Swarm::new(Transport::tcp(&seed).unwrap().0, libp2p_stream::Behaviour::new(), me, settings);
    let control = swarm.behaviour().new_control();
    let address: Multiaddr = victim.address.parse().unwrap();
    swarm.dial(address).unwrap();
    executor()(Box::pin(async move {
        loop {
            swarm.select_next_some().await;
        }
    }));
    (transport::peer_id(&victim.id()).unwrap(), control)
}

fn exchange() -> StreamProtocol {
    super::super::exchange::protocol("local").unwrap()
}

/// The other side ends or resets the stream.
async fn closed(stream: &mut Stream) {
    let mut rest = Vec::new();
    let mut read = pin!(stream.read_to_end(&mut rest));
    let _ = timeout(PATIENCE, &mut read).await.expect("the stream is closed");
}

#[tokio::test]
async fn one_byte_a_minute_is_cut() {
    let victim = node_with(1, &[], |config| config.frame_deadline_ms = 300).await;
    let (peer, mut control) = stranger(&victim).await;
    let mut stream = control.open_stream(peer, exchange()).await.unwrap();
    stream.write_all(&[0]).await.unwrap();
    stream.flush().await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_frame_too_large_is_cut_at_its_length() {
    let victim = node(1, &[], &[]).await;
    let (peer, mut control) = stranger(&victim).await;
    let mut stream = control.open_stream(peer, exchange()).await.unwrap();
    stream.write_all(&[0xff; 4]).await.unwrap();
    stream.flush().await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_thousand_streams_are_refused_and_the_peer_is_blocked() {
    let victim = node(1, &[], &[]).await;
    let (peer, mut control) = stranger(&victim).await;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        let Ok(mut stream) = control.open_stream(peer, exchange()).await else { break };
        // The stream is negotiated with its first byte.
        if stream.write_all(&[0]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        streams.push(stream);
    }
    assert!(streams.len() < 1000);
    let counts = victim.mesh.counts().await.unwrap();
    assert!(counts.streams_refused >= 3, "{counts:?}");
    assert_eq!(counts.peers_blocked, 1);
}
