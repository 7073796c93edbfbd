//! Messages to the central hub: bounded apart from the calls of backends, and within its limits per minute.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Https;
use super::backends::path;
use super::error::NodeError;
use crate::engine::{BackendAnswer, BackendOperation, BackendQuestion, Backends, Clock, NoBackends};
use crate::hub::{CallLog, Exchange, HubConfig, HubLimits};
use crate::outbound::{BackendClient, CallFailure, OutboundError, Received, ReservationPath, Tls};
use crate::protocol::SessionOperation;
use crate::tls::{InUse, Use, Used};

/// A minute: what the limits are counted in.
const MINUTE: Duration = Duration::from_secs(60);

/// The hub of the settings; without one nothing is sent. What of its certificates ends when, is told.
pub(super) fn hub(
    config: &HubConfig,
    https: &mut Https,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Backends>, NodeError> {
    if !config.is_on() {
        return Ok(Arc::new(NoBackends));
    }
    let hub = Arc::new(Hub::new(config, &https.certificates, &https.hub_calls, clock)?);
    https.hub = Some(hub.clone());
    Ok(hub)
}

/// The hub as it is called about sessions.
pub(super) struct Hub {
    url: String,
    called: RwLock<Called>,
    places: Arc<Semaphore>,
    limits: HubLimits,
    counted: Mutex<Vec<Minute>>,
    certificates: InUse,
    calls: CallLog,
    clock: Arc<dyn Clock>,
}

/// How it is called now.
struct Called {
    client: BackendClient,
    tls: Tls,
}

impl Called {
    fn new(config: &HubConfig) -> Result<Called, OutboundError> {
        let tls = config.tls()?;
        Ok(Called { client: BackendClient::with_tls(&config.url, &tls)?, tls })
    }
}

/// What was sent of one operation in the minute that began then.
struct Minute {
    limit: &'static str,
    began: Instant,
    sent: u32,
}

impl Hub {
    fn new(
        config: &HubConfig,
        certificates: &InUse,
        calls: &CallLog,
        clock: &Arc<dyn Clock>,
    ) -> Result<Hub, NodeError> {
        let hub = Hub {
            url: config.url.clone(),
            called: RwLock::new(Called::new(config).map_err(NodeError::Hub)?),
            places: Arc::new(Semaphore::new(config.calls_max.clamp(1, Semaphore::MAX_PERMITS))),
            limits: config.limits.clone(),
            counted: Mutex::default(),
            certificates: certificates.clone(),
            calls: calls.clone(),
            clock: clock.clone(),
        };
        hub.tell_certificates();
        Ok(hub)
    }

    /// Reads certificates and key anew, for messages about sessions and for the exchange of data; other settings stay.
    /// What is under way goes on. If they cannot be used, the old ones stay.
    pub(super) fn reload(&self, config: &HubConfig, exchange: Option<&Exchange>) -> Result<(), NodeError> {
        // Another hub, or none: that is said elsewhere to need a restart.
        if config.url != self.url {
            return Ok(());
        }
        let now = Called::new(config).map_err(NodeError::Hub)?;
        if now.tls == self.called.read().unwrap_or_else(PoisonError::into_inner).tls {
            return Ok(());
        }
        if let Some(exchange) = exchange {
            exchange.show(&self.url, &now.tls).map_err(NodeError::Hub)?;
        }
        *self.called.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.tell_certificates();
        Ok(())
    }

    fn tell_certificates(&self) {
        let called = self.called.read().unwrap_or_else(PoisonError::into_inner);
        // They were read when the client was made.
        let (own, roots) = (called.tls.own().ok().flatten(), called.tls.roots().unwrap_or_default());
        let mut used = Used::list(Use::Hub, "", own.into_iter().collect());
        used.extend(Used::list(Use::HubCa, "", roots));
        self.certificates.put(&[Use::Hub, Use::HubCa], used);
    }

    /// Takes one of this minute's calls; false if there is none left.
    fn may_send(&self, operation: BackendOperation, now: Instant) -> bool {
        let (limit, per_minute) = limit_of(operation, &self.limits);
        if per_minute == 0 {
            return true;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(minute) = counted.iter_mut().find(|minute| minute.limit == limit) else {
            counted.push(Minute { limit, began: now, sent: 1 });
            return true;
        };
        if now.duration_since(minute.began) >= MINUTE {
            (minute.began, minute.sent) = (now, 0);
        }
        let may = minute.sent < per_minute;
        minute.sent += u32::from(may);
        may
    }
}

impl Backends for Hub {
    fn ask(&self, question: BackendQuestion) -> BoxFuture<'static, BackendAnswer> {
        let noted = Noted {
            operation: name_of(question.operation),
            calls: self.calls.clone(),
            clock: self.clock.clone(),
        };
        let not_sent = |why: &str| -> BoxFuture<'static, BackendAnswer> {
            noted.failed(why);
            Box::pin(std::future::ready(BackendAnswer::NotSent(why.to_owned())))
        };
        // What finds no place is not sent at all: a hub that hangs must not hold what could go elsewhere.
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return not_sent("too many messages to the hub are under way (hub.calls_max)");
        };
        if !self.may_send(question.operation, Instant::now()) {
            return not_sent("the hub allows no more messages of this kind in this minute ([hub.limits])");
        }
        let client = self.called.read().unwrap_or_else(PoisonError::into_inner).client.clone();
        Box::pin(async move {
            let _place = place;
            let path = path(question.operation, &question.path_id, ReservationPath::Reservation);
            let answer = client.post(&path, question.body, question.timeout).await;
            noted.note(&answer);
            match answer {
                Ok(received) => {
                    BackendAnswer::Answered { http_status: received.http_status, body: received.body }
                }
                Err(CallFailure::NotSent(why)) => BackendAnswer::NotSent(why),
                Err(CallFailure::Silent(why)) => BackendAnswer::Silent(why),
            }
        })
    }
}

