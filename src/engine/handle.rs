//! The engine as its callers see it: a cheap clone with async methods in front of one task.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::accounts::AccountsCommand;
use super::agreements::{AgreementReply, AgreementView, PermissionView};
use super::cdrs::{ChargeReply, HubWord};
use super::events::Event;
use super::evidence::EvidenceCommand;
use super::peer_view::{HeldView, PartnerView, PeerView};
use super::sessions::{CardsView, MessagesView, SessionView};
use super::standing::Standing;
use super::view::TrustListView;
use super::watchers::{Applied, Watchers};
use crate::identity::PartyId;
use crate::oicp::charging::ProviderMedia;
use crate::oicp::pricing::PushPrices;
use crate::oicp::push::{PushEvseData, PushEvseStatus};
use crate::oicp::status_code::StatusCode;
use crate::protocol::{Digest, SessionPhase};
use crate::roaming::AgreementAct;
use crate::roaming::{AuthenticationPush, CdrArrival, ChargeRequest, EvseSeen, ReloadError};

/// What a backend's push comes to: an OICP acknowledgement. A negative outcome is a value, not an error.
#[derive(Clone, Debug)]
pub struct PushOutcome {
    /// OICP `Result`.
    pub result: bool,
    /// OICP `StatusCode`.
    pub status: StatusCode,
}

/// Why the engine did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Its queue is full: try again later (HTTP 503).
    #[error("the node is busy: try again later")]
    Busy,
    /// Storage refused; nothing was changed.
    #[error("the node could not store the change, nothing was changed: {0}")]
    Storage(String),
    /// What was loaded anew cannot take the place of what is in use; nothing was changed.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopped,
}

