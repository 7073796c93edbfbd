//! The product: decides, never does. Told what happened and when, it answers with what must be
//! remembered ([`change`]) and what is to be done ([`Action`]).
//!
//! One struct, one method: [`Roaming::handle`]. No clock, no randomness, no IO: time and seed are
//! arguments, so that a test calls it like a calculator and a simulation is a loop over many.

mod agreements;
mod audience;
pub mod change;
mod charging;
mod claims;
mod clock_ask;
mod clock_check;
mod compare;
mod config;
mod effect;
mod feed;
mod freshness;
mod guard;
mod input;
mod introductions;
mod judge;
mod notices;
mod pace;
mod papers;
mod partners;
mod policy;
mod prices;
mod publish;
pub mod reconcile;
mod records;
mod refusal;
mod registry;
mod reload;
mod repair;
mod restore;
mod shown;
mod speakers;
pub mod statement;
#[cfg(test)]
mod tests;
mod ticks;
mod tree;
mod trust_view;
mod view;
mod visibility;
mod ways;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use agreements::{AgreementAct, AgreementRefusal, AgreementSummary};
pub use audience::Misplaced;
pub use change::PersonalData;
pub use charging::{
    AuthenticationPush, BackendAnswer, BackendTraits, CardQuestions, CdrArrival, CdrFacts, CdrSubject,
    ChargeRequest, ChargingConfig, EvidenceRefusal, EvseSeen, FoundAgain, HttpAnswer, LateStart, LostFor,
    LostSession, MEDIA_MAX, NotRebuilt, OwnHand, PartyList, SESSION_OVER_FOR_MS, rebuilt,
};
pub use claims::{Conflict, decide};
pub use clock_check::ClockState;
pub use config::{Config, Replicate};
pub use effect::{Action, Effects, Misdeed, Refusal, Report};
pub use feed::{Feed, FeedState, KnownHead};
pub use freshness::{COMPARED_MS_MAX, FailMode, Freshness, Operation, Stale, fail_mode};
pub use input::{AskId, BackendCallId, CallId, GossipId, Input, Now, RequestId, SyncId};
pub use partners::{PartnerCardError, PartnerSummary};
pub use policy::{Decision, Policy, RULES_MAX as POLICY_RULES_MAX, Rule, Whom};
pub use reload::{ReloadError, may_replace};
pub use restore::{RestoredFeed, Snapshot};
pub use tree::{Entry, Tree};
pub use trust_view::{IssuerSummary, PartyStanding, PartySummary, TrustView};
pub use view::{FeedSummary, OwnParty, View};
pub use visibility::{Evses, RULES_MAX as VISIBILITY_RULES_MAX, Visibility, VisibilityRule};
pub use ways::{HubRoute, ROUTES_MAX as HUB_ROUTES_MAX, Routing, Ways};

use crate::identity::{Chain, IdConflict, MessageId, PartyId, SecretKey, Speaker, TrustList};
use crate::oicp::id::EvseKey;
use crate::protocol::{Digest, FeedId, Kind, NodeId, ObjectName, Topic};
use agreements::Agreements;
use audience::Audiences;
use change::{DirectoryChange, HeldPush, LedgerChange};
use charging::{Asked, Charging};
use claims::Claims;
use clock_check::ClockCheck;
use introductions::Introductions;
use pace::Pace;
use partners::Partners;
use reconcile::Books;
use repair::{Job, Slices};
use speakers::Speakers;

/// Ticks come at least this often while something waits, in milliseconds.
const TICK_BUSY_MS: u64 = 100;

/// ... and otherwise.
const TICK_IDLE_MS: u64 = 1_000;

/// Questions and repairs are numbered from the time of the start on, with room for this many (as a power
/// of two) in a millisecond: what peers still send to a core that was made anew since answers nothing that
/// the new one asked.
const IDS_PER_MS_BITS: u32 = 20;

/// A party of this node.
#[derive(Clone, Debug)]
pub struct OurParty {
    /// Who.
    pub party: PartyId,
    /// Its display name where a push gives none (OICP OperatorName).
    pub operator_name: String,
    /// Its verified credential and delegation.
    pub speaker: Arc<Speaker>,
    /// The same as bytes, for peers that ask.
    pub chain: Chain,
    /// The key that the delegation names.
    pub message_key: Arc<SecretKey>,
}

/// When the core wants to be told that time passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the monotonic clock, in milliseconds; in the past: at once.
    pub at_ms: u64,
    /// Why.
    pub why: &'static str,
}

/// What a question of ours was about.
#[derive(Debug)]
enum Pending {
    Heads,
    Chain(Digest),
    Notice,
    Registry,
    Objects {
        asked: Vec<ObjectName>,
        later: Vec<ObjectName>,
    },
    Introduction,
    Agreement(Digest),
    Message(MessageId),
    Time(MessageId),
    Books(MessageId),
    Announcement,
    /// Of this EMP of ours.
    CardFilter(PartyId),
}

