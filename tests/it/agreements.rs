//! Agreements between real nodes: offered and accepted through the admin API and the command line, in force on
//! both sides, kept over a restart, and ended.

use std::path::Path;
use std::process::{Command, Stdio};

use chargemesh::engine::NodeView;
use chargemesh::identity::PartyId;
use chargemesh::node::Node;
use chargemesh::roaming::{Policy, Rule, Whom};

use crate::cli::{call, told as told_by, wait_for};
use crate::support::{Plan, World, post, runtime, unix_s, until};

/// Calls the binary against a node, whose tasks have threads of their own.
fn agreement(node: &Node, args: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", node.facade_address().unwrap());
    let args = ["agreement"].iter().chain(args).chain(&["--node"]);
    let binary = env!("CARGO_BIN_EXE_chargemesh");
    let output = Command::new(binary).args(args).arg(url).stdin(Stdio::null()).output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), told)
}

fn in_state(state: &'static str) -> impl Fn(&NodeView) -> bool {
    move |view| view.agreements.iter().any(|agreement| agreement.state == state)
}

/// The decision of a node about a partner and a service, over HTTP.
async fn decision(node: &Node, partner: &str, service: &str) -> (String, Option<String>) {
    let url = format!("http://{}/admin/v1/permissions/{partner}", node.facade_address().unwrap());
    let client = crate::support::http_client();
    let text = client.get(url).send().await.unwrap().text().await.unwrap();
    let said: serde_json::Value = serde_json::from_str(&text).unwrap();
    let permissions = said["permissions"].as_array().unwrap();
    let of = permissions.iter().find(|permission| permission["service"] == service).unwrap();
    (of["decision"].as_str().unwrap().to_owned(), of["code"].as_str().map(str::to_owned))
}

fn no_contract() -> (String, Option<String>) {
    ("no contract".to_owned(), Some("210".to_owned()))
}

fn allowed() -> (String, Option<String>) {
    ("allowed".to_owned(), None)
}

fn plans(dir: &Path, boot: &Node) -> (Plan, Plan) {
    let plan = |name, party| Plan::new(name, Some(party), dir).bootstrap(boot.mesh_addresses());
    (plan("cpo", "CPO:CHABC"), plan("emp", "EMP:DEEMP"))
}

