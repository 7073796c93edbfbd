//! The register of a whole country, through the command line: what `lint` finds, and what `--fix` leaves.

use std::path::Path;
use std::process::Command;

use chargemesh::oicp::json::{self, Node};

use crate::support::skips::{shared, unpacked};

const REGISTER: &str = "data/switzerland/EVSEData.2026-04-03.json.gz";
const STATUSES: &str = "data/switzerland/EVSEStatuses.2026-04-03.json.gz";

/// What `chargemesh lint --json` says: exit code and report.
fn lint(file: &Path, more: &[&str]) -> (i32, String) {
    let binary = env!("CARGO_BIN_EXE_chargemesh");
    let done = Command::new(binary).arg("lint").arg("--json").arg(file).args(more).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap_or_else(|| panic!("{said}")), String::from_utf8(done.stdout).unwrap())
}

fn number(report: &Node<'_>, name: &str) -> usize {
    report.field(name).and_then(Node::number_text).unwrap().parse().unwrap()
}

fn text<'n>(entry: &'n Node<'_>, name: &str) -> &'n str {
    entry.field(name).and_then(Node::as_str).unwrap()
}

/// Count and unit of a rule and field.
fn found<'n>(report: &'n Node<'_>, rule: &str, field: &str) -> (usize, &'n str) {
    let entries = report.field("entries").unwrap().items();
    let entry = entries.iter().find(|entry| text(entry, "rule") == rule && text(entry, "field") == field);
    entry.map_or((0, ""), |entry| (number(entry, "count"), text(entry, "unit")))
}

#[test]
fn lint_finds_what_is_known_of_the_swiss_register() {
    let Some(file) = shared("lint_finds_what_is_known_of_the_swiss_register", REGISTER) else { return };
    let (code, report) = lint(&file, &[]);
    assert_eq!(code, 1);
    let report = json::parse_text(&report).unwrap();
    let totals = ["operators", "records", "distinct_evse_ids"].map(|name| number(&report, name));
    assert_eq!(totals, [39, 18_427, 18_425]);
    for (rule, field, count, unit) in [
        ("number-as-text", "Power", 2_453, "facilities"),
        ("number-as-text", "Amperage", 2_412, "facilities"),
        ("mandatory-missing", "PaymentOptions", 9_152, "records"),
        ("mandatory-missing", "HouseNum", 9_680, "records"),
        ("mandatory-empty", "AuthenticationModes", 7_217, "records"),
        ("placeholder", "GeoChargingPointEntrance", 17_542, "records"),
        ("single-for-list-variant", "Period", 80, "opening times"),
        ("coordinate-decimals", "GeoCoordinates", 1_478, "records"),
        ("evse-id-lower-case", "EvseID", 662, "records"),
        ("evse-id-din", "EvseID", 41, "records"),
        ("evse-id-without-separator", "EvseID", 190, "records"),
        ("foreign-operator-part", "EvseID", 2_841, "records"),
        ("evse-id-claimed-twice", "EvseID", 2, "EvseIDs"),
        ("operator-id-invalid", "OperatorID", 8, "operators"),
    ] {
        assert_eq!(found(&report, rule, field), (count, unit), "{rule} {field}");
    }
}

/// After `--fix`, nothing is left that a program could repair, and no record is lost.
fn is_repaired(test: &str, path: &str) {
    let Some(file) = shared(test, path) else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["fixed.json", "fixed.json.gz"] {
        let out = dir.path().join(name);
        let (code, _) = lint(&file, &["--fix", out.to_str().unwrap()]);
        assert_eq!(code, 1, "two EvseIDs are claimed twice, which no program settles");
        let (_, again) = lint(&out, &[]);
        let again = json::parse_text(&again).unwrap();
        assert_eq!((number(&again, "operators"), number(&again, "records")), (39, 18_427));
        assert_eq!(found(&again, "operator-id-invalid", "OperatorID"), (0, ""));
        assert_eq!(found(&again, "foreign-operator-part", "EvseID"), (2_618, "records"));
        for entry in again.field("entries").unwrap().items() {
            let severity = text(entry, "severity");
            assert!(matches!(severity, "owner-must-supply" | "info"), "{}", entry.to_json());
        }
    }
    let plain = std::fs::read(dir.path().join("fixed.json")).unwrap();
    assert_eq!(plain, unpacked(&dir.path().join("fixed.json.gz")));
}

#[test]
fn the_repaired_register_only_lacks_what_its_owners_have() {
    is_repaired("the_repaired_register_only_lacks_what_its_owners_have", REGISTER);
}

#[test]
fn the_repaired_statuses_only_lack_what_their_owners_have() {
    is_repaired("the_repaired_statuses_only_lack_what_their_owners_have", STATUSES);
}
