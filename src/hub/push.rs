//! Pushes what our CPOs publish to the hub: differences to what it took last, and everything on schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;

use super::data::Data;
use super::pace::{BackOff, Call};
use super::peer::{Later, Taken};
use crate::identity::PartyId;
use crate::oicp::id::{EvseId, EvseKey, operator_for_display};
use crate::oicp::json_write::Writer;
use crate::oicp::push::ActionType;
use crate::protocol::{Digest, Kind};
use crate::storage::{Acknowledged, CommitVersion, DataQuery, PAGE_SIZE_MAX, StatusQuery};

/// Records of one push of differences. The hub's answer to one that is refused is a full load.
const RECORDS_PER_PUSH: usize = 500;
/// Statuses that are pushed one by one, as the hub wants them; more at once go together.
const SINGLE_STATUSES_MAX: usize = 50;
/// Changes come in bursts; so long is waited for more.
const GATHER: Duration = Duration::from_millis(500);
/// Without any change it is looked again so often, for the schedule.
const LOOK: Duration = Duration::from_secs(60);

/// One record that goes to the hub.
struct Outgoing {
    key: EvseKey,
    hash: Digest,
    json: String,
}

/// What differs from what the hub took last.
#[derive(Default)]
struct Differences {
    inserts: Vec<Outgoing>,
    updates: Vec<Outgoing>,
    /// EVSEs of ours that are no more.
    deletes: Vec<EvseKey>,
    /// There are more differences than these.
    more: bool,
}

/// How the operator is named in a push.
#[derive(Default)]
struct Operator {
    id: String,
    name: String,
}

/// Pushes until the node stops.
pub(super) async fn run(data: Arc<Data>, parties: Vec<PartyId>, seed: u64) {
    let mut applied = data.engine.watch();
    let mut back_off = BackOff::new(seed);
    loop {
        let mut failure = None;
        for party in &parties {
            if let Err(error) = both(&data, party).await {
                failure = Some(error);
                break;
            }
        }
        if let Some(error) = failure {
            let wait = back_off.failed();
            tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "the hub did not take a push; trying again");
            tokio::time::sleep(wait).await;
            continue;
        }
        back_off.reset();
        let is_ours = |key: &EvseKey| parties.iter().any(|party| data.is_of(key, party));
        let changed = async {
            loop {
                match applied.recv().await {
                    Ok(changes) if changes.iter().any(|change| is_ours(&change.key)) => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        if tokio::time::timeout(LOOK, changed).await.is_ok() {
            tokio::time::sleep(GATHER).await;
            // Whatever came meanwhile is read together.
            applied = applied.resubscribe();
        }
    }
}

/// Data first: the hub takes no status of an EVSE that it does not know.
async fn both(data: &Data, party: &PartyId) -> Result<(), Later> {
    if data.config.push_data_full_s > 0 {
        round(data, party, Pushed::Data, data.config.push_data_full_s).await?;
    }
    if data.config.push_status_full_s == 0 {
        return Ok(());
    }
    match round(data, party, Pushed::Status, data.config.push_status_full_s).await {
        Ok(()) => Ok(()),
        Err(Failed::Later(later)) => Err(later),
        Err(Failed::Refused(said)) => {
            // It does not know an EVSE that it took before: then it lacks more than a status.
            tracing::warn!(%party, %said, "the hub refused statuses; it gets the records, too");
            full_load(data, party, Pushed::Data, false).await?;
            Ok(full_load(data, party, Pushed::Status, false).await?)
        }
    }
}

/// Why a push is not done.
enum Failed {
    /// To be tried again.
    Later(Later),
    /// The hub refuses everything.
    Refused(String),
}

impl From<Later> for Failed {
    fn from(later: Later) -> Failed {
        Failed::Later(later)
    }
}

impl From<Failed> for Later {
    fn from(failed: Failed) -> Later {
        match failed {
            Failed::Later(later) => later,
            Failed::Refused(said) => Later(format!("a full load was refused: {said}")),
        }
    }
}

/// What is pushed to the hub. Prices are not: by its API they change only in bilateral offers (RULES 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushed {
    Data,
    Status,
}

impl Pushed {
    fn kind(self) -> Kind {
        match self {
            Pushed::Data => Kind::Data,
            Pushed::Status => Kind::Status,
        }
    }
}

async fn round(data: &Data, party: &PartyId, kind: Pushed, full_s: u64) -> Result<(), Failed> {
    let call = call_of(kind);
    let taken = data.acknowledged(party, kind.kind()).await?;
    let mark = data.mark_of("push-full", party, kind.kind()).await?;
    let is_due = mark.is_none_or(|at| data.now_ms().saturating_sub(at) >= full_s.saturating_mul(1_000));
    if is_due || taken.is_empty() {
        return full_load(data, party, kind, taken.is_empty()).await;
    }
    let mut taken = taken;
    loop {
        let (operator, differences) = differences(data, party, kind, &taken).await?;
        let more = differences.more;
        let Differences { inserts, updates, deletes, .. } = differences;
        let deletes = deletes.into_iter().map(|key| {
            let json = deleted(&key, kind);
            Outgoing { key, hash: [0; 32], json }
        });
        let steps = [
            (ActionType::Delete, deletes.collect()),
            (ActionType::Update, updates),
            (ActionType::Insert, inserts),
        ];
        for (action, records) in steps {
            for part in parts(kind, &records) {
                let body = message(kind, action, &operator, part);
                match data.peer.push(call, &operator.id, body).await? {
                    Taken::Yes => {
                        let records = part.iter().map(|record| {
                            let hash = (action != ActionType::Delete).then_some(record.hash);
                            (record.key.clone(), hash)
                        });
                        let records: Vec<_> = records.collect();
                        for (key, hash) in &records {
                            match hash {
                                Some(hash) => taken.insert(key.clone(), *hash),
                                None => taken.remove(key),
                            };
                        }
                        let party = party.clone();
                        data.acknowledge(Acknowledged { party, kind: kind.kind(), records, is_all: false })
                            .await?;
                    }
                    Taken::No(said) => {
                        tracing::warn!(%party, %said, "the hub refused differences; it gets everything");
                        return full_load(data, party, kind, false).await;
                    }
                }
            }
        }
        data.peer.figures.done(call, data.now_ms());
        if !more {
            return Ok(());
        }
    }
}

/// Pushes in which records go.
fn parts(kind: Pushed, records: &[Outgoing]) -> std::slice::Chunks<'_, Outgoing> {
    let singly = kind == Pushed::Status && records.len() <= SINGLE_STATUSES_MAX;
    records.chunks(if singly { 1 } else { RECORDS_PER_PUSH })
}

