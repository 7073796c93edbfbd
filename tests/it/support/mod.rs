//! A network of whole nodes on loopback, with its own issuer, for tests over real sockets.

pub(crate) mod skips;
pub(crate) mod table;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chargemesh::engine::{Clock, NodeView};
use chargemesh::identity::{
    CanonicalId, Chain, Credential, CredentialTerms, Delegation, Issuer, IssuerClass, IssuerGrant, Operation,
    PartyId, SecretKey, TrustList, hash_of,
};
use chargemesh::node::{Deps, Identity, Node, NodeError, Settings};
use chargemesh::outbound::HubClient;
use chargemesh::roaming::Now;
use chargemesh::{facade, mesh, roaming};

/// The network of all tests.
pub(crate) const NETWORK: &str = "test";

/// How long a test waits for what should happen in milliseconds: only a hang fails, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An issuer that vouches for everybody, and for whom its nodes believe it.
pub(crate) struct World {
    issuer: SecretKey,
    country: &'static str,
}

/// A deterministic key.
pub(crate) fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash_of(name.as_bytes()))
}

#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What one node is to be.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Name, from which its keys are made.
    pub(crate) name: String,
    /// `CPO:CHABC`; none for a bootstrap node.
    pub(crate) party: Option<String>,
    /// Further ids that it may publish under.
    pub(crate) subs: Vec<String>,
    /// Further parties of the same node, as `EMP:DEEMP`.
    pub(crate) also: Vec<String>,
    /// Epoch of its delegations; each has a message key of its own.
    pub(crate) epoch: u64,
    /// Which of the party's nodes it is.
    pub(crate) slot: u8,
    /// By how many milliseconds its wall clock is ahead.
    pub(crate) ahead_ms: Arc<AtomicU64>,
    /// Settings beyond those of the support.
    pub(crate) settings: Settings,
}

impl Plan {
    pub(crate) fn new(name: &str, party: Option<&str>, data_dir: &Path) -> Plan {
        let mut settings = Settings {
            mesh: mesh::Config {
                network: NETWORK.to_owned(),
                listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
                bootstrap_only: party.is_none(),
                ..mesh::Config::default()
            },
            replication: roaming::Config {
                own_check_ms: 300,
                compare_soon_s: 1,
                ..roaming::Config::default()
            },
            ..Settings::default()
        };
        settings.storage.data_dir = data_dir.join(name);
        if party.is_some() {
            let backend = facade::BackendConfig {
                key: None,
                parties: party.iter().map(ToString::to_string).collect(),
                reading: chargemesh::oicp::reading::Reading::Tolerant,
                ..facade::BackendConfig::default()
            };
            settings.facade = Some(facade::Config {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                backends: vec![backend],
                ..facade::Config::default()
            });
        }
        Plan {
            name: name.to_owned(),
            party: party.map(ToOwned::to_owned),
            subs: Vec::new(),
            also: Vec::new(),
            epoch: 1,
            slot: 0,
            ahead_ms: Arc::default(),
            settings,
        }
    }

    /// Gives the node a further party, which its backend may use too.
    pub(crate) fn also(mut self, party: &str) -> Plan {
        self.also.push(party.to_owned());
        for backend in self.settings.facade.iter_mut().flat_map(|facade| &mut facade.backends) {
            backend.parties.push(party.to_owned());
        }
        self
    }

    pub(crate) fn bootstrap(mut self, addresses: &[String]) -> Plan {
        self.settings.mesh.bootstrap = addresses.to_vec();
        self
    }

    /// Makes it another of the party's nodes than the one that writes.
    pub(crate) fn slot(mut self, slot: u8) -> Plan {
        self.slot = slot;
        self
    }

    pub(crate) fn subs(mut self, subs: &[&str]) -> Plan {
        self.subs = subs.iter().map(ToString::to_string).collect();
        self
    }
}

/// A wall clock that a test can set.
struct Ahead {
    clock: Arc<dyn Clock>,
    by_ms: Arc<AtomicU64>,
}

impl Clock for Ahead {
    fn now(&self) -> Now {
        let now = self.clock.now();
        Now { unix_ms: now.unix_ms + self.by_ms.load(Ordering::Relaxed), ..now }
    }
}

impl World {
    pub(crate) fn new() -> World {
        // The first test that gets here sets it; RUST_LOG says how much is shown.
        let _set_already = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        World { issuer: key("issuer"), country: "*" }
    }

