//! What providers ask for: EVSE data (full, delta, around a point) and EVSE status in its three forms.

use super::check::{self, flag_of};
use super::evse_status::EvseStatus;
use super::finding::{Fault, Finding, Severity, VALIDATION_ERRORS_MAX};
use super::geo::{self, GeoFormat, Position};
use super::id::{EvseId, OperatorId, ProviderId};
use super::json::{self, Node};
use super::push::FINDINGS_MAX;
use super::reading::Reading;
use super::schema::{
    OPERATOR_FILTER, PULL_DATA, PULL_STATUS, PULL_STATUS_BY_ID, PULL_STATUS_BY_OPERATOR, Table,
};
use super::time;

/// Most EvseIDs in one PullEvseStatusByID (RULES section 14).
pub const EVSE_IDS_MAX: usize = 100;

/// Most values of one list filter: all countries, or all operators of a continent.
pub const FILTER_VALUES_MAX: usize = 2000;

/// A circle around a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchCenter {
    /// Its centre.
    pub position: Position,
    /// Its radius in kilometres, not negative.
    pub radius_km: f64,
}

/// eRoamingPullEVSEData. An empty list filters nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct PullEvseData {
    /// Who asks.
    pub provider_id: ProviderId,
    /// Only around a point.
    pub search_center: Option<SearchCenter>,
    /// Only changes since this instant (milliseconds since 1970, UTC).
    pub last_call_ms: Option<i64>,
    /// The notation the answer has to use; Google if a tolerant reading found none.
    pub geo_format: GeoFormat,
    /// ISO 3166-1 alpha-3.
    pub country_codes: Vec<Box<str>>,
    /// Only these operators.
    pub operator_ids: Vec<OperatorId>,
    /// Records with at least one of these.
    pub authentication_modes: Vec<Box<str>>,
    /// Records with one of these.
    pub accessibility: Vec<Box<str>>,
    /// Records with one of these.
    pub calibration_law: Vec<Box<str>>,
    /// RenewableEnergy has to be this.
    pub renewable_energy: Option<bool>,
    /// IsHubjectCompatible has to be this.
    pub hubject_compatible: Option<bool>,
    /// IsOpen24Hours has to be this.
    pub open_24_hours: Option<bool>,
    /// Deviations accepted in tolerant reading.
    pub findings: Vec<Finding>,
}

/// One of the three status requests.
#[derive(Debug, Clone, PartialEq)]
pub enum PullEvseStatus {
    /// eRoamingPullEVSEStatus.
    All {
        /// Who asks.
        provider_id: ProviderId,
        /// Only around a point.
        search_center: Option<SearchCenter>,
        /// Only this status.
        status: Option<EvseStatus>,
    },
    /// eRoamingPullEVSEStatusByID, at most [`EVSE_IDS_MAX`].
    ById {
        /// Who asks.
        provider_id: ProviderId,
        /// The charging points, as received.
        evse_ids: Vec<EvseId>,
    },
    /// eRoamingPullEVSEStatusByOperatorID.
    ByOperatorId {
        /// Who asks.
        provider_id: ProviderId,
        /// The operators.
        operator_ids: Vec<OperatorId>,
    },
}

impl PullEvseStatus {
    /// Who asks.
    #[must_use]
    pub fn provider_id(&self) -> &ProviderId {
        match self {
            PullEvseStatus::All { provider_id, .. }
            | PullEvseStatus::ById { provider_id, .. }
            | PullEvseStatus::ByOperatorId { provider_id, .. } => provider_id,
        }
    }
}

