//! The OICP face of whole nodes, end to end: what one backend pushes at one node is what another pulls at
//! another, on the exact paths and in the exact shapes.

use std::path::Path;

use chargemesh::node::Node;
use serde_json::{Value, json};

use crate::support::{Plan, World, post, push_data, push_status, record, runtime, unix_s, until};

const JSON: &str = "application/json";
const PUSH: &str = "/api/oicp/evsepush/v23/operators/CH*ABC/data-records";
const PUSH_STATUS: &str = "/api/oicp/evsepush/v21/operators/CH*ABC/status-records";
const PULL: &str = "/api/oicp/evsepull/v23/providers/DE-EMP/data-records";
const STATUS: &str = "/api/oicp/evsepull/v21/providers/DE-EMP/status-records";

/// A CPO and an EMP that knows it.
async fn pair(dir: &Path) -> (Node, Node) {
    let world = World::new();
    let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir)).await;
    let cpo = Plan::new("cpo", Some("CPO:CHABC"), dir).bootstrap(emp.mesh_addresses());
    (world.start(&cpo).await, emp)
}

async fn push(node: &Node, path: &str, body: impl Into<bytes::Bytes>) {
    let said = post(node, path, JSON, body).await;
    assert_eq!((said.http, &said.json()["Result"]), (200, &json!(true)), "{said:?}");
    let none = Value::Null;
    let acknowledgement = json!({
        "Result": true, "SessionID": none, "CPOPartnerSessionID": none, "EMPPartnerSessionID": none,
        "StatusCode": { "Code": "000", "Description": "Success", "AdditionalInfo": none },
    });
    assert_eq!(said.json(), acknowledgement);
}