    /// Nodes that believe the same issuer for one country only.
    pub(crate) fn believing_in(country: &'static str) -> World {
        World { country, ..World::new() }
    }

    /// Nodes with an issuer of their own, whom nobody else believes.
    pub(crate) fn of_issuer(name: &str) -> World {
        World { issuer: key(name), country: "*" }
    }

    pub(crate) fn trust(&self) -> TrustList {
        let grants = chargemesh::identity::Role::ALL
            .into_iter()
            .map(|role| IssuerGrant { country: self.country.to_owned(), role })
            .collect();
        TrustList {
            issuers: vec![Issuer {
                key: self.issuer.public(),
                name: "test".into(),
                class: IssuerClass::Registrar,
                grants,
            }],
            pins: Vec::new(),
            seq: 1,
            // The same all day, so that one version always says the same.
            valid_until_unix_s: unix_s() / 86_400 * 86_400 + 2 * 86_400,
        }
    }

    /// A credential and a delegation to the node of this plan.
    pub(crate) fn chain(&self, plan: &Plan, party: &PartyId, epoch: u64) -> Chain {
        let (org, message) = (key(&format!("org {}", plan.name)), message_key(plan, epoch));
        let sub_ids: Vec<CanonicalId> = plan.subs.iter().map(|id| CanonicalId::parse(id).unwrap()).collect();
        // The same all day, so that a node which starts again has the credential that it had.
        let now = unix_s() / 86_400 * 86_400;
        let terms = CredentialTerms {
            party: party.clone(),
            sub_ids: sub_ids.clone(),
            legal_name: format!("{} AG", plan.name),
            register_number: String::new(),
            org_key: org.public(),
            next_org_key_hash: None,
            not_before_unix_s: now - 3_600,
            expires_unix_s: now + 2 * 86_400,
            serial: vec![1],
        };
        let credential = Credential::issue(NETWORK, &terms, "test", &self.issuer).unwrap();
        let node = mesh::node_id_of_seed(&node_seed(plan)).unwrap();
        let delegation = Delegation {
            party: party.clone(),
            peer_id: node.as_bytes().to_vec(),
            message_key: message.public(),
            operations: Operation::ALL.into_iter().collect(),
            operations_unknown: BTreeSet::new(),
            prefixes: sub_ids.into_iter().chain([party.id.clone()]).collect(),
            not_before_unix_s: now - 3_600,
            expires_unix_s: now + 2 * 86_400,
            epoch,
            slot: plan.slot,
        };
        let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org).unwrap();
        Chain { credential, delegation }
    }

    /// Starts a node.
    pub(crate) async fn start(&self, plan: &Plan) -> Node {
        self.try_start(plan).await.unwrap()
    }

    /// Starts a node, or says why not.
    pub(crate) async fn try_start(&self, plan: &Plan) -> Result<Node, NodeError> {
        let identity = self.identity(plan, self.trust())?;
        let mut deps = Deps::system(7);
        deps.clock = Arc::new(Ahead { clock: deps.clock.clone(), by_ms: plan.ahead_ms.clone() });
        Node::start(plan.settings.clone(), identity, deps).await
    }

    /// Who the node of this plan is, and whom it believes.
    pub(crate) fn identity(&self, plan: &Plan, trust: TrustList) -> Result<Identity, NodeError> {
        let mut identity = Identity::without_party(node_seed(plan), trust);
        for (index, party) in plan.party.iter().chain(&plan.also).enumerate() {
            let party = PartyId::parse(party).unwrap();
            // Only the first party has further ids.
            let of = Plan { subs: if index == 0 { plan.subs.clone() } else { Vec::new() }, ..plan.clone() };
            let chain = self.chain(&of, &party, plan.epoch);
            let message_key = message_key(plan, plan.epoch);
            identity.add_party(NETWORK, party, &plan.name, chain, message_key, unix_s())?;
        }
        Ok(identity)
    }
}

/// The key that signs what a plan's node says under its delegations of this epoch.
pub(crate) fn message_key(plan: &Plan, epoch: u64) -> SecretKey {
    match epoch {
        1 => key(&format!("message {}", plan.name)),
        epoch => key(&format!("message {} {epoch}", plan.name)),
    }
}

