//! Reading the body of a request: right content type, within the size and the time, within the memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode as Http, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::Answer;
use super::config::Config;

/// Memory for bodies is handed out in pieces of this size, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// How bodies are read.
pub(super) struct BodyReader {
    size_bytes_max: usize,
    whole: Duration,
    silence: Duration,
    memory: Arc<Semaphore>,
}

/// A body that was read, with the memory that it holds until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl BodyReader {
    pub(super) fn new(config: &Config) -> BodyReader {
        let pieces = (config.bodies_held_bytes_max / PIECE_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        BodyReader {
            size_bytes_max: config.body_size_bytes_max,
            whole: Duration::from_millis(config.body_timeout_ms),
            silence: Duration::from_millis(config.body_idle_timeout_ms),
            memory: Arc::new(Semaphore::new(pieces)),
        }
    }

    /// Reads a JSON body.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, Answer> {
        check_content_type(headers)?;
        if announced_bytes(headers).is_some_and(|size| size > self.size_bytes_max) {
            return Err(self.too_large());
        }
        timeout(self.whole, self.collect(body)).await.unwrap_or_else(|_| Err(too_slow()))
    }

    async fn collect(&self, body: Body) -> Result<Received, Answer> {
        let mut stream = body.into_data_stream();
        let mut bytes = BytesMut::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = timeout(self.silence, stream.next()).await.map_err(|_| too_slow())? {
            let chunk = chunk.map_err(|_| broken_off())?;
            if bytes.len().saturating_add(chunk.len()) > self.size_bytes_max {
                return Err(self.too_large());
            }
            let held = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let needed = (bytes.len() + chunk.len()).div_ceil(PIECE_BYTES).saturating_sub(held);
            let more = u32::try_from(needed).map_err(|_| self.too_large())?;
            let more = Arc::clone(&self.memory).try_acquire_many_owned(more).map_err(|_| {
                // The rest of the body is not read, so the connection cannot go on.
                Answer { close: true, ..Answer::busy() }
            })?;
            match &mut memory {
                Some(memory) => memory.merge(more),
                None => memory = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Received { bytes: bytes.freeze(), _memory: memory })
    }

    fn too_large(&self) -> Answer {
        let message = format!(
            "the body is larger than {} bytes: push in several messages, or raise `body_size_bytes_max` in the \
             section facade",
            self.size_bytes_max
        );
        Answer::unreadable(Http::PAYLOAD_TOO_LARGE, "body", &message)
    }
}

/// OICP is JSON; any charset parameter is taken, the text has to be UTF-8 all the same (GAPS D3).
fn check_content_type(headers: &HeaderMap) -> Result<(), Answer> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the header Content-Type must be application/json";
    Err(Answer::unreadable(Http::BAD_REQUEST, "Content-Type", message))
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_slow() -> Answer {
    let message = "the body did not come in time: send it faster, or in several messages";
    Answer::unreadable(Http::REQUEST_TIMEOUT, "body", message)
}

fn broken_off() -> Answer {
    Answer::unreadable(Http::BAD_REQUEST, "body", "the body broke off before its end: send it again")
}