/// Everything in one message, which takes the place of what the hub has. Without any record it is only sent if the
/// hub has some of ours: a set that somebody else pushed there is not emptied by a node that is new.
async fn full_load(data: &Data, party: &PartyId, kind: Pushed, has_none: bool) -> Result<(), Failed> {
    let (call, mut list, mut records) = (call_of(kind), Writer::new(), Vec::new());
    list.begin_array();
    let known = match kind {
        Pushed::Data => None,
        Pushed::Status => Some(data.acknowledged(party, Kind::Data).await?),
    };
    let operator = each(data, party, kind, |key, hash, json| {
        if known.as_ref().is_none_or(|known| known.contains_key(&key)) {
            list.raw(&json);
            records.push((key, Some(hash)));
        }
    });
    let operator = operator.await?;
    list.end_array();
    if records.is_empty() && has_none {
        return Ok(());
    }
    let count = records.len();
    let body = envelope(kind, ActionType::FullLoad, &operator, &list.finish());
    match data.peer.push(call, &operator.id, body).await? {
        Taken::Yes => {
            let taken = Acknowledged { party: party.clone(), kind: kind.kind(), records, is_all: true };
            data.acknowledge(taken).await?;
            data.set_mark("push-full", party, kind.kind()).await?;
            data.peer.figures.done(call, data.now_ms());
            tracing::info!(%party, ?kind, count, "the hub has everything");
            Ok(())
        }
        Taken::No(said) => Err(Failed::Refused(said)),
    }
}

