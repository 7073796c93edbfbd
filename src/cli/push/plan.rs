//! What a file comes to as pushes: one for each operator, under an OperatorID that is valid.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use chargemesh::oicp::id::OperatorId;
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::json_write::Writer;
use chargemesh::oicp::lint::derive_operator_id;
use chargemesh::oicp::push::ActionType;
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::register::{self, OperatorBlock, RegisterKind};

/// Operators that an error message lists.
const LISTED_MAX: usize = 20;

/// All pushes of a file.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: RegisterKind,
    pub(super) action: ActionType,
    pub(super) pushes: Vec<Push>,
    /// OperatorIDs that were derived from the EvseIDs: received and new.
    pub(super) derived: Vec<(String, OperatorId)>,
    /// Operators that are left out, and why.
    pub(super) left_out: Vec<String>,
}

/// One operator's push.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) operator_id: OperatorId,
    pub(super) records: usize,
    pub(super) body: Bytes,
}

/// Reads a file into pushes. `only` picks one operator, or says whose the records of a file with a single
/// operator are; `action` goes before what the file says, which goes before a full load.
///
/// # Errors
/// No JSON, no register, no such operator, or messages of different ActionTypes.
pub(super) fn read(
    body: &[u8],
    only: Option<&OperatorId>,
    action: Option<ActionType>,
) -> anyhow::Result<Plan> {
    let root = json::parse(body, Reading::Tolerant).context("is not JSON")?;
    let register = register::read(&root).context("is no register, status file or push message")?;
    let action = match action {
        Some(action) => action,
        None => action_of(&root)?.unwrap_or(ActionType::FullLoad),
    };
    let mut plan =
        Plan { kind: register.kind, action, pushes: Vec::new(), derived: Vec::new(), left_out: Vec::new() };
    // Two full loads of one operator would delete each other: its blocks go into one push.
    let mut merged: BTreeMap<String, (OperatorId, Vec<&OperatorBlock<'_, '_>>)> = BTreeMap::new();
    for block in &register.blocks {
        let stated = only.filter(|_| register.blocks.len() == 1);
        let Some(id) = plan.operator_id(block, &register.blocks, stated) else { continue };
        merged.entry(id.canonical()).or_insert_with(|| (id, Vec::new())).1.push(block);
    }
    if let Some(only) = only {
        let found = merged.remove(&only.canonical());
        let Some(found) = found else {
            let known: Vec<&str> = merged.values().take(LISTED_MAX).map(|(id, _)| id.as_str()).collect();
            bail!("has no operator {}; it has {}", only.as_str(), known.join(", "));
        };
        merged = BTreeMap::from([(only.canonical(), found)]);
        plan.derived.retain(|(_, id)| id.canonical() == only.canonical());
        plan.left_out.clear();
    }
    for (id, blocks) in merged.into_values() {
        let records = blocks.iter().map(|block| block.records.len()).sum();
        let body = message(plan.kind, action, &id, &blocks);
        plan.pushes.push(Push { operator_id: id, records, body });
    }
    Ok(plan)
}

impl Plan {
    /// The id to push a block under: stated, as written, or derived; `None` leaves it out.
    fn operator_id(
        &mut self,
        block: &OperatorBlock<'_, '_>,
        all: &[OperatorBlock<'_, '_>],
        stated: Option<&OperatorId>,
    ) -> Option<OperatorId> {
        if let Some(id) = stated {
            return Some(id.clone());
        }
        if let Ok(id) = OperatorId::parse(&block.operator_id) {
            return Some(id);
        }
        match derive_operator_id(block, all) {
            Ok(id) => {
                self.derived.push((block.operator_id.clone(), id.clone()));
                Some(id)
            }
            Err(error) => {
                self.left_out.push(error.to_string());
                None
            }
        }
    }
}

/// The ActionType that the file's messages agree on: an update must not become a full load.
fn action_of(root: &Node<'_>) -> anyhow::Result<Option<ActionType>> {
    let messages = if root.is_array() { root.items() } else { std::slice::from_ref(root) };
    let mut found = None;
    for message in messages {
        let Some(text) = message.field_any_case(&["ActionType"]).and_then(Node::as_str) else { continue };
        let action = ActionType::parse(text)
            .with_context(|| format!("has an unknown ActionType {text:?}: state --action"))?;
        if *found.get_or_insert(action) != action {
            bail!("has messages of different ActionTypes: push them one by one, or state --action");
        }
    }
    Ok(found)
}

