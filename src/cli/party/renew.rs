//! `chargemesh renew`: a new delegation for the parties of a node, signed by their org key.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::delegation::{SLOT_MAX, WRITER_SLOT};
use chargemesh::identity::{
    Credential, CredentialTerms, Delegation, KeyPurpose, SecretKey, Unverified, hash_of,
};
use chargemesh::node;

use super::delegate::{Validity, delegation, operations};
use super::node_key::NewNodeKey;
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX, replace};
use crate::cli::keys;
use crate::cli::text::{DAY_S, day, print, shell};

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
    /// Make a new node key too, by which the mesh knows the node; it has to be restarted then.
    #[arg(long)]
    new_node_key: bool,
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
    let new_node = if args.new_node_key { Some(NewNodeKey::of(&config)?) } else { None };
    // Everything that can fail comes before anything is written.
    let mut renewals = Vec::new();
    for party in &config.parties {
        let message_key = if args.new_message_key { Some(keys::random_key()?) } else { None };
        let new = Renewal {
            config: &config,
            party,
            message_key,
            node: new_node.as_ref(),
            slot: args.slot,
            now_unix_s,
        };
        let made = new
            .made(&org_key, &args.validity)
            .with_context(|| format!("the delegation of {} cannot be renewed", party.id))?;
        renewals.push((new.message_key, party, made));
    }
    new_node.as_ref().map_or(Ok(()), NewNodeKey::keep)?;
    for (message_key, party, new) in renewals {
        if let Some(key) = message_key {
            replace(&party.message_key, key.to_text(KeyPurpose::Message).as_bytes())?;
        }
        replace(&party.delegation, &new.delegation)?;
        println!(
            "Renewed: this node speaks for {} until {} ({} days); its credential ends on {}",
            party.party()?,
            day(new.until_unix_s),
            (new.until_unix_s - now_unix_s) / DAY_S,
            day(new.credential_until_unix_s)
        );
    }
    let restart = new_node.map(|new| new.install(&config, now_unix_s)).transpose()?;
    // The node will read the same files.
    node::load(&config, now_unix_s)?;
    print(restart.as_deref().unwrap_or(
        "A node that runs takes it by itself within some seconds, or at once with `kill -HUP`.\n",
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A new delegation, and when it and the credential above it end.
struct Renewed {
    delegation: Vec<u8>,
    until_unix_s: u64,
    credential_until_unix_s: u64,
}

/// What a new delegation is made of.
struct Renewal<'a> {
    config: &'a Config,
    party: &'a PartyConfig,
    message_key: Option<SecretKey>,
    node: Option<&'a NewNodeKey>,
    slot: Option<u8>,
    now_unix_s: u64,
}

impl Renewal<'_> {
    /// The same delegation for another while, or a first one if there is none.
    fn made(&self, org_key: &SecretKey, validity: &Validity) -> anyhow::Result<Renewed> {
        let (network, now_unix_s) = (&self.config.mesh.network, self.now_unix_s);
        let credential = files::read(&self.party.credential, SIGNED_FILE_BYTES_MAX)?;
        let terms = Credential::open(&credential, network)
            .with_context(|| {
                format!(
                    "the credential {} does not hold: get it again from its issuer, and \
                     `chargemesh party install` it",
                    self.party.credential.display()
                )
            })?
            .into_content()
            .terms;
        ensure!(
            terms.expires_unix_s > now_unix_s,
            "the credential ended on {}: get a new one from the issuer first",
            day(terms.expires_unix_s)
        );
        ensure!(
            terms.org_key == org_key.public(),
            "it is not signed by this org key, since the credential names another one: give the right key file with \
             --org-key"
        );
        let old = self.old(&terms, org_key)?;
        let slot = self.slot.unwrap_or(old.slot);
        let operations =
            if slot == old.slot { old.operations.clone() } else { operations(old.party.role, slot) };
        let new = Delegation {
            slot,
            operations,
            not_before_unix_s: now_unix_s,
            expires_unix_s: validity.end(&terms, now_unix_s),
            epoch: now_unix_s.max(old.epoch + 1),
            message_key: self.message_key.as_ref().map_or(old.message_key, SecretKey::public),
            peer_id: self.node.map(NewNodeKey::peer_id).transpose()?.unwrap_or(old.peer_id),
            ..old
        };
        Ok(Renewed {
            delegation: new.issue(network, &hash_of(&credential), org_key)?,
            until_unix_s: new.expires_unix_s,
            credential_until_unix_s: terms.expires_unix_s,
        })
    }

    /// The delegation that is there; without any, one for all that a node of the party's role has to do.
    fn old(&self, terms: &CredentialTerms, org_key: &SecretKey) -> anyhow::Result<Delegation> {
        let file = &self.party.delegation;
        if !file.exists() {
            let own;
            let node_key = match self.node {
                Some(new) => new.key(),
                None => {
                    own = keys::read(&self.config.node.key, KeyPurpose::Node)?;
                    &own
                }
            };
            let message_key = keys::read(&self.party.message_key, KeyPurpose::Message)?;
            let (from, until) = (self.now_unix_s, terms.expires_unix_s);
            return delegation(
                terms,
                node_key,
                message_key.public(),
                self.slot.unwrap_or(WRITER_SLOT),
                from,
                until,
            );
        }
        let old = files::read(file, SIGNED_FILE_BYTES_MAX)?;
        let old = Unverified::<Delegation>::new(&old, &self.config.mesh.network)
            .and_then(|old| old.verify(&org_key.public()))
            .with_context(|| {
                format!(
                    "{file} is damaged, or not signed by this org key. Move it away (mv {from} {from}.damaged) and call \
                     this again: a new one is made then, for all that a node of this role has to do",
                    file = file.display(),
                    from = shell(file)
                )
            })?;
        Ok(old.into_content())
    }
}
