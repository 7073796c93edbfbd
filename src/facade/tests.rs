//! The facade over real HTTP, with the test at the other end of the engine and a small directory in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::engine::{Alarm, Command, EngineError, Event, NodeView, PushOutcome, TrustSummary};
use crate::oicp::conform::DeltaType;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::json::{self, Node};
use crate::oicp::page::PageRequest;
use crate::oicp::pull::PullEvseData;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::outbound::HubClient;
use crate::storage::{CdrFacts, CdrFilter, CdrPull, CdrSubject, PriceQuery, PriceRow, StoredCdr};
use crate::tls::InUse;

const KEY: &str = "0123456789abcdef0123";
const PUSH: &str = "api/oicp/evsepush/v23/operators/DE*ABC/data-records";
const PUSH_STATUS: &str = "api/oicp/evsepush/v21/operators/DE*ABC/status-records";
const PULL: &str = "api/oicp/evsepull/v23/providers/DE-DCB/data-records";
const STATUS: &str = "api/oicp/evsepull/v21/providers/DE-DCB/status-records";
const STATUS_BODY: &str = r#"{"ActionType":"update","OperatorEvseStatus":{"OperatorID":"DE*ABC",
    "OperatorName":"ABC","EvseStatusRecord":[{"EvseID":"DE*ABC*E1","EvseStatus":"Available"}]}}"#;
const PULL_BODY: &str = r#"{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"DecimalDegree"}"#;

/// Five records; history since instant 1000.
struct Small;

impl Small {
    fn page(page: PageRequest, as_of: Option<Version>, delta: Option<DeltaType>) -> DataPage {
        let row = |number: u64| DataRow {
            payload: Bytes::from(format!(r#"{{"EvseID":"DE*ABC*E{number}","Custom":22.0}}"#)),
            operator_id: "DE*ABC".to_owned(),
            operator_name: "ABC".to_owned(),
            last_update_unix_ms: 1_600_000_000_000,
            delta,
        };
        let version = as_of.unwrap_or(7);
        let rows = (0..5).skip(page.offset() as usize).take(page.size() as usize).map(row).collect();
        DataPage { rows, total: 5, version }
    }
}

impl Directory for Small {
    fn data_page(
        &self,
        _: PullEvseData,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<DataPage, DirectoryError>> {
        let expected = if page.number() == 0 { None } else { Some(7) };
        assert_eq!(as_of, expected, "later pages show the version of the first");
        async move { Ok(Small::page(page, as_of, None)) }.boxed()
    }

    fn data_delta(
        &self,
        _: PullEvseData,
        since_unix_ms: u64,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<Option<DataPage>, DirectoryError>> {
        let page = (since_unix_ms > 1000).then(|| Small::page(page, as_of, Some(DeltaType::Delete)));
        async move { Ok(page) }.boxed()
    }

    fn statuses(
        &self,
        _puller: Option<PartyId>,
        question: StatusQuestion,
    ) -> BoxFuture<'_, Result<Vec<StatusRow>, DirectoryError>> {
        let id = EvseId::parse("DE*ABC*E1").unwrap();
        let asked = match question {
            StatusQuestion::Keys(keys) => keys.contains(id.key()),
            StatusQuestion::Matching { operators, .. } => {
                operators.is_empty() || operators.contains(&"DEABC".to_owned())
            }
        };
        let row = StatusRow {
            key: id.key().clone(),
            evse_id: id.as_str().to_owned(),
            operator_id: "DE*ABC".to_owned(),
            operator_name: "ABC".to_owned(),
            status: EvseStatus::Available,
            observed_at_unix_ms: 1,
            confirmed_at_unix_ms: 2,
        };
        async move { Ok(if asked { vec![row] } else { Vec::new() }) }.boxed()
    }

    fn data_of(
        &self,
        key: EvseKey,
        _: Option<PartyId>,
    ) -> BoxFuture<'_, Result<Option<DataRow>, DirectoryError>> {
        let known = key == *EvseId::parse("DE*ABC*E1").unwrap().key();
        let row = Small::page(PageRequest::new(Some(1), Some(1)), None, None).rows.pop();
        async move { Ok(row.filter(|_| known)) }.boxed()
    }

    fn cdr_facts(&self, _: CdrSubject) -> BoxFuture<'_, Result<CdrFacts, DirectoryError>> {
        async { Ok(CdrFacts::default()) }.boxed()
    }

    fn bridged_of(&self, _: EvseKey) -> BoxFuture<'_, Result<Option<Bridged>, DirectoryError>> {
        async { Ok(None) }.boxed()
    }

