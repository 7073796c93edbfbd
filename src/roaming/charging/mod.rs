//! Sessions: authorization, remote start and stop, reservation, notifications between a party of ours and its
//! partners' nodes. `ask` is the side that asks, `serve` the side that is asked, `settle` what both do until they
//! agree, `authorize` who is asked about a card; `cdr` what was charged, sent by the one side (`cdr_send`) and taken
//! by the other (`cdr_serve`).

mod answer;
mod ask;
mod authorize;
mod by_hub;
mod calls;
mod card_filters;
mod cdr;
mod cdr_findings;
mod cdr_resend;
mod cdr_send;
mod cdr_serve;
mod config;
mod evidence;
mod expiry;
mod hub_cdr;
mod hub_serve;
mod lost;
mod never_came;
mod offline;
mod rebuild;
mod references;
mod request;
mod send;
mod serve;
mod settle;
mod table;
mod within;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub use answer::HttpAnswer;
pub(super) use ask::Asked;
pub use authorize::CardQuestions;
pub use card_filters::PartyList;
pub use cdr_findings::{CdrArrival, CdrFacts, CdrSubject};
pub use config::{ChargingConfig, LateStart};
pub use evidence::EvidenceRefusal;
pub use lost::{FoundAgain, LostFor};
pub use offline::{AuthenticationPush, MEDIA_MAX};
pub use rebuild::{LostSession, NotRebuilt, OwnHand, rebuilt};
pub use request::ChargeRequest;

use super::change::{KnownMedium, LedgerChange, SessionAccount};
use super::effect::{Action, Effects, Report};
use super::input::{AskId, BackendCallId, CallId, Now};
use super::judge::FUTURE_MS_MAX;
use super::{Roaming, TICK_BUSY_MS, TICK_IDLE_MS};
use crate::identity::{MessageId, PartyId};
use crate::oicp::charging::{MediumKey, SessionId};
use crate::planted::{Bug, planted};
use crate::protocol::{AskOutcome, Digest, NodeId, SessionOperation, SessionPhase, SessionRecord};
use authorize::{Broadcast, Learned};
use by_hub::Bridge;
use card_filters::CardFilters;
use cdr::Cdrs;
use evidence::Log;
use table::Event;

/// Sessions that were asked about and never came, remembered so that they do not begin later.
const NEVER_CAME_MAX: usize = 10_000;

/// ... for so long, in milliseconds: no envelope is taken for longer, by whichever clock.
const NEVER_CAME_MS: u64 = crate::identity::envelope::ENVELOPE_VALIDITY_MS_MAX + 2 * FUTURE_MS_MAX;

/// A session that is over is looked up for so long, in milliseconds; later it is unknown.
pub const SESSION_OVER_FOR_MS: u64 = 24 * 3_600_000;

/// Sessions are looked through for expired ones this often, in milliseconds.
const EXPIRY_CHECK_MS: u64 = 60_000;

/// Messages of one session whose ids are remembered: none is carried out twice.
const SEEN_MAX: usize = 64;

/// What our party's own backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTraits {
    /// It takes charging notifications.
    pub notifications: bool,
}

/// A backend's answer to a call.
#[derive(Clone, PartialEq, Eq)]
pub enum BackendAnswer {
    /// It answered something.
    Answered {
        /// HTTP status.
        http_status: u16,
        /// The body.
        body: Bytes,
    },
    /// Nothing was sent: it refused the connection, or TLS failed.
    NotSent(String),
    /// It was sent, and no answer came.
    Silent(String),
}

impl std::fmt::Debug for BackendAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Not the message: it names drivers.
            BackendAnswer::Answered { http_status, body } => {
                write!(f, "Answered(HTTP {http_status}, {} bytes)", body.len())
            }
            BackendAnswer::NotSent(why) => f.debug_tuple("NotSent").field(why).finish(),
            BackendAnswer::Silent(why) => f.debug_tuple("Silent").field(why).finish(),
        }
    }
}

