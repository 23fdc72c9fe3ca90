use std::io;

use turnpike_turn_client::Error;

/// What a rule's test ends with when the rule was not seen to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The server does something else.
    Fail {
        /// What the rule asks for.
        expected: String,
        /// What the server did.
        seen: String,
    },
    /// It cannot be seen with this server, or from here.
    NotApplicable(String),
}

pub(crate) type Check = Result<(), Finding>;

impl Finding {
    pub(crate) fn fail(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::Fail { expected: expected.into(), seen: seen.into() }
    }

    pub(crate) fn not_applicable(why: impl Into<String>) -> Self {
        Self::NotApplicable(why.into())
    }

    /// For a step of a test that is not itself what the rule is about.
    pub(crate) fn while_preparing(step: &str, error: &Error) -> Self {
        let seen = match error {
            Error::Unanswered => "silence".into(),
            Error::Refused { code } => format!("{code}"),
            other => other.to_string(),
        };
        Self::fail(step, seen)
    }
}

impl From<io::Error> for Finding {
    fn from(error: io::Error) -> Self {
        Self::fail("a working socket", error.to_string())
    }
}
