//! Text for people: counts, plurals, and values from outside made safe for a terminal.

use std::io::{ErrorKind, Write as _, stdout};
use std::path::{Path, PathBuf};

use chargemesh::oicp;

/// A day in seconds.
pub(super) const DAY_S: u64 = 86_400;

/// Writes to the standard output. A reader that has gone (`chargemesh lint FILE | head`) is no error.
///
/// # Errors
/// Anything else that keeps the text from being written, such as a full disk.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Returns when nobody can read the standard output any more (`chargemesh trust watch | head`); never where that is not
/// told, as with a file.
#[cfg(unix)]
pub(super) async fn reader_gone() {
    use std::os::fd::AsFd as _;
    use tokio::{io::Interest, net::unix::pipe::Sender};
    let output = stdout().as_fd().try_clone_to_owned();
    // Only watched: the mode in which others write to it stays as it is.
    let watched = output.and_then(Sender::from_owned_fd_unchecked);
    if let Ok(watched) = watched
        && watched.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Elsewhere it is told when something is written.
#[cfg(not(unix))]
pub(super) async fn reader_gone() {
    std::future::pending().await
}

/// Writes to the standard output in the middle of work that goes on whatever becomes of the text.
pub(super) fn say(text: std::fmt::Arguments<'_>) {
    if let Err(error) = print(&text.to_string()) {
        complain(format_args!("chargemesh: the standard output cannot be written: {error}\n"));
    }
}

/// Writes to the error output. If that is gone too, there is nobody to tell.
pub(super) fn complain(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().lock().write_all(text.to_string().as_bytes());
}

/// A count with a comma before every three digits: `18,427`.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its unit: `1 record`, `2 records`. For words whose plural ends in `s`.
pub(super) fn counted(number: usize, singular: &str) -> String {
    format!("{} {singular}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A text from outside on one line of at most so many characters; what a terminal would obey is replaced.
pub(super) fn shown(text: &str, characters_max: usize) -> String {
    let safe = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    if text.chars().count() <= characters_max {
        return text.chars().map(safe).collect();
    }
    text.chars().take(characters_max.saturating_sub(1)).map(safe).chain(['…']).collect()
}

/// Characters that change the direction or order of what follows.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The day of a time, as in 2030-12-31 (UTC).
pub(super) fn day(unix_s: u64) -> String {
    let unix_ms = i64::try_from(unix_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
    oicp::time::format_ms(unix_ms).chars().take_while(|letter| *letter != 'T').collect()
}

/// A dated name in a directory that nothing has yet.
pub(super) fn unused(directory: &Path, what: &str, now_unix_s: u64, extension: &str) -> PathBuf {
    let dated = directory.join(format!("{what}-{}.{extension}", day(now_unix_s)));
    // A second one on the same day.
    if dated.exists() { directory.join(format!("{what}-{now_unix_s}.{extension}")) } else { dated }
}

/// A path as a shell takes it.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "record"), counted(0, "record")), ("1 record".into(), "0 records".into()));
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b", 20), "a\u{fffd}[2J\u{fffd}\u{fffd}b");
        assert_eq!(shown("abcdef", 4), "abc…");
        assert_eq!(shown("abcd", 4), "abcd");
    }
}