/// Reads the body of a PullEvseData.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, no valid ProviderID, an unreadable filter (never ignored: the answer would
/// hold too much); in strict reading every deviation.
pub fn read_evse_data(body: &[u8], reading: Reading) -> Result<PullEvseData, Fault> {
    let root = json::parse(body, reading)?;
    let request = Request::read(&root, reading, &PULL_DATA)?;
    let flag = |name: &str| match root.field_any_case(&[name]) {
        None => Ok(None),
        Some(node) => flag_of(node).map(Some).ok_or_else(|| wrong(name, "true or false")),
    };
    let last_call_ms = match root.field_any_case(&["LastCall"]) {
        None => None,
        Some(node) => Some(
            node.as_str()
                .and_then(time::parse_ms)
                .ok_or_else(|| wrong("LastCall", "an RFC 3339 date-time"))?,
        ),
    };
    let geo_format = match root.field_any_case(&["GeoCoordinatesResponseFormat"]) {
        None => GeoFormat::Google,
        Some(node) => node
            .as_str()
            .and_then(GeoFormat::parse)
            .ok_or_else(|| wrong("GeoCoordinatesResponseFormat", "a published notation"))?,
    };
    Ok(PullEvseData {
        provider_id: request.provider_id,
        search_center: search_center(&root, reading)?,
        last_call_ms,
        geo_format,
        country_codes: texts(&root, "CountryCodes")?,
        operator_ids: operators(&root, "OperatorIds")?.unwrap_or_default(),
        authentication_modes: texts(&root, "AuthenticationModes")?,
        accessibility: texts(&root, "Accessibility")?,
        calibration_law: texts(&root, "CalibrationLawDataAvailability")?,
        renewable_energy: flag("RenewableEnergy")?,
        hubject_compatible: flag("IsHubjectCompatible")?,
        open_24_hours: flag("IsOpen24Hours")?,
        findings: request.findings,
    })
}

/// Reads any of the three status requests; the bodies are told apart by `EvseID` and `OperatorID`, whatever
/// the path was (GAPS A7).
///
/// # Errors
/// [`Fault`] (HTTP 400) as [`read_evse_data`]; more than [`EVSE_IDS_MAX`] EvseIDs.
pub fn read_evse_status(body: &[u8], reading: Reading) -> Result<PullEvseStatus, Fault> {
    let root = json::parse(body, reading)?;
    if root.field_any_case(&["EvseID"]).is_some() {
        let provider_id = Request::read(&root, reading, &PULL_STATUS_BY_ID)?.provider_id;
        let evse_ids = evse_ids(&root)?;
        return Ok(PullEvseStatus::ById { provider_id, evse_ids });
    }
    if root.field_any_case(OPERATOR_FILTER).is_some() {
        let provider_id = Request::read(&root, reading, &PULL_STATUS_BY_OPERATOR)?.provider_id;
        let operator_ids = operators(&root, "OperatorID")?.unwrap_or_default();
        return Ok(PullEvseStatus::ByOperatorId { provider_id, operator_ids });
    }
    let provider_id = Request::read(&root, reading, &PULL_STATUS)?.provider_id;
    let status = match root.field_any_case(&["EvseStatus"]) {
        None => None,
        Some(node) => Some(
            node.as_str()
                .and_then(EvseStatus::parse)
                .ok_or_else(|| wrong("EvseStatus", "one EVSE status"))?,
        ),
    };
    Ok(PullEvseStatus::All { provider_id, search_center: search_center(&root, reading)?, status })
}

struct Request {
    provider_id: ProviderId,
    findings: Vec<Finding>,
}

impl Request {
    fn read(root: &Node<'_>, reading: Reading, table: &'static Table) -> Result<Request, Fault> {
        if !root.is_object() {
            return Err(Fault::single("", "the body has to be an object"));
        }
        if reading == Reading::Strict {
            let broken = check::findings_from(root, table, VALIDATION_ERRORS_MAX, Severity::OwnerMustSupply);
            if !broken.is_empty() {
                return Err(Fault::from_findings(&broken));
            }
        }
        let text = root.field_any_case(&["ProviderID"]).and_then(Node::as_str);
        let text = text.ok_or_else(|| Fault::single("/ProviderID", "ProviderID may not be null"))?;
        let provider_id =
            ProviderId::parse(text).map_err(|error| Fault::single("/ProviderID", error.to_string()))?;
        Ok(Request { provider_id, findings: check::findings(root, table, FINDINGS_MAX) })
    }
}

fn wrong(field: &str, needed: &str) -> Fault {
    Fault::single(&format!("/{field}"), format!("{field} has to be {needed}"))
}

fn values<'n, 'a>(node: &'n Node<'a>, name: &str, values_max: usize) -> Result<&'n [Node<'a>], Fault> {
    let values = if node.is_array() { node.items() } else { std::slice::from_ref(node) };
    if values.len() > values_max {
        return Err(Fault::single(&format!("/{name}"), format!("more than {values_max} values")));
    }
    Ok(values)
}

fn texts(root: &Node<'_>, name: &str) -> Result<Vec<Box<str>>, Fault> {
    let Some(node) = root.field_any_case(&[name]) else { return Ok(Vec::new()) };
    values(node, name, FILTER_VALUES_MAX)?
        .iter()
        .map(|node| node.as_str().map(Box::from).ok_or_else(|| wrong(name, "a list of texts")))
        .collect()
}

