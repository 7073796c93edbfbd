//! `chargemesh renew`: a new delegation for the parties of a node, signed by their org key.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::delegation::SLOT_MAX;
use chargemesh::identity::{Credential, Delegation, KeyPurpose, PublicKey, SecretKey, Unverified, hash_of};
use chargemesh::node;

use super::delegate::{Validity, operations};
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX, replace};
use crate::cli::keys;
use crate::cli::text::{DAY_S, day};

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
    /// Give the node another slot (0 to 7): with 0 it writes the party's feeds. Stop the node that had it
    /// before, and start this one anew.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(0..=i64::from(SLOT_MAX)))]
    slot: Option<u8>,
    #[command(flatten)]
    validity: Validity,
}

/// Renews the delegation of every party of the node.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args.dir.join(files::SETTINGS);
    let config = Config::load(&settings, &[])?;
    ensure!(!config.parties.is_empty(), "{} names no party: there is nothing to renew", settings.display());
    let org_key = args.org_key.clone().unwrap_or_else(|| args.dir.join(files::ORG_KEY));
    let org_key = keys::read(&org_key, KeyPurpose::Org)
        .context("the org key signs delegations: name its file with --org-key")?;
    let now_unix_s = SystemClock::start().now().unix_s();
    for party in &config.parties {
        let message_key = if args.new_message_key { Some(keys::random_key()?) } else { None };
        let public = message_key.as_ref().map(SecretKey::public);
        let new = renewed(party, &config.mesh.network, &org_key, public, args, now_unix_s)
            .with_context(|| format!("the delegation of {} cannot be renewed", party.id))?;
        if let Some(key) = message_key {
            replace(&party.message_key, key.to_text(KeyPurpose::Message).as_bytes())?;
        }
        replace(&party.delegation, &new.delegation)?;
        println!(
            "Renewed: this node speaks for {} until {} ({} days); its credential ends on {}",
            party.id,
            day(new.until_unix_s),
            (new.until_unix_s - now_unix_s) / DAY_S,
            day(new.credential_until_unix_s)
        );
    }
    // The node will read the same files.
    node::load(&config, now_unix_s)?;
    println!("A node that runs takes it by itself within some seconds, or at once with `kill -HUP`.");
    Ok(ExitCode::SUCCESS)
}

/// A new delegation, and when it and the credential above it end.
struct Renewed {
    delegation: Vec<u8>,
    until_unix_s: u64,
    credential_until_unix_s: u64,
}

/// The same delegation for another while.
fn renewed(
    party: &PartyConfig,
    network: &str,
    org_key: &SecretKey,
    message_key: Option<PublicKey>,
    args: &Args,
    now_unix_s: u64,
) -> anyhow::Result<Renewed> {
    let credential = files::read(&party.credential, SIGNED_FILE_BYTES_MAX)?;
    let old = files::read(&party.delegation, SIGNED_FILE_BYTES_MAX)?;
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
    let slot = args.slot.unwrap_or(old.slot);
    let operations = if slot == old.slot { old.operations } else { operations(old.party.role, slot) };
    let new = Delegation {
        slot,
        operations,
        not_before_unix_s: now_unix_s,
        expires_unix_s: args.validity.end(&terms, now_unix_s),
        epoch: now_unix_s.max(old.epoch + 1),
        message_key: message_key.unwrap_or(old.message_key),
        ..old
    };
    Ok(Renewed {
        delegation: new.issue(network, &hash_of(&credential), org_key)?,
        until_unix_s: new.expires_unix_s,
        credential_until_unix_s: terms.expires_unix_s,
    })
}
