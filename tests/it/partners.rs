//! Partners know each other only through one bootstrap node: they find each other's cards, get a connection, and
//! get it again when one of them comes back elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};

use chargemesh::engine::NodeView;
use chargemesh::identity::PartyId;
use chargemesh::node::Node;
use chargemesh::roaming::{Policy, Rule, Whom};

use crate::support::{Plan, World, post, runtime, unix_s, until};

/// A node that dials nobody of its own accord but its bootstrap node, and its partners.
fn plan(name: &str, party: &str, dir: &Path, boot: &Node) -> Plan {
    let mut plan = Plan::new(name, Some(party), dir).bootstrap(boot.mesh_addresses());
    let mesh = &mut plan.settings.mesh;
    // Kademlia leads nobody to a client: nothing but its card says where it is.
    mesh.kad_client = true;
    (mesh.peers_target, mesh.connections_low, mesh.connections_high) = (1, 0, 1);
    plan
}

fn has_partner(party: &'static str) -> impl Fn(&NodeView) -> bool {
    move |view| {
        let Some(partner) = view.partners.iter().find(|partner| partner.party == party) else { return false };
        let kept =
            |node: &String| view.peers.iter().any(|peer| peer.node == *node && peer.purpose == "partner");
        partner.connected && partner.looked_for_since_unix_ms.is_none() && partner.nodes.iter().any(kept)
    }
}

fn misses(party: &'static str) -> impl Fn(&NodeView) -> bool {
    move |view| {
        let away = |p: &chargemesh::engine::PartnerView| p.looked_for_since_unix_ms.is_some() && !p.connected;
        view.partners.iter().any(|partner| partner.party == party && away(partner))
    }
}

#[test]
fn partners_get_a_connection_and_keep_it_though_one_moves() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let boot = world.start(&Plan::new("boot", None, dir.path())).await;
        let cpo_plan = plan("cpo", "CPO:CHABC", dir.path(), &boot);
        let emp_plan = plan("emp", "EMP:DEEMP", dir.path(), &boot);
        // The policy of one side names the other: that alone makes them meet.
        let mut meeting = emp_plan.clone();
        let whom = Whom { party: Some(PartyId::parse("CPO:CHABC").unwrap()), ..Whom::default() };
        meeting.settings.policy = Policy { rules: vec![Rule { whom, services: [].into(), allow: true }] };
        let cpo = world.start(&cpo_plan).await;
        let emp = world.start(&meeting).await;
        until(&emp, "a partner by policy", has_partner("CPO:CHABC")).await;
        let offer = format!(
            r#"{{"partner":"EMP:DE-EMP","services":["Authorization"],"valid_until_unix_s":{}}}"#,
            unix_s() + 86_400
        );
        assert_eq!(post(&cpo, "/admin/v1/agreements", "application/json", offer).await.http, 200);
        let id = until(&emp, "an offer", |view| !view.agreements.is_empty()).await.agreements[0].id.clone();
        let accept = format!("/admin/v1/agreements/{id}/accept");
        assert_eq!(post(&emp, &accept, "application/json", String::new()).await.http, 200);
        until(&cpo, "a partner by agreement", has_partner("EMP:DEEMP")).await;

        // From here on only the agreement speaks for it.
        let before = emp.mesh_addresses()[0].clone();
        emp.shutdown().await;
        until(&cpo, "the partner missed", misses("EMP:DEEMP")).await;
        let emp = world.start(&emp_plan).await;
        assert_ne!(emp.mesh_addresses()[0], before, "on another port");
        until(&emp, "the partner after a restart", has_partner("CPO:CHABC")).await;
        until(&cpo, "the partner at its new place", has_partner("EMP:DEEMP")).await;
        let url = format!("http://{}", cpo.facade_address().unwrap());
        let client = crate::support::http_client();
        let metrics = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("chargemesh_partners 1") && metrics.contains("chargemesh_partners_away 0"));
        let mut peers = Command::new(env!("CARGO_BIN_EXE_chargemesh"));
        let shown = peers.args(["peers", "--node", &url]).stdin(Stdio::null()).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("Partners: 1, connected 1") && shown.contains("EMP:DEEMP"), "{shown}");
        for node in [cpo, emp, boot] {
            node.shutdown().await;
        }
    });
}
