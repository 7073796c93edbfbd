//! Under which keys prices are filed among nodes: what a charging point costs, `CHSCHE2OVB/DEDCB`; an operator's
//! price list, `CHSCH/*`; a product of that list, `CHSCH/*/` and a tag of its ProductID. The part after the first
//! slash is the provider that the price is for, `*` for all.

use super::id::{EvseKey, IdError, IdKind, IdRule, OperatorId, ProviderId};

/// Which price is for every provider.
pub const EVERYBODY: &str = "*";

/// Characters of the tag of a product: 16 bytes of a hash in lower-case hexadecimal digits.
pub const PRODUCT_TAG_CHARACTERS: usize = 32;

/// Between the parts of a key; no id contains it.
const SLASH: char = '/';

/// For whom a price is (`ProviderID` or `*`, GAPS B18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PricedFor {
    /// For every provider.
    Everybody,
    /// For this one alone.
    Provider(ProviderId),
}

impl PricedFor {
    /// Reads a ProviderID or `*`; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<PricedFor> {
        match text {
            EVERYBODY => Some(PricedFor::Everybody),
            text => ProviderId::parse(text).ok().map(PricedFor::Provider),
        }
    }

    fn in_key(&self) -> String {
        match self {
            PricedFor::Everybody => EVERYBODY.to_owned(),
            PricedFor::Provider(id) => id.canonical(),
        }
    }
}

/// What a key of a price is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceOf {
    /// Which products a charging point has (EVSEPricing).
    Evse,
    /// An operator's default price (PricingProductData without its products).
    List,
    /// One product of a price list.
    Product,
}

impl EvseKey {
    /// The key of what this charging point costs.
    #[must_use]
    pub fn priced_for(&self, whom: &PricedFor) -> EvseKey {
        self.longer(&whom.in_key())
    }

    /// The key of an operator's price list.
    #[must_use]
    pub fn price_list(operator: &OperatorId, whom: &PricedFor) -> EvseKey {
        let operator = operator.canonical();
        let operator_len = u8::try_from(operator.len()).unwrap_or(u8::MAX);
        EvseKey { text: operator.into(), operator_len }.longer(&whom.in_key())
    }

    /// The key of a product of this price list; `tag` is that of its ProductID.
    #[must_use]
    pub fn product(&self, tag: &str) -> EvseKey {
        self.longer(tag)
    }

    /// Reads the key of a price: it has to be canonical already.
    ///
    /// # Errors
    /// [`IdError`] of the part that is wrong, or [`IdRule::NotCanonical`].
    pub fn parse_price(text: &str) -> Result<EvseKey, IdError> {
        let wrong = |at: usize| IdError { kind: IdKind::PriceKey, rule: IdRule::NotCanonical, at };
        let mut parts = text.split(SLASH);
        let subject = parts.next().unwrap_or_default();
        let provider = parts.next().ok_or_else(|| wrong(text.len()))?;
        let (tag, rest) = (parts.next(), parts.next());
        let is_provider = provider == EVERYBODY
            || ProviderId::parse(provider).is_ok_and(|provider_id| provider_id.canonical() == provider);
        if !is_provider || rest.is_some() {
            return Err(wrong(subject.len() + 1));
        }
        let operator_len = match (OperatorId::parse(subject), tag) {
            (Ok(operator), tag) if tag.is_none_or(is_tag) => {
                if operator.canonical() != subject {
                    return Err(wrong(0));
                }
                u8::try_from(subject.len()).unwrap_or(u8::MAX)
            }
            (Err(_), None) => EvseKey::parse_canonical(subject)?.operator_len,
            _ => return Err(wrong(subject.len() + provider.len() + 2)),
        };
        Ok(EvseKey { text: text.into(), operator_len })
    }

    /// Reads any key that a record may be filed under: of a charging point, or of a price.
    ///
    /// # Errors
    /// As [`EvseKey::parse_canonical`] and [`EvseKey::parse_price`].
    pub fn parse_filed(text: &str) -> Result<EvseKey, IdError> {
        if text.contains(SLASH) { EvseKey::parse_price(text) } else { EvseKey::parse_canonical(text) }
    }

