//! A node and a central hub that is played, over real HTTP: what our CPO publishes gets there, what others publish
//! there is seen by our EMP and by nobody else.

use std::path::Path;
use std::time::Duration;

use chargemesh::backend::{Behaviour, Hub, HubConfig as Played, HubOperation, HubReceived, HubTls, Limits};
use chargemesh::engine::SystemClock;
use chargemesh::hub::{HubConfig, HubLimits};
use chargemesh::node::Node;
use chargemesh::oicp::evse_status::EvseStatus;
use chargemesh::oicp::id::EvseId;
use chargemesh::outbound::HubClient;

use crate::cli::{call as call_cli, succeeds, told};
use crate::https::pki::{Ca, GOOD, Issued, Side, tls};
use crate::support::{PATIENCE, Plan, World, push_data, push_status, runtime, until};

const PULL: &str = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;
/// A question about a card that only the hub could know.
const CARD: &str = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;
/// A record of the hub that no node signed.
const FOREIGN: &str = "XQ*S00*E1234";

/// A node with several providers asks who calls.
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn client(node: &Node) -> HubClient {
    HubClient::new(&format!("http://{}", node.facade_address().unwrap()), Some(KEY)).unwrap()
}

fn with_key(mut plan: Plan) -> Plan {
    for backend in plan.settings.facade.iter_mut().flat_map(|facade| &mut facade.backends) {
        backend.key = Some(chargemesh::facade::ApiKey::new(KEY));
    }
    plan
}

async fn played(seeds: u64, listen: Option<std::net::SocketAddr>) -> Hub {
    let partners = ["CPO:CH*ABC", "EMP:DE-EMP"].map(|text| text.parse().unwrap()).into();
    let mut config = Played::new(partners, SystemClock::start());
    config.seeds = seeds;
    config.limits = Limits::none();
    if let Some(listen) = listen {
        config.listen = listen;
    }
    Hub::start(config).await.unwrap()
}

/// A node with a CPO and an EMP, both partners of the hub.
fn bridge(name: &str, hub: &Hub, dir: &Path) -> Plan {
    let mut plan = with_key(Plan::new(name, Some("CPO:CHABC"), dir).also("EMP:DEEMP"));
    plan.settings.hub = HubConfig {
        url: hub.url(),
        parties: vec!["CPO:CH*ABC".into(), "EMP:DE-EMP".into()],
        pull_data_s: 1,
        pull_status_s: 1,
        limits: HubLimits {
            push_data: 0,
            push_status: 0,
            pull_data: 0,
            pull_status: 0,
            ..HubLimits::default()
        },
        ..HubConfig::default()
    };
    plan
}

async fn admin(node: &Node, what: &str) -> serde_json::Value {
    let answer = client(node).get(&format!("admin/v1/{what}")).await.unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// Waits for what is seen from outside only.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn seen(what: &str, is_so: impl AsyncFn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(std::time::Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn hub_has(hub: &Hub, ids: &[&str]) {
    seen(&format!("{ids:?} at the hub"), async || {
        let records = hub.data_of("CHABC");
        records.len() == ids.len() && ids.iter().zip(&records).all(|(id, raw)| raw.contains(id))
    })
    .await;
}

async fn hub_says(hub: &Hub, evse: &str, status: EvseStatus) {
    let id = EvseId::parse(evse).unwrap();
    seen(&format!("{evse} {status:?} at the hub"), async || hub.status_of(id.key()) == Some(status.clone()))
        .await;
}

