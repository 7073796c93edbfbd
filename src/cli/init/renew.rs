//! `chargemesh renew`: a new delegation for the parties of a node, signed by their org key.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Credential, Delegation, KeyPurpose, PublicKey, SecretKey, Unverified, hash_of};
use chargemesh::node;

use super::party::DELEGATION_DAYS;
use super::{DAY_S, day, files, random_key};

/// Largest file that is read here, in bytes: the limit of a credential or delegation, and room.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Arguments of `chargemesh renew`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the node.
    dir: PathBuf,
    /// Key file of the party's org key; keys/org.key in the directory if not given.
    #[arg(long, value_name = "KEYFILE")]
    org_key: Option<PathBuf>,
    /// Make a new message key for each party too, the key that signs what the node says.
    #[arg(long)]
    new_message_key: bool,
}

/// Renews the delegation of every party of the node.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args.dir.join(files::SETTINGS);
    let config = Config::load(&settings, &[])?;
    ensure!(!config.parties.is_empty(), "{} names no party: there is nothing to renew", settings.display());
    let org_key = args.org_key.clone().unwrap_or_else(|| args.dir.join(files::ORG_KEY));
    let text = files::read(&org_key, FILE_BYTES_MAX)
        .context("the org key signs delegations: name its file with --org-key")?;
    let org_key = SecretKey::from_text(KeyPurpose::Org, &String::from_utf8_lossy(&text))
        .with_context(|| format!("{} is not usable", org_key.display()))?;
    let now_unix_s = SystemClock::start().now().unix_s();
    for party in &config.parties {
        let message_key = if args.new_message_key { Some(random_key()?) } else { None };
        let public = message_key.as_ref().map(SecretKey::public);
        let (delegation, until_unix_s) =
            renewed(party, &config.mesh.network, &org_key, public, now_unix_s)
                .with_context(|| format!("the delegation of {} cannot be renewed", party.id))?;
        if let Some(key) = message_key {
            replace(&party.message_key, key.to_text(KeyPurpose::Message).as_bytes(), true)?;
        }
        replace(&party.delegation, &delegation, false)?;
        println!("Renewed: this node speaks for {} until {}", party.id, day(until_unix_s));
    }
    // The node will read the same files.
    node::load(&config, now_unix_s)?;
    println!("A node that runs takes it by itself within some seconds, or at once with `kill -HUP`.");
    Ok(ExitCode::SUCCESS)
}

/// The same delegation for another while, and when it ends.
fn renewed(
    party: &PartyConfig,
    network: &str,
    org_key: &SecretKey,
    message_key: Option<PublicKey>,
    now_unix_s: u64,
) -> anyhow::Result<(Vec<u8>, u64)> {
    let credential = files::read(&party.credential, FILE_BYTES_MAX)?;
    let old = files::read(&party.delegation, FILE_BYTES_MAX)?;
    let terms =
        Credential::open(&credential, network).context("the credential does not hold")?.into_content().terms;
    ensure!(
        terms.expires_unix_s > now_unix_s,
        "the credential ended on {}: get a new one from the issuer first",
        day(terms.expires_unix_s)
    );
    let old = Unverified::<Delegation>::new(&old, network)
        .and_then(|old| old.verify(&org_key.public()))
        .context("the old delegation was not signed by this org key, or does not hold")?
        .into_content();
    let new = Delegation {
        not_before_unix_s: now_unix_s,
        expires_unix_s: terms.expires_unix_s.min(now_unix_s + DELEGATION_DAYS * DAY_S),
        epoch: now_unix_s.max(old.epoch + 1),
        message_key: message_key.unwrap_or(old.message_key),
        ..old
    };
    Ok((new.issue(network, &hash_of(&credential), org_key)?, new.expires_unix_s))
}

/// Puts the new file in the old one's place in one step.
fn replace(file: &Path, content: &[u8], secret: bool) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    if new.exists() {
        // Of a call that was interrupted.
        std::fs::remove_file(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    files::new_file(secret)
        .open(&new)
        .and_then(|mut open| open.write_all(content).and_then(|()| open.sync_all()))
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
