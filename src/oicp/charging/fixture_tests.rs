//! The specification's own examples of charging get the verdict of their index; where the gap list decides
//! otherwise, the exception is named here.

use super::*;
use crate::oicp::finding::{Fault, Rule};
use crate::oicp::json;
use crate::oicp::page::Page;
use crate::oicp::reading::Reading;
use crate::oicp::tests::shared;

/// Examples that the index calls invalid and that are accepted all the same, each with its reason.
const ACCEPTED: [(&str, &str); 5] = [
    ("eRoamingChargingNotificationError.1.json", "GAPS A1: both spellings of the error class"),
    ("eRoamingChargingNotificationError.2.json", "GAPS A1 and C17: both spellings, OperatorID in Error"),
    ("eRoamingChargingNotificationProgress.1.json", "GAPS C18: the duration is not checked"),
    ("eRoamingChargingNotificationProgress.2.json", "GAPS C18: the duration is not checked"),
    ("eRoamingChargingNotificationEnd.1.json", "RULES 8: no order of times is checked in notifications"),
];

/// Reads one request as the facade does; `None` for what is no request of charging.
fn request(message: &str, body: &[u8], reading: Reading) -> Option<Result<(), Fault>> {
    Some(match message {
        "eRoamingAuthorizeStart" => AuthorizeStart::parse(body, reading).map(drop),
        "eRoamingAuthorizeStop" => AuthorizeStop::parse(body, reading).map(drop),
        "eRoamingAuthorizeRemoteStart" => AuthorizeRemoteStart::parse(body, reading).map(drop),
        "eRoamingAuthorizeRemoteStop" => AuthorizeRemoteStop::parse(body, reading).map(drop),
        "eRoamingAuthorizeRemoteReservationStart" => {
            AuthorizeRemoteReservationStart::parse(body, reading).map(drop)
        }
        "eRoamingAuthorizeRemoteReservationStop" => {
            AuthorizeRemoteReservationStop::parse(body, reading).map(drop)
        }
        "eRoamingChargingNotificationStart"
        | "eRoamingChargingNotificationProgress"
        | "eRoamingChargingNotificationEnd"
        | "eRoamingChargingNotificationError" => ChargingNotification::parse(body, reading).map(drop),
        "eRoamingChargeDetailRecord" => ChargeDetailRecord::parse(body, reading).map(drop),
        "eRoamingGetChargeDetailRecords" => GetChargeDetailRecords::parse(body, reading).map(drop),
        "eRoamingPushAuthenticationData" => PushAuthenticationData::parse(body, reading).map(drop),
        _ => return None,
    })
}

/// Reads one answer as a partner's; `None` for what is no answer of charging.
fn answer(message: &str, body: &[u8]) -> Option<Result<(), String>> {
    Some(match message {
        "eRoamingAuthorizationStart" => AuthorizationStart::read(body).map(drop).map_err(|e| e.to_string()),
        "eRoamingAuthorizationStop" => AuthorizationStop::read(body).map(drop).map_err(|e| e.to_string()),
        "eRoamingAcknowledgement" => read_acknowledgement(body).map(drop).map_err(|e| e.to_string()),
        _ => return None,
    })
}

#[test]
fn examples_get_the_verdict_of_their_index() {
    let Some(folder) = shared("oicp/fixtures") else { return };
    let index = std::fs::read_to_string(folder.join("INDEX.md")).unwrap();
    let (mut requests, mut answers, mut refused) = (0, 0, 0);
    for line in index.lines().filter(|line| line.starts_with("| `eRoaming")) {
        let name = line.split('`').nth(1).unwrap();
        let invalid = line.contains("| INVALID |");
        let message = name.split('.').next().unwrap();
        let body = std::fs::read(folder.join(name)).unwrap();
        if let Some(strict) = request(message, &body, Reading::Strict) {
            requests += 1;
            let accepted = !invalid || ACCEPTED.iter().any(|(exception, _)| *exception == name);
            assert_eq!(strict.is_ok(), accepted, "{name}: {strict:?}");
            refused += usize::from(!accepted);
            if accepted {
                request(message, &body, Reading::Tolerant).unwrap().unwrap();
            }
        }
        if let Some(read) = answer(message, &body) {
            answers += 1;
            read.unwrap();
        }
        // Whatever it is: setting a field and nothing else.
        let set = with_fields(&body, &[("Added", FieldValue::Null)]).unwrap();
        assert_eq!(set.len(), body.trim_ascii().len() + "\"Added\":null,".len(), "{name}");
    }
    assert_eq!((requests, answers, refused), (23, 26, 11));
}

#[test]
fn refusals_name_the_field() {
    let Some(folder) = shared("oicp/fixtures") else { return };
    let fault = |name: &str| {
        let body = std::fs::read(folder.join(name)).unwrap();
        request(name.split('.').next().unwrap(), &body, Reading::Strict).unwrap().unwrap_err().to_json()
    };
    let start = fault("eRoamingAuthorizeStart.1.json");
    assert!(start.contains("\"identification.rfidMifareFamilyIdentification.uid\""), "{start}");
    assert!(fault("eRoamingAuthorizeRemoteStart.1.json").contains("\"sessionID\""));
    assert!(fault("eRoamingGetChargeDetailRecords.1.json").contains("\"sessionID[0]\""));
}

#[test]
fn of_all_five_options_at_once_tolerant_reading_takes_the_first_that_is_allowed() {
    let Some(folder) = shared("oicp/fixtures") else { return };
    let body = std::fs::read_to_string(folder.join("eRoamingAuthorizeStart.1.json")).unwrap();
    let mended =
        body.replace("12345ABCD", "1234ABCD").replace("\"Value\": \"string\"\n", "\"Value\": \"0123456789\"");
    let fault = AuthorizeStart::parse(mended.as_bytes(), Reading::Strict).unwrap_err().to_json();
    assert!(fault.contains("5 of its options"), "{fault}");
    for (text, option) in [(mended, "RFIDMifareFamilyIdentification"), (body, "PlugAndChargeIdentification")]
    {
        let read = AuthorizeStart::parse(text.as_bytes(), Reading::Tolerant).unwrap();
        assert_eq!(read.identification.option_name(), option);
        assert!(read.findings.iter().any(|finding| finding.rule == Rule::SeveralMedia), "{read:?}");
        let sent = with_only_medium(text.as_bytes(), &read.identification).unwrap();
        let strict = AuthorizeStart::parse(&sent, Reading::Strict).unwrap();
        assert_eq!(strict.identification, read.identification);
    }
}

#[test]
fn the_page_of_records_is_read_record_by_record() {
    let Some(folder) = shared("oicp/fixtures") else { return };
    let body = std::fs::read(folder.join("eRoamingChargeDetailRecords.1.json")).unwrap();
    let node = json::parse(&body, Reading::Strict).unwrap();
    let page = Page::read(&node).unwrap();
    assert!(!page.content.is_empty());
    for record in page.content {
        // Its example fills all five options, too.
        assert!(ChargeDetailRecord::read(record, Reading::Strict).is_err());
    }
}
