//! What to watch: a rule names an event on a family of channels and says which values of its `data` are the assignment.

use std::time::Duration;

use crate::assignment::Assignment;

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Redundant announcements are dropped.
    #[default]
    Enforce,
    /// Decided and counted, everything is forwarded.
    Observe,
    /// The rule does nothing.
    Off,
}

/// A rule as configured, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name: a metric label and what logs call it.
    pub name: String,
    /// The event's name.
    pub event: String,
    /// The channel template; `{name}` matches one or more characters.
    pub channel: String,
    /// JSON pointers into `data`: the first one present is the identity.
    pub identity: Vec<String>,
    /// JSON pointers whose values are compared too; absent counts as null.
    pub context: Vec<String>,
    /// Pointer and expected JSON value, as text: only events whose `data` has all of them are announcements of this rule.
    pub filter: Vec<(String, serde_json::Value)>,
    /// Names of events on the same channel that end the assignment.
    pub released_by: Vec<String>,
    /// How long an unseen channel is remembered.
    pub remember_for: Duration,
    /// Whether it acts.
    pub mode: Mode,
    /// Ids of the apps it is for; empty: all.
    pub apps: Vec<String>,
}

/// A checked rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    spec: RuleSpec,
}

/// What an event means to a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Nothing: another event, or `where` says otherwise.
    Unrelated,
    /// An announcement of this assignment.
    Announcement(Assignment),
    /// The rule's event, but its assignment cannot be read exactly.
    Unreadable,
    /// It ends the assignment.
    Release,
}

/// What is wrong with a rule: the key it stands under and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct RuleError {
    /// The key within the rule's table, e.g. `identity`.
    pub key: &'static str,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl Rule {
    /// Checks `spec`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(spec: RuleSpec) -> Result<Self, Vec<RuleError>> {
        Ok(Self { spec })
    }

    /// The rule as configured.
    #[must_use]
    pub const fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// Whether `channel` belongs to this rule's family: the template matches, the name is valid, and it is neither a cache nor an encrypted channel.
    #[must_use]
    pub fn watches(&self, channel: &str) -> bool {
        let _ = channel;
        todo!()
    }

    /// Whether the rule has to see `data` of an event called `name`, or is released by it.
    #[must_use]
    pub fn concerns(&self, event: &str) -> bool {
        let _ = event;
        todo!()
    }

    /// What an event called `name` with this decoded `data` means to this rule. `data` is `None` when it was not a decodable string.
    #[must_use]
    pub fn read(&self, event: &str, data: Option<&str>) -> Reading {
        let _ = (event, data);
        todo!()
    }
}
