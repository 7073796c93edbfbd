//! Keeps the statuses of generated operators changing, as if people charged.

use std::time::Duration;

use anyhow::Context as _;
use chargemesh::oicp::id::EvseId;
use chargemesh::oicp::push::ActionType;
use chargemesh::protocol::Kind;

use super::generate::{Dice, status};
use super::latency::Latencies;
use super::nodes::Network;
use super::push;
use super::screen::Screen;
use super::world::{World, status_body, status_record};

/// Changes made before a check ends: enough for a 99th percentile.
pub(super) const CHANGES_IN_CHECK: usize = 200;

/// Time between two changes: ten times what 17,000 real charging points do.
const CHANGE_INTERVAL: Duration = Duration::from_millis(25);

/// Changes from one report to the next.
const CHANGES_PER_REPORT: usize = 20;

/// Which random numbers these are.
const DICE_PURPOSE: u64 = 1_000;

/// Pushes one change after the other, `changes` of them or without end.
pub(super) async fn run(
    network: &Network,
    world: &World,
    seed: u64,
    changes: Option<usize>,
    latencies: &Latencies,
    screen: &Screen,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed, DICE_PURPOSE);
    let operators: Vec<_> = network.cpos.iter().zip(&world.operators).collect();
    let mut made = 0_usize;
    while changes.is_none_or(|changes| made < changes) {
        let Some((cpo, operator)) = dice.one(&operators) else { return Ok(()) };
        let Some(evse_id) = dice.one(&operator.evse_ids) else { return Ok(()) };
        let id = EvseId::parse(evse_id).context("a generated EvseID")?;
        let record = status_record(evse_id, status(&mut dice));
        let body = status_body(ActionType::Update, operator.id.as_str(), &operator.name, &[record]);
        latencies.begin([id.key()].into_iter(), network.clock.now().unix_ms);
        if !push::done(cpo, Kind::Status, body, screen).await? {
            latencies.refused([id.key()].into_iter());
        }
        made += 1;
        if made.is_multiple_of(CHANGES_PER_REPORT) {
            report(made, latencies, screen);
        }
        tokio::time::sleep(CHANGE_INTERVAL).await;
    }
    Ok(())
}

fn report(made: usize, latencies: &Latencies, screen: &Screen) {
    let summary = latencies.summary();
    screen.progress(&format!(
        "{made} status changes, visible at every EMP after {} (half) to {} (99 of 100)",
        shown(summary.p50),
        shown(summary.p99)
    ));
}

fn shown(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.1} ms", duration.as_secs_f64() * 1_000.0))
}
