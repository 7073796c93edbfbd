//! What the mesh tells the engine, and the small types of its interface.

use std::time::Duration;

use bytes::Bytes;
use libp2p::{PeerId, gossipsub::MessageId};
use tokio::sync::OwnedSemaphorePermit;

use super::exchange::AskToken;
use super::sync::SyncResponder;
use crate::protocol::{NodeId, Topic};

/// A number by which the caller knows a question again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A number by which the caller knows a sync again. Must not be used twice at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncId(pub u64);

/// Stands for one gossip message that waits for a verdict. A message that is not judged within some
/// ten seconds is forgotten and not passed on.
#[derive(Clone, Debug)]
pub struct GossipToken {
    pub(super) id: MessageId,
    pub(super) source: PeerId,
}

/// Room for one more frame of a sync; the next frame is read when it is dropped.
#[derive(Debug)]
pub struct FrameCredit {
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What the mesh tells the engine.
#[derive(Debug)]
pub enum MeshEvent {
    /// A node of this network is connected and has said what it speaks.
    PeerUp {
        /// The node.
        node: NodeId,
        /// Address of the connection as a multiaddress.
        address: String,
        /// Whether it answers questions; a pure bootstrap node does not.
        answers: bool,
    },
    /// The last connection to a node that was up has closed.
    PeerDown {
        /// The node.
        node: NodeId,
    },
    /// A connected node listens to a topic from now on.
    PeerSubscribed {
        /// The node.
        node: NodeId,
        /// The topic.
        topic: Topic,
    },
    /// A gossip message; it is passed on only after [`super::Mesh::judge`] accepts it.
    Gossip {
        /// The topic.
        topic: Topic,
        /// Who passed it on; not who wrote it.
        from: NodeId,
        /// The message.
        data: Bytes,
        /// For the verdict.
        token: GossipToken,
    },
    /// A node asks; answer with [`super::Mesh::answer`], or drop the token and let it time out.
    Asked {
        /// The node.
        from: NodeId,
        /// The question.
        body: Bytes,
        /// For the answer; holds one of the peer's places until it is used or dropped.
        token: AskToken,
    },
    /// The answer to a question; may come after `AskFailed { why: Timeout }` of the same question.
    Answered {
        /// The question.
        request: RequestId,
        /// Who answered.
        from: NodeId,
        /// The answer.
        body: Bytes,
    },
    /// A question has no answer.
    AskFailed {
        /// The question.
        request: RequestId,
        /// Who was asked.
        to: NodeId,
        /// Why.
        why: AskFailure,
    },
    /// A node asks for a sync.
    SyncAsked {
        /// The node.
        from: NodeId,
        /// The question.
        request: Bytes,
        /// For the frames of the answer.
        responder: SyncResponder,
    },
    /// One frame of an answer to our sync.
    SyncFrame {
        /// The sync.
        sync: SyncId,
        /// Who serves it.
        from: NodeId,
        /// The frame.
        frame: Bytes,
        /// Drop it when the frame has been worked off: two frames are under way at most.
        credit: FrameCredit,
    },
    /// The server closed the stream in good order after its last frame.
    SyncEnded {
        /// The sync.
        sync: SyncId,
        /// Who served it.
        from: NodeId,
    },
    /// The sync broke off.
    SyncFailed {
        /// The sync.
        sync: SyncId,
        /// Who should have served it.
        from: NodeId,
        /// Why.
        why: SyncFailure,
    },
    /// A card that passed the check; the one with the highest seq of those found.
    CardFound {
        /// Its key.
        key: [u8; 32],
        /// The card.
        value: Bytes,
    },
    /// Nobody asked has a valid card under this key.
    CardNotFound {
        /// The key.
        key: [u8; 32],
    },
    /// Pings of this node failed or came late: gossip may have been missed (`decisions.md` 8).
    PingGap {
        /// The node.
        node: NodeId,
    },
    /// A listen address is open.
    Listening {
        /// The multiaddress, with `/p2p/<peer id>`.
        address: String,
    },
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskFailure {
    /// No address is known, or none could be reached.
    Unreachable,
    /// No answer in the time given.
    Timeout,
    /// Too many questions wait for this partner already, or too many partners are in use.
    Busy,
    /// The stream broke before the answer came; the question may have been received.
    Disconnected,
    /// The partner does not speak the exchange protocol of this network and version.
    Unsupported,
}

/// Why a sync broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// No address is known, or none could be reached.
    Unreachable,
    /// The server closed the stream before the first frame: it has no place free.
    Refused,
    /// A frame did not come in time.
    Timeout,
    /// The stream broke.
    Disconnected,
    /// A frame was larger than allowed.
    Malformed,
    /// The partner does not speak the sync protocol of this network and version.
    Unsupported,
    /// As many syncs as allowed run already, or this id is in use.
    Busy,
}

/// What a node is penalised for: only what is wrong for everybody (`decisions.md` 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// Something that does not decode.
    Malformed,
    /// A signature that does not verify.
    BadSignature,
    /// An EVSE outside of the sender's own credential.
    ForeignRecord,
    /// A sync answer that does not match the head that it began with.
    SyncMismatch,
    /// More streams or questions than allowed.
    Flood,
    /// A frame that took longer than its deadline.
    TooSlow,
    /// A gossip message that was judged wrong for everybody.
    Rejected,
}

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The mesh has no room for it now: try again later.
    #[error("the mesh is busy: try again later")]
    Busy,
    /// The mesh has been shut down.
    #[error("the mesh has been shut down")]
    Stopped,
    /// Larger than the protocol allows: split it.
    #[error("{size} bytes are more than the limit of {limit} bytes: split it")]
    TooLarge {
        /// Size in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
}

