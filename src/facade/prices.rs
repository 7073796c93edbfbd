//! Dynamic pricing (OPERATIONS rows 17 to 20): pushes of operators, pulls of providers. Who asks sees what is for
//! everybody and what is for it alone.

use super::answer::Answer;
use super::call::Call;
use super::evse_pull::{page_request, same_provider};
use super::evse_push::{acknowledge, report, same_operator};
use super::shared::Shared;
use crate::identity::CanonicalId;
use crate::oicp::id::OperatorId;
use crate::oicp::page::PageRequest;
use crate::oicp::price_key::PriceOf;
use crate::oicp::pricing::{self, EvsePrices, PricingNames, PullPrices, PushPrices};
use crate::storage::{PriceQuery, PriceRow};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prices {
    /// EVSEPricing: which products charging points have.
    Evses,
    /// PricingProductData: default prices and products.
    Products,
}

/// PushEVSEPricing and PushPricingProductData.
pub(super) async fn push_prices(shared: &Shared, call: Call, what: Prices) -> Result<Answer, Answer> {
    let turn = shared.lanes.turn(&call.party).await.ok_or_else(Answer::busy)?;
    let (body, reading) = (call.body.clone(), call.reading);
    let read = move || match what {
        Prices::Evses => pricing::read_push_evse_pricing(&body, reading).map(PushPrices::Evses),
        Prices::Products => pricing::read_push_products(&body, reading).map(PushPrices::Products),
    };
    let read = shared.workers.run(call.body.len(), read).await?;
    let push = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    if let PushPrices::Products(push) = &push {
        same_operator(&call.party, &push.operator_id)?;
    }
    report(&call, push.findings(), push.records());
    let outcome = shared.engine.push_prices(call.party.clone(), push, call.body.clone()).await?;
    drop(turn);
    Ok(acknowledge(outcome))
}

/// PullEVSEPricing and PullPricingProductData. Neither is paged by the documents; `page` and `size` cut a part out
/// where they are sent all the same, for a client that goes on until a page is empty.
pub(super) async fn pull_prices(shared: &Shared, call: Call, what: Prices) -> Result<Answer, Answer> {
    let page = match call.query.split('&').any(|pair| pair.starts_with("page=") || pair.starts_with("size="))
    {
        true => Some(page_request(&call.query)?),
        false => None,
    };
    let (body, reading) = (call.body.clone(), call.reading);
    let read = move || match what {
        Prices::Evses => pricing::read_pull_evse_pricing(&body, reading),
        Prices::Products => pricing::read_pull_products(&body, reading),
    };
    let read = shared.workers.run(call.body.len(), read).await?;
    let pull = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    if let Some(provider_id) = &pull.provider_id {
        same_provider(&call.party, provider_id)?;
    }
    let operators = pull.operator_ids.iter().filter_map(canonical).collect();
    let query = PriceQuery { puller: Some(call.party.clone()), operators };
    let rows = shared.directory.prices(query).await?;
    let names = shared.access.pricing_names(call.backend);
    let bytes = rows.iter().map(|row| row.value.len()).sum();
    let write = move || match what {
        Prices::Evses => write_evses(&rows, &pull, page, names),
        Prices::Products => write_products(&rows, &pull, page, names),
    };
    Ok(Answer::ok(shared.workers.run(bytes, write).await?))
}

/// An id that was read is one.
fn canonical(id: &OperatorId) -> Option<CanonicalId> {
    CanonicalId::parse(&id.canonical()).ok()
}

/// Only what changed since LastCall: compared with this node's own time, with a margin (`decisions.md` 13). Neither
/// answer can tell of deletions (RULES 11).
fn is_news(row: &PriceRow, pull: &PullPrices) -> bool {
    let since = pull.last_call_ms.map_or(0, |since| u64::try_from(since).unwrap_or(0));
    row.changed_unix_ms >= since
}

fn part<T>(all: Vec<T>, page: Option<PageRequest>) -> Vec<T> {
    let Some(page) = page else { return all };
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    all.into_iter().skip(number(page.offset())).take(number(page.size())).collect()
}

