//! The backends that nodes ask: each remembers what it is asked and does what the schedule says.

use std::time::Duration;

use chargemesh::engine::{
    BackendAnswer, BackendOperation, BackendQuestion, Backends, ChargeRequest, SessionOperation,
};
use chargemesh::oicp::charging::{ChargeDetailRecord, Identification};
use chargemesh::oicp::reading::Reading;
use futures::future::BoxFuture;

use super::play::{Plan, Play};
use super::stories::{Marker, markers_of};
use super::{Charges, Side, State};
use crate::determinism::elapsed;

/// The backend of one node's party, in one life of that node.
pub(crate) struct SimulatedBackends {
    pub(crate) charges: Charges,
    pub(crate) side: Side,
}

/// A question that a backend thinks about. It ends when it is answered, or the node that asked is gone.
struct Thinking {
    charges: Charges,
    charge: u32,
    session: String,
}

impl Drop for Thinking {
    fn drop(&mut self) {
        if let Some(story) = self.charges.state().stories.get_mut(&self.charge) {
            story.pending.remove(&self.session);
        }
    }
}

/// What is known of a question when it comes.
struct Known {
    operation: SessionOperation,
    session: String,
    marker: Option<Marker>,
    /// Whether it is the node's own word that a start succeeded late.
    late_notice: bool,
}

impl Backends for SimulatedBackends {
    fn ask(&self, question: BackendQuestion) -> BoxFuture<'static, BackendAnswer> {
        let not_understood = |what: &str| -> BoxFuture<'static, BackendAnswer> {
            self.charges.state().wrong("backends-understand", || what.to_owned());
            Box::pin(std::future::ready(BackendAnswer::Silent("not understood".to_owned())))
        };
        let BackendOperation::Session(operation) = question.operation else {
            return match ChargeDetailRecord::parse(&question.body, Reading::Tolerant) {
                Ok(cdr) => self.charges.given_cdr(self.side, &cdr, &question),
                Err(_) => not_understood("a charge detail record"),
            };
        };
        let Ok(request) = ChargeRequest::parse(operation, &question.body, Reading::Tolerant) else {
            return not_understood(operation.as_str());
        };
        let known = Known::of(operation, &request, self.side);
        let (plan, thinking) = self.heard(&known, &request, question.timeout);
        let (charges, side) = (self.charges.clone(), self.side);
        Box::pin(async move {
            tokio::time::sleep(plan.after).await;
            charges.answers(&known, side, &plan);
            drop(thinking);
            plan.answer
        })
    }
}

impl Known {
    fn of(operation: SessionOperation, request: &ChargeRequest, side: Side) -> Known {
        let session = request.session().map(|id| id.as_str().to_owned()).unwrap_or_default();
        let (cpo, emp) = markers_of(request);
        // Who asks marks its calls; a node's own word carries the marker of the start.
        let marker = if matches!(side, Side::Provider(_)) { cpo.or(emp) } else { emp.or(cpo) };
        let late_notice = operation == SessionOperation::Notification && cpo.is_none();
        Known { operation, session, marker, late_notice }
    }
}

