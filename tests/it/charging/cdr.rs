//! Charge detail records from one backend's HTTP call through two nodes to the other backend, and back as receipts.

#![allow(clippy::disallowed_methods, reason = "a test lives in real time")]

use chargemesh::backend::{Kind, Operation};
use serde_json::{Value, json};

use super::stage::{AUTHORIZE_START, REMOTE_START, Stage, remote_start};
use crate::support::runtime;

pub(super) const CDR: &str = "/api/oicp/cdrmgmt/v22/operators/CH*ABC/charge-detail-record";
const PULL: &str = "/api/oicp/cdrmgmt/v22/providers/DE-EMP/get-charge-detail-records-request";

/// A record whose every byte matters: spelling of numbers, order, white space, unknown fields, signed values.
pub(super) fn cdr(session: &str, kwh: &str) -> String {
    format!(
        r#"{{ "x-own":{{"price":1.50}},"SessionID" : "{session}","EvseID":"CH*ABC*E1","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C12345678-X"}}}},"ChargingStart":"2025-11-21T10:00:00.000+01:00","ChargingEnd":"2025-11-21T11:00:00Z","SessionStart":"2025-11-21T10:00:00+01:00","SessionEnd":"2025-11-21T11:00:01Z","MeterValueStart":1.10,"MeterValueEnd":11.200,"ConsumedEnergy":{kwh},"SignedMeteringValues":[{{"SignedMeteringValue":"OCMF|{{\"a\":\u00e91}}|x\/y","MeteringStatus":"Start"}},{{"SignedMeteringValue":"OCMF|end","MeteringStatus":"End"}}]
}}"#
    )
}

/// What a side says of a session's records.
pub(super) async fn cdrs_of(stage: &Stage, kind: Kind, session: &str) -> Vec<Value> {
    stage.admin(kind, &format!("cdrs/{session}")).await["cdrs"].as_array().cloned().unwrap_or_default()
}

