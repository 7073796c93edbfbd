//! Says exactly what deviates in a whole file, counted by rule with a unit and examples, and repairs what can
//! be repaired without inventing a value (decisions 16 and 17).

use std::collections::{BTreeMap, BTreeSet};

use super::check::Walk;
use super::conform;
use super::finding::{Hit, Rule, Severity, Step};
use super::id::{EvseId, EvseKey, OperatorId, operator_for_display};
use super::json::{self, JsonError, Node};
use super::json_write::Writer;
use super::lint_forms::{FormCount, Forms, unit_of};
use super::reading::Reading;
use super::register::{self, OperatorBlock, Register, RegisterError, RegisterKind};
use super::schema::{DATA_RECORD, STATUS_RECORD, Table};

/// Examples kept of each rule and field.
pub const EXAMPLES_MAX: usize = 3;
/// Most (rule, field) pairs told apart; names of unknown fields come from outside.
pub const ENTRIES_MAX: usize = 500;
/// Longest value shown in an example, in characters.
const EXAMPLE_CHARACTERS_MAX: usize = 80;

/// The result of linting one file.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LintReport {
    /// Data or status.
    pub kind: RegisterKind,
    /// Operators in the file.
    pub operators: usize,
    /// Records in the file.
    pub records: usize,
    /// Distinct canonical EvseIDs.
    pub distinct_evse_ids: usize,
    /// Deviations by rule and field, gravest first, then by count.
    pub entries: Vec<LintEntry>,
    /// In which forms some values are written; not all forms are deviations.
    pub forms: Vec<FormCount>,
}

/// One rule broken by one field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LintEntry {
    /// The rule.
    pub rule: Rule,
    /// The field's published name, or the received one of an unknown field.
    pub field: String,
    /// How much it matters.
    pub severity: Severity,
    /// How often.
    pub count: usize,
    /// What is counted: records, facilities, periods, operators...
    pub unit: &'static str,
    /// What to do about it.
    pub what_to_do: &'static str,
    /// Up to [`EXAMPLES_MAX`] places.
    pub examples: Vec<Example>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Example {
    /// RFC 6901 pointer into the file.
    pub pointer: String,
    /// The record's EvseID, if it has one.
    pub evse_id: Option<String>,
    /// The value in JSON, cut.
    pub value: String,
}

impl LintReport {
    /// How often a rule is broken by a field; 0 if never.
    #[must_use]
    pub fn count(&self, rule: Rule, field: &str) -> usize {
        let entry = self.entries.iter().find(|entry| entry.rule == rule && entry.field == field);
        entry.map_or(0, |entry| entry.count)
    }

    /// The gravest severity in the report.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.entries.iter().map(|entry| entry.severity).max()
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // The report holds texts and counts only: its serialisation cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Why a file cannot be linted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] JsonError),
    /// No known envelope.
    #[error("no register: {0}")]
    Register(#[from] RegisterError),
}

/// Why no OperatorID can be derived: then a person has to say which (decisions 17).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// No readable EvseID.
    #[error("{0}: no EvseID to derive the OperatorID from; state the OperatorID")]
    NoEvseId(String),
    /// Several operator parts.
    #[error("{0}: the EvseIDs carry several operator parts ({1}); state the OperatorID")]
    SeveralPrefixes(String, String),
    /// Another operator of the file has or uses it.
    #[error("{0}: {1} is also used by {2}; state the OperatorID")]
    Collision(String, String, String),
}

/// A repaired file.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedFile {
    /// One push message, or a list of them for several operators.
    pub text: String,
    /// What is still to be said about it.
    pub report: LintReport,
    /// OperatorIDs that were derived: received and new.
    pub derived: Vec<(String, OperatorId)>,
    /// OperatorIDs that stayed invalid.
    pub refused: Vec<DeriveError>,
}

/// Lints a register file or push body of any known envelope.
///
/// # Errors
/// [`LintError`] if it is not JSON or holds no records in a known way.
pub fn lint(body: &[u8]) -> Result<LintReport, LintError> {
    let root = json::parse(body, Reading::Tolerant)?;
    Ok(report(&register::read(&root)?))
}

