//! What people see: lines, and one line of progress that is redrawn on a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines of progress where nothing can be redrawn.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Return to the begin of the line and clear it (ECMA-48).
const CLEAR_LINE: &str = "\r\x1b[2K";

struct State {
    /// Whether a line of progress stands on the screen.
    drawn: bool,
    shown: Option<(Instant, String)>,
}

/// Where people read.
pub(super) struct Screen {
    to_stderr: bool,
    redraws: bool,
    state: Mutex<State>,
}

impl Screen {
    /// If the result is for a program, everything else goes to the error output.
    pub(super) fn new(result_is_for_a_program: bool) -> Screen {
        let to_stderr = result_is_for_a_program;
        let redraws =
            if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Screen { to_stderr, redraws, state: Mutex::new(State { drawn: false, shown: None }) }
    }

    /// Prints a line that stays.
    pub(super) fn line(&self, text: &str) {
        let mut state = self.state();
        let clear = if std::mem::take(&mut state.drawn) { CLEAR_LINE } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// Shows how far things are: redrawn on a terminal, else a line now and then if something changed.
    pub(super) fn progress(&self, text: &str) {
        let mut state = self.state();
        if self.redraws {
            state.drawn = true;
            self.write(&format!("{CLEAR_LINE}{text}"));
            return;
        }
        let is_due = match &state.shown {
            Some((at, _)) => at.elapsed() >= LINE_INTERVAL,
            None => true,
        };
        if is_due {
            self.write(&format!("{text}\n"));
            state.shown = Some((Instant::now(), text.to_owned()));
        }
    }

    /// Prints what the demo was run for, to the standard output.
    pub(super) fn result(&self, text: &str) {
        let mut state = self.state();
        if std::mem::take(&mut state.drawn) {
            self.write("\n");
        }
        let mut out = std::io::stdout();
        // A reader that has gone away is no reason to fail.
        let _gone = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
    }

    fn write(&self, text: &str) {
        let written = if self.to_stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        // As above.
        let _gone = written;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
