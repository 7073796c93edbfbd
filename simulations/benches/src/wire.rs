//! One kept-open connection of a backend to a facade, plain or over TLS, HTTP/1.1 or HTTP/2, that takes answers
//! compressed and counts the bytes that come over the wire.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Waker, Poll};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use chargemesh::facade::TlsConfig;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Smallest body that the facade compresses.
const COMPRESSED_BYTES_MIN: usize = 4 * 1024;

/// Largest answer that is unpacked, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS.
    One,
    /// HTTP/2 over TLS.
    Two,
}

impl Spoken {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Spoken::Plain => "HTTP/1.1, plain",
            Spoken::One => "HTTP/1.1, TLS",
            Spoken::Two => "HTTP/2, TLS",
        }
    }
}

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// All of them.
    pub(crate) const ALL: [Encoding; 3] = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd];

    /// As HTTP spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    fn unpacked(self, body: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        match self {
            Encoding::Identity => plain.extend_from_slice(body),
            Encoding::Gzip => {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain)?;
            }
            Encoding::Zstd => plain = zstd::bulk::decompress(body, ANSWER_BYTES_MAX)?,
        }
        Ok(plain)
    }
}

/// A certificate for 127.0.0.1 that nobody else has signed.
pub(crate) struct OwnCertificate {
    root: CertificateDer<'static>,
    settings: TlsConfig,
}

impl OwnCertificate {
    /// Makes one and writes it for a facade.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn write(dir: &Path) -> Result<OwnCertificate> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let (certificate, key) = (dir.join("facade.crt"), dir.join("facade.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.key_pair.serialize_pem())?;
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let settings = TlsConfig { certificate, key, ..TlsConfig::default() };
        Ok(OwnCertificate { root: made.cert.der().clone(), settings })
    }

    /// `[facade.tls]` with it.
    pub(crate) fn settings(&self) -> TlsConfig {
        self.settings.clone()
    }

    fn connector(&self, protocol: &str) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// An answer with what it took.
pub(crate) struct Answer {
    /// The body, unpacked.
    pub(crate) body: Vec<u8>,
    /// Bytes that came over TCP for it, heads and TLS included.
    pub(crate) wire_bytes: u64,
    /// Until its last byte was there, still packed; in microseconds.
    pub(crate) took_us: f64,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection.
pub(crate) struct Connection {
    sender: Sender,
    base: String,
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Connection {
    /// Connects to a facade; without a certificate plainly, and then it speaks HTTP/1.1.
    ///
    /// # Errors
    /// If the facade does not speak so.
    pub(crate) async fn open(
        address: SocketAddr,
        spoken: Spoken,
        shown: Option<&OwnCertificate>,
    ) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let received = Arc::new(AtomicU64::new(0));
        let stream = Counted { stream, received: Arc::clone(&received) };
        let protocol = match (spoken, shown) {
            (Spoken::Plain, _) => {
                let sender = first(stream).await?;
                return Ok(Connection { sender, base: String::new(), address, received });
            }
            (_, None) => bail!("no certificate for {}", spoken.name()),
            (Spoken::One, Some(shown)) => (shown, "http/1.1"),
            (Spoken::Two, Some(shown)) => (shown, "h2"),
        };
        let (shown, protocol) = protocol;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = shown.connector(protocol)?.connect(name, stream).await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(protocol.as_bytes()), "no {protocol}");
        if spoken == Spoken::One {
            let sender = first(stream).await?;
            return Ok(Connection { sender, base: String::new(), address, received });
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender: Sender::Two(sender), base: format!("https://{address}"), address, received })
    }

    /// Posts JSON and takes the answer in an encoding.
    ///
    /// # Errors
    /// If the facade refuses, or compresses other than asked.
    pub(crate) async fn post(&mut self, path: &str, json: String, encoding: Encoding) -> Result<Answer> {
        let mut request = hyper::Request::post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT_ENCODING, encoding.name());
        if matches!(self.sender, Sender::One(_)) {
            request = request.header(header::HOST, self.address.to_string());
        }
        let request = request.body(Full::new(Bytes::from(json)))?;
        let (before, begun) = (self.received.load(Ordering::Relaxed), Instant::now());
        let answer = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let took_us = begun.elapsed().as_secs_f64() * 1e6;
        let wire_bytes = self.received.load(Ordering::Relaxed) - before;
        let said = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        ensure!(head.status == 200, "HTTP {}: {}", head.status, said());
        let named = head.headers.get(header::CONTENT_ENCODING).map(|name| name.to_str()).transpose()?;
        let used = match named {
            None => Encoding::Identity,
            Some(name) => Encoding::ALL.into_iter().find(|known| known.name() == name).context("encoding")?,
        };
        ensure!(
            used == encoding || (used == Encoding::Identity && body.len() < COMPRESSED_BYTES_MIN),
            "{} was asked for, {} bytes came as {}",
            encoding.name(),
            body.len(),
            used.name()
        );
        Ok(Answer { body: used.unpacked(&body)?, wire_bytes, took_us })
    }
}

async fn first<S>(stream: S) -> Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::One(sender))
}

/// Counts what comes in.
struct Counted {
    stream: TcpStream,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        waker: &mut Waker<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(waker, into);
        self.received.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        waker: &mut Waker<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(waker, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(waker)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(waker)
    }
}