/// The secret seed of a plan's node.
pub(crate) fn node_seed(plan: &Plan) -> [u8; 32] {
    hash_of(format!("node {}", plan.name).as_bytes())
}

/// A client of a node's facade.
pub(crate) fn client(node: &Node) -> HubClient {
    HubClient::new(&format!("http://{}", node.facade_address().unwrap()), None).unwrap()
}

/// Waits until the node's view is as the test wants it.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
pub(crate) async fn until(node: &Node, what: &str, wanted: impl Fn(&NodeView) -> bool) -> NodeView {
    let end = std::time::Instant::now() + PATIENCE;
    let engine = node.engine().unwrap();
    loop {
        let view = engine.view().await.unwrap();
        if wanted(&view) {
            return view;
        }
        assert!(std::time::Instant::now() < end, "waited in vain for: {what}; the view is {view:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A minimal record that passes the published schema.
pub(crate) fn record(evse_id: &str) -> String {
    format!(
        r#"{{"EvseID":"{evse_id}","ChargingStationNames":[{{"lang":"en","value":"Station"}}],"Address":{{"Country":"CHE","City":"Bern","Street":"Bundesplatz","PostalCode":"3003","HouseNum":"3"}},"GeoCoordinates":{{"Google":{{"Coordinates":"46.94650 7.44417"}}}},"Plugs":["Type 2 Outlet"],"ChargingFacilities":[{{"PowerType":"AC_3_PHASE","Power":22}}],"RenewableEnergy":true,"CalibrationLawDataAvailability":"Not Available","AuthenticationModes":["REMOTE"],"PaymentOptions":["Contract"],"ValueAddedServices":["None"],"Accessibility":"Free publicly accessible","HotlinePhoneNumber":"+41310000000","IsOpen24Hours":true,"IsHubjectCompatible":true,"DynamicInfoAvailable":"true","x-own":1.50}}"#
    )
}

/// A PushEvseData body.
pub(crate) fn push_data(action: &str, operator: &str, evse_ids: &[&str]) -> Bytes {
    let records: Vec<String> = evse_ids.iter().map(|id| record(id)).collect();
    format!(
        r#"{{"ActionType":"{action}","OperatorEvseData":{{"OperatorID":"{operator}","OperatorName":"Operator {operator}","EvseDataRecord":[{}]}}}}"#,
        records.join(",")
    )
    .into()
}

/// A PushEvseStatus body.
pub(crate) fn push_status(action: &str, operator: &str, statuses: &[(&str, &str)]) -> Bytes {
    let records: Vec<String> = statuses
        .iter()
        .map(|(id, status)| format!(r#"{{"EvseID":"{id}","EvseStatus":"{status}"}}"#))
        .collect();
    format!(
        r#"{{"ActionType":"{action}","OperatorEvseStatus":{{"OperatorID":"{operator}","OperatorName":"Operator {operator}","EvseStatusRecord":[{}]}}}}"#,
        records.join(",")
    )
    .into()
}

/// A runtime for one test.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An answer of a facade, with what the client of the product does not show.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) http: u16,
    pub(crate) process_id: String,
    pub(crate) body: String,
}

impl Said {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A bare HTTP POST to a node's facade.
pub(crate) async fn post(node: &Node, path: &str, content_type: &str, body: impl Into<Bytes>) -> Said {
    let url = format!("http://{}{path}", node.facade_address().unwrap());
    let client = http_client();
    let body = reqwest::Body::from(body.into());
    let answer = client.post(url).header("content-type", content_type).body(body).send().await.unwrap();
    let process_id =
        answer.headers().get("process-id").map_or("", |value| value.to_str().unwrap()).to_owned();
    Said { http: answer.status().as_u16(), process_id, body: answer.text().await.unwrap() }
}

/// What a node knows now.
pub(crate) async fn view(node: &Node) -> NodeView {
    node.engine().unwrap().view().await.unwrap()
}

/// The feeds of a view as far as they are content: party, kind, seq, root.
pub(crate) fn content(view: &NodeView) -> Vec<(String, &'static str, u64, String)> {
    view.feeds.iter().map(|feed| (feed.party.clone(), feed.kind, feed.seq, feed.root.clone())).collect()
}

/// A client of nobody in particular; each call has a connection of its own.
pub(crate) fn http_client() -> reqwest::Client {
    // Only the first of a process is taken.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}
