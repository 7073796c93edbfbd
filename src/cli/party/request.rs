//! `chargemesh party request`: new keys, a directory that runs, and what an issuer is asked for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chargemesh::config::Config;
use chargemesh::engine::SystemClock;
use chargemesh::identity::delegation::WRITER_SLOT;
use chargemesh::identity::{
    CanonicalId, Credential, CredentialTerms, KeyPurpose, PartyId, PartyRequest, Pin, SecretKey, hash_of,
};
use chargemesh::node;

use super::delegate::{CREDENTIAL_DAYS, Validity, delegation};
use super::{party_id, party_setting, pins};
use crate::cli::addresses::{self, free_port, is_dialable, with_peer_id};
use crate::cli::files::{self, NewFile};
use crate::cli::fingerprint::{Shown, line};
use crate::cli::keys::{facade_key, key_file, peer_id, random, random_key};
use crate::cli::settings::Settings;
use crate::cli::text::{DAY_S, day, shell};

/// The issuer that a credential names when there is none.
pub(super) const SELF_ISSUER: &str = "the party itself";

/// Arguments of `chargemesh party request`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to make; must be new or empty.
    dir: PathBuf,
    /// The party that the node will speak for: CPO:DE*ABC or EMP:DE-ABC.
    #[arg(long, value_name = "ROLE:ID")]
    party: String,
    /// Name of the party, as in the commercial register; backends see it as OperatorName.
    #[arg(long)]
    name: String,
    /// Number in the commercial register.
    #[arg(long, value_name = "TEXT", default_value = "")]
    register_number: String,
    /// A further id that the party publishes under (sub-operator); may be given often.
    #[arg(long = "sub", value_name = "ID")]
    subs: Vec<CanonicalId>,
    /// Name of the network to join.
    #[arg(long)]
    network: String,
    /// Where to listen for nodes, as in /ip4/0.0.0.0/tcp/4001; a free port on this machine only if not given.
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Under which address others reach this node, if not under that of --listen (NAT, proxy).
    #[arg(long, value_name = "MULTIADDR")]
    announce: Vec<String>,
    /// Where to listen for backends, as in 127.0.0.1:8080; a free port on this machine only if not given.
    /// Beyond this machine, keys are made for the backend and for the admin API.
    #[arg(long, value_name = "ADDR", value_parser = addresses::facade)]
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
    let keys = Keys::new()?;
    let request = requested(args, party_id(&args.party)?, &keys, now_unix_s);
    let bytes = request.issue(&args.network, &keys.org).context("the request cannot be made")?;
    let listen = match args.listen.is_empty() {
        true => vec![format!("/ip4/127.0.0.1/tcp/{}", free_port()?)],
        false => args.listen.clone(),
    };
    let mut new = vec![settings(args, &listen, &request.party)?];
    new.extend(keys.files());
    new.extend(own_word(args, &request, &keys, now_unix_s)?);
    new.push(signed(files::REQUEST, bytes, "send this to an issuer"));
    files::write(&args.dir, &new)?;
    // What was written is what will be read: better to hear of a difference now than at the first start.
    node::load(&Config::load(&args.dir.join(files::SETTINGS), &[])?, now_unix_s)?;
    println!("Made {}: a node in the network `{}`", args.dir.display(), args.network);
    let mut text = shown(&request).lines();
    let peer_id = peer_id(&keys.node)?;
    let own = if args.announce.is_empty() { &listen } else { &args.announce };
    for address in own.iter().filter(|address| is_dialable(address)) {
        line(&mut text, "reached at", &with_peer_id(address, &peer_id));
    }
    print!("{text}\n{}", files::listed(&new));
    report(args, now_unix_s);
    Ok(ExitCode::SUCCESS)
}

/// The keys of a new party and its node.
struct Keys {
    node: SecretKey,
    message: SecretKey,
    org: SecretKey,
    next_org: SecretKey,
}

impl Keys {
    fn new() -> anyhow::Result<Keys> {
        Ok(Keys { node: random_key()?, message: random_key()?, org: random_key()?, next_org: random_key()? })
    }

    fn files(&self) -> [NewFile; 4] {
        let (node, message) = ("the node's name on the mesh", "signs what the node says");
        let org = "the party itself: signs delegations; no node needs it to run, so keep it elsewhere";
        let next = "follows the org key one day; take it away from this machine now";
        [
            key_file(files::NODE_KEY, &self.node, KeyPurpose::Node, node),
            key_file(files::MESSAGE_KEY, &self.message, KeyPurpose::Message, message),
            key_file(files::ORG_KEY, &self.org, KeyPurpose::Org, org),
            key_file(files::NEXT_ORG_KEY, &self.next_org, KeyPurpose::Org, next),
        ]
    }
}

