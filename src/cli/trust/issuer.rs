//! `chargemesh trust issuer`: the key that signs credentials, and the line that others put into trust lists.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chargemesh::identity::{KeyPurpose, PublicKey, SecretKey};

use crate::cli::files::{self, NewFile};
use crate::cli::keys::{self, key_file, random_key};
use crate::cli::text::shell;

/// The issuer's secret key.
const ISSUER_KEY: &str = "issuer.key";
/// Its public key and name.
const ISSUER_PUBLIC: &str = "issuer.pub";
/// Longest name in bytes, as in trust lists and credentials.
const NAME_BYTES_MAX: usize = 200;

/// The commands of `chargemesh trust issuer`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make an issuer's key, in a directory of its own.
    New(NewArgs),
    /// Print an issuer's public key and name.
    Show(ShowArgs),
}

/// Arguments of `chargemesh trust issuer new`.
#[derive(clap::Args)]
pub(crate) struct NewArgs {
    /// Directory to make; must be new or empty.
    dir: PathBuf,
    /// Name of the issuer, as trust lists and credentials will show it.
    #[arg(long)]
    name: String,
}

/// Arguments of `chargemesh trust issuer show`.
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The issuer's key file.
    key: PathBuf,
}

/// Does what the command says.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New(args) => new(args),
        Command::Show(args) => show(args),
    }
}

/// The name of the issuer with this key: as typed, else as it stands beside the key file.
pub(super) fn name_of(key_file: &Path, key: &SecretKey, typed: Option<&str>) -> anyhow::Result<String> {
    if let Some(typed) = typed {
        return checked(typed);
    }
    let public = key_file.with_extension("pub");
    ensure!(
        public.exists(),
        "{} is not there, which says the issuer's name: give it with --issuer-name",
        public.display()
    );
    let (line, name) = keys::read_public(&public)?;
    let is_its = PublicKey::from_text(KeyPurpose::Issuer, &line).is_ok_and(|read| read == key.public());
    ensure!(is_its, "{} is not the public half of {}", public.display(), key_file.display());
    checked(&name)
}

fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    files::check_empty(&args.dir)?;
    let name = checked(&args.name)?;
    let key = random_key()?;
    let public = key.public().to_text(KeyPurpose::Issuer);
    let new = [
        key_file(ISSUER_KEY, &key, KeyPurpose::Issuer, "signs credentials; keep it and a copy offline"),
        NewFile {
            name: ISSUER_PUBLIC,
            content: format!("{public} {name}\n").into_bytes().into(),
            secret: false,
            what: "for those who make trust lists".to_owned(),
        },
    ];
    files::write(&args.dir, &new)?;
    println!("Made {}: the issuer {name}\n  {public}\n\n{}", args.dir.display(), files::listed(&new));
    println!("Next, for each request that you have checked:");
    let file = shell(&args.dir.join(ISSUER_KEY));
    println!("  chargemesh trust issue --issuer {file} --request FILE -o credential.cose");
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let key = keys::read(&args.key, KeyPurpose::Issuer)?;
    let name = match args.key.with_extension("pub").exists() {
        true => name_of(&args.key, &key, None)?,
        false => String::new(),
    };
    println!("{} {name}", key.public().to_text(KeyPurpose::Issuer));
    Ok(ExitCode::SUCCESS)
}

fn checked(name: &str) -> anyhow::Result<String> {
    let name = name.trim();
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    ensure!(fits, "an issuer's name has 1 to {NAME_BYTES_MAX} bytes on one line");
    Ok(name.to_owned())
}

/// The issuer that a file of ours names, or the text itself if it is a public key.
pub(super) fn public_of(typed: &str) -> anyhow::Result<(PublicKey, String)> {
    let (line, name) = match Path::new(typed).is_file() {
        true => keys::read_public(Path::new(typed))?,
        false => (typed.to_owned(), String::new()),
    };
    let key = PublicKey::from_text(KeyPurpose::Issuer, &line)
        .with_context(|| format!("{typed:?} is neither an issuer's public key nor a file with one"))?;
    Ok((key, name))
}
