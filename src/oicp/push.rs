//! What operators push: EVSE data and EVSE status. Records are kept byte for byte as received (decisions 14).

use super::check;
use super::evse_status::EvseStatus;
use super::finding::{Fault, Finding, Severity, VALIDATION_ERRORS_MAX};
use super::id::{EvseId, EvseKey, OperatorId};
use super::json::{self, Node};
use super::reading::Reading;
use super::record::{self, Summary};
use super::schema::{PUSH_DATA, PUSH_STATUS, Table};

/// Most findings kept of one message; a full register has hundreds of thousands.
pub const FINDINGS_MAX: usize = 1000;

/// Most records in one push: four times the largest operator known (6,434), with room to grow.
pub const RECORDS_MAX: usize = 100_000;

/// What is to be done with pushed records (ActionType, RULES section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionType {
    /// Replace the whole set.
    FullLoad,
    /// Change records that all exist.
    Update,
    /// Add records that are all new.
    Insert,
    /// Remove records.
    Delete,
}

impl ActionType {
    /// The four values.
    pub const ALL: [ActionType; 4] =
        [ActionType::FullLoad, ActionType::Update, ActionType::Insert, ActionType::Delete];

    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ActionType::FullLoad => "fullLoad",
            ActionType::Update => "update",
            ActionType::Insert => "insert",
            ActionType::Delete => "delete",
        }
    }

    /// The value of that text, exactly spelled.
    #[must_use]
    pub fn parse(text: &str) -> Option<ActionType> {
        ActionType::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// One pushed EVSE data record.
#[derive(Debug, Clone, PartialEq)]
pub struct PushedRecord {
    /// The received bytes of the record.
    pub raw: Box<str>,
    /// What nodes need of it.
    pub summary: Summary,
}

/// eRoamingPushEvseData.
#[derive(Debug, Clone, PartialEq)]
pub struct PushEvseData {
    /// What to do.
    pub action: ActionType,
    /// Who pushes.
    pub operator_id: OperatorId,
    /// Its display name.
    pub operator_name: Option<String>,
    /// The records in received order; ids may repeat, the reader does not compare them.
    pub records: Vec<PushedRecord>,
    /// Deviations, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// One pushed EVSE status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedStatus {
    /// Canonical identity.
    pub key: EvseKey,
    /// EvseID as received.
    pub evse_id: Box<str>,
    /// The status.
    pub status: EvseStatus,
    /// The received bytes of the record.
    pub raw: Box<str>,
}

/// eRoamingPushEvseStatus.
#[derive(Debug, Clone, PartialEq)]
pub struct PushEvseStatus {
    /// What to do.
    pub action: ActionType,
    /// Who pushes.
    pub operator_id: OperatorId,
    /// Its display name, if given (GAPS B17).
    pub operator_name: Option<String>,
    /// The records in received order; ids may repeat.
    pub records: Vec<PushedStatus>,
    /// Deviations, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// Reads the body of a PushEvseData.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, no action, no valid OperatorID, or a record without a readable EvseID; in
/// strict reading every deviation of severity `Error` or `OwnerMustSupply`.
pub fn read_evse_data(body: &[u8], reading: Reading) -> Result<PushEvseData, Fault> {
    let root = json::parse(body, reading)?;
    let push = Envelope::read(&root, reading, &PUSH_DATA, "OperatorEvseData", "EvseDataRecord")?;
    let mut records = Vec::with_capacity(push.records.len());
    for (index, node) in push.records.iter().enumerate() {
        let summary = record::summarise_node(node).map_err(|error| {
            Fault::single(&format!("{}/{index}/EvseID", push.records_at), error.to_string())
        })?;
        records.push(PushedRecord { raw: node.raw().into(), summary });
    }
    let Envelope { action, operator_id, operator_name, findings, .. } = push;
    Ok(PushEvseData { action, operator_id, operator_name, records, findings })
}

/// Reads the body of a PushEvseStatus.
///
/// # Errors
/// As [`read_evse_data`]; also a record without status.
pub fn read_evse_status(body: &[u8], reading: Reading) -> Result<PushEvseStatus, Fault> {
    let root = json::parse(body, reading)?;
    let push = Envelope::read(&root, reading, &PUSH_STATUS, "OperatorEvseStatus", "EvseStatusRecord")?;
    let mut records = Vec::with_capacity(push.records.len());
    for (index, node) in push.records.iter().enumerate() {
        records.push(pushed_status(node, &format!("{}/{index}", push.records_at))?);
    }
    let Envelope { action, operator_id, operator_name, findings, .. } = push;
    Ok(PushEvseStatus { action, operator_id, operator_name, records, findings })
}

/// Reads one status record in any spelling.
pub(super) fn pushed_status(node: &Node<'_>, pointer: &str) -> Result<PushedStatus, Fault> {
    let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str);
    let at = |field: &str| format!("{pointer}/{field}");
    let evse_id = text("EvseID").ok_or_else(|| Fault::single(&at("EvseID"), "EvseID may not be null"))?;
    let id = EvseId::parse(evse_id).map_err(|error| Fault::single(&at("EvseID"), error.to_string()))?;
    let status = text("EvseStatus")
        .and_then(EvseStatus::parse)
        .ok_or_else(|| Fault::single(&at("EvseStatus"), "EvseStatus has to be a text of 1 to 50 bytes"))?;
    Ok(PushedStatus { key: id.key().clone(), evse_id: evse_id.into(), status, raw: node.raw().into() })
}

struct Envelope<'n, 'a> {
    action: ActionType,
    operator_id: OperatorId,
    operator_name: Option<String>,
    records: &'n [Node<'a>],
    /// RFC 6901 pointer of the list of records.
    records_at: String,
    findings: Vec<Finding>,
}

