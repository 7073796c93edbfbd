//! What backends ask of their nodes in the course of a charge, and what they hear.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use chargemesh::engine::{
    AuthenticationPush, ChargeRequest, Engine, EngineError, EvseSeen, HttpAnswer, SessionOperation,
};
use chargemesh::identity::{PartyId, Role};
use chargemesh::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, PushAuthenticationData, read_acknowledgement,
};
use chargemesh::oicp::reading::Reading;
use chargemesh::storage::Reader;

use super::draw::{How, Notice, Start};
use super::stories::{Marker, Story, marker_text};
use super::{Charges, Side, State};
use crate::determinism::elapsed;
use crate::people::party_text;
use crate::schedule::Act;

/// What a call may take beyond the time that the settings name: the way, and how exactly it is timed.
pub(super) const BEYOND_MS: u64 = 1_500;

/// A node that says nothing for so long never will.
pub(super) const NEVER: Duration = Duration::from_secs(300);

/// When nodes write their times: the sessions of a run are all of one day.
const DAY: &str = "2027-01-15T08:00:00Z";

/// A session that nobody has.
fn strange_session(charge: u32) -> String {
    format!("00000000-0000-4000-8000-{charge:012}")
}

/// In lower case, as some charging points send it.
fn uid_of(provider: u32, card: u32) -> String {
    format!("{:08x}", provider << 16 | card)
}

/// Through what a backend reaches its node.
pub(crate) struct Reach {
    pub(crate) engine: Engine,
    pub(crate) reader: Reader,
}

/// One call of a backend.
struct Call {
    by: Side,
    charge: u32,
    operation: SessionOperation,
    body: String,
    /// Whether it names a session that is not the caller's.
    stranger: bool,
    /// How long it waits, if less than its node does.
    hangs_up: Option<Duration>,
}

impl Charges {
    /// Whose backend acts, if it is one of ours to act. Remembers what the schedule says on the way.
    pub(crate) fn side_of(&self, act: &Act) -> Option<Side> {
        let mut state = self.state();
        if let Act::Start(start) = act {
            state.stories.insert(start.charge, Story::new(start.clone()));
        }
        let (Act::Start(Start { charge, .. })
        | Act::Again { charge }
        | Act::Stop { charge, .. }
        | Act::Notify { charge, .. }
        | Act::Cdr { charge, .. }) = act
        else {
            return None;
        };
        let story = state.stories.get(charge)?;
        let by_operator = story.by_card() || matches!(act, Act::Notify { .. } | Act::Cdr { .. });
        Some(match by_operator {
            true => Side::Operator(story.start.operator),
            false => Side::Provider(story.start.provider),
        })
    }

    /// The node is down, or there is nothing to be done.
    pub(crate) fn left_out(&self) {
        self.state().tally.left_out += 1;
    }

    /// Does what the schedule says, and waits for the answer.
    ///
    /// # Errors
    /// If the product does not read what is said: a fault of the simulation.
    pub(crate) async fn call(&self, act: &Act, by: Side, reach: Reach) -> Result<()> {
        if let Act::Cdr { charge, other, play } = act {
            return self.bring_cdr(*charge, *other, *play, by, reach).await;
        }
        let Some(call) = self.prepared(act, by) else {
            self.left_out();
            return Ok(());
        };
        let body = Bytes::from(call.body.clone());
        let request = ChargeRequest::parse(call.operation, &body, Reading::Strict);
        let request = request.map_err(|fault| anyhow::anyhow!("{}: {fault:?}", call.body))?;
        // As the facade does it.
        let is_remote = matches!(
            call.operation,
            SessionOperation::RemoteStart
                | SessionOperation::RemoteStop
                | SessionOperation::ReservationStart
                | SessionOperation::ReservationStop
        );
        let party = self.party(by)?;
        let evse = match request.evse().filter(|_| is_remote) {
            Some(evse) => reach.reader.data_record(evse.key().clone(), Some(party.clone())).await?,
            None => None,
        };
        let evse = evse.map(|_| EvseSeen { compatible: true });
        self.trace.event(&format!("call {by:?} {} of {}", call.operation.as_str(), call.charge));
        let begin = elapsed();
        let patience = call.hangs_up.unwrap_or(NEVER);
        let answer = tokio::time::timeout(patience, reach.engine.charge(party, request, body, evse)).await;
        let is_dropped =
            matches!(answer, Ok(Err(EngineError::Stopped))) && reach.engine.committed().await.is_ok();
        if answer.is_err() && call.hangs_up.is_some() {
            self.state().tally.lost += 1;
            self.trace.event(&format!("hung up {} of {}", call.operation.as_str(), call.charge));
            return Ok(());
        }
        let took_ms = (elapsed() - begin).as_millis() as u64;
        // A node that lives and drops the question does not answer either.
        self.answered(&call, took_ms, answer.ok().filter(|_| !is_dropped))
    }

