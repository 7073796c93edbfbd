//! What the demo's operators publish: their ids, their records and their statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use chargemesh::oicp::id::{EvseId, EvseKey, OperatorId};
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::json_write::Writer;
use chargemesh::oicp::push::ActionType;
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::register::{self, OperatorBlock, RegisterKind};

use super::super::input;
use super::operator_ids;
use super::screen::Screen;

/// Most operators of one demo: each is a node of its own in this process.
pub(super) const OPERATORS_MAX: usize = 200;

/// EMP nodes beside operators of generated input.
pub(super) const EMP_NODES_GENERATED: usize = 2;

/// EMP nodes beside operators of real input.
pub(super) const EMP_NODES_REAL: usize = 3;

/// One operator and what it publishes at the start.
pub(super) struct Operator {
    /// Valid OperatorID, received or derived.
    pub(super) id: OperatorId,
    /// OperatorName.
    pub(super) name: String,
    /// Canonical operator parts of its EvseIDs.
    pub(super) prefixes: BTreeSet<String>,
    /// Its EvseIDs with a status, as it spells them.
    pub(super) evse_ids: Vec<Box<str>>,
    /// Full loads, until they are taken.
    pub(super) bodies: Option<Bodies>,
}

/// The two full loads of one operator.
pub(super) struct Bodies {
    /// PushEvseData.
    pub(super) data: Bytes,
    /// Records in it.
    pub(super) records: usize,
    /// PushEvseStatus; none if there are no statuses.
    pub(super) status: Option<Bytes>,
    /// Statuses in it.
    pub(super) statuses: usize,
}

/// All operators.
pub(super) struct World {
    /// One CPO node each, in ascending order of canonical ids.
    pub(super) operators: Vec<Operator>,
    /// How many EMP nodes are to be brought up.
    pub(super) emp_nodes: usize,
    /// Whether everything was made up: then statuses may be made up too.
    pub(super) is_generated: bool,
}

impl World {
    /// Takes the full loads out, so that they are freed as they are pushed.
    pub(super) fn take_bodies(&mut self) -> Vec<Bodies> {
        self.operators
            .iter_mut()
            .map(|operator| {
                let empty = Bodies { data: Bytes::new(), records: 0, status: None, statuses: 0 };
                operator.bodies.take().unwrap_or(empty)
            })
            .collect()
    }
}

/// Collects one operator's records in the order in which they come, each EVSE once.
pub(super) struct Draft {
    id: OperatorId,
    name: String,
    prefixes: BTreeSet<String>,
    records: Vec<String>,
    keys: BTreeSet<EvseKey>,
    statuses: Vec<String>,
    with_status: BTreeSet<EvseKey>,
    evse_ids: Vec<Box<str>>,
    /// Records left out: unreadable EvseID, or the EVSE came before.
    pub(super) left_out: usize,
}

impl Draft {
    pub(super) fn new(id: OperatorId, name: &str) -> Draft {
        Draft {
            id,
            name: name.to_owned(),
            prefixes: BTreeSet::new(),
            records: Vec::new(),
            keys: BTreeSet::new(),
            statuses: Vec::new(),
            with_status: BTreeSet::new(),
            evse_ids: Vec::new(),
            left_out: 0,
        }
    }

    /// Adds a data record as it is.
    pub(super) fn record(&mut self, evse_id: &str, raw: &str) {
        match EvseId::parse(evse_id) {
            Ok(id) if self.keys.insert(id.key().clone()) => {
                self.prefixes.insert(id.key().operator().to_owned());
                self.records.push(raw.to_owned());
            }
            _ => self.left_out += 1,
        }
    }

    /// Adds a status record as it is, if there is data of the EVSE.
    pub(super) fn status(&mut self, evse_id: &str, raw: &str) {
        match EvseId::parse(evse_id) {
            Ok(id) if self.keys.contains(id.key()) && self.with_status.insert(id.key().clone()) => {
                self.statuses.push(raw.to_owned());
                self.evse_ids.push(evse_id.into());
            }
            _ => self.left_out += 1,
        }
    }

