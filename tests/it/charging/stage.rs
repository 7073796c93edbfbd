//! A CPO's and an EMP's node with their backends, over real sockets; a node can be a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chargemesh::backend::{Backend, Behaviours, Config, Kind, Operation, Received};
use chargemesh::engine::SystemClock;
use chargemesh::identity::PartyId;
use chargemesh::node::Node;
use chargemesh::outbound::BackendTarget;
use chargemesh::roaming::{Policy, Rule, Whom};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, Plan, World, http_client, push_data};

/// Set in a child process: `cpo` or `emp`, its directory, whom it knows, and its backend.
const CHILD: &str = "CHARGEMESH_TEST_CHARGING";

pub(super) const CPO: &str = "CPO:CHABC";
pub(super) const EMP: &str = "EMP:DEEMP";
pub(super) const REMOTE_START: &str = "/api/oicp/charging/v21/providers/DE-EMP/authorize-remote/start";
pub(super) const REMOTE_STOP: &str = "/api/oicp/charging/v21/providers/DE-EMP/authorize-remote/stop";
pub(super) const AUTHORIZE_START: &str = "/api/oicp/charging/v21/operators/CH*ABC/authorize/start";
pub(super) const NOTIFICATION: &str = "/api/oicp/notificationmgmt/v11/charging-notifications";

/// A remote start; an unknown field and a spelling of a number that must survive.
pub(super) fn remote_start(evse: &str) -> String {
    format!(
        r#"{{"ProviderID":"DE-EMP","EvseID":"{evse}","EMPPartnerSessionID":"E-7","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C12345678-X"}}}},"x-own":{{"price":1.50}},"SessionID":null}}"#
    )
}

pub(super) fn remote_stop(session: &str) -> String {
    format!(r#"{{"SessionID":"{session}","ProviderID":"DE-EMP","EvseID":"CH*ABC*E1","x-own":2.0}}"#)
}

pub(super) fn notification(kind: &str, operator: &str, session: &str) -> String {
    let of_kind = match kind {
        "Start" => r#""ChargingStart":"2026-11-21T10:00:00Z""#,
        "Progress" => {
            r#""ChargingStart":"2026-11-21T10:00:00Z","EventOccurred":"2026-11-21T10:05:00Z","ConsumedEnergyProgress":1.50"#
        }
        "End" => r#""ChargingEnd":"2026-11-21T11:00:00+01:00","ConsumedEnergy":10.10"#,
        _ => r#""ErrorType":"ConnectorError""#,
    };
    format!(
        r#"{{"Type":"{kind}","SessionID":"{session}","OperatorID":"{operator}","EvseID":"CH*ABC*E1",{of_kind},"x-own":3.00}}"#
    )
}

/// What a facade answered.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) http: u16,
    pub(super) body: String,
    pub(super) took: Duration,
}

impl Heard {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// HTTP status and OICP code.
    pub(super) fn code(&self) -> (u16, String) {
        (self.http, self.json()["StatusCode"]["Code"].as_str().unwrap_or("none").to_owned())
    }

    /// The SessionID of a yes.
    pub(super) fn yes(&self) -> String {
        let json = self.json();
        assert!(self.http == 200 && json["Result"] == true, "{self:?}");
        json["SessionID"].as_str().unwrap_or_else(|| panic!("no SessionID: {self:?}")).to_owned()
    }
}

/// A node, here or in a process of its own.
enum Running {
    Here(Box<Node>),
    Child(Child),
}

/// A party: its node and its backend.
pub(super) struct Side {
    plan: Plan,
    running: Option<Running>,
    url: String,
    mesh: String,
    backend: Option<Backend>,
}

impl Side {
    fn new(plan: Plan, backend: Backend) -> Side {
        Side { plan, running: None, url: String::new(), mesh: String::new(), backend: Some(backend) }
    }

    pub(super) fn backend(&self) -> &Backend {
        self.backend.as_ref().unwrap()
    }

    /// By how many milliseconds the clock of its node is ahead from now on.
    pub(super) fn set_ahead(&self, by_ms: u64) {
        self.plan.ahead_ms.store(by_ms, std::sync::atomic::Ordering::Relaxed);
    }

    /// Where other nodes find its node.
    pub(super) fn mesh(&self) -> &str {
        &self.mesh
    }

    pub(super) fn behave(&self, behaviours: &str) {
        self.backend().set_behaviour(behaviours.parse::<Behaviours>().unwrap()).unwrap();
    }

    /// The next request that the backend gets.
    pub(super) async fn next(&self) -> Received {
        tokio::time::timeout(PATIENCE, self.backend().next()).await.expect("a request was awaited")
    }

