//! What operators do and which nodes are killed: drawn before the run.

use anyhow::Result;
use chargemesh::identity::Role;
use chargemesh::oicp::pricing::PushPrices;
use chargemesh::oicp::push::{read_evse_data, read_evse_status};
use chargemesh::oicp::reading::Reading;
use chargemesh::protocol::{FeedId, Kind};
use chargemesh::roaming::{CallId, Input, OurParty};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::queue::Node;
use super::{LOAD_AT_MS, LOADED_AT_MS, Settings};
use crate::backend::Push;
use crate::determinism::START_UNIX_S;
use crate::operators::{Operator, made_up};
use crate::people::{identity, party, party_text};
use crate::reference::{Change, Reference};
use crate::schedule::STATUSES;

/// How long a killed node is down, in milliseconds.
const DOWN_MS: (u64, u64) = (2_000, 8_000);

/// Every so many kills the disk is lost too.
const DISK_LOST_EVERY: u32 = 4;

/// Charging points that one push is about at most.
const EVSES_PER_PUSH_MAX: u64 = 3;

/// An operator and its backend.
pub(super) struct Publisher {
    pub(super) operator: Operator,
    /// Its party, at the node of its own number.
    pub(super) ours: OurParty,
    /// The push that is not answered yet: they go one after the other.
    pub(super) waiting: Option<(CallId, Vec<Change>)>,
    calls: u64,
}

/// What an operator does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    LoadData,
    LoadStatus,
    Status,
    Update,
    Delete,
    Insert,
}

/// One deed.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) at_ms: u64,
    pub(super) operator: u32,
    deed: Deed,
    evses: Vec<usize>,
    /// New version of records, or the new status.
    version: u32,
}

/// A node is killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) node: Node,
    pub(super) at_ms: u64,
    pub(super) until_ms: u64,
    pub(super) disk_lost: bool,
}

/// All operators.
///
/// # Errors
/// If an identity does not hold: a fault of the simulation.
pub(super) fn publishers(settings: &Settings) -> Result<Vec<Publisher>> {
    let operators = made_up(settings.operators, settings.evses)?;
    let publisher = |(number, mut operator): (usize, Operator)| {
        operator.evses.sort_by(|a, b| a.key.cmp(&b.key));
        let node = number as Node;
        let party = party(&party_text(Role::Cpo, &operator.id), node)?;
        let ours = identity(node, Some(&party), START_UNIX_S)?.parties.into_iter().next();
        let ours = ours.ok_or_else(|| anyhow::anyhow!("no party"))?;
        Ok(Publisher { operator, ours, waiting: None, calls: 0 })
    };
    operators.into_iter().enumerate().map(publisher).collect()
}

impl Publisher {
    /// Its feeds, of data and of status.
    pub(super) fn feeds(&self) -> [FeedId; 2] {
        [Kind::Data, Kind::Status].map(|kind| FeedId::public(self.ours.party.clone(), kind))
    }

    /// The call that a deed means now, if it means any and no other is under way.
    ///
    /// # Errors
    /// If the push is not what the product reads: a fault of the simulation.
    pub(super) fn call(&mut self, act: &Act, reference: &Reference) -> Result<Option<Input>> {
        if self.waiting.is_some() {
            return Ok(None);
        }
        let there = |kind: Kind, evse: &usize| {
            reference.published().contains_key(&(kind, self.operator.evses[*evse].key.clone()))
        };
        let evses = |wanted: &dyn Fn(&usize) -> bool| -> Vec<usize> {
            act.evses.iter().copied().filter(|evse| wanted(evse)).collect()
        };
        let records = |evses: Vec<usize>| evses.into_iter().map(|evse| (evse, act.version)).collect();
        let status = act.version as usize % STATUSES.len();
        let statuses = |evses: Vec<usize>| evses.into_iter().map(|evse| (evse, status)).collect();
        let data = |evse: &usize| there(Kind::Data, evse);
        let all = 0..self.operator.evses.len();
        let push = match act.deed {
            Deed::LoadData => Push::Data { action: "fullLoad", records: all.map(|evse| (evse, 0)).collect() },
            Deed::LoadStatus => {
                let statuses = all.map(|evse| (evse, evse % STATUSES.len())).collect();
                Push::Status { action: "fullLoad", statuses }
            }
            // A status goes with its data, and comes back as a new one.
            Deed::Status if act.evses.iter().any(|evse| data(evse) && !there(Kind::Status, evse)) => {
                let new = evses(&|evse| data(evse) && !there(Kind::Status, evse));
                Push::Status { action: "insert", statuses: statuses(new) }
            }
            Deed::Status => Push::Status { action: "update", statuses: statuses(evses(&data)) },
            Deed::Update => Push::Data { action: "update", records: records(evses(&data)) },
            Deed::Delete => Push::Data { action: "delete", records: records(evses(&data)) },
            Deed::Insert => Push::Data { action: "insert", records: records(evses(&|evse| !data(evse))) },
        };
        self.input(&push)
    }

