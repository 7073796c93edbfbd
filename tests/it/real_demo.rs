//! The main job on the register of a whole country: `chargemesh demo` as a user calls it.

use std::path::Path;
use std::process::Command;

use chargemesh::oicp::json::{self, Node};

use crate::support::skips::shared;

const DATA: &str = "data/switzerland/EVSEData.2026-04-03.json.gz";
const STATUS: &str = "data/switzerland/EVSEStatuses.2026-04-03.json.gz";

/// Runs the demo to its end and gives its last line.
fn demo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chargemesh"))
        .arg("demo")
        .args(arguments)
        .args(["--check", "--json"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail: Vec<&str> = told.lines().rev().take(20).collect();
    assert!(output.status.success(), "{:?}: {tail:#?}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{}", text.trim());
    text.lines().last().unwrap().to_owned()
}

fn figure(result: &Node<'_>, name: &str) -> String {
    let node = result.member(name).unwrap_or_else(|| panic!("{name} is missing"));
    node.raw().to_owned()
}

fn assert_figures(line: &str, wanted: &[(&str, &str)]) {
    let result = json::parse_text(line).unwrap();
    for (name, value) in wanted {
        assert_eq!(figure(&result, name), *value, "{name} in {line}");
    }
}

fn number(line: &str, name: &str) -> f64 {
    figure(&json::parse_text(line).unwrap(), name).parse().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_emp_ends_with_the_whole_register() {
    let test = "every_emp_ends_with_the_whole_register";
    let (Some(data), Some(status)) = (shared(test, DATA), shared(test, STATUS)) else { return };
    let line = demo(&["--data", text(&data), "--status", text(&status)]);
    assert_figures(
        &line,
        &[
            ("nodes", "43"),
            ("operators", "39"),
            ("records_pushed", "18427"),
            ("records_accepted", "18427"),
            ("records_refused", "0"),
            ("conflicts", "2"),
            ("view", "18425"),
            ("converged", "true"),
        ],
    );
    assert!(number(&line, "rss_mb") < 1_500.0, "{line}");
}

#[test]
fn a_day_of_real_changes_ends_as_it_ended() {
    let test = "a_day_of_real_changes_ends_as_it_ended";
    let trace = shared(test, "data/switzerland/status-trace-2025-11-11");
    let (Some(data), Some(trace)) = (shared(test, DATA), trace) else { return };
    let line = demo(&["--data", text(&data), "--trace", text(&trace), "--speed", "1200"]);
    let wanted = [
        ("converged", "true"),
        ("trace_changes", "32666"),
        ("trace_end_equal", "true"),
        ("statuses", "17248"),
    ];
    assert_figures(&line, &wanted);
}

#[test]
fn a_burst_as_recorded_ends_as_it_ended() {
    let test = "a_burst_as_recorded_ends_as_it_ended";
    let trace = shared(test, "data/switzerland/status-trace-burst-2025-11-13");
    let (Some(data), Some(trace)) = (shared(test, DATA), trace) else { return };
    let line = demo(&["--data", text(&data), "--trace", text(&trace), "--speed", "600", "--as-recorded"]);
    let wanted = [
        ("converged", "true"),
        ("trace_changes", "7653"),
        ("trace_end_equal", "true"),
        ("statuses", "17262"),
    ];
    assert_figures(&line, &wanted);
}
