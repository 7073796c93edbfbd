//! `chargemesh trust bury`: this credential, delegation or org key is dead before its time.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    Credential, Dead, Delegation, KeyPurpose, SecretKey, Tombstone, Unverified, fingerprint, peek,
};

use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::keys;
use crate::cli::outlet::Outlet;

/// Arguments of `chargemesh trust bury`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The credential; it is what is buried if nothing else is said.
    #[arg(long, value_name = "FILE")]
    credential: PathBuf,
    /// Bury only this delegation under it. Its org key has to sign.
    #[arg(long, value_name = "FILE", conflicts_with = "org_key")]
    delegation: Option<PathBuf>,
    /// Bury its org key: every credential of the party with it. It or the next org key has to sign.
    #[arg(long)]
    org_key: bool,
    /// Key file that signs: the org key, the next org key, or the key of the credential's issuer.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Why, for people; at most 120 bytes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Number of the tombstone: of several for one subject the highest counts [default: the time, Unix seconds].
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    #[command(flatten)]
    outlet: Outlet,
}

/// Signs the tombstone.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.outlet.check()?;
    let now_unix_s = SystemClock::start().now().unix_s();
    let key = signer(args)?;
    let bytes = files::read(&args.credential, SIGNED_FILE_BYTES_MAX)?;
    let context = || format!("{} is no credential that holds", args.credential.display());
    let network = peek(&bytes).with_context(context)?.network;
    let credential = Credential::open(&bytes, &network).with_context(context)?;
    let terms = &credential.terms;
    let (dead, what) = match &args.delegation {
        Some(file) => {
            let delegation = files::read(file, SIGNED_FILE_BYTES_MAX)?;
            let delegation = Unverified::<Delegation>::new(&delegation, &network)
                .and_then(|delegation| delegation.verify(&terms.org_key))
                .with_context(|| format!("{} is no delegation under this credential", file.display()))?;
            (Dead::Delegation(*delegation.hash()), "a delegation")
        }
        None if args.org_key => (Dead::OrgKey, "the org key"),
        None => (Dead::Credential, "the credential"),
    };
    let epoch = args.epoch.unwrap_or(now_unix_s);
    let tombstone = Tombstone::issue(&network, &bytes, dead, epoch, now_unix_s, &args.reason, &key).context(
        "this key may not say this: a delegation is buried by the org key, an org key by itself or the next \
             one, a credential also by its issuer",
    )?;
    println!("{} {}", terms.party, fingerprint::words(&terms.org_key, &terms.party).join(" "));
    args.outlet.deliver(tombstone, &format!("{what} of {} is dead, and stays so", terms.party))
}

/// A key of any party or issuer; whether it is the right one the credential says.
fn signer(args: &Args) -> anyhow::Result<SecretKey> {
    match keys::read(&args.key, KeyPurpose::Org) {
        Ok(key) => Ok(key),
        Err(error) => keys::read(&args.key, KeyPurpose::Issuer).map_err(|_| error),
    }
}
