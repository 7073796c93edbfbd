//! What the core answers: what is to be remembered, and only then what is to be done.

use std::fmt;

use bytes::Bytes;

use super::agreements::AgreementRefusal;
use super::change::{DirectoryChange, LedgerChange};
use super::charging::{CdrSubject, HttpAnswer};
use super::clock_check::ClockState;
use super::input::{AskId, BackendCallId, CallId, GossipId, RequestId, SyncId};
use super::partners::PartnerCardError;
use super::reconcile::{BooksAnswer, BooksFailure, BooksServeId};
pub use super::refusal::Refusal;
use super::reload::ReloadError;
use crate::identity::{IdConflict, PartyId};
use crate::oicp::charging::{HashedPin, Pin, SessionId};
use crate::oicp::id::EvseKey;
use crate::oicp::status_code::StatusCode;
use crate::protocol::{
    BooksMessage, CdrState, Digest, FeedId, Kind, NodeId, SessionOperation, SessionPhase, Topic, Verdict,
};

/// What one input leads to. `ledger` and `directory` are committed, in order; only then `actions` are
/// done. A crash between them loses a message, never a promise.
#[derive(Debug, Default)]
pub struct Effects {
    /// What this node promises.
    pub ledger: Vec<LedgerChange>,
    /// What it knows.
    pub directory: Vec<DirectoryChange>,
    /// What it does.
    pub actions: Vec<Action>,
}

impl Effects {
    /// Adds what another input led to.
    pub fn append(&mut self, mut other: Effects) {
        self.ledger.append(&mut other.ledger);
        self.directory.append(&mut other.directory);
        self.actions.append(&mut other.actions);
    }
}