fn pull(more: Value) -> String {
    let mut body = json!({ "ProviderID": "DE-EMP", "GeoCoordinatesResponseFormat": "DecimalDegree" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// EvseIDs and delta types of a page.
fn page(said: &crate::support::Said) -> Vec<(String, String)> {
    assert_eq!(said.http, 200, "{said:?}");
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<(String, String)> = (said.json()["content"].as_array().unwrap().iter())
        .map(|record| (text(record, "EvseID"), text(record, "deltaType")))
        .collect();
    rows.sort();
    rows
}

#[test]
fn pages_hold_every_record_once_with_the_fields_of_the_pull() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (cpo, emp) = pair(dir.path()).await;
        let ids: Vec<String> = (0..45).map(|number| format!("CH*ABC*E{number:02}")).collect();
        let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
        // A literal and a percent-encoded star, and the id in its other spelling, are one path.
        push(&cpo, &PUSH.replace('*', "%2A"), push_data("fullLoad", "CH*ABC", &refs)).await;
        push(&cpo, &PUSH.replace("CH*ABC", "CHABC"), push_data("update", "CH*ABC", &refs[..1])).await;
        until(&emp, "all", |view| view.view_evses == 45 && view.feeds.iter().all(|feed| feed.in_sync)).await;
        let mut seen = Vec::new();
        for number in 0..3 {
            let said = post(&emp, &format!("{PULL}?page={number}&size=20"), JSON, pull(json!({}))).await;
            assert_eq!(said.process_id.len(), 36, "a UUID");
            let body = said.json();
            let shape =
                ["number", "size", "totalElements", "totalPages", "first", "last", "numberOfElements"]
                    .map(|name| body[name].clone());
            let length = if number == 2 { 5 } else { 20 };
            assert_eq!(
                shape,
                [
                    json!(number),
                    json!(20),
                    json!(45),
                    json!(3),
                    json!(number == 0),
                    json!(number == 2),
                    json!(length)
                ]
            );
            assert_eq!(body["StatusCode"]["Code"], "000");
            for record in body["content"].as_array().unwrap() {
                assert_eq!(
                    (&record["OperatorID"], &record["OperatorName"]),
                    (&json!("CH*ABC"), &json!("Operator CH*ABC"))
                );
                assert_eq!(record["deltaType"], "insert");
                assert!(record["lastUpdate"].as_str().unwrap().ends_with('Z'), "{record}");
                assert_eq!(record["GeoCoordinates"]["DecimalDegree"]["Latitude"], "46.94650", "{record}");
            }
            assert!(said.body.contains(r#""x-own":1.50"#), "unknown fields and number spelling survive");
            seen.extend(page(&said).into_iter().map(|(id, _)| id));
        }
        seen.sort();
        assert_eq!(seen, ids);
        // The default page has 20, the largest 2,000; a page behind the end is empty.
        assert_eq!(page(&post(&emp, PULL, JSON, pull(json!({}))).await).len(), 20);
        assert_eq!(page(&post(&emp, &format!("{PULL}?size=5000"), JSON, pull(json!({}))).await).len(), 45);
        assert_eq!(page(&post(&emp, &format!("{PULL}?page=9"), JSON, pull(json!({}))).await).len(), 0);
        assert_eq!(post(&emp, &format!("{PULL}?page=x"), JSON, pull(json!({}))).await.http, 400);
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

#[test]
fn a_search_center_finds_what_lies_within_its_radius() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (cpo, emp) = pair(dir.path()).await;
        // Bern; Thun, 26 km from it; Zurich, 95 km.
        let places = [("1", "46.94650 7.44417"), ("2", "46.75800 7.62800"), ("3", "47.37690 8.54170")];
        let body = String::from_utf8(push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2", "CH*ABC*E3"]).to_vec()).unwrap();
        let body = places.iter().fold(body, |body, (number, place)| {
            let id = format!("CH*ABC*E{number}");
            body.replace(&record(&id), &record(&id).replace("46.94650 7.44417", place))
        });
        push(&cpo, PUSH, body).await;
        push(&cpo, PUSH_STATUS, push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Available"), ("CH*ABC*E2", "Occupied"), ("CH*ABC*E3", "Available")])).await;
        until(&emp, "three", |view| view.view_statuses == 3 && view.feeds.iter().all(|feed| feed.in_sync)).await;
        for (radius, count) in [(1, 1), (20, 1), (30, 2), (90, 2), (120, 3)] {
            let center = json!({ "SearchCenter": { "GeoCoordinates": { "Google": { "Coordinates": "46.94650 7.44417" } }, "Radius": radius } });
            let said = post(&emp, PULL, JSON, pull(center.clone())).await;
            assert_eq!(page(&said).len(), count, "{radius} km: {said:?}");
            let mut center = center;
            center["ProviderID"] = json!("DE-EMP");
            let said = post(&emp, STATUS, JSON, center.to_string()).await;
            assert_eq!(said.body.matches("EvseID").count(), count, "{radius} km: {said:?}");
        }
        let wrong = json!({ "SearchCenter": { "GeoCoordinates": { "Google": { "Coordinates": "north" } }, "Radius": 5 } });
        assert_eq!(post(&emp, PULL, JSON, pull(wrong)).await.http, 400, "a filter is never ignored");
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

#[test]
fn statuses_come_in_three_forms_on_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (cpo, emp) = pair(dir.path()).await;
        push(&cpo, PUSH, push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"])).await;
        push(&cpo, PUSH_STATUS, push_status("fullLoad", "CH*ABC", &[("CH*ABC*E1", "Available"), ("CH*ABC*E2", "Occupied")])).await;
        until(&emp, "two", |view| view.view_statuses == 2 && view.feeds.iter().all(|feed| feed.in_sync)).await;
        let ask = async |path: &str, body: Value| post(&emp, path, JSON, body.to_string()).await;
        let both = json!([{ "EvseID": "CH*ABC*E1", "EvseStatus": "Available" }, { "EvseID": "CH*ABC*E2", "EvseStatus": "Occupied" }]);
        let block = |records: &Value| json!([{ "OperatorID": "CH*ABC", "OperatorName": "Operator CH*ABC", "EvseStatusRecord": records }]);
        let by_operator = format!("{STATUS}-by-operator-id");
        let by_id = format!("{STATUS}-by-id");
        for (path, body) in [
            (STATUS, json!({ "ProviderID": "DE-EMP" })),
            (STATUS, json!({ "ProviderID": "DE-EMP", "OperatorID": ["CH*ABC"] })),
            (by_operator.as_str(), json!({ "ProviderID": "DE-EMP", "OperatorID": ["CH*ABC", "CH*NON"] })),
        ] {
            let said = ask(path, body).await;
            assert_eq!(said.http, 200, "{said:?}");
            assert_eq!(said.json()["EvseStatuses"]["OperatorEvseStatus"], block(&both), "{path}");
        }
        // The pattern allows an operator that nobody can be.
        let nobody = json!({ "ProviderID": "DE-EMP", "OperatorID": ["+0*000"] });
        let said = ask(&by_operator, nobody).await;
        assert_eq!((said.http, &said.json()["EvseStatuses"]["OperatorEvseStatus"]), (200, &json!([])), "{said:?}");
        let nobodys = post(&emp, PULL, JSON, pull(json!({ "OperatorIds": ["+0*000"] }))).await;
        assert_eq!(page(&nobodys), []);
        let said = ask(STATUS, json!({ "ProviderID": "DE-EMP", "EvseStatus": "Occupied" })).await;
        assert_eq!(said.json()["EvseStatuses"]["OperatorEvseStatus"], block(&json!([both[1]])));
        for path in [STATUS, by_id.as_str()] {
            let said = ask(path, json!({ "ProviderID": "DE-EMP", "EvseID": ["CH*ABC*E2", "CH*ABC*E9"] })).await;
            let found = json!([both[1], { "EvseID": "CH*ABC*E9", "EvseStatus": "EvseNotFound" }]);
            assert_eq!(said.json()["EVSEStatusRecords"]["EvseStatusRecord"], found, "{path}: {said:?}");
        }
        let many: Vec<String> = (0..101).map(|number| format!("CH*ABC*E{number}")).collect();
        let table = [
            (by_id.as_str(), json!({ "ProviderID": "DE-EMP", "EvseID": many }), 400),
            (by_id.as_str(), json!({ "ProviderID": "DE-EMP" }), 400),
            (by_operator.as_str(), json!({ "ProviderID": "DE-EMP" }), 400),
            (STATUS, json!({ "ProviderID": "DE-XXX" }), 401),
            (STATUS, json!({}), 400),
        ];
        for (path, body, http) in table {
            let said = ask(path, body.clone()).await;
            assert_eq!(said.http, http, "{path} {body}: {said:?}");
        }
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

/// LastCall is compared with this node's own commit time: the difference of two valid sets, deletions with
/// their full content.
#[test]
fn a_delta_pull_gives_the_net_difference_with_deletions_in_full() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path());
        let emp = world.start(&plan).await;
        let cpo = world
            .start(&Plan::new("cpo", Some("CPO:CHABC"), dir.path()).bootstrap(emp.mesh_addresses()))
            .await;
        let settled = async |seq| {
            let done =
                |feed: &chargemesh::engine::FeedView| feed.kind == "data" && feed.in_sync && feed.seq == seq;
            until(&emp, "settled", |view| view.feeds.iter().any(done)).await
        };
        let begun_ms = i64::try_from(unix_s()).unwrap() * 1_000;
        let all = ["CH*ABC*E1", "CH*ABC*E2", "CH*ABC*E3"];
        push(&cpo, PUSH, push_data("fullLoad", "CH*ABC", &all)).await;
        settled(3).await;
        // The margin of a LastCall is a minute, so the EMP's clock goes on by more than that.
        plan.ahead_ms.store(150_000, std::sync::atomic::Ordering::Relaxed);
        let changed = String::from_utf8(push_data("update", "CH*ABC", &all[..1]).to_vec()).unwrap();
        push(&cpo, PUSH, changed.replace("1.50", "1.75")).await;
        push(&cpo, PUSH, push_data("delete", "CH*ABC", &all[2..])).await;
        push(&cpo, PUSH, push_data("insert", "CH*ABC", &["CH*ABC*E4", "CH*ABC*E5"])).await;
        push(&cpo, PUSH, push_data("delete", "CH*ABC", &["CH*ABC*E5"])).await;
        settled(8).await;
        let delta = async |last_call_ms: i64| {
            let last_call = chargemesh::oicp::time::format_ms(last_call_ms);
            post(&emp, PULL, JSON, pull(json!({ "LastCall": last_call }))).await
        };
        let said = delta(begun_ms + 100_000).await;
        let row = |id: &str, delta: &str| (id.to_owned(), delta.to_owned());
        assert_eq!(
            page(&said),
            [row("CH*ABC*E1", "update"), row("CH*ABC*E3", "delete"), row("CH*ABC*E4", "insert")],
            "{said:?}"
        );
        let body = said.json();
        let of = |id: &str| {
            body["content"].as_array().unwrap().iter().find(|record| record["EvseID"] == id).unwrap().clone()
        };
        let deleted = of("CH*ABC*E3");
        for field in [
            "Address",
            "Plugs",
            "ChargingFacilities",
            "AuthenticationModes",
            "OperatorID",
            "lastUpdate",
            "x-own",
        ] {
            assert!(!deleted[field].is_null(), "{field} of the deleted record: {deleted}");
        }
        assert_eq!(of("CH*ABC*E1")["x-own"].to_string(), "1.75");
        // Before anything was known here: everything is new. After the last change: nothing is.
        let since_ever = page(&delta(begun_ms - 3_600_000).await);
        assert_eq!(since_ever.iter().map(|(_, delta)| delta.as_str()).collect::<Vec<_>>(), ["insert"; 3]);
        assert_eq!(page(&delta(begun_ms + 300_000).await), []);
        assert_eq!(post(&emp, PULL, JSON, pull(json!({ "LastCall": "yesterday" }))).await.http, 400);
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}