#[test]
fn an_agreement_is_made_and_ended_through_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let boot = world.start(&Plan::new("boot", None, dir.path())).await;
        let (cpo_plan, emp_plan) = plans(dir.path(), &boot);
        let cpo = world.start(&cpo_plan).await;
        let emp = world.start(&emp_plan).await;
        assert_eq!(decision(&cpo, "EMP:DE-EMP", "Cdr").await, no_contract());
        assert_eq!(decision(&cpo, "EMP:DE-EMP", "EvseData").await, allowed());

        let (code, told) =
            agreement(&cpo, &["offer", "EMP:DE-EMP", "--services", "authorization,Cdr", "--days", "30"]);
        assert_eq!(code, Some(0), "{told}");
        let id = told.split(':').next().unwrap().to_owned();
        until(&emp, "an offer", in_state("offered")).await;
        let (code, told) = agreement(&emp, &["list"]);
        assert!(code == Some(0) && told.contains("offered to us"), "{told}");
        assert!(told.contains("CPO:CHABC") && told.contains("Authorization,Cdr"), "{told}");
        let (code, told) = agreement(&cpo, &["accept", &id[..8]]);
        assert!(code == Some(1) && told.contains("our own offer"), "{told}");

        let (code, told) = agreement(&emp, &["accept", &id[..8]]);
        assert_eq!(code, Some(0), "{told}");
        let (code, told) = agreement(&emp, &["accept", &id[..8]]);
        assert!(code == Some(0) && told.contains("accepted already, on "), "{told}");
        until(&cpo, "the acceptance", in_state("agreed")).await;
        for (node, partner) in [(&cpo, "EMP:DEEMP"), (&emp, "CPO:CHABC")] {
            assert_eq!(decision(node, partner, "Cdr").await, allowed());
            assert_eq!(decision(node, partner, "Reservation").await, no_contract());
            let (code, told) = agreement(node, &["check", partner]);
            assert!(code == Some(0) && told.contains("210") && told.contains("allowed"), "{told}");
            let (_, told) = agreement(node, &["list"]);
            assert!(told.contains("in force"), "{told}");
        }

        // A restart of either keeps it, though the other is away.
        cpo.shutdown().await;
        emp.shutdown().await;
        let emp = world.start(&emp_plan).await;
        assert_eq!(decision(&emp, "CPO:CHABC", "Cdr").await, allowed());
        let (code, told) = agreement(&emp, &["end", &id]);
        assert!(code == Some(0) && !told.contains("already"), "{told}");
        let (code, told) = agreement(&emp, &["end", &id]);
        assert!(code == Some(0) && told.contains("ended already") && told.contains("by EMP:DEEMP"), "{told}");
        let (code, told) = agreement(&emp, &["accept", &id]);
        assert!(code == Some(1) && told.contains("was ended on"), "{told}");
        assert_eq!(decision(&emp, "CPO:CHABC", "Cdr").await, no_contract(), "at once");
        let cpo = world.start(&cpo_plan).await;
        until(&cpo, "the end", in_state("ended")).await;
        assert_eq!(decision(&cpo, "EMP:DEEMP", "Cdr").await, no_contract());
        let (_, told) = agreement(&cpo, &["list"]);
        assert!(told.contains("ended by EMP:DEEMP"), "{told}");
        let (code, told) = agreement(&cpo, &["end", "ffffffff"]);
        assert!(code == Some(1) && told.contains("begins like this"), "{told}");
        let url = format!("http://{}", cpo.facade_address().unwrap());
        wait_for("that the partner is known", || {
            let said = told_by(&call(dir.path(), &["trust", "show", "--node", &url]));
            said.contains("EMP:DEEMP").then_some(())
        });
        let (code, told) = agreement(&cpo, &["offer", "EMP:DEEMP", "--services", "Cdr"]);
        assert!(code == Some(0) && !told.contains("Nobody here knows"), "{told}");
        let (code, told) = agreement(&cpo, &["offer", "emp:xy-123", "--services", "Cdr"]);
        assert!(code == Some(0) && told.contains("Nobody here knows EMP:XY123 yet"), "{told}");
        let (code, told) = agreement(&cpo, &["offer", "cpo:ch*abc", "--services", "Cdr"]);
        assert!(code == Some(1) && told.contains("CPO:CHABC is a party of this node"), "{told}");
        let (code, _) = agreement(&cpo, &["offer", "DE-EMP", "--services", "Cdr"]);
        assert_eq!(code, Some(1), "a party without its role");
        let (code, _) = agreement(&cpo, &["offer", "EMP:DE-EMP", "--services", "Parking"]);
        assert_eq!(code, Some(2), "no such service");
        for node in [cpo, emp, boot] {
            node.shutdown().await;
        }
    });
}

#[test]
fn the_policy_of_the_settings_goes_over_agreements_and_bad_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let rule = |party: &str, allow| Rule {
            whom: Whom { party: Some(PartyId::parse(party).unwrap()), ..Whom::default() },
            services: std::collections::BTreeSet::new(),
            allow,
        };
        let mut plan = Plan::new("cpo", Some("CPO:CHABC"), dir.path());
        plan.settings.policy = Policy { rules: vec![rule("EMP:DEBAD", false), rule("EMP:DEOWN", true)] };
        let cpo = world.start(&plan).await;
        let denied = ("denied".to_owned(), Some("017".to_owned()));
        assert_eq!(decision(&cpo, "EMP:DE-BAD", "EvseData").await, denied);
        assert_eq!(decision(&cpo, "EMP:DE-OWN", "Cdr").await, allowed());
        assert_eq!(decision(&cpo, "EMP:DE-XYZ", "Cdr").await, no_contract());

        let until_s = unix_s() + 86_400;
        let offer = |partner: &str| {
            format!(r#"{{"partner":"{partner}","services":["Cdr"],"valid_until_unix_s":{until_s}}}"#)
        };
        for (path, body, http) in [
            ("/admin/v1/agreements", "{}".to_owned(), 400),
            ("/admin/v1/agreements", offer("DE-XYZ"), 400),
            ("/admin/v1/agreements", "x".repeat(100_000), 400),
            ("/admin/v1/agreements", offer("CPO:DE-XYZ"), 409),
            ("/admin/v1/agreements", offer("EMP:DE-XYZ"), 200),
            ("/admin/v1/agreements/abc/accept", String::new(), 404),
            (&format!("/admin/v1/agreements/{}/end", "00".repeat(32)), String::new(), 404),
        ] {
            let said = post(&cpo, path, "application/json", body.clone()).await;
            assert_eq!(said.http, http, "{path} {body:.60}: {said:?}");
        }
        cpo.shutdown().await;
    });
}
