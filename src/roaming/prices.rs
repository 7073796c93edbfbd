//! What backends of this node publish of prices. A price for one provider lies in a feed whose audience is that
//! provider alone (`visibility`), one for all in that of whoever may see the EVSE.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::effect::Effects;
use super::feed::Feed;
use super::input::{CallId, Input, Now};
use super::publish::{Change, Push, Pushed, Refused, reply};
use super::{Roaming, records};
use crate::identity::PartyId;
use crate::oicp::id::{EvseKey, operator_for_display};
use crate::oicp::price_key::PriceOf;
use crate::oicp::pricing::{PushEvsePricing, PushPrices, PushPricingProducts};
use crate::oicp::push::ActionType;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{Audience, FeedId, Kind};

/// Most audiences of one party's prices: each is a feed with a head of its own, signed every few minutes.
const PRICE_AUDIENCES_MAX: usize = 256;

/// Which records a full load replaces.
pub(super) enum Scope {
    /// All of the kind.
    All,
    /// What charging points cost, for whomever.
    EvsePrices,
    /// One price list, whose default price is this.
    List(Box<Pushed>),
}

impl Scope {
    pub(super) fn replaces(&self, key: &EvseKey) -> bool {
        match self {
            Scope::All => true,
            Scope::EvsePrices => key.price_of() == Some(PriceOf::Evse),
            Scope::List(header) => key.price_of() == Some(PriceOf::Product) && key.is_of_list(&header.key),
        }
    }
}

impl Roaming {
    pub(super) fn push_prices(
        &mut self,
        call: CallId,
        party: PartyId,
        push: PushPrices,
        body: Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.must_wait(&party, now) {
            return self.wait_push(Input::PushPrices { call, party, push, body }, call, fx);
        }
        let outcome = self.push(&party, Push::of_prices(push), Some(&body), now, fx);
        reply(call, outcome, fx);
    }

    /// The default price goes with the products: it is changed with any of them, so that a pull of changes shows the
    /// whole list also if a product is gone, and it goes with the last one that is deleted.
    pub(super) fn with_default_price(
        &self,
        push: &Push,
        feeds: &[(&FeedId, &Feed)],
        changes: &mut Vec<Change>,
    ) {
        let Scope::List(header) = &push.scope else { return };
        let here = |key: &EvseKey| feeds.iter().any(|(_, feed)| feed.tree.get(key).is_some());
        if push.action == ActionType::Delete {
            let gone: BTreeSet<&EvseKey> = changes.iter().map(|(key, _)| key).collect();
            let mut left = feeds.iter().flat_map(|(_, feed)| feed.tree.iter());
            let is_left = left.any(|entry| push.scope.replaces(&entry.key) && !gone.contains(&entry.key));
            if !is_left {
                changes.extend(here(&header.key).then(|| (header.key.clone(), None)));
                return;
            }
            if changes.is_empty() {
                return;
            }
        } else if changes.is_empty() && self.is_same(feeds, header) {
            return;
        }
        changes.push((header.key.clone(), Some(header.as_ref().clone())));
    }

    /// A list that is not there has no default price to change either.
    pub(super) fn refuse_update_of_nothing(
        &self,
        push: &Push,
        known: impl Fn(&EvseKey) -> bool,
    ) -> Result<(), Refused> {
        match &push.scope {
            Scope::List(header) if !known(&header.key) => {
                let info = "there is no such price list, nothing was updated";
                Err(StatusCode::with_info(Code::DataTransactionError, info))
            }
            _ => Ok(()),
        }
    }

    /// How an operator called itself with its EVSE data, else its id as people write it.
    pub(super) fn label_of_data(&self, party: &PartyId) -> Option<(String, Option<String>)> {
        let head = self.feeds_of(party, Kind::Data).find_map(|(_, feed)| feed.applied.as_ref());
        Some(match head {
            Some(known) => {
                let name = known.head.operator_name.clone();
                (known.head.operator_id.clone(), Some(name).filter(|name| !name.is_empty()))
            }
            None => (operator_for_display(party.id.as_str()), None),
        })
    }

    pub(super) fn refuse_too_many_providers(
        &self,
        party: &PartyId,
        changes: &[Change],
    ) -> Result<(), Refused> {
        let news = changes.iter().filter(|(_, value)| value.is_some());
        let news = news.map(|(key, _)| self.audiences.rules.audience_of(key));
        let held = self.feeds_of(party, Kind::Pricing).map(|(id, _)| id.audience.clone());
        let audiences: BTreeSet<Audience> = held.chain(news).collect();
        if audiences.len() <= PRICE_AUDIENCES_MAX {
            return Ok(());
        }
        let info =
            format!("this node keeps prices for at most {PRICE_AUDIENCES_MAX} providers of one operator");
        Err(StatusCode::with_info(Code::DataTransactionError, &info))
    }

    /// A delegation may be older than the kind, or narrower.
    pub(super) fn refuse_unless_delegated(&self, party: &PartyId, kind: Kind) -> Result<(), Refused> {
        let operation = records::operation(kind);
        let Some(ours) = self.parties.get(party).filter(|ours| ours.speaker.may_do(operation).is_err())
        else {
            return Ok(());
        };
        let info = format!(
            "the delegation of {} does not name {}: make a new one with `chargemesh party delegate`",
            ours.speaker.party(),
            operation.as_str()
        );
        Err(StatusCode::with_info(Code::DataTransactionError, &info))
    }
}

impl Push {
    pub(super) fn of_prices(push: PushPrices) -> Push {
        match push {
            PushPrices::Evses(push) => of_evses(push),
            PushPrices::Products(push) => of_products(push),
        }
    }
}

fn of_evses(push: PushEvsePricing) -> Push {
    let record = |record: crate::oicp::pricing::PricedEvse| Pushed {
        key: record.evse_id.key().priced_for(&record.whom),
        evse_id: record.evse_id.as_str().into(),
        value: Bytes::from(String::from(record.raw)),
        summary: None,
    };
    Push {
        kind: Kind::Pricing,
        action: push.action,
        label: None,
        records: push.records.into_iter().map(record).collect(),
        scope: Scope::EvsePrices,
    }
}

fn of_products(push: PushPricingProducts) -> Push {
    let list = EvseKey::price_list(&push.operator_id, &push.whom);
    let record = |record: crate::oicp::pricing::PricedProduct| Pushed {
        key: list.product(&records::product_tag(&record.product_id)),
        evse_id: record.product_id,
        value: Bytes::from(String::from(record.raw)),
        summary: None,
    };
    let records = push.products.into_iter().map(record).collect();
    let header = Pushed {
        key: list.clone(),
        evse_id: list.as_str().into(),
        value: Bytes::from(String::from(push.header)),
        summary: None,
    };
    Push {
        kind: Kind::Pricing,
        action: push.action,
        label: Some((push.operator_id.as_str().to_owned(), push.operator_name)),
        records,
        scope: Scope::List(Box::new(header)),
    }
}
