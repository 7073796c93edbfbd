//! What was shown, and what could not be: printed at the end, and kept in the file that `CHARGEMESH_SKIPS` names.

use std::fs::OpenOptions;
use std::io::Write as _;

/// One line for each operation and direction.
#[derive(Default)]
pub struct Verdicts {
    lines: Vec<String>,
    open: Vec<String>,
}

impl Verdicts {
    /// It works.
    pub fn works(&mut self, what: &str) {
        self.lines.push(format!("ok    {what}"));
    }

    /// It cannot be shown with the other implementation, and why.
    pub fn cannot(&mut self, what: &str, why: &str) {
        self.open.push(format!("SKIPPED: oicp-kit: {what}: {why}\n"));
    }

    /// Prints the list.
    pub fn print(&self) {
        for line in &self.lines {
            println!("{line}");
        }
        for line in &self.open {
            skip(line);
        }
        println!("{} shown, {} cannot be shown", self.lines.len(), self.open.len());
    }
}

/// Says that something is skipped.
pub fn skip(line: &str) {
    print!("{line}");
    if let Some(list) = std::env::var_os("CHARGEMESH_SKIPS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
