//! The register of a whole country through push, gossip and pull: what comes out at another node validates, or has
//! only what its owner left out.

use std::collections::{BTreeMap, BTreeSet};

use chargemesh::node::Node;
use chargemesh::oicp::conform::validate_record;
use chargemesh::oicp::finding::{Finding, Severity};
use chargemesh::oicp::id::EvseId;
use chargemesh::oicp::json::{self, Node as Json};
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::register;

use crate::support::skips::{shared, unpacked};
use crate::support::{Plan, World, post, runtime, until};

const REGISTER: &str = "data/switzerland/EVSEData.2026-04-03.json.gz";
const PUSH: &str = "/api/oicp/evsepush/v23/operators/CH*REG/data-records";
const PULL: &str = "/api/oicp/evsepull/v23/providers/DE-EMP/data-records";
const JSON: &str = "application/json";
/// The largest page.
const PAGE: usize = 2_000;

/// What was pushed: rules and places that only the owner can mend, by EVSE.
type Known = BTreeMap<String, BTreeSet<(String, String)>>;

fn left_to_the_owner(findings: &[Finding]) -> BTreeSet<(String, String)> {
    let owners = findings.iter().filter(|finding| finding.severity == Severity::OwnerMustSupply);
    owners.map(|finding| (finding.rule.to_string(), finding.pointer.to_lowercase())).collect()
}

fn text<'n>(record: &'n Json<'_>, name: &str) -> &'n str {
    record.field_any_case(&[name]).and_then(Json::as_str).unwrap_or_default()
}

/// Pulls page by page and checks every record; how many came, and how many of them conform.
async fn pulled(emp: &Node, known: &Known) -> (usize, usize) {
    let (mut seen, mut conforming) = (BTreeSet::new(), 0);
    for page in 0.. {
        let body = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;
        let said = post(emp, &format!("{PULL}?page={page}&size={PAGE}"), JSON, body).await;
        assert_eq!(said.http, 200);
        let answer = json::parse(said.body.as_bytes(), Reading::Strict).unwrap();
        let records = answer.field("content").unwrap().items();
        for record in records {
            let id = EvseId::parse(text(record, "EvseID")).unwrap();
            let findings = validate_record(record);
            let repairable = findings.iter().find(|finding| finding.severity == Severity::Error);
            assert!(repairable.is_none(), "{}: {repairable:?}", id.as_str());
            let left = left_to_the_owner(&findings);
            let of_its_owner = &known[id.key().as_str()];
            assert!(left.is_subset(of_its_owner), "{}: {left:?}, pushed with {of_its_owner:?}", id.as_str());
            conforming += usize::from(left.is_empty());
            assert!(seen.insert(id.key().as_str().to_owned()), "{} came twice", id.as_str());
        }
        if records.len() < PAGE {
            return (seen.len(), conforming);
        }
    }
    unreachable!("a page is the last one")
}

#[test]
fn what_is_pulled_of_the_register_validates_or_lacks_what_its_owner_left_out() {
    let test = "what_is_pulled_of_the_register_validates_or_lacks_what_its_owner_left_out";
    let Some(file) = shared(test, REGISTER) else { return };
    let bytes = unpacked(&file);
    let tree = json::parse(&bytes, Reading::Tolerant).unwrap();
    let register = register::read(&tree).unwrap();
    let (mut known, mut operators, mut records): (Known, BTreeSet<String>, Vec<&str>) = Default::default();
    for record in register.blocks.iter().flat_map(|block| &block.records) {
        let id = EvseId::parse(text(record, "EvseID")).unwrap();
        // Two EVSEs are in it twice.
        if known.contains_key(id.key().as_str()) {
            continue;
        }
        known.insert(id.key().as_str().to_owned(), left_to_the_owner(&validate_record(record)));
        operators.insert(id.key().operator().to_owned());
        records.push(record.raw());
    }
    assert_eq!(records.len(), 18_425);
    let body = format!(
        r#"{{"ActionType":"fullLoad","OperatorEvseData":{{"OperatorID":"CH*REG","OperatorName":"Register","EvseDataRecord":[{}]}}}}"#,
        records.join(",")
    );
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let subs: Vec<&str> = operators.iter().map(String::as_str).collect();
        let plan = Plan::new("cpo", Some("CPO:CHREG"), dir.path()).subs(&subs);
        let cpo = world.start(&plan.bootstrap(emp.mesh_addresses())).await;
        let said = post(&cpo, PUSH, JSON, body).await;
        assert_eq!(said.json()["Result"], true, "{said:?}");
        until(&emp, "the register", |view| {
            view.view_evses == 18_425 && view.feeds.iter().all(|feed| feed.in_sync)
        })
        .await;
        let (count, conforming) = pulled(&emp, &known).await;
        assert_eq!(count, 18_425);
        println!(
            "{count} records pulled, {conforming} without a finding, the others with those of their owners"
        );
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}
