//! Bad input of backends: each is refused with the hub's status and body, and changes nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Plan, Said, World, client, content, post, push_data, push_status, record, runtime, until, view,
};

const JSON: &str = "application/json";
const PUSH: &str = "/api/oicp/evsepush/v23/operators/CH*ABC/data-records";
const PUSH_STATUS: &str = "/api/oicp/evsepush/v21/operators/CH*ABC/status-records";
const PULL: &str = "/api/oicp/evsepull/v23/providers/DE-EMP/data-records";

/// A node of a CPO and an EMP, with two EVSEs and a status.
async fn node(dir: &std::path::Path) -> chargemesh::node::Node {
    let plan = Plan::new("both", Some("CPO:CHABC"), dir).also("EMP:DEEMP");
    let node = World::new().start(&plan).await;
    assert_eq!(
        code(&post(&node, PUSH, JSON, push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"])).await),
        "000"
    );
    let status = push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Available")]);
    assert_eq!(code(&post(&node, PUSH_STATUS, JSON, status).await), "000");
    node
}

fn code(said: &Said) -> String {
    said.json()["StatusCode"]["Code"].as_str().unwrap_or_default().to_owned()
}

/// 50 MB, valid JSON, in which nothing is what a push must have.
fn fifty_megabytes(piece: &str) -> Bytes {
    let mut text = String::from(r#"{"ActionType":"fullLoad","OperatorEvseData":["#);
    while text.len() < 50_000_000 {
        text.push_str(piece);
        text.push(',');
    }
    text.push_str("0]}");
    text.into()
}

#[test]
fn what_is_not_the_message_is_400_with_the_hubs_fault() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let before = content(&view(&node).await);
        let good = push_data("fullLoad", "CH*ABC", &["CH*ABC*E3"]);
        let text = String::from_utf8(good.to_vec()).unwrap();
        let nested = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let nested = text.replace("1.50", &nested);
        let mut bodies: Vec<(String, Bytes)> = vec![
            ("malformed".into(), text.replace(':', "").into()),
            ("nested 100 times".into(), nested.into()),
            ("nested objects".into(), format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100)).into()),
            ("duplicate key".into(), text.replacen('{', r#"{"ActionType":"delete","#, 1).into()),
            (
                "duplicate key in a record".into(),
                text.replace(r#""Plugs""#, r#""EvseID":"CH*ABC*E9","Plugs""#).into(),
            ),
            (
                "no UTF-8".into(),
                Bytes::from([&text.as_bytes()[..40], b"\xff\xfe", &text.as_bytes()[40..]].concat()),
            ),
            ("empty".into(), Bytes::new()),
            ("another type".into(), "[]".into()),
            ("unknown action".into(), text.replace("fullLoad", "upsert").into()),
            ("no EvseID".into(), text.replace("EvseID", "Evse").into()),
            ("an EvseID that is none".into(), text.replace("CH*ABC*E3", "CH*ABC").into()),
            ("data behind the end".into(), format!("{text}{text}").into()),
            ("50 MB of small values".into(), fifty_megabytes("1")),
            ("50 MB of text".into(), fifty_megabytes(&format!("\"{}\"", "x".repeat(100_000)))),
        ];
        bodies
            .extend((1..20).map(|part| (format!("cut at {part}/20"), good.slice(..good.len() * part / 20))));
        for (what, body) in bodies {
            let said = post(&node, PUSH, JSON, body).await;
            assert_eq!(said.http, 400, "{what}: {said:?}");
            let fault = said.json();
            assert!(fault["extendedInfo"].is_null() && fault["StatusCode"].is_null(), "{what}: {said:?}");
            assert!(!fault["validationErrors"].as_array().unwrap().is_empty(), "{what}: {said:?}");
            let first = &fault["validationErrors"][0];
            // Null where it is about the document as a whole.
            assert!(
                first.get("fieldReference").is_some() && first["errorMessage"].is_string(),
                "{what}: {said:?}"
            );
            assert_eq!(said.process_id.len(), 36, "{what}");
            assert_eq!(content(&view(&node).await), before, "{what} changed something");
        }
        node.shutdown().await;
    });
}

#[test]
fn wrong_headers_ids_and_sizes_are_refused_before_the_body_is_read() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let before = content(&view(&node).await);
        let good = push_data("fullLoad", "CH*ABC", &["CH*ABC*E3"]);
        for kind in ["text/xml", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let said = post(&node, PUSH, kind, good.clone()).await;
            assert_eq!(
                (said.http, &said.json()["validationErrors"][0]["fieldReference"]),
                (400, &json!("Content-Type")),
                "{kind}"
            );
        }
        let head = format!(
            "POST {PUSH} HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\ncontent-length: 67108865\r\n\r\n"
        );
        let answer = raw(&node, &head);
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_size_bytes_max"), "{answer}");
        let unauthorized = |said: &Said| {
            assert_eq!(said.http, 401, "{said:?}");
            let status = said.json()["StatusCode"].clone();
            assert_eq!(
                (&status["Code"], &status["Description"]),
                (&json!("017"), &json!("Unauthorized Access")),
                "{said:?}"
            );
            assert!(said.json()["Result"].is_null(), "the short body: {said:?}");
        };
        // The id of the path is another's; the ids of path and body differ; a key that nobody has.
        unauthorized(&post(&node, &PUSH.replace("CH*ABC", "CH*XYZ"), JSON, good.clone()).await);
        unauthorized(&post(&node, PUSH, JSON, push_data("fullLoad", "CH*XYZ", &["CH*XYZ*E3"])).await);
        unauthorized(&post(&node, PUSH_STATUS, JSON, push_status("update", "CH*XYZ", &[])).await);
        unauthorized(&post(&node, &format!("/k/0123456789abcdef0123{PUSH}"), JSON, good.clone()).await);
        unauthorized(
            &post(&node, PULL, JSON, r#"{"ProviderID":"DE-XXX","GeoCoordinatesResponseFormat":"Google"}"#)
                .await,
        );
        unauthorized(
            &post(&node, &PULL.replace("DE-EMP", "DE-XXX"), JSON, r#"{"ProviderID":"DE-XXX"}"#).await,
        );
        let none =
            post(&node, "/api/oicp/evsepush/v99/operators/CH*ABC/data-records", JSON, good.clone()).await;
        assert_eq!((none.http, code(&none).as_str()), (404, "001"));
        assert_eq!(content(&view(&node).await), before);
        node.shutdown().await;
    });
}