/// What the facade knows of an EVSE from the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvseSeen {
    /// `IsHubjectCompatible`.
    pub compatible: bool,
}

/// A backend that waits.
#[derive(Clone, PartialEq, Eq)]
struct Waiting {
    call: CallId,
    /// Its own EMPPartnerSessionID: a retry that joins a start may have another.
    emp_partner_session: Option<String>,
    /// Until when, on the monotonic clock.
    until_ms: u64,
}

/// A stop that came before the answer to its start.
struct Deferred {
    asker: Asker,
    demand: Demand,
}

/// One session.
struct Session {
    record: SessionRecord,
    waiting: Vec<Waiting>,
    broadcast: Option<Broadcast>,
    deferred: Vec<Deferred>,
    /// When the other side is asked what became of it, or told that it is not its session, on the monotonic clock.
    settle_at_ms: u64,
    /// The wait after that.
    settle_wait_ms: u64,
    /// When the last Progress notification was taken, on the monotonic clock, and the call that brought it.
    progress: Option<(u64, CallId)>,
    /// What was answered last within the session: its connection may have broken.
    said: Option<(MessageId, AskOutcome)>,
    /// Whether the backends that wait for its start know that it succeeded.
    told: Told,
    /// The message that it begins with, as long as it may still turn to the hub.
    begins_with: Option<Bytes>,
}

/// How far telling the backends that wait for a start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    UnderWay,
    Heard,
}

impl Session {
    fn new(record: SessionRecord, now: Now) -> Session {
        Session {
            record,
            waiting: Vec::new(),
            broadcast: None,
            deferred: Vec::new(),
            settle_at_ms: now.mono_ms + settle::WAIT_MS_MIN,
            settle_wait_ms: settle::WAIT_MS_MIN,
            progress: None,
            said: None,
            told: Told::NotYet,
            begins_with: None,
        }
    }

    /// Whether it is one of ours with a partner. Two parties of this node share one record, of who asked.
    fn is_with(&self, ours: &PartyId, partner: &PartyId, back: &Back) -> bool {
        let is = |one: &PartyId, other: &PartyId| {
            self.record.ours == *one && self.record.partner.as_ref() == Some(other)
        };
        is(ours, partner) || *back == Back::Local && is(partner, ours)
    }
}

/// Where an answer to a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Back {
    /// To a peer that asked.
    Peer(NodeId, AskId),
    /// To a party of this very node.
    Local,
    /// To the central hub, which asked this.
    Hub(CallId, SessionOperation),
}

/// Who asks us, by which message, and where the answer goes.
#[derive(Clone, Debug)]
struct Asker {
    back: Back,
    partner: PartyId,
    ours: PartyId,
    message: MessageId,
}

/// What is asked of our backend in a session.
struct Demand {
    session: SessionId,
    operation: SessionOperation,
    oicp: Bytes,
    /// Until when the asker waits, on the monotonic clock.
    until_ms: u64,
}

/// What a message of ours is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Ask(SessionOperation),
    Query,
    Release,
    /// A stop of our own, for a start that succeeded too late.
    LateStop,
    /// A charge detail record, by its hash.
    Cdr(Digest),
    /// What became of one.
    Receipts(Digest),
}

/// A message of ours that waits for its answer.
struct OurMessage {
    session: SessionId,
    about: About,
    ours: PartyId,
    to: PartyId,
    /// The backend that waits, if it is not the session's.
    call: Option<CallId>,
    /// How long the answer is waited for, in milliseconds.
    timeout_ms: u64,
    way: Way,
}

/// How a message of ours went.
#[derive(Default)]
struct Way {
    /// The envelope; `None` if it did not leave this node.
    sealed: Option<Bytes>,
    /// The node that it is for: another one of the party does not take it.
    node: Option<NodeId>,
    /// Whether its connection broke, so that it waits for the next.
    is_lost: bool,
    /// Whether it was sent once more to a peer that did not know us.
    introduced: bool,
    /// Until when the answer counts, on the monotonic clock.
    until_ms: u64,
}

