//! What validation reports: rules with stable names, severities, findings, and the hub's FaultBody.

use std::fmt;

use super::json::{Node, push_token};
use super::json_write::Writer;

/// How much a deviation from the published schema matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is refused for it.
    Info,
    /// Breaks the schema, and only the owner knows the right value. Strict reading refuses it.
    OwnerMustSupply,
    /// Breaks the schema in spelling, type or shape; `lint --fix` repairs it without inventing a value.
    /// Strict reading refuses it.
    Error,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $severity:ident, $action:literal;)*) => {
        /// What can be wrong. The kebab-case names are stable: scripts may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The stable kebab-case name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Rule::$name => $text),* }
            }

            /// How much it matters.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity),* }
            }

            /// What to do about it.
            #[must_use]
            pub fn what_to_do(self) -> &'static str {
                match self { $(Rule::$name => $action),* }
            }
        }
    };
}

rules! {
    /// A known field in another spelling (`power` for `Power`).
    FieldName = "field-name", Error, "use the published name; `lint --fix` does it";
    /// A spelling that one of the two role documents prints itself (`ChargingStationId`).
    FieldNameVariant = "field-name-variant", Info, "accepted; the usual name is written on";
    /// The same field in two spellings, both with a value.
    FieldTwice = "field-twice", Info, "remove one of the two";
    /// A field that OICP 2.3 does not have.
    UnknownField = "unknown-field", Info, "kept and handed on unchanged";
    /// A mandatory field is absent or null.
    MandatoryMissing = "mandatory-missing", OwnerMustSupply, "supply the value";
    /// A mandatory text or list is empty.
    MandatoryEmpty = "mandatory-empty", OwnerMustSupply, "supply the value";
    /// Not open round the clock, but no opening times.
    OpeningTimesMissing = "opening-times-missing", OwnerMustSupply, "supply OpeningTimes, or set IsOpen24Hours";
    /// A number written as text.
    NumberAsText = "number-as-text", Error, "write a JSON number; `lint --fix` does it";
    /// A text written as number.
    TextAsNumber = "text-as-number", Error, "write a JSON text; `lint --fix` does it";
    /// A boolean written as text.
    BooleanAsText = "boolean-as-text", Error, "write true or false; `lint --fix` does it";
    /// A text of an enumeration written as boolean.
    TextAsBoolean = "text-as-boolean", Error, "write a JSON text; `lint --fix` does it";
    /// One value where a list belongs.
    SingleForList = "single-for-list", Error, "write a list of one; `lint --fix` does it";
    /// One value where a list belongs and the CPO document's table prints one value itself (opening hours).
    SingleForListVariant = "single-for-list-variant", Info, "accepted; a list is written on";
    /// An empty text in an optional field that has a pattern or an enumeration.
    EmptyForNull = "empty-for-null", Error, "leave the field out; `lint --fix` writes null";
    /// A filler such as `None None` in place of coordinates.
    Placeholder = "placeholder", Error, "leave the field out; `lint --fix` writes null";
    /// A coordinate notation that is a plain text instead of an object.
    CoordinatesAsText = "coordinates-as-text", Error, "write {\"Coordinates\": ...}; `lint --fix` does it";
    /// Coordinates with more than six decimals or none, or in another type than text.
    CoordinateDecimals = "coordinate-decimals", Error, "write 1 to 6 decimals; `lint --fix` rounds";
    /// More than one coordinate notation in one object.
    SeveralNotations = "several-notations", Error, "keep exactly one; `lint --fix` keeps the first readable";
    /// Coordinates that cannot be read or are out of range.
    CoordinatesInvalid = "coordinates-invalid", OwnerMustSupply, "supply WGS84 coordinates";
    /// A value of a type that no repair turns into the right one.
    WrongType = "wrong-type", OwnerMustSupply, "supply a value of the right type";
    /// A text outside its enumeration.
    NotInEnumeration = "not-in-enumeration", OwnerMustSupply, "use one of the published values";
    /// A text that breaks its pattern.
    Pattern = "pattern", OwnerMustSupply, "supply a value that follows the published pattern";
    /// A text longer than allowed.
    TextTooLong = "text-too-long", OwnerMustSupply, "shorten the text";
    /// A text shorter than allowed.
    TextTooShort = "text-too-short", OwnerMustSupply, "pad or correct the text";
    /// `No Payment` together with other payment options.
    NoPaymentAlone = "no-payment-alone", OwnerMustSupply, "`No Payment` stands alone";
    /// A number wider than the published digits, which are too narrow for reality (GAPS B8).
    NumberWidth = "number-width", Info, "accepted: the published width is too narrow";
    /// A power of 0 kW.
    PowerZero = "power-zero", Info, "check the value";
    /// A date-time without zone, or none at all.
    DateTimeWithoutZone = "date-time-without-zone", Info, "write RFC 3339 with an offset";
    /// A field that the hub assigns in pulls.
    HubAssigned = "hub-assigned", Info, "leave it out of pushes: it is ignored";
    /// An EvseID that breaks both grammars.
    EvseIdInvalid = "evse-id-invalid", OwnerMustSupply, "correct the EvseID: nothing repairs it";
    /// An EvseID with lower-case letters.
    EvseIdLowerCase = "evse-id-lower-case", Info, "accepted: compared in upper case";
    /// An EvseID in the DIN form.
    EvseIdDin = "evse-id-din", Info, "accepted";
    /// An EvseID without separator behind the country.
    EvseIdWithoutSeparator = "evse-id-without-separator", Info, "accepted: separators there are optional";
    /// An EvseID whose operator part is not the publishing OperatorID.
    ForeignOperatorPart = "foreign-operator-part", Info, "needs a sub-operator registration";
    /// One EvseID published by several operators.
    EvseIdClaimedTwice = "evse-id-claimed-twice", OwnerMustSupply, "the operators have to settle it";
    /// One EvseID twice in one operator's list.
    EvseIdRepeated = "evse-id-repeated", OwnerMustSupply, "remove one of the records";
    /// An OperatorID that breaks its pattern.
    OperatorIdInvalid = "operator-id-invalid", OwnerMustSupply, "use the id in the EvseIDs; `lint --fix` does it if they agree";
    /// Several media where exactly one is allowed: in a record of authentication data, or in a message.
    SeveralMedia = "several-media", OwnerMustSupply, "name one medium in each record or message";
    /// A file in another envelope than the push message.
    Envelope = "envelope", Error, "use the published message; `lint --fix` renames the fields";
}

