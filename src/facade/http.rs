//! One connection, HTTP/1.1 or HTTP/2: no limit of the libraries is left open, so that a slow or greedy caller holds
//! little, and not for ever.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::config::Config;
use super::server::Peer;
use super::tls::Shown;

/// Header fields of one request; an OICP backend sends about ten.
const HEADERS_MAX: usize = 64;
/// Bytes of one request's head (and of the read buffer of HTTP/1.1).
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Bytes that an HTTP/2 connection, and each stream of it, may send ahead of what was read: 2.6 MB/s at 50 ms of
/// round trip, and no more than this held for each connection.
const WINDOW_BYTES: u32 = 128 * 1024;
/// Bytes of answers that wait to be sent on one stream of HTTP/2.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// How an HTTP/2 connection begins without TLS ("prior knowledge").
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Pause before the beginning of a connection is looked at again, while it is one byte of a few.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// Bytes of a body that nobody wants which are taken before the answer goes out over HTTP/2: a caller whose body is cut
/// off may never look at the answer ...
const UNWANTED_BYTES_MAX: usize = 256 * 1024;
/// ... and for how long.
const UNWANTED_TIME: Duration = Duration::from_secs(1);

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Time for the head of a request, also on an idle connection.
    pub(super) head: Duration,
    /// Time in which requests on an HTTP/2 connection that is closed have to be answered.
    last: Duration,
    streams: u32,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Limits {
        Limits {
            head: Duration::from_millis(config.header_timeout_ms),
            last: Duration::from_millis(config.body_timeout_ms.saturating_add(config.answer_timeout_ms)),
            streams: config.http2_streams_max,
        }
    }
}

/// Which HTTP a plain connection begins with; `None` if it begins with nothing in time.
pub(super) async fn spoken(stream: &TcpStream, time: Duration) -> Option<Http> {
    let look = async {
        let mut seen = [0; PREFACE.len()];
        loop {
            let bytes = stream.peek(&mut seen).await.ok().filter(|bytes| *bytes > 0)?;
            let begins = seen.get(..bytes)?;
            if begins == PREFACE {
                return Some(Http::Two);
            }
            if !PREFACE.starts_with(begins) {
                return Some(Http::One);
            }
            sleep(PEEK_PAUSE).await;
        }
    };
    timeout(time, look).await.ok().flatten()
}

/// Serves a connection until it ends, nothing happens on it for long, or `stop` is cancelled.
pub(super) async fn serve<S>(
    stream: S,
    version: Http,
    (peer, shown): (Peer, Option<Shown>),
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let calls = Arc::new(Calls::default());
    let counted = Arc::clone(&calls);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if let Some(shown) = shown.clone() {
            request.extensions_mut().insert(shown);
        }
        let call = Call::begin(&counted);
        let unwanted = Unwanted::default();
        let answering = router.clone().call(request.map(|body| Wanted::new(body, &unwanted)));
        async move {
            let answer: Result<Response, _> = answering.await;
            if version == Http::Two {
                unwanted.take_in().await;
            }
            answer.map(|answer| answer.map(|body| Counted { body, _call: call }))
        }
    });
    let ended = match version {
        Http::One => {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_BYTES_MAX as usize)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = stop.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            }
        }
        Http::Two => {
            let serving = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(HEAD_BYTES_MAX)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .max_send_buf_size(SEND_BYTES_MAX)
                // Of a caller that is gone nothing is heard; HTTP/1.1 has the time for the next head instead.
                .keep_alive_interval(limits.head)
                .keep_alive_timeout(limits.head)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = async { tokio::select! { () = stop.cancelled() => {}, () = calls.idle(limits.head) => {} } } => {
                    serving.as_mut().graceful_shutdown();
                    timeout(limits.last, serving).await.unwrap_or(Ok(()))
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The calls of one connection.
#[derive(Default)]
struct Calls {
    open: AtomicUsize,
    begun: AtomicU64,
}

impl Calls {
    /// Returns when for that time none was open and none began.
    async fn idle(&self, time: Duration) {
        let mut begun = 0;
        loop {
            sleep(time).await;
            let now = self.begun.load(Ordering::Acquire);
            if now == begun && self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            begun = now;
        }
    }
}

/// Where the body of a request ends up that nobody read to its end.
#[derive(Clone, Default)]
struct Unwanted(Arc<Mutex<Option<Incoming>>>);

impl Unwanted {
    async fn take_in(&self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let taking = async {
            let mut left = UNWANTED_BYTES_MAX;
            while left > 0
                && let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        // Whoever is slower is cut off.
        let _taken = timeout(UNWANTED_TIME, taking).await;
    }
}

/// The body of a request.
struct Wanted {
    body: Option<Incoming>,
    unwanted: Unwanted,
}

impl Wanted {
    fn new(body: Incoming, unwanted: &Unwanted) -> Wanted {
        Wanted { body: Some(body), unwanted: unwanted.clone() }
    }
}

impl HttpBody for Wanted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.unwanted.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

/// The body of an answer, whose call is open until all of it is gone: lists of events go on for long.
struct Counted {
    body: Body,
    _call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A call that is open; it ends when it is dropped.
struct Call(Arc<Calls>);

impl Call {
    fn begin(calls: &Arc<Calls>) -> Call {
        calls.open.fetch_add(1, Ordering::AcqRel);
        calls.begun.fetch_add(1, Ordering::AcqRel);
        Call(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
