//! Dynamic pricing (OPERATIONS rows 17 to 20): what operators push, what providers ask for, and what a record that
//! another node signed has to be. Prices are kept as received; names and shapes are conformed at the puller's side.

use std::collections::BTreeSet;

use super::check;
use super::finding::{Fault, Finding, Severity, VALIDATION_ERRORS_MAX};
use super::id::{EvseId, EvseKey, OperatorId, ProviderId};
use super::json::{self, Node, Value};
use super::price_key::{PriceOf, PricedFor};
use super::pricing_schema::{PULL_EVSE_PRICES, PULL_PRODUCTS, PUSH_EVSE_PRICES, PUSH_PRODUCTS};
use super::pull::operators;
use super::push::{ActionType, FINDINGS_MAX, RECORDS_MAX};
use super::reading::Reading;
use super::schema::Table;
use super::time;

pub use super::pricing_answer::{
    EvsePrices, PricingNames, evse_price, price_list, read_evse_prices, read_price_lists, write_evse_prices,
    write_price_lists,
};

/// Most products in one price list: hundreds of stations, each with some of its own.
pub const PRODUCTS_MAX: usize = 2_000;

/// The list of products of a price list.
pub(super) const PRODUCTS: &str = "PricingProductDataRecords";

/// What one charging point costs for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedEvse {
    /// The charging point.
    pub evse_id: EvseId,
    /// For whom.
    pub whom: PricedFor,
    /// The received bytes of the record.
    pub raw: Box<str>,
}

/// eRoamingPushEVSEPricing. Who pushes stands in its path alone.
#[derive(Debug, Clone, PartialEq)]
pub struct PushEvsePricing {
    /// What to do.
    pub action: ActionType,
    /// The records in received order; the same may come twice.
    pub records: Vec<PricedEvse>,
    /// Deviations, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// One product of a price list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    /// Its ProductID.
    pub product_id: Box<str>,
    /// The received bytes of the record.
    pub raw: Box<str>,
}

/// eRoamingPushPricingProductData: one price list, for one provider or for all.
#[derive(Debug, Clone, PartialEq)]
pub struct PushPricingProducts {
    /// What to do with its products.
    pub action: ActionType,
    /// Who pushes.
    pub operator_id: OperatorId,
    /// Its display name.
    pub operator_name: Option<String>,
    /// For whom.
    pub whom: PricedFor,
    /// The list as received, without its products: the default price.
    pub header: Box<str>,
    /// The products in received order, each once.
    pub products: Vec<PricedProduct>,
    /// Deviations, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// A push of prices, of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum PushPrices {
    /// PushEVSEPricing.
    Evses(PushEvsePricing),
    /// PushPricingProductData.
    Products(PushPricingProducts),
}

impl PushPrices {
    /// Reads the body of either push; they are told apart by their block.
    ///
    /// # Errors
    /// As [`read_push_evse_pricing`] and [`read_push_products`].
    pub fn read(body: &[u8], reading: Reading) -> Result<PushPrices, Fault> {
        let is_list = json::parse(body, reading)?.field_any_case(&["PricingProductData"]).is_some();
        if is_list {
            read_push_products(body, reading).map(PushPrices::Products)
        } else {
            read_push_evse_pricing(body, reading).map(PushPrices::Evses)
        }
    }

    /// How much it deviates.
    #[must_use]
    pub fn findings(&self) -> usize {
        match self {
            PushPrices::Evses(push) => push.findings.len(),
            PushPrices::Products(push) => push.findings.len(),
        }
    }

    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> usize {
        match self {
            PushPrices::Evses(push) => push.records.len(),
            PushPrices::Products(push) => push.products.len(),
        }
    }
}

/// A pull of prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPrices {
    /// Who asks, if the body says it; PullPricingProductData has it in its path alone (GAPS A25).
    pub provider_id: Option<ProviderId>,
    /// Only what changed since this instant (milliseconds since 1970, UTC).
    pub last_call_ms: Option<i64>,
    /// Whose prices; of nobody else.
    pub operator_ids: Vec<OperatorId>,
}

/// Reads the body of a PushEVSEPricing.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, no action, a record without EvseID, ProviderID (`*` is one here) or product; in
/// strict reading every deviation of severity `Error` or `OwnerMustSupply`.
pub fn read_push_evse_pricing(body: &[u8], reading: Reading) -> Result<PushEvsePricing, Fault> {
    let mut root = json::parse(body, reading)?;
    if let Some(list) = member_of(&mut root, "EVSEPricing") {
        each(list, name_products);
    }
    let findings = checked(&root, &PUSH_EVSE_PRICES, reading)?;
    let action = action(&root)?;
    let at = "/EVSEPricing";
    let list = root.field_any_case(&["EVSEPricing"]).ok_or_else(|| missing(at, "EVSEPricing"))?;
    let nodes = records(list, at, RECORDS_MAX)?;
    let mut records = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let (evse_id, whom) = evse_of(node).map_err(|(field, why)| {
            Fault::single(&format!("{at}/{index}/{field}"), format!("{field} {why}"))
        })?;
        records.push(PricedEvse { evse_id, whom, raw: node.raw().into() });
    }
    Ok(PushEvsePricing { action, records, findings })
}

