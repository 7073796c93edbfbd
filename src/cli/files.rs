//! The files of a node, an issuer and a list maker: their names, their modes, and how they are written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

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
/// Whom the node's operator knows itself.
pub(super) const PINS: &str = "keys/pins.cose";
/// What a party asks an issuer for.
pub(super) const REQUEST: &str = "request.cose";
/// The org key that may follow; to be kept elsewhere from the first day.
pub(super) const NEXT_ORG_KEY: &str = "offline/next-org.key";
/// Signs credentials.
pub(super) const ISSUER_KEY: &str = "issuer/issuer.key";
/// Signs trust lists.
pub(super) const TRUST_KEY: &str = "issuer/trust.key";

/// Largest signed file that is read, in bytes: the limit of a trust list, the largest of them.
pub(super) const SIGNED_FILE_BYTES_MAX: u64 = 1024 * 1024;

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

/// The new files for people, one a line.
pub(super) fn listed(files: &[NewFile]) -> String {
    let mut text = String::new();
    for file in files {
        let lock = if file.secret { "secret: " } else { "" };
        text.push_str(&format!("  {:<24}{lock}{}\n", file.name, file.what));
    }
    text
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

/// Makes one file that is not there yet.
pub(super) fn write_new(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = new_file(false).open(file).and_then(|mut open| {
        open.write_all(content)?;
        open.sync_all()
    });
    written.with_context(|| format!("cannot make {}: nothing is ever overwritten", file.display()))
}

/// Puts a secret into a file that only its owner may read, in the place of what was there, in one step.
pub(super) fn write_secret(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", file.display());
    // A bare name has the empty path as its parent: the working directory.
    let is_missing = |parent: &&Path| !parent.as_os_str().is_empty() && !parent.exists();
    if let Some(parent) = file.parent().filter(is_missing) {
        private_directory().create(parent).with_context(context)?;
    }
    let new = PathBuf::from(format!("{}.new", file.display()));
    let written = new_file(true).open(&new).and_then(|mut open| {
        open.write_all(content)?;
        open.sync_all()
    });
    written.with_context(context)?;
    std::fs::rename(&new, file).with_context(context)
}

/// Puts the new content in the old one's place in one step; what was readable for its owner only stays so.
pub(super) fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    replace_checked(file, content, |_| Ok(()))
}

/// Likewise, if `check` finds nothing wrong with the new file, which lies beside the old one.
pub(super) fn replace_checked(
    file: &Path,
    content: &[u8],
    check: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let new = PathBuf::from(format!("{}.new", file.display()));
    let context = || format!("cannot write {}", file.display());
    let written = File::create(&new).and_then(|mut open| {
        if let Ok(old) = std::fs::metadata(file) {
            std::fs::set_permissions(&new, old.permissions())?;
        }
        open.write_all(content)?;
        open.sync_all()
    });
    written.with_context(context)?;
    if let Err(error) = check(&new) {
        std::fs::remove_file(&new).with_context(context)?;
        return Err(error);
    }
    std::fs::rename(&new, file).with_context(context)
}

fn private_directory() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are unix"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "modes are unix"))]
fn new_file(secret: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    options
}
