//! Charge detail records: the CPO's backend brings them, the EMP's is given them, and what both nodes hold is compared
//! with what the CPO's backend heard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use bytes::Bytes;
use chargemesh::engine::{BackendAnswer, BackendQuestion, CdrArrival, EngineError};
use chargemesh::identity::hash_of;
use chargemesh::oicp::charging::{ChargeDetailRecord, read_acknowledgement};
use chargemesh::oicp::reading::Reading;
use chargemesh::protocol::{CdrState, Digest};
use chargemesh::roaming::change::StoredCdr;
use chargemesh::storage::CdrFilter;
use futures::future::BoxFuture;

use super::calls::{BEYOND_MS, NEVER, Reach};
use super::play::Play;
use super::stories::Story;
use super::{Charges, Side, State};
use crate::determinism::elapsed;
use crate::world::Host;

/// Records of one node that are read after settling: all that the storage lists.
const LISTED_MAX: u64 = 1_000;

/// The name of the operation in the summary.
const NAME: &str = "ChargeDetailRecord";

/// One charge detail record as the backends know it.
#[derive(Debug)]
pub(super) struct Cdr {
    /// How the EMP's backend behaves when it is given the record first; later it takes it.
    play: Play,
    /// When the CPO's node said 000 first, in milliseconds of virtual time.
    acknowledged_ms: Option<u64>,
    /// How often the EMP's backend was given it.
    given: u32,
    /// How often it was tried to give it to the EMP's backend.
    tries: u32,
    /// What the EMP's backend said last, and its node took.
    said: Option<bool>,
}

impl Charges {
    /// The CPO's backend brings the record of a charge, or brings it again; `other`: with another content.
    ///
    /// # Errors
    /// If the product does not read it: a fault of the simulation.
    pub(super) async fn bring_cdr(
        &self,
        charge: u32,
        other: bool,
        play: Play,
        by: Side,
        reach: Reach,
    ) -> Result<()> {
        let Some((session, body)) = self.cdr_body(charge, other) else {
            self.left_out();
            return Ok(());
        };
        let read = ChargeDetailRecord::parse(&body, Reading::Strict);
        let read = read.map_err(|fault| anyhow::anyhow!("{}: {fault:?}", String::from_utf8_lossy(&body)))?;
        let now_unix_ms = crate::determinism::START_UNIX_S * 1_000 + elapsed().as_millis() as u64;
        let arrival = CdrArrival::new(read, None, now_unix_ms);
        let key = (session, hash_of(&body));
        let new = Cdr { play, acknowledged_ms: None, given: 0, tries: 0, said: None };
        self.state().cdrs.entry(key.clone()).or_insert(new);
        self.trace.event(&format!("call {by:?} {NAME} of {charge}"));
        let (party, begin) = (self.party(by)?, elapsed());
        let asked = reach.engine.charge_detail_record(Some(party), arrival, body, None);
        let answer = tokio::time::timeout(NEVER, asked).await;
        let took_ms = (elapsed() - begin).as_millis() as u64;
        // A node that lives and drops the question does not answer either.
        let is_dropped =
            matches!(answer, Ok(Err(EngineError::Stopped))) && reach.engine.committed().await.is_ok();
        let mut state = self.state();
        let code = match answer {
            _ if is_dropped => {
                state.wrong("every-charge-answered", || format!("the record of charge {charge} was dropped"));
                "dropped".to_owned()
            }
            Err(_) => {
                state.wrong("every-charge-answered", || format!("the record of charge {charge} never was"));
                "never answered".to_owned()
            }
            Ok(Err(EngineError::Stopped)) => {
                state.tally.lost += 1;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(answer)) => {
                let said = read_acknowledgement(&answer.body)?;
                if said.result {
                    let now_ms = elapsed().as_millis() as u64;
                    if let Some(cdr) = state.cdrs.get_mut(&key) {
                        cdr.acknowledged_ms = cdr.acknowledged_ms.or(Some(now_ms));
                    }
                }
                said.status.code.as_str().to_owned()
            }
        };
        // Nobody else is asked before it is acknowledged.
        if took_ms > BEYOND_MS {
            state.wrong("every-charge-answered-in-time", || format!("{NAME} of {charge} took {took_ms} ms"));
        }
        self.trace.event(&format!("answer to {by:?} {NAME} of {charge}: {code}"));
        state.tally.answered(NAME, code, took_ms);
        Ok(())
    }

