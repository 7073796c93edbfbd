//! Certificates and keys for HTTP: read from PEM files, checked, and made into what servers and clients use. Only
//! here rustls is configured, so there is one provider of cryptography (ring) and one place that says what is taken.

mod certificate;
mod client;
mod error;
mod files;
mod in_use;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificate::{Certificate, Fingerprint};
pub(crate) use client::client;
pub use error::TlsError;
pub use files::{PEM_BYTES_MAX, read_certificates, read_key};
pub use in_use::{InUse, Use, Used};
pub(crate) use server::server;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