/// A question of ours that waits for its answer.
#[derive(Debug)]
struct Asking {
    to: NodeId,
    about: Pending,
    /// When it is given up, on the monotonic clock.
    until_ms: u64,
}

/// A connected peer. All times are on the monotonic clock.
#[derive(Debug)]
struct Peer {
    /// When heads are compared with it next.
    compare_at_ms: u64,
    /// Until when that is done in short intervals.
    soon_until_ms: u64,
    /// Earliest time to ask back when it holds more than we.
    ask_back_from_ms: u64,
    /// Until when others are asked for repairs first: it let one hang.
    silent_until_ms: u64,
    /// When we introduce ourselves to it again: it did not hear us, or did not say who it is.
    introduce_at_ms: Option<u64>,
}

/// The core.
pub struct Roaming {
    config: Config,
    network: String,
    replicate_all: bool,
    parties: BTreeMap<PartyId, OurParty>,
    speakers: Speakers,
    feeds: BTreeMap<FeedId, Feed>,
    claims: Claims,
    clock_check: ClockCheck,
    agreements: Agreements,
    charging: Charging,
    /// Questions about books under way.
    books: Books,
    introductions: Introductions,
    partners: Partners,
    audiences: Audiences,
    /// Of what was restored; told with the first tick.
    unbelieved: Vec<Report>,
    noticed: BTreeMap<(Kind, EvseKey), Conflict>,
    notices: BTreeSet<(NodeId, Kind, EvseKey)>,
    peers: BTreeMap<NodeId, Peer>,
    pace: Pace,
    requests: BTreeMap<RequestId, Asking>,
    jobs: BTreeMap<SyncId, Job>,
    slices: VecDeque<Slices>,
    held: BTreeMap<u64, HeldPush>,
    next_held: u64,
    waiting_pushes: VecDeque<Input>,
    /// Whether we may write: peers were asked for our own feeds, or there were none to ask.
    ready: bool,
    started_ms: u64,
    incarnation: u64,
    last_id: u64,
    last_tick_ms: u64,
    all_in_sync: bool,
    rng: ChaCha8Rng,
    /// What follows from what was restored; goes out with the first tick.
    pending: Vec<DirectoryChange>,
    /// The same for the ledger.
    pending_ledger: Vec<LedgerChange>,
    /// Ids that several claim.
    id_conflicts: BTreeMap<PartyId, IdConflict>,
    /// Objects of peers' registries that are of no use here.
    refused_objects: BTreeSet<ObjectName>,
    /// Issuers that vouch for more parties than are kept; of those in the trust list.
    full_issuers: BTreeSet<Digest>,
    /// Parties of ours whose credential, key or delegation is dead: nobody believes what they say.
    revoked: BTreeSet<PartyId>,
    /// Whether some peer's registry was heard since the start.
    registry_heard: bool,
    /// When a peer's registry was compared with ours last, all of it.
    compared: Option<freshness::Compared>,
    /// Whether it was told that this is too long ago.
    told_stale: bool,
    /// When registries are compared next, on the monotonic clock.
    registry_at_ms: u64,
    /// When feeds are looked through for stale ones, on the monotonic clock.
    stale_at_ms: u64,
    /// Until when pushes wait for a feed of ours that peers know better, on the monotonic clock.
    take_back_until_ms: u64,
    records_accepted: u64,
    records_refused: u64,
    /// Feeds asked for as a whole.
    full_loads: u64,
}

