//! A hub over real sockets, between backends that are played, too.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::backend::{Backend, Behaviour, Config, Kind, Operation};
use crate::engine::SystemClock;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::charging::{AuthorizationStart, AuthorizationStatus, read_acknowledgement};
use crate::oicp::id::EvseId;
use crate::oicp::json;
use crate::oicp::page::Page;
use crate::outbound::{HubClient, Received};

/// How long a test waits for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
const PUSH_DATA: &str = "api/oicp/evsepush/v23/operators/DE*ABC/data-records";
const PUSH_STATUS: &str = "api/oicp/evsepush/v21/operators/DE*ABC/status-records";
const PULL_DATA: &str = "api/oicp/evsepull/v23/providers/DE-XYZ/data-records";
const PULL_STATUS: &str = "api/oicp/evsepull/v21/providers/DE-XYZ/status-records";
const REMOTE_START: &str = "api/oicp/charging/v21/providers/DE-XYZ/authorize-remote/start";
const REMOTE_STOP: &str = "api/oicp/charging/v21/providers/DE-XYZ/authorize-remote/stop";
const AUTHORIZE: &str = "api/oicp/charging/v21/operators/DE*ABC/authorize/start";
const CDR: &str = "api/oicp/cdrmgmt/v22/operators/DE*ABC/charge-detail-record";
const CDRS: &str = "api/oicp/cdrmgmt/v22/providers/DE-XYZ/get-charge-detail-records-request";
const NOTIFY: &str = "api/oicp/notificationmgmt/v11/charging-notifications";
const UNKNOWN_SESSION: &str = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";

struct Played {
    hub: Hub,
    client: HubClient,
    cpo: Backend,
    emp: Backend,
}

async fn played(change: impl FnOnce(&mut HubConfig)) -> Played {
    let clock = SystemClock::start();
    let cpo = Backend::start(Config::new(Kind::Cpo, clock.clone())).await.unwrap();
    let emp = Backend::start(Config::new(Kind::Emp, clock.clone())).await.unwrap();
    let partners = [
        format!("CPO:DE*ABC,url={}", cpo.url()),
        format!("EMP:DE-XYZ,url={}", emp.url()),
        "CPO:DE*OFF,only=push-data".to_owned(),
        "EMP:DE-KEY,key=secret".to_owned(),
    ];
    let partners = partners.iter().map(|text| text.parse().unwrap()).collect();
    let mut config = HubConfig::new(partners, clock);
    change(&mut config);
    let hub = Hub::start(config).await.unwrap();
    let client = HubClient::new(&hub.url(), None).unwrap();
    Played { hub, client, cpo, emp }
}

impl Played {
    async fn post(&self, path: &str, body: impl Into<Bytes>) -> Received {
        self.client.post(path, "application/json", body.into()).await.unwrap()
    }

    /// HTTP status and code of the answer.
    async fn said(&self, path: &str, body: impl Into<Bytes>) -> (u16, String) {
        let answer = self.post(path, body).await;
        (answer.http_status, code_of(&answer.body))
    }
}

fn code_of(body: &[u8]) -> String {
    let Ok(root) = json::parse(body, crate::oicp::reading::Reading::Tolerant) else { return String::new() };
    Acknowledgement::read(&root).map_or(String::new(), |read| read.status.code)
}

fn data(action: &str, numbers: &[u32]) -> String {
    let records = numbers.iter().map(|number| format!(r#"{{"EvseID":"DE*ABC*E{number}","X":{number}}}"#));
    let records = records.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"ActionType":"{action}","OperatorEvseData":{{"OperatorID":"DE*ABC","OperatorName":"A","EvseDataRecord":[{records}]}}}}"#
    )
}

fn status(action: &str, number: u32, status: &str) -> String {
    format!(
        r#"{{"ActionType":"{action}","OperatorEvseStatus":{{"OperatorID":"DE*ABC","EvseStatusRecord":[{{"EvseID":"DE*ABC*E{number}","EvseStatus":"{status}"}}]}}}}"#
    )
}

