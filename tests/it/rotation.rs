//! Every key of a party but that of its node is replaced while its backend pushes 200 statuses a second: real
//! nodes, the commands that an operator calls, and nothing is lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chargemesh::outbound::HubClient;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::{Running, succeeds, wait_for};
use crate::support::{push_data, push_status, runtime};
use crate::trust_cli::{issue, words};
use crate::trust_ops::{all_show, vouched_for};

const OPERATOR: &str = "DE*GEF";
const STATUSES: [&str; 3] = ["Available", "Occupied", "OutOfService"];
/// Statuses a second ...
const STATUSES_PER_S: u32 = 200;
/// ... and in one push: those of a party are done one after the other.
const PER_PUSH: usize = 2;
const PUSHES_PER_S: u32 = STATUSES_PER_S / PER_PUSH as u32;
/// More are never sent, however long the commands take.
const PUSHES_MAX: usize = 60 * PUSHES_PER_S as usize;
/// EVSEs, each of which is pushed by one sender only: the last push is the last status.
const EVSES: usize = 48;
const _: () = assert!(EVSES.is_multiple_of(PER_PUSH * SENDERS));
/// Senders, each with its own connection that is kept alive.
const SENDERS: usize = 4;
/// Pushes before the first rotation, and between two.
const BETWEEN: usize = PUSHES_PER_S as usize;

/// What became of the pushes.
#[derive(Default)]
struct Load {
    /// Pushes.
    sent: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Waits until some more were sent.
    fn wait(&self) {
        let until = self.sent.load(Ordering::Relaxed) + BETWEEN;
        wait_for("more pushes", || (self.sent.load(Ordering::Relaxed) >= until).then_some(()));
    }

