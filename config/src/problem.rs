//! What is wrong with a configuration, said to its operator: where, what, and what to do.

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

/// Everything that was found wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "an error says what is wrong");
        Self { problems }
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, when it is any one place.
    pub place: Option<Place>,
    /// What, and what to do.
    pub message: String,
}

impl Problem {
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        };
        write_line(f, &text)
    }
}

/// Writes what quotes a file or a variable so that it stays one line and moves no cursor.
fn write_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c.is_control() {
        true => write!(f, "{}", c.escape_default()),
        false => f.write_char(c),
    })
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File(PathBuf),
    /// A place in the file; lines and columns (in characters) count from 1.
    Line {
        /// The file.
        file: PathBuf,
        /// Its line.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Says a TOML error in an operator's words.
pub(crate) fn explain(error: &toml::de::Error) -> String {
    let message = error.message();
    if message.starts_with("unknown field") {
        return unknown_key(message);
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("the key {key} is missing here: add it");
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("found {}: write {}", kind(found), in_toml(expected));
    }
    message.strip_prefix("expected ").map_or_else(
        || format!("not valid TOML: {message}"),
        |expected| format!("found another kind of value: write {expected}"),
    )
}

/// What serde found, without the value: it may be a password that misses its quotes.
fn kind(found: &str) -> &'static str {
    match found.split(' ').next() {
        Some("integer" | "floating") => "a number",
        Some("string") => "text",
        Some("boolean") => "true or false",
        Some("sequence") => "a list",
        Some("map") => "a section",
        _ => "another kind of value",
    }
}

/// serde's name of a type, as something to write.
fn in_toml(expected: &str) -> &str {
    match expected {
        "i64" => "a whole number without quotes",
        "a boolean" => "true or false without quotes",
        "a string" => "text in quotes",
        "a sequence" => "a list in brackets, such as [\"a\", \"b\"]",
        other => other,
    }
}

/// serde names the unknown field first, then the known ones, each in backticks.
fn unknown_key(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    match nearest(unknown, &known) {
        Some(name) => format!("unknown key `{unknown}`: did you mean `{name}`?"),
        None => format!("unknown key `{unknown}`: remove it; known here: {}", known.join(", ")),
    }
}

/// The known name that a misspelt one stands for: at most a third of its letters differ.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|name| (distance(unknown, name), *name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= unknown.chars().count().max(3) / 3).then_some(name)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_inserted_dropped_and_changed_letters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("shards", "shards", 0),
            ("shard", "shards", 1),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_far_name_is_no_suggestion() {
        let known = ["listen_udp", "shards", "port_range"];
        assert_eq!(nearest("ports_range", &known), Some("port_range"));
        assert_eq!(nearest("listen_upd", &known), Some("listen_udp"));
        assert_eq!(nearest("kernel_path", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
