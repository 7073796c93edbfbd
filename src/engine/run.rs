//! The loop: take what is there, let the core handle all of it, commit once, then act.

mod act;
mod books;
mod evidence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::accounts::{BooksReply, LostReply};
use super::agreements::{AgreementReply, permissions};
use super::backends::Backends;
use super::cdrs::{ChargeReply, cdr_counts};
use super::clock::Clock;
use super::gathered::Gathered;
use super::handle::{Command, EngineError, NodeView, PushOutcome};
use super::partners::PartnerNodes;
use super::pins::{CHECKS_AT_ONCE, MEDIA_PULLED_MAX};
use super::sessions::{session_counts, sessions};
use super::spawner::Spawn;
use super::standing::{Identities, ShownIdentities, Standing, Standings};
use super::store::{DirectoryCommit, Store};
use super::view::{node_view, trust_summary};
use super::watchers::{AppliedChange, PIECE_CHANGES_MAX, Watchers};
use crate::mesh::{self, AskToken, FrameCredit, GossipToken, Mesh, MeshEvent};
use crate::roaming::change::DirectoryChange;
use crate::roaming::{Action, AskId, CallId, Effects, GossipId, Input, Now, RequestId, Roaming, SyncId};

/// Inputs of one round: under load the cost of a commit is shared by this many.
const ROUND_INPUTS_MAX: usize = 256;

/// Sessions that are looked up at once for charge detail records; more wait for their turn, for storage refuses what
/// finds no place in its queue of 64.
const CDR_LOOKUPS_AT_ONCE: usize = 16;

/// Directory commits under way: beyond it the engine waits for storage, and the mesh for the engine.
const DIRECTORY_COMMITS_MAX: usize = 8;

/// Time between two attempts to read storage after it refused a change.
const RECOVER_EVERY: Duration = Duration::from_secs(1);

/// Makes the core anew from what storage remembers.
pub(crate) type Restore =
    Box<dyn Fn() -> futures::future::BoxFuture<'static, Result<Roaming, EngineError>> + Send + Sync>;

/// What the engine joins.
pub(crate) struct Parts {
    pub(crate) core: Roaming,
    /// Our parties, as `ROLE:ID`, for people.
    pub(crate) parties: Vec<String>,
    pub(crate) restore: Restore,
    /// What `restore` makes the core anew with.
    pub(crate) standings: Standings,
    /// What others check with.
    pub(crate) identities: Identities,
    pub(crate) store: Store,
    pub(crate) mesh: Mesh,
    pub(crate) events: mpsc::Receiver<MeshEvent>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) backends: Arc<dyn Backends>,
    /// The central hub.
    pub(crate) hub: Arc<dyn Backends>,
    /// Where the answers of backends and compared PINs come in ...
    pub(crate) answers: mpsc::Receiver<Input>,
    /// ... and where they are put.
    pub(crate) answered: mpsc::Sender<Input>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawner: Arc<dyn Spawn>,
    pub(crate) stop: CancellationToken,
}

/// Who waits for a reload, and what for.
type Reloading = (Arc<Standing>, oneshot::Sender<Result<(), EngineError>>);

type Reply = oneshot::Sender<Result<PushOutcome, EngineError>>;

/// The engine while it runs.
pub(crate) struct Runner {
    parts: Parts,
    calls: BTreeMap<CallId, Reply>,
    reloads: BTreeMap<CallId, Reloading>,
    agreement_calls: BTreeMap<CallId, AgreementReply>,
    gossip: BTreeMap<GossipId, GossipToken>,
    asks: BTreeMap<AskId, AskToken>,
    /// Held until the round is over: the mesh reads the next frame of a repair when they are dropped.
    credits: Vec<FrameCredit>,
    commits: FuturesUnordered<DirectoryCommit>,
    /// What the directory is told with the next commit.
    gathered: Gathered,
    charge_calls: BTreeMap<CallId, ChargeReply>,
    books_calls: BTreeMap<CallId, BooksReply>,
    lost_calls: BTreeMap<CallId, LostReply>,
    /// What found no room and comes back.
    returned: Vec<Input>,
    /// Whether backends heard of their starts: told with the next round, for nobody waits for it.
    heard: Vec<Input>,
    partner_nodes: PartnerNodes,
    pin_checks: Arc<Semaphore>,
    cdr_lookups: Arc<Semaphore>,
    shown_identities: ShownIdentities,
    next_id: u64,
}

enum Woken {
    Event(Option<MeshEvent>),
    Command(Option<Command>),
    Committed(Result<(), EngineError>),
    Answer(Input),
    Returned,
    Deadline,
    Stop,
}

