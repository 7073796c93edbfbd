//! A verified file in words.

use chargemesh::identity::hash_of;
use chargemesh::oicp::time::format_ms;
use chargemesh::protocol::evidence::{EvidenceReport, Said, Told};

use crate::cli::text::{count, counted, day, shown};

/// Most characters of a name or of what was said.
const TEXT_CHARACTERS_MAX: usize = 200;

/// Most characters of an OICP message: the largest that fits an envelope.
const OICP_CHARACTERS_MAX: usize = 256 * 1024;

/// Bytes of a hash that are shown.
const HASH_BYTES: usize = 8;

/// Who said what, when, signed by whom, vouched for by whom.
pub(super) fn text_of(report: &EvidenceReport, full: bool) -> String {
    let (last, hash) = report.head;
    let mut text = format!(
        "Session {} in network {}\nFrom the log of {} (vouched for by {}), made {}; its last entry was number {}, hash {}\n\n",
        shown(&report.session, TEXT_CHARACTERS_MAX),
        shown(&report.network, TEXT_CHARACTERS_MAX),
        report.party,
        shown(&report.vouched, TEXT_CHARACTERS_MAX),
        time(report.made_unix_ms),
        count(usize::try_from(last).unwrap_or(usize::MAX)),
        hex(&hash),
    );
    for told in &report.told {
        text.push_str(&message(told, full));
    }
    for note in &report.notes {
        text.push_str(&format!("Note: {}\n", shown(note, 2 * TEXT_CHARACTERS_MAX)));
    }
    let holds = "every signature, every hash and every place in the log holds";
    text.push_str(&format!("Verified: {}; {holds}.\n", counted(report.told.len(), "message")));
    text
}

fn message(told: &Told, full: bool) -> String {
    let (number, way, at) = (told.number, told.direction.as_str(), time(told.at_unix_ms));
    let Some(said) = &told.said else {
        return format!(
            "{number:>6}  {at}  {way}\n        only its hash is left: it was deleted, or carried a PIN\n\n"
        );
    };
    let Said { from, to, slot, epoch, .. } = said;
    let mut text = format!(
        "{number:>6}  {at}  {way}: {from} ({}) to {to}\n        {}\n        signed {} by node {slot} of {from}, delegation \
         {epoch} ({}, until {}), vouched for by {}\n",
        shown(&said.from_name, TEXT_CHARACTERS_MAX),
        shown(&said.what, TEXT_CHARACTERS_MAX),
        time(said.created_unix_ms),
        hex(&said.delegation),
        day(said.valid_until_unix_s),
        shown(&said.vouched, TEXT_CHARACTERS_MAX),
    );
    if let Some(oicp) = said.oicp.as_ref().filter(|_| full) {
        let json = shown(&String::from_utf8_lossy(oicp), OICP_CHARACTERS_MAX);
        text.push_str(&format!("        {json}\n        SHA-256 of this message: {}\n", hex(&hash_of(oicp))));
    }
    text.push('\n');
    text
}

fn time(unix_ms: u64) -> String {
    format_ms(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
