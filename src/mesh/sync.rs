//! Repair and cold start: one stream per sync; a question, then frames until the server closes it. Both
//! sides go no faster than the slower one: the asker reads the next frame when the engine has worked
//! off the last but one, the server's engine waits in [`SyncResponder::send`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::futures::AsyncWriteExt as _;
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::event::{FrameCredit, MeshEvent, Penalty, SyncFailure, SyncId};
use super::framing::{FrameError, read_frame, write_frame};
use super::streams::{Notice, OpenFailure, Place, Streams};
use super::transport::node_id;
use crate::protocol::{PROTOCOL_VERSION, SYNC_FRAME_BYTES_MAX};

/// Largest question in bytes: 256 bucket hashes are 9 KiB.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Frames of one sync between the stream and the engine.
const FRAMES_UNDER_WAY_MAX: usize = 2;

/// The name of the protocol on a network.
pub(super) fn protocol(network: &str) -> Option<StreamProtocol> {
    StreamProtocol::try_from_owned(format!("/chargemesh/{network}/sync/{PROTOCOL_VERSION}")).ok()
}

/// A sync that we ask for.
pub(super) struct Asking {
    pub(super) sync: SyncId,
    pub(super) peer: PeerId,
    pub(super) protocol: StreamProtocol,
    pub(super) request: Bytes,
    pub(super) cancel: CancellationToken,
    pub(super) place: OwnedSemaphorePermit,
}

/// Asks, and passes the frames to the engine.
pub(super) async fn ask(streams: Streams, asking: Asking) {
    let Asking { sync, peer, protocol, request, cancel, place } = asking;
    let from = node_id(&peer);
    let draw = draw(&streams, sync, peer, protocol, request);
    let event = tokio::select! {
        biased;
        // Whoever cancels wants to hear nothing more.
        () = cancel.cancelled() => None,
        drawn = draw => Some(match drawn {
            Ok(()) => MeshEvent::SyncEnded { sync, from },
            Err(why) => MeshEvent::SyncFailed { sync, from, why },
        }),
    };
    drop(place);
    streams.notice(Notice::SyncOver(sync));
    if let Some(event) = event {
        streams.tell(event).await;
    }
}

async fn draw(
    streams: &Streams,
    sync: SyncId,
    peer: PeerId,
    protocol: StreamProtocol,
    request: Bytes,
) -> Result<(), SyncFailure> {
    let mut stream = streams.open(peer, protocol).await.map_err(|failure| match failure {
        OpenFailure::Unreachable => SyncFailure::Unreachable,
        OpenFailure::Unsupported => SyncFailure::Unsupported,
    })?;
    // A server without a free place closes at once: that may be seen while writing already.
    write_frame(&mut stream, &[&request], streams.frame_deadline()).await.map_err(|e| failure(&e, 0))?;
    let idle = Duration::from_millis(streams.config.sync_idle_ms);
    let credits = Arc::new(Semaphore::new(FRAMES_UNDER_WAY_MAX));
    let mut frames = 0u64;
    loop {
        let Ok(permit) = credits.clone().acquire_owned().await else { return Ok(()) };
        let read = read_frame(&mut stream, SYNC_FRAME_BYTES_MAX, streams.frame_deadline());
        let read = timeout(idle, read).await.unwrap_or(Err(FrameError::TooSlow));
        match read {
            Ok(Some(frame)) => {
                let credit = FrameCredit { _permit: permit };
                let from = node_id(&peer);
                streams.tell(MeshEvent::SyncFrame { sync, from, frame, credit }).await;
                frames += 1;
            }
            Ok(None) if frames == 0 => return Err(SyncFailure::Refused),
            Ok(None) => return Ok(()),
            Err(error) => {
                if matches!(error, FrameError::TooLarge { .. }) {
                    streams.notice(Notice::Offence(peer, Penalty::Malformed));
                }
                return Err(failure(&error, frames));
            }
        }
    }
}

fn failure(error: &FrameError, frames: u64) -> SyncFailure {
    match error {
        FrameError::TooSlow => SyncFailure::Timeout,
        FrameError::TooLarge { .. } => SyncFailure::Malformed,
        FrameError::Broken(_) if frames == 0 => SyncFailure::Refused,
        FrameError::Broken(_) => SyncFailure::Disconnected,
    }
}

/// Reads a peer's question and hands it to the engine.
pub(super) async fn serve(streams: Streams, peer: PeerId, mut stream: Stream, place: Place) {
    let deadline = streams.frame_deadline();
    let read = timeout(deadline, read_frame(&mut stream, REQUEST_BYTES_MAX, deadline));
    match read.await.unwrap_or(Err(FrameError::TooSlow)) {
        Ok(Some(request)) => {
            let responder =
                SyncResponder { stream, deadline, stop: streams.stop.clone(), peer, place, broken: false };
            streams.tell(MeshEvent::SyncAsked { from: node_id(&peer), request, responder }).await;
        }
        Ok(None) => {}
        Err(FrameError::TooSlow) => streams.notice(Notice::Offence(peer, Penalty::TooSlow)),
        Err(FrameError::TooLarge { .. }) => streams.notice(Notice::Offence(peer, Penalty::Malformed)),
        Err(FrameError::Broken(_)) => {}
    }
}

/// Closes a stream for which there is no place.
pub(super) async fn refuse(streams: Streams, mut stream: Stream) {
    // It is only a courtesy: dropping the stream resets it.
    let _ = timeout(streams.frame_deadline(), stream.close()).await;
}

/// The answer to a peer's sync. Dropped without [`SyncResponder::finish`], the asker sees a broken
/// stream.
#[derive(Debug)]
pub struct SyncResponder {
    stream: Stream,
    deadline: Duration,
    stop: CancellationToken,
    peer: PeerId,
    place: Place,
    broken: bool,
}

/// The asker is gone, too slow, or the mesh stops: end the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer that asked for the sync takes no more")]
pub struct Closed;

impl SyncResponder {
    /// Sends one frame, waiting until the peer has room for it.
    ///
    /// # Errors
    /// [`Closed`] if the peer did not take it within the frame deadline or is gone, if the mesh stops,
    /// or if the frame is larger than [`SYNC_FRAME_BYTES_MAX`].
    pub async fn send(&mut self, frame: Bytes) -> Result<(), Closed> {
        if self.broken || frame.len() > SYNC_FRAME_BYTES_MAX {
            return Err(Closed);
        }
        // A frame cut off in the middle ends the stream, also if this call is given up.
        self.broken = true;
        let parts: [&[u8]; 1] = [&frame];
        let sent = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Closed),
            sent = write_frame(&mut self.stream, &parts, self.deadline) => sent,
        };
        self.broken = sent.is_err();
        sent.map_err(|error| {
            tracing::debug!(peer = %self.peer, %error, "a sync answer broke off");
            Closed
        })
    }

    /// Ends the answer in good order.
    pub async fn finish(mut self) {
        if !self.broken {
            // If it fails, the asker sees a broken stream and asks somebody else.
            let _ = timeout(self.deadline, self.stream.close()).await;
        }
        drop(self.place);
    }
}
