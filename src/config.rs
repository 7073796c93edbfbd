//! The settings of a node: one section per module; file < environment < flags; checked once.
//!
//! Every setting is documented with its unit and reason in `bootstrap/node.toml`, which a test keeps
//! equal to [`Config::default`]. A list of parties and of backends is empty by default.

mod load;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::{IdError, PartyId};

pub use load::{ConfigError, Origin, Override, environment_overrides};

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's own key and whom it believes.
    pub node: NodeConfig,
    /// The mesh: network name, addresses, limits.
    pub mesh: crate::mesh::Config,
    /// Where the databases are, and how much a reader may cost.
    pub storage: crate::storage::Config,
    /// Where backends reach the node, and which of them may do what.
    pub facade: crate::facade::Config,
    /// Whose feeds are held, guard rails, times of repair.
    pub replication: crate::roaming::Config,
    /// Who may do what with our parties.
    pub policy: crate::roaming::Policy,
    /// Who may see what our parties publish.
    pub visibility: crate::roaming::Visibility,
    /// Sessions: times and limits.
    pub charging: crate::roaming::ChargingConfig,
    /// The backends of our parties.
    pub outbound: crate::outbound::Config,
    /// The central hub as one more peer; off by default.
    pub hub: crate::hub::HubConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// The parties that this node speaks for; none makes it a bootstrap node or a mere reader.
    pub parties: Vec<PartyConfig>,
}

/// `[node]`: the node's own key and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// File with the node key (`chargemesh-node-key-1:…`, mode 0600).
    pub key: PathBuf,
    /// File with the signed trust list.
    pub trust: PathBuf,
    /// Public key (`chargemesh-trust-pub-1:…`) that must have signed the trust list. Empty: the node
    /// believes nobody, which only a bootstrap node can work with.
    pub trust_signer: String,
    /// File with this node's own pins, signed by its own key; `chargemesh party pin` writes it. Without the
    /// file there are none.
    pub pins: PathBuf,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            key: "keys/node.key".into(),
            trust: "keys/trust/trust.cbor".into(),
            trust_signer: String::new(),
            pins: "keys/pins.cose".into(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// `[log]`: what is logged and how. Never contains keys; contract and card ids only at `debug` or below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Level, or a filter by module: `info`, `warn,chargemesh::mesh=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { filter: "info".into(), format: LogFormat::Text }
    }
}

/// `[[parties]]`: a party that this node speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyConfig {
    /// Role and main id, in any wire spelling: `CPO:DE*ABC`, `EMP:DE-DCB`.
    pub id: String,
    /// OperatorName or provider name, at most 100 characters (OICP 2.3 `OperatorName`).
    pub name: String,
    /// File with the message key, mode 0600.
    pub message_key: PathBuf,
    /// File with the signed credential.
    pub credential: PathBuf,
    /// File with the signed delegation of this node.
    pub delegation: PathBuf,
}

impl PartyConfig {
    /// The party of [`PartyConfig::id`].
    ///
    /// # Errors
    /// [`IdError`] if it is not `ROLE:ID`.
    pub fn party(&self) -> Result<PartyId, IdError> {
        party(&self.id)
    }
}

/// Reads `ROLE:ID` with the id in any wire spelling.
pub(crate) fn party(text: &str) -> Result<PartyId, IdError> {
    PartyId::parse_written(text)
}

/// Longest operator name in characters (OICP 2.3 `OperatorName`).
const NAME_CHARACTERS_MAX: usize = 100;

impl Config {
    /// Reads a file, puts environment and flags over it, makes its paths absolute against the file's
    /// directory, and checks everything that can be checked without touching anything else.
    ///
    /// # Errors
    /// [`ConfigError`] names file and line, or the variable or flag, and says what to do.
    pub fn load(file: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        let mut config = load::parse(&text, &file.display().to_string(), overrides)?;
        config.resolve_paths(file.parent().unwrap_or(Path::new("")));
        config.check()?;
        Ok(config)
    }

    /// Makes relative paths relative to `directory`, where the configuration file lies.
    pub fn resolve_paths(&mut self, directory: &Path) {
        let node =
            [&mut self.node.key, &mut self.node.trust, &mut self.node.pins, &mut self.storage.data_dir];
        let parties = (self.parties.iter_mut())
            .flat_map(|party| [&mut party.message_key, &mut party.credential, &mut party.delegation]);
        for path in node.into_iter().chain(parties) {
            *path = directory.join(&*path);
        }
        for path in [&mut self.hub.certificate, &mut self.hub.key, &mut self.hub.ca] {
            // Empty means none.
            if !path.as_os_str().is_empty() {
                *path = directory.join(&*path);
            }
        }
        // An empty path is none.
        let backends = (self.outbound.backends.iter_mut())
            .flat_map(|backend| [&mut backend.ca, &mut backend.certificate, &mut backend.key]);
        let tls = &mut self.facade.tls;
        let facade = [&mut tls.certificate, &mut tls.key, &mut tls.client_ca];
        for path in backends.chain(facade).filter(|path| !path.as_os_str().is_empty()) {
            *path = directory.join(&*path);
        }
    }

    /// Checks what holds between settings; each module checks its own section when it starts.
    ///
    /// # Errors
    /// [`ConfigError::Rule`] with the key, the rule and what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: String, rule: String| Err(ConfigError::Rule { key, rule });
        let mut known = BTreeSet::new();
        for (index, party) in self.parties.iter().enumerate() {
            let key = format!("parties[{index}].id");
            match party.party() {
                Ok(id) if !known.insert(id.clone()) => {
                    return wrong(key, format!("{id} is configured twice: keep one of them"));
                }
                Ok(_) => {}
                Err(error) => {
                    return wrong(key, format!("{error}; write ROLE:ID, for example CPO:DE*ABC"));
                }
            }
            if party.name.chars().count() > NAME_CHARACTERS_MAX {
                let rule = format!("longer than {NAME_CHARACTERS_MAX} characters (OICP OperatorName)");
                return wrong(format!("parties[{index}].name"), rule);
            }
        }
        if let Err((key, rule)) = self.hub.check(&known) {
            return wrong(key, rule);
        }
        for (index, backend) in self.facade.backends.iter().enumerate() {
            if let Some(rule) = self.hub.refuses(backend.hub, &backend.parties) {
                return wrong(format!("facade.backend[{index}].hub"), rule);
            }
            for name in &backend.parties {
                let key = format!("facade.backend[{index}].parties");
                match party(name) {
                    Ok(id) if known.contains(&id) => {}
                    Ok(id) => {
                        return wrong(
                            key,
                            format!("{id} is no party of this node: add it under [[parties]]"),
                        );
                    }
                    Err(error) => return wrong(key, format!("{name:?}: {error}")),
                }
            }
        }
        if self.policy.rules.len() > crate::roaming::POLICY_RULES_MAX {
            let rule = format!(
                "more than {} rules: put country or role in the place of parties",
                crate::roaming::POLICY_RULES_MAX
            );
            return wrong("policy.rule".into(), rule);
        }
        if self.visibility.rules.len() > crate::roaming::VISIBILITY_RULES_MAX {
            let rule =
                format!("more than {} rules: name more EVSEs in each", crate::roaming::VISIBILITY_RULES_MAX);
            return wrong("visibility.rule".into(), rule);
        }
        if self.mesh.bootstrap_only && !self.parties.is_empty() {
            let rule = "a bootstrap node carries no party: remove [[parties]] or set it to false";
            return wrong("mesh.bootstrap_only".into(), rule.into());
        }
        Ok(())
    }
}
