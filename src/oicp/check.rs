//! Walks a message along its published table and reports every deviation, changing nothing. Values that a
//! repair would turn into the right shape are judged as if they had been repaired.

use super::decimal::Decimal;
use super::finding::{Finding, Hit, Rule, Severity, Step};
use super::geo::{self, GeoFormat};
use super::id::{EvseId, IdForm};
use super::json::{Node, Value};
use super::schema::{Extra, Field, Kind, Need, Table, is_operator};
use super::time;

/// Walks one tree and hands each deviation to `report`.
pub(super) struct Walk<'r> {
    path: Vec<Step>,
    report: &'r mut dyn FnMut(Hit<'_>),
}

/// Findings of one object against its table, at most `findings_max`.
pub(super) fn findings(node: &Node<'_>, table: &Table, findings_max: usize) -> Vec<Finding> {
    findings_from(node, table, findings_max, Severity::Info)
}

/// As [`findings`], only those of at least `severity`.
pub(super) fn findings_from(
    node: &Node<'_>,
    table: &Table,
    findings_max: usize,
    severity: Severity,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report = |hit: Hit<'_>| {
        if found.len() < findings_max && hit.rule.severity() >= severity {
            found.push(hit.finding());
        }
    };
    Walk::new(Vec::new(), &mut report).object(node, table);
    found
}

