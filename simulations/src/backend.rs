//! Operators' backends: they push what the schedule says, one push of an operator after another, and remember
//! what they were told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use chargemesh::engine::{Engine, EngineError, PushOutcome};
use chargemesh::identity::PartyId;
use chargemesh::oicp::pricing::PushPrices;
use chargemesh::oicp::push::{read_evse_data, read_evse_status};
use chargemesh::oicp::reading::Reading;
use chargemesh::protocol::{Digest, Kind};
use sha2::{Digest as _, Sha256};

use crate::operators::{Evse, Operator};
use crate::reference::{Change, Reference};
use crate::schedule::{Act, STATUSES};
use crate::trace::Trace;

/// Time in which a node that lives must have answered.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// What became of the calls.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Calls {
    /// Calls made.
    pub(crate) made: u64,
    /// Acknowledged with 000.
    pub(crate) acknowledged: u64,
    /// Answered otherwise.
    pub(crate) refused: u64,
    /// The node died before it answered.
    pub(crate) lost: u64,
    /// Pushes that were left out because the node was down, or nothing was to be done.
    pub(crate) left_out: u64,
    /// A node that lived gave no answer in time.
    pub(crate) unanswered: u64,
}

/// What all backends together know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) reference: Reference,
    pub(crate) calls: Calls,
    /// The first push that was refused although its operator lost none before, and why.
    pub(crate) refusal: Option<String>,
    /// Operators that lost a push: they do not know what is published, and may ask for what cannot be.
    doubtful: BTreeSet<PartyId>,
    /// Everything that was ever pushed: nothing else may be anywhere.
    pub(crate) said: BTreeSet<(Kind, String, Digest)>,
}

/// One operator's backend.
pub(crate) struct Backend {
    operator: Operator,
    party: PartyId,
    known: Arc<Mutex<Known>>,
    trace: Trace,
    /// Its pushes go one after the other.
    lane: tokio::sync::Mutex<()>,
}

