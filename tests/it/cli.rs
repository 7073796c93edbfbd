//! The command line as people use it: the real binary, a network of one's own made by `init`, run by `run`.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use chargemesh::outbound::HubClient;

use crate::support::{PATIENCE, push_data, push_status};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_chargemesh");

/// Calls a command that ends by itself.
pub(crate) fn call(dir: &Path, args: &[&str]) -> Output {
    Command::new(BINARY).current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn succeeds(dir: &Path, args: &[&str]) -> String {
    let output = call(dir, args);
    assert!(output.status.success(), "{args:?}: {}", told(&output));
    told(&output)
}

pub(crate) fn refused(dir: &Path, args: &[&str]) -> String {
    let output = call(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
    told(&output)
}

/// Waits until there is something to give.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A node as a process of its own; killed if the test fails.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(dir: &Path, name: &str) -> Running {
        let (out, log) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let child = Command::new(BINARY)
            .current_dir(dir)
            .args(["run", "--config", &format!("{name}/node.toml"), "--set", "replication.compare_soon_s=1"])
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut running = Running { child, log };
        wait_for("a node that runs", || {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {}", std::fs::read_to_string(&running.log).unwrap());
            std::fs::read_to_string(&out).unwrap().contains("stop     Ctrl-C").then_some(())
        });
        running
    }

    /// The facade's URL, as the node printed it.
    pub(crate) fn url(&self) -> String {
        let text = std::fs::read_to_string(self.log.with_extension("out")).unwrap();
        let line = text.lines().find(|line| line.contains("facade   http")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// What it logged so far.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn send(&self, signal: &str) {
        let sent = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &sent]).status().unwrap().success());
    }

    fn signal(mut self, signal: &str) -> ExitStatus {
        self.send(signal);
        wait_for("a node that stops", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `init` three times, `run` three times, a push, what `peers` and `evse` say, and a clean end.
#[test]
fn a_network_of_ones_own_in_a_few_commands() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let said = succeeds(dir, &["init", "boot", "--bootstrap-node", "--network", "own"]);
    assert!(said.contains("chargemesh run --config boot/node.toml"), "{said}");
    let cpo = ["init", "cpo", "--party", "CPO:CH*ABC", "--name", "ABC \"Strom\"", "--sub", "CH*XYZ"];
    let said = succeeds(dir, &[cpo.as_slice(), &["--join", "boot"]].concat());
    assert!(said.contains("The delegation ends on"), "{said}");
    succeeds(dir, &["init", "emp", "--party", "EMP:DE-EMP", "--name", "Emp", "--join", "boot"]);

    let nodes = ["boot", "cpo", "emp"].map(|name| Running::start(dir, name));
    let (cpo, emp) = (nodes[1].url(), nodes[2].url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = HubClient::new(&cpo, None).unwrap();
    runtime.block_on(async {
        for (operator, evse) in [("CH*ABC", "CH*ABC*E1"), ("CH*ABC", "CH*XYZ*E1")] {
            let pushed =
                client.push_evse_data(operator, push_data("insert", operator, &[evse])).await.unwrap();
            assert!(pushed.result, "{pushed:?}");
        }
        let status = push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Occupied")]);
        assert!(client.push_evse_status("CH*ABC", status).await.unwrap().result);
    });

    let said = wait_for("the EVSEs at the EMP", || {
        let said = succeeds(dir, &["peers", "--node", &emp]);
        let all = said.contains("shows 2 EVSEs and 1 statuses") && said.contains("in sync 2");
        all.then_some(said)
    });
    for part in ["speaks for EMP:DEEMP", "bootstrap", "in sync 2", "CPO:CHABC", "Held pushes: 0"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let said = succeeds(dir, &["evse", "CH*ABC*E1", "--node", &emp]);
    for part in ["Occupied", "Bern", "22 kW", "ABC"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let unknown = call(dir, &["evse", "CH*ABC*E9", "--node", &emp]);
    assert_eq!(unknown.status.code(), Some(1), "{}", told(&unknown));
    assert!(succeeds(dir, &["peers", "--json", "--node", &emp]).contains("\"view_evses\":2"));

    for (node, signal) in nodes.into_iter().zip(["INT", "TERM", "INT"]) {
        assert_eq!(node.signal(signal).code(), Some(0), "{signal}");
    }
    let old = std::fs::read(dir.join("cpo/keys/delegation.cose")).unwrap();
    assert!(succeeds(dir, &["renew", "cpo"]).contains("Renewed"));
    assert_ne!(std::fs::read(dir.join("cpo/keys/delegation.cose")).unwrap(), old);
    let cpo = Running::start(dir, "cpo");
    assert!(succeeds(dir, &["evse", "CH*XYZ*E1", "--node", &cpo.url()]).contains("ABC"));
    assert!(refused(dir, &["renew", "boot"]).contains("nothing to renew"));
    assert!(
        refused(dir, &["renew", "cpo", "--org-key", "emp/keys/org.key"])
            .contains("not signed by this org key")
    );
}

/// Keys and delegations change on disk; the node that runs takes them, or says why not and goes on.
#[test]
fn a_running_node_takes_what_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cpo = ["init", "cpo", "--party", "CPO:CH*ABC", "--name", "A"];
    succeeds(
        dir,
        &[cpo.as_slice(), &["--facade", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"]].concat(),
    );
    let cpo = Running::start(dir, "cpo");
    let url = cpo.url();
    let epoch = || {
        let said = succeeds(dir, &["peers", "--json", "--node", &url]);
        let (_, rest) = said.split_once("\"epoch\":").unwrap();
        rest.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let first = epoch();
    assert!(succeeds(dir, &["peers", "--node", &url]).contains("CPO:CHABC: delegation ends in "));
    let key = std::fs::read(dir.join("cpo/keys/message.key")).unwrap();
    let said = succeeds(dir, &["renew", "cpo", "--new-message-key"]);
    assert!(said.contains("takes it by itself"), "{said}");
    assert_ne!(std::fs::read(dir.join("cpo/keys/message.key")).unwrap(), key);
    let second =
        wait_for("the new delegation, by looking at the files", || Some(epoch()).filter(|e| *e > first));

    // The key does not fit the delegation any more.
    std::fs::write(dir.join("cpo/keys/message.key"), &key).unwrap();
    cpo.send("HUP");
    wait_for("the complaint", || cpo.logged().contains("names another message key").then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pushed = HubClient::new(&url, None).unwrap();
    let push = push_data("insert", "CH*ABC", &["CH*ABC*E1"]);
    let pushed = runtime.block_on(async { pushed.push_evse_data("CH*ABC", push).await.unwrap() });
    assert!(pushed.result, "it goes on with what it had: {pushed:?}");
    assert_eq!(epoch(), second);
    assert_eq!(cpo.logged().matches("were loaded anew").count(), 1, "{}", cpo.logged());

    succeeds(dir, &["renew", "cpo", "--new-message-key"]);
    cpo.send("HUP");
    wait_for("the third delegation", || (epoch() > second).then_some(()));
    assert_eq!(cpo.signal("TERM").code(), Some(0));
}

/// Another machine has only the files that it was given, and listens for others.
#[test]
fn an_existing_issuer_vouches_and_an_open_facade_gets_keys() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let first =
        ["init", "first", "--party", "CPO:DE*ABC", "--name", "A", "--listen", "/ip4/0.0.0.0/tcp/4001"];
    succeeds(dir, &first);
    let second = ["init", "second", "--party", "EMP:DE-XYZ", "--name", "X", "--facade", "0.0.0.0:8080"];
    let files = ["--issuer", "first/issuer/issuer.key", "--trust-list", "first/keys/trust-list.cose"];
    let said = succeeds(dir, &[second.as_slice(), &files].concat());
    assert!(said.contains("chargemesh-trust-pub-1:"), "{said}");
    let settings = std::fs::read_to_string(dir.join("second/node.toml")).unwrap();
    assert!(settings.contains("admin_key = ") && settings.contains("[[facade.backend]]"), "{settings}");
    assert!(!dir.join("second/issuer").exists(), "only the network's first node has the issuer");

    #[cfg(unix)]
    for (file, mode) in [
        ("second/node.toml", 0o600),
        ("second/keys", 0o700),
        ("second/keys/node.key", 0o600),
        ("second/keys/org.key", 0o600),
        ("first/issuer/issuer.key", 0o600),
        ("first/node.toml", 0o644),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let found = std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
        // The umask may take away more.
        assert_eq!(found & !mode, 0, "{file}: {found:o}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, &["init", "one", "--bootstrap-node"]);
    let before = std::fs::read(dir.join("one/keys/node.key")).unwrap();
    assert!(refused(dir, &["init", "one", "--bootstrap-node"]).contains("nothing is ever overwritten"));
    assert_eq!(std::fs::read(dir.join("one/keys/node.key")).unwrap(), before);

    let party = |id| ["init", "two", "--party", id, "--name", "x"];
    assert!(refused(dir, &party("ABC")).contains("CPO:DE*ABC"));
    assert!(refused(dir, &party("CPO:D*ABC")).contains("DE*GEF"));
    refused(dir, &["init", "two"]);
    let strange = [party("CPO:DE*ABC").as_slice(), &["--trust-list", "one/keys/node.key"]].concat();
    assert!(refused(dir, &strange).contains("is no trust list"));
    let no_peer = [party("CPO:DE*ABC").as_slice(), &["--bootstrap", "/ip4/192.0.2.1/tcp/4001"]].concat();
    assert!(refused(dir, &no_peer).contains("/p2p/PEER-ID"));
    let alone = [party("CPO:DE*ABC").as_slice(), &["--trust-list", "one/keys/trust-list.cose"]].concat();
    assert!(refused(dir, &alone).contains("--issuer"));
    assert!(!dir.join("two").exists(), "nothing is made by a command that fails");

    assert!(refused(dir, &["run", "--config", "no.toml"]).contains("chargemesh init DIR"));
    let typo = ["run", "--config", "one/node.toml", "--set", "mesh.lisen=x"];
    assert!(refused(dir, &typo).contains("did you mean `listen`?"));
    std::fs::remove_file(dir.join("one/keys/node.key")).unwrap();
    assert!(refused(dir, &["run", "--config", "one/node.toml"]).contains("node.key"));
    assert!(refused(dir, &["evse", "nonsense"]).contains("is no EvseID"));
    assert!(refused(dir, &["peers", "--node", "http://127.0.0.1:1"]).contains("cannot be reached"));
}
