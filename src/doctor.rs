//! What keeps a node from serving strangers, looked for from the inside: each group of checks asks one question.

mod address;
mod clock;
mod cost;
mod limits;
mod ports;
mod redis;
mod signaling;
mod state;
mod tls;
mod turn;

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use turnpike_config::{Host, Loaded};
use turnpike_relay_api::{admin::Status, cost::Budget};

use crate::screen::Verdict;

/// A question that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Config,
    Address,
    Ports,
    Firewall,
    Turn,
    Tls,
    Clock,
    Limits,
    Signaling,
    Redis,
    Usage,
    Cost,
}

impl Group {
    pub(crate) const ALL: [Self; 12] = [
        Self::Config,
        Self::Address,
        Self::Ports,
        Self::Firewall,
        Self::Turn,
        Self::Tls,
        Self::Clock,
        Self::Limits,
        Self::Signaling,
        Self::Redis,
        Self::Usage,
        Self::Cost,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Address => "address",
            Self::Ports => "ports",
            Self::Firewall => "firewall",
            Self::Turn => "turn",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Limits => "limits",
            Self::Signaling => "signaling",
            Self::Redis => "redis",
            Self::Usage => "usage",
            Self::Cost => "cost",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|group| group.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("`{text}` is no group: take one of {}", names.join(", "))
        })
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What is examined.
pub(crate) struct Patient {
    pub(crate) loaded: Loaded,
    pub(crate) host: Host,
    /// What the relay says of itself, or that it does not answer.
    pub(crate) relay: Result<Status, String>,
    /// What it says of money; `None` when it does not answer.
    pub(crate) budget: Option<Budget>,
}

/// What was found, and what to do where it is not in order.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) group: Group,
    #[serde(serialize_with = "word")]
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
}

/// Findings under construction, all of one group.
struct Findings {
    group: Group,
    all: Vec<Finding>,
}

impl Findings {
    fn say(&mut self, verdict: Verdict, found: impl Into<String>) {
        self.all.push(Finding { group: self.group, verdict, found: found.into() });
    }

    fn ok(&mut self, found: impl Into<String>) {
        self.say(Verdict::Ok, found);
    }

    fn warn(&mut self, found: impl Into<String>) {
        self.say(Verdict::Warn, found);
    }

    fn fail(&mut self, found: impl Into<String>) {
        self.say(Verdict::Fail, found);
    }

    fn unknown(&mut self, found: impl Into<String>) {
        self.say(Verdict::Unknown, found);
    }
}

/// Asks one question.
pub(crate) fn examine(patient: &Patient, group: Group) -> Vec<Finding> {
    let mut findings = Findings { group, all: Vec::new() };
    match group {
        Group::Config => config(patient, &mut findings),
        Group::Address => address::examine(patient, &mut findings),
        Group::Ports => ports::examine(patient, &mut findings),
        Group::Firewall => findings.unknown(
            "whether packets from outside arrive cannot be seen from here: open what `turnpike ports` prints, in this \
             machine's firewall and in its provider's, then run `turnpike probe` from another machine",
        ),
        Group::Turn => turn::examine(patient, &mut findings),
        Group::Tls => tls::examine(patient, &mut findings),
        Group::Clock => clock::examine(&mut findings),
        Group::Limits => limits::examine(patient, &mut findings),
        Group::Signaling => signaling::examine(patient, &mut findings),
        Group::Redis => redis::examine(patient, &mut findings),
        Group::Usage => state::examine(patient, &mut findings),
        Group::Cost => cost::examine(patient, &mut findings),
    }
    findings.all
}

fn config(patient: &Patient, findings: &mut Findings) {
    let loaded = &patient.loaded;
    match &loaded.file {
        Some(file) => findings.ok(format!("{} is in order", file.display())),
        None => findings.ok("no file: built-in defaults"),
    }
    for note in &loaded.notes {
        match note.is_warning() {
            true => findings.warn(note.to_string()),
            false => findings.ok(note.to_string()),
        }
    }
    for waiting in patient.relay.iter().flat_map(|status| &status.waiting_for_restart) {
        findings
            .warn(format!("{waiting}: restart turnpike-relay when it suits, and turnpike-signaling with it"));
    }
}

fn word<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.word())
}