    /// The operator with its two full loads.
    pub(super) fn finish(self) -> Operator {
        let data = data_body(ActionType::FullLoad, self.id.as_str(), &self.name, &self.records);
        let status = |draft: &Draft| {
            status_body(ActionType::FullLoad, draft.id.as_str(), &draft.name, &draft.statuses)
        };
        let bodies = Bodies {
            data,
            records: self.records.len(),
            status: (!self.statuses.is_empty()).then(|| status(&self)),
            statuses: self.statuses.len(),
        };
        Operator {
            id: self.id,
            name: self.name,
            prefixes: self.prefixes,
            evse_ids: self.evse_ids,
            bodies: Some(bodies),
        }
    }
}

/// A PushEvseData around finished records.
pub(super) fn data_body(action: ActionType, operator_id: &str, name: &str, records: &[String]) -> Bytes {
    body(action, ("OperatorEvseData", "EvseDataRecord"), operator_id, name, records)
}

/// A PushEvseStatus around finished records.
pub(super) fn status_body(action: ActionType, operator_id: &str, name: &str, records: &[String]) -> Bytes {
    body(action, ("OperatorEvseStatus", "EvseStatusRecord"), operator_id, name, records)
}

/// One status record in the published spelling.
pub(super) fn status_record(evse_id: &str, status: &str) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key("EvseID").string(evse_id).key("EvseStatus").string(status).end_object();
    writer.finish()
}

fn body(
    action: ActionType,
    (block, list): (&str, &str),
    operator_id: &str,
    name: &str,
    records: &[String],
) -> Bytes {
    let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
    let mut writer = Writer::with_capacity(bytes + 256);
    writer.begin_object().key("ActionType").string(action.as_str()).key(block).begin_object();
    writer.key("OperatorID").string(operator_id).key("OperatorName").string(name);
    writer.key(list).begin_array();
    for record in records {
        writer.raw(record);
    }
    writer.end_array().end_object().end_object();
    writer.finish().into()
}

/// The world of a register: one operator per block, its records verbatim.
pub(super) fn from_register(data: &Path, status: Option<&Path>, screen: &Screen) -> anyhow::Result<World> {
    let mut drafts = BTreeMap::new();
    {
        let bytes = input::read(data)?;
        let root = json::parse(&bytes, Reading::Tolerant).with_context(|| format!("{}", data.display()))?;
        let blocks = blocks(&root, RegisterKind::EvseData, data)?;
        let mut ids: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for block in &blocks {
            ids.entry(block.operator_id.clone()).or_default().extend(evse_ids(block));
        }
        let settled = operator_ids::settle(&ids).with_context(|| format!("{}", data.display()))?;
        for block in &blocks {
            let Some((id, derived)) = settled.get(&block.operator_id) else { continue };
            if *derived {
                screen.line(&format!("OperatorID {} is not valid: derived {id}", block.operator_id));
            }
            let name = block.operator_name.as_deref().unwrap_or(&block.operator_id);
            let draft =
                drafts.entry(block.operator_id.clone()).or_insert_with(|| Draft::new(id.clone(), name));
            for record in &block.records {
                draft.record(evse_id(record).unwrap_or_default(), record.raw());
            }
        }
    }
    if let Some(status) = status {
        add_statuses(&mut drafts, status, screen)?;
    }
    finish(drafts, screen)
}

/// The world of finished drafts, in ascending order.
pub(super) fn finish(drafts: BTreeMap<String, Draft>, screen: &Screen) -> anyhow::Result<World> {
    anyhow::ensure!(
        drafts.len() <= OPERATORS_MAX,
        "{} operators are more than the {OPERATORS_MAX} that fit one process",
        drafts.len()
    );
    anyhow::ensure!(!drafts.is_empty(), "the input names no operator");
    for draft in drafts.values().filter(|draft| draft.left_out > 0) {
        screen.line(&format!(
            "{}: {} records left out (unreadable or repeated EvseID, or a status without data)",
            draft.id, draft.left_out
        ));
    }
    let mut operators: Vec<Operator> = drafts.into_values().map(Draft::finish).collect();
    operators.sort_by_key(|operator| operator.id.canonical());
    Ok(World { operators, emp_nodes: EMP_NODES_REAL, is_generated: false })
}

