//! What each setting of `late_joiners` and `refresh_after` would have dropped, so that an operator can choose before a
//! rule enforces it. Worked out on a sample of the rule's channels, in observe and in enforce mode alike.

use std::time::Duration;

use super::channel_sample::{ChannelSample, HashedChannel, STALE};
use crate::clock::Moment;
use crate::rules::LateJoiners;

/// The largest number of channels in a sample.
const CHANNELS: usize = 4_096;

/// The values of `refresh_after` that are compared. A channel stays in the sample for the longest of them.
pub const REFRESH_PERIODS: [Duration; 3] = [Duration::from_mins(1), Duration::from_mins(10), STALE];

/// What a setting would have dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Announcements.
    pub announcements: u64,
    /// The messages that these would have been: one for each call, and one for each subscriber that usher saw.
    pub messages: u64,
}

/// What each setting would have dropped on the channels of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Savings {
    /// The channels in the sample now.
    pub channels: usize,
    /// The announcements on the channels of the sample, new ones and redundant ones: what the figures are based on.
    pub announcements: u64,
    /// With `late_joiners = "ignore"` and no `refresh_after`. The same with `late_joiners = "replay"`, unless the memory
    /// is shared.
    pub ignore: Saved,
    /// With `late_joiners = "forward"`.
    pub forward: Saved,
    /// With each `refresh_after` of [`REFRESH_PERIODS`].
    pub refresh: [Saved; REFRESH_PERIODS.len()],
    /// Whether usher could see the app's clients when the last announcement came.
    pub sees_clients: bool,
}

/// A redundant announcement, dropped or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeat<'a> {
    pub(super) channel: HashedChannel<'a>,
    pub(super) at: Moment,
    /// The number of messages that it is.
    pub(super) messages: u64,
    /// Whether usher can see the app's clients. If not, somebody counts as having come before each announcement.
    pub(super) sees_clients: bool,
}

/// The sample of one rule of one app, and what was counted on it.
#[derive(Debug)]
pub(super) struct Sample {
    savings: Savings,
    channels: ChannelSample<Sampled>,
}

#[derive(Debug, Clone, Copy)]
struct Sampled {
    /// Whether somebody has come since the last announcement that `late_joiners = "forward"` forwards.
    missed: bool,
    /// The last announcement that each `refresh_after` forwards.
    forwarded: [Moment; REFRESH_PERIODS.len()],
}

impl Sampled {
    const fn announced(at: Moment) -> Self {
        Self { missed: false, forwarded: [at; REFRESH_PERIODS.len()] }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self { savings: Savings::default(), channels: ChannelSample::new(CHANNELS) }
    }
}

impl Sample {
    /// An announcement goes on whatever the setting is.
    pub(super) fn news(&mut self, channel: HashedChannel<'_>, at: Moment, sees_clients: bool) {
        self.savings.sees_clients = sees_clients;
        if let Some((known, sampled)) = self.channels.entry(channel, at, || Sampled::announced(at)) {
            *sampled = Sampled::announced(at);
            self.savings.announcements += u64::from(known);
        }
    }

    /// An announcement is redundant, or would be if its rule ignored late joiners and refreshed nothing.
    pub(super) fn repeat(&mut self, Repeat { channel, at, messages, sees_clients }: Repeat<'_>) {
        self.savings.sees_clients = sees_clients;
        // When one that is new in the sample was forwarded before, and who has come since, is not known.
        let Some((true, sampled)) = self.channels.entry(channel, at, || Sampled::announced(at)) else { return };
        let is_late = sampled.missed || !sees_clients;
        sampled.missed = false;
        let mut refreshed = [false; REFRESH_PERIODS.len()];
        for ((forwarded, period), refreshed) in sampled.forwarded.iter_mut().zip(REFRESH_PERIODS).zip(&mut refreshed) {
            *refreshed = at.since(*forwarded) > period;
            if *refreshed {
                *forwarded = at;
            }
        }
        let count = |saved: &mut Saved| {
            saved.announcements += 1;
            saved.messages += messages;
        };
        self.savings.announcements += 1;
        count(&mut self.savings.ignore);
        if !is_late {
            count(&mut self.savings.forward);
        }
        self.savings
            .refresh
            .iter_mut()
            .zip(refreshed)
            .filter(|(_, refreshed)| !refreshed)
            .for_each(|(it, _)| count(it));
    }