/// Repairs a file and lints the result.
///
/// # Errors
/// As [`lint`].
pub fn fix(body: &[u8]) -> Result<FixedFile, LintError> {
    let root = json::parse(body, Reading::Tolerant)?;
    let register = register::read(&root)?;
    let (mut derived, mut refused) = (Vec::new(), Vec::new());
    let mut writer = Writer::with_capacity(body.len());
    if register.blocks.len() != 1 {
        writer.begin_array();
    }
    for block in &register.blocks {
        let operator_id = match OperatorId::parse(&block.operator_id) {
            Ok(_) => block.operator_id.clone(),
            Err(_) => match derive_operator_id(block, &register.blocks) {
                Ok(id) => {
                    let text = id.as_str().to_owned();
                    derived.push((block.operator_id.clone(), id));
                    text
                }
                Err(error) => {
                    refused.push(error);
                    block.operator_id.clone()
                }
            },
        };
        write_block(&mut writer, register.kind, &operator_id, block);
    }
    if register.blocks.len() != 1 {
        writer.end_array();
    }
    let text = writer.finish();
    let report = lint(text.as_bytes())?;
    Ok(FixedFile { text, report, derived, refused })
}

/// The OperatorID that the EvseIDs of a block agree on, if no other block has or uses it.
///
/// # Errors
/// [`DeriveError`]: none, several, or a collision. Never a guess.
pub fn derive_operator_id(
    block: &OperatorBlock<'_, '_>,
    all: &[OperatorBlock<'_, '_>],
) -> Result<OperatorId, DeriveError> {
    let prefixes = prefixes(block);
    let received = block.operator_id.clone();
    let mut found = prefixes.iter();
    let (Some(prefix), None) = (found.next(), found.next()) else {
        return Err(match prefixes.is_empty() {
            true => DeriveError::NoEvseId(received),
            false => {
                let list: Vec<String> = prefixes.iter().take(10).cloned().collect();
                DeriveError::SeveralPrefixes(received, list.join(", "))
            }
        });
    };
    for other in all.iter().filter(|other| !std::ptr::eq(*other, block)) {
        let same_id = OperatorId::parse(&other.operator_id).is_ok_and(|id| id.canonical() == *prefix);
        if same_id || self::prefixes(other).contains(prefix) {
            return Err(DeriveError::Collision(received, prefix.clone(), other.operator_id.clone()));
        }
    }
    OperatorId::parse(&operator_for_display(prefix)).map_err(|_| DeriveError::NoEvseId(received))
}

fn prefixes(block: &OperatorBlock<'_, '_>) -> BTreeSet<String> {
    let ids = block.records.iter().filter_map(|record| evse_id(record));
    ids.map(|id| id.key().operator().to_owned()).collect()
}

fn evse_id(record: &Node<'_>) -> Option<EvseId> {
    record.field_any_case(&["EvseID"]).and_then(Node::as_str).and_then(|text| EvseId::parse(text).ok())
}

fn write_block(writer: &mut Writer, kind: RegisterKind, operator_id: &str, block: &OperatorBlock<'_, '_>) {
    let (block_name, list_name, table) = match kind {
        RegisterKind::EvseData => ("OperatorEvseData", "EvseDataRecord", &DATA_RECORD),
        RegisterKind::EvseStatus => ("OperatorEvseStatus", "EvseStatusRecord", &STATUS_RECORD),
    };
    writer.begin_object().key("ActionType").string("fullLoad").key(block_name).begin_object();
    writer.key("OperatorID").string(operator_id);
    writer.key("OperatorName").string_or_null(block.operator_name.as_deref());
    writer.key(list_name).begin_array();
    for record in &block.records {
        let mut fixed = (*record).clone();
        if conform::fix_node(&mut fixed, table) {
            writer.node(&fixed);
        } else {
            writer.raw(record.raw());
        }
    }
    writer.end_array().end_object().end_object();
}