fn pull(more: &str) -> String {
    format!(r#"{{"ProviderID":"DE-XYZ","GeoCoordinatesResponseFormat":"Google"{more}}}"#)
}

fn start(evse: &str) -> String {
    format!(
        r#"{{"EMPPartnerSessionID":"E1","ProviderID":"DE-XYZ","EvseID":"{evse}","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-XYZ-C12345678-X"}}}}}}"#
    )
}

fn cdr(session: &str, now_ms: i64) -> String {
    let at = |ago: i64| crate::oicp::time::format_ms(now_ms - ago * 60_000);
    format!(
        r#"{{"SessionID":"{session}","EvseID":"DE*ABC*E1","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-XYZ-C12345678-X"}}}},"SessionStart":"{}","SessionEnd":"{}","ChargingStart":"{}","ChargingEnd":"{}","ConsumedEnergy":11.5}}"#,
        at(60),
        at(1),
        at(59),
        at(2)
    )
}

fn pulled(answer: &Received) -> (u64, Vec<String>) {
    assert_eq!(answer.http_status, 200);
    let text = std::str::from_utf8(&answer.body).unwrap();
    let root = json::parse_text(text).unwrap();
    let page = Page::read(&root).unwrap();
    let of = |node: &json::Node<'_>| {
        let text = |name: &str| node.field(name).and_then(json::Node::as_str).unwrap_or("-").to_owned();
        format!("{} {}", text("EvseID"), text("deltaType"))
    };
    (page.total_elements, page.content.iter().map(of).collect())
}

