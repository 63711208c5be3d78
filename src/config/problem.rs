//! The problems and warnings of a configuration, each with its origin, its key and how to correct it. No text here ever
//! contains the value of a secret.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::LogFormat;

/// Where a value came from. Later variants take precedence over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Origin {
    /// The built-in default, or no value.
    #[default]
    Default,
    /// The file as a whole: it cannot be read, or does not contain a list.
    File(Arc<Path>),
    /// A place in the file.
    Line {
        /// The file.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// A flag, by its dotted key.
    Flag(String),
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value is.
    pub origin: Origin,
    /// The key with the names of its sections, e.g. `limits.max_head` or `apps.0.secret`; empty: the document as a
    /// whole.
    pub key: String,
    /// Sentences that name the cause and the remedy.
    pub message: String,
    /// What was probably intended, as it would be written at `origin`.
    pub suggestion: Option<String>,
    /// What kind of problem it is, for programs.
    pub code: &'static str,
}

/// The codes of problems, for programs.
pub(super) mod code {
    /// A value that cannot be used.
    pub(in crate::config) const INVALID: &str = "invalid_value";
    /// A key that must be given and is not.
    pub(in crate::config) const MISSING: &str = "missing_value";
    /// A key, or a variable, that does not exist.
    pub(in crate::config) const UNKNOWN: &str = "unknown_key";
    /// Two values that exclude each other.
    pub(in crate::config) const CONFLICT: &str = "conflicting_values";
    /// A file that cannot be read, or whose content cannot be used.
    pub(in crate::config) const FILE: &str = "unusable_file";
    /// The configuration file is not TOML.
    pub(in crate::config) const SYNTAX: &str = "not_toml";
}

/// What is valid but probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where the value is.
    pub origin: Origin,
    /// The key with the names of its sections; empty: the document as a whole.
    pub key: String,
    /// What kind of warning it is, for programs.
    pub code: &'static str,
    /// The cause.
    pub message: String,
    /// The remedy; empty if the cause names it.
    pub cure: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, " {}", self.cure) }
    }
}

/// All problems of a configuration, in the order of their origins; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    /// `log.format`, as far as it could be read.
    log_format: LogFormat,
}

impl Origin {
    /// The precedence of this source: a value from a higher one replaces a value from a lower one.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) | Self::Line { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }

    /// The line in the file, if it is a place in one.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Line { line, .. } => Some(*line),
            Self::Default | Self::File(_) | Self::Variable(_) | Self::Flag(_) => None,
        }
    }

    /// The file, if it is one or a place in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Line { path, .. } => Some(path),
            Self::Default | Self::Variable(_) | Self::Flag(_) => None,
        }
    }

    /// The environment variable, if it is one.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            Self::Default | Self::File(_) | Self::Line { .. } | Self::Flag(_) => None,
        }
    }

    /// The kind of this source, for programs: `default`, `file`, `variable` or `flag`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) | Self::Line { .. } => "file",
            Self::Variable(_) => "variable",
            Self::Flag(_) => "flag",
        }
    }

    /// `key` as it is written at this origin.
    pub(super) fn spell(&self, key: &str) -> String {
        match self {
            Self::Variable(_) => variable(key),
            Self::Default | Self::File(_) | Self::Line { .. } | Self::Flag(_) => key.to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("not set"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "{}", name.escape_debug()),
            Self::Flag(_) => f.write_str("flag"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if !self.key.is_empty() {
            // A quoted key of the file may contain control characters, which must not reach the terminal.
            write!(f, ": {}", self.key.escape_debug())?;
        }
        write!(f, "\n    {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n    Did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl Problems {
    /// An error of all of them in reading order, if there are any.
    pub(super) fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort_by(|left, right| left.origin.cmp(&right.origin));
        if problems.is_empty() { Ok(()) } else { Err(Self { problems, log_format: LogFormat::default() }) }
    }

    /// Every problem, in the order of their origins: missing values, then the file by line, the variables, the flags.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// The form in which the configuration asks for log lines.
    #[must_use]
    pub const fn log_format(&self) -> LogFormat {
        self.log_format
    }

    pub(super) fn logged_as(mut self, log_format: LogFormat) -> Self {
        self.log_format = log_format;
        self
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], log_format: LogFormat::default() }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n\n" })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The environment variable of a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("USHER_{}", key.to_uppercase().replace('.', "__"))
}

/// A value for a message: quoted, without control characters, cut to a readable length. Never for secrets.
pub(super) fn quote(value: &str) -> String {
    const SHOWN: usize = 60;
    let value = super::effective::without_credentials(value);
    let shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let more = if value.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("\"{shown}{more}\"")
}