/// Where it is noted how calls of an operation went.
struct Noted {
    operation: &'static str,
    calls: CallLog,
    clock: Arc<dyn Clock>,
}

impl Noted {
    fn note(&self, answer: &Result<Received, CallFailure>) {
        match answer {
            // It does not know us, has enough of us, or is broken. All else is its word on what was asked.
            Ok(Received { http_status: http @ (401 | 403 | 429 | 500..), .. }) => {
                self.failed(&format!("it answers with HTTP {http}"));
            }
            Ok(_) => self.calls.answered(self.operation, self.clock.now().unix_ms),
            Err(failure) => self.failed(&failure.to_string()),
        }
    }

    fn failed(&self, why: &str) {
        self.calls.failed(self.operation, self.clock.now().unix_ms, why);
    }
}

fn name_of(operation: BackendOperation) -> &'static str {
    match operation {
        BackendOperation::Session(operation) => operation.as_str(),
        _ => "ChargeDetailRecord",
    }
}

/// The limit of an operation, with its name in the settings.
fn limit_of(operation: BackendOperation, limits: &HubLimits) -> (&'static str, u32) {
    let BackendOperation::Session(operation) = operation else {
        return ("charge_detail_record", limits.charge_detail_record);
    };
    match operation {
        SessionOperation::AuthorizeStart => ("authorize_start", limits.authorize_start),
        SessionOperation::AuthorizeStop => ("authorize_stop", limits.authorize_stop),
        SessionOperation::RemoteStart => ("remote_start", limits.remote_start),
        SessionOperation::RemoteStop => ("remote_stop", limits.remote_stop),
        SessionOperation::ReservationStart | SessionOperation::ReservationStop => {
            ("reservation", limits.reservation)
        }
        SessionOperation::Notification => ("notification", limits.notification),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SystemClock;

    #[test]
    fn a_minute_has_so_many_calls_and_the_next_has_them_again() {
        let limits = HubLimits { remote_start: 2, remote_stop: 0, ..HubLimits::default() };
        let url = "http://127.0.0.1:9".to_owned();
        let config = HubConfig { url, limits, ..HubConfig::default() };
        let hub = Hub::new(&config, &InUse::default(), &CallLog::default(), &SystemClock::start()).unwrap();
        let start = BackendOperation::Session(SessionOperation::RemoteStart);
        let now = Instant::now();
        let stop = BackendOperation::Session(SessionOperation::RemoteStop);
        assert_eq!([(); 3].map(|()| hub.may_send(start, now)), [true, true, false]);
        assert_eq!([(); 3].map(|()| hub.may_send(stop, now)), [true; 3], "no limit");
        assert!(hub.may_send(start, now + MINUTE));
    }
}
