//! Connections whose bytes a test sees.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use chargemesh::tls::Fingerprint;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pki::{Ca, Issued};
use crate::support::{PATIENCE, push_status};

/// One connection with TLS.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    /// The certificate that the server showed.
    pub(crate) server: Fingerprint,
}

impl Connection {
    pub(crate) async fn open(
        address: SocketAddr,
        roots: &Ca,
        identity: Option<&Issued>,
        protocol: &str,
    ) -> Connection {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut store = rustls::RootCertStore::empty();
        store.add(der(&roots.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(store);
        let mut config = match identity {
            Some(issued) => {
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der(&issued.certificate)], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(protocol.as_bytes()));
        let server = Fingerprint::of_der(&session.peer_certificates().unwrap()[0]);
        Connection { stream, server }
    }

    /// A push of one status; gives the head of the answer.
    pub(crate) async fn ask(&mut self) -> String {
        let body = push_status("update", "DE*ABC", &[("DE*ABC*E0", "Available")]);
        let body = std::str::from_utf8(&body).unwrap();
        let path = "/api/oicp/evsepush/v21/operators/DE*ABC/status-records";
        self.send(&format!("POST {path} HTTP/1.1\r\nhost: test\r\n"), body).await;
        let (head, _) = self.answer().await;
        head
    }

    /// A pull; gives head and body as they came.
    pub(crate) async fn pull(
        &mut self,
        path: &str,
        body: &str,
        key: &str,
        accepts: &str,
    ) -> (String, Vec<u8>) {
        let head = format!("POST /k/{key}/{path} HTTP/1.1\r\nhost: test\r\naccept-encoding: {accepts}\r\n");
        self.send(&head, body).await;
        self.answer().await
    }

    async fn send(&mut self, head: &str, body: &str) {
        let rest = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn answer(&mut self) -> (String, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut whole = None;
        while whole.is_none_or(|whole| bytes.len() < whole) {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0, "closed after {}", String::from_utf8_lossy(&bytes));
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            whole = whole.or_else(|| {
                let head = String::from_utf8_lossy(&bytes[..end?]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                Some(end? + 4 + length.parse::<usize>().unwrap())
            });
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = bytes.split_off(end);
        (String::from_utf8(bytes).unwrap(), body)
    }
}

/// A body as it was before it was compressed.
pub(crate) fn unpacked(encoding: &str, packed: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain).unwrap();
            plain
        }
        "zstd" => zstd::stream::decode_all(packed).unwrap(),
        _ => packed.to_vec(),
    }
}

/// A connection on which nothing is said.
pub(crate) fn silent(address: SocketAddr) -> std::net::TcpStream {
    std::net::TcpStream::connect(address).unwrap()
}

/// How many bytes come until the other side closes.
pub(crate) async fn rest(stream: std::net::TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap()
}

/// A server that answers two requests with this text.
#[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
pub(crate) fn answering(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _read = std::io::Read::read(&mut stream, &mut head).unwrap();
            std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        }
    });
    address
}
