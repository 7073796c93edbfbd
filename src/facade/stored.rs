//! Storage's read handle as the facade's directory: OICP's questions in storage's words, and back.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::directory::{
    Bridged, DataPage, DataRow, Directory, DirectoryError, StatusQuestion, StatusRow, Version,
};
use crate::identity::{CanonicalId, PartyId, Role};
use crate::oicp::conform::DeltaType;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::page::PageRequest;
use crate::oicp::pull::{PullEvseData, SearchCenter};
use crate::storage::{
    self, Area, CdrFacts, CdrFilter, CdrPull, CdrSubject, CommitVersion, DataFilter, DataQuery, Delta,
    PriceQuery, PriceRow, Reader, StatusQuery, StorageError, StoredCdr,
};

impl Directory for Reader {
    fn data_page(
        &self,
        pull: PullEvseData,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<DataPage, DirectoryError>> {
        async move {
            let Some(query) = query(pull, page, as_of) else { return Ok(nothing(as_of)) };
            let now = DataQuery { as_of: None, ..query.clone() };
            match Reader::data_page(self, query).await {
                // The pages before are older than the history; the state of now is the best there is.
                Err(StorageError::VersionGone { .. }) => Ok(of_page(Reader::data_page(self, now).await?)),
                answer => Ok(of_page(answer?)),
            }
        }
        .boxed()
    }

    fn data_delta(
        &self,
        pull: PullEvseData,
        since_unix_ms: u64,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<Option<DataPage>, DirectoryError>> {
        async move {
            let Some(query) = query(pull, page, as_of) else { return Ok(Some(nothing(as_of))) };
            let now = DataQuery { as_of: None, ..query.clone() };
            let answer = match Reader::data_delta(self, since_unix_ms, query).await {
                Err(StorageError::VersionGone { .. }) => Reader::data_delta(self, since_unix_ms, now).await?,
                answer => answer?,
            };
            Ok(answer.map(of_page))
        }
        .boxed()
    }

    fn statuses(
        &self,
        puller: Option<PartyId>,
        question: StatusQuestion,
    ) -> BoxFuture<'_, Result<Vec<StatusRow>, DirectoryError>> {
        async move {
            match question {
                StatusQuestion::Keys(keys) => {
                    let rows = self.statuses_by_key(keys, puller).await?;
                    Ok(rows.into_iter().map(|(key, row)| of_status(key, row)).collect())
                }
                StatusQuestion::Matching { status, center, operators } => {
                    let Some(operators) = canonical(&operators) else { return Ok(Vec::new()) };
                    let query = StatusQuery {
                        status: status.map(|status| status.as_str().to_owned()),
                        operators,
                        center: center.map(area),
                        puller,
                    };
                    let rows = Reader::statuses(self, query).await?;
                    Ok(rows.into_iter().filter_map(with_key).collect())
                }
            }
        }
        .boxed()
    }

    fn prices(&self, query: PriceQuery) -> BoxFuture<'_, Result<Vec<PriceRow>, DirectoryError>> {
        async move { Ok(Reader::prices(self, query).await?) }.boxed()
    }

    fn data_of(
        &self,
        key: EvseKey,
        puller: Option<PartyId>,
    ) -> BoxFuture<'_, Result<Option<DataRow>, DirectoryError>> {
        async move { Ok(self.data_record(key, puller).await?.map(of_row)) }.boxed()
    }

    fn cdr_facts(&self, subject: CdrSubject) -> BoxFuture<'_, Result<CdrFacts, DirectoryError>> {
        async move { Ok(Reader::cdr_facts(self, subject).await?) }.boxed()
    }

    fn bridged_of(&self, key: EvseKey) -> BoxFuture<'_, Result<Option<Bridged>, DirectoryError>> {
        async move {
            let found = self.bridged_record(key.clone()).await?;
            Ok(found.map(|(data, status)| Bridged {
                data: of_row(data),
                status: status.map(|status| of_status(key, status)),
            }))
        }
        .boxed()
    }

    fn pulled_cdrs(&self, pull: CdrPull) -> BoxFuture<'_, Result<(u64, Vec<StoredCdr>), DirectoryError>> {
        async move { Ok(Reader::pulled_cdrs(self, pull).await?) }.boxed()
    }

    fn listed_cdrs(&self, filter: CdrFilter) -> BoxFuture<'_, Result<Vec<StoredCdr>, DirectoryError>> {
        async move { Ok(Reader::listed_cdrs(self, filter).await?) }.boxed()
    }
}

