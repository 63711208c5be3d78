//! The result of a check.

use std::fmt;

use serde_json::{Value, json};

use crate::command::terminal::Printable;

/// The longest text of another server that is quoted, in characters.
const MAX_QUOTED: usize = 200;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It works, but may be a mistake, or will stop working.
    Warning,
    /// It does not work.
    Problem,
}

/// What was found by one check.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// The name of the check, for scripts.
    check: &'static str,
    /// The subject of the check; empty if there is only one.
    about: String,
    pub(super) severity: Severity,
    /// What was found.
    found: String,
    /// What to do; empty if nothing.
    advice: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, about: &str, found: impl Into<String>) -> Self {
        Self { check, about: about.to_owned(), severity: Severity::Ok, found: found.into(), advice: String::new() }
    }

    pub(super) fn warning(
        check: &'static str,
        about: &str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, advice: advice.into(), ..Self::ok(check, about, found) }
    }

    pub(super) fn problem(
        check: &'static str,
        about: &str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, advice: advice.into(), ..Self::ok(check, about, found) }
    }

    /// The same finding with advice.
    #[must_use]
    pub(super) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// The name of the check.
    pub(super) const fn check(&self) -> &'static str {
        self.check
    }

    /// Whether it differs from `other` only in its subject, and something is to be done about both.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.severity != Severity::Ok
            && (self.check, self.severity, &self.found, &self.advice)
                == (other.check, other.severity, &other.found, &other.advice)
    }

    /// Whether it is about the same subject as `other`, and says the same.
    pub(super) fn is_the_same(&self, other: &Self) -> bool {
        (self.check, self.severity, &self.about, &self.found)
            == (other.check, other.severity, &other.about, &other.found)
    }

    /// Adds the subject of `other`, which says the same.
    pub(super) fn is_about_also(&mut self, other: &Self) {
        self.about = format!("{} and {}", self.about, other.about);
    }

    pub(super) fn json(&self) -> Value {
        json!({ "check": self.check, "about": self.about, "verdict": self.severity.label(), "found": self.found, "advice": self.advice })
    }
}

impl Severity {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject =
            if self.about.is_empty() { self.check.to_owned() } else { format!("{} {}", self.check, self.about) };
        write!(f, "{:<8} {}: {}", self.severity.label(), Printable(&subject), Printable(&self.found))?;
        if !self.advice.is_empty() {
            write!(f, "\n         → {}", Printable(&self.advice))?;
        }
        Ok(())
    }
}

/// A text of another server, cut to a readable length, without any of `secrets`.
pub(super) fn quote(text: &[u8], secrets: &[&str]) -> String {
    let text = String::from_utf8_lossy(text);
    let hidden = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.trim().to_owned(), |text, secret| text.replace(secret, "…"));
    hidden.chars().take(MAX_QUOTED).collect()
}
