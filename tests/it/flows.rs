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

        let pushed = client(&cpo).push_evse_data("CH*ABC", push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"])).await.unwrap();
        assert!(pushed.result, "{pushed:?}");
        until(&emp, "two records", |view| view.view_evses == 2).await;
        let pushed = client(&cpo).push_evse_status("CH*ABC", push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Occupied")])).await.unwrap();
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
