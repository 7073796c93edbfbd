//! Nodes as processes of their own, on loopback, made by `chargemesh init` and run by `chargemesh run`.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The built program: `CHARGEMESH_BIN`, else that of the newest build in the main target directory.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHARGEMESH_BIN") {
        return Some(PathBuf::from(named));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    ["release", "debug"]
        .map(|profile| root.join("target").join(profile).join("chargemesh"))
        .into_iter()
        .find(|b| b.exists())
}

/// A network of a CPO and an EMP that allow each other everything.
pub struct Network {
    /// Where its files are.
    pub dir: tempfile::TempDir,
    binary: PathBuf,
    children: Vec<Child>,
}

/// A node that runs.
pub struct Node {
    /// Base URL of its facade.
    pub url: String,
}

impl Network {
    /// Makes the nodes' files; `settings` is put at the end of each `node.toml`.
    #[must_use]
    pub fn new(binary: PathBuf) -> Network {
        let network = Network { dir: tempfile::tempdir().unwrap(), binary, children: Vec::new() };
        network.call(&["init", "boot", "--bootstrap-node", "--network", "interop"]);
        network
    }

    /// Makes a node of one party.
    pub fn make(&self, name: &str, party: &str, backend_url: &str) {
        self.call(&[
            "init",
            name,
            "--party",
            party,
            "--name",
            name,
            "--join",
            "boot",
            "--facade",
            "127.0.0.1:0",
        ]);
        let mut more = String::from("\n[[policy.rule]]\nparty = \"*\"\nallow = true\n");
        write!(more, "\n[[outbound.backend]]\nparty = \"{party}\"\nurl = \"{backend_url}\"\n").unwrap();
        if party.starts_with("EMP") {
            more.push_str("notifications = true\n");
        }
        self.set(name, &more);
    }

    /// Puts settings at the end of a node's file.
    pub fn set(&self, name: &str, settings: &str) {
        let file = self.dir.path().join(name).join("node.toml");
        OpenOptions::new().append(true).open(file).unwrap().write_all(settings.as_bytes()).unwrap();
    }

    /// Runs the program to its end.
    pub fn call(&self, args: &[&str]) -> String {
        let done: Output = Command::new(&self.binary)
            .current_dir(self.dir.path())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{args:?}: {told}");
        told
    }

    /// Starts a node; `None` as URL if it has no facade.
    pub fn run(&mut self, name: &str) -> Node {
        let out = self.dir.path().join(format!("{name}.out"));
        let log = self.dir.path().join(format!("{name}.log"));
        let child = Command::new(&self.binary)
            .current_dir(self.dir.path())
            .args(["run", "--config", &format!("{name}/node.toml"), "--set", "replication.compare_soon_s=1"])
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        self.children.push(child);
        let end = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&out).unwrap();
            if said.contains("stop     Ctrl-C") {
                let line = said.lines().find(|line| line.contains("facade   http://"));
                let url = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned();
                return Node { url };
            }
            let told = || std::fs::read_to_string(&log).unwrap();
            assert!(Instant::now() < end, "{name} does not start: {said} {}", told());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
