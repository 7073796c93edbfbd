//! Tables that tests observe and that a page prints: the page may not say anything else.

use std::collections::BTreeMap;
use std::path::Path;

/// A table of what was observed: rows and columns in the order in which they were first seen.
#[derive(Default)]
pub(crate) struct Observed {
    rows: Vec<String>,
    columns: Vec<String>,
    cells: BTreeMap<(String, String), String>,
}

impl Observed {
    /// Notes a cell. Observed twice, it must be the same.
    pub(crate) fn note(&mut self, row: &str, column: &str, cell: &str) {
        for (list, name) in [(&mut self.rows, row), (&mut self.columns, column)] {
            if !list.iter().any(|known| known == name) {
                list.push(name.to_owned());
            }
        }
        let before = self.cells.insert((row.to_owned(), column.to_owned()), cell.to_owned());
        assert!(
            before.as_deref().is_none_or(|before| before == cell),
            "{row}, {column}: {before:?}, then {cell}"
        );
    }

    fn markdown(&self, corner: &str) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let columns = || self.columns.iter().map(String::as_str);
        let mut text = line([corner].into_iter().chain(columns()).collect());
        text.push_str(&line(vec!["---"; self.columns.len() + 1]));
        for row in &self.rows {
            let cell =
                |column| self.cells.get(&(row.clone(), String::from(column))).map_or("", String::as_str);
            text.push_str(&line([row.as_str()].into_iter().chain(columns().map(cell)).collect()));
        }
        text
    }

    /// Fails unless `tests/it/README.md` prints this table between the comments `NAME` and `end of NAME`.
    pub(crate) fn is_printed(&self, name: &str, corner: &str) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/README.md");
        let page = std::fs::read_to_string(page).unwrap();
        let inner = page.split_once(&format!("<!-- {name} -->\n"));
        let inner = inner.and_then(|(_, rest)| rest.split_once(&format!("<!-- end of {name} -->")));
        let printed = inner.map_or("", |(inner, _)| inner).trim();
        let observed = self.markdown(corner);
        assert!(printed == observed.trim(), "tests/it/README.md has to say below `{name}`:\n{observed}");
    }
}
