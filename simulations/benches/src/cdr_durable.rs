//! Benchmark 10: a charge detail record from the CPO's backend until it is durable on both sides and its signed receipt
//! is back, against single rows that are committed one after the other; and the export of a session's evidence.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use chargemesh::engine::Event;
use chargemesh::storage::{Config, Ledger, Place};
use rusqlite::{Connection, params};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::Options;
use crate::accounts;
use crate::charging_pair::{Pair, Wanted};
use crate::evses::World;
use crate::http::{Caller, Client};
use crate::measure::{self, Better, Pairs};

/// EVSEs of the operator.
const EVSES: usize = 200;
/// Records of one pair, one after the other.
const ALONE: usize = 100;
/// Records in flight at once in the second part, and how often each place is used in one pair.
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 10;
/// Bytes of a bare row: as many as a signed record has.
const ROW_BYTES: usize = 1_200;

/// Runs it; so many records are stored at the CPO's node before.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, stored: usize) -> Result<()> {
    let dir = options.scratch("cdr_durable")?;
    if stored > 0 {
        let place = Place::directory(&dir.path().join("pair").join("cpo"))?;
        accounts::fill(&mut Ledger::open(&place, &Config::default())?, stored)?;
    }
    crate::runtime()?.block_on(async {
        let world = World::new(options.seed, 1, EVSES);
        let before_mb = measure::memory()?.rss_mb;
        let pair = Arc::new(Pair::start(&world, &dir.path().join("pair"), Wanted::default()).await?);
        let bare = Bare::create(&dir.path().join("bare.sqlite"))?;
        let (mut alone, mut synced, mut rates) =
            (Pairs::new(Better::Lower), Pairs::new(Better::Lower), Pairs::new(Better::Higher));
        let mut last = Vec::new();
        for number in 0..=options.pairs {
            let (record_us, commit_us) = one_by_one(&pair, &bare, &mut last).await?;
            let fdatasync_us = measure::fdatasync_p50_us(dir.path())?;
            let rate = in_flight(&pair).await?;
            println!(
                "  a record {record_us:.0} us until its receipt, a bare commit {commit_us:.0} us, fdatasync {fdatasync_us:.0} us; \
                 {IN_FLIGHT} in flight: {rate:.0} records/s"
            );
            // The first only warms everything.
            if number > 0 {
                alone.add(record_us, commit_us);
                synced.add(record_us, fdatasync_us);
                rates.add(rate, 1e6 / commit_us);
            }
        }
        measure::print_pairs("one alone over fdatasync", &synced, "<= 2.3");
        measure::print_pairs("rate with 64 in flight over single commits", &rates, ">= 20");
        let mut exports = exports(&pair, &last)?;
        let (middle, worst) = (measure::quantile(&mut exports, 0.5), measure::quantile(&mut exports, 1.0));
        println!("  evidence of one session: p50 {middle:.1} ms, worst of {} {worst:.1} ms (target 50)", exports.len());
        let per_node_mb = (measure::memory()?.peak_mb - before_mb) / 2.0;
        if let Some(pair) = Arc::into_inner(pair) {
            pair.stop().await;
        }
        measure::conclude("cdr_durable", &alone, "<= 2.3 commits", per_node_mb, dir.path())
    })
}