fn report(register: &Register<'_, '_>) -> LintReport {
    let mut tally = Tally::default();
    if !register.is_published_envelope {
        tally.add(Rule::Envelope, "file", "", None, "");
    }
    let mut owners: BTreeMap<EvseKey, Claim> = BTreeMap::new();
    let mut forms = Forms::default();
    for (place, block) in register.blocks.iter().enumerate() {
        tally.block(block, register.kind);
        let publisher = OperatorId::parse(&block.operator_id).ok().map(|id| id.canonical());
        for (record, pointer) in block.records.iter().zip(&block.pointers) {
            let text = record.field_any_case(&["EvseID"]).and_then(Node::as_str);
            tally.record(record, table_of(register.kind), pointer, text);
            if register.kind == RegisterKind::EvseData {
                forms.record(record);
            }
            let Some(id) = evse_id(record) else { continue };
            if publisher.as_deref() != Some(id.key().operator()) {
                tally.add(Rule::ForeignOperatorPart, "EvseID", pointer, text, &block.operator_id);
            }
            let claim =
                owners.entry(id.key().clone()).or_insert(Claim { first: place, contested: false, seen: 0 });
            claim.seen += 1;
            if claim.first != place && !claim.contested {
                claim.contested = true;
                tally.add(Rule::EvseIdClaimedTwice, "EvseID", pointer, text, &block.operator_id);
            } else if claim.first == place && claim.seen > 1 {
                tally.add(Rule::EvseIdRepeated, "EvseID", pointer, text, &block.operator_id);
            }
        }
    }
    LintReport {
        kind: register.kind,
        operators: register.blocks.len(),
        records: register.blocks.iter().map(|block| block.records.len()).sum(),
        distinct_evse_ids: owners.len(),
        entries: tally.entries(),
        forms: forms.counts(),
    }
}

fn table_of(kind: RegisterKind) -> &'static Table {
    match kind {
        RegisterKind::EvseData => &DATA_RECORD,
        RegisterKind::EvseStatus => &STATUS_RECORD,
    }
}

struct Claim {
    first: usize,
    contested: bool,
    seen: usize,
}

#[derive(Default)]
struct Tally {
    found: BTreeMap<(Rule, String), (usize, Vec<Example>)>,
}

impl Tally {
    fn block(&mut self, block: &OperatorBlock<'_, '_>, kind: RegisterKind) {
        let pointer = block.pointers.first().map_or("", String::as_str);
        if OperatorId::parse(&block.operator_id).is_err() {
            self.add(Rule::OperatorIdInvalid, "OperatorID", pointer, None, &block.operator_id);
        }
        let list_name = match kind {
            RegisterKind::EvseData => "EvseDataRecord",
            RegisterKind::EvseStatus => "EvseStatusRecord",
        };
        if let Some(name) = block.list_name.filter(|name| *name != list_name) {
            self.add(Rule::FieldName, list_name, pointer, None, name);
        }
        if kind == RegisterKind::EvseData && block.operator_name.is_none() {
            self.add(Rule::MandatoryMissing, "OperatorName", pointer, None, "");
        }
    }

    fn record(&mut self, record: &Node<'_>, table: &'static Table, pointer: &str, evse_id: Option<&str>) {
        let path: Vec<Step> = pointer.split('/').skip(1).map(|token| Step::Name(token.into())).collect();
        let mut report = |hit: Hit<'_>| {
            let at = if self.wants_example(hit.rule, hit.field) {
                super::finding::pointer(hit.path)
            } else {
                String::new()
            };
            self.add(hit.rule, hit.field, &at, evse_id, hit.value);
        };
        Walk::new(path, &mut report).object(record, table);
    }

    fn wants_example(&self, rule: Rule, field: &str) -> bool {
        self.found.get(&(rule, field.to_owned())).is_none_or(|(_, examples)| examples.len() < EXAMPLES_MAX)
    }

    fn add(&mut self, rule: Rule, field: &str, pointer: &str, evse_id: Option<&str>, value: &str) {
        let known = self.found.contains_key(&(rule, field.to_owned()));
        let field = if known || self.found.len() < ENTRIES_MAX { field } else { "(others)" };
        let (count, examples) = self.found.entry((rule, field.to_owned())).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(Example {
                pointer: pointer.to_owned(),
                evse_id: evse_id.map(str::to_owned),
                value: value.chars().take(EXAMPLE_CHARACTERS_MAX).collect(),
            });
        }
    }

    fn entries(self) -> Vec<LintEntry> {
        let mut entries: Vec<LintEntry> = self
            .found
            .into_iter()
            .map(|((rule, field), (count, examples))| LintEntry {
                rule,
                severity: rule.severity(),
                count,
                unit: unit_of(rule, &field),
                what_to_do: rule.what_to_do(),
                examples,
                field,
            })
            .collect();
        entries.sort_by(|left, right| {
            (right.severity, right.count, left.rule, &left.field).cmp(&(
                left.severity,
                left.count,
                right.rule,
                &right.field,
            ))
        });
        entries
    }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
