//! Answers that come late, twice, or after the stop that they should have come before.

use std::time::Duration;

use chargemesh::backend::{Kind, Operation};
use chargemesh::roaming::LateStart;

use super::stage::{AUTHORIZE_START, REMOTE_START, REMOTE_STOP, Stage, remote_start, remote_stop};
use crate::support::{http_client, runtime};

/// The EMP's backend is told of a late start within this time of the answer.
const TOLD_WITHIN_MS: u64 = 5_000;

#[test]
fn a_start_that_succeeds_late_is_adopted_and_told() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("slow=3000");
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "310".to_owned()));
        assert!((1_400..2_300).contains(&answer.took.as_millis()), "{answer:?}");
        let start = stage.cpo.next().await;
        let session = start.session.unwrap();
        assert_eq!(answer.json()["SessionID"], session.as_str(), "the EMP knows what to ask about");
        assert_eq!(answer.json()["EMPPartnerSessionID"], "E-7");
        assert_eq!(stage.sessions(Kind::Emp).await[&session], "in doubt");

        let told = stage.emp.next().await;
        assert_eq!(
            (told.operation, told.session.as_deref()),
            (Operation::Notification, Some(session.as_str()))
        );
        let answered_at = start.at + 3_000;
        assert!(
            told.at >= answered_at && told.at < answered_at + TOLD_WITHIN_MS,
            "{}",
            told.at - answered_at
        );
        let notification: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!((&notification["Type"], &notification["EvseID"]), (&"Start".into(), &"CH*ABC*E1".into()));
        assert_eq!(notification["EMPPartnerSessionID"], "E-7");
        assert_eq!(stage.phases().await, ["active"]);
        stage.cpo.behave("answer");
        assert_eq!(stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await.yes(), session);
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        assert_eq!(stage.emp.got(Operation::Notification).len(), 1);
        stage.end().await;
    });
}

/// A backend's HTTP client waits less long than the node does.
async fn hangs_up(stage: &Stage, by: Kind, path: &str, body: String) {
    let call =
        http_client().post(format!("{}{path}", stage.url(by))).header("content-type", "application/json");
    assert!(call.body(body).timeout(Duration::from_millis(300)).send().await.unwrap_err().is_timeout());
}

#[test]
fn a_start_whose_backend_hung_up_is_adopted_and_told() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("slow=1000");
        hangs_up(&stage, Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1")).await;
        let session = stage.cpo.next().await.session.unwrap();
        let told = stage.emp.next().await;
        assert_eq!(
            (told.operation, told.session.as_deref()),
            (Operation::Notification, Some(session.as_str()))
        );
        assert_eq!(stage.phases().await, ["active"]);
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        stage.end().await;
    });
}

#[test]
fn a_late_start_is_stopped_if_the_settings_say_so() {
    runtime().block_on(async {
        let stage = Stage::with(|_, plan| plan.settings.charging.late_start = LateStart::Stop).await;
        stage.cpo.behave("answer,remote-start:slow=3000");
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "310".to_owned()));
        let start = stage.cpo.next().await;
        let stop = stage.cpo.next().await;
        assert_eq!((stop.operation, &stop.session), (Operation::RemoteStop, &start.session));
        assert!(stop.at < start.at + 3_000 + TOLD_WITHIN_MS);
        assert_eq!(stage.phases().await, ["active"], "its CDR will be taken");
        assert!(stage.emp.backend().received().is_empty());
        stage.end().await;
    });
}

#[test]
fn a_retry_while_in_doubt_joins_the_session() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("slow=2500");
        let first = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(first.code(), (200, "310".to_owned()));
        let second = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(second.yes(), first.json()["SessionID"].as_str().unwrap());
        assert_eq!(stage.phases().await, ["active"]);
        assert_eq!(stage.cpo.backend().received().len(), 1);
        stage.end().await;
    });
}

#[test]
fn five_equal_starts_at_once_are_one() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("slow=300");
        let calls = (0..5).map(|_| stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1")));
        let calls: Vec<_> = calls.collect();
        let mut sessions = Vec::new();
        for call in calls {
            sessions.push(call.await.unwrap().unwrap().yes());
        }
        sessions.dedup();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert_eq!(stage.phases().await, ["active"]);
        assert_eq!(stage.cpo.backend().received().len(), 1);
        stage.end().await;
    });
}

#[test]
fn a_stop_that_overtakes_the_answer_to_its_start_comes_after_it() {
    runtime().block_on(async {
        let stage = Stage::with(|_, plan| plan.settings.charging.remote_ms = 10_000).await;
        stage.cpo.behave("answer,remote-start:slow=700");
        let starting = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let start = stage.cpo.next().await;
        let session = start.session.unwrap();
        let stop = stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await;
        assert_eq!(stop.yes(), session);
        assert_eq!(starting.await.unwrap().unwrap().yes(), session);
        let stopped = stage.cpo.next().await;
        assert_eq!((stopped.operation, stopped.session), (Operation::RemoteStop, Some(session)));
        assert!(stopped.at >= start.at + 700, "the backend has answered the start before");
        assert_eq!(stage.phases().await, ["active"]);
        stage.end().await;

        // The start fails: there is nothing to stop.
        let stage = Stage::new().await;
        stage.cpo.behave("die");
        drop(stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await);
        assert_eq!(stage.phases().await, ["unconfirmed"]);
        // It is not known whether it failed: the stop goes through, and settles it.
        stage.cpo.behave("answer");
        let session = stage.cpo.next().await.session.unwrap();
        assert_eq!(stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await.yes(), session);
        assert_eq!(stage.phases().await, ["active"]);
        stage.end().await;
    });
}

#[test]
fn a_backend_that_answers_twice_is_heard_once() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("twice");
        let mut sessions = Vec::new();
        for number in 0..6 {
            let evse = format!("CH*ABC*E{number}");
            let answer = stage.emp_calls(REMOTE_START, remote_start(&evse)).await;
            let session = answer.yes();
            let received = stage.cpo.next().await;
            assert_eq!((received.session.as_ref(), received.evse.as_ref()), (Some(&session), Some(&evse)));
            sessions.push(session);
        }
        assert_eq!(stage.agreed().await.len(), 6);
        assert!(stage.phases().await.iter().all(|phase| phase == "active"));
        assert!(Duration::from_secs(1) > stage.emp_calls(REMOTE_STOP, remote_stop(&sessions[5])).await.took);
        stage.end().await;
    });
}

/// Nobody charges on that yes.
#[test]
fn an_authorization_whose_backend_hung_up_is_given_back() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.emp.behave("slow=1000");
        let card = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;
        hangs_up(&stage, Kind::Cpo, AUTHORIZE_START, card.to_owned()).await;
        assert_eq!(stage.emp.next().await.operation, Operation::AuthorizeStart);
        stage.emp.behave("answer");
        stage.until(Kind::Cpo, "the end of it", |view| view["session_counts"]["refused"] == 1).await;
        assert_eq!(stage.phases().await, ["refused"]);
        stage.end().await;
    });
}