/// One page of the EMP's pull: its total, and its text.
async fn pulled(node: &Node, provider: &str, page: u64) -> (u64, String) {
    let body = PULL.replace("DE-EMP", provider);
    let answer = client(node).pull_evse_data(provider, body.into(), page, 2_000).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let total = text.split_once(r#""totalElements":"#).unwrap().1;
    (total.split(',').next().unwrap().parse().unwrap(), text)
}

async fn total_is(node: &Node, wanted: u64) {
    seen(&format!("{wanted} records in the pull"), async || pulled(node, "DE-EMP", 0).await.0 == wanted)
        .await;
}

async fn push(node: &Node, action: &str, ids: &[&str]) {
    let answer = client(node).push_evse_data("CH*ABC", push_data(action, "CH*ABC", ids)).await.unwrap();
    assert!(answer.result, "{answer:?}");
}

async fn push_states(node: &Node, action: &str, states: &[(&str, &str)]) {
    let answer =
        client(node).push_evse_status("CH*ABC", push_status(action, "CH*ABC", states)).await.unwrap();
    assert!(answer.result, "{answer:?}");
}

/// What was pushed to the hub, as operation and ActionType, the oldest first.
fn pushes(hub: &Hub) -> Vec<(HubOperation, String)> {
    let is_push = |operation| matches!(operation, HubOperation::PushData | HubOperation::PushStatus);
    let received = hub.received().into_iter().filter(|received| is_push(received.operation));
    let of = |body: &[u8]| String::from_utf8_lossy(body).split('"').nth(3).unwrap_or_default().to_owned();
    received.map(|received| (received.operation, of(&received.body))).collect()
}

#[test]
fn differences_go_to_the_hub_and_are_remembered_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (world, hub) = (World::new(), played(0, None).await);
        let plan = bridge("bridge", &hub, dir.path());
        let node = world.start(&plan).await;
        push(&node, "fullLoad", &["CH*ABC*E1", "CH*ABC*E2"]).await;
        hub_has(&hub, &["CH*ABC*E1", "CH*ABC*E2"]).await;
        push_states(&node, "fullLoad", &[("CH*ABC*E1", "Available"), ("CH*ABC*E2", "Available")]).await;
        hub_says(&hub, "CH*ABC*E2", EvseStatus::Available).await;
        push_states(&node, "update", &[("CH*ABC*E2", "Occupied")]).await;
        hub_says(&hub, "CH*ABC*E2", EvseStatus::Occupied).await;
        push(&node, "insert", &["CH*ABC*E3"]).await;
        hub_has(&hub, &["CH*ABC*E1", "CH*ABC*E2", "CH*ABC*E3"]).await;
        push(&node, "delete", &["CH*ABC*E1"]).await;
        hub_has(&hub, &["CH*ABC*E2", "CH*ABC*E3"]).await;
        let actions = pushes(&hub);
        let full = |operation| (operation, "fullLoad".to_owned());
        for operation in [HubOperation::PushData, HubOperation::PushStatus] {
            assert_eq!(actions.iter().filter(|pushed| **pushed == full(operation)).count(), 1, "{actions:?}");
        }
        let update = (HubOperation::PushStatus, "update".to_owned());
        assert!(
            actions.contains(&update) && actions.contains(&(HubOperation::PushData, "insert".to_owned()))
        );

        // After a restart only what is new goes there.
        node.shutdown().await;
        let before = pushes(&hub).len();
        let node = world.start(&plan).await;
        push(&node, "insert", &["CH*ABC*E4"]).await;
        hub_has(&hub, &["CH*ABC*E2", "CH*ABC*E3", "CH*ABC*E4"]).await;
        assert_eq!(pushes(&hub)[before..], [(HubOperation::PushData, "insert".to_owned())]);

        // The hub has forgotten everything: it refuses a difference, and gets all of it.
        let address = hub.address();
        hub.stop().await;
        push(&node, "update", &["CH*ABC*E4"]).await;
        push(&node, "insert", &["CH*ABC*E5"]).await;
        push_states(&node, "update", &[("CH*ABC*E2", "Reserved")]).await;
        let hub = played(0, Some(address)).await;
        hub_has(&hub, &["CH*ABC*E2", "CH*ABC*E3", "CH*ABC*E4", "CH*ABC*E5"]).await;

        // It is overloaded for a while, answers HTML, and garbage.
        for (index, fault) in ["http=429", "http=500", "garbage"].into_iter().enumerate() {
            let fault: Behaviour = fault.parse().unwrap();
            hub.set_faults(fault);
            let id = format!("CH*ABC*E6{index}");
            push(&node, "insert", &[&id]).await;
            seen("a push that fails", async || {
                let failed =
                    |call: &HubReceived| call.operation == HubOperation::PushData && call.behaviour == fault;
                hub.received().iter().any(failed)
            })
            .await;
            hub.set_faults(Behaviour::Answer);
            seen("the record", async || hub.data_of("CHABC").iter().any(|raw| raw.contains(&id))).await;
        }
        let metrics = client(&node).get("metrics").await.unwrap();
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        assert!(metrics.contains(r#"chargemesh_hub_calls{operation="PushEvseData"}"#), "{metrics}");
        node.shutdown().await;
    });
}

