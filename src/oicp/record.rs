//! What a node needs to know of an EVSE data record without owning it: identity, position and the values that
//! PullEvseData filters by. The record itself travels as text.

use super::check::{flag_of, of_field};
use super::geo::{self, Position};
use super::id::{EvseId, EvseKey, IdError};
use super::json::{self, JsonError, Node};
use super::schema::DATA_RECORD;

/// Most authentication modes kept of one record; six exist.
pub const AUTHENTICATION_MODES_MAX: usize = 16;

/// Extract of one EVSE data record. Values outside an enumeration survive as their text; a field that is
/// absent, null or of a hopeless type is `None` or empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Canonical identity.
    pub key: EvseKey,
    /// EvseID as received.
    pub evse_id: Box<str>,
    /// Position of the charging point.
    pub position: Option<Position>,
    /// AuthenticationModes, at most [`AUTHENTICATION_MODES_MAX`].
    pub authentication_modes: Vec<Box<str>>,
    /// Accessibility.
    pub accessibility: Option<Box<str>>,
    /// CalibrationLawDataAvailability.
    pub calibration_law: Option<Box<str>>,
    /// RenewableEnergy.
    pub renewable_energy: Option<bool>,
    /// IsHubjectCompatible.
    pub hubject_compatible: Option<bool>,
    /// IsOpen24Hours.
    pub open_24_hours: Option<bool>,
    /// Address.Country, ISO 3166-1 alpha-3.
    pub country: Option<Box<str>>,
    /// DynamicInfoAvailable: `true`, `false` or `auto` (a boolean is taken as its text).
    pub dynamic_info: Option<Box<str>>,
}

/// Why no [`Summary`] can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON.
    #[error("the record is not JSON: {0}")]
    Json(#[from] JsonError),
    /// Not an object.
    #[error("the record is a {0}, not an object")]
    NotAnObject(&'static str),
    /// No EvseID, or not a text.
    #[error("the record has no EvseID")]
    NoEvseId,
    /// An EvseID of neither grammar.
    #[error("/EvseID: {0}")]
    EvseId(#[from] IdError),
}

/// Extracts the summary of one record's text, always tolerantly.
///
/// # Errors
/// [`ReadError`]: not a JSON object, or without a readable EvseID. Nothing else is an error.
pub fn summarise(raw: &str) -> Result<Summary, ReadError> {
    summarise_node(&json::parse_text(raw)?)
}

/// As [`summarise`], of a record that is parsed already.
///
/// # Errors
/// As [`summarise`].
pub fn summarise_node(record: &Node<'_>) -> Result<Summary, ReadError> {
    if !record.is_object() {
        return Err(ReadError::NotAnObject(record.kind()));
    }
    let get = |name: &str| DATA_RECORD.exact(name).and_then(|field| of_field(record, field));
    let id = EvseId::parse(get("EvseID").and_then(Node::as_str).ok_or(ReadError::NoEvseId)?)?;
    let text = |name: &str| get(name).and_then(Node::as_str).map(Box::from);
    let flag = |name: &str| get(name).and_then(flag_of);
    let modes = get("AuthenticationModes");
    let authentication_modes = modes
        .map(|modes| if modes.is_array() { modes.items() } else { std::slice::from_ref(modes) })
        .unwrap_or_default()
        .iter()
        .filter_map(Node::as_str)
        .take(AUTHENTICATION_MODES_MAX)
        .map(Box::from)
        .collect();
    let dynamic_info = get("DynamicInfoAvailable");
    Ok(Summary {
        key: id.key().clone(),
        evse_id: id.as_str().into(),
        position: get("GeoCoordinates").and_then(geo::read),
        authentication_modes,
        accessibility: text("Accessibility"),
        calibration_law: text("CalibrationLawDataAvailability"),
        renewable_energy: flag("RenewableEnergy"),
        hubject_compatible: flag("IsHubjectCompatible"),
        open_24_hours: flag("IsOpen24Hours"),
        country: get("Address")
            .and_then(|address| address.field_any_case(&["Country"]))
            .and_then(Node::as_str)
            .map(Box::from),
        dynamic_info: dynamic_info
            .and_then(|node| node.as_str().or_else(|| node.as_bool().map(super::check::word)))
            .map(Box::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviating_shapes_are_summarised() {
        let summary = summarise(
            r#"{"evseid":"ch*sch*e1","GeoCoordinates":{"Google":"46.23432 6.055602"},"AuthenticationModes":"REMOTE",
               "Accessibility":"Somehow","IsOpen24Hours":"true","DynamicInfoAvailable":true,"Address":{"Country":"CHE"}}"#,
        )
        .unwrap();
        assert_eq!(summary.key.as_str(), "CHSCHE1");
        assert_eq!(&*summary.evse_id, "ch*sch*e1");
        assert_eq!(summary.position.unwrap().lat, 46.23432);
        assert_eq!(summary.authentication_modes, ["REMOTE".into()]);
        assert_eq!(summary.accessibility.as_deref(), Some("Somehow"));
        assert_eq!(summary.open_24_hours, Some(true));
        assert_eq!(summary.dynamic_info.as_deref(), Some("true"));
        assert_eq!(summary.country.as_deref(), Some("CHE"));
        assert_eq!(summary.renewable_energy, None);
    }

    #[test]
    fn without_evse_id_there_is_none() {
        assert_eq!(summarise("{}"), Err(ReadError::NoEvseId));
        assert_eq!(summarise("[]"), Err(ReadError::NotAnObject("list")));
        assert!(matches!(summarise(r#"{"EvseID":"x"}"#), Err(ReadError::EvseId(_))));
        assert!(matches!(summarise("{"), Err(ReadError::Json(_))));
    }
}
