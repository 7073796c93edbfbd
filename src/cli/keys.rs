//! Key files of every kind: made, read, and put beside what they are for.

use std::path::Path;

use anyhow::{Context as _, ensure};
use chargemesh::identity::{KeyPurpose, SecretKey};
use chargemesh::mesh;
use zeroize::Zeroizing;

use super::files::{self, NewFile};

/// Largest key file in bytes: a key line has 73, the rest is room for white space.
const KEY_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Random bytes of a backend's key.
const FACADE_KEY_BYTES: usize = 16;

/// A new secret key.
pub(super) fn random_key() -> anyhow::Result<SecretKey> {
    Ok(SecretKey::from_seed(&*random::<32>()?))
}

/// Bytes from the operating system's random source.
pub(super) fn random<const N: usize>() -> anyhow::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).context("the operating system gives no random bytes")?;
    Ok(bytes)
}

/// The file of a secret key.
pub(super) fn key_file(name: &'static str, key: &SecretKey, purpose: KeyPurpose, what: &str) -> NewFile {
    let mut content = Zeroizing::new(key.to_text(purpose).as_bytes().to_vec());
    content.push(b'\n');
    NewFile { name, content, secret: true, what: what.to_owned() }
}

/// Reads the file of a secret key.
pub(super) fn read(file: &Path, purpose: KeyPurpose) -> anyhow::Result<SecretKey> {
    let bytes = Zeroizing::new(files::read(file, KEY_FILE_BYTES_MAX)?);
    // Bytes that are not UTF-8 are no key line either: the empty text finds the words for it.
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    SecretKey::from_text(purpose, text)
        .with_context(|| format!("the key file {} is not usable", file.display()))
}

/// Reads a file that begins with the line of a public key: the line, and the name behind it.
pub(super) fn read_public(file: &Path) -> anyhow::Result<(String, String)> {
    let bytes = files::read(file, KEY_FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    let (key, name) = line.split_once(' ').unwrap_or((line, ""));
    ensure!(
        !key.contains("-key-"),
        "{} holds a secret key: give nobody but yourself that file",
        file.display()
    );
    Ok((key.to_owned(), name.trim().to_owned()))
}

/// The node's name in base58.
pub(super) fn peer_id(node_key: &SecretKey) -> anyhow::Result<String> {
    let node = mesh::node_id_of_seed(&node_key.seed())?;
    mesh::node_text(&node).context("the node key makes no peer id")
}

/// A new key for a backend or for the admin API.
pub(super) fn facade_key() -> anyhow::Result<String> {
    Ok(random::<FACADE_KEY_BYTES>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
