//! `chargemesh lint`: what in a file deviates from OICP 2.3, for people or for programs, and its repair.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use chargemesh::oicp::finding::{Rule, Severity};
use chargemesh::oicp::lint::{self, FixedFile, LintEntry, LintError, LintReport};
use chargemesh::oicp::register::RegisterKind;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::text::{count, counted, print, shown};
use super::{EXIT_FOUND, input};

/// Characters of an example's value: it has to fit the line.
const VALUE_CHARACTERS_MAX: usize = 44;

/// Characters of a field name or EvseID: longer ones are no OICP.
const NAME_CHARACTERS_MAX: usize = 48;

/// Say what in a register, status or push file deviates from OICP 2.3.
///
/// Exit codes: 0 nothing to do (or --fix repaired everything); 1 something deviates (with --fix: something is
/// left that only the owner can supply); 2 the file cannot be read.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The file, JSON, may be gzipped; `-` reads the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the repaired file to OUT, gzipped if its name ends in `.gz`. OUT must not exist.
    #[arg(long, value_name = "OUT")]
    fix: Option<PathBuf>,
}

/// Lints, prints, and repairs if asked to.
///
/// # Errors
/// The file cannot be read or is no register; OUT cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let body = input::read(&args.file)?;
    let name = args.file.display().to_string();
    // The error's text holds its cause's already.
    let unreadable = |error: LintError| anyhow!("{name}: {error}");
    let report = lint::lint(&body).map_err(unreadable)?;
    let mut left = report.worst();
    print(&if args.json { report.to_json() + "\n" } else { table(&name, &report) })?;
    match &args.fix {
        Some(out) => {
            let fixed = lint::fix(&body).map_err(unreadable)?;
            write(out, &fixed.text)?;
            left = fixed.report.worst();
            let said = after_fix(out, &fixed);
            // The report alone goes to a program.
            if args.json { eprint!("{said}") } else { print(&said)? }
        }
        None if !args.json => print(&next_step(&name, &report))?,
        None => {}
    }
    Ok(if left > Some(Severity::Info) { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS })
}

/// The report for people.
fn table(name: &str, report: &LintReport) -> String {
    let kind = match report.kind {
        RegisterKind::EvseData => "EVSE data",
        RegisterKind::EvseStatus => "EVSE statuses",
    };
    let (operators, records) = (counted(report.operators, "operator"), counted(report.records, "record"));
    let ids = counted(report.distinct_evse_ids, "distinct EvseID");
    let mut text = format!("{name}: {kind} of {operators}, {records}, {ids}\n");
    let columns = Columns::of(report);
    for (severity, heading) in [
        (Severity::Error, "TO REPAIR: spelling, type or shape is wrong; `lint --fix` repairs it"),
        (Severity::OwnerMustSupply, "OWNER MUST SUPPLY: only the owner knows the right value"),
        (Severity::Info, "WORTH KNOWING: nothing is refused for it"),
    ] {
        section(&mut text, heading, &columns, &of(report, severity));
    }
    forms(&mut text, report);
    text
}

/// Widths in characters.
struct Columns {
    amount: usize,
    field: usize,
}

impl Columns {
    fn of(report: &LintReport) -> Columns {
        let width = |of: fn(&LintEntry) -> String| {
            report.entries.iter().map(|entry| of(entry).chars().count()).max().unwrap_or(0)
        };
        Columns { amount: width(amount), field: width(field) }
    }
}

/// One severity: under each rule, with what to do, one line per field; the rule met most often comes first.
fn section(text: &mut String, heading: &str, columns: &Columns, entries: &[&LintEntry]) {
    if entries.is_empty() {
        return;
    }
    line(text, format_args!("\n{heading}"));
    let mut rules: Vec<_> = Vec::new();
    for entry in entries {
        if !rules.contains(&entry.rule) {
            rules.push(entry.rule);
        }
    }
    for rule in rules {
        line(text, format_args!("\n  {rule}: {}", rule.what_to_do()));
        for entry in entries.iter().filter(|entry| entry.rule == rule) {
            let (amount, field) = (amount(entry), field(entry));
            let example = example(entry);
            let (wide, wider) = (columns.amount, columns.field);
            let row = format!("    {amount:>wide$}  {field:wider$}  {example}");
            line(text, format_args!("{}", row.trim_end()));
        }
    }
}

