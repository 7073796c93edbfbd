//! Two operators claim one EVSE: the precedence decides in the view, both are told, nothing is lost.

use crate::support::{Plan, World, client, push_data, push_status, runtime, until, view};

const PULL: &str = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;

#[test]
fn the_main_id_wins_and_both_publishers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let plan = |name, party| Plan::new(name, Some(party), dir.path()).bootstrap(emp.mesh_addresses());
        let owner = world.start(&plan("owner", "CPO:CHABC")).await;
        let hub = world.start(&plan("hub", "CPO:CHHUB").subs(&["CH*ABC"])).await;
        let (own, theirs) = (&["CH*ABC*E1", "CH*ABC*E2"][..], &["CH*ABC*E1", "CH*HUB*E1"][..]);
        // The hub is first, and both are answered 000.
        for (node, operator, ids) in [(&hub, "CH*HUB", theirs), (&owner, "CH*ABC", own)] {
            let answer =
                client(node).push_evse_data(operator, push_data("fullLoad", operator, ids)).await.unwrap();
            assert_eq!((answer.result, answer.status.code.as_str()), (true, "000"));
            let statuses: Vec<(&str, &str)> = ids
                .iter()
                .map(|id| (*id, if operator == "CH*ABC" { "Available" } else { "Occupied" }))
                .collect();
            let answer = client(node)
                .push_evse_status(operator, push_status("fullLoad", operator, &statuses))
                .await
                .unwrap();
            assert!(answer.result);
        }
        let known = until(&emp, "three of four in the view", |view| {
            (view.view_evses, view.view_statuses) == (3, 3)
                && view.conflicts.len() == 2
                && view.feeds.iter().all(|feed| feed.in_sync)
        });
        let known = known.await;
        for conflict in &known.conflicts {
            assert_eq!(conflict.shown.as_deref(), Some("CPO:CHABC"), "{conflict:?}");
            assert_eq!(conflict.claimed_by, ["CPO:CHABC", "CPO:CHHUB"]);
            assert!(!conflict.reported_by_peer);
        }
        let of =
            |party: &str| known.feeds.iter().find(|feed| feed.party == party && feed.kind == "data").unwrap();
        assert_eq!((of("CPO:CHHUB").count, of("CPO:CHHUB").shadowed), (2, 1), "the loser stays in its feed");
        assert_eq!((of("CPO:CHABC").count, of("CPO:CHABC").shadowed), (2, 0));
        assert_eq!(known.records_refused, 0);
        for node in [&owner, &hub] {
            let told = until(node, "both are told", |view| view.conflicts.len() == 2).await;
            assert!(
                told.conflicts
                    .iter()
                    .all(|conflict| conflict.reported_by_peer && conflict.claimed_by.len() == 2),
                "{told:#?}"
            );
        }
        let pulled = client(&emp).pull_evse_data("DE-EMP", PULL.into(), 0, 20).await.unwrap();
        let text = String::from_utf8(pulled.body.to_vec()).unwrap();
        assert_eq!(
            (
                text.matches(r#""EvseID":"CH*ABC*E1""#).count(),
                text.matches("\"OperatorID\":\"CH*HUB\"").count()
            ),
            (1, 1),
            "{text}"
        );
        let status = client(&emp).status_by_id("DE-EMP", &["CH*ABC*E1"]).await.unwrap();
        assert!(String::from_utf8(status.body.to_vec()).unwrap().contains("Available"));

        // The owner gives it up: the other's record is shown, the conflict is over.
        let deleted = client(&owner)
            .push_evse_data("CH*ABC", push_data("delete", "CH*ABC", &["CH*ABC*E1"]))
            .await
            .unwrap();
        assert!(deleted.result);
        until(&emp, "the hub's record", |view| view.conflicts.is_empty() && view.view_evses == 3).await;
        let pulled = client(&emp).pull_evse_data("DE-EMP", PULL.into(), 0, 20).await.unwrap();
        let text = String::from_utf8(pulled.body.to_vec()).unwrap();
        assert_eq!(text.matches("\"OperatorID\":\"CH*HUB\"").count(), 2, "{text}");
        for node in [hub, owner, emp] {
            node.shutdown().await;
        }
    });
}

/// Neither is the owner: nobody is shown, until one of them gives way.
#[test]
fn a_tie_is_shown_to_nobody_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp_plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path());
        let emp = world.start(&emp_plan).await;
        let plan = |name, party| {
            Plan::new(name, Some(party), dir.path()).subs(&["CH*ABC"]).bootstrap(emp.mesh_addresses())
        };
        let one = world.start(&plan("one", "CPO:CHONE")).await;
        let two = world.start(&plan("two", "CPO:CHTWO")).await;
        for (node, operator) in [(&one, "CH*ONE"), (&two, "CH*TWO")] {
            let own = format!("{operator}*E1");
            let answer = client(node)
                .push_evse_data(operator, push_data("fullLoad", operator, &["CH*ABC*E1", &own]))
                .await
                .unwrap();
            assert!(answer.result);
        }
        let tied = until(&emp, "a tie", |view| view.view_evses == 2 && view.conflicts.len() == 1).await;
        assert_eq!(tied.conflicts[0].shown, None);
        let pulled = async |node: &chargemesh::node::Node| {
            let pulled = client(node).pull_evse_data("DE-EMP", PULL.into(), 0, 20).await.unwrap();
            String::from_utf8(pulled.body.to_vec()).unwrap()
        };
        assert!(!pulled(&emp).await.contains("CH*ABC*E1"));
        one.shutdown().await;
        two.shutdown().await;
        emp.shutdown().await;
        let emp = world.start(&emp_plan).await;
        let again = view(&emp).await;
        assert_eq!((again.view_evses, again.conflicts.len()), (2, 1), "{again:#?}");
        assert!(!pulled(&emp).await.contains("CH*ABC*E1"));
        emp.shutdown().await;
    });
}
