//! `chargemesh trust status-list`: which of an issuer's credentials are dead, and that all others are alive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Credential, Hash, KeyPurpose, PublicKey, StatusList, peek};
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;

use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::keys;
use crate::cli::outlet::Outlet;
use crate::cli::text::{counted, day};

/// Longest validity of a list, in hours: a month.
const VALID_HOURS_MAX: u64 = 31 * 24;
/// An hour in seconds.
const HOUR_S: u64 = 3_600;

/// Arguments of `chargemesh trust status-list`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("before").required(true).args(["previous", "first"]))]
pub(crate) struct Args {
    /// The issuer's key file.
    #[arg(long, value_name = "KEYFILE")]
    issuer: PathBuf,
    /// Credentials that are dead, besides those of the list before.
    #[arg(long, value_name = "CREDENTIAL", num_args = 1..)]
    revoked: Vec<PathBuf>,
    /// The list before this one: what is dead in it stays dead.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// There was no list before: without it a new list would bring back to life what the last one says is dead.
    #[arg(long)]
    first: bool,
    /// Network that the list is for; that of the credentials if there are any.
    #[arg(long, required_unless_present_any = ["revoked", "previous"])]
    network: Option<String>,
    /// Hours until the next list has to be there (1 to 744).
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u64).range(1..=VALID_HOURS_MAX)
    )]
    valid_hours: u64,
    /// Number of the list: the highest counts [default: the time, Unix seconds].
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
    #[command(flatten)]
    outlet: Outlet,
}

/// Signs the list.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.outlet.check()?;
    let now_unix_s = SystemClock::start().now().unix_s();
    let key = keys::read(&args.issuer, KeyPurpose::Issuer)?;
    let mut network = args.network.clone();
    let mut revoked = BTreeSet::new();
    let mut seq = args.seq.unwrap_or(now_unix_s);
    let mut previous_until_unix_s = 0;
    if let Some(file) = &args.previous {
        let bytes = read(file, &mut network)?;
        let list = StatusList::open(&bytes, network.as_deref().unwrap_or_default())
            .with_context(|| format!("{} is no status list that holds", file.display()))?;
        ensure!(
            list.signer() == key.public().as_bytes(),
            "{} is of another issuer than this key",
            file.display()
        );
        ensure!(
            args.seq.is_none_or(|seq| seq > list.seq),
            "--seq has to be above that of the last list, {}",
            list.seq
        );
        seq = seq.max(list.seq.saturating_add(1));
        revoked.extend(list.revoked.iter().copied());
        previous_until_unix_s = list.valid_until_unix_s;
    }
    forgets_nothing(args, &key.public(), previous_until_unix_s)?;
    for file in &args.revoked {
        revoked.insert(credential_hash(file, &key.public(), &mut network)?);
    }
    let list = StatusList {
        seq,
        created_unix_s: now_unix_s,
        valid_until_unix_s: now_unix_s + args.valid_hours * HOUR_S,
        revoked: revoked.into_iter().collect(),
    };
    let network = network.context("for which network? --network")?;
    let bytes = list.issue(&network, &key).context("the list cannot be signed")?;
    let dead = counted(list.revoked.len(), "dead credential");
    let what = format!("status list {seq}: {dead}, valid for {} hours", args.valid_hours);
    args.outlet.deliver(bytes, &what)
}

/// Says no if the node that gets the list holds a later one than that which it follows.
fn forgets_nothing(args: &Args, issuer: &PublicKey, previous_until_unix_s: u64) -> anyhow::Result<()> {
    let Some(answer) = args.outlet.asked("admin/v1/trust")? else { return Ok(()) };
    let root = json::parse(&answer.body, Reading::Tolerant)
        .context("the node's answer is no JSON: does --node name the facade of a chargemesh node?")?;
    let key = issuer.to_text(KeyPurpose::Issuer);
    let issuers = root.field("issuers").map_or(&[][..], Node::items);
    let ours = issuers.iter().find(|of| of.field("key").and_then(Node::as_str) == Some(key.as_str()));
    let until = ours.and_then(|of| of.field("status_list_until_unix_s")).and_then(Node::number_text);
    let held_unix_s: u64 = until.and_then(|text| text.parse().ok()).unwrap_or(0);
    ensure!(
        held_unix_s <= previous_until_unix_s,
        "the node holds a later status list of this issuer, valid until {} (unix time {held_unix_s}): name that one \
         with --previous, or what is dead in it would live again. If its file is lost, name every dead credential \
         with --revoked, say -o FILE in the place of --node, and hand the file in with `chargemesh trust submit`",
        day(held_unix_s)
    );
    Ok(())
}

/// The name of one of this issuer's credentials.
fn credential_hash(file: &Path, issuer: &PublicKey, network: &mut Option<String>) -> anyhow::Result<Hash> {
    let bytes = read(file, network)?;
    let credential = Credential::open(&bytes, network.as_deref().unwrap_or_default())
        .with_context(|| format!("{} is no credential that holds", file.display()))?;
    ensure!(
        credential.signer() == issuer.as_bytes(),
        "{} is the credential of another issuer: only that one can revoke it",
        file.display()
    );
    println!("Dead: {} ({})", credential.terms.party, file.display());
    Ok(*credential.hash())
}

/// Reads a signed file, and sees to it that all are of one network.
fn read(file: &Path, network: &mut Option<String>) -> anyhow::Result<Vec<u8>> {
    let bytes = files::read(file, SIGNED_FILE_BYTES_MAX)?;
    let header = peek(&bytes).with_context(|| format!("{} is no signed object", file.display()))?;
    let of = network.get_or_insert(header.network.clone());
    ensure!(*of == header.network, "{} is of the network `{}`, not `{of}`", file.display(), header.network);
    Ok(bytes)
}