/// Why the mesh did not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A setting is wrong.
    #[error("mesh.{key}: {rule}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// An address in the settings is wrong.
    #[error("mesh.{key}: `{address}` {rule}")]
    Address {
        /// The setting.
        key: &'static str,
        /// The address.
        address: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The address cannot be listened on.
    #[error("mesh.listen: cannot listen on `{address}`: {why}; is the port taken?")]
    Listen {
        /// The address.
        address: String,
        /// What the transport said.
        why: String,
    },
    /// The transport or a protocol could not be built.
    #[error("the {part} of the mesh could not be built: {why}")]
    Build {
        /// The part.
        part: &'static str,
        /// What the library said.
        why: String,
    },
}

/// Why a connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The settings say so.
    Keep,
    /// A sync runs over it.
    Sync,
    /// A node of a partner, as the core says.
    Partner,
    /// Questions were asked or answered within the last seconds.
    Asked,
    /// Gossip is exchanged over it.
    Gossip,
    /// Joining the network.
    Bootstrap,
    /// None; closed when connections get many.
    None,
}

impl Purpose {
    /// One word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Keep => "keep",
            Purpose::Sync => "sync",
            Purpose::Partner => "partner",
            Purpose::Asked => "asked",
            Purpose::Gossip => "gossip",
            Purpose::Bootstrap => "bootstrap",
            Purpose::None => "none",
        }
    }
}

/// One connected peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The node.
    pub node: NodeId,
    /// Its peer id in base58.
    pub node_text: String,
    /// Address of the oldest connection.
    pub address: String,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
    /// Why the connection is kept.
    pub purpose: Purpose,
    /// Topics that it listens to.
    pub topics: Vec<Topic>,
}

/// What the mesh counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshCounts {
    /// Messages published.
    pub published: u64,
    /// Messages published while nobody was known to listen; repair brings them.
    pub published_to_nobody: u64,
    /// Messages that gossipsub refused (queues full).
    pub publish_failed: u64,
    /// Verdicts that came after the message was forgotten; it was not passed on.
    pub verdicts_late: u64,
    /// Cards refused: forged, malformed or too large.
    pub cards_refused: u64,
    /// Cards ignored because a newer one is held, or none fits.
    pub cards_ignored: u64,
    /// Searches for a card that found one.
    pub cards_found: u64,
    /// Searches for a card that found none.
    pub cards_not_found: u64,
    /// Inbound streams dropped because the peer held too many.
    pub streams_refused: u64,
    /// Streams with questions that are open to us now.
    pub streams_open: u64,
    /// Connections that are established now; two with one peer count twice.
    pub connections_open: u64,
    /// Connections that are being made now, in either direction.
    pub connections_pending: u64,
    /// Connections closed because they had no purpose.
    pub connections_trimmed: u64,
    /// Times a peer was blocked.
    pub peers_blocked: u64,
}
