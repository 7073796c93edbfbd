//! An EMP without a backend pushes its cards to its node, which answers a CPO's questions from them, also after a
//! restart. What is secret among them is nowhere in clear text.

use std::path::Path;

use chargemesh::engine::NodeView;
use chargemesh::node::Node;

use crate::support::{Plan, World, post, runtime, unix_s, until};

const JSON: &str = "application/json";
const PIN: &str = "secret-of-a-driver";
const CARD: &str = r#"{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"}}"#;
const OTHER_CARD: &str = r#"{"RFIDMifareFamilyIdentification":{"UID":"FFFFFFFF"}}"#;

fn qr(pin: &str) -> String {
    format!(r#"{{"QRCodeIdentification":{{"EvcoID":"DE-EMP-C12345678-X","PIN":"{pin}"}}}}"#)
}

async fn upload(emp: &Node, action: &str, media: &[&str]) -> serde_json::Value {
    let records: Vec<String> =
        media.iter().map(|medium| format!("{{\"Identification\":{medium}}}")).collect();
    let body = format!(
        r#"{{"ActionType":"{action}","ProviderAuthenticationData":{{"ProviderID":"DE-EMP","AuthenticationDataRecord":[{}]}}}}"#,
        records.join(",")
    );
    let said = post(emp, "/api/oicp/authdata/v21/providers/DE-EMP/push-request", JSON, body).await;
    assert_eq!(said.http, 200, "{}", said.body);
    said.json()
}

/// Verdict and code.
async fn authorize(cpo: &Node, medium: &str) -> (serde_json::Value, String) {
    let body = format!(r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{medium}}}"#);
    let path = "/api/oicp/charging/v21/operators/CH*ABC/authorize/start";
    let said = post(cpo, path, JSON, body).await.json();
    let code = said["StatusCode"]["Code"].as_str().unwrap().to_owned();
    (said, code)
}

async fn stop(cpo: &Node, session: &str, medium: &str) -> String {
    let body = format!(r#"{{"OperatorID":"CH*ABC","SessionID":"{session}","Identification":{medium}}}"#);
    let path = "/api/oicp/charging/v21/operators/CH*ABC/authorize/stop";
    let said = post(cpo, path, JSON, body).await.json();
    said["StatusCode"]["Code"].as_str().unwrap().to_owned()
}

async fn agree(cpo: &Node, emp: &Node) {
    let until_unix_s = unix_s() + 86_400;
    let offer = format!(
        r#"{{"partner":"EMP:DE-EMP","services":["Authorization"],"valid_until_unix_s":{until_unix_s}}}"#
    );
    assert_eq!(post(cpo, "/admin/v1/agreements", JSON, offer).await.http, 200);
    let id = until(emp, "an offer", |view| !view.agreements.is_empty()).await.agreements[0].id.clone();
    assert_eq!(post(emp, &format!("/admin/v1/agreements/{id}/accept"), JSON, String::new()).await.http, 200);
}

fn partner(view: &NodeView) -> bool {
    view.partners.iter().any(|partner| partner.party == "EMP:DEEMP" && partner.connected)
}

fn holds(dir: &Path, secret: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

#[test]
fn an_emp_without_a_backend_is_answered_for_from_what_it_pushed() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let cpo = world.start(&Plan::new("cpo", Some("CPO:CHABC"), dir.path())).await;
        let emp_plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path()).bootstrap(cpo.mesh_addresses());
        let emp = world.start(&emp_plan).await;
        until(&cpo, "a peer", |view| !view.peers.is_empty()).await;
        agree(&cpo, &emp).await;
        until(&cpo, "a partner", partner).await;

        let code_of = |said: serde_json::Value| said["StatusCode"]["Code"].as_str().unwrap().to_owned();
        assert_eq!(code_of(upload(&emp, "fullLoad", &[CARD, &qr(PIN)]).await), "000");
        assert_eq!(code_of(upload(&emp, "insert", &[OTHER_CARD, CARD]).await), "009");
        let foreign = qr("1").replace("DE-EMP", "DE-XYZ");
        assert_eq!(code_of(upload(&emp, "insert", &[&foreign]).await), "019");

        let (said, code) = authorize(&cpo, CARD).await;
        assert_eq!(
            (said["AuthorizationStatus"].as_str(), code.as_str()),
            (Some("Authorized"), "000"),
            "{said}"
        );
        assert_eq!(said["ProviderID"], "DE-EMP");
        let session = said["SessionID"].as_str().unwrap().to_owned();
        assert_eq!(authorize(&cpo, OTHER_CARD).await.1, "102");
        assert_eq!(authorize(&cpo, &qr(PIN)).await.1, "000");
        assert_eq!(authorize(&cpo, &qr("another")).await.1, "101");
        assert_eq!(stop(&cpo, &session, OTHER_CARD).await, "102");

        emp.shutdown().await;
        let (kept, told) = (dir.path().join("emp"), dir.path().join("cpo"));
        assert!(holds(&kept, "04A2B3C4") && !holds(&kept, PIN), "a PIN is kept as its hash only");
        let emp = world.start(&emp_plan).await;
        until(&cpo, "the partner again", partner).await;
        until(&emp, "its peer again", |view| view.partners.iter().any(|partner| partner.connected)).await;
        assert_eq!(authorize(&cpo, CARD).await.1, "000");
        assert_eq!(authorize(&cpo, &qr(PIN)).await.1, "000");
        assert_eq!(stop(&cpo, &session, CARD).await, "000");
        assert_eq!(code_of(upload(&emp, "fullLoad", &[]).await), "000");
        assert_ne!(authorize(&cpo, CARD).await.1, "000", "an empty full load deletes everything");
        for node in [emp, cpo] {
            node.shutdown().await;
        }
        assert!(!holds(&told, PIN), "no PIN is kept where it was asked with");
    });
}
