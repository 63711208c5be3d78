//! A rule as it is in the configuration.

use std::time::Duration;

/// What a rule does with redundant announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are dropped.
    #[default]
    Enforce,
    /// They are counted and forwarded.
    Observe,
    /// The rule does nothing.
    Off,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Observe, Self::Off];

    /// Its name in the configuration, in metrics and in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.label() == label)
    }
}

/// What happens to an announcement of the assignment that its channel shows if something else in its data differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDifference {
    /// Nothing else: it is redundant, and nobody looks.
    Suppress,
    /// It is redundant, and counted.
    #[default]
    Count,
    /// It is news.
    Forward,
}

impl OnDifference {
    /// Its name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Suppress => "suppress",
            Self::Count => "count",
            Self::Forward => "forward",
        }
    }
}

/// What becomes of a redundant announcement for the sake of clients that have subscribed since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LateJoiners {
    /// Nothing: they learn nothing from it.
    #[default]
    Ignore,
    /// It goes on if anybody has subscribed to its channel since, or if that cannot be seen.
    Forward,
    /// Whoever subscribes is handed the last accepted announcement.
    Replay,
}

impl LateJoiners {
    /// Every setting.
    pub const ALL: [Self; 3] = [Self::Ignore, Self::Forward, Self::Replay];

    /// Its name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Forward => "forward",
            Self::Replay => "replay",
        }
    }
}

/// A rule as configured, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name, in metrics and logs. 1 to 64 characters of `A-Za-z0-9_-`.
    pub name: String,
    /// The event's name.
    pub event: String,
    /// The channel template; `{name}` matches one or more characters.
    pub channel: String,
    /// JSON pointers into `data`: the first one present (neither null nor the empty string) is the identity.
    pub identity: Vec<String>,
    /// JSON pointers whose values are compared as well; absent counts as null.
    pub context: Vec<String>,
    /// Pointer and expected JSON value (no array, no object): only events whose `data` has all of them are
    /// announcements of this rule. The key in the configuration is `where`.
    pub filter: Vec<(String, serde_json::Value)>,
    /// JSON pointers to what may differ without being of interest, each with all below it.
    pub ignore: Vec<String>,
    /// What happens to an announcement that is redundant but for something outside identity, context and `ignore`.
    pub on_difference: OnDifference,
    /// Names of events on the same channel that end the assignment.
    pub released_by: Vec<String>,
    /// How long a channel is remembered that no trigger names.
    pub remember_for: Duration,
    /// What becomes of redundant announcements for the sake of clients that have subscribed since.
    pub late_joiners: LateJoiners,
    /// The age from which on the last announcement is forwarded again; `None`: it is not for its age.
    pub refresh_after: Option<Duration>,
    /// Whether announcements that clients get are compared with those that usher has forwarded.
    pub detect_bypass: bool,
    /// What it does with redundant announcements.
    pub mode: Mode,
    /// Ids of the apps it is for; empty: all.
    pub apps: Vec<String>,
}

impl RuleSpec {
    /// The names of the events that announce or release.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.event).chain(&self.released_by).map(String::as_str)
    }
}

/// What is wrong with a rule: a key and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct RuleError {
    /// The key within the rule's table, e.g. `identity`.
    pub key: &'static str,
    /// What is wrong and how to correct it.
    pub problem: String,
}
