//! What one rule has saved, or would have.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::heavy::HeavyHitters;
use crate::clock::Moment;

/// Channels that a summary names.
const TOP: usize = 10;

/// The counts of one rule of one app.
#[derive(Debug, Default)]
pub struct RuleTally {
    /// A std lock: held to add to a few numbers and to look through one short list, or to copy both; never across an
    /// await.
    counts: Mutex<Counts>,
}

/// A redundant announcement.
#[derive(Debug, Clone, Copy)]
pub struct Redundant<'a> {
    /// Where.
    pub channel: &'a str,
    /// When it was decided.
    pub at: Moment,
    /// What became of it.
    pub outcome: RedundantOutcome,
    /// How many would have heard it; `None`: it is not known.
    pub audience: Option<usize>,
    /// Whether somebody has joined the channel since the announcement that made it known, and so may not know who is
    /// assigned.
    pub late_joiner: bool,
}

/// What became of a redundant announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedundantOutcome {
    /// It was dropped.
    Suppressed,
    /// It was forwarded because the rule only observes.
    Observed,
}

/// What a rule's counts say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Announcements dropped.
    pub suppressed: u64,
    /// Announcements that would have been dropped if the rule did not only observe.
    pub would_suppress: u64,
    /// The messages that these are for Pusher: one for the call, and one for each who would have heard it.
    pub messages_saved: u64,
    /// Whether the audience of any of them was known; if not, `messages_saved` is that of the calls alone.
    pub audience_known: bool,
    /// When the first of them was.
    pub first: Option<Moment>,
    /// When the last of them was.
    pub last: Option<Moment>,
    /// How many of them came after somebody had joined who may have needed them.
    pub late_joiners: u64,
    /// The channels with most of them, and how many each had at least.
    pub top_channels: Vec<(String, u64)>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Its list of channels is empty here: `top` has them.
    summary: Summary,
    top: HeavyHitters,
}

impl RuleTally {
    /// Counts one. Returns how many messages it is.
    pub fn count(&self, redundant: Redundant<'_>) -> u64 {
        let messages = 1 + redundant.audience.unwrap_or_default() as u64;
        let mut counts = self.lock();
        let summary = &mut counts.summary;
        match redundant.outcome {
            RedundantOutcome::Suppressed => summary.suppressed += 1,
            RedundantOutcome::Observed => summary.would_suppress += 1,
        }
        summary.messages_saved += messages;
        summary.audience_known |= redundant.audience.is_some();
        summary.first.get_or_insert(redundant.at);
        summary.last = summary.last.max(Some(redundant.at));
        summary.late_joiners += u64::from(redundant.late_joiner);
        counts.top.count(redundant.channel);
        messages
    }

    /// What was counted so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let counts = self.lock();
        Summary { top_channels: counts.top.top(TOP), ..counts.summary.clone() }
    }

    /// Whole whenever the lock is free: nothing in there can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
