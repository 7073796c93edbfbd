//! TLS of the facade: handshakes with a time limit, certificates of backends, and new files while connections are open.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::config::TlsConfig;
use super::error::FacadeError;
use super::http::Http;
use crate::tls::{self, Certificate, Fingerprint, InUse, TlsError, Use, Used};

/// HTTP/2 first, since one connection is enough for all calls of a backend.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// The certificate that a caller showed and whose key it has; put into every request of its connection.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) fingerprint: Fingerprint,
    /// Connections may outlive certificates.
    pub(super) not_after_unix_s: u64,
}

/// What the files hold.
pub(super) struct Loaded {
    acceptor: TlsAcceptor,
    used: Vec<Used>,
}

/// Makes encrypted connections; which certificate the facade shows may change meanwhile.
pub(super) struct Tls {
    acceptor: RwLock<TlsAcceptor>,
    handshake_time: Duration,
}

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the handshake took too long")]
    TooSlow,
    #[error("{0}")]
    Failed(std::io::Error),
    #[error("the certificate of the caller: {0}")]
    Certificate(TlsError),
}

impl Loaded {
    /// Reads the files.
    pub(super) fn read(config: &TlsConfig) -> Result<Loaded, FacadeError> {
        let certificate = tls::read_certificates(&config.certificate).map_err(FacadeError::Tls)?;
        let key = tls::read_key(&config.key).map_err(FacadeError::Tls)?;
        let client_ca = match config.asks_for_certificates() {
            true => Some(tls::read_certificates(&config.client_ca).map_err(FacadeError::Tls)?),
            false => None,
        };
        let server =
            tls::server(&certificate, &key, client_ca.as_deref(), &PROTOCOLS).map_err(FacadeError::Tls)?;
        let of = |pem: &[u8]| Certificate::all_of_pem(pem).map_err(FacadeError::Tls);
        // Those behind the first are the issuer's to renew, but end the connection all the same.
        let mut used = Used::list(Use::Facade, "", of(&certificate)?);
        if let Some(pem) = &client_ca {
            used.extend(Used::list(Use::ClientCa, "", of(pem)?));
        }
        Ok(Loaded { acceptor: TlsAcceptor::from(std::sync::Arc::new(server)), used })
    }
}

impl Tls {
    pub(super) fn new(config: &TlsConfig, loaded: Loaded, in_use: &InUse) -> Tls {
        in_use.put(&[Use::Facade, Use::ClientCa], loaded.used);
        let handshake_time = Duration::from_millis(config.handshake_timeout_ms);
        Tls { acceptor: RwLock::new(loaded.acceptor), handshake_time }
    }

    /// What connects from now on sees the new certificate and is checked against the new CA.
    pub(super) fn replace(&self, loaded: Loaded, in_use: &InUse) {
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = loaded.acceptor;
        in_use.put(&[Use::Facade, Use::ClientCa], loaded.used);
    }

    /// The handshake. A certificate of the caller has been checked against the CA when this returns.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Shown>, Http), HandshakeError> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = timeout(self.handshake_time, acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| HandshakeError::TooSlow)?.map_err(HandshakeError::Failed)?;
        let (_, session) = stream.get_ref();
        let shown = match session.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(der) => {
                let read = Certificate::from_der(der).map_err(HandshakeError::Certificate)?;
                Some(Shown { fingerprint: read.fingerprint, not_after_unix_s: read.not_after_unix_s })
            }
        };
        let http = if session.alpn_protocol() == Some(b"h2") { Http::Two } else { Http::One };
        Ok((stream, shown, http))
    }
}