/// `None` if it asks for nobody's records.
fn query(pull: PullEvseData, page: PageRequest, as_of: Option<Version>) -> Option<DataQuery> {
    let texts = |list: Vec<Box<str>>| list.into_iter().map(String::from).collect();
    let operators: Vec<String> = pull.operator_ids.iter().map(|id| id.canonical()).collect();
    Some(DataQuery {
        filter: DataFilter {
            authentication_modes: texts(pull.authentication_modes),
            accessibility: texts(pull.accessibility),
            calibration_law: texts(pull.calibration_law),
            renewable_energy: pull.renewable_energy,
            hubject_compatible: pull.hubject_compatible,
            open_24_hours: pull.open_24_hours,
        },
        center: pull.search_center.map(area),
        operators: canonical(&operators)?,
        countries: texts(pull.country_codes),
        // A page number beyond 32 bits lies behind every end, as the largest one does.
        page: u32::try_from(page.number()).unwrap_or(u32::MAX),
        size: u32::try_from(page.size()).unwrap_or(u32::MAX),
        // An id that is none is nobody's: then only what everybody sees.
        puller: PartyId::new(Role::Emp, pull.provider_id.as_str()).ok(),
        as_of: as_of.map(CommitVersion),
    })
}

/// The operators that are asked for; none is everybody. What OICP's pattern allows and no party can be called
/// (`+0*000`) is nobody's: `None` if nothing else is asked for.
fn canonical(ids: &[String]) -> Option<Vec<CanonicalId>> {
    let known: Vec<CanonicalId> = ids.iter().filter_map(|id| CanonicalId::parse(id).ok()).collect();
    (ids.is_empty() || !known.is_empty()).then_some(known)
}

fn nothing(as_of: Option<Version>) -> DataPage {
    DataPage { rows: Vec::new(), total: 0, version: as_of.unwrap_or_default() }
}

fn area(center: SearchCenter) -> Area {
    Area { lat: center.position.lat, lon: center.position.lon, radius_km: center.radius_km }
}

fn of_page(page: storage::DataPage) -> DataPage {
    let rows = page.rows.into_iter().map(of_row).collect();
    DataPage { rows, total: page.total, version: page.version.0 }
}

fn of_row(row: storage::DataRow) -> DataRow {
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

fn with_key(row: storage::StatusRow) -> Option<StatusRow> {
    let key = EvseId::parse(&row.evse_id)
        .inspect_err(|error| tracing::error!(%error, "a stored EvseID cannot be read and is left out"))
        .ok()?
        .key()
        .clone();
    Some(of_status(key, row))
}

fn of_status(key: EvseKey, row: storage::StatusRow) -> StatusRow {
    let status = EvseStatus::parse(&row.status).unwrap_or(EvseStatus::Unknown);
    StatusRow {
        key,
        evse_id: row.evse_id.into(),
        operator_id: row.operator_id.to_string(),
        operator_name: row.operator_name.to_string(),
        status,
        observed_at_unix_ms: row.observed_at_unix_ms,
        confirmed_at_unix_ms: row.confirmed_at_unix_ms,
    }
}

impl From<StorageError> for DirectoryError {
    fn from(error: StorageError) -> DirectoryError {
        match error {
            StorageError::Busy => DirectoryError::Busy,
            StorageError::TooCostly | StorageError::TooLarge { .. } => {
                DirectoryError::TooLarge(error.to_string())
            }
            _ => DirectoryError::Failed(error.to_string()),
        }
    }
}