/// Sends the text of a request whose body never comes; the answer until the node closes.
fn raw(node: &chargemesh::node::Node, request: &str) -> String {
    let mut stream = TcpStream::connect(node.facade_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A negative acknowledgement: HTTP 200, Result false, the code, and the ids in AdditionalInfo.
fn refused(said: &Said, expected: &str, named: &str) {
    let body = said.json();
    assert_eq!((said.http, &body["Result"]), (200, &Value::Bool(false)), "{said:?}");
    assert_eq!(code(said), expected, "{said:?}");
    let info = body["StatusCode"]["AdditionalInfo"].as_str().unwrap_or_default();
    assert!(info.contains(named), "{said:?}");
}

#[test]
fn records_that_must_not_be_are_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let before = content(&view(&node).await);
        let data =
            async |action, ids: &[&str]| post(&node, PUSH, JSON, push_data(action, "CH*ABC", ids)).await;
        let status = async |action, ids: &[(&str, &str)]| {
            post(&node, PUSH_STATUS, JSON, push_status(action, "CH*ABC", ids)).await
        };
        for action in ["fullLoad", "insert", "update", "delete"] {
            refused(&data(action, &["CH*ABC*E8", "CH*ABC*E9", "CH*ABC*E8"]).await, "018", "CH*ABC*E8");
            // Two spellings of one EVSE.
            refused(&data(action, &["CH*ABC*E9", "ch*abc*e9"]).await, "018", "ch*abc*e9");
            refused(&data(action, &["CH*ABC*E1", "CH*XYZ*E1"]).await, "018", "CH*XYZ*E1");
            refused(
                &status(action, &[("CH*ABC*E1", "Occupied"), ("DE*ABC*E1", "Occupied")]).await,
                "018",
                "DE*ABC*E1",
            );
            refused(
                &status(action, &[("CH*ABC*E1", "Occupied"), ("CH*ABC*E1", "Available")]).await,
                "018",
                "CH*ABC*E1",
            );
        }
        refused(&data("insert", &["CH*ABC*E3", "CH*ABC*E1"]).await, "009", "CH*ABC*E1");
        refused(&data("update", &["CH*ABC*E1", "CH*ABC*E3"]).await, "009", "CH*ABC*E3");
        for action in ["fullLoad", "insert", "update"] {
            refused(
                &status(action, &[("CH*ABC*E1", "Occupied"), ("CH*ABC*E7", "Occupied")]).await,
                "603",
                "CH*ABC*E7",
            );
        }
        refused(&status("insert", &[("CH*ABC*E1", "Occupied")]).await, "009", "CH*ABC*E1");
        refused(&status("update", &[("CH*ABC*E2", "Occupied")]).await, "009", "CH*ABC*E2");
        assert_eq!(content(&view(&node).await), before);
        // Deleting what is not there reaches the state asked for.
        assert_eq!(code(&data("delete", &["CH*ABC*E7"]).await), "000");
        assert_eq!(content(&view(&node).await), before);
        node.shutdown().await;
    });
}

