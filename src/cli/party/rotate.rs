//! `chargemesh party rotate`: the next org key follows the present one, and a new next key is committed to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    Credential, CredentialTerms, Delegation, Hash, KeyPurpose, PartyRequest, Pin, Rotation, SecretKey,
    Unverified, fingerprint, hash_of,
};
use chargemesh::node;
use zeroize::Zeroizing;

use super::delegate::{CREDENTIAL_DAYS, Validity};
use super::pins;
use super::request::SELF_ISSUER;
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX, replace};
use crate::cli::keys::{self, random, random_key};
use crate::cli::outlet::hand_in;
use crate::cli::text::{DAY_S, day, shell, unused};

/// Arguments of `chargemesh party rotate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the node.
    dir: PathBuf,
    /// Key file of the present org key; keys/org.key in the directory if not given.
    #[arg(long, value_name = "KEYFILE")]
    org_key: Option<PathBuf>,
    /// Key file of the org key that follows; offline/next-org.key in the directory if not given.
    #[arg(long, value_name = "KEYFILE")]
    next_org_key: Option<PathBuf>,
    /// Base URL of the party's running node: it hears of it first, and tells everybody.
    #[arg(long, value_name = "URL", required_unless_present = "output")]
    node: Option<String>,
    /// Key of the node's admin API (`facade.admin_key`), if it asks for one.
    #[arg(long, value_name = "KEY", env = "CHARGEMESH_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
    /// Make the rotation only, in this file, and change nothing else.
    #[arg(short, long, value_name = "FILE", conflicts_with = "node")]
    output: Option<PathBuf>,
    #[command(flatten)]
    validity: Validity,
}

/// What there is before anything is changed.
struct Present {
    config: Config,
    party: PartyConfig,
    terms: CredentialTerms,
    by_itself: bool,
    old_key: SecretKey,
    new_key: SecretKey,
    /// Where the two keys are kept; their successors get the same places.
    org_file: PathBuf,
    next_file: PathBuf,
    rotation: Vec<u8>,
    now_unix_s: u64,
}

/// Signs the rotation; then puts the new key in the old one's place.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let present = Present::read(args)?;
    let words = fingerprint::words(&present.new_key.public(), &present.terms.party).join(" ");
    if let Some(file) = &args.output {
        files::write_new(file, &present.rotation)?;
        println!("Made {}: the key with the six words {words} follows", file.display());
        println!("Next: chargemesh trust submit {} --node URL", shell(file));
        return Ok(ExitCode::SUCCESS);
    }
    let rotation = unused(&args.dir, "rotation", present.now_unix_s, "cose");
    let beside = present.org_file.parent().unwrap_or(Path::new(""));
    let old = unused(beside, "org-until", present.now_unix_s, "key");
    // Everything that can fail without consequences comes before the first word to others.
    let next_key = random_key()?;
    let made = Made::of(&present, &next_key, &args.validity)?;
    files::write_new(&rotation, &present.rotation)?;
    write_key(&old, &present.old_key)?;
    let node = args.node.as_deref().context("which node? --node")?;
    // While the node still believes the old key, or it would not take it.
    hand_in(node, args.admin_key.as_deref(), present.rotation.clone())?;
    // In this order no key is ever in no file.
    write_key(&present.org_file, &present.new_key)?;
    write_key(&present.next_file, &next_key)?;
    made.write(args, &present)?;
    node::load(&Config::load(&args.dir.join(files::SETTINGS), &[])?, present.now_unix_s)?;
    report(args, &present, &words, &rotation, &old);
    Ok(ExitCode::SUCCESS)
}

impl Present {
    fn read(args: &Args) -> anyhow::Result<Present> {
        let settings = args.dir.join(files::SETTINGS);
        let config = Config::load(&settings, &[])?;
        let [party] = config.parties.as_slice() else {
            bail!("{} does not name exactly one party", settings.display());
        };
        let network = &config.mesh.network;
        let bytes = files::read(&party.credential, SIGNED_FILE_BYTES_MAX)?;
        let credential = Credential::open(&bytes, network).context("the credential does not hold")?;
        let org_file = args.org_key.clone().unwrap_or_else(|| args.dir.join(files::ORG_KEY));
        let old_key = keys::read(&org_file, KeyPurpose::Org)
            .context("the present org key signs: name its file with --org-key")?;
        let next_file = args.next_org_key.clone().unwrap_or_else(|| args.dir.join(files::NEXT_ORG_KEY));
        let new_key = keys::read(&next_file, KeyPurpose::Org)
            .context("the org key that follows signs too: name its file with --next-org-key")?;
        let terms = &credential.terms;
        ensure!(
            terms.org_key == old_key.public(),
            "{} is not the org key of the credential",
            org_file.display()
        );
        let committed: Option<Hash> = terms.next_org_key_hash;
        ensure!(
            committed == Some(new_key.public().id().0),
            "the credential does not commit to the key {}: only that one can follow",
            next_file.display()
        );
        let now_unix_s = SystemClock::start().now().unix_s();
        let rotation = Rotation::issue(network, &bytes, &old_key, &new_key, now_unix_s)
            .context("the rotation cannot be signed")?;
        let (by_itself, terms) = (credential.signer() == terms.org_key.as_bytes(), terms.clone());
        let party = party.clone();
        Ok(Present {
            config,
            party,
            terms,
            by_itself,
            old_key,
            new_key,
            org_file,
            next_file,
            rotation,
            now_unix_s,
        })
    }
}

