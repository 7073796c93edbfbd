//! Dynamic pricing between real nodes: what an operator pushes at its node providers pull at theirs, each what is for
//! everybody and what is for it alone.

use std::path::Path;
use std::sync::atomic::Ordering;

use chargemesh::engine::NodeView;
use chargemesh::node::Node;
use chargemesh::oicp::pricing::PricingNames;
use serde_json::{Value, json};

use crate::support::{Plan, World, post, runtime, unix_s, until};

const JSON: &str = "application/json";
const BASE: &str = "/api/oicp/dynamicpricing/v10";

fn product(id: &str, price: &str) -> String {
    format!(
        r#"{{"ProductID":"{id}","ReferenceUnit":"HOUR","ProductPriceCurrency":"EUR","PricePerReferenceUnit":{price},"MaximumProductChargingPower":22.0,"IsValid24hours":true,"ProductAvailabilityTimes":[],"x-own":1.50}}"#
    )
}

fn products(action: &str, provider: &str, products: &[String]) -> String {
    format!(
        r#"{{"ActionType":"{action}","PricingProductData":{{"OperatorID":"CH*ABC","OperatorName":"ABC","ProviderID":"{provider}","PricingDefaultPrice":0.30,"PricingDefaultPriceCurrency":"EUR","PricingDefaultReferenceUnit":"KILOWATT_HOUR","PricingProductDataRecords":[{}]}}}}"#,
        products.join(",")
    )
}

