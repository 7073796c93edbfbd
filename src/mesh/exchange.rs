//! Questions and answers: one kept-open stream per partner and direction. The asker's frames carry a
//! kind, a number and a body; the answer has the question's number. A line is opened by the first
//! question, opened again after it broke, and closed when nobody asks for some minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::event::{AskFailure, MeshEvent, Penalty, RequestId};
use super::framing::{FrameError, read_frame, write_frame};
use super::streams::{Notice, OpenFailure, Place, Streams};
use super::transport::node_id;
use crate::protocol::{EXCHANGE_FRAME_BYTES_MAX, PROTOCOL_VERSION};

/// First byte of a question.
const KIND_ASK: u8 = 1;
/// First byte of an answer.
const KIND_ANSWER: u8 = 2;
/// Kind and number before the body.
const PREFIX_BYTES: usize = 9;
/// Largest body: a frame without its kind and number.
pub(super) const BODY_BYTES_MAX: usize = EXCHANGE_FRAME_BYTES_MAX - PREFIX_BYTES;
/// Expired questions whose late answers are still told to the engine.
const LATE_MAX: usize = 64;

/// The name of the protocol on a network.
pub(super) fn protocol(network: &str) -> Option<StreamProtocol> {
    StreamProtocol::try_from_owned(format!("/chargemesh/{network}/exchange/{PROTOCOL_VERSION}")).ok()
}

/// Our line to one partner.
pub(super) struct Line {
    table: Arc<Table>,
    jobs: mpsc::Sender<Job>,
    in_flight_max: usize,
}

struct Job {
    number: u64,
    body: Bytes,
}

impl Line {
    /// Makes a line and starts its task; the stream is opened by the first question.
    pub(super) fn start(streams: &Streams, peer: PeerId, protocol: StreamProtocol) -> Line {
        let in_flight_max = streams.config.asks_in_flight_max;
        let (jobs, received) = mpsc::channel(in_flight_max);
        let table = Arc::new(Table::default());
        let asker = Asker { streams: streams.clone(), peer, protocol, table: table.clone() };
        streams.spawn(asker.run(received));
        Line { table, jobs, in_flight_max }
    }

    /// Whether the task has ended; a new line must be made.
    pub(super) fn is_closed(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Whether a question has no answer yet, be it too late for it.
    pub(super) fn is_waiting(&self) -> bool {
        let waiting = self.table.lock();
        !waiting.open.is_empty() || !waiting.late.is_empty()
    }

    /// The connection is gone, with the stream.
    pub(super) fn disconnected(&self) {
        self.table.disconnected.notify_waiters();
    }

    /// Asks; what becomes of it is told by an event, unless this returns an error.
    pub(super) fn ask(&self, request: RequestId, body: Bytes, deadline: Instant) -> Result<(), AskFailure> {
        let number = {
            let mut waiting = self.table.lock();
            if waiting.open.len() >= self.in_flight_max {
                return Err(AskFailure::Busy);
            }
            waiting.next += 1;
            let number = waiting.next;
            waiting.open.insert(number, Pending { request, deadline });
            number
        };
        self.table.changed.notify_one();
        match self.jobs.try_send(Job { number, body }) {
            Ok(()) => Ok(()),
            // If it is no longer in the table, the task has reported it already.
            Err(error) => self.table.lock().open.remove(&number).map_or(Ok(()), |_| {
                Err(if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    AskFailure::Busy
                } else {
                    AskFailure::Disconnected
                })
            }),
        }
    }
}

/// The questions of one line that have no answer yet.
#[derive(Default)]
struct Table {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// The connection is gone: see [`super::actor::Link::gone`].
    disconnected: Notify,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    open: BTreeMap<u64, Pending>,
    late: VecDeque<(u64, RequestId)>,
}

struct Pending {
    request: RequestId,
    deadline: Instant,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, number: u64) -> Option<RequestId> {
        if let Some(pending) = self.open.remove(&number) {
            return Some(pending.request);
        }
        let at = self.late.iter().position(|(late, _)| *late == number)?;
        self.late.remove(at).map(|(_, request)| request)
    }

    fn take_expired(&mut self, now: Instant) -> Vec<RequestId> {
        let expired: Vec<(u64, RequestId)> =
            self.open.iter().filter(|(_, p)| p.deadline <= now).map(|(n, p)| (*n, p.request)).collect();
        for (number, request) in &expired {
            self.open.remove(number);
            self.late.push_back((*number, *request));
        }
        while self.late.len() > LATE_MAX {
            self.late.pop_front();
        }
        expired.into_iter().map(|(_, request)| request).collect()
    }
}

/// The task of a line.
struct Asker {
    streams: Streams,
    peer: PeerId,
    protocol: StreamProtocol,
    table: Arc<Table>,
}

