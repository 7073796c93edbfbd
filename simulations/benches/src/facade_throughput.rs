//! Benchmark 11: what the facade takes from one backend, against a bare axum echo of the same body: AuthorizeStart
//! answered by the node itself (the EMP is a party of it and uploaded its cards), and PushEvseStatus of 100.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chargemesh::facade::ApiKey;
use chargemesh::node::Node;
use chargemesh::oicp::reading::Reading;

use crate::evses::{STATUSES, World};
use crate::http::Caller;
use crate::measure::{self, Better, Pairs};
use crate::parties::PROVIDER;
use crate::{Options, bare_http, charging_pair, parties};

/// Statuses of one push, and EVSEs of the operator.
const STATUSES_PER_PUSH: usize = 100;

/// Pushes of one pair.
const PUSHES: usize = 300;

/// Cards that the EMP uploaded.
const CARDS: usize = 10_000;

/// Questions in flight, and how often each place is used in one pair.
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 50;

/// In the answer to a card that may not charge.
const NO: &[u8] = b"NotAuthorized";

/// Of the backend that acts for both parties.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Runs it.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options) -> Result<()> {
    let dir = options.scratch("facade_throughput")?;
    crate::runtime()?.block_on(async {
        let world = World::new(options.seed, 1, STATUSES_PER_PUSH);
        let before_mb = measure::memory()?.rss_mb;
        let node = start(&world, dir.path()).await?;
        let facade = node.facade_address().context("the node has no facade")?;
        // A status of an EVSE without data is refused (603).
        let (operator, party) = (world.operator_id(0), format!("CPO:{}", world.operator_id(0).replace('*', "")));
        charging_pair::publish(&node, &party, &operator, &world).await?;
        let echo = bare_http::echo().await?;
        upload(facade).await?;
        let (mut rates, mut cpu) = (Pairs::new(Better::Higher), Pairs::new(Better::Lower));
        for number in 0..=options.pairs {
            let (ours, ours_us) = flood(facade, |at| authorize_start(&world, at)).await?;
            let (bare, bare_us) = flood(echo, |at| authorize_start(&world, at)).await?;
            let push_us = push_all(facade, &world, number).await?;
            let echo_us = push_all(echo, &world, number).await?;
            if number > 0 {
                println!(
                    "  AuthorizeStart {ours:.0}/s at {ours_us:.0} us CPU, axum {bare:.0}/s at {bare_us:.0} us; PushEvseStatus {push_us:.0} us CPU, decode and echo {echo_us:.0} us"
                );
                rates.add(ours, bare);
                cpu.add(push_us, echo_us);
            }
        }
        measure::print_pairs("PushEvseStatus of 100, CPU over decode and echo", &cpu, "<= 2");
        let rss_mb = measure::memory()?.peak_mb - before_mb;
        node.shutdown().await;
        measure::conclude("facade_throughput", &rates, ">= 0.6", rss_mb, dir.path())
    })
}

async fn start(world: &World, dir: &Path) -> Result<Node> {
    let operator = format!("CPO:{}", world.operator_id(0).replace('*', ""));
    let mut settings = parties::settings(&dir.join("node"), Some(&operator), &[]);
    settings.policy = charging_pair::allowing(&operator)?;
    settings.policy.rules.extend(charging_pair::allowing(PROVIDER.0)?.rules);
    for backend in settings.facade.iter_mut().flat_map(|facade| &mut facade.backends) {
        backend.key = Some(ApiKey::new(KEY));
        backend.parties = vec![operator.clone(), PROVIDER.0.to_owned()];
        backend.reading = Reading::Strict;
    }
    parties::start_with("both", &[&operator, PROVIDER.0], settings).await
}

