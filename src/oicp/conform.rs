//! Hands records on in the published names, types and shapes, at the puller's facade only (decisions 14), and
//! for `lint --fix`. Unknown fields and the spelling of numbers survive; no value is ever invented.

use std::borrow::Cow;

use super::check;
use super::finding::{Finding, Severity};
use super::geo::{self, GeoFormat};
use super::json::{self, JsonError, Node, Value};
use super::json_write::Writer;
use super::push::FINDINGS_MAX;
use super::repair;
use super::schema::{DATA_RECORD, STATUS_RECORD, Table};

/// What changed about a record since the puller's LastCall (DeltaType).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeltaType {
    /// It changed.
    Update,
    /// It is new.
    Insert,
    /// It is gone.
    Delete,
}

impl DeltaType {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DeltaType::Update => "update",
            DeltaType::Insert => "insert",
            DeltaType::Delete => "delete",
        }
    }
}

/// What a pull adds to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullFields<'f> {
    /// The publishing operator.
    pub operator_id: &'f str,
    /// Its display name.
    pub operator_name: Option<&'f str>,
    /// When the record was last changed, RFC 3339.
    pub last_update: &'f str,
    /// What changed, or `None` in a full pull.
    pub delta_type: Option<DeltaType>,
    /// The notation that the puller asked for.
    pub geo_format: GeoFormat,
}

/// Names that the pull assigns, whatever the record says.
const ASSIGNED: [&str; 4] = ["deltaType", "lastUpdate", "OperatorID", "OperatorName"];

/// The record as a puller gets it: conformed, its positions in the asked notation, the pull's fields added.
///
/// A record that is not a JSON object cannot come from this crate's readers; it is handed on as it is.
#[must_use]
pub fn record(raw: &str, add: &PullFields<'_>) -> String {
    let Ok(mut node) = json::parse_text(raw) else { return raw.to_owned() };
    if !node.is_object() {
        return raw.to_owned();
    }
    let mut changed = repair::object(&mut node, &DATA_RECORD);
    for name in ["GeoCoordinates", "GeoChargingPointEntrance"] {
        if let Some(position) = node.member_mut(name) {
            changed |= set_notation(position, add.geo_format);
        }
    }
    if let Value::Object(members) = &mut node.value {
        let before = members.len();
        members.retain(|(name, _)| !ASSIGNED.contains(&name.as_ref()));
        changed |= members.len() != before;
    }
    let added = added_members(add);
    let untouched = if changed { None } else { raw.trim_end().strip_suffix('}') };
    let mut text = match untouched {
        Some(head) => head.trim_end().to_owned(),
        None => {
            let mut text = node.to_json();
            text.pop();
            text
        }
    };
    if !node.members().is_empty() {
        text.push(',');
    }
    text.push_str(added.strip_prefix('{').unwrap_or(&added));
    text
}

/// One EVSE data record repaired, without the pull's fields, and what is still to be said about it afterwards.
///
/// # Errors
/// [`JsonError`] if the text is not JSON.
pub fn fix(raw: &str) -> Result<(String, Vec<Finding>), JsonError> {
    let mut node = json::parse_text(raw)?;
    let changed = fix_node(&mut node, &DATA_RECORD);
    let findings = check::findings(&node, &DATA_RECORD, FINDINGS_MAX);
    Ok((if changed { node.to_json() } else { raw.to_owned() }, findings))
}

/// Deviations of one EVSE data record (`pointer` is inside the record), at most [`FINDINGS_MAX`].
#[must_use]
pub fn validate_record(record: &Node<'_>) -> Vec<Finding> {
    check::findings(record, &DATA_RECORD, FINDINGS_MAX)
}

/// Deviations of one EVSE status record.
#[must_use]
pub fn validate_status_record(record: &Node<'_>) -> Vec<Finding> {
    check::findings(record, &STATUS_RECORD, FINDINGS_MAX)
}

/// True if strict reading would take the record.
#[must_use]
pub fn is_conforming(record: &Node<'_>) -> bool {
    check::findings_from(record, &DATA_RECORD, 1, Severity::OwnerMustSupply).is_empty()
}

