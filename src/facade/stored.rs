//! Storage's read handle as the facade's directory: OICP's filters in, OICP's rows out.

use futures::future::BoxFuture;

use super::directory::{DataPage, DataRow, Directory, DirectoryError, StatusQuestion, StatusRow, Version};
use crate::identity::CanonicalId;
use crate::oicp::conform::DeltaType;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::page::PageRequest;
use crate::oicp::pull::{PullEvseData, SearchCenter};
use crate::storage::{self, Area, CommitVersion, DataFilter, DataQuery, Delta, Reader, StatusQuery, StorageError};

impl Directory for Reader {
    fn data_page(
        &self,
        pull: PullEvseData,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<DataPage, DirectoryError>> {
        Box::pin(async move {
            let Some(query) = data_query(&pull, page, as_of) else { return Ok(DataPage::default()) };
            Reader::data_page(self, query).await.map(data_page).map_err(failed)
        })
    }

    fn data_delta(
        &self,
        pull: PullEvseData,
        since_unix_ms: u64,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<Option<DataPage>, DirectoryError>> {
        Box::pin(async move {
            let Some(query) = data_query(&pull, page, as_of) else { return Ok(Some(DataPage::default())) };
            let found = Reader::data_delta(self, since_unix_ms, query).await;
            found.map(|page| page.map(data_page)).map_err(failed)
        })
    }

    fn statuses(&self, question: StatusQuestion) -> BoxFuture<'_, Result<Vec<StatusRow>, DirectoryError>> {
        Box::pin(async move {
            let rows = match question {
                StatusQuestion::Keys(keys) => {
                    let found = self.statuses_by_key(keys).await.map_err(failed)?;
                    found.into_iter().filter_map(|(key, row)| status_row(Some(key), row)).collect()
                }
                StatusQuestion::Matching { status, center, operators } => {
                    let asked = operators.len();
                    let operators = canonical(operators.iter().map(String::as_str));
                    if asked > 0 && operators.is_empty() {
                        return Ok(Vec::new());
                    }
                    let status = status.map(|status| status.as_str().to_owned());
                    let query = StatusQuery { status, operators, center: center.as_ref().map(area) };
                    let found = Reader::statuses(self, query).await.map_err(failed)?;
                    found.into_iter().filter_map(|row| status_row(None, row)).collect()
                }
            };
            Ok(rows)
        })
    }

    fn data_of(&self, key: EvseKey) -> BoxFuture<'_, Result<Option<DataRow>, DirectoryError>> {
        Box::pin(async move { self.data_record(key).await.map(|row| row.map(data_row)).map_err(failed) })
    }
}

/// `None` if the pull names operators and none of them can exist: then nothing matches.
fn data_query(pull: &PullEvseData, page: PageRequest, as_of: Option<Version>) -> Option<DataQuery> {
    let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<String>>();
    let operators = canonical(pull.operator_ids.iter().map(|id| id.as_str()));
    if operators.is_empty() && !pull.operator_ids.is_empty() {
        return None;
    }
    Some(DataQuery {
        filter: DataFilter {
            authentication_modes: texts(&pull.authentication_modes),
            accessibility: texts(&pull.accessibility),
            calibration_law: texts(&pull.calibration_law),
            renewable_energy: pull.renewable_energy,
            hubject_compatible: pull.hubject_compatible,
            open_24_hours: pull.open_24_hours,
        },
        center: pull.search_center.as_ref().map(area),
        operators,
        countries: texts(&pull.country_codes),
        page: u32::try_from(page.number()).unwrap_or(u32::MAX),
        size: u32::try_from(page.size()).unwrap_or(u32::MAX),
        as_of: as_of.map(CommitVersion),
    })
}

fn canonical<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<CanonicalId> {
    ids.filter_map(|id| CanonicalId::parse(id).ok()).collect()
}

fn area(center: &SearchCenter) -> Area {
    Area { lat: center.position.lat, lon: center.position.lon, radius_km: center.radius_km }
}

fn data_page(page: storage::DataPage) -> DataPage {
    DataPage { rows: page.rows.into_iter().map(data_row).collect(), total: page.total, version: page.version.0 }
}

fn data_row(row: storage::DataRow) -> DataRow {
    DataRow {
        payload: row.payload,
        operator_id: row.operator_id.to_string(),
        operator_name: row.operator_name.to_string(),
        last_update_unix_ms: row.last_update_unix_ms,
        delta: row.delta.map(|delta| match delta {
            Delta::Insert => DeltaType::Insert,
            Delta::Update => DeltaType::Update,
            Delta::Delete => DeltaType::Delete,
        }),
    }
}

/// A status whose id or text cannot be read was checked when it came, so there is none.
fn status_row(key: Option<EvseKey>, row: storage::StatusRow) -> Option<StatusRow> {
    let key = key.or_else(|| EvseId::parse(&row.evse_id).ok().map(|id| id.key().clone()))?;
    Some(StatusRow {
        key,
        evse_id: row.evse_id.into(),
        operator_id: row.operator_id.to_string(),
        operator_name: row.operator_name.to_string(),
        status: EvseStatus::parse(&row.status)?,
        observed_at_unix_ms: row.observed_at_unix_ms,
        confirmed_at_unix_ms: row.confirmed_at_unix_ms,
    })
}

fn failed(error: StorageError) -> DirectoryError {
    match error {
        StorageError::Busy => DirectoryError::Busy,
        StorageError::TooCostly | StorageError::TooLarge { .. } => DirectoryError::TooLarge(error.to_string()),
        other => DirectoryError::Failed(other.to_string()),
    }
}
