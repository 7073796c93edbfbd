//! Each rule of plausibility fires on its own fault and on nothing else.

use super::super::cdr::tests::FULL;
use super::*;
use crate::oicp::reading::Reading;
use crate::oicp::time::parse_ms;

fn rules(body: &str) -> Vec<&'static str> {
    let cdr = ChargeDetailRecord::parse(body.as_bytes(), Reading::Tolerant).unwrap();
    let now_ms = parse_ms("2020-09-23T15:01:05Z").unwrap();
    cdr_findings(&cdr, now_ms).iter().map(|finding| finding.rule.as_str()).collect()
}

#[test]
fn a_good_record_has_none() {
    assert_eq!(rules(FULL), [""; 0]);
    // Nesting of charging in session times is not checked (RULES section 7).
    let outside = FULL.replace("15:59:00", "14:59:00").replace("17:01:00", "15:00:00");
    assert_eq!(rules(&outside), [""; 0]);
}

#[test]
fn each_fault_is_named() {
    let table = [
        ("10.0410", "1000.001", "energy-too-large energy-not-difference"),
        ("10.0410", "-1", "energy-negative energy-not-difference"),
        ("10.0410", "10.042", "energy-not-difference"),
        ("40.541", "30.4", "meter-backwards energy-not-difference readings-unordered"),
        ("17:00:00", "15:59:59", "charging-ends-before-start"),
        ("17:00:00", "16:00:00", "energy-in-no-time"),
        ("17:00:00", "18:00:00", "charging-in-future"),
        ("17:01:00", "17:03:00", "session-in-future"),
        ("17:01:00", "15:58:00", "session-ends-before-start"),
        ("[31,35.25]", "[35.25,31]", "readings-unordered"),
        ("[31,35.25]", "[31,41]", "readings-unordered"),
        ("\"30.500\"", "30.4999", "energy-not-difference too-many-decimals"),
        ("\"Progress\"", "\"End\"", "signed-values-unordered"),
        ("\"MeteringStatus\":\"End\"", "\"MeteringStatus\":null", "signed-value-incomplete"),
        ("\"ConsumedEnergy\"", "\"Other\"", "checked-without-energy"),
    ];
    for (from, to, expected) in table {
        let body = FULL.replacen(from, to, 1);
        assert_ne!(body, FULL, "{from}");
        assert_eq!(rules(&body).join(" "), expected, "{from} became {to}");
    }
    let unchecked = FULL.replace("\"ConsumedEnergy\"", "\"Other\"").replace("Passed", "Failed");
    assert_eq!(rules(&unchecked), ["energy-missing"]);
}

#[test]
fn only_what_the_hub_refuses_is_refused() {
    let refused: Vec<_> = CdrRule::ALL.iter().filter(|rule| rule.refusal().is_some()).collect();
    assert_eq!(refused.len(), 9);
    assert_eq!(CdrRule::ForeignEvse.refusal(), Some(Code::InconsistentEvseId));
    assert_eq!(CdrRule::MeterBackwards.refusal(), Some(Code::DataError));
    assert_eq!(CdrRule::EnergyNotDifference.refusal(), None);
    let mut names: Vec<_> = CdrRule::ALL.iter().map(|rule| rule.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CdrRule::ALL.len());
}

#[test]
fn rules_that_need_more_than_the_record() {
    let read = |body: &str| ChargeDetailRecord::parse(body.as_bytes(), Reading::Strict).unwrap();
    let signed = read(FULL);
    let unsigned = read(&FULL.replace("\"SignedMeteringValues\"", "\"Other\""));
    assert_eq!(calibration_findings(&signed, Some("External")), []);
    for availability in [None, Some("Local"), Some("Not Available")] {
        assert_eq!(calibration_findings(&unsigned, availability), []);
    }
    let missing = calibration_findings(&unsigned, Some("External"));
    assert_eq!(missing[0].refusal(), Some(Code::DataError));
    assert_eq!(foreign_evse(&signed, |operator| operator == "DEXYZ"), None);
    let foreign = foreign_evse(&signed, |operator| operator == "DEABC").unwrap();
    assert_eq!(foreign.refusal(), Some(Code::InconsistentEvseId));
}