pub(super) fn fix_node(node: &mut Node<'_>, table: &'static Table) -> bool {
    repair::object(node, table)
}

fn added_members(add: &PullFields<'_>) -> String {
    let mut writer = Writer::new();
    writer.begin_object();
    writer.key("deltaType").string_or_null(add.delta_type.map(DeltaType::as_str));
    writer.key("lastUpdate").string(add.last_update);
    writer.key("OperatorID").string(add.operator_id);
    writer.key("OperatorName").string_or_null(add.operator_name).end_object();
    writer.finish()
}

/// Leaves exactly the asked notation; what cannot be read stays as it is.
fn set_notation(node: &mut Node<'_>, format: GeoFormat) -> bool {
    let only_asked = node.field(format.as_str()).is_some()
        && GeoFormat::ALL.iter().all(|other| *other == format || node.field(other.as_str()).is_none());
    if only_asked || !node.is_object() {
        return false;
    }
    let Some(pair) = geo::read_pair(node) else { return false };
    let Value::Object(members) = &mut node.value else { return false };
    for notation in GeoFormat::ALL {
        let value = if notation == format { pair.to_node(format) } else { Node::null() };
        match members.iter_mut().find(|(name, _)| name == notation.as_str()) {
            Some((_, member)) => *member = value,
            None => members.push((Cow::Borrowed(notation.as_str()), value)),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: PullFields<'static> = PullFields {
        operator_id: "CH*SCH",
        operator_name: Some("Saascharge"),
        last_update: "2026-04-03T00:00:00.000Z",
        delta_type: None,
        geo_format: GeoFormat::DecimalDegree,
    };

    #[test]
    fn names_types_and_shapes_are_conformed() {
        let raw = r#"{"EvseID":"CH*SCH*E1","chargingstationid":"x","SuboperatorName":null,"SubOperatorName":"S",
            "ChargingFacilities":[{"power":"22.0","Amperage":32,"powertype":"DC","Vendor":7.50}],
            "ChargingStationNames":{"lang":"de","value":"A"},"GeoCoordinates":{"Google":"46.1 6.2"},
            "GeoChargingPointEntrance":{"Google":"None None"},"DynamicInfoAvailable":true,"lastUpdate":"x"}"#;
        let text = record(raw, &ADD);
        assert_eq!(
            text,
            concat!(
                r#"{"EvseID":"CH*SCH*E1","ChargingStationID":"x","SubOperatorName":"S","#,
                r#""ChargingFacilities":[{"Power":22.0,"Amperage":32,"PowerType":"DC","Vendor":7.50}],"#,
                r#""ChargingStationNames":[{"lang":"de","value":"A"}],"#,
                r#""GeoCoordinates":{"Google":null,"DecimalDegree":{"Latitude":"46.1","Longitude":"6.2"},"DegreeMinuteSeconds":null},"#,
                r#""GeoChargingPointEntrance":null,"DynamicInfoAvailable":"true","deltaType":null,"#,
                r#""lastUpdate":"2026-04-03T00:00:00.000Z","OperatorID":"CH*SCH","OperatorName":"Saascharge"}"#
            )
        );
    }

    #[test]
    fn a_conforming_record_keeps_its_bytes() {
        let raw = r#"{ "EvseID" : "CH*SCH*E1", "New" : 1.50, "GeoCoordinates":{"Google":{"Coordinates":"46.1 6.2"}} }"#;
        let text = record(raw, &PullFields { geo_format: GeoFormat::Google, ..ADD });
        assert!(text.starts_with(raw.strip_suffix(" }").unwrap()), "{text}");
        assert!(json::parse_text(&text).is_ok());
        assert_eq!(record("{}", &ADD).matches(',').count(), 3);
        assert_eq!(record("nonsense", &ADD), "nonsense");
    }

    #[test]
    fn whatever_comes_in_json_goes_out_and_repair_is_final() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            let Ok((fixed, _)) = fix(text) else { return };
            let (again, _) = fix(&fixed).expect("what was written can be read");
            assert_eq!(again, fixed);
            if json::parse_text(text).is_ok_and(|node| node.is_object()) {
                assert!(json::parse_text(&record(text, &ADD)).is_ok());
            }
        });
    }
}
