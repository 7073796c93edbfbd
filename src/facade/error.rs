//! Why the facade could not start.

use std::net::SocketAddr;

use crate::identity::IdError;

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
         key, listen on 127.0.0.1, or set `allow_plain_http = true` in the section facade"
    )]
    KeyNeeded {
        /// The address asked for.
        address: SocketAddr,
        /// Number of the backend in the configuration, first is 1; 0 if there is none at all.
        backend: usize,
    },
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
    #[error("backend {backend} is the hub and has no key: give it one, or anybody could speak as the hub")]
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