/// The EMP uploads its cards.
async fn upload(facade: SocketAddr) -> Result<()> {
    let record =
        |number: usize| format!(r#"{{"RFIDMifareFamilyIdentification":{{"UID":"{}"}}}}"#, uid(number));
    let records: Vec<String> = (0..CARDS).map(record).collect();
    let body = format!(
        r#"{{"ActionType":"fullLoad","ProviderAuthenticationData":{{"ProviderID":"{}","AuthenticationDataRecord":[{}]}}}}"#,
        PROVIDER.1,
        records
            .iter()
            .map(|record| format!(r#"{{"Identification":{record}}}"#))
            .collect::<Vec<_>>()
            .join(",")
    );
    let path = format!("/k/{KEY}/api/oicp/authdata/v21/providers/{}/push-request", PROVIDER.1);
    let mut backend = Caller::connect(facade).await?;
    expect(backend.post(&path, &body).await?, b"\"Result\":true")
}

fn uid(number: usize) -> String {
    format!("04{number:012X}")
}

/// Path and body of a question about a card that the node can answer.
fn authorize_start(world: &World, number: usize) -> (String, String) {
    let (operator, evse) = (world.operator_id(0), world.evse_id(0, number % STATUSES_PER_PUSH));
    let path = format!("/k/{KEY}/api/oicp/charging/v21/operators/{operator}/authorize/start");
    let body = format!(
        r#"{{"OperatorID":"{operator}","EvseID":"{evse}","CPOPartnerSessionID":"C-{number}","Identification":{{"RFIDMifareFamilyIdentification":{{"UID":"{}"}}}}}}"#,
        uid(number % CARDS)
    );
    (path, body)
}

/// Many questions at once: how many a second, and the processor time of each in microseconds.
async fn flood(server: SocketAddr, question: impl Fn(usize) -> (String, String)) -> Result<(f64, f64)> {
    let mut tasks = Vec::new();
    let (begun, cpu_s) = (Instant::now(), measure::cpu_s()?);
    for place in 0..IN_FLIGHT {
        let mut caller = Caller::connect(server).await?;
        let questions: Vec<_> = (0..ROUNDS).map(|round| question(place * ROUNDS + round)).collect();
        tasks.push(tokio::spawn(async move {
            for (path, body) in questions {
                let (status, answer) = caller.post(&path, &body).await?;
                let refused = answer.windows(NO.len()).any(|part| part == NO);
                ensure!(status == 200 && !refused, "HTTP {status}: {}", String::from_utf8_lossy(answer));
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let all = (IN_FLIGHT * ROUNDS) as f64;
    Ok((all / begun.elapsed().as_secs_f64(), (measure::cpu_s()? - cpu_s) * 1e6 / all))
}

/// Pushes one after the other, each changes all statuses: processor time of one in microseconds.
async fn push_all(server: SocketAddr, world: &World, pair: usize) -> Result<f64> {
    let operator = world.operator_id(0);
    let path = format!("/k/{KEY}/api/oicp/evsepush/v21/operators/{operator}/status-records");
    let mut caller = Caller::connect(server).await?;
    let cpu_s = measure::cpu_s()?;
    for push in 0..PUSHES {
        let status = |number: usize| STATUSES[(number + push + pair) % STATUSES.len()];
        let action = if (pair, push) == (0, 0) { "fullLoad" } else { "update" };
        let record = |number: usize| {
            format!(r#"{{"EvseID":"{}","EvseStatus":"{}"}}"#, world.evse_id(0, number), status(number))
        };
        let records: Vec<String> = (0..STATUSES_PER_PUSH).map(record).collect();
        let body = format!(
            r#"{{"ActionType":"{action}","OperatorEvseStatus":{{"OperatorID":"{operator}","OperatorName":"Operator","EvseStatusRecord":[{}]}}}}"#,
            records.join(",")
        );
        let (status, answer) = caller.post(&path, &body).await?;
        ensure!(status == 200, "HTTP {status}: {}", String::from_utf8_lossy(answer));
        let refused = answer.windows(14).any(|part| part == b"\"Result\":false");
        ensure!(!refused, "refused: {}", String::from_utf8_lossy(answer));
    }
    Ok((measure::cpu_s()? - cpu_s) * 1e6 / PUSHES as f64)
}

fn expect((status, answer): (u16, &[u8]), wanted: &[u8]) -> Result<()> {
    let there = answer.windows(wanted.len()).any(|part| part == wanted);
    ensure!(status == 200 && there, "HTTP {status}: {}", String::from_utf8_lossy(answer));
    Ok(())
}
