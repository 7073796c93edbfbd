//! OICP's identifiers of operators, providers and charging points, in both spellings (ISO 15118-1 and DIN
//! SPEC 91286): the text as received is kept, comparison runs on a canonical form (TYPES section 4,
//! decisions 19). Contract ids are in [`super::evco`].

use std::fmt;

use super::id_scan::Scan;

/// Which of the two grammars an id follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdForm {
    /// ISO 15118-1: country letters, party, outlet (`DE*AB7*E840*6487`).
    Iso,
    /// DIN SPEC 91286: E.164 country code, digits (`+49*810*000*438`).
    Din,
}

/// Which kind of id was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdKind {
    /// OperatorIDType
    #[error("OperatorID")]
    Operator,
    /// ProviderIDType
    #[error("ProviderID")]
    Provider,
    /// EvseIDType
    #[error("EvseID")]
    Evse,
    /// EvcoIDType
    #[error("EvcoID")]
    Evco,
    /// The canonical key that nodes use among themselves for an EVSE.
    #[error("EVSE key")]
    EvseKey,
    /// The key of a price.
    #[error("key of a price")]
    PriceKey,
}

/// The rule of the grammar that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdRule {
    /// Two ASCII letters are needed.
    #[error("two country letters are needed")]
    CountryLetters,
    /// Three ASCII letters or digits are needed.
    #[error("three letters or digits of the party are needed")]
    Party,
    /// One to three digits of the E.164 country code and a `*` are needed.
    #[error("one to three digits of the country code and a `*` are needed")]
    CountryDigits,
    /// Exactly three digits of the operator are needed.
    #[error("three digits of the operator are needed")]
    OperatorDigits,
    /// `E` has to follow the operator.
    #[error("an `E` has to follow the operator")]
    OutletLetter,
    /// The outlet part has 1 to 30 letters, digits and `*` (ISO) or 1 to 32 digits and `*` (DIN).
    #[error("the outlet part holds 1 to 30 letters, digits and `*` (DIN: 1 to 32 digits and `*`)")]
    Outlet,
    /// The contract part: `C` and 8 letters or digits (ISO), 6 (DIN).
    #[error("the contract part holds `C` and 8 letters or digits (DIN: 6)")]
    Contract,
    /// Text follows after the end of the id.
    #[error("text after the end of the id")]
    TrailingText,
    /// A key from the wire is not in canonical form.
    #[error("not in canonical form")]
    NotCanonical,
}

/// Why a text is no such id. Holds no part of the text: contract ids may not reach a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {rule}, at character {at}")]
pub struct IdError {
    /// What was expected.
    pub kind: IdKind,
    /// The rule that broke.
    pub rule: IdRule,
    /// Index of the character where it broke; the first is 0.
    pub at: usize,
}

/// An operator (CPO): `DE*A36`, `DEA36`, `+49*536`. Equal ids may differ in text: compare [`Self::canonical`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorId {
    text: Box<str>,
    form: IdForm,
}