#[test]
fn what_others_publish_at_the_hub_is_seen_by_our_emp() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (world, hub) = (World::new(), played(4_500, None).await);
        let node = world.start(&bridge("bridge", &hub, dir.path())).await;
        push(&node, "fullLoad", &["CH*ABC*E1"]).await;
        total_is(&node, 4_501).await;
        let (_, first) = pulled(&node, "DE-EMP", 0).await;
        assert!(first.find("CH*ABC*E1") < first.find("XQ*S00*E0"), "the view first");
        let (_, last) = pulled(&node, "DE-EMP", 2).await;
        assert_eq!(last.matches(r#""EvseID""#).count(), 501, "three pages");
        let status = async |id: &str| {
            let answer = client(&node).status_by_id("DE-EMP", &[id]).await.unwrap();
            String::from_utf8(answer.body.to_vec()).unwrap()
        };
        // Its record may be there before its status.
        let untold = |body: &str| body.contains("EvseNotFound") || body.contains("Unknown");
        seen("a status", async || !untold(&status(FOREIGN).await)).await;
        let evse = async |id: &str| admin(&node, &format!("evse/{id}")).await;
        let foreign = evse(FOREIGN).await;
        assert!(foreign["record"].is_object() && foreign["status"].is_object(), "{foreign}");
        assert_eq!(foreign["attested"], "bridge-attested");
        assert_eq!(evse("CH*ABC*E1").await["attested"], "party-signed");
        let shown = succeeds(dir.path(), &["evse", FOREIGN, "--node", &node.facade_url().unwrap()]);
        assert!(shown.contains("the central hub (bridge-attested)"), "{shown}");
        let call = async |operation: &str| {
            let calls = admin(&node, "hub").await["calls"].as_array().unwrap().clone();
            calls.into_iter().find(|call| call["operation"] == operation).unwrap_or_default()
        };
        assert_eq!(admin(&node, "hub").await["evses"], 4_500);
        for operation in ["PushEvseData", "PullEvseData", "PullEvseStatus"] {
            seen(operation, async || call(operation).await["answered_unix_ms"].is_u64()).await;
            assert!(call(operation).await["failed_unix_ms"].is_null(), "{}", call(operation).await);
        }

        hub.touch_seeds(7..8);
        seen("a change", async || {
            let calls = hub.received();
            let delta = calls.iter().rev().find(|call| call.operation == HubOperation::PullData).unwrap();
            String::from_utf8_lossy(&delta.body).contains("LastCall")
                && pulled(&node, "DE-EMP", 0).await.1.matches("Station 7 as of 0\"").count() == 0
        })
        .await;
        hub.shrink_seeds(4_000);
        total_is(&node, 4_001).await;

        // The hub is away: our own goes on.
        hub.stop().await;
        push(&node, "insert", &["CH*ABC*E2"]).await;
        total_is(&node, 4_002).await;
        seen("a failure", async || call("PullEvseData").await["failed_unix_ms"].is_u64()).await;
        let doctor = told(&call_cli(dir.path(), &["doctor", "--node", &node.facade_url().unwrap()]));
        assert!(doctor.contains("PullEvseData: answered ") && doctor.contains("; failed "), "{doctor}");
        node.shutdown().await;
    });
}

