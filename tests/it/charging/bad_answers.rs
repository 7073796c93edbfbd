//! Bad answers of backends, for every operation that a node calls: what the asking backend is told, as `README.md`
//! prints it. A backend is asked once, whatever it answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chargemesh::backend::Kind;

use super::stage::{AUTHORIZE_START, Heard, NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification};
use crate::support::runtime;
use crate::support::table::Observed;

const AUTHORIZE_STOP: &str = "/api/oicp/charging/v21/operators/CH*ABC/authorize/stop";
const RESERVATION_START: &str = "/api/oicp/reservation/v11/providers/DE-EMP/reservation-start-request";
const RESERVATION_STOP: &str = "/api/oicp/reservation/v11/providers/DE-EMP/reservation-stop-request";
const CDR: &str = "/api/oicp/cdrmgmt/v22/operators/CH*ABC/charge-detail-record";
/// An hour: six times as long as an envelope counts.
const SKEW_MS: u64 = 3_600_000;

/// What comes back over the connection.
#[derive(Clone)]
enum Answer {
    /// These bytes, then the end.
    Bytes(String),
    /// Nothing, and the connection is held.
    Silence,
}

fn http(status: &str, kind: &str, body: &str) -> Answer {
    Answer::Bytes(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// Each bad answer by its name in the table.
fn bad_answers() -> Vec<(&'static str, Answer)> {
    let json = "application/json";
    let other = r#"{"EvseStatuses":{"OperatorEvseStatus":[]},"StatusCode":{"Code":"000"}}"#;
    let fault = r#"{"extendedInfo":null,"message":"Error parsing/validating JSON.","validationErrors":[]}"#;
    let large = format!(r#"{{"Result":true,"StatusCode":{{"Code":"000"}},"x":"{}"}}"#, "x".repeat(2 << 20));
    let cut = Answer::Bytes(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"Res".to_owned(),
    );
    vec![
        ("another message", http("200 OK", json, other)),
        ("200 with garbage", http("200 OK", json, "%%%")),
        ("200 without a body", http("200 OK", json, "")),
        ("malformed", http("200 OK", json, r#"{"Result":true,"StatusCode":{"Code":"000"}"#)),
        ("no verdict", http("200 OK", json, r#"{"SessionID":null}"#)),
        ("400 FaultBody", http("400 Bad Request", json, fault)),
        ("403 HTML", http("403 Forbidden", "text/html", "<html><h1>403</h1></html>")),
        ("429", http("429 Too Many Requests", "text/plain", "slow down")),
        ("500", http("500 Internal Server Error", "text/html", "<html>500</html>")),
        ("redirect", http("302 Found\r\nlocation: /elsewhere", "text/plain", "")),
        ("too large", http("200 OK", json, &large)),
        ("cut off", cut),
        ("no HTTP", Answer::Bytes("%%%\r\n\r\n".to_owned())),
        ("connection closed", Answer::Bytes(String::new())),
        ("silent", Answer::Silence),
    ]
}

/// A backend that answers one path badly and every other one well.
struct Backend {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    bad: Option<(String, Answer)>,
    asked: Vec<String>,
    held: Vec<TcpStream>,
}

impl Backend {
    #[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
    fn start() -> Backend {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Backend { url, state }
    }

    fn answers(&self, path: &str, answer: &Answer) {
        *self.state.lock().unwrap() =
            State { bad: Some((path.to_owned(), answer.clone())), ..State::default() };
    }

    fn is_well(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    // A connection that is closed again without a word.
    if reader.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let good = if path.contains("/authorize/") {
        r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}"#
    } else {
        r#"{"Result":true,"StatusCode":{"Code":"000"}}"#
    };
    let mut state = state.lock().unwrap();
    state.asked.push(path.clone());
    let bad = state.bad.as_ref().filter(|(bad, _)| *bad == path).map(|(_, answer)| answer.clone());
    match bad.unwrap_or_else(|| http("200 OK", "application/json", good)) {
        Answer::Silence => state.held.push(stream),
        Answer::Bytes(bytes) => {
            drop(state);
            // What is too large is not read to its end.
            let _gone = (&stream).write_all(bytes.as_bytes());
        }
    }
}

/// One operation: who calls, which path both nodes use, and a message for a session at an EVSE.
struct Called {
    name: &'static str,
    by: Kind,
    path: &'static str,
    opened_by: Option<&'static str>,
}

const CALLED: [Called; 8] = [
    Called { name: "AuthorizeStart", by: Kind::Cpo, path: AUTHORIZE_START, opened_by: None },
    Called { name: "AuthorizeStop", by: Kind::Cpo, path: AUTHORIZE_STOP, opened_by: Some(AUTHORIZE_START) },
    Called { name: "AuthorizeRemoteStart", by: Kind::Emp, path: REMOTE_START, opened_by: None },
    Called { name: "AuthorizeRemoteStop", by: Kind::Emp, path: REMOTE_STOP, opened_by: Some(REMOTE_START) },
    Called {
        name: "AuthorizeRemoteReservationStart",
        by: Kind::Emp,
        path: RESERVATION_START,
        opened_by: None,
    },
    Called {
        name: "AuthorizeRemoteReservationStop",
        by: Kind::Emp,
        path: RESERVATION_STOP,
        opened_by: Some(RESERVATION_START),
    },
    Called {
        name: "ChargingNotifications",
        by: Kind::Cpo,
        path: NOTIFICATION,
        opened_by: Some(AUTHORIZE_START),
    },
    Called { name: "ChargeDetailRecord", by: Kind::Cpo, path: CDR, opened_by: Some(AUTHORIZE_START) },
];

fn body(path: &str, evse: &str, session: &str) -> String {
    let card = r#""Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}"#;
    let app = r#""Identification":{"RemoteIdentification":{"EvcoID":"DE-EMP-C12345678-X"}}"#;
    match path {
        AUTHORIZE_START => format!(r#"{{"OperatorID":"CH*ABC","EvseID":"{evse}",{card}}}"#),
        AUTHORIZE_STOP => {
            format!(r#"{{"SessionID":"{session}","OperatorID":"CH*ABC","EvseID":"{evse}",{card}}}"#)
        }
        REMOTE_START | RESERVATION_START => format!(r#"{{"ProviderID":"DE-EMP","EvseID":"{evse}",{app}}}"#),
        REMOTE_STOP | RESERVATION_STOP => {
            format!(r#"{{"SessionID":"{session}","ProviderID":"DE-EMP","EvseID":"{evse}"}}"#)
        }
        NOTIFICATION => notification("Start", "CH*ABC", session).replace("CH*ABC*E1", evse),
        _ => {
            let now = i64::try_from(crate::support::unix_s()).unwrap() * 1_000;
            let at = |before_s: i64| chargemesh::oicp::time::format_ms(now - before_s * 1_000);
            format!(
                r#"{{"SessionID":"{session}","EvseID":"{evse}",{card},"SessionStart":"{}","ChargingStart":"{}","ChargingEnd":"{}","SessionEnd":"{}","ConsumedEnergy":1.5}}"#,
                at(60),
                at(60),
                at(1),
                at(1)
            )
        }
    }
}

impl Called {
    async fn call(&self, stage: &Stage, evse: &str, session: &str) -> Heard {
        stage.calls(self.by, self.path, body(self.path, evse, session)).await.unwrap()
    }

    /// Opens the session that it is about, if it needs one.
    async fn session(&self, stage: &Stage, evse: &str) -> String {
        let Some(path) = self.opened_by else { return String::new() };
        let said = stage.calls(self.by, path, body(path, evse, "")).await.unwrap();
        assert_eq!(said.code(), (200, "000".to_owned()), "{} opens: {said:?}", self.name);
        said.json()["SessionID"].as_str().unwrap().to_owned()
    }

    /// Who is called by a node.
    fn callee<'s>(&self, cpo: &'s Backend, emp: &'s Backend) -> &'s Backend {
        if self.by == Kind::Cpo { emp } else { cpo }
    }
}

/// What the asking backend is told: HTTP status and code; never a yes to what nobody said yes to.
fn cell(called: &Called, said: &Heard) -> String {
    let (http, code) = said.code();
    let json = said.json();
    // A record is taken when this node has it; the other side's node tries again.
    let yes = json["Result"] == true || json["AuthorizationStatus"] == "Authorized";
    assert!(!yes || called.path == CDR, "{}: {said:?}", called.name);
    assert!(said.took < Duration::from_millis(2_500), "{}: {said:?}", called.name);
    format!("{http} {code}")
}

#[test]
fn every_bad_answer_becomes_what_the_table_says() {
    let mut table = Observed::default();
    let (cpo, emp) = (Backend::start(), Backend::start());
    runtime().block_on(async {
        let mut stage = Stage::with(|kind, plan| {
            let backend = if kind == Kind::Cpo { &cpo } else { &emp };
            plan.settings.outbound.backends[0].url.clone_from(&backend.url);
        })
        .await;
        let mut evses = 0;
        for called in &CALLED {
            let callee = called.callee(&cpo, &emp);
            let mut next_evse = || {
                evses += 1;
                format!("CH*ABC*E{evses}")
            };
            for (name, answer) in bad_answers() {
                let evse = next_evse();
                let session = called.session(&stage, &evse).await;
                callee.answers(called.path, &answer);
                let said = called.call(&stage, &evse, &session).await;
                table.note(called.name, name, &cell(called, &said));
                // The record is delivered beside the answer.
                assert!(callee.asked(called.path) <= 1, "{} {name}: asked again", called.name);
                assert!(callee.asked(called.path) == 1 || called.path == CDR, "{} {name}", called.name);
                callee.is_well();
            }
            let evse = next_evse();
            let session = called.session(&stage, &evse).await;
            let other = if called.by == Kind::Cpo { &stage.emp } else { &stage.cpo };
            other.set_ahead(SKEW_MS);
            let said = called.call(&stage, &evse, &session).await;
            other.set_ahead(0);
            table.note(called.name, "clock skew", &cell(called, &said));
        }
        stage.cpo.stop().await;
        stage.emp.stop().await;
    });
    table.is_printed("bad answers", "operation");
}