impl<'n, 'a> Envelope<'n, 'a> {
    fn read(
        root: &'n Node<'a>,
        reading: Reading,
        table: &'static Table,
        block_name: &'static str,
        list_name: &'static str,
    ) -> Result<Envelope<'n, 'a>, Fault> {
        if !root.is_object() {
            return Err(Fault::single("", "the body has to be an object"));
        }
        if reading == Reading::Strict {
            let broken = check::findings_from(root, table, VALIDATION_ERRORS_MAX, Severity::OwnerMustSupply);
            if !broken.is_empty() {
                return Err(Fault::from_findings(&broken));
            }
        }
        let findings = check::findings(root, table, FINDINGS_MAX);
        let missing = |pointer: &str, name: &str| Fault::single(pointer, format!("{name} may not be null"));
        let action = root
            .field_any_case(&["ActionType"])
            .and_then(Node::as_str)
            .and_then(ActionType::parse)
            .ok_or_else(|| {
                Fault::single("/ActionType", "one of fullLoad, update, insert, delete is needed")
            })?;
        let at = format!("/{block_name}");
        let mut block = root.field_any_case(&[block_name]).ok_or_else(|| missing(&at, block_name))?;
        if let [only] = block.items() {
            block = only;
        }
        let operator = block.field_any_case(&["OperatorID"]).and_then(Node::as_str);
        let operator_at = format!("{at}/OperatorID");
        let operator_id = OperatorId::parse(operator.ok_or_else(|| missing(&operator_at, "OperatorID"))?)
            .map_err(|error| Fault::single(&operator_at, error.to_string()))?;
        let records_at = format!("{at}/{list_name}");
        let list = block.field_any_case(&[list_name]).ok_or_else(|| missing(&records_at, list_name))?;
        let records = list.items_or_one().ok_or_else(|| Fault::no_list(&records_at, list))?;
        if records.len() > RECORDS_MAX {
            return Err(Fault::single(&records_at, format!("more than {RECORDS_MAX} records in one push")));
        }
        let operator_name = block.field_any_case(&["OperatorName"]).and_then(Node::as_str).map(str::to_owned);
        Ok(Envelope { action, operator_id, operator_name, records, records_at, findings })
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
