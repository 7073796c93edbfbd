//! Files of many operators in whatever envelope they come: the push message, a list of push messages, the
//! national registers' `EVSEData`/`EVSEStatuses`, a pulled page or status answer, or a bare list of records.

use std::collections::BTreeMap;

use super::id::{EvseId, operator_for_display};
use super::json::Node;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterKind {
    /// EVSE data records.
    EvseData,
    /// EVSE status records.
    EvseStatus,
}

/// A register with its records in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Register<'n, 'a> {
    /// Data or status.
    pub kind: RegisterKind,
    /// True if the envelope is the published push message (or a list of them).
    pub is_published_envelope: bool,
    /// One block for each operator, in the file's order.
    pub blocks: Vec<OperatorBlock<'n, 'a>>,
}

/// One operator and its records.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorBlock<'n, 'a> {
    /// OperatorID as written; may break the pattern, empty if there is none.
    pub operator_id: String,
    /// OperatorName.
    pub operator_name: Option<String>,
    /// The records; the received text of each is [`Node::raw`].
    pub records: Vec<&'n Node<'a>>,
    /// RFC 6901 pointers of the block's list: a record's own is `pointers[i]`.
    pub pointers: Vec<String>,
    /// The received name of the list of records, if it has one.
    pub list_name: Option<&'n str>,
}

/// Why a file is no register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Nothing that is known.
    #[error(
        "the file has none of OperatorEvseData, OperatorEvseStatus, EVSEData, EVSEStatuses, EvseStatuses, content, or a list of records"
    )]
    UnknownEnvelope,
    /// A block that is not an object, or has no list of records.
    #[error("{0}: an operator with a list of records is needed")]
    BadBlock(String),
}

const DATA_LIST: &str = "EvseDataRecord";
const STATUS_LIST: &str = "EvseStatusRecord";

/// Finds the operators and records of a file.
///
/// # Errors
/// [`RegisterError`] if the envelope is none of the known ones.
pub fn read<'n, 'a>(root: &'n Node<'a>) -> Result<Register<'n, 'a>, RegisterError> {
    let mut found = Found { kind: RegisterKind::EvseData, published: true, blocks: Vec::new() };
    if root.is_array() {
        let messages = root.items().iter().any(|item| push_block(item).is_some());
        if !messages {
            return Ok(grouped(root.items(), ""));
        }
        for (index, item) in root.items().iter().enumerate() {
            found.push_message(item, &format!("/{index}"))?;
        }
    } else if push_block(root).is_some() {
        found.push_message(root, "")?;
    } else if let Some((name, list)) = member(root, "EVSEData") {
        found.published = false;
        found.blocks(list, &format!("/{name}"))?;
    } else if let Some((name, list)) = member(root, "EVSEStatuses") {
        found.published = false;
        found.kind = RegisterKind::EvseStatus;
        match member(list, "OperatorEvseStatus") {
            Some((inner, blocks)) => found.blocks(blocks, &format!("/{name}/{inner}"))?,
            None => found.blocks(list, &format!("/{name}"))?,
        }
    } else if let Some((name, list)) = member(root, "content") {
        return Ok(grouped(list.items(), &format!("/{name}")));
    } else if root.field_any_case(&["EvseID"]).is_some() {
        return Ok(grouped(std::slice::from_ref(root), ""));
    } else {
        return Err(RegisterError::UnknownEnvelope);
    }
    Ok(Register { kind: found.kind, is_published_envelope: found.published, blocks: found.blocks })
}

struct Found<'n, 'a> {
    kind: RegisterKind,
    published: bool,
    blocks: Vec<OperatorBlock<'n, 'a>>,
}

impl<'n, 'a> Found<'n, 'a> {
    fn push_message(&mut self, message: &'n Node<'a>, pointer: &str) -> Result<(), RegisterError> {
        let (name, block, kind) =
            push_block(message).ok_or_else(|| RegisterError::BadBlock(pointer.to_owned()))?;
        self.kind = kind;
        self.blocks(block, &format!("{pointer}/{name}"))
    }

    /// One block or a list of blocks.
    fn blocks(&mut self, node: &'n Node<'a>, pointer: &str) -> Result<(), RegisterError> {
        if node.is_object() {
            let block = block(node, self.kind, pointer)?;
            self.blocks.push(block);
            return Ok(());
        }
        for (index, item) in node.items().iter().enumerate() {
            let block = block(item, self.kind, &format!("{pointer}/{index}"))?;
            self.blocks.push(block);
        }
        Ok(())
    }
}