    /// The same, because of a call that is under way.
    pub(super) async fn next_or(&self, call: &mut JoinHandle<reqwest::Result<Heard>>) -> Received {
        tokio::select! {
            biased;
            received = self.next() => received,
            answer = call => panic!("nothing was asked, but the answer is {answer:?}"),
        }
    }

    /// What the backend got of an operation.
    pub(super) fn got(&self, operation: Operation) -> Vec<Received> {
        self.backend().received().into_iter().filter(|received| received.operation == operation).collect()
    }

    /// Others find its node there from now on.
    pub(super) fn set_mesh(&mut self, address: String) {
        self.mesh = address;
    }

    /// Nothing listens at the backend's address any more.
    pub(super) async fn stop_backend(&mut self) {
        self.backend.take().unwrap().stop().await;
    }

    /// The node ends in good order.
    pub(super) async fn stop(&mut self) {
        match self.running.take() {
            Some(Running::Here(node)) => node.shutdown().await,
            Some(Running::Child(mut child)) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            None => {}
        }
    }

    /// Sends a signal to the node's process.
    pub(super) fn signal(&self, signal: &str) {
        let Some(Running::Child(child)) = &self.running else { panic!("no process") };
        let signal = format!("-{signal}");
        assert!(Command::new("kill").args([&signal, &child.id().to_string()]).status().unwrap().success());
    }

    /// From now on the node's process can write to no file beyond its first byte, or can again.
    pub(super) fn set_disk_full(&self, full: bool) {
        let Some(Running::Child(child)) = &self.running else { panic!("no process") };
        let limit = if full { "--fsize=1:" } else { "--fsize=unlimited:" };
        assert!(
            Command::new("prlimit")
                .args(["--pid", &child.id().to_string(), limit])
                .status()
                .unwrap()
                .success()
        );
    }

