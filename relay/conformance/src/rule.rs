use crate::{finding::Check, lab::Lab};

/// Where a rule can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// From outside, with any server.
    Wire,
    /// From outside, when the server has a setting that the runner is told of.
    WireConfig,
    /// By a timer: in the core in virtual time, from outside only by waiting.
    Core,
    /// In the source alone.
    Inside,
}

impl Seen {
    /// As relay.md writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::WireConfig => "wire+config",
            Self::Core => "core",
            Self::Inside => "inside",
        }
    }
}

pub(crate) type Test = fn(&Lab<'_>) -> Check;

/// One of the 96 rules.
pub struct Rule {
    /// 1 to 96.
    pub number: u8,
    /// What is sent and what is expected.
    pub sentence: &'static str,
    /// S is RFC 8489, T is RFC 8656.
    pub section: &'static str,
    /// Where it can be seen.
    pub seen: Seen,
    pub(crate) test: Option<Test>,
    pub(crate) timed: Option<(u64, Test)>,
}

impl Rule {
    const fn new(number: u8, section: &'static str, sentence: &'static str, seen: Seen) -> Self {
        Self { number, sentence, section, seen, test: None, timed: None }
    }

    pub(crate) const fn wire(number: u8, section: &'static str, sentence: &'static str, test: Test) -> Self {
        Self { test: Some(test), ..Self::new(number, section, sentence, Seen::Wire) }
    }

    pub(crate) const fn config(
        number: u8,
        section: &'static str,
        sentence: &'static str,
        test: Test,
    ) -> Self {
        Self { test: Some(test), ..Self::new(number, section, sentence, Seen::WireConfig) }
    }

    pub(crate) const fn core(number: u8, section: &'static str, sentence: &'static str) -> Self {
        Self::new(number, section, sentence, Seen::Core)
    }

    pub(crate) const fn inside(number: u8, section: &'static str, sentence: &'static str) -> Self {
        Self::new(number, section, sentence, Seen::Inside)
    }

    /// A test that waits this many seconds, run when asked for.
    pub(crate) const fn waiting(mut self, seconds: u64, test: Test) -> Self {
        self.timed = Some((seconds, test));
        self
    }

    /// What shows the rule: the runner over the wire, and the relay's own tests.
    pub fn shown_by(&self) -> impl Iterator<Item = String> {
        let wire = self.test.map(|_| "runner".to_owned());
        let waiting = self.timed.map(|(seconds, _)| format!("runner, --slow {seconds}"));
        wire.into_iter().chain(waiting).chain(self.core_tests().map(str::to_owned))
    }

    /// The relay's own tests of this rule, by name.
    pub fn core_tests(&self) -> impl Iterator<Item = &'static str> {
        let number = self.number;
        CORE_TESTS.iter().filter(move |(tested, _)| *tested == number).map(|(_, name)| *name)
    }
}

const CORE_TESTS: &[(u8, &str)] = include!(concat!(env!("OUT_DIR"), "/core_tests.rs"));
