//! Backends over real sockets.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::engine::SystemClock;
use crate::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, AuthorizationStop, Uid, read_acknowledgement,
};
use crate::oicp::evco::EvcoId;
use crate::oicp::id::{OperatorId, ProviderId};
use crate::outbound::{BackendClient, CallFailure, Received as Answered};

/// How long a test waits for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
const SESSION: &str = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";
const START_PATH: &str = "/api/oicp/charging/v21/providers/DE*ICE/authorize-remote/start";
const STOP_PATH: &str = "/api/oicp/charging/v21/providers/DE*ICE/authorize-remote/stop";
const AUTHORIZE_PATH: &str = "/api/oicp/charging/v21/operators/DE*XYZ/authorize/start";
const NOTIFICATION_PATH: &str = "/api/oicp/notificationmgmt/v11/charging-notifications";

fn config(kind: Kind) -> Config {
    Config::new(kind, SystemClock::start())
}

async fn started(kind: Kind, behaviours: &str) -> Backend {
    let behaviours = behaviours.parse().unwrap();
    Backend::start(Config { behaviours, ..config(kind) }).await.unwrap()
}

fn start_body() -> Bytes {
    format!(
        r#"{{"SessionID":"{SESSION}","EMPPartnerSessionID":"E1","ProviderID":"DE*ICE","EvseID":"DE*XYZ*E1",
        "Identification":{{"RemoteIdentification":{{"EvcoID":"DE-ICE-C12345678-X"}}}},"Duration":15}}"#
    )
    .into()
}