    /// Pushes at the pace until it is over. Gives what each EVSE's last status is, and the answers that were
    /// not 000.
    async fn push(&self, url: &str) -> (BTreeMap<String, &'static str>, Vec<String>) {
        let senders: Vec<HubClient> = (0..SENDERS).map(|_| HubClient::new(url, None).unwrap()).collect();
        let mut queues = Vec::new();
        let mut at_work = tokio::task::JoinSet::new();
        for client in senders {
            let (queue, mut waiting) = tokio::sync::mpsc::channel::<Vec<(String, &'static str)>>(PUSHES_MAX);
            queues.push(queue);
            at_work.spawn(async move {
                let mut answers = Vec::new();
                while let Some(batch) = waiting.recv().await {
                    let batch: Vec<(&str, &str)> =
                        batch.iter().map(|(id, status)| (id.as_str(), *status)).collect();
                    let body = push_status("update", OPERATOR, &batch);
                    let answer = client.push_evse_status(OPERATOR, body).await;
                    answers.push(answer.map_err(|error| error.to_string()));
                }
                answers
            });
        }
        let mut last = BTreeMap::new();
        let mut pace = interval(Duration::from_secs(1) / PUSHES_PER_S);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..PUSHES_MAX {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            pace.tick().await;
            let first = number * PER_PUSH;
            let status = STATUSES[first / EVSES % STATUSES.len()];
            let batch: Vec<_> =
                (first..first + PER_PUSH).map(|evse_of| (evse(evse_of % EVSES), status)).collect();
            last.extend(batch.iter().cloned());
            queues[number % SENDERS].try_send(batch).unwrap();
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        drop(queues);
        let answers: Vec<_> = at_work.join_all().await.into_iter().flatten().collect();
        let bad = answers.iter().filter(|answer| !answer.as_ref().is_ok_and(|said| said.result));
        (last, bad.map(|answer| format!("{answer:?}")).collect())
    }
}

fn evse(number: usize) -> String {
    format!("{OPERATOR}*E{number}")
}

/// How often the node said that it took its files anew.
fn reloads(node: &Running) -> usize {
    node.logged().matches("were loaded anew").count()
}

/// The node takes what the command has written.
fn taken(node: &Running, before: usize) {
    node.send("HUP");
    wait_for("a reload", || (reloads(node) > before).then_some(()));
    assert!(!node.logged().contains("does not hold"), "{}", node.logged());
}

/// Message key, delegation and org key, one after the other.
fn rotate(dir: &Path, cpo: &Running, emp: &Running, load: &Load) {
    load.wait();
    let before = reloads(cpo);
    succeeds(dir, &["renew", "cpo", "--new-message-key"]);
    taken(cpo, before);
    load.wait();
    let before = reloads(cpo);
    succeeds(dir, &["renew", "cpo"]);
    taken(cpo, before);
    load.wait();
    let old = words(dir, "cpo");
    succeeds(dir, &["party", "rotate", "cpo", "--node", &cpo.url()]);
    load.wait();
    succeeds(dir, &issue("cpo/request.cose", "cpo-2.cose", &words(dir, "cpo/request.cose")));
    let before = reloads(cpo);
    succeeds(dir, &["party", "install", "cpo", "cpo-2.cose"]);
    taken(cpo, before);
    let new = words(dir, "cpo");
    assert_ne!(old, new, "the org key is another one");
    all_show(dir, &[cpo, emp], &["CPO:DEGEF", "live", &new]);
    load.wait();
}

/// A number of the node's metrics.
async fn metric(client: &HubClient, name: &str) -> f64 {
    let text = String::from_utf8(client.get("metrics").await.unwrap().body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn all_keys_of_a_party_rotate_under_200_pushes_a_second_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    let runtime = runtime();
    let ids: Vec<String> = (0..EVSES).map(evse).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    runtime.block_on(async {
        let client = HubClient::new(&cpo.url(), None).unwrap();
        let data = client.push_evse_data(OPERATOR, push_data("fullLoad", OPERATOR, &ids)).await.unwrap();
        assert!(data.result, "{data:?}");
        let unknown: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "Unknown")).collect();
        let body = push_status("fullLoad", OPERATOR, &unknown);
        assert!(client.push_evse_status(OPERATOR, body).await.unwrap().result);
    });
    let all = format!("shows {EVSES} EVSEs and {EVSES} statuses");
    wait_for(&all, || succeeds(dir, &["peers", "--node", &emp.url()]).contains(&all).then_some(()));

    let (load, url) = (Load::default(), cpo.url());
    let begun = Instant::now();
    let (last, bad) = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| runtime.block_on(load.push(&url)));
        // The load ends even if a command fails.
        let rotated =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rotate(dir, &cpo, &emp, &load)));
        load.over.store(true, Ordering::Relaxed);
        let pushed = pushing.join().unwrap();
        rotated.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        pushed
    });
    let sent = load.sent.load(Ordering::Relaxed);
    let took = begun.elapsed();
    assert!(sent < PUSHES_MAX, "the rotations took longer than the load");
    assert_eq!(bad, Vec::<String>::new(), "every push is answered 000");

    let [theirs, ours] = [&emp, &cpo].map(|node| HubClient::new(&node.url(), None).unwrap());
    let statuses = (sent * PER_PUSH) as u64;
    let applied = wait_for("every change at the provider's node", || {
        let applied = runtime.block_on(changes(&theirs)) - EVSES as u64;
        (applied >= statuses).then_some(applied)
    });
    runtime.block_on(async {
        assert_eq!(changes(&ours).await, changes(&theirs).await);
        assert_eq!(missing(&theirs, &last).await, Vec::<String>::new(), "the last statuses");
        for client in [&theirs, &ours] {
            assert_eq!(metric(client, "chargemesh_records_refused").await, 0.0);
        }
    });
    let (lost, rate) = (statuses - applied, statuses as f64 / took.as_secs_f64());
    println!(
        "rotation of message key, delegation and org key under load: {statuses} statuses in {took:.1?} ({rate:.0}/s to the last answer), {lost} lost"
    );
    assert_eq!(lost, 0);
}

/// The EVSEs whose last status a node does not have.
async fn missing(client: &HubClient, last: &BTreeMap<String, &str>) -> Vec<String> {
    let ids: Vec<&str> = last.keys().map(String::as_str).collect();
    let said = client.status_by_id("DE-DCB", &ids).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.body).unwrap();
    let records = said["EVSEStatusRecords"]["EvseStatusRecord"].as_array().unwrap();
    let shown: BTreeMap<&str, &str> = records
        .iter()
        .map(|record| (record["EvseID"].as_str().unwrap(), record["EvseStatus"].as_str().unwrap()))
        .collect();
    last.iter()
        .filter(|(id, status)| shown.get(id.as_str()) != Some(*status))
        .map(|(id, _)| id.clone())
        .collect()
}

/// How many status changes of the operator a node has applied, one after the other.
async fn changes(client: &HubClient) -> u64 {
    let view: serde_json::Value = serde_json::from_slice(&client.view().await.unwrap().body).unwrap();
    let feeds = view["feeds"].as_array().unwrap();
    let status = feeds.iter().find(|feed| feed["party"] == "CPO:DEGEF" && feed["kind"] == "status").unwrap();
    status["seq"].as_u64().unwrap()
}
