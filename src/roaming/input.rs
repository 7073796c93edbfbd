//! What the core is told.

use bytes::Bytes;

use super::OurParty;
use super::agreements::AgreementAct;
use super::change::{CdrsOfSession, PersonalData, StoredCdr};
use super::charging::{
    AuthenticationPush, BackendAnswer, CdrArrival, CdrFacts, ChargeRequest, EvseSeen, FoundAgain, LostFor,
};
use super::policy::Policy;
use super::reconcile::BooksServeId;
use crate::identity::{PartyId, TrustList};
use crate::oicp::charging::SessionId;
use crate::oicp::pricing::PushPrices;
use crate::oicp::push::{PushEvseData, PushEvseStatus};
use crate::protocol::evidence::LoggedSession;
use crate::protocol::{BooksMessage, Digest, NodeId, Topic};

/// The time, as the engine read it once for a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, in unix milliseconds: goes into what is signed.
    pub unix_ms: u64,
    /// Monotonic clock, in milliseconds from any start: all time-outs.
    pub mono_ms: u64,
}

impl Now {
    /// The wall clock in whole seconds.
    pub fn unix_s(self) -> u64 {
        self.unix_ms / 1_000
    }
}

/// A call of a backend that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A gossip message that waits for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GossipId(pub u64);

/// A question of ours to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A question of a peer to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// A call of our backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendCallId(pub u64);

/// A repair of one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncId(pub u64);

