//! A session that one side lost with its database: the other side's log proves it, it is known again, and its charge
//! detail record is taken, whichever side compares, and whether the record came before or comes after.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chargemesh::backend::{Kind, Operation};
use serde_json::Value;

use super::reconcile::{CDR, cdr, charged, command, copy, sessions_compared, settled, span_around_today};
use super::stage::{AUTHORIZE_START, CPO, EMP, REMOTE_START, Side, Stage, remote_start};
use crate::support::{PATIENCE, runtime};

const CARD: &str = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}}"#;

fn side(stage: &mut Stage, kind: Kind) -> &mut Side {
    if kind == Kind::Cpo { &mut stage.cpo } else { &mut stage.emp }
}

/// The directory of a side's node.
fn data(stage: &Stage, kind: Kind) -> PathBuf {
    stage.dir().join(if kind == Kind::Cpo { "cpo" } else { "emp" })
}

/// Both sides; the one that will lose something is a process of its own, with a backup made after one session.
async fn before_the_loss(loser: Kind) -> Stage {
    let mut stage = Stage::new().await;
    // When a process is dead nothing moves in its directory.
    side(&mut stage, loser).stop().await;
    stage.spawn(loser).await;
    stage.connected().await;
    charged(&stage, "1").await;
    stage.cpo.behave("refuse=501");
    let refused = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
    assert_eq!(refused.code(), (200, "501".to_owned()), "{refused:?}");
    stage.cpo.behave("answer");
    side(&mut stage, loser).kill().await;
    copy(&data(&stage, loser), &stage.dir().join("backup"));
    stage.spawn(loser).await;
    stage.connected().await;
    stage
}

/// The loser's database is what it was before.
async fn lose(stage: &mut Stage, loser: Kind) {
    side(stage, loser).kill().await;
    copy(&stage.dir().join("backup"), &data(stage, loser));
    stage.spawn(loser).await;
    stage.connected().await;
}

async fn started(stage: &Stage) -> String {
    let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
    stage.agreed().await;
    session
}

async fn authorized(stage: &Stage) -> String {
    let answer = stage.cpo_calls(AUTHORIZE_START, CARD.to_owned()).await.json();
    assert_eq!(answer["AuthorizationStatus"], "Authorized", "{answer:#}");
    stage.agreed().await;
    answer["SessionID"].as_str().unwrap().to_owned()
}

/// The CPO's backend sends the record of a session, which is taken.
async fn recorded(stage: &Stage, session: &str) {
    let answer = stage.cpo_calls(CDR, cdr(session, "7.5")).await;
    assert_eq!(answer.code(), (200, "000".to_owned()), "{answer:?}");
}

/// The one difference, of this session, as the side sees it that compares.
fn the_difference<'a>(found: &'a Value, session: &str) -> &'a Value {
    assert_eq!((&found["difference_count"], &found["not_compared"]), (&1.into(), &Value::Null), "{found:#}");
    let difference = &found["differences"][0];
    assert_eq!(difference["session"], session, "{found:#}");
    difference
}

fn seen_from(loser: Kind, asker: Kind) -> [Value; 2] {
    let (lost, kept) = ("absent".into(), "active".into());
    if loser == asker { [lost, kept] } else { [kept, lost] }
}

#[test]
fn a_session_that_one_side_lost_is_known_again_and_its_record_is_taken() {
    runtime().block_on(async {
        for (loser, asker, by_card) in [
            (Kind::Emp, Kind::Emp, false),
            (Kind::Emp, Kind::Cpo, true),
            (Kind::Cpo, Kind::Cpo, true),
            (Kind::Cpo, Kind::Emp, false),
        ] {
            let mut stage = before_the_loss(loser).await;
            let session = if by_card { authorized(&stage).await } else { started(&stage).await };
            let equal = serde_json::json!({"here": 2, "there": 2, "differing_days": 0, "differences": [],
                "difference_count": 0, "fetched": 0, "not_compared": null});
            assert_eq!(sessions_compared(&stage, asker).await, equal, "{asker}");
            let before = stage.admin(loser, "sessions").await;
            lose(&mut stage, loser).await;
            assert!(!stage.sessions(loser).await.contains_key(&session), "{loser} lost it");

            let found = sessions_compared(&stage, asker).await;
            let difference = the_difference(&found, &session);
            assert_eq!([&difference["here"], &difference["there"]], seen_from(loser, asker).each_ref());
            assert_eq!(
                (&difference["fetched"], &difference["not_fetched"], &found["fetched"]),
                (&true.into(), &Value::Null, &1.into()),
                "{loser} {asker}: {found:#}"
            );
            same_session(&before, &stage.admin(loser, "sessions").await, &session);
            for kind in [Kind::Cpo, Kind::Emp] {
                assert_eq!(sessions_compared(&stage, kind).await["difference_count"], 0, "{loser} {asker}");
            }
            recorded(&stage, &session).await;
            settled(&stage, &session).await;
            assert_eq!(
                stage.admin(Kind::Emp, &format!("cdrs/{session}")).await["cdrs"][0]["state"],
                "accepted"
            );
            stage.agreed().await;
            stage.end().await;
        }
    });
}

/// It is what it was before it was lost, but for times.
fn same_session(before: &Value, after: &Value, session: &str) {
    let of = |view: &Value| {
        let sessions = view["sessions"].as_array().unwrap();
        let mut found = sessions.iter().find(|view| view["session"] == session).expect("the session").clone();
        for time in ["opened_unix_ms", "changed_unix_ms"] {
            assert!(found.as_object_mut().unwrap().remove(time).is_some());
        }
        found
    };
    assert_eq!(of(before), of(after));
}

