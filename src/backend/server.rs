//! Connections and requests: takes them within limits, writes them down, and answers as it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode as Http, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::answer::{Planned, plan};
use super::behaviour::{Behaviour, Behaviours};
use super::config::Config;
use super::log::{Log, Received};
use super::operation::Operation;
use super::play::Player;
use super::wire::{Encore, Wire};
use crate::oicp::finding::Fault;
use crate::tls::Fingerprint;

/// Most connections open at one time; more wait in the operating system's queue. As many as sessions that a
/// node is tested with at once.
pub const CONNECTIONS_MAX: usize = 2_048;
/// Largest body of a request, in bytes: a charge detail record with ten signed values has about 40,000.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a request of [`Behaviour::Silent`] is held before its connection is closed after all.
pub const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head, also on an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Header fields of one request; a node sends about ten.
const HEADERS_MAX: usize = 64;
/// Bytes of one request's head (and of hyper's read buffer).
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept (no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Characters of a path that are kept.
const PATH_CHARACTERS_MAX: usize = 512;
/// Bytes that an entry of the log is counted with, beside its body.
const ENTRY_BYTES: usize = 1_024;

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) behaviours: Mutex<Behaviours>,
    pub(super) received: Log<Received>,
    pub(super) player: Option<Player>,
    pub(super) sessions: AtomicU64,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The connection that a request came over.
#[derive(Clone)]
pub(super) struct Line {
    encore: Encore,
    hang_up: CancellationToken,
}

impl Line {
    /// Closes it without a word.
    pub(super) fn hang_up(&self) {
        self.hang_up.cancel();
    }
}

/// The certificate that the client showed, and that was checked; none over plain HTTP.
#[derive(Clone, Default)]
pub(super) struct Shown(pub(super) Option<Fingerprint>);

/// How a connection begins.
#[derive(Clone)]
pub(super) enum Door {
    /// Plain HTTP.
    Plain,
    /// With a handshake first.
    Tls(TlsAcceptor),
}

/// Serves until it is stopped; then everything that is open is cut off at once, as when a process ends.
pub(super) async fn serve(
    listener: TcpListener,
    door: Door,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, _peer, place)) = accepted else { continue };
        let (door, router, hang_up) = (door.clone(), router.clone(), stop.child_token());
        tasks.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            enter(stream, door, router, hang_up).await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn enter(stream: TcpStream, door: Door, router: Router, hang_up: CancellationToken) {
    let acceptor = match door {
        Door::Plain => {
            let wire = Wire::new(stream);
            let line = Line { encore: wire.encore(), hang_up };
            return connection(wire, line, Shown::default(), router).await;
        }
        Door::Tls(acceptor) => acceptor,
    };
    match timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let shown = Shown(certificates.first().map(|der| Fingerprint::of_der(der)));
            connection(stream, Line { encore: Encore::default(), hang_up }, shown, router).await;
        }
        Ok(Err(error)) => tracing::info!(%error, "a handshake failed"),
        Err(_) => tracing::info!("a handshake took too long"),
    }
}

async fn connection<S>(stream: S, line: Line, shown: Shown, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hang_up = line.hang_up.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(line.clone());
        request.extensions_mut().insert(shown.clone());
        router.clone().call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = hang_up.cancelled() => {}
        ended = serving => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

/// The paths of a backend of one side.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let unserved = |State(shared): State<Arc<Shared>>, Extension(line): Extension<Line>, request: Request| async move {
        answer(&shared, Operation::Unserved, &line, request).await
    };
    let mut router = Router::new().route("/healthz", get(|| async { "ok\n" }));
    let served = Operation::ALL.into_iter().filter(|one| one.served_by() == Some(shared.config.kind));
    for operation in served {
        for path in operation.paths() {
            let handler = move |State(shared): State<Arc<Shared>>,
                                Extension(line): Extension<Line>,
                                request: Request| async move {
                answer(&shared, operation, &line, request).await
            };
            router = router.route(path, post(handler));
        }
    }
    router.fallback(unserved).method_not_allowed_fallback(unserved).with_state(Arc::clone(shared))
}

async fn answer(shared: &Arc<Shared>, operation: Operation, line: &Line, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(PATH_CHARACTERS_MAX).collect();
    let behaviour = match operation {
        Operation::Unserved => Behaviour::Answer,
        _ => shared.behaviours.lock().unwrap_or_else(PoisonError::into_inner).of(operation),
    };
    let read = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
    let (body, planned) = match read {
        Ok(Ok(body)) => {
            let number = shared.sessions.fetch_add(1, Ordering::Relaxed);
            let reference = format!("{}-{number}", shared.config.kind);
            let planned = plan(&shared.config, operation, behaviour, &body, &reference);
            (body, planned)
        }
        _ => (Bytes::new(), unreadable()),
    };
    let received = Received {
        operation,
        path,
        at: shared.config.clock.now().unix_ms,
        session: planned.session.map(|session| session.as_str().to_owned()),
        evse: planned.evse.as_ref().map(|evse| evse.as_str().to_owned()),
        behaviour,
        answer: planned.said.clone(),
        body,
    };
    let bytes = received.body.len() + ENTRY_BYTES;
    shared.received.add(received, bytes);
    play(shared, &planned, behaviour);
    match behaviour {
        Behaviour::Slow(time) => sleep(time).await,
        Behaviour::Silent | Behaviour::Die => {
            if behaviour == Behaviour::Silent {
                sleep(SILENCE_MAX).await;
            }
            line.hang_up();
            std::future::pending::<()>().await;
        }
        Behaviour::Twice => line.encore.after_answer(as_http(&planned)),
        _ => {}
    }
    respond(planned)
}

/// A start that was accepted takes its course, a stop ends it. If it is slow, then also when the caller does not
/// wait for the answer: such a start is the one that must not be lost.
fn play(shared: &Arc<Shared>, planned: &Planned, behaviour: Behaviour) {
    let Some(player) = &shared.player else { return };
    if let Some(session) = planned.stopped {
        player.stop(session);
    }
    let answer_after = match behaviour {
        Behaviour::Slow(time) => time,
        _ => Duration::ZERO,
    };
    if let Some(start) = planned.started.clone() {
        let shared = Arc::clone(shared);
        shared.tasks.clone().spawn(async move {
            let Some(player) = &shared.player else { return };
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = player.play(&start, answer_after) => {}
            }
        });
    }
}

fn unreadable() -> Planned {
    let problem = format!("the body has more than {BODY_BYTES_MAX} bytes, or did not come in time");
    Planned::plain(400, Fault::single("/body", problem).to_json(), "HTTP 400: no whole body came")
}

fn respond(planned: Planned) -> Response {
    let http = Http::from_u16(planned.http).unwrap_or(Http::INTERNAL_SERVER_ERROR);
    (http, [(header::CONTENT_TYPE, "application/json")], Body::from(planned.body)).into_response()
}

/// The same answer once more, as bytes.
fn as_http(planned: &Planned) -> Vec<u8> {
    let Planned { http, body, .. } = planned;
    let head = format!(
        "HTTP/1.1 {http} Again\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
