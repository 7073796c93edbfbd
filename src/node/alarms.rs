//! Regular looks for what needs somebody's attention; each alarm is logged when it begins, and when it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Deps;
use crate::engine::{Accounts, Alarm, AlarmKind};

/// Time between two looks: an alarm is about hours.
const INTERVAL: Duration = Duration::from_secs(60);

/// Starts the task.
pub(super) fn start(accounts: &Accounts, deps: &Deps, stop: &CancellationToken) {
    let (accounts, stop) = (accounts.clone(), stop.clone());
    deps.spawner.task(Box::pin(async move {
        let mut known = BTreeSet::new();
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            match accounts.alarms().await {
                Ok(alarms) => known = told(&alarms.alarms, &known),
                Err(error) => {
                    tracing::warn!(%error, "alarms could not be looked for; trying again in a minute")
                }
            }
        }
    }));
}

type Name = (&'static str, String);

/// Logs what is new and what is over; returns what is known now.
fn told(alarms: &[Alarm], known: &BTreeSet<Name>) -> BTreeSet<Name> {
    let now: BTreeSet<Name> = alarms.iter().map(|alarm| (alarm.kind, alarm.session.clone())).collect();
    for alarm in alarms.iter().filter(|alarm| !known.contains(&(alarm.kind, alarm.session.clone()))) {
        let partner = alarm.partner.as_deref().unwrap_or("nobody yet");
        let advice = advice(alarm.kind);
        tracing::warn!(kind = alarm.kind, session = alarm.session, partner, "an alarm: {advice}");
    }
    for (kind, session) in known.difference(&now) {
        tracing::info!(kind, session, "an alarm is over");
    }
    now
}

fn advice(kind: &str) -> &'static str {
    let known = AlarmKind::ALL.into_iter().find(|known| known.as_str() == kind);
    known.map_or("see `chargemesh doctor`", AlarmKind::advice)
}