/// A call of our backend.
struct BackendCall {
    session: SessionId,
    operation: SessionOperation,
    /// Who asked, and where the answer goes; `None` once it was said that the backend is still at it, and for calls
    /// of our own.
    back: Option<Back>,
    message: MessageId,
    ours: PartyId,
    partner: PartyId,
    /// When the asker stops to wait, on the monotonic clock.
    until_ms: u64,
    /// Whether it is our own word to the backend that a start succeeded late.
    late_notice: bool,
    /// What is asked, as long as this node may have to answer it itself.
    question: Bytes,
    /// Whether it is answered from what the EMP uploaded, not by its backend.
    offline: bool,
    /// Whether a PIN is being compared for it.
    checks_pin: bool,
}

/// All sessions of our parties.
#[derive(Default)]
pub(super) struct Charging {
    config: ChargingConfig,
    backends: BTreeMap<PartyId, BackendTraits>,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions in which something is due.
    unsettled: BTreeSet<SessionId>,
    never_came: BTreeMap<SessionId, u64>,
    messages: BTreeMap<MessageId, OurMessage>,
    calls: BTreeMap<BackendCallId, BackendCall>,
    learned: Learned,
    pub(super) card_filters: CardFilters,
    card_questions: CardQuestions,
    /// What EMPs of ours uploaded.
    media: BTreeMap<PartyId, BTreeMap<MediumKey, KnownMedium>>,
    expiry_at_ms: u64,
    /// When sessions were last looked through for those that give way to new ones, on the monotonic clock.
    room_sought_ms: Option<u64>,
    log: Log,
    cdrs: Cdrs,
    hub: Bridge,
}

impl Charging {
    /// Whether a tick is needed soon after `now_ms`, on the monotonic clock.
    pub(super) fn is_busy(&self, now_ms: u64) -> bool {
        let soon = |id: &SessionId| {
            self.sessions.get(id).is_some_and(|session| {
                let waits = !session.waiting.is_empty() || !session.deferred.is_empty();
                waits || session.broadcast.is_some() || session.settle_at_ms <= now_ms + TICK_IDLE_MS
            })
        };
        !self.calls.is_empty()
            || self.cdrs.is_busy(now_ms)
            || self.waits_for_link()
            || self.unsettled.iter().any(soon)
    }
}

impl Roaming {
    /// The same core with settings of charging, and what the backends of our parties can do. A party without a
    /// backend has none that could be asked.
    #[must_use]
    pub fn with_charging(
        mut self,
        config: ChargingConfig,
        backends: BTreeMap<PartyId, BackendTraits>,
    ) -> Roaming {
        self.charging.config = config;
        self.charging.backends = backends;
        self
    }

