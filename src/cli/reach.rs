//! Reaching a node over HTTP or HTTPS.

use std::path::Path;

use anyhow::Context as _;
use chargemesh::outbound::{HubClient, Tls};

/// Environment variable with the PEM file that a node's certificate is checked against.
const CA: &str = "CHARGEMESH_CA";

/// A client of the node with this base URL; over HTTPS its certificate is checked against the file of CHARGEMESH_CA,
/// or against the roots of the operating system.
pub(super) fn node_client(url: &str, key: Option<&str>) -> anyhow::Result<HubClient> {
    let ca = std::env::var_os(CA).filter(|file| !file.is_empty() && url.starts_with("https:"));
    let none = Path::new("");
    let tls = match ca {
        Some(file) => Tls::read(Path::new(&file), none, none).context(CA)?,
        None => Tls::default(),
    };
    Ok(HubClient::with_tls(url, key, &tls)?)
}
