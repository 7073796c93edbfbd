//! What changed over time.

use super::super::faults::FaultKind;
use super::super::scale::{Scale, ticks_to};
use super::super::svg::{Axis, Key, LANE_HEIGHT, Plot, colour};
use super::super::{Report, Sample, units};
use super::{Drawing, Pair, axis_from_zero};

/// Room above the largest value, for the names of the phases.
const ROOM: f64 = 1.18;

fn axis(pair: Pair<'_>) -> Axis {
    let end_s = pair.largest(|report| report.samples.last().map_or(0.0, |sample| sample.at_s)).max(1.0);
    let unit = units::time_unit(end_s);
    let ticks = ticks_to(end_s / unit.factor, 10).into_iter();
    let ticks = ticks.map(|tick| (tick * unit.factor, units::digits(tick))).collect();
    Axis {
        scale: Scale::Linear { from: 0.0, to: end_s },
        ticks,
        title: format!("virtual time ({})", unit.name),
    }
}

/// Up to that many looks are shown one by one.
const DOTS_MAX: usize = 150;

/// Where the workload begins and ends, and the faults do if that is later.
fn phases(plot: &mut Plot, report: &Report) {
    let Some((from_s, to_s)) = report.work_s else { return };
    plot.mark_x(from_s, colour::SOFT, "work begins", 0);
    plot.mark_x(to_s, colour::SOFT, "work ends", 0);
    let healed_s = report.faults.iter().map(|fault| fault.to_s).fold(0.0, f64::max);
    if healed_s > to_s {
        plot.mark_x(healed_s, colour::SOFT, "last fault over", 1);
    }
}

fn points(report: &Report, of: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    report.samples.iter().map(|sample| (sample.at_s, of(sample))).collect()
}

/// The faults that a report has, in the order of their kinds.
fn lanes(report: &Report) -> Vec<(FaultKind, &'static str)> {
    let kinds: std::collections::BTreeSet<FaultKind> = report.faults.iter().map(|fault| fault.kind).collect();
    let fill = |kind| match kind {
        FaultKind::Crash => colour::SECOND,
        FaultKind::PowerLoss => colour::PURPLE,
        FaultKind::SlowLink => colour::YELLOW,
        FaultKind::Split | FaultKind::OneWay | FaultKind::Isolate => colour::GREEN,
    };
    kinds.into_iter().map(|kind| (kind, fill(kind))).collect()
}

/// How much of what they should have the nodes had, and what went wrong meanwhile.
pub(super) fn convergence(pair: Pair<'_>) -> Drawing {
    let report = pair.report;
    let lanes = lanes(report);
    let below = if lanes.is_empty() { 0.0 } else { lanes.len() as f64 * LANE_HEIGHT + 8.0 };
    let y = axis_from_zero(1.0, ROOM, 0.01, "in sync (%)".into());
    let what = "share of all (node, feed) that hold what their writer has";
    let mut plot = Plot::new("Convergence", &pair.subtitle(what), &axis(pair), &y, below);
    plot.legend(Key::Line(colour::MAIN), "in sync");
    if report.faults.iter().any(|fault| fault.kind.is_partition()) {
        plot.legend(Key::Bar("#d9f0e9"), "network is cut");
    }
    for fault in report.faults.iter().filter(|fault| fault.kind.is_partition()) {
        plot.band(fault.from_s, fault.to_s, colour::GREEN, 0.15);
    }
    phases(&mut plot, report);
    if let Some(baseline) = pair.baseline {
        plot.legend(Key::Line(colour::MAIN_LIGHT), "in sync, baseline");
        plot.line(&points(baseline, |sample| sample.in_sync), colour::MAIN_LIGHT, false);
    }
    let looks = points(report, |sample| sample.in_sync);
    plot.line(&looks, colour::MAIN, false);
    if looks.len() <= DOTS_MAX {
        plot.dots(&looks, colour::MAIN);
    }
    for (row, (kind, fill)) in lanes.into_iter().enumerate() {
        let of_kind = report.faults.iter().filter(|fault| fault.kind == kind);
        let text = |from: f64, to: f64| format!("{}: {from:.1} s to {to:.1} s", kind.label());
        let spans: Vec<_> =
            of_kind.map(|fault| (fault.from_s, fault.to_s, text(fault.from_s, fault.to_s))).collect();
        plot.lane(row, kind.label(), fill, &spans);
    }
    Drawing {
        name: "convergence",
        caption: "While there is work, some changes are always under way, so the line is rarely at 100 %; it must \
                  come back to 100 % after the last fault. The rows below show each fault from its begin to its end.",
        svg: plot.finish(),
    }
}