/// Waits until both sides say the same of a session's one record, and that it has come so far.
pub(super) async fn until_both(stage: &Stage, session: &str, state: &str) -> Value {
    let end = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let (cpo, emp) = (cdrs_of(stage, Kind::Cpo, session).await, cdrs_of(stage, Kind::Emp, session).await);
        let done =
            |cdrs: &[Value]| cdrs.len() == 1 && cdrs[0]["state"] == state && cdrs[0]["is_open"] == false;
        if done(&cpo) && done(&emp) {
            assert_eq!(cpo[0]["receipts"], emp[0]["receipts"]);
            assert_eq!((&cpo[0]["hash"], &cpo[0]["oicp"]), (&emp[0]["hash"], &emp[0]["oicp"]));
            return cpo[0].clone();
        }
        assert!(std::time::Instant::now() < end, "waited in vain for {state}: {cpo:#?} {emp:#?}");
        #[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// What `chargemesh cdr correct` says at the CPO's node.
fn corrected(stage: &Stage, replaces: &str, record: &str, more: &[&str]) -> (i32, String) {
    let file = stage.dir().join("correction.json");
    std::fs::write(&file, record).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chargemesh"));
    command.args(["cdr", "correct", file.to_str().unwrap(), "--replaces", replaces, "--node"]);
    let run = command.arg(stage.url(Kind::Cpo)).args(more).output().unwrap();
    (run.status.code().unwrap(), String::from_utf8(run.stdout).unwrap())
}

fn verdicts(cdr: &Value) -> Vec<&str> {
    cdr["receipts"].as_array().unwrap().iter().map(|receipt| receipt["verdict"].as_str().unwrap()).collect()
}

#[test]
fn a_record_arrives_byte_for_byte_and_its_receipts_come_back() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let body = cdr(&session, "10.10");
        let answer = stage.cpo_calls(CDR, body.clone()).await;
        assert_eq!((answer.code(), answer.yes()), ((200, "000".to_owned()), session.clone()));
        let received = stage.emp.next().await;
        assert_eq!((received.operation, received.path.as_str()), (Operation::ChargeDetailRecord, CDR));
        assert_eq!(String::from_utf8_lossy(&received.body), body);
        let done = until_both(&stage, &session, "accepted").await;
        assert_eq!(
            (verdicts(&done), done["oicp"].as_str()),
            (vec!["received", "accepted"], Some(body.as_str()))
        );
        assert_eq!(stage.phases().await, ["closed"]);

        // The same again is taken once; another is not taken.
        assert_eq!(stage.cpo_calls(CDR, body.clone()).await.code(), (200, "000".to_owned()));
        assert_eq!(stage.cpo_calls(CDR, cdr(&session, "10.1")).await.code(), (404, "400".to_owned()));
        assert_eq!(stage.emp.got(Operation::ChargeDetailRecord).len(), 1);
        assert_eq!(cdrs_of(&stage, Kind::Cpo, &session).await.len(), 1);

        let name = done["hash"].as_str().unwrap();
        let (code, told) = corrected(&stage, name, &cdr(&session, "1000.01"), &[]);
        assert!(code == 1 && told.starts_with("refused: 022 ") && !told.contains('{'), "{code}: {told}");
        let (code, told) = corrected(&stage, name, &cdr(&session, "1000.01"), &["--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert!(code == 1 && told["StatusCode"]["Code"] == "022", "{code}: {told:#}");
        let (code, told) = corrected(&stage, name, &body.replace("\"SessionEnd\"", "\"X\""), &[]);
        assert!(code == 1 && told.contains("sessionEnd: ") && !told.contains('{'), "{code}: {told}");

        // A correction names what it replaces; both are kept, and the backend sees no second record.
        let path = format!("/admin/v1/cdrs/corrections?replaces={}", done["hash"].as_str().unwrap());
        assert_eq!(stage.cpo_calls(&path, cdr(&session, "10.1")).await.yes(), session);
        assert_eq!(stage.cpo_calls(&path, cdr(&session, "10.2")).await.code(), (404, "400".to_owned()));
        let both = |cdrs: &[Value]| cdrs.len() == 2 && cdrs.iter().all(|cdr| cdr["is_open"] == false);
        while !both(&cdrs_of(&stage, Kind::Emp, &session).await) {
            tokio::task::yield_now().await;
        }
        let kept = cdrs_of(&stage, Kind::Emp, &session).await;
        assert_eq!((&kept[0]["replaces"], &kept[1]["replaced_by"]), (&kept[1]["hash"], &kept[0]["hash"]));
        assert_eq!(stage.emp.got(Operation::ChargeDetailRecord).len(), 1);
        stage.end().await;
    });
}

#[test]
fn what_the_hub_refuses_is_refused_with_its_codes() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let good = cdr(&session, "10.10");
        let unknown = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";
        for (body, expected) in [
            (cdr(unknown, "1"), (404, "400")),
            (good.replace("CH*ABC*E1", "DE*XYZ*E1"), (200, "018")),
            (cdr(&session, "1000.01"), (200, "022")),
            (cdr(&session, "-0.1"), (200, "022")),
            (good.replace("\"MeterValueEnd\":11.200", "\"MeterValueEnd\":1.000"), (200, "022")),
        ] {
            let answer = stage.cpo_calls(CDR, body).await;
            assert_eq!(answer.code(), (expected.0, expected.1.to_owned()), "{answer:?}");
        }
        let foreign = stage.cpo_calls(&CDR.replace("CH*ABC", "CH*XYZ"), good.clone()).await;
        assert_eq!(foreign.code(), (401, "017".to_owned()));
        let malformed = stage.cpo_calls(CDR, good.replace("\"SessionEnd\"", "\"X\"")).await;
        assert!(malformed.http == 400 && malformed.body.contains("validationErrors"), "{malformed:?}");
        assert_eq!(stage.phases().await, ["active"]);
        assert!(cdrs_of(&stage, Kind::Cpo, &session).await.is_empty());
        stage.end().await;
    });
}

#[test]
fn a_backend_that_is_broken_gets_it_until_it_answers_and_its_no_is_told() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.emp.behave("cdr:http=503");
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.cpo_calls(CDR, cdr(&session, "10.10")).await.yes();
        stage.emp.next().await;
        stage.emp.next().await;
        stage.emp.behave("cdr:refuse=022");
        let done = until_both(&stage, &session, "rejected").await;
        assert_eq!(
            (verdicts(&done), &done["receipts"][1]["code"]),
            (vec!["received", "rejected"], &json!("022"))
        );
        let got = stage.emp.got(Operation::ChargeDetailRecord);
        assert!(got.iter().all(|received| received.body == cdr(&session, "10.10").as_bytes()));
        stage.end().await;
    });
}

