//! What a process may do to a node: kill it, take its disk, spoil its files.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use chargemesh::outbound::HubClient;
use serde_json::Value;

use crate::support::skips::skip;
use crate::support::{PATIENCE, Plan, World, client, push_data, push_status, runtime, until, view};

/// Set in a child process: its data directory.
const CHILD_DIR: &str = "CHARGEMESH_TEST_CHILD_DIR";
/// Set in a child process: whom it knows, or empty.
const CHILD_BOOTSTRAP: &str = "CHARGEMESH_TEST_CHILD_BOOTSTRAP";

fn child_plan(dir: &Path) -> Plan {
    Plan::new("victim", Some("CPO:CHABC"), dir).also("EMP:DEEMP")
}

/// No test of its own: what the child processes of this file run. They end by being killed.
#[test]
fn child_process() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let _other = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .try_init();
    let dir = Path::new(&dir);
    runtime().block_on(async {
        let bootstrap: Vec<String> =
            std::env::var(CHILD_BOOTSTRAP).into_iter().filter(|text| !text.is_empty()).collect();
        let node = World::new().start(&child_plan(dir).bootstrap(&bootstrap)).await;
        let address = format!("http://{}", node.facade_address().unwrap());
        std::fs::write(dir.join("starting"), address).unwrap();
        std::fs::rename(dir.join("starting"), dir.join("address")).unwrap();
        std::future::pending::<()>().await;
    });
}

/// A node in a process of its own, killed when it is dropped.
struct Process {
    child: Child,
    client: HubClient,
}

impl Process {
    async fn start(dir: &Path, bootstrap: &str) -> Process {
        Process::started(Command::new(std::env::current_exe().unwrap()), &[], dir, dir, bootstrap)
            .await
            .unwrap()
    }

    /// `seen_at` is where this process sees the directory of the other.
    async fn started(
        mut command: Command,
        before: &[&str],
        dir: &Path,
        seen_at: &Path,
        bootstrap: &str,
    ) -> Option<Process> {
        let _none_yet = std::fs::remove_file(seen_at.join("address"));
        command.args(before).args(["--exact", "crash::child_process", "--nocapture"]);
        command.env(CHILD_DIR, dir).env(CHILD_BOOTSTRAP, bootstrap).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let seen_at = seen_at.to_string_lossy().replace("PID", &child.id().to_string());
        let file = Path::new(&seen_at).join("address");
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        let waiting = async {
            loop {
                ticks.tick().await;
                match std::fs::read_to_string(&file) {
                    Ok(address) => return Some(address),
                    Err(_) if child.try_wait().unwrap().is_some() => return None,
                    Err(_) => {}
                }
            }
        };
        let address = tokio::time::timeout(PATIENCE, waiting).await.expect("the child starts")?;
        Some(Process { client: HubClient::new(&address, None).unwrap(), child })
    }

    /// SIGKILL, and waits for the end.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn view(&self) -> Value {
        serde_json::from_slice(&self.client.view().await.unwrap().body).unwrap()
    }

    /// Number of records, seq and root of the own data feed.
    async fn data(&self) -> (u64, u64, String) {
        let view = self.view().await;
        let feed = view["feeds"]
            .as_array()
            .unwrap()
            .iter()
            .find(|feed| feed["kind"] == "data" && feed["own"] == true);
        let feed = feed.unwrap_or_else(|| panic!("no data feed in {view:#}"));
        (
            feed["count"].as_u64().unwrap(),
            feed["seq"].as_u64().unwrap(),
            feed["root"].as_str().unwrap().to_owned(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn ids(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("CH*ABC*E{number}")).collect()
}

fn load(action: &str, ids: &[String]) -> bytes::Bytes {
    push_data(action, "CH*ABC", &ids.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn what_was_acknowledged_survives_kill_9_during_a_full_load() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let emp = World::new().start(&Plan::new("emp", Some("EMP:DEONE"), dir.path())).await;
        let bootstrap = emp.mesh_addresses()[0].clone();
        let (few, many) = (ids(0..50), ids(0..4_000));
        let mut last_acknowledged = "";
        for round in 0..3_u64 {
            let process = Process::start(dir.path(), &bootstrap).await;
            let base = if round == 0 { 50 } else { process.data().await.0 };
            assert!(base == 50 || base == 4_000, "all or nothing, found {base}");
            if round == 0 {
                assert!(
                    process.client.push_evse_data("CH*ABC", load("fullLoad", &few)).await.unwrap().result
                );
                let all: Vec<(&str, &str)> = few.iter().map(|id| (id.as_str(), "Available")).collect();
                assert!(
                    process
                        .client
                        .push_evse_status("CH*ABC", push_status("fullLoad", "CH*ABC", &all))
                        .await
                        .unwrap()
                        .result
                );
            } else {
                let answer = process.client.status_by_id("DE-EMP", &["CH*ABC*E7"]).await.unwrap();
                let text = String::from_utf8(answer.body.to_vec()).unwrap();
                assert!(text.contains(last_acknowledged), "{last_acknowledged} was acknowledged: {text}");
            }
            for status in
                ["Occupied", "Reserved", "OutOfService"].into_iter().cycle().skip(round as usize).take(4)
            {
                let change = push_status("update", "CH*ABC", &[("CH*ABC*E7", status)]);
                assert!(process.client.push_evse_status("CH*ABC", change).await.unwrap().result);
                last_acknowledged = status;
            }
            let (sending, body) = (process.client.clone(), load("fullLoad", &many));
            let pushing = async move { sending.push_evse_data("CH*ABC", body).await };
            // At another moment in each round: reading, handling, committing.
            let moment = std::time::Duration::from_millis(60 + 150 * round);
            let acknowledged = tokio::time::timeout(moment, pushing).await;
            process.kill();
            if matches!(acknowledged, Ok(Ok(answer)) if answer.result) {
                break;
            }
        }
        let process = Process::start(dir.path(), &bootstrap).await;
        assert!(process.client.push_evse_data("CH*ABC", load("fullLoad", &many)).await.unwrap().result);
        let (count, seq, root) = process.data().await;
        assert_eq!(count, 4_000);
        let same = until(&emp, "the EMP is where the writer is", |view| {
            view.feeds.iter().any(|feed| feed.kind == "data" && feed.in_sync && feed.root == root)
        });
        let known = same.await;
        let feed = known.feeds.iter().find(|feed| feed.kind == "data").unwrap();
        assert_eq!((feed.count, feed.seq, feed.state), (4_000, seq, "ok"));
        until(&emp, "the statuses", |view| view.view_statuses == 50).await;
        process.kill();
        emp.shutdown().await;
    });
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let process = Process::start(dir.path(), "").await;
        let error =
            World::new().try_start(&child_plan(dir.path())).await.err().expect("it is locked").to_string();
        assert!(error.contains("in use by another process") && error.contains("choose another"), "{error}");
        assert!(process.client.push_evse_data("CH*ABC", load("fullLoad", &ids(0..2))).await.unwrap().result);
        process.kill();
        // The lock goes with the process.
        World::new().start(&child_plan(dir.path())).await.shutdown().await;
    });
}