/// Bytes that all nodes have sent.
pub(super) fn bytes(pair: Pair<'_>) -> Drawing {
    let largest = pair.largest(|report| report.samples.last().map_or(0.0, |sample| sample.bytes_sent as f64));
    let unit = units::bytes_unit(largest);
    let y = axis_from_zero(largest, ROOM, unit.factor, format!("bytes sent ({})", unit.name));
    let last = pair.report.samples.last().map_or(0, |sample| sample.bytes_sent);
    let what = format!("{} sent by all nodes together", units::bytes(last as f64));
    let mut plot = Plot::new("Bytes sent", &pair.subtitle(&what), &axis(pair), &y, 0.0);
    phases(&mut plot, pair.report);
    of_both(&mut plot, pair, |report| points(report, |sample| sample.bytes_sent as f64), false);
    Drawing {
        name: "bytes-over-time",
        caption: "What all nodes have sent since the begin, duplicates and overhead of the protocols included.",
        svg: plot.finish(),
    }
}

/// The shortest time over which a rate is a mean: looks that follow each other closely would make needles.
const RATE_OVER_S: f64 = 1.0;

/// Bytes per second of a node between looks; each point stands for the time up to the next.
fn rates(report: &Report) -> Vec<(f64, f64)> {
    let mut rates = Vec::new();
    let (mut from_s, mut from_bytes) = (0.0, 0);
    for sample in &report.samples {
        let took_s = sample.at_s - from_s;
        if took_s >= RATE_OVER_S {
            let bytes = sample.bytes_sent.saturating_sub(from_bytes) as f64;
            rates.push((from_s, bytes / took_s / f64::from(report.nodes.max(1))));
            (from_s, from_bytes) = (sample.at_s, sample.bytes_sent);
        }
    }
    rates.extend(rates.last().map(|(_, rate)| (from_s, *rate)));
    rates
}

/// How fast a node sent.
pub(super) fn bytes_rate(pair: Pair<'_>) -> Drawing {
    let largest = pair.largest(|report| rates(report).iter().map(|(_, rate)| *rate).fold(0.0, f64::max));
    let unit = units::bytes_unit(largest);
    let y = axis_from_zero(largest, ROOM, unit.factor, format!("{} per second and node", unit.name));
    let what = "bytes sent per second, mean of all nodes";
    let mut plot = Plot::new("Rate of sending", &pair.subtitle(what), &axis(pair), &y, 0.0);
    phases(&mut plot, pair.report);
    of_both(&mut plot, pair, rates, true);
    Drawing {
        name: "bytes-rate",
        caption: "The first peak is the load of everything by everybody; the level after the work has ended is what \
                  an idle network costs.",
        svg: plot.finish(),
    }
}

fn of_both(plot: &mut Plot, pair: Pair<'_>, of: impl Fn(&Report) -> Vec<(f64, f64)>, steps: bool) {
    plot.legend(Key::Line(colour::MAIN), "this run");
    if pair.baseline.is_some() {
        plot.legend(Key::Line(colour::MAIN_LIGHT), "baseline");
    }
    for (report, is_baseline) in pair.both() {
        plot.line(&of(report), if is_baseline { colour::MAIN_LIGHT } else { colour::MAIN }, steps);
    }
}

/// How many connections nodes have.
pub(super) fn connections(pair: Pair<'_>) -> Drawing {
    let most =
        |report: &Report| report.samples.iter().map(|sample| sample.connections_max).max().unwrap_or(0);
    let y =
        axis_from_zero(pair.largest(|report| most(report) as f64), ROOM, 1.0, "connections of a node".into());
    let what = format!("at most {} at one node, without bootstrap nodes", most(pair.report));
    let mut plot = Plot::new("Connections", &pair.subtitle(&what), &axis(pair), &y, 0.0);
    phases(&mut plot, pair.report);
    plot.legend(Key::Line(colour::SECOND), "node with most");
    plot.legend(Key::Line(colour::MAIN), "mean");
    if pair.baseline.is_some() {
        plot.legend(Key::Line(colour::SECOND_LIGHT), "most, baseline");
        plot.legend(Key::Line(colour::MAIN_LIGHT), "mean, baseline");
    }
    for (report, is_baseline) in pair.both() {
        let (most, mean) = match is_baseline {
            true => (colour::SECOND_LIGHT, colour::MAIN_LIGHT),
            false => (colour::SECOND, colour::MAIN),
        };
        plot.line(&points(report, |sample| sample.connections_max as f64), most, false);
        plot.line(&points(report, |sample| sample.connections_mean), mean, false);
    }
    Drawing {
        name: "connections",
        caption: "Open connections of a node, nodes that are down included in the mean, bootstrap nodes left out. They \
                  must stay bounded and come to rest.",
        svg: plot.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::golden;
    use super::*;

    #[test]
    fn rates_are_means_over_a_second_at_least() {
        let mut report = golden();
        let one = report.samples[0];
        let sample = |(at_s, bytes_sent)| Sample { at_s, bytes_sent, ..one };
        report.nodes = 2;
        report.samples = [(0.5, 1_000), (1.0, 2_000), (3.0, 6_000), (3.0, 6_000)].map(sample).to_vec();
        assert_eq!(rates(&report), [(0.0, 1_000.0), (1.0, 1_000.0), (3.0, 1_000.0)]);
        report.samples.clear();
        assert!(rates(&report).is_empty());
    }
}