fn add_statuses(drafts: &mut BTreeMap<String, Draft>, path: &Path, screen: &Screen) -> anyhow::Result<()> {
    let bytes = input::read(path)?;
    let root = json::parse(&bytes, Reading::Tolerant).with_context(|| format!("{}", path.display()))?;
    for block in blocks(&root, RegisterKind::EvseStatus, path)? {
        let Some(draft) = drafts.get_mut(&block.operator_id) else {
            screen.line(&format!(
                "{}: {} statuses left out, the operator has no data",
                block.operator_id,
                block.records.len()
            ));
            continue;
        };
        for record in &block.records {
            draft.status(evse_id(record).unwrap_or_default(), record.raw());
        }
    }
    Ok(())
}

/// The operators of a file that has to be of a kind.
pub(super) fn blocks<'n, 'a>(
    root: &'n Node<'a>,
    kind: RegisterKind,
    path: &Path,
) -> anyhow::Result<Vec<OperatorBlock<'n, 'a>>> {
    let register = register::read(root).with_context(|| format!("{}", path.display()))?;
    anyhow::ensure!(
        register.kind == kind || register.blocks.is_empty(),
        "{} holds {:?} where {kind:?} is needed: exchange the files",
        path.display(),
        register.kind
    );
    Ok(register.blocks)
}

/// EvseID of a record in any spelling of its name.
pub(super) fn evse_id<'n>(record: &'n Node<'_>) -> Option<&'n str> {
    record.field_any_case(&["EvseID"]).and_then(Node::as_str)
}

fn evse_ids<'n>(block: &OperatorBlock<'n, '_>) -> impl Iterator<Item = &'n str> {
    block.records.iter().copied().filter_map(evse_id)
}

#[cfg(test)]
mod tests {
    use chargemesh::oicp::push::{read_evse_data, read_evse_status};

    use super::*;

    #[test]
    fn records_are_spliced_verbatim_and_once() {
        let mut draft = Draft::new(OperatorId::parse("CH*ABC").unwrap(), "A \"quoted\" name");
        draft.record("CH*ABC*E1", r#"{"EvseID":"CH*ABC*E1", "power" : 22.0}"#);
        draft.record("ch*abc*e1", r#"{"EvseID":"ch*abc*e1"}"#);
        draft.record("FR*N54*E1", r#"{"EvseID":"FR*N54*E1"}"#);
        draft.status("CH*ABC*E1", r#"{"EvseID":"CH*ABC*E1","EVSEStatus":"Occupied"}"#);
        draft.status("CH*ABC*E9", r#"{"EvseID":"CH*ABC*E9","EVSEStatus":"Occupied"}"#);
        assert_eq!(draft.left_out, 2);
        let operator = draft.finish();
        assert_eq!(operator.prefixes.iter().map(String::as_str).collect::<Vec<_>>(), ["CHABC", "FRN54"]);
        let bodies = operator.bodies.unwrap();
        let data = read_evse_data(&bodies.data, Reading::Tolerant).unwrap();
        assert_eq!((data.records.len(), bodies.records), (2, 2));
        assert_eq!(&*data.records[0].raw, r#"{"EvseID":"CH*ABC*E1", "power" : 22.0}"#);
        assert_eq!(data.operator_name.as_deref(), Some("A \"quoted\" name"));
        let status = read_evse_status(&bodies.status.unwrap(), Reading::Tolerant).unwrap();
        assert_eq!(status.records.len(), 1);
    }

    #[test]
    fn a_status_record_is_read_strictly() {
        let body = status_body(ActionType::Update, "CH*ABC", "A", &[status_record("CH*ABC*E1", "Available")]);
        assert_eq!(read_evse_status(&body, Reading::Strict).unwrap().records.len(), 1);
    }
}
