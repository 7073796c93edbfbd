//! `chargemesh party pin` and `party unpin`: whom the operator of this node knows itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::Config;
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    CanonicalId, Credential, KeyPurpose, PartyCard, PartyId, Pin, Registry, SecretKey, TrustContext,
    TrustList, Verified, VerifiedCard,
};
use chargemesh::mesh;
use chargemesh::protocol::NodeId;

use super::{party_id, pins};
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::fingerprint::{Confirm, Shown, ids, line};
use crate::cli::text::{day, print, shown};
use crate::cli::{EXIT_FOUND, keys, settings};

/// Most addresses of one card that are taken into the settings: enough for two networks and both kinds of IP.
const ADDRESSES_TAKEN_MAX: usize = 4;
/// Longest foreign text that is shown, characters.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// Arguments of `chargemesh party pin`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the node.
    dir: PathBuf,
    /// The partner's card, made by `party card export`.
    card: PathBuf,
    /// A further id of the card that is believed as well; may be given often.
    #[arg(long = "sub", value_name = "ID")]
    subs: Vec<CanonicalId>,
    /// Believe the new org key of a party that is pinned with another one.
    #[arg(long)]
    replace: bool,
    /// Leave `mesh.bootstrap` in the settings as it is.
    #[arg(long)]
    no_bootstrap: bool,
    #[command(flatten)]
    confirm: Confirm,
}

/// Arguments of `chargemesh party unpin`.
#[derive(clap::Args)]
pub(crate) struct UnpinArgs {
    /// Directory of the node.
    dir: PathBuf,
    /// The party, as in CPO:DE*ABC.
    party: String,
}

/// A node's settings and what signs its pins.
struct OurNode {
    settings: PathBuf,
    config: Config,
    key: SecretKey,
    pins: TrustList,
}

impl OurNode {
    fn open(dir: &Path) -> anyhow::Result<OurNode> {
        let settings = dir.join(files::SETTINGS);
        let config = Config::load(&settings, &[])?;
        let key = keys::read(&config.node.key, KeyPurpose::Node)?;
        let pins = pins::read(&config.node.pins, &config.mesh.network, &key)?;
        Ok(OurNode { settings, config, key, pins })
    }

    fn speaks_for(&self, party: &PartyId) -> bool {
        self.config.parties.iter().any(|own| own.party().is_ok_and(|own| own == *party))
    }
}

/// Shows the card, asks, and pins.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now_unix_s = SystemClock::start().now().unix_s();
    let node = OurNode::open(&args.dir)?;
    let network = &node.config.mesh.network;
    let bytes = files::read(&args.card, SIGNED_FILE_BYTES_MAX)?;
    let (credential, card) = verified(&bytes, network, now_unix_s)
        .with_context(|| format!("{} cannot be pinned", args.card.display()))?;
    let terms = &credential.terms;
    ensure!(
        !node.speaks_for(&terms.party),
        "this node speaks for {} itself: a card of that id is its own, or somebody else claims it",
        terms.party
    );
    if let Some(foreign) = args.subs.iter().find(|id| !terms.sub_ids.contains(id)) {
        bail!("{foreign} is not among the ids of this card: {}", ids(&terms.sub_ids));
    }
    let old = node.pins.pin(&terms.party).cloned();
    // What was believed before goes on, if it is still the same key.
    let before = old.iter().filter(|old| old.org_key == terms.org_key).flat_map(|old| &old.sub_ids);
    let sub_ids: BTreeSet<CanonicalId> = before.chain(&args.subs).cloned().collect();
    let pin = Pin { party: terms.party.clone(), org_key: terms.org_key, sub_ids };
    if old.as_ref().is_some_and(|old| old.org_key != pin.org_key) && !args.replace {
        bail!(
            "{} is pinned with another org key: this card is of somebody else, or the party changed its key. Ask \
             there; if it did, --replace",
            pin.party
        );
    }
    print(&about(&credential, &card))?;
    args.confirm.check(&pin.org_key, &pin.party, "Pin it?")?;
    let (party, sub_ids) = (pin.party.clone(), pin.sub_ids.clone());
    if old.as_ref() != Some(&pin) {
        pins::set(&node.config.node.pins, node.pins.clone(), pin, network, &node.key)?;
    }
    println!("Pinned: this node believes {party} by its own org key");
    let left: Vec<_> = terms.sub_ids.iter().filter(|id| !sub_ids.contains(*id)).cloned().collect();
    if !left.is_empty() {
        println!("Not believed: {} (--sub ID if you know that they are this party's)", ids(&left));
    }
    if !args.no_bootstrap {
        join(&node, &card)?;
    }
    println!("A node that runs takes it within some seconds. The partner has to pin your card too.");
    Ok(ExitCode::SUCCESS)
}

