//! Why certificates or keys cannot be used.

use std::io;
use std::path::PathBuf;

use super::files::PEM_BYTES_MAX;

/// Why certificates or keys cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is too large to be what it should be.
    #[error("{} has more than {PEM_BYTES_MAX} bytes: is it a PEM file?", .0.display())]
    TooLarge(PathBuf),
    /// A key that others can read is a key that others have.
    #[error("{} holds a private key and others on this machine can read it: chmod 600 it", .file.display())]
    OpenKey {
        /// The file.
        file: PathBuf,
    },
    /// What a file holds cannot be used.
    #[error("{}: {source}", .file.display())]
    In {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<TlsError>,
    },
    /// No certificate where one belongs.
    #[error("there is no certificate in it: it has to be PEM, with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// No key where one belongs.
    #[error(
        "there is no private key in it: it has to be PEM without a password, PKCS#8, PKCS#1 or SEC1, as in \
         -----BEGIN PRIVATE KEY-----"
    )]
    NoKey,
    /// PEM or what it holds is broken.
    #[error("it cannot be read as PEM ({0})")]
    BadPem(String),
    /// A certificate is broken.
    #[error("a certificate in it cannot be read ({0})")]
    BadCertificate(String),
    /// Certificate and key do not go together, or are of a kind that is not taken.
    #[error("certificate and key cannot be used together ({0}): is the key that of the first certificate?")]
    Unusable(String),
    /// A certificate without its key, or the other way round.
    #[error("`certificate` and `key` go together: set both or none of them")]
    Half,
    /// The roots of the operating system cannot be had.
    #[error("the operating system gives no roots ({0}): set `ca` to a PEM file with those of the other side")]
    NoRoots(String),
    /// A fingerprint that is none.
    #[error(
        "`{0}` is no fingerprint: write sha256: and 64 hexadecimal digits; `chargemesh certificates FILE` shows them"
    )]
    Fingerprint(String),
}

impl TlsError {
    /// The same, with the file that it is about.
    #[must_use]
    pub(super) fn in_file(self, file: &std::path::Path) -> TlsError {
        TlsError::In { file: file.to_owned(), source: Box::new(self) }
    }
}
