//! The bare peers of a question to another node: two swarms with libp2p's request-response, which opens a stream
//! for each question, and one kept-open stream with frames, which is what the product does, without the product.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::request_response::{self, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the asking swarm.
const QUEUE_MAX: usize = 1_024;

/// Connections are never closed for being idle.
const IDLE: Duration = Duration::from_secs(3_600);

/// Largest message in bytes: no benchmark comes near it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

const ASK: StreamProtocol = StreamProtocol::new("/bare/ask/1");
const LINE: StreamProtocol = StreamProtocol::new("/bare/line/1");

/// Messages as they are, with their length in front.
#[derive(Clone, Default)]
struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &response).await
    }
}

async fn read<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    io.read_exact(&mut message).await?;
    Ok(message)
}

async fn write<T: AsyncWrite + Unpin>(io: &mut T, message: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(message.len() + 4);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(message);
    io.write_all(&frame).await?;
    io.flush().await
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    ask: request_response::Behaviour<Raw>,
    line: libp2p_stream::Behaviour,
}

fn swarm() -> Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour {
            ask: request_response::Behaviour::new([(ASK, ProtocolSupport::Full)], Default::default()),
            line: libp2p_stream::Behaviour::new(),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}

type Question = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// Two connected swarms; the other one says everything back.
pub(crate) struct BareExchange {
    questions: mpsc::Sender<Question>,
    control: libp2p_stream::Control,
    other: PeerId,
}

impl BareExchange {
    /// Starts and connects both. `way` says at which port the other is dialled, given the one that it listens on.
    ///
    /// # Errors
    /// What libp2p says.
    pub(crate) async fn start(way: impl AsyncFnOnce(u16) -> Result<u16>) -> Result<BareExchange> {
        let mut other = swarm()?;
        let peer = *other.local_peer_id();
        other.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        let listening = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = other.select_next_some().await {
                break port(&address).context("no port")?;
            }
        };
        let mut lines = other.behaviour().line.new_control().accept(LINE)?;
        tokio::spawn(async move {
            while let Some((_, mut stream)) = lines.next().await {
                tokio::spawn(async move {
                    while let Ok(message) = read(&mut stream).await {
                        if write(&mut stream, &message).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(BehaviourEvent::Ask(request_response::Event::Message {
                    message: request_response::Message::Request { request, channel, .. },
                    ..
                })) = other.select_next_some().await
                {
                    // An asker that has gone hears nothing.
                    let _gone = other.behaviour_mut().ask.send_response(channel, request);
                }
            }
        });
        let mut asker = swarm()?;
        let control = asker.behaviour().line.new_control();
        asker
            .dial(format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", way(listening).await?).parse::<Multiaddr>()?)?;
        while !matches!(asker.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
        let (questions, asked) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(asker, peer, asked));
        Ok(BareExchange { questions, control, other: peer })
    }

    /// Asks over a stream of its own.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn ask(&self, message: &[u8]) -> Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.questions.send((message.to_vec(), answer)).await?;
        Ok(answered.await?)
    }

    /// Opens a stream that is kept open.
    ///
    /// # Errors
    /// What libp2p says.
    pub(crate) async fn line(&self) -> Result<Line> {
        Ok(Line(self.control.clone().open_stream(self.other, LINE).await?))
    }
}

/// A kept-open stream.
pub(crate) struct Line(Stream);

impl Line {
    /// Asks over it.
    ///
    /// # Errors
    /// If the stream ends.
    pub(crate) async fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        write(&mut self.0, message).await?;
        Ok(read(&mut self.0).await?)
    }
}

async fn run(mut asker: Swarm<Behaviour>, other: PeerId, mut asked: mpsc::Receiver<Question>) {
    let mut open = std::collections::BTreeMap::<OutboundRequestId, oneshot::Sender<Vec<u8>>>::new();
    loop {
        tokio::select! {
            question = asked.recv() => {
                let Some((message, answer)) = question else { return };
                open.insert(asker.behaviour_mut().ask.send_request(&other, message), answer);
            }
            event = asker.select_next_some() => {
                if let SwarmEvent::Behaviour(BehaviourEvent::Ask(request_response::Event::Message {
                    message: request_response::Message::Response { request_id, response },
                    ..
                })) = event
                    && let Some(answer) = open.remove(&request_id)
                {
                    let _gone = answer.send(response);
                }
            }
        }
    }
}

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}
