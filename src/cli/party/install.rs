//! `chargemesh party install`: an issuer's credential takes the place of the party's own word.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    Chain, ChainError, Credential, CredentialTerms, Delegation, KeyPurpose, PartyRequest, Pin, PublicKey,
    Registry, TrustContext, TrustList, Unverified, hash_of,
};
use chargemesh::node;

use super::delegate::{Validity, delegation};
use super::{pins, request};
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::fingerprint::ids;
use crate::cli::text::{day, shell};
use crate::cli::{EXIT_FOUND, keys, settings};

/// Arguments of `chargemesh party install`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the node, made by `party request`.
    dir: PathBuf,
    /// What the issuer sent back.
    credential: PathBuf,
    /// Trust list of the network: from now on the node believes it, besides its own pins.
    #[arg(long, value_name = "FILE", requires = "trust_signer")]
    trust_list: Option<PathBuf>,
    /// Public key (chargemesh-trust-pub-1:...) that must have signed the list; get it another way than the list.
    #[arg(long, value_name = "KEY", requires = "trust_list")]
    trust_signer: Option<String>,
    /// Key file of the party's org key; keys/org.key in the directory if not given.
    #[arg(long, value_name = "KEYFILE")]
    org_key: Option<PathBuf>,
    #[command(flatten)]
    validity: Validity,
}

/// Checks everything, then writes.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now_unix_s = SystemClock::start().now().unix_s();
    let file = args.dir.join(files::SETTINGS);
    let config = Config::load(&file, &[])?;
    let network = config.mesh.network.as_str();
    let [party] = config.parties.as_slice() else {
        bail!("{} does not name exactly one party: make a directory with `party request`", file.display());
    };
    let request = files::read(&args.dir.join(files::REQUEST), SIGNED_FILE_BYTES_MAX)?;
    let request = PartyRequest::open(&request, network)
        .context("the request in the directory does not hold")?
        .into_content();
    let credential = files::read(&args.credential, SIGNED_FILE_BYTES_MAX)?;
    let opened = Credential::open(&credential, network)
        .with_context(|| format!("{} is no credential for this network", args.credential.display()))?;
    answers(&opened.terms, &request, now_unix_s)?;
    let org_key = args.org_key.clone().unwrap_or_else(|| args.dir.join(files::ORG_KEY));
    let org_key = keys::read(&org_key, KeyPurpose::Org)
        .context("the org key signs the delegation: name its file with --org-key")?;
    ensure!(org_key.public() == request.org_key, "this is not the org key that the request was made with");
    let until_unix_s = args.validity.end(&opened.terms, now_unix_s);
    let delegation = delegated(&config, party, &opened.terms, now_unix_s, until_unix_s)?
        .issue(network, &hash_of(&credential), &org_key)
        .context("the delegation cannot be made")?;
    let chain = Chain { credential, delegation };
    let trust = Trust::of(args, &config)?;
    let believed = trust.as_ref().map(|trust| trust.judge(&chain, network, now_unix_s)).transpose()?;
    files::replace(&party.credential, &chain.credential)?;
    files::replace(&party.delegation, &chain.delegation)?;
    pin_follows(&config, &opened.terms)?;
    if let Some(trust) = trust.as_ref().filter(|_| args.trust_list.is_some()) {
        trust.write(args, &file)?;
    }
    // The node will read the same files.
    node::load(&Config::load(&file, &[])?, now_unix_s)?;
    println!("Installed: {} vouches for {}", opened.issuer.name, request::shown(&request).party);
    println!("  further ids    {}", ids(&opened.terms.sub_ids));
    println!("  credential     until {}", day(opened.terms.expires_unix_s));
    println!(
        "  delegation     until {}; before that: chargemesh renew {}",
        day(until_unix_s),
        shell(&args.dir)
    );
    println!("Next: chargemesh run --config {}", shell(&file));
    Ok(told(believed.as_ref(), &opened.terms, &request))
}

/// Says what is less than was hoped for.
fn told(believed: Option<&Belief>, terms: &CredentialTerms, request: &PartyRequest) -> ExitCode {
    let missing: Vec<_> = request.sub_ids.iter().filter(|id| !terms.sub_ids.contains(id)).cloned().collect();
    if !missing.is_empty() {
        println!("The issuer did not vouch for {}: nothing is believed under it", ids(&missing));
    }
    if terms.legal_name != request.legal_name {
        println!("The issuer writes the name {:?}", terms.legal_name);
    }
    match believed {
        None => println!("This node has no trust list (--trust-list): it believes only its own pins"),
        Some(Belief::Full) => return if missing.is_empty() { ExitCode::SUCCESS } else { EXIT_FOUND.into() },
        Some(Belief::OneAttester) => println!(
            "One attester alone does not suffice where this trust list holds: a second one has to vouch, or \
             partners pin this party"
        ),
    }
    EXIT_FOUND.into()
}