/// What callers can tell the engine.
pub(crate) enum Command {
    PushData {
        party: PartyId,
        push: PushEvseData,
        /// The body as received: kept if the push is held.
        body: Bytes,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    PushStatus {
        party: PartyId,
        push: PushEvseStatus,
        body: Bytes,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    PushPrices {
        party: PartyId,
        push: PushPrices,
        body: Bytes,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    PushAuthentication {
        party: PartyId,
        push: AuthenticationPush,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    PullAuthentication {
        cpo: PartyId,
        reply: oneshot::Sender<Option<Vec<ProviderMedia>>>,
    },
    Confirm {
        held: u64,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    Reload {
        standing: Arc<Standing>,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    HandIn {
        object: Bytes,
        reply: oneshot::Sender<Result<PushOutcome, EngineError>>,
    },
    Trust {
        reply: oneshot::Sender<TrustSummary>,
    },
    Committed {
        reply: oneshot::Sender<()>,
    },
    Agreement {
        act: AgreementAct,
        reply: AgreementReply,
    },
    Permissions {
        partner: PartyId,
        reply: oneshot::Sender<Vec<PermissionView>>,
    },
    Charge {
        party: PartyId,
        request: Box<ChargeRequest>,
        body: Bytes,
        evse: Option<EvseSeen>,
        reply: ChargeReply,
    },
    Cdr {
        party: Option<PartyId>,
        arrival: Box<CdrArrival>,
        body: Bytes,
        replaces: Option<Digest>,
        reply: ChargeReply,
    },
    Hub {
        word: HubWord,
        reply: ChargeReply,
    },
    Accounts(AccountsCommand),
    Sessions {
        phase: Option<SessionPhase>,
        reply: oneshot::Sender<Vec<SessionView>>,
    },
    /// About the log of messages.
    Evidence(EvidenceCommand),
    View {
        reply: oneshot::Sender<NodeView>,
    },
}

impl Command {
    /// Answers that it cannot be done now. Who only looks hears nothing.
    pub(crate) fn refuse(self, error: &EngineError) {
        let error = error.clone();
        // Whoever asked may have gone.
        let _gone = match self {
            Command::PushData { reply, .. }
            | Command::PushStatus { reply, .. }
            | Command::PushPrices { reply, .. }
            | Command::PushAuthentication { reply, .. }
            | Command::Confirm { reply, .. }
            | Command::HandIn { reply, .. } => reply.send(Err(error)).is_err(),
            Command::Reload { reply, .. } => reply.send(Err(error)).is_err(),
            Command::Agreement { reply, .. } => reply.send(Err(error)).is_err(),
            Command::Charge { reply, .. } | Command::Cdr { reply, .. } | Command::Hub { reply, .. } => {
                reply.send(Err(error)).is_err()
            }
            Command::Evidence(command) => command.refuse(error),
            _ => false,
        };
    }
}

/// A handle to the engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) commands: mpsc::Sender<Command>,
    watchers: Arc<Watchers>,
}

impl Engine {
    pub(crate) fn new(commands: mpsc::Sender<Command>, watchers: Arc<Watchers>) -> Engine {
        Engine { commands, watchers }
    }

    /// Every record that is taken from now on, those together that are taken at once. A watcher that falls far behind
    /// misses some of these pieces and is told how many.
    pub fn watch(&self) -> broadcast::Receiver<Applied> {
        self.watchers.applied()
    }

    /// Every event from now on. A listener that falls far behind misses some and is told.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.watchers.events()
    }

    /// Tells the listeners of something that the core does not know of.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Option<Event>) {
        self.watchers.tell(event);
    }

    /// Hands in a signed object of the registry (tombstone, rotation, status list, credential): it is kept
    /// and told to everybody. Returns after the durable commit.
    pub async fn hand_in(&self, object: Bytes) -> Result<PushOutcome, EngineError> {
        self.ask(|reply| Command::HandIn { object, reply }).await?
    }

    /// Returns when all promises with an earlier time than now are committed. A record has the time at which it was
    /// taken, and is seen when it is committed: who reads up to now would miss one between the two.
    pub async fn committed(&self) -> Result<(), EngineError> {
        self.ask(|reply| Command::Committed { reply }).await
    }

    /// Who is who right now.
    pub async fn trust(&self) -> Result<TrustSummary, EngineError> {
        self.ask(|reply| Command::Trust { reply }).await
    }

    /// What the node knows right now.
    pub async fn view(&self) -> Result<NodeView, EngineError> {
        self.ask(|reply| Command::View { reply }).await
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Busy,
            mpsc::error::TrySendError::Closed(_) => EngineError::Stopped,
        })?;
        answer.await.map_err(|_| EngineError::Stopped)
    }
}

/// A snapshot of the node for people, metrics and tests.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct NodeView {
    /// The node's mesh name (base58 peer id).
    pub node: String,
    /// Our parties, as `ROLE:ID`.
    pub parties: Vec<String>,
    /// All feeds that the node knows.
    pub feeds: Vec<FeedView>,
    /// Conflicts that concern the view, or of which we were told.
    pub conflicts: Vec<ConflictView>,
    /// Peers with an open connection.
    pub peers: Vec<PeerView>,
    /// Agreements and offers of our parties.
    pub agreements: Vec<AgreementView>,
    /// Parties with which money changes hands, and whether they are connected.
    pub partners: Vec<PartnerView>,
    /// Pushes that wait for confirmation.
    pub held: Vec<HeldView>,
    /// EVSEs in the view (data records that are shown).
    pub view_evses: u64,
    /// Statuses in the view.
    pub view_statuses: u64,
    /// Records received and accepted into others' feeds since the start.
    pub records_accepted: u64,
    /// Records received and refused since the start.
    pub records_refused: u64,
    /// Feeds asked for as a whole since the start, because nothing or nothing that fits was held.
    pub full_loads: u64,
    /// Objects in the registry: credentials, tombstones, rotations, status lists.
    pub registry_objects: u64,
    /// One hash over them in hex: equal at two nodes that know the same.
    pub registry_root: String,
    /// Ids that several keys claim, as `ROLE:ID`.
    pub id_conflicts: Vec<String>,
    /// Under what our parties speak, and until when.
    pub own: Vec<OwnPartyView>,
    /// Whom this node believes.
    pub trust_list: TrustListView,
    /// When a peer said last what was revoked, in unix milliseconds; `None`: none did since the start.
    pub registry_compared_unix_ms: Option<u64>,
    /// The newest status lists of the issuers in the trust list.
    pub status_lists: Vec<StatusListView>,
    /// How many sessions there are in each phase.
    pub session_counts: BTreeMap<&'static str, u64>,
    /// Charge detail records that are not settled, by state, as in `sent waiting`.
    pub open_cdrs: BTreeMap<String, u64>,
    /// How many of them wait for longer than `charging.cdr_alarm_minutes`.
    pub overdue_cdrs: u64,
    /// How many EMPs were told of cards.
    pub cards: CardsView,
    /// Messages about sessions to and from each partner since the start, by the way that they took.
    pub messages: Vec<MessagesView>,
    /// How far the clocks of others are ahead of ours, in milliseconds: the median of the last quarter of an hour.
    pub clock_off_ms: Option<i64>,
    /// Whether the node signs: not while enough parties agree that its clock is wrong.
    pub signs: bool,
}

