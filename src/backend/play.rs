//! The CPO's side of a session that was started from afar: what a charging point would tell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::Play;
use super::log::{Log, Sent};
use crate::engine::Clock;
use crate::oicp::charging::{
    AuthorizeRemoteStart, ChargeDetailRecord, ChargingNotification, NotificationKind, SessionId,
    read_acknowledgement,
};
use crate::oicp::decimal::Decimal;
use crate::oicp::time::DateTime;
use crate::outbound::{HubClient, OutboundError};

/// Most sessions that are played at once; a start beyond them is answered, and not played.
pub const SESSIONS_MAX: usize = 1_024;
/// Bytes that an entry of the log is counted with.
const ENTRY_BYTES: usize = 512;
/// Power that every charging point gives, in kW.
const POWER_KW: f64 = 11.0;
const MS_PER_HOUR: f64 = 3_600_000.0;

/// Plays sessions.
pub(super) struct Player {
    client: HubClient,
    play: Play,
    clock: Arc<dyn Clock>,
    /// What stops each session that is being played.
    stops: Mutex<BTreeMap<SessionId, CancellationToken>>,
    pub(super) sent: Arc<Log<Sent>>,
}

impl Player {
    pub(super) fn new(
        play: Play,
        clock: Arc<dyn Clock>,
        sent: Arc<Log<Sent>>,
    ) -> Result<Player, OutboundError> {
        let client = HubClient::new(&play.node, play.key.as_deref())?;
        Ok(Player { client, play, clock, stops: Mutex::default(), sent })
    }

    /// Plays the session of a start that is accepted after a time, to its end. One that is being played already (the start was
    /// repeated) is not played again.
    pub(super) async fn play(&self, start: &AuthorizeRemoteStart, answer_after: Duration) {
        let Some(session) = start.session_id else { return };
        let stop = CancellationToken::new();
        {
            let mut stops = self.stops();
            let full = stops.len() >= SESSIONS_MAX;
            match stops.entry(session) {
                Entry::Occupied(_) => return,
                Entry::Vacant(_) if full => {
                    drop(stops);
                    return self.note("session", session, false, "not played: too many at once".to_owned());
                }
                Entry::Vacant(place) => place.insert(stop.clone()),
            };
        }
        passed(answer_after, &stop).await;
        self.charge(start, session, &stop).await;
        self.stops().remove(&session);
    }

    /// Ends a session that is being played.
    pub(super) fn stop(&self, session: SessionId) {
        if let Some(stop) = self.stops().get(&session) {
            stop.cancel();
        }
    }

    async fn charge(&self, start: &AuthorizeRemoteStart, session: SessionId, stop: &CancellationToken) {
        let session_start = self.now();
        // The node has to hear the answer before it hears of the session.
        passed(self.play.length / 10, stop).await;
        let charging_start = self.now();
        let told = |kind: NotificationKind| ChargingNotification {
            partners: start.partners.clone(),
            operator_id: Some(self.play.operator.clone()),
            identification: Some(start.identification.clone()),
            product_id: start.product_id.clone(),
            session_start: Some(session_start.clone()),
            charging_start: Some(charging_start.clone()),
            ..ChargingNotification::new(kind, session, start.evse_id.clone())
        };
        self.notify("notification Start", told(NotificationKind::Start)).await;
        if passed(self.play.length * 4 / 10, stop).await {
            let now = self.now();
            let progress = ChargingNotification {
                duration_ms: Some(between_ms(&charging_start, &now)),
                energy: energy(&charging_start, &now),
                event_occurred: Some(now),
                ..told(NotificationKind::Progress)
            };
            self.notify("notification Progress", progress).await;
            passed(self.play.length / 2, stop).await;
        }
        let end = self.now();
        let consumed = energy(&charging_start, &end);
        let ended = ChargingNotification {
            charging_end: Some(end.clone()),
            session_end: Some(end.clone()),
            energy: consumed.clone(),
            ..told(NotificationKind::End)
        };
        self.notify("notification End", ended).await;
        let cdr = ChargeDetailRecord {
            session_id: session,
            partners: start.partners.clone(),
            product_id: start.product_id.clone(),
            evse_id: start.evse_id.clone(),
            identification: start.identification.clone(),
            charging_start,
            charging_end: end.clone(),
            session_start,
            session_end: end,
            meter_start: None,
            meter_end: None,
            meter_in_between: Vec::new(),
            consumed_energy: consumed,
            signed_values: Vec::new(),
            calibration: None,
            hub_operator_id: None,
            hub_provider_id: None,
            findings: Vec::new(),
        };
        let path = format!("api/oicp/cdrmgmt/v22/operators/{}/charge-detail-record", self.play.operator);
        self.send("cdr", session, &path, cdr.to_json()).await;
    }

    async fn notify(&self, what: &'static str, told: ChargingNotification) {
        let path = "api/oicp/notificationmgmt/v11/charging-notifications";
        self.send(what, told.session_id, path, told.to_json()).await;
    }

    async fn send(&self, what: &'static str, session: SessionId, path: &str, body: String) {
        let answer = match self.client.post(path, "application/json", body.into()).await {
            Ok(answer) => answer,
            Err(error) => return self.note(what, session, false, error.to_string()),
        };
        match read_acknowledgement(&answer.body) {
            Ok(read) => {
                let description = read.status.description.unwrap_or_default();
                let said = format!("{} {description}", read.status.code);
                self.note(what, session, read.result, said.trim_end().to_owned());
            }
            Err(error) => self.note(what, session, false, format!("HTTP {}: {error}", answer.http_status)),
        }
    }

    fn note(&self, what: &'static str, session: SessionId, accepted: bool, answer: String) {
        let session = session.as_str().to_owned();
        self.sent.add(Sent { what, session, at: self.clock.now().unix_ms, accepted, answer }, ENTRY_BYTES);
    }

    fn now(&self) -> DateTime {
        DateTime::from_unix_ms(i64::try_from(self.clock.now().unix_ms).unwrap_or(i64::MAX))
    }

    fn stops(&self) -> MutexGuard<'_, BTreeMap<SessionId, CancellationToken>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a part of the session; false if it was stopped.
async fn passed(time: Duration, stop: &CancellationToken) -> bool {
    timeout(time, stop.cancelled()).await.is_err()
}

fn between_ms(from: &DateTime, until: &DateTime) -> u64 {
    u64::try_from(until.unix_ms().saturating_sub(from.unix_ms())).unwrap_or_default()
}

/// kWh with the three decimals that OICP allows.
fn energy(from: &DateTime, until: &DateTime) -> Option<Decimal> {
    Decimal::parse(&format!("{:.3}", POWER_KW * between_ms(from, until) as f64 / MS_PER_HOUR))
}
