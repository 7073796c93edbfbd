//! The specification's own examples: all are read tolerantly, the valid ones raise no error.

use std::io::Write as _;
use std::path::PathBuf;

use super::finding::Severity;
use super::json::Node;
use super::reading::Reading;
use super::*;

/// A file or folder of the shared material; if it is missing says so, also in the file that
/// `CHARGEMESH_SKIPS` names, from which CI prints its list of skipped tests.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var("CHARGEMESH_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").to_owned());
    let found = PathBuf::from(root).join(path);
    if found.exists() {
        return Some(found);
    }
    let test = std::thread::current().name().unwrap_or("a test of oicp").to_owned();
    let line = format!("SKIPPED: {test}: no shared/{path}\n");
    print!("{line}");
    if let Some(list) = std::env::var_os("CHARGEMESH_SKIPS") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

fn fixtures() -> Option<PathBuf> {
    shared("oicp/fixtures")
}

/// Reads one example by its message's reader; `None` for a message of another module.
fn read(message: &str, body: &[u8], reading: Reading) -> Option<Result<(), String>> {
    let tree = || json::parse(body, Reading::Tolerant).map_err(|error| error.to_string());
    let said = |found: bool| if found { Ok(()) } else { Err("not recognised".to_owned()) };
    Some(match message {
        "eRoamingPushEvseData" => push::read_evse_data(body, reading).map(drop).map_err(|e| e.to_json()),
        "eRoamingPushEvseStatus" => push::read_evse_status(body, reading).map(drop).map_err(|e| e.to_json()),
        "eRoamingPullEVSEData" => pull::read_evse_data(body, reading).map(drop).map_err(|e| e.to_json()),
        "eRoamingPullEVSEStatus" | "eRoamingPullEVSEStatusByID" | "eRoamingPullEVSEStatusByOperatorID" => {
            pull::read_evse_status(body, reading).map(drop).map_err(|e| e.to_json())
        }
        "eRoamingPushEVSEPricing" => {
            pricing::read_push_evse_pricing(body, reading).map(drop).map_err(|e| e.to_json())
        }
        "eRoamingPushPricingProductData" => {
            pricing::read_push_products(body, reading).map(drop).map_err(|e| e.to_json())
        }
        "eRoamingPullEVSEPricing" => {
            pricing::read_pull_evse_pricing(body, reading).map(drop).map_err(|e| e.to_json())
        }
        "eRoamingPullPricingProductData" => {
            pricing::read_pull_products(body, reading).map(drop).map_err(|e| e.to_json())
        }
        "eRoamingEVSEPricing" => tree().and_then(|node| said(pricing::read_evse_prices(&node).is_some())),
        "eRoamingAcknowledgement" => {
            tree().and_then(|node| said(acknowledgement::Acknowledgement::read(&node).is_some()))
        }
        "eRoamingEVSEData" => tree().and_then(|node| said(page::Page::read(&node).is_some())),
        "eRoamingEVSEStatus" => tree().and_then(|node| said(register::read(&node).is_ok())),
        _ => return None,
    })
}

#[test]
fn all_66_examples() {
    let Some(folder) = fixtures() else { return };
    let index = std::fs::read_to_string(folder.join("INDEX.md")).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".json"))
        else {
            continue;
        };
        seen += 1;
        let body = std::fs::read(&path).unwrap();
        let node = json::parse(&body, Reading::Strict).unwrap();
        assert_eq!(json::parse_text(&node.to_json()).unwrap().to_json(), node.to_json());
        let message = name.split('.').next().unwrap();
        if let Some(tolerant) = read(message, &body, Reading::Tolerant) {
            assert!(tolerant.is_ok(), "{name}: {tolerant:?}");
        }
        let line = index.lines().find(|line| line.contains(&format!("`{name}` |"))).unwrap();
        if line.contains("| VALID |")
            && let Some(strict) = read(message, &body, Reading::Strict)
        {
            assert!(strict.is_ok(), "{name}: {strict:?}");
        }
    }
    assert_eq!(seen, 66);
}