    /// Somebody has subscribed to `channel`.
    pub(super) fn came(&mut self, channel: HashedChannel<'_>) {
        if let Some(sampled) = self.channels.get_mut(channel) {
            sampled.missed = true;
        }
    }

    pub(super) fn savings(&self) -> Savings {
        Savings { channels: self.channels.len(), ..self.savings }
    }
}

/// The fewest redundant announcements in a sample that carry a proposal.
const ENOUGH: u64 = 100;

/// One announcement in so many may go on for late joiners before `replay` is proposed instead of `forward`.
const COSTLY: u64 = 10;

impl Savings {
    /// What is wrong with `late_joiners` as it is set, as a sentence without a full stop.
    #[must_use]
    pub fn warning(&self, late_joiners: LateJoiners) -> Option<String> {
        let is_blind = late_joiners != LateJoiners::Ignore && self.announcements > 0 && !self.sees_clients;
        is_blind.then(|| {
            format!(
                "late_joiners = \"{}\" drops nothing: no client of the app has connected through usher, so anybody may have come before each \
                 announcement",
                late_joiners.label()
            )
        })
    }

    /// What the figures say for the choice of `late_joiners` and `refresh_after`, as sentences; nothing beyond the
    /// figures. `replays`: whether `late_joiners = "replay"` is more than `"forward"` here, as it is in a memory that is not
    /// shared.
    #[must_use]
    pub fn proposal(&self, replays: bool) -> String {
        let Self { ignore: Saved { announcements: all, .. }, forward: Saved { announcements: forward, .. }, .. } =
            *self;
        if all < ENOUGH {
            return format!("Nothing is proposed yet: {all} redundant announcements are too few, {ENOUGH} are enough.");
        }
        let late = all - forward;
        if !self.sees_clients {
            return format!(
                "usher sees no client, so \"forward\" and \"replay\" would drop nothing. {}",
                self.refreshing()
            );
        }
        let share = percent(forward, all);
        if late * COSTLY <= all {
            return format!(
                "late_joiners = \"forward\" would drop {forward} of {all} redundant announcements ({share}): whoever comes between two of them reads \
                 the next one."
            );
        }
        if replays {
            return format!(
                "late_joiners = \"replay\" would drop all {all} redundant announcements, and whoever comes gets the last one at once; \"forward\" would \
                 drop {forward} ({share})."
            );
        }
        format!(
            "late_joiners = \"forward\" would drop {forward} of {all} redundant announcements ({share}); a shared memory replays nothing. {}",
            self.refreshing()
        )
    }

