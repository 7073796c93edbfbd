//! The files of a new node: their names, their modes, and the text of the settings.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use zeroize::Zeroizing;

/// The settings.
pub(super) const SETTINGS: &str = "node.toml";
/// The node's own key.
pub(super) const NODE_KEY: &str = "keys/node.key";
/// The key that signs what the node says.
pub(super) const MESSAGE_KEY: &str = "keys/message.key";
/// The party's own key.
pub(super) const ORG_KEY: &str = "keys/org.key";
/// An issuer's word for the party.
pub(super) const CREDENTIAL: &str = "keys/credential.cose";
/// What the org key lets the node do.
pub(super) const DELEGATION: &str = "keys/delegation.cose";
/// Whom the node believes.
pub(super) const TRUST_LIST: &str = "keys/trust-list.cose";
/// Signs credentials.
pub(super) const ISSUER_KEY: &str = "issuer/issuer.key";
/// Signs trust lists.
pub(super) const TRUST_KEY: &str = "issuer/trust.key";

/// A file that is to be made.
pub(super) struct NewFile {
    /// Path below the node's directory.
    pub(super) name: &'static str,
    /// What it holds; wiped when dropped.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// Whether only its owner may read it.
    pub(super) secret: bool,
    /// What it is, for the list that is printed.
    pub(super) what: String,
}

/// Says no to a directory that holds something.
pub(super) fn check_empty(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let mut inside =
        std::fs::read_dir(directory).with_context(|| format!("cannot look into {}", directory.display()))?;
    ensure!(
        inside.next().is_none(),
        "{} is not empty, and nothing is ever overwritten: choose a new directory",
        directory.display()
    );
    Ok(())
}

/// Makes directory and files. Nothing that exists is touched.
pub(super) fn write(directory: &Path, files: &[NewFile]) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for file in files {
        let path = directory.join(file.name);
        let parent = path.parent().unwrap_or(directory);
        if !parent.exists() {
            private_directory()
                .create(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let written = new_file(file.secret).open(&path).and_then(|mut open| {
            open.write_all(&file.content)?;
            open.sync_all()
        });
        written.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

/// Reads a file of at most that many bytes.
pub(super) fn read(file: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    open.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let fits = bytes.len() as u64 <= bytes_max;
    ensure!(fits, "{} has more than {bytes_max} bytes: it is another kind of file", file.display());
    Ok(bytes)
}

fn private_directory() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are unix"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "modes are unix"))]
pub(super) fn new_file(secret: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    options
}

/// What the settings of a new node are made of.
pub(super) struct Settings<'a> {
    pub(super) title: String,
    pub(super) network: &'a str,
    pub(super) trust_signer: String,
    pub(super) listen: &'a [String],
    pub(super) announce: &'a [String],
    pub(super) bootstrap: &'a [String],
    /// Id as typed and name; none for a bootstrap node.
    pub(super) party: Option<(&'a str, &'a str)>,
    pub(super) facade: Option<SocketAddr>,
    /// Keys of the only backend and of the admin API, where the facade can be reached from elsewhere.
    pub(super) facade_keys: Option<(String, String)>,
}

impl Settings<'_> {
    /// The text of `node.toml`.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!(
            "# {}\n# Only what differs from the defaults: `bootstrap/node.toml` of the source explains every setting.\n\
             # Paths are relative to this file. The environment (CHARGEMESH_MESH__LISTEN) and flags go over it.\n",
            self.title
        );
        let trust = [
            ("Whom this node believes ...", "trust", quoted(TRUST_LIST)),
            ("... if the list is signed by this key.", "trust_signer", quoted(&self.trust_signer)),
        ];
        section(&mut text, "[node]", &trust);
        section(&mut text, "[mesh]", &self.mesh_lines());
        let mut facade = Vec::new();
        if let Some(address) = self.facade {
            facade.push(("Where backends reach it: OICP over HTTP.", "listen", quoted(&address.to_string())));
        }
        if let Some((_, admin)) = &self.facade_keys {
            facade.push(("For `chargemesh peers` and /metrics; keep it secret.", "admin_key", quoted(admin)));
        }
        section(&mut text, "[facade]", &facade);
        let Some((id, name)) = self.party else { return text };
        if let Some((backend, _)) = &self.facade_keys {
            let backend = [
                (
                    "It stands in the base URL (/k/KEY) or is the password of HTTP Basic; keep it secret.",
                    "key",
                    quoted(backend),
                ),
                ("For whom this backend may act.", "parties", format!("[{}]", quoted(id))),
            ];
            section(&mut text, "[[facade.backend]]", &backend);
        }
        let party = [
            ("For whom this node speaks.", "id", quoted(id)),
            ("OperatorName in everything that it publishes.", "name", quoted(name)),
            ("Signs what it says; the delegation names this key.", "message_key", quoted(MESSAGE_KEY)),
            ("An issuer's word for the party.", "credential", quoted(CREDENTIAL)),
            ("The org key's word for this node.", "delegation", quoted(DELEGATION)),
        ];
        section(&mut text, "[[parties]]", &party);
        text
    }

    fn mesh_lines(&self) -> Vec<Line> {
        let mut lines = vec![
            ("Nodes of other networks are never heard.", "network", quoted(self.network)),
            ("Where it listens for other nodes.", "listen", list(self.listen)),
        ];
        if !self.announce.is_empty() {
            lines.push(("Under which addresses others reach it.", "announce", list(self.announce)));
        }
        if !self.bootstrap.is_empty() {
            lines.push(("Nodes that it asks first for all others.", "bootstrap", list(self.bootstrap)));
        }
        if self.party.is_none() {
            lines.push(("It only helps others to find each other.", "bootstrap_only", "true".to_owned()));
        }
        lines
    }
}

/// Comment, key and value.
type Line = (&'static str, &'static str, String);

fn section(text: &mut String, header: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    text.extend(["\n", header, "\n"]);
    for (comment, key, value) in lines {
        text.extend(["# ", comment, "\n", key, " = ", value, "\n"]);
    }
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_stand_in_the_settings() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted("Müller \"Strom\" a\\b\n"), "\"Müller \\\"Strom\\\" a\\\\b\\u000A\"");
    }
}
