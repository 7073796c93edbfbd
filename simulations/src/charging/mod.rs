//! Sessions: drivers who charge, and the backends of both sides, which answer, refuse, are slow, silent or die.
//! What they did is remembered here, and compared with what the nodes hold.

mod backends;
mod calls;
pub(crate) mod cdrs;
mod contracts;
mod draw;
pub(crate) mod invariants;
mod play;
mod stories;
mod summary;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chargemesh::engine::SessionOperation;
use chargemesh::protocol::Digest;

pub(crate) use backends::SimulatedBackends;
pub(crate) use calls::Reach;
use cdrs::Cdr;
pub(crate) use contracts::settle;
pub(crate) use draw::{AWAY_AFTER_MS, Notice, Start, draw};
pub(crate) use play::Play;
use stories::{Marker, Story};
pub(crate) use summary::SessionsReport;
use summary::Tally;

use crate::operators::Operator;
use crate::people::provider_id;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// Whose backend, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Operator(u32),
    Provider(u32),
}

/// The sides of all who take part, as backends spell them.
#[derive(Debug)]
struct Names {
    /// OperatorID, and the EvseIDs.
    operators: Vec<(String, Vec<String>)>,
    /// ProviderID.
    providers: Vec<String>,
}

/// What was found wrong while it ran, by invariant: the first of each.
pub(crate) type Wrong = BTreeMap<&'static str, String>;

#[derive(Debug, Default)]
struct State {
    stories: BTreeMap<u32, Story>,
    /// Questions that a backend was asked, so that none comes twice: whose, what, in which session, by which call.
    asked: BTreeMap<(Side, SessionOperation, String, Option<Marker>), u32>,
    /// Charge detail records, by session and hash.
    cdrs: BTreeMap<(String, Digest), Cdr>,
    wrong: Wrong,
    tally: Tally,
}

/// All sessions of a run; a cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Charges {
    names: Arc<Names>,
    /// How long a backend waits for each operation, in milliseconds.
    settings: Arc<chargemesh::roaming::ChargingConfig>,
    state: Arc<Mutex<State>>,
    trace: Trace,
}

impl Charges {
    /// Nobody charges yet.
    ///
    /// # Errors
    /// If the scenario's settings are not the product's.
    pub(crate) fn new(scenario: &Scenario, operators: &[Operator], trace: Trace) -> anyhow::Result<Charges> {
        let evses = |operator: &Operator| operator.evses.iter().map(|evse| evse.evse_id.clone()).collect();
        let names = Names {
            operators: operators.iter().map(|operator| (operator.id.clone(), evses(operator))).collect(),
            providers: (0..scenario.nodes.emp).map(provider_id).collect(),
        };
        let settings = scenario.charging.clone().try_into()?;
        Ok(Charges { names: Arc::new(names), settings: Arc::new(settings), state: Arc::default(), trace })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found wrong so far, and how many sessions may have begun.
    pub(crate) fn seen(&self) -> (Wrong, u64) {
        let state = self.state();
        (state.wrong.clone(), state.tally.starts)
    }

    /// How long a backend waits, in milliseconds.
    fn deadline_ms(&self, operation: SessionOperation) -> u64 {
        match operation {
            SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop => self.settings.authorize_ms,
            SessionOperation::Notification => self.settings.notification_ms,
            _ => self.settings.remote_ms,
        }
    }
}

impl State {
    fn wrong(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        self.wrong.entry(invariant).or_insert_with(what);
    }
}
