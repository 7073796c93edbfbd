//! How long changes took to get from their writer to the others.

use super::super::scale::Scale;
use super::super::svg::{Axis, Key, Plot, colour};
use super::super::{Report, bounds_ms, units};
use super::{Drawing, Pair, axis_from_zero};

/// A step of the histogram: from, to in milliseconds, and the share of all deliveries.
type Step = (f64, f64, f64);

fn steps(report: &Report) -> Vec<Step> {
    let all: u64 = report.latency_histogram.iter().map(|(_, count)| count).sum();
    let step = |(to, count): &(u32, u64)| {
        let below = bounds_ms().take_while(|bound| bound < to).last();
        let from = below.map_or(0.5, f64::from);
        (from, f64::from(*to), *count as f64 / all.max(1) as f64)
    };
    report.latency_histogram.iter().map(step).collect()
}

/// The time axis over all latencies of both, from a round time to a round time.
fn axis(pair: Pair<'_>) -> Axis {
    let all = || pair.both().flat_map(|(report, _)| steps(report));
    let (low, high) = all().fold((f64::MAX, 1.0), |(low, high), (from, to, _)| (from.min(low), to.max(high)));
    let high = high.max(pair.largest(|report| report.delivery.max_ms.into()));
    let (from, to) = (round_down(low.min(high / 2.0)), round_up(high));
    let ticks = Scale::log_ticks(from, to, 13);
    // Powers of ten of minutes or hours would not be round.
    let text = |ms: f64| match ms {
        ms if ms < 1_000.0 => format!("{} ms", units::digits(ms)),
        ms => format!("{} s", units::digits(ms / 1e3)),
    };
    let ticks = ticks.into_iter().map(|ms| (ms, text(ms))).collect();
    Axis {
        scale: Scale::Log { from, to },
        ticks,
        title: "time from the change to another node's view".into(),
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| round * power >= value * (1.0 - 1e-9));
    round.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let round = [5.0, 2.0, 1.0].into_iter().find(|round| round * power <= value * (1.0 + 1e-9));
    round.unwrap_or(1.0) * power
}

/// Which latencies there were, with median, 99th percentile and maximum.
pub(super) fn distribution(pair: Pair<'_>) -> Drawing {
    let report = pair.report;
    let highest = pair.largest(|report| steps(report).into_iter().map(|step| step.2).fold(0.0, f64::max));
    let y = axis_from_zero(highest, 1.4, 0.01, "share of deliveries (%)".into());
    let what = format!("{} deliveries", units::count(report.delivery.count));
    let mut plot = Plot::new("Delivery latency", &pair.subtitle(&what), &axis(pair), &y, 0.0);
    plot.legend(Key::Bar(colour::MAIN), "deliveries");
    plot.legend(Key::Mark(colour::SECOND), "median, 99th percentile, slowest");
    for (from, to, share) in steps(report) {
        let time = format!("{} to {}", units::milliseconds(from), units::milliseconds(to));
        plot.bar(from, to, share, colour::MAIN, &format!("{time}: {} %", units::digits(share * 100.0)));
    }
    if let Some(baseline) = pair.baseline {
        plot.legend(Key::Line(colour::MAIN_LIGHT), "deliveries of the baseline");
        plot.line(&outline(&steps(baseline)), colour::MAIN_LIGHT, true);
    }
    let marks = |report: &Report| {
        let delivery = report.delivery;
        [("p50", delivery.p50_ms), ("p99", delivery.p99_ms), ("max", delivery.max_ms)]
    };
    for (_, ms) in pair.baseline.map(marks).into_iter().flatten() {
        plot.mark_x(ms.into(), colour::SECOND_LIGHT, "", 0);
    }
    for (row, (name, ms)) in marks(report).into_iter().enumerate() {
        let was = pair.baseline.map(|baseline| units::milliseconds(marks(baseline)[row].1.into()));
        let was = was.map_or_else(String::new, |was| format!(" (baseline {was})"));
        let text = format!("{name} {}{was}", units::milliseconds(ms.into()));
        plot.mark_x(ms.into(), colour::SECOND, &text, row as u32);
    }
    Drawing {
        name: "delivery-latency",
        caption: "How long a change took from its writer's backend to the view of another node. Further left is \
                  better; a second hump to the right are deliveries that a fault held up.",
        svg: plot.finish(),
    }
}

/// The upper edge of all steps, down to the axis where there are none.
fn outline(steps: &[Step]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut end = None;
    for (from, to, share) in steps {
        if end != Some(*from) {
            points.push((end.unwrap_or(*from), 0.0));
        }
        points.push((*from, *share));
        end = Some(*to);
    }
    points.extend(end.map(|end| (end, 0.0)));
    points
}

/// How many took longer than a given time: where the slow ones are seen.
pub(super) fn tail(pair: Pair<'_>) -> Drawing {
    let rarest = pair.both().map(|(report, _)| 1.0 / report.delivery.count.max(1) as f64).fold(0.1, f64::min);
    let from = 10f64.powf(rarest.log10().floor());
    let ticks = Scale::log_ticks(from, 1.0, 1);
    let percent = |share: f64| {
        let decimals = (-share.log10() - 2.0).round().max(0.0) as usize;
        (share, format!("{:.decimals$} %", share * 100.0))
    };
    let ticks = ticks.into_iter().map(percent).collect();
    let y = Axis { scale: Scale::Log { from, to: 1.0 }, ticks, title: "share that took longer".into() };
    let mut plot = Plot::new(
        "Slow deliveries",
        &pair.subtitle("share of deliveries that took longer than a time"),
        &axis(pair),
        &y,
        0.0,
    );
    plot.legend(Key::Line(colour::MAIN), "this run");
    if pair.baseline.is_some() {
        plot.legend(Key::Line(colour::MAIN_LIGHT), "baseline");
    }
    for (report, is_baseline) in pair.both() {
        let mut rest = 1.0;
        let mut points = Vec::new();
        for (begin, end, share) in steps(report) {
            if points.is_empty() {
                points.push((begin, 1.0));
            }
            rest -= share;
            // The last one took no longer than the longest.
            points.push(if rest > 1e-9 { (end, rest) } else { (report.delivery.max_ms.into(), from) });
        }
        plot.line(&points, if is_baseline { colour::MAIN_LIGHT } else { colour::MAIN }, false);
    }
    Drawing {
        name: "slow-deliveries",
        caption: "Both axes are logarithmic: each line down is ten times fewer deliveries. A line further left and \
                  lower is better.",
        svg: plot.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_outwards() {
        for (value, down, up) in [(1.0, 1.0, 1.0), (32.0, 20.0, 50.0), (128.0, 100.0, 200.0), (0.5, 0.5, 0.5)]
        {
            assert!(
                (round_down(value) - down).abs() < 1e-9 && (round_up(value) - up).abs() < 1e-9,
                "{value}"
            );
        }
    }

    #[test]
    fn an_outline_returns_to_the_axis_in_gaps() {
        let points = outline(&[(1.0, 2.0, 0.5), (2.0, 4.0, 0.25), (8.0, 16.0, 0.25)]);
        let expected = [(1.0, 0.0), (1.0, 0.5), (2.0, 0.25), (4.0, 0.0), (8.0, 0.25), (16.0, 0.0)];
        assert_eq!(points, expected);
    }
}
