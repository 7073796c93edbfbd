//! `chargemesh party fingerprint`: the six words of whatever names an org key.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::Config;
use chargemesh::identity::{
    Credential, PartyCard, PartyId, PartyRequest, PublicKey, Purpose, fingerprint, peek,
};

use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};

/// Arguments of `chargemesh party fingerprint`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A node's directory, or a request, credential or card.
    path: PathBuf,
}

/// Prints the words.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let named = if args.path.is_dir() {
        let settings = args.path.join(files::SETTINGS);
        let config = Config::load(&settings, &[])?;
        ensure!(!config.parties.is_empty(), "{} names no party", settings.display());
        let credentials =
            config.parties.iter().map(|party| files::read(&party.credential, SIGNED_FILE_BYTES_MAX));
        credentials.map(|bytes| named_key(&bytes?)).collect::<anyhow::Result<Vec<_>>>()?
    } else {
        let bytes = files::read(&args.path, SIGNED_FILE_BYTES_MAX)?;
        let named = named_key(&bytes).with_context(|| {
            format!("{} is no request, credential or card that holds", args.path.display())
        })?;
        vec![named]
    };
    for (party, org_key) in named {
        println!("{party}: {}", fingerprint::words(&org_key, &party).join(" "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The party and org key that a signed file is about.
fn named_key(bytes: &[u8]) -> anyhow::Result<(PartyId, PublicKey)> {
    let header = peek(bytes)?;
    let credential = match header.purpose {
        Purpose::PartyRequest => {
            let request = PartyRequest::open(bytes, &header.network)?.into_content();
            return Ok((request.party, request.org_key));
        }
        Purpose::PartyCredential => bytes.to_vec(),
        Purpose::PartyCard => PartyCard::credential_unproven(bytes, &header.network)?
            .context("this card only names its credential: ask for the credential itself")?,
        other => bail!("it is a {}", other.tag()),
    };
    let terms = Credential::open(&credential, &header.network)?.into_content().terms;
    Ok((terms.party, terms.org_key))
}
