//! Serving a repair: what storage read from one snapshot goes out frame by frame, as fast as the peer
//! takes it.

use std::pin::Pin;

use super::handle::EngineError;
use crate::mesh::SyncResponder;
use crate::protocol::SyncFrame;
use crate::storage::FeedAnswer;

/// A read that storage does.
pub(crate) type Reading = Pin<Box<dyn Future<Output = Result<Option<FeedAnswer>, EngineError>> + Send>>;

/// The answer of a node that does not hold the feed.
pub(crate) fn nothing() -> Reading {
    Box::pin(std::future::ready(Ok(None)))
}

/// Reads, then sends.
pub(crate) async fn serve(reading: Reading, mut responder: SyncResponder) {
    let frames = match reading.await {
        Ok(Some(answer)) => {
            let start = std::iter::once(SyncFrame::Start(answer.start));
            start.chain(answer.chunks.into_iter().map(SyncFrame::Chunk)).chain([SyncFrame::End]).collect()
        }
        Ok(None) => vec![SyncFrame::Unavailable],
        Err(error) => {
            tracing::warn!(%error, "a repair could not be served");
            vec![SyncFrame::Unavailable]
        }
    };
    for frame in frames {
        if responder.send(frame.encode()).await.is_err() {
            tracing::debug!("a peer went away, or was too slow, while it was served");
            return;
        }
    }
    responder.finish().await;
}