impl serde::Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One deviation at one place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// RFC 6901 pointer into the message or record.
    pub pointer: String,
    /// The rule that broke.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in a sentence without the value of personal fields.
    pub message: String,
    /// What to do about it.
    pub what_to_do: &'static str,
}

impl Finding {
    pub(super) fn several_media(pointer: &str, message: String) -> Finding {
        let rule = Rule::SeveralMedia;
        let (pointer, severity, what_to_do) = (pointer.to_owned(), rule.severity(), rule.what_to_do());
        Finding { pointer, rule, severity, message, what_to_do }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}; {})", self.pointer, self.message, self.rule, self.what_to_do)
    }
}

/// One step of a path into a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(Box<str>),
    Known(&'static str),
    Index(usize),
}

/// A deviation as the walker meets it, before anything is allocated for it.
pub(super) struct Hit<'h> {
    pub(super) path: &'h [Step],
    pub(super) rule: Rule,
    /// The field's published name, or the received name of an unknown one.
    pub(super) field: &'h str,
    /// Its value in JSON, for examples; empty where there is none.
    pub(super) value: &'h str,
}

impl Hit<'_> {
    pub(super) fn finding(&self) -> Finding {
        Finding {
            pointer: pointer(self.path),
            rule: self.rule,
            severity: self.rule.severity(),
            message: self.message(),
            what_to_do: self.rule.what_to_do(),
        }
    }

    pub(super) fn message(&self) -> String {
        let field = self.field;
        match self.rule {
            Rule::MandatoryMissing => format!("{field} may not be null"),
            Rule::MandatoryEmpty => format!("{field} may not be empty"),
            Rule::OpeningTimesMissing => {
                "OpeningTimes may not be empty when IsOpen24Hours is false".to_owned()
            }
            Rule::NotInEnumeration => format!("{field} is not one of the published values"),
            Rule::Pattern => format!("{field} does not match its pattern"),
            Rule::WrongType => format!("{field} has the wrong type"),
            rule => format!("{field}: {}", rule.as_str().replace('-', " ")),
        }
    }
}

pub(super) fn pointer(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Name(name) => push_token(&mut text, name),
            Step::Known(name) => push_token(&mut text, name),
            Step::Index(index) => push_token(&mut text, index),
        }
    }
    text
}

/// Most validation errors listed in one fault: an answer stays a few kilobytes whatever was pushed.
pub const VALIDATION_ERRORS_MAX: usize = 50;

