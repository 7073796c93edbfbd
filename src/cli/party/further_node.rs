//! `chargemesh party delegate`: a further node of a party, with keys of its own and the same credential.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chargemesh::config::{Config, PartyConfig};
use chargemesh::engine::SystemClock;
use chargemesh::identity::delegation::{SLOT_MAX, WRITER_SLOT};
use chargemesh::identity::{Credential, CredentialTerms, KeyPurpose, SecretKey, hash_of};
use chargemesh::node;

use super::delegate::{Validity, delegation};
use super::pins;
use super::request::signed;
use crate::cli::addresses::{self, free_port, is_dialable, with_peer_id};
use crate::cli::files::{self, NewFile, SIGNED_FILE_BYTES_MAX};
use crate::cli::keys::{self, facade_key, key_file, peer_id, random_key};
use crate::cli::settings::Settings;
use crate::cli::text::{day, shell};

/// Arguments of `chargemesh party delegate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to make for the further node; must be new or empty.
    dir: PathBuf,
    /// Directory of a node that speaks for the party: its network, credential, trust list and pins are taken.
    #[arg(long, value_name = "DIR")]
    of: PathBuf,
    /// Which of the party's nodes it is (1 to 7); the node with slot 0 writes the party's feeds.
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1 + i64::from(WRITER_SLOT)..=i64::from(SLOT_MAX))
    )]
    slot: u8,
    /// Key file of the party's org key; keys/org.key in the other node's directory if not given.
    #[arg(long, value_name = "KEYFILE")]
    org_key: Option<PathBuf>,
    /// Where to listen for nodes, as in /ip4/0.0.0.0/tcp/4001; a free port on this machine only if not given.
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Under which address others reach this node, if not under that of --listen (NAT, proxy).
    #[arg(long, value_name = "MULTIADDR")]
    announce: Vec<String>,
    /// Where to listen for backends, as in 127.0.0.1:8080; a free port on this machine only if not given.
    /// Beyond this machine, keys are made for the backend and for the admin API.
    #[arg(long, value_name = "ADDR")]
    facade: Option<SocketAddr>,
    #[command(flatten)]
    validity: Validity,
}

/// Makes the directory.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    files::check_empty(&args.dir)?;
    addresses::check(args.listen.iter().chain(&args.announce), std::iter::empty())?;
    let now_unix_s = SystemClock::start().now().unix_s();
    let present = Present::read(args, now_unix_s)?;
    let (node_key, message_key) = (random_key()?, random_key()?);
    let until_unix_s = args.validity.end(&present.terms, now_unix_s);
    let delegation =
        delegation(&present.terms, &node_key, message_key.public(), args.slot, now_unix_s, until_unix_s)?
            .issue(&present.config.mesh.network, &hash_of(&present.credential), &present.org_key)
            .context("the delegation cannot be made")?;
    let lets = format!("lets this node speak for the party, until {}", day(until_unix_s));
    let mut new = vec![
        present.settings(args)?,
        key_file(files::NODE_KEY, &node_key, KeyPurpose::Node, "the node's name on the mesh"),
        key_file(files::MESSAGE_KEY, &message_key, KeyPurpose::Message, "signs what the node says"),
        signed(files::DELEGATION, delegation, &lets),
    ];
    new.extend(present.signed_by_others(args, &node_key)?);
    files::write(&args.dir, &new)?;
    // What was written is what will be read: better to hear of a difference now than at the first start.
    let settings = args.dir.join(files::SETTINGS);
    node::load(&Config::load(&settings, &[])?, now_unix_s)?;
    let dir = shell(&args.dir);
    println!("Made {}: node {} of {}", args.dir.display(), args.slot, present.terms.party);
    print!("{}", files::listed(&new));
    println!(
        "\nIt answers pulls and speaks for the party; pushes go to the node with slot 0. Take the directory to its \
         machine, then: chargemesh run --config {}\n\
         The org key stays here. Before {}: chargemesh renew {dir} --org-key KEYFILE",
        shell(&settings),
        day(until_unix_s)
    );
    Ok(ExitCode::SUCCESS)
}