/// Reads the body of a PushPricingProductData.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, no action, OperatorID or ProviderID, a product without its id or twice, more than
/// [`PRODUCTS_MAX`]; in strict reading every deviation of severity `Error` or `OwnerMustSupply`.
pub fn read_push_products(body: &[u8], reading: Reading) -> Result<PushPricingProducts, Fault> {
    let root = json::parse(body, reading)?;
    let findings = checked(&root, &PUSH_PRODUCTS, reading)?;
    let action = action(&root)?;
    let at = "/PricingProductData";
    let block =
        root.field_any_case(&["PricingProductData"]).ok_or_else(|| missing(at, "PricingProductData"))?;
    let block = if let [only] = block.items() { only } else { block };
    let text = |name: &str| block.field_any_case(&[name]).and_then(Node::as_str);
    let operator_at = format!("{at}/OperatorID");
    let operator = text("OperatorID").ok_or_else(|| missing(&operator_at, "OperatorID"))?;
    let operator_id =
        OperatorId::parse(operator).map_err(|error| Fault::single(&operator_at, error.to_string()))?;
    let whom = text("ProviderID").and_then(PricedFor::parse);
    let whom = whom.ok_or_else(|| {
        Fault::single(&format!("{at}/ProviderID"), "ProviderID has to be a provider or `*`")
    })?;
    let list_at = format!("{at}/{PRODUCTS}");
    let list = block.field_any_case(&[PRODUCTS]).ok_or_else(|| missing(&list_at, PRODUCTS))?;
    let mut products: Vec<PricedProduct> = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, node) in records(list, &list_at, PRODUCTS_MAX)?.iter().enumerate() {
        let place = format!("{list_at}/{index}/ProductID");
        let product_id = product_of(node).ok_or_else(|| missing(&place, "ProductID"))?;
        if !seen.insert(product_id) {
            return Err(Fault::single(&place, "ProductID occurs twice"));
        }
        products.push(PricedProduct { product_id: product_id.into(), raw: node.raw().into() });
    }
    let operator_name = text("OperatorName").map(str::to_owned);
    let header = without_products(block);
    Ok(PushPricingProducts { action, operator_id, operator_name, whom, header, products, findings })
}

/// Reads the body of a PullEVSEPricing.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, no valid ProviderID or OperatorIDs, an unreadable LastCall; in strict reading every
/// deviation.
pub fn read_pull_evse_pricing(body: &[u8], reading: Reading) -> Result<PullPrices, Fault> {
    let pull = read_pull(body, reading, &PULL_EVSE_PRICES)?;
    if pull.provider_id.is_none() {
        return Err(missing("/ProviderID", "ProviderID"));
    }
    Ok(pull)
}

/// Reads the body of a PullPricingProductData.
///
/// # Errors
/// As [`read_pull_evse_pricing`]; it needs no ProviderID.
pub fn read_pull_products(body: &[u8], reading: Reading) -> Result<PullPrices, Fault> {
    read_pull(body, reading, &PULL_PRODUCTS)
}

fn read_pull(body: &[u8], reading: Reading, table: &'static Table) -> Result<PullPrices, Fault> {
    let root = json::parse(body, reading)?;
    checked(&root, table, reading)?;
    let wrong = |name: &str, why: String| Fault::single(&format!("/{name}"), why);
    let provider_id = match root.field_any_case(&["ProviderID"]) {
        None => None,
        Some(node) => {
            let text = node.as_str().unwrap_or_default();
            Some(ProviderId::parse(text).map_err(|error| wrong("ProviderID", error.to_string()))?)
        }
    };
    let last_call_ms = match root.field_any_case(&["LastCall"]) {
        None => None,
        Some(node) => {
            let instant = node.as_str().and_then(time::parse_ms);
            Some(
                instant
                    .ok_or_else(|| wrong("LastCall", "LastCall has to be an RFC 3339 date-time".into()))?,
            )
        }
    };
    let operator_ids = operators(&root, "OperatorIDs")?;
    let operator_ids = operator_ids.ok_or_else(|| missing("/OperatorIDs", "OperatorIDs"))?;
    Ok(PullPrices { provider_id, last_call_ms, operator_ids })
}

