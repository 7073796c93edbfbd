//! `chargemesh init`: a directory with everything that a node needs, ready to run.

mod authority;
mod party;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use chargemesh::config::Config;
use chargemesh::engine::SystemClock;
use chargemesh::identity::{CanonicalId, KeyPurpose, PartyId, SecretKey};
use chargemesh::node::{self, Identity};

use super::addresses::{self, free_port, is_dialable, with_peer_id, without_peer_id};
use super::files::{self, NewFile};
use super::keys::{facade_key, key_file, peer_id, random_key};
use super::party::delegate::Validity;
use super::party::{party_id, party_setting};
use super::settings::Settings;
use super::text::{day, shell};
use authority::Authority;
use party::NewParty;

/// Arguments of `chargemesh init`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to make; must be new or empty.
    dir: PathBuf,
    /// The party that the node speaks for: CPO:DE*ABC or EMP:DE-ABC.
    #[arg(
        long,
        value_name = "ROLE:ID",
        requires = "name",
        required_unless_present = "bootstrap_node",
        conflicts_with = "bootstrap_node"
    )]
    party: Option<String>,
    /// Name of the party, as others will see it.
    #[arg(long, requires = "party")]
    name: Option<String>,
    /// A further id that the party publishes under (sub-operator); may be given often.
    #[arg(long = "sub", value_name = "ID", requires = "party")]
    subs: Vec<CanonicalId>,
    /// Make a node without a party that only helps others to find each other.
    #[arg(long)]
    bootstrap_node: bool,
    /// Join the network of the node in this directory: its network, trust list, issuer and address.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["issuer", "trust_list", "new_issuer"])]
    join: Option<PathBuf>,
    /// Key file of the issuer that vouches for the party.
    #[arg(long, value_name = "KEYFILE")]
    issuer: Option<PathBuf>,
    /// Trust list of the network; says which issuers are believed.
    #[arg(long, value_name = "FILE")]
    trust_list: Option<PathBuf>,
    /// Make an issuer for a network of one's own; so it is if no other is given.
    #[arg(long, conflicts_with_all = ["issuer", "trust_list"])]
    new_issuer: bool,
    /// Name of the network; `local`, or that of the trust list, if not given.
    #[arg(long)]
    network: Option<String>,
    /// Where to listen for nodes, as in /ip4/0.0.0.0/tcp/4001; a free port on this machine only if not given.
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Under which address others reach this node, if not under that of --listen (NAT, proxy).
    #[arg(long, value_name = "MULTIADDR")]
    announce: Vec<String>,
    /// Where to listen for backends, as in 127.0.0.1:8080; a free port on this machine only if not given.
    /// Beyond this machine, keys are made for the backend and for the admin API.
    #[arg(long, value_name = "ADDR", value_parser = addresses::facade, conflicts_with = "bootstrap_node")]
    facade: Option<SocketAddr>,
    /// A node to ask for others, ending in /p2p/PEER-ID; may be given often.
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    #[command(flatten)]
    validity: Validity,
}

/// Makes the directory.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    files::check_empty(&args.dir)?;
    addresses::check(args.listen.iter().chain(&args.announce), args.bootstrap.iter())?;
    let now_unix_s = SystemClock::start().now().unix_s();
    let new = NewNode::make(args, now_unix_s)?;
    files::write(&args.dir, &new.files)?;
    // What was written is what will be read: better to hear of a difference now than at the first start.
    let config = Config::load(&args.dir.join(files::SETTINGS), &[])?;
    node::load(&config, now_unix_s)?;
    new.report(args);
    Ok(ExitCode::SUCCESS)
}

/// Everything that is to be written, and what is said about it.
struct NewNode {
    authority: Authority,
    party: Option<PartyId>,
    peer_id: String,
    addresses: Vec<String>,
    facade: Option<SocketAddr>,
    delegation_until_unix_s: Option<u64>,
    files: Vec<NewFile>,
}