    /// SIGKILL.
    pub(super) async fn kill(&mut self) {
        assert!(matches!(self.running, Some(Running::Child(_))), "only a process can be killed");
        self.stop().await;
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(Running::Child(child)) = &mut self.running {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Where charging is played.
pub(super) struct Stage {
    pub(super) cpo: Side,
    pub(super) emp: Side,
    pub(super) world: World,
    http: reqwest::Client,
    dir: tempfile::TempDir,
}

fn plan(kind: Kind, dir: &Path, backend: &str) -> Plan {
    let (name, party, other) = match kind {
        Kind::Cpo => ("cpo", CPO, EMP),
        Kind::Emp => ("emp", EMP, CPO),
    };
    let mut plan = Plan::new(name, Some(party), dir);
    let whom = Whom { party: Some(PartyId::parse(other).unwrap()), ..Whom::default() };
    plan.settings.policy = Policy { rules: vec![Rule { whom, services: BTreeSet::new(), allow: true }] };
    plan.settings.charging.remote_ms = 1_500;
    plan.settings.charging.authorize_ms = 1_500;
    plan.settings.charging.notification_ms = 1_500;
    plan.settings.charging.backend_patience_ms = 4_000;
    plan.settings.charging.cdr_backend_ms = 1_500;
    plan.settings.outbound.backends = vec![target(party, backend)];
    plan
}

fn target(party: &str, url: &str) -> BackendTarget {
    BackendTarget {
        party: party.to_owned(),
        url: url.to_owned(),
        notifications: true,
        ..BackendTarget::default()
    }
}

pub(super) async fn backend(kind: Kind) -> Backend {
    Backend::start(Config::new(kind, SystemClock::start())).await.unwrap()
}

impl Stage {
    /// Both sides, connected, each allowing the other everything.
    pub(super) async fn new() -> Stage {
        Stage::with(|_, _| {}).await
    }

    /// The same with other plans.
    pub(super) async fn with(change: impl Fn(Kind, &mut Plan)) -> Stage {
        let mut stage = Stage::empty(change).await;
        stage.start(Kind::Cpo).await;
        stage.start(Kind::Emp).await;
        stage.connected().await;
        stage
    }

    /// Both nodes are processes of their own.
    pub(super) async fn of_processes() -> Stage {
        let mut stage = Stage::empty(|_, _| {}).await;
        stage.spawn(Kind::Cpo).await;
        stage.spawn(Kind::Emp).await;
        stage.connected().await;
        stage
    }

    /// Both sides without an agreement; the EMP knows the CPO's one EVSE.
    pub(super) async fn of_strangers() -> Stage {
        let mut stage = Stage::empty(|_, plan| plan.settings.policy = Policy::default()).await;
        stage.start(Kind::Cpo).await;
        stage.start(Kind::Emp).await;
        let body = push_data("fullLoad", "CH*ABC", &["CH*ABC*E1"]);
        let body = String::from_utf8(body.to_vec()).unwrap();
        stage.cpo_calls("/api/oicp/evsepush/v23/operators/CH*ABC/data-records", body).await;
        stage.until(Kind::Emp, "a record", |view| view["view_evses"] == 1).await;
        stage
    }

    /// Nothing runs yet but the backends.
    pub(super) async fn empty(change: impl Fn(Kind, &mut Plan)) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let (cpo, emp) = (backend(Kind::Cpo).await, backend(Kind::Emp).await);
        let side = |kind, backend: Backend| {
            let mut plan = plan(kind, dir.path(), &backend.url());
            change(kind, &mut plan);
            Side::new(plan, backend)
        };
        let (cpo, emp) = (side(Kind::Cpo, cpo), side(Kind::Emp, emp));
        let http = http_client();
        Stage { cpo, emp, world: World::new(), http, dir }
    }

    /// The base URL of a side's facade.
    pub(super) fn url(&self, kind: Kind) -> &str {
        if kind == Kind::Cpo { &self.cpo.url } else { &self.emp.url }
    }

    /// Where the nodes' data is.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn side(&mut self, kind: Kind) -> (&mut Side, String) {
        match kind {
            Kind::Cpo => (&mut self.cpo, self.emp.mesh.clone()),
            Kind::Emp => (&mut self.emp, self.cpo.mesh.clone()),
        }
    }

    /// Starts a side's node here.
    pub(super) async fn start(&mut self, kind: Kind) {
        let (_, known) = self.side(kind);
        self.start_knowing(kind, known).await;
    }

    /// The same, knowing the node at this address; none if it is empty.
    pub(super) async fn start_knowing(&mut self, kind: Kind, known: String) {
        let (side, _) = self.side(kind);
        let known: Vec<String> = Some(known).into_iter().filter(|known| !known.is_empty()).collect();
        let plan = side.plan.clone().bootstrap(&known);
        let node = self.world.start(&plan).await;
        let (side, _) = self.side(kind);
        side.url = format!("http://{}", node.facade_address().unwrap());
        side.mesh = node.mesh_addresses()[0].clone();
        side.running = Some(Running::Here(Box::new(node)));
    }

    /// Starts a side's node in a process of its own.
    pub(super) async fn spawn(&mut self, kind: Kind) {
        let dir = self.dir.path().to_owned();
        let (side, known) = self.side(kind);
        let file = dir.join(format!("{kind}.address"));
        let _none_yet = std::fs::remove_file(&file);
        // What it may write is limited by some tests; the signal that comes with it would end the process.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "charging::stage::child_process", "--nocapture"]);
        let about = [&kind.to_string(), &*dir.to_string_lossy(), &side.backend().url(), &known].join("\n");
        let mut child = command.env(CHILD, about).stdout(Stdio::null()).spawn().unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let waiting = async {
            loop {
                ticks.tick().await;
                if let Ok(text) = std::fs::read_to_string(&file) {
                    return text;
                }
                assert!(child.try_wait().unwrap().is_none(), "the child ended at its start");
            }
        };
        let text = tokio::time::timeout(PATIENCE, waiting).await.expect("the child starts");
        let (url, mesh) = text.split_once('\n').unwrap();
        (side.url, side.mesh) = (url.to_owned(), mesh.to_owned());
        side.running = Some(Running::Child(child));
    }

    /// Calls the facade of a side in a task of its own.
    #[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
    pub(super) fn begins(&self, kind: Kind, path: &str, body: String) -> JoinHandle<reqwest::Result<Heard>> {
        tokio::spawn(self.calls(kind, path, body))
    }

    /// Calls the facade of a side; an error if its node dies meanwhile.
    #[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
    pub(super) fn calls(
        &self,
        kind: Kind,
        path: &str,
        body: String,
    ) -> impl Future<Output = reqwest::Result<Heard>> + Send + 'static {
        let side = if kind == Kind::Cpo { &self.cpo } else { &self.emp };
        let request = self.http.post(format!("{}{path}", side.url)).body(body);
        let request = request.header("content-type", "application/json");
        async move {
            let began = Instant::now();
            let answer = request.send().await?;
            let http = answer.status().as_u16();
            Ok(Heard { http, body: answer.text().await?, took: began.elapsed() })
        }
    }

    pub(super) async fn cpo_calls(&self, path: &str, body: String) -> Heard {
        self.calls(Kind::Cpo, path, body).await.unwrap()
    }

    pub(super) async fn emp_calls(&self, path: &str, body: String) -> Heard {
        self.calls(Kind::Emp, path, body).await.unwrap()
    }