fn write_evses(
    rows: &[PriceRow],
    pull: &PullPrices,
    page: Option<PageRequest>,
    names: PricingNames,
) -> String {
    let of_evses = rows.iter().filter(|row| row.key.price_of() == Some(PriceOf::Evse));
    let shown: Vec<&PriceRow> = part(of_evses.filter(|row| is_news(row, pull)).collect(), page);
    let of_one = shown.chunk_by(|a, b| a.operator == b.operator);
    let block = |rows: &[&PriceRow]| {
        let first = rows.first()?;
        Some(EvsePrices {
            operator_id: first.operator_id.to_string(),
            operator_name: Some(first.operator_name.to_string()).filter(|name| !name.is_empty()),
            records: rows.iter().map(|row| pricing::evse_price(&row.value)).collect(),
        })
    };
    let blocks: Vec<EvsePrices> = of_one.filter_map(block).collect();
    pricing::write_evse_prices(names, &blocks)
}

/// A list is shown as a whole if anything of it changed: whoever replaces what it had is right then, and whoever adds
/// to it too.
fn write_products(
    rows: &[PriceRow],
    pull: &PullPrices,
    page: Option<PageRequest>,
    names: PricingNames,
) -> String {
    let of_lists: Vec<&PriceRow> =
        rows.iter().filter(|row| row.key.price_of().is_some_and(|of| of != PriceOf::Evse)).collect();
    let same_list =
        |a: &&PriceRow, b: &&PriceRow| a.operator == b.operator && a.key.provider() == b.key.provider();
    let lists = of_lists.chunk_by(same_list).filter(|list| list.iter().any(|row| is_news(row, pull)));
    let list = |rows: &[&PriceRow]| {
        // The default price stands before its products; without one there is no list.
        let (header, products) = rows.split_first()?;
        let products: Vec<&str> = products.iter().map(|row| &*row.value).collect();
        (header.key.price_of() == Some(PriceOf::List))
            .then(|| pricing::price_list(&header.value, &products))?
    };
    let lists: Vec<String> = part(lists.filter_map(list).collect(), page);
    pricing::write_price_lists(names, &lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::id::EvseKey;
    use crate::oicp::json;

    fn row(key: &str, value: &str, changed_unix_ms: u64) -> PriceRow {
        let key = EvseKey::parse_price(key).unwrap();
        PriceRow {
            operator: CanonicalId::parse("DEABC").unwrap(),
            key,
            value: value.into(),
            operator_id: "DE*ABC".into(),
            operator_name: "".into(),
            changed_unix_ms,
        }
    }

    fn since(last_call_ms: Option<i64>) -> PullPrices {
        PullPrices { provider_id: None, last_call_ms, operator_ids: Vec::new() }
    }

    #[test]
    fn changes_alone_parts_alone_and_lists_as_a_whole() {
        let tag = "0123456789abcdef0123456789abcdef";
        let rows = [
            row("DEABC/*", r#"{"OperatorID":"DE*ABC","ProviderID":"*"}"#, 10),
            row(&format!("DEABC/*/{tag}"), r#"{"ProductID":"AC 1"}"#, 20),
            row("DEABC/DEDCB", r#"{"OperatorID":"DE*ABC","ProviderID":"DE-DCB"}"#, 30),
            row("DEABCE1/*", r#"{"EvseID":"DE*ABC*E1"}"#, 10),
            row("DEABCE2/*", r#"{"EvseID":"DE*ABC*E2"}"#, 20),
        ];
        let page = |number, size| Some(PageRequest::new(Some(number), Some(size)));
        for (last_call, page, evses, lists, products) in [
            (None, None, 2, 2, 1),
            (Some(15), None, 1, 2, 1),
            (Some(25), None, 0, 1, 0),
            (Some(31), None, 0, 0, 0),
            (None, page(0, 1), 1, 1, 1),
            (None, page(1, 1), 1, 1, 0),
            (None, page(2, 1), 0, 0, 0),
        ] {
            let text = write_evses(&rows, &since(last_call), page, PricingNames::Plain);
            assert_eq!(text.matches("EvseID").count(), evses, "{last_call:?} {page:?}: {text}");
            let text = write_products(&rows, &since(last_call), page, PricingNames::Plain);
            let node = json::parse_text(&text).unwrap();
            assert_eq!(pricing::read_price_lists(&node).unwrap().len(), lists, "{last_call:?} {page:?}");
            assert_eq!(text.matches("AC 1").count(), products, "{last_call:?} {page:?}: {text}");
        }
    }
}
