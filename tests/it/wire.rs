//! The small print of the hub's HTTP, as RULES 12.1 and the captures have it: paths, headers, statuses and bodies of
//! every operation, at a whole node.

use std::collections::BTreeSet;

use chargemesh::node::Node;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Plan, World, http_client, push_data, runtime};

const JSON: &str = "application/json";

/// Every path of OPERATIONS, with the id that the caller has.
const PATHS: [&str; 23] = [
    "/api/oicp/evsepush/v23/operators/CH*ABC/data-records",
    "/api/oicp/evsepull/v23/providers/DE*EMP/data-records",
    "/api/oicp/evsepush/v21/operators/CH*ABC/status-records",
    "/api/oicp/evsepull/v21/providers/DE*EMP/status-records",
    "/api/oicp/evsepull/v21/providers/DE*EMP/status-records-by-id",
    "/api/oicp/evsepull/v21/providers/DE*EMP/status-records-by-operator-id",
    "/api/oicp/charging/v21/operators/CH*ABC/authorize/start",
    "/api/oicp/charging/v21/operators/CH*ABC/authorize/stop",
    "/api/oicp/charging/v21/providers/DE*EMP/authorize-remote/start",
    "/api/oicp/charging/v21/providers/DE*EMP/authorize-remote/stop",
    "/api/oicp/reservation/v11/providers/DE*EMP/reservation-start-request",
    "/api/oicp/reservation/v11/providers/DE*EMP/reservation-stop-request",
    "/api/oicp/charging/v21/providers/DE*EMP/authorize-remote-reservation/start",
    "/api/oicp/charging/v21/providers/DE*EMP/authorize-remote-reservation/stop",
    "/api/oicp/notificationmgmt/v11/charging-notifications",
    "/api/oicp/cdrmgmt/v22/operators/CH*ABC/charge-detail-record",
    "/api/oicp/cdrmgmt/v22/providers/DE*EMP/get-charge-detail-records-request",
    "/api/oicp/authdata/v21/providers/DE*EMP/push-request",
    "/api/oicp/authdata/v21/operators/CH*ABC/pull-request",
    "/api/oicp/dynamicpricing/v10/operators/CH*ABC/pricing-products",
    "/api/oicp/dynamicpricing/v10/operators/CH*ABC/evse-pricing",
    "/api/oicp/dynamicpricing/v10/providers/DE*EMP/pricing-products",
    "/api/oicp/dynamicpricing/v10/providers/DE*EMP/evse-pricing",
];

struct Said {
    http: u16,
    body: Value,
    retry_after: Option<String>,
}

/// Asks, and checks what every answer has: a `Process-ID` and its content type.
async fn ask(node: &Node, method: Method, path: &str, kind: &str, body: &str) -> Said {
    let url = format!("http://{}{path}", node.facade_address().unwrap());
    let client = http_client();
    let request = client.request(method, url).header("content-type", kind).body(body.to_owned());
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let process_id = header("process-id").unwrap_or_else(|| panic!("{path} has no Process-ID"));
    let parts: Vec<usize> = process_id.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{path}: a UUID, not {process_id}");
    assert_eq!(header("content-type").as_deref(), Some("application/json;charset=utf-8"), "{path}");
    let (http, retry_after) = (answer.status().as_u16(), header("retry-after"));
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
    Said { http, body, retry_after }
}

async fn post(node: &Node, path: &str, body: &str) -> Said {
    ask(node, Method::POST, path, JSON, body).await
}

async fn node(dir: &std::path::Path) -> Node {
    let plan = Plan::new("both", Some("CPO:CHABC"), dir).also("EMP:DEEMP");
    World::new().start(&plan).await
}

/// An empty object is a message of nobody: 400 shows that the path was found, and the id in it.
#[test]
fn every_path_takes_a_star_as_it_is_and_escaped_and_no_other_version() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        for path in PATHS {
            let mut spellings = BTreeSet::from([path.to_owned()]);
            spellings.insert(path.replace('*', "%2A"));
            spellings.insert(path.replace('*', "%2a"));
            spellings.insert(path.replace('*', ""));
            spellings.insert(path.replace("DE*EMP", "DE-EMP"));
            for spelling in &spellings {
                let said = post(&node, spelling, "{}").await;
                assert_eq!(said.http, 400, "{spelling}: {}", said.body);
                assert!(said.body["validationErrors"].is_array(), "{spelling}: {}", said.body);
            }
            if path.contains('*') {
                let foreign = path.replace("ABC", "XYZ").replace("EMP", "XYZ");
                let said = post(&node, &foreign, "{}").await;
                assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (401, &json!("017")), "{foreign}");
            }
            let version = path.split('/').find(|part| part.starts_with('v') && part.len() == 3).unwrap();
            for other in ["v09", "v24", "v1", ""] {
                let wrong = path.replacen(version, other, 1);
                let said = post(&node, &wrong, "{}").await;
                let status = &said.body["StatusCode"];
                assert_eq!((said.http, &status["Code"]), (404, &json!("001")), "{wrong}");
                assert!(
                    status["Description"].as_str().unwrap().contains("service not found"),
                    "{}",
                    said.body
                );
                assert!(said.body["Result"].is_null(), "the short body");
            }
            let said = ask(&node, Method::GET, path, JSON, "").await;
            assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (405, &json!("001")), "{path}");
        }
        node.shutdown().await;
    });
}

