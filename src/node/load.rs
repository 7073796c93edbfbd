//! From the settings to what a node is: reads the key files, the trust list and what was signed for the
//! parties, and checks all of it before anything is opened.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Identity, NodeError, Settings};
use crate::config::{Config, PartyConfig};
use crate::identity::{Chain, IdError, KeyError, KeyPurpose, PublicKey, SealError, SecretKey, TrustList};

/// Largest key file in bytes: a key line has 73, the rest is room for white space.
const KEY_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Largest signed file in bytes: the limit of a trust list, the largest of them.
const SIGNED_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why the files that the settings name cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {source}. Does `{key}` name the right file? `chargemesh init` makes it", .file.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The setting that names it.
        key: String,
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is larger than what it should hold can be.
    #[error("the {what} {} has more than {bytes_max} bytes: `{key}` names another kind of file", .file.display())]
    TooLarge {
        /// What should be in it.
        what: &'static str,
        /// The setting that names it.
        key: String,
        /// The file.
        file: PathBuf,
        /// Limit in bytes.
        bytes_max: u64,
    },
    /// A key file holds no key, or another one.
    #[error("the {what} {} (`{key}`) is not usable: {source}", .file.display())]
    Key {
        /// What should be in it.
        what: &'static str,
        /// The setting that names it.
        key: String,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The trust list's signer is no public key.
    #[error("`node.trust_signer` is not usable: {source}. `chargemesh init` prints it beside the trust list")]
    TrustSigner {
        /// What is wrong.
        source: KeyError,
    },
    /// A node with a party has to believe somebody.
    #[error(
        "`node.trust_signer` is empty, so this node believes nobody, not even its own parties: set it to the \
         key (chargemesh-trust-pub-1:...) that signed the trust list"
    )]
    NobodyTrusted,
    /// The trust list does not hold.
    #[error(
        "the trust list {} does not hold: {source}. It has to be made for the network `{network}` and signed by \
         `node.trust_signer`: install the right list or correct the setting",
        .file.display()
    )]
    TrustList {
        /// The file.
        file: PathBuf,
        /// The network of the settings.
        network: String,
        /// What is wrong.
        source: SealError,
    },
    /// The node's own pins do not hold.
    #[error(
        "the pins {} do not hold: {source}. They have to be made for the network `{network}` and signed by \
         this node's key: pin anew with `chargemesh party pin`, or restore the file",
        .file.display()
    )]
    Pins {
        /// The file.
        file: PathBuf,
        /// The network of the settings.
        network: String,
        /// What is wrong.
        source: SealError,
    },
    /// A party's id cannot be read.
    #[error("`{key}`: {source}; write ROLE:ID, for example CPO:DE*ABC")]
    Party {
        /// The setting.
        key: String,
        /// What is wrong.
        source: IdError,
    },
}

/// Reads every file that the settings name and makes of them what [`Node::start`](super::Node::start) needs.
/// Warns in the log about a key file that others can read, and about a node that believes nobody.
///
/// # Errors
/// [`NodeError::Load`] names file and setting; [`NodeError::Credential`] and [`NodeError::Delegation`] if
/// what was signed for a party does not hold at `now_unix_s`.
pub fn load(config: &Config, now_unix_s: u64) -> Result<(Settings, Identity), NodeError> {
    let node_key = secret("node key", "node.key", &config.node.key, KeyPurpose::Node)?;
    let trust = trust_list(config, &node_key.public())?;
    let mut identity = Identity::without_party(*node_key.seed(), trust);
    identity.trust_signer = trust_signer(config)?;
    for (index, party) in config.parties.iter().enumerate() {
        add_party(&mut identity, &config.mesh.network, index, party, now_unix_s)?;
    }
    Ok((settings(config), identity))
}

/// What of the settings a node takes as it stands in the file.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    Settings {
        mesh: config.mesh.clone(),
        storage: config.storage.clone(),
        replication: config.replication.clone(),
        policy: config.policy.clone(),
        visibility: config.visibility.clone(),
        charging: config.charging.clone(),
        outbound: config.outbound.clone(),
        hub: config.hub.clone(),
        // A bootstrap node has nothing that a backend could ask for.
        facade: (!config.mesh.bootstrap_only).then(|| config.facade.clone()),
    }
}

