//! One connection: two byte pipes, whose bytes arrive when the link says.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::link::WINDOW_BYTES;
use super::{Network, NodeNumber};

struct Segment {
    at: Instant,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that were read already.
    read: usize,
    waiting: usize,
    last: Option<Instant>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One direction.
pub(super) struct Pipe {
    network: Network,
    from: NodeNumber,
    to: NodeNumber,
    /// The lives of both ends when they were connected.
    lives: (u32, u32),
    inner: Mutex<Inner>,
}

impl Pipe {
    fn new(network: &Network, from: NodeNumber, to: NodeNumber, lives: (u32, u32)) -> Arc<Pipe> {
        Arc::new(Pipe { network: network.clone(), from, to, lives, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an end lost its power: the other hears nothing any more, not even that.
    fn is_dead(&self, lives: &[u32]) -> bool {
        (lives[self.from as usize], lives[self.to as usize]) != self.lives
    }
}

impl Inner {
    fn take(&mut self, buffer: &mut [u8], now: Instant) -> usize {
        let mut taken = 0;
        while let Some(segment) = self.segments.front().filter(|segment| segment.at <= now) {
            let bytes = &segment.bytes[self.read..];
            let count = bytes.len().min(buffer.len() - taken);
            buffer[taken..taken + count].copy_from_slice(&bytes[..count]);
            taken += count;
            self.read += count;
            if self.read < segment.bytes.len() {
                break;
            }
            self.segments.pop_front();
            self.read = 0;
        }
        self.waiting -= taken;
        taken
    }

    fn wake(waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

/// One end of a connection.
pub(super) struct Connection {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// A connection of two nodes: the end of the first, the end of the second.
pub(super) fn connect(network: &Network, a: NodeNumber, b: NodeNumber) -> (Connection, Connection) {
    let (life_a, life_b) = {
        let mut state = network.lock();
        state.traffic[a as usize].open += 1;
        state.traffic[b as usize].open += 1;
        (state.lives[a as usize], state.lives[b as usize])
    };
    let there = Pipe::new(network, a, b, (life_a, life_b));
    let back = Pipe::new(network, b, a, (life_b, life_a));
    let end = |incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>| Connection {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        timer: None,
    };
    (end(&back, &there), end(&there, &back))
}

impl Connection {
    /// Waits until a moment; pending until then.
    fn poll_until(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at || timer.is_elapsed() {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(context)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = self.incoming.clone();
        loop {
            let mut inner = pipe.lock();
            let Some(at) = inner.segments.front().map(|segment| segment.at) else {
                if inner.closed {
                    return Poll::Ready(Ok(0));
                }
                inner.reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            let now = Instant::now();
            if at > now {
                inner.reader = Some(context.waker().clone());
                drop(inner);
                match self.poll_until(at, context) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let mut state = pipe.network.lock();
            if pipe.is_dead(&state.lives) {
                return Poll::Pending;
            }
            if state.is_cut(pipe.from, pipe.to) {
                state.held_back.push(context.waker().clone());
                return Poll::Pending;
            }
            let taken = inner.take(buffer, now);
            state.trace.delivered(pipe.from, pipe.to, &buffer[..taken]);
            Inner::wake(&mut inner.writer);
            return Poll::Ready(Ok(taken));
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = &self.outgoing;
        let mut inner = pipe.lock();
        if inner.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = buffer.len().min(WINDOW_BYTES.saturating_sub(inner.waiting));
        if count == 0 && !buffer.is_empty() {
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut state = pipe.network.lock();
        if pipe.is_dead(&state.lives) && state.listeners.contains_key(&pipe.to) {
            // The machine is on again and knows nothing of this connection: its system says so (RFC 9293).
            drop(state);
            inner.closed = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let at = Instant::now() + state.delay(pipe.from, pipe.to, count);
        state.traffic[pipe.from as usize].bytes_sent += count as u64;
        drop(state);
        // Bytes of one connection keep their order.
        let at = inner.last.map_or(at, |last| last.max(at));
        inner.last = Some(at);
        inner.waiting += count;
        inner.segments.push_back(Segment { at, bytes: buffer[..count].to_vec() });
        Inner::wake(&mut inner.reader);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.outgoing.lock();
        inner.closed = true;
        Inner::wake(&mut inner.reader);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let me = self.outgoing.from as usize;
        let dead = {
            let mut state = self.outgoing.network.lock();
            state.traffic[me].open = state.traffic[me].open.saturating_sub(1);
            self.outgoing.is_dead(&state.lives)
        };
        if dead {
            // Nobody is left to say goodbye: the other end stays half-open.
            return;
        }
        for pipe in [&self.outgoing, &self.incoming] {
            let mut inner = pipe.lock();
            inner.closed = true;
            Inner::wake(&mut inner.reader);
            Inner::wake(&mut inner.writer);
        }
    }
}