/// Something to do. Its Debug shows no message: they name drivers.
pub enum Action {
    /// Gossip a message.
    Publish {
        /// Where.
        topic: Topic,
        /// The message.
        bytes: Bytes,
    },
    /// Judge a gossip message.
    Judge {
        /// Which.
        gossip: GossipId,
        /// How.
        verdict: Verdict,
    },
    /// Ask a peer; the engine owns the time-out and tells the outcome.
    Ask {
        /// Whom.
        to: NodeId,
        /// Our id.
        request: RequestId,
        /// The question.
        bytes: Bytes,
        /// How long to wait for the answer, in milliseconds.
        timeout_ms: u64,
    },
    /// Answer a peer.
    Answer {
        /// Which question.
        ask: AskId,
        /// The answer.
        bytes: Bytes,
    },
    /// Ask a peer for what is missing of a feed.
    Sync {
        /// Whom.
        to: NodeId,
        /// Our id.
        sync: SyncId,
        /// The question.
        bytes: Bytes,
    },
    /// A repair is given up: close its stream.
    CancelSync {
        /// Which.
        sync: SyncId,
    },
    /// A peer did what is wrong for everybody.
    Penalise {
        /// Who.
        node: NodeId,
        /// What it did.
        why: Misdeed,
    },
    /// Answer a backend.
    Reply {
        /// Which call.
        call: CallId,
        /// OICP `Result`.
        result: bool,
        /// OICP `StatusCode`.
        status: StatusCode,
    },
    /// Answer a backend that asked about a session.
    ReplyOicp {
        /// Which call.
        call: CallId,
        /// What it hears.
        answer: HttpAnswer,
    },
    /// Tell the backends that wait for one start, or the one that asked about a card, that it succeeded; `StartTold`
    /// follows.
    ReplyStarted {
        /// Our id of the session.
        session: SessionId,
        /// Which calls, and what each hears.
        answers: Vec<(CallId, HttpAnswer)>,
        /// Whether `StartTold` must follow at once, else with whatever comes next.
        is_urgent: bool,
    },
    /// Call a backend of ours.
    CallBackend {
        /// Our id.
        call: BackendCallId,
        /// Whose backend.
        party: PartyId,
        /// With what.
        operation: SessionOperation,
        /// The id in the path: the OperatorID or ProviderID of who asks, as it spells it.
        path_id: String,
        /// The OICP message.
        body: Bytes,
        /// How long to wait for the answer, in milliseconds.
        timeout_ms: u64,
    },
    /// Say something to the central hub; `BackendAnswered` follows.
    CallHub {
        /// Our id.
        call: BackendCallId,
        /// Who of ours speaks.
        party: PartyId,
        /// With what; `None`: a charge detail record.
        operation: Option<SessionOperation>,
        /// The id in the path: ours.
        path_id: String,
        /// The OICP message.
        body: Bytes,
        /// How long to wait for the answer, in milliseconds.
        timeout_ms: u64,
    },
    /// Give a charge detail record to a backend of ours; `BackendAnswered` follows.
    ForwardCdr {
        /// Our id.
        call: BackendCallId,
        /// Whose backend.
        party: PartyId,
        /// OperatorID of the CPO, for the path.
        path_id: String,
        /// The OICP message as the CPO's backend sent it.
        body: Bytes,
        /// How long to wait for the answer, in milliseconds.
        timeout_ms: u64,
    },
    /// Read what storage knows of a session and its charge detail records; `CdrsFound` follows.
    FindCdrs {
        /// Which.
        session: SessionId,
        /// What the directory is asked with it.
        subject: Option<CdrSubject>,
    },
    /// Compare a PIN with its hash, on a thread that may take its time; `PinChecked` follows.
    CheckPin {
        /// Our id.
        call: BackendCallId,
        /// The PIN as shown.
        pin: Pin,
        /// What the EMP uploaded.
        hash: HashedPin,
    },
    /// Say whether what was loaded anew is in use.
    Reloaded {
        /// Which call.
        call: CallId,
        /// Why not.
        outcome: Result<(), ReloadError>,
    },
    /// Answer who offered, accepted or ended an agreement.
    AgreementDone {
        /// Which call.
        call: CallId,
        /// The hash of its offer.
        done: Result<Digest, AgreementRefusal>,
    },
    /// Answer who asked a partner about books.
    BooksAnswered {
        /// Which call.
        call: CallId,
        /// What it said.
        answer: Result<BooksAnswer, BooksFailure>,
    },
    /// Answer who had a lost session proven.
    LostSessionTaken {
        /// Which call.
        call: CallId,
        /// The records of it that this node refused before, or why it is not known here now.
        taken: Result<Vec<Digest>, String>,
    },
    /// Read what a partner asks of our books; `BooksServed` follows, or for evidence `EvidenceRead` or `LostSession`.
    ServeBooks {
        /// Our id.
        serve: BooksServeId,
        /// Which party of ours is asked.
        ours: PartyId,
        /// Who asks.
        partner: PartyId,
        /// What.
        message: BooksMessage,
        /// The envelope as the partner signed it.
        signed: Bytes,
    },
    /// Look for a card in Kademlia; `CardFound` or `CardNotFound` should follow.
    FindCard {
        /// Its key.
        key: Digest,
    },
    /// Note where a node may be dialled.
    KnowAddress {
        /// The node.
        node: NodeId,
        /// A multiaddress.
        address: String,
    },
    /// Keep a connection to these nodes, and to no others for the same reason.
    KeepPartners(Vec<NodeId>),
    /// Tell the operator of the node.
    Report(Report),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Publish { topic, bytes } => write!(f, "Publish({topic:?}, {} bytes)", bytes.len()),
            Action::Judge { gossip, verdict } => write!(f, "Judge({gossip:?}, {verdict:?})"),
            Action::Ask { to, request, .. } => write!(f, "Ask({to}, {request:?})"),
            Action::Answer { ask, .. } => write!(f, "Answer({ask:?})"),
            Action::Sync { to, sync, .. } => write!(f, "Sync({to}, {sync:?})"),
            Action::Penalise { node, why } => write!(f, "Penalise({node}, {why:?})"),
            Action::Reply { call, status, .. } => write!(f, "Reply({call:?}, {status:?})"),
            Action::ReplyOicp { call, answer } => write!(f, "ReplyOicp({call:?}, {answer:?})"),
            Action::ReplyStarted { session, answers, .. } => {
                write!(f, "ReplyStarted({}, {answers:?})", session.as_str())
            }
            Action::CallBackend { call, party, operation, .. } => {
                write!(f, "CallBackend({call:?}, {party}, {operation:?})")
            }
            Action::CallHub { call, party, operation, .. } => {
                write!(f, "CallHub({call:?}, {party}, {operation:?})")
            }
            Action::CheckPin { call, .. } => write!(f, "CheckPin({call:?})"),
            Action::Report(report) => write!(f, "Report({report:?})"),
            _ => f.write_str("Action"),
        }
    }
}

/// What a peer did wrong, beyond gossip that was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Its repair answer does not match the head that the answer began with.
    FalseAnswer,
    /// It sent bytes that no honest node sends.
    Malformed,
    /// It asks far more often than any honest node.
    Flood,
}