/// Medians in microseconds: of a record until its receipt, and of a bare commit; leaves the sessions.
async fn one_by_one(pair: &Pair, bare: &Bare, sessions: &mut Vec<String>) -> Result<(f64, f64)> {
    let (mut emp, mut cpo) = (pair.emp_backend().await?, pair.cpo_backend().await?);
    sessions.clear();
    for number in 0..ALONE {
        sessions.push(pair.session(&mut emp, number).await?);
    }
    let mut events = pair.cpo_events()?;
    let (mut records, mut commits) = (Vec::new(), Vec::new());
    for (number, session) in sessions.iter().enumerate() {
        let begun = Instant::now();
        send(pair, &mut cpo, session, number).await?;
        received(&mut events, &mut BTreeSet::from([session.clone()])).await?;
        records.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        bare.commit(number)?;
        commits.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok((measure::quantile(&mut records, 0.5), measure::quantile(&mut commits, 0.5)))
}

/// Records a second with many in flight, from the first until the last receipt.
async fn in_flight(pair: &Arc<Pair>) -> Result<f64> {
    let mut emp = pair.emp_backend().await?;
    let mut sessions = Vec::new();
    for number in 0..IN_FLIGHT * ROUNDS {
        sessions.push(pair.session(&mut emp, number).await?);
    }
    let mut callers = Vec::new();
    for _ in 0..IN_FLIGHT {
        callers.push(pair.cpo_backend().await?);
    }
    let mut events = pair.cpo_events()?;
    let mut missing: BTreeSet<String> = sessions.iter().cloned().collect();
    let begun = Instant::now();
    let mut turns = Vec::new();
    for (place, (mut caller, mine)) in callers.into_iter().zip(sessions.chunks(ROUNDS)).enumerate() {
        let (pair, mine) = (pair.clone(), mine.to_vec());
        turns.push(tokio::spawn(async move {
            for (round, session) in mine.iter().enumerate() {
                send(&pair, &mut caller, session, place * ROUNDS + round).await?;
            }
            Ok::<(), anyhow::Error>(())
        }));
    }
    received(&mut events, &mut missing).await?;
    let rate = (IN_FLIGHT * ROUNDS) as f64 / begun.elapsed().as_secs_f64();
    for turn in turns {
        turn.await??;
    }
    Ok(rate)
}

async fn send(pair: &Pair, caller: &mut Caller, session: &str, number: usize) -> Result<()> {
    let (path, body) = pair.cdr(session, number);
    let (status, answer) = caller.post(&path, &body).await?;
    let yes = answer.windows(13).any(|part| part == b"\"Result\":true");
    ensure!(status == 200 && yes, "HTTP {status}: {}", String::from_utf8_lossy(answer));
    Ok(())
}

/// Waits until all these sessions' records have a receipt.
async fn received(events: &mut Receiver<Arc<Event>>, missing: &mut BTreeSet<String>) -> Result<()> {
    while !missing.is_empty() {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => bail!("{missed} events were missed: the figure would be wrong"),
            Err(RecvError::Closed) => bail!("the node ended"),
        };
        let fact = |name: &str| event.facts.get(name).map(String::as_str);
        match (event.kind, fact("state"), fact("session")) {
            ("cdr", Some("refused" | "rejected"), Some(session)) => {
                bail!("the record of {session} was not taken")
            }
            ("cdr", Some(state), Some(session)) if state != "waiting" => drop(missing.remove(session)),
            _ => {}
        }
    }
    Ok(())
}

/// How long the evidence of each session takes, in milliseconds.
fn exports(pair: &Pair, sessions: &[String]) -> Result<Vec<f64>> {
    let mut client = Client::connect(pair.emp_facade()?)?;
    let mut times = Vec::new();
    for session in sessions {
        let begun = Instant::now();
        let (status, body) = client.get(&format!("/admin/v1/evidence/{session}"))?;
        ensure!(status == 200 && body.len() > 1_000, "HTTP {status}, {} bytes", body.len());
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    ensure!(!times.is_empty(), "no sessions");
    Ok(times)
}

/// Single rows, each durable.
struct Bare(Connection);

impl Bare {
    fn create(path: &Path) -> Result<Bare> {
        let connection = Connection::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE records(number INTEGER PRIMARY KEY, record BLOB NOT NULL);",
        )?;
        Ok(Bare(connection))
    }

    fn commit(&self, number: usize) -> Result<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO records(record) VALUES (?1)")?;
        insert.execute(params![vec![number as u8; ROW_BYTES]])?;
        Ok(())
    }
}
