//! Accepts the streams that peers open. A stream goes to the swarm's task as an event, so the engine's
//! back-pressure reaches the peer; libp2p-stream would silently drop what comes faster than it is taken.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::upgrade::{DeniedUpgrade, InboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};

/// Streams of one connection that wait for the swarm's task; more are dropped, which closes them.
const WAITING_MAX: usize = 16;

/// A stream that a peer opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) protocol: StreamProtocol,
    pub(super) stream: Stream,
    /// Streams that were dropped before this one.
    pub(super) dropped: u64,
}

/// Listens for the given protocols on every connection.
pub(super) struct Behaviour {
    protocols: Vec<StreamProtocol>,
    opened: VecDeque<Opened>,
}

impl Behaviour {
    pub(super) fn new(protocols: Vec<StreamProtocol>) -> Behaviour {
        Behaviour { protocols, opened: VecDeque::new() }
    }

    fn handler(&self) -> Handler {
        Handler { protocols: self.protocols.clone(), waiting: VecDeque::new(), dropped: 0 }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Negotiated { protocol, stream, dropped } = event;
        // The swarm takes one event of a handler and then polls this behaviour: this queue stays short.
        self.opened.push_back(Opened { peer, connection, protocol, stream, dropped });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.opened.pop_front().map_or(Poll::Pending, |opened| Poll::Ready(ToSwarm::GenerateEvent(opened)))
    }
}

/// A negotiated stream on its way from a connection to the behaviour.
#[derive(Debug)]
pub(super) struct Negotiated {
    protocol: StreamProtocol,
    stream: Stream,
    dropped: u64,
}

/// One connection's part.
pub(super) struct Handler {
    protocols: Vec<StreamProtocol>,
    waiting: VecDeque<Negotiated>,
    dropped: u64,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Negotiated;
    type InboundProtocol = Offer;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.protocols.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Self::ToBehaviour>> {
        match self.waiting.pop_front() {
            Some(mut next) => {
                next.dropped = std::mem::take(&mut self.dropped);
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(next))
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, DeniedUpgrade>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event {
            let (stream, protocol) = protocol;
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(Negotiated { protocol, stream, dropped: 0 });
            } else {
                self.dropped += 1;
            }
        }
    }
}

/// Offers the protocols and hands out the bare stream.
pub(super) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}
