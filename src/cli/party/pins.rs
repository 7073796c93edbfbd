//! A node's own pins: a small trust list without issuers, signed by the node's own key, so that nobody else's
//! key is needed to believe a partner.

use std::path::Path;

use anyhow::Context as _;
use chargemesh::identity::{PartyId, Pin, SecretKey, TrustList};

use crate::cli::files;

/// Pins end when somebody ends them: the first second of the year 9999.
const VALID_UNTIL_UNIX_S: u64 = 253_370_764_800;

/// The list of a new node, which believes itself.
pub(super) fn first(own: Pin) -> TrustList {
    TrustList { issuers: Vec::new(), pins: vec![own], seq: 1, valid_until_unix_s: VALID_UNTIL_UNIX_S }
}

/// The pins of a node; none if it has no file of them.
pub(super) fn read(file: &Path, network: &str, node_key: &SecretKey) -> anyhow::Result<TrustList> {
    if !file.exists() {
        let (issuers, pins) = (Vec::new(), Vec::new());
        return Ok(TrustList { issuers, pins, seq: 0, valid_until_unix_s: VALID_UNTIL_UNIX_S });
    }
    let bytes = files::read(file, files::SIGNED_FILE_BYTES_MAX)?;
    TrustList::open(&bytes, network, &node_key.public()).with_context(|| {
        format!("the pins {} were not signed by this node's key, or are damaged", file.display())
    })
}

/// Puts a pin in the place of any other of the same party, and signs the next version.
pub(super) fn set(
    file: &Path,
    mut list: TrustList,
    pin: Pin,
    network: &str,
    node_key: &SecretKey,
) -> anyhow::Result<()> {
    list.seq += 1;
    let list = list.with_pins(vec![pin]);
    let bytes = list.issue(network, node_key).context("the pins cannot be signed")?;
    files::replace(file, &bytes)
}

/// Signs the pins as they are anew, as the next version: the node has another key.
pub(super) fn sign(
    file: &Path,
    mut list: TrustList,
    network: &str,
    node_key: &SecretKey,
) -> anyhow::Result<()> {
    list.seq += 1;
    files::replace(file, &list.issue(network, node_key).context("the pins cannot be signed")?)
}

/// Takes the pin of a party away and signs the next version; whether there was one.
pub(super) fn remove(
    file: &Path,
    mut list: TrustList,
    party: &PartyId,
    network: &str,
    node_key: &SecretKey,
) -> anyhow::Result<bool> {
    let before = list.pins.len();
    list.pins.retain(|pin| pin.party != *party);
    if list.pins.len() == before {
        return Ok(false);
    }
    list.seq += 1;
    files::replace(file, &list.issue(network, node_key).context("the pins cannot be signed")?)?;
    Ok(true)
}
