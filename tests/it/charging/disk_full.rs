//! A disk that takes nothing more, at either side of a charge detail record: a clear refusal before `000`, nothing
//! half-written, and all goes on by itself when there is room again.

#![allow(clippy::disallowed_methods, reason = "a test lives in real time")]

use std::process::{Command, Stdio};

use chargemesh::backend::{Kind, Operation};
use serde_json::Value;

use super::cdr::{CDR, cdr, cdrs_of};
use super::cdr_crash::{acknowledged, settled};
use super::stage::{REMOTE_START, Stage, remote_start};
use crate::support::runtime;
use crate::support::skips::skip;

fn no_prlimit(test: &str) -> bool {
    let found = Command::new("prlimit").arg("--version").stdout(Stdio::null()).status();
    let missing = !found.is_ok_and(|status| status.success());
    if missing {
        skip(test, "no prlimit (package util-linux)");
    }
    missing
}

/// Both sides have the one record, accepted, with the same receipts; the backend got the bytes that were sent.
async fn arrived(stage: &Stage, session: &str, body: &str) {
    let (cpo, emp) = (settled(stage, Kind::Cpo, session).await, settled(stage, Kind::Emp, session).await);
    for cdr in [&cpo, &emp] {
        assert_eq!((&cdr["state"], cdr["oicp"].as_str()), (&Value::from("accepted"), Some(body)));
    }
    assert_eq!((&cpo["receipts"], &cpo["hash"]), (&emp["receipts"], &emp["hash"]));
    let given = stage.emp.got(Operation::ChargeDetailRecord);
    assert!(!given.is_empty() && given.iter().all(|given| given.body == body.as_bytes()));
}

#[test]
fn a_full_disk_of_the_operator_refuses_a_record_before_000() {
    if no_prlimit("a_full_disk_of_the_operator_refuses_a_record_before_000") {
        return;
    }
    runtime().block_on(async {
        let stage = Stage::of_processes().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let body = cdr(&session, "10.10");
        stage.cpo.set_disk_full(true);
        for _ in 0..3 {
            let answer = stage.cpo_calls(CDR, body.clone()).await;
            assert_eq!(answer.code(), (500, "002".to_owned()), "{answer:?}");
        }
        for kind in [Kind::Cpo, Kind::Emp] {
            assert_eq!(cdrs_of(&stage, kind, &session).await, Vec::<Value>::new(), "{kind}");
        }
        assert!(stage.emp.got(Operation::ChargeDetailRecord).is_empty());
        stage.cpo.set_disk_full(false);
        acknowledged(&stage, &body).await;
        arrived(&stage, &session, &body).await;
        stage.end().await;
    });
}

#[test]
fn a_full_disk_of_the_provider_gives_no_receipt_until_there_is_room() {
    if no_prlimit("a_full_disk_of_the_provider_gives_no_receipt_until_there_is_room") {
        return;
    }
    runtime().block_on(async {
        let stage = Stage::of_processes().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let body = cdr(&session, "10.10");
        stage.emp.set_disk_full(true);
        // The operator's own node has it: that is what 000 says.
        let answer = stage.cpo_calls(CDR, body.clone()).await;
        assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
        let refused = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E2")).await;
        assert_ne!(refused.json()["Result"], true, "{refused:?}");
        let mine = cdrs_of(&stage, Kind::Cpo, &session).await;
        assert_eq!(
            (mine.len(), &mine[0]["state"], &mine[0]["receipts"]),
            (1, &"waiting".into(), &Value::from([0; 0]))
        );
        assert_eq!(cdrs_of(&stage, Kind::Emp, &session).await, Vec::<Value>::new());
        assert!(stage.emp.got(Operation::ChargeDetailRecord).is_empty());
        stage.emp.set_disk_full(false);
        arrived(&stage, &session, &body).await;
        stage.end().await;
    });
}
