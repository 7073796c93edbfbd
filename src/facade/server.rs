//! Connections: accepts, limits and ends them. The framework's own server sets no limit on connections and
//! no time for a request's head, so a slow client could hold a connection for ever; here both are set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::http::{self, Limits};
use super::tls::Tls;

/// Pause after a failed accept (no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of the caller, put into every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What every connection needs.
#[derive(Clone)]
struct Serving {
    router: Router,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    stop: CancellationToken,
}

/// Serves until `stop` is cancelled, then gives open requests `shutdown_timeout_ms`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    config: Config,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let serving = Serving { router, tls, limits: Limits::new(&config), stop };
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = serving.stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        // Handshakes are made there: nobody waits here for a slow one.
        let serving = serving.clone();
        connections.spawn(async move {
            connection(stream, peer, serving).await;
            drop(place);
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(Duration::from_millis(config.shutdown_timeout_ms), all).await.is_err() {
        tracing::warn!("requests were still open at shutdown and are cut off");
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
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

async fn connection(stream: TcpStream, peer: SocketAddr, serving: Serving) {
    let Serving { router, tls, limits, stop } = serving;
    // Small answers must not wait for more to send.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(tls) = tls else {
        let spoken = stop.run_until_cancelled(http::spoken(&stream, limits.head)).await;
        if let Some(Some(version)) = spoken {
            http::serve(stream, version, (Peer(peer), None), router, limits, stop).await;
        }
        return;
    };
    match stop.run_until_cancelled(tls.accept(stream)).await {
        None => {}
        Some(Ok((stream, shown, version))) => {
            http::serve(stream, version, (Peer(peer), shown), router, limits, stop).await;
        }
        // Whoever scans ports fails here too; who is at home in vain reads it on his own side.
        Some(Err(error)) => tracing::info!(%peer, %error, "no TLS with a caller"),
    }
}
