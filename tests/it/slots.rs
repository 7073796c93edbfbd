//! Several nodes for one party: the same credential and org key, a delegation each, one writer of the feeds.

use std::path::Path;

use bytes::Bytes;
use chargemesh::identity::PartyId;
use chargemesh::oicp::acknowledgement::Acknowledgement;
use chargemesh::outbound::HubClient;
use chargemesh::protocol::{Kind, Topic};

use crate::attacker::{Attacker, Pen};
use crate::cli::{Running, call, refused, succeeds, told, wait_for};
use crate::support::{Plan, World, push_data, push_status, runtime, until, view};
use crate::trust_ops::{all_show, vouched_for};

/// What a node answers to a push of one EVSE.
fn push(node: &Running, evse: &str) -> Acknowledgement {
    let client = HubClient::new(&node.url(), None).unwrap();
    runtime().block_on(client.push_evse_data("DE*GEF", push_data("insert", "DE*GEF", &[evse]))).unwrap()
}

fn shows(dir: &Path, node: &Running, what: &str) {
    wait_for(&format!("{what} at {}", node.url()), || {
        succeeds(dir, &["peers", "--node", &node.url()]).contains(what).then_some(())
    });
}

/// Waits until a node lists an agreement like this.
fn lists(dir: &Path, node: &Running, what: &str) {
    wait_for(&format!("{what} at {}", node.url()), || {
        told(&call(dir, &["agreement", "list", "--node", &node.url()])).contains(what).then_some(())
    });
}

#[test]
fn two_nodes_speak_for_one_party_and_one_of_them_writes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    assert!(refused(dir, &["party", "delegate", "second", "--of", "cpo", "--slot", "0"]).contains("1..=7"));
    let foreign =
        ["party", "delegate", "second", "--of", "cpo", "--slot", "1", "--org-key", "emp/keys/org.key"];
    assert!(refused(dir, &foreign).contains("not the org key"));
    assert!(!dir.join("second").exists(), "nothing is made by a command that fails");
    let said = succeeds(dir, &["party", "delegate", "second", "--of", "cpo", "--slot", "1"]);
    assert!(said.contains("node 1 of CPO:DEGEF") && !dir.join("second/keys/org.key").exists(), "{said}");
    assert!(
        refused(dir, &["party", "delegate", "second", "--of", "cpo", "--slot", "1"]).contains("not empty")
    );

    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    let second = Running::start(dir, "second");
    assert!(push(&cpo, "DE*GEF*E1").result);
    shows(dir, &emp, "shows 1 EVSEs");
    // Both hold the party's feed, one writes it.
    shows(dir, &second, "shows 1 EVSEs");
    let answer = push(&second, "DE*GEF*E2");
    let info = answer.status.additional_info.clone().unwrap_or_default();
    assert_eq!((answer.result, answer.status.code.as_str()), (false, "009"), "{answer:?}");
    assert!(info.contains("slot 1 of CPO:DEGEF") && info.contains("node with slot 0 ("), "{info}");
    let client = HubClient::new(&second.url(), None).unwrap();
    let status = push_status("fullLoad", "DE*GEF", &[("DE*GEF*E1", "Occupied")]);
    assert!(!runtime().block_on(client.push_evse_status("DE*GEF", status)).unwrap().result);

    // To partners both are the same party: what one offers, all nodes of both hear of.
    let url = second.url();
    let offer = ["agreement", "offer", "EMP:DE-DCB", "--services", "Cdr", "--node", &url];
    let id = succeeds(dir, &offer).split(':').next().unwrap().to_owned();
    lists(dir, &emp, "offered to us");
    succeeds(dir, &["agreement", "accept", &id, "--node", &emp.url()]);
    for node in [&cpo, &second, &emp] {
        lists(dir, node, "in force");
    }
    all_show(dir, &[&cpo, &second, &emp], &["CPO:DEGEF", "live"]);
    let said = succeeds(dir, &["trust", "show", "--node", &emp.url()]);
    assert!(!said.contains("  frozen  ") && !said.contains("Conflict"), "{said}");

    // A renewal keeps the slot; another slot needs a restart, and then the second takes over.
    let renew = ["renew", "second", "--org-key", "cpo/keys/org.key"];
    succeeds(dir, &renew);
    second.send("HUP");
    wait_for("a reload", || second.logged().contains("were loaded anew").then_some(()));
    assert!(!push(&second, "DE*GEF*E2").result);
    drop(cpo);
    succeeds(dir, &[renew.as_slice(), &["--slot", "0"]].concat());
    second.send("HUP");
    wait_for("a refusal", || second.logged().contains("restart the node").then_some(()));
    drop(second);
    let second = Running::start(dir, "second");
    shows(dir, &second, "shows 1 EVSEs");
    let answer = push(&second, "DE*GEF*E2");
    assert!(answer.result, "{answer:?}");
    shows(dir, &emp, "shows 2 EVSEs");
}

#[test]
fn peers_take_no_head_of_a_node_that_is_not_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let attacker = Attacker::join("attacker", &emp).await;
        let mut honest = Pen::new(&world, "honest", "CPO:CHABC", Kind::Data);
        attacker.say(|script| script.chains.push(honest.chain.clone()));
        attacker.gossip(Topic::Data, honest.write(&["CH*ABC*E1"]).encode());
        until(&emp, "the writer's EVSE", |view| view.view_evses == 1).await;

        let mut other = Pen::new(&world, "honest", "CPO:CHABC", Kind::Data);
        let party = PartyId::parse("CPO:CHABC").unwrap();
        other.chain = world.chain(&Plan::new("honest", Some("CPO:CHABC"), dir.path()).slot(1), &party, 2);
        other.key = crate::support::message_key(&Plan::new("honest", None, dir.path()), 2);
        other.head.epoch = 2;
        attacker.say(|script| script.chains.push(other.chain.clone()));
        let written: Bytes = other.write(&["CH*ABC*E1", "CH*ABC*E2"]).encode();
        attacker.gossip(Topic::Data, written);
        let after = until(&emp, "the refusal", |view| view.records_refused == 1).await;
        assert_eq!((after.view_evses, after.feeds.len()), (1, 1));
        attacker.gossip(Topic::Data, honest.write(&["CH*ABC*E3"]).encode());
        until(&emp, "the writer's next", |view| view.view_evses == 2).await;
        assert_eq!(view(&emp).await.records_refused, 1);
        attacker.mesh.shutdown().await;
        emp.shutdown().await;
    });
}
