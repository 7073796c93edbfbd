//! The socket of one connection, which can send a further answer that nobody asked for: HTTP libraries rightly
//! refuse to.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is to follow the answer that is written next.
#[derive(Clone, Default)]
pub(super) struct Encore(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The answer itself has been written.
    due: bool,
}

impl Encore {
    /// Sends these bytes right after the answer.
    pub(super) fn after_answer(&self, bytes: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Waiting { bytes, due: false };
    }
}

/// A stream that sends its [`Encore`].
pub(super) struct Wire {
    stream: TcpStream,
    encore: Encore,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, encore: Encore::default() }
    }

    pub(super) fn encore(&self) -> Encore {
        self.encore.clone()
    }

    fn poll_encore(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.encore.0.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.due && !waiting.bytes.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &waiting.bytes))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            waiting.bytes.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.encore.0.lock().unwrap_or_else(PoisonError::into_inner).due = written > 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The server flushes when an answer is written whole.
        ready!(self.poll_encore(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
