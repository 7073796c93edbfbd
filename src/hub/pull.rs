//! Pulls what others publish from the hub, page by page, into the directory's table for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::data::Data;
use super::pace::{BackOff, Call};
use super::peer::Later;
use crate::identity::PartyId;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::{EvseId, EvseKey, OperatorId, operator_for_display, provider_for_display};
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::page::{PAGE_SIZE_MAX, Page};
use crate::oicp::reading::Reading;
use crate::oicp::{record, time};
use crate::storage::{BridgedChanges, BridgedRecord};

/// Everything is pulled again after this time, in milliseconds: a week, as is usual (OPERATIONS 4).
const FULL_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Whose clock LastCall is by is unknown (GAPS C7): so much earlier is asked, in milliseconds.
const MARGIN_MS: u64 = 300_000;
/// Most pages of one pull: five times what the hub is said to have.
const PAGES_MAX: u64 = 2_500;
/// Statuses of one answer that are asked for, so that it can be read at once.
const STATUSES_PER_CALL: u64 = 20_000;
/// Operators named in one question.
const OPERATORS_PER_CALL: usize = 100;
/// EVSEs compared at once with what a full pull has named.
const SWEEP: u32 = 5_000;
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// Names that a pull adds to a record.
const ADDED: [&str; 4] = ["deltaType", "lastUpdate", "OperatorID", "OperatorName"];