impl Runner {
    pub(crate) fn new(parts: Parts) -> Runner {
        Runner {
            shown_identities: ShownIdentities::new(parts.identities.clone()),
            parts,
            calls: BTreeMap::new(),
            reloads: BTreeMap::new(),
            agreement_calls: BTreeMap::new(),
            gossip: BTreeMap::new(),
            asks: BTreeMap::new(),
            credits: Vec::new(),
            commits: FuturesUnordered::new(),
            gathered: Gathered::default(),
            charge_calls: BTreeMap::new(),
            books_calls: BTreeMap::new(),
            lost_calls: BTreeMap::new(),
            returned: Vec::new(),
            heard: Vec::new(),
            partner_nodes: PartnerNodes::default(),
            pin_checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            cdr_lookups: Arc::new(Semaphore::new(CDR_LOOKUPS_AT_ONCE)),
            next_id: 0,
        }
    }

    /// Runs until it is told to stop, or one of its ends is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let mut inputs = Vec::new();
            match self.wait().await {
                Woken::Event(Some(event)) => self.event(event, &mut inputs),
                Woken::Command(Some(command)) => self.command(command, &mut inputs),
                Woken::Committed(Ok(())) => continue,
                Woken::Committed(Err(error)) => {
                    self.recover(&error).await;
                    continue;
                }
                Woken::Answer(answer) => inputs.push(answer),
                Woken::Returned => {}
                Woken::Deadline => inputs.push(Input::Tick),
                Woken::Event(None) | Woken::Command(None) | Woken::Stop => break,
            }
            self.collect(&mut inputs);
            self.round(inputs).await;
        }
        self.finish().await;
    }

    async fn wait(&mut self) -> Woken {
        let now = self.parts.clock.now();
        let wait_ms = self.parts.core.next_deadline().at_ms.saturating_sub(now.mono_ms);
        let full = self.commits.len() >= DIRECTORY_COMMITS_MAX;
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => Woken::Stop,
            Some(done) = self.commits.next(), if !self.commits.is_empty() => Woken::Committed(done),
            () = std::future::ready(()), if !self.returned.is_empty() && !full => Woken::Returned,
            Some(answer) = self.parts.answers.recv(), if !full => Woken::Answer(answer),
            command = self.parts.commands.recv(), if !full => Woken::Command(command),
            event = self.parts.events.recv(), if !full => Woken::Event(event),
            () = due_in(wait_ms), if !full => Woken::Deadline,
        }
    }

    /// What else is there already.
    fn collect(&mut self, inputs: &mut Vec<Input>) {
        inputs.append(&mut self.returned);
        inputs.append(&mut self.heard);
        while inputs.len() < ROUND_INPUTS_MAX
            && let Ok(answer) = self.parts.answers.try_recv()
        {
            inputs.push(answer);
        }
        while inputs.len() < ROUND_INPUTS_MAX {
            match self.parts.commands.try_recv() {
                Ok(command) => self.command(command, inputs),
                Err(_) => break,
            }
        }
        while inputs.len() < ROUND_INPUTS_MAX {
            match self.parts.events.try_recv() {
                Ok(event) => self.event(event, inputs),
                Err(_) => break,
            }
        }
        let now = self.parts.clock.now();
        if self.parts.core.next_deadline().at_ms <= now.mono_ms {
            inputs.push(Input::Tick);
        }
    }

    async fn round(&mut self, inputs: Vec<Input>) {
        let now = self.parts.clock.now();
        let told: Vec<Input> = inputs.iter().filter_map(Input::told_again).collect();
        let mut effects = Effects::default();
        for input in inputs {
            effects.append(self.parts.core.handle(input, now));
        }
        self.credits.clear();
        self.partner_nodes.tell(&self.parts.mesh);
        let Effects { ledger, directory, actions } = effects;
        let applied = self.applied(&directory);
        let promises = !ledger.is_empty();
        let committed = if promises { self.parts.store.commit_ledger(ledger).await } else { Ok(()) };
        if let Err(error) = committed {
            self.refuse_calls(&error);
            // Which backends heard of their starts is known here alone.
            self.returned.extend(told);
            return self.recover(&error).await;
        }
        self.gathered.add(directory, now);
        // A deadline in the past: the next slice of a repair is due at once.
        let more_follows = self.parts.core.next_deadline().at_ms == 0;
        if promises || !more_follows || self.gathered.is_full(now) {
            match self.commit_gathered(now) {
                // A backend that pushed reads its own write on this node.
                Some(commit) if promises => {
                    if let Err(error) = commit.await {
                        // The ledger holds the promise, and the directory is made from it: not to be refused.
                        let replies = actions.into_iter().filter(|a| matches!(a, Action::Reply { .. }));
                        replies.for_each(|reply| self.act(reply));
                        return self.recover(&error).await;
                    }
                }
                commit => self.commits.extend(commit),
            }
        }
        for action in actions {
            self.act(action);
        }
        self.shown_identities.show(&self.parts.core, now);
        if let Some(watchers) = self.parts.watchers.listening() {
            for piece in applied.chunks(PIECE_CHANGES_MAX) {
                // The last watcher may have left meanwhile.
                let _listeners = watchers.send(piece.into());
            }
        }
    }

    /// Hands what the directory has to be told to storage, if there is anything.
    fn commit_gathered(&mut self, now: Now) -> Option<DirectoryCommit> {
        let changes = self.gathered.take();
        (!changes.is_empty()).then(|| self.parts.store.commit_directory(changes, now.unix_ms))
    }

    fn applied(&self, changes: &[DirectoryChange]) -> Vec<AppliedChange> {
        if self.parts.watchers.listening().is_none() {
            return Vec::new();
        }
        let of = |change: &DirectoryChange| match change {
            DirectoryChange::Records { feed, records } => {
                let kind = feed.kind;
                records
                    .iter()
                    .map(|r| AppliedChange { kind, key: r.key.clone(), at_unix_ms: r.at_unix_ms })
                    .collect()
            }
            _ => Vec::new(),
        };
        changes.iter().flat_map(of).collect()
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn command(&mut self, command: Command, inputs: &mut Vec<Input>) {
        let call = CallId(self.id());
        match command {
            Command::PushData { party, push, body, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::PushData { call, party, push, body });
            }
            Command::PushStatus { party, push, body, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::PushStatus { call, party, push, body });
            }
            Command::PushPrices { party, push, body, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::PushPrices { call, party, push, body });
            }
            Command::PushAuthentication { party, push, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::PushAuthentication { call, party, push });
            }
            Command::PullAuthentication { cpo, reply } => {
                let now = self.parts.clock.now();
                let _gone = reply.send(self.parts.core.media_for(&cpo, MEDIA_PULLED_MAX, now));
            }
            Command::Confirm { held, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::Confirm { call, held });
            }
            Command::Reload { standing, reply } => {
                let Standing { trust, parties, policy } = (*standing).clone();
                self.reloads.insert(call, (standing, reply));
                inputs.push(Input::Reloaded { call, trust, parties, policy });
            }
            Command::HandIn { object, reply } => {
                self.calls.insert(call, reply);
                inputs.push(Input::HandIn { call, bytes: object });
            }
            Command::Trust { reply } => {
                let trust = self.parts.core.trust_view(self.parts.clock.now());
                // The asker may have gone.
                let _gone = reply.send(trust_summary(&trust, &self.parts.parties));
            }
            Command::Committed { reply } => {
                // The round before was committed, and the next one has a later time. The asker may have gone.
                let _gone = reply.send(());
            }
            Command::Agreement { act, reply } => {
                self.agreement_calls.insert(call, reply);
                inputs.push(Input::Agreement { call, act });
            }
            Command::Permissions { partner, reply } => {
                let permissions = permissions(&self.parts.core, &partner, self.parts.clock.now());
                // The asker may have gone.
                let _gone = reply.send(permissions);
            }
            Command::Charge { party, request, body, evse, reply } => {
                self.charge_calls.insert(call, reply);
                inputs.push(Input::Charge { call, party, request, body, evse });
            }
            Command::Cdr { party, arrival, body, replaces, reply } => {
                self.charge_calls.insert(call, reply);
                inputs.push(Input::Cdr { call, party, arrival, body, replaces });
            }
            Command::Hub { word, reply } => {
                self.charge_calls.insert(call, reply);
                inputs.push(word.input(call));
            }
            Command::Accounts(command) => self.accounts_command(call, command, inputs),
            Command::Sessions { phase, reply } => {
                let _gone = reply.send(sessions(&self.parts.core, phase));
            }
            Command::Evidence(command) => self.evidence(command, call, inputs),
            Command::View { reply } => self.view(reply),
        }
    }

    /// A task asks for the peers, and waits until pulls show what the view says: the engine waits for
    /// neither.
    fn view(&mut self, reply: oneshot::Sender<NodeView>) {
        let commit = self.commit_gathered(self.parts.clock.now());
        self.commits.extend(commit);
        let (view, mesh) = (self.parts.core.view(), self.parts.mesh.clone());
        let counts = (session_counts(&self.parts.core), cdr_counts(&self.parts.core));
        let (parties, store) = (self.parts.parties.clone(), self.parts.store.clone());
        self.parts.spawner.task(Box::pin(async move {
            store.settled().await;
            let peers = mesh.peers().await.unwrap_or_default();
            // The asker may have gone.
            let view = node_view(mesh.node_text(), parties, view, counts, peers);
            let _gone = reply.send(view);
        }));
    }

    fn event(&mut self, event: MeshEvent, inputs: &mut Vec<Input>) {
        match event {
            MeshEvent::PeerUp { node, answers: true, .. } => inputs.push(Input::PeerUp(node)),
            MeshEvent::PeerDown { node } => inputs.push(Input::PeerDown(node)),
            MeshEvent::PingGap { node } => inputs.push(Input::GapSuspected(node)),
            MeshEvent::Gossip { topic, from, data, token } => {
                let gossip = GossipId(self.id());
                self.gossip.insert(gossip, token);
                inputs.push(Input::Announced { from, gossip, topic, bytes: data });
            }
            MeshEvent::Asked { from, body, token } => {
                let ask = AskId(self.id());
                self.asks.insert(ask, token);
                inputs.push(Input::Asked { from, ask, bytes: body });
            }
            MeshEvent::Answered { request, from, body } => {
                inputs.push(Input::Answered { from, request: RequestId(request.0), bytes: body });
            }
            MeshEvent::AskFailed { request, why, .. } => {
                let sent = matches!(why, mesh::AskFailure::Timeout | mesh::AskFailure::Disconnected);
                inputs.push(Input::AskFailed { request: RequestId(request.0), sent });
            }
            MeshEvent::SyncFrame { sync, frame, credit, .. } => {
                self.credits.push(credit);
                inputs.push(Input::SyncFrame { sync: SyncId(sync.0), bytes: frame });
            }
            MeshEvent::SyncEnded { sync, .. } | MeshEvent::SyncFailed { sync, .. } => {
                inputs.push(Input::SyncFailed { sync: SyncId(sync.0) });
            }
            MeshEvent::SyncAsked { from, request, responder } => self.serve(&from, &request, responder),
            MeshEvent::CardFound { key, value } => inputs.push(Input::CardFound { key, bytes: value }),
            MeshEvent::CardNotFound { key } => inputs.push(Input::CardNotFound { key }),
            MeshEvent::PeerUp { answers: false, .. }
            | MeshEvent::PeerSubscribed { .. }
            | MeshEvent::Listening { .. } => {}
        }
    }

    fn refuse_calls(&mut self, error: &EngineError) {
        for reply in std::mem::take(&mut self.calls).into_values() {
            let _gone = reply.send(Err(error.clone()));
        }
        for (_, reply) in std::mem::take(&mut self.reloads).into_values() {
            let _gone = reply.send(Err(error.clone()));
        }
        for reply in std::mem::take(&mut self.agreement_calls).into_values() {
            let _gone = reply.send(Err(error.clone()));
        }
        for reply in std::mem::take(&mut self.lost_calls).into_values() {
            let _gone = reply.send(Err(error.clone()));
        }
        for reply in std::mem::take(&mut self.charge_calls).into_values() {
            let _gone = reply.send(Err(error.clone()));
        }
    }

    /// Storage refused: what the core believes was not committed, so it is made anew from what was.
    async fn recover(&mut self, error: &EngineError) {
        tracing::error!(%error, "storage refused a change; the node goes back to what is stored");
        self.refuse_calls(error);
        self.gossip.clear();
        self.asks.clear();
        self.credits.clear();
        self.gathered = Gathered::default();
        while self.commits.next().await.is_some() {}
        loop {
            let again = tokio::time::sleep(RECOVER_EVERY);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = self.parts.stop.cancelled() => return,
                    // Nobody waits for a storage that may be away for long.
                    Some(command) = self.parts.commands.recv() => command.refuse(error),
                    () = &mut again => break,
                }
            }
            match (self.parts.restore)().await {
                Ok(core) => {
                    self.parts.core = core;
                    break;
                }
                Err(error) => tracing::error!(%error, "storage cannot be read; trying again"),
            }
        }
        let now = self.parts.clock.now();
        for peer in self.parts.mesh.peers().await.unwrap_or_default() {
            let effects = self.parts.core.handle(Input::PeerUp(peer.node), now);
            effects.actions.into_iter().for_each(|action| self.act(action));
        }
    }

    /// What is under way is finished; what was acknowledged is on disk already.
    async fn finish(mut self) {
        let mut told = std::mem::take(&mut self.heard);
        told.extend(self.returned.iter().filter_map(Input::told_again));
        if !told.is_empty() {
            self.round(told).await;
        }
        self.refuse_calls(&EngineError::Stopped);
        let commit = self.commit_gathered(self.parts.clock.now());
        self.commits.extend(commit);
        while let Some(done) = self.commits.next().await {
            if let Err(error) = done {
                tracing::error!(%error, "the last changes of the directory were not stored; they will be repaired");
            }
        }
        self.parts.store.close().await;
    }
}

/// Waits; what is due already waits for one turn of the scheduler only, for a timer would take a
/// millisecond or two, and a repair is written in thousands of slices.
async fn due_in(wait_ms: u64) {
    match wait_ms {
        0 => tokio::task::yield_now().await,
        _ => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
    }
}
