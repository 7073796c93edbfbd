//! Month's end between two nodes: the same statement to the byte, signed by both; what one side lost comes back, or is
//! told of; a doctor that says what is wrong.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chargemesh::backend::Kind;
use chargemesh::engine::SystemClock;
use chargemesh::oicp::time::format_ms;
use serde_json::Value;

use super::stage::{CPO, EMP, REMOTE_START, Stage, remote_start};
use crate::support::{PATIENCE, runtime};

pub(super) const CDR: &str = "/api/oicp/cdrmgmt/v22/operators/CH*ABC/charge-detail-record";

/// When all sessions ended, whenever the test runs.
const DAY: &str = "2024-05-14";
const MONTH: &str = "2024-05";

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

pub(super) fn cdr(session: &str, energy: &str) -> String {
    format!(
        r#"{{"SessionID":"{session}","EvseID":"CH*ABC*E1","PartnerProductID":"AC1","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C12345678-X"}}}},
"SessionStart":"{DAY}T10:00:00+02:00","SessionEnd":"{DAY}T10:30:00+02:00","ChargingStart":"{DAY}T10:00:10+02:00","ChargingEnd":"{DAY}T10:29:00+02:00","ConsumedEnergy":{energy},"x-own":1.50}}"#
    )
}

/// A session with its record, at both sides.
pub(super) async fn charged(stage: &Stage, energy: &str) -> String {
    let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
    let answer = stage.cpo_calls(CDR, cdr(&session, energy)).await;
    assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
    settled(stage, &session).await;
    session
}

/// Waits until the EMP's backend accepted it, and the CPO's node knows.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
pub(super) async fn settled(stage: &Stage, session: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = stage.admin(Kind::Cpo, &format!("cdrs/{session}")).await;
        if list["cdrs"][0]["state"] == "accepted" {
            return;
        }
        assert!(Instant::now() < end, "never accepted: {list:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn reconciled(stage: &Stage, kind: Kind) -> Value {
    let partner = if kind == Kind::Cpo { EMP } else { CPO };
    let body = format!(r#"{{"partner":"{partner}","from":"{DAY}","to":"{DAY}"}}"#);
    let answer = stage.calls(kind, "/admin/v1/reconcile", body).await.unwrap();
    assert_eq!(answer.http, 200, "{answer:?}");
    answer.json()
}

pub(super) fn command(url: &str, args: &[&str]) -> (i32, String) {
    let run =
        Command::new(env!("CARGO_BIN_EXE_chargemesh")).args(args).args(["--node", url]).output().unwrap();
    (run.status.code().unwrap(), String::from_utf8(run.stdout).unwrap())
}

#[test]
fn both_sides_make_and_sign_the_same_statement() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let first = charged(&stage, "10.10").await;
        let second = charged(&stage, "0.2").await;
        let mut files = Vec::new();
        for format in ["csv", "json", "html"] {
            let of = |partner: &str| format!("statement?partner={partner}&month={MONTH}&format={format}");
            let cpo = stage.admin_text(Kind::Cpo, &of(EMP)).await;
            assert_eq!(cpo, stage.admin_text(Kind::Emp, &of(CPO)).await, "{format}");
            files.push(cpo);
        }
        assert!(files.iter().all(|file| file.contains(&first) && file.contains(&second)), "{files:?}");
        assert!(
            files[1].contains("\"energy_kwh\":10.3}") && files[0].contains(",10.10,delivered,"),
            "{files:?}"
        );

        let (code, told) = command(
            stage.url(Kind::Emp),
            &["statement", "--partner", "CPO:CH*ABC", "--month", MONTH, "--sign"],
        );
        assert!(code == 0 && told.contains("same statement") && told.contains("10.3 kWh"), "{code}: {told}");
        for (kind, partner) in [(Kind::Cpo, EMP), (Kind::Emp, CPO)] {
            let kept = stage.admin(kind, &format!("statement/sign?partner={partner}&month={MONTH}")).await;
            let signed = &kept["signed"][0];
            assert_eq!((&signed["records"], &signed["energy_kwh"]), (&2.into(), &"10.3".into()), "{kept:#}");
            assert!(signed["signed_by_partner"].as_str().unwrap().len() > 100, "{kept:#}");
        }
        let (code, told) = command(stage.url(Kind::Cpo), &["statement", "--partner", EMP, "--month", MONTH]);
        assert_eq!((code, &told), (0, &files[0]));
        let (code, told) = command(stage.url(Kind::Cpo), &["statement", "--partner", CPO, "--month", MONTH]);
        assert!(code == 2 && told.starts_with("refused: "), "{code}: {told}");
        let cpo = stage.url(Kind::Cpo);
        let (code, told) = command(cpo, &["statement", "--partner", EMP, "--month", MONTH, "--signed"]);
        let kept: Value = serde_json::from_str(&told).unwrap();
        let kept = &kept["signed"][0];
        assert!(code == 0 && kept["signed_by_partner"].as_str().unwrap().len() > 100, "{code}: {kept:#}");
        let (code, _) = command(cpo, &["statement", "--partner", EMP, "--month", "2020-01", "--signed"]);
        assert_eq!(code, 1);
        for args in [
            vec!["statement", "--partner", CPO, "--month", MONTH, "--json"],
            vec!["statement", "--partner", CPO, "--month", MONTH, "--json", "--sign"],
            vec!["reconcile", "--partner", CPO, "--from", DAY, "--to", DAY, "--json"],
            vec!["reconcile", "--partner", EMP, "--from", "today", "--to", DAY, "--json"],
        ] {
            let (code, told) = command(cpo, &args);
            let told: Value = serde_json::from_str(&told).unwrap();
            assert!(code == 2 && told["refused"].as_str().unwrap().len() > 10, "{code}: {told}");
        }
        for format in ["csv", "json", "html"] {
            let args = ["statement", "--partner", EMP, "--month", "2020-01", "--format", format];
            let (code, told) = command(cpo, &args);
            assert!(code == 1 && !told.is_empty(), "{code}: {told}");
            let args = ["statement", "--partner", EMP, "--month", MONTH, "--format", format];
            assert_eq!(command(cpo, &args).0, 0, "{format}");
        }
        stage.end().await;
    });
}

