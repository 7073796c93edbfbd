//! Whole nodes over real sockets: from a backend's push to another backend's pull.

use crate::support::{Plan, World, client, push_data, push_status, until};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const PULL: &str = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"DecimalDegree"}"#;

/// One push, signed, one pull; a status in between; a restart of the EMP while the CPO is away.
#[test]
fn a_push_reaches_the_other_nodes_pull() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let boot = world.start(&Plan::new("boot", None, dir.path())).await;
        let plan = |name, party| Plan::new(name, Some(party), dir.path()).bootstrap(boot.mesh_addresses());
        let cpo = world.start(&plan("cpo", "CPO:CHABC")).await;
        let emp_plan = plan("emp", "EMP:DEEMP");
        let emp = world.start(&emp_plan).await;

        let pushed = client(&cpo)
            .push_evse_data("CH*ABC", push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"]))
            .await
            .unwrap();
        assert!(pushed.result, "{pushed:?}");
        until(&emp, "two records", |view| view.view_evses == 2).await;
        let pushed = client(&cpo)
            .push_evse_status("CH*ABC", push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Occupied")]))
            .await
            .unwrap();
        assert!(pushed.result, "{pushed:?}");
        until(&emp, "a status", |view| view.view_statuses == 1).await;

        let pulled = client(&emp).pull_evse_data("DE-EMP", PULL.into(), 0, 20).await.unwrap();
        let text = String::from_utf8_lossy(&pulled.body).into_owned();
        for part in ["CH*ABC*E1", "CH*ABC*E2", "x-own", "1.50", "Operator CH*ABC", "Latitude"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }

        // The EMP restarts while the only writer is gone: it still knows everything.
        cpo.shutdown().await;
        emp.shutdown().await;
        let emp = world.start(&emp_plan).await;
        until(&emp, "everything again", |view| view.view_evses == 2 && view.view_statuses == 1).await;
        emp.shutdown().await;
        boot.shutdown().await;
    });
}

/// Many writers that know only a bootstrap node, and readers that must hear all of them.
#[test]
fn twenty_writers_reach_three_readers() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let boot = world.start(&Plan::new("boot", None, dir.path())).await;
        let plan = |name: &str, party: &str| {
            Plan::new(name, Some(party), dir.path()).bootstrap(boot.mesh_addresses())
        };
        let mut emps = Vec::new();
        for number in 0..3 {
            emps.push(world.start(&plan(&format!("emp{number}"), &format!("EMP:DEE{number:02}"))).await);
        }
        let mut cpos = Vec::new();
        for number in 10..30 {
            cpos.push((
                number,
                world.start(&plan(&format!("cpo{number}"), &format!("CPO:CHA{number}"))).await,
            ));
        }
        for (number, cpo) in &cpos {
            let ids: Vec<String> = (0..50).map(|evse| format!("CH*A{number}*E{evse}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let operator = format!("CH*A{number}");
            let pushed =
                client(cpo).push_evse_data(&operator, push_data("fullLoad", &operator, &ids)).await.unwrap();
            assert!(pushed.result, "{pushed:?}");
            let statuses: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "Available")).collect();
            let pushed = client(cpo)
                .push_evse_status(&operator, push_status("fullLoad", &operator, &statuses))
                .await
                .unwrap();
            assert!(pushed.result, "{pushed:?}");
        }
        for emp in &emps {
            until(emp, "all records and statuses", |view| {
                view.view_evses == 1_000 && view.view_statuses == 1_000
            })
            .await;
        }
        for (number, cpo) in &cpos {
            let operator = format!("CH*A{number}");
            let change = push_status("update", &operator, &[(&format!("CH*A{number}*E7"), "Occupied")]);
            assert!(client(cpo).push_evse_status(&operator, change).await.unwrap().result);
        }
        for emp in &emps {
            until(emp, "the changes", |view| {
                view.feeds
                    .iter()
                    .filter(|feed| feed.kind == "status")
                    .all(|feed| feed.in_sync && feed.seq == 51)
            })
            .await;
        }
        for (_, node) in cpos {
            node.shutdown().await;
        }
        for node in emps {
            node.shutdown().await;
        }
        boot.shutdown().await;
    });
}