    fn prices(&self, _: PriceQuery) -> BoxFuture<'_, Result<Vec<PriceRow>, DirectoryError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn pulled_cdrs(&self, _: CdrPull) -> BoxFuture<'_, Result<(u64, Vec<StoredCdr>), DirectoryError>> {
        async { Ok((0, Vec::new())) }.boxed()
    }

    fn listed_cdrs(&self, _: CdrFilter) -> BoxFuture<'_, Result<Vec<StoredCdr>, DirectoryError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// Answers like an engine: 000 for statuses, no room for data, a failing store for confirmations.
async fn fake_engine(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        let outcome = PushOutcome { result: true, status: StatusCode::from(Code::Success) };
        let _ = match command {
            Command::PushStatus { reply, .. } => reply.send(Ok(outcome)).is_ok(),
            Command::PushData { reply, .. } => reply.send(Err(EngineError::Busy)).is_ok(),
            Command::PushAuthentication { reply, .. } => reply.send(Ok(outcome)).is_ok(),
            Command::PushPrices { reply, .. } => reply.send(Ok(outcome)).is_ok(),
            Command::PullAuthentication { reply, .. } => reply.send(Some(Vec::new())).is_ok(),
            Command::HandIn { reply, .. } => reply.send(Ok(outcome)).is_ok(),
            Command::Accounts(_) => true,
            Command::Trust { reply } => reply.send(TrustSummary::default()).is_ok(),
            Command::Committed { reply } => reply.send(()).is_ok(),
            Command::Confirm { reply, .. } => reply.send(Err(EngineError::Storage("full".into()))).is_ok(),
            Command::Reload { reply, .. } => reply.send(Ok(())).is_ok(),
            Command::Agreement { reply, .. } => reply.send(Err(EngineError::Busy)).is_ok(),
            Command::Charge { reply, .. } | Command::Cdr { reply, .. } | Command::Hub { reply, .. } => {
                reply.send(Err(EngineError::Busy)).is_ok()
            }
            Command::Permissions { reply, .. } => reply.send(Vec::new()).is_ok(),
            Command::Evidence(command) => !command.refuse(EngineError::Busy),
            Command::Sessions { reply, .. } => reply.send(Vec::new()).is_ok(),
            Command::View { reply } => {
                reply.send(NodeView { node: "me".into(), ..NodeView::default() }).is_ok()
            }
        };
    }
}

struct Running {
    facade: Facade,
    engine: Engine,
    client: HubClient,
    _tasks: JoinSet<()>,
}

async fn start(key: Option<&str>, change: impl FnOnce(&mut Config)) -> Running {
    let parties = ["CPO:DEABC", "EMP:DEDCB"];
    let mut config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        backends: vec![BackendConfig {
            key: key.map(ApiKey::new),
            parties: parties.iter().map(|party| (*party).to_owned()).collect(),
            reading: Reading::Tolerant,
            ..BackendConfig::default()
        }],
        ..Config::default()
    };
    change(&mut config);
    let (commands, engine_end) = mpsc::channel(8);
    let engine = Engine::new(commands, Arc::default());
    let deps = FacadeDeps {
        engine: engine.clone(),
        accounts: None,
        directory: Arc::new(Small),
        parties: parties.iter().map(|party| PartyId::parse(party).unwrap()).collect(),
        threads: Arc::new(|name, body| {
            std::thread::Builder::new().name(name.to_owned()).spawn(body).map(|_| ())
        }),
        now_unix_ms: Arc::new(|| 1_600_000_000_000),
        pull_corrections: false,
        more_gauges: Arc::new(|_| Vec::new()),
        hub: Arc::new(|| None),
        certificates: InUse::default(),
    };
    let (facade, task) = Facade::start(config, deps).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(task);
    tasks.spawn(fake_engine(engine_end));
    let client = HubClient::new(&facade.base_url(), key).unwrap();
    Running { facade, engine, client, _tasks: tasks }
}