#[test]
fn an_emp_without_a_backend_pulls_what_its_node_kept() {
    runtime().block_on(async {
        let stage = Stage::with(|kind, plan| {
            if kind == Kind::Emp {
                plan.settings.outbound.backends.clear();
            }
        })
        .await;
        let upload = r#"{"ActionType":"fullLoad","ProviderAuthenticationData":{"ProviderID":"DE-EMP","AuthenticationDataRecord":[{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}]}}"#;
        let pushed =
            stage.emp_calls("/api/oicp/authdata/v21/providers/DE-EMP/push-request", upload.to_owned()).await;
        assert_eq!(pushed.code(), (200, "000".to_owned()), "{pushed:?}");
        let mut sessions = Vec::new();
        for _ in 0..5 {
            let card = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;
            let answer = stage.cpo_calls(AUTHORIZE_START, card.to_owned()).await;
            assert_eq!(answer.json()["AuthorizationStatus"], "Authorized", "{answer:?}");
            let session = answer.json()["SessionID"].as_str().unwrap().to_owned();
            stage.cpo_calls(CDR, cdr(&session, "10.10")).await.yes();
            let done = until_both(&stage, &session, "kept").await;
            assert_eq!(verdicts(&done), ["received", "kept"]);
            sessions.push(session);
        }
        let pull = async |query: &str, filters: &str| {
            let body = format!(
                r#"{{"ProviderID":"DE-EMP","From":"2020-01-01T00:00:00Z","To":"2099-01-01T01:00:00+01:00"{filters}}}"#
            );
            let answer = stage.emp_calls(&format!("{PULL}{query}"), body).await;
            assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
            answer
        };
        let all = pull("", "").await;
        assert_eq!((&all.json()["totalElements"], &all.json()["last"]), (&json!(5), &json!(true)));
        assert!(all.body.contains(&cdr(&sessions[0], "10.10")), "as it was sent: {}", all.body);
        let page = pull("?page=1&size=2", "").await.json();
        let of_page: Vec<&str> =
            page["content"].as_array().unwrap().iter().map(|cdr| cdr["SessionID"].as_str().unwrap()).collect();
        assert_eq!((of_page, &page["totalPages"]), (vec![&*sessions[2], &*sessions[3]], &json!(3)));
        let one = format!(r#","SessionID":["{}"]"#, sessions[3].to_uppercase());
        for (filters, count) in [
            (one.as_str(), 1),
            (r#","OperatorID":"CH*ABC""#, 5),
            (r#","OperatorID":["+49*536","CHABC"]"#, 5),
            (r#","OperatorID":["CH*XYZ"]"#, 0),
            (r#","CDRForwarded":false"#, 5),
            (r#","CDRForwarded":true"#, 0),
            (r#","CDRForwarder":true"#, 0),
            (r#","SessionID":[],"OperatorID":null,"CDRForwarded":null"#, 5),
        ] {
            assert_eq!(pull("", filters).await.json()["totalElements"], count, "{filters}");
        }
        let early = r#"{"ProviderID":"DE-EMP","From":"2020-01-01T00:00:00Z","To":"2021-01-01T00:00:00Z"}"#;
        assert_eq!(stage.emp_calls(PULL, early.to_owned()).await.json()["totalElements"], 0);
        let foreign = early.replace("DE-EMP", "DE-XYZ");
        assert_eq!(stage.emp_calls(PULL, foreign).await.code(), (401, "017".to_owned()));
        stage.end().await;
    });
}

#[test]
fn a_record_waits_for_a_node_that_is_away_and_is_shown_meanwhile() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.emp.stop().await;
        stage.cpo_calls(CDR, cdr(&session, "10.10")).await.yes();
        let waiting = stage.admin(Kind::Cpo, "cdrs?state=waiting").await;
        assert_eq!(
            (waiting["cdrs"][0]["session"].as_str(), waiting["cdrs"].as_array().unwrap().len()),
            (Some(&*session), 1)
        );
        let view =
            stage.until(Kind::Cpo, "a count", |view| !view["open_cdrs"]["sent waiting"].is_null()).await;
        assert_eq!(view["open_cdrs"]["sent waiting"], 1);
        stage.cpo.stop().await;
        stage.start(Kind::Cpo).await;
        stage.start(Kind::Emp).await;
        stage.connected().await;
        until_both(&stage, &session, "accepted").await;
        assert_eq!(stage.phases().await, ["closed"]);
        stage.end().await;
    });
}