fn member<'n, 'a>(node: &'n Node<'a>, name: &str) -> Option<(&'n str, &'n Node<'a>)> {
    let found = node.members().iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
    found.map(|(key, value)| (key.as_ref(), value))
}

fn push_block<'n, 'a>(message: &'n Node<'a>) -> Option<(&'n str, &'n Node<'a>, RegisterKind)> {
    let data = member(message, "OperatorEvseData").map(|(name, block)| (name, block, RegisterKind::EvseData));
    data.or_else(|| {
        member(message, "OperatorEvseStatus").map(|(name, block)| (name, block, RegisterKind::EvseStatus))
    })
}

fn block<'n, 'a>(
    node: &'n Node<'a>,
    kind: RegisterKind,
    pointer: &str,
) -> Result<OperatorBlock<'n, 'a>, RegisterError> {
    let list_name = if kind == RegisterKind::EvseData { DATA_LIST } else { STATUS_LIST };
    let (name, list) = member(node, list_name).ok_or_else(|| RegisterError::BadBlock(pointer.to_owned()))?;
    let items = list.items_or_one().ok_or_else(|| RegisterError::BadBlock(pointer.to_owned()))?;
    let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str).map(str::to_owned);
    Ok(OperatorBlock {
        operator_id: text("OperatorID").unwrap_or_default(),
        operator_name: text("OperatorName"),
        records: items.iter().collect(),
        pointers: (0..items.len()).map(|index| format!("{pointer}/{name}/{index}")).collect(),
        list_name: Some(name),
    })
}

/// Flat records, grouped by their own OperatorID, else by the operator part of their EvseID.
fn grouped<'n, 'a>(items: &'n [Node<'a>], pointer: &str) -> Register<'n, 'a> {
    let mut blocks: Vec<OperatorBlock<'n, 'a>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let text = |node: &'n Node<'a>, name: &str| node.field_any_case(&[name]).and_then(Node::as_str);
    let status_only = |node: &Node<'_>| node.field_any_case(&["EvseStatus"]).is_some();
    for (index, item) in items.iter().enumerate() {
        let operator_id = text(item, "OperatorID").map(str::to_owned).unwrap_or_else(|| {
            let id = text(item, "EvseID").and_then(|id| EvseId::parse(id).ok());
            id.map(|id| operator_for_display(id.key().operator())).unwrap_or_default()
        });
        let place = *places.entry(operator_id.clone()).or_insert(blocks.len());
        if place == blocks.len() {
            let operator_name = text(item, "OperatorName").map(str::to_owned);
            let (records, pointers) = (Vec::new(), Vec::new());
            blocks.push(OperatorBlock { operator_id, operator_name, records, pointers, list_name: None });
        }
        if let Some(block) = blocks.get_mut(place) {
            block.records.push(item);
            block.pointers.push(format!("{pointer}/{index}"));
        }
    }
    let kind = match items.first() {
        Some(first) if status_only(first) => RegisterKind::EvseStatus,
        _ => RegisterKind::EvseData,
    };
    Register { kind, is_published_envelope: false, blocks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json::parse_text;

    #[test]
    fn all_envelopes_lead_to_the_same_blocks() {
        let record = r#"{"EvseID":"CH*SCH*E1"}"#;
        let block = format!(r#"{{"OperatorID":"CH*SCH","EVSEDataRecord":[{record}]}}"#);
        for text in [
            format!(r#"{{"EVSEData":[{block}]}}"#),
            format!(r#"{{"ActionType":"fullLoad","OperatorEvseData":{block}}}"#),
            format!(r#"[{{"ActionType":"fullLoad","OperatorEvseData":{block}}}]"#),
            format!(r#"{{"content":[{record}]}}"#),
            format!("[{record}]"),
            record.to_owned(),
        ] {
            let root = parse_text(&text).unwrap();
            let register = read(&root).unwrap();
            assert_eq!(register.kind, RegisterKind::EvseData);
            assert_eq!(register.blocks.len(), 1, "{text}");
            assert_eq!(register.blocks[0].operator_id, "CH*SCH");
            assert_eq!(register.blocks[0].records[0].raw(), record);
        }
        let status = r#"{"EvseStatuses":{"OperatorEvseStatus":[{"OperatorID":"A","EvseStatusRecord":[]}]}}"#;
        assert_eq!(read(&parse_text(status).unwrap()).unwrap().kind, RegisterKind::EvseStatus);
        assert_eq!(read(&parse_text("{}").unwrap()), Err(RegisterError::UnknownEnvelope));
        assert!(matches!(
            read(&parse_text(r#"{"EVSEData":[{}]}"#).unwrap()),
            Err(RegisterError::BadBlock(_))
        ));
    }
}
