//! What of the memory outlives its process: the channels that are known or in doubt, and the doubt about whole apps.
//!
//! Nothing that is in flight or in doubt is ever kept as known: a channel in doubt, and an app, stay in doubt for what
//! is left of it, counted from the moment at which the next process begins. Writing and reading is up to the caller.

use std::sync::Arc;
use std::time::Duration;

use super::{Reach, RuleMemory};
use crate::clock::Moment;

/// One channel as it outlives its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptChannel<'a> {
    /// Its name.
    pub name: &'a str,
    /// The text of the assignment that it is known to show; empty: unknown.
    pub shown: &'a str,
    /// Who has had it.
    pub reach: Reach,
    /// When the assignment became known, or was last announced as news.
    pub since: Moment,
    /// When a claim last named the channel.
    pub seen: Moment,
    /// Announcements forwarded and accepted.
    pub announced: u32,
    /// Announcements found redundant.
    pub suppressed: u32,
    /// What is left of its doubt; zero: it is not in doubt.
    pub doubt_left: Duration,
}

/// One app as it outlives its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptApp {
    /// Its id.
    pub id: Arc<str>,
    /// What is left of the doubt about all its channels; zero: it is not in doubt.
    pub doubt_left: Duration,
}

/// A rule whose memory outlives its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRule {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The fingerprint of its definition.
    pub definition: [u8; 32],
}

/// All that identifies what is kept, and the memories that hold it.
#[derive(Debug)]
pub struct Kept {
    /// The configured apps.
    pub apps: Vec<KeptApp>,
    /// The rules with their memories, in the order of the configuration.
    pub rules: Vec<(KeptRule, Arc<RuleMemory>)>,
}

/// Nothing can be kept: a forwarded request is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a forwarded request is not settled")]
pub struct StillInFlight;
