//! The hub as it is called for data: inside its limits, and with its answers understood whatever the HTTP status.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::calls::CallLog;
use super::pace::{Call, Pace};
use crate::engine::Clock;
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::json;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::outbound::HubClient;

/// Characters of the hub's words that are logged.
const SAID_CHARACTERS_MAX: usize = 200;

/// Why a call has to be made again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Later(pub(super) String);

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The hub has it.
    Yes,
    /// It refuses the content: it holds something else than we think.
    No(String),
}

/// What is counted of the calls for data, for metrics, and how they went last, for people.
pub(super) struct HubFigures {
    calls: [AtomicU64; 5],
    refused: [AtomicU64; 5],
    failed: [AtomicU64; 5],
    done_unix_ms: [AtomicU64; 5],
    bridged_evses: AtomicU64,
    last: CallLog,
}

/// One number for metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct HubFigure {
    /// Name of the metric, without prefix.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// The operation that it is about.
    pub operation: Option<&'static str>,
    /// Its value.
    pub value: f64,
}

impl HubFigures {
    pub(super) fn new(last: CallLog) -> HubFigures {
        let [calls, refused, failed, done_unix_ms] = Default::default();
        HubFigures { calls, refused, failed, done_unix_ms, bridged_evses: AtomicU64::new(0), last }
    }

    /// All of them at a time in unix milliseconds.
    #[must_use]
    pub(super) fn all(&self, now_unix_ms: u64) -> Vec<HubFigure> {
        let mut figures = Vec::new();
        for (at, call) in Call::ALL.into_iter().enumerate() {
            let read = |counters: &[AtomicU64; 5]| {
                counters.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed)) as f64
            };
            let mut add = |name, help, value| {
                figures.push(HubFigure { name, help, operation: Some(call.as_str()), value });
            };
            add("hub_calls", "Calls of the central hub since the start", read(&self.calls));
            add("hub_refusals", "Calls that the central hub refused since the start", read(&self.refused));
            add("hub_failures", "Calls of the central hub without an answer that counts", read(&self.failed));
            let done = read(&self.done_unix_ms);
            let age = if done > 0.0 { (now_unix_ms as f64 - done) / 1000.0 } else { f64::INFINITY };
            add("hub_age_seconds", "Time since this was done with the central hub to its end", age);
        }
        let help = "EVSEs that came through the central hub";
        let value = self.evses() as f64;
        figures.push(HubFigure { name: "hub_evses", help, operation: None, value });
        figures
    }

    /// Something was done to its end.
    pub(super) fn done(&self, call: Call, now_unix_ms: u64) {
        if let Some(at) = self.done_unix_ms.get(call as usize) {
            at.store(now_unix_ms, Ordering::Relaxed);
        }
        self.last.answered(call.as_str(), now_unix_ms);
    }

    pub(super) fn evses(&self) -> u64 {
        self.bridged_evses.load(Ordering::Relaxed)
    }

    pub(super) fn bridged(&self, evses: u64) {
        self.bridged_evses.store(evses, Ordering::Relaxed);
    }

    fn count(counters: &[AtomicU64; 5], call: Call) {
        if let Some(counter) = counters.get(call as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The hub.
pub(super) struct Peer {
    client: RwLock<HubClient>,
    pace: Pace,
    clock: Arc<dyn Clock>,
    pub(super) figures: HubFigures,
}

impl Peer {
    pub(super) fn new(client: HubClient, pace: Pace, clock: Arc<dyn Clock>, figures: HubFigures) -> Peer {
        Peer { client: RwLock::new(client), pace, clock, figures }
    }

    /// Calls with another client from now on.
    pub(super) fn replace(&self, client: HubClient) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Pushes a message.
    pub(super) async fn push(&self, call: Call, operator: &str, body: String) -> Result<Taken, Later> {
        let taken = self.pushed(call, operator, body).await;
        self.note(call, &taken);
        taken
    }

    /// Pulls an answer with HTTP 200; its body is still to be read.
    pub(super) async fn pull(&self, call: Call, path: &str, body: String) -> Result<Bytes, Later> {
        let pulled = self.pulled(call, path, body).await;
        self.note(call, &pulled);
        pulled
    }

    fn note<T>(&self, call: Call, outcome: &Result<T, Later>) {
        let now_unix_ms = self.clock.now().unix_ms;
        match outcome {
            Ok(_) => self.figures.last.answered(call.as_str(), now_unix_ms),
            Err(Later(why)) => self.figures.last.failed(call.as_str(), now_unix_ms, why),
        }
    }

    async fn pushed(&self, call: Call, operator: &str, body: String) -> Result<Taken, Later> {
        let path = match call {
            Call::PushStatus => format!("api/oicp/evsepush/v21/operators/{operator}/status-records"),
            _ => format!("api/oicp/evsepush/v23/operators/{operator}/data-records"),
        };
        let (http, body) = self.call(call, &path, body).await?;
        let root = json::parse(&body, Reading::Tolerant).ok();
        let Some(answer) = root.as_ref().and_then(Acknowledgement::read) else {
            return Err(self.later(call, http, "no acknowledgement", &body));
        };
        if answer.result && http != 429 && http < 500 {
            return Ok(Taken::Yes);
        }
        HubFigures::count(&self.figures.refused, call);
        let said = said(&answer.status);
        match answer.status.known() {
            // What is wrong is the set of records, not the hub, its mood, or our contract.
            Some(
                Code::DataTransactionError | Code::UnknownEvseId | Code::InconsistentEvseId | Code::DataError,
            ) if http < 429 => Ok(Taken::No(said)),
            _ => Err(Later(format!("HTTP {http}: {said}"))),
        }
    }

    async fn pulled(&self, call: Call, path: &str, body: String) -> Result<Bytes, Later> {
        let (http, body) = self.call(call, path, body).await?;
        if http == 200 {
            return Ok(body);
        }
        HubFigures::count(&self.figures.refused, call);
        Err(self.later(call, http, "no answer to a pull", &body))
    }

    /// An answer that is none.
    pub(super) fn later(&self, call: Call, http: u16, what: &str, body: &[u8]) -> Later {
        HubFigures::count(&self.figures.failed, call);
        let root = json::parse(body, Reading::Tolerant).ok();
        let status = root.as_ref().and_then(|root| StatusCode::read(root.field_any_case(&["StatusCode"])?));
        let words = status.map_or_else(
            || String::from_utf8_lossy(body.get(..body.len().min(400)).unwrap_or_default()).into_owned(),
            |status| said(&status),
        );
        let words: String = words.chars().take(SAID_CHARACTERS_MAX).collect();
        let later = Later(format!("{what} with HTTP {http}: {words}"));
        // Also of an answer that only its reader finds to be none.
        self.note::<()>(call, &Err(later.clone()));
        later
    }

    async fn call(&self, call: Call, path: &str, body: String) -> Result<(u16, Bytes), Later> {
        while let Err(wait) = self.pace.take(call, self.clock.now().mono_ms) {
            tokio::time::sleep(wait).await;
        }
        HubFigures::count(&self.figures.calls, call);
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = client.post(path, "application/json;charset=utf-8", body.into()).await;
        answer.map(|answer| (answer.http_status, answer.body)).map_err(|error| {
            HubFigures::count(&self.figures.failed, call);
            Later(error.to_string())
        })
    }
}

fn said(status: &StatusCode) -> String {
    let words =
        [Some(status.code.as_str()), status.description.as_deref(), status.additional_info.as_deref()];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    words.chars().take(SAID_CHARACTERS_MAX).collect()
}
