//! Tables of what is read of prices, and of what is written.

use super::*;
use crate::oicp::reading::Reading::{Strict, Tolerant};

const PRODUCT: &str = r#"{"ProductID":"AC 1","ReferenceUnit":"HOUR","ProductPriceCurrency":"EUR",
    "PricePerReferenceUnit":1.50,"MaximumProductChargingPower":22,"IsValid24hours":false,
    "ProductAvailabilityTimes":[{"Periods":[{"begin":"09:00","end":"18:00"}],"on":"Everyday"}],"x-own":1.0}"#;

fn evses(records: &str) -> String {
    format!(r#"{{"ActionType":"update","EVSEPricing":{records}}}"#)
}

fn products(list: &str) -> String {
    format!(
        r#"{{"ActionType":"insert","PricingProductData":{{"OperatorID":"DE*ABC","OperatorName":"ABC","ProviderID":"*",
        "PricingDefaultPrice":0.0,"PricingDefaultPriceCurrency":"EUR","PricingDefaultReferenceUnit":"HOUR",
        "PricingProductDataRecords":{list},"x-block":7}}}}"#
    )
}

#[test]
fn what_a_charging_point_costs_is_read_in_both_shapes() {
    for (records, strict, tolerant) in [
        (r#"[{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":["AC 1"]}]"#, true, true),
        (
            r#"[{"EvseID":"DE*ABC*E1","ProviderID":"DE-DCB","EvseIDProductList":[{"ProductID":"AC 1"}]}]"#,
            true,
            true,
        ),
        ("[]", true, true),
        (r#"{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":["AC 1"]}"#, false, true),
        (r#"[{"evseid":"de*abc*e1","ProviderID":"*","EvseIDProductList":"AC 1"}]"#, false, true),
        (r#"[{"EvseID":"DE*ABC*E1","ProviderID":"**","EvseIDProductList":["AC 1"]}]"#, false, false),
        (r#"[{"EvseID":"DE*ABC*E1","EvseIDProductList":["AC 1"]}]"#, false, false),
        (r#"[{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":[]}]"#, false, false),
        (r#"[{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":[7]}]"#, false, false),
        (r#"[{"EvseID":"DE*ABC","ProviderID":"*","EvseIDProductList":["AC 1"]}]"#, false, false),
        (r#"[{"ProviderID":"*","EvseIDProductList":["AC 1"]}]"#, false, false),
        ("\"[]\"", false, false),
        ("null", false, false),
    ] {
        let body = evses(records);
        let read = |reading| read_push_evse_pricing(body.as_bytes(), reading);
        assert_eq!(read(Strict).is_ok(), strict, "{records}: {:?}", read(Strict));
        assert_eq!(read(Tolerant).is_ok(), tolerant, "{records}: {:?}", read(Tolerant));
        for record in read(Tolerant).map(|push| push.records).unwrap_or_default() {
            assert!(records.contains(&*record.raw), "the received bytes are kept");
            let key = record.evse_id.key().priced_for(&record.whom);
            check_price(&record.raw, &key, |_| String::new()).unwrap();
        }
    }
    assert!(read_push_evse_pricing(br#"{"EVSEPricing":[]}"#, Tolerant).is_err(), "no action");
}

#[test]
fn a_price_list_is_read_as_its_default_price_and_its_products() {
    let period = PRODUCT.replace(
        r#""Periods":[{"begin":"09:00","end":"18:00"}]"#,
        r#""Period":{"begin":"09:00","end":"18:00"}"#,
    );
    for (list, strict, tolerant) in [
        (format!("[{PRODUCT}]"), true, true),
        (format!("[{period}]"), true, true),
        ("[]".into(), true, true),
        (PRODUCT.into(), false, true),
        (format!("[{}]", PRODUCT.replace("1.50", "\"1.50\"")), true, true),
        (format!("[{}]", PRODUCT.replace("EUR", "euro")), false, true),
        (format!("[{}]", PRODUCT.replace("HOUR", "YEAR")), false, true),
        (format!("[{}]", PRODUCT.replace("AC 1", "")), false, false),
        (format!("[{PRODUCT},{PRODUCT}]"), false, false),
        ("null".into(), false, false),
    ] {
        let body = products(&list);
        let read = |reading| read_push_products(body.as_bytes(), reading);
        assert_eq!(read(Strict).is_ok(), strict, "{list}: {:?}", read(Strict));
        assert_eq!(read(Tolerant).is_ok(), tolerant, "{list}: {:?}", read(Tolerant));
    }
    let push = read_push_products(products(&format!("[{PRODUCT}]")).as_bytes(), Strict).unwrap();
    assert_eq!(&*push.products[0].raw, PRODUCT, "the received bytes are kept");
    assert!(push.header.contains("0.0") && push.header.contains("x-block") && !push.header.contains("AC 1"));
    let key = EvseKey::price_list(&push.operator_id, &push.whom);
    let tag = |id: &str| format!("{:0>32}", id.len());
    check_price(&push.header, &key, tag).unwrap();
    check_price(PRODUCT, &key.product(&tag("AC 1")), tag).unwrap();
    for (raw, key) in [
        (PRODUCT, key.product(&tag("AC 12"))),
        (PRODUCT, key.clone()),
        (&*push.header, EvseKey::price_list(&push.operator_id, &PricedFor::parse("DE-DCB").unwrap())),
        ("{}", key.clone()),
        ("no", key.clone()),
        (&*push.header, EvseId::parse("DE*ABC*E1").unwrap().key().clone()),
    ] {
        assert!(check_price(raw, &key, tag).is_err(), "{raw} under {key}");
    }
    for (broken, why) in [("DE*ABC", "operator"), ("\"*\"", "provider"), ("insert", "action")] {
        let body = products("[]").replace(broken, "\"?\"");
        assert!(read_push_products(body.as_bytes(), Tolerant).is_err(), "{why}");
    }
}

#[test]
fn pulls_name_operators_and_an_unreadable_filter_is_refused() {
    for (body, evses, lists) in [
        (
            r#"{"ProviderID":"DE-DCB","OperatorIDs":["DE*ABC"],"LastCall":"2020-09-23T14:33:42.246Z"}"#,
            true,
            true,
        ),
        (r#"{"ProviderID":"DE-DCB","OperatorIDs":"DE*ABC"}"#, true, true),
        (r#"{"ProviderID":"DE-DCB","OperatorIds":["DE*ABC"]}"#, true, true),
        (r#"{"OperatorIDs":["DE*ABC"]}"#, false, true),
        (r#"{"ProviderID":"DE-DCB"}"#, false, false),
        (r#"{"ProviderID":"*","OperatorIDs":["DE*ABC"]}"#, false, false),
        (r#"{"ProviderID":"DE-DCB","OperatorIDs":["nope"]}"#, false, false),
        (r#"{"ProviderID":"DE-DCB","OperatorIDs":["DE*ABC"],"LastCall":"today"}"#, false, false),
        ("[]", false, false),
    ] {
        assert_eq!(read_pull_evse_pricing(body.as_bytes(), Tolerant).is_ok(), evses, "{body}");
        assert_eq!(read_pull_products(body.as_bytes(), Tolerant).is_ok(), lists, "{body}");
    }
    for name in ["OperatorIDs", "OperatorIds", "OperatorID", "operatorids", "operatorID"] {
        let body = format!(r#"{{"ProviderID":"DE-DCB","{name}":["DE*ABC","+49*536"]}}"#);
        for read in [read_pull_products, read_pull_evse_pricing] {
            assert_eq!(read(body.as_bytes(), Strict).unwrap().operator_ids.len(), 2, "{name}");
        }
    }
}

#[test]
fn answers_have_the_names_that_are_set_and_either_is_read() {
    let records = vec![evse_price(
        r#"{"evseid":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":[{"ProductID":"AC 1"}]}"#,
    )];
    assert_eq!(records[0], r#"{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":["AC 1"]}"#);
    let same = r#"{ "EvseID":"DE*ABC*E1", "ProviderID":"*", "EvseIDProductList":["AC 1"], "n":1.50 }"#;
    assert_eq!(evse_price(same), same, "what conforms keeps its bytes");
    let block = EvsePrices { operator_id: "DE*ABC".into(), operator_name: None, records };
    let list = price_list(r#"{"OperatorID":"DE*ABC","pricingdefaultprice":0.50}"#, &[PRODUCT]).unwrap();
    assert!(list.contains(r#""PricingDefaultPrice":0.50"#) && list.contains(PRODUCT), "{list}");
    let period = PRODUCT.replace(
        r#""Periods":[{"begin":"09:00","end":"18:00"}]"#,
        r#""Period":{"begin":"09:00","end":"18:00"}"#,
    );
    assert!(price_list("{}", &[period]).unwrap().contains(r#""Periods":[{"begin":"09:00","end":"18:00"}]"#));
    for (names, evses, lists) in [
        (PricingNames::Plain, r#"{"EVSEPricing":[{"#, r#"{"PricingProductData":[{"#),
        (PricingNames::Operator, r#"{"OperatorEVSEPricing":[{"#, r#"{"OperatorPricingProducts":[{"#),
    ] {
        let written = write_evse_prices(names, std::slice::from_ref(&block));
        assert!(written.starts_with(evses), "{written}");
        let node = json::parse_text(&written).unwrap();
        let read = read_evse_prices(&node).unwrap();
        assert_eq!((read[0].0, read[0].1.len()), ("DE*ABC", 1));
        let written = write_price_lists(names, std::slice::from_ref(&list));
        assert!(written.starts_with(lists), "{written}");
        let node = json::parse_text(&written).unwrap();
        assert_eq!(read_price_lists(&node).unwrap().len(), 1);
        assert!(read_evse_prices(&node).is_none());
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        for reading in [Strict, Tolerant] {
            let _ = (PushPrices::read(bytes, reading), read_pull_evse_pricing(bytes, reading));
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = (evse_price(text), price_list(text, &[text]));
        }
    });
}