    /// The sessions that are known, the open ones and those of the last day.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionRecord> {
        self.charging.sessions.values().map(|session| &session.record)
    }

    /// What storage remembers. A crash may have hidden answers: nothing is asked twice.
    pub(super) fn reload_sessions(&mut self, records: Vec<SessionRecord>, now: Now) {
        let mut fx = Effects::default();
        for record in records {
            let Some(id) = SessionId::parse(&record.session) else { continue };
            if planted(Bug::SessionForgotten) && record.phase == SessionPhase::Calling {
                continue;
            }
            let event = match (record.phase, record.operation) {
                (SessionPhase::Requested, SessionOperation::AuthorizeStart) => Some(Event::Released),
                // Of a party of this node: what its backend was asked is hidden, too.
                (SessionPhase::Requested, _) if self.is_between_own(&record) => Some(Event::Unclear),
                (SessionPhase::Requested, _) => Some(Event::Silence),
                (SessionPhase::Calling, _) => Some(Event::Unclear),
                _ => None,
            };
            self.note_alias(id, &record);
            self.charging.sessions.insert(id, Session::new(record, now));
            match event {
                Some(event) => drop(self.step(id, event, now, &mut fx)),
                None => self.note_unsettled(id),
            }
        }
        // What goes on under the hub's SessionID stands in the ledger under both.
        let aliases = &self.charging.hub.aliases;
        self.charging.sessions.retain(|id, _| !aliases.contains_key(id));
        self.pending_ledger.append(&mut fx.ledger);
    }

    /// Takes a step of the table, and remembers it. False if it is not legal.
    fn step(&mut self, id: SessionId, event: Event, now: Now, fx: &mut Effects) -> bool {
        let Some(session) = self.charging.sessions.get_mut(&id) else { return false };
        let Some(phase) = table::next(session.record.phase, event) else { return false };
        session.record.phase = phase;
        session.record.changed_unix_ms = now.unix_ms;
        self.remember(id, fx);
        true
    }

    /// Stores a session as it is now.
    fn remember(&mut self, id: SessionId, fx: &mut Effects) {
        self.remember_quietly(id, fx);
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let record = &session.record;
        fx.actions.push(Action::Report(Report::Session {
            session: record.session.clone(),
            operation: record.operation,
            partner: record.partner.clone(),
            phase: record.phase,
        }));
    }

    /// Stores what is nobody else's news.
    fn remember_quietly(&mut self, id: SessionId, fx: &mut Effects) {
        self.note_unsettled(id);
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let record = &session.record;
        fx.ledger.push(LedgerChange::Session {
            session: record.session.clone(),
            is_over: record.phase.is_over() && record.to_release.is_empty(),
            changed_unix_ms: record.changed_unix_ms,
            record: record.encode(),
            account: SessionAccount::of(record),
        });
    }

    /// Whether something is due in a session, now or later, that nobody outside causes.
    fn note_unsettled(&mut self, id: SessionId) {
        let Some(session) = self.charging.sessions.get(&id) else { return };
        let record = &session.record;
        let in_doubt = record.asked_by_us
            && matches!(
                record.phase,
                SessionPhase::InDoubt | SessionPhase::Unconfirmed | SessionPhase::Requested
            );
        let unsettled = in_doubt
            || !record.to_release.is_empty()
            || record.to_tell_backend
            || !session.waiting.is_empty()
            || !session.deferred.is_empty()
            || session.broadcast.is_some();
        if unsettled {
            self.charging.unsettled.insert(id);
        } else {
            self.charging.unsettled.remove(&id);
        }
    }

    /// A new, random SessionID.
    fn new_session_id(&mut self) -> SessionId {
        SessionId::from_random(self.random_16())
    }

    pub(in crate::roaming) fn random_16(&mut self) -> [u8; 16] {
        let (high, low) = (self.random(), self.random());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    /// Time passed.
    pub(super) fn tick_charging(&mut self, now: Now, fx: &mut Effects) {
        self.tick_calls(now, fx);
        self.tick_cdrs(now, fx);
        self.send_lost(now, fx);
        let due: Vec<SessionId> = self.charging.unsettled.iter().copied().collect();
        for id in due {
            self.tick_waiting(id, now, fx);
            self.tick_broadcast(id, now, fx);
            self.tick_deferred(id, now, fx);
            self.settle(id, now, fx);
            self.note_unsettled(id);
        }
        self.tick_card_filters(now, fx);
        if now.mono_ms >= self.charging.expiry_at_ms {
            self.charging.expiry_at_ms = now.mono_ms + EXPIRY_CHECK_MS;
            self.expire_sessions(now, fx);
            self.erase_old(now, fx);
        }
    }

    /// Whether both sides are parties of this node.
    fn is_between_own(&self, record: &SessionRecord) -> bool {
        record.partner.as_ref().is_some_and(|partner| self.parties.contains_key(partner))
    }
}

/// The most precise that a tick can be, in milliseconds.
pub(super) const TICK_MS: u64 = TICK_BUSY_MS;
