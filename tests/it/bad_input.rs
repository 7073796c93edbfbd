//! Bad input of backends, for every operation: HTTP status and code, as `README.md` prints them. Nothing of it changes
//! anything. What the answers of our backends can be is in `charging/bad_answers.rs`.

mod operations;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use chargemesh::node::Node;
use chargemesh::oicp::reading::Reading;
use serde_json::{Value, json};

use crate::support::skips::skip;
use crate::support::table::Observed;
use crate::support::{PATIENCE, Plan, World, content, post, push_data, push_status, runtime, view};
use operations::{Operation, all};

const JSON: &str = "application/json";

/// A body may be silent for so long, in milliseconds.
const SILENCE_MS: u64 = 300;

async fn node(dir: &std::path::Path) -> Node {
    let mut plan = Plan::new("both", Some("CPO:CHABC"), dir).also("EMP:DEEMP");
    let facade = plan.settings.facade.as_mut().unwrap();
    facade.backends[0].reading = Reading::Strict;
    facade.body_idle_timeout_ms = SILENCE_MS;
    facade.pull_authentication_data = true;
    let node = World::new().start(&plan).await;
    let all = push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2", "CH*ABC*E3"]);
    let path = "/api/oicp/evsepush/v23/operators/CH*ABC/data-records";
    assert_eq!(post(&node, path, JSON, all).await.json()["Result"], true);
    let statuses = push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Occupied")]);
    let path = "/api/oicp/evsepush/v21/operators/CH*ABC/status-records";
    assert_eq!(post(&node, path, JSON, statuses).await.json()["Result"], true);
    node
}

/// Status and code of an answer: `401 017`, or the status alone where there is no code.
fn cell(http: u16, body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    match body["StatusCode"]["Code"].as_str() {
        Some(code) => format!("{http} {code}"),
        // The hub's FaultBody has no code.
        None => {
            assert!(body["validationErrors"][0]["errorMessage"].is_string(), "{body}");
            http.to_string()
        }
    }
}

async fn said(node: &Node, path: &str, kind: &str, body: impl Into<bytes::Bytes>) -> String {
    let said = post(node, path, kind, body).await;
    assert_eq!(said.process_id.len(), 36, "{path}");
    cell(said.http, &said.body)
}

/// Sends these bytes and no more; what comes back until the node hangs up. `close`: we hang up ourselves.
fn raw(address: SocketAddr, bytes: &[u8], close: bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    if close {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // A node that does not read the rest of a body may say so on the way.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).unwrap()
}

fn raw_cell(answer: &str) -> String {
    if answer.is_empty() {
        return "none".to_owned();
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    cell(head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

fn without(body: &Value, pointer: &str) -> Value {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let removed = body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    assert!(removed.is_some(), "{pointer} is not in {body}");
    body
}

/// One row: every way in which a request can be bad.
async fn row(node: &Node, operation: &Operation, table: &mut Observed) {
    let name = operation.name;
    let path = format!("/api/oicp/{}", operation.path);
    let good = operation.body.to_string();
    let mut note = |column: &str, cell: String| table.note(name, column, &cell);
    note("malformed", said(node, &path, JSON, good.replacen(':', "", 1)).await);
    note("malformed", said(node, &path, JSON, "").await);
    note("malformed", said(node, &path, JSON, "[]").await);
    note("malformed", said(node, &path, JSON, good[..good.len() - 1].to_owned()).await);
    note("malformed", said(node, &path, JSON, b"{\"\xff\":1}".to_vec()).await);
    for field in operation.mandatory {
        let said = said(node, &path, JSON, without(&operation.body, field).to_string()).await;
        assert_eq!(said, "400", "{name} without {field}");
        note("field missing", said);
    }
    if path.contains("CH*ABC") || path.contains("DE-EMP") {
        let foreign = path.replace("CH*ABC", "CH*XYZ").replace("DE-EMP", "DE-XYZ");
        note("another's id in the path", said(node, &foreign, JSON, good.clone()).await);
        note(
            "no id in the path",
            said(node, &path.replace("CH*ABC", "x").replace("DE-EMP", "%FF"), JSON, good.clone()).await,
        );
    } else {
        note("another's id in the path", "–".to_owned());
        note("no id in the path", "–".to_owned());
    }
    note(
        "another's id in the body",
        match operation.id {
            Some(pointer) => {
                let mut body = operation.body.clone();
                let other = if body.pointer(pointer) == Some(&json!("CH*ABC")) { "CH*XYZ" } else { "DE-XYZ" };
                *body.pointer_mut(pointer).unwrap() = json!(other);
                said(node, &path, JSON, body.to_string()).await
            }
            None => "–".to_owned(),
        },
    );
    note("wrong key", said(node, &format!("/k/0123456789abcdef0123{path}"), JSON, good.clone()).await);
    let version = path.split('/').find(|part| part.starts_with('v') && part.len() == 3).unwrap();
    note("unknown version", said(node, &path.replace(version, "v99"), JSON, good.clone()).await);
    note("other content type", said(node, &path, "text/xml", good.clone()).await);
    at_the_socket(node, &path, &good, &mut note);
}

/// What only a socket shows.
fn at_the_socket(node: &Node, path: &str, good: &str, note: &mut impl FnMut(&str, String)) {
    let address = node.facade_address().unwrap();
    let head = |method: &str, length: usize| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let sends = |text: String, close: bool| raw_cell(&raw(address, text.as_bytes(), close));
    note("too large", sends(head("POST", 64 * 1024 * 1024 + 1), false));
    let half = format!("{}{}", head("POST", good.len()), &good[..good.len() / 2]);
    note("slow body", sends(half.clone(), false));
    note("connection closed", sends(half, true));
    note("GET", sends(format!("{}{good}", head("GET", good.len())), false));
}

#[test]
fn every_bad_request_gets_the_answer_that_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = Observed::default();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        for operation in all() {
            let before = content(&view(&node).await);
            let path = format!("/api/oicp/{}", operation.path);
            if said(&node, &path, JSON, "{").await == "404 001" {
                let test = "every_bad_request_gets_the_answer_that_the_table_says";
                skip(test, &format!("{} is not served", operation.name));
                continue;
            }
            row(&node, &operation, &mut table).await;
            assert_eq!(content(&view(&node).await), before, "{} changed something", operation.name);
            // The message that all of these were made of is well.
            let good = said(&node, &path, JSON, operation.body.to_string()).await;
            assert!(
                ["200 ", "404 4", "403 210"].iter().any(|fine| good.starts_with(fine)) || good == "200",
                "{}: {good}",
                operation.name
            );
        }
        node.shutdown().await;
    });
    table.is_printed("bad requests", "operation");
}
