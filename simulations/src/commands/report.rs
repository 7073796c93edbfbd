//! `report`: plots of a run, and its figures beside those of a baseline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::report::compare::{CONNECTIONS_NOTE, Comparison, Verdict, figures};
use crate::report::{Report, baseline, page};

/// What `report` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What `run --out` wrote.
    run: PathBuf,
    /// Report or baseline to compare with; without it the scenario's in `simulations/baselines`, if it has one.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Directory for page and plots; without it `report-SCENARIO-SEED`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Makes this run the baseline, after it was compared with the old one. Then nothing is too bad.
    #[arg(long)]
    save_baseline: bool,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
}

/// Draws and compares. The exit code is 1 if a figure that follows from the seed is worse than it may be.
pub(super) fn report(options: &Options) -> Result<ExitCode> {
    let report = baseline::read(&options.run)?;
    let (scenario, seed) = (&report.scenario, report.seed);
    let path = options.baseline.clone().unwrap_or_else(|| baseline::path_of(scenario));
    let wanted = options.baseline.is_some() && !options.save_baseline;
    let old = if wanted || path.is_file() { Some(baseline::read(&path)?) } else { None };
    if let Some(old) = &old {
        let other = &old.scenario;
        ensure!(other == scenario, "{} is of scenario `{other}`, not `{scenario}`", path.display());
    }
    let comparison = old.as_ref().map(|old| Comparison::new(&report, old));
    println!("{scenario}, seed {seed}: {}", if report.ok { "all invariants held" } else { "FAILED" });
    match &comparison {
        Some(comparison) => print_compared(comparison, &path),
        None => print_alone(&report),
    }
    let directory = options.out.clone().unwrap_or_else(|| format!("report-{scenario}-{seed}").into());
    let page = page::write(&report, old.as_ref().zip(comparison.as_ref()), &directory)?;
    println!("  plots: {}", page.display());
    if options.save_baseline {
        baseline::save(&report, &path)?;
        println!("  saved as baseline: {}", path.display());
    }
    if options.json {
        println!("{}", line(&report, &page, comparison.as_ref().map(|comparison| (comparison, &*path))));
    }
    let failed = comparison.is_some_and(|comparison| comparison.failed());
    Ok(if failed && !options.save_baseline { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The run in one line for other programs, with the page, and what the baseline (by its path) says of it.
fn line(report: &Report, page: &Path, compared: Option<(&Comparison, &Path)>) -> serde_json::Value {
    let comparison = compared.map(|(comparison, baseline)| {
        let of = |verdict| -> Vec<&str> {
            let lines = comparison.lines.iter().filter(|line| line.verdict == verdict);
            lines.map(|line| line.is.name).collect()
        };
        serde_json::json!({
            "baseline": baseline.display().to_string(),
            "ok": !comparison.failed(),
            "worse": of(Verdict::Worse),
            "better": of(Verdict::Better),
            "not_judged": comparison.caveats,
        })
    });
    let more = serde_json::json!({ "report": page.display().to_string(), "comparison": comparison });
    super::run::joined(super::run::line(report), more)
}

fn print_alone(report: &Report) {
    for figure in figures(report) {
        println!("  {:<32} {:>12}", figure.name, figure.text());
    }
    println!("  {CONNECTIONS_NOTE}");
    println!("  no baseline to compare with; --save-baseline keeps this run as one");
}

fn print_compared(comparison: &Comparison, path: &Path) {
    println!(
        "  {:<32} {:>12} {:>12} {:>11}  {:<8} same within",
        "", "this run", "baseline", "difference", "verdict"
    );
    for line in &comparison.lines {
        let mark = if line.is.tolerance.in_virtual_time { "" } else { " *" };
        println!(
            "  {:<32} {:>12} {:>12} {:>11}  {:<8} {}",
            format!("{}{mark}", line.is.name),
            line.is.text(),
            line.was.text(),
            line.difference(),
            line.verdict.text(),
            line.is.tolerance_text()
        );
    }
    println!("  * depends on the machine, not on virtual time: fails nothing");
    println!("  {CONNECTIONS_NOTE}");
    println!("  baseline: {}", path.display());
    for caveat in &comparison.caveats {
        println!("  not judged: {caveat}");
    }
    println!("  {}", comparison.summary());
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{assert_holds, example};
    use super::*;

    #[test]
    fn the_line_holds_the_run_the_page_and_the_comparison() {
        let baseline = example();
        let page = Path::new("report-first-1/index.html");
        let alone = line(&baseline, page, None);
        assert_holds(&alone, &["report"]);
        assert_eq!(
            (&alone["report"], &alone["comparison"]),
            (&"report-first-1/index.html".into(), &().into())
        );
        let mut report = baseline.clone();
        report.delivery.p99_ms = 100 * baseline.delivery.p99_ms;
        for (run, ok, worse) in [(&baseline, true, None), (&report, false, Some("delivery p99"))] {
            let comparison = Comparison::new(run, &baseline);
            let line = line(run, page, Some((&comparison, Path::new("first.json"))));
            assert_holds(&line, &["report", "comparison"]);
            let comparison = &line["comparison"];
            assert_eq!((&comparison["ok"], &comparison["baseline"]), (&ok.into(), &"first.json".into()));
            assert_eq!(comparison["worse"], worse.into_iter().collect::<serde_json::Value>());
            // What was worse than before is no fault of the run.
            assert_eq!(line["ok"], run.ok);
        }
    }
}