/// The list that the settings name, with the node's own pins over it.
fn trust_list(config: &Config, node_key: &PublicKey) -> Result<TrustList, LoadError> {
    let pins = own_pins(config, node_key)?;
    let Some(signer) = trust_signer(config)? else {
        if let Some(pins) = pins {
            return Ok(TrustList { issuers: Vec::new(), ..pins });
        }
        if !config.parties.is_empty() {
            return Err(LoadError::NobodyTrusted);
        }
        tracing::warn!(
            "`node.trust_signer` is empty: this node believes nobody and will hold no party's address or feed"
        );
        let nobody = (Vec::new(), Vec::new());
        return Ok(TrustList { issuers: nobody.0, pins: nobody.1, seq: 0, valid_until_unix_s: u64::MAX });
    };
    let file = &config.node.trust;
    let bytes = read("trust list", "node.trust", file, SIGNED_FILE_BYTES_MAX)?;
    let list = TrustList::open(&bytes, &config.mesh.network, &signer).map_err(|source| {
        LoadError::TrustList { file: file.clone(), network: config.mesh.network.clone(), source }
    })?;
    Ok(list.with_pins(pins.map(|pins| pins.pins).unwrap_or_default()))
}

/// Who has to have signed the trust list; none: there is no list.
fn trust_signer(config: &Config) -> Result<Option<PublicKey>, LoadError> {
    let signer = config.node.trust_signer.trim();
    let key = (!signer.is_empty()).then(|| PublicKey::from_text(KeyPurpose::Trust, signer)).transpose();
    key.map_err(|source| LoadError::TrustSigner { source })
}

/// The pins that the operator of this node set, if there are any.
fn own_pins(config: &Config, node_key: &PublicKey) -> Result<Option<TrustList>, LoadError> {
    let file = &config.node.pins;
    if !file.exists() {
        return Ok(None);
    }
    let bytes = read("pins", "node.pins", file, SIGNED_FILE_BYTES_MAX)?;
    let pins = TrustList::open(&bytes, &config.mesh.network, node_key);
    pins.map(Some).map_err(|source| LoadError::Pins {
        file: file.clone(),
        network: config.mesh.network.clone(),
        source,
    })
}

fn add_party(
    identity: &mut Identity,
    network: &str,
    index: usize,
    config: &PartyConfig,
    now_unix_s: u64,
) -> Result<(), NodeError> {
    let key = |name: &str| format!("parties[{index}].{name}");
    let party = config.party().map_err(|source| LoadError::Party { key: key("id"), source })?;
    let message_key = secret("message key", &key("message_key"), &config.message_key, KeyPurpose::Message)?;
    let signed = |what, name: &str, file: &Path| read(what, &key(name), file, SIGNED_FILE_BYTES_MAX);
    let chain = Chain {
        credential: signed("credential", "credential", &config.credential)?.to_vec(),
        delegation: signed("delegation", "delegation", &config.delegation)?.to_vec(),
    };
    identity.add_party(network, party, &config.name, chain, message_key, now_unix_s)
}

fn secret(what: &'static str, key: &str, file: &Path, purpose: KeyPurpose) -> Result<SecretKey, LoadError> {
    let bytes = read(what, key, file, KEY_FILE_BYTES_MAX)?;
    warn_if_open(what, file);
    // Bytes that are not UTF-8 are no key line either: the empty text finds the words for it.
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    SecretKey::from_text(purpose, text).map_err(|source| LoadError::Key {
        what,
        key: key.to_owned(),
        file: file.to_owned(),
        source,
    })
}

fn read(what: &'static str, key: &str, file: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(file).and_then(|open| open.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(|source| {
        LoadError::Unreadable { what, key: key.to_owned(), file: file.to_owned(), source }
    })?;
    if bytes.len() as u64 > bytes_max {
        return Err(LoadError::TooLarge { what, key: key.to_owned(), file: file.to_owned(), bytes_max });
    }
    Ok(bytes)
}