    /// The same as JSON.
    pub(super) async fn admin(&self, kind: Kind, what: &str) -> Value {
        serde_json::from_str(&self.admin_text(kind, what).await).unwrap()
    }

    /// What the admin API of a side answers.
    pub(super) async fn admin_text(&self, kind: Kind, what: &str) -> String {
        let answer = self.http.get(format!("{}/admin/v1/{what}", self.url(kind))).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// The sessions of a side: how far each has come.
    pub(super) async fn sessions(&self, kind: Kind) -> BTreeMap<String, String> {
        let view = self.admin(kind, "sessions").await;
        let of = |session: &Value| {
            let text = |name: &str| session[name].as_str().unwrap().to_owned();
            (text("session"), text("phase"))
        };
        view["sessions"].as_array().unwrap().iter().map(of).collect()
    }

    /// Waits until each is connected with the other, and knows of a peer what was revoked: before that nothing new
    /// is begun.
    pub(super) async fn connected(&self) {
        for (kind, partner) in [(Kind::Cpo, EMP), (Kind::Emp, CPO)] {
            let met = |view: &Value| {
                let partners = view["partners"].as_array().unwrap();
                let here =
                    partners.iter().any(|other| other["party"] == partner && other["connected"] == true);
                here && view["registry_compared_unix_ms"].is_u64()
            };
            self.until(kind, "the partner", met).await;
        }
    }

    /// Waits until the view of a side is as the test wants it.
    #[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
    pub(super) async fn until(&self, kind: Kind, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let view = self.admin(kind, "view").await;
            if wanted(&view) {
                return view;
            }
            assert!(Instant::now() < end, "{kind} waited in vain for {what}: {view:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until both nodes say the same of every session, and returns it. A refused session may be known to one
    /// side alone.
    #[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
    pub(super) async fn agreed(&self) -> BTreeMap<String, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let (cpo, emp) = (self.sessions(Kind::Cpo).await, self.sessions(Kind::Emp).await);
            let all: BTreeMap<String, String> = cpo.clone().into_iter().chain(emp.clone()).collect();
            let settled = |(session, phase): (&String, &String)| {
                let at = |side: &BTreeMap<String, String>| side.get(session).cloned();
                let same = match (at(&cpo), at(&emp)) {
                    (Some(cpo), Some(emp)) => cpo == emp,
                    _ => phase == "refused",
                };
                same && !matches!(phase.as_str(), "requested" | "calling" | "in doubt")
            };
            if all.iter().all(settled) {
                return all;
            }
            assert!(Instant::now() < end, "they do not agree: the CPO says {cpo:#?}, the EMP {emp:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The phases of the sessions on which both agree.
    pub(super) async fn phases(&self) -> Vec<String> {
        self.agreed().await.into_values().collect()
    }

    /// No backend was asked twice to start a session.
    pub(super) fn nothing_was_asked_twice(&self) {
        for (side, operation) in [
            (&self.cpo, Operation::RemoteStart),
            (&self.cpo, Operation::ReservationStart),
            (&self.emp, Operation::AuthorizeStart),
        ] {
            let mut seen = BTreeSet::new();
            for received in side.backend.iter().flat_map(Backend::received) {
                if received.operation == operation {
                    assert!(seen.insert(received.session.clone()), "asked twice: {received:?}");
                }
            }
        }
    }

    /// Ends all of it.
    pub(super) async fn end(mut self) {
        self.nothing_was_asked_twice();
        self.cpo.stop().await;
        self.emp.stop().await;
    }
}

/// No test of its own: what the child processes run. They end by being killed.
#[test]
fn child_process() {
    let Ok(about) = std::env::var(CHILD) else { return };
    let [kind, dir, backend, known]: [&str; 4] =
        about.split('\n').collect::<Vec<_>>().try_into().expect("four lines");
    let dir = Path::new(dir);
    let kind_of = if kind == Kind::Cpo.to_string() { Kind::Cpo } else { Kind::Emp };
    crate::support::runtime().block_on(async {
        let known: Vec<String> = Some(known.to_owned()).into_iter().filter(|text| !text.is_empty()).collect();
        let node = World::new().start(&plan(kind_of, dir, backend).bootstrap(&known)).await;
        let text = format!("http://{}\n{}", node.facade_address().unwrap(), node.mesh_addresses()[0]);
        std::fs::write(dir.join(format!("{kind}.starting")), text).unwrap();
        let done = dir.join(format!("{kind}.address"));
        std::fs::rename(dir.join(format!("{kind}.starting")), done).unwrap();
        std::future::pending::<()>().await;
    });
}
