//! The last events of cache channels (`pusher-protocol.md` 6), bounded in number and in time. They are kept while the
//! channel has no subscribers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::frame::Frame;
use crate::clock::Moment;

/// The last events of cache channels.
#[derive(Debug)]
pub(super) struct Cache {
    events: HashMap<Arc<str>, Cached>,
    /// The same channels in the order in which their events expire, so that the next one is found without a search.
    by_expiry: BTreeSet<(Moment, Arc<str>)>,
    max: usize,
}

/// A channel's last event.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    /// The event as sent to the subscribers.
    pub(super) frame: Frame,
    /// The event's `data`.
    pub(super) data: Arc<str>,
    /// When the event expires.
    pub(super) expires: Moment,
}

impl Cached {
    /// The time until the event expires.
    pub(super) const fn remaining(&self, now: Moment) -> Duration {
        self.expires.since(now)
    }
}

impl Cache {
    /// A cache for `max` channels, at least one.
    pub(super) fn new(max: usize) -> Self {
        Self { events: HashMap::new(), by_expiry: BTreeSet::new(), max: max.max(1) }
    }

    /// The last event of `channel`, unless it has expired.
    pub(super) fn get(&self, channel: &str, now: Moment) -> Option<&Cached> {
        self.events.get(channel).filter(|cached| cached.expires > now)
    }

    /// Keeps the last event of `channel`. At the bound, the event that expires first is removed.
    pub(super) fn put(&mut self, channel: &str, cached: Cached) {
        let name = match self.events.remove_entry(channel) {
            Some((name, before)) => {
                self.by_expiry.remove(&(before.expires, Arc::clone(&name)));
                name
            }
            None => channel.into(),
        };
        if self.events.len() >= self.max {
            self.remove_first();
        }
        self.by_expiry.insert((cached.expires, Arc::clone(&name)));
        self.events.insert(name, cached);
    }

    /// Removes the expired events.
    pub(super) fn sweep(&mut self, now: Moment) {
        while self.by_expiry.first().is_some_and(|(expires, _)| *expires <= now) {
            self.remove_first();
        }
    }

    /// Removes the event that expires first.
    fn remove_first(&mut self) {
        if let Some((_, name)) = self.by_expiry.pop_first() {
            self.events.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(frame: &'static str, expires: u64) -> Cached {
        Cached { frame: Frame::from_static(frame), data: frame.into(), expires: Moment::from_millis(expires) }
    }

    #[test]
    fn an_event_is_kept_until_it_expires() {
        let mut cache = Cache::new(9);
        cache.put("cache-a", cached("1", 100));
        assert_eq!(cache.get("cache-a", Moment::from_millis(99)).map(|cached| &*cached.data), Some("1"));
        assert!(cache.get("cache-a", Moment::from_millis(100)).is_none());
        assert!(cache.get("cache-b", Moment::from_millis(0)).is_none());
        cache.put("cache-a", cached("2", 200));
        cache.sweep(Moment::from_millis(100));
        assert_eq!(
            cache.get("cache-a", Moment::from_millis(100)).map(|cached| cached.remaining(Moment::from_millis(100))),
            Some(Duration::from_millis(100))
        );
        cache.sweep(Moment::from_millis(200));
        assert_eq!((cache.events.len(), cache.by_expiry.len()), (0, 0));
    }

    #[test]
    fn at_the_bound_the_oldest_goes() {
        let mut cache = Cache::new(2);
        for (name, expires) in [("cache-b", 2), ("cache-a", 1), ("cache-c", 3), ("cache-c", 4)] {
            cache.put(name, cached("x", expires));
        }
        let mut left: Vec<_> = cache.events.keys().map(|name| &**name).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-b", "cache-c"]);
        assert_eq!(cache.by_expiry.len(), 2);
    }
}
