//! Prices and media: what partners pushed beside EVSE data, and the answers to pulls of it.

use std::collections::BTreeMap;

use super::config::Partner;
use super::reply::Reply;
use crate::oicp::charging::{Identification, PushAuthenticationData};
use crate::oicp::finding::Fault;
use crate::oicp::id::EvseId;
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::push::ActionType;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::oicp::time;

/// Most products, and most prices of charging points, that are kept.
pub const PRICES_MAX: usize = 500_000;
/// Most media that are kept.
pub const MEDIA_MAX: usize = 1_000_000;

/// Prices and media.
#[derive(Default)]
pub(super) struct Extras {
    /// By operator and provider as named in the push: the head of the message, and the products by their id.
    products: BTreeMap<(String, String), Products>,
    /// By operator, charging point and provider.
    prices: BTreeMap<(String, String, String), Dated>,
    /// By medium: the provider without separators, and the medium as uploaded.
    media: BTreeMap<String, (String, Identification)>,
}

struct Products {
    operator: String,
    /// The members beside the list of products, as they came.
    head: String,
    at_ms: i64,
    records: BTreeMap<String, Dated>,
}

struct Dated {
    raw: Box<str>,
    at_ms: i64,
}

impl Extras {
    /// PushPricingProductData.
    pub(super) fn push_products(
        &mut self,
        partner: &Partner,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Reply, Fault> {
        let root = json::parse(body, Reading::Tolerant)?;
        let action = action(&root)?;
        let block = needed(&root, "PricingProductData")?;
        let provider = text(block, "ProviderID").unwrap_or("*").to_owned();
        let list = block.field_any_case(&["PricingProductDataRecords"]).map(Node::items).unwrap_or_default();
        let mut pushed = BTreeMap::new();
        for node in list {
            let id = text(node, "ProductID").ok_or_else(|| missing("ProductID"))?;
            pushed.insert(id.to_owned(), Dated { raw: node.raw().into(), at_ms: now_ms });
        }
        let kept: usize = self.products.values().map(|products| products.records.len()).sum();
        if kept + pushed.len() > PRICES_MAX {
            return Ok(Reply::refused(Code::HubDatabaseError, "the played hub is full"));
        }
        let head = members_but(block, "PricingProductDataRecords");
        let products =
            self.products.entry((partner.canonical.clone(), provider)).or_insert_with(|| Products {
                operator: partner.canonical.clone(),
                head: head.clone(),
                at_ms: now_ms,
                records: BTreeMap::new(),
            });
        let refused = merge(&mut products.records, pushed, action);
        if refused.is_none() && action != ActionType::Delete {
            (products.head, products.at_ms) = (head, now_ms);
        }
        Ok(refused.unwrap_or_else(Reply::done))
    }

    /// PushEVSEPricing.
    pub(super) fn push_prices(
        &mut self,
        partner: &Partner,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Reply, Fault> {
        let root = json::parse(body, Reading::Tolerant)?;
        let action = action(&root)?;
        let list = needed(&root, "EVSEPricing")?;
        let list = list.items_or_one().ok_or_else(|| missing("EVSEPricing"))?;
        let mut pushed = BTreeMap::new();
        for node in list {
            let id = text(node, "EvseID").and_then(|text| EvseId::parse(text).ok());
            let id = id.ok_or_else(|| missing("EvseID"))?;
            if !partner.speaks_for(id.key().operator()) {
                return Ok(Reply::refused(Code::InconsistentEvseId, id.as_str()));
            }
            let provider = text(node, "ProviderID").unwrap_or("*").to_owned();
            let key = (partner.canonical.clone(), id.key().as_str().to_owned(), provider);
            pushed.insert(key, Dated { raw: node.raw().into(), at_ms: now_ms });
        }
        if self.prices.len() + pushed.len() > PRICES_MAX {
            return Ok(Reply::refused(Code::HubDatabaseError, "the played hub is full"));
        }
        let is_own = |key: &(String, String, String)| key.0 == partner.canonical;
        let own: Vec<_> = self.prices.keys().filter(|key| is_own(key)).cloned().collect();
        let mut mine: BTreeMap<_, _> =
            own.into_iter().filter_map(|key| self.prices.remove_entry(&key)).collect();
        let refused = merge(&mut mine, pushed, action);
        self.prices.append(&mut mine);
        Ok(refused.unwrap_or_else(Reply::done))
    }

    /// PullPricingProductData.
    pub(super) fn pull_products(&self, partner: &Partner, body: &[u8]) -> Result<Reply, Fault> {
        let asked = Asked::read(body)?;
        let mut writer = Writer::new();
        writer.begin_object().key("PricingProductData").begin_array();
        let shown = |((_, provider), products): &(&(String, String), &Products)| {
            asked.operator(&products.operator)
                && for_provider(provider, partner)
                && asked.is_new(products.at_ms)
        };
        for (_, products) in self.products.iter().filter(shown) {
            writer.begin_object();
            // The members are JSON already; a key is all that may stand before them.
            let mut list = Writer::new();
            list.begin_array();
            for record in products.records.values() {
                list.raw(&record.raw);
            }
            list.end_array();
            writer.key("PricingProductDataRecords").raw(&list.finish());
            if !products.head.is_empty() {
                writer.raw(&products.head);
            }
            writer.end_object();
        }
        Ok(ended(writer))
    }

    /// PullEVSEPricing.
    pub(super) fn pull_prices(&self, partner: &Partner, body: &[u8]) -> Result<Reply, Fault> {
        let asked = Asked::read(body)?;
        let mut by_operator: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for ((operator, _, provider), price) in &self.prices {
            if asked.operator(operator) && for_provider(provider, partner) && asked.is_new(price.at_ms) {
                by_operator.entry(operator).or_default().push(&price.raw);
            }
        }
        let mut writer = Writer::new();
        writer.begin_object().key("OperatorEVSEPricing").begin_array();
        for (operator, prices) in by_operator {
            let shown = crate::oicp::id::operator_for_display(operator);
            writer.begin_object().key("OperatorID").string(&shown);
            writer.key("OperatorName").string(&shown).key("EVSEPricing").begin_array();
            for price in prices {
                writer.raw(price);
            }
            writer.end_array().end_object();
        }
        Ok(ended(writer))
    }

    /// PushAuthenticationData.
    pub(super) fn push_media(&mut self, partner: &Partner, body: &[u8]) -> Result<Reply, Fault> {
        let pushed = PushAuthenticationData::parse(body, Reading::Tolerant)?;
        if !pushed.foreign_contracts(|provider| partner.speaks_for(provider)).is_empty() {
            return Ok(Reply::refused(Code::InconsistentEvcoId, "a contract of another provider"));
        }
        let keys: Vec<String> =
            pushed.records.iter().map(|medium| medium.medium_key().expose().to_owned()).collect();
        let known = |key: &String| self.media.get(key).is_some_and(|(of, _)| *of == partner.canonical);
        let wrong = match pushed.action {
            ActionType::Insert => keys.iter().any(known),
            ActionType::Update => !keys.iter().all(known),
            ActionType::FullLoad | ActionType::Delete => false,
        };
        if wrong {
            return Ok(Reply::refused(Code::DataTransactionError, "media that exist, or that do not"));
        }
        if pushed.action == ActionType::FullLoad {
            self.media.retain(|_, (of, _)| *of != partner.canonical);
        }
        if self.media.len() + keys.len() > MEDIA_MAX {
            return Ok(Reply::refused(Code::HubDatabaseError, "the played hub is full"));
        }
        for (key, medium) in keys.into_iter().zip(pushed.records) {
            match pushed.action {
                ActionType::Delete => self.media.remove(&key),
                _ => self.media.insert(key, (partner.canonical.clone(), medium)),
            };
        }
        Ok(Reply::done())
    }

    /// PullAuthenticationData (2.2).
    pub(super) fn pull_media(&self) -> Reply {
        let mut by_provider: BTreeMap<&str, Vec<&Identification>> = BTreeMap::new();
        for (provider, medium) in self.media.values() {
            by_provider.entry(provider).or_default().push(medium);
        }
        let mut writer = Writer::new();
        writer.begin_object().key("AuthenticationData").begin_object();
        writer.key("ProviderAuthenticationData").begin_array();
        for (provider, media) in by_provider {
            let shown = crate::oicp::id::provider_for_display(provider);
            writer.begin_object().key("ProviderID").string(&shown);
            writer.key("AuthenticationDataRecord").begin_array();
            for medium in media {
                writer.begin_object().key("Identification");
                medium.write(&mut writer);
                writer.end_object();
            }
            writer.end_array().end_object();
        }
        writer.end_array().end_object().key("StatusCode");
        StatusCode::from(Code::Success).write(&mut writer);
        writer.end_object();
        Reply::message(writer.finish(), "000")
    }

    /// The provider, without separators, on whose upload a medium may charge. A QR code needs its PIN in clear
    /// text on both sides: hashes are not compared here.
    pub(super) fn offline(&self, medium: &Identification) -> Option<&str> {
        let (provider, uploaded) = self.media.get(medium.medium_key().expose())?;
        let is_code = matches!(medium, Identification::QrCode { .. });
        (!is_code || uploaded == medium).then_some(provider.as_str())
    }
}

/// The filters of a pricing pull.
struct Asked {
    operators: Vec<String>,
    then_ms: Option<i64>,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Asked, Fault> {
        let root = json::parse(body, Reading::Tolerant)?;
        let list = needed(&root, "OperatorIDs")?;
        let list = if list.is_array() { list.items() } else { std::slice::from_ref(list) };
        let operators = list.iter().filter_map(Node::as_str);
        let operators = operators.filter_map(|text| crate::oicp::id::OperatorId::parse(text).ok());
        let operators = operators.map(|id| id.canonical()).collect();
        Ok(Asked { operators, then_ms: text(&root, "LastCall").and_then(time::parse_ms) })
    }

    fn operator(&self, canonical: &str) -> bool {
        self.operators.iter().any(|wanted| wanted == canonical)
    }

    fn is_new(&self, at_ms: i64) -> bool {
        self.then_ms.is_none_or(|then_ms| at_ms > then_ms)
    }
}

/// `*` is for everybody.
fn for_provider(named: &str, partner: &Partner) -> bool {
    let named = crate::oicp::id::ProviderId::parse(named).map(|id| id.canonical());
    named.map_or(true, |named| partner.speaks_for(&named))
}

fn action(root: &Node<'_>) -> Result<ActionType, Fault> {
    text(root, "ActionType").and_then(ActionType::parse).ok_or_else(|| missing("ActionType"))
}

fn text<'n>(node: &'n Node<'_>, name: &str) -> Option<&'n str> {
    node.field_any_case(&[name]).and_then(Node::as_str)
}

fn needed<'n, 'a>(root: &'n Node<'a>, name: &str) -> Result<&'n Node<'a>, Fault> {
    root.field_any_case(&[name]).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Fault {
    Fault::single(&format!("/{name}"), format!("{name} may not be null"))
}

/// The members of an object beside one, without braces.
fn members_but(node: &Node<'_>, but: &str) -> String {
    let mut writer = Writer::new();
    for (name, member) in node.members().iter().filter(|(name, _)| !name.eq_ignore_ascii_case(but)) {
        writer.key(name).raw(member.raw());
    }
    writer.finish()
}

/// Changes a set as its ActionType says; the refusal if it may not be, and then nothing has changed.
fn merge<K: Ord>(
    set: &mut BTreeMap<K, Dated>,
    pushed: BTreeMap<K, Dated>,
    action: ActionType,
) -> Option<Reply> {
    let wrong = match action {
        ActionType::Insert => pushed.keys().any(|key| set.contains_key(key)),
        ActionType::Update => !pushed.keys().all(|key| set.contains_key(key)),
        ActionType::FullLoad | ActionType::Delete => false,
    };
    if wrong {
        return Some(Reply::refused(Code::DataTransactionError, "records that exist, or that do not"));
    }
    match action {
        ActionType::FullLoad => *set = pushed,
        ActionType::Delete => set.retain(|key, _| !pushed.contains_key(key)),
        ActionType::Insert | ActionType::Update => set.extend(pushed),
    }
    None
}

fn ended(mut writer: Writer) -> Reply {
    writer.end_array().key("StatusCode");
    StatusCode::from(Code::Success).write(&mut writer);
    writer.end_object();
    Reply::message(writer.finish(), "000")
}
