//! Charge detail records: all fields, both shapes, what is refused.

use super::*;

/// A good record with every field.
pub(in crate::oicp::charging) const FULL: &str = r#"{"SessionID":"f98efba4-02d8-4fa0-b810-9a9d50d2c527",
    "CPOPartnerSessionID":"1234XYZ","EMPPartnerSessionID":"9876655","PartnerProductID":"AC1",
    "EvseID":"DE*XYZ*ETEST1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}},
    "ChargingStart":"2020-09-23T16:00:00+02:00","ChargingEnd":"2020-09-23T17:00:00+02:00",
    "SessionStart":"2020-09-23T15:59:00+02:00","SessionEnd":"2020-09-23T17:01:00+02:00",
    "MeterValueStart":"30.500","MeterValueEnd":40.541,"MeterValueInBetween":{"meterValues":[31,35.25]},
    "ConsumedEnergy":10.0410,"SignedMeteringValues":[{"SignedMeteringValue":" AAA ","MeteringStatus":"Start"},
      {"SignedMeteringValue":"BBB","MeteringStatus":"Progress"},{"SignedMeteringValue":"CCC","MeteringStatus":"End"}],
    "CalibrationLawVerificationInfo":{"CalibrationLawCertificateID":"CD-12","PublicKey":"a9","MeteringSignatureUrl":"http://x",
      "MeteringSignatureEncodingFormat":"UTF-8","SignedMeteringValuesVerificationInstruction":"see","MeteringCheck":"Passed"},
    "HubOperatorID":"DE*ABC","HubProviderID":"DE-DCB","Unknown":{"n":1.50}}"#;

fn strict(body: &str) -> Result<ChargeDetailRecord, Fault> {
    ChargeDetailRecord::parse(body.as_bytes(), Reading::Strict)
}

#[test]
fn all_fields_are_read_and_written() {
    let cdr = strict(FULL).unwrap();
    assert_eq!(cdr.meter_start.as_ref().unwrap().as_str(), "30.500");
    assert_eq!(cdr.consumed_energy.as_ref().unwrap().as_str(), "10.0410");
    assert_eq!(cdr.meter_in_between.len(), 2);
    assert_eq!(cdr.signed_values[0].value.as_deref(), Some(" AAA "));
    assert_eq!(cdr.calibration.as_ref().unwrap().metering_check.as_deref(), Some("Passed"));
    assert_eq!(cdr.charging_start.as_str(), "2020-09-23T16:00:00+02:00");
    assert_eq!(cdr.session_end.unix_ms(), 1_600_873_260_000);
    assert!(!format!("{cdr:?}").contains("1234ABCD"));
    let again = strict(&cdr.to_json()).unwrap();
    assert_eq!(again, ChargeDetailRecord { findings: again.findings.clone(), ..cdr });
}

#[test]
fn meter_values_as_plain_list() {
    let list = FULL.replace(r#"{"meterValues":[31,35.25]}"#, r#"[31,"35.25"]"#);
    assert_eq!(strict(&list).unwrap().meter_in_between, strict(FULL).unwrap().meter_in_between);
}

#[test]
fn what_a_record_needs() {
    for name in [
        "SessionID",
        "EvseID",
        "Identification",
        "ChargingStart",
        "ChargingEnd",
        "SessionStart",
        "SessionEnd",
    ] {
        let body = FULL.replacen(&format!("\"{name}\""), "\"Other\"", 1);
        for reading in [Reading::Strict, Reading::Tolerant] {
            assert!(ChargeDetailRecord::parse(body.as_bytes(), reading).is_err(), "{name}");
        }
    }
    let without = FULL.replace("\"ConsumedEnergy\"", "\"Other\"");
    assert!(strict(&without).is_err());
    let tolerant = ChargeDetailRecord::parse(without.as_bytes(), Reading::Tolerant).unwrap();
    assert_eq!(tolerant.consumed_energy, None);
    for (from, to) in [
        ("2020-09-23T16:00:00+02:00", "2020-09-23T16:00:00"),
        ("10.0410", "\"ten\""),
        ("10.0410", "1e999"),
        ("\"Progress\"", "\"Middle\""),
    ] {
        assert!(strict(&FULL.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn signed_values_are_bounded() {
    let many = [r#"{"SignedMeteringValue":"A","MeteringStatus":"Progress"}"#; SIGNED_VALUES_MAX + 1];
    let body =
        FULL.replace("\"SignedMeteringValues\":[", &format!("\"SignedMeteringValues\":[{},", many.join(",")));
    assert!(ChargeDetailRecord::parse(body.as_bytes(), Reading::Tolerant).is_err());
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let _ = ChargeDetailRecord::parse(bytes, reading);
        }
    });
}
