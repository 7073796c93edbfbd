//! Settings of the facade: where it listens, which backend may act for which party, and its limits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rates::RateLimits;
use crate::oicp::pricing::PricingNames;
use crate::oicp::reading::Reading;

/// Shortest key of a backend or of the admin API, in characters: 16 of 64 possible ones are 96 bits.
pub const KEY_CHARACTERS_MIN: usize = 16;
/// Longest key, in characters; it has to fit a URL.
pub const KEY_CHARACTERS_MAX: usize = 128;

/// A key that lets a caller act. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key from its text; [`ApiKey::is_usable`] says whether it will be accepted.
    #[must_use]
    pub fn new(text: impl Into<String>) -> ApiKey {
        ApiKey(text.into())
    }

    /// Whether the key is long enough and can stand in a URL without escapes.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        (KEY_CHARACTERS_MIN..=KEY_CHARACTERS_MAX).contains(&self.0.len())
            && self.0.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// A backend: a caller that may act for some of the node's parties.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendConfig {
    /// The key, as a segment of the base URL (`/k/KEY`) or as the password of HTTP Basic. Without one the
    /// backend is known by calling over loopback, which needs that it is the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<ApiKey>,
    /// Fingerprints of its certificates, `sha256:HEX` over the DER: whoever shows one of them needs no key.
    /// Several, so that a new one is known before the old one ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// The parties it may act for: `CPO:DE*ABC`, `EMP:DE-DCB`, in any wire spelling of the id.
    pub parties: Vec<String>,
    /// How its messages are read: `strict` like the hub, or `tolerant`.
    pub reading: Reading,
    /// How the lists in answers to its pulls of prices are called, on which the documents do not agree: `plain`
    /// (`EVSEPricing`, `PricingProductData`) or `operator` (`OperatorEVSEPricing`, `OperatorPricingProducts`).
    pub pricing_names: PricingNames,
    /// The caller is the central hub of `[hub]`, which calls for its partners: it names no parties of its own and
    /// needs a key or a certificate.
    pub hub: bool,
}

/// `[facade.tls]`: HTTPS, and certificates of backends. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the facade's certificate and those between it and its root. Empty: plain HTTP.
    pub certificate: PathBuf,
    /// PEM file with its key, mode 0600.
    pub key: PathBuf,
    /// PEM file with the CA that has signed the backends' certificates. Empty: none are asked for.
    pub client_ca: PathBuf,
    /// Time for a handshake, in milliseconds.
    pub handshake_timeout_ms: u64,
}

impl TlsConfig {
    /// Whether the facade speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty() || !self.key.as_os_str().is_empty()
    }

    /// Whether backends are asked for certificates.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        !self.client_ca.as_os_str().is_empty()
    }
}

impl Default for TlsConfig {
    fn default() -> TlsConfig {
        TlsConfig {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            handshake_timeout_ms: 10_000,
        }
    }
}

/// Settings of the facade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows an address beyond loopback without TLS, and without keys (behind a proxy that does it). Without
    /// a key nobody can push or pull there all the same.
    pub allow_plain_http: bool,
    /// Opens `/metrics` and the admin API to callers with this bearer token, from anywhere. Without it they
    /// answer over loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<ApiKey>,
    /// The backends.
    #[serde(rename = "backend")]
    pub backends: Vec<BackendConfig>,
    /// Largest body in bytes. A full load of 40,000 EVSEs has about 50 MB.
    pub body_size_bytes_max: usize,
    /// Bytes of all bodies held at one time; more are refused as busy. Bounds the memory of parallel pushes.
    pub bodies_held_bytes_max: usize,
    /// Time for a whole body, in milliseconds.
    pub body_timeout_ms: u64,
    /// Longest silence within a body, in milliseconds.
    pub body_idle_timeout_ms: u64,
    /// Time for the head of a request, also on an idle connection, in milliseconds.
    pub header_timeout_ms: u64,
    /// Time for the answer after the body has come, in milliseconds.
    pub answer_timeout_ms: u64,
    /// Connections open at one time; more wait in the operating system's queue.
    pub connections_max: usize,
    /// Requests at one time on one connection of HTTP/2; more wait at the caller.
    pub http2_streams_max: u32,
    /// OICP requests in work at one time; more are refused as busy.
    pub requests_max: usize,
    /// Requests about sessions in work at one time: each waits for a partner.
    pub session_requests_max: usize,
    /// Pushes of one party that wait for the one before (pushes are sequential per partner, RULES 2).
    pub push_waiters_max: usize,
    /// Threads that read large bodies and write large answers.
    pub worker_threads: usize,
    /// How long the pages of one pull show the same state, in milliseconds.
    pub pull_snapshot_ms: u64,
    /// Pulls whose state is remembered; the oldest is forgotten first.
    pub pull_snapshots_max: usize,
    /// Time that open requests get at shutdown, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// Whether PullAuthenticationData is answered, for CPO backends that are older than OICP 2.3.
    pub pull_authentication_data: bool,
    /// How often a caller may call what; off by default.
    pub rate_limits: RateLimits,
    /// HTTPS.
    pub tls: TlsConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_plain_http: false,
            admin_key: None,
            backends: Vec::new(),
            body_size_bytes_max: 64 * 1024 * 1024,
            bodies_held_bytes_max: 256 * 1024 * 1024,
            body_timeout_ms: 60_000,
            body_idle_timeout_ms: 10_000,
            header_timeout_ms: 30_000,
            answer_timeout_ms: 120_000,
            connections_max: 4_608,
            http2_streams_max: 64,
            requests_max: 128,
            session_requests_max: 4_096,
            push_waiters_max: 64,
            worker_threads: 2,
            pull_snapshot_ms: 600_000,
            pull_snapshots_max: 256,
            shutdown_timeout_ms: 5_000,
            pull_authentication_data: true,
            rate_limits: RateLimits::default(),
            tls: TlsConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_has_to_fit_a_url() {
        let key = ApiKey::new("abcdefghijklmnop");
        assert!(key.is_usable());
        assert!(
            !format!("{:?}", BackendConfig { key: Some(key), ..BackendConfig::default() }).contains("abc")
        );
        for bad in ["", "short", "with space in it!", "sl/ash/and/more/of/it"] {
            assert!(!ApiKey::new(bad).is_usable(), "{bad}");
        }
    }
}