/// The operator filter in any of its spellings; `name` is that of the service, for refusals. `None` if there is none.
pub(super) fn operators(root: &Node<'_>, name: &str) -> Result<Option<Vec<OperatorId>>, Fault> {
    let Some(node) = root.field_any_case(OPERATOR_FILTER) else { return Ok(None) };
    let nodes = values(node, name, FILTER_VALUES_MAX)?.iter().enumerate();
    let read = nodes.map(|(index, node)| {
        let text = node.as_str().ok_or_else(|| wrong(name, "a list of texts"))?;
        OperatorId::parse(text).map_err(|error| Fault::single(&format!("/{name}/{index}"), error.to_string()))
    });
    read.collect::<Result<_, _>>().map(Some)
}

fn evse_ids(root: &Node<'_>) -> Result<Vec<EvseId>, Fault> {
    let Some(node) = root.field_any_case(&["EvseID"]) else { return Ok(Vec::new()) };
    let nodes = values(node, "EvseID", EVSE_IDS_MAX)?.iter().enumerate();
    nodes
        .map(|(index, node)| {
            let text = node.as_str().ok_or_else(|| wrong("EvseID", "a list of texts"))?;
            EvseId::parse(text).map_err(|error| Fault::single(&format!("/EvseID/{index}"), error.to_string()))
        })
        .collect()
}

fn search_center(root: &Node<'_>, reading: Reading) -> Result<Option<SearchCenter>, Fault> {
    let Some(center) = root.field_any_case(&["SearchCenter"]) else { return Ok(None) };
    let coordinates = center.field_any_case(&["GeoCoordinates"]);
    if reading == Reading::Tolerant && coordinates.is_some_and(is_schema_filler) {
        return Ok(None);
    }
    let position = coordinates.and_then(geo::read);
    let position = position.ok_or_else(|| {
        Fault::single("/SearchCenter/GeoCoordinates", "coordinates in one of the three notations are needed")
    })?;
    let radius = center.field_any_case(&["Radius"]);
    let radius_km = radius
        .and_then(|node| node.number_text().or_else(|| node.as_str()))
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|radius| radius.is_finite() && *radius >= 0.0)
        .ok_or_else(|| Fault::single("/SearchCenter/Radius", "a radius in kilometres is needed"))?;
    Ok(Some(SearchCenter { position, radius_km }))
}

