//! How far a push has come: a bar on a terminal, lines elsewhere; both on the error output.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two drawings of the bar, so that the clock runs on while a large operator is under way.
const TICK: Duration = Duration::from_millis(250);

const BAR: &str = "{bar:32} {bytes:>10} of {total_bytes}  {elapsed}  {msg}";

/// A bar over the bytes of all operators, or lines.
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Where nobody watches.
    Lines,
}

impl Progress {
    pub(super) fn new(total_bytes: u64) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines;
        }
        let bar = ProgressBar::new(total_bytes);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Progress::Bar(bar)
    }

    /// An operator's push begins.
    pub(super) fn begin(&self, what: String) {
        match self {
            Progress::Bar(bar) => bar.set_message(what),
            Progress::Lines => eprintln!("{what} ..."),
        }
    }

    /// That push has been answered.
    pub(super) fn done(&self, bytes: u64) {
        if let Progress::Bar(bar) = self {
            bar.inc(bytes);
        }
    }

    /// Takes the bar away: what is printed next stands alone.
    pub(super) fn finish(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