/// A key that others can read is a key that others have.
#[cfg(unix)]
fn warn_if_open(what: &str, file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHERS: u32 = 0o077;
    let mode = std::fs::metadata(file).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & OTHERS != 0) {
        let file = file.display();
        tracing::warn!(%file, "the {what} can be read by others on this machine: chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_what: &str, _file: &Path) {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::{PartyId, Pin};

    fn config(directory: &Path) -> Config {
        let mut config = Config::default();
        config.resolve_paths(directory);
        config
    }

    fn refused(config: &Config) -> String {
        load(config, 1_800_000_000).err().unwrap().to_string()
    }

    #[test]
    fn every_missing_or_wrong_file_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("keys/trust")).unwrap();
        let mut config = config(dir.path());
        let said = refused(&config);
        assert!(said.contains("keys/node.key") && said.contains("chargemesh init"), "{said}");

        let org = SecretKey::from_seed(&[1; 32]).to_text(KeyPurpose::Org);
        std::fs::write(&config.node.key, org.as_bytes()).unwrap();
        let said = refused(&config);
        assert!(said.contains("use the right key file"), "{said}");

        std::fs::write(&config.node.key, vec![b'x'; 5_000]).unwrap();
        assert!(refused(&config).contains("more than 4096 bytes"));

        let node = SecretKey::from_seed(&[1; 32]).to_text(KeyPurpose::Node);
        std::fs::write(&config.node.key, node.as_bytes()).unwrap();
        assert!(load(&config, 1_800_000_000).is_ok(), "a node without party that believes nobody");

        config.node.trust_signer = "chargemesh-trust-pub-1:short".into();
        assert!(refused(&config).contains("node.trust_signer"));

        let (right, wrong) = (SecretKey::from_seed(&[2; 32]), SecretKey::from_seed(&[3; 32]));
        let list = TrustList { issuers: vec![], pins: vec![], seq: 1, valid_until_unix_s: 2_000_000_000 };
        std::fs::write(&config.node.trust, list.issue("local", &wrong).unwrap()).unwrap();
        config.node.trust_signer = right.public().to_text(KeyPurpose::Trust);
        let said = refused(&config);
        assert!(said.contains("trust.cbor") && said.contains("`local`"), "{said}");

        std::fs::write(&config.node.trust, list.issue("local", &right).unwrap()).unwrap();
        assert!(load(&config, 1_800_000_000).is_ok());
    }

    #[test]
    fn own_pins_count_with_and_without_a_trust_list_and_only_if_this_node_signed_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("keys/trust")).unwrap();
        let mut config = config(dir.path());
        let (node, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let party = PartyId::parse("CPO:DEABC").unwrap();
        let pinned = |key: &SecretKey, org: u8, until: u64| {
            let org_key = SecretKey::from_seed(&[org; 32]).public();
            let pins = vec![Pin { party: party.clone(), org_key, sub_ids: BTreeSet::new() }];
            let list = TrustList { issuers: vec![], pins, seq: 1, valid_until_unix_s: until };
            (list.issue("local", key).unwrap(), org_key)
        };
        let believed = |config: &Config| {
            trust_list(config, &node.public()).map(|list| (list.pin(&party).unwrap().org_key, list))
        };
        std::fs::write(&config.node.pins, pinned(&other, 3, 9).0).unwrap();
        let said = believed(&config).unwrap_err().to_string();
        assert!(said.contains("pins.cose") && said.contains("this node's key"), "{said}");
        let (bytes, own) = pinned(&node, 4, 2_000_000_000);
        std::fs::write(&config.node.pins, bytes).unwrap();
        assert_eq!(believed(&config).unwrap().0, own);

        config.node.trust_signer = other.public().to_text(KeyPurpose::Trust);
        std::fs::write(&config.node.trust, pinned(&other, 3, 9).0).unwrap();
        let (key, list) = believed(&config).unwrap();
        assert_eq!((key, list.pins.len(), list.valid_until_unix_s), (own, 1, 9), "own pins go over others'");
    }

    #[test]
    fn a_party_needs_somebody_who_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("keys")).unwrap();
        let mut config = config(dir.path());
        let node = SecretKey::from_seed(&[1; 32]).to_text(KeyPurpose::Node);
        std::fs::write(&config.node.key, node.as_bytes()).unwrap();
        config.parties.push(PartyConfig {
            id: "CPO:DE*ABC".into(),
            name: "ABC".into(),
            message_key: "m".into(),
            credential: "c".into(),
            delegation: "d".into(),
        });
        assert!(refused(&config).contains("believes nobody"));
    }
}
