//! Nodes that are killed, or cut off, at any point of a charge detail record's life: none is lost, none counts twice,
//! and in the end each has its receipts at both sides, without a hand being lifted.

#![allow(clippy::disallowed_methods, reason = "a test lives in real time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chargemesh::backend::{Kind, Operation};
use serde_json::Value;

use super::cdr::{CDR, cdr, cdrs_of};
use super::stage::{REMOTE_START, Stage, remote_start};
use crate::support::{PATIENCE, runtime};

/// How many rounds; acceptance is 1,000.
const ROUNDS: &str = "CHARGEMESH_CRASH_ROUNDS";
const ROUNDS_DEFAULT: u64 = 100;
/// Where the random moments come from; printed.
const SEED: &str = "CHARGEMESH_CRASH_SEED";

/// The EMP's backend takes so long, in milliseconds: half of the kills come while it is asked.
const BACKEND_MS: u64 = 20;

/// A record's life lasts some milliseconds more; a little longer, so that some kills come after it, in milliseconds.
const MOMENT_MS_MAX: u64 = 50;

/// How long a node is cut off, in milliseconds: so short that the link lives, or so long that questions time out.
const CUT_MS_MAX: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// `SplitMix64`: a number that nobody can foresee, from a seed that anybody can repeat.
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// What happens in a round.
async fn strike(stage: &mut Stage, what: u64, moments: &mut Moments) {
    let [kills_cpo, kills_emp] = [what == 0 || what == 2, what == 1 || what == 2];
    if kills_cpo {
        stage.cpo.kill().await;
    }
    if kills_emp {
        stage.emp.kill().await;
    }
    if what == 3 {
        stage.emp.signal("STOP");
        wait(moments.below(CUT_MS_MAX)).await;
        stage.emp.signal("CONT");
    }
    if kills_cpo {
        stage.spawn(Kind::Cpo).await;
    }
    if kills_emp {
        stage.spawn(Kind::Emp).await;
    }
}

/// A session that runs at both sides.
async fn session(stage: &Stage, round: u64) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = stage.emp_calls(REMOTE_START, remote_start(&format!("CH*ABC*E{round}"))).await;
        if answer.json()["Result"] == true {
            return answer.yes();
        }
        assert!(Instant::now() < end, "round {round}: {answer:?}");
        wait(50).await;
    }
}

/// The backend sends its record until it hears `000`, as backends do.
pub(super) async fn acknowledged(stage: &Stage, body: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = stage.calls(Kind::Cpo, CDR, body.to_owned()).await;
        if matches!(&answer, Ok(heard) if heard.code() == (200, "000".to_owned())) {
            return;
        }
        assert!(Instant::now() < end, "{answer:?}");
        wait(50).await;
    }
}

/// Waits until a side has a session's record with its last receipt.
pub(super) async fn settled(stage: &Stage, kind: Kind, session: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let cdrs = cdrs_of(stage, kind, session).await;
        assert!(cdrs.len() <= 1, "doubled: {cdrs:#?}");
        if let [cdr] = &*cdrs
            && cdr["is_open"] == false
        {
            return cdr.clone();
        }
        assert!(Instant::now() < end, "{kind}: the record of {session} is not settled: {cdrs:#?}");
        wait(50).await;
    }
}

#[test]
fn a_kill_at_any_moment_of_a_record_loses_and_doubles_none() {
    let rounds = number(ROUNDS).unwrap_or(ROUNDS_DEFAULT);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number(SEED).unwrap_or(u64::from(since_1970.subsec_nanos()));
    println!("{SEED}={seed} {ROUNDS}={rounds}");
    runtime().block_on(async {
        let mut moments = Moments(seed);
        let mut stage = Stage::of_processes().await;
        stage.emp.behave(&format!("cdr:slow={BACKEND_MS}"));
        let mut sent = BTreeMap::new();
        for round in 0..rounds {
            let id = session(&stage, round).await;
            let body = cdr(&id, &format!("{round}.10"));
            let calling = stage.begins(Kind::Cpo, CDR, body.clone());
            wait(moments.below(MOMENT_MS_MAX)).await;
            let what = moments.below(4);
            strike(&mut stage, what, &mut moments).await;
            // Whatever it heard, if it heard anything.
            drop(calling.await.unwrap());
            stage.connected().await;
            acknowledged(&stage, &body).await;
            sent.insert(id, body);
        }
        for (id, body) in &sent {
            let (cpo, emp) = (settled(&stage, Kind::Cpo, id).await, settled(&stage, Kind::Emp, id).await);
            for cdr in [&cpo, &emp] {
                assert_eq!((&cdr["state"], cdr["oicp"].as_str()), (&"accepted".into(), Some(body.as_str())));
            }
            assert_eq!((&cpo["receipts"], &cpo["hash"]), (&emp["receipts"], &emp["hash"]));
        }
        // The sets are equal, and nothing is there that was not sent.
        for kind in [Kind::Cpo, Kind::Emp] {
            let view = stage
                .until(kind, "an empty outbox", |view| view["open_cdrs"].as_object().unwrap().is_empty());
            assert_eq!(view.await["overdue_cdrs"], 0);
            let listed = stage.admin(kind, "cdrs?limit=1000").await;
            let listed = listed["cdrs"].as_array().unwrap();
            assert_eq!(listed.len() as u64, rounds.min(1_000), "{kind}");
            assert!(listed.iter().all(|cdr| sent.contains_key(cdr["session"].as_str().unwrap())));
        }
        // At least once to the backend, always the same bytes.
        let mut given = BTreeMap::new();
        for received in stage.emp.got(Operation::ChargeDetailRecord) {
            let id = received.session.unwrap();
            assert_eq!(received.body, sent[&id].as_bytes());
            *given.entry(id).or_insert(0_u64) += 1;
        }
        assert_eq!(given.len(), sent.len());
        println!("{rounds} records, given to the backend {} times", given.values().sum::<u64>());
        stage.end().await;
    });
}