fn of(report: &LintReport, severity: Severity) -> Vec<&LintEntry> {
    report.entries.iter().filter(|entry| entry.severity == severity).collect()
}

fn amount(entry: &LintEntry) -> String {
    format!("{} {:UNIT_CHARACTERS$}", count(entry.count), unit(entry))
}

/// Room for the longest unit (`opening times`), so that counts stand under each other.
const UNIT_CHARACTERS: usize = 13;

fn unit(entry: &LintEntry) -> String {
    match (entry.count, entry.unit.strip_suffix("ies")) {
        (1, Some(stem)) => format!("{stem}y"),
        (1, None) => entry.unit.trim_end_matches('s').to_owned(),
        _ => entry.unit.to_owned(),
    }
}

fn field(entry: &LintEntry) -> String {
    shown(&entry.field, NAME_CHARACTERS_MAX)
}

/// `"46.1 6.1" in CH*ABC*E1`, `in CH*ABC*E1`, `CH*ABC*E1 of CH*HUB`, or where it stands.
fn example(entry: &LintEntry) -> String {
    let Some(example) = entry.examples.first() else { return String::new() };
    let value = shown(&example.value, VALUE_CHARACTERS_MAX);
    let place = match &example.evse_id {
        Some(id) => shown(id, NAME_CHARACTERS_MAX),
        None => shown(&example.pointer, NAME_CHARACTERS_MAX),
    };
    // The value of these is the operator that publishes the EvseID.
    let is_about_publisher =
        matches!(entry.rule, Rule::ForeignOperatorPart | Rule::EvseIdClaimedTwice | Rule::EvseIdRepeated);
    match (value.is_empty() || value == "null", place.is_empty()) {
        (_, true) => value,
        (true, false) => format!("in {place}"),
        (false, false) if is_about_publisher => format!("{place} of {value}"),
        (false, false) if value.trim_matches('"') == place => place,
        (false, false) => format!("{value} in {place}"),
    }
}

/// In which forms a value is written, one line per field.
fn forms(text: &mut String, report: &LintReport) {
    let mut fields: Vec<&str> = report.forms.iter().map(|form| form.field).collect();
    fields.dedup();
    if fields.is_empty() {
        return;
    }
    line(text, format_args!("\nHOW VALUES ARE WRITTEN"));
    for field in fields {
        let mut forms: Vec<_> = report.forms.iter().filter(|form| form.field == field).collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.count));
        let listed: Vec<String> =
            forms.iter().map(|form| format!("{} {}", count(form.count), form.form)).collect();
        let unit = forms.first().map_or("", |form| form.unit);
        line(text, format_args!("  {field} ({unit}): {}", listed.join(", ")));
    }
}

/// The last lines: how much is left to do, and with which command.
fn next_step(name: &str, report: &LintReport) -> String {
    let (repair, owner) = (of(report, Severity::Error), of(report, Severity::OwnerMustSupply));
    if repair.is_empty() && owner.is_empty() {
        return "\nclean: nothing deviates from OICP 2.3\n".to_owned();
    }
    let mut text = format!("\n{}\n", tally(report));
    if !repair.is_empty() {
        line(&mut text, format_args!("next: chargemesh lint {name} --fix OUT"));
    }
    text
}

/// How many deviations of which severity.
fn tally(report: &LintReport) -> String {
    let sum = |severity| of(report, severity).iter().map(|entry| entry.count).sum();
    format!(
        "{} to repair, {} for the owner, {} worth knowing",
        counted(sum(Severity::Error), "deviation"),
        count(sum(Severity::OwnerMustSupply)),
        count(sum(Severity::Info)),
    )
}