/// What is signed with the new key.
struct Made {
    request: Vec<u8>,
    /// Credential, delegation and own pin of a party that nobody else vouches for.
    own_word: Option<(Vec<u8>, Vec<u8>, Pin)>,
}

impl Made {
    fn of(present: &Present, next_key: &SecretKey, validity: &Validity) -> anyhow::Result<Made> {
        let (network, now_unix_s) = (&present.config.mesh.network, present.now_unix_s);
        let terms = CredentialTerms {
            org_key: present.new_key.public(),
            next_org_key_hash: Some(next_key.public().id().0),
            not_before_unix_s: now_unix_s,
            expires_unix_s: now_unix_s + CREDENTIAL_DAYS * DAY_S,
            serial: random::<16>()?.to_vec(),
            ..present.terms.clone()
        };
        let request = PartyRequest {
            party: terms.party.clone(),
            sub_ids: terms.sub_ids.clone(),
            legal_name: terms.legal_name.clone(),
            register_number: terms.register_number.clone(),
            org_key: terms.org_key,
            next_org_key_hash: terms.next_org_key_hash,
            created_unix_s: now_unix_s,
        };
        let request = request.issue(network, &present.new_key).context("the request cannot be made")?;
        if !present.by_itself {
            return Ok(Made { request, own_word: None });
        }
        let credential = Credential::issue(network, &terms, SELF_ISSUER, &present.new_key)
            .context("the party's own credential cannot be made")?;
        let old = files::read(&present.party.delegation, SIGNED_FILE_BYTES_MAX)?;
        let old = Unverified::<Delegation>::new(&old, network)
            .and_then(|old| old.verify(&present.old_key.public()))
            .context("the delegation was not signed by the present org key, or does not hold")?
            .into_content();
        let new = Delegation {
            not_before_unix_s: now_unix_s,
            expires_unix_s: validity.end(&terms, now_unix_s),
            epoch: now_unix_s.max(old.epoch + 1),
            ..old
        };
        let delegation = new.issue(network, &hash_of(&credential), &present.new_key)?;
        let sub_ids = terms.sub_ids.iter().cloned().collect();
        let pin = Pin { party: terms.party, org_key: terms.org_key, sub_ids };
        Ok(Made { request, own_word: Some((credential, delegation, pin)) })
    }

    fn write(self, args: &Args, present: &Present) -> anyhow::Result<()> {
        replace(&args.dir.join(files::REQUEST), &self.request)?;
        let Some((credential, delegation, pin)) = self.own_word else { return Ok(()) };
        let (config, party) = (&present.config, &present.party);
        let node_key = keys::read(&config.node.key, KeyPurpose::Node)?;
        let list = pins::read(&config.node.pins, &config.mesh.network, &node_key)?;
        replace(&party.credential, &credential)?;
        replace(&party.delegation, &delegation)?;
        pins::set(&config.node.pins, list, pin, &config.mesh.network, &node_key)
    }
}

fn write_key(file: &Path, key: &SecretKey) -> anyhow::Result<()> {
    let line = Zeroizing::new(format!("{}\n", *key.to_text(KeyPurpose::Org)));
    files::write_secret(file, line.as_bytes())
}

fn report(args: &Args, present: &Present, words: &str, rotation: &Path, old: &Path) {
    let (dir, party) = (shell(&args.dir), &present.terms.party);
    println!("Rotated: the org key of {party} has the six words {words}");
    println!("  {}  secret: the old org key; old receipts are proved with it", old.display());
    println!("  {}  the rotation, for whoever missed it", rotation.display());
    println!("  {}  the next org key: take it away from this machine now", present.next_file.display());
    if present.by_itself {
        println!(
            "Partners who pinned this party follow by themselves once they heard of it. For one that was away: \
             chargemesh trust submit {} --node URL, there",
            shell(rotation)
        );
        return;
    }
    println!(
        "The node goes on with the old credential until {}. Next: send {} to the issuer, then\n  chargemesh party \
         install {dir} CREDENTIAL",
        day(present.terms.expires_unix_s),
        shell(&args.dir.join(files::REQUEST)),
    );
    println!("Until then the delegation is renewed with --org-key {}", shell(old));
}