/// Pulls until the node stops.
pub(super) async fn run(data: Arc<Data>, emp: PartyId, seed: u64) {
    let mut back_off = BackOff::new(seed);
    loop {
        match due(&data, &emp).await {
            Ok(()) => {
                back_off.reset();
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => {
                let wait = back_off.failed();
                let wait_ms = wait.as_millis() as u64;
                tracing::warn!(%error, wait_ms, "a pull from the hub failed; trying again");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn due(data: &Arc<Data>, emp: &PartyId) -> Result<(), Later> {
    let marks = data.marks().await?;
    // What was pulled before a restart has its age, too.
    for (name, call) in [("pull-data", Call::PullData), ("pull-status", Call::PullStatus)] {
        if let Some(at) = marks.get(name) {
            data.peer.figures.done(call, *at);
        }
    }
    let is_due = |name: &str, every_s: u64| {
        let at = marks.get(name).copied();
        every_s > 0 && at.is_none_or(|at| data.now_ms().saturating_sub(at) >= every_s.saturating_mul(1_000))
    };
    let provider = provider_for_display(emp.id.as_str());
    if is_due("pull-data", data.config.pull_data_s) {
        let last = marks.get("pull-data").copied();
        let is_full = marks.get("pull-full").is_none_or(|at| data.now_ms().saturating_sub(*at) >= FULL_MS);
        pull_data(data, &provider, last.filter(|_| !is_full)).await?;
    }
    if is_due("pull-status", data.config.pull_status_s) && marks.contains_key("pull-data") {
        pull_statuses(data, &provider).await?;
    }
    Ok(())
}

/// What changed since a time, or everything.
///
/// A difference is that of two states, so what came and went between them is in none. Asked with the margin alone, what
/// was there at the last pull but not yet so long before would never be said to be gone: so it is asked without, too.
async fn pull_data(data: &Arc<Data>, provider: &str, last_ms: Option<u64>) -> Result<(), Later> {
    let began_ms = data.now_ms();
    let mut named = Named::default();
    let mut changed = 0;
    match last_ms {
        Some(last_ms) => {
            for since_ms in [last_ms, last_ms.saturating_sub(MARGIN_MS)] {
                changed += pages(data, provider, Some(since_ms), &mut named).await?;
            }
        }
        None => {
            changed += pages(data, provider, None, &mut named).await?;
            if named.records < named.total {
                let Named { records, total, .. } = named;
                tracing::warn!(
                    records,
                    total,
                    "the hub's pages moved while they were read: all are next time"
                );
            } else {
                changed += sweep(data, &named.hashes).await?;
                data.set_mark_named("pull-full", began_ms).await?;
            }
        }
    }
    data.set_mark_named("pull-data", began_ms).await?;
    data.count_bridged().await?;
    tracing::info!(changed, is_full = last_ms.is_none(), "EVSE data were pulled from the hub");
    Ok(())
}

/// What pages held.
#[derive(Default)]
struct Named {
    /// Eight bytes of a hash for each EVSE that a full pull names: what it does not name is gone.
    hashes: BTreeSet<u64>,
    /// Records on all pages.
    records: u64,
    /// Records that the last page said there are.
    total: u64,
}

/// All pages of a pull, each written before the next is asked for. Gives the number of records that changed here.
async fn pages(
    data: &Arc<Data>,
    provider: &str,
    since_ms: Option<u64>,
    named: &mut Named,
) -> Result<usize, Later> {
    let mut body = Writer::new();
    body.begin_object().key("ProviderID").string(provider);
    body.key("GeoCoordinatesResponseFormat").string("Google");
    if let Some(since_ms) = since_ms {
        body.key("LastCall").string(&time::format_ms(i64::try_from(since_ms).unwrap_or(i64::MAX)));
    }
    body.end_object();
    let body = body.finish();
    let mut changed = 0;
    for number in 0..PAGES_MAX {
        let path = format!(
            "api/oicp/evsepull/v23/providers/{provider}/data-records?page={number}&size={PAGE_SIZE_MAX}"
        );
        let answer = data.peer.pull(Call::PullData, &path, body.clone()).await?;
        let (reader, whole, now_ms) = (Arc::clone(data), answer.clone(), data.now_ms());
        let read = data.on_thread(move || read_page(&reader, &whole, now_ms)).await?;
        let Some(read) = read else {
            return Err(data.peer.later(Call::PullData, 200, "no page", &answer));
        };
        if since_ms.is_none() {
            named.hashes.extend(read.changes.records.iter().map(|record| short_hash(&record.summary.key)));
        }
        named.records += read.count;
        named.total = read.total;
        changed += data.directory.bridge(read.changes, data.now_ms()).await.map_err(Data::stored)?;
        if read.is_last {
            return Ok(changed);
        }
    }
    Err(Later(format!("the hub has more than {PAGES_MAX} pages")))
}

/// Ends what a full pull did not name.
async fn sweep(data: &Data, named: &BTreeSet<u64>) -> Result<usize, Later> {
    let (mut after, mut ended) = (String::new(), 0);
    loop {
        let keys = data.reader.bridged_keys(after, SWEEP).await.map_err(Data::stored)?;
        let Some(last) = keys.last() else { return Ok(ended) };
        after = last.as_str().to_owned();
        let gone: Vec<EvseKey> = keys.into_iter().filter(|key| !named.contains(&short_hash(key))).collect();
        if !gone.is_empty() {
            let changes = BridgedChanges { gone, ..BridgedChanges::default() };
            ended += data.directory.bridge(changes, data.now_ms()).await.map_err(Data::stored)?;
        }
    }
}

fn short_hash(key: &EvseKey) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key.as_str().as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A page that was read.
struct ReadPage {
    changes: BridgedChanges,
    /// Records on it, ours included.
    count: u64,
    is_last: bool,
    total: u64,
}

fn read_page(data: &Data, body: &Bytes, now_ms: u64) -> Option<ReadPage> {
    let root = json::parse(body, Reading::Tolerant).ok()?;
    let page = Page::read(&root)?;
    let mut changes = BridgedChanges::default();
    for node in page.content {
        let Some(record) = read_record(node, now_ms) else {
            tracing::debug!("a record of the hub has no EvseID and is left out");
            continue;
        };
        if data.is_ours(&record.summary.key) {
            continue;
        }
        let delta = node.field_any_case(&["deltaType"]).and_then(Node::as_str);
        if delta == Some("delete") {
            changes.gone.push(record.summary.key);
        } else {
            changes.records.push(record);
        }
    }
    let is_last = page.last || page.content.is_empty();
    let count = page.content.len() as u64;
    Some(ReadPage { changes, count, is_last, total: page.total_elements })
}

/// A record without what the pull added to it; its values are kept as they came.
fn read_record(node: &Node<'_>, now_ms: u64) -> Option<BridgedRecord> {
    let summary = record::summarise_node(node).ok()?;
    let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str);
    let mut body = Writer::with_capacity(node.raw().len());
    body.begin_object();
    let is_added = |name: &str| ADDED.iter().any(|added| added.eq_ignore_ascii_case(name));
    for (name, member) in node.members().iter().filter(|(name, _)| !is_added(name)) {
        body.key(name).raw(member.raw());
    }
    body.end_object();
    let of_evse = summary.key.operator();
    let named = text("OperatorID").and_then(|id| OperatorId::parse(id).ok());
    let changed_ms = text("lastUpdate").and_then(time::parse_ms).and_then(|at| u64::try_from(at).ok());
    Some(BridgedRecord {
        body: body.finish().into(),
        operator: named.as_ref().map_or_else(|| of_evse.to_owned(), OperatorId::canonical),
        operator_id: named.map_or_else(|| operator_for_display(of_evse), |id| id.as_str().to_owned()),
        operator_name: text("OperatorName").unwrap_or_default().to_owned(),
        at_unix_ms: changed_ms.unwrap_or(now_ms),
        summary,
    })
}

/// Statuses: of few EVSEs all at once, of many operator by operator, so that no answer is too large to read.
async fn pull_statuses(data: &Arc<Data>, provider: &str) -> Result<(), Later> {
    let began_ms = data.now_ms();
    let operators = data.reader.bridged_operators().await.map_err(Data::stored)?;
    let total: u64 = operators.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return data.set_mark_named("pull-status", began_ms).await;
    }
    if total <= STATUSES_PER_CALL {
        let path = format!("api/oicp/evsepull/v21/providers/{provider}/status-records");
        let mut body = Writer::new();
        body.begin_object().key("ProviderID").string(provider).end_object();
        take_statuses(data, Call::PullStatus, &path, body.finish()).await?;
    } else {
        let path = format!("api/oicp/evsepull/v21/providers/{provider}/status-records-by-operator-id");
        for names in batches(&operators) {
            let mut body = Writer::new();
            body.begin_object().key("ProviderID").string(provider).key("OperatorID").begin_array();
            for name in names {
                body.string(name);
            }
            body.end_array().end_object();
            take_statuses(data, Call::PullStatusByOperator, &path, body.finish()).await?;
        }
    }
    data.set_mark_named("pull-status", began_ms).await
}

/// Operators that are asked for together.
fn batches(operators: &[(String, u64)]) -> Vec<Vec<&str>> {
    let mut batches: Vec<Vec<&str>> = Vec::new();
    let mut size = u64::MAX;
    for (name, count) in operators {
        let fits = size.saturating_add(*count) <= STATUSES_PER_CALL;
        match batches.last_mut() {
            Some(batch) if fits && batch.len() < OPERATORS_PER_CALL => {
                batch.push(name);
                size += count;
            }
            _ => {
                batches.push(vec![name]);
                size = *count;
            }
        }
    }
    batches
}

async fn take_statuses(data: &Arc<Data>, call: Call, path: &str, body: String) -> Result<(), Later> {
    let answer = data.peer.pull(call, path, body).await?;
    let (reader, whole) = (Arc::clone(data), answer.clone());
    let statuses = data.on_thread(move || read_statuses(&reader, &whole)).await?;
    let Some(statuses) = statuses else {
        return Err(data.peer.later(call, 200, "no statuses", &answer));
    };
    let changes = BridgedChanges { statuses, ..BridgedChanges::default() };
    data.directory.bridge(changes, data.now_ms()).await.map_err(Data::stored).map(drop)
}

fn read_statuses(data: &Data, body: &Bytes) -> Option<Vec<(EvseKey, Box<str>)>> {
    let root = json::parse(body, Reading::Tolerant).ok()?;
    let blocks = root.field_any_case(&["EvseStatuses"])?.field_any_case(&["OperatorEvseStatus"])?;
    let mut found = Vec::new();
    for block in blocks.items() {
        let records = block.field_any_case(&["EvseStatusRecord"]).map(Node::items).unwrap_or_default();
        for node in records {
            let text = |name: &str| node.field_any_case(&[name]).and_then(Node::as_str);
            let id = text("EvseID").and_then(|id| EvseId::parse(id).ok());
            let status = text("EvseStatus").and_then(EvseStatus::parse);
            if let Some((id, status)) = id.zip(status).filter(|(id, _)| !data.is_ours(id.key())) {
                found.push((id.key().clone(), status.as_str().into()));
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_asked_for_in_answers_that_can_be_read() {
        let operator = |name: &str, count| (name.to_owned(), count);
        let operators =
            [operator("A", 30_000), operator("B", 15_000), operator("C", 5_000), operator("D", 1)];
        assert_eq!(batches(&operators), vec![vec!["A"], vec!["B", "C"], vec!["D"]]);
        let many: Vec<_> = (0..250).map(|number| operator(&number.to_string(), 1)).collect();
        assert_eq!(batches(&many).iter().map(Vec::len).collect::<Vec<_>>(), vec![100, 100, 50]);
    }

    #[test]
    fn a_record_is_the_same_whatever_the_pull_adds() {
        let read = |added: &str| {
            let text = format!(r#"{{"EvseID":"DE*ABC*E1","Power":22.0,"X":[ 1 ]{added}}}"#);
            read_record(&json::parse_text(&text).unwrap(), 5).unwrap()
        };
        let plain = read("");
        let pulled = read(
            r#","deltaType":"update","lastUpdate":"1970-01-01T00:00:01Z","OperatorID":"DE*XYZ","OperatorName":"X""#,
        );
        assert_eq!(&*plain.body, r#"{"EvseID":"DE*ABC*E1","Power":22.0,"X":[ 1 ]}"#);
        assert_eq!(plain.body, pulled.body);
        assert_eq!(
            (plain.operator.as_str(), plain.operator_id.as_str(), plain.at_unix_ms),
            ("DEABC", "DE*ABC", 5)
        );
        assert_eq!((pulled.operator.as_str(), pulled.at_unix_ms), ("DEXYZ", 1_000));
    }
}