/// Takes a pin away.
pub(crate) fn unpin(args: &UnpinArgs) -> anyhow::Result<ExitCode> {
    let node = OurNode::open(&args.dir)?;
    let party = party_id(&args.party)?;
    ensure!(!node.speaks_for(&party), "this node speaks for {party}: without its own pin it would not start");
    let (file, network) = (&node.config.node.pins, &node.config.mesh.network);
    if !pins::remove(file, node.pins.clone(), &party, network, &node.key)? {
        println!("{party} is not pinned here");
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    println!("{party} is no longer pinned. A node that runs takes it within some seconds.");
    Ok(ExitCode::SUCCESS)
}

/// The card holds in itself: whoever has the org key made it. That this is the party is what the words are for.
fn verified(
    bytes: &[u8],
    network: &str,
    at_unix_s: u64,
) -> anyhow::Result<(Verified<Credential>, VerifiedCard)> {
    let credential = PartyCard::credential_unproven(bytes, network)?
        .context("this card only names its credential: pin the file that `party card export` makes")?;
    let credential = Credential::open(&credential, network)?;
    let (party, org_key) = (credential.terms.party.clone(), credential.terms.org_key);
    let pins = vec![Pin { party, org_key, sub_ids: BTreeSet::new() }];
    let trust = TrustList { issuers: Vec::new(), pins, seq: 0, valid_until_unix_s: u64::MAX };
    let registry = Registry::empty();
    let context = TrustContext { network, trust: &trust, registry: &registry, at_unix_s };
    let card = PartyCard::verify(bytes, None, &context)
        .context("if it is too old (48 hours), ask for a new one: chargemesh party card export")?;
    Ok((credential, card))
}

fn about(credential: &Verified<Credential>, card: &VerifiedCard) -> String {
    let terms = &credential.terms;
    let (name, register_number) = (&terms.legal_name, &terms.register_number);
    let shown_terms = Shown {
        party: &terms.party,
        name,
        register_number,
        sub_ids: &terms.sub_ids,
        org_key: &terms.org_key,
        next_org_key_hash: None,
    };
    let mut text = shown_terms.lines();
    let vouches = if credential.signer() == terms.org_key.as_bytes() {
        "nobody but itself".to_owned()
    } else {
        format!("{} (as the card says)", shown(&credential.issuer.name, SHOWN_CHARACTERS_MAX))
    };
    line(&mut text, "vouched for by", &vouches);
    for address in card.card().addresses.iter().take(ADDRESSES_TAKEN_MAX) {
        line(&mut text, "address", &shown(address, SHOWN_CHARACTERS_MAX));
    }
    line(&mut text, "delegation", &format!("until {}", day(card.speaker().validity().1)));
    text
}

/// Adds the partner's addresses to those that this node dials.
fn join(node: &OurNode, card: &VerifiedCard) -> anyhow::Result<()> {
    let Some(partner) = NodeId::from_bytes(card.speaker().peer_id()) else { return Ok(()) };
    let known = &node.config.mesh.bootstrap;
    let new = card.card().addresses.iter().take(ADDRESSES_TAKEN_MAX);
    let new: Vec<String> = new
        .filter(|address| mesh::is_address_of(address, &partner) && !known.contains(address))
        .cloned()
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = known.iter().chain(&new).cloned().collect();
    settings::change(&node.settings, &[("mesh", "bootstrap", settings::list(&all))], |config| {
        config.mesh.bootstrap == all
    })?;
    println!("Its address is in `mesh.bootstrap` of {}", node.settings.display());
    Ok(())
}
