//! The page of a run: what it was, its figures, its plots. One file that needs nothing else, and each plot in a
//! file of its own for use elsewhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::compare::{CONNECTIONS_NOTE, Comparison, Verdict, figures};
use super::plots::{self, Drawing, Pair};
use super::svg::escape;
use super::{Report, units};

/// Looks of the page.
const STYLE: &str = "
body { font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; color: #222; background: #f4f6f8;
  margin: 0 auto; max-width: 860px; padding: 24px 16px 64px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
p { margin: 6px 0; } .soft { color: #5f6670; } code { background: #e8ebef; padding: 1px 5px; border-radius: 3px; }
.good { color: #006b4e; font-weight: bold; } .bad { color: #b04a00; font-weight: bold; }
table { border-collapse: collapse; background: #fff; width: 100%; }
th, td { padding: 5px 10px; border-bottom: 1px solid #e4e7eb; text-align: right; white-space: nowrap; }
th { color: #5f6670; font-weight: 600; } th:first-child, td:first-child { text-align: left; white-space: normal; }
figure { margin: 0 0 24px; background: #fff; border: 1px solid #e4e7eb; }
figure svg { display: block; width: 100%; height: auto; } figcaption { padding: 4px 16px 12px; color: #5f6670; }
";

/// Writes page and plots into a directory, which is made. Returns the page's path.
///
/// # Errors
/// If something cannot be written.
pub(crate) fn write(
    report: &Report,
    baseline: Option<(&Report, &Comparison)>,
    directory: &Path,
) -> Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let save = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let drawings = plots::all(Pair { report, baseline: baseline.map(|(baseline, _)| baseline) });
    for drawing in &drawings {
        save(&format!("{}.svg", drawing.name), &drawing.svg)?;
    }
    save("index.html", &page(report, baseline.map(|(_, comparison)| comparison), &drawings))
}

fn page(report: &Report, comparison: Option<&Comparison>, drawings: &[Drawing]) -> String {
    let title = escape(&format!("{}, seed {}", report.scenario, report.seed));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    page.push_str(&head(report));
    page.push_str("<h2>Figures</h2>\n");
    page.push_str(&match comparison {
        Some(comparison) => compared(comparison),
        None => alone(report),
    });
    let _ = writeln!(page, "<p class=\"soft\">{}.</p>", escape(CONNECTIONS_NOTE));
    page.push_str("<h2>Plots</h2>\n");
    for Drawing { name, caption, svg } in drawings {
        let caption = escape(caption);
        let _ = writeln!(
            page,
            "<figure>\n{svg}<figcaption>{caption} <a href=\"{name}.svg\">{name}.svg</a></figcaption>\n</figure>"
        );
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn head(report: &Report) -> String {
    let Report { nodes, trace_hash, .. } = report;
    let mut head = match report.violations.len() {
        0 if report.ok => "<p class=\"good\">All invariants held.</p>\n".to_owned(),
        count => {
            let what = if count == 1 { "violation" } else { "violations" };
            format!("<p class=\"bad\">FAILED: {count} {what} of invariants.</p>\n<ul>\n")
        }
    };
    for violation in &report.violations {
        let at = units::milliseconds(violation.at_ms as f64);
        let (invariant, what) = (escape(&violation.invariant), escape(&violation.what));
        let _ = writeln!(head, "<li><b>{invariant}</b> at {at}: {what}</li>");
    }
    if !report.ok {
        head.push_str("</ul>\n");
    }
    if let Some(planted) = &report.planted {
        let _ = writeln!(head, "<p class=\"bad\">With the planted bug {}.</p>", escape(planted));
    }
    let (events, faults) = (units::count(report.events), report.faults.len());
    let virtual_time = units::milliseconds(report.sim_seconds * 1e3);
    let _ = writeln!(
        head,
        "<p>{nodes} nodes, {virtual_time} of virtual time, {faults} faults, {events} events, trace \
         <code>{}</code></p>",
        escape(trace_hash)
    );
    if let Some(calls) = report.calls.as_object() {
        let calls: Vec<String> =
            calls.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        let _ = writeln!(head, "<p class=\"soft\">Calls of backends: {}</p>", escape(&calls.join(", ")));
    }
    if !report.again.is_empty() {
        let _ = writeln!(head, "<p class=\"soft\">Again: <code>{}</code></p>", escape(&report.again));
    }
    head
}

fn alone(report: &Report) -> String {
    let mut table = String::from("<table>\n<tr><th>figure</th><th>this run</th></tr>\n");
    for figure in figures(report) {
        let _ = writeln!(table, "<tr><td>{}</td><td>{}</td></tr>", figure.name, escape(&figure.text()));
    }
    table + "</table>\n<p class=\"soft\">There is no baseline to compare with.</p>\n"
}

fn compared(comparison: &Comparison) -> String {
    let class = if comparison.failed() { "bad" } else { "good" };
    let mut table = format!("<p class=\"{class}\">{}</p>\n", escape(&comparison.summary()));
    for caveat in &comparison.caveats {
        let _ = writeln!(table, "<p>Not judged: {}.</p>", escape(caveat));
    }
    table.push_str(
        "<table>\n<tr><th>figure</th><th>this run</th><th>baseline</th><th>difference</th>\
         <th>same within</th><th>verdict</th></tr>\n",
    );
    for line in &comparison.lines {
        let class = match line.verdict {
            Verdict::Better => "good",
            Verdict::Worse => "bad",
            Verdict::Same => "soft",
        };
        let machine = if line.is.tolerance.in_virtual_time { "" } else { " *" };
        let cells = [line.is.text(), line.was.text(), line.difference(), line.is.tolerance_text()];
        let cells = cells.map(|cell| format!("<td>{}</td>", escape(&cell))).concat();
        let _ = writeln!(
            table,
            "<tr><td>{}{machine}</td>{cells}<td class=\"{class}\">{}</td></tr>",
            line.is.name,
            line.verdict.text()
        );
    }
    table
        + "</table>\n<p class=\"soft\">* depends on the machine and what else it does: fails nothing. All other \
           figures are of virtual time and follow from scenario and seed.</p>\n"
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;
    use crate::invariants::Violation;

    #[test]
    fn a_page_has_figures_and_plots_and_needs_nothing_else() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("chargemesh-page-{}", std::process::id()));
        let (mut report, baseline) = (golden(), golden());
        report.delivery.p99_ms *= 3;
        report.ok = false;
        report.again = "cargo run -- run 'a b.toml' --seed 7 --plant gap-ignored".to_owned();
        let what = "a <b> & \"c\"".to_owned();
        report.violations.push(Violation { invariant: "roots-equal".into(), at_ms: 1_500, what });
        let comparison = Comparison::new(&report, &baseline);
        let path = write(&report, Some((&baseline, &comparison)), &directory)?;
        let page = std::fs::read_to_string(path)?;
        assert_eq!(page.matches("<svg").count(), 8);
        for needed in [
            "golden, seed 7",
            "a &lt;b&gt; &amp; &quot;c&quot;",
            "WORSE than the baseline: delivery p99",
            ">work begins<",
            ">crash: 12.0 s to 22.0 s<",
            "in sync (%)",
            "connections of a node",
            "Again: <code>cargo run -- run ",
            "b.toml",
            "--plant gap-ignored</code>",
        ] {
            assert!(page.contains(needed), "{needed}");
        }
        for forbidden in ["<script", "src=", "NaN", "inf\"", "http://"] {
            let rest = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(forbidden), "{forbidden}");
        }
        let names = std::fs::read_dir(&directory)?.count();
        assert_eq!(names, 9);
        std::fs::remove_dir_all(directory)?;
        Ok(())
    }

    #[test]
    fn a_run_that_saw_nothing_is_shown() {
        let mut report = golden();
        (report.samples, report.totals, report.latency_histogram) = (Vec::new(), Vec::new(), Vec::new());
        report.delivery = Default::default();
        (report.sim_seconds, report.warm_up_s) = (0.0, None);
        let page = page(&report, None, &plots::all(Pair { report: &report, baseline: None }));
        assert!(page.contains("<td>never</td>") && !page.contains("NaN"), "{page}");
        // One look and one delivery are enough for plots without nonsense.
        let mut report = golden();
        report.samples.truncate(1);
        report.latency_histogram = super::super::histogram(&[0]);
        report.delivery = super::super::delivery(&[0]);
        for drawing in plots::all(Pair { report: &report, baseline: Some(&golden()) }) {
            assert!(!drawing.svg.contains("NaN") && !drawing.svg.contains("inf"), "{}", drawing.svg);
        }
    }
}
