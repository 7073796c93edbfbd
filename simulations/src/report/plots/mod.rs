//! The plots of a run, each with the baseline's in a lighter colour where there is one.

mod latency;
mod nodes;
mod time;

use super::Report;
use super::scale::{Scale, ticks_to};
use super::svg::Axis;
use super::units::digits;

/// A plot that has been drawn.
pub(crate) struct Drawing {
    /// Name of its file without the ending.
    pub(crate) name: &'static str,
    /// What to see in it, in a sentence or two.
    pub(crate) caption: &'static str,
    pub(crate) svg: String,
}

/// A run and what it is shown beside.
#[derive(Clone, Copy)]
pub(super) struct Pair<'r> {
    pub(super) report: &'r Report,
    pub(super) baseline: Option<&'r Report>,
}

impl<'r> Pair<'r> {
    /// The baseline first, so that the run is drawn over it. The flag says which it is.
    fn both(self) -> impl Iterator<Item = (&'r Report, bool)> {
        let baseline = self.baseline.into_iter().map(|report| (report, true));
        baseline.chain(std::iter::once((self.report, false)))
    }

    /// What stands below each title.
    fn subtitle(self, what: &str) -> String {
        let Report { scenario, seed, nodes, .. } = self.report;
        let beside = self.baseline.map(|baseline| match baseline.seed == *seed {
            true => "; light: baseline".to_owned(),
            false => format!("; light: baseline, seed {}", baseline.seed),
        });
        format!("{scenario}, seed {seed}, {nodes} nodes: {what}{}", beside.unwrap_or_default())
    }

    /// The largest of something in both.
    fn largest(self, of: impl Fn(&Report) -> f64) -> f64 {
        self.both().map(|(report, _)| of(report)).fold(0.0, f64::max)
    }
}

/// Draws all plots that the report has data for.
pub(super) fn all(pair: Pair<'_>) -> Vec<Drawing> {
    let mut drawings = Vec::new();
    if pair.report.delivery.count > 0 {
        drawings.extend([latency::distribution(pair), latency::tail(pair)]);
    }
    if !pair.report.samples.is_empty() {
        drawings.extend([
            time::convergence(pair),
            time::bytes(pair),
            time::bytes_rate(pair),
            time::connections(pair),
        ]);
    }
    if !pair.report.totals.is_empty() {
        drawings.extend([nodes::bytes(pair), nodes::connections(pair)]);
    }
    drawings
}

/// An axis from 0 with room above the largest value, so that texts fit there.
fn axis_from_zero(largest: f64, room: f64, factor: f64, title: String) -> Axis {
    let largest = if largest > 0.0 { largest } else { factor };
    let ticks = ticks_to(largest / factor, 6);
    let ticks = ticks.into_iter().map(|tick| (tick * factor, digits(tick))).collect();
    Axis { scale: Scale::Linear { from: 0.0, to: largest * room }, ticks, title }
}