/// Whether a record is about what its key says; `tag` makes the tag of a ProductID.
///
/// # Errors
/// What is wrong with it.
pub fn check_price(raw: &str, key: &EvseKey, tag: impl Fn(&str) -> String) -> Result<(), &'static str> {
    let mut node = json::parse_text(raw).map_err(|_| "a price is not JSON")?;
    let other = "a price is filed under the key of another";
    let said = match key.price_of() {
        None => return Err("a price is filed under the key of a charging point"),
        Some(PriceOf::Evse) => {
            name_products(&mut node);
            let (evse_id, whom) = evse_of(&node).map_err(|_| "a price has no EVSE, provider or product")?;
            evse_id.key().priced_for(&whom) == *key
        }
        Some(PriceOf::List) => {
            let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str);
            let operator = text("OperatorID").and_then(|text| OperatorId::parse(text).ok());
            let whom = text("ProviderID").and_then(PricedFor::parse);
            let (Some(operator), Some(whom)) = (operator, whom) else {
                return Err("a price list has no operator or provider");
            };
            EvseKey::price_list(&operator, &whom) == *key
        }
        Some(PriceOf::Product) => {
            let product = product_of(&node).ok_or("a product has no id")?;
            key.as_str().rsplit('/').next() == Some(tag(product).as_str())
        }
    };
    if said { Ok(()) } else { Err(other) }
}

/// The EVSE and the provider of a record that names at least one product; else the field and what is wrong with it.
fn evse_of(node: &Node<'_>) -> Result<(EvseId, PricedFor), (&'static str, String)> {
    let text = |name: &'static str| {
        let text = node.field_any_case(&[name]).and_then(Node::as_str);
        text.ok_or_else(|| (name, "may not be null".to_owned()))
    };
    let evse_id = EvseId::parse(text("EvseID")?).map_err(|error| ("EvseID", error.to_string()))?;
    let whom = PricedFor::parse(text("ProviderID")?);
    let whom = whom.ok_or_else(|| ("ProviderID", "has to be a provider or `*`".to_owned()))?;
    let products = node.field_any_case(&["EvseIDProductList"]);
    let named = products.is_some_and(|list| {
        list.as_str().is_some()
            || !list.items().is_empty() && list.items().iter().all(|item| item.as_str().is_some())
    });
    if named {
        Ok((evse_id, whom))
    } else {
        Err(("EvseIDProductList", "has to name at least one product".into()))
    }
}

fn product_of<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    node.field_any_case(&["ProductID"]).and_then(Node::as_str).filter(|text| !text.is_empty())
}

/// The table makes each product of a charging point a structure, everybody else a text (GAPS A19).
pub(super) fn name_products(record: &mut Node<'_>) {
    let Some(list) = member_of(record, "EvseIDProductList") else { return };
    each(list, |item| {
        let name = item.field_any_case(&["ProductID"]).and_then(Node::as_str).map(str::to_owned);
        if let Some(name) = name {
            *item = Node::text(name);
        }
    });
}

/// The block as it was sent, without its products.
fn without_products(block: &Node<'_>) -> Box<str> {
    let mut header = block.clone();
    if let Value::Object(members) = &mut header.value {
        members.retain(|(name, _)| !name.eq_ignore_ascii_case(PRODUCTS));
    }
    header.to_json().into()
}

fn each(list: &mut Node<'_>, mut of: impl FnMut(&mut Node<'_>)) {
    match &mut list.value {
        Value::Array(items) => items.iter_mut().for_each(of),
        Value::Object(_) => of(list),
        _ => {}
    }
}

fn member_of<'n, 'a>(node: &'n mut Node<'a>, wanted: &str) -> Option<&'n mut Node<'a>> {
    let Value::Object(members) = &mut node.value else { return None };
    let mut members = members.iter_mut();
    members.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, member)| member)
}

fn checked(root: &Node<'_>, table: &'static Table, reading: Reading) -> Result<Vec<Finding>, Fault> {
    if !root.is_object() {
        return Err(Fault::single("", "the body has to be an object"));
    }
    if reading == Reading::Strict {
        let broken = check::findings_from(root, table, VALIDATION_ERRORS_MAX, Severity::OwnerMustSupply);
        if !broken.is_empty() {
            return Err(Fault::from_findings(&broken));
        }
    }
    Ok(check::findings(root, table, FINDINGS_MAX))
}

fn action(root: &Node<'_>) -> Result<ActionType, Fault> {
    let text = root.field_any_case(&["ActionType"]).and_then(Node::as_str);
    text.and_then(ActionType::parse)
        .ok_or_else(|| Fault::single("/ActionType", "one of fullLoad, update, insert, delete is needed"))
}

fn records<'n, 'a>(list: &'n Node<'a>, at: &str, max: usize) -> Result<&'n [Node<'a>], Fault> {
    let records = list.items_or_one().ok_or_else(|| Fault::no_list(at, list))?;
    if records.len() > max {
        return Err(Fault::single(at, format!("more than {max} records in one push")));
    }
    Ok(records)
}

fn missing(pointer: &str, name: &str) -> Fault {
    Fault::single(pointer, format!("{name} may not be null"))
}

#[cfg(test)]
#[path = "pricing_tests.rs"]
mod tests;
