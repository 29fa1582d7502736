//! What went wrong, where, why, and the way out: one type for every command, one exit code for every kind.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// How a command ended when it did not end well. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Something failed; nothing was released (exit code 1).
    Failed,
    /// The command line or the question cannot be understood (exit code 2).
    Usage,
    /// The policy says no (exit code 3).
    Denied,
    /// The budget does not suffice (exit code 4).
    Exhausted,
}

impl Outcome {
    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Exhausted => 4,
        }
    }
}

/// A failure as a person reads it: what failed, where, why, and the way out.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    outcome: Outcome,
    // Boxed, so that the whole stays small enough to be returned by value.
    code: Box<str>,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

impl Failure {
    /// A failure with its stable code, what was attempted and why it did not work.
    pub fn new(
        outcome: Outcome,
        code: impl Into<Box<str>>,
        what: impl Into<String>,
        why: impl fmt::Display,
    ) -> Self {
        Self {
            outcome,
            code: code.into(),
            what: what.into(),
            place: None,
            why: why.to_string(),
            way_out: None,
        }
    }

    /// Shorthand for [`Outcome::Failed`].
    pub fn failed(code: &str, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Outcome::Failed, code, what, why)
    }

    /// Shorthand for [`Outcome::Usage`].
    pub fn usage(code: &str, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Outcome::Usage, code, what, why)
    }

    /// Adds the file, the line or the position in a text.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn way_out(mut self, advice: impl Into<String>) -> Self {
        self.way_out = Some(advice.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// How the command ends.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.outcome.exit_code())
    }
}

impl fmt::Display for Failure {
    /// Up to four lines: what and code, where, why, way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {} [{}]", self.what, self.code)?;
        if let Some(place) = &self.place {
            write!(f, "\n  where:   {place}")?;
        }
        write!(f, "\n  why:     {}", self.why)?;
        if let Some(advice) = &self.way_out {
            write!(f, "\n  way out: {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An error with its causes in one line, outermost first.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_why_and_the_way_out() {
        let failure = Failure::failed("load_refused", "cannot load `a.csv`", "`x` is not an int")
            .at("a.csv line 3")
            .way_out("correct the file");
        let text = failure.to_string();
        for part in [
            "cannot load `a.csv` [load_refused]",
            "where:   a.csv line 3",
            "why:     `x`",
            "way out: correct",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn exit_codes_are_fixed() {
        let codes =
            [Outcome::Failed, Outcome::Usage, Outcome::Denied, Outcome::Exhausted].map(Outcome::exit_code);
        assert_eq!(codes, [1, 2, 3, 4]);
    }
}