fn stop_body() -> Bytes {
    format!(r#"{{"SessionID":"{SESSION}","ProviderID":"DE*ICE","EvseID":"DE*XYZ*E1"}}"#).into()
}

fn authorize_body(medium: &str) -> Bytes {
    format!(
        r#"{{"SessionID":"{SESSION}","OperatorID":"DE*XYZ","EvseID":"DE*XYZ*E1","Identification":{{{medium}}}}}"#
    )
    .into()
}

async fn post(backend: &Backend, path: &str, body: Bytes) -> Result<Answered, CallFailure> {
    BackendClient::new(&backend.url()).unwrap().post(path, body, PATIENCE).await
}

async fn next(backend: &Backend) -> Received {
    timeout(PATIENCE, backend.next()).await.expect("a request was awaited")
}

#[tokio::test]
async fn a_cpo_takes_starts_stops_and_reservations_under_all_their_paths() {
    let backend = started(Kind::Cpo, "answer").await;
    let table = [
        (START_PATH, Operation::RemoteStart, start_body()),
        (
            "/api/oicp/charging/v21/providers/DE%2AICE/authorize-remote/start",
            Operation::RemoteStart,
            start_body(),
        ),
        (STOP_PATH, Operation::RemoteStop, stop_body()),
        (
            "/api/oicp/reservation/v11/providers/DE*ICE/reservation-start-request",
            Operation::ReservationStart,
            start_body(),
        ),
        (
            "/api/oicp/charging/v21/providers/DE%2AICE/authorize-remote-reservation/start",
            Operation::ReservationStart,
            start_body(),
        ),
        (
            "/api/oicp/reservation/v11/providers/DE-ICE/reservation-stop-request",
            Operation::ReservationStop,
            stop_body(),
        ),
        (
            "/api/oicp/charging/v21/providers/DE*ICE/authorize-remote-reservation/stop",
            Operation::ReservationStop,
            stop_body(),
        ),
    ];
    for (path, operation, body) in &table {
        let answered = post(&backend, path, body.clone()).await.unwrap();
        let answer = read_acknowledgement(&answered.body).unwrap();
        assert!(answered.http_status == 200 && answer.result, "{path}");
        assert_eq!(answer.session_id.as_deref(), Some(SESSION), "{path}");
        let received = next(&backend).await;
        assert_eq!((received.operation, received.path.as_str(), &received.body), (*operation, *path, body));
        assert_eq!(received.session.as_deref(), Some(SESSION));
        assert_eq!(received.evse.as_deref(), Some("DE*XYZ*E1"));
        assert!(received.at > 1_600_000_000_000 && received.answer == "000 Success", "{received:?}");
        assert!(!format!("{received:?}").contains("12345678"));
    }
    let references = post(&backend, START_PATH, start_body()).await.unwrap();
    let references = read_acknowledgement(&references.body).unwrap();
    assert!(references.cpo_partner_session_id.is_some_and(|id| id.starts_with("CPO-")));
    assert_eq!(references.emp_partner_session_id.as_deref(), Some("E1"));
    assert_eq!(backend.received().len(), table.len() + 1);
}

#[tokio::test]
async fn an_emp_authorizes_its_own_cards_and_contracts() {
    let card = r#""RFIDMifareFamilyIdentification":{"UID":"04a2b3c4d5e6f7"}"#;
    let other = r#""RFIDMifareFamilyIdentification":{"UID":"14A2B3C4D5E6F7"}"#;
    let contract = r#""PlugAndChargeIdentification":{"EvcoID":"DE-DCB-C12345678-X"}"#;
    let foreign = r#""PlugAndChargeIdentification":{"EvcoID":"DE-DCB-C87654321-X"}"#;
    let code = r#""QRCodeIdentification":{"EvcoID":"DE-DCB-C87654321-X","PIN":"1234"}"#;

    let open = started(Kind::Emp, "answer").await;
    for (medium, provider) in [(card, None), (contract, Some("DEDCB")), (code, Some("DEDCB"))] {
        let answered = post(&open, AUTHORIZE_PATH, authorize_body(medium)).await.unwrap();
        let answer = AuthorizationStart::read(&answered.body).unwrap();
        assert_eq!(answer.verdict, AuthorizationStatus::Authorized, "{medium}");
        assert_eq!(answer.provider_id.map(|id| id.canonical()).as_deref(), provider, "{medium}");
    }

    let choosy = Backend::start(Config {
        cards: vec![Uid::parse("04A2B3C4D5E6F7").unwrap()],
        contracts: vec![EvcoId::parse("DE*DCB*C12345678").unwrap()],
        provider: Some(ProviderId::parse("DE-DCB").unwrap()),
        ..config(Kind::Emp)
    });
    let choosy = choosy.await.unwrap();
    let table = [(card, "000"), (contract, "000"), (other, "102"), (foreign, "105"), (code, "101")];
    let stop_path = AUTHORIZE_PATH.replace("/start", "/stop");
    for (medium, expected) in table {
        let answered = post(&choosy, AUTHORIZE_PATH, authorize_body(medium)).await.unwrap();
        let start = AuthorizationStart::read(&answered.body).unwrap();
        let answered = post(&choosy, &stop_path, authorize_body(medium)).await.unwrap();
        let stop = AuthorizationStop::read(&answered.body).unwrap();
        let may = expected == "000";
        assert_eq!((start.status.code.as_str(), stop.status.code.as_str()), (expected, expected), "{medium}");
        for verdict in [start.verdict, stop.verdict] {
            assert_eq!(verdict == AuthorizationStatus::Authorized, may, "{medium}");
        }
        assert_eq!(start.provider_id.is_some_and(|id| id.as_str() == "DE-DCB"), may, "{medium}");
        assert_eq!(start.session_id.is_some(), may, "{medium}");
        assert_eq!(next(&choosy).await.operation, Operation::AuthorizeStart);
        assert_eq!(next(&choosy).await.operation, Operation::AuthorizeStop);
    }
}

#[tokio::test]
async fn told_to_fail_it_fails_and_mends_when_told() {
    let backend = started(Kind::Cpo, "refuse,remote-stop:refuse=310").await;
    for (path, body, code) in [(START_PATH, start_body(), "501"), (STOP_PATH, stop_body(), "310")] {
        let answer = read_acknowledgement(&post(&backend, path, body).await.unwrap().body).unwrap();
        assert_eq!((answer.result, answer.status.code.as_str()), (false, code));
    }
    backend.set_behaviour(Behaviour::Garbage).unwrap();
    let answered = post(&backend, START_PATH, start_body()).await.unwrap();
    assert!(answered.http_status == 200 && read_acknowledgement(&answered.body).is_err());
    backend.set_behaviour(Behaviour::Http(503)).unwrap();
    assert_eq!(post(&backend, START_PATH, start_body()).await.unwrap().http_status, 503);
    backend.set_behaviour(Behaviour::Die).unwrap();
    assert!(matches!(post(&backend, START_PATH, start_body()).await, Err(CallFailure::Silent(_))));
    let delay = Duration::from_millis(50);
    backend
        .set_behaviour(Behaviours::default().with(Operation::RemoteStart, Behaviour::Slow(delay)))
        .unwrap();
    let begun = Instant::now();
    assert_eq!(post(&backend, START_PATH, start_body()).await.unwrap().http_status, 200);
    assert!(begun.elapsed() >= delay);
    let foreign = Behaviours::default().with(Operation::Notification, Behaviour::Silent);
    assert!(matches!(backend.set_behaviour(foreign), Err(BehaviourError::NotServed { .. })));
    let treated: Vec<String> = backend.received().iter().map(|one| one.behaviour.to_string()).collect();
    assert_eq!(treated, ["refuse", "refuse=310", "garbage", "http=503", "die", "slow=50"]);
}

#[tokio::test]
async fn a_silent_one_takes_the_request_and_a_stopped_one_drops_it() {
    let backend = started(Kind::Cpo, "silent").await;
    let (address, client) = (backend.address(), BackendClient::new(&backend.url()).unwrap());
    let call =
        tokio::task::JoinSet::from_iter([
            async move { client.post(START_PATH, start_body(), PATIENCE).await },
        ]);
    assert_eq!(next(&backend).await.behaviour, Behaviour::Silent);
    let begun = Instant::now();
    timeout(PATIENCE, backend.stop()).await.expect("it ends at once");
    let ended = call.join_all().await;
    assert!(matches!(ended.as_slice(), [Err(CallFailure::Silent(_))]), "{ended:?}");
    assert!(begun.elapsed() < PATIENCE, "the connection was cut, not timed out");
    // Nothing listens, and the address is free for its successor.
    let client = BackendClient::new(&format!("http://{address}")).unwrap();
    assert!(matches!(client.post(STOP_PATH, stop_body(), PATIENCE).await, Err(CallFailure::NotSent(_))));
    let again = Backend::start(Config { listen: address, ..config(Kind::Cpo) }).await.unwrap();
    assert_eq!(post(&again, STOP_PATH, stop_body()).await.unwrap().http_status, 200);
    let taken = Backend::start(Config { listen: address, ..config(Kind::Cpo) }).await.err();
    assert!(matches!(taken, Some(BackendError::Listen { .. })));
}

#[tokio::test]
async fn twice_is_two_answers_to_one_request() {
    let backend = started(Kind::Cpo, "twice").await;
    let body = start_body();
    let stream = TcpStream::connect(backend.address()).await.unwrap();
    let head = format!("POST {START_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(&request).unwrap(), request.len());
    let mut said = String::new();
    while said.matches("\"Result\":true").count() < 2 || !said.ends_with('}') {
        timeout(PATIENCE, stream.readable()).await.expect("two answers").unwrap();
        let mut chunk = [0; 4_096];
        let Ok(read) = stream.try_read(&mut chunk) else { continue };
        assert!(read > 0, "closed after {said}");
        said.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
    let bodies: Vec<&str> =
        said.split("HTTP/1.1").filter_map(|one| one.split_once("\r\n\r\n")).map(|one| one.1).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(backend.received().len(), 1);
    // Whoever reads one answer for one request gets on with it.
    assert_eq!(post(&backend, START_PATH, start_body()).await.unwrap().http_status, 200);
}

#[tokio::test]
async fn what_it_cannot_read_or_does_not_serve_is_said_and_written_down() {
    let backend = started(Kind::Cpo, "silent").await;
    let answered = post(&backend, NOTIFICATION_PATH, "{}".into()).await.unwrap();
    assert_eq!(answered.http_status, 404);
    assert_eq!(next(&backend).await.operation, Operation::Unserved);
    backend.set_behaviour(Behaviour::Answer).unwrap();
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    for body in ["{".into(), r#"{"SessionID":1}"#.into(), large.into()] {
        assert_eq!(post(&backend, START_PATH, body).await.unwrap().http_status, 400);
        let received = next(&backend).await;
        assert!(received.operation == Operation::RemoteStart && received.answer.starts_with("HTTP 400"));
    }
    let client = crate::outbound::HubClient::new(&backend.url(), None).unwrap();
    assert_eq!(client.get("healthz").await.unwrap().body, "ok\n");
    assert_eq!(client.get(&START_PATH[1..]).await.unwrap().http_status, 404);
    assert_eq!(next(&backend).await.operation, Operation::Unserved);
}

#[tokio::test]
async fn an_accepted_start_is_played_to_its_record() {
    // The EMP's side takes what a node would take.
    let node = started(Kind::Emp, "answer,cdr:refuse=320").await;
    let cpo = |length: Duration, behaviours: &str| Config {
        play: Some(Play {
            node: node.url(),
            key: None,
            operator: OperatorId::parse("DE*XYZ").unwrap(),
            length,
        }),
        behaviours: behaviours.parse().unwrap(),
        ..config(Kind::Cpo)
    };
    let short =
        Backend::start(cpo(Duration::from_millis(20), "answer,reservation-start:answer")).await.unwrap();
    post(&short, START_PATH, start_body()).await.unwrap();
    for (what, kind) in
        [("notification Start", "Start"), ("notification Progress", "Progress"), ("notification End", "End")]
    {
        let received = next(&node).await;
        assert_eq!(
            (received.operation, received.session.as_deref()),
            (Operation::Notification, Some(SESSION))
        );
        assert!(String::from_utf8_lossy(&received.body).contains(&format!("\"Type\":\"{kind}\"")));
        let sent = timeout(PATIENCE, short.next_sent()).await.unwrap();
        assert!(sent.what == what && sent.accepted, "{sent:?}");
    }
    let record = next(&node).await;
    assert_eq!(
        (record.operation, record.path.as_str()),
        (Operation::ChargeDetailRecord, "/api/oicp/cdrmgmt/v22/operators/DE*XYZ/charge-detail-record",)
    );
    let sent = timeout(PATIENCE, short.next_sent()).await.unwrap();
    assert!(sent.what == "cdr" && !sent.accepted && sent.answer.starts_with("320"), "{sent:?}");

    // Slow beyond any patience and as long as a night: a stop ends it all the same, and without a progress.
    let long = Backend::start(cpo(Duration::from_secs(36_000), "remote-start:slow=600000")).await.unwrap();
    let client = BackendClient::new(&long.url()).unwrap();
    let call = async move { client.post(START_PATH, start_body(), PATIENCE).await };
    let mut calls = tokio::task::JoinSet::from_iter([call]);
    assert_eq!(next(&long).await.operation, Operation::RemoteStart);
    calls.shutdown().await;
    post(&long, STOP_PATH, stop_body()).await.unwrap();
    for what in ["notification Start", "notification End", "cdr"] {
        assert_eq!(timeout(PATIENCE, long.next_sent()).await.unwrap().what, what);
    }

    // What was refused is not played: all that comes is of the next.
    for _ in 0..3 {
        assert_eq!(next(&node).await.session.as_deref(), Some(SESSION));
    }
    short.set_behaviour(Behaviour::Refuse(None)).unwrap();
    post(&short, START_PATH, start_body()).await.unwrap();
    short.set_behaviour(Behaviour::Answer).unwrap();
    let other = SESSION.replace('f', "0");
    let body = String::from_utf8_lossy(&start_body()).replace(SESSION, &other);
    post(&short, START_PATH, body.into()).await.unwrap();
    for _ in 0..4 {
        assert_eq!(next(&node).await.session.as_deref(), Some(other.as_str()));
    }
}