impl Asker {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        tokio::select! {
            () = self.expire() => {}
            () = self.carry(&mut jobs) => {}
        }
        jobs.close();
        self.fail_all(AskFailure::Disconnected).await;
    }

    /// Reports questions at their deadline.
    async fn expire(&self) {
        loop {
            let next = self.table.lock().open.values().map(|pending| pending.deadline).min();
            match next {
                None => self.table.changed.notified().await,
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.table.changed.notified() => {}
                },
            }
            let expired = self.table.lock().take_expired(Instant::now());
            for request in expired {
                self.fail(request, AskFailure::Timeout).await;
            }
        }
    }

    /// Opens the stream when there is something to ask, until nothing has been asked for long, or the stream broke
    /// and nothing waits: there may be many peers that were asked once.
    async fn carry(&self, jobs: &mut mpsc::Receiver<Job>) {
        let idle = Duration::from_millis(self.streams.config.exchange_idle_ms);
        while let Ok(Some(job)) = timeout(idle, jobs.recv()).await {
            if !self.table.lock().open.contains_key(&job.number) {
                continue;
            }
            match self.streams.open(self.peer, self.protocol.clone()).await {
                Ok(stream) => {
                    let idled = self.talk(stream, job, jobs).await;
                    self.fail_all(AskFailure::Disconnected).await;
                    if idled || jobs.is_empty() {
                        return;
                    }
                }
                Err(OpenFailure::Unreachable) => self.fail_all(AskFailure::Unreachable).await,
                Err(OpenFailure::Unsupported) => self.fail_all(AskFailure::Unsupported).await,
            }
        }
    }

    /// Uses an open stream until it breaks (`false`) or is idle (`true`).
    async fn talk(&self, stream: Stream, first: Job, jobs: &mut mpsc::Receiver<Job>) -> bool {
        let (reader, writer) = stream.split();
        let ended = tokio::select! {
            () = self.table.disconnected.notified() => Ok(false),
            read = self.hear(reader) => read.map(|()| false),
            written = self.ask(writer, first, jobs) => written.map(|()| true),
        };
        ended.unwrap_or_else(|error| {
            tracing::debug!(peer = %self.peer, %error, "a line to a partner broke");
            if matches!(error, FrameError::TooSlow | FrameError::TooLarge { .. }) {
                self.streams.notice(Notice::Offence(self.peer, Penalty::TooSlow));
            }
            false
        })
    }

    async fn ask<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        first: Job,
        jobs: &mut mpsc::Receiver<Job>,
    ) -> Result<(), FrameError> {
        let idle = Duration::from_millis(self.streams.config.exchange_idle_ms);
        let mut next = Some(first);
        while let Some(job) = next {
            // What expired while it waited is not worth sending.
            if self.table.lock().open.contains_key(&job.number) {
                send(&mut writer, KIND_ASK, job.number, &job.body, self.streams.frame_deadline()).await?;
            }
            next = timeout(idle, jobs.recv()).await.unwrap_or(None);
        }
        Ok(())
    }

    async fn hear<R: AsyncRead + Unpin>(&self, mut reader: R) -> Result<(), FrameError> {
        let deadline = self.streams.frame_deadline();
        while let Some(frame) = read_frame(&mut reader, EXCHANGE_FRAME_BYTES_MAX, deadline).await? {
            let Some((KIND_ANSWER, number, body)) = split(frame) else {
                self.streams.notice(Notice::Offence(self.peer, Penalty::Malformed));
                return Ok(());
            };
            let request = self.table.lock().take(number);
            match request {
                Some(request) => {
                    let from = node_id(&self.peer);
                    self.streams.tell(MeshEvent::Answered { request, from, body }).await;
                }
                None => tracing::debug!(peer = %self.peer, number, "an answer to nothing that was asked"),
            }
        }
        Ok(())
    }

    async fn fail_all(&self, why: AskFailure) {
        let failed = {
            let mut waiting = self.table.lock();
            // No late answer can come over another stream: each numbers its own questions.
            waiting.late.clear();
            std::mem::take(&mut waiting.open)
        };
        for pending in failed.into_values() {
            self.fail(pending.request, why).await;
        }
    }

    async fn fail(&self, request: RequestId, why: AskFailure) {
        self.streams.tell(MeshEvent::AskFailed { request, to: node_id(&self.peer), why }).await;
    }
}

/// Stands for one question of a peer; used up by [`super::Mesh::answer`]. Dropped unused, the asker
/// hears nothing until its time-out.
#[derive(Debug)]
pub struct AskToken {
    number: u64,
    answers: mpsc::Sender<(u64, Bytes)>,
    _peer_place: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
    /// See [`super::actor::Link::questions`].
    _question: Option<Arc<()>>,
}

