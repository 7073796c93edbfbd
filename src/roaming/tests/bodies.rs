//! Pushes as a backend would send them.

use super::*;

pub(super) fn body(kind: Kind, action: ActionType, party: &PartyId, records: &[(&str, &str)]) -> Bytes {
    let (block, list, field) = match kind {
        Kind::Data => ("OperatorEvseData", "EvseDataRecord", "AdditionalInfo"),
        Kind::Status => ("OperatorEvseStatus", "EvseStatusRecord", "EvseStatus"),
        Kind::Pricing => return prices::body(action, records),
    };
    let record = |(id, text): &(&str, &str)| format!(r#"{{"EvseID":"{id}","{field}":"{text}"}}"#);
    let records: Vec<String> = records.iter().map(record).collect();
    let operator = crate::oicp::id::operator_for_display(&party.id.to_string());
    let (action, records) = (action.as_str(), records.join(","));
    let text = format!(
        r#"{{"ActionType":"{action}","{block}":{{"OperatorID":"{operator}","{list}":[{records}]}}}}"#
    );
    Bytes::from(text)
}
