//! Charge detail records between whole nodes, held against what was pushed of their EVSE and of price products.

use chargemesh::backend::Kind;

use super::cdr::{CDR, cdr, cdrs_of, until_both};
use super::stage::{REMOTE_START, Stage, remote_start};
use crate::support::{push_data, runtime};

const DATA: &str = "/api/oicp/evsepush/v23/operators/CH*ABC/data-records";
const PUSH_PRODUCTS: &str = "/api/oicp/dynamicpricing/v10/operators/CH*ABC/pricing-products";
const PULL_PRODUCTS: &str = "/api/oicp/dynamicpricing/v10/providers/DE-EMP/pricing-products";

/// A price list for one provider with the product `Night 22`.
const NIGHT: &str = r#"{"ActionType":"fullLoad","PricingProductData":{"OperatorID":"CH*ABC","OperatorName":"ABC","ProviderID":"DE-EMP","PricingDefaultPrice":0.30,"PricingDefaultPriceCurrency":"EUR","PricingDefaultReferenceUnit":"KILOWATT_HOUR","PricingProductDataRecords":[{"ProductID":"Night 22","ReferenceUnit":"HOUR","ProductPriceCurrency":"EUR","PricePerReferenceUnit":0.10,"MaximumProductChargingPower":22.0,"IsValid24hours":true,"ProductAvailabilityTimes":[]}]}}"#;

/// The rules about EVSE and prices that a side found broken in a session's record.
async fn found(stage: &Stage, kind: Kind, session: &str) -> Vec<String> {
    let cdrs = cdrs_of(stage, kind, session).await;
    let texts = cdrs[0]["findings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let rules = texts.map(|text| text.split(':').next().unwrap().to_owned());
    rules.filter(|rule| rule.starts_with("signed-") || rule == "product-unknown").collect()
}

/// Charges, and gives what both sides found in the record.
async fn charged(stage: &Stage, product: &str) -> Vec<String> {
    let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
    let named = format!(r#""PartnerProductID":"{product}","x-own""#);
    stage.cpo_calls(CDR, cdr(&session, "10.10").replace(r#""x-own""#, &named)).await.yes();
    until_both(stage, &session, "accepted").await;
    let (cpo, emp) = (found(stage, Kind::Cpo, &session).await, found(stage, Kind::Emp, &session).await);
    assert_eq!(cpo, emp, "{product}");
    cpo
}

/// Waits until the EMP's node knows the price product.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn priced(stage: &Stage) {
    let end = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let pulled = stage.emp_calls(PULL_PRODUCTS, r#"{"OperatorIDs":["CH*ABC"]}"#.to_owned()).await;
        if pulled.body.contains("Night 22") {
            return;
        }
        assert!(std::time::Instant::now() < end, "waited in vain for a price: {pulled:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn both_sides_list_what_a_record_its_evse_and_the_prices_do_not_agree_on() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let data = String::from_utf8(push_data("fullLoad", "CH*ABC", &["CH*ABC*E1"]).to_vec()).unwrap();
        let promise = |text: &str| format!(r#""CalibrationLawDataAvailability":"{text}""#);
        let external = data.replace(&promise("Not Available"), &promise("External"));
        assert_ne!(external, data);
        assert_eq!(stage.cpo_calls(DATA, external).await.code(), (200, "000".to_owned()));
        stage.until(Kind::Emp, "a record", |view| view["view_evses"] == 1).await;
        // There are signed values, but nobody can verify them.
        assert_eq!(charged(&stage, "DC").await, ["signed-key-missing"]);
        assert_eq!(charged(&stage, "Night 22").await, ["signed-key-missing", "product-unknown"]);
        assert_eq!(stage.cpo_calls(PUSH_PRODUCTS, NIGHT.to_owned()).await.code(), (200, "000".to_owned()));
        priced(&stage).await;
        assert_eq!(charged(&stage, "Night 22").await, ["signed-key-missing"]);
        assert_eq!(charged(&stage, "Night 11").await, ["signed-key-missing", "product-unknown"]);

        // Without them the hub refuses, and so does the CPO's node.
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let bare = cdr(&session, "10.10").replace(r#""SignedMeteringValues""#, r#""x-values""#);
        let said = stage.cpo_calls(CDR, bare.clone()).await;
        assert!(said.code() == (200, "022".to_owned()) && said.body.contains("External"), "{said:?}");
        let foreign = stage.cpo_calls(CDR, bare.replace("CH*ABC*E1", "DE*XYZ*E1")).await;
        assert_eq!(foreign.code(), (200, "018".to_owned()));
        stage.end().await;
    });
}