/// Under what a party of this node speaks.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OwnPartyView {
    /// The party, as `ROLE:ID`.
    pub party: String,
    /// Epoch of the delegation.
    pub epoch: u64,
    /// First second in which the delegation counts no more, Unix time.
    pub delegation_until_unix_s: u64,
    /// The same of the credential.
    pub credential_until_unix_s: u64,
    /// Whether credential, org key or delegation was declared dead: nobody believes what this node says for it.
    pub revoked: bool,
}

/// The newest status list of an issuer.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StatusListView {
    /// Name of the issuer in the trust list.
    pub issuer: String,
    /// When it was made, Unix time.
    pub created_unix_s: u64,
    /// First second in which it does not show any more that a credential is alive, Unix time.
    pub until_unix_s: u64,
}

/// Who is who, and who vouches for it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct TrustSummary {
    /// Version of this node's trust list.
    pub list_seq: u64,
    /// First second in which it is too old to be used, unix time.
    pub list_until_unix_s: u64,
    /// Objects in the registry.
    pub objects: u64,
    /// One hash over them in hex: equal at two nodes that know the same.
    pub root: String,
    /// When a peer said last what was revoked, in unix milliseconds; `None`: none did since the start.
    pub compared_unix_ms: Option<u64>,
    /// Whether that is too long ago: nothing new is started with partners that are not pinned.
    pub stale: bool,
    /// The issuers of the trust list.
    pub issuers: Vec<IssuerView>,
    /// Parties, one line for each org key.
    pub parties: Vec<PartyView>,
    /// Ids that several keys claim, as `ROLE:ID`.
    pub conflicts: Vec<String>,
    /// Those of them that are ours.
    pub own_conflicts: Vec<String>,
}

/// An issuer of this node's trust list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct IssuerView {
    /// Name.
    pub name: String,
    /// Public key as text.
    pub key: String,
    /// `registrar` or `attester`.
    pub class: &'static str,
    /// Number of its newest status list.
    pub status_list_seq: Option<u64>,
    /// Until when its newest status list holds, unix time.
    pub status_list_until_unix_s: Option<u64>,
}

/// A party under one org key.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PartyView {
    /// `ROLE:ID`.
    pub party: String,
    /// Name in the commercial register.
    pub legal_name: String,
    /// Org key as text.
    pub org_key: String,
    /// Who vouches for it.
    pub vouched_by: Vec<String>,
    /// Until when, unix time.
    pub until_unix_s: u64,
    /// Further ids.
    pub sub_ids: Vec<String>,
    /// Rotations known of the party.
    pub rotations: u64,
    /// `live`, `replaced`, `expired`, `revoked`, `delegation-dead`, `frozen` or `one-attester`.
    pub standing: &'static str,
}

/// One feed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FeedView {
    /// The party, as `ROLE:ID`.
    pub party: String,
    /// `data` or `status`.
    pub kind: &'static str,
    /// The parties that may see it, as `ROLE:ID`; empty: everybody.
    pub audience: Vec<String>,
    /// OperatorID as the party spells it.
    pub operator_id: String,
    /// OperatorName.
    pub operator_name: String,
    /// Records.
    pub count: u64,
    /// Records that are not in the view because another feed has precedence.
    pub shadowed: u64,
    /// Number of the last change.
    pub seq: u64,
    /// Incarnation of the writer.
    pub incarnation: u64,
    /// Root hash in hex.
    pub root: String,
    /// Whether what we hold is what the newest head that we know was signed over.
    pub in_sync: bool,
    /// `ok`, `repairing`, `inconsistent`, `equivocated` or `stale`.
    pub state: &'static str,
    /// When the writer signed the head, in unix milliseconds.
    pub confirmed_at_unix_ms: u64,
    /// Whether a party of this node writes it.
    pub own: bool,
}

/// One EVSE claimed by several parties.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ConflictView {
    /// Canonical key of the EVSE.
    pub key: String,
    /// `data` or `status`.
    pub kind: &'static str,
    /// The party that is shown; `None` in a tie.
    pub shown: Option<String>,
    /// All parties that claim it.
    pub claimed_by: Vec<String>,
    /// Whether a peer told us (we do not hold the feeds ourselves).
    pub reported_by_peer: bool,
}
