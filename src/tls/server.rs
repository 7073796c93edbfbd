//! What a server shows, and which certificates it takes.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::certificate::ders;
use super::client::roots;
use super::error::TlsError;
use super::provider;

/// A server with a certificate and its key. With `client_ca` clients may show a certificate that it has signed; any
/// other ends the handshake, and who shows none has to be known by something else.
///
/// A session is not resumed: a resumed one would count after the certificate that began it has ended or its CA was
/// taken away, and backends keep their connections open anyway.
pub(crate) fn server(
    certificate_pem: &[u8],
    key_pem: &[u8],
    client_ca: Option<&[u8]>,
    protocols: &[&str],
) -> Result<ServerConfig, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider());
            let verifier = verifier.allow_unauthenticated().build();
            let verifier = verifier.map_err(|error| TlsError::BadCertificate(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(ders(certificate_pem)?, key(key_pem)?).map_err(unusable)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The first private key of a PEM text.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey,
        error => TlsError::BadPem(error.to_string()),
    })
}