/// Something that a person should know.
#[derive(Clone, Debug)]
pub enum Report {
    /// Several parties claim one EVSE.
    Conflict {
        /// The EVSE.
        key: EvseKey,
        /// Kind of the feeds.
        kind: Kind,
        /// The party that is shown.
        shown: Option<PartyId>,
        /// All parties.
        claimed_by: Vec<PartyId>,
    },
    /// A writer showed two histories.
    Equivocation {
        /// The feed.
        feed: FeedId,
    },
    /// A writer's changes do not yield its own root.
    Inconsistent {
        /// The feed.
        feed: FeedId,
    },
    /// A feed was repaired.
    Repaired {
        /// The feed.
        feed: FeedId,
        /// Records and tombstones that came.
        records: u64,
    },
    /// Peers had a newer state of a feed of ours than we: it is taken back from them.
    OwnFeedBehind {
        /// The feed.
        feed: FeedId,
    },
    /// A push waits for confirmation.
    Held {
        /// Its number.
        id: u64,
        /// The feed.
        feed: FeedId,
        /// How many records it would remove.
        removes: u64,
    },
    /// The clock of this node stands otherwise to those of others than before.
    Clock {
        /// How.
        state: ClockState,
    },
    /// Peers have not said for long what was revoked, or do so again: see [`super::Freshness`].
    RevocationsStale {
        /// How long ago the last did, in seconds; `None`: one does again.
        ago_s: Option<u64>,
    },
    /// Somebody claims an id that is known here under another key (decisions.md 20).
    IdConflict {
        /// Who goes on and who is frozen.
        conflict: IdConflict,
        /// Whether the id is ours.
        own: bool,
    },
    /// Nobody claims it any more.
    IdConflictOver {
        /// Whose id.
        party: PartyId,
    },
    /// A trusted issuer vouches for more parties than this node keeps of one: it is careless, or a rogue.
    IssuerFull {
        /// Its name in the trust list.
        issuer: String,
        /// How many are kept.
        max: usize,
    },
    /// What a party spoke with counts no more, for a rotation put another key or delegation in its place.
    Replaced {
        /// Whose.
        party: PartyId,
    },
    /// What a party's node spoke with was declared dead.
    Revoked {
        /// Whose.
        party: PartyId,
        /// Whether it is ours: peers refuse what this node says.
        own: bool,
    },
    /// An agreement of a party of ours was offered, agreed on or ended, here or elsewhere.
    Agreement {
        /// The hash of its offer.
        id: Digest,
        /// `offered`, `agreed` or `ended`.
        what: &'static str,
        /// Who offered it.
        offerer: PartyId,
        /// To whom.
        accepter: PartyId,
    },
    /// A peer told of an agreement, and it was not taken.
    AgreementRefused {
        /// The peer.
        from: NodeId,
        /// Why.
        why: AgreementRefusal,
    },
    /// An agreement is not in force, because its signers are not believed any more.
    AgreementNotBelieved {
        /// Why.
        why: AgreementRefusal,
    },
    /// A session changed.
    Session {
        /// SessionID.
        session: String,
        /// What it began with.
        operation: SessionOperation,
        /// The other side; `None` while several are asked.
        partner: Option<PartyId>,
        /// How far it has come.
        phase: SessionPhase,
    },
    /// A charge detail record changed.
    Cdr {
        /// SessionID.
        session: String,
        /// The other side.
        partner: PartyId,
        /// Whether the partner sent it.
        incoming: bool,
        /// How far it has come.
        state: CdrState,
    },
    /// A charge detail record, or a receipt for one, was not taken, by us or by the partner's node.
    CdrNotTaken {
        /// SessionID.
        session: String,
        /// The other side.
        partner: PartyId,
        /// Why.
        why: String,
    },
    /// A charge detail record waits for too long. Told once.
    CdrWaits {
        /// SessionID.
        session: String,
        /// The other side.
        partner: PartyId,
        /// Whether the partner sent it: then it waits for our backend.
        incoming: bool,
        /// How far it has come.
        state: CdrState,
        /// When it was committed here, unix milliseconds.
        since_unix_ms: u64,
    },
    /// A card was found of a partner, and it is of no use.
    PartnerCard {
        /// The partner.
        party: PartyId,
        /// Why.
        why: PartnerCardError,
    },
    /// One is in force again, because its signers are believed again.
    AgreementBelieved {
        /// The hash of its offer.
        id: Digest,
    },
    /// A message was refused.
    Refused {
        /// The peer that passed it on.
        from: NodeId,
        /// Why.
        why: Refusal,
    },
}
