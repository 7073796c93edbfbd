//! The figures of a run beside those of a baseline, and what the difference means.

use super::{Report, units};

/// What stands below a table of figures.
pub(crate) const CONNECTIONS_NOTE: &str = "connections are counted without bootstrap nodes";

/// A figure of a run; `None`: it never came to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// Its unit, for its title.
    unit: Kind,
    pub(crate) tolerance: Tolerance,
    pub(crate) value: Option<f64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Milliseconds,
    Seconds,
    Bytes,
    Megabytes,
    Count,
    /// Wall seconds for a virtual second.
    Ratio,
}

/// How far a figure may be from the baseline's and still be the same: whichever of the two is more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    /// Share of the baseline's figure.
    pub(crate) share: f64,
    /// In the figure's unit: what its measurement cannot tell apart.
    pub(crate) floor: f64,
    /// Whether less is better.
    less_is_better: bool,
    /// Whether it follows from scenario and seed alone. What the machine adds is shown, but fails nothing.
    pub(crate) in_virtual_time: bool,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Same,
    Worse,
}

impl Verdict {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Same => "same",
            Verdict::Worse => "worse",
        }
    }
}

impl Tolerance {
    const fn virtual_time(share: f64, floor: f64) -> Tolerance {
        Tolerance { share, floor, less_is_better: true, in_virtual_time: true }
    }

    const fn machine(share: f64, floor: f64) -> Tolerance {
        Tolerance { share, floor, less_is_better: true, in_virtual_time: false }
    }

    /// Judges a figure against the baseline's. What never came is worse than anything that did.
    pub(crate) fn judge(self, is: Option<f64>, was: Option<f64>) -> Verdict {
        let (is, was) = match (is, was) {
            (None, None) => return Verdict::Same,
            (None, Some(_)) => return Verdict::Worse,
            (Some(_), None) => return Verdict::Better,
            (Some(is), Some(was)) => (is, was),
        };
        let allowed = (was.abs() * self.share).max(self.floor);
        let more = if self.less_is_better { is - was } else { was - is };
        match more {
            more if more > allowed => Verdict::Worse,
            more if more < -allowed => Verdict::Better,
            _ => Verdict::Same,
        }
    }
}

impl Figure {
    /// As a person reads it.
    pub(crate) fn text(&self) -> String {
        let Some(value) = self.value else { return "never".to_owned() };
        match self.unit {
            Kind::Milliseconds => units::milliseconds(value),
            Kind::Seconds if value < 1.0 => format!("{} s", units::digits(value)),
            Kind::Seconds => units::milliseconds(value * 1e3),
            Kind::Bytes => units::bytes(value),
            Kind::Megabytes => units::bytes(value * 1e6),
            Kind::Count => units::digits(value),
            Kind::Ratio => units::digits(value),
        }
    }

    /// What is the same, in words.
    pub(crate) fn tolerance_text(&self) -> String {
        let floor = Figure { value: Some(self.tolerance.floor), ..self.clone() }.text();
        format!("{:.0} % or {floor}", self.tolerance.share * 100.0)
    }
}

/// The figures of a run, always the same ones in the same order.
pub(crate) fn figures(report: &Report) -> Vec<Figure> {
    let figure = |name, unit, tolerance, value| Figure { name, unit, tolerance, value };
    let delivery = &report.delivery;
    let latency = |ms: u32| Some(f64::from(ms)).filter(|_| delivery.count > 0);
    let last = report.samples.last();
    let connections_max = report.samples.iter().map(|sample| sample.connections_max as f64).reduce(f64::max);
    let bytes = last.map(|sample| sample.bytes_sent as f64 / f64::from(report.nodes.max(1)));
    let slowness = Some(report.wall_seconds / report.sim_seconds).filter(|ratio| ratio.is_finite());
    let deliveries = Tolerance { less_is_better: false, ..Tolerance::virtual_time(0.05, 10.0) };
    let time = Tolerance::virtual_time;
    vec![
        figure("deliveries", Kind::Count, deliveries, Some(delivery.count as f64)),
        figure("delivery p50", Kind::Milliseconds, time(0.1, 10.0), latency(delivery.p50_ms)),
        figure("delivery p99", Kind::Milliseconds, time(0.25, 100.0), latency(delivery.p99_ms)),
        figure("delivery max", Kind::Milliseconds, time(0.5, 1_000.0), latency(delivery.max_ms)),
        // The world is looked at every half second meanwhile.
        figure("warm-up", Kind::Seconds, time(0.2, 1.0), report.warm_up_s),
        figure("repaired after", Kind::Seconds, time(0.25, 1.0), report.repaired_s),
        figure("bytes sent per node", Kind::Bytes, time(0.1, 10_000.0), bytes),
        figure("connections, mean at the end", Kind::Count, time(0.1, 1.0), report.connections_mean()),
        figure("connections, max at any time", Kind::Count, time(0.2, 2.0), connections_max),
        figure("wall seconds per virtual second", Kind::Ratio, Tolerance::machine(0.3, 0.01), slowness),
        figure("peak memory", Kind::Megabytes, Tolerance::machine(0.2, 20.0), Some(report.rss_mb)),
    ]
}

/// A figure beside the baseline's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) is: Figure,
    pub(crate) was: Figure,
    pub(crate) verdict: Verdict,
}

