//! `chargemesh certificates`: which certificates of HTTPS are in use and until when, or what stands in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use chargemesh::tls::{self, Certificate, Fingerprint};

use super::table::{Table, left, shown};
use super::{Target, items, now_unix_ms, number, parsed, print_json, text};
use crate::cli::EXIT_FOUND;
use crate::cli::text::print;

/// A certificate should be renewed before so many seconds are left: 30 days.
pub(super) const LEFT_S: u64 = 30 * 86_400;

/// Say which certificates of HTTPS a node uses and until when, or what stands in PEM files.
///
/// The fingerprint is what `certificates` of a [[facade.backend]] takes. Exit codes: 0 all are good for 30 days; 1 one
/// of them ends before; 2 not done.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// PEM files to read; without them the node is asked.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Shows them.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let now_s = now_unix_ms() / 1_000;
    let mut ends_s = Vec::new();
    let mut table = Table::new("").header(["certificate", "subject", "until", "fingerprint"]);
    if args.files.is_empty() {
        let answer = args.target.get("admin/v1/certificates").await?;
        if args.target.json {
            return print_json(&answer);
        }
        for used in items(&parsed(&answer)?, "certificates") {
            let until_s = number(used, "until_unix_s");
            ends_s.push(until_s);
            let what = format!("{} {}", text(used, "what"), text(used, "party"));
            // Whole, since it is to be copied.
            let fingerprint = Fingerprint::parse(&text(used, "fingerprint"))?.to_string();
            let subject = shown(&text(used, "subject"));
            table.row([shown(what.trim()), subject, left(now_s, until_s), fingerprint]);
        }
    }
    for file in &args.files {
        for certificate in Certificate::all_of_pem(&tls::read_certificates(file)?)? {
            ends_s.push(certificate.not_after_unix_s);
            table.row([
                shown(&file.display().to_string()),
                shown(&certificate.subject),
                left(now_s, certificate.not_after_unix_s),
                certificate.fingerprint.to_string(),
            ]);
        }
    }
    if ends_s.is_empty() {
        print("The node uses no certificates of HTTPS.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&table.to_text())?;
    let is_soon = ends_s.iter().any(|until_s| until_s.saturating_sub(now_s) < LEFT_S);
    Ok(if is_soon { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS })
}
