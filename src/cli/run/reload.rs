//! A running node takes another trust list, other delegations, other message keys and another policy.

use std::sync::Arc;

use anyhow::ensure;
use chargemesh::config::Config;
use chargemesh::engine::Clock;
use chargemesh::node::{self, Node, Settings};

use super::ends::Ends;
use super::files::Files;
use super::{Args, overrides};

/// What is needed to load anew, and what is to be told about what was loaded.
pub(super) struct Loaded<'a> {
    pub(super) args: &'a Args,
    /// The settings that the node runs with.
    pub(super) running: Settings,
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
            Ok(()) => tracing::info!(why, "trust list, delegations, keys and policy were loaded anew"),
            Err(error) => tracing::error!(
                why,
                "what was loaded anew does not hold, the node goes on with what it had: {error:#}"
            ),
        }
        self.ends.warn(self.clock.now().unix_s());
    }

    async fn try_take(&mut self, node: &Node) -> anyhow::Result<()> {
        let config = Config::load(&self.args.config, &overrides(self.args))?;
        let (network, runs_in) = (&config.mesh.network, &self.running.mesh.network);
        ensure!(
            network == runs_in,
            "`mesh.network` is `{network}` now, and the node runs in `{runs_in}`: that needs a restart"
        );
        let files = Files::of(&self.args.config, &config);
        let (settings, identity) = node::load(&config, self.clock.now().unix_s())?;
        node.reload(identity.clone()).await?;
        if settings.policy != self.running.policy {
            node.reload_policy(settings.policy.clone()).await?;
            let rules = settings.policy.rules.len();
            tracing::info!(rules, "another policy decides from now on; what runs goes on");
            self.running.policy = settings.policy.clone();
        }
        let waiting = need_a_restart(&self.running, &settings);
        if !waiting.is_empty() {
            tracing::warn!(
                sections = waiting.join(", "),
                "these settings changed and need a restart of the node"
            );
        }
        self.files = files;
        self.ends.replace(&identity);
        Ok(())
    }
}

/// The sections in which the settings differ from those that the node runs with, by their names in the file.
fn need_a_restart(running: &Settings, now: &Settings) -> Vec<&'static str> {
    let sections = [
        ("[mesh]", running.mesh == now.mesh),
        ("[storage]", running.storage == now.storage),
        ("[replication]", running.replication == now.replication),
        ("[visibility]", running.visibility == now.visibility),
        ("[charging]", running.charging == now.charging),
        ("[outbound]", running.outbound == now.outbound),
        ("[hub]", running.hub == now.hub),
        ("[facade]", running.facade == now.facade),
    ];
    sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chargemesh::roaming::{Rule, Whom};

    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let running = Settings::default();
        assert!(need_a_restart(&running, &running).is_empty());
        let mut now = running.clone();
        let whom = Whom::default();
        now.policy.rules.push(Rule { whom, services: BTreeSet::new(), allow: true });
        assert!(need_a_restart(&running, &now).is_empty(), "that is taken as it is");
        now.charging.remote_ms += 1;
        now.mesh.peers_target += 1;
        assert_eq!(need_a_restart(&running, &now), ["[mesh]", "[charging]"]);
    }
}