/// The party as another node of it has it.
struct Present {
    config: Config,
    party: PartyConfig,
    credential: Vec<u8>,
    terms: CredentialTerms,
    org_key: SecretKey,
    node_key: SecretKey,
}

impl Present {
    fn read(args: &Args, now_unix_s: u64) -> anyhow::Result<Present> {
        let file = args.of.join(files::SETTINGS);
        let config = Config::load(&file, &[])?;
        let [party] = config.parties.as_slice() else {
            bail!("{} does not name exactly one party", file.display());
        };
        let party = party.clone();
        let credential = files::read(&party.credential, SIGNED_FILE_BYTES_MAX)?;
        let terms = Credential::open(&credential, &config.mesh.network)
            .context("the credential does not hold")?
            .into_content()
            .terms;
        ensure!(
            now_unix_s < terms.expires_unix_s,
            "the credential ended on {}: get a new one from the issuer first",
            day(terms.expires_unix_s)
        );
        let org_key = args.org_key.clone().unwrap_or_else(|| args.of.join(files::ORG_KEY));
        let org_key = keys::read(&org_key, KeyPurpose::Org)
            .context("the org key signs delegations: name its file with --org-key")?;
        ensure!(terms.org_key == org_key.public(), "this is not the org key of the credential");
        let node_key = keys::read(&config.node.key, KeyPurpose::Node)?;
        Ok(Present { config, party, credential, terms, org_key, node_key })
    }

    /// The other node is one to ask for others.
    fn bootstrap(&self) -> anyhow::Result<Vec<String>> {
        let mesh = &self.config.mesh;
        let own = if mesh.announce.is_empty() { &mesh.listen } else { &mesh.announce };
        let peer_id = peer_id(&self.node_key)?;
        let own = own.iter().filter(|address| is_dialable(address));
        Ok(own.map(|address| with_peer_id(address, &peer_id)).chain(mesh.bootstrap.clone()).collect())
    }

    fn settings(&self, args: &Args) -> anyhow::Result<NewFile> {
        let network = &self.config.mesh.network;
        let listen = match args.listen.is_empty() {
            true => vec![format!("/ip4/127.0.0.1/tcp/{}", free_port()?)],
            false => args.listen.clone(),
        };
        let facade = match args.facade {
            Some(address) => address,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
        };
        let open = !facade.ip().is_loopback();
        let signer = self.config.node.trust_signer.trim();
        let (party, slot) = (&self.terms.party, args.slot);
        let settings = Settings {
            title: format!(
                "Node {slot} of {party} in the network `{network}`, made by `chargemesh party delegate`."
            ),
            network,
            trust_signer: (!signer.is_empty()).then(|| signer.to_owned()),
            listen: &listen,
            announce: &args.announce,
            bootstrap: &self.bootstrap()?,
            party: Some((&self.party.id, &self.party.name)),
            facade: Some(facade),
            facade_keys: if open { Some((facade_key()?, facade_key()?)) } else { None },
        };
        let content = settings.to_toml().into_bytes().into();
        Ok(NewFile { name: files::SETTINGS, content, secret: open, what: "the settings".to_owned() })
    }

    /// Credential, trust list, and the same pins in this node's own name.
    fn signed_by_others(&self, args: &Args, node_key: &SecretKey) -> anyhow::Result<Vec<NewFile>> {
        let (config, network) = (&self.config, &self.config.mesh.network);
        let mut new = vec![signed(files::CREDENTIAL, self.credential.clone(), "who the party is")];
        if !config.node.trust_signer.trim().is_empty() {
            let list = files::read(&config.node.trust, SIGNED_FILE_BYTES_MAX)?;
            new.push(signed(files::TRUST_LIST, list, "whom the node believes"));
        }
        let pins = pins::read(&config.node.pins, network, &self.node_key)?;
        if !pins.pins.is_empty() {
            let pins = pins.issue(network, node_key).context("the pins cannot be signed")?;
            new.push(signed(files::PINS, pins, "whom you know yourself; `chargemesh party pin` adds to it"));
        }
        let request = args.of.join(files::REQUEST);
        if request.exists() {
            let request = files::read(&request, SIGNED_FILE_BYTES_MAX)?;
            new.push(signed(files::REQUEST, request, "what a new credential has to answer"));
        }
        Ok(new)
    }
}
