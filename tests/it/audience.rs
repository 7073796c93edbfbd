//! A record for named parties alone, between real nodes: the member's pull shows it, nobody else's does, and
//! other nodes do not even have it on their disks.

use std::path::Path;

use chargemesh::engine::NodeView;
use chargemesh::node::Node;
use chargemesh::outbound::HubClient;
use chargemesh::roaming::Visibility;

use crate::support::{Plan, World, push_data, push_status, runtime, until};

const CLOSED: &str = "CH*ABC*EHIDDEN7";
const PUBLIC: &str = "CH*ABC*EOPEN8";

/// The publisher's node has several providers, so a backend has to say who it is.
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

/// What a provider sees of the two EVSEs at a node: data and status.
async fn sees(node: &Node, provider: &str) -> Vec<(bool, bool)> {
    let body = format!(r#"{{"ProviderID":"{provider}","GeoCoordinatesResponseFormat":"Google"}}"#);
    let data = client(node).pull_evse_data(provider, body.into(), 0, 20).await.unwrap();
    let body = format!(r#"{{"ProviderID":"{provider}"}}"#);
    let all = client(node).pull_evse_status(provider, body.into()).await.unwrap();
    let by_id = client(node).status_by_id(provider, &[CLOSED, PUBLIC]).await.unwrap();
    let [data, all, by_id] = [data, all, by_id].map(|said| String::from_utf8(said.body.to_vec()).unwrap());
    let known = |id: &str| by_id.contains(&format!(r#""EvseID":"{id}","EvseStatus":"Available""#));
    let seen = |id: &str| {
        assert_eq!(all.contains(id), known(id), "{id}: {all} {by_id}");
        (data.contains(id), known(id))
    };
    vec![seen(CLOSED), seen(PUBLIC)]
}

const BOTH: [(bool, bool); 2] = [(true, true), (true, true)];
const PUBLIC_ALONE: [(bool, bool); 2] = [(false, false), (true, true)];

/// Whether a text is anywhere in a directory's files.
fn on_disk(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

fn holds(feeds: usize) -> impl Fn(&NodeView) -> bool {
    move |view| view.feeds.len() == feeds && view.feeds.iter().all(|feed| feed.in_sync && feed.count > 0)
}

#[test]
fn a_record_for_named_parties_reaches_their_nodes_alone() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let member_plan = with_key(Plan::new("member", Some("EMP:DEMEM"), dir.path()));
        let member = world.start(&member_plan).await;
        let plan = |name, party| {
            with_key(Plan::new(name, Some(party), dir.path()).bootstrap(member.mesh_addresses()))
        };
        let other = world.start(&plan("other", "EMP:DEOTH")).await;
        let mut cpo_plan = plan("cpo", "CPO:CHABC").also("EMP:CHHST").also("EMP:CHOUT");
        let rule = r#"{"rule":[{"evses":["CH*ABC*EHID*"],"parties":["EMP:DE-MEM","EMP:CH-HST"]}]}"#;
        cpo_plan.settings.visibility = serde_json::from_str::<Visibility>(rule).unwrap();
        let cpo = world.start(&cpo_plan).await;
        until(&cpo, "both peers", |view| view.peers.len() == 2).await;

        let data = push_data("fullLoad", "CH*ABC", &[CLOSED, PUBLIC]);
        assert!(client(&cpo).push_evse_data("CH*ABC", data).await.unwrap().result);
        let states = push_status("fullLoad", "CH*ABC", &[(CLOSED, "Available"), (PUBLIC, "Available")]);
        assert!(client(&cpo).push_evse_status("CH*ABC", states).await.unwrap().result);

        let known = until(&member, "all four feeds", holds(4)).await;
        assert_eq!((known.view_evses, known.view_statuses), (1, 1), "what everybody sees");
        assert_eq!(known.feeds.iter().filter(|feed| feed.audience == ["EMP:CHHST", "EMP:DEMEM"]).count(), 2);
        until(&other, "the public feeds", holds(2)).await;
        assert_eq!(sees(&member, "DE-MEM").await, BOTH);
        assert_eq!(sees(&other, "DE-OTH").await, PUBLIC_ALONE);
        assert_eq!(sees(&cpo, "CH-HST").await, BOTH, "a member at the publisher's own node");
        assert_eq!(sees(&cpo, "CH-OUT").await, PUBLIC_ALONE, "another party there");

        // A restart of the publisher and of the member keeps it; the other never had it.
        other.shutdown().await;
        cpo.shutdown().await;
        let data_dir = |name: &str| dir.path().join(name);
        assert!(on_disk(&data_dir("other"), "EOPEN8"), "the look finds what is there");
        assert!(!on_disk(&data_dir("other"), "EHIDDEN7"));
        assert!(on_disk(&data_dir("cpo"), "EHIDDEN7"));
        let cpo = world.start(&cpo_plan).await;
        assert_eq!(sees(&cpo, "CH-HST").await, BOTH);
        assert_eq!(sees(&cpo, "CH-OUT").await, PUBLIC_ALONE);
        let address = member.mesh_addresses().to_vec();
        member.shutdown().await;
        let mut again = member_plan.bootstrap(cpo.mesh_addresses());
        again.settings.mesh.listen =
            address.iter().filter_map(|a| Some(a.split_once("/p2p/")?.0.into())).collect();
        let member = world.start(&again).await;
        assert_eq!(sees(&member, "DE-MEM").await, BOTH, "from its own disk");

        // Without the rule it is everybody's again.
        cpo.shutdown().await;
        cpo_plan.settings.visibility = Visibility::default();
        let cpo = world.start(&cpo_plan).await;
        until(&cpo, "it is public", |view| view.view_evses == 2 && view.view_statuses == 2).await;
        assert_eq!(sees(&cpo, "CH-OUT").await, BOTH);
        until(&member, "it is public there too", |view| view.view_evses == 2 && view.view_statuses == 2)
            .await;
        assert_eq!(sees(&member, "DE-MEM").await, BOTH);
        for node in [cpo, member] {
            node.shutdown().await;
        }
    });
}