fn text(node: &Node<'_>, path: &[&str]) -> String {
    let found = path.iter().try_fold(node, |node, name| node.field(name));
    found.map(|node| node.as_str().or(node.number_text()).unwrap_or("?").to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn each_check_has_its_status_and_body() {
    let node = start(None, |config| config.body_size_bytes_max = 10_000).await;
    let foreign = PUSH.replace("DE*ABC", "DE*XYZ");
    let other_body = STATUS_BODY.replace("\"OperatorID\":\"DE*ABC\"", "\"OperatorID\":\"DE*XYZ\"");
    let deep = "[".repeat(5000);
    let long = "x".repeat(10_001);
    let json = "application/json";
    let escaped = PUSH_STATUS.replace('*', "%2A");
    let table = [
        ("api/oicp/nothing/v1", json, "{}", 404, "001"),
        ("api/oicp/charging/v20/operators/DE*ABC/authorize/start", json, "{}", 404, "001"),
        ("k/some-key-that-nobody-has/api/oicp", json, "{}", 404, "001"),
        (&foreign, json, "{}", 401, "017"),
        ("api/oicp/evsepush/v23/operators/%FF/data-records", json, "{}", 401, "017"),
        ("k/0000000000000000/api/oicp/evsepush/v23/operators/DE*ABC/data-records", json, "{}", 401, "017"),
        (PUSH, "text/xml", "{}", 400, "Content-Type"),
        (PUSH, json, &long, 413, "body_size_bytes_max"),
        (PUSH, json, "{", 400, "validationErrors"),
        (PUSH, json, &deep, 400, "validationErrors"),
        (PUSH, json, r#"{"a":1,"a":2}"#, 400, "validationErrors"),
        (PUSH_STATUS, json, &other_body, 401, "017"),
        (PUSH_STATUS, "application/json; charset=ISO-8859-1", STATUS_BODY, 200, "\"Result\":true"),
        (&escaped, json, STATUS_BODY, 200, "000"),
        (&PUSH_STATUS.replace("DE*ABC", "deabc"), json, STATUS_BODY, 200, "000"),
        (PULL, json, r#"{"ProviderID":"DE-XXX"}"#, 401, "017"),
        (&format!("{PULL}?page=-1"), json, PULL_BODY, 400, "page"),
        (STATUS, json, r#"{"ProviderID":"DE-DCB","EvseID":["nonsense"]}"#, 400, "validationErrors"),
        (&format!("{STATUS}-by-id"), json, r#"{"ProviderID":"DE-DCB"}"#, 400, "evseID"),
    ];
    for (path, kind, body, http, expected) in table {
        let answer = node.client.post(path, kind, Bytes::from(body.to_owned())).await.unwrap();
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.http_status, http, "{path}: {said}");
        assert!(said.contains(expected), "{path}: {said}");
    }
    let refused = node.client.get(PUSH).await.unwrap();
    assert_eq!(refused.http_status, 405);
    node.facade.stop();
}

#[tokio::test]
async fn authentication_data_is_read_and_its_pins_are_hashed_or_refused() {
    let node = start(None, |_| ()).await;
    let path = "api/oicp/authdata/v21/providers/DE-DCB/push-request";
    let body = |provider: &str, records: &str| {
        format!(
            r#"{{"ActionType":"fullLoad","ProviderAuthenticationData":{{"ProviderID":"{provider}","AuthenticationDataRecord":[{records}]}}}}"#
        )
    };
    let card = r#"{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"}}}"#;
    let qr = |secret: &str| {
        format!(
            r#"{{"Identification":{{"QRCodeIdentification":{{"EvcoID":"DE-DCB-C12345678-X",{secret}}}}}}}"#
        )
    };
    let hash = |text: &str| qr(&format!(r#""HashedPIN":{{"Value":"{text}","Function":"Bcrypt"}}"#));
    let good = hash("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    let costly = hash("$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    let many = vec![qr(r#""PIN":"1""#); 501].join(",");
    let table = [
        (body("DE-DCB", ""), 200, "\"000\""),
        (body("DE-DCB", card), 200, "\"000\""),
        (body("DE-DCB", &qr(r#""PIN":"1234""#)), 200, "\"000\""),
        (body("DE-DCB", &good), 200, "\"000\""),
        (body("DE-DCB", &format!("{card},{costly}")), 200, "record 1 "),
        (body("DE-DCB", &hash("no hash that fits")), 400, "validationErrors"),
        (body("DE-DCB", &many), 200, "more than 500 PINs"),
        (body("DE-XYZ", card), 401, "017"),
        (body("DE-DCB", "{}"), 400, "validationErrors"),
    ];
    for (body, http, expected) in table {
        let answer = node.client.post(path, "application/json", body.clone().into()).await.unwrap();
        let said = String::from_utf8_lossy(&answer.body);
        assert!(answer.http_status == http && said.contains(expected), "{expected}: {said}");
    }
    let foreign = path.replace("DE-DCB", "DE-XYZ");
    let answer = node.client.post(&foreign, "application/json", body("DE-XYZ", card).into()).await.unwrap();
    assert_eq!(answer.http_status, 401);
}

#[tokio::test]
async fn a_key_in_the_url_or_as_password_lets_act() {
    let node = start(Some(KEY), |_| ()).await;
    let body = || Bytes::from_static(STATUS_BODY.as_bytes());
    assert!(node.client.push_evse_status("DE*ABC", body()).await.unwrap().result);
    let in_url = HubClient::new(&format!("{}/k/{KEY}", node.facade.base_url()), None).unwrap();
    assert!(in_url.push_evse_status("DE*ABC", body()).await.unwrap().result);
    let without = HubClient::new(&node.facade.base_url(), None).unwrap();
    let refused = without.push_evse_status("DE*ABC", body()).await.unwrap();
    assert_eq!((refused.result, refused.status.code.as_str()), (false, "017"));
}

#[tokio::test]
async fn pages_are_conformed_and_keep_their_version() {
    let node = start(None, |_| ()).await;
    let mut records = Vec::new();
    for page in 0..3 {
        let answer = node.client.pull_evse_data("DE-DCB", PULL_BODY.into(), page, 2).await.unwrap();
        let root = json::parse(&answer.body, Reading::Strict).unwrap();
        assert_eq!(text(&root, &["totalPages"]), "3");
        assert_eq!(text(&root, &["StatusCode", "Code"]), "000");
        for record in root.field("content").unwrap().items() {
            assert_eq!(text(record, &["OperatorID"]), "DE*ABC");
            assert_eq!(text(record, &["deltaType"]), "insert");
            assert_eq!(text(record, &["Custom"]), "22.0");
            records.push(text(record, &["EvseID"]));
        }
    }
    assert_eq!(records, ["DE*ABC*E0", "DE*ABC*E1", "DE*ABC*E2", "DE*ABC*E3", "DE*ABC*E4"]);
    let mut count = 0;
    let crawled = node.client.crawl_evse_data("DE-DCB", PULL_BODY.into(), |_| count += 1).await.unwrap();
    assert_eq!((crawled, count), (5, 5));

    for (last_call, delta_type) in [("2020-01-01T00:00:00Z", "delete"), ("1970-01-01T00:00:01Z", "insert")] {
        let body = PULL_BODY.replace('}', &format!(",\"LastCall\":\"{last_call}\"}}"));
        let answer = node.client.pull_evse_data("DE-DCB", body.into(), 0, 20).await.unwrap();
        let root = json::parse(&answer.body, Reading::Strict).unwrap();
        let first = root.field("content").and_then(|list| list.items().first()).unwrap();
        assert_eq!(text(first, &["deltaType"]), delta_type, "LastCall {last_call}");
    }
}

#[tokio::test]
async fn statuses_come_in_three_forms_on_three_paths() {
    let node = start(None, |_| ()).await;
    let by_id = r#"{"ProviderID":"DE-DCB","EvseID":["DE*ABC*E1","DE*ABC*E9"]}"#;
    let by_operator = r#"{"ProviderID":"DE-DCB","OperatorID":["DE*XYZ"]}"#;
    let table = [
        (
            STATUS.to_owned(),
            r#"{"ProviderID":"DE-DCB"}"#,
            "\"OperatorEvseStatus\":[{\"OperatorID\":\"DE*ABC\"",
        ),
        (STATUS.to_owned(), by_id, "\"EvseNotFound\""),
        (STATUS.to_owned(), by_operator, "\"OperatorEvseStatus\":[]"),
        (format!("{STATUS}-by-id"), by_id, "\"Available\""),
        (format!("{STATUS}-by-operator-id"), by_operator, "\"OperatorEvseStatus\":[]"),
    ];
    for (path, body, expected) in table {
        let answer = node.client.post(&path, "application/json", body.into()).await.unwrap();
        let said = String::from_utf8_lossy(&answer.body);
        assert!(answer.http_status == 200 && said.contains(expected), "{path}: {said}");
    }
    let direct = node.client.status_by_id("DE-DCB", &["DE*ABC*E1"]).await.unwrap();
    assert!(String::from_utf8_lossy(&direct.body).contains("Available"));
}

#[tokio::test]
async fn a_busy_engine_is_503_and_a_failing_store_500() {
    let node = start(None, |_| ()).await;
    let body = r#"{"ActionType":"fullLoad","OperatorEvseData":{"OperatorID":"DE*ABC","OperatorName":"A",
        "EvseDataRecord":[]}}"#;
    let busy = node.client.post(PUSH, "application/json", body.into()).await.unwrap();
    assert_eq!(busy.http_status, 503, "{}", String::from_utf8_lossy(&busy.body));
    let failed = node.client.confirm(3).await.unwrap();
    assert_eq!(failed.status.code, "002");
}

#[tokio::test]
async fn people_see_health_metrics_view_and_evse() {
    let admin_key = "admin-key-0123456789";
    let node = start(None, |config| config.admin_key = Some(ApiKey::new(admin_key))).await;
    let admin = node.client.clone().with_admin_key(Some(admin_key));
    assert_eq!(node.client.get("healthz").await.unwrap().http_status, 200);
    for path in ["metrics", "admin/v1/view", "admin/v1/evse/DE*ABC*E1"] {
        assert_eq!(node.client.get(path).await.unwrap().http_status, 401, "{path}");
        assert_eq!(admin.get(path).await.unwrap().http_status, 200, "{path}");
    }
    assert_eq!(admin.get("admin/v1/evse/DE*ABC*E9").await.unwrap().http_status, 404);
    assert_eq!(admin.get("admin/v1/evse/rubbish").await.unwrap().http_status, 400);
}

#[tokio::test]
async fn a_slow_client_is_cut_and_every_answer_has_a_process_id() {
    let node = start(None, |config| {
        config.body_idle_timeout_ms = 50;
        config.header_timeout_ms = 200;
    })
    .await;
    let head = format!(
        "POST /{PUSH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    for (sent, expected) in [(head.as_str(), "HTTP/1.1 408"), ("POST /slow HTTP/1.1\r\nho", "")] {
        let stream = TcpStream::connect(node.facade.address()).await.unwrap();
        stream.writable().await.unwrap();
        assert_eq!(stream.try_write(sent.as_bytes()).unwrap(), sent.len());
        let end = tokio::time::timeout(Duration::from_secs(5), read_to_end(&stream));
        let answer = end.await.expect("the connection is closed");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected), "{answer}");
        assert!(expected.is_empty() || answer.contains("process-id: "), "{answer}");
    }
}

async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        stream.readable().await.unwrap();
        let mut piece = [0; 4096];
        match stream.try_read(&mut piece) {
            Ok(0) => return answer,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => (),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads on until what was said ends so.
async fn heard(stream: &TcpStream, said: &mut String, until: &str) {
    let mut buffer = [0; 4096];
    while !said.contains(until) {
        stream.readable().await.unwrap();
        match stream.try_read(&mut buffer) {
            Ok(0) => panic!("ended after: {said}"),
            Ok(count) => said.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

#[tokio::test]
async fn events_reach_who_listens_and_a_listener_does_not_hold_up_the_end() {
    let mut node = start(None, |_| ()).await;
    let stream = TcpStream::connect(node.facade.address()).await.unwrap();
    stream.writable().await.unwrap();
    stream.try_write(b"GET /admin/v1/events HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let mut said = String::new();
    heard(&stream, &mut said, "text/event-stream").await;
    let alarm = Alarm {
        kind: "cdr-waits",
        session: "a-session".into(),
        party: "CPO:DEABC".into(),
        partner: None,
        since_unix_ms: 3,
    };
    node.engine.tell(|| Some(Event::of_alarm(&alarm, false, 9)));
    heard(&stream, &mut said, "\n\n\r\n").await;
    assert!(said.contains("event: alarm\n") && said.contains("\"session\":\"a-session\""), "{said}");
    node.facade.stop();
    // Far less than the time that open requests get.
    let ended = tokio::time::timeout(Duration::from_secs(3), node._tasks.join_next()).await;
    assert!(ended.is_ok(), "the facade waits for a listener");
}
