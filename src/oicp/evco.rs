//! Contract ids (EvcoID). Personal data: the text appears in no Debug output and there is no Display.

use std::fmt;

use super::id::{IdError, IdKind, without_separators};
use super::id_scan::Scan;

/// A contract: `DE-8EO-CAet5e4XY-3` (ISO) or `DE*8EO*Aet5e4*3` (DIN). The check character may be absent
/// (GAPS B4) and takes no part in comparison.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvcoId {
    text: Box<str>,
    contract_end: usize,
}

impl EvcoId {
    /// Reads the pattern `EvcoIDType`, letters of either case.
    ///
    /// # Errors
    /// [`IdError`] with the broken rule and its place, without the text.
    pub fn parse(text: &str) -> Result<EvcoId, IdError> {
        let mut scan = Scan::new(IdKind::Evco, text);
        scan.provider()?;
        let check_at = scan.contract()?;
        scan.end()?;
        Ok(EvcoId { text: text.into(), contract_end: check_at.unwrap_or(text.len()) })
    }

    /// The text as received. Personal data: never log above DEBUG.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form for comparison: upper case, no separators, no check character.
    #[must_use]
    pub fn canonical(&self) -> String {
        without_separators(self.text.get(..self.contract_end).unwrap_or(&self.text))
    }

    /// The canonical provider part, `DE8EO`.
    #[must_use]
    pub fn provider(&self) -> String {
        self.canonical().chars().take(5).collect()
    }
}

impl fmt::Debug for EvcoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvcoId({}…)", self.provider())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::id::IdRule;

    #[test]
    fn both_forms_with_and_without_check_character() {
        let table = [
            ("DE-8EO-CAet5e4XY-3", "DE8EOCAET5E4XY"),
            ("DE8EOCAet5e43X1", "DE8EOCAET5E43X"),
            ("DE8EOCAet5e43X", "DE8EOCAET5E43X"),
            ("DE*8EO*Aet5e4*3", "DE8EOAET5E4"),
            ("DE8EOAet5e43", "DE8EOAET5E4"),
            ("DE-8EO-Aet5e4", "DE8EOAET5E4"),
            ("DE*8EO*C12345*X", "DE8EOC12345"),
        ];
        for (text, canonical) in table {
            let id = EvcoId::parse(text).unwrap();
            assert_eq!(id.canonical(), canonical, "{text}");
            assert_eq!(id.provider(), "DE8EO");
        }
    }

    #[test]
    fn refusals_name_rule_and_place() {
        let bad = [
            ("DE-8EO", IdRule::Contract, 6),
            ("DE-8EO-C123", IdRule::Contract, 11),
            ("DE|8EO-C12345678", IdRule::Party, 2),
            ("DE-8EO-CAet5e4XY-33", IdRule::TrailingText, 18),
            ("DE*8EO*Aet5e4*Y", IdRule::TrailingText, 14),
        ];
        for (text, rule, at) in bad {
            let error = EvcoId::parse(text).unwrap_err();
            assert_eq!((error.rule, error.at), (rule, at), "{text}");
        }
    }

    #[test]
    fn debug_does_not_show_the_contract() {
        let id = EvcoId::parse("DE-8EO-CAet5e4XY-3").unwrap();
        assert_eq!(format!("{id:?}"), "EvcoId(DE8EO…)");
    }
}