/// What happened. It has no Debug: messages name drivers.
pub enum Input {
    /// A backend pushed EVSE data.
    PushData {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        party: PartyId,
        /// The push, parsed.
        push: PushEvseData,
        /// The body as received, kept if the push is held.
        body: Bytes,
    },
    /// A backend pushed statuses.
    PushStatus {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        party: PartyId,
        /// The push, parsed.
        push: PushEvseStatus,
        /// The body as received, kept if the push is held.
        body: Bytes,
    },
    /// A backend pushed prices.
    PushPrices {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        party: PartyId,
        /// The push, parsed.
        push: PushPrices,
        /// The body as received, kept if the push is held.
        body: Bytes,
    },
    /// Somebody confirmed a held push.
    Confirm {
        /// Who waits.
        call: CallId,
        /// The push.
        held: u64,
    },
    /// The operator hands in an object of the registry: a tombstone, a rotation, a status list.
    HandIn {
        /// Who waits.
        call: CallId,
        /// As it was signed.
        bytes: Bytes,
    },
    /// Somebody at this node offers, accepts or ends an agreement.
    Agreement {
        /// Who waits.
        call: CallId,
        /// What.
        act: AgreementAct,
    },
    /// A backend asks about a session: authorization, remote start or stop, reservation, notification.
    Charge {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        party: PartyId,
        /// The message, parsed.
        request: Box<ChargeRequest>,
        /// The same as received.
        body: Bytes,
        /// The EVSE as the directory shows it; `None` if it shows none.
        evse: Option<EvseSeen>,
    },
    /// A CPO's backend brings a charge detail record, or a person the correction of one.
    Cdr {
        /// Who waits.
        call: CallId,
        /// For which party of ours; `None`: whose the session is.
        party: Option<PartyId>,
        /// The message, read.
        arrival: Box<CdrArrival>,
        /// The same as received.
        body: Bytes,
        /// The record that it corrects, by the hash of its message.
        replaces: Option<Digest>,
    },
    /// The central hub asks on behalf of a partner: only it says who that is.
    HubAsks {
        /// Who waits.
        call: CallId,
        /// The partner that the hub names.
        partner: PartyId,
        /// The message, parsed.
        request: Box<ChargeRequest>,
        /// The same as received.
        body: Bytes,
    },
    /// The central hub brings a charge detail record of a partner.
    HubCdr {
        /// Who waits.
        call: CallId,
        /// The CPO that the hub names.
        partner: PartyId,
        /// The message, read.
        arrival: Box<CdrArrival>,
        /// The same as received.
        body: Bytes,
    },
    /// What storage knows of a session and its charge detail records; `None`: it could not be read.
    CdrsFound {
        /// Which.
        session: SessionId,
        /// What was found.
        found: Option<Box<CdrsOfSession>>,
        /// What the directory says, if it was asked and could be read.
        facts: Option<CdrFacts>,
    },
    /// A backend of ours answered a call, or did not.
    BackendAnswered {
        /// Which call.
        call: BackendCallId,
        /// What it said.
        answer: BackendAnswer,
    },
    /// The backends that waited for a start, or the one that asked about a card, were told that it succeeded.
    StartTold {
        /// Our id of the session.
        session: SessionId,
        /// Whether one of them was still there.
        heard: bool,
    },
    /// An EMP's backend uploaded media.
    PushAuthentication {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        party: PartyId,
        /// The upload, its PINs hashed.
        push: AuthenticationPush,
    },
    /// A PIN was compared with its hash.
    PinChecked {
        /// For which call.
        call: BackendCallId,
        /// Whether it is the right one.
        matches: bool,
    },
    /// The operator has personal data deleted.
    Erase {
        /// Who waits.
        call: CallId,
        /// Which.
        what: PersonalData,
    },
    /// A party of ours asks a partner about their books.
    AskBooks {
        /// Who waits.
        call: CallId,
        /// For which party of ours.
        ours: PartyId,
        /// Whom.
        partner: PartyId,
        /// What.
        message: Box<BooksMessage>,
    },
    /// Records of our parties that the partner's node lacks.
    ResendCdrs {
        /// As they are stored.
        cdrs: Vec<StoredCdr>,
    },
    /// The log was read for a partner that lost a session.
    EvidenceRead {
        /// Which question.
        serve: BooksServeId,
        /// What it holds of the session; `None`: nothing.
        logged: Option<Box<LoggedSession>>,
    },
    /// The evidence of a session that this node lost was checked.
    LostSession {
        /// Who waits.
        waits: LostFor,
        /// What it proves, or what is wrong.
        found: Result<Box<FoundAgain>, String>,
    },
    /// A partner's question about books was read.
    BooksServed {
        /// Which.
        serve: BooksServeId,
        /// The answer.
        message: Box<BooksMessage>,
    },
    /// A peer is connected.
    PeerUp(NodeId),
    /// A peer is gone.
    PeerDown(NodeId),
    /// A ping was late or gossip had a hole: messages of this peer may be lost.
    GapSuspected(NodeId),
    /// Gossip came.
    Announced {
        /// The peer that passed it on.
        from: NodeId,
        /// For the verdict.
        gossip: GossipId,
        /// Where.
        topic: Topic,
        /// The message.
        bytes: Bytes,
    },
    /// A peer asks.
    Asked {
        /// Who.
        from: NodeId,
        /// For the answer.
        ask: AskId,
        /// The question.
        bytes: Bytes,
    },
    /// A peer answered.
    Answered {
        /// Who.
        from: NodeId,
        /// To what.
        request: RequestId,
        /// The answer.
        bytes: Bytes,
    },
    /// A question found no answer.
    AskFailed {
        /// Which.
        request: RequestId,
        /// Whether it may have been received.
        sent: bool,
    },
    /// A frame of a repair answer.
    SyncFrame {
        /// Which repair.
        sync: SyncId,
        /// The frame.
        bytes: Bytes,
    },
    /// A repair's stream ended before its last frame.
    SyncFailed {
        /// Which repair.
        sync: SyncId,
    },
    /// Trust list, delegations, keys and policy were loaded anew. All are taken, or none.
    Reloaded {
        /// Who waits.
        call: CallId,
        /// Whom this node believes from now on.
        trust: TrustList,
        /// Its parties, the same as before, with their verified chains and their message keys.
        parties: Vec<OurParty>,
        /// Who may do what with them.
        policy: Policy,
    },
    /// A card that was looked for; whether it holds is for the core to say.
    CardFound {
        /// Its key.
        key: Digest,
        /// The card.
        bytes: Bytes,
    },
    /// Nobody has such a card.
    CardNotFound {
        /// The key.
        key: Digest,
    },
    /// Time passed.
    Tick,
}

impl Input {
    /// The same once more, if it says whether backends heard: nothing else says it.
    pub(crate) fn told_again(&self) -> Option<Input> {
        match self {
            Input::StartTold { session, heard } => {
                Some(Input::StartTold { session: *session, heard: *heard })
            }
            _ => None,
        }
    }
}
