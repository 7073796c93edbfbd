//! EVSE data and status: what partners pushed, in memory, and the answers to pulls of it.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Partner;
use super::reply::Reply;
use super::seeds::{SEEDS_PER_OPERATOR, Seeds, Since};
use crate::oicp::conform::{self, DeltaType, PullFields};
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::finding::Fault;
use crate::oicp::id::EvseKey;
use crate::oicp::page::{self, OperatorStatuses, PageRequest};
use crate::oicp::pull::{self, PullEvseData, PullEvseStatus};
use crate::oicp::push::{self, ActionType};
use crate::oicp::reading::Reading;
use crate::oicp::record;
use crate::oicp::status_code::{Code, StatusCode};
use crate::oicp::time::format_ms;

/// Most records that are kept of all operators, those that were deleted included.
pub const EVSES_MAX: usize = 500_000;
/// EvseIDs that a refusal names.
const NAMED_MAX: usize = 20;

/// What partners pushed, and what is made up.
pub(super) struct Records {
    operators: BTreeMap<String, OperatorRecords>,
    pub(super) seeds: Seeds,
}

#[derive(Default)]
struct OperatorRecords {
    id: String,
    name: Option<String>,
    data: BTreeMap<EvseKey, Kept>,
    status: BTreeMap<EvseKey, (Box<str>, EvseStatus)>,
}

/// A record with the times that a delta needs.
struct Kept {
    raw: Box<str>,
    born_ms: i64,
    changed_ms: i64,
    gone_ms: Option<i64>,
}

impl Kept {
    fn is_live(&self) -> bool {
        self.gone_ms.is_none()
    }

    /// The net difference since an instant (RULES section 10).
    fn since(&self, then_ms: i64) -> Option<DeltaType> {
        match self.gone_ms {
            Some(gone) => (gone > then_ms && self.born_ms <= then_ms).then_some(DeltaType::Delete),
            None if self.born_ms > then_ms => Some(DeltaType::Insert),
            None => (self.changed_ms > then_ms).then_some(DeltaType::Update),
        }
    }
}

impl Records {
    pub(super) fn new(seeds: u64, now_ms: i64) -> Records {
        Records { operators: BTreeMap::new(), seeds: Seeds::new(seeds, now_ms) }
    }

    /// The records of an operator as they were pushed, in order of their EvseID.
    pub(super) fn data_of(&self, canonical: &str) -> Vec<String> {
        let found = self.operators.get(canonical).into_iter().flat_map(|operator| operator.data.values());
        found.filter(|kept| kept.is_live()).map(|kept| kept.raw.to_string()).collect()
    }

    /// The status of an EVSE.
    pub(super) fn status_of(&self, key: &EvseKey) -> Option<EvseStatus> {
        let pushed = self.operators.values().find_map(|operator| operator.status.get(key));
        pushed
            .map(|(_, status)| status.clone())
            .or_else(|| self.seeds.number_of(key).map(|number| self.seeds.status(number)))
    }

    /// The record of an EVSE, and whether its operator has any.
    pub(super) fn record_of(&self, operator: &str, key: &EvseKey) -> (Option<&str>, bool) {
        let Some(records) = self.operators.get(operator) else { return (None, false) };
        let record = records.data.get(key).filter(|kept| kept.is_live()).map(|kept| &*kept.raw);
        (record, records.data.values().any(Kept::is_live))
    }

