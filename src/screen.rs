//! Plain aligned text for a person; colour on a terminal only.

use std::io::{self, IsTerminal as _, StdoutLock, Write as _};

use crate::table::Table;

/// How a line turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In order.
    Ok,
    /// Works, but the operator should know.
    Warn,
    /// Does not work.
    Fail,
    /// Cannot be known from here.
    Unknown,
}

impl Verdict {
    /// As it is printed for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// Standard output.
pub(crate) struct Screen {
    out: StdoutLock<'static>,
    colour: bool,
}

impl Screen {
    pub(crate) fn stdout() -> Self {
        let out = io::stdout().lock();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out, colour }
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A line that stands out.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.painted("1", text);
        writeln!(self.out, "{text}")
    }

    /// A name and its value, the values one below the other.
    pub(crate) fn pair(&mut self, name: &str, value: &str) -> io::Result<()> {
        let name = self.painted("2", &format!("{name:<12}"));
        writeln!(self.out, "  {name}{value}")
    }

    /// A verdict, what it is about, and what was found.
    pub(crate) fn verdict(&mut self, verdict: Verdict, about: &str, found: &str) -> io::Result<()> {
        let (word, colour) = match verdict {
            Verdict::Ok => ("ok", "32"),
            Verdict::Warn => ("warn", "33"),
            Verdict::Fail => ("FAIL", "31;1"),
            Verdict::Unknown => ("?", "36"),
        };
        let word = self.painted(colour, &format!("{word:<6}"));
        writeln!(self.out, "{word}{about:<12}{found}")
    }

    /// Begins anew at the top of a terminal.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        match self.out.is_terminal() {
            true => write!(self.out, "\x1b[H\x1b[2J"),
            false => Ok(()),
        }
    }

    /// Text as it is, without a line's end of its own.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A table, its names standing out.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        let mut lines = table.lines().into_iter();
        if let Some(names) = lines.next() {
            self.heading(&names)?;
        }
        lines.try_for_each(|line| self.line(&line))
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
