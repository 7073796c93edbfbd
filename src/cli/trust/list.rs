//! `chargemesh trust list`: makes and changes a trust list. The signed file itself is what is changed: each
//! command checks it, changes it, and signs it as the next version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{
    Issuer, IssuerClass, IssuerGrant, KeyPurpose, PublicKey, Purpose, Role, SecretKey, TrustList,
    fingerprint, peek,
};

use super::issuer::public_of;
use crate::cli::files::{self, NewFile, SIGNED_FILE_BYTES_MAX};
use crate::cli::fingerprint::ids;
use crate::cli::keys::{self, key_file, random_key};
use crate::cli::text::{DAY_S, day, print, shell, shown};

/// The list in a directory of `trust list new`.
const LIST: &str = "trust-list.cose";
/// The key that signs it.
const TRUST_KEY: &str = "trust.key";
/// How long a version is valid if nothing else is asked for, in days.
const LIST_DAYS: u64 = 365;
/// Longest validity of one version, in days: ten years.
const LIST_DAYS_MAX: u64 = 3_650;
/// Most characters of a name that are shown.
const NAME_CHARACTERS_MAX: usize = 200;

/// The commands of `chargemesh trust list`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make an empty list and the key that signs it, in a directory of its own.
    New(NewArgs),
    /// Believe one more issuer.
    Add(AddArgs),
    /// Believe an issuer no longer.
    Remove(RemoveArgs),
    /// Sign the list anew, for another while.
    Sign(SignArgs),
    /// Print a list.
    Show(ShowArgs),
}

/// Arguments of `chargemesh trust list new`.
#[derive(clap::Args)]
pub(crate) struct NewArgs {
    /// Directory to make; must be new or empty.
    dir: PathBuf,
    /// Name of the network that the list is for.
    #[arg(long)]
    network: String,
    /// Days until the list has to be signed anew.
    #[arg(long, default_value_t = LIST_DAYS, value_parser = clap::value_parser!(u64).range(1..=LIST_DAYS_MAX))]
    days: u64,
}

/// The list to change.
#[derive(clap::Args)]
struct Target {
    /// The list: its file, or the directory that `trust list new` made.
    list: PathBuf,
    /// Key file that signs the list; trust.key beside it if not given.
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
}

/// Arguments of `chargemesh trust list add`.
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    target: Target,
    /// The issuer: its .pub file, or its public key (chargemesh-issuer-pub-1:...).
    issuer: String,
    /// Name of the issuer; that in the .pub file if not given.
    #[arg(long)]
    name: Option<String>,
    /// How much its word counts: of registrars one suffices, of attesters two are needed.
    #[arg(long, value_parser = class)]
    class: IssuerClass,
    /// For which country and role, as in CH:CPO,DE:EMP; * stands for every country, as in *:EMP.
    #[arg(long = "for", value_name = "COUNTRY:ROLE,...", value_delimiter = ',', required = true, value_parser = grant)]
    grants: Vec<IssuerGrant>,
}

/// Arguments of `chargemesh trust list remove`.
#[derive(clap::Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    target: Target,
    /// The issuer: its .pub file, or its public key.
    issuer: String,
}

/// Arguments of `chargemesh trust list sign`.
#[derive(clap::Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    target: Target,
    /// Days until the list has to be signed anew.
    #[arg(long, default_value_t = LIST_DAYS, value_parser = clap::value_parser!(u64).range(1..=LIST_DAYS_MAX))]
    days: u64,
}

/// Arguments of `chargemesh trust list show`.
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The list, also a node's pins: the file, or the directory of `trust list new`.
    list: PathBuf,
}

/// Does what the command says.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New(args) => new(args)?,
        Command::Add(args) => add(args)?,
        Command::Remove(args) => remove(args)?,
        Command::Sign(args) => sign(args)?,
        Command::Show(args) => show(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn new(args: &NewArgs) -> anyhow::Result<()> {
    files::check_empty(&args.dir)?;
    let key = random_key()?;
    let valid_until_unix_s = now_unix_s() + args.days * DAY_S;
    let list = TrustList { issuers: Vec::new(), pins: Vec::new(), seq: 1, valid_until_unix_s };
    let bytes = list.issue(&args.network, &key).context("the list cannot be signed")?;
    let new = [
        key_file(TRUST_KEY, &key, KeyPurpose::Trust, "signs the list; keep it and a copy offline"),
        NewFile { name: LIST, content: bytes.into(), secret: false, what: "the list, empty".to_owned() },
    ];
    files::write(&args.dir, &new)?;
    println!(
        "Made {}: a trust list of the network `{}`\n{}",
        args.dir.display(),
        args.network,
        files::listed(&new)
    );
    println!(
        "Nodes believe it if their settings name its signer:\n  {}",
        key.public().to_text(KeyPurpose::Trust)
    );
    let dir = shell(&args.dir);
    println!("Next:\n  chargemesh trust list add {dir} ISSUER.pub --class registrar --for 'CH:CPO,*:EMP'");
    Ok(())
}

fn add(args: &AddArgs) -> anyhow::Result<()> {
    let mut open = Open::of(&args.target)?;
    let (key, found) = public_of(&args.issuer)?;
    ensure!(
        open.list.issuer(key.as_bytes()).is_none(),
        "this issuer is in the list: `trust list remove` it first, to change it"
    );
    let name = args.name.clone().unwrap_or(found);
    ensure!(!name.trim().is_empty(), "what is the issuer called? --name, or the .pub file");
    let grants: BTreeSet<IssuerGrant> = args.grants.iter().cloned().collect();
    open.list.issuers.push(Issuer { key, name, class: args.class, grants });
    open.write(None)
}

fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let mut open = Open::of(&args.target)?;
    let (key, _) = public_of(&args.issuer)?;
    let before = open.list.issuers.len();
    open.list.issuers.retain(|issuer| issuer.key != key);
    ensure!(open.list.issuers.len() < before, "this issuer is not in {}", open.file.display());
    open.write(None)
}

