//! Verdicts, as a table, as JSON, and as Markdown beside those of other servers.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{Rule, date, rules};

/// How a rule came out. In the order of what counts when a server was scored several times under other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It cannot be seen with this server, or from here.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// It takes longer than was asked for.
    Skipped,
    /// A test of this workspace's own core shows it.
    Core,
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
}

impl Verdict {
    /// As the table shows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotApplicable => "n/a",
            Self::Skipped => "skipped",
            Self::Core => "core",
            Self::Pass => "pass",
            Self::Fail => "FAIL",
        }
    }
}

/// One rule's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// 1 to 96.
    pub number: u8,
    /// How it came out.
    pub verdict: Verdict,
    /// What was expected and seen, or why it was not looked at; empty for a plain pass.
    pub detail: String,
}

/// One run against one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its address.
    pub server: String,
    /// udp, tcp or tls.
    pub transport: String,
    /// When, in Unix seconds.
    pub taken_at: u64,
    /// The rules that were run, in order.
    pub lines: Vec<Line>,
}

impl Report {
    /// How many rules came out so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }

    /// The outcome of one rule.
    pub fn line(&self, number: u8) -> Option<&Line> {
        self.lines.iter().find(|line| line.number == number)
    }

    /// The table for a terminal: number, verdict, where it is seen, sentence; the detail below.
    pub fn table(&self, coloured: bool) -> String {
        let mut table = String::new();
        for (rule, line) in rules::all().iter().filter_map(|rule| Some((rule, self.line(rule.number)?))) {
            let word = format!("{:<8}", line.verdict.word());
            let word = match (coloured, line.verdict) {
                (true, Verdict::Fail) => format!("\x1b[31m{word}\x1b[0m"),
                (true, Verdict::Pass | Verdict::Core) => format!("\x1b[32m{word}\x1b[0m"),
                _ => word,
            };
            let (number, seen) = (rule.number, rule.seen.name());
            push(
                &mut table,
                format_args!("{number:>2}  {word}{seen:<13}{}  [{}]\n", rule.sentence, rule.section),
            );
            if !line.detail.is_empty() {
                push(&mut table, format_args!("{:25}{}\n", "", line.detail));
            }
        }
        push(&mut table, format_args!("{}\n", self.summary()));
        table
    }

    /// How many rules came out how, in one line.
    pub fn summary(&self) -> String {
        let counts = [Verdict::Pass, Verdict::Core, Verdict::Fail, Verdict::Skipped, Verdict::NotApplicable]
            .map(|verdict| (self.count(verdict), verdict.word()));
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let (rules, transport, server) = (self.lines.len(), &self.transport, &self.server);
        format!("{rules} rules over {transport} against {server}: {}", parts.join(", "))
    }
}

/// A server in the Markdown table: a name with its version, and its runs.
#[derive(Debug, Clone)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// Runs under different settings: what one does not show, another may.
    pub runs: Vec<Report>,
}

impl Column {
    /// The weightiest line of all runs: a FAIL anywhere is a FAIL.
    pub fn line(&self, number: u8) -> Option<&Line> {
        self.runs.iter().filter_map(|run| run.line(number)).max_by_key(|line| line.verdict)
    }

    /// How many rules came out so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let lines = (1..=96).filter_map(|number| self.line(number));
        lines.filter(|line| line.verdict == verdict).count()
    }

    fn verdict(&self, number: u8) -> &'static str {
        self.line(number).map_or("", |line| line.verdict.word())
    }

    fn heading(&self) -> String {
        let transport = self.runs.first().map_or("", |run| &run.transport);
        format!("{} ({transport})", self.name)
    }
}

/// Every rule, where it is seen and what shows it: the runner, at once or by waiting, and tests of the relay by name.
pub fn list() -> String {
    let mut text = String::new();
    for rule in rules::all() {
        let (number, seen) = (rule.number, rule.seen.name());
        push(&mut text, format_args!("{number:>2}  {seen:<13}{}  [{}]\n", rule.sentence, rule.section));
        for shown in rule.shown_by() {
            push(&mut text, format_args!("{:17}{shown}\n", ""));
        }
    }
    text
}

/// Several servers side by side, and what each does where it fails.
pub fn markdown(columns: &[Column]) -> String {
    let mut text = String::new();
    let newest = columns.iter().flat_map(|column| &column.runs).map(|run| run.taken_at).max();
    if let Some(taken_at) = newest {
        push(&mut text, format_args!("Scored on {}. S is RFC 8489, T is RFC 8656.\n\n", date::of(taken_at)));
    }
    let headings: Vec<String> = columns.iter().map(Column::heading).collect();
    push(&mut text, format_args!("| # | rule | section | seen | {} |\n", headings.join(" | ")));
    push(&mut text, format_args!("|---|---|---|---|{}\n", "---|".repeat(columns.len())));
    for rule in rules::all() {
        let verdicts: Vec<&str> = columns.iter().map(|column| column.verdict(rule.number)).collect();
        push(&mut text, format_args!("| {} | {} |\n", row_head(&rule), verdicts.join(" | ")));
    }
    for verdict in [Verdict::Pass, Verdict::Core, Verdict::Fail, Verdict::Skipped, Verdict::NotApplicable] {
        let counts: Vec<String> = columns.iter().map(|column| column.count(verdict).to_string()).collect();
        push(&mut text, format_args!("| | **{}** | | | {} |\n", verdict.word(), counts.join(" | ")));
    }
    for column in columns {
        push_failures(&mut text, column);
    }
    text
}

fn row_head(rule: &Rule) -> String {
    format!("{} | {} | {} | {}", rule.number, rule.sentence, rule.section, rule.seen.name())
}

fn push_failures(text: &mut String, column: &Column) {
    let failures: Vec<&Line> = (1..=96)
        .filter_map(|number| column.line(number))
        .filter(|line| line.verdict == Verdict::Fail)
        .collect();
    if failures.is_empty() {
        return;
    }
    push(text, format_args!("\n{}, where it fails:\n\n", column.heading()));
    for line in failures {
        push(text, format_args!("- {}: {}\n", line.number, line.detail));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes any text");
}
