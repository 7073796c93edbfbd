//! What became of the calls of a run, and how long they took.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Charges;
use crate::report::{Delivery, delivery};

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Starts of any kind: no more sessions can there be.
    pub(super) starts: u64,
    /// Acts that were left out: the node was down, or there was nothing to stop.
    pub(super) left_out: u64,
    /// The node died before it answered, or who asked hung up.
    pub(super) lost: u64,
    took_ms: BTreeMap<&'static str, Vec<u32>>,
    codes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// From the backend's late yes until the EMP's backend heard of it.
    pub(super) late_told_ms: Vec<u32>,
    /// From the CPO's node's 000 until the EMP's backend had the record.
    pub(super) cdrs_given_ms: Vec<u32>,
    /// The providers that saw each card.
    seen_by: BTreeMap<String, BTreeSet<u32>>,
    /// The providers that were asked in each session that a card began.
    asked_in: BTreeMap<String, BTreeSet<u32>>,
}

/// The calls of one operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperationReport {
    pub(crate) operation: String,
    /// How long answers took, in virtual time.
    pub(crate) took: Delivery,
    /// How often each status code was the answer.
    pub(crate) codes: BTreeMap<String, u64>,
}

/// Who sees the UIDs of cards.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CardsReport {
    /// Cards that were held to a charging point.
    pub(crate) cards: u64,
    /// Questions about them that reached any provider.
    pub(crate) questions: u64,
    /// Providers that were asked about one, in the mean.
    pub(crate) asked_mean: f64,
    /// Providers that have seen a card at all, in the mean over cards ...
    pub(crate) seen_by_mean: f64,
    /// ... and at most.
    pub(crate) seen_by_max: u64,
}

/// The sessions of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SessionsReport {
    pub(crate) operations: Vec<OperationReport>,
    pub(crate) lost: u64,
    pub(crate) left_out: u64,
    /// How many sessions are in each phase at the side that asked, after settling.
    pub(crate) phases: BTreeMap<String, u64>,
    /// Time from the end of the last fault or call until both sides agreed on every session, in seconds;
    /// `None`: never.
    pub(crate) agreed_s: Option<f64>,
    /// From a late yes of a CPO's backend until the EMP's heard of it.
    pub(crate) late_told: Delivery,
    /// From the 000 to a charge detail record until the EMP's backend was given it.
    #[serde(default)]
    pub(crate) cdrs_given: Delivery,
    /// Charge detail records at the EMPs' nodes after settling, by state.
    #[serde(default)]
    pub(crate) cdrs: BTreeMap<String, u64>,
    pub(crate) cards: CardsReport,
}

impl Tally {
    pub(super) fn answered(&mut self, operation: &'static str, code: String, took_ms: u64) {
        self.took_ms.entry(operation).or_default().push(took_ms as u32);
        *self.codes.entry(operation).or_default().entry(code).or_default() += 1;
    }

    pub(super) fn uid_seen(&mut self, uid: String, provider: u32, session: &str) {
        self.seen_by.entry(uid).or_default().insert(provider);
        self.asked_in.entry(session.to_owned()).or_default().insert(provider);
    }

    fn cards(&self) -> CardsReport {
        let mean = |sets: &BTreeMap<String, BTreeSet<u32>>| {
            let all: usize = sets.values().map(BTreeSet::len).sum();
            all as f64 / sets.len().max(1) as f64
        };
        CardsReport {
            cards: self.seen_by.len() as u64,
            questions: self.asked_in.len() as u64,
            asked_mean: mean(&self.asked_in),
            seen_by_mean: mean(&self.seen_by),
            seen_by_max: self.seen_by.values().map(BTreeSet::len).max().unwrap_or(0) as u64,
        }
    }
}

fn sorted(latencies_ms: &[u32]) -> Delivery {
    let mut sorted_ms = latencies_ms.to_vec();
    sorted_ms.sort_unstable();
    delivery(&sorted_ms)
}

impl Charges {
    /// The sessions of a run; `None` if there were none.
    pub(crate) fn report(
        &self,
        phases: BTreeMap<String, u64>,
        cdrs: BTreeMap<String, u64>,
        agreed_s: Option<f64>,
    ) -> Option<SessionsReport> {
        let state = self.state();
        let tally = &state.tally;
        if state.stories.is_empty() {
            return None;
        }
        let operation = |(operation, took_ms): (&&'static str, &Vec<u32>)| OperationReport {
            operation: (*operation).to_owned(),
            took: sorted(took_ms),
            codes: tally.codes.get(operation).cloned().unwrap_or_default(),
        };
        Some(SessionsReport {
            operations: tally.took_ms.iter().map(operation).collect(),
            lost: tally.lost,
            left_out: tally.left_out,
            phases,
            agreed_s,
            late_told: sorted(&tally.late_told_ms),
            cdrs_given: sorted(&tally.cdrs_given_ms),
            cdrs,
            cards: tally.cards(),
        })
    }
}