#[test]
fn a_full_load_that_deletes_most_is_held_until_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEEMP");
        let node = world.start(&plan).await;
        let ids: Vec<String> = (0..40).map(|number| format!("CH*ABC*E{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(code(&post(&node, PUSH, JSON, push_data("fullLoad", "CH*ABC", &ids)).await), "000");
        let statuses: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "Available")).collect();
        assert_eq!(
            code(&post(&node, PUSH_STATUS, JSON, push_status("fullLoad", "CH*ABC", &statuses)).await),
            "000"
        );
        let before = content(&view(&node).await);
        let short = push_data("fullLoad", "CH*ABC", &ids[..5]);
        for _ in 0..3 {
            refused(&post(&node, PUSH, JSON, short.clone()).await, "009", "chargemesh push confirm 1");
        }
        refused(&post(&node, PUSH, JSON, push_data("fullLoad", "CH*ABC", &[])).await, "009", "confirm 2");
        refused(
            &post(&node, PUSH, JSON, push_data("delete", "CH*ABC", &ids[..35])).await,
            "009",
            "confirm 3",
        );
        refused(
            &post(&node, PUSH_STATUS, JSON, push_status("fullLoad", "CH*ABC", &[])).await,
            "009",
            "confirm 4",
        );
        let held = view(&node).await;
        assert_eq!(content(&held), before);
        assert_eq!(
            held.held.iter().map(|h| (h.id, h.removes, h.of)).collect::<Vec<_>>(),
            [(1, 35, 40), (2, 40, 40), (3, 35, 40), (4, 40, 40)]
        );

        // Held pushes are promises: they survive a restart.
        node.shutdown().await;
        let node = world.start(&plan).await;
        assert_eq!(view(&node).await.held.len(), 4);
        assert_eq!(client(&node).confirm(99).await.unwrap().status.code, "022");
        // Just after its start a node still asks its peers for its own feeds, and says so with 021.
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        let confirmed = async {
            loop {
                ticks.tick().await;
                let answer = client(&node).confirm(1).await.unwrap();
                if answer.status.code != "021" {
                    return answer;
                }
            }
        };
        let confirmed = tokio::time::timeout(PATIENCE, confirmed).await.expect("it is ready soon");
        assert!(confirmed.result, "{confirmed:?}");
        let after = until(&node, "five EVSEs and their statuses", |view| {
            (view.view_evses, view.view_statuses) == (5, 5)
        })
        .await;
        assert_eq!(after.held.len(), 3);
        assert_eq!(client(&node).confirm(1).await.unwrap().status.code, "022", "once only");
        node.shutdown().await;
    });
}

