//! System calls of a process, counted by strace.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// strace at work.
pub struct Trace(Child);

impl Trace {
    /// Counts the calls of all threads of a process from now on.
    ///
    /// # Errors
    /// When strace is not there, or may not attach.
    pub fn attach(pid: u32) -> anyhow::Result<Self> {
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("strace cannot be started: apt-get install strace")?;
        let mut line = String::new();
        let stderr = strace.stderr.as_mut().context("strace has no output")?;
        // One byte at a time, so that nothing of what follows is taken.
        for byte in std::io::Read::bytes(stderr) {
            match byte? {
                b'\n' => break,
                byte => line.push(char::from(byte)),
            }
        }
        if !line.contains("attached") {
            bail!("strace does not attach (root may): {line}");
        }
        Ok(Self(strace))
    }

    /// Ends it, and gives the counts by name, most first.
    ///
    /// # Errors
    /// When strace tells nothing.
    pub fn end(mut self) -> anyhow::Result<Vec<(String, u64)>> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let stderr = self.0.stderr.take().context("strace has no output")?;
        let mut calls = Vec::new();
        for line in BufReader::new(stderr).lines() {
            calls.extend(count(&line?));
        }
        self.0.wait()?;
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(calls)
    }
}

/// A line of the table: a count and a name.
fn count(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (count, name) = (words.next()?.parse().ok()?, words.next()?);
    (words.next().is_none() && name != "total").then(|| (name.into(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_of_calls_are_counted() {
        let table = "strace: Process 1 detached\n    calls syscall\n--------- ----------------\n       12 recvmmsg\n        3 total\n";
        assert_eq!(table.lines().filter_map(count).collect::<Vec<_>>(), [("recvmmsg".to_owned(), 12)]);
    }
}
