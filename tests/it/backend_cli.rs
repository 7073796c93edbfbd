//! `chargemesh backend`: the real binary plays a backend, and says what it gets without saying too much.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use chargemesh::oicp::charging::{AuthorizationStart, AuthorizationStatus};
use chargemesh::outbound::{BackendClient, CallFailure};

use crate::cli::{call, refused, told, wait_for};
use crate::support::PATIENCE;

const AUTHORIZE: &str = "/api/oicp/charging/v21/operators/CH*ABC/authorize/start";
const REMOTE_STOP: &str = "/api/oicp/charging/v21/providers/CH-XYZ/authorize-remote/stop";
const SESSION: &str = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";
const CARD: &str = "04A2B3C4D5E6F7";

/// A backend as a process of its own; killed if the test fails.
struct Played {
    child: Child,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Played {
    fn start(args: &[&str]) -> Played {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chargemesh"))
            .args([&["backend"], args, &["--listen", "127.0.0.1:0"]].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut played = Played { child, output, url: String::new() };
        let first = played.line();
        played.url = first.rsplit(' ').next().unwrap().trim().to_owned();
        assert!(played.line().contains(&format!("url = \"{}\"", played.url)));
        assert!(played.line().contains("Ctrl-C"));
        played
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended too early");
        line
    }

    /// What it still said before it ended by itself, well.
    fn rest(mut self) -> String {
        let status = wait_for("a backend that ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn authorize(uid: &str) -> bytes::Bytes {
    format!(
        r#"{{"SessionID":"{SESSION}","OperatorID":"CH*ABC","EvseID":"CH*ABC*E1",
        "Identification":{{"RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}}}}}"#
    )
    .into()
}

#[tokio::test]
async fn an_emp_authorizes_its_card_and_does_not_show_it() {
    let mut emp = Played::start(&["emp", "--provider", "CH-XYZ", "--card", CARD]);
    let client = BackendClient::new(&emp.url).unwrap();
    let table = [
        (CARD, AuthorizationStatus::Authorized, "000"),
        ("14A2B3C4", AuthorizationStatus::NotAuthorized, "102"),
    ];
    for (uid, verdict, code) in table {
        let answered = client.post(AUTHORIZE, authorize(uid), PATIENCE).await.unwrap();
        assert_eq!(AuthorizationStart::read(&answered.body).unwrap().verdict, verdict);
        let line = emp.line();
        for part in ["authorize-start", SESSION, "at CH*ABC*E1", code] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains(uid), "{line}");
    }
    let interrupt = format!("kill -INT {}", emp.child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    assert_eq!(emp.rest(), "");
}

#[tokio::test]
async fn a_cpo_that_is_told_to_die_takes_the_request_and_is_gone() {
    let cpo = Played::start(&["cpo", "--behaviour", "answer,remote-stop:die", "-v"]);
    let client = BackendClient::new(&cpo.url).unwrap();
    let body = format!(r#"{{"SessionID":"{SESSION}","ProviderID":"CH-XYZ","EvseID":"CH*ABC*E1"}}"#);
    let call = client.post(REMOTE_STOP, body.clone().into(), PATIENCE).await;
    assert!(matches!(call, Err(CallFailure::Silent(_))), "{call:?}");
    let rest = cpo.rest();
    assert!(rest.contains("remote-stop") && rest.contains("dies") && rest.contains(&body), "{rest}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let here = Path::new(".");
    for (args, said) in [
        (["cpo", "--behaviour", "lazy"], "write answer, refuse"),
        (["emp", "--behaviour", "remote-start:die"], "does not serve remote-start"),
        (["emp", "--card", "12"], "hex digits"),
        (["cpo", "--node", "http://127.0.0.1:1"], "--operator"),
    ] {
        let text = refused(here, &[["backend"].as_slice(), &args].concat());
        assert!(text.contains(said), "{args:?}: {text}");
    }
    let help = told(&call(here, &["backend", "cpo", "--help"]));
    assert!(help.contains("127.0.0.1:9090") && help.contains("twice"), "{help}");
}

#[tokio::test]
async fn a_hub_is_played_and_tells_on_lines_what_it_got() {
    let mut hub = Played::start(&[
        "hub",
        "--partner",
        "EMP:DE-XYZ",
        "--seed-evses",
        "3",
        "--limits",
        "published,pull-data=1",
    ]);
    let client = BackendClient::new(&hub.url).unwrap();
    let path = "/api/oicp/evsepull/v23/providers/DE-XYZ/data-records";
    let body = r#"{"ProviderID":"DE-XYZ","GeoCoordinatesResponseFormat":"Google"}"#;
    let answer = client.post(path, body.into(), PATIENCE).await.unwrap();
    assert!(answer.http_status == 200 && String::from_utf8_lossy(&answer.body).contains("XQ*S00*E2"));
    assert_eq!(client.post(path, body.into(), PATIENCE).await.unwrap().http_status, 429);
    for http in [200, 429] {
        let line: serde_json::Value = serde_json::from_str(&hub.line()).unwrap();
        assert_eq!((line["operation"].as_str(), line["http"].as_u64()), (Some("pull-data"), Some(http)));
        assert_eq!(line["partner"].as_str(), Some("EMP:DEXYZ"));
    }
}
