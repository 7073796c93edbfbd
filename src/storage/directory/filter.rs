//! What a pull may ask for, and its translation into SQL conditions.

use rusqlite::types::Value;
use rusqlite::{Connection, Result};

use super::CommitVersion;
use crate::identity::{CanonicalId, PartyId};
use crate::storage::StorageError;

/// Largest page in records (OICP 2.3: 2,000 for PullEvseData).
pub const PAGE_SIZE_MAX: u32 = 2_000;

/// Most entries of one list of a filter: more than there are operators or countries.
const LIST_MAX: usize = 5_000;

/// The number of no feed.
const NO_FEED: i64 = -1;

/// The filters of PullEvseData (OICP 2.3 `eRoamingPullEVSEData`). An empty list or `None` filters
/// nothing; a record without the value matches no filter on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataFilter {
    /// At least one of these authentication modes.
    pub authentication_modes: Vec<String>,
    /// One of these accessibilities.
    pub accessibility: Vec<String>,
    /// One of these kinds of calibration law data availability.
    pub calibration_law: Vec<String>,
    /// Renewable energy or not.
    pub renewable_energy: Option<bool>,
    /// Started remotely through the hub or not.
    pub hubject_compatible: Option<bool>,
    /// Open round the clock or not.
    pub open_24_hours: Option<bool>,
}

/// A circle on the earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Latitude of the centre in degrees.
    pub lat: f64,
    /// Longitude of the centre in degrees.
    pub lon: f64,
    /// Radius in kilometres.
    pub radius_km: f64,
}

/// A pull of EVSE data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataQuery {
    /// Filters on the records' values.
    pub filter: DataFilter,
    /// Only records within this circle; those without coordinates are outside.
    pub center: Option<Area>,
    /// Only records that these operators publish; empty: all.
    pub operators: Vec<CanonicalId>,
    /// Only records in these countries (ISO 3166-1 alpha-3, as in the address); empty: all.
    pub countries: Vec<String>,
    /// Number of the page, from 0.
    pub page: u32,
    /// Records of a page, at most [`PAGE_SIZE_MAX`]; more are cut to that.
    pub size: u32,
    /// Who asks: what closed audiences see is shown to their members. `None`: what everybody sees.
    pub puller: Option<PartyId>,
    /// The version to read; `None`: the newest. Pages of one pull name the version of the first.
    pub as_of: Option<CommitVersion>,
}

/// A pull of statuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusQuery {
    /// Only this status.
    pub status: Option<String>,
    /// Only statuses that these operators publish; empty: all.
    pub operators: Vec<CanonicalId>,
    /// Only EVSEs whose data record is within this circle.
    pub center: Option<Area>,
    /// Who asks: what closed audiences see is shown to their members. `None`: what everybody sees.
    pub puller: Option<PartyId>,
}

/// Conditions on the table `data` under the name `d`, to be appended to others with their values.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    fn add(&mut self, sql: &str, value: Value) {
        self.sql.push_str(sql);
        self.values.push(value);
    }

    fn one_of(&mut self, column: &str, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        let marks = vec!["?"; texts.len()].join(", ");
        self.sql.push_str(&format!(" AND {column} IN ({marks})"));
        self.values.extend(texts.iter().cloned().map(Value::Text));
    }
}

/// The conditions of a query, its area apart.
pub(super) fn conditions(connection: &Connection, query: &DataQuery) -> Result<Conditions, StorageError> {
    let filter = &query.filter;
    let lists = [
        ("AuthenticationModes", filter.authentication_modes.len()),
        ("Accessibility", filter.accessibility.len()),
        ("CalibrationLawDataAvailability", filter.calibration_law.len()),
        ("CountryCodes", query.countries.len()),
        ("OperatorIds", query.operators.len()),
    ];
    if let Some((what, size)) = lists.into_iter().find(|(_, size)| *size > LIST_MAX) {
        return Err(StorageError::TooLarge { what, size, limit: LIST_MAX });
    }
    let mut found = Conditions::default();
    found.one_of("d.country", &query.countries);
    found.one_of("d.accessibility", &filter.accessibility);
    found.one_of("d.calibration", &filter.calibration_law);
    let flags = [
        ("d.renewable", filter.renewable_energy),
        ("d.hubject", filter.hubject_compatible),
        ("d.open_24_hours", filter.open_24_hours),
    ];
    for (column, flag) in flags {
        if let Some(flag) = flag {
            found.add(&format!(" AND {column} = ?"), Value::Integer(flag.into()));
        }
    }
    if !filter.authentication_modes.is_empty() {
        let any = vec!["instr(d.auth_modes, ?) > 0"; filter.authentication_modes.len()].join(" OR ");
        found.sql.push_str(&format!(" AND ({any})"));
        found
            .values
            .extend(filter.authentication_modes.iter().map(|mode| Value::Text(format!("\n{mode}\n"))));
    }
    if !query.operators.is_empty() {
        let mut feeds = feeds_of(connection, &query.operators)?;
        // An empty list would be folded into a constant, and the plan with it.
        feeds.push(NO_FEED);
        let feeds: Vec<String> = feeds.iter().map(i64::to_string).collect();
        found.sql.push_str(&format!(" AND d.feed IN ({})", feeds.join(", ")));
    }
    Ok(found)
}

/// The conditions of a query on the table `bridged` under the name `d`, its area apart.
pub(super) fn conditions_on_bridged(
    connection: &Connection,
    query: &DataQuery,
) -> Result<Conditions, StorageError> {
    let mut found = conditions(connection, &DataQuery { operators: Vec::new(), ..query.clone() })?;
    let operators: Vec<String> =
        query.operators.iter().map(|operator| operator.as_str().to_owned()).collect();
    found.one_of("d.operator", &operators);
    Ok(found)
}

/// The feeds, of either kind, of operators.
pub(super) fn feeds_of(connection: &Connection, operators: &[CanonicalId]) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM feeds WHERE party = ?")?;
    let mut feeds = Vec::new();
    for operator in operators {
        let party = format!("CPO:{}", operator.as_str());
        for feed in statement.query_map([party], |row| row.get(0))? {
            feeds.push(feed?);
        }
    }
    Ok(feeds)
}