#[tokio::test]
async fn pushed_data_are_pulled_in_pages_and_as_differences() {
    let played = played(|config| config.seeds = 5_000).await;
    let ok = (200, "000".to_owned());
    assert_eq!(played.said(PUSH_DATA, data("fullLoad", &[1, 2, 3])).await, ok);
    assert_eq!(played.said(PUSH_DATA, data("insert", &[3, 4])).await, (200, "009".into()));
    assert_eq!(played.said(PUSH_DATA, data("update", &[4])).await, (200, "009".into()));
    assert_eq!(played.said(PUSH_DATA, data("insert", &[5, 5])).await, (200, "018".into()));
    let foreign = data("insert", &[6]).replace("DE*ABC*E6", "DE*XXX*E6");
    assert_eq!(played.said(PUSH_DATA, foreign).await, (200, "018".into()));
    assert_eq!(played.said(PUSH_DATA, "{").await, (400, String::new()));
    assert_eq!(played.hub.data_of("DEABC").len(), 3, "nothing of what was refused");
    let (total, rows) = pulled(&played.post(&format!("{PULL_DATA}?page=0&size=2"), pull("")).await);
    assert_eq!((total, rows), (5_003, vec!["DE*ABC*E1 insert".into(), "DE*ABC*E2 insert".into()]));
    let (_, rows) = pulled(&played.post(&format!("{PULL_DATA}?page=1&size=2"), pull("")).await);
    assert_eq!(rows, ["DE*ABC*E3 insert", "XQ*S00*E0 insert"]);
    let (_, rows) = pulled(&played.post(&format!("{PULL_DATA}?page=2&size=2000"), pull("")).await);
    assert_eq!((rows.len(), rows.last().unwrap().as_str()), (1_003, "XQ*S00*E4999 insert"));
    let only = pull(r#","OperatorIds":["DE*ABC"]"#);
    assert_eq!(pulled(&played.post(PULL_DATA, only).await).0, 3);

    tokio::time::sleep(Duration::from_millis(5)).await;
    let since = crate::oicp::time::format_ms(played.hub.shared.now_ms());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(played.said(PUSH_DATA, data("delete", &[1])).await, ok);
    assert_eq!(played.said(PUSH_DATA, data("update", &[2]).replace(":2}", ":22}")).await, ok);
    assert_eq!(played.said(PUSH_DATA, data("insert", &[7])).await, ok);
    played.hub.touch_seeds(9..10);
    let (total, rows) = pulled(&played.post(PULL_DATA, pull(&format!(r#","LastCall":"{since}""#))).await);
    assert_eq!(total, 4);
    assert_eq!(rows, ["DE*ABC*E1 delete", "DE*ABC*E2 update", "DE*ABC*E7 insert", "XQ*S00*E9 update"]);

    assert_eq!(played.said(PUSH_STATUS, status("fullLoad", 1, "Available")).await, (200, "603".into()));
    assert_eq!(played.said(PUSH_STATUS, status("fullLoad", 2, "Occupied")).await, ok);
    let all = played.post(PULL_STATUS, r#"{"ProviderID":"DE-XYZ"}"#).await;
    let text = String::from_utf8(all.body.to_vec()).unwrap();
    assert!(text.contains(r#""EvseID":"DE*ABC*E2","EvseStatus":"Occupied""#), "{text}");
    assert_eq!(text.matches("EvseID").count(), 5_001);
    let by_id = r#"{"ProviderID":"DE-XYZ","EvseID":["DE*ABC*E2","DE*ABC*E1"]}"#;
    let by_id = played.post(&format!("{PULL_STATUS}-by-id"), by_id).await;
    assert!(String::from_utf8(by_id.body.to_vec()).unwrap().contains("EvseNotFound"));
    let by_operator = r#"{"ProviderID":"DE-XYZ","OperatorID":["XQ*S00"]}"#;
    let by_operator = played.post(&format!("{PULL_STATUS}-by-operator-id"), by_operator).await;
    assert_eq!(String::from_utf8(by_operator.body.to_vec()).unwrap().matches("EvseID").count(), 5_000);
    let key = EvseId::parse("DE*ABC*E2").unwrap();
    assert_eq!(played.hub.status_of(key.key()), Some(EvseStatus::Occupied));
}

#[tokio::test]
async fn who_calls_too_often_or_as_another_is_refused() {
    let played = played(|config| config.limits = "none,pull-status=2".parse().unwrap()).await;
    let body = r#"{"ProviderID":"DE-XYZ"}"#;
    assert_eq!(played.post(PULL_STATUS, body).await.http_status, 200);
    assert_eq!(played.post(PULL_STATUS, body).await.http_status, 200);
    let third = played.post(PULL_STATUS, body).await;
    assert_eq!((third.http_status, third.body.len()), (429, 0));
    let unknown = PULL_STATUS.replace("DE-XYZ", "DE-ZZZ");
    assert_eq!(played.said(&unknown, body).await, (404, "300".into()));
    let keyed = PULL_STATUS.replace("DE-XYZ", "DE-KEY");
    assert_eq!(played.said(&keyed, body).await, (401, "017".into()));
    assert_eq!(played.said(&format!("k/wrong/{keyed}"), body).await, (401, "017".into()));
    assert_eq!(played.post(&format!("k/secret/{keyed}"), body).await.http_status, 200);
    let off = PUSH_STATUS.replace("ABC", "OFF");
    assert_eq!(played.said(&off, status("insert", 1, "Available")).await, (200, "210".into()));
    let prices = "api/oicp/dynamicpricing/v10/operators/DE*OFF/evse-pricing";
    assert_eq!(played.said(prices, "{}").await, (403, "210".into()));
    assert_eq!(
        played.said("api/oicp/evsepush/v99/operators/DE*ABC/data-records", "{}").await,
        (404, "001".into())
    );
    let shown: Vec<String> = played.hub.received().iter().map(HubReceived::to_json).collect();
    assert!(shown.iter().all(|line| !line.contains("secret")), "{shown:?}");
    assert!(shown.iter().all(|line| json::parse_text(line).is_ok()), "{shown:?}");
}

#[tokio::test]
async fn it_fails_as_it_is_told_to() {
    let played = played(|config| config.limits = Limits::none()).await;
    let body = r#"{"ProviderID":"DE-XYZ"}"#;
    for (faults, http, said) in [
        ("http=500", 500, "<html>"),
        ("http=429", 429, "<html>"),
        ("refuse", 500, "\"001\""),
        ("refuse=002", 200, "\"002\""),
        ("garbage", 200, "Resul"),
        ("slow=1", 200, "EvseStatuses"),
    ] {
        played.hub.set_faults(faults.parse::<HubFaults>().unwrap());
        let answer = played.post(PULL_STATUS, body).await;
        assert_eq!(answer.http_status, http, "{faults}");
        assert!(String::from_utf8_lossy(&answer.body).contains(said), "{faults}");
    }
    played.hub.set_faults(HubFaults::default().with(HubOperation::PullStatus, Behaviour::Die));
    let cut = played.client.post(PULL_STATUS, "application/json", body.into()).await;
    assert!(cut.is_err());
    assert_eq!(played.said(PUSH_DATA, data("fullLoad", &[1])).await, (200, "000".into()));
}

#[tokio::test]
async fn a_session_goes_through_the_hub_to_its_one_record() {
    let played = played(|_| {}).await;
    played.said(PUSH_DATA, data("fullLoad", &[1])).await;
    assert_eq!(played.said(REMOTE_START, start("DE*ABC*E9")).await, (200, "603".into()));
    assert_eq!(played.said(REMOTE_START, start("DE*ZZZ*E9")).await, (200, "300".into()));
    let started = played.post(REMOTE_START, start("DE*ABC*E1")).await;
    let started = read_acknowledgement(&started.body).unwrap();
    assert!(started.result, "{started:?}");
    let session = started.session_id.unwrap();
    assert_eq!(started.emp_partner_session_id.as_deref(), Some("E1"));
    let forwarded = timeout(PATIENCE, played.cpo.next()).await.unwrap();
    assert_eq!(forwarded.operation, Operation::RemoteStart);
    assert_eq!(forwarded.session.as_deref(), Some(session.as_str()));
    let told = format!(
        r#"{{"Type":"Start","SessionID":"{session}","OperatorID":"DE*ABC","EvseID":"DE*ABC*E1","ChargingStart":"2020-09-23T14:27:43Z"}}"#
    );
    assert_eq!(played.said(NOTIFY, told).await, (200, "000".into()));
    assert_eq!(timeout(PATIENCE, played.emp.next()).await.unwrap().operation, Operation::Notification);
    let stop = format!(r#"{{"SessionID":"{session}","ProviderID":"DE-XYZ","EvseID":"DE*ABC*E1"}}"#);
    assert_eq!(played.said(REMOTE_STOP, stop.clone()).await, (200, "000".into()));
    assert_eq!(played.hub.open_sessions(), 1);

    let now_ms = played.hub.shared.now_ms();
    assert_eq!(played.said(CDR, cdr(UNKNOWN_SESSION, now_ms)).await, (404, "400".into()));
    let implausible = cdr(&session, now_ms).replace("11.5", "-1");
    assert_eq!(played.said(CDR, implausible).await, (200, "022".into()));
    assert_eq!(played.said(CDR, cdr(&session, now_ms)).await, (200, "000".into()));
    let forwarded = timeout(PATIENCE, played.emp.next()).await.unwrap();
    assert_eq!(forwarded.operation, Operation::ChargeDetailRecord);
    assert_eq!(forwarded.body, Bytes::from(cdr(&session, now_ms)), "unchanged");
    let again = played.post(CDR, cdr(&session, now_ms)).await;
    assert_eq!((again.http_status, code_of(&again.body).as_str()), (404, "400"));
    assert!(String::from_utf8_lossy(&again.body).contains("status is not valid CLOSED"));
    assert_eq!(played.said(REMOTE_STOP, stop).await, (200, "400".into()));
    let at = |offset: i64| crate::oicp::time::format_ms(now_ms + offset);
    let asked = format!(r#"{{"ProviderID":"DE-XYZ","From":"{}","To":"{}"}}"#, at(-1_000), at(60_000));
    let answer = played.post(CDRS, asked).await;
    assert_eq!(pulled(&answer).0, 1);
    assert_eq!(played.hub.cdrs().len(), 1);
}

#[tokio::test]
async fn a_card_is_asked_about_and_a_late_start_is_forgotten_or_not() {
    let card = r#"{"OperatorID":"DE*ABC","EvseID":"DE*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4d5e6f7"}}}"#;
    let played_here = played(|_| {}).await;
    let answer = played_here.post(AUTHORIZE, card).await;
    let answer = AuthorizationStart::read(&answer.body).unwrap();
    assert_eq!(answer.verdict, AuthorizationStatus::Authorized);
    let asked = timeout(PATIENCE, played_here.emp.next()).await.unwrap();
    assert_eq!(asked.session, answer.session_id.map(|id| id.as_str().to_owned()));
    assert!(String::from_utf8_lossy(&asked.body).contains("04A2B3C4D5E6F7"), "in upper case");
    played_here.emp.set_behaviour(Behaviour::Refuse(None)).unwrap();
    let answer = played_here.post(AUTHORIZE, card).await;
    let answer = AuthorizationStart::read(&answer.body).unwrap();
    assert_eq!(
        (answer.verdict, answer.status.code.as_str()),
        (AuthorizationStatus::NotAuthorized, "106"),
        "its own word"
    );
    // Uploaded media need nobody's answer.
    let upload = r#"{"ActionType":"fullLoad","ProviderAuthenticationData":{"ProviderID":"DE-XYZ","AuthenticationDataRecord":[{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}]}}"#;
    let path = "api/oicp/authdata/v21/providers/DE-XYZ/push-request";
    assert_eq!(played_here.said(path, upload).await, (200, "000".into()));
    let answer = played_here.post(AUTHORIZE, card).await;
    assert_eq!(AuthorizationStart::read(&answer.body).unwrap().verdict, AuthorizationStatus::Authorized);

    for keep in [false, true] {
        let played = played(|config| {
            config.timeout = Duration::from_millis(50);
            config.keep_late_sessions = keep;
        });
        let played = played.await;
        played.cpo.set_behaviour(Behaviour::Slow(Duration::from_millis(400))).unwrap();
        assert_eq!(played.said(REMOTE_START, start("DE*ABC*E1")).await, (200, "310".into()));
        let session = timeout(PATIENCE, played.cpo.next()).await.unwrap().session.unwrap();
        let said = played.said(CDR, cdr(&session, played.hub.shared.now_ms())).await;
        let expected = if keep { (200, "000".to_owned()) } else { (404, "400".to_owned()) };
        assert_eq!(said, expected, "kept: {keep}");
    }
}

#[tokio::test]
async fn prices_are_pushed_and_pulled() {
    let played = played(|config| config.limits = Limits::none()).await;
    let base = "api/oicp/dynamicpricing/v10";
    let products = r#"{"ActionType":"fullLoad","PricingProductData":{"OperatorID":"DE*ABC","ProviderID":"*","PricingDefaultPrice":0,"PricingProductDataRecords":[{"ProductID":"AC 1","PricePerReferenceUnit":1.50}]}}"#;
    let prices = r#"{"ActionType":"fullLoad","EVSEPricing":[{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":["AC 1"]},{"EvseID":"DE*ABC*E1","ProviderID":"DE-OTH","EvseIDProductList":["AC 2"]}]}"#;
    let ok = (200, "000".to_owned());
    assert_eq!(played.said(&format!("{base}/operators/DE*ABC/pricing-products"), products).await, ok);
    assert_eq!(played.said(&format!("{base}/operators/DE*ABC/evse-pricing"), prices).await, ok);
    let foreign = prices.replace("DE*ABC*E1", "DE*ZZZ*E1");
    assert_eq!(
        played.said(&format!("{base}/operators/DE*ABC/evse-pricing"), foreign).await,
        (200, "018".into())
    );
    let asked = r#"{"ProviderID":"DE-XYZ","OperatorIDs":["DE*ABC"]}"#;
    let answer = played.post(&format!("{base}/providers/DE-XYZ/pricing-products"), asked).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        text.contains(r#""PricePerReferenceUnit":1.50"#) && text.contains(r#""OperatorID":"DE*ABC""#),
        "{text}"
    );
    assert!(json::parse_text(&text).is_ok(), "{text}");
    let answer = played.post(&format!("{base}/providers/DE-XYZ/evse-pricing"), asked).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("AC 1") && !text.contains("AC 2"), "only what is for this EMP: {text}");
}
