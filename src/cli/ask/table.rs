//! Columns that line up, and values as people read them.

use crate::cli::text;

/// Longest text shown in a cell, in characters; names of others can be long.
const CELL_CHARACTERS_MAX: usize = 60;

/// A table of `N` columns.
pub(super) struct Table<const N: usize> {
    indent: &'static str,
    header: Option<[String; N]>,
    right: Vec<usize>,
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(indent: &'static str) -> Table<N> {
        Table { indent, header: None, right: Vec::new(), rows: Vec::new() }
    }

    /// Puts names over the columns; an empty table has none.
    pub(super) fn header(self, names: [&str; N]) -> Table<N> {
        Table { header: Some(names.map(str::to_uppercase)), ..self }
    }

    /// Which columns are numbers.
    pub(super) fn right<const M: usize>(self, columns: [usize; M]) -> Table<N> {
        Table { right: columns.to_vec(), ..self }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The lines, each with its end; nothing for no row.
    pub(super) fn to_text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let lines = || self.header.iter().chain(&self.rows);
        let mut widths = [0; N];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines() {
            let mut shown = self.indent.to_owned();
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let cell = match self.right.contains(&column) {
                    true => format!("{gap}{cell:>width$}"),
                    false => format!("{gap}{cell:<width$}"),
                };
                shown.push_str(&cell);
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text of somebody else as it may stand on a terminal.
pub(super) fn shown(text: &str) -> String {
    text::shown(text, CELL_CHARACTERS_MAX)
}

/// A number with its thousands apart: `18,425`.
pub(super) fn grouped(number: u64) -> String {
    text::count(usize::try_from(number).unwrap_or(usize::MAX))
}

/// How long ago, in the largest fitting unit; `-` if never.
pub(super) fn age(now_unix_ms: u64, at_unix_ms: u64) -> String {
    if at_unix_ms == 0 {
        return "-".to_owned();
    }
    let seconds = now_unix_ms.saturating_sub(at_unix_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long something still holds; it is told in capitals if that is two days or less.
pub(super) fn left(now_unix_s: u64, until_unix_s: u64) -> String {
    match until_unix_s.saturating_sub(now_unix_s) {
        0 => "HAS ENDED".to_owned(),
        seconds @ 1..7_200 => format!("ENDS IN {} MIN", seconds / 60),
        seconds @ 7_200..=172_800 => format!("ENDS IN {} H", seconds / 3_600),
        seconds => match seconds / 86_400 {
            days @ ..100_000 => format!("ends in {days} days"),
            _ => "has no end".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_foreign_texts_are_harmless() {
        let mut table = Table::new("  ").header(["name", "records"]).right([1]);
        assert_eq!(table.to_text(), "");
        table.row([shown("Zürich"), grouped(18_425)]);
        table.row([shown("a\u{1b}[2Jb"), grouped(7)]);
        assert_eq!(table.to_text(), "  NAME    RECORDS\n  Zürich   18,425\n  a\u{fffd}[2Jb        7\n");
    }

    #[test]
    fn values_as_people_read_them() {
        let table = [(0, "-"), (999_999, "0 s"), (880_000, "2 min"), (1, "16 min")];
        for (at, text) in table {
            assert_eq!(age(1_000_000, at), text);
        }
        assert_eq!(age(10_000_000_000, 1), "115 days");
        for (until, text) in [
            (100, "HAS ENDED"),
            (160, "ENDS IN 1 MIN"),
            (100 + 48 * 3_600, "ENDS IN 48 H"),
            (101 + 48 * 3_600, "ends in 2 days"),
            (u64::MAX, "has no end"),
        ] {
            assert_eq!(left(100, until), text);
        }
    }
}