/// Whether a text is anywhere in a directory's files.
fn on_disk(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn what_came_through_the_hub_never_leaves_the_node() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (world, hub) = (World::new(), played(2_000, None).await);
        let mut plan = bridge("bridge", &hub, dir.path()).also("EMP:DEELS");
        // What is said of the second EMP: a backend that speaks for both sees with each what that one may.
        plan.settings.hub.parties = vec!["CPO:CH*ABC".into(), "EMP:DE-EMP".into()];
        let node = world.start(&plan).await;
        total_is(&node, 2_000).await;
        assert_eq!(pulled(&node, "DE-ELS", 0).await.0, 0, "no partner of the hub");

        // Another node gossips, compares and repairs with this one, and asks for everything.
        let other =
            with_key(Plan::new("other", Some("EMP:DEOTH"), dir.path()).bootstrap(node.mesh_addresses()));
        let other_node = world.start(&other).await;
        push(&node, "fullLoad", &["CH*ABC*E1"]).await;
        push_states(&node, "fullLoad", &[("CH*ABC*E1", "Available")]).await;
        let view =
            until(&other_node, "our own", |view| view.view_evses == 1 && view.view_statuses == 1).await;
        assert!(view.feeds.iter().all(|feed| feed.party == "CPO:CHABC" && feed.count == 1), "{view:#?}");
        let (total, text) = pulled(&other_node, "DE-OTH", 0).await;
        assert!(total == 1 && !text.contains("XQ*"), "{text}");
        let body = r#"{"ProviderID":"DE-OTH"}"#;
        let states = client(&other_node).pull_evse_status("DE-OTH", body.into()).await.unwrap();
        assert!(!String::from_utf8_lossy(&states.body).contains("XQ*"));
        // A change at the hub is none here: it reaches nobody, whatever is gossiped and compared meanwhile.
        hub.touch_seeds(0..2_000);
        hub.shrink_seeds(1_999);
        total_is(&node, 2_000).await;
        push(&node, "insert", &["CH*ABC*E2"]).await;
        until(&other_node, "our own change", |view| view.view_evses == 2).await;
        let own = node.engine().unwrap().view().await.unwrap();
        assert!(own.feeds.iter().all(|feed| feed.party == "CPO:CHABC"), "in no feed: {own:#?}");
        assert!(!pulled(&other_node, "DE-OTH", 0).await.1.contains("XQ*"));
        other_node.shutdown().await;
        assert!(on_disk(&dir.path().join("bridge"), FOREIGN), "the look finds what is there");
        assert!(!on_disk(&dir.path().join("other"), "XQ*S00"));
        assert!(!on_disk(&dir.path().join("other"), "A made up operator"));

        // Without the hub nothing of it is left.
        node.shutdown().await;
        plan.settings.hub = HubConfig::default();
        let node = world.start(&plan).await;
        assert_eq!(pulled(&node, "DE-EMP", 0).await.0, 2);
        node.shutdown().await;
    });
}

/// A hub that knows its partners by this certificate.
async fn played_over_tls(ca: &Ca, shown: &Issued, partner: &Issued) -> Hub {
    let partners = ["CPO:CH*ABC", "EMP:DE-EMP"];
    let partners = partners.map(|id| format!("{id},certificate={}", partner.fingerprint()).parse().unwrap());
    let mut config = Played::new(partners.into(), SystemClock::start());
    config.tls = Some(HubTls {
        certificate: shown.certificate.clone().into_bytes(),
        key: shown.key.clone().into_bytes(),
        client_ca: ca.pem().into_bytes(),
    });
    config.seeds = 10;
    config.limits = Limits::none();
    Hub::start(config).await.unwrap()
}

/// A node that shows this certificate to the hub, out of `ours.crt` and `ours.key`.
fn showing(mut plan: Plan, ca: &Ca, ours: &Issued, dir: &Path) -> Plan {
    let (certificate, key) = ours.write(dir, "ours");
    let roots = dir.join("hub-roots.pem");
    std::fs::write(&roots, ca.pem()).unwrap();
    plan.settings.hub = HubConfig { certificate, key, ca: roots, ..plan.settings.hub };
    plan
}

