//! The units of the lint report, and the forms in which power and the last update are written.

use std::collections::BTreeMap;

use super::finding::Rule;
use super::json::Node;
use super::time;

/// How many values are written in one form.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FormCount {
    /// The field.
    pub field: &'static str,
    /// The form, such as `text` or `integer`.
    pub form: &'static str,
    /// How many.
    pub count: usize,
    /// What is counted.
    pub unit: &'static str,
}

/// What a count of that rule and field counts.
pub(super) fn unit_of(rule: Rule, field: &str) -> &'static str {
    match (rule, field) {
        (Rule::Envelope, _) => "files",
        (Rule::EvseIdClaimedTwice, _) => "EvseIDs",
        (_, "OperatorID" | "OperatorName" | "EvseDataRecord" | "EvseStatusRecord") => "operators",
        (_, "Power" | "PowerType" | "Voltage" | "Amperage" | "ChargingModes") => "facilities",
        (_, "Period" | "on") => "opening times",
        (_, "begin" | "end") => "periods",
        (_, "lang" | "value") => "texts",
        (
            Rule::NotInEnumeration,
            "Plugs" | "AuthenticationModes" | "PaymentOptions" | "ValueAddedServices",
        ) => "values",
        _ => "records",
    }
}

/// Counts forms over many records.
#[derive(Default)]
pub(super) struct Forms {
    counts: BTreeMap<(&'static str, &'static str), usize>,
}

impl Forms {
    pub(super) fn record(&mut self, record: &Node<'_>) {
        let facilities = record.field_any_case(&["ChargingFacilities"]);
        let facilities = facilities
            .map(|node| if node.is_array() { node.items() } else { std::slice::from_ref(node) })
            .unwrap_or_default();
        for facility in facilities {
            *self.counts.entry(("Power", power_form(facility))).or_default() += 1;
        }
        if let Some(text) = record.field_any_case(&["lastUpdate"]).and_then(Node::as_str) {
            *self.counts.entry(("lastUpdate", instant_form(text))).or_default() += 1;
        }
    }

    pub(super) fn counts(self) -> Vec<FormCount> {
        let unit = |field: &str| if field == "Power" { "facilities" } else { "records" };
        self.counts
            .into_iter()
            .map(|((field, form), count)| FormCount { field, form, count, unit: unit(field) })
            .collect()
    }
}

fn power_form(facility: &Node<'_>) -> &'static str {
    match facility.field_any_case(&["Power"]) {
        None => "absent",
        Some(node) => match node.number_text() {
            Some(spelling) if spelling.contains(['.', 'e', 'E']) => "fraction",
            Some(_) => "integer",
            None => node.kind(),
        },
    }
}

fn instant_form(text: &str) -> &'static str {
    match (time::is_date_time(text), text.contains('.')) {
        (true, _) => "with zone",
        (false, true) => "fraction without zone",
        (false, false) => "whole seconds without zone",
    }
}