/// What was repaired, what was derived, and what nobody but the owner can supply.
fn after_fix(out: &Path, fixed: &FixedFile) -> String {
    let mut text = format!("\nwrote {}: every name, type and shape is now OICP 2.3\n", out.display());
    let still = of(&fixed.report, Severity::Error);
    if !still.is_empty() {
        text = format!("\nwrote {}, but {} stay unrepaired\n", out.display(), still.len());
    }
    if !fixed.derived.is_empty() {
        line(&mut text, format_args!("\nOperatorIDs derived from the EvseIDs:"));
    }
    for (received, derived) in &fixed.derived {
        line(&mut text, format_args!("  {} -> {}", shown(received, NAME_CHARACTERS_MAX), derived.as_str()));
    }
    if !fixed.refused.is_empty() {
        line(&mut text, format_args!("\nOperatorIDs that could not be derived and stay as they are:"));
    }
    for refused in &fixed.refused {
        line(&mut text, format_args!("  {}", shown(&refused.to_string(), 200)));
    }
    let owner = of(&fixed.report, Severity::OwnerMustSupply);
    if owner.is_empty() {
        line(&mut text, format_args!("\nnothing is left for the owner to supply"));
        return text;
    }
    line(&mut text, format_args!("\nwritten unchanged, because only the owner can supply it:"));
    let columns = Columns::of(&fixed.report);
    for entry in owner {
        let (amount, field, rule) = (amount(entry), field(entry), entry.rule);
        let (wide, wider) = (columns.amount, columns.field);
        line(&mut text, format_args!("  {amount:>wide$}  {field:wider$}  {rule}"));
    }
    text
}

/// Writes a new file, never over an existing one; a half-written one is removed.
fn write(out: &Path, text: &str) -> anyhow::Result<()> {
    let shown = out.display();
    let mut file = File::create_new(out)
        .with_context(|| format!("{shown} cannot be made: choose a name that does not exist yet"))?;
    let is_packed = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let written = if is_packed {
        let mut encoder = GzEncoder::new(&mut file, Compression::default());
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish().map(drop))
    } else {
        file.write_all(text.as_bytes())
    };
    if let Err(error) = written.and_then(|()| file.sync_all()) {
        let removed = std::fs::remove_file(out).is_ok();
        let rest = if removed { "it was removed" } else { "what is there is incomplete: remove it" };
        return Err(error).with_context(|| format!("{shown} cannot be written; {rest}"));
    }
    Ok(())
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _infallible = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"EVSEData":[{"OperatorID":"CH*FASTNED","OperatorName":"F","EVSEDataRecord":[
        {"EvseID":"CH*FAS*E1\u001b[2J","Plugs":[]},{"EvseID":"CH*FAS*E2","GeoCoordinates":{"Google":"46.1 6.1"}}]}]}"#;

    #[test]
    fn the_table_names_rule_field_count_and_example() {
        let report = lint::lint(FILE.as_bytes()).unwrap();
        let text = table("file", &report);
        for part in [
            "file: EVSE data of 1 operator, 2 records, 1 distinct EvseID\n",
            "TO REPAIR",
            "OWNER MUST SUPPLY",
            "coordinates-as-text: ",
            "1 record         GeoCoordinates",
            "operator-id-invalid: ",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(next_step("file", &report).contains("chargemesh lint file --fix OUT"));
    }

    #[test]
    fn a_repair_is_written_once_and_says_what_it_derived() {
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("in"), dir.path().join("out.gz"));
        std::fs::write(&file, FILE.replace("\\u001b[2J", "")).unwrap();
        let args = Args { file: file.clone(), json: true, fix: Some(out.clone()) };
        assert_eq!(run(&args).unwrap(), ExitCode::from(EXIT_FOUND));
        let fixed = input::read(&out).unwrap();
        let again = lint::lint(&fixed).unwrap();
        assert!(again.entries.iter().all(|entry| entry.severity < Severity::Error), "{:?}", again.entries);
        let said = after_fix(&out, &lint::fix(&std::fs::read(&file).unwrap()).unwrap());
        assert!(said.contains("CH*FASTNED -> CH*FAS\n"), "{said}");
        assert!(run(&args).unwrap_err().to_string().contains("does not exist yet"));
    }
}
