//! eRoamingGetChargeDetailRecords: an EMP asks for the CDRs of a period; the answer is a page of them
//! ([`crate::oicp::page`]).

use super::body::{Body, text_of};
use super::schema::GET_CHARGE_DETAIL_RECORDS;
use super::session_id::SessionId;
use crate::oicp::check::flag_of;
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{OperatorId, ProviderId};
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::pull::FILTER_VALUES_MAX;
use crate::oicp::reading::Reading;
use crate::oicp::time::DateTime;

/// eRoamingGetChargeDetailRecords. An empty list filters nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct GetChargeDetailRecords {
    /// The EMP that asks.
    pub provider_id: ProviderId,
    /// Received at or after this instant.
    pub from: DateTime,
    /// Received at or before this instant.
    pub to: DateTime,
    /// Only these sessions, at most [`FILTER_VALUES_MAX`].
    pub session_ids: Vec<SessionId>,
    /// Only these operators, at most [`FILTER_VALUES_MAX`]; compare canonically.
    pub operator_ids: Vec<OperatorId>,
    /// Only those that were (not) forwarded to the EMP's backend.
    pub forwarded: Option<bool>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl GetChargeDetailRecords {
    /// Reads the body of the request; one operator or a list (GAPS A9), `CDRForwarded` or `CDRForwarder`
    /// (GAPS A10).
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, a mandatory field absent or unreadable, an unreadable filter (never
    /// ignored: the answer would hold too much); in strict reading every deviation.
    pub fn parse(body: &[u8], reading: Reading) -> Result<GetChargeDetailRecords, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &GET_CHARGE_DETAIL_RECORDS, reading)?;
        let forwarded = match body.get("CDRForwarded") {
            None => None,
            Some(node) => Some(flag_of(node).ok_or_else(|| unreadable("CDRForwarded"))?),
        };
        Ok(GetChargeDetailRecords {
            provider_id: body.needed_provider()?,
            from: body.needed_instant("From")?,
            to: body.needed_instant("To")?,
            session_ids: filter(&body, "SessionID", SessionId::parse)?,
            operator_ids: filter(&body, "OperatorID", |text| OperatorId::parse(text).ok())?,
            forwarded,
            findings: body.findings(),
        })
    }

    /// The message as this node would write it: one operator as a text, several as a list.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(256);
        writer.begin_object().key("ProviderID").string(self.provider_id.as_str());
        writer.key("From").string(self.from.as_str()).key("To").string(self.to.as_str());
        if !self.session_ids.is_empty() {
            writer.key("SessionID").begin_array();
            for session_id in &self.session_ids {
                writer.string(session_id.as_str());
            }
            writer.end_array();
        }
        match self.operator_ids.as_slice() {
            [] => {}
            [one] => {
                writer.key("OperatorID").string(one.as_str());
            }
            several => {
                writer.key("OperatorID").begin_array();
                for operator_id in several {
                    writer.string(operator_id.as_str());
                }
                writer.end_array();
            }
        }
        if let Some(forwarded) = self.forwarded {
            writer.key("CDRForwarded").bool(forwarded);
        }
        writer.end_object();
        writer.finish()
    }
}

fn unreadable(name: &str) -> Fault {
    Fault::single(&format!("/{name}"), format!("{name} cannot be read"))
}

fn filter<T>(body: &Body<'_, '_>, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Fault> {
    let Some(node) = body.get(name) else { return Ok(Vec::new()) };
    let values = if node.is_array() { node.items() } else { std::slice::from_ref(node) };
    if values.len() > FILTER_VALUES_MAX {
        return Err(Fault::single(&format!("/{name}"), format!("more than {FILTER_VALUES_MAX} values")));
    }
    // The specification's own example holds what schema tools put where nobody entered a value.
    let filler = |node: &&Node<'_>| body.reading() == Reading::Tolerant && node.as_str() == Some("string");
    let read = |node| text_of(node).and_then(&read).ok_or_else(|| unreadable(name));
    values.iter().filter(|node| !filler(node)).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(filters: &str, reading: Reading) -> Result<GetChargeDetailRecords, Fault> {
        let body = format!(
            "{{\"ProviderID\":\"DE-DCB\",\"From\":\"2020-08-23T14:20:10.285Z\",\"To\":\"2020-09-23T14:20:10+02:00\"{filters}}}"
        );
        GetChargeDetailRecords::parse(body.as_bytes(), reading)
    }

    #[test]
    fn filters_in_all_spellings() {
        let table = [
            ("", 0, None),
            (r#","OperatorID":"DE*ABC","CDRForwarded":false"#, 1, Some(false)),
            (r#","OperatorID":["DE*ABC","+49*536"],"CDRForwarder":true"#, 2, Some(true)),
            (r#","OperatorID":null,"SessionID":[],"CDRForwarded":null"#, 0, None),
        ];
        for (filters, operators, forwarded) in table {
            let query = parse(filters, Reading::Strict).unwrap();
            assert_eq!((query.operator_ids.len(), query.forwarded), (operators, forwarded), "{filters}");
            let again = GetChargeDetailRecords::parse(query.to_json().as_bytes(), Reading::Strict).unwrap();
            assert_eq!((again.operator_ids, again.forwarded), (query.operator_ids, query.forwarded));
        }
        let query = parse(r#","SessionID":"F98EFBA4-02d8-4fa0-b810-9a9d50d2c527""#, Reading::Strict).unwrap();
        assert_eq!(query.session_ids[0].as_str(), "f98efba4-02d8-4fa0-b810-9a9d50d2c527");
    }

    #[test]
    fn an_unreadable_filter_is_refused_not_ignored() {
        for filters in [r#","SessionID":["strings"]"#, r#","OperatorID":["x"]"#, r#","CDRForwarded":"maybe""#]
        {
            assert!(parse(filters, Reading::Tolerant).is_err(), "{filters}");
        }
        assert!(GetChargeDetailRecords::parse(br#"{"ProviderID":"DE-DCB"}"#, Reading::Tolerant).is_err());
        let unfilled = r#","SessionID":["string"]"#;
        assert!(parse(unfilled, Reading::Strict).is_err());
        assert!(parse(unfilled, Reading::Tolerant).unwrap().session_ids.is_empty());
        let many = vec!["\"DE*ABC\""; FILTER_VALUES_MAX + 1].join(",");
        assert!(parse(&format!(",\"OperatorID\":[{many}]"), Reading::Tolerant).is_err());
    }
}
