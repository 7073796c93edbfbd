//! Whom a new node believes and who vouches for it: an issuer made for a network of one's own, or one
//! that exists.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::Config;
use chargemesh::identity::{
    Issuer, IssuerClass, IssuerGrant, KeyPurpose, PublicKey, Purpose, Role, SecretKey, TrustList, peek,
};

use super::Args;
use crate::cli::addresses::{is_dialable, with_peer_id};
use crate::cli::files::{ISSUER_KEY, SETTINGS, SIGNED_FILE_BYTES_MAX, read};
use crate::cli::keys::{self, peer_id, random_key};
use crate::cli::text::DAY_S;

/// How long the trust list of an own network is valid, in days. Only its maker could prolong it, and a
/// network of one's own should outlive its first credentials.
const TRUST_LIST_DAYS: u64 = 10 * 365;

/// The country that stands for all.
const EVERY_COUNTRY: &str = "*";

/// The network when nothing else says it.
const NETWORK_DEFAULT: &str = "local";

/// Who vouches, whom the node believes, and in which network.
pub(super) struct Authority {
    pub(super) network: String,
    /// Absent where only a trust list was given, which is enough for a bootstrap node.
    pub(super) issuer: Option<SecretKey>,
    pub(super) issuer_name: String,
    pub(super) trust: TrustList,
    pub(super) trust_list: Vec<u8>,
    pub(super) trust_signer: PublicKey,
    /// Signs trust lists; only there if both were made just now.
    pub(super) new_trust_key: Option<SecretKey>,
    /// Addresses of the network's nodes that are known from `--join`.
    pub(super) bootstrap: Vec<String>,
}

impl Authority {
    /// What the flags ask for.
    pub(super) fn of(args: &Args, now_unix_s: u64) -> anyhow::Result<Authority> {
        if let Some(directory) = &args.join {
            return Authority::joined(directory, args);
        }
        match (&args.trust_list, &args.issuer) {
            (Some(list), issuer) => Authority::existing(list, issuer.as_deref(), args),
            (None, Some(_)) => {
                bail!("--issuer needs --trust-list: which list says that this issuer is believed?")
            }
            (None, None) => Authority::new(args, now_unix_s),
        }
    }

    fn new(args: &Args, now_unix_s: u64) -> anyhow::Result<Authority> {
        let network = args.network.clone().unwrap_or_else(|| NETWORK_DEFAULT.to_owned());
        let (issuer, trust_key) = (random_key()?, random_key()?);
        let issuer_name = format!("issuer of {network}");
        let everything =
            Role::ALL.into_iter().map(|role| IssuerGrant { country: EVERY_COUNTRY.to_owned(), role });
        let trust = TrustList {
            issuers: vec![Issuer {
                key: issuer.public(),
                name: issuer_name.clone(),
                class: IssuerClass::Registrar,
                grants: everything.collect(),
            }],
            pins: Vec::new(),
            seq: 1,
            valid_until_unix_s: now_unix_s + TRUST_LIST_DAYS * DAY_S,
        };
        let trust_list = trust.issue(&network, &trust_key).context("the network's name is not usable")?;
        Ok(Authority {
            network,
            issuer: Some(issuer),
            issuer_name,
            trust,
            trust_list,
            trust_signer: trust_key.public(),
            new_trust_key: Some(trust_key),
            bootstrap: Vec::new(),
        })
    }

    fn existing(list: &Path, issuer: Option<&Path>, args: &Args) -> anyhow::Result<Authority> {
        let bytes = read(list, SIGNED_FILE_BYTES_MAX)?;
        let of_list = || format!("{} is no trust list that holds", list.display());
        let header = peek(&bytes).with_context(of_list)?;
        ensure!(
            header.purpose == Purpose::TrustList,
            "{} is a signed object, but no trust list",
            list.display()
        );
        let network = header.network;
        if let Some(asked) = args.network.as_ref().filter(|asked| **asked != network) {
            bail!(
                "{} is for the network \"{network}\", not \"{asked}\": leave --network out",
                list.display()
            );
        }
        let trust_signer = PublicKey::from_bytes(&header.signer).with_context(of_list)?;
        let trust = TrustList::open(&bytes, &network, &trust_signer).with_context(of_list)?;
        let issuer = issuer.map(|file| keys::read(file, KeyPurpose::Issuer)).transpose()?;
        let known = issuer.as_ref().map(|key| trust.issuer(key.public().as_bytes()));
        if known == Some(None) {
            bail!("this issuer is not in {}: nobody would believe what it signs", list.display());
        }
        Ok(Authority {
            network,
            issuer_name: known.flatten().map(|issuer| issuer.name.clone()).unwrap_or_default(),
            issuer,
            trust,
            trust_list: bytes,
            trust_signer,
            new_trust_key: None,
            bootstrap: Vec::new(),
        })
    }

    /// Everything from the directory of a node that is in the network already.
    fn joined(directory: &Path, args: &Args) -> anyhow::Result<Authority> {
        let config = Config::load(&directory.join(SETTINGS), &[])?;
        let issuer: Option<PathBuf> = Some(directory.join(ISSUER_KEY)).filter(|file| file.exists());
        if issuer.is_none() && args.party.is_some() {
            bail!(
                "{} holds no issuer: join the node that was made first in this network, or give --issuer and \
                 --trust-list",
                directory.display()
            );
        }
        let mut authority = Authority::existing(&config.node.trust, issuer.as_deref(), args)?;
        let node_key = keys::read(&config.node.key, KeyPurpose::Node)?;
        let peer_id = peer_id(&node_key)?;
        let own = if config.mesh.announce.is_empty() { &config.mesh.listen } else { &config.mesh.announce };
        authority.bootstrap = (own.iter().filter(|address| is_dialable(address)))
            .map(|address| with_peer_id(address, &peer_id))
            .chain(config.mesh.bootstrap.iter().cloned())
            .collect();
        Ok(authority)
    }
}