fn evses(action: &str, records: &[(&str, &str, &str)]) -> String {
    let record = |(evse, provider, product): &(&str, &str, &str)| {
        format!(r#"{{"EvseID":"{evse}","ProviderID":"{provider}","EvseIDProductList":["{product}"]}}"#)
    };
    let records: Vec<String> = records.iter().map(record).collect();
    format!(r#"{{"ActionType":"{action}","EVSEPricing":[{}]}}"#, records.join(","))
}

/// The code of a push.
async fn push(cpo: &Node, what: &str, body: String) -> String {
    let said = post(cpo, &format!("{BASE}/operators/CH*ABC/{what}"), JSON, body).await;
    assert_eq!(said.http, 200, "{said:?}");
    let said = said.json();
    assert_eq!(said["Result"], json!(said["StatusCode"]["Code"] == "000"), "{said}");
    said["StatusCode"]["Code"].as_str().unwrap().to_owned()
}

async fn pull(emp: &Node, provider: &str, what: &str, more: Value) -> Value {
    let mut body = json!({ "ProviderID": provider, "OperatorIDs": ["CH*ABC"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let said = post(emp, &format!("{BASE}/providers/{provider}/{what}"), JSON, body.to_string()).await;
    assert_eq!(said.http, 200, "{said:?}");
    assert_eq!(said.json()["StatusCode"]["Code"], "000");
    said.json()
}

/// EVSE, provider and product of what an answer lists.
fn priced(answer: &Value, list: &str) -> Vec<String> {
    let blocks = answer[list].as_array().unwrap_or_else(|| panic!("{answer}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let records = blocks.iter().flat_map(|block| {
        assert_eq!(block["OperatorID"], "CH*ABC");
        block["EVSEPricing"].as_array().unwrap()
    });
    let said = |record: &Value| {
        format!(
            "{} {} {}",
            text(&record["EvseID"]),
            text(&record["ProviderID"]),
            text(&record["EvseIDProductList"][0])
        )
    };
    records.map(said).collect()
}

/// Provider and products of each price list.
fn lists(answer: &Value, list: &str) -> Vec<String> {
    let lists = answer[list].as_array().unwrap_or_else(|| panic!("{answer}"));
    let said = |list: &Value| {
        assert_eq!(list["PricingDefaultPrice"].to_string(), "0.3", "{list}");
        let mut products: Vec<&str> = (list["PricingProductDataRecords"].as_array().unwrap().iter())
            .map(|product| product["ProductID"].as_str().unwrap())
            .collect();
        products.sort_unstable();
        format!("{}: {}", list["ProviderID"].as_str().unwrap(), products.join(","))
    };
    lists.iter().map(said).collect()
}

/// The feeds of prices are known up to these numbers of changes: of everybody's, of the closed one.
fn knows(public: u64, closed: Option<u64>) -> impl Fn(&NodeView) -> bool {
    move |view| {
        let of = |is_closed: bool| {
            let mut feeds =
                view.feeds.iter().filter(|f| f.kind == "pricing" && f.audience.is_empty() != is_closed);
            feeds.next().map(|feed| (feed.seq, feed.in_sync))
        };
        of(false) == Some((public, true)) && of(true) == closed.map(|seq| (seq, true))
    }
}

fn on_disk(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        // A database that is closed takes its log along.
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

const EVSES: &str = "evse-pricing";
const PRODUCTS: &str = "pricing-products";

#[test]
fn each_provider_pulls_at_its_own_node_what_is_for_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let one_plan = Plan::new("one", Some("EMP:DEONE"), dir.path());
        let one = world.start(&one_plan).await;
        let mut two_plan = Plan::new("two", Some("EMP:DETWO"), dir.path()).bootstrap(one.mesh_addresses());
        for backend in two_plan.settings.facade.iter_mut().flat_map(|facade| &mut facade.backends) {
            backend.pricing_names = PricingNames::Operator;
        }
        let two = world.start(&two_plan).await;
        let cpo_plan = Plan::new("cpo", Some("CPO:CHABC"), dir.path()).bootstrap(one.mesh_addresses());
        let cpo = world.start(&cpo_plan).await;
        until(&cpo, "both peers", |view| view.peers.len() == 2).await;

        let begun_ms = i64::try_from(unix_s()).unwrap() * 1_000;
        let public = [product("AC 1", "1.50"), product("DC", "2.00")];
        assert_eq!(push(&cpo, PRODUCTS, products("fullLoad", "*", &public)).await, "000");
        assert_eq!(
            push(&cpo, PRODUCTS, products("insert", "DE-ONE", &[product("SECRET-ONE", "0.10")])).await,
            "000"
        );
        let all =
            [("CH*ABC*E1", "*", "AC 1"), ("CH*ABC*E2", "DE*ONE", "SECRET-ONE"), ("CH*ABC*E2", "*", "DC")];
        assert_eq!(push(&cpo, EVSES, evses("fullLoad", &all)).await, "000");
        until(&one, "all prices", knows(5, Some(3))).await;
        until(&two, "everybody's", knows(5, None)).await;

        let nothing = json!({});
        let everybodys = ["CH*ABC*E1 * AC 1", "CH*ABC*E2 * DC"];
        let ones = ["CH*ABC*E1 * AC 1", "CH*ABC*E2 * DC", "CH*ABC*E2 DE*ONE SECRET-ONE"];
        let plain = pull(&one, "DE-ONE", EVSES, nothing.clone()).await;
        assert_eq!(priced(&plain, "EVSEPricing"), ones);
        let said = pull(&one, "DE-ONE", PRODUCTS, nothing.clone()).await;
        assert_eq!(lists(&said, "PricingProductData"), ["*: AC 1,DC", "DE-ONE: SECRET-ONE"]);
        assert!(said.to_string().contains(r#""x-own":1.5"#), "unknown fields survive: {said}");
        let said = pull(&two, "DE-TWO", EVSES, nothing.clone()).await;
        assert_eq!(priced(&said, "OperatorEVSEPricing"), everybodys, "another provider, and the other names");
        let said = pull(&two, "DE-TWO", PRODUCTS, nothing.clone()).await;
        assert_eq!(lists(&said, "OperatorPricingProducts"), ["*: AC 1,DC"]);
        let other = post(
            &two,
            &format!("{BASE}/providers/DE-ONE/{EVSES}"),
            JSON,
            r#"{"ProviderID":"DE-ONE","OperatorIDs":["CH*ABC"]}"#,
        )
        .await;
        assert_eq!(other.http, 401, "nobody asks in the name of another");
        let said = pull(&one, "DE-ONE", EVSES, json!({ "OperatorIDs": ["CH*XYZ"] })).await;
        assert_eq!(priced(&said, "EVSEPricing"), Vec::<String>::new());

        // Only what changed since LastCall, whose margin is a minute.
        one_plan.ahead_ms.store(150_000, Ordering::Relaxed);
        assert_eq!(push(&cpo, EVSES, evses("update", &[("CH*ABC*E1", "*", "DC")])).await, "000");
        assert_eq!(push(&cpo, PRODUCTS, products("delete", "*", &[product("AC 1", "1.50")])).await, "000");
        until(&one, "the changes", knows(8, Some(3))).await;
        let since = json!({ "LastCall": chargemesh::oicp::time::format_ms(begun_ms + 100_000) });
        let news = pull(&one, "DE-ONE", EVSES, since.clone()).await;
        assert_eq!(priced(&news, "EVSEPricing"), ["CH*ABC*E1 * DC"]);
        let news = pull(&one, "DE-ONE", PRODUCTS, since).await;
        assert_eq!(
            lists(&news, "PricingProductData"),
            ["*: DC"],
            "the list of which a product is gone, as it is"
        );
        let later = json!({ "LastCall": chargemesh::oicp::time::format_ms(begun_ms + 400_000) });
        assert_eq!(priced(&pull(&one, "DE-ONE", EVSES, later).await, "EVSEPricing"), Vec::<String>::new());

        // A price that is deleted, and a list with its last product.
        assert_eq!(push(&cpo, EVSES, evses("delete", &[("CH*ABC*E2", "DE-ONE", "SECRET-ONE")])).await, "000");
        assert_eq!(
            push(&cpo, PRODUCTS, products("delete", "DE-ONE", &[product("SECRET-ONE", "0.10")])).await,
            "000"
        );
        until(&one, "the deletions", knows(8, Some(6))).await;
        let left = ["CH*ABC*E1 * DC", "CH*ABC*E2 * DC"];
        assert_eq!(priced(&pull(&one, "DE-ONE", EVSES, nothing.clone()).await, "EVSEPricing"), left);
        assert_eq!(
            lists(&pull(&one, "DE-ONE", PRODUCTS, nothing.clone()).await, "PricingProductData"),
            ["*: DC"]
        );

        // Another one for it, and all are started again.
        assert_eq!(push(&cpo, EVSES, evses("insert", &[("CH*ABC*E1", "DE-ONE", "DC")])).await, "000");
        until(&one, "the new one", knows(8, Some(7))).await;
        cpo.shutdown().await;
        one.shutdown().await;
        two.shutdown().await;
        let data_dir = |name: &str| dir.path().join(name);
        assert!(on_disk(&data_dir("one"), "SECRET-ONE"), "the look finds what is or was there");
        assert!(!on_disk(&data_dir("two"), "SECRET-ONE"), "at the third node");
        assert!(on_disk(&data_dir("two"), "AC 1"), "which holds what is everybody's");
        let one = world.start(&one_plan).await;
        let now = ["CH*ABC*E1 * DC", "CH*ABC*E1 DE-ONE DC", "CH*ABC*E2 * DC"];
        assert_eq!(
            priced(&pull(&one, "DE-ONE", EVSES, nothing.clone()).await, "EVSEPricing"),
            now,
            "from its own disk"
        );
        let cpo = world.start(&cpo_plan.bootstrap(one.mesh_addresses())).await;
        assert_eq!(push(&cpo, EVSES, evses("update", &[("CH*ABC*E1", "DE-ONE", "AC 1")])).await, "000");
        until(&one, "a change after the restart", knows(8, Some(8))).await;
        let now = ["CH*ABC*E1 * DC", "CH*ABC*E1 DE-ONE AC 1", "CH*ABC*E2 * DC"];
        assert_eq!(priced(&pull(&one, "DE-ONE", EVSES, nothing).await, "EVSEPricing"), now);
        cpo.shutdown().await;
        one.shutdown().await;
    });
}

/// What the actions do, and what is refused as a whole.
#[test]
fn prices_are_pushed_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let plan = Plan::new("both", Some("CPO:CHABC"), dir.path()).also("EMP:DEONE");
        let node = world.start(&plan).await;
        let e = |number: &'static str, product: &'static str| (number, "*", product);
        let (e1, e2, e3) = (e("CH*ABC*E1", "a"), e("CH*ABC*E2", "a"), e("CH*ABC*E3", "a"));
        for (action, records, code, left) in [
            ("update", vec![e1], "009", vec![]),
            ("insert", vec![e1, e2], "000", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * a"]),
            ("insert", vec![e2, e3], "009", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * a"]),
            ("update", vec![e2, e3], "009", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * a"]),
            ("update", vec![e("CH*ABC*E2", "b")], "000", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * b"]),
            ("update", vec![e1, e1], "018", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * b"]),
            ("insert", vec![e("CH*XYZ*E1", "a")], "018", vec!["CH*ABC*E1 * a", "CH*ABC*E2 * b"]),
            (
                "insert",
                vec![("CH*ABC*E1", "DE-ONE", "x")],
                "000",
                vec!["CH*ABC*E1 * a", "CH*ABC*E1 DE-ONE x", "CH*ABC*E2 * b"],
            ),
            ("insert", vec![], "000", vec!["CH*ABC*E1 * a", "CH*ABC*E1 DE-ONE x", "CH*ABC*E2 * b"]),
            ("delete", vec![e1, e3], "000", vec!["CH*ABC*E1 DE-ONE x", "CH*ABC*E2 * b"]),
            ("fullLoad", vec![e2], "000", vec!["CH*ABC*E2 * a"]),
            // An empty full load needs a confirmation (`decisions.md` 12).
            ("fullLoad", vec![], "009", vec!["CH*ABC*E2 * a"]),
        ] {
            assert_eq!(push(&node, EVSES, evses(action, &records)).await, code, "{action} {records:?}");
            let now = pull(&node, "DE-ONE", EVSES, json!({})).await;
            assert_eq!(priced(&now, "EVSEPricing"), left, "{action} {records:?}");
        }
        let p = |id: &str| product(id, "1.0");
        for (action, provider, given, code, left) in [
            ("update", "*", vec![p("a")], "009", vec![]),
            ("update", "*", vec![], "009", vec![]),
            ("insert", "*", vec![p("a"), p("b")], "000", vec!["*: a,b"]),
            ("insert", "*", vec![p("b"), p("c")], "009", vec!["*: a,b"]),
            ("insert", "*", vec![p("c")], "000", vec!["*: a,b,c"]),
            ("update", "*", vec![p("d")], "009", vec!["*: a,b,c"]),
            ("fullLoad", "DE-ONE", vec![p("a")], "000", vec!["*: a,b,c", "DE-ONE: a"]),
            ("fullLoad", "*", vec![p("c")], "000", vec!["*: c", "DE-ONE: a"]),
            ("delete", "*", vec![p("c"), p("z")], "000", vec!["DE-ONE: a"]),
            ("fullLoad", "DE-ONE", vec![], "009", vec!["DE-ONE: a"]),
        ] {
            let body = products(action, provider, &given);
            assert_eq!(push(&node, PRODUCTS, body).await, code, "{action} {provider} {given:?}");
            let now = pull(&node, "DE-ONE", PRODUCTS, json!({})).await;
            assert_eq!(lists(&now, "PricingProductData"), left, "{action} {provider} {given:?}");
        }
        let now = pull(&node, "DE-ONE", EVSES, json!({})).await;
        assert_eq!(priced(&now, "EVSEPricing"), ["CH*ABC*E2 * a"], "lists and EVSEs do not meet");
        // Page and size cut a part out, for clients that go on until nothing comes.
        for (query, found) in [("?page=0&size=1", 1), ("?page=1&size=1", 0), ("?size=5", 1)] {
            let path = format!("{BASE}/providers/DE-ONE/{EVSES}{query}");
            let said = post(&node, &path, JSON, r#"{"ProviderID":"DE-ONE","OperatorIDs":["CH*ABC"]}"#).await;
            assert_eq!(said.body.matches("EvseID\"").count(), found, "{query}: {said:?}");
        }
        for (path, body, http) in [
            (format!("{BASE}/operators/CH*XYZ/{EVSES}"), evses("insert", &[]), 401),
            (
                format!("{BASE}/operators/CH*ABC/{PRODUCTS}"),
                products("insert", "*", &[]).replace("CH*ABC", "CH*XYZ"),
                401,
            ),
            (format!("{BASE}/operators/CH*ABC/{EVSES}"), "{}".into(), 400),
            (
                format!("{BASE}/providers/DE-ONE/{EVSES}"),
                r#"{"ProviderID":"DE-TWO","OperatorIDs":[]}"#.into(),
                401,
            ),
            (format!("{BASE}/providers/DE-ONE/{PRODUCTS}"), "{}".into(), 400),
            (format!("{BASE}/providers/DE-ONE/{EVSES}?size=x"), "{}".into(), 400),
        ] {
            let said = post(&node, &path, JSON, body).await;
            assert_eq!(said.http, http, "{path}: {said:?}");
        }
        node.shutdown().await;
    });
}
