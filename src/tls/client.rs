//! What a client believes and shows.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::certificate::ders;
use super::error::TlsError;
use super::{provider, server};

/// A client that believes the given roots (nobody if there are none, those of the operating system if they are empty),
/// shows the given certificate if it is asked for one, and offers these protocols.
pub(crate) fn client(
    roots_pem: Option<&[u8]>,
    identity_pem: Option<&[u8]>,
    protocols: &[&str],
) -> Result<ClientConfig, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match roots_pem {
        None => builder.with_root_certificates(RootCertStore::empty()),
        Some([]) => builder.with_platform_verifier().map_err(|error| TlsError::NoRoots(error.to_string()))?,
        Some(pem) => builder.with_root_certificates(roots(pem)?),
    };
    let mut config = match identity_pem {
        Some(pem) => builder.with_client_auth_cert(ders(pem)?, server::key(pem)?).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(config)
}

/// The roots of a PEM text; at least one.
pub(super) fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for der in ders(pem)? {
        store.add(der).map_err(|error| TlsError::BadCertificate(error.to_string()))?;
    }
    Ok(store)
}