    fn cdr_body(&self, charge: u32, other: bool) -> Option<(String, Bytes)> {
        let state = self.state();
        let story = state.stories.get(&charge)?;
        let session = story.cpo_session.clone()?;
        // Who refused has nothing to charge for.
        let charged = story.by_card() || story.began.contains(&session);
        charged.then(|| (session.clone(), self.cdr_of(story, &session, other)))
    }

    fn cdr_of(&self, story: &Story, session: &str, other: bool) -> Bytes {
        let (_, evses) = &self.names.operators[story.start.operator as usize];
        let evse = &evses[story.start.evse as usize];
        let (medium, energy) = (self.medium(&story.start), if other { "11.25" } else { "10.5" });
        Bytes::from(format!(
            r#"{{"SessionID":"{session}","EvseID":"{evse}","Identification":{medium},"ChargingStart":"2027-01-15T07:00:00Z","ChargingEnd":"2027-01-15T07:30:00Z","SessionStart":"2027-01-15T07:00:00Z","SessionEnd":"2027-01-15T07:31:00Z","ConsumedEnergy":{energy}}}"#
        ))
    }

    /// The EMP's backend is given a record.
    pub(super) fn given_cdr(
        &self,
        side: Side,
        read: &ChargeDetailRecord,
        question: &BackendQuestion,
    ) -> BoxFuture<'static, BackendAnswer> {
        let key = (read.session_id.as_str().to_owned(), hash_of(&question.body));
        let mut state = self.state();
        self.trace.event(&format!("given {side:?} {NAME}"));
        if matches!(side, Side::Operator(_)) {
            state.wrong("cdrs-at-most-once", || format!("an operator was given {}", key.0));
        }
        let others = state.cdrs.iter().filter(|((session, hash), _)| *session == key.0 && *hash != key.1);
        if others.map(|(_, cdr)| cdr.given).sum::<u32>() > 0 {
            state.wrong("cdrs-at-most-once", || format!("two records of {} were given to {side:?}", key.0));
        }
        let Some(cdr) = state.cdrs.get_mut(&key) else {
            state.wrong("cdrs-at-most-once", || {
                format!("nobody brought what {side:?} was given of {}", key.0)
            });
            return Box::pin(std::future::ready(BackendAnswer::Silent("unknown".to_owned())));
        };
        // The backend behaves so at the first try only.
        let play = if cdr.tries == 0 { cdr.play } else { Play::Yes };
        cdr.tries += 1;
        let heard = play != Play::Off;
        cdr.given += u32::from(heard);
        let since_ms = cdr.acknowledged_ms.filter(|_| heard && cdr.given == 1);
        let (plan, charges) = (play.plan_for_cdr(question.timeout), self.clone());
        if let Some(since_ms) = since_ms {
            let took_ms = elapsed().as_millis() as u64 - since_ms;
            state.tally.cdrs_given_ms.push(took_ms as u32);
        }
        Box::pin(async move {
            tokio::time::sleep(plan.after).await;
            let answers = matches!(plan.answer, BackendAnswer::Answered { http_status: 200, .. });
            if let Some(cdr) = charges.state().cdrs.get_mut(&key).filter(|_| answers && play != Play::Garbage)
            {
                cdr.said = Some(plan.says_yes);
            }
            plan.answer
        })
    }
}

/// All records that nodes hold: sent and received, by session and hash.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    sent: BTreeMap<(String, Digest), StoredCdr>,
    received: BTreeMap<(String, Digest), StoredCdr>,
    doubled: BTreeSet<String>,
}

impl Stored {
    /// The sessions whose record is stored at both nodes.
    pub(super) fn at_both(&self) -> impl Iterator<Item = &str> {
        self.sent.keys().filter(|key| self.received.contains_key(*key)).map(|(session, _)| session.as_str())
    }
}

/// The records of all nodes that run.
///
/// # Errors
/// If storage does not answer.
pub(crate) async fn stored<'h>(hosts: impl Iterator<Item = &'h Host>) -> Result<Stored> {
    let mut all = Stored::default();
    for host in hosts {
        let Some(reader) = host.node().and_then(|node| node.reader()) else { continue };
        let filter = CdrFilter { limit: LISTED_MAX, ..CdrFilter::default() };
        for cdr in reader.listed_cdrs(filter).await? {
            let key = (cdr.session.clone(), cdr.hash);
            let into = if cdr.incoming { &mut all.received } else { &mut all.sent };
            if into.keys().any(|(session, _)| *session == key.0) {
                all.doubled.insert(key.0.clone());
            }
            into.insert(key, cdr);
        }
    }
    Ok(all)
}