#[test]
fn another_certificate_for_the_hub_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let ca = Ca::new("hub");
        let shown = ca.issue("hub", Side::Server, GOOD);
        let [first, next] = ["first", "next"].map(|name| ca.issue(name, Side::Client, GOOD));
        let hub = played_over_tls(&ca, &shown, &next).await;
        let plan = showing(bridge("bridge", &hub, dir.path()), &ca, &first, dir.path());
        let node = World::new().start(&plan).await;
        let in_use = || {
            let used = node.certificates();
            used.into_iter().find(|used| used.what_for.as_str() == "hub").unwrap().certificate.fingerprint
        };
        // What the hub said last to a message about a session.
        let asked = async || {
            let path = "api/oicp/charging/v21/operators/CH*ABC/authorize/start";
            client(&node).post(path, "application/json", CARD.into()).await.unwrap();
            let received = hub.received();
            let last = received.iter().rfind(|call| call.operation == HubOperation::AuthorizeStart);
            last.expect("the hub is asked").http_status
        };
        push(&node, "fullLoad", &["CH*ABC*E1"]).await;
        let refused =
            |call: &HubReceived| call.operation == HubOperation::PushData && call.http_status == 401;
        seen("a refusal", async || hub.received().iter().any(refused)).await;
        assert_eq!((asked().await, in_use()), (401, first.fingerprint()));

        next.write(dir.path(), "ours");
        assert!(node.reload_certificates(&plan.settings).is_empty());
        hub_has(&hub, &["CH*ABC*E1"]).await;
        assert_eq!((asked().await, in_use()), (200, next.fingerprint()));
        total_is(&node, 11).await;

        for broken in ["", "no certificate", &first.certificate] {
            std::fs::write(dir.path().join("ours.crt"), broken).unwrap();
            let failed = node.reload_certificates(&plan.settings);
            assert_eq!(failed.len(), 1, "{failed:?}");
        }
        push(&node, "insert", &["CH*ABC*E2"]).await;
        hub_has(&hub, &["CH*ABC*E1", "CH*ABC*E2"]).await;
        assert_eq!((asked().await, in_use()), (200, next.fingerprint()));
        node.shutdown().await;
    });
}

#[test]
fn over_tls_the_hub_knows_us_by_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let ca = Ca::new("hub");
        let [shown, ours, others] =
            [("hub", Side::Server), ("bridge", Side::Client), ("others", Side::Client)]
                .map(|(name, side)| ca.issue(name, side, GOOD));
        let hub = played_over_tls(&ca, &shown, &ours).await;
        let plan = showing(bridge("bridge", &hub, dir.path()), &ca, &ours, dir.path());
        let node = World::new().start(&plan).await;
        push(&node, "fullLoad", &["CH*ABC*E1"]).await;
        hub_has(&hub, &["CH*ABC*E1"]).await;
        total_is(&node, 11).await;
        let ends = client(&node).get("metrics").await.unwrap();
        let ends = String::from_utf8(ends.body.to_vec()).unwrap();
        for what_for in ["hub", "hub_ca"] {
            let line = format!("chargemesh_certificate_expires_in_seconds{{use=\"{what_for}\"");
            assert!(ends.contains(&line), "{line} in {ends}");
        }

        let path = "api/oicp/evsepush/v23/operators/CH*ABC/data-records";
        let body = push_data("fullLoad", "CH*ABC", &[]);
        let other = HubClient::with_tls(&hub.url(), None, &tls(&ca, Some(&others))).unwrap();
        let answer = other.post(path, "application/json", body.clone()).await.unwrap();
        assert_eq!(answer.http_status, 401, "a good certificate, but of somebody else");
        let nobody = HubClient::with_tls(&hub.url(), None, &tls(&ca, None)).unwrap();
        let answer = nobody.post(path, "application/json", body).await.unwrap();
        assert_eq!(answer.http_status, 401, "no certificate is nobody's");
        hub_has(&hub, &["CH*ABC*E1"]).await;
        node.shutdown().await;
    });
}
