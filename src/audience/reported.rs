//! What webhooks of the server behind usher say of an app's channels: of all clients, also of those that usher does not
//! relay. The number of channels is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Subscribers;
use crate::clock::Moment;

/// The largest number of channels of one app of which something is kept.
const MAX_CHANNELS: usize = 131_072;

/// What a webhook says of a channel (`pusher-protocol.md` 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedChange {
    /// It has its first subscriber.
    Occupied,
    /// Its last subscriber is gone.
    Vacated,
    /// A user came to a presence channel.
    MemberAdded,
    /// So many connections are subscribed.
    Subscriptions(usize),
}

/// The channels of one app, as webhooks told of them.
#[derive(Debug, Default)]
pub(super) struct ReportedChannels {
    /// A lock: held for one look-up or for the events of one webhook, never across an await.
    channels: Mutex<HashMap<Box<str>, ReportedChannel>>,
    /// Whether any webhook has told anything. Before that, no look-up is needed.
    has_any: AtomicBool,
    /// Whether any webhook has told the number of a channel's subscribers.
    tells_of_all: AtomicBool,
}

/// An occupied channel.
#[derive(Debug, Clone, Copy)]
struct ReportedChannel {
    /// The last number that was told; `None`: none was.
    count: Option<usize>,
    last_joined: Moment,
}

impl ReportedChannels {
    /// Notes what a webhook says at `now`. Returns the channels to which somebody came.
    pub(super) fn note<'e>(
        &self,
        changes: impl IntoIterator<Item = (&'e str, ReportedChange)>,
        now: Moment,
    ) -> Vec<&'e str> {
        self.has_any.store(true, Ordering::Relaxed);
        let mut channels = self.channels.lock();
        let mut came = Vec::new();
        for (channel, change) in changes {
            if matches!(change, ReportedChange::Subscriptions(_)) {
                self.tells_of_all.store(true, Ordering::Relaxed);
            }
            if apply(&mut channels, channel, change, now) {
                came.push(channel);
            }
        }
        came
    }

    /// Whether webhooks tell of each subscriber: so they do once one has told their number.
    pub(super) fn tells_of_all(&self) -> bool {
        self.tells_of_all.load(Ordering::Relaxed)
    }

    /// The subscribers of `channel`, as far as webhooks told; `None`: nothing is known of it.
    pub(super) fn of(&self, channel: &str) -> Option<Subscribers> {
        if !self.has_any.load(Ordering::Relaxed) {
            return None;
        }
        let ReportedChannel { count, last_joined } = *self.channels.lock().get(channel)?;
        Some(Subscribers { subscribers: count.unwrap_or(1).max(1), last_joined: Some(last_joined) })
    }
}

/// Returns whether somebody came.
fn apply(
    channels: &mut HashMap<Box<str>, ReportedChannel>,
    channel: &str,
    change: ReportedChange,
    now: Moment,
) -> bool {
    let before = channels.get(channel).and_then(|reported| reported.count);
    let (count, came) = match change {
        ReportedChange::Vacated | ReportedChange::Subscriptions(0) => {
            channels.remove(channel);
            return false;
        }
        ReportedChange::Occupied | ReportedChange::MemberAdded => (before, true),
        // A first number may be that of a channel to which somebody came just now.
        ReportedChange::Subscriptions(count) => (Some(count), before.is_none_or(|before| count > before)),
    };
    if let Some(reported) = channels.get_mut(channel) {
        reported.count = count;
        if came {
            reported.last_joined = now;
        }
    } else if channels.len() < MAX_CHANNELS {
        channels.insert(channel.into(), ReportedChannel { count, last_joined: now });
    }
    came
}

#[cfg(test)]
mod tests {
    use super::ReportedChange::*;
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn subscribers(subscribers: usize, last_joined: u64) -> Option<Subscribers> {
        Some(Subscribers { subscribers, last_joined: Some(at(last_joined)) })
    }

    #[test]
    fn whoever_comes_is_told_of_and_counted() {
        let reported = ReportedChannels::default();
        assert_eq!(reported.of("a"), None);
        for (now, change, came, expected) in [
            (1, Occupied, true, subscribers(1, 1)),
            (2, Subscriptions(1), true, subscribers(1, 2)),
            (3, Subscriptions(4), true, subscribers(4, 3)),
            (4, Subscriptions(4), false, subscribers(4, 3)),
            (5, Subscriptions(3), false, subscribers(3, 3)),
            (6, MemberAdded, true, subscribers(3, 6)),
            (7, Vacated, false, None),
            (8, Subscriptions(2), true, subscribers(2, 8)),
            (9, Subscriptions(0), false, None),
            (10, MemberAdded, true, subscribers(1, 10)),
        ] {
            let told = reported.note([("a", change)], at(now));
            assert_eq!((told.as_slice(), reported.of("a")), (if came { &["a"][..] } else { &[] }, expected), "{now}");
        }
        assert_eq!(reported.of("b"), None);
    }

    #[test]
    fn a_number_alone_tells_of_all() {
        let reported = ReportedChannels::default();
        for change in [Occupied, MemberAdded, Vacated] {
            reported.note([("a", change)], at(1));
            assert!(!reported.tells_of_all());
        }
        reported.note([("a", Subscriptions(0))], at(2));
        assert!(reported.tells_of_all());
    }

    #[test]
    fn channels_are_bounded_and_who_comes_is_told_all_the_same() {
        let reported = ReportedChannels::default();
        let names: Vec<String> = (0..=MAX_CHANNELS).map(|number| number.to_string()).collect();
        let told = reported.note(names.iter().map(|name| (name.as_str(), Occupied)), at(1));
        assert_eq!((told.len(), reported.channels.lock().len()), (names.len(), MAX_CHANNELS));
        assert_eq!(reported.of(names.last().unwrap()), None);
    }
}
