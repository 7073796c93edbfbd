//! Reaching a node over HTTP or HTTPS.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chargemesh::outbound::{HubClient, Tls};

/// Environment variable with the PEM file that a node's certificate is checked against.
const CA: &str = "CHARGEMESH_CA";

/// What is shown to a node over HTTPS, and what its certificate is checked against.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Https {
    /// PEM file with the certificate that the node knows this backend by, and those between it and its root.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate: Option<PathBuf>,
    /// PEM file with its key, mode 0600.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key_file: Option<PathBuf>,
    /// PEM file that the node's own certificate is checked against [default: that of CHARGEMESH_CA, else the roots of
    /// this machine].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A client of the node with this base URL; over HTTPS its certificate is checked against the file of CHARGEMESH_CA,
/// or against the roots of the operating system.
pub(super) fn node_client(url: &str, key: Option<&str>) -> anyhow::Result<HubClient> {
    backend_client(url, key, &Https::default())
}

/// The same for a backend that the node knows by its certificate.
pub(super) fn backend_client(url: &str, key: Option<&str>, https: &Https) -> anyhow::Result<HubClient> {
    let path = |file: &Option<PathBuf>| file.clone().unwrap_or_default();
    let of_all = std::env::var_os(CA).filter(|file| !file.is_empty() && url.starts_with("https:"));
    let (ca, whence) = match (&https.ca, of_all) {
        (Some(file), _) => (file.clone(), "--ca"),
        (None, Some(file)) => (file.into(), CA),
        (None, None) => (PathBuf::new(), ""),
    };
    // Each for itself, so that it is said which is wrong.
    let none = Path::new("");
    let Tls { roots_pem, .. } = Tls::read(&ca, none, none).context(whence)?;
    let own = Tls::read(none, &path(&https.certificate), &path(&https.key_file));
    let Tls { identity_pem, .. } = own.context("--certificate and --key-file")?;
    Ok(HubClient::with_tls(url, key, &Tls { roots_pem, identity_pem })?)
}
