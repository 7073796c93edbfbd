//! HTTPS of a client: whom it believes and what it shows.

use std::fmt;
use std::path::Path;

use reqwest::{ClientBuilder, Url};

use super::error::OutboundError;
use crate::tls::{self, Certificate, TlsError};

/// The only protocol of calls to backends and the hub: what may have been heard is told apart best there.
const HTTP_1: &str = "http/1.1";
/// HTTP/2 over TLS.
const HTTP_2: &str = "h2";

/// Whom a client believes and what it shows. Its keys are never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The roots that the other side is checked against, in PEM. Empty: those of the operating system.
    pub roots_pem: Vec<u8>,
    /// Our certificate, the ones between it and its root, and its key, in PEM.
    pub identity_pem: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files of the settings; an empty path is none.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn read(ca: &Path, certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let roots_pem = if is_set(ca) { tls::read_certificates(ca)? } else { Vec::new() };
        let identity_pem = match (is_set(certificate), is_set(key)) {
            (false, false) => None,
            (true, true) => {
                let mut pem = tls::read_certificates(certificate)?;
                pem.push(b'\n');
                pem.extend_from_slice(&tls::read_key(key)?);
                Some(pem)
            }
            _ => return Err(TlsError::Half),
        };
        Ok(Tls { roots_pem, identity_pem })
    }

    /// Our own certificate.
    ///
    /// # Errors
    /// [`TlsError`] if it cannot be read.
    pub fn own(&self) -> Result<Option<Certificate>, TlsError> {
        let Some(pem) = &self.identity_pem else { return Ok(None) };
        Ok(Certificate::all_of_pem(pem)?.into_iter().next())
    }

    /// The given roots.
    ///
    /// # Errors
    /// [`TlsError`] if they cannot be read.
    pub fn roots(&self) -> Result<Vec<Certificate>, TlsError> {
        if self.roots_pem.is_empty() { Ok(Vec::new()) } else { Certificate::all_of_pem(&self.roots_pem) }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = if self.identity_pem.is_some() { "hidden" } else { "none" };
        write!(f, "Tls(roots: {} bytes, identity: {identity})", self.roots_pem.len())
    }
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    /// Over TLS by agreement, else at once.
    Two,
}

/// The base URL and a builder that speaks as it says. `shown` is the URL without its key.
pub(super) fn builder(
    base_url: &str,
    shown: &str,
    tls: &Tls,
    version: Version,
) -> Result<(Url, ClientBuilder), OutboundError> {
    let bad = |why: &str| OutboundError::BadUrl { url: shown.to_owned(), why: why.to_owned() };
    let base = Url::parse(base_url.trim_end_matches('/')).map_err(|error| bad(&error.to_string()))?;
    let config = match base.scheme() {
        "http" if *tls != Tls::default() => return Err(bad("certificates are set for it: write https://")),
        // Nothing is believed over plain HTTP: the client is made without the roots of the operating system.
        "http" => tls::client(None, None, &[]),
        "https" => {
            let protocol = if version == Version::One { HTTP_1 } else { HTTP_2 };
            tls::client(Some(&tls.roots_pem), tls.identity_pem.as_deref(), &[protocol])
        }
        _ => return Err(bad("it begins with neither http:// nor https://")),
    };
    let config = config.map_err(|source| OutboundError::Tls { url: shown.to_owned(), source })?;
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(config);
    Ok((base, if version == Version::One { builder.http1_only() } else { builder.http2_prior_knowledge() }))
}
