//! A statement is the same for both sides, adds exactly, and harms nobody who opens it.

use super::*;
use crate::oicp::reading::Reading;

const CDR: &str = r#"{"SessionID":"$S","CPOPartnerSessionID":"$R","EMPPartnerSessionID":null,"PartnerProductID":"$P",
"EvseID":"DE*XYZ*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}},
"ChargingStart":"2026-11-03T09:00:00Z","ChargingEnd":"2026-11-03T09:40:00Z","SessionStart":"2026-11-03T08:59:00Z",
"SessionEnd":"$E","MeterValueStart":10.10,"MeterValueEnd":20.20,"ConsumedEnergy":$K}"#;

fn line(number: u32, energy: &str, product: &str, standing: Standing) -> StatementLine {
    made(number, energy, product, "2026-11-03T09:41:00+01:00", "ref-1", standing)
}

fn made(
    number: u32,
    energy: &str,
    product: &str,
    end: &str,
    reference: &str,
    standing: Standing,
) -> StatementLine {
    let session = format!("{number:08x}-0000-4000-8000-000000000000");
    let body = CDR.replace("$S", &session).replace("$K", energy).replace("$P", product);
    let body = body.replace("$E", end).replace("$R", reference);
    let cdr = ChargeDetailRecord::parse(body.as_bytes(), Reading::Tolerant).unwrap();
    let hash = Sha256::digest(body.as_bytes()).into();
    StatementLine::of(&cdr, hash, standing, None)
}

fn cpo() -> PartyId {
    PartyId::parse("CPO:DEXYZ").unwrap()
}

fn emp() -> PartyId {
    PartyId::parse("EMP:DEABC").unwrap()
}

fn november() -> Month {
    Month::new(2026, 11).unwrap()
}

fn many() -> Vec<StatementLine> {
    let mut lines = vec![
        line(3, "0.1", "AC1", Standing::Delivered),
        line(1, "0.20", "AC1", Standing::Delivered),
        line(2, "12.345", "DC", Standing::Rejected),
    ];
    lines.push(made(4, "7", "", "2026-11-30T23:59:59Z", "ref-4", Standing::Delivered));
    lines
}

#[test]
fn both_sides_make_the_same_to_the_byte() {
    let one = Statement::new(cpo(), emp(), november(), many()).unwrap();
    let mut other = many();
    other.reverse();
    let other = Statement::new(emp(), cpo(), november(), other).unwrap();
    assert_eq!(one.to_csv(), other.to_csv());
    assert_eq!(one.to_json(), other.to_json());
    assert_eq!(one.to_html(), other.to_html());
    assert_eq!(one.digest(), other.digest());
    let mut changed = many();
    changed[0].standing = Standing::Rejected;
    assert_ne!(Statement::new(cpo(), emp(), november(), changed).unwrap().digest(), one.digest());
    let elsewhere = PartyId::parse("EMP:DEABD").unwrap();
    assert_ne!(Statement::new(cpo(), elsewhere, november(), many()).unwrap().digest(), one.digest());
}

#[test]
fn sums_are_exact_and_what_was_rejected_does_not_count() {
    let statement = Statement::new(cpo(), emp(), november(), many()).unwrap();
    assert_eq!((statement.total().records, statement.total().energy_text().as_str()), (3, "7.3"));
    assert_eq!((statement.rejected().records, statement.rejected().energy_text().as_str()), (1, "12.345"));
    let products = statement.by_product();
    assert_eq!(products.keys().copied().collect::<Vec<_>>(), ["", "AC1"]);
    assert_eq!(products["AC1"].energy_text(), "0.3");
    let days = statement.by_day();
    assert_eq!((days.len(), days[2].records, days[29].energy_text().as_str()), (30, 2, "7"));
    let sessions: Vec<&str> = statement.lines().iter().map(|line| &line.session[..8]).collect();
    assert_eq!(sessions, ["00000001", "00000002", "00000003", "00000004"]);
}

#[test]
fn what_makes_no_statement_is_told() {
    let refused = |lines| Statement::new(cpo(), emp(), november(), lines).unwrap_err();
    let twice = vec![line(1, "1", "AC1", Standing::Delivered), line(1, "2", "AC1", Standing::Delivered)];
    assert!(matches!(refused(twice), StatementError::Doubled(_)));
    let late = made(1, "1", "AC1", "2026-12-01T00:00:00Z", "r", Standing::Delivered);
    assert!(matches!(refused(vec![late]), StatementError::OtherMonth(_)));
    let roles = Statement::new(cpo(), cpo(), november(), Vec::new());
    assert!(matches!(roles, Err(StatementError::Roles(..))));
}

#[test]
fn the_files_can_be_read_and_the_received_spelling_stays() {
    let statement = Statement::new(cpo(), emp(), november(), many()).unwrap();
    let csv = statement.to_csv();
    assert_eq!(csv.matches("\r\n").count(), 5, "{csv}");
    assert!(csv.contains(",10.10,20.20,0.20,delivered,,"), "{csv}");
    let json = statement.to_json();
    let root = crate::oicp::json::parse(json.as_bytes(), Reading::Strict).unwrap();
    assert_eq!(root.field("records").unwrap().items().len(), 4);
    assert_eq!(root.field("month").unwrap().as_str(), Some("2026-11"));
    assert!(json.contains("\"ConsumedEnergy\":0.20,") && json.contains("\"energy_kwh\":7.3}"), "{json}");
    let html = statement.to_html();
    assert!(html.contains("November 2026") && html.contains("7.3") && html.contains("rejected"), "{html}");
    assert!(!html.contains("1234ABCD") && !csv.contains("1234ABCD") && !json.contains("1234ABCD"));
}

#[test]
fn a_text_of_the_other_side_does_no_harm() {
    let evil = made(1, "1", "=1+1", "2026-11-03T09:41:00Z", "a,\\\"<script>x</script>", Standing::Delivered);
    let statement = Statement::new(cpo(), emp(), november(), vec![evil]).unwrap();
    let csv = statement.to_csv();
    assert!(csv.contains(",\"a,\"\"<script>x</script>\",") && csv.contains(",'=1+1,"), "{csv}");
    let html = statement.to_html();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
    let empty = Statement::new(cpo(), emp(), november(), Vec::new()).unwrap();
    assert!(empty.to_html().contains("No session ended"));
}
