//! OperatorIDs that the input spells in a way OICP does not know, derived from the EvseIDs under them.

use std::collections::BTreeMap;

use chargemesh::oicp::id::OperatorId;
use chargemesh::oicp::json::{Node, Value};
use chargemesh::oicp::lint::{DeriveError, derive_operator_id};
use chargemesh::oicp::register::OperatorBlock;

/// The valid OperatorID of each received one, and which of them were derived.
///
/// # Errors
/// [`DeriveError`] if there is no one answer: a person has to say which.
pub(super) fn settle(
    evse_ids: &BTreeMap<String, Vec<&str>>,
) -> Result<BTreeMap<String, (OperatorId, bool)>, DeriveError> {
    let record = |id: &&str| Node::made(Value::Object(vec![("EvseID".into(), Node::text((*id).to_owned()))]));
    let records: Vec<Vec<Node<'_>>> = evse_ids.values().map(|ids| ids.iter().map(record).collect()).collect();
    let blocks: Vec<OperatorBlock<'_, '_>> = evse_ids
        .keys()
        .zip(&records)
        .map(|(operator_id, records)| OperatorBlock {
            operator_id: operator_id.clone(),
            operator_name: None,
            records: records.iter().collect(),
            pointers: Vec::new(),
            list_name: None,
        })
        .collect();
    let mut settled = BTreeMap::new();
    for block in &blocks {
        let id = match OperatorId::parse(&block.operator_id) {
            Ok(id) => (id, false),
            Err(_) => (derive_operator_id(block, &blocks)?, true),
        };
        settled.insert(block.operator_id.clone(), id);
    }
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_ids_are_derived_and_valid_ones_kept() {
        let ids = BTreeMap::from([
            ("CH*FASTNED".to_owned(), vec!["CHFASE1", "CHFASE2"]),
            ("CH*MOBILECHARGE".to_owned(), vec!["+41*002*1"]),
            ("CH*CCC".to_owned(), vec!["CH*CCI*E1", "CH*CCC*E1"]),
        ]);
        let settled = settle(&ids).unwrap();
        let shown = |id: &str| settled.get(id).map(|(id, derived)| (id.as_str().to_owned(), *derived));
        assert_eq!(shown("CH*FASTNED"), Some(("CH*FAS".to_owned(), true)));
        assert_eq!(shown("CH*MOBILECHARGE"), Some(("+41*002".to_owned(), true)));
        assert_eq!(shown("CH*CCC"), Some(("CH*CCC".to_owned(), false)));
    }

    #[test]
    fn what_would_be_a_guess_is_refused() {
        let several = BTreeMap::from([("CH*FASTNED".to_owned(), vec!["CHFASE1", "CHABCE2"])]);
        assert!(matches!(settle(&several), Err(DeriveError::SeveralPrefixes(..))));
        let taken = BTreeMap::from([
            ("CH*FASTNED".to_owned(), vec!["CHFASE1"]),
            ("CH*ABC".to_owned(), vec!["CH*FAS*E7"]),
        ]);
        assert!(matches!(settle(&taken), Err(DeriveError::Collision(..))));
    }
}
