//! A running node takes another trust list, other delegations, other message keys and another policy.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use chargemesh::config::Config;
use chargemesh::engine::Clock;
use chargemesh::facade::TlsConfig;
use chargemesh::hub::HubConfig;
use chargemesh::node::{self, Node, Settings};
use chargemesh::outbound::BackendTarget;

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
            Ok(0) => {
                tracing::info!(why, "trust list, delegations, keys, certificates and policy were loaded anew")
            }
            Ok(broken) => tracing::warn!(
                why,
                broken,
                "trust list, delegations, message keys and policy were loaded anew, of certificates and their keys only \
                 those of which nothing is said above"
            ),
            Err(error) => tracing::error!(why, "what was loaded anew does not hold: {error:#}"),
        }
        self.ends.warn(self.clock.now().unix_s());
    }

    /// Gives how many certificates or keys could not be used; each was said.
    async fn try_take(&mut self, node: &Node) -> anyhow::Result<usize> {
        let config = self.read().context("the node goes on with what it had")?;
        let files = Files::of(&self.args.config, &config);
        // Apart from the others: what is wrong with one of them keeps none of them from being taken.
        let broken = node.reload_certificates(&node::settings(&config));
        for error in &broken {
            tracing::error!(%error, "a certificate or key cannot be used, the node goes on with what it had");
        }
        // Certificates were taken before.
        let kept = "the node goes on with the trust list, delegations, message keys and policy that it had";
        let (settings, identity) = node::load(&config, self.clock.now().unix_s()).context(kept)?;
        node.reload(identity.clone()).await.context(kept)?;
        if settings.policy != self.running.policy {
            let kept = "the node goes on with the policy that it had";
            node.reload_policy(settings.policy.clone()).await.context(kept)?;
            let rules = settings.policy.rules.len();
            tracing::info!(rules, "another policy decides from now on; what runs goes on");
            self.running.policy = settings.policy.clone();
        }
        // Those that cannot be used need another file, and no restart.
        took_certificates(&mut self.running, &settings);
        let waiting = need_a_restart(&self.running, &settings);
        if !waiting.is_empty() {
            tracing::warn!(
                sections = waiting.join(", "),
                "these settings changed and need a restart of the node"
            );
        }
        self.files = files;
        self.ends.replace(&identity, &node.certificates());
        Ok(broken.len())
    }

    fn read(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.args.config, &overrides(self.args))?;
        let (network, runs_in) = (&config.mesh.network, &self.running.mesh.network);
        ensure!(
            network == runs_in,
            "`mesh.network` is `{network}` now, and the node runs in `{runs_in}`: that needs a restart"
        );
        Ok(config)
    }
}

/// Which files and fingerprints are used is taken without a restart, as far as nothing else of the backend changed.
fn took_certificates(running: &mut Settings, now: &Settings) {
    if let (Some(running), Some(now)) = (&mut running.facade, &now.facade) {
        for (backend, now) in running.backends.iter_mut().zip(&now.backends) {
            backend.certificates.clone_from(&now.certificates);
        }
        let handshake_timeout_ms = running.tls.handshake_timeout_ms;
        running.tls = TlsConfig { handshake_timeout_ms, ..now.tls.clone() };
    }
    for backend in &mut running.outbound.backends {
        let same = |now: &&BackendTarget| now.party == backend.party && now.url == backend.url;
        if let Some(now) = now.outbound.backends.iter().find(same) {
            let BackendTarget { ca, certificate, key, .. } = now.clone();
            *backend = BackendTarget { ca, certificate, key, ..backend.clone() };
        }
    }
    if running.hub.url == now.hub.url {
        let HubConfig { ca, certificate, key, .. } = now.hub.clone();
        running.hub = HubConfig { ca, certificate, key, ..running.hub.clone() };
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
        let (mut running, mut now) = (running, now);
        running.facade = Some(Default::default());
        now.facade = Some(Default::default());
        now.facade.as_mut().unwrap().tls.certificate = "another.pem".into();
        assert_eq!(need_a_restart(&running, &now), ["[facade]"]);
        took_certificates(&mut running, &now);
        assert!(need_a_restart(&running, &now).is_empty(), "files are read again");
        now.facade.as_mut().unwrap().connections_max += 1;
        took_certificates(&mut running, &now);
        assert_eq!(need_a_restart(&running, &now), ["[facade]"]);
        now.facade = running.facade.clone();
        now.hub.certificate = "another.pem".into();
        assert_eq!(need_a_restart(&running, &now), ["[hub]"]);
        took_certificates(&mut running, &now);
        assert!(need_a_restart(&running, &now).is_empty(), "files are read again");
        now.hub.url = "https://another.example".into();
        now.hub.certificate = "of-another.pem".into();
        took_certificates(&mut running, &now);
        assert_eq!(need_a_restart(&running, &now), ["[hub]"]);
        now.hub = running.hub.clone();
        now.charging.remote_ms += 1;
        now.mesh.peers_target += 1;
        assert_eq!(need_a_restart(&running, &now), ["[mesh]", "[charging]"]);
    }
}
