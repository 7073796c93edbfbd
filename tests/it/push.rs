//! `chargemesh push` against a running node: accepted, refused, held, confirmed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Plan, World, record, until};

/// Runs the binary; its exit code and everything it said. Blocks this thread, while the node runs on the
/// runtime's own.
fn chargemesh(arguments: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_chargemesh")).args(arguments).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// A register in the national envelope.
fn register(path: &Path, operators: &[(&str, usize)]) {
    let mut text = String::from(r#"{"EVSEData":["#);
    for (number, (operator, records)) in operators.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let prefix: String = operator.chars().take(6).collect();
        let records: Vec<String> = (0..*records).map(|evse| record(&format!("{prefix}*E{evse}"))).collect();
        let records = records.join(",");
        write!(
            text,
            r#"{comma}{{"OperatorID":"{operator}","OperatorName":"{operator}","EVSEDataRecord":[{records}]}}"#
        )
        .unwrap();
    }
    text.push_str("]}");
    let mut encoder = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn a_register_is_pushed_held_and_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let (full, small) = (dir.path().join("full"), dir.path().join("small"));
    // The first id is invalid and is derived; the second is none of the node's, and more than a socket holds.
    register(&full, &[("CH*ABCDEFG", 40), ("CH*XYZ", 9_000)]);
    register(&small, &[("CH*ABC", 1)]);
    let (full, small) = (full.to_str().unwrap(), small.to_str().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = World::new().start(&Plan::new("cpo", Some("CPO:CHABC"), dir.path())).await;
        let url = format!("http://{}", node.facade_address().unwrap());

        let (code, said) = chargemesh(&["push", full, "--node", &url]);
        assert_eq!(code, 1, "{said}");
        for part in [
            "OperatorID CH*ABCDEFG is invalid: its EvseIDs say CH*ABC",
            "CH*XYZ: 9,000 records refused: 017 ",
            "accepted 40 records of 1 operator; held 0; refused 9,000 records of 1 operator",
        ] {
            assert!(said.contains(part), "{part:?} is missing in\n{said}");
        }
        until(&node, "forty records", |view| view.view_evses == 40).await;

        let (code, said) = chargemesh(&["push", full, "--operator", "CH*ABC", "--node", &url]);
        assert_eq!(code, 0, "{said}");

        let (code, said) = chargemesh(&["push", small, "--node", &url]);
        assert_eq!(code, 1, "{said}");
        let (_, command) = said.split_once("to do it: chargemesh ").unwrap_or_else(|| panic!("{said}"));
        let command: Vec<&str> = command.lines().next().unwrap().split_whitespace().collect();
        let (code, said) = chargemesh(&command);
        assert_eq!(code, 0, "{said}");
        until(&node, "one record", |view| view.view_evses == 1).await;

        let (code, said) = chargemesh(&command);
        assert_eq!(code, 1, "a second confirmation finds nothing: {said}");
        let (code, said) = chargemesh(&["push", full, "--operator", "CH*ABC", "--node", &url]);
        assert_eq!(code, 0, "{said}");
        let (code, said) = chargemesh(&["push", small, "--yes", "--node", &url]);
        assert_eq!(code, 0, "{said}");
        until(&node, "one record again", |view| view.view_evses == 1).await;
        node.shutdown().await;

        let (code, said) = chargemesh(&["push", small, "--node", "http://127.0.0.1:1"]);
        assert_eq!(code, 2, "{said}");
    });
}
