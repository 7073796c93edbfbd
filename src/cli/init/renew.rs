//! `chargemesh renew`: a new delegation for the parties of a node, signed by their org key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Credential, Delegation, KeyPurpose, SecretKey, Unverified, hash_of};
use chargemesh::node;

use super::party::DELEGATION_DAYS;
use super::{DAY_S, day, files};

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
        let (delegation, until_unix_s) = renewed(party, &config.mesh.network, &org_key, now_unix_s)
            .with_context(|| format!("the delegation of {} cannot be renewed", party.id))?;
        replace(&party.delegation, &delegation)?;
        println!("Renewed: this node speaks for {} until {}", party.id, day(until_unix_s));
    }
    // The node will read the same files.
    node::load(&config, now_unix_s)?;
    println!("A node that runs now has to be restarted to take it.");
    Ok(ExitCode::SUCCESS)
}

/// The same delegation for another while, and when it ends.
fn renewed(
    party: &PartyConfig,
    network: &str,
    org_key: &SecretKey,
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
        ..old
    };
    Ok((new.issue(network, &hash_of(&credential), org_key)?, new.expires_unix_s))
}

/// Puts the new file in the old one's place in one step.
fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, content)
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
