//! Regular looks for what needs somebody's attention; each alarm is logged when it begins, and when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Deps;
use crate::engine::{Accounts, Alarm, AlarmKind, Engine, Event};

/// Time between two looks: an alarm is about hours.
const INTERVAL: Duration = Duration::from_secs(60);

/// Starts the task.
pub(super) fn start(accounts: &Accounts, engine: &Engine, deps: &Deps, stop: &CancellationToken) {
    let (accounts, engine, stop) = (accounts.clone(), engine.clone(), stop.clone());
    let clock = deps.clock.clone();
    deps.spawner.task(Box::pin(async move {
        let mut known = BTreeMap::new();
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            match accounts.alarms().await {
                Ok(alarms) => known = told(alarms.alarms, &known, &engine, clock.now().unix_ms),
                Err(error) => {
                    tracing::warn!(%error, "alarms could not be looked for; trying again in a minute")
                }
            }
        }
    }));
}

type Known = BTreeMap<(&'static str, String), Alarm>;

/// Tells what is new and what is over, to the log and to who listens to events; returns what is known now.
fn told(alarms: Vec<Alarm>, known: &Known, engine: &Engine, now_unix_ms: u64) -> Known {
    let now: Known = alarms.into_iter().map(|alarm| ((alarm.kind, alarm.session.clone()), alarm)).collect();
    for (_, alarm) in now.iter().filter(|(name, _)| !known.contains_key(*name)) {
        let partner = alarm.partner.as_deref().unwrap_or("nobody yet");
        let advice = advice(alarm.kind, &alarm.party);
        tracing::warn!(kind = alarm.kind, session = alarm.session, partner, "an alarm: {advice}");
        engine.tell(|| Some(Event::of_alarm(alarm, false, now_unix_ms)));
    }
    for ((kind, session), alarm) in known.iter().filter(|(name, _)| !now.contains_key(*name)) {
        tracing::info!(kind, session, "an alarm is over");
        engine.tell(|| Some(Event::of_alarm(alarm, true, now_unix_ms)));
    }
    now
}

fn advice(kind: &str, party: &str) -> &'static str {
    let known = AlarmKind::ALL.into_iter().find(|known| known.as_str() == kind);
    known.map_or("see `chargemesh doctor`", |kind| kind.advice(party))
}
