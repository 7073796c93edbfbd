//! What goes into columns that are made of more than one value.

use crate::oicp::record::Summary;
use crate::protocol::Head;

/// Whether `news` holds every number between the stored head and the new one: only then "changes since"
/// can be answered back beyond the new head. Several changes of one key that arrive as one leave gaps.
pub(super) fn knows_all_changes(known: Option<(u64, u64)>, head: &Head, news: &mut Vec<u64>) -> bool {
    let from = match known {
        None => 0,
        Some((incarnation, seq)) if incarnation == head.incarnation && seq <= head.seq => seq,
        Some(_) => return false,
    };
    news.retain(|seq| *seq > from && *seq <= head.seq);
    news.sort_unstable();
    news.dedup();
    news.len() as u64 == head.seq - from
}

/// The modes, one a line, with a line break before and after: a filter looks for whole lines.
pub(super) fn modes_text(summary: &Summary) -> String {
    let mut text = String::from("\n");
    for mode in &summary.authentication_modes {
        text.push_str(mode);
        text.push('\n');
    }
    text
}
