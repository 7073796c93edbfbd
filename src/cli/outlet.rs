//! Where a signed object goes: into a file, to a running node that tells everybody, or both.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::outbound::Received;

use super::reach::node_client;
use super::text::{shell, shown};
use super::{block_on, files};

/// Characters shown of what a node says; it may say 1000 (OICP AdditionalInfo).
const SAID_CHARACTERS_MAX: usize = 1000;

/// Where to put what was signed.
#[derive(clap::Args)]
pub(super) struct Outlet {
    /// File to make.
    #[arg(short, long, value_name = "FILE", required_unless_present = "node")]
    output: Option<PathBuf>,
    /// Hand it at once to the running node with this base URL: it takes it in and tells everybody.
    #[arg(long, value_name = "URL")]
    node: Option<String>,
    /// Key of the node's admin API (`facade.admin_key`), if it asks for one.
    #[arg(long, value_name = "KEY", env = "CHARGEMESH_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
}

impl Outlet {
    /// Says no to a file that is there, before anything is signed.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let taken = self.output.as_ref().filter(|file| file.exists());
        ensure!(
            taken.is_none(),
            "{} is there already, and nothing is ever overwritten",
            taken.map(|file| file.display().to_string()).unwrap_or_default()
        );
        Ok(())
    }

    /// What the node that will get it answers to a question of the admin API; `None` if no node gets it.
    pub(super) fn asked(&self, path: &str) -> anyhow::Result<Option<Received>> {
        let Some(node) = &self.node else { return Ok(None) };
        block_on(async {
            let client = node_client(node, None)?.with_admin_key(self.admin_key.as_deref());
            let answer = client.get(path).await?;
            ensure!(
                answer.http_status == 200,
                "{node} answered with HTTP {}: give its admin key with --admin-key, or another --node",
                answer.http_status
            );
            Ok(Some(answer))
        })
    }

    /// Writes it and hands it in.
    pub(super) fn deliver(&self, object: Vec<u8>, what: &str) -> anyhow::Result<ExitCode> {
        if let Some(file) = &self.output {
            files::write_new(file, &object)?;
            println!("Made {}: {what}", file.display());
        }
        let Some(node) = &self.node else {
            let file = self.output.as_deref().unwrap_or(Path::new("FILE"));
            println!("Next: chargemesh trust submit {} --node URL", shell(file));
            return Ok(ExitCode::SUCCESS);
        };
        if self.output.is_none() {
            println!("Signed: {what}");
        }
        hand_in(node, self.admin_key.as_deref(), object)
    }
}

/// Hands a signed object to a running node.
///
/// # Errors
/// The node cannot be reached, or refuses it.
pub(super) fn hand_in(node: &str, admin_key: Option<&str>, object: Vec<u8>) -> anyhow::Result<ExitCode> {
    block_on(async {
        let client = node_client(node, None)?.with_admin_key(admin_key);
        let answer = client.hand_in(object.into()).await.context("the object was not handed in")?;
        let status = &answer.status;
        let parts = [status.description.as_deref(), status.additional_info.as_deref()];
        let text: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let said = shown(&text.join(": "), SAID_CHARACTERS_MAX);
        if !answer.result {
            bail!("{node} refuses it with {}: {said}", status.code);
        }
        println!("{node}: {said}");
        Ok(ExitCode::SUCCESS)
    })
}