/// The push message with every record as the file spells it.
fn message(
    kind: RegisterKind,
    action: ActionType,
    id: &OperatorId,
    blocks: &[&OperatorBlock<'_, '_>],
) -> Bytes {
    let (block_name, list_name) = match kind {
        RegisterKind::EvseData => ("OperatorEvseData", "EvseDataRecord"),
        RegisterKind::EvseStatus => ("OperatorEvseStatus", "EvseStatusRecord"),
    };
    let mut writer = Writer::new();
    writer.begin_object().key("ActionType").string(action.as_str()).key(block_name).begin_object();
    writer.key("OperatorID").string(id.as_str());
    // A name is mandatory with data; an operator without one is called by its id.
    let name = blocks.iter().find_map(|block| block.operator_name.as_deref());
    writer.key("OperatorName").string(name.unwrap_or(id.as_str()));
    writer.key(list_name).begin_array();
    for record in blocks.iter().flat_map(|block| &block.records) {
        writer.raw(record.raw());
    }
    writer.end_array().end_object().end_object();
    writer.finish().into()
}

#[cfg(test)]
mod tests {
    use chargemesh::oicp::push;

    use super::*;

    const REGISTER: &str = r#"{"EVSEData":[
        {"OperatorID":"CH*AAA","OperatorName":"A","EVSEDataRecord":[{"EvseID":"CH*AAA*E1","power":1.50}]},
        {"OperatorID":"CH*FASTNED","EVSEDataRecord":[{"EvseID":"CH*FAS*E1"}]},
        {"OperatorID":"CHAAA","EVSEDataRecord":[{"EvseID":"CH*AAA*E2"}]},
        {"OperatorID":"CH*MIXED","EVSEDataRecord":[{"EvseID":"CH*B11*E1"},{"EvseID":"CH*B22*E1"}]}]}"#;

    fn id(text: &str) -> OperatorId {
        OperatorId::parse(text).unwrap()
    }

    #[test]
    fn one_push_for_each_operator_under_a_valid_id() {
        let plan = read(REGISTER.as_bytes(), None, None).unwrap();
        let pushes: Vec<_> = plan.pushes.iter().map(|one| (one.operator_id.as_str(), one.records)).collect();
        assert_eq!(pushes, [("CH*AAA", 2), ("CH*FAS", 1)]);
        assert_eq!(plan.derived, [("CH*FASTNED".to_owned(), id("CH*FAS"))]);
        assert!(plan.left_out[0].starts_with("CH*MIXED: "), "{:?}", plan.left_out);
        let message = push::read_evse_data(&plan.pushes[0].body, Reading::Tolerant).unwrap();
        assert_eq!(message.action, ActionType::FullLoad);
        assert_eq!(message.operator_name.as_deref(), Some("A"));
        assert_eq!(&*message.records[0].raw, r#"{"EvseID":"CH*AAA*E1","power":1.50}"#);
    }

    #[test]
    fn an_operator_can_be_picked_or_stated() {
        let plan = read(REGISTER.as_bytes(), Some(&id("CH*FAS")), None).unwrap();
        assert_eq!((plan.pushes.len(), plan.derived.len(), plan.left_out.len()), (1, 1, 0));
        let error = read(REGISTER.as_bytes(), Some(&id("CH*ZZZ")), None).unwrap_err().to_string();
        assert_eq!(error, "has no operator CH*ZZZ; it has CH*AAA, CH*FAS");
        let bare = br#"[{"EvseID":"CH*B11*E1"}]"#;
        let plan = read(bare, Some(&id("CH*HUB")), None).unwrap();
        assert_eq!(plan.pushes[0].operator_id.as_str(), "CH*HUB");
    }

    #[test]
    fn the_files_own_action_is_kept() {
        let message = |action: &str| {
            format!(
                r#"{{"ActionType":"{action}","OperatorEvseStatus":{{"OperatorID":"CH*AAA","EvseStatusRecord":[{{"EvseID":"CH*AAA*E1","EvseStatus":"Available"}}]}}}}"#
            )
        };
        let plan = read(message("update").as_bytes(), None, None).unwrap();
        assert_eq!((plan.kind, plan.action), (RegisterKind::EvseStatus, ActionType::Update));
        push::read_evse_status(&plan.pushes[0].body, Reading::Strict).unwrap();
        let plan = read(message("update").as_bytes(), None, Some(ActionType::Insert)).unwrap();
        assert_eq!(plan.action, ActionType::Insert);
        let two = format!("[{},{}]", message("update"), message("delete"));
        assert!(read(two.as_bytes(), None, None).unwrap_err().to_string().contains("--action"));
        assert!(read(message("replace").as_bytes(), None, None).is_err());
    }
}
