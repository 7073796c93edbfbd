//! Tests of the push readers.

use super::*;

const STATUS: &str = r#"{"ActionType":"update","OperatorEvseStatus":{"OperatorID":"DE*ABC","OperatorName":"ABC",
    "EvseStatusRecord":[{"EvseID":"DE*ABC*E1", "EvseStatus":"Available","x":1.0}]}}"#;

#[test]
fn status_is_read_and_kept() {
    let push = read_evse_status(STATUS.as_bytes(), Reading::Strict).unwrap();
    assert_eq!(push.action, ActionType::Update);
    assert_eq!(push.operator_id.canonical(), "DEABC");
    assert_eq!(&*push.records[0].raw, r#"{"EvseID":"DE*ABC*E1", "EvseStatus":"Available","x":1.0}"#);
    assert_eq!(push.records[0].status, EvseStatus::Available);
    assert_eq!(push.findings.len(), 1);
}

#[test]
fn strict_refuses_with_the_hubs_paths_and_tolerant_reads() {
    let body = STATUS.replace("EvseStatusRecord", "EVSEStatusRecord").replace("Available", "Blocked");
    let fault = read_evse_status(body.as_bytes(), Reading::Strict).unwrap_err();
    let references: Vec<_> =
        fault.validation_errors.iter().filter_map(|error| error.field_reference.as_deref()).collect();
    assert!(references.contains(&"operatorEvseStatus.evseStatusRecord[0].evseStatus"), "{references:?}");
    let push = read_evse_status(body.as_bytes(), Reading::Tolerant).unwrap();
    assert_eq!(push.records[0].status.as_str(), "Blocked");
}

#[test]
fn hopeless_bodies_are_faults_in_both_readings() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"ActionType":"merge"}"#,
        r#"{"ActionType":"insert","OperatorEvseStatus":{"OperatorID":"nope","EvseStatusRecord":[]}}"#,
        r#"{"ActionType":"insert","OperatorEvseStatus":{"OperatorID":"DE*ABC","EvseStatusRecord":[{"EvseID":"x"}]}}"#,
        r#"{"ActionType":"insert","OperatorEvseStatus":{"OperatorID":"DE*ABC","EvseStatusRecord":"[]"}}"#,
    ] {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let fault = read_evse_status(body.as_bytes(), reading).unwrap_err();
            assert!(!fault.validation_errors.is_empty(), "{body}");
            assert!(read_evse_data(body.as_bytes(), reading).is_err());
        }
    }
}

#[test]
fn an_empty_full_load_is_a_message() {
    let body = r#"{"ActionType":"fullLoad","OperatorEvseData":{"OperatorID":"DE*ABC","OperatorName":"A","EvseDataRecord":[]}}"#;
    assert!(read_evse_data(body.as_bytes(), Reading::Strict).unwrap().records.is_empty());
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let _ = read_evse_data(bytes, reading);
            let _ = read_evse_status(bytes, reading);
        }
    });
}