impl OperatorId {
    /// Reads the pattern `OperatorIDType`, letters of either case.
    ///
    /// # Errors
    /// [`IdError`] with the broken rule and its place.
    pub fn parse(text: &str) -> Result<OperatorId, IdError> {
        let mut scan = Scan::new(IdKind::Operator, text);
        let form = scan.operator()?;
        scan.end()?;
        Ok(OperatorId { text: text.into(), form })
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its grammar.
    #[must_use]
    pub fn form(&self) -> IdForm {
        self.form
    }

    /// The form for comparison: `CHSCH`, or `+41*031` for DIN.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical_operator(&self.text, self.form)
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A provider (EMP): `DE-8EO`, `DE*ICE`, `DEDCB`. Compare [`Self::canonical`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId {
    text: Box<str>,
}

impl ProviderId {
    /// Reads the pattern `ProviderIDType` with all three separators (GAPS B14), without the stray bar (B5).
    ///
    /// # Errors
    /// [`IdError`] with the broken rule and its place.
    pub fn parse(text: &str) -> Result<ProviderId, IdError> {
        let mut scan = Scan::new(IdKind::Provider, text);
        scan.provider()?;
        scan.end()?;
        Ok(ProviderId { text: text.into() })
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form for comparison: `DEDCB`.
    #[must_use]
    pub fn canonical(&self) -> String {
        without_separators(&self.text)
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A charging point: `CH*SCH*E2OVB`, `+41*031*123`. Identity is [`Self::key`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvseId {
    text: Box<str>,
    key: EvseKey,
    form: IdForm,
}

impl EvseId {
    /// Reads the pattern `EvseIDType`; lower case is accepted here (GAPS B1) and is a finding of validation.
    ///
    /// # Errors
    /// [`IdError`] with the broken rule and its place.
    pub fn parse(text: &str) -> Result<EvseId, IdError> {
        let mut scan = Scan::new(IdKind::Evse, text);
        let form = scan.operator()?;
        let operator_end = scan.position();
        let outlet_at = scan.outlet(form)?;
        scan.end()?;
        let (operator, outlet) =
            (text.get(..operator_end).unwrap_or_default(), text.get(outlet_at..).unwrap_or_default());
        let mut key = canonical_operator(operator, form);
        let operator_len = key.len();
        if form == IdForm::Din {
            key.push('*');
        }
        key.push_str(&outlet.to_ascii_uppercase());
        let key = EvseKey { text: key.into(), operator_len: operator_len as u8 };
        Ok(EvseId { text: text.into(), key, form })
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its grammar.
    #[must_use]
    pub fn form(&self) -> IdForm {
        self.form
    }

    /// The canonical key; two texts of one charging point have the same.
    #[must_use]
    pub fn key(&self) -> &EvseKey {
        &self.key
    }

    /// True if the text holds lower-case letters, which the published pattern does not allow (GAPS B1).
    #[must_use]
    pub fn has_lower_case(&self) -> bool {
        self.text.bytes().any(|byte| byte.is_ascii_lowercase())
    }
}

impl fmt::Display for EvseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The identity of a charging point among nodes: `CHSCHE2OVB*1` (operator without separators, outlet part
/// upper-cased with its separators) or `+41*031*123` (DIN). At most 41 bytes.
///
/// Records of prices are filed under longer keys that begin like it, see [`super::price_key`].
#[derive(Debug, Clone)]
pub struct EvseKey {
    pub(super) text: std::sync::Arc<str>,
    pub(super) operator_len: u8,
}

impl EvseKey {
    /// Reads a key that another node sent: it has to be canonical already.
    ///
    /// # Errors
    /// [`IdError`]: no EvseID at all, or [`IdRule::NotCanonical`] at the first character that would differ.
    pub fn parse_canonical(text: &str) -> Result<EvseKey, IdError> {
        let id = EvseId::parse(text).map_err(|error| IdError { kind: IdKind::EvseKey, ..error })?;
        if id.key.as_str() == text {
            return Ok(id.key);
        }
        let at = text.bytes().zip(id.key.as_str().bytes()).take_while(|(left, right)| left == right).count();
        Err(IdError { kind: IdKind::EvseKey, rule: IdRule::NotCanonical, at })
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical operator part: `CHSCH` or `+41*031`.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.text.get(..usize::from(self.operator_len)).unwrap_or_default()
    }
}

impl PartialEq for EvseKey {
    fn eq(&self, other: &EvseKey) -> bool {
        self.text == other.text
    }
}

impl Eq for EvseKey {}

impl PartialOrd for EvseKey {
    fn partial_cmp(&self, other: &EvseKey) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EvseKey {
    fn cmp(&self, other: &EvseKey) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl std::hash::Hash for EvseKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for EvseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A canonical operator (`CHSCH`) as people write it (`CH*SCH`); DIN ids and anything else unchanged.
#[must_use]
pub fn operator_for_display(canonical: &str) -> String {
    for_display(canonical, '*')
}

/// A canonical provider (`DEDCB`) as people write it (`DE-DCB`); anything else unchanged.
#[must_use]
pub fn provider_for_display(canonical: &str) -> String {
    for_display(canonical, '-')
}

fn for_display(canonical: &str, separator: char) -> String {
    match (canonical.get(..2), canonical.get(2..)) {
        (Some(country), Some(party))
            if party.len() == 3 && country.bytes().all(|byte| byte.is_ascii_alphabetic()) =>
        {
            format!("{country}{separator}{party}")
        }
        _ => canonical.to_owned(),
    }
}

pub(super) fn without_separators(text: &str) -> String {
    text.chars()
        .filter(|letter| !matches!(letter, '*' | '-'))
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

fn canonical_operator(text: &str, form: IdForm) -> String {
    match form {
        IdForm::Iso => without_separators(text),
        IdForm::Din if text.starts_with('+') => text.to_owned(),
        IdForm::Din => format!("+{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_in_both_forms() {
        let table = [
            ("CH*SCH", "CHSCH"),
            ("chsch", "CHSCH"),
            ("CH*911", "CH911"),
            ("+41*031", "+41*031"),
            ("41*031", "+41*031"),
            ("423*123", "+423*123"),
        ];
        for (text, canonical) in table {
            let id = OperatorId::parse(text).unwrap();
            assert_eq!((id.as_str(), id.canonical().as_str()), (text, canonical));
        }
        let bad = [
            ("", IdRule::CountryLetters, 0),
            ("C1*SCH", IdRule::CountryLetters, 1),
            ("CH*FASTNED", IdRule::TrailingText, 6),
            ("CH*SC", IdRule::Party, 5),
            ("CH**SC", IdRule::Party, 3),
            ("CH*SÖH", IdRule::Party, 4),
            ("+4112*031", IdRule::CountryDigits, 4),
            ("+41*03", IdRule::OperatorDigits, 6),
            ("+41*0311", IdRule::TrailingText, 7),
            ("+*031", IdRule::CountryDigits, 1),
        ];
        for (text, rule, at) in bad {
            let error = OperatorId::parse(text).unwrap_err();
            assert_eq!((error.rule, error.at), (rule, at), "{text}");
        }
    }

    #[test]
    fn providers_in_all_separators() {
        for text in ["DE-DCB", "DE*DCB", "dedcb"] {
            assert_eq!(ProviderId::parse(text).unwrap().canonical(), "DEDCB");
        }
        assert!(ProviderId::parse("DE|DCB").is_err());
        assert!(ProviderId::parse("DE-DCBX").is_err());
    }

    #[test]
    fn evse_keys_follow_the_decision() {
        let table = [
            ("CH*SCH*E2OVB556962SCH", "CHSCHE2OVB556962SCH", "CHSCH"),
            ("CHSCHE2ovb", "CHSCHE2OVB", "CHSCH"),
            ("de*AB7*E840*6487", "DEAB7E840*6487", "DEAB7"),
            ("DE*AB7*E8406487", "DEAB7E8406487", "DEAB7"),
            ("DE*ABE*E1", "DEABEE1", "DEABE"),
            ("DEEEEEE", "DEEEEEE", "DEEEE"),
            ("+49*810*000*438", "+49*810*000*438", "+49*810"),
            ("49*810*000*438", "+49*810*000*438", "+49*810"),
        ];
        for (text, key, operator) in table {
            let id = EvseId::parse(text).unwrap();
            assert_eq!((id.key().as_str(), id.key().operator()), (key, operator), "{text}");
            assert_eq!(&EvseKey::parse_canonical(key).unwrap(), id.key());
        }
        let bad = [
            ("CH*SCH", IdRule::OutletLetter, 6),
            ("CH*SCH*1", IdRule::OutletLetter, 7),
            ("CH*SCH*E", IdRule::Outlet, 8),
            ("CH*SCH*E1-2", IdRule::Outlet, 9),
            ("CH*SCH*E1234567890123456789012345678901", IdRule::Outlet, 38),
            ("+49*810*", IdRule::Outlet, 8),
            ("+49*810*12A", IdRule::Outlet, 10),
            ("+49*810", IdRule::Outlet, 7),
        ];
        for (text, rule, at) in bad {
            let error = EvseId::parse(text).unwrap_err();
            assert_eq!((error.rule, error.at), (rule, at), "{text}");
        }
    }

    #[test]
    fn a_key_from_the_wire_has_to_be_canonical() {
        for (text, at) in [("CH*SCHE1", 2), ("CHSCH*E1", 5), ("CHSCHe1", 5), ("49*810*1", 0)] {
            let error = EvseKey::parse_canonical(text).unwrap_err();
            assert_eq!((error.rule, error.at), (IdRule::NotCanonical, at), "{text}");
        }
        assert!(EvseKey::parse_canonical("").is_err());
    }

    #[test]
    fn any_text_is_read_or_refused_and_keys_are_stable() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            let _ = (OperatorId::parse(text), ProviderId::parse(text));
            if let Ok(id) = EvseId::parse(text) {
                let again = EvseKey::parse_canonical(id.key().as_str()).expect("a key is canonical");
                assert_eq!(&again, id.key());
                assert_eq!(again.operator(), id.key().operator());
            }
        });
    }

    #[test]
    fn people_read_separators() {
        assert_eq!(operator_for_display("CHSCH"), "CH*SCH");
        assert_eq!(operator_for_display("+41*031"), "+41*031");
        assert_eq!(provider_for_display("DEDCB"), "DE-DCB");
    }
}