    /// The shortest period of those compared with which at least half is dropped.
    fn refreshing(&self) -> String {
        let all = self.ignore.announcements;
        let mut by_period = REFRESH_PERIODS.iter().zip(&self.refresh);
        match by_period.find(|(_, saved)| saved.announcements * 2 >= all) {
            Some((period, saved)) => format!(
                "refresh_after = \"{}m\" would drop {} of {all} ({}).",
                period.as_secs() / 60,
                saved.announcements,
                percent(saved.announcements, all)
            ),
            None => format!("No refresh_after up to {}m would drop half of {all}.", STALE.as_secs() / 60),
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{} %", part * 100 / whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    const ROOM: HashedChannel<'_> = HashedChannel { name: "room", hash: 7 };
    const OTHER: HashedChannel<'_> = HashedChannel { name: "other", hash: 8 };

    fn repeat(sample: &mut Sample, seconds: u64) {
        sample.repeat(Repeat { channel: ROOM, at: at(seconds), messages: 3, sees_clients: true });
    }

    fn saved(sample: &Sample) -> (u64, u64, u64, [u64; 3]) {
        let Savings { announcements, ignore, forward, refresh, .. } = sample.savings();
        for saved in [ignore, forward].iter().chain(&refresh) {
            assert_eq!(saved.messages, saved.announcements * 3);
        }
        (announcements, ignore.announcements, forward.announcements, refresh.map(|saved| saved.announcements))
    }

    #[test]
    fn each_setting_forwards_for_its_own_reason() {
        let mut sample = Sample::default();
        sample.news(ROOM, at(0), true);
        assert_eq!(saved(&sample), (0, 0, 0, [0; 3]), "how the channel was before is not known");
        repeat(&mut sample, 10);
        assert_eq!(saved(&sample), (1, 1, 1, [1; 3]));
        sample.came(ROOM);
        sample.came(OTHER);
        repeat(&mut sample, 20);
        repeat(&mut sample, 30);
        assert_eq!(saved(&sample), (3, 3, 2, [3; 3]), "the one behind it is for nobody new");
        repeat(&mut sample, 61);
        assert_eq!(saved(&sample), (4, 4, 3, [3, 4, 4]));
        repeat(&mut sample, 121);
        assert_eq!(saved(&sample), (5, 5, 4, [4, 5, 5]), "exactly a minute is not older than one");
        repeat(&mut sample, 4000);
        assert_eq!(saved(&sample), (6, 6, 5, [4, 5, 5]), "older than all of them");
        sample.came(ROOM);
        sample.news(ROOM, at(4001), true);
        repeat(&mut sample, 4002);
        assert_eq!(saved(&sample), (8, 7, 6, [5, 6, 6]), "news reaches whoever has come");
    }

    #[test]
    fn the_first_of_a_channel_is_not_counted_and_without_sight_everybody_may_be_new() {
        let mut sample = Sample::default();
        repeat(&mut sample, 0);
        repeat(&mut sample, 1);
        assert_eq!(saved(&sample), (1, 1, 1, [1; 3]));
        sample.repeat(Repeat { channel: ROOM, at: at(2), messages: 3, sees_clients: false });
        assert_eq!(saved(&sample), (2, 2, 1, [2; 3]));
        assert!(!sample.savings().sees_clients);
    }

    #[test]
    fn a_proposal_is_carried_by_its_figures() {
        let savings = |all: u64, forward, refresh: [u64; 3]| {
            let saved = |announcements| Saved { announcements, messages: announcements };
            Savings {
                channels: 1,
                announcements: all,
                ignore: saved(all),
                forward: saved(forward),
                refresh: refresh.map(saved),
                sees_clients: true,
            }
        };
        let beginning = |savings: Savings, replays, expected: &str| {
            let proposal = savings.proposal(replays);
            assert!(proposal.contains(expected), "{proposal}");
        };
        beginning(savings(99, 99, [99; 3]), true, "Nothing is proposed yet: 99");
        beginning(savings(100, 90, [9, 50, 80]), true, "late_joiners = \"forward\" would drop 90 of 100");
        beginning(savings(100, 89, [9, 50, 80]), true, "late_joiners = \"replay\" would drop all 100");
        let shared = savings(100, 89, [9, 50, 80]).proposal(false);
        assert!(
            shared.contains("would drop 89 of 100") && shared.contains("refresh_after = \"10m\" would drop 50"),
            "{shared}"
        );
        let blind = Savings { sees_clients: false, ..savings(100, 0, [9, 49, 49]) };
        assert!(
            blind
                .warning(LateJoiners::Forward)
                .is_some_and(|warning| warning.starts_with("late_joiners = \"forward\""))
        );
        assert_eq!(
            [blind.warning(LateJoiners::Ignore), savings(100, 89, [9, 50, 80]).warning(LateJoiners::Replay)],
            [None, None]
        );
        beginning(blind, true, "usher sees no client");
        beginning(blind, true, "No refresh_after up to 60m would drop half of 100.");
    }
}
