//! The four types of notifications.

use super::*;

const COMMON: &str =
    r#""SessionID":"f98efba4-02d8-4fa0-b810-9a9d50d2c527","EvseID":"DE*XYZ*ETEST1","OperatorID":"DE*ABC""#;

fn body(kind: &str, fields: &str) -> String {
    format!("{{\"Type\":\"{kind}\",{COMMON}{fields}}}")
}

fn parse(kind: &str, fields: &str, reading: Reading) -> Result<ChargingNotification, Fault> {
    ChargingNotification::parse(body(kind, fields).as_bytes(), reading)
}

#[test]
fn each_type_has_its_own_mandatory_fields() {
    let start = r#","ChargingStart":"2020-09-23T14:17:53+02:00""#;
    let event = r#","EventOccurred":"2020-09-23T14:25:53+02:00""#;
    let good = [
        ("Start", start.to_owned()),
        ("Progress", format!("{start}{event},\"ChargingDuration\":480000")),
        ("Progress", format!("{start}{event},\"ConsumedEnergyProgress\":\"9.10\"")),
        ("End", r#","ChargingEnd":"2020-09-23T14:17:53.038Z","ConsumedEnergy":10.0"#.to_owned()),
        ("Error", r#","ErrorType":"Connector Error","ErrorAdditionalInfo":"plug""#.to_owned()),
        ("Error", r#","ErrorType":"CriticalError""#.to_owned()),
    ];
    for (kind, fields) in &good {
        let read = parse(kind, fields, Reading::Strict).unwrap();
        assert_eq!(read.kind.as_str(), *kind);
        let again = ChargingNotification::parse(read.to_json().as_bytes(), Reading::Strict).unwrap();
        assert_eq!(again, read, "{kind}");
    }
    for (kind, fields, field) in [
        ("Start", "", "chargingStart"),
        ("Progress", start, "eventOccurred"),
        ("End", start, "chargingEnd"),
        ("Error", "", "errorType"),
        ("Late", "", "type"),
    ] {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let fault = parse(kind, fields, reading).unwrap_err().to_json();
            assert!(fault.contains(&format!("\"{field}\"")), "{kind}: {fault}");
        }
    }
    let empty = format!("{start}{event}");
    assert!(parse("Progress", &empty, Reading::Strict).is_err());
    assert!(parse("Progress", &empty, Reading::Tolerant).is_ok());
}

#[test]
fn values_are_typed() {
    let fields = r#","ChargingStart":"2020-09-23T14:17:53.038Z","EventOccurred":"2020-09-23T14:25:53.038Z",
        "ChargingDuration":48000,"ConsumedEnergyProgress":9.50,"MeterValueInBetween":[9],
        "Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}"#;
    let read = parse("Progress", fields, Reading::Strict).unwrap();
    assert_eq!((read.duration_ms, read.energy.as_ref().unwrap().as_str()), (Some(48_000), "9.50"));
    assert_eq!(read.identification.unwrap().medium_key().expose(), "rfid:1234ABCD");
    let error = parse("Error", r#","ErrorType":"Connector Error""#, Reading::Strict).unwrap();
    assert_eq!(error.error, Some(ErrorClass::Connector));
    assert!(parse("Error", r#","ErrorType":"Other""#, Reading::Strict).is_err());
    let other = parse("Error", r#","ErrorType":"Other""#, Reading::Tolerant).unwrap();
    assert_eq!(other.error.unwrap().as_str(), "Other");
}

#[test]
fn an_unreadable_medium_matters_in_strict_reading_only() {
    let fields = r#","ErrorType":"CriticalError","Identification":{"RemoteIdentification":null}"#;
    assert!(parse("Error", fields, Reading::Strict).is_err());
    assert_eq!(parse("Error", fields, Reading::Tolerant).unwrap().identification, None);
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let _ = ChargingNotification::parse(bytes, reading);
        }
    });
}