impl NewNode {
    fn make(args: &Args, now_unix_s: u64) -> anyhow::Result<NewNode> {
        let typed = args.party.as_deref();
        let id = typed.map(party_id).transpose()?;
        let setting = typed.map(party_setting).transpose()?;
        let authority = Authority::of(args, now_unix_s)?;
        let node_key = random_key()?;
        let peer_id = peer_id(&node_key)?;
        let listen = match args.listen.is_empty() {
            true => vec![format!("/ip4/127.0.0.1/tcp/{}", free_port()?)],
            false => args.listen.clone(),
        };
        let facade = match (&id, args.facade) {
            (None, _) => None,
            (_, Some(address)) => Some(address),
            (_, None) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?))),
        };
        let open_facade = facade.filter(|address| !address.ip().is_loopback());
        let facade_keys = open_facade.map(|_| anyhow::Ok((facade_key()?, facade_key()?))).transpose()?;
        let party = id.map(|id| NewParty::make(id, args, &authority, &node_key, now_unix_s)).transpose()?;
        let who = match &party {
            Some(party) => format!("Node of {}", party.id),
            None => "Bootstrap node".to_owned(),
        };
        let settings = Settings {
            title: format!("{who} in the network `{}`, made by `chargemesh init`.", authority.network),
            network: &authority.network,
            trust_signer: Some(authority.trust_signer.to_text(KeyPurpose::Trust)),
            listen: &listen,
            announce: &args.announce,
            bootstrap: &args.bootstrap.iter().chain(&authority.bootstrap).cloned().collect::<Vec<_>>(),
            party: setting.as_deref().zip(args.name.as_deref()),
            facade,
            facade_keys,
        };
        let secret_settings = settings.facade_keys.is_some();
        let mut files = vec![NewFile {
            name: files::SETTINGS,
            content: settings.to_toml().into_bytes().into(),
            secret: secret_settings,
            what: "the settings".to_owned(),
        }];
        let name = args.name.as_deref().unwrap_or_default();
        check(&authority, party.as_ref(), name, &node_key, now_unix_s)?;
        files.push(key_file(files::NODE_KEY, &node_key, KeyPurpose::Node, "the node's name on the mesh"));
        files.extend(party.iter().flat_map(NewParty::files));
        files.extend(authority_files(&authority));
        let told = if args.announce.is_empty() { listen } else { args.announce.clone() };
        let addresses = told.iter().map(|address| with_peer_id(address, &peer_id)).collect();
        let delegation_until_unix_s = party.as_ref().map(|party| party.delegation_until_unix_s);
        let party = party.map(|party| party.id);
        Ok(NewNode { authority, party, peer_id, addresses, facade, delegation_until_unix_s, files })
    }

    fn report(&self, args: &Args) {
        let dir = args.dir.display();
        let network = &self.authority.network;
        match &self.party {
            Some(party) => println!("Made {dir}: a node of {party} in the network `{network}`"),
            None => println!("Made {dir}: a bootstrap node in the network `{network}`"),
        }
        println!("  peer id {}\n", self.peer_id);
        print!("{}", files::listed(&self.files));
        if let Some(until) = self.delegation_until_unix_s {
            println!(
                "\nThe delegation ends on {}, {} days from now. The node warns two days before; then:\n  \
                 chargemesh renew {}",
                day(until),
                args.validity.delegation_days,
                shell(&args.dir)
            );
        }
        if self.authority.new_trust_key.is_some() {
            println!(
                "\nThis network has an issuer of its own, trusted for all countries in all roles: whoever has\n\
                 {dir}/issuer can vouch for anybody here. That is right for trying things and for a network\n\
                 of friends; no node needs the directory to run, so keep it where only you can read it."
            );
        } else if args.join.is_none() {
            println!(
                "\nThis node believes the trust list that is signed by\n  {}\nCompare that with who gave it to you.",
                self.authority.trust_signer.to_text(KeyPurpose::Trust)
            );
        }
        println!("\nNext:\n  chargemesh run --config {}", shell(&args.dir.join(files::SETTINGS)));
        if let Some(facade) = self.facade {
            let (scheme, before) = match facade.ip().is_loopback() {
                true => ("http", ""),
                false => ("https", " (first put a certificate and its key where [facade.tls] says)"),
            };
            println!("  then your backend's base URL is {scheme}://{facade}{before}");
        }
        self.report_joining(args);
    }

    /// How another node gets into the network.
    fn report_joining(&self, args: &Args) {
        let from = match &args.join {
            Some(directory) => Some(directory.as_path()),
            None if self.authority.new_trust_key.is_some() => Some(args.dir.as_path()),
            None => None,
        };
        let bootstrap = self.addresses.first().filter(|address| is_dialable(without_peer_id(address)));
        let by = match (from, bootstrap) {
            (Some(directory), Some(_)) => format!("--join {}", shell(directory)),
            (Some(directory), None) => {
                format!("--join {} --bootstrap ADDRESS-OF-THIS-NODE", shell(directory))
            }
            (None, Some(address)) => format!("--issuer FILE --trust-list FILE --bootstrap {address}"),
            (None, None) => return,
        };
        println!("Another node of this network:");
        println!("  chargemesh init DIR --party EMP:DE-XYZ --name \"...\" {by}");
    }
}

/// Checks what every peer will check.
fn check(
    authority: &Authority,
    party: Option<&NewParty>,
    name: &str,
    node_key: &SecretKey,
    now_unix_s: u64,
) -> anyhow::Result<()> {
    let Some(party) = party else { return Ok(()) };
    let mut identity = Identity::without_party(*node_key.seed(), authority.trust.clone());
    let (chain, message_key) = (party.chain.clone(), party.message_key.clone());
    identity.add_party(&authority.network, party.id.clone(), name, chain, message_key, now_unix_s)?;
    Ok(())
}

fn authority_files(authority: &Authority) -> Vec<NewFile> {
    let mut files = vec![NewFile {
        name: files::TRUST_LIST,
        content: authority.trust_list.clone().into(),
        secret: false,
        what: format!("whom the node believes, until {}", day(authority.trust.valid_until_unix_s)),
    }];
    if let (Some(trust_key), Some(issuer)) = (&authority.new_trust_key, &authority.issuer) {
        files.push(key_file(
            files::ISSUER_KEY,
            issuer,
            KeyPurpose::Issuer,
            "vouches for parties of this network",
        ));
        files.push(key_file(
            files::TRUST_KEY,
            trust_key,
            KeyPurpose::Trust,
            "signs this network's trust list",
        ));
    }
    files
}
