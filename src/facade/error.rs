//! Why the facade could not start.

use std::net::SocketAddr;

use crate::identity::IdError;
use crate::tls::TlsError;

/// Why the facade did not start; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum FacadeError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; choose another `listen` in the section facade, or port 0")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A worker thread could not be made.
    #[error("cannot start a worker thread of the facade: {0}; lower `worker_threads` in the section facade")]
    Thread(std::io::Error),
    /// An address beyond loopback without keys.
    #[error(
        "{address} can be reached from other machines, but backend {backend} has no key: give every backend a \
         key or `certificates`, listen on 127.0.0.1, or set `allow_plain_http = true` in the section facade"
    )]
    KeyNeeded {
        /// The address asked for.
        address: SocketAddr,
        /// Number of the backend in the configuration, first is 1; 0 if there is none at all.
        backend: usize,
    },
    /// An address beyond loopback without TLS.
    #[error(
        "{address} can be reached from other machines and has no TLS: set `certificate` and `key` in the section \
         facade.tls, listen on 127.0.0.1, or set `allow_plain_http = true` in the section facade if something \
         in front of it does TLS"
    )]
    PlainHttp {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Certificates or keys cannot be used.
    #[error("[facade.tls]: {0}")]
    Tls(TlsError),
    /// A fingerprint that cannot be read.
    #[error("backend {backend}: {source}")]
    BadFingerprint {
        /// Number of the backend, first is 1.
        backend: usize,
        /// What is wrong.
        source: TlsError,
    },
    /// Two backends with one certificate.
    #[error("backends {first} and {second} have the same certificate: give each its own")]
    SameCertificate {
        /// Number of the first backend, first is 1.
        first: usize,
        /// Number of the second.
        second: usize,
    },
    /// Certificates that nobody asks for.
    #[error(
        "backend {backend} has `certificates`, but nobody asks it for one: set `certificate`, `key` and `client_ca` \
         in the section facade.tls"
    )]
    NoClientCa {
        /// Number of the backend, first is 1.
        backend: usize,
    },
    /// Plain HTTP became TLS, or the other way round.
    #[error("[facade.tls] was switched on or off: that needs a restart")]
    Switched,
    /// A key that is too short or does not fit a URL.
    #[error(
        "the key of {owner} is unusable: take 16 to 128 letters, digits, `-`, `_`, `.` or `~`, for example 32 \
         random hexadecimal digits"
    )]
    BadKey {
        /// Whose key it is.
        owner: String,
    },
    /// Two backends with one key.
    #[error("backends {first} and {second} have the same key: give each its own")]
    SameKey {
        /// Number of the first backend, first is 1.
        first: usize,
        /// Number of the second.
        second: usize,
    },
    /// A backend without key beside others.
    #[error("backend {backend} has no key, which is only possible if it is the only backend: give it a key")]
    KeylessBesideOthers {
        /// Number of the backend, first is 1.
        backend: usize,
    },
    /// A hub that is not known by anything.
    #[error(
        "backend {backend} is the hub and has neither key nor certificates: give it one, or anybody could speak as the hub"
    )]
    HubUnknown {
        /// Number of the backend, first is 1.
        backend: usize,
    },
    /// A party that cannot be read.
    #[error("backend {backend}: `{party}` is not a party ({source}); write for example `CPO:DE*ABC`")]
    BadParty {
        /// Number of the backend, first is 1.
        backend: usize,
        /// The text.
        party: String,
        /// What is wrong.
        source: IdError,
    },
    /// A party that this node does not have.
    #[error(
        "backend {backend} acts for {party}, but this node has no such party: add it or correct the backend"
    )]
    ForeignParty {
        /// Number of the backend, first is 1.
        backend: usize,
        /// The party.
        party: String,
    },
    /// A limit of zero.
    #[error("`{setting}` in the section facade must be at least 1")]
    ZeroLimit {
        /// Name of the setting.
        setting: &'static str,
    },
}