    /// PushEvseData.
    pub(super) fn push_data(&mut self, partner: &Partner, body: &[u8], now_ms: i64) -> Result<Reply, Fault> {
        let pushed = push::read_evse_data(body, Reading::Tolerant)?;
        let keys: Vec<EvseKey> = pushed.records.iter().map(|record| record.summary.key.clone()).collect();
        if let Some(refusal) = wrong_ids(partner, &keys) {
            return Ok(refusal);
        }
        let kept: usize = self.operators.values().map(|operator| operator.data.len()).sum();
        if kept.saturating_add(keys.len()) > EVSES_MAX {
            return Ok(Reply::refused(Code::HubDatabaseError, "the played hub is full"));
        }
        let operator = self.operator(partner, pushed.operator_name);
        let is_live = |key: &EvseKey| operator.data.get(key).is_some_and(Kept::is_live);
        let wrong: Vec<&EvseKey> = match pushed.action {
            ActionType::Insert => keys.iter().filter(|key| is_live(key)).collect(),
            ActionType::Update => keys.iter().filter(|key| !is_live(key)).collect(),
            ActionType::FullLoad | ActionType::Delete => Vec::new(),
        };
        if !wrong.is_empty() {
            return Ok(Reply::refused(Code::DataTransactionError, &named(&wrong)));
        }
        let gone: BTreeSet<EvseKey> = match pushed.action {
            ActionType::Delete => keys.iter().cloned().collect(),
            ActionType::FullLoad => {
                let now: BTreeSet<&EvseKey> = keys.iter().collect();
                operator.data.keys().filter(|key| !now.contains(key)).cloned().collect()
            }
            ActionType::Insert | ActionType::Update => BTreeSet::new(),
        };
        for (key, kept) in operator.data.iter_mut().filter(|(key, kept)| kept.is_live() && gone.contains(key))
        {
            kept.gone_ms = Some(now_ms);
            operator.status.remove(key);
        }
        if pushed.action != ActionType::Delete {
            for record in pushed.records {
                operator.put(record.summary.key, record.raw, now_ms);
            }
        }
        Ok(Reply::done())
    }

    /// PushEvseStatus: of an EVSE without a record it is refused (603); insert and update both set it.
    pub(super) fn push_status(&mut self, partner: &Partner, body: &[u8]) -> Result<Reply, Fault> {
        let pushed = push::read_evse_status(body, Reading::Tolerant)?;
        let keys: Vec<EvseKey> = pushed.records.iter().map(|record| record.key.clone()).collect();
        if let Some(refusal) = wrong_ids(partner, &keys) {
            return Ok(refusal);
        }
        let operator = self.operator(partner, pushed.operator_name);
        let unknown: Vec<&EvseKey> =
            keys.iter().filter(|key| !operator.data.get(*key).is_some_and(Kept::is_live)).collect();
        if !unknown.is_empty() && pushed.action != ActionType::Delete {
            return Ok(Reply::refused(Code::UnknownEvseId, &named(&unknown)));
        }
        if pushed.action == ActionType::FullLoad {
            operator.status.clear();
        }
        for record in pushed.records {
            match pushed.action {
                ActionType::Delete => operator.status.remove(&record.key),
                _ => operator.status.insert(record.key, (record.evse_id, record.status)),
            };
        }
        Ok(Reply::done())
    }

    fn operator(&mut self, partner: &Partner, name: Option<String>) -> &mut OperatorRecords {
        let operator = self.operators.entry(partner.canonical.clone()).or_default();
        operator.id.clone_from(&partner.id);
        operator.name = name.or(operator.name.take());
        operator
    }

    /// PullEvseData: what was pushed, operator by operator, then what is made up.
    pub(super) fn pull_data(&self, body: &[u8], page: PageRequest) -> Result<Reply, Fault> {
        let asked = pull::read_evse_data(body, Reading::Tolerant)?;
        let mut content = Vec::new();
        let mut at = 0_u64;
        let wanted = page.offset()..page.offset().saturating_add(page.size());
        for (canonical, operator) in &self.operators {
            if !asks_for(&asked, canonical) {
                continue;
            }
            for kept in operator.data.values() {
                let Some(delta) = delta_of(&asked, kept) else { continue };
                if !fits(&asked, &kept.raw) {
                    continue;
                }
                if wanted.contains(&at) {
                    content.push(operator.as_pulled(kept, delta, &asked));
                }
                at += 1;
            }
        }
        let total = at + self.pull_seeds(&asked, at, &wanted, &mut content);
        let text = page::write(page, total, &content, &StatusCode::from(Code::Success));
        Ok(Reply::message(text, format!("000 {} of {total} records", content.len())))
    }