    /// A provider uploads its cards.
    ///
    /// # Errors
    /// If its node does not take them.
    pub(crate) async fn upload(&self, provider: u32, cards: u32, engine: &Engine) -> Result<()> {
        let name = &self.names.providers[provider as usize];
        let card = |card: u32| {
            let uid = uid_of(provider, card);
            format!(r#"{{"Identification":{{"RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}}}}}"#)
        };
        let cards: Vec<String> = (0..cards).map(card).collect();
        let body = format!(
            r#"{{"ActionType":"fullLoad","ProviderAuthenticationData":{{"ProviderID":"{name}","AuthenticationDataRecord":[{}]}}}}"#,
            cards.join(",")
        );
        let read = PushAuthenticationData::parse(body.as_bytes(), Reading::Strict);
        let read = read.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let push = AuthenticationPush::new(read).map_err(|place| anyhow::anyhow!("card {place}"))?;
        let taken = engine.push_authentication(self.party(Side::Provider(provider))?, push).await?;
        ensure!(taken.result, "{:?}", taken.status);
        Ok(())
    }

    pub(super) fn party(&self, side: Side) -> Result<PartyId> {
        Ok(PartyId::parse(&match side {
            Side::Operator(number) => party_text(Role::Cpo, &self.names.operators[number as usize].0),
            Side::Provider(number) => party_text(Role::Emp, &self.names.providers[number as usize]),
        })?)
    }

    fn prepared(&self, act: &Act, by: Side) -> Option<Call> {
        let mut state = self.state();
        let state = &mut *state;
        let (charge, operation, body, stranger) = match act {
            Act::Start(start) => {
                let story = state.stories.get_mut(&start.charge)?;
                let marker = story.next_call(start.play);
                (start.charge, story.operation(), self.start_body(story, marker), false)
            }
            Act::Again { charge } => {
                let story = state.stories.get_mut(charge)?;
                // Who heard a yes does not ask again.
                if story.calls == 0 || !story.emp_knows.is_empty() || story.by_card() {
                    return None;
                }
                let marker = story.next_call(story.start.play);
                (*charge, story.operation(), self.start_body(story, marker), false)
            }
            Act::Stop { charge, stranger, play } => {
                let story = state.stories.get_mut(charge)?;
                let known = if story.by_card() { &story.cpo_session } else { &story.emp_session };
                let session = if *stranger { strange_session(*charge) } else { known.clone()? };
                let marker = story.next_call(*play);
                let (operation, body) = self.stop_body(story, marker, &session);
                (*charge, operation, body, *stranger)
            }
            Act::Notify { charge, kind, stranger, play } => {
                let story = state.stories.get_mut(charge)?;
                let session = if *stranger { strange_session(*charge) } else { story.cpo_session.clone()? };
                story.shown_alive.insert(session.clone());
                let marker = story.next_call(*play);
                let body = self.notice_body(story, marker, &session, *kind);
                (*charge, SessionOperation::Notification, body, *stranger)
            }
            _ => return None,
        };
        if matches!(act, Act::Start(_) | Act::Again { .. }) {
            state.tally.starts += 1;
        }
        let hangs_up = match act {
            Act::Start(start) => start.hangs_up_ms.map(Duration::from_millis),
            _ => None,
        };
        Some(Call { by, charge, operation, body, stranger, hangs_up })
    }

    pub(super) fn medium(&self, start: &Start) -> String {
        let provider = &self.names.providers[start.provider as usize];
        match start.how {
            How::Card => {
                let uid = uid_of(start.provider, start.card);
                format!(r#"{{"RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}}}"#)
            }
            How::Contract => {
                let contract = format!("{provider}-C{:08}-X", start.card);
                format!(r#"{{"PlugAndChargeIdentification":{{"EvcoID":"{contract}"}}}}"#)
            }
            // Each start has a driver of its own, so that only its own retries join it.
            How::Remote | How::Reservation => {
                let contract = format!("{provider}-C{:08}-X", start.charge);
                format!(r#"{{"RemoteIdentification":{{"EvcoID":"{contract}"}}}}"#)
            }
        }
    }

    fn start_body(&self, story: &Story, marker: Marker) -> String {
        let start = &story.start;
        let (operator, evses) = &self.names.operators[start.operator as usize];
        let (evse, provider) = (&evses[start.evse as usize], &self.names.providers[start.provider as usize]);
        let (medium, marker) = (self.medium(start), marker_text(marker));
        match story.by_card() {
            true => format!(
                r#"{{"OperatorID":"{operator}","EvseID":"{evse}","CPOPartnerSessionID":"{marker}","Identification":{medium}}}"#
            ),
            false => format!(
                r#"{{"ProviderID":"{provider}","EvseID":"{evse}","EMPPartnerSessionID":"{marker}","Identification":{medium}}}"#
            ),
        }
    }

    fn stop_body(&self, story: &Story, marker: Marker, session: &str) -> (SessionOperation, String) {
        let start = &story.start;
        let (operator, evses) = &self.names.operators[start.operator as usize];
        let (evse, provider) = (&evses[start.evse as usize], &self.names.providers[start.provider as usize]);
        let marker = marker_text(marker);
        let by_emp = || {
            format!(
                r#"{{"SessionID":"{session}","ProviderID":"{provider}","EvseID":"{evse}","EMPPartnerSessionID":"{marker}"}}"#
            )
        };
        match start.how {
            How::Remote => (SessionOperation::RemoteStop, by_emp()),
            How::Reservation => (SessionOperation::ReservationStop, by_emp()),
            How::Card | How::Contract => {
                let medium = self.medium(start);
                let body = format!(
                    r#"{{"SessionID":"{session}","OperatorID":"{operator}","EvseID":"{evse}","CPOPartnerSessionID":"{marker}","Identification":{medium}}}"#
                );
                (SessionOperation::AuthorizeStop, body)
            }
        }
    }

    fn notice_body(&self, story: &Story, marker: Marker, session: &str, kind: Notice) -> String {
        let (operator, evses) = &self.names.operators[story.start.operator as usize];
        let (evse, marker) = (&evses[story.start.evse as usize], marker_text(marker));
        let fields = match kind {
            Notice::Start => format!(r#""Type":"Start","ChargingStart":"{DAY}""#),
            Notice::Progress => format!(
                r#""Type":"Progress","ChargingStart":"{DAY}","EventOccurred":"{DAY}","ChargingDuration":300000"#
            ),
            Notice::End => format!(r#""Type":"End","ChargingStart":"{DAY}","ChargingEnd":"{DAY}""#),
            Notice::Error => r#""Type":"Error","ErrorType":"CriticalError""#.to_owned(),
        };
        format!(
            r#"{{{fields},"SessionID":"{session}","EvseID":"{evse}","OperatorID":"{operator}","CPOPartnerSessionID":"{marker}"}}"#
        )
    }

    fn answered(
        &self,
        call: &Call,
        took_ms: u64,
        answer: Option<Result<HttpAnswer, EngineError>>,
    ) -> Result<()> {
        let (name, limit_ms) = (call.operation.as_str(), self.deadline_ms(call.operation) + BEYOND_MS);
        let mut state = self.state();
        let outcome = match answer {
            None => {
                state
                    .wrong("every-charge-answered", || format!("{name} of charge {} never was", call.charge));
                "never answered".to_owned()
            }
            Some(Err(EngineError::Stopped)) => {
                state.tally.lost += 1;
                self.trace.event(&format!("lost {name} of {}", call.charge));
                return Ok(());
            }
            Some(Err(error)) => format!("{error}"),
            Some(Ok(answer)) => state.told(call, &answer)?,
        };
        if took_ms > limit_ms {
            state.wrong("every-charge-answered-in-time", || {
                format!("{name} of charge {} took {took_ms} ms, {limit_ms} are allowed", call.charge)
            });
        }
        self.trace.event(&format!("answer to {:?} {name} of {}: {outcome}", call.by, call.charge));
        state.tally.answered(name, outcome, took_ms);
        Ok(())
    }
}

/// What an answer says.
struct Heard {
    yes: bool,
    session: Option<String>,
    code: String,
}

fn heard(operation: SessionOperation, body: &[u8]) -> Result<Heard> {
    if matches!(operation, SessionOperation::AuthorizeStart | SessionOperation::AuthorizeStop)
        && let Ok(answer) = AuthorizationStart::read(body)
    {
        let yes = answer.verdict == AuthorizationStatus::Authorized;
        let session = answer.session_id.filter(|_| yes).map(|id| id.as_str().to_owned());
        return Ok(Heard { yes, session, code: answer.status.code.as_str().to_owned() });
    }
    // A short refusal is no authorization.
    let answer = read_acknowledgement(body)?;
    Ok(Heard { yes: answer.result, session: answer.session_id, code: answer.status.code.as_str().to_owned() })
}

impl State {
    /// What a backend hears, and what it knows from then on. Gives the code.
    fn told(&mut self, call: &Call, answer: &HttpAnswer) -> Result<String> {
        let Heard { yes, session, code } =
            heard(call.operation, &answer.body).context("a node's answer is none")?;
        if call.stranger && yes {
            self.wrong("no-foreign-session-served", || format!("{} of charge {}", code, call.charge));
        }
        let Some(story) = self.stories.get_mut(&call.charge) else { return Ok(code) };
        match call.operation {
            SessionOperation::AuthorizeStart if yes => {
                story.cpo_session.clone_from(&session);
                story.heard_yes.extend(session);
            }
            SessionOperation::RemoteStart | SessionOperation::ReservationStart => {
                // A refusal that is in doubt names the session as well.
                if session.is_some() {
                    story.emp_session.clone_from(&session);
                }
                if yes {
                    story.emp_knows.extend(session.clone());
                    story.heard_yes.extend(session);
                }
            }
            _ => {}
        }
        Ok(code)
    }
}