impl AskToken {
    /// Queues the answer. There is always room: each question holds one of the places.
    pub(super) fn answer(self, body: Bytes) {
        if self.answers.try_send((self.number, body)).is_err() {
            tracing::debug!("an answer came after its stream had closed");
        }
    }
}

/// The budget for the questions of all peers, in KiB.
pub(super) fn ask_memory(kib: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(kib))
}

/// Serves one stream that a peer opened; `place` is given back at its end.
pub(super) async fn serve(
    streams: Streams,
    peer: PeerId,
    stream: Stream,
    (memory, questions): (Arc<Semaphore>, Weak<()>),
    place: Place,
) {
    let places = Arc::new(Semaphore::new(streams.config.asks_inbound_max));
    let (answers, queued) = mpsc::channel(streams.config.asks_inbound_max);
    let (reader, writer) = stream.split();
    let server = Server { streams, peer, memory, questions, places };
    let ended = tokio::select! {
        heard = server.hear(reader, answers) => heard,
        written = server.answer(writer, queued) => written,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a partner's line broke");
        match error {
            FrameError::TooSlow => server.streams.notice(Notice::Offence(peer, Penalty::TooSlow)),
            FrameError::TooLarge { .. } => server.streams.notice(Notice::Offence(peer, Penalty::Malformed)),
            FrameError::Broken(_) => {}
        }
    }
    drop(place);
}

struct Server {
    streams: Streams,
    peer: PeerId,
    memory: Arc<Semaphore>,
    questions: Weak<()>,
    places: Arc<Semaphore>,
}

impl Server {
    async fn hear<R: AsyncRead + Unpin>(
        &self,
        mut reader: R,
        answers: mpsc::Sender<(u64, Bytes)>,
    ) -> Result<(), FrameError> {
        let deadline = self.streams.frame_deadline();
        // Without a free place nothing is read: the peer feels it in its own window.
        while let Ok(peer_place) = self.places.clone().acquire_owned().await {
            let Some(frame) = read_frame(&mut reader, EXCHANGE_FRAME_BYTES_MAX, deadline).await? else {
                return Ok(());
            };
            let kib = u32::try_from(frame.len() / 1024 + 1).unwrap_or(u32::MAX);
            let Some((KIND_ASK, number, body)) = split(frame) else {
                self.streams.notice(Notice::Offence(self.peer, Penalty::Malformed));
                return Ok(());
            };
            let Ok(memory) = self.memory.clone().acquire_many_owned(kib).await else { return Ok(()) };
            let token = AskToken {
                number,
                answers: answers.clone(),
                _peer_place: peer_place,
                _memory: memory,
                _question: self.questions.upgrade(),
            };
            self.streams.notice(Notice::Used(self.peer));
            self.streams.tell(MeshEvent::Asked { from: node_id(&self.peer), body, token }).await;
        }
        Ok(())
    }

    async fn answer<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        mut queued: mpsc::Receiver<(u64, Bytes)>,
    ) -> Result<(), FrameError> {
        while let Some((number, body)) = queued.recv().await {
            send(&mut writer, KIND_ANSWER, number, &body, self.streams.frame_deadline()).await?;
        }
        Ok(())
    }
}

async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    kind: u8,
    number: u64,
    body: &[u8],
    deadline: Duration,
) -> Result<(), FrameError> {
    write_frame(writer, &[&[kind], &number.to_be_bytes(), body], deadline).await
}

fn split(frame: Bytes) -> Option<(u8, u64, Bytes)> {
    let (kind, rest) = frame.split_first()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    Some((*kind, u64::from_be_bytes(*number), frame.slice(PREFIX_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_kind_number_and_body() {
        let frame = Bytes::from_static(b"\x01\0\0\0\0\0\0\0\x07body");
        assert_eq!(split(frame.clone()), Some((KIND_ASK, 7, Bytes::from_static(b"body"))));
        for cut in 0..PREFIX_BYTES {
            assert_eq!(split(frame.slice(..cut)), None);
        }
        assert_eq!(split(frame.slice(..PREFIX_BYTES)), Some((KIND_ASK, 7, Bytes::new())));
    }

    #[tokio::test]
    async fn an_expired_question_is_still_known_when_its_answer_comes() {
        let mut waiting = Waiting::default();
        let now = Instant::now();
        for number in 0..100 {
            waiting.open.insert(number, Pending { request: RequestId(number), deadline: now });
        }
        assert_eq!(waiting.take_expired(now).len(), 100);
        assert_eq!(waiting.take(0), None, "only the last {LATE_MAX} are remembered");
        assert_eq!(waiting.take(99), Some(RequestId(99)));
        assert_eq!(waiting.take(99), None, "once");
    }
}