/// What the issuer signed is what was asked for, or less.
fn answers(terms: &CredentialTerms, request: &PartyRequest, now_unix_s: u64) -> anyhow::Result<()> {
    ensure!(
        terms.party == request.party,
        "the credential is for {}, and {} asked: it was made for another request",
        terms.party,
        request.party
    );
    ensure!(
        terms.org_key == request.org_key,
        "the credential names another org key than the request: somebody else's, or made for another request of \
         {}. It is of no use here; tell the issuer",
        terms.party
    );
    ensure!(
        terms.next_org_key_hash == request.next_org_key_hash,
        "the credential names another next org key than the request: whoever has that key could take over this \
         party. Do not use it; tell the issuer"
    );
    let added: Vec<_> = terms.sub_ids.iter().filter(|id| !request.sub_ids.contains(id)).cloned().collect();
    ensure!(added.is_empty(), "the credential carries ids that were not asked for: {}", ids(&added));
    ensure!(
        now_unix_s < terms.expires_unix_s,
        "the credential ended on {}: ask the issuer for a new one",
        day(terms.expires_unix_s)
    );
    Ok(())
}

/// After a rotation this node's own pin of the party names the new org key too.
fn pin_follows(config: &Config, terms: &CredentialTerms) -> anyhow::Result<()> {
    let (file, network) = (&config.node.pins, &config.mesh.network);
    let node_key = keys::read(&config.node.key, KeyPurpose::Node)?;
    let list = pins::read(file, network, &node_key)?;
    let old = list.pin(&terms.party).filter(|pin| pin.org_key != terms.org_key).cloned();
    let Some(old) = old else { return Ok(()) };
    pins::set(file, list, Pin { org_key: terms.org_key, ..old }, network, &node_key)
}

/// A delegation under the new credential that goes over the present one.
fn delegated(
    config: &Config,
    party: &PartyConfig,
    terms: &CredentialTerms,
    now_unix_s: u64,
    until_unix_s: u64,
) -> anyhow::Result<Delegation> {
    let node_key = keys::read(&config.node.key, KeyPurpose::Node)?;
    let message_key = keys::read(&party.message_key, KeyPurpose::Message)?;
    let old = files::read(&party.delegation, SIGNED_FILE_BYTES_MAX)?;
    let network = &config.mesh.network;
    // The org key of the present credential: after a rotation the new credential has another.
    let present = files::read(&party.credential, SIGNED_FILE_BYTES_MAX)?;
    let present = Credential::open(&present, network).context("the present credential does not hold")?;
    let old = Unverified::<Delegation>::new(&old, network)
        .and_then(|old| old.verify(&present.terms.org_key))
        .context("the present delegation is not under the present credential, or does not hold")?;
    let new = delegation(terms, &node_key, message_key.public(), old.slot, now_unix_s, until_unix_s)?;
    Ok(Delegation { epoch: new.epoch.max(old.epoch + 1), ..new })
}

/// Whether those who use a trust list will believe the party.
enum Belief {
    Full,
    OneAttester,
}

/// A trust list that holds, and who signed it.
struct Trust {
    bytes: Vec<u8>,
    list: TrustList,
    signer: String,
}

impl Trust {
    /// The list of the flags, else that of the settings.
    fn of(args: &Args, config: &Config) -> anyhow::Result<Option<Trust>> {
        let old_signer = config.node.trust_signer.trim();
        let (file, signer) = match (&args.trust_list, &args.trust_signer) {
            (Some(file), Some(signer)) => (file.as_path(), signer.trim()),
            _ if old_signer.is_empty() => return Ok(None),
            _ => (config.node.trust.as_path(), old_signer),
        };
        let trust = Trust::read(file, signer, &config.mesh.network)?;
        if args.trust_list.is_some() && signer == old_signer {
            let old = Trust::read(&config.node.trust, old_signer, &config.mesh.network);
            let old_seq = old.map_or(0, |old| old.list.seq);
            ensure!(
                trust.list.seq >= old_seq,
                "{} is version {}, and this node has version {old_seq}: a trust list is never rolled back",
                file.display(),
                trust.list.seq
            );
        }
        Ok(Some(trust))
    }

    fn read(file: &Path, signer: &str, network: &str) -> anyhow::Result<Trust> {
        let key = PublicKey::from_text(KeyPurpose::Trust, signer).context("--trust-signer is not usable")?;
        let bytes = files::read(file, SIGNED_FILE_BYTES_MAX)?;
        let list = TrustList::open(&bytes, network, &key).with_context(|| {
            format!("{} is no trust list of the network `{network}` signed by this key", file.display())
        })?;
        Ok(Trust { bytes, list, signer: signer.to_owned() })
    }

    /// What others will find who have this list and no pin.
    fn judge(&self, chain: &Chain, network: &str, at_unix_s: u64) -> anyhow::Result<Belief> {
        let registry = Registry::empty();
        let context = TrustContext { network, trust: &self.list, registry: &registry, at_unix_s };
        match chain.verify(&context) {
            Ok(speaker) => {
                let untrusted: Vec<_> = speaker.untrusted_prefixes().iter().cloned().collect();
                if !untrusted.is_empty() {
                    println!("The trust list does not trust this issuer for {}", ids(&untrusted));
                }
                Ok(Belief::Full)
            }
            Err(ChainError::OneAttester { .. }) => Ok(Belief::OneAttester),
            Err(error) => Err(error).context("nobody who uses this trust list would believe the credential"),
        }
    }

    /// Puts the list into the node's directory and names its signer in the settings.
    fn write(&self, args: &Args, file: &Path) -> anyhow::Result<()> {
        files::replace(&args.dir.join(files::TRUST_LIST), &self.bytes)?;
        let changes = [
            ("node", "trust", settings::quoted(files::TRUST_LIST)),
            ("node", "trust_signer", settings::quoted(&self.signer)),
        ];
        settings::change(file, &changes, |config| config.node.trust_signer == self.signer)
    }
}