/// True if every text is the word `string`, which schema tools (and the specification's own examples) put
/// where nobody entered a value: no filter was meant.
fn is_schema_filler(node: &Node<'_>) -> bool {
    let members = node.members();
    node.as_str() == Some("string")
        || !members.is_empty() && members.iter().all(|(_, member)| is_schema_filler(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_are_read() {
        let body = r#"{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"DecimalDegree","OperatorIDs":["DE*ABC"],
            "CountryCodes":["CHE"],"LastCall":"2020-09-23T14:27:43+02:00","IsOpen24Hours":true,
            "AuthenticationModes":["PnC"],"Accessibility":["Test Station"],"CalibrationLawDataAvailability":["Local"],
            "RenewableEnergy":false,"IsHubjectCompatible":null,
            "SearchCenter":{"GeoCoordinates":{"Google":{"Coordinates":"47.1 8.2"}},"Radius":12.5}}"#;
        let pull = read_evse_data(body.as_bytes(), Reading::Strict).unwrap();
        assert_eq!(pull.operator_ids[0].canonical(), "DEABC");
        assert_eq!(pull.last_call_ms, Some(1_600_864_063_000));
        assert_eq!(
            (pull.open_24_hours, pull.renewable_energy, pull.hubject_compatible),
            (Some(true), Some(false), None)
        );
        assert_eq!(pull.geo_format, GeoFormat::DecimalDegree);
        assert_eq!(pull.search_center.unwrap().radius_km, 12.5);
    }

    #[test]
    fn the_operator_filter_is_read_in_any_spelling() {
        for name in ["OperatorIds", "OperatorIDs", "OperatorID", "operatorids", "operatorId", "OPERATORIDS"] {
            for reading in [Reading::Strict, Reading::Tolerant] {
                let filter = format!(r#""{name}":["DE*ABC","CH*XYZ"]"#);
                let data =
                    format!(r#"{{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"Google",{filter}}}"#);
                let data = read_evse_data(data.as_bytes(), reading).unwrap();
                let status = format!(r#"{{"ProviderID":"DE-DCB",{filter}}}"#);
                let status = read_evse_status(status.as_bytes(), reading).unwrap();
                let PullEvseStatus::ByOperatorId { operator_ids, .. } = status else { panic!("{name}") };
                assert_eq!((operator_ids.len(), &data.operator_ids), (2, &operator_ids), "{name}");
            }
        }
        let wrong =
            r#"{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"Google","operatorids":"DE*ABC"}"#;
        assert!(read_evse_data(wrong.as_bytes(), Reading::Strict).is_err(), "no list");
    }

    #[test]
    fn a_search_may_name_its_middle_in_several_notations() {
        const GOOGLE: &str = r#""Google":{"Coordinates":"52.480495 13.356465"}"#;
        const DECIMAL: &str = r#""DecimalDegree":{"Latitude":"47.1","Longitude":"8.2"}"#;
        const SEXAGESIMAL: &str =
            r#""DegreeMinuteSeconds":{"Latitude":"46°14'3.5520''","Longitude":"6°3'20.0''"}"#;
        for (notations, latitude) in [
            (format!("{SEXAGESIMAL},{DECIMAL},{GOOGLE}"), 52.480495),
            (format!("{SEXAGESIMAL},{DECIMAL}"), 47.1),
            (format!(r#"{DECIMAL},"Google":null"#), 47.1),
            // What cannot be read does not count.
            (format!(r#""Google":{{"Coordinates":"string"}},{SEXAGESIMAL},{DECIMAL}"#), 47.1),
        ] {
            for reading in [Reading::Strict, Reading::Tolerant] {
                let body = format!(
                    r#"{{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"Google","SearchCenter":{{"GeoCoordinates":{{{notations}}},"Radius":5}}}}"#
                );
                let pull = read_evse_data(body.as_bytes(), reading).unwrap();
                assert_eq!(pull.search_center.unwrap().position.lat, latitude, "{notations}");
                assert!(read_evse_status(body.as_bytes(), reading).is_ok(), "{notations}");
            }
        }
        let none = r#"{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"Google","SearchCenter":{"GeoCoordinates":{"Google":{"Coordinates":"here"},"DecimalDegree":{}},"Radius":5}}"#;
        assert!(read_evse_data(none.as_bytes(), Reading::Strict).is_err());
    }

    #[test]
    fn the_three_status_bodies_are_told_apart() {
        let read = |body: &str| read_evse_status(body.as_bytes(), Reading::Strict).unwrap();
        assert!(matches!(read(r#"{"ProviderID":"DE-DCB","EvseID":["DE*XYZ*E1"]}"#),
            PullEvseStatus::ById { evse_ids, .. } if evse_ids.len() == 1));
        assert!(matches!(read(r#"{"ProviderID":"DE-DCB","OperatorID":["DE*ABC"]}"#),
            PullEvseStatus::ByOperatorId { operator_ids, .. } if operator_ids.len() == 1));
        for name in ["EvseStatus", "EVSEStatus"] {
            assert!(matches!(
                read(&format!("{{\"ProviderID\":\"DE-DCB\",\"{name}\":\"Available\"}}")),
                PullEvseStatus::All { status: Some(EvseStatus::Available), .. }
            ));
        }
        let many = vec!["\"DE*XYZ*E1\""; EVSE_IDS_MAX + 1].join(",");
        let body = format!("{{\"ProviderID\":\"DE-DCB\",\"EvseID\":[{many}]}}");
        assert!(read_evse_status(body.as_bytes(), Reading::Tolerant).is_err());
    }

    #[test]
    fn an_unreadable_filter_is_refused_not_ignored() {
        for filter in [
            r#""LastCall":"yesterday""#,
            r#""OperatorIds":["nope"]"#,
            r#""SearchCenter":{"Radius":1}"#,
            r#""SearchCenter":{"GeoCoordinates":{"Google":"47.1 8.2"},"Radius":-1}"#,
            r#""CountryCodes":[1]"#,
            r#""IsOpen24Hours":"maybe""#,
        ] {
            let body = format!("{{\"ProviderID\":\"DE-DCB\",{filter}}}");
            assert!(read_evse_data(body.as_bytes(), Reading::Tolerant).is_err(), "{filter}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for reading in [Reading::Strict, Reading::Tolerant] {
                let _ = read_evse_data(bytes, reading);
                let _ = read_evse_status(bytes, reading);
            }
        });
    }
}