    /// Adds those of the page that are made up, of which `before` others come first; gives their number.
    fn pull_seeds(
        &self,
        asked: &PullEvseData,
        before: u64,
        wanted: &std::ops::Range<u64>,
        content: &mut Vec<String>,
    ) -> u64 {
        let plain = asked.country_codes.is_empty()
            && asked.search_center.is_none()
            && asked.authentication_modes.is_empty()
            && asked.accessibility.is_empty();
        if !plain {
            return 0;
        }
        let wanted = wanted.start.saturating_sub(before)..wanted.end.saturating_sub(before);
        let of_operators = asked.operator_ids.iter().map(|id| self.seeds.of_operator(&id.canonical()));
        if let Some(then_ms) = asked.last_call_ms {
            let changed = self.seeds.since(then_ms);
            let page = changed.iter().skip(wanted.start as usize).take((wanted.end - wanted.start) as usize);
            content.extend(page.map(|(number, since)| self.seed(*number, Some(*since), asked)));
            return changed.len() as u64;
        }
        let mut ranges: Vec<_> = of_operators.collect();
        if asked.operator_ids.is_empty() {
            ranges.push(0..self.seeds.count());
        }
        let mut at = 0;
        for range in ranges {
            let length = range.end - range.start;
            let first = range.start + wanted.start.saturating_sub(at).min(length);
            let last = range.start + wanted.end.saturating_sub(at).min(length);
            content.extend((first..last).map(|number| self.seed(number, None, asked)));
            at += length;
        }
        at
    }

    fn seed(&self, number: u64, since: Option<Since>, asked: &PullEvseData) -> String {
        let operator = Seeds::operator(number);
        let fields = PullFields {
            operator_id: &operator,
            operator_name: Some("A made up operator"),
            last_update: &format_ms(self.seeds.changed_ms(number)),
            delta_type: Some(match since {
                None | Some(Since::Inserted) => DeltaType::Insert,
                Some(Since::Updated) => DeltaType::Update,
                Some(Since::Deleted) => DeltaType::Delete,
            }),
            geo_format: asked.geo_format,
        };
        conform::record(&self.seeds.record(number), &fields)
    }

    /// PullEvseStatus by any of its three bodies.
    pub(super) fn pull_status(&self, body: &[u8]) -> Result<Reply, Fault> {
        let (text, count) = match pull::read_evse_status(body, Reading::Tolerant)? {
            PullEvseStatus::ById { evse_ids, .. } => {
                let found = evse_ids.iter().map(|id| {
                    let status = self.status_of(id.key()).unwrap_or(EvseStatus::EvseNotFound);
                    (id.as_str().into(), status)
                });
                let found: Vec<(Box<str>, EvseStatus)> = found.collect();
                (page::write_statuses_by_id(&found), found.len())
            }
            PullEvseStatus::ByOperatorId { operator_ids, .. } => {
                let wanted: BTreeSet<String> = operator_ids.iter().map(|id| id.canonical()).collect();
                self.statuses(|canonical| wanted.contains(canonical), None)
            }
            PullEvseStatus::All { status, .. } => self.statuses(|_| true, status.as_ref()),
        };
        Ok(Reply::message(text, format!("000 {count} statuses")))
    }

    fn statuses(&self, wanted: impl Fn(&str) -> bool, only: Option<&EvseStatus>) -> (String, usize) {
        let fits = |status: &EvseStatus| only.is_none_or(|only| only == status);
        let mut blocks: Vec<OperatorStatuses> = Vec::new();
        for (_, operator) in self.operators.iter().filter(|(canonical, _)| wanted(canonical)) {
            let records = operator.status.values().filter(|(_, status)| fits(status)).cloned().collect();
            blocks.push(OperatorStatuses {
                operator_id: operator.id.clone(),
                operator_name: operator.name.clone(),
                records,
            });
        }
        for first in (0..self.seeds.count()).step_by(SEEDS_PER_OPERATOR as usize) {
            let operator_id = Seeds::operator(first);
            let range = self.seeds.of_operator(&operator_id.replace('*', ""));
            if !wanted(&operator_id.replace('*', "")) {
                continue;
            }
            let records = range.map(|number| (Seeds::evse_id(number).into(), self.seeds.status(number)));
            let records = records.filter(|(_, status)| fits(status)).collect();
            blocks.push(OperatorStatuses { operator_id, operator_name: None, records });
        }
        let count = blocks.iter().map(|block| block.records.len()).sum();
        (page::write_statuses(&blocks), count)
    }
}

