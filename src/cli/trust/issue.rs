//! `chargemesh trust issue`: an issuer vouches for a party, for what was asked and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    CanonicalId, Credential, CredentialTerms, KeyPurpose, PartyId, PartyRequest, PublicKey, Purpose, Role,
    peek,
};

use super::issuer;
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::fingerprint::{Confirm, line};
use crate::cli::keys::{self, random};
use crate::cli::party::delegate::{CREDENTIAL_DAYS, CREDENTIAL_DAYS_MAX};
use crate::cli::party::request::{further_ids, shown};
use crate::cli::text::{DAY_S, day, print};

/// Arguments of `chargemesh trust issue`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["request", "operator", "provider", "hub"]))]
pub(crate) struct Args {
    /// The issuer's key file.
    #[arg(long, value_name = "KEYFILE")]
    issuer: PathBuf,
    /// The issuer's name; that in the .pub file beside the key file if not given.
    #[arg(long, value_name = "NAME")]
    issuer_name: Option<String>,
    /// What the party asks for, made by `party request`. It is shown before anything is signed.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Without a request: id of an operator, as in DE*GEF.
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    /// Without a request: id of a provider, as in DE-GEF.
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// Without a request: id of a hub.
    #[arg(long, value_name = "ID")]
    hub: Option<String>,
    /// A further id of the party; may be given often.
    #[arg(long = "sub", value_name = "ID", conflicts_with = "request")]
    subs: Vec<CanonicalId>,
    /// Name in the commercial register.
    #[arg(long, conflicts_with = "request", required_unless_present = "request")]
    name: Option<String>,
    /// Number in the commercial register.
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "request")]
    register_number: String,
    /// The party's public org key (chargemesh-org-pub-1:...).
    #[arg(long, value_name = "KEY", conflicts_with = "request", required_unless_present = "request")]
    org_key: Option<String>,
    /// SHA-256 of the org key that may follow, 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", conflicts_with = "request", value_parser = hash)]
    next_org_key: Option<[u8; 32]>,
    /// Network that the credential is for. With a request it only has to agree.
    #[arg(long, required_unless_present = "request")]
    network: Option<String>,
    /// Days until the party needs a new credential (1 to 397).
    #[arg(
        long,
        default_value_t = CREDENTIAL_DAYS,
        value_parser = clap::value_parser!(u64).range(1..=CREDENTIAL_DAYS_MAX)
    )]
    days: u64,
    /// File to make.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    confirm: Confirm,
}

/// Shows what is asked, asks for a word, signs.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now_unix_s = SystemClock::start().now().unix_s();
    let key = keys::read(&args.issuer, KeyPurpose::Issuer)?;
    let issuer_name = issuer::name_of(&args.issuer, &key, args.issuer_name.as_deref())?;
    ensure!(
        !args.output.exists(),
        "{} is there already, and nothing is ever overwritten",
        args.output.display()
    );
    let (asked, network) = asked(args, now_unix_s)?;
    let expires_unix_s = now_unix_s + args.days * DAY_S;
    let mut text = format!("Asked of {issuer_name}, for the network `{network}`:\n{}", shown(&asked).lines());
    line(&mut text, "asked on", &day(asked.created_unix_s));
    line(&mut text, "valid until", &day(expires_unix_s));
    print(&text)?;
    if args.request.is_some() {
        println!(
            "That the ids are this party's is for you to find out: the request proves only that it has the key."
        );
        args.confirm.check(&asked.org_key, &asked.party, "Vouch for it?")?;
    }
    let terms = CredentialTerms {
        party: asked.party,
        sub_ids: asked.sub_ids,
        legal_name: asked.legal_name,
        register_number: asked.register_number,
        org_key: asked.org_key,
        next_org_key_hash: asked.next_org_key_hash,
        not_before_unix_s: now_unix_s,
        expires_unix_s,
        serial: random::<16>()?.to_vec(),
    };
    let credential =
        Credential::issue(&network, &terms, &issuer_name, &key).context("this cannot be signed")?;
    files::write_new(&args.output, &credential)?;
    println!("Made {}: {issuer_name} vouches for {}", args.output.display(), terms.party);
    println!("Send it back; there: chargemesh party install DIR {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, and for which network.
fn asked(args: &Args, now_unix_s: u64) -> anyhow::Result<(PartyRequest, String)> {
    match &args.request {
        Some(file) => {
            let bytes = files::read(file, SIGNED_FILE_BYTES_MAX)?;
            let context = || format!("{} is no request that holds: ask for it again", file.display());
            let header = peek(&bytes).with_context(context)?;
            ensure!(
                header.purpose == Purpose::PartyRequest,
                "{} is a {}",
                file.display(),
                header.purpose.tag()
            );
            let network = args.network.clone().unwrap_or_else(|| header.network.clone());
            ensure!(
                network == header.network,
                "the request is for the network `{}`, not `{network}`",
                header.network
            );
            Ok((PartyRequest::open(&bytes, &network).with_context(context)?.into_content(), network))
        }
        None => Ok((typed(args, now_unix_s)?, args.network.clone().unwrap_or_default())),
    }
}

/// What the flags say. Clap has seen to it that they are complete.
fn typed(args: &Args, now_unix_s: u64) -> anyhow::Result<PartyRequest> {
    let roles = [(&args.operator, Role::Cpo), (&args.provider, Role::Emp), (&args.hub, Role::Hub)];
    let named = roles.into_iter().find_map(|(id, role)| Some((id.as_deref()?, role)));
    let (id, role) = named.context("whom to vouch for? --request, --operator, --provider or --hub")?;
    let org_key = args.org_key.as_deref().unwrap_or_default();
    let party = PartyId::new(role, id)?;
    Ok(PartyRequest {
        sub_ids: further_ids(&party, &args.subs),
        party,
        legal_name: args.name.clone().unwrap_or_default(),
        register_number: args.register_number.clone(),
        org_key: PublicKey::from_text(KeyPurpose::Org, org_key).context("--org-key is not usable")?,
        next_org_key_hash: args.next_org_key,
        created_unix_s: now_unix_s,
    })
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = text
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    let bytes: Vec<u8> = bytes.collect();
    match bytes.try_into() {
        Ok(hash) if digits => Ok(hash),
        _ => Err("write 64 hexadecimal digits, as `party request` prints them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_64_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(hash(&text).unwrap()[..2], [0, 255]);
        for wrong in
            ["", &text[1..], &format!("{text}00"), &text.replace('f', "g"), &text.replace("00", "+0")]
        {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }
}