#[test]
fn strict_reading_refuses_what_tolerant_reading_takes() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEEMP");
        plan.settings.facade.as_mut().unwrap().backends[0].reading =
            chargemesh::oicp::reading::Reading::Strict;
        let strict = World::new().start(&plan).await;
        let deviating = record("CH*ABC*E1").replace("\"Type 2 Outlet\"", "\"Type 9 Outlet\"");
        let good = String::from_utf8(push_data("fullLoad", "CH*ABC", &["CH*ABC*E1"]).to_vec()).unwrap();
        let body = good.replace(&record("CH*ABC*E1"), &deviating);
        let said = post(&strict, PUSH, JSON, body.clone()).await;
        assert_eq!(said.http, 400, "{said:?}");
        let field = said.json()["validationErrors"][0]["fieldReference"].as_str().unwrap().to_owned();
        assert!(field.starts_with("operatorEvseData.evseDataRecord[0].plugs"), "{field}");
        assert_eq!(view(&strict).await.view_evses, 0);
        assert_eq!(code(&post(&strict, PUSH, JSON, good).await), "000");
        strict.shutdown().await;

        plan.settings.facade.as_mut().unwrap().backends[0].reading =
            chargemesh::oicp::reading::Reading::Tolerant;
        let tolerant = World::new().start(&plan).await;
        assert_eq!(code(&post(&tolerant, PUSH, JSON, body).await), "000");
        let pull = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;
        assert!(post(&tolerant, PULL, JSON, pull).await.body.contains("Type 9 Outlet"), "kept as received");
        tolerant.shutdown().await;
    });
}

/// One frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame's kind, flags, stream and payload.
fn read_frame(stream: &mut TcpStream) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let [a, b, c, kind, flags, stream_id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).unwrap();
    (kind, flags, u32::from_be_bytes(stream_id), payload)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the body comes late")]
fn over_http_2_an_early_refusal_cuts_no_body_off() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const END_STREAM: u8 = 1;
    const ACK: u8 = 1;
    const END_HEADERS: u8 = 4;
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let address = node.facade_address().unwrap();
        let refused = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let path = PUSH.replace("CH*ABC", "DE*XYZ");
            // POST and http are in the static table, the names of path, authority and content type, too (RFC 7541, A).
            let mut fields = vec![0x83, 0x86];
            for (name, value) in [(&[4][..], path.as_str()), (&[1], "test"), (&[15, 16], JSON)] {
                fields.extend([name, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat());
            }
            let begin = [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(SETTINGS, 0, 0, &[]),
                frame(HEADERS, END_HEADERS, 1, &fields),
            ];
            stream.write_all(&begin.concat()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            stream.write_all(&frame(DATA, END_STREAM, 1, b"{}")).unwrap();
            stream.write_all(&frame(PING, 0, 0, &[7; 8])).unwrap();
            let (mut answer, mut ended, mut pinged) = (Vec::new(), false, false);
            while !ended || !pinged {
                match read_frame(&mut stream) {
                    (RST_STREAM, _, 1, why) => panic!("the stream was cut off: {why:?}"),
                    (DATA, flags, 1, payload) => {
                        answer.extend(payload);
                        ended |= flags & END_STREAM != 0;
                    }
                    (PING, flags, ..) => pinged |= flags & ACK != 0,
                    _ => {}
                }
            }
            // Whatever follows the answer comes before the answer to this.
            stream.write_all(&frame(PING, 0, 0, &[8; 8])).unwrap();
            loop {
                match read_frame(&mut stream) {
                    (RST_STREAM, _, 1, why) => panic!("the stream was cut off: {why:?}"),
                    (PING, flags, _, payload) if flags & ACK != 0 && payload == [8; 8] => break,
                    _ => {}
                }
            }
            answer
        });
        let answer = String::from_utf8(refused.await.unwrap()).unwrap();
        assert!(answer.contains("\"017\""), "{answer}");
        node.shutdown().await;
    });
}