impl SimulatedBackends {
    fn heard(&self, known: &Known, request: &ChargeRequest, patience: Duration) -> (Plan, Option<Thinking>) {
        let Known { operation, session, marker, late_notice } = known;
        let mut state = self.charges.state();
        self.charges.trace.event(&format!("asked {:?} {} {marker:?}", self.side, operation.as_str()));
        let provider = match self.side {
            Side::Provider(number) => self.charges.names.providers[number as usize].clone(),
            Side::Operator(_) => String::new(),
        };
        let plan = |play: Play| play.plan(*operation, &provider, patience);
        let Some(story) = marker.and_then(|(charge, _)| state.stories.get_mut(&charge)) else {
            return (plan(Play::No), None);
        };
        if *operation == SessionOperation::AuthorizeStart {
            let play = story.play_about_card(self.side, *marker);
            if let (Side::Provider(number), Some(uid)) = (self.side, request.identification().and_then(uid)) {
                state.tally.uid_seen(uid, number, session);
            }
            self.count(&mut state, known, play);
            return (plan(play), None);
        }
        let play = marker.and_then(|(_, call)| story.plays.get(&call).copied()).unwrap_or(Play::Yes);
        let charge = story.start.charge;
        let mut thinking = None;
        match operation {
            // It hears nothing.
            _ if play == Play::Off => {}
            SessionOperation::RemoteStart | SessionOperation::ReservationStart => {
                story.cpo_session = Some(session.clone());
                if play != Play::No {
                    story.began.insert(session.clone());
                }
                let other = story.pending.iter().find(|other| *other != session).cloned();
                story.pending.insert(session.clone());
                thinking = Some(Thinking { charges: self.charges.clone(), charge, session: session.clone() });
                if let Some(other) = other {
                    state.wrong("no-backend-asked-twice", || {
                        format!("charge {charge} is to be started as {session} while {other} is open")
                    });
                }
            }
            SessionOperation::RemoteStop | SessionOperation::ReservationStop => {
                story.stopped.insert(session.clone());
            }
            _ => {}
        }
        // A word of the node's own meets a backend that listens.
        let play = if *late_notice { Play::Yes } else { play };
        self.count(&mut state, known, play);
        (plan(play), thinking)
    }

    /// No question comes twice, unless nobody heard it the first time.
    fn count(&self, state: &mut State, known: &Known, play: Play) {
        let Known { operation, session, marker, late_notice } = known;
        if *late_notice || play == Play::Off {
            return;
        }
        let times = state.asked.entry((self.side, *operation, session.clone(), *marker)).or_insert(0);
        *times += 1;
        if *times > 1 {
            let (side, times) = (self.side, *times);
            state.wrong("no-backend-asked-twice", || {
                let of = marker
                    .map_or_else(String::new, |(charge, call)| format!(", call {call} of charge {charge}"));
                format!("{side:?} was asked {times} times: {} in {session}{of}", operation.as_str())
            });
        }
    }
}

impl Charges {
    /// A backend has made up its mind, and its node takes the answer.
    fn answers(&self, known: &Known, side: Side, plan: &Plan) {
        let mut state = self.state();
        let now_ms = elapsed().as_millis() as u64;
        let Some(story) = known.marker.and_then(|(charge, _)| state.stories.get_mut(&charge)) else { return };
        let session = known.session.clone();
        let mut told_after_ms = None;
        match (known.operation, side) {
            (SessionOperation::RemoteStart | SessionOperation::ReservationStart, _) if plan.says_yes => {
                story.said_yes.insert(session, now_ms);
            }
            (SessionOperation::Notification, Side::Provider(_)) if plan.says_yes => {
                if known.late_notice {
                    told_after_ms = story.said_yes.get(&session).map(|at_ms| now_ms.saturating_sub(*at_ms));
                }
                story.emp_session = Some(session.clone());
                story.emp_knows.insert(session);
            }
            _ => {}
        }
        if let Some(ms) = told_after_ms {
            state.tally.late_told_ms.push(ms as u32);
        }
    }
}

impl super::stories::Story {
    /// How a provider's backend behaves that is asked about the card of this charge.
    fn play_about_card(&self, side: Side, marker: Option<Marker>) -> Play {
        let Side::Provider(number) = side else { return Play::No };
        if number == self.start.provider {
            let play = marker.and_then(|(_, call)| self.plays.get(&call).copied());
            return play.unwrap_or(Play::No);
        }
        if self.start.other == Some(number) { Play::Yes } else { Play::No }
    }
}

fn uid(identification: &Identification) -> Option<String> {
    match identification {
        Identification::MifareFamily { uid } | Identification::Rfid { uid, .. } => {
            Some(uid.expose().to_owned())
        }
        _ => None,
    }
}