impl OperatorRecords {
    fn put(&mut self, key: EvseKey, raw: Box<str>, now_ms: i64) {
        match self.data.get_mut(&key) {
            Some(kept) if kept.is_live() && kept.raw == raw => {}
            Some(kept) => {
                // One that comes again after it was deleted was valid before, so it has changed.
                kept.raw = raw;
                kept.changed_ms = now_ms;
                kept.gone_ms = None;
            }
            None => {
                self.data.insert(key, Kept { raw, born_ms: now_ms, changed_ms: now_ms, gone_ms: None });
            }
        }
    }

    fn as_pulled(&self, kept: &Kept, delta: DeltaType, asked: &PullEvseData) -> String {
        let fields = PullFields {
            operator_id: &self.id,
            operator_name: Some(self.name.as_deref().unwrap_or(&self.id)),
            last_update: &format_ms(kept.gone_ms.unwrap_or(kept.changed_ms)),
            delta_type: Some(delta),
            geo_format: asked.geo_format,
        };
        conform::record(&kept.raw, &fields)
    }
}

fn asks_for(asked: &PullEvseData, canonical: &str) -> bool {
    asked.last_call_ms.is_some()
        || asked.operator_ids.is_empty()
        || asked.operator_ids.iter().any(|id| id.canonical() == canonical)
}

/// How a record stands in this pull; a full one says `insert` of all.
fn delta_of(asked: &PullEvseData, kept: &Kept) -> Option<DeltaType> {
    match asked.last_call_ms {
        Some(then_ms) => kept.since(then_ms),
        None => kept.is_live().then_some(DeltaType::Insert),
    }
}

/// The filters beside operator and time.
fn fits(asked: &PullEvseData, raw: &str) -> bool {
    let none = asked.search_center.is_none()
        && asked.country_codes.is_empty()
        && asked.authentication_modes.is_empty()
        && asked.accessibility.is_empty()
        && asked.calibration_law.is_empty()
        && (asked.renewable_energy, asked.hubject_compatible, asked.open_24_hours) == (None, None, None);
    if none {
        return true;
    }
    let Ok(summary) = record::summarise(raw) else { return false };
    let one_of = |wanted: &[Box<str>], value: Option<&Box<str>>| {
        wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
    };
    let near = asked.search_center.as_ref().is_none_or(|center| {
        summary.position.is_some_and(|at| at.distance_km(center.position) <= center.radius_km)
    });
    near && one_of(&asked.country_codes, summary.country.as_ref())
        && one_of(&asked.accessibility, summary.accessibility.as_ref())
        && one_of(&asked.calibration_law, summary.calibration_law.as_ref())
        && (asked.authentication_modes.is_empty()
            || summary.authentication_modes.iter().any(|mode| asked.authentication_modes.contains(mode)))
        && asked.renewable_energy.is_none_or(|wanted| summary.renewable_energy == Some(wanted))
        && asked.hubject_compatible.is_none_or(|wanted| summary.hubject_compatible == Some(wanted))
        && asked.open_24_hours.is_none_or(|wanted| summary.open_24_hours == Some(wanted))
}

/// 018: foreign, or twice in one push.
fn wrong_ids(partner: &Partner, keys: &[EvseKey]) -> Option<Reply> {
    let foreign: Vec<&EvseKey> = keys.iter().filter(|key| !partner.speaks_for(key.operator())).collect();
    if !foreign.is_empty() {
        return Some(Reply::refused(Code::InconsistentEvseId, &named(&foreign)));
    }
    let mut seen = BTreeSet::new();
    let twice: Vec<&EvseKey> = keys.iter().filter(|key| !seen.insert(*key)).collect();
    let said = || format!("Duplicate EVSE IDs: {}", named(&twice));
    (!twice.is_empty()).then(|| Reply::refused(Code::InconsistentEvseId, &said()))
}

fn named(keys: &[&EvseKey]) -> String {
    keys.iter().take(NAMED_MAX).map(|key| key.as_str()).collect::<Vec<_>>().join(", ")
}
