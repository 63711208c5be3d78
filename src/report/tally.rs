//! The messages that one rule has saved, or would have saved.

use std::hash::{BuildHasher, RandomState};

use parking_lot::{Mutex, MutexGuard};

use super::channel_sample::HashedChannel;
use super::differences::{DifferenceSummary, Differences};
use super::heavy::HeavyHitters;
use super::savings::{Repeat, Sample, Savings};
use crate::assignment::Digest;
use crate::clock::Moment;
use crate::rules::Leaf;

/// The number of channels in a summary.
const TOP: usize = 10;

/// The counts of one rule of one app.
#[derive(Debug, Default)]
pub struct RuleTally {
    /// Of the channels' names.
    hasher: RandomState,
    /// A lock: held to add to a few numbers and to search one short list, or to copy both; never across an await.
    counts: Mutex<Counts>,
}

/// A redundant announcement.
#[derive(Debug, Clone, Copy)]
pub struct Redundant<'a> {
    /// Its channel.
    pub channel: HashedChannel<'a>,
    /// The time of the decision.
    pub at: Moment,
    /// What became of it.
    pub outcome: RedundantOutcome,
    /// The number of subscribers that would have received it; `None`: unknown.
    pub audience: Option<usize>,
    /// Whether usher can see the app's clients at all.
    pub sees_clients: bool,
    /// Whether a subscriber has joined the channel since the last forwarded announcement, and so may lack the
    /// assignment.
    pub late_joiner: bool,
    /// Whether something else in its data differs from the announcement that guests show; `None`: it is not known.
    pub differs: Option<bool>,
}

/// What became of a redundant announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedundantOutcome {
    /// It was dropped.
    Suppressed,
    /// It was forwarded because the rule only observes.
    Observed,
}

/// A summary of a rule's counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Announcements dropped.
    pub suppressed: u64,
    /// Announcements that would have been dropped if the rule did not only observe.
    pub would_suppress: u64,
    /// The number of messages that Pusher would have billed for these: one for each call, and one for each subscriber.
    pub messages_saved: u64,
    /// Whether the audience of any of them was known; if not, `messages_saved` counts the calls only.
    pub audience_known: bool,
    /// The time of the first of them.
    pub first: Option<Moment>,
    /// The time of the last of them.
    pub last: Option<Moment>,
    /// The number of them with a late joiner ([`Redundant::late_joiner`]).
    pub late_joiners: u64,
    /// The channels with the most of them, each with a lower bound of its number.
    pub top_channels: Vec<(String, u64)>,
}

/// Announcements that came another way than through usher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bypassed {
    /// Their number.
    pub count: u64,
    /// The channel and the time of the last one.
    pub last: Option<(String, Moment)>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Without the list of channels, which is computed from `top`.
    summary: Summary,
    top: HeavyHitters,
    differences: Differences,
    sample: Sample,
    bypassed: Bypassed,
}

impl RuleTally {
    /// The channel of this name, for this tally alone: each hashes names in its own way.
    #[must_use]
    pub fn channel<'a>(&self, name: &'a str) -> HashedChannel<'a> {
        HashedChannel { name, hash: self.hasher.hash_one(name) }
    }

    /// Counts a redundant announcement. Returns the number of messages that it would have been.
    pub fn count(&self, redundant: Redundant<'_>) -> u64 {
        let messages = messages(redundant.audience);
        let mut counts = self.lock();
        counts.sample.repeat(Repeat {
            channel: redundant.channel,
            at: redundant.at,
            messages,
            sees_clients: redundant.sees_clients,
        });
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
        counts.top.count(redundant.channel.name);
        redundant.differs.into_iter().for_each(|differs| counts.differences.compared(differs));
        messages
    }

    /// An announcement on `channel` goes on, whatever `late_joiners` and `refresh_after` are. `sees_clients`: whether usher
    /// can see the app's clients.
    pub fn news(&self, channel: HashedChannel<'_>, at: Moment, sees_clients: bool) {
        self.lock().sample.news(channel, at, sees_clients);
    }

    /// An announcement on `channel`, for so many subscribers (`None`: unknown), goes on only because of `late_joiners` or
    /// `refresh_after`. `sees_clients`: as in [`RuleTally::news`].
    pub fn renewed(&self, channel: HashedChannel<'_>, at: Moment, audience: Option<usize>, sees_clients: bool) {
        self.lock().sample.repeat(Repeat { channel, at, messages: messages(audience), sees_clients });
    }

    /// Somebody has subscribed to `channel`.
    pub fn came(&self, channel: &str) {
        self.lock().sample.came(self.channel(channel));
    }

    /// What each setting of `late_joiners` and `refresh_after` would have dropped so far.
    #[must_use]
    pub fn savings(&self) -> Savings {
        self.lock().sample.savings()
    }

    /// Somebody announces on `channel` beside usher.
    pub fn bypassed(&self, channel: &str, at: Moment) {
        let bypassed = &mut self.lock().bypassed;
        bypassed.count += 1;
        bypassed.last = Some((channel.to_owned(), at));
    }

    /// What came another way so far.
    #[must_use]
    pub fn came_beside(&self) -> Bypassed {
        self.lock().bypassed.clone()
    }

    /// Whether it is of interest what announcements on `channel`, which has one now, say leaf by leaf: on all channels, or
    /// on a sample of many.
    #[must_use]
    pub fn follows(&self, channel: HashedChannel<'_>, at: Moment) -> bool {
        self.lock().differences.follow(channel, at)
    }

    /// An announcement is forwarded on a channel that is [followed](Self::follows): `digest` is that of its remainder,
    /// whose first leaves are `leaves`.
    pub fn announced(&self, channel: HashedChannel<'_>, digest: Digest, leaves: &[Leaf]) {
        self.lock().differences.announced(channel, digest, leaves);
    }

    /// An announcement with these leaves, on a channel that is [followed](Self::follows), differs from the one that guests
    /// show, whose remainder has the digest `shown`: counts where.
    pub fn differed(&self, channel: HashedChannel<'_>, shown: Digest, leaves: &[Leaf]) {
        self.lock().differences.differed(channel, shown, leaves);
    }

    /// An announcement goes on because of such a difference alone.
    pub fn compared_and_forwarded(&self) {
        self.lock().differences.compared(true);
    }

    /// What differed so far.
    #[must_use]
    pub fn differences(&self) -> DifferenceSummary {
        self.lock().differences.summary()
    }

    /// Counts differences anew.
    pub(super) fn forget_differences(&self) {
        self.lock().differences = Differences::default();
    }

    /// The counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let counts = self.lock();
        Summary { top_channels: counts.top.top(TOP), ..counts.summary.clone() }
    }

    /// The counts are consistent whenever the lock is free: no code under the lock panics between two changes.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

/// The messages that an announcement is for so many subscribers.
fn messages(audience: Option<usize>) -> u64 {
    1 + audience.unwrap_or_default() as u64
}
