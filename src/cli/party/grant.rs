//! `chargemesh party grant`: another party may publish under this party's main id, or no longer.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Credential, KeyPurpose, SubGrant, SubGrantTerms, peek};

use super::party_id;
use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::keys;
use crate::cli::outlet::Outlet;
use crate::cli::party::delegate::CREDENTIAL_DAYS_MAX;
use crate::cli::text::{DAY_S, day};

/// How long ago a withdrawing grant ended, in seconds: it has ended also where a clock is a little behind.
const WITHDRAWN_AGO_S: u64 = 3_600;

/// Arguments of `chargemesh party grant`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Who may publish under the main id of this party, as in CPO:CH*360; of the same role.
    #[arg(long, value_name = "ROLE:ID")]
    to: String,
    /// Days until it ends (1 to 397).
    #[arg(
        long,
        required_unless_present = "withdraw",
        value_parser = clap::value_parser!(u64).range(1..=CREDENTIAL_DAYS_MAX)
    )]
    days: Option<u64>,
    /// It may no longer.
    #[arg(long, conflicts_with = "days")]
    withdraw: bool,
    /// Key file of this party's org key.
    #[arg(long, value_name = "KEYFILE")]
    org_key: PathBuf,
    /// This party's credential.
    #[arg(long, value_name = "FILE")]
    credential: PathBuf,
    #[command(flatten)]
    outlet: Outlet,
}

/// Signs the grant, or one that has ended and goes over those before.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.outlet.check()?;
    let now_unix_s = SystemClock::start().now().unix_s();
    let grantee = party_id(&args.to)?;
    let org_key = keys::read(&args.org_key, KeyPurpose::Org)?;
    let bytes = files::read(&args.credential, SIGNED_FILE_BYTES_MAX)?;
    let context = || format!("{} is no credential that holds", args.credential.display());
    let network = peek(&bytes).with_context(context)?.network;
    let credential = Credential::open(&bytes, &network).with_context(context)?;
    let holder = &credential.terms.party;
    ensure!(
        credential.terms.org_key == org_key.public(),
        "{} is not the org key of {holder} in this credential",
        args.org_key.display()
    );
    let withdrawn_unix_s = now_unix_s.saturating_sub(WITHDRAWN_AGO_S);
    let (not_before_unix_s, expires_unix_s) = match args.days {
        Some(days) => (now_unix_s, now_unix_s + days * DAY_S),
        None => (withdrawn_unix_s.saturating_sub(1), withdrawn_unix_s),
    };
    let terms = SubGrantTerms { grantee, epoch: now_unix_s, not_before_unix_s, expires_unix_s };
    let grant = SubGrant::issue(&network, &bytes, &terms, &org_key)
        .context("the grant cannot be signed: it goes to another party of the same role")?;
    let (grantee, id) = (&terms.grantee, &holder.id);
    let what = match args.withdraw {
        true => format!("{grantee} may publish under {id} no longer"),
        false => format!("{grantee} may publish under {id} until {}", day(expires_unix_s)),
    };
    args.outlet.deliver(grant, &what)
}
