//! Tests of lint and repair, among them every count of the Swiss register.

use std::io::Read;

use super::*;
use crate::oicp::tests::shared;

fn unpacked(path: &str) -> Option<Vec<u8>> {
    let file = std::fs::File::open(shared(path)?).unwrap();
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut body).unwrap();
    Some(body)
}

#[test]
fn every_count_of_the_swiss_register() {
    let Some(body) = unpacked("data/switzerland/EVSEData.2026-04-03.json.gz") else { return };
    let report = lint(&body).unwrap();
    assert_eq!((report.operators, report.records, report.distinct_evse_ids), (39, 18_427, 18_425));
    let expected = [
        (Rule::NumberAsText, "Power", 2_453, "facilities"),
        (Rule::MandatoryMissing, "Power", 210, "facilities"),
        (Rule::NumberAsText, "Amperage", 2_412, "facilities"),
        (Rule::NumberAsText, "Voltage", 2_412, "facilities"),
        (Rule::SingleForList, "ChargingStationNames", 40, "records"),
        (Rule::MandatoryMissing, "ChargingStationNames", 488, "records"),
        (Rule::SingleForListVariant, "Period", 80, "opening times"),
        (Rule::Placeholder, "GeoChargingPointEntrance", 17_542, "records"),
        (Rule::CoordinatesAsText, "GeoCoordinates", 18_427, "records"),
        (Rule::DateTimeWithoutZone, "lastUpdate", 279, "records"),
        (Rule::MandatoryMissing, "PaymentOptions", 9_152, "records"),
        (Rule::MandatoryMissing, "ValueAddedServices", 6_699, "records"),
        (Rule::MandatoryEmpty, "AuthenticationModes", 7_217, "records"),
        (Rule::MandatoryMissing, "HouseNum", 9_680, "records"),
        (Rule::MandatoryEmpty, "HouseNum", 6_874, "records"),
        (Rule::MandatoryMissing, "PostalCode", 41, "records"),
        (Rule::OpeningTimesMissing, "OpeningTimes", 1_139, "records"),
        (Rule::CoordinateDecimals, "GeoCoordinates", 1_478, "records"),
        (Rule::NumberWidth, "Amperage", 716, "facilities"),
        (Rule::PowerZero, "Power", 763, "facilities"),
        (Rule::EvseIdLowerCase, "EvseID", 662, "records"),
        (Rule::EvseIdDin, "EvseID", 41, "records"),
        (Rule::EvseIdWithoutSeparator, "EvseID", 190, "records"),
        (Rule::OperatorIdInvalid, "OperatorID", 8, "operators"),
        (Rule::ForeignOperatorPart, "EvseID", 2_841, "records"),
        (Rule::EvseIdClaimedTwice, "EvseID", 2, "EvseIDs"),
        (Rule::FieldName, "EvseDataRecord", 39, "operators"),
        (Rule::UnknownField, "LocationImage", 18_427, "records"),
    ];
    let problems: Vec<String> = expected
        .iter()
        .filter(|(rule, field, count, unit)| {
            report.count(*rule, field) != *count || unit_of(*rule, field) != *unit
        })
        .map(|(rule, field, count, _)| {
            format!("{rule} {field}: {count}, found {}", report.count(*rule, field))
        })
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    let form = |field, form| {
        report
            .forms
            .iter()
            .find(|entry| entry.field == field && entry.form == form)
            .map_or(0, |entry| entry.count)
    };
    let power = ["integer", "text", "fraction", "absent"].map(|name| form("Power", name));
    assert_eq!(power, [16_254, 2_453, 145, 210]);
    let instants = ["with zone", "fraction without zone", "whole seconds without zone"];
    assert_eq!(instants.map(|name| form("lastUpdate", name)), [200, 238, 41]);
    assert!(report.to_json().contains("\"rule\": \"placeholder\""));
}

#[test]
fn the_repaired_register_only_lacks_what_the_owner_has() {
    let Some(body) = unpacked("data/switzerland/EVSEData.2026-04-03.json.gz") else { return };
    let fixed = fix(&body).unwrap();
    assert_eq!(fixed.derived.len(), 8, "{:?}", fixed.refused);
    let left: Vec<String> = fixed
        .report
        .entries
        .iter()
        .filter(|entry| entry.severity == Severity::Error)
        .map(|entry| format!("{} {} {} {:?}", entry.rule, entry.field, entry.count, entry.examples))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(fixed.report.count(Rule::ForeignOperatorPart, "EvseID"), 2_618);
    assert_eq!((fixed.report.records, fixed.report.distinct_evse_ids), (18_427, 18_425));
    let power = fixed.report.forms.iter().filter(|entry| entry.field == "Power" && entry.form == "text");
    assert_eq!(power.count(), 0);
}

#[test]
fn the_status_file_is_read_and_repaired() {
    let Some(body) = unpacked("data/switzerland/EVSEStatuses.2026-04-03.json.gz") else { return };
    let report = lint(&body).unwrap();
    assert_eq!(
        (report.kind, report.records, report.distinct_evse_ids),
        (RegisterKind::EvseStatus, 18_427, 18_425)
    );
    assert_eq!(report.count(Rule::FieldName, "EvseStatus"), 18_427);
    let fixed = fix(&body).unwrap();
    assert!(fixed.report.entries.iter().all(|entry| entry.severity < Severity::Error));
}

#[test]
fn derivation_refuses_to_guess() {
    let file = |blocks: &[(&str, &[&str])]| {
        let blocks: Vec<String> = blocks
            .iter()
            .map(|(operator, ids)| {
                let records: Vec<String> = ids.iter().map(|id| format!("{{\"EvseID\":\"{id}\"}}")).collect();
                format!("{{\"OperatorID\":\"{operator}\",\"EVSEDataRecord\":[{}]}}", records.join(","))
            })
            .collect();
        format!("{{\"EVSEData\":[{}]}}", blocks.join(","))
    };
    let derive = |text: &str| {
        let root = json::parse_text(text).unwrap();
        let register = register::read(&root).unwrap();
        derive_operator_id(&register.blocks[0], &register.blocks).map(|id| id.as_str().to_owned())
    };
    assert_eq!(derive(&file(&[("CH*FASTNED", &["CH*FAS*E1", "CHFASE2"])])).as_deref(), Ok("CH*FAS"));
    assert_eq!(derive(&file(&[("?", &["+41*031*1"])])).as_deref(), Ok("+41*031"));
    assert!(matches!(derive(&file(&[("?", &[])])), Err(DeriveError::NoEvseId(_))));
    assert!(matches!(
        derive(&file(&[("?", &["CH*A11*E1", "CH*B22*E1"])])),
        Err(DeriveError::SeveralPrefixes(..))
    ));
    let collides = file(&[("?", &["CH*A11*E1"]), ("CH*A11", &[])]);
    assert!(matches!(derive(&collides), Err(DeriveError::Collision(..))));
    let used = file(&[("?", &["CH*A11*E1"]), ("CH*B22", &["CH*A11*E2"])]);
    assert!(matches!(derive(&used), Err(DeriveError::Collision(..))));
}