async fn differences(
    data: &Data,
    party: &PartyId,
    kind: Pushed,
    taken: &BTreeMap<EvseKey, Digest>,
) -> Result<(Operator, Differences), Later> {
    let mut found = Differences::default();
    let known = match kind {
        Pushed::Data => None,
        Pushed::Status => Some(data.acknowledged(party, Kind::Data).await?),
    };
    let mut seen = std::collections::BTreeSet::new();
    let operator = each(data, party, kind, |key, hash, json| {
        if known.as_ref().is_some_and(|known| !known.contains_key(&key)) {
            return;
        }
        seen.insert(key.clone());
        let list = match taken.get(&key) {
            Some(old) if *old == hash => return,
            Some(_) => &mut found.updates,
            None => &mut found.inserts,
        };
        if list.len() < PAGE_SIZE_MAX as usize {
            list.push(Outgoing { key, hash, json });
        } else {
            found.more = true;
        }
    });
    let operator = operator.await?;
    found.deletes = taken.keys().filter(|key| !seen.contains(*key)).cloned().collect();
    // An EVSE that the hub does not have any more has no status there either.
    if let Some(known) = &known {
        let (there, gone): (Vec<EvseKey>, Vec<EvseKey>) =
            found.deletes.into_iter().partition(|key| known.contains_key(key));
        found.deletes = there;
        if !gone.is_empty() {
            let records = gone.into_iter().map(|key| (key, None)).collect();
            data.acknowledge(Acknowledged {
                party: party.clone(),
                kind: kind.kind(),
                records,
                is_all: false,
            })
            .await?;
        }
    }
    Ok((operator, found))
}

/// Hands out all public records of a party, page by page.
async fn each(
    data: &Data,
    party: &PartyId,
    kind: Pushed,
    mut take: impl FnMut(EvseKey, Digest, String),
) -> Result<Operator, Later> {
    let mut operator = Operator { id: operator_for_display(party.id.as_str()), name: String::new() };
    if kind == Pushed::Status {
        let query = StatusQuery { operators: vec![party.id.clone()], ..StatusQuery::default() };
        for row in data.reader.statuses(query).await.map_err(Data::stored)? {
            let Ok(id) = EvseId::parse(&row.evse_id) else { continue };
            operator = Operator { id: row.operator_id.to_string(), name: row.operator_name.to_string() };
            let mut json = Writer::new();
            json.begin_object().key("EvseID").string(&row.evse_id);
            json.key("EvseStatus").string(&row.status).end_object();
            take(id.key().clone(), Sha256::digest(row.status.as_bytes()).into(), json.finish());
        }
        return Ok(operator);
    }
    let mut as_of: Option<CommitVersion> = None;
    for page in 0.. {
        // Nobody pulls here, so only what everybody sees is read.
        let query = DataQuery {
            operators: vec![party.id.clone()],
            page,
            size: PAGE_SIZE_MAX,
            as_of,
            ..DataQuery::default()
        };
        let answer = data.reader.data_page(query).await.map_err(Data::stored)?;
        as_of = Some(answer.version);
        let count = answer.rows.len();
        for row in answer.rows {
            let Ok(json) = std::str::from_utf8(&row.payload) else { continue };
            operator = Operator { id: row.operator_id.to_string(), name: row.operator_name.to_string() };
            take(row.key, Sha256::digest(&row.payload).into(), json.to_owned());
        }
        if count < PAGE_SIZE_MAX as usize {
            break;
        }
    }
    Ok(operator)
}

fn call_of(kind: Pushed) -> Call {
    match kind {
        Pushed::Data => Call::PushData,
        Pushed::Status => Call::PushStatus,
    }
}

/// A record that is to be deleted; what it has to hold beside its id is not said anywhere (RULES section 2).
fn deleted(key: &EvseKey, kind: Pushed) -> String {
    let mut json = Writer::new();
    json.begin_object().key("EvseID").string(key.as_str());
    if kind == Pushed::Status {
        json.key("EvseStatus").string("Unknown");
    }
    json.end_object();
    json.finish()
}

fn message(kind: Pushed, action: ActionType, operator: &Operator, records: &[Outgoing]) -> String {
    let mut list = Writer::new();
    list.begin_array();
    for record in records {
        list.raw(&record.json);
    }
    list.end_array();
    envelope(kind, action, operator, &list.finish())
}

fn envelope(kind: Pushed, action: ActionType, operator: &Operator, list: &str) -> String {
    let (block, records) = match kind {
        Pushed::Data => ("OperatorEvseData", "EvseDataRecord"),
        Pushed::Status => ("OperatorEvseStatus", "EvseStatusRecord"),
    };
    let mut json = Writer::with_capacity(list.len() + 256);
    json.begin_object().key("ActionType").string(action.as_str()).key(block).begin_object();
    json.key("OperatorID").string(&operator.id);
    let name = if operator.name.is_empty() { &operator.id } else { &operator.name };
    json.key("OperatorName").string(name).key(records).raw(list).end_object().end_object();
    json.finish()
}