#[test]
fn any_charset_is_taken_and_each_error_has_its_status_and_body() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let push = PATHS[0];
        let data = String::from_utf8(push_data("fullLoad", "CH*ABC", &["CH*ABC*E1"]).to_vec()).unwrap();
        for kind in [
            JSON,
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json;charset=ISO-8859-1",
            "APPLICATION/JSON; charset=\"utf-8\"",
        ] {
            let said = ask(&node, Method::POST, push, kind, &data).await;
            assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (200, &json!("000")), "{kind}");
        }
        let none = Value::Null;
        let start = r#"{"OperatorID":"CH*ABC","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}}}"#;
        let stop = r#"{"SessionID":"0f8fad5b-d9cb-469f-a165-70867728950e","OperatorID":"CH*ABC","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}}}"#;
        let remote = |operator: &str| {
            format!(
                r#"{{"ProviderID":"DE-EMP","EvseID":"{operator}*E1","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C12345678-X"}}}}}}"#
            )
        };
        // A business outcome is a whole message with HTTP 200, whatever it says; absent values are nulls.
        let twice = String::from_utf8(push_data("insert", "CH*ABC", &["CH*ABC*E2", "CH*ABC*E2"]).to_vec()).unwrap();
        let said = post(&node, push, &twice).await;
        assert_eq!((said.http, &said.body["Result"], &said.body["StatusCode"]["Code"]), (200, &json!(false), &json!("018")));
        for name in ["SessionID", "CPOPartnerSessionID", "EMPPartnerSessionID"] {
            assert_eq!(said.body.get(name), Some(&none), "{name}");
        }
        let said = post(&node, PATHS[6], start).await;
        assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (200, &json!("210")), "{}", said.body);
        assert_eq!(said.body["AuthorizationStatus"], "NotAuthorized");
        for name in ["SessionID", "CPOPartnerSessionID", "EMPPartnerSessionID", "ProviderID", "AuthorizationStopIdentifications"] {
            assert_eq!(said.body.get(name), Some(&none), "{name}: {}", said.body);
        }
        // What is refused before it is business has its own status and the short body.
        for (path, body, http, code) in [
            (PATHS[7], stop.to_owned(), 404, "400"),
            (PATHS[8], remote("CH*XYZ"), 404, "300"),
            (PATHS[8], remote("CH*ABC").replace("DE-EMP\",\"E", "DE-XYZ\",\"E"), 401, "017"),
            ("/api/oicp/none", "{}".into(), 404, "001"),
        ] {
            let said = post(&node, path, &body).await;
            assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (http, &json!(code)), "{path}: {}", said.body);
            assert!(said.body.get("Result").is_none(), "{path}: {}", said.body);
            assert_eq!(said.body["StatusCode"].as_object().unwrap().len(), 3, "nulls included");
        }
        // A message that is none: the FaultBody, without any code.
        let said = post(&node, push, &data.replace("\"ActionType\"", "\"Action\"")).await;
        assert_eq!(said.http, 400);
        let names: BTreeSet<&str> = said.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["extendedInfo", "message", "validationErrors"]));
        assert_eq!(said.body["extendedInfo"], none);
        assert_eq!(said.body["message"], "Error parsing/validating JSON.");
        let first = said.body["validationErrors"][0].as_object().unwrap();
        assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), ["errorMessage", "fieldReference"]);
        node.shutdown().await;
    });
}

