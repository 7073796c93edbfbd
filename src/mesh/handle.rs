//! The mesh as the engine sees it: a cheap clone in front of one task. Nothing here waits for a peer.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event::{GossipToken, MeshCounts, PeerInfo, Penalty, Refused, RequestId, SyncId};
use super::exchange::{AskToken, BODY_BYTES_MAX};
use super::{discovery, sync};
use crate::protocol::{GOSSIP_BYTES_MAX, NodeId, Topic, Verdict};

/// Time in which all tasks must have ended after a stop.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// What the handle tells the swarm's task.
pub(super) enum Command {
    Publish { topic: Topic, data: Bytes },
    Judge { token: GossipToken, verdict: Verdict },
    Ask { to: NodeId, request: RequestId, body: Bytes, deadline: Instant },
    Sync { to: NodeId, sync: SyncId, request: Bytes },
    CancelSync { sync: SyncId },
    Penalise { node: NodeId, penalty: Penalty },
    PutCard { key: [u8; 32], value: Bytes },
    FindCard { key: [u8; 32] },
    AddAddress { node: NodeId, address: String },
    KeepPartners { nodes: Vec<NodeId> },
    Peers { reply: oneshot::Sender<Vec<PeerInfo>> },
    Addresses { reply: oneshot::Sender<Vec<String>> },
    Counts { reply: oneshot::Sender<MeshCounts> },
    Blocked { reply: oneshot::Sender<Vec<NodeId>> },
}

/// A handle to the mesh.
#[derive(Clone)]
pub struct Mesh {
    pub(super) node: NodeId,
    pub(super) node_text: String,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Mesh {
    /// This node.
    pub fn node_id(&self) -> &NodeId {
        &self.node
    }

    /// This node's peer id in base58.
    pub fn node_text(&self) -> &str {
        &self.node_text
    }

    /// The listen addresses, each with `/p2p/<peer id>`. Not for the task that takes the events:
    /// the mesh answers only while it has room for events. Answered when all listeners are open.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub async fn listen_addresses(&self) -> Result<Vec<String>, Refused> {
        self.fetch(|reply| Command::Addresses { reply }).await
    }

    /// All connected peers. Not for the task that takes the events.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Refused> {
        self.fetch(|reply| Command::Peers { reply }).await
    }

    /// What was counted since the start. Not for the task that takes the events.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub async fn counts(&self) -> Result<MeshCounts, Refused> {
        self.fetch(|reply| Command::Counts { reply }).await
    }

    /// The nodes that are blocked now (see [`Mesh::penalise`]). Not for the task that takes the events.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub async fn blocked(&self) -> Result<Vec<NodeId>, Refused> {
        self.fetch(|reply| Command::Blocked { reply }).await
    }

    /// Publishes a message, whether this node is subscribed to the topic or not. That nobody listens is
    /// no error: repair brings it.
    ///
    /// # Errors
    /// [`Refused`] if it is larger than [`GOSSIP_BYTES_MAX`], or the mesh is busy or stopped.
    pub fn try_publish(&self, topic: Topic, data: Bytes) -> Result<(), Refused> {
        fits(data.len(), GOSSIP_BYTES_MAX)?;
        self.send(Command::Publish { topic, data })
    }

    /// Judges a gossip message; must be called for each. If the mesh is busy the verdict is lost and
    /// the message is not passed on.
    pub fn judge(&self, token: GossipToken, verdict: Verdict) {
        if self.send(Command::Judge { token, verdict }).is_err() {
            tracing::debug!("a verdict was lost");
        }
    }

    /// Asks a node; dials it if it is not connected. Exactly one of `Answered` and `AskFailed` follows,
    /// or after a time-out also a late `Answered`.
    ///
    /// # Errors
    /// [`Refused`] if the question is too large, or the mesh is busy or stopped; then nothing follows.
    pub fn try_ask(
        &self,
        to: NodeId,
        request: RequestId,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(), Refused> {
        fits(body.len(), BODY_BYTES_MAX)?;
        let deadline = Instant::now() + timeout;
        self.send(Command::Ask { to, request, body, deadline })
    }

    /// Answers a question.
    ///
    /// # Errors
    /// [`Refused::TooLarge`]; the asker then hears nothing until its time-out.
    pub fn answer(&self, token: AskToken, body: Bytes) -> Result<(), Refused> {
        fits(body.len(), BODY_BYTES_MAX)?;
        token.answer(body);
        Ok(())
    }

    /// Asks a node for a sync. `SyncFrame`s follow, and at the end exactly one of `SyncEnded` and
    /// `SyncFailed`, unless it is cancelled.
    ///
    /// # Errors
    /// [`Refused`] if the question is too large, or the mesh is busy or stopped; then nothing follows.
    pub fn try_sync(&self, to: NodeId, sync: SyncId, request: Bytes) -> Result<(), Refused> {
        fits(request.len(), sync::REQUEST_BYTES_MAX)?;
        self.send(Command::Sync { to, sync, request })
    }

    /// Breaks off a sync; frames that are under way already still come.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub fn cancel_sync(&self, sync: SyncId) -> Result<(), Refused> {
        self.send(Command::CancelSync { sync })
    }

    /// Takes score from a node; the third time within ten minutes it is disconnected and blocked for
    /// ten minutes.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub fn penalise(&self, node: NodeId, penalty: Penalty) -> Result<(), Refused> {
        self.send(Command::Penalise { node, penalty })
    }

    /// Puts a card of this node into Kademlia, and puts it again from time to time; the same key again
    /// replaces it.
    ///
    /// # Errors
    /// [`Refused`] if the card is too large, or the mesh is busy or stopped.
    pub fn put_card(&self, key: [u8; 32], value: Bytes) -> Result<(), Refused> {
        fits(value.len(), discovery::CARD_BYTES_MAX)?;
        self.send(Command::PutCard { key, value })
    }

    /// Looks for a card; `CardFound` or `CardNotFound` follows.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub fn find_card(&self, key: [u8; 32]) -> Result<(), Refused> {
        self.send(Command::FindCard { key })
    }

    /// Makes known under which multiaddress a node can be dialled.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped.
    pub fn add_known_address(&self, node: NodeId, address: String) -> Result<(), Refused> {
        self.send(Command::AddAddress { node, address })
    }

    /// Keeps a connection to each of these nodes: they are dialled when they are missing, on top of
    /// `connections_max`, and never closed for want of a purpose. Replaces the last set; of more than
    /// [`super::PARTNERS_MAX`] the first count.
    ///
    /// # Errors
    /// [`Refused`] if the mesh is busy or stopped; then the last set stays.
    pub fn keep_partners(&self, nodes: Vec<NodeId>) -> Result<(), Refused> {
        self.send(Command::KeepPartners { nodes })
    }

    /// Closes everything and waits until all tasks have ended, five seconds at most.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks of the mesh have not ended in time");
        }
    }

    async fn fetch<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.map_err(|_| Refused::Stopped)
    }

    fn send(&self, command: Command) -> Result<(), Refused> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Stopped,
        })
    }
}

fn fits(size: usize, limit: usize) -> Result<(), Refused> {
    if size > limit { Err(Refused::TooLarge { size, limit }) } else { Ok(()) }
}