fn sign(args: &SignArgs) -> anyhow::Result<()> {
    Open::of(&args.target)?.write(Some(now_unix_s() + args.days * DAY_S))
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let (network, signer, list) = read(&file_of(&args.list))?;
    let text = text_of(&network, &signer, &list);
    Ok(print(&text)?)
}

/// A list that is being changed.
struct Open {
    file: PathBuf,
    network: String,
    key: SecretKey,
    list: TrustList,
}

impl Open {
    fn of(target: &Target) -> anyhow::Result<Open> {
        let file = file_of(&target.list);
        let beside = file.parent().unwrap_or(Path::new("")).join(TRUST_KEY);
        let key = keys::read(target.key.as_ref().unwrap_or(&beside), KeyPurpose::Trust)
            .context("the trust key signs each version: name its file with --key")?;
        let (network, signer, list) = read(&file)?;
        ensure!(signer == key.public(), "{} was signed by another key than this one", file.display());
        Ok(Open { file, network, key, list })
    }

    /// Signs the next version and puts it in the place of the last.
    fn write(mut self, valid_until_unix_s: Option<u64>) -> anyhow::Result<()> {
        self.list.seq += 1;
        self.list.valid_until_unix_s = valid_until_unix_s.unwrap_or(self.list.valid_until_unix_s);
        let bytes = self.list.issue(&self.network, &self.key).context("the list cannot be signed")?;
        files::replace(&self.file, &bytes)?;
        Ok(print(&text_of(&self.network, &self.key.public(), &self.list))?)
    }
}

pub(crate) fn file_of(list: &Path) -> PathBuf {
    if list.is_dir() { list.join(LIST) } else { list.to_owned() }
}

/// A list that holds in itself; whether its signer is the right one is for the reader to say.
pub(crate) fn read(file: &Path) -> anyhow::Result<(String, PublicKey, TrustList)> {
    let bytes = files::read(file, SIGNED_FILE_BYTES_MAX)?;
    let context = || format!("{} is no trust list that holds", file.display());
    let header = peek(&bytes).with_context(context)?;
    ensure!(header.purpose == Purpose::TrustList, "{} is a {}", file.display(), header.purpose.tag());
    let signer = PublicKey::from_bytes(&header.signer).with_context(context)?;
    let list = TrustList::open(&bytes, &header.network, &signer).with_context(context)?;
    Ok((header.network, signer, list))
}

fn text_of(network: &str, signer: &PublicKey, list: &TrustList) -> String {
    let until = day(list.valid_until_unix_s);
    let mut text =
        format!("Trust list of the network `{network}`, version {}, valid until {until}\n", list.seq);
    text.push_str(&format!("  signed by  {}\n", signer.to_text(KeyPurpose::Trust)));
    for issuer in &list.issuers {
        let class = match issuer.class {
            IssuerClass::Registrar => "registrar",
            IssuerClass::Attester => "attester",
        };
        let grants: Vec<String> =
            issuer.grants.iter().map(|grant| format!("{}:{}", grant.country, grant.role)).collect();
        let name = shown(&issuer.name, NAME_CHARACTERS_MAX);
        text.push_str(&format!("{class} {name} for {}\n", grants.join(",")));
        text.push_str(&format!("  key        {}\n", issuer.key.to_text(KeyPurpose::Issuer)));
    }
    for pin in &list.pins {
        let subs: Vec<_> = pin.sub_ids.iter().cloned().collect();
        text.push_str(&format!("pin {}, further ids: {}\n", pin.party, ids(&subs)));
        text.push_str(&format!("  six words  {}\n", fingerprint::words(&pin.org_key, &pin.party).join(" ")));
    }
    if list.issuers.is_empty() && list.pins.is_empty() {
        text.push_str("nobody is believed\n");
    }
    text
}

fn class(text: &str) -> Result<IssuerClass, String> {
    match text {
        "registrar" => Ok(IssuerClass::Registrar),
        "attester" => Ok(IssuerClass::Attester),
        _ => Err("write registrar or attester".to_owned()),
    }
}

fn grant(text: &str) -> Result<IssuerGrant, String> {
    let (country, role) = text.trim().split_once(':').ok_or("write COUNTRY:ROLE, as in CH:CPO or *:EMP")?;
    let role = Role::parse(role).map_err(|error| error.to_string())?;
    Ok(IssuerGrant { country: country.to_owned(), role })
}

fn now_unix_s() -> u64 {
    SystemClock::start().now().unix_s()
}