fn requested(args: &Args, party: PartyId, keys: &Keys, now_unix_s: u64) -> PartyRequest {
    PartyRequest {
        sub_ids: further_ids(&party, &args.subs),
        party,
        legal_name: args.name.clone(),
        register_number: args.register_number.clone(),
        org_key: keys.org.public(),
        next_org_key_hash: Some(keys.next_org.public().id().0),
        created_unix_s: now_unix_s,
    }
}

/// A credential signed by the party itself, the delegation under it, and the pin by which this node believes
/// itself: enough for whoever pins the party, and nothing for anybody else.
fn own_word(
    args: &Args,
    request: &PartyRequest,
    keys: &Keys,
    now_unix_s: u64,
) -> anyhow::Result<[NewFile; 3]> {
    let terms = CredentialTerms {
        party: request.party.clone(),
        sub_ids: request.sub_ids.clone(),
        legal_name: request.legal_name.clone(),
        register_number: request.register_number.clone(),
        org_key: request.org_key,
        next_org_key_hash: request.next_org_key_hash,
        not_before_unix_s: now_unix_s,
        expires_unix_s: now_unix_s + CREDENTIAL_DAYS * DAY_S,
        serial: random::<16>()?.to_vec(),
    };
    let credential = Credential::issue(&args.network, &terms, SELF_ISSUER, &keys.org)
        .context("the party's own credential cannot be made")?;
    let until_unix_s = args.validity.end(&terms, now_unix_s);
    let delegation =
        delegation(&terms, &keys.node, keys.message.public(), WRITER_SLOT, now_unix_s, until_unix_s)?
            .issue(&args.network, &hash_of(&credential), &keys.org)
            .context("the delegation cannot be made")?;
    let own = Pin {
        party: terms.party.clone(),
        org_key: terms.org_key,
        sub_ids: terms.sub_ids.iter().cloned().collect(),
    };
    let pins = pins::first(own).issue(&args.network, &keys.node).context("the pins cannot be signed")?;
    let lets = format!("lets this node speak for the party, until {}", day(until_unix_s));
    Ok([
        signed(files::CREDENTIAL, credential, "the party's own word, until an issuer's is installed"),
        signed(files::DELEGATION, delegation, &lets),
        signed(files::PINS, pins, "whom you know yourself; `chargemesh party pin` adds to it"),
    ])
}

pub(super) fn signed(name: &'static str, bytes: Vec<u8>, what: &str) -> NewFile {
    NewFile { name, content: bytes.into(), secret: false, what: what.to_owned() }
}

fn settings(args: &Args, listen: &[String], party: &PartyId) -> anyhow::Result<NewFile> {
    let facade = match args.facade {
        Some(address) => address,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
    };
    let typed = party_setting(&args.party)?;
    let open = !facade.ip().is_loopback();
    let network = &args.network;
    let settings = Settings {
        title: format!("Node of {party} in the network `{network}`, made by `chargemesh party request`."),
        network,
        trust_signer: None,
        listen,
        announce: &args.announce,
        bootstrap: &args.bootstrap,
        party: Some((&typed, &args.name)),
        facade: Some(facade),
        facade_keys: if open { Some((facade_key()?, facade_key()?)) } else { None },
    };
    Ok(NewFile {
        name: files::SETTINGS,
        content: settings.to_toml().into_bytes().into(),
        secret: open,
        what: "the settings".to_owned(),
    })
}

/// What to do next.
fn report(args: &Args, now_unix_s: u64) {
    let dir = shell(&args.dir);
    let until = day(now_unix_s + args.validity.delegation_days * DAY_S);
    println!(
        "\nWith an issuer: send it {request}, tell it the six words on the telephone, then\n  \
         chargemesh party install {dir} CREDENTIAL --trust-list FILE --trust-signer KEY\n\
         Without one: exchange cards with a partner, and each pins the other's\n  \
         chargemesh party card export {dir} -o FILE\n  chargemesh party pin {dir} FILE\n\
         Then: chargemesh run --config {settings}\n\
         The delegation ends on {until}; before that: chargemesh renew {dir}",
        request = shell(&args.dir.join(files::REQUEST)),
        settings = shell(&args.dir.join(files::SETTINGS)),
    );
}

/// Typed ids as requests and credentials have them: ascending, each once, without the main id.
pub(in crate::cli) fn further_ids(party: &PartyId, typed: &[CanonicalId]) -> Vec<CanonicalId> {
    let ids: BTreeSet<&CanonicalId> = typed.iter().filter(|id| **id != party.id).collect();
    ids.into_iter().cloned().collect()
}

/// A request for people.
pub(in crate::cli) fn shown(request: &PartyRequest) -> Shown<'_> {
    Shown {
        party: &request.party,
        name: &request.legal_name,
        register_number: &request.register_number,
        sub_ids: &request.sub_ids,
        org_key: &request.org_key,
        next_org_key_hash: request.next_org_key_hash,
    }
}