    fn input(&mut self, push: &Push) -> Result<Option<Input>> {
        let (kind, changes, body) = push.message(&self.operator);
        if changes.is_empty() {
            return Ok(None);
        }
        self.calls += 1;
        let (call, party) = (CallId(self.calls), self.ours.party.clone());
        self.waiting = Some((call, changes));
        let fault = |fault| anyhow::anyhow!("{fault:?}");
        Ok(Some(match kind {
            Kind::Data => {
                let push = read_evse_data(&body, Reading::Tolerant).map_err(fault)?;
                Input::PushData { call, party, push, body }
            }
            Kind::Status => {
                let push = read_evse_status(&body, Reading::Tolerant).map_err(fault)?;
                Input::PushStatus { call, party, push, body }
            }
            Kind::Pricing => {
                let push = PushPrices::read(&body, Reading::Tolerant).map_err(fault)?;
                Input::PushPrices { call, party, push, body }
            }
        }))
    }
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit.max(1)
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }
}

/// What operators do, in the order of time.
pub(super) fn acts(settings: &Settings, publishers: &[Publisher]) -> Vec<Act> {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(settings.seed ^ 0x0ac7_5000));
    let mut acts = Vec::new();
    for operator in 0..settings.operators {
        let at_ms = LOAD_AT_MS + draw.below(1_000);
        for (after_ms, deed) in [(0, Deed::LoadData), (1_000, Deed::LoadStatus)] {
            acts.push(Act { at_ms: at_ms + after_ms, operator, deed, evses: Vec::new(), version: 0 });
        }
    }
    let span_ms = settings.quiet_from_ms().saturating_sub(LOADED_AT_MS);
    let count = (settings.pushes_per_s * span_ms as f64 / 1_000.0).round() as u32;
    for version in 1..=count {
        let operator = draw.below(settings.operators.into()) as u32;
        let has = publishers[operator as usize].operator.evses.len() as u64;
        let mut evses: Vec<usize> =
            (0..draw.between(1, EVSES_PER_PUSH_MAX + 1)).map(|_| draw.below(has) as usize).collect();
        evses.sort_unstable();
        evses.dedup();
        let deed = match draw.below(20) {
            0 => Deed::Update,
            1 => Deed::Delete,
            2 => Deed::Insert,
            _ => Deed::Status,
        };
        let at_ms = LOADED_AT_MS + draw.below(span_ms);
        if has > 0 {
            acts.push(Act { at_ms, operator, deed, evses, version });
        }
    }
    acts.sort_by_key(|act| act.at_ms);
    acts
}

/// Which nodes are killed, each once at most.
pub(super) fn kills(settings: &Settings) -> Vec<Kill> {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(settings.seed ^ 0xdead_0000));
    let count = (f64::from(settings.nodes) * settings.churn / 100.0).round() as usize;
    let mut nodes: Vec<Node> = (0..settings.nodes).collect();
    let last_ms = settings.quiet_from_ms().saturating_sub(DOWN_MS.1).max(LOADED_AT_MS + 1);
    let mut kills = Vec::new();
    for index in 0..count.min(nodes.len()) {
        let other = draw.between(index as u64, nodes.len() as u64) as usize;
        nodes.swap(index, other);
        let node = nodes[index];
        let at_ms = draw.between(LOADED_AT_MS, last_ms);
        let until_ms = at_ms + draw.between(DOWN_MS.0, DOWN_MS.1);
        // What a writer said last may be on its own disk alone.
        let disk_lost = draw.below(DISK_LOST_EVERY.into()) == 0 && node >= settings.operators;
        kills.push(Kill { node, at_ms, until_ms, disk_lost });
    }
    kills
}