impl<'r> Walk<'r> {
    pub(super) fn new(path: Vec<Step>, report: &'r mut dyn FnMut(Hit<'_>)) -> Walk<'r> {
        Walk { path, report }
    }

    fn hit(&mut self, rule: Rule, field: &str, node: Option<&Node<'_>>) {
        let value = node.map_or("", |node| node.raw());
        (self.report)(Hit { path: &self.path, rule, field, value });
    }

    pub(super) fn object(&mut self, node: &Node<'_>, table: &Table) {
        for (name, member) in node.members() {
            if let Some(field) = table.exact(name) {
                self.path.push(Step::Known(field.name));
                self.member(field, member);
                self.path.pop();
                continue;
            }
            self.path.push(Step::Name(name.as_ref().into()));
            match table.meant(name) {
                None => self.hit(Rule::UnknownField, name, Some(member)),
                Some(field) if field.prints(name) => {
                    self.hit(Rule::FieldNameVariant, field.name, Some(member));
                    self.member(field, member);
                }
                Some(field) if node.field(field.name).is_some() && !member.is_null() => {
                    self.hit(Rule::FieldTwice, field.name, Some(member));
                }
                Some(field) => {
                    self.hit(Rule::FieldName, field.name, Some(member));
                    self.member(field, member);
                }
            }
            self.path.pop();
        }
        for field in table.fields {
            if matches!(field.need, Need::Filled | Need::Present) && of_field(node, field).is_none() {
                self.path.push(Step::Known(field.name));
                self.hit(Rule::MandatoryMissing, field.name, None);
                self.path.pop();
            }
        }
        if table.extra == Extra::EvseDataRecord {
            self.record_rules(node, table);
        }
    }

    fn record_rules(&mut self, node: &Node<'_>, table: &Table) {
        let get = |name: &str| table.exact(name).and_then(|field| of_field(node, field));
        let always_open = get("IsOpen24Hours").and_then(Node::as_bool);
        let times = get("OpeningTimes").is_some_and(|times| !times.items().is_empty() || times.is_object());
        if always_open == Some(false) && !times {
            self.path.push(Step::Known("OpeningTimes"));
            self.hit(Rule::OpeningTimesMissing, "OpeningTimes", None);
            self.path.pop();
        }
        if let Some(options) = get("PaymentOptions")
            && options.items().len() > 1
            && options.items().iter().any(|item| item.as_str() == Some("No Payment"))
        {
            self.path.push(Step::Known("PaymentOptions"));
            self.hit(Rule::NoPaymentAlone, "PaymentOptions", Some(options));
            self.path.pop();
        }
    }

    fn member(&mut self, field: &'static Field, node: &Node<'_>) {
        if node.is_null() {
            return;
        }
        let empty = match &node.value {
            Value::String(text) => text.trim().is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if empty {
            if field.need == Need::Filled {
                self.hit(Rule::MandatoryEmpty, field.name, Some(node));
            } else if node.as_str().is_some() && !matches!(field.kind, Kind::Text { .. }) {
                self.hit(Rule::EmptyForNull, field.name, Some(node));
            }
            return;
        }
        if field.need == Need::HubAssigned {
            self.hit(Rule::HubAssigned, field.name, Some(node));
        }
        if field.name == "GeoChargingPointEntrance" && is_placeholder(node) {
            self.hit(Rule::Placeholder, field.name, Some(node));
            return;
        }
        self.value(&field.kind, field.name, node);
    }

    fn value(&mut self, kind: &'static Kind, field: &'static str, node: &Node<'_>) {
        match kind {
            Kind::Text { min, max } => self.text(field, node, |text| {
                let characters = text.chars().count();
                (characters > *max)
                    .then_some(Rule::TextTooLong)
                    .or_else(|| (characters < *min).then_some(Rule::TextTooShort))
            }),
            Kind::Pattern(fits) => {
                self.text(field, node, |text| (!fits(text)).then_some(Rule::Pattern));
            }
            Kind::Operator => {
                self.text(field, node, |text| (!is_operator(text)).then_some(Rule::OperatorIdInvalid));
            }
            Kind::Instant => {
                self.text(field, node, |text| {
                    (!time::is_date_time(text)).then_some(Rule::DateTimeWithoutZone)
                });
            }
            Kind::Evse => self.evse(field, node),
            Kind::Choice(values) => self.choice(values, field, node),
            Kind::Flag => match (node.as_bool(), flag_of(node)) {
                (Some(_), _) => {}
                (None, Some(_)) => self.hit(Rule::BooleanAsText, field, Some(node)),
                (None, None) => self.hit(Rule::WrongType, field, Some(node)),
            },
            Kind::Number { .. } | Kind::Power => self.number(kind, field, node),
            Kind::Position => self.position(field, node, false),
            Kind::Center => self.position(field, node, true),
            Kind::Decimal => self.decimal(field, node),
            Kind::Readings => match node.field("meterValues") {
                Some(list) if node.is_object() => self.list(&Kind::Decimal, false, field, list),
                _ => self.list(&Kind::Decimal, false, field, node),
            },
            Kind::List { of, lone_ok } => self.list(of, *lone_ok, field, node),
            Kind::Object(table) => {
                if node.is_object() {
                    self.object(node, table);
                } else {
                    self.hit(Rule::WrongType, field, Some(node));
                }
            }
        }
    }

    fn text(&mut self, field: &'static str, node: &Node<'_>, broken: impl FnOnce(&str) -> Option<Rule>) {
        let text = node.as_str().or_else(|| node.number_text());
        if node.number_text().is_some() {
            self.hit(Rule::TextAsNumber, field, Some(node));
        }
        match text.map(broken) {
            None => self.hit(Rule::WrongType, field, Some(node)),
            Some(Some(rule)) => self.hit(rule, field, Some(node)),
            Some(None) => {}
        }
    }

    fn evse(&mut self, field: &'static str, node: &Node<'_>) {
        let Some(Ok(id)) = node.as_str().map(EvseId::parse) else {
            return self.hit(Rule::EvseIdInvalid, field, Some(node));
        };
        if id.has_lower_case() {
            self.hit(Rule::EvseIdLowerCase, field, Some(node));
        }
        if id.form() == IdForm::Din {
            self.hit(Rule::EvseIdDin, field, Some(node));
        } else if id.as_str().as_bytes().get(2) != Some(&b'*') {
            self.hit(Rule::EvseIdWithoutSeparator, field, Some(node));
        }
    }

    fn choice(&mut self, values: &'static [&'static str], field: &'static str, node: &Node<'_>) {
        let rule = match &node.value {
            Value::String(text) if values.contains(&text.as_ref()) => return,
            Value::String(_) => Rule::NotInEnumeration,
            Value::Bool(flag) if values.contains(&word(*flag)) => Rule::TextAsBoolean,
            _ => Rule::WrongType,
        };
        self.hit(rule, field, Some(node));
    }

    fn number(&mut self, kind: &Kind, field: &'static str, node: &Node<'_>) {
        let spelling = match (node.number_text(), node.as_str()) {
            (Some(spelling), _) => spelling,
            (None, Some(text)) if is_number(text) => {
                self.hit(Rule::NumberAsText, field, Some(node));
                text.trim()
            }
            _ => return self.hit(Rule::WrongType, field, Some(node)),
        };
        let size = spelling.parse::<f64>().unwrap_or(f64::INFINITY);
        let advised_max = match kind {
            Kind::Number { advised_max } => *advised_max,
            _ => 999,
        };
        if size > f64::from(advised_max) {
            self.hit(Rule::NumberWidth, field, Some(node));
        }
        if matches!(kind, Kind::Power) && size == 0.0 {
            self.hit(Rule::PowerZero, field, Some(node));
        }
    }

    fn decimal(&mut self, field: &'static str, node: &Node<'_>) {
        if Decimal::read(node).is_none() {
            self.hit(Rule::WrongType, field, Some(node));
        }
    }

    fn list(&mut self, of: &'static Kind, lone_ok: bool, field: &'static str, node: &Node<'_>) {
        if node.is_array() {
            for (index, item) in node.items().iter().enumerate() {
                self.path.push(Step::Index(index));
                self.value(of, field, item);
                self.path.pop();
            }
        } else if wraps_into_list(of, node) {
            let rule = if lone_ok { Rule::SingleForListVariant } else { Rule::SingleForList };
            self.hit(rule, field, Some(node));
            self.value(of, field, node);
        } else {
            self.hit(Rule::WrongType, field, Some(node));
        }
    }

    fn position(&mut self, field: &'static str, node: &Node<'_>, several: bool) {
        if geo::read_pair(node).is_none() {
            return self.hit(Rule::CoordinatesInvalid, field, Some(node));
        }
        if let Some(text) = node.as_str() {
            return self.google_text(field, node, text);
        }
        let chosen = geo::first_readable(node);
        for (name, member) in node.members() {
            let Some(notation) = GeoFormat::parse(name) else { continue };
            if member.is_null() {
                continue;
            }
            if Some(notation) != chosen {
                if !several {
                    self.hit(Rule::SeveralNotations, field, Some(node));
                }
            } else if name != notation.as_str() {
                self.hit(Rule::FieldName, notation.as_str(), Some(member));
            } else if let Some(text) = member.as_str() {
                self.google_text(field, node, text);
            } else if !geo::is_well_shaped(notation, member) {
                self.hit(Rule::CoordinateDecimals, field, Some(node));
            }
        }
    }

    fn google_text(&mut self, field: &'static str, node: &Node<'_>, text: &str) {
        self.hit(Rule::CoordinatesAsText, field, Some(node));
        if !geo::is_google_pattern(text) {
            self.hit(Rule::CoordinateDecimals, field, Some(node));
        }
    }
}

