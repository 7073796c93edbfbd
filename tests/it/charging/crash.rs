//! Nodes that are killed in the middle of a session, and come back on the same data.

use std::time::Duration;

use chargemesh::backend::{Kind, Operation};

use super::stage::{AUTHORIZE_START, NOTIFICATION, REMOTE_START, Stage, notification, remote_start};
use crate::support::runtime;

#[test]
fn the_operators_node_dies_after_it_called_its_backend() {
    runtime().block_on(async {
        let mut stage = Stage::of_processes().await;
        stage.cpo.behave("slow=1000");
        let calling = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let session = stage.cpo.next().await.session.unwrap();
        stage.cpo.kill().await;
        let answer = calling.await.unwrap().unwrap();
        assert_eq!(answer.code(), (200, "310".to_owned()), "{answer:?}");
        assert!(answer.took < Duration::from_millis(2_500), "{answer:?}");
        assert_eq!(answer.json()["SessionID"], session.as_str());

        stage.spawn(Kind::Cpo).await;
        assert_eq!(stage.agreed().await, [(session.clone(), "unconfirmed".to_owned())].into());
        // What settles it.
        let answer = stage.cpo_calls(NOTIFICATION, notification("Start", "CH*ABC", &session)).await;
        assert_eq!(answer.yes(), session);
        assert_eq!(stage.phases().await, ["active"]);
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        stage.end().await;
    });
}

#[test]
fn the_providers_node_dies_while_it_waits_for_the_answer() {
    runtime().block_on(async {
        let mut stage = Stage::of_processes().await;
        stage.cpo.behave("slow=1000");
        let calling = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let session = stage.cpo.next().await.session.unwrap();
        stage.emp.kill().await;
        assert!(calling.await.unwrap().is_err(), "nobody answers for a dead node");

        stage.spawn(Kind::Emp).await;
        assert_eq!(stage.agreed().await, [(session.clone(), "active".to_owned())].into());
        // Its backend never heard the answer: it hears it now.
        let told = stage.emp.next().await;
        assert_eq!(
            (told.operation, told.session.as_deref()),
            (Operation::Notification, Some(session.as_str()))
        );
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        stage.end().await;
    });
}

#[test]
fn both_nodes_die_and_nothing_is_asked_again() {
    runtime().block_on(async {
        let mut stage = Stage::of_processes().await;
        stage.cpo.behave("silent");
        let calling = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let session = stage.cpo.next().await.session.unwrap();
        stage.cpo.kill().await;
        stage.emp.kill().await;
        drop(calling.await.unwrap());
        stage.cpo.behave("answer");
        stage.spawn(Kind::Emp).await;
        stage.spawn(Kind::Cpo).await;
        stage.connected().await;
        assert_eq!(stage.agreed().await, [(session.clone(), "unconfirmed".to_owned())].into());
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E2")).await;
        assert_ne!(answer.yes(), session);
        stage.end().await;
    });
}

#[test]
fn a_kill_at_any_moment_of_a_start_loses_nothing() {
    runtime().block_on(async {
        let mut stage = Stage::of_processes().await;
        for (round, victim) in [Kind::Cpo, Kind::Emp].into_iter().cycle().take(8).enumerate() {
            let evse = format!("CH*ABC*E{round}");
            let calling = stage.begins(Kind::Emp, REMOTE_START, remote_start(&evse));
            // Another moment in each round: before it is received, called, answered.
            #[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
            tokio::time::sleep(Duration::from_millis(3 * round as u64)).await;
            if victim == Kind::Cpo {
                stage.cpo.kill().await
            } else {
                stage.emp.kill().await
            }
            let answer = calling.await.unwrap();
            assert!(victim == Kind::Emp || answer.is_ok(), "round {round}: {answer:?}");
            stage.spawn(victim).await;
            stage.connected().await;
            let sessions = stage.agreed().await;
            stage.nothing_was_asked_twice();
            let called = stage.cpo.got(Operation::RemoteStart);
            for call in called {
                let phase = &sessions[&call.session.unwrap()];
                assert!(phase == "active" || phase == "unconfirmed", "round {round}: {phase}");
            }
            if let Ok(answer) = answer
                && answer.json()["Result"] == true
            {
                assert_eq!(sessions[&answer.yes()], "active", "round {round}");
            }
        }
        stage.end().await;
    });
}

#[test]
fn a_provider_that_dies_over_a_card_counts_as_a_no() {
    runtime().block_on(async {
        let mut stage = Stage::of_processes().await;
        stage.emp.behave("slow=1000");
        let body = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;
        let calling = stage.begins(Kind::Cpo, AUTHORIZE_START, body.to_owned());
        let session = stage.emp.next().await.session.unwrap();
        stage.emp.kill().await;
        let answer = calling.await.unwrap().unwrap();
        assert_eq!(answer.code(), (200, "106".to_owned()));
        assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized");
        assert!(answer.took < Duration::from_millis(2_500), "{answer:?}");
        stage.spawn(Kind::Emp).await;
        stage.connected().await;
        assert_eq!(stage.agreed().await, [(session, "refused".to_owned())].into());
        stage.end().await;
    });
}

#[test]
fn a_node_that_hangs_during_the_call_is_heard_when_it_goes_on() {
    runtime().block_on(async {
        let stage = Stage::of_processes().await;
        stage.cpo.behave("slow=300");
        let calling = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let session = stage.cpo.next().await.session.unwrap();
        // Its connections stay open and say nothing, as those of a link that is cut.
        stage.cpo.signal("STOP");
        let answer = calling.await.unwrap().unwrap();
        assert_eq!(answer.code(), (200, "310".to_owned()), "{answer:?}");
        assert!(answer.took < Duration::from_millis(2_500), "{answer:?}");
        assert_eq!(stage.sessions(Kind::Emp).await[&session], "in doubt");
        stage.cpo.signal("CONT");
        let told = stage.emp.next().await;
        assert_eq!(
            (told.operation, told.session.as_deref()),
            (Operation::Notification, Some(session.as_str()))
        );
        assert_eq!(stage.agreed().await, [(session, "active".to_owned())].into());
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        stage.end().await;
    });
}