/// How many records are in each state at the EMPs' nodes.
pub(crate) fn states(stored: &Stored) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for cdr in stored.received.values() {
        *states.entry(cdr.state.as_str().to_owned()).or_default() += 1;
    }
    states
}

type Check = fn(&Stored, &State) -> Result<(), String>;

const SETTLED: &[(&str, Check)] = &[
    ("cdrs-at-most-once", at_most_once),
    ("cdrs-delivered", delivered),
    ("cdrs-equal-at-both-sides", equal),
    ("cdrs-as-the-backend-said", as_the_backend_said),
];

/// What does not hold of charge detail records after settling.
pub(super) fn settled(stored: &Stored, state: &State) -> Vec<(&'static str, Result<(), String>)> {
    SETTLED.iter().map(|(invariant, check)| (*invariant, check(stored, state))).collect()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// One record of a session at each node, and none that nobody brought.
fn at_most_once(stored: &Stored, state: &State) -> Result<(), String> {
    ensure(stored.doubled.is_empty(), || format!("several records of {:?}", stored.doubled))?;
    for key in stored.received.keys().chain(stored.sent.keys()) {
        ensure(state.cdrs.contains_key(key), || format!("nobody brought the record of {}", key.0))?;
    }
    Ok(())
}

fn state_text(state: Option<CdrState>) -> String {
    state.map_or_else(|| "not there".to_owned(), |state| format!("{state:?}"))
}

fn said_text(said: Option<bool>) -> &'static str {
    match said {
        Some(true) => "yes",
        Some(false) => "no",
        None => "nothing",
    }
}

/// What was acknowledged is at the EMP's node, and its last word, signed, at the CPO's.
fn delivered(stored: &Stored, state: &State) -> Result<(), String> {
    for (key, cdr) in state.cdrs.iter().filter(|(_, cdr)| cdr.acknowledged_ms.is_some()) {
        let (sent, received) = (stored.sent.get(key), stored.received.get(key));
        let is_final = |cdr: Option<&StoredCdr>| {
            cdr.is_some_and(|cdr| {
                matches!(cdr.state, CdrState::Accepted | CdrState::Rejected | CdrState::Kept)
                    && !cdr.record.receipts.is_empty()
                    && !cdr.is_open
            })
        };
        ensure(is_final(sent) && is_final(received), || {
            let receipts = |cdr: Option<&StoredCdr>| cdr.map_or(0, |cdr| cdr.record.receipts.len());
            format!(
                "the acknowledged record of {} is {} with {} receipts at the CPO's node, {} with {} at the EMP's; the \
                 EMP's backend was given it {} times, and said {}",
                key.0,
                state_text(sent.map(|cdr| cdr.state)),
                receipts(sent),
                state_text(received.map(|cdr| cdr.state)),
                receipts(received),
                cdr.given,
                said_text(cdr.said)
            )
        })?;
    }
    Ok(())
}

/// Both sides hold the same set, in the same states.
fn equal(stored: &Stored, _: &State) -> Result<(), String> {
    let states = |cdrs: &BTreeMap<(String, Digest), StoredCdr>| -> BTreeMap<(String, Digest), CdrState> {
        cdrs.iter().map(|(key, cdr)| (key.clone(), cdr.state)).collect()
    };
    let (sent, received) = (states(&stored.sent), states(&stored.received));
    let differs = sent.iter().chain(&received).find(|(key, _)| sent.get(*key) != received.get(*key));
    differs.map_or(Ok(()), |(key, _)| {
        let [sent, received] = [&sent, &received].map(|states| state_text(states.get(key).copied()));
        Err(format!("the record of {} is {sent} at the CPO's node, {received} at the EMP's", key.0))
    })
}

/// Accepted is what the EMP's backend took, rejected what it refused.
fn as_the_backend_said(stored: &Stored, state: &State) -> Result<(), String> {
    for (key, held) in &stored.received {
        let said = state.cdrs.get(key).and_then(|cdr| cdr.said);
        let fits = match held.state {
            CdrState::Accepted => said == Some(true),
            CdrState::Rejected => said == Some(false),
            _ => true,
        };
        ensure(fits, || format!("{} is {:?}, its backend said {}", key.0, held.state, said_text(said)))?;
    }
    Ok(())
}
