//! The published tables of prices (TYPES sections 5 and 6), walked by the same checker as all others.

use super::price_key::PricedFor;
use super::schema::{
    ACTION_TYPES, DAYS, Extra, Field, Kind, Need, PERIOD, Table, field, is_provider, list, text,
};
use super::time::is_date_time;

/// Most characters of a ProductID; the tables say 50, the schemas 100 (TYPES section 4).
const PRODUCT_CHARACTERS_MAX: usize = 100;

const UNITS: Kind = Kind::Choice(&["HOUR", "KILOWATT_HOUR", "MINUTE"]);
const PRODUCT: Kind = Kind::Text { min: 1, max: PRODUCT_CHARACTERS_MAX };
const CURRENCY: Kind = Kind::Pattern(is_currency);
const WHOM: Field = field("ProviderID", Need::Filled, Kind::Pattern(is_provider_or_all));

const fn table(fields: &'static [Field]) -> Table {
    Table { extra: Extra::None, fields }
}

/// The table calls the hours `Period`, every example and schema `Periods` (GAPS A18).
static AVAILABILITY: Table = table(&[
    Field {
        name: "Periods",
        kind: Kind::List { of: &Kind::Object(&PERIOD), lone_ok: true },
        need: Need::Filled,
        variants: &[("Period", true)],
    },
    field("on", Need::Filled, Kind::Choice(DAYS)),
]);

static ADDITIONAL: Table = table(&[
    field(
        "AdditionalReference",
        Need::Filled,
        Kind::Choice(&["START FEE", "FIXED FEE", "PARKING FEE", "MINIMUM FEE", "MAXIMUM FEE"]),
    ),
    field("AdditionalReferenceUnit", Need::Filled, UNITS),
    field("PricePerAdditionalReferenceUnit", Need::Filled, Kind::Decimal),
]);

/// PricingProductDataRecordType. The times are mandatory and may be an empty list (RULES 11).
pub(super) static PRICING_PRODUCT: Table = table(&[
    field("ProductID", Need::Filled, PRODUCT),
    field("ReferenceUnit", Need::Filled, UNITS),
    field("ProductPriceCurrency", Need::Filled, CURRENCY),
    field("PricePerReferenceUnit", Need::Filled, Kind::Decimal),
    field("MaximumProductChargingPower", Need::Filled, Kind::Decimal),
    field("IsValid24hours", Need::Filled, Kind::Flag),
    field("ProductAvailabilityTimes", Need::Present, list(&Kind::Object(&AVAILABILITY))),
    field("AdditionalReferences", Need::Free, list(&Kind::Object(&ADDITIONAL))),
]);

/// PricingProductDataType.
pub(super) static PRICE_LIST: Table = table(&[
    field("OperatorID", Need::Filled, Kind::Operator),
    field("OperatorName", Need::Free, text(100)),
    WHOM,
    field("PricingDefaultPrice", Need::Filled, Kind::Decimal),
    field("PricingDefaultPriceCurrency", Need::Filled, CURRENCY),
    field("PricingDefaultReferenceUnit", Need::Filled, UNITS),
    field("PricingProductDataRecords", Need::Present, list(&Kind::Object(&PRICING_PRODUCT))),
]);

/// EVSEPricingType; the list as the examples print it, of texts (GAPS A19).
pub(super) static EVSE_PRICE: Table = table(&[
    field("EvseID", Need::Filled, Kind::Evse),
    WHOM,
    field("EvseIDProductList", Need::Filled, list(&PRODUCT)),
]);

/// eRoamingPushPricingProductData.
pub(super) static PUSH_PRODUCTS: Table = table(&[
    field("ActionType", Need::Filled, Kind::Choice(ACTION_TYPES)),
    field("PricingProductData", Need::Filled, Kind::Object(&PRICE_LIST)),
]);

/// eRoamingPushEVSEPricing; an empty list is read, for it means something in a full load (GAPS C5).
pub(super) static PUSH_EVSE_PRICES: Table = table(&[
    field("ActionType", Need::Filled, Kind::Choice(ACTION_TYPES)),
    field("EVSEPricing", Need::Present, list(&Kind::Object(&EVSE_PRICE))),
]);

/// eRoamingPullPricingProductData: who asks stands in the path alone (GAPS A25).
pub(super) static PULL_PRODUCTS: Table = table(&[
    field("ProviderID", Need::Free, Kind::Pattern(is_provider)),
    field("LastCall", Need::Free, Kind::Pattern(is_date_time)),
    OPERATORS,
]);

/// eRoamingPullEVSEPricing.
pub(super) static PULL_EVSE_PRICES: Table = table(&[
    field("ProviderID", Need::Filled, Kind::Pattern(is_provider)),
    field("LastCall", Need::Free, Kind::Pattern(is_date_time)),
    OPERATORS,
]);

const OPERATORS: Field = field("OperatorIDs", Need::Filled, list(&Kind::Operator));

fn is_provider_or_all(text: &str) -> bool {
    PricedFor::parse(text).is_some()
}

/// CurrencyIDType: a code of ISO 4217. Which codes are in use changes more often than programs.
fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}
