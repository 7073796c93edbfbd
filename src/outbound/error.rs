//! Why a call to an OICP hub or backend gave no answer.

/// What went wrong; each says where and what to do. A negative OICP answer is not an error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The base URL cannot be used.
    #[error("`{url}` is not a base URL ({why}): write for example http://127.0.0.1:8080")]
    BadUrl {
        /// The URL, the key removed.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Certificates or keys cannot be used.
    #[error("the certificates for {url} cannot be used: {source}")]
    Tls {
        /// The URL, the key removed.
        url: String,
        /// Why, and what to do.
        source: crate::tls::TlsError,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Client(String),
    /// No connection, or it broke.
    #[error("{url} cannot be reached ({why}): is the node running and listening there?")]
    Unreachable {
        /// The URL, the key removed.
        url: String,
        /// What the network said.
        why: String,
    },
    /// No answer in time.
    #[error(
        "{url} did not answer within {seconds} s: look at the load of that node, or raise the time limit"
    )]
    TimedOut {
        /// The URL, the key removed.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer is larger than we take.
    #[error(
        "the answer of {url} is larger than {limit_bytes} bytes: ask for smaller pages or fewer operators"
    )]
    TooLarge {
        /// The URL, the key removed.
        url: String,
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// Busy, stopping or broken: trying again may help.
    #[error("{url} is busy or failed (HTTP {http_status}): {said}; try again in some seconds")]
    TryAgain {
        /// The URL, the key removed.
        url: String,
        /// HTTP status.
        http_status: u16,
        /// The beginning of the body.
        said: String,
    },
    /// An answer that is not the message that belongs there.
    #[error("{url} answered HTTP {http_status} with something else than {expected}: {said}")]
    Unexpected {
        /// The URL, the key removed.
        url: String,
        /// HTTP status.
        http_status: u16,
        /// What belongs there.
        expected: &'static str,
        /// The beginning of the body.
        said: String,
    },
}
