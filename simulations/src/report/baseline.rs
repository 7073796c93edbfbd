//! Baselines: reports of runs that were good, small enough to be kept with the source.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Report, Sample};

/// Where they are kept.
const BASELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baselines");

/// Samples and nodes that a baseline keeps at most: no plot shows more.
const POINTS_MAX: usize = 200;

/// Where the baseline of a scenario is kept.
pub(crate) fn path_of(scenario: &str) -> PathBuf {
    Path::new(BASELINES).join(format!("{scenario}.json"))
}

/// Reads a report or a baseline.
///
/// # Errors
/// If there is none or it is none.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no report; `run SCENARIO --out FILE` writes one", path.display()))
}

/// Keeps a run as a baseline.
///
/// # Errors
/// If the run is no example to others, or cannot be written.
pub(crate) fn save(report: &Report, path: &Path) -> Result<()> {
    ensure!(report.ok, "a run that failed is no baseline");
    ensure!(report.planted.is_none(), "a run with a planted bug is no baseline");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let mut text = serde_json::to_string(&small(report))?;
    // A line per point, so that a difference of two baselines can be read.
    text = text.replace("},{", "},\n{").replace("],\"", "],\n\"");
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// What comparisons and plots need of a run. All figures stay as they are.
fn small(report: &Report) -> Report {
    let mut small = report.clone();
    small.samples = thinned(&report.samples);
    // By what they are sorted by in the plots, evenly picked, the largest included.
    small.totals.sort_by_key(|node| std::cmp::Reverse(node.bytes_sent));
    let step = small.totals.len().div_ceil(POINTS_MAX).max(1);
    small.totals = small.totals.into_iter().step_by(step).collect();
    small.faults.clear();
    // A baseline is read elsewhere than where its run was made.
    small.again.clear();
    small.wall_seconds = (small.wall_seconds * 1e2).round() / 1e2;
    small.rss_mb = small.rss_mb.round();
    small
}

/// Neighbours become one: the worst of them, so that no dent and no peak is lost.
fn thinned(samples: &[Sample]) -> Vec<Sample> {
    let step = samples.len().div_ceil(POINTS_MAX).max(1);
    let worst = |some: &[Sample]| {
        let worse = |a: Sample, b: &Sample| Sample {
            in_sync: a.in_sync.min(b.in_sync),
            running: a.running.min(b.running),
            connections_max: a.connections_max.max(b.connections_max),
            connections_bootstrap_max: a.connections_bootstrap_max.max(b.connections_bootstrap_max),
            ..*b
        };
        let (first, rest) = some.split_first()?;
        Some(rest.iter().fold(*first, worse))
    };
    let round = |sample: Sample| Sample {
        in_sync: (sample.in_sync * 1e4).round() / 1e4,
        connections_mean: (sample.connections_mean * 1e3).round() / 1e3,
        ..sample
    };
    samples.chunks(step).filter_map(worst).map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::super::compare::{Comparison, Verdict};
    use super::super::{Delivery, golden};
    use super::*;

    #[test]
    fn a_baseline_is_small_and_has_the_same_figures() {
        let mut report = golden();
        let one = report.samples[0];
        let many = (0..5_000).map(|n| Sample { at_s: n as f64, in_sync: 1.0, bytes_sent: n * 100, ..one });
        report.samples = many.collect();
        report.samples[2_345].connections_max = 77;
        report.samples[2_345].in_sync = 0.5;
        let small = small(&report);
        assert!(small.samples.len() <= POINTS_MAX, "{}", small.samples.len());
        assert!(small.samples.iter().any(|sample| sample.in_sync == 0.5));
        let comparison = Comparison::new(&report, &small);
        assert!(comparison.lines.iter().all(|line| line.verdict == Verdict::Same), "{comparison:?}");
        assert!(comparison.lines.iter().all(|line| line.difference() == "0 %"), "{comparison:?}");
    }

    #[test]
    fn a_saved_baseline_is_read_again_and_a_bad_run_is_none() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("chargemesh-baseline-{}", std::process::id()));
        let path = directory.join("new").join("golden.json");
        let mut report = golden();
        save(&report, &path)?;
        let Delivery { count, p99_ms, .. } = read(&path)?.delivery;
        assert_eq!((count, p99_ms), (report.delivery.count, report.delivery.p99_ms));
        report.ok = false;
        assert!(save(&report, &path).is_err());
        std::fs::write(&path, "{}")?;
        assert!(read(&path).is_err());
        std::fs::remove_dir_all(directory)?;
        Ok(())
    }

    #[test]
    fn a_report_without_the_later_fields_is_read() -> Result<()> {
        let mut value = serde_json::to_value(golden())?;
        let fields = value.as_object_mut().expect("an object");
        for later in ["faults", "work_s"] {
            assert!(fields.shift_remove(later).is_some(), "{later}");
        }
        let report: Report = serde_json::from_value(value)?;
        assert!(report.faults.is_empty() && report.work_s.is_none());
        Ok(())
    }
}