#[test]
fn a_page_has_every_field_that_the_hub_sends() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let node = node(dir.path()).await;
        let data = push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2", "CH*ABC*E3"]);
        let pushed = post(&node, PATHS[0], std::str::from_utf8(&data).unwrap()).await;
        assert_eq!(pushed.body["StatusCode"]["Code"], "000");
        let evses = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;
        let cdrs = r#"{"ProviderID":"DE-EMP","From":"2020-01-01T00:00:00Z","To":"2030-01-01T00:00:00Z"}"#;
        for (path, body, page, found, total) in [
            (PATHS[1], evses, 1, 1, 3),
            (PATHS[1], evses, 0, 2, 3),
            (PATHS[1], evses, 9, 0, 3),
            (PATHS[16], cdrs, 0, 0, 0),
        ] {
            let said = post(&node, &format!("{path}?page={page}&size=2"), body).await;
            assert_eq!(said.http, 200, "{}", said.body);
            let names: BTreeSet<&str> = said.body.as_object().unwrap().keys().map(String::as_str).collect();
            let all = [
                "content",
                "number",
                "size",
                "totalElements",
                "last",
                "totalPages",
                "first",
                "numberOfElements",
                "empty",
                "pageable",
                "StatusCode",
            ];
            assert!(all.iter().all(|name| names.contains(name)), "{path}: {names:?}");
            let pageable = &said.body["pageable"];
            assert_eq!(
                [
                    &pageable["pageNumber"],
                    &pageable["pageSize"],
                    &pageable["offset"],
                    &pageable["paged"],
                    &pageable["unpaged"]
                ],
                [&json!(page), &json!(2), &json!(page * 2), &json!(true), &json!(false)]
            );
            assert_eq!(pageable["sort"], json!({ "sorted": false, "unsorted": true, "empty": true }));
            let numbers = ["number", "numberOfElements", "totalElements"].map(|name| said.body[name].clone());
            assert_eq!(numbers, [json!(page), json!(found), json!(total)], "{path}");
            assert_eq!(said.body["empty"], json!(found == 0));
        }
        node.shutdown().await;
    });
}

#[test]
fn a_caller_beyond_its_limit_is_429_until_its_minute_has_room() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEEMP");
        let limits = &mut plan.settings.facade.as_mut().unwrap().rate_limits;
        limits.on = true;
        limits.pull_evse_status = 2;
        let node = World::new().start(&plan).await;
        let pull = async || post(&node, PATHS[3], r#"{"ProviderID":"DE-EMP"}"#).await;
        assert_eq!((pull().await.http, pull().await.http), (200, 200));
        let said = pull().await;
        assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (429, &json!("001")), "{}", said.body);
        let wait: u64 = said.retry_after.unwrap().parse().unwrap();
        assert!((25..=30).contains(&wait), "two a minute: one is free again after half of it, not {wait} s");
        let by_id = r#"{"ProviderID":"DE-EMP","EvseID":["CH*ABC*E1"]}"#;
        assert_eq!(post(&node, PATHS[4], by_id).await.http, 200, "another operation");
        node.shutdown().await;
    });
}

/// Cards of an EMP of the same node that lets the CPO authorize; nothing of anybody else; nothing at all if it is off.
#[test]
fn old_backends_pull_the_cards_of_emps_of_their_own_node_alone() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let mut plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEEMP");
        let node = world.start(&plan).await;
        let cards = r#"{"ActionType":"fullLoad","ProviderAuthenticationData":{"ProviderID":"DE-EMP","AuthenticationDataRecord":[{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"}}}]}}"#;
        assert_eq!(post(&node, PATHS[17], cards).await.body["StatusCode"]["Code"], "000");
        let body = r#"{"OperatorID":"CH*ABC"}"#;
        let nothing = json!({ "ProviderAuthenticationData": [] });
        let said = post(&node, PATHS[18], body).await;
        assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (200, &json!("000")), "{}", said.body);
        assert_eq!(said.body["AuthenticationData"], nothing, "without an agreement there is nothing");
        node.shutdown().await;

        let allow = r#"{"rule":[{"party":"CPO:CHABC","services":["Authorization"],"allow":true}]}"#;
        let policy: chargemesh::roaming::Policy = serde_json::from_str(allow).unwrap();
        plan.settings.policy = policy;
        let node = world.start(&plan).await;
        let said = post(&node, PATHS[18], body).await;
        let of = &said.body["AuthenticationData"]["ProviderAuthenticationData"];
        assert_eq!(of[0]["ProviderID"], "DE-EMP", "{}", said.body);
        let medium = json!({ "Identification": { "RFIDMifareFamilyIdentification": { "UID": "04A2B3C4" } } });
        assert_eq!(of[0]["AuthenticationDataRecord"], json!([medium]));
        let foreign = post(&node, PATHS[18], r#"{"OperatorID":"CH*XYZ"}"#).await;
        assert_eq!((foreign.http, &foreign.body["StatusCode"]["Code"]), (401, &json!("017")));

        // Another node's CPO hears nothing of them.
        let other = Plan::new("other", Some("CPO:CHOTH"), dir.path()).bootstrap(node.mesh_addresses());
        let other = world.start(&other).await;
        let said = post(&other, &PATHS[18].replace("ABC", "OTH"), r#"{"OperatorID":"CH*OTH"}"#).await;
        assert_eq!((said.http, &said.body["AuthenticationData"]), (200, &nothing));
        other.shutdown().await;
        node.shutdown().await;

        plan.settings.facade.as_mut().unwrap().pull_authentication_data = false;
        let node = world.start(&plan).await;
        let said = post(&node, PATHS[18], body).await;
        assert_eq!((said.http, &said.body["StatusCode"]["Code"]), (404, &json!("001")));
        node.shutdown().await;
    });
}