#[test]
fn a_database_of_a_later_version_or_damaged_is_refused_and_left_as_it_is() {
    runtime().block_on(async {
        for database in ["ledger.sqlite", "directory.sqlite"] {
            let dir = tempfile::tempdir().unwrap();
            let plan = child_plan(dir.path());
            let node = World::new().start(&plan).await;
            assert!(
                client(&node).push_evse_data("CH*ABC", load("fullLoad", &ids(0..5))).await.unwrap().result
            );
            node.shutdown().await;
            let file = plan.settings.storage.data_dir.join(database);
            let opened = || rusqlite::Connection::open(&file).unwrap();
            let known: i64 = opened().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            opened().pragma_update(None, "user_version", 99).unwrap();
            let error = World::new().try_start(&plan).await.err().expect("a later version").to_string();
            assert!(
                error.contains(database) && error.contains("99") && error.contains("later version"),
                "{error}"
            );
            opened().pragma_update(None, "user_version", known).unwrap();
            let node = World::new().start(&plan).await;
            assert_eq!(view(&node).await.view_evses, 5);
            node.shutdown().await;

            std::fs::write(&file, vec![7; 8_192]).unwrap();
            let error = World::new().try_start(&plan).await.err().expect("damaged").to_string();
            let advice = if database == "ledger.sqlite" { "restore it from a backup" } else { "delete it" };
            assert!(
                error.contains(database) && error.contains("damaged") && error.contains(advice),
                "{error}"
            );
        }
    });
}

/// A full disk, in a mount namespace of the child's own.
#[test]
fn a_full_disk_is_said_and_what_was_acknowledged_stays() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let disk = dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mut probe = Command::new("unshare");
        let may = probe.args(["-m", "mount", "-t", "tmpfs", "tmpfs"]).arg(&disk).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            let test = "a_full_disk_is_said_and_what_was_acknowledged_stays";
            skip(test, "no right to mount a small disk (needs root and `unshare`)");
            return;
        }
        let script = format!(
            "mount -t tmpfs -o size=40m tmpfs {disk} && head -c 34000000 /dev/zero > {disk}/filler && exec \"$0\" \"$@\"",
            disk = disk.display()
        );
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(exe);
        let seen_at = format!("/proc/PID/root{}", disk.display());
        let process = Process::started(command, &[], &disk, Path::new(&seen_at), "").await.expect("it starts");
        let push = async |action, range| process.client.push_evse_data("CH*ABC", load(action, &ids(range))).await;
        assert!(push("fullLoad", 0..50).await.unwrap().result);
        let mut acknowledged = 50;
        let mut refusal = String::new();
        for _ in 0..100 {
            let next = acknowledged + 200;
            match push("insert", acknowledged..next).await {
                Ok(answer) if answer.result => acknowledged = next,
                other => {
                    refusal = format!("{other:?}");
                    break;
                }
            }
        }
        assert!(refusal.contains("002") || refusal.contains("no room"), "{acknowledged}: {refusal}");
        let filler = format!("/proc/{}/root{}/filler", process.child.id(), disk.display());
        std::fs::remove_file(filler).unwrap();
        // The node went back to what is stored, and goes on.
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        let again = async {
            loop {
                ticks.tick().await;
                let answer = push("insert", acknowledged..acknowledged + 10).await;
                println!("{answer:?}");
                if answer.is_ok_and(|answer| answer.result) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("it goes on with room on the disk");
        assert_eq!(process.data().await.0, u64::from(acknowledged) + 10);
        assert_eq!(process.view().await["view_evses"], u64::from(acknowledged) + 10);
        process.kill();
    });
}
