//! A new node key in the place of the old one, in steps that may be cut off between any two: the new key waits
//! beside the old until everything that names it is written, and is found there when the command is called again.

use std::path::PathBuf;

use anyhow::Context as _;
use chargemesh::config::Config;
use chargemesh::identity::{KeyPurpose, SecretKey};
use chargemesh::mesh;
use zeroize::Zeroizing;

use super::pins;
use crate::cli::addresses::{is_dialable, with_peer_id};
use crate::cli::fingerprint::line;
use crate::cli::text::unused;
use crate::cli::{files, keys};

/// The node key that is to come.
pub(super) struct NewNodeKey {
    old: SecretKey,
    new: SecretKey,
    file: PathBuf,
    /// Where the new key waits.
    waiting: PathBuf,
}

impl NewNodeKey {
    /// A new key, or the one that waits since a call that was cut off. Nothing is written yet.
    pub(super) fn of(config: &Config) -> anyhow::Result<NewNodeKey> {
        let file = config.node.key.clone();
        let old = keys::read(&file, KeyPurpose::Node)?;
        let waiting = PathBuf::from(format!("{}.next", file.display()));
        let new =
            if waiting.exists() { keys::read(&waiting, KeyPurpose::Node)? } else { keys::random_key()? };
        Ok(NewNodeKey { old, new, file, waiting })
    }

    /// The key itself.
    pub(super) fn key(&self) -> &SecretKey {
        &self.new
    }

    /// The peer id that a delegation has to name.
    pub(super) fn peer_id(&self) -> anyhow::Result<Vec<u8>> {
        Ok(mesh::node_id_of_seed(&self.new.seed())?.as_bytes().to_vec())
    }

    /// Lays the key beside the old one, before anything names it.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        if self.waiting.exists() { Ok(()) } else { write(&self.waiting, &self.new) }
    }

    /// Signs the node's pins with the new key, keeps the old key under a dated name, and puts the new one in its
    /// place last of all. What has to be done now is told as text.
    pub(super) fn install(self, config: &Config, now_unix_s: u64) -> anyhow::Result<String> {
        let (pins, network) = (&config.node.pins, &config.mesh.network);
        if pins.exists() {
            match pins::read(pins, network, &self.old) {
                Ok(list) => pins::sign(pins, list, network, &self.new)?,
                // By the call that was cut off.
                Err(error) => drop(pins::read(pins, network, &self.new).map_err(|_| error)?),
            }
        }
        let directory = self.file.parent().unwrap_or(std::path::Path::new(""));
        let old = unused(directory, "node-until", now_unix_s, "key");
        write(&old, &self.old)?;
        std::fs::rename(&self.waiting, &self.file)
            .with_context(|| format!("cannot put the new key in the place of {}", self.file.display()))?;
        let peer_id = keys::peer_id(&self.new)?;
        let mut text = String::from("The node has a new key:\n");
        line(&mut text, "peer id", &peer_id);
        let mesh = &config.mesh;
        let own = if mesh.announce.is_empty() { &mesh.listen } else { &mesh.announce };
        for address in own.iter().filter(|address| is_dialable(address)) {
            line(&mut text, "reached at", &with_peer_id(address, &peer_id));
        }
        line(&mut text, "old key", &old.display().to_string());
        text.push_str(
            "A node that runs goes on with the old key: RESTART it. Whoever names it in `mesh.bootstrap` needs the new \
             address.\n",
        );
        Ok(text)
    }
}

fn write(file: &std::path::Path, key: &SecretKey) -> anyhow::Result<()> {
    let line = Zeroizing::new(format!("{}\n", *key.to_text(KeyPurpose::Node)));
    files::write_secret(file, line.as_bytes())
}