#[test]
fn a_lost_record_is_sent_again_in_the_comparison_that_brings_its_session_back() {
    runtime().block_on(async {
        let mut stage = before_the_loss(Kind::Emp).await;
        let session = started(&stage).await;
        recorded(&stage, &session).await;
        settled(&stage, &session).await;
        lose(&mut stage, Kind::Emp).await;
        let (from, to) = span_around_today();
        let asked = ["reconcile", "--partner", CPO, "--from", "2024-05-14", "--to", "2024-05-14"];
        // The session began on another day than those that are compared: its record names it.
        let (code, told) = command(stage.url(Kind::Emp), &asked);
        assert!(code == 1 && told.contains(&session) && told.contains("1 on the way"), "{code}: {told}");
        until_accepted_by_emp(&stage, &session).await;
        let asked = ["reconcile", "--partner", EMP, "--from", &from, "--to", &to];
        let (code, told) = command(stage.url(Kind::Cpo), &asked);
        assert!(code == 0 && !told.contains(&session), "{code}: {told}");
        stage.end().await;
    });
}

/// Of each record of a session that the EMP's node holds: its hash, state and receipts.
async fn receipts_at_emp(stage: &Stage, session: &str) -> Vec<[Value; 3]> {
    let held = stage.admin(Kind::Emp, &format!("cdrs/{session}")).await;
    let cdrs = held["cdrs"].as_array().unwrap().iter();
    cdrs.map(|cdr| ["hash", "state", "receipts"].map(|name| cdr[name].clone())).collect()
}

#[test]
fn a_cpo_that_lost_session_and_record_sends_the_record_again_and_has_its_receipts() {
    runtime().block_on(async {
        let mut stage = before_the_loss(Kind::Cpo).await;
        let session = started(&stage).await;
        recorded(&stage, &session).await;
        settled(&stage, &session).await;
        let receipts = receipts_at_emp(&stage, &session).await;
        lose(&mut stage, Kind::Cpo).await;
        let refused = stage.cpo_calls(CDR, cdr(&session, "7.5")).await;
        assert_eq!(refused.code(), (404, "400".to_owned()), "{refused:?}");
        let found = sessions_compared(&stage, Kind::Cpo).await;
        let difference = the_difference(&found, &session);
        assert_eq!((&difference["there"], &difference["fetched"]), (&"closed".into(), &true.into()));
        recorded(&stage, &session).await;
        settled(&stage, &session).await;
        assert_eq!(receipts_at_emp(&stage, &session).await, receipts, "it counts once");
        let twice = stage.emp.got(Operation::ChargeDetailRecord);
        assert_eq!(twice.iter().filter(|got| got.session.as_deref() == Some(&*session)).count(), 1);
        stage.end().await;
    });
}

#[test]
fn a_record_that_was_refused_for_its_lost_session_is_taken_once_that_is_known_again() {
    runtime().block_on(async {
        for asker in [Kind::Emp, Kind::Cpo] {
            let mut stage = before_the_loss(Kind::Emp).await;
            let session = started(&stage).await;
            lose(&mut stage, Kind::Emp).await;
            recorded(&stage, &session).await;
            until(&stage, Kind::Cpo, &session, "refused").await;
            let (from, to) = span_around_today();
            let (partner, known_again) = if asker == Kind::Emp { (CPO, "here") } else { (EMP, "there") };
            let asked = ["reconcile", "--partner", partner, "--from", &from, "--to", &to];
            let (code, told) = command(stage.url(asker), &asked);
            let line = told.lines().find(|line| line.contains(&session)).unwrap_or_default();
            assert!(code == 1 && line.trim_end().ends_with(known_again), "{asker} {code}: {told}");
            assert!(told.contains("1 on the way"), "{told}");
            settled(&stage, &session).await;
            until_accepted_by_emp(&stage, &session).await;
            stage.agreed().await;
            stage.end().await;
        }
    });
}

#[test]
fn what_cannot_be_fetched_is_said_with_its_reason() {
    runtime().block_on(async {
        let mut stage = before_the_loss(Kind::Emp).await;
        let session = started(&stage).await;
        recorded(&stage, &session).await;
        settled(&stage, &session).await;
        lose(&mut stage, Kind::Emp).await;
        // The CPO deleted what proves it.
        let erased = stage.cpo_calls(&format!("/admin/v1/evidence/{session}/erase"), String::new()).await;
        assert_eq!(erased.http, 200, "{erased:?}");
        let found = sessions_compared(&stage, Kind::Emp).await;
        let difference = the_difference(&found, &session);
        let why = difference["not_fetched"].as_str().unwrap();
        assert!(difference["fetched"] == false && why.contains("deleted"), "{found:#}");
        let (from, to) = span_around_today();
        let asked = ["reconcile", "--partner", CPO, "--from", &from, "--to", &to];
        let (code, told) = command(stage.url(Kind::Emp), &asked);
        assert!(code == 1 && told.contains("Not brought back (1): ") && told.contains("deleted"), "{told}");
        stage.end().await;
    });
}

async fn until_accepted_by_emp(stage: &Stage, session: &str) {
    until(stage, Kind::Emp, session, "accepted").await;
}

#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn until(stage: &Stage, kind: Kind, session: &str, state: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = stage.admin(kind, &format!("cdrs/{session}")).await;
        if list["cdrs"][0]["state"] == state {
            return;
        }
        assert!(Instant::now() < end, "never {state}: {list:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