impl Roaming {
    /// The core as it was when it stopped, or a new one.
    pub fn restore(
        config: Config,
        network: &str,
        trust: TrustList,
        parties: Vec<OurParty>,
        seed: u64,
        snapshot: Snapshot,
        now: Now,
    ) -> Roaming {
        let publishes_only =
            !parties.is_empty() && parties.iter().all(|p| p.party.role == crate::identity::Role::Cpo);
        let replicate_all = match config.replicate {
            Replicate::All => true,
            Replicate::Own => false,
            Replicate::Auto => !publishes_only,
        };
        let mut core = Roaming {
            replicate_all,
            network: network.to_owned(),
            parties: parties.into_iter().map(|party| (party.party.clone(), party)).collect(),
            speakers: Speakers::new(network.to_owned(), trust),
            feeds: BTreeMap::new(),
            claims: Claims::default(),
            clock_check: ClockCheck::default(),
            agreements: Agreements::default(),
            charging: Charging::default(),
            books: Books::default(),
            introductions: Introductions::default(),
            partners: Partners::default(),
            audiences: Audiences::default(),
            unbelieved: Vec::new(),
            noticed: BTreeMap::new(),
            notices: BTreeSet::new(),
            peers: BTreeMap::new(),
            pace: Pace::default(),
            requests: BTreeMap::new(),
            jobs: BTreeMap::new(),
            slices: VecDeque::new(),
            next_held: snapshot.held.iter().map(|held| held.id + 1).max().unwrap_or(1),
            held: BTreeMap::new(),
            waiting_pushes: VecDeque::new(),
            ready: false,
            started_ms: now.mono_ms,
            incarnation: now.unix_s(),
            last_id: now.mono_ms << IDS_PER_MS_BITS,
            last_tick_ms: now.mono_ms,
            all_in_sync: false,
            rng: ChaCha8Rng::seed_from_u64(seed),
            pending: Vec::new(),
            pending_ledger: Vec::new(),
            id_conflicts: BTreeMap::new(),
            refused_objects: BTreeSet::new(),
            full_issuers: BTreeSet::new(),
            registry_heard: false,
            compared: None,
            told_stale: false,
            revoked: BTreeSet::new(),
            registry_at_ms: now.mono_ms,
            stale_at_ms: now.mono_ms,
            take_back_until_ms: 0,
            records_accepted: 0,
            records_refused: 0,
            full_loads: 0,
            config,
        };
        core.ready = core.parties.is_empty();
        core.reload(snapshot, now);
        core
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Now) -> Effects {
        let mut fx = Effects::default();
        match input {
            Input::PushData { call, party, push, body } => {
                self.push_data(call, party, push, body, now, &mut fx)
            }
            Input::PushStatus { call, party, push, body } => {
                self.push_status(call, party, push, body, now, &mut fx)
            }
            Input::PushPrices { call, party, push, body } => {
                self.push_prices(call, party, push, body, now, &mut fx)
            }
            Input::Confirm { call, held } => self.confirm(call, held, now, &mut fx),
            Input::HandIn { call, bytes } => self.hand_in(call, &bytes, now, &mut fx),
            Input::Agreement { call, act } => self.act_on_agreement(call, act, now, &mut fx),
            Input::PeerUp(node) => self.peer_up(node, now, &mut fx),
            Input::PeerDown(node) => self.peer_down(&node),
            Input::GapSuspected(node) => self.gap_suspected(&node, now),
            Input::Announced { from, gossip, topic: Topic::Identity, bytes } => {
                self.identity_announced(&from, gossip, &bytes, now, &mut fx)
            }
            Input::Announced { from, gossip, topic: _, bytes } => {
                self.announced(from, gossip, &bytes, now, &mut fx)
            }
            Input::Asked { from, ask, bytes } => self.asked(&from, ask, &bytes, now, &mut fx),
            Input::Answered { from, request, bytes } => self.answered(&from, request, &bytes, now, &mut fx),
            Input::AskFailed { request, sent } => self.ask_failed(request, sent, now, &mut fx),
            Input::Charge { call, party, request, body, evse } => {
                let asked = Asked { call, party: &party, request: &request, body, evse };
                self.charge(&asked, now, &mut fx);
            }
            Input::Cdr { call, party, arrival, body, replaces } => {
                self.cdr_of_backend((call, party), arrival, body, replaces, now, &mut fx)
            }
            Input::HubAsks { call, partner, request, body } => {
                self.hub_asks(call, partner, &request, body, now, &mut fx);
            }
            Input::HubCdr { call, partner, arrival, body } => {
                self.hub_cdr((call, partner), arrival, body, now, &mut fx);
            }
            Input::CdrsFound { session, found, facts } => {
                self.cdrs_found(session, found, facts, now, &mut fx);
            }
            Input::BackendAnswered { call, answer } => self.backend_answered(call, answer, now, &mut fx),
            Input::StartTold { session, heard } => self.start_told(session, heard, now, &mut fx),
            Input::PushAuthentication { call, party, push } => {
                self.push_authentication(call, &party, push, now, &mut fx)
            }
            Input::Erase { call, what } => self.erase(call, what, &mut fx),
            Input::PinChecked { call, matches } => self.pin_checked(call, matches, now, &mut fx),
            Input::AskBooks { call, ours, partner, message } => {
                self.ask_books(call, (ours, partner), &message, now, &mut fx);
            }
            Input::ResendCdrs { cdrs } => self.resend_cdrs(cdrs, now, &mut fx),
            Input::EvidenceRead { serve, logged } => {
                self.serve_evidence(serve, logged.map(|logged| *logged), now, &mut fx);
            }
            Input::LostSession { waits, found } => {
                self.lost_session_came(waits, found.map(|found| *found), now, &mut fx);
            }
            Input::BooksServed { serve, message } => self.books_served(serve, &message, now, &mut fx),
            Input::SyncFrame { sync, bytes } => self.sync_frame(sync, &bytes, now, &mut fx),
            Input::SyncFailed { sync } => self.sync_failed(sync, now, &mut fx),
            Input::Reloaded { call, trust, parties, policy } => {
                let outcome = self.reloaded(trust, parties, policy, now, &mut fx);
                fx.actions.push(Action::Reloaded { call, outcome });
            }
            Input::CardFound { key, bytes } => self.card_found(&key, &bytes, now, &mut fx),
            Input::CardNotFound { key } => self.card_not_found(&key, now, &mut fx),
            Input::Tick => self.tick(now, &mut fx),
        }
        fx
    }

    /// Whether this node writes a party's feeds: of a party's nodes that is the one with slot 0.
    fn writes(&self, party: &PartyId) -> bool {
        self.parties.get(party).is_some_and(|ours| ours.speaker.is_writer())
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
