//! The network as libp2p sees it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Ready, ready};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, ed25519};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, noise, yamux};
use tokio::sync::mpsc;

use super::pipe::{Connection, connect};
use super::{FIRST_ADDRESS, Network, NodeNumber, address, node_at};

/// How long a dial into nothing waits.
const DIAL_TIMEOUT: Duration = Duration::from_secs(8);

/// Time in which a connection must be encrypted and multiplexed, as in the product.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Streams on one connection, as in the product.
const YAMUX_STREAMS_MAX: usize = 256;

/// Connections that wait to be accepted, as a listener's backlog.
const BACKLOG: usize = 256;

/// A connection that somebody else dialled.
pub(super) struct Incoming {
    from: Multiaddr,
    connection: Connection,
}

struct Listener {
    id: ListenerId,
    incoming: mpsc::Receiver<Incoming>,
    announced: bool,
}

struct SimulatedTransport {
    network: Network,
    me: NodeNumber,
    listener: Option<Listener>,
}

pub(super) fn encrypted(
    network: Network,
    me: NodeNumber,
    seed: &[u8; 32],
) -> anyhow::Result<chargemesh::mesh::Transport> {
    let secret = ed25519::SecretKey::try_from_bytes(&mut seed.clone()).context("a node's key")?;
    let key = Keypair::from(ed25519::Keypair::from(secret));
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(YAMUX_STREAMS_MAX);
    let transport = SimulatedTransport { network, me, listener: None }
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key)?)
        .multiplex(multiplexer)
        .timeout(HANDSHAKE_DEADLINE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    Ok(chargemesh::mesh::Transport::from_libp2p(transport))
}

impl SimulatedTransport {
    /// The listener is gone, unless its node has another one already.
    fn unlisten(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let mut state = self.network.lock();
        if state.listeners.get(&self.me).is_some_and(|(id, _)| *id == listener.id) {
            state.listeners.remove(&self.me);
        }
    }
}

impl Drop for SimulatedTransport {
    fn drop(&mut self) {
        self.unlisten();
    }
}

async fn dial(network: Network, me: NodeNumber, to: NodeNumber) -> io::Result<Connection> {
    let (round_trip, cut) = {
        let mut state = network.lock();
        let round_trip = state.delay(me, to, 0) + state.delay(to, me, 0);
        // A host that lost its power answers nothing, not even that nobody listens.
        let off = !state.listeners.contains_key(&to) && state.lives[to as usize] > 0;
        (round_trip, off || state.is_cut(me, to) || state.is_cut(to, me))
    };
    if cut {
        tokio::time::sleep(DIAL_TIMEOUT).await;
        return Err(io::ErrorKind::TimedOut.into());
    }
    tokio::time::sleep(round_trip).await;
    let (listener, port) = {
        let mut state = network.lock();
        state.next_port = state.next_port % 50_000 + 1;
        (state.listeners.get(&to).map(|(_, listener)| listener.clone()), 10_000 + state.next_port)
    };
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let place = listener.as_ref().and_then(|listener| listener.try_reserve().ok()).ok_or_else(refused)?;
    let (mine, theirs) = connect(&network, me, to);
    network.lock().traffic[me as usize].dialled += 1;
    let from = Multiaddr::empty().with(Protocol::Ip4((FIRST_ADDRESS + me).into())).with(Protocol::Tcp(port));
    place.send(Incoming { from, connection: theirs });
    Ok(mine)
}

impl Transport for SimulatedTransport {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Connection>>;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

    fn listen_on(&mut self, id: ListenerId, at: Multiaddr) -> Result<(), TransportError<io::Error>> {
        if node_at(&at) != Some(self.me) {
            return Err(TransportError::MultiaddrNotSupported(at));
        }
        let (sender, incoming) = mpsc::channel(BACKLOG);
        self.network.lock().listeners.insert(self.me, (id, sender));
        self.listener = Some(Listener { id, incoming, announced: false });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let ours = self.listener.as_ref().is_some_and(|listener| listener.id == id);
        if ours {
            self.unlisten();
        }
        ours
    }

    fn dial(&mut self, to: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        match node_at(&to) {
            Some(node) if (node as usize) < self.network.lock().lives.len() => {
                Ok(dial(self.network.clone(), self.me, node).boxed())
            }
            _ => Err(TransportError::MultiaddrNotSupported(to)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let me = self.me;
        let Some(listener) = &mut self.listener else { return Poll::Pending };
        if !listener.announced {
            listener.announced = true;
            let (listener_id, listen_addr) = (listener.id, address(me));
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr });
        }
        match listener.incoming.poll_recv(context) {
            Poll::Ready(Some(Incoming { from, connection })) => Poll::Ready(TransportEvent::Incoming {
                listener_id: listener.id,
                upgrade: ready(Ok(connection)),
                local_addr: address(me),
                send_back_addr: from,
            }),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