#[test]
fn the_examples_records_are_conforming() {
    let Some(folder) = fixtures() else { return };
    let body = std::fs::read(folder.join("eRoamingPushEvseData.1.json")).unwrap();
    let push = push::read_evse_data(&body, Reading::Strict).unwrap();
    assert!(push.findings.iter().all(|finding| finding.severity == Severity::Info), "{:?}", push.findings);
    let raw = &push.records[0].raw;
    assert!(std::str::from_utf8(&body).unwrap().contains(&**raw));
    assert!(conform::is_conforming(&json::parse_text(raw).unwrap()));
    assert_eq!(conform::fix(raw).unwrap().0, **raw);
    assert_eq!(push.records[0].summary.country.as_deref(), Some("DEU"));
    let page = std::fs::read(folder.join("eRoamingEVSEData.1.json")).unwrap();
    let node: Node<'_> = json::parse(&page, Reading::Strict).unwrap();
    assert_eq!(page::Page::read(&node).unwrap().total_pages, 8);
}

/// Values that real files put where something else belongs.
const ODD_VALUES: &[&str] = &[
    "null",
    "true",
    "1",
    "1.50",
    "\"1\"",
    "\"22.0\"",
    "\"\"",
    "\"  \"",
    "\"true\"",
    "\"None None\"",
    "\"46.12345678 6.1\"",
    "\"Type 2 Outlet\"",
    "[]",
    "[null]",
    "[1]",
    "[\"1\"]",
    "[[]]",
    "[{}]",
    "{}",
    "{\"lang\":\"de\",\"value\":7}",
    "{\"power\":\"7\",\"Power\":null,\"POWER\":1}",
    "{\"begin\":\"1\",\"Begin\":\"2\"}",
    "[{\"Period\":{\"begin\":\"00:00\"},\"On\":true}]",
    "{\"Google\":\"46.1 6.1\"}",
    "{\"google\":\"46.1 6.1\"}",
    "{\"Google\":null,\"google\":\"46.1 6.1\",\"GOOGLE\":\"46.1 6.1\"}",
    "{\"Google\":\"None None\"}",
    "{\"Google\":{\"Coordinatea\":\"46.1 6.1\"}}",
    "{\"Google\":{\"Coordinates\":\"46.1234567 6.1\"},\"DecimalDegree\":{\"Latitude\":46.1,\"Longitude\":6}}",
    "{\"Google\":\"x\",\"DecimalDegree\":{\"Latitude\":46.1,\"Longitude\":6}}",
    "{\"DegreeMinuteSeconds\":{\"Latitude\":\"46°1'2.5''\",\"Longitude\":\"6° 1′ 2.5″\"}}",
];

#[test]
fn every_odd_value_in_every_field_is_repaired_for_good_or_left_to_the_owner() {
    let names: Vec<&str> = schema::DATA_RECORD.fields.iter().map(|field| field.name).collect();
    for name in names {
        let lower = name.to_ascii_lowercase();
        for (spelling, value) in
            [name, &lower].into_iter().flat_map(|s| ODD_VALUES.iter().map(move |v| (s, v)))
        {
            let raw = format!("{{\"EvseID\":\"CH*SCH*E1\",\"x{spelling}\":1.0,\"{spelling}\":{value}}}")
                .replacen(
                    "\"EvseID\":\"CH*SCH*E1\",",
                    if lower == "evseid" { "" } else { "\"EvseID\":\"CH*SCH*E1\"," },
                    1,
                );
            let before = conform::validate_record(&json::parse_text(&raw).unwrap());
            let (fixed, after) = conform::fix(&raw).unwrap();
            let worst: Vec<_> = after.iter().filter(|finding| finding.severity == Severity::Error).collect();
            assert!(worst.is_empty(), "{raw} became {fixed}: {worst:?}");
            assert_eq!(conform::fix(&fixed).unwrap().0, fixed);
            assert!(fixed.contains(&format!("\"x{spelling}\":1.0")), "{raw} became {fixed}");
            let repairable = |finding: &finding::Finding| {
                finding.severity == Severity::Error || finding.rule.as_str().ends_with("-variant")
            };
            assert!(fixed == raw || before.iter().any(repairable), "{raw} became {fixed} without a finding");
        }
    }
}
