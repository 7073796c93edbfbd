//! Nodes that lost something, or were away: everything comes back from the ledger and from any peer.

use std::path::Path;
use std::time::Duration;

use chargemesh::engine::NodeView;
use chargemesh::node::Node;

use crate::support::{PATIENCE, Plan, World, client, content, push_data, push_status, runtime, until, view};

async fn push(node: &Node, action: &str, ids: &[&str]) {
    let answer = client(node).push_evse_data("CH*ABC", push_data(action, "CH*ABC", ids)).await.unwrap();
    assert!(answer.result, "{answer:?}");
}

async fn push_states(node: &Node, action: &str, statuses: &[(&str, &str)]) {
    let answer =
        client(node).push_evse_status("CH*ABC", push_status(action, "CH*ABC", statuses)).await.unwrap();
    assert!(answer.result, "{answer:?}");
}

fn copy(from: &Path, to: &Path) {
    let _old = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        // SQLite may still take away its (empty) log.
        let copied = std::fs::copy(&path, to.join(path.file_name().unwrap()));
        assert!(copied.is_ok() || !path.exists(), "{}: {copied:?}", path.display());
    }
}

/// Roots of all feeds, whatever their incarnation.
fn roots(view: &NodeView) -> Vec<(String, &'static str, u64, String)> {
    let mut roots = content(view);
    roots.sort();
    roots
}

fn complete(view: &NodeView, wanted: &[(String, &'static str, u64, String)]) -> bool {
    roots(view) == wanted && view.feeds.iter().all(|feed| feed.in_sync)
}

#[test]
fn a_writer_restored_from_an_old_backup_takes_its_feed_back_from_peers() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let plan = Plan::new("cpo", Some("CPO:CHABC"), dir.path()).bootstrap(emp.mesh_addresses());
        let (data, backup) = (plan.settings.storage.data_dir.clone(), dir.path().join("backup"));
        let cpo = world.start(&plan).await;
        push(&cpo, "fullLoad", &["CH*ABC*E1", "CH*ABC*E2"]).await;
        push_states(&cpo, "fullLoad", &[("CH*ABC*E1", "Available")]).await;
        cpo.shutdown().await;
        copy(&data, &backup);

        let cpo = world.start(&plan).await;
        push(&cpo, "insert", &["CH*ABC*E3"]).await;
        push(&cpo, "delete", &["CH*ABC*E2"]).await;
        push_states(&cpo, "update", &[("CH*ABC*E1", "Occupied")]).await;
        push_states(&cpo, "insert", &[("CH*ABC*E3", "Reserved")]).await;
        let acknowledged = roots(&view(&cpo).await);
        until(&emp, "everything", |view| complete(view, &acknowledged)).await;
        cpo.shutdown().await;
        copy(&backup, &data);

        let cpo = world.start(&plan).await;
        until(&cpo, "what was acknowledged is back", |view| complete(view, &acknowledged)).await;
        // It goes on where it was: the insert is refused, the update taken, nothing equivocates.
        let known = client(&cpo)
            .push_evse_data("CH*ABC", push_data("insert", "CH*ABC", &["CH*ABC*E3"]))
            .await
            .unwrap();
        assert_eq!(known.status.code, "009");
        push(&cpo, "insert", &["CH*ABC*E4"]).await;
        let now = roots(&view(&cpo).await);
        let same = until(&emp, "the EMP follows", |view| complete(view, &now)).await;
        assert!(same.feeds.iter().all(|feed| feed.state == "ok"), "{same:#?}");
        assert_eq!((same.view_evses, same.view_statuses), (3, 2));
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

/// A push right after the start from an old backup must wait for the peers' word.
#[test]
fn a_push_right_after_the_restore_does_not_overwrite_what_peers_hold() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let mut plan = Plan::new("cpo", Some("CPO:CHABC"), dir.path()).bootstrap(emp.mesh_addresses());
        plan.settings.replication.own_check_ms = 10_000;
        let (data, backup) = (plan.settings.storage.data_dir.clone(), dir.path().join("backup"));
        let cpo = world.start(&plan).await;
        push(&cpo, "fullLoad", &["CH*ABC*E1"]).await;
        cpo.shutdown().await;
        copy(&data, &backup);
        let cpo = world.start(&plan).await;
        push(&cpo, "insert", &["CH*ABC*E2", "CH*ABC*E3"]).await;
        until(&emp, "three", |view| view.view_evses == 3).await;
        cpo.shutdown().await;
        copy(&backup, &data);
        let cpo = world.start(&plan).await;
        push(&cpo, "insert", &["CH*ABC*E4"]).await;
        assert_eq!(view(&cpo).await.view_evses, 4, "the two that only peers knew are there");
        let now = roots(&view(&cpo).await);
        until(&emp, "four", |view| view.view_evses == 4 && complete(view, &now)).await;
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

#[test]
fn a_deleted_directory_is_filled_again_from_ledger_and_peers() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let other_plan = Plan::new("other", Some("CPO:CHXYZ"), dir.path());
        let other = world.start(&other_plan).await;
        let answer = client(&other)
            .push_evse_data("CH*XYZ", push_data("fullLoad", "CH*XYZ", &["CH*XYZ*E1"]))
            .await
            .unwrap();
        assert!(answer.result);
        let plan = Plan::new("both", Some("CPO:CHABC"), dir.path())
            .also("EMP:DEEMP")
            .bootstrap(other.mesh_addresses());
        let node = world.start(&plan).await;
        push(&node, "fullLoad", &["CH*ABC*E1", "CH*ABC*E2"]).await;
        push_states(&node, "fullLoad", &[("CH*ABC*E1", "Available")]).await;
        let both = |view: &NodeView| view.view_evses == 3 && view.feeds.iter().all(|feed| feed.in_sync);
        let wanted = roots(&until(&node, "both operators", both).await);
        node.shutdown().await;
        let data = &plan.settings.storage.data_dir;
        for file in ["directory.sqlite", "directory.sqlite-wal", "directory.sqlite-shm"] {
            let _may_be_missing = std::fs::remove_file(data.join(file));
        }
        let node = world.start(&plan).await;
        until(&node, "everything again", |view| complete(view, &wanted)).await;
        let pull = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;
        // What the core has taken is committed with the round, a moment later.
        let pulled = async || client(&node).crawl_evse_data("DE-EMP", pull.into(), |_| ()).await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let committed = async {
            while pulled().await != 3 {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, committed).await.expect("all three are pulled");
        node.shutdown().await;
        other.shutdown().await;
    });
}

