//! `chargemesh trust submit`: a signed object to a running node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chargemesh::identity::peek;

use crate::cli::files::{self, SIGNED_FILE_BYTES_MAX};
use crate::cli::outlet::hand_in;

/// Arguments of `chargemesh trust submit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A tombstone, rotation, status list, grant or credential.
    file: PathBuf,
    /// Base URL of the node's facade, as `chargemesh run` prints it.
    #[arg(long, value_name = "URL", env = "CHARGEMESH_NODE", default_value = "http://127.0.0.1:8080")]
    node: String,
    /// Key of the admin API (`facade.admin_key`), if the node asks for one.
    #[arg(long, value_name = "KEY", env = "CHARGEMESH_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
}

/// Hands it in.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = files::read(&args.file, SIGNED_FILE_BYTES_MAX)?;
    let header = peek(&bytes).with_context(|| format!("{} is no signed object", args.file.display()))?;
    println!("{}: a {} for the network `{}`", args.file.display(), header.purpose.tag(), header.network);
    hand_in(&args.node, args.admin_key.as_deref(), bytes)
}
