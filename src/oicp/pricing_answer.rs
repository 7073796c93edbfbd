//! The answers to pulls of prices. The documents do not agree on the names of their lists (GAPS A2, A3): what is
//! written is a setting, what is read may have either.

use super::json::{self, Node, Value};
use super::json_write::Writer;
use super::pricing::{PRODUCTS, name_products};
use super::pricing_schema::{EVSE_PRICE, PRICE_LIST, PRICING_PRODUCT};
use super::repair;
use super::status_code::{Code, StatusCode};

/// How the lists of the two answers are called.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum PricingNames {
    /// `EVSEPricing` and `PricingProductData`, as in the examples, in the schemas and in the newer tables.
    #[default]
    Plain,
    /// `OperatorEVSEPricing` and `OperatorPricingProducts`, as in the older tables and in a wide-spread library.
    Operator,
}

impl PricingNames {
    fn evse_prices(self) -> &'static str {
        match self {
            PricingNames::Plain => "EVSEPricing",
            PricingNames::Operator => "OperatorEVSEPricing",
        }
    }

    fn price_lists(self) -> &'static str {
        match self {
            PricingNames::Plain => "PricingProductData",
            PricingNames::Operator => "OperatorPricingProducts",
        }
    }
}

/// What the charging points of one operator cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvsePrices {
    /// OperatorID as the operator writes it.
    pub operator_id: String,
    /// Its display name.
    pub operator_name: Option<String>,
    /// Finished JSON records, as [`evse_price`] makes them.
    pub records: Vec<String>,
}

/// A price of a charging point in the published names and shapes.
#[must_use]
pub fn evse_price(raw: &str) -> String {
    let Ok(mut node) = json::parse_text(raw) else { return raw.to_owned() };
    let before = node.clone();
    name_products(&mut node);
    let changed = repair::object(&mut node, &EVSE_PRICE) || node != before;
    if changed { node.to_json() } else { raw.to_owned() }
}

/// A price list of its default price and its products, in the published names and shapes. `None` if the default
/// price is no JSON object, which no node takes.
#[must_use]
pub fn price_list<S: AsRef<str>>(header: &str, products: &[S]) -> Option<String> {
    let mut node = json::parse_text(header).ok()?;
    repair::object(&mut node, &PRICE_LIST);
    let Value::Object(members) = &node.value else { return None };
    let mut writer = Writer::with_capacity(header.len() + 64);
    writer.begin_object();
    for (name, member) in members.iter().filter(|(name, _)| name != PRODUCTS) {
        writer.key(name).node(member);
    }
    writer.key(PRODUCTS).begin_array();
    for product in products {
        let Ok(mut node) = json::parse_text(product.as_ref()) else { continue };
        if repair::object(&mut node, &PRICING_PRODUCT) {
            writer.node(&node);
        } else {
            writer.raw(product.as_ref());
        }
    }
    writer.end_array().end_object();
    Some(writer.finish())
}

/// Writes eRoamingEVSEPricing.
#[must_use]
pub fn write_evse_prices(names: PricingNames, blocks: &[EvsePrices]) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key(names.evse_prices()).begin_array();
    for block in blocks {
        writer.begin_object().key("OperatorID").string(&block.operator_id);
        writer.key("OperatorName").string_or_null(block.operator_name.as_deref());
        writer.key("EVSEPricing").begin_array();
        for record in &block.records {
            writer.raw(record);
        }
        writer.end_array().end_object();
    }
    end(writer)
}

/// Writes eRoamingPricingProductData from finished lists, as [`price_list`] makes them.
#[must_use]
pub fn write_price_lists<S: AsRef<str>>(names: PricingNames, lists: &[S]) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key(names.price_lists()).begin_array();
    for list in lists {
        writer.raw(list.as_ref());
    }
    end(writer)
}

fn end(mut writer: Writer) -> String {
    writer.end_array().key("StatusCode");
    StatusCode::from(Code::Success).write(&mut writer);
    writer.end_object();
    writer.finish()
}

/// The blocks of an eRoamingEVSEPricing of either name: OperatorID and the records. `None` if it is something else.
#[must_use]
pub fn read_evse_prices<'n, 'a>(answer: &'n Node<'a>) -> Option<Vec<(&'n str, &'n [Node<'a>])>> {
    let blocks = answer.field_any_case(&["EVSEPricing", "OperatorEVSEPricing"])?;
    let block = |block: &'n Node<'a>| {
        let operator = block.field_any_case(&["OperatorID"]).and_then(Node::as_str)?;
        Some((operator, block.field_any_case(&["EVSEPricing"])?.items()))
    };
    blocks.is_array().then(|| blocks.items().iter().filter_map(block).collect())
}

/// The price lists of an eRoamingPricingProductData of either name. `None` if it is something else.
#[must_use]
pub fn read_price_lists<'n, 'a>(answer: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
    let lists = answer.field_any_case(&["PricingProductData", "OperatorPricingProducts"])?;
    lists.is_array().then(|| lists.items())
}