/// For each other node: it alone is there, all writers are gone, and it makes the late one complete.
#[test]
fn a_node_that_was_down_is_complete_from_any_single_other_node() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let boot = world.start(&Plan::new("boot", None, dir.path())).await;
        let plan = |name: &str, party: &str| {
            Plan::new(name, Some(party), dir.path()).bootstrap(boot.mesh_addresses())
        };
        let cpo = world.start(&plan("cpo", "CPO:CHABC")).await;
        let late_plan = plan("late", "EMP:DELAT");
        let others = [plan("one", "EMP:DEONE"), plan("two", "EMP:DETWO"), plan("three", "EMP:DETHR")];
        let mut running = Vec::new();
        for other in &others {
            running.push(world.start(other).await);
        }
        let late = world.start(&late_plan).await;
        let ids: Vec<String> = (0..60).map(|number| format!("CH*ABC*E{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        push(&cpo, "fullLoad", &ids).await;
        let statuses: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "Available")).collect();
        push_states(&cpo, "fullLoad", &statuses).await;
        let first = roots(&view(&cpo).await);
        until(&late, "the first state", |view| complete(view, &first)).await;
        late.shutdown().await;
        let (late_data, backup) = (late_plan.settings.storage.data_dir.clone(), dir.path().join("backup"));
        copy(&late_data, &backup);

        // While it is away: changes, new ones, deleted ones.
        for round in 0..5 {
            let status = ["Occupied", "Available"][round % 2];
            let changes: Vec<(&str, &str)> =
                ids.iter().skip(round * 7).take(20).map(|id| (*id, status)).collect();
            push_states(&cpo, "update", &changes).await;
        }
        push_states(&cpo, "delete", &[(ids[0], "Available")]).await;
        push(&cpo, "delete", &ids[58..]).await;
        push(&cpo, "insert", &["CH*ABC*E100"]).await;
        push_states(&cpo, "insert", &[("CH*ABC*E100", "Reserved")]).await;
        let last = roots(&view(&cpo).await);
        for other in &running {
            until(other, "the last state", |view| complete(view, &last)).await;
        }
        cpo.shutdown().await;
        boot.shutdown().await;
        for other in running {
            other.shutdown().await;
        }
        for other_plan in others {
            let other = world.start(&other_plan.bootstrap(&[])).await;
            copy(&backup, &late_data);
            let late = world.start(&late_plan.clone().bootstrap(other.mesh_addresses())).await;
            let known = until(&late, "complete", |view| complete(view, &last)).await;
            assert_eq!((known.view_evses, known.view_statuses), (59, 58));
            late.shutdown().await;
            other.shutdown().await;
        }
    });
}

/// An operator renews the delegation of its node (it ends, or its epoch is raised): its feeds are its own
/// all the same, even where no peer can give them back.
#[test]
fn a_renewed_delegation_keeps_what_the_ledger_holds() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let mut plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEEMP");
        let node = world.start(&plan).await;
        push(&node, "fullLoad", &["CH*ABC*E1", "CH*ABC*E2"]).await;
        push_states(&node, "fullLoad", &[("CH*ABC*E1", "Available")]).await;
        node.shutdown().await;
        plan.epoch = 2;
        let node = world.start(&plan).await;
        let kept =
            until(&node, "the own feeds", |view| view.view_evses == 2 && view.view_statuses == 1).await;
        assert!(kept.feeds.iter().all(|feed| feed.own && feed.in_sync), "{kept:#?}");
        push(&node, "insert", &["CH*ABC*E3"]).await;
        // A joiner verifies it under the new delegation.
        let emp = world
            .start(&Plan::new("emp", Some("EMP:DEONE"), dir.path()).bootstrap(node.mesh_addresses()))
            .await;
        until(&emp, "all of it", |view| view.view_evses == 3 && view.view_statuses == 1).await;
        emp.shutdown().await;
        node.shutdown().await;
    });
}