    /// What it is a price of; `None` for the key of a charging point itself.
    #[must_use]
    pub fn price_of(&self) -> Option<PriceOf> {
        let mut parts = self.text.split(SLASH);
        let subject = parts.next()?;
        parts.next()?;
        Some(match parts.next() {
            Some(_) => PriceOf::Product,
            None if subject.len() == usize::from(self.operator_len) => PriceOf::List,
            None => PriceOf::Evse,
        })
    }

    /// The provider that a price is for: its canonical id, or [`EVERYBODY`]. `None` if it is no price.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.text.split(SLASH).nth(1)
    }

    /// The charging point that it is a price of.
    #[must_use]
    pub fn priced_evse(&self) -> Option<EvseKey> {
        if self.price_of() != Some(PriceOf::Evse) {
            return None;
        }
        let subject = self.text.split(SLASH).next()?;
        Some(EvseKey { text: subject.into(), operator_len: self.operator_len })
    }

    /// Whether it is this price list or one of its products.
    #[must_use]
    pub fn is_of_list(&self, list: &EvseKey) -> bool {
        let rest = self.text.strip_prefix(list.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(SLASH))
    }

    fn longer(&self, part: &str) -> EvseKey {
        EvseKey { text: format!("{}{SLASH}{part}", self.text).into(), operator_len: self.operator_len }
    }
}

fn is_tag(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == PRODUCT_TAG_CHARACTERS && text.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::id::EvseId;

    const TAG: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn keys_say_of_what_and_for_whom_and_are_read_again() {
        let evse = EvseId::parse("de*abc*e1*2").unwrap().key().clone();
        let named = PricedFor::parse("DE-DCB").unwrap();
        let list = EvseKey::price_list(&OperatorId::parse("DE*ABC").unwrap(), &named);
        let din = EvseKey::price_list(&OperatorId::parse("49*536").unwrap(), &PricedFor::Everybody);
        for (key, text, of, provider, operator) in [
            (evse.priced_for(&named), "DEABCE1*2/DEDCB".to_owned(), PriceOf::Evse, "DEDCB", "DEABC"),
            (evse.priced_for(&PricedFor::Everybody), "DEABCE1*2/*".into(), PriceOf::Evse, "*", "DEABC"),
            (list.clone(), "DEABC/DEDCB".into(), PriceOf::List, "DEDCB", "DEABC"),
            (list.product(TAG), format!("DEABC/DEDCB/{TAG}"), PriceOf::Product, "DEDCB", "DEABC"),
            (din, "+49*536/*".into(), PriceOf::List, "*", "+49*536"),
        ] {
            assert_eq!(key.as_str(), text);
            assert_eq!(
                (key.price_of(), key.provider(), key.operator()),
                (Some(of), Some(provider), operator)
            );
            let again = EvseKey::parse_filed(&text).unwrap();
            assert_eq!((&again, again.operator()), (&key, operator));
            assert_eq!(key.priced_evse(), (of == PriceOf::Evse).then(|| evse.clone()));
            assert!(key.as_str().len() <= 64, "a key fits the mesh");
        }
        assert!(list.is_of_list(&list) && list.product(TAG).is_of_list(&list));
        assert!(!evse.priced_for(&named).is_of_list(&list));
        assert_eq!((evse.price_of(), evse.provider(), evse.priced_evse()), (None, None, None));
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        for wrong in [
            "DEABCE1",
            "DEABCE1/",
            "DEABCE1/DE-DCB",
            "DEABCE1/dedcb",
            "DE*ABCE1/DEDCB",
            "DE*ABC/*",
            "deabc/*",
            "DEABC/*/",
            "DEABC/*/0123",
            "DEABCE1/*/0123456789abcdef0123456789abcdef",
            "DEABC/*/0123456789ABCDEF0123456789ABCDEF",
            "DEABC/*/0123456789abcdef0123456789abcdef/",
            "/*",
        ] {
            assert!(EvseKey::parse_price(wrong).is_err(), "{wrong}");
        }
        assert!(EvseKey::parse_canonical("DEABCE1/*").is_err(), "no charging point");
    }

    #[test]
    fn any_text_is_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(key) = EvseKey::parse_filed(text) {
                assert_eq!(key.as_str(), text);
            }
        });
    }
}
