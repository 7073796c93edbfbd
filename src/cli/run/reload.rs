//! A running node takes another trust list, other delegations and other message keys.

use std::sync::Arc;

use anyhow::ensure;
use chargemesh::config::Config;
use chargemesh::engine::Clock;
use chargemesh::node::{self, Node};

use super::ends::Ends;
use super::files::Files;
use super::{Args, overrides};

/// What is needed to load anew, and what is to be told about what was loaded.
pub(super) struct Loaded<'a> {
    pub(super) args: &'a Args,
    pub(super) network: &'a str,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) files: Files,
    pub(super) ends: Ends,
}

impl Loaded<'_> {
    /// Looks whether the files have changed, and takes them if so.
    pub(super) async fn look(&mut self, node: &Node) {
        let changed: Vec<String> =
            self.files.changed().into_iter().map(|file| file.display().to_string()).collect();
        if !changed.is_empty() {
            self.take(node, &changed.join(", ")).await;
        }
    }

    /// Takes what the settings name now. If it does not hold, the node goes on with what it has.
    pub(super) async fn take(&mut self, node: &Node, why: &str) {
        match self.try_take(node).await {
            Ok(()) => tracing::info!(why, "trust list, delegations and keys were loaded anew"),
            Err(error) => tracing::error!(
                why,
                "what was loaded anew does not hold, the node goes on with what it had: {error:#}"
            ),
        }
        self.ends.warn(self.clock.now().unix_s());
    }

    async fn try_take(&mut self, node: &Node) -> anyhow::Result<()> {
        let config = Config::load(&self.args.config, &overrides(self.args))?;
        let network = &config.mesh.network;
        ensure!(
            network == self.network,
            "`mesh.network` is `{network}` now, and the node runs in `{}`: that needs a restart",
            self.network
        );
        let files = Files::of(&config);
        let (_, identity) = node::load(&config, self.clock.now().unix_s())?;
        node.reload(identity.clone()).await?;
        self.files = files;
        self.ends.replace(&identity);
        Ok(())
    }
}