/// The member that a field's value is in: the exact name, else the first non-null deviating spelling.
pub(super) fn of_field<'n, 'a>(node: &'n Node<'a>, field: &Field) -> Option<&'n Node<'a>> {
    node.field(field.name).or_else(|| {
        let members = node.members().iter();
        members
            .filter(|(name, _)| field.means(name))
            .map(|(_, member)| member)
            .find(|member| !member.is_null())
    })
}

/// True if one value may stand for a list of one.
pub(super) fn wraps_into_list(of: &Kind, node: &Node<'_>) -> bool {
    match of {
        Kind::Object(_) => node.is_object(),
        _ => node.as_str().is_some(),
    }
}

/// A text that is a JSON number.
pub(super) fn is_number(text: &str) -> bool {
    super::json::parse_text(text.trim()).is_ok_and(|node| node.number_text().is_some())
}

/// `true`/`false` as boolean or as text.
pub(super) fn flag_of(node: &Node<'_>) -> Option<bool> {
    node.as_bool().or_else(|| match node.as_str()? {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    })
}

pub(super) fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Coordinates made of filler words (`None None`, `null null`, `NaN`) or of nothing at all.
pub(super) fn is_placeholder(node: &Node<'_>) -> bool {
    let filler = |text: &str| {
        text.split([' ', ','])
            .all(|part| matches!(part, "" | "None" | "none" | "null" | "NaN" | "nan" | "undefined"))
    };
    match &node.value {
        Value::Null => true,
        Value::String(text) => filler(text),
        Value::Object(members) => members.iter().all(|(_, member)| is_placeholder(member)),
        _ => false,
    }
}