/// What a backend says: charging points by their place among the operator's.
pub(crate) enum Push {
    /// Records of these versions.
    Data { action: &'static str, records: Vec<(usize, u32)> },
    /// Statuses by their place in [`STATUSES`].
    Status { action: &'static str, statuses: Vec<(usize, usize)> },
}

impl Backend {
    pub(crate) fn new(operator: Operator, party: PartyId, known: Arc<Mutex<Known>>, trace: Trace) -> Backend {
        Backend { operator, party, known, trace, lane: tokio::sync::Mutex::default() }
    }

    /// The operator's charging points.
    pub(crate) fn evses(&self) -> &[Evse] {
        &self.operator.evses
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes everything for the first time. Whether the node took it, [`Calls`] says.
    ///
    /// # Errors
    /// If a push is not what the product reads: a fault of the simulation.
    pub(crate) async fn load(&self, engine: Engine) -> Result<()> {
        let all = || 0..self.operator.evses.len();
        let data = Push::Data { action: "fullLoad", records: all().map(|evse| (evse, 0)).collect() };
        self.call(Some(engine.clone()), data).await?;
        let statuses = all().map(|evse| (evse, evse % STATUSES.len())).collect();
        self.call(Some(engine), Push::Status { action: "fullLoad", statuses }).await
    }

    /// Does what the schedule says. `engine` is asked for when it is this push's turn.
    ///
    /// # Errors
    /// If a push is not what the product reads: a fault of the simulation.
    pub(crate) async fn act(&self, act: &Act, engine: impl Fn() -> Option<Engine>) -> Result<()> {
        let _turn = self.lane.lock().await;
        let published = |kind: Kind, evse: u32| {
            let key = (kind, self.operator.evses[evse as usize].key.clone());
            self.known().reference.published().contains_key(&key)
        };
        let versions = |evses: &[u32], version: u32, there: bool| -> Vec<(usize, u32)> {
            let fit = evses.iter().filter(|evse| published(Kind::Data, **evse) == there);
            fit.map(|evse| (*evse as usize, version)).collect()
        };
        let push = match act {
            Act::Status { changes, .. } => {
                // A status goes with its data, and comes back as a new one.
                let there = changes.iter().filter(|(evse, _)| published(Kind::Data, *evse));
                let (known, new): (Vec<_>, Vec<_>) = there
                    .map(|(evse, status)| (*evse as usize, *status))
                    .partition(|(evse, _)| published(Kind::Status, *evse as u32));
                if !new.is_empty() {
                    self.call(engine(), Push::Status { action: "insert", statuses: new }).await?;
                }
                Push::Status { action: "update", statuses: known }
            }
            Act::Update { evses, version, .. } => {
                Push::Data { action: "update", records: versions(evses, *version, true) }
            }
            Act::Insert { evses, version, .. } => {
                Push::Data { action: "insert", records: versions(evses, *version, false) }
            }
            Act::Delete { evses, .. } => Push::Data { action: "delete", records: versions(evses, 0, true) },
            _ => return Ok(()),
        };
        self.call(engine(), push).await
    }

    async fn call(&self, engine: Option<Engine>, push: Push) -> Result<()> {
        let (kind, changes, body) = push.message(&self.operator);
        let Some(engine) = engine.filter(|_| !changes.is_empty()) else {
            self.known().calls.left_out += 1;
            return Ok(());
        };
        self.say(&changes);
        let party = self.party.clone();
        let answer = match kind {
            Kind::Data => {
                let push = read_evse_data(&body, Reading::Tolerant);
                let push = push.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
                tokio::time::timeout(ANSWER_DEADLINE, engine.push_data(party, push, body)).await
            }
            Kind::Status => {
                let push = read_evse_status(&body, Reading::Tolerant);
                let push = push.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
                tokio::time::timeout(ANSWER_DEADLINE, engine.push_status(party, push, body)).await
            }
            Kind::Pricing => {
                let push = PushPrices::read(&body, Reading::Tolerant);
                let push = push.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
                tokio::time::timeout(ANSWER_DEADLINE, engine.push_prices(party, push, body)).await
            }
        };
        match answer {
            // A node that lives has dropped the question.
            Ok(Err(EngineError::Stopped)) if engine.committed().await.is_ok() => self.unanswered(),
            Ok(answer) => self.answered(changes, answer),
            Err(_) => self.unanswered(),
        }
        Ok(())
    }

    fn unanswered(&self) {
        let mut known = self.known();
        known.calls.unanswered += 1;
        known.doubtful.insert(self.party.clone());
    }

    fn answered(&self, changes: Vec<Change>, answer: Result<PushOutcome, EngineError>) {
        let mut known = self.known();
        let text = match answer {
            Ok(PushOutcome { result: true, .. }) => {
                known.calls.acknowledged += 1;
                known.reference.acknowledged(changes);
                "acknowledged"
            }
            refusal @ (Ok(_) | Err(EngineError::Busy | EngineError::Storage(_) | EngineError::Reload(_))) => {
                known.calls.refused += 1;
                if !known.doubtful.contains(&self.party) {
                    known.refusal.get_or_insert_with(|| format!("{}: {refusal:?}", self.party));
                }
                "refused"
            }
            Err(EngineError::Stopped) => {
                known.calls.lost += 1;
                known.doubtful.insert(self.party.clone());
                known.reference.lost(changes);
                "lost"
            }
        };
        drop(known);
        self.trace.event(&format!("{} {text}", self.party));
    }

    fn say(&self, changes: &[Change]) {
        let mut known = self.known();
        known.calls.made += 1;
        for (kind, key, value) in changes {
            if let Some(value) = value {
                known.said.insert((*kind, key.as_str().to_owned(), Sha256::digest(value).into()));
            }
        }
    }
}

impl Push {
    /// The push as an OICP message, and what it does.
    pub(crate) fn message(&self, operator: &Operator) -> (Kind, Vec<Change>, Bytes) {
        let evses = &operator.evses;
        let (kind, action, changes) = match self {
            Push::Data { action, records } => {
                let gone = *action == "delete";
                let change = |(evse, version): &(usize, u32)| {
                    let key = evses[*evse].key.clone();
                    let data = (!gone).then(|| evses[*evse].record(*version));
                    let status = gone.then(|| (Kind::Status, key.clone(), None));
                    [Some((Kind::Data, key, data)), status]
                };
                let changes = records.iter().flat_map(change).flatten();
                (Kind::Data, action, changes.collect::<Vec<Change>>())
            }
            Push::Status { action, statuses } => {
                let change = |(evse, status): &(usize, usize)| {
                    let value = Bytes::from_static(STATUSES[*status].as_bytes());
                    (Kind::Status, evses[*evse].key.clone(), Some(value))
                };
                (Kind::Status, action, statuses.iter().map(change).collect())
            }
        };
        let records: Vec<String> = match self {
            Push::Data { records, .. } => records
                .iter()
                .map(|(evse, version)| String::from_utf8_lossy(&evses[*evse].record(*version)).into_owned())
                .collect(),
            Push::Status { statuses, .. } => statuses
                .iter()
                .map(|(evse, status)| {
                    format!(r#"{{"EvseID":"{}","EvseStatus":"{}"}}"#, evses[*evse].evse_id, STATUSES[*status])
                })
                .collect(),
        };
        let (block, list) = match kind {
            Kind::Data => ("OperatorEvseData", "EvseDataRecord"),
            Kind::Status | Kind::Pricing => ("OperatorEvseStatus", "EvseStatusRecord"),
        };
        let (id, records) = (&operator.id, records.join(","));
        let body = format!(
            r#"{{"ActionType":"{action}","{block}":{{"OperatorID":"{id}","OperatorName":"Operator","{list}":[{records}]}}}}"#
        );
        (kind, changes, Bytes::from(body))
    }
}
