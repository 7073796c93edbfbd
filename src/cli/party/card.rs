//! `chargemesh party card export`: what a partner pins, in one file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::Config;
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Credential, KeyPurpose, PartyCard, fingerprint};
use chargemesh::node;

use crate::cli::addresses::{is_dialable, with_peer_id};
use crate::cli::keys::{self, peer_id};
use crate::cli::{files, text};

/// Arguments of `chargemesh party card export`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the node.
    dir: PathBuf,
    /// File to make.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Under which address the partner reaches this node, if not under that of the settings; may be given often.
    #[arg(long, value_name = "MULTIADDR")]
    address: Vec<String>,
}

/// Writes the card.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now_unix_s = SystemClock::start().now().unix_s();
    let file = args.dir.join(files::SETTINGS);
    let config = Config::load(&file, &[])?;
    // Also what the card says has to hold for this node first.
    let (_, identity) = node::load(&config, now_unix_s)?;
    let [party] = identity.parties.as_slice() else {
        bail!("{} does not name exactly one party: a card speaks for one", file.display());
    };
    let network = &config.mesh.network;
    let peer_id = peer_id(&keys::read(&config.node.key, KeyPurpose::Node)?)?;
    let own = if config.mesh.announce.is_empty() { &config.mesh.listen } else { &config.mesh.announce };
    let own = if args.address.is_empty() { own } else { &args.address };
    let addresses: Vec<String> =
        own.iter().filter(|address| is_dialable(address)).map(|own| with_peer_id(own, &peer_id)).collect();
    ensure!(
        !addresses.is_empty(),
        "this node listens on no address that a partner could dial: give it with --address /ip4/.../tcp/..."
    );
    let mut card = PartyCard::of_chain(&party.chain, now_unix_s, now_unix_s);
    card.addresses = addresses;
    let bytes = card.issue(network, &party.message_key).context("the card cannot be made")?;
    if PartyCard::credential_unproven(&bytes, network)?.is_none() {
        bail!("this party has too many ids for a card of 8 KiB: partners need an issuer that vouches for it");
    }
    files::write_new(&args.output, &bytes)?;
    let terms = Credential::open(&party.chain.credential, network)?.into_content().terms;
    println!(
        "Made {}: the card of {}, valid until {}",
        args.output.display(),
        terms.party,
        text::day(card.expires_unix_s)
    );
    println!("  six words  {}", fingerprint::words(&terms.org_key, &terms.party).join(" "));
    println!("Send it to the partner, and read the six words to each other on the telephone.");
    Ok(ExitCode::SUCCESS)
}