impl Line {
    /// The difference in percent, with its sign.
    pub(crate) fn difference(&self) -> String {
        match (self.is.value, self.was.value) {
            (Some(is), Some(was)) if was != 0.0 => {
                let percent = (is - was) / was * 100.0;
                // No minus before a zero.
                let percent = if percent.abs() < 0.05 { 0.0 } else { percent };
                if percent == 0.0 { "0 %".to_owned() } else { format!("{percent:+.1} %") }
            }
            (Some(is), Some(was)) if is == was => "0 %".to_owned(),
            _ => "-".to_owned(),
        }
    }

    /// Whether it must not be so.
    pub(crate) fn fails(&self) -> bool {
        self.verdict == Verdict::Worse && self.is.tolerance.in_virtual_time
    }
}

/// A run beside a baseline.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) lines: Vec<Line>,
    /// Why differences may come from something else than the program; empty: they come from it.
    pub(crate) caveats: Vec<String>,
}

impl Comparison {
    /// Compares all figures.
    pub(crate) fn new(report: &Report, baseline: &Report) -> Comparison {
        let pairs = figures(report).into_iter().zip(figures(baseline));
        let line = |(is, was): (Figure, Figure)| {
            let verdict = is.tolerance.judge(is.value, was.value);
            Line { is, was, verdict }
        };
        Comparison { lines: pairs.map(line).collect(), caveats: caveats(report, baseline) }
    }

    /// Whether a figure of virtual time is worse than it may be. Never with caveats.
    pub(crate) fn failed(&self) -> bool {
        self.caveats.is_empty() && self.lines.iter().any(Line::fails)
    }

    /// One sentence.
    pub(crate) fn summary(&self) -> String {
        let of = |verdict| self.lines.iter().filter(|line| line.verdict == verdict).count();
        let (worse, better) = (of(Verdict::Worse), of(Verdict::Better));
        let names: Vec<&str> =
            self.lines.iter().filter(|line| line.fails()).map(|line| line.is.name).collect();
        let judged = match (names.is_empty(), self.caveats.is_empty()) {
            (true, _) => "no figure of virtual time is worse than the baseline's".to_owned(),
            (false, true) => format!("WORSE than the baseline: {}", names.join(", ")),
            (false, false) => format!("worse, but not judged: {}", names.join(", ")),
        };
        format!("{judged} ({worse} worse, {better} better of {} figures)", self.lines.len())
    }
}

fn caveats(report: &Report, baseline: &Report) -> Vec<String> {
    let mut caveats = Vec::new();
    if report.seed != baseline.seed {
        let (is, was) = (report.seed, baseline.seed);
        caveats.push(format!("the baseline has seed {was}, this run seed {is}: chance differs"));
    }
    if report.nodes != baseline.nodes {
        let (is, was) = (report.nodes, baseline.nodes);
        caveats.push(format!("the baseline has {was} nodes, this run {is}: the scenario was changed"));
    }
    if let Some(planted) = &report.planted {
        caveats.push(format!("this run has the planted bug {planted}"));
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn verdicts_follow_the_tolerances() {
        let less = Tolerance::virtual_time(0.1, 10.0);
        let more = Tolerance { less_is_better: false, ..less };
        let cases = [
            (less, Some(100.0), Some(100.0), Verdict::Same),
            (less, Some(110.0), Some(100.0), Verdict::Same),
            (less, Some(110.1), Some(100.0), Verdict::Worse),
            (less, Some(89.0), Some(100.0), Verdict::Better),
            // The floor counts where the share is less.
            (less, Some(15.0), Some(5.0), Verdict::Same),
            (less, Some(15.1), Some(5.0), Verdict::Worse),
            (less, Some(0.0), Some(5.0), Verdict::Same),
            (less, Some(11.0), Some(0.0), Verdict::Worse),
            (more, Some(80.0), Some(100.0), Verdict::Worse),
            (more, Some(120.0), Some(100.0), Verdict::Better),
            (less, None, Some(5.0), Verdict::Worse),
            (less, Some(5.0), None, Verdict::Better),
            (less, None, None, Verdict::Same),
        ];
        for (tolerance, is, was, expected) in cases {
            assert_eq!(tolerance.judge(is, was), expected, "{is:?} against {was:?}");
        }
    }

    #[test]
    fn only_virtual_time_fails() {
        let baseline = golden();
        let mut report = baseline.clone();
        (report.wall_seconds, report.rss_mb) = (1_000.0, 9_000.0);
        let comparison = Comparison::new(&report, &baseline);
        assert_eq!(comparison.lines.iter().filter(|line| line.verdict == Verdict::Worse).count(), 2);
        assert!(!comparison.failed());
        report.delivery.p99_ms *= 2;
        assert!(Comparison::new(&report, &baseline).failed());
        report.delivery = baseline.delivery;
        report.repaired_s = None;
        assert!(Comparison::new(&report, &baseline).failed());
        // Another seed is another world.
        report.seed += 1;
        let comparison = Comparison::new(&report, &baseline);
        assert!(!comparison.failed() && comparison.summary().contains("not judged: repaired after"));
    }

    #[test]
    fn differences_are_in_percent() {
        let baseline = golden();
        let mut report = baseline.clone();
        report.delivery.p50_ms = baseline.delivery.p50_ms * 3 / 2;
        let lines = Comparison::new(&report, &baseline).lines;
        let difference = |name| lines.iter().find(|line| line.is.name == name).map(Line::difference);
        assert_eq!(difference("delivery p50").as_deref(), Some("+50.0 %"));
        assert_eq!(difference("delivery p99").as_deref(), Some("0 %"));
        assert_eq!(lines[1].is.tolerance_text(), "10 % or 10 ms");
    }
}
