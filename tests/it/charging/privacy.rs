//! What is logged: nothing that names a driver, unless somebody asks for DEBUG.

use std::process::{Command, Stdio};

use chargemesh::backend::Kind;

use super::stage::{
    AUTHORIZE_START, NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop,
};
use crate::support::runtime;

/// Set in the process whose log is read.
const CHILD: &str = "CHARGEMESH_TEST_PRIVACY";

/// What must not be logged: card UIDs, a contract, a PIN.
const UID: &str = "04A2B3C4D5E6F7";
const OTHER_UID: &str = "04F1F2F3F4F5F6";
const CONTRACT: &str = "C12345678";
const PIN: &str = "secret-of-a-driver";

fn card(uid: &str) -> String {
    with_medium(&format!(r#""RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}"#))
}

fn with_medium(medium: &str) -> String {
    format!(r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{{{medium}}}}}"#)
}

#[test]
fn no_card_no_contract_and_no_pin_is_logged_at_info() {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "charging::privacy::a_whole_run", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{log}");
    // It is the log: sessions are in it.
    assert!(log.contains("INFO") && log.matches("a session changed").count() > 8, "{log}");
    for secret in [UID, OTHER_UID, CONTRACT, PIN] {
        for spelling in [secret.to_owned(), secret.to_lowercase()] {
            assert!(!log.contains(&spelling), "{spelling} is logged: {log}");
        }
    }
}

/// No test of its own: what happens in the process whose log is read.
#[test]
fn a_whole_run() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    runtime().block_on(async {
        let stage = Stage::new().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.cpo_calls(NOTIFICATION, notification("Start", "CH*ABC", &session)).await.yes();
        stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await.yes();
        let contract = format!(r#""PlugAndChargeIdentification":{{"EvcoID":"DE-EMP-{CONTRACT}-X"}}"#);
        let qr = format!(r#""QRCodeIdentification":{{"EvcoID":"DE-EMP-{CONTRACT}-X","PIN":"{PIN}"}}"#);
        let media = [card(UID), with_medium(&contract), with_medium(&qr)];
        for behaviour in ["answer", "refuse=102", "garbage", "http=500", "silent", "die"] {
            stage.emp.behave(behaviour);
            stage.cpo.behave(behaviour);
            for medium in &media {
                stage.cpo_calls(AUTHORIZE_START, medium.clone()).await;
            }
            stage.emp_calls(REMOTE_START, remote_start(&format!("CH*ABC*E{}", behaviour.len()))).await;
        }
        // What cannot be read is not quoted.
        let mut refused = 0;
        for broken in [
            card(UID).replace("CH*ABC*E1", "never an EvseID"),
            card(&format!("{OTHER_UID}-no-uid")),
            with_medium(&contract.replace("DE-EMP", "not-a-provider")),
            card(UID)[..card(UID).len() - 3].to_owned(),
            remote_start("CH*ABC*E1"),
        ] {
            refused += usize::from(stage.cpo_calls(AUTHORIZE_START, broken).await.http == 400);
        }
        assert!(refused >= 3, "{refused}");
        // Uploads, taken and refused.
        for (provider, action) in [("DE-EMP", "fullLoad"), ("DE-EMP", "insert"), ("DE-XYZ", "fullLoad")] {
            let media = [format!(r#"{{"RFIDMifareFamilyIdentification":{{"UID":"{UID}"}}}}"#), format!("{{{qr}}}")];
            let records = media.map(|medium| format!(r#"{{"Identification":{medium}}}"#)).join(",");
            let body = format!(
                r#"{{"ActionType":"{action}","ProviderAuthenticationData":{{"ProviderID":"{provider}","AuthenticationDataRecord":[{records}]}}}}"#
            );
            stage.emp_calls("/api/oicp/authdata/v21/providers/DE-EMP/push-request", body).await;
        }
        for medium in &media {
            stage.cpo_calls(AUTHORIZE_START, medium.clone()).await;
        }
        let both = [stage.sessions(Kind::Cpo).await, stage.sessions(Kind::Emp).await];
        assert!(both.iter().all(|sessions| sessions.len() > 8), "{both:?}");
        stage.end().await;
    });
}
