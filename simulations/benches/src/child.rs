//! A second process for whatever serves the node under measurement: its memory and processor time are then
//! not the node's. Parent and child talk in lines over the child's standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A child process; it ends with this value.
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this program again with other arguments.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(arguments: &[String]) -> Result<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().context("the child has no input")?;
        let output = BufReader::new(process.stdout.take().context("the child has no output")?);
        Ok(Child { process, input, output })
    }

    /// Waits for the line that begins with this word, and gives its rest.
    ///
    /// # Errors
    /// If the child ends or says something else.
    pub(crate) fn expect(&mut self, word: &str) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the child process ended before it said {word:?}");
        }
        let rest = line
            .trim_end()
            .strip_prefix(word)
            .with_context(|| format!("the child said {line:?}, not {word:?}"))?;
        Ok(rest.trim().to_owned())
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If the child is gone.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}