/// A refused message: the hub's FaultBody for HTTP 400 (RULES 12.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({} validation errors)", .validation_errors.len())]
pub struct Fault {
    /// The general sentence, the hub's wording.
    pub message: String,
    /// What is wrong where, at most [`VALIDATION_ERRORS_MAX`].
    pub validation_errors: Vec<ValidationError>,
}

/// One entry of `validationErrors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// Path in lower camel case, `operatorEvseData.evseDataRecord[0].plugs`; null for the whole body.
    pub field_reference: Option<String>,
    /// What is wrong.
    pub error_message: String,
}

impl Fault {
    /// The sentence that the hub sends for every unreadable or invalid body.
    pub const MESSAGE: &'static str = "Error parsing/validating JSON.";

    /// A fault about one thing at one RFC 6901 pointer (empty: the whole body).
    #[must_use]
    pub fn single(pointer: &str, error_message: impl Into<String>) -> Fault {
        let error = ValidationError {
            field_reference: field_reference(pointer),
            error_message: error_message.into(),
        };
        Fault { message: Fault::MESSAGE.to_owned(), validation_errors: vec![error] }
    }

    /// What stands where a list is due, and is none.
    #[must_use]
    pub fn no_list(pointer: &str, found: &Node<'_>) -> Fault {
        Fault::single(pointer, format!("a list is needed, not a {}", found.kind()))
    }

    /// A fault out of findings; those of severity Info are left out.
    #[must_use]
    pub fn from_findings(findings: &[Finding]) -> Fault {
        let validation_errors = findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info)
            .take(VALIDATION_ERRORS_MAX)
            .map(|finding| ValidationError {
                field_reference: field_reference(&finding.pointer),
                error_message: finding.message.clone(),
            })
            .collect();
        Fault { message: Fault::MESSAGE.to_owned(), validation_errors }
    }

    /// Whether it objects to one thing only, at this RFC 6901 pointer.
    #[must_use]
    pub fn is_about(&self, pointer: &str) -> bool {
        let [only] = self.validation_errors.as_slice() else { return false };
        only.field_reference == field_reference(pointer)
    }

    /// The body as the hub writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::new();
        writer.begin_object().key("extendedInfo").null().key("message").string(&self.message);
        writer.key("validationErrors").begin_array();
        for error in &self.validation_errors {
            writer.begin_object().key("fieldReference").string_or_null(error.field_reference.as_deref());
            writer.key("errorMessage").string(&error.error_message).end_object();
        }
        writer.end_array().end_object();
        writer.finish()
    }
}

impl From<super::json::JsonError> for Fault {
    fn from(error: super::json::JsonError) -> Fault {
        Fault::single(&error.pointer, error.to_string())
    }
}

/// `/OperatorEvseData/EvseDataRecord/0/Plugs` as `operatorEvseData.evseDataRecord[0].plugs`.
fn field_reference(pointer: &str) -> Option<String> {
    let mut text = String::new();
    for token in pointer.split('/').skip(1) {
        if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push('[');
            text.push_str(token);
            text.push(']');
            continue;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&lower_camel(&token.replace("~1", "/").replace("~0", "~")));
    }
    if text.is_empty() { None } else { Some(text) }
}

fn lower_camel(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let upper = letters.iter().take_while(|letter| letter.is_ascii_uppercase()).count();
    let next_is_lower = letters.get(upper).is_some_and(char::is_ascii_lowercase);
    let lowered = if upper > 1 && next_is_lower { upper - 1 } else { upper };
    letters
        .iter()
        .enumerate()
        .map(|(place, letter)| if place < lowered { letter.to_ascii_lowercase() } else { *letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_lower_camel_case() {
        let table = [
            ("/OperatorEvseData/EvseDataRecord/0/Plugs", Some("operatorEvseData.evseDataRecord[0].plugs")),
            ("/EVSEStatus", Some("evseStatus")),
            ("/EvseID", Some("evseID")),
            ("/a~1b", Some("a/b")),
            ("", None),
        ];
        for (pointer, expected) in table {
            assert_eq!(field_reference(pointer).as_deref(), expected, "{pointer}");
        }
    }

    #[test]
    fn fault_body_is_the_hubs() {
        let fault = Fault::single("/OperatorEvseData/EvseDataRecord/0/Plugs", "may not be empty");
        assert_eq!(
            fault.to_json(),
            "{\"extendedInfo\":null,\"message\":\"Error parsing/validating JSON.\",\"validationErrors\":[{\"fieldReference\":\"operatorEvseData.evseDataRecord[0].plugs\",\"errorMessage\":\"may not be empty\"}]}"
        );
    }

    #[test]
    fn rule_names_are_distinct() {
        let mut names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
