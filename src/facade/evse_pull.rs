//! PullEvseData: full, delta and around a point, in pages that show one state.

use std::sync::Arc;

use futures::future::try_join_all;

use super::answer::Answer;
use super::call::Call;
use super::directory::{DataPage, DataRow, DirectoryError};
use super::shared::{Shared, Snapshot};
use super::snapshot::pull_name;
use super::workers::WorkError;
use crate::identity::{PartyId, Role};
use crate::oicp::conform::{self, DeltaType, PullFields};
use crate::oicp::finding::Fault;
use crate::oicp::geo::GeoFormat;
use crate::oicp::id::ProviderId;
use crate::oicp::page::{self, PageRequest};
use crate::oicp::pull::{self, PullEvseData};
use crate::oicp::status_code::{Code, StatusCode};
use crate::oicp::time;

/// PullEvseData (OPERATIONS row 2).
pub(super) async fn pull_data(shared: &Shared, call: Call) -> Result<Answer, Answer> {
    let wanted = page_request(&call.query)?;
    let (body, reading) = (call.body.clone(), call.reading);
    let read = shared.workers.run(body.len(), move || pull::read_evse_data(&body, reading)).await?;
    let request = read.map_err(|fault| Answer::malformed(fault.to_json()))?;
    same_provider(&call.party, &request.provider_id)?;
    let geo_format = request.geo_format;

    let size = usize::try_from(wanted.size()).unwrap_or(usize::MAX);
    let number = usize::try_from(wanted.number()).unwrap_or(usize::MAX);
    let name = pull_name(call.backend, &call.party, &call.body, size);
    let earlier = shared.snapshots.of(&name, number);
    let (page, delta) = ask(shared, request, wanted, earlier).await?;
    if earlier.is_none() {
        shared.snapshots.keep(name, Snapshot { version: page.version, delta });
    }

    Ok(Answer::ok(write(shared, wanted, page, geo_format).await?))
}

async fn ask(
    shared: &Shared,
    request: PullEvseData,
    page: PageRequest,
    earlier: Option<Snapshot>,
) -> Result<(DataPage, bool), Answer> {
    let directory = Arc::clone(&shared.directory);
    let as_of = earlier.map(|snapshot| snapshot.version);
    let since = request.last_call_ms.filter(|_| earlier.is_none_or(|snapshot| snapshot.delta));
    if let Some(since) = since {
        // Before 1970 there was nothing to change.
        let since = u64::try_from(since).unwrap_or(0);
        if let Some(delta) = directory.data_delta(request.clone(), since, page, as_of).await? {
            return Ok((delta, true));
        }
    }
    Ok((directory.data_page(request, page, as_of).await?, false))
}

/// Writes the page; the pull's fields are added and the shapes conformed here, for this puller only. The
/// records of a large page are written by several threads.
async fn write(
    shared: &Shared,
    wanted: PageRequest,
    page: DataPage,
    geo_format: GeoFormat,
) -> Result<String, WorkError> {
    let DataPage { rows, total, .. } = page;
    let bytes = rows.iter().map(|row| row.payload.len()).sum();
    let rows_per_part = rows.len().div_ceil(shared.workers.parts(bytes)).max(1);
    let rows = Arc::new(rows);
    let parts = (0..rows.len()).step_by(rows_per_part).map(|from| {
        let rows = Arc::clone(&rows);
        let write = move || -> Vec<String> {
            rows.iter()
                .skip(from)
                .take(rows_per_part)
                .filter_map(|row| write_record(row, geo_format))
                .collect()
        };
        shared.workers.run(bytes, write)
    });
    let records: Vec<String> = try_join_all(parts).await?.into_iter().flatten().collect();
    let join = move || page::write(wanted, total, &records, &StatusCode::from(Code::Success));
    shared.workers.run(bytes, join).await
}

pub(super) fn write_record(row: &DataRow, geo_format: GeoFormat) -> Option<String> {
    let last_update = time::format_ms(i64::try_from(row.last_update_unix_ms).unwrap_or(i64::MAX));
    let add = PullFields {
        operator_id: &row.operator_id,
        operator_name: Some(row.operator_name.as_str()).filter(|name| !name.is_empty()),
        last_update: &last_update,
        // The hub says `insert` in full pulls too (RULES 10).
        delta_type: Some(row.delta.unwrap_or(DeltaType::Insert)),
        geo_format,
    };
    let raw = std::str::from_utf8(&row.payload)
        .inspect_err(|_| tracing::error!("a stored record is not UTF-8 and is left out of its page"))
        .ok()?;
    Some(conform::record(raw, &add))
}

/// The id of the body is the id of the path (GAPS C32).
pub(super) fn same_provider(party: &PartyId, provider_id: &ProviderId) -> Result<(), Answer> {
    let same = PartyId::new(Role::Emp, provider_id.as_str()).is_ok_and(|of_body| of_body == *party);
    if same { Ok(()) } else { Err(Answer::ids_differ("ProviderID")) }
}

/// `page` and `size` of the query; `sort` and whatever else is there is not looked at.
pub(super) fn page_request(query: &str) -> Result<PageRequest, Answer> {
    let number = |name: &str| -> Result<Option<u64>, Answer> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let Some((_, text)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(None) };
        let wrong = |_| {
            Answer::malformed(
                Fault::single(&format!("/{name}"), "must be a whole number, 0 or more").to_json(),
            )
        };
        text.parse().map(Some).map_err(wrong)
    };
    Ok(PageRequest::new(number("page")?, number("size")?))
}

impl From<DirectoryError> for Answer {
    fn from(error: DirectoryError) -> Answer {
        match error {
            DirectoryError::Busy => Answer::busy(),
            DirectoryError::TooLarge(_) => Answer::broken(&error.to_string()),
            DirectoryError::Failed(_) => Answer::storage(&error.to_string()),
        }
    }
}