/// A directory with what is in it.
pub(super) fn copy(from: &Path, to: &Path) {
    let _none_yet = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
fn what_a_restored_node_lost_is_found_and_comes_back() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        // A process of its own: when it is dead nothing moves in its directory.
        stage.emp.stop().await;
        stage.spawn(Kind::Emp).await;
        stage.connected().await;
        let kept = charged(&stage, "1").await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.agreed().await;
        // A backup of the EMP's node, from before the record.
        stage.emp.kill().await;
        let (data, backup) = (stage.dir().join("emp"), stage.dir().join("backup"));
        copy(&data, &backup);
        stage.spawn(Kind::Emp).await;
        stage.connected().await;
        let answer = stage.cpo_calls(CDR, cdr(&session, "7.5")).await;
        assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
        settled(&stage, &session).await;
        for kind in [Kind::Cpo, Kind::Emp] {
            let equal = reconciled(&stage, kind).await;
            assert!(equal["difference_count"] == 0 && equal["records_there"] == 2, "{equal:#}");
        }
        stage.emp.kill().await;
        copy(&backup, &data);
        stage.spawn(Kind::Emp).await;
        stage.connected().await;

        let found = reconciled(&stage, Kind::Emp).await;
        assert_eq!((&found["difference_count"], &found["sent_again"]), (&1.into(), &1.into()), "{found:#}");
        let difference = &found["differences"][0];
        assert_eq!(
            (&difference["session"], &difference["here"]),
            (&session.as_str().into(), &"absent".into())
        );
        assert_ne!(difference["session"], kept.as_str());
        let end = Instant::now() + PATIENCE;
        while reconciled(&stage, Kind::Cpo).await["difference_count"] != 0 {
            assert!(Instant::now() < end, "{:#}", reconciled(&stage, Kind::Cpo).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (code, told) =
            command(stage.url(Kind::Cpo), &["reconcile", "--partner", EMP, "--from", DAY, "--to", DAY]);
        assert!(code == 0 && told.contains("Both sides hold the same"), "{code}: {told}");
        stage.end().await;
    });
}

/// The sessions that began yesterday, today or tomorrow, as both nodes hold them.
pub(super) async fn sessions_compared(stage: &Stage, kind: Kind) -> Value {
    let partner = if kind == Kind::Cpo { EMP } else { CPO };
    let (from, to) = span_around_today();
    let body = format!(r#"{{"partner":"{partner}","from":"{from}","to":"{to}"}}"#);
    let answer = stage.calls(kind, "/admin/v1/reconcile", body).await.unwrap();
    assert_eq!(answer.http, 200, "{answer:?}");
    answer.json()["sessions"].clone()
}

/// Yesterday and tomorrow: midnight may pass while a test runs.
pub(super) fn span_around_today() -> (String, String) {
    let now_ms = SystemClock::start().now().unix_ms.cast_signed();
    let day = |ms: i64| format_ms(ms).chars().take(10).collect::<String>();
    (day(now_ms - DAY_MS), day(now_ms + DAY_MS))
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    runtime().block_on(async {
        let mut stage = Stage::with(|_, plan| plan.settings.charging.cdr_overdue_hours = 0).await;
        let (_, told) = command(stage.url(Kind::Cpo), &["doctor"]);
        assert!(told.contains("none was rejected") && told.contains("CPO:CHABC"), "{told}");
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.agreed().await;
        let (code, told) = command(stage.url(Kind::Emp), &["doctor"]);
        assert!(
            code == 1 && told.contains(&session) && told.contains("session-without-cdr"),
            "{code}: {told}"
        );
        let metrics = format!("{}/metrics", stage.url(Kind::Emp));
        let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("chargemesh_alarms{kind=\"session-without-cdr\"} 1"), "{metrics}");
        stage.emp.behave("refuse=022");
        let answer = stage.cpo_calls(CDR, cdr(&session, "7.5")).await;
        assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
        let rejected = async {
            while stage.admin(Kind::Cpo, "alarms").await["counts"]["cdr-rejected"] != 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, rejected).await.expect("the rejection is an alarm");
        let (code, told) = command(stage.url(Kind::Cpo), &["doctor", "--json"]);
        assert!(
            code == 1 && told.contains("cdr-rejected") && !told.contains("session-without-cdr"),
            "{told}"
        );
        assert!(told.contains("ask the EMP why"), "{told}");
        let (_, told) = command(stage.url(Kind::Emp), &["doctor"]);
        assert!(
            told.contains("our backend rejected") && told.contains("ask the CPO for a correction"),
            "{told}"
        );
        let url = stage.url(Kind::Cpo).to_owned();
        stage.cpo.stop().await;
        let (code, told) = command(&url, &["doctor"]);
        assert!(code == 2 && told.contains("does not answer"), "{code}: {told}");
        stage.end().await;
    });
}
