//! The last events of cache channels (`pusher-protocol.md` 6): bounded in number and in time, and kept while nobody is
//! subscribed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::frame::Frame;
use crate::clock::Moment;

/// The last event of each of some cache channels.
#[derive(Debug)]
pub(super) struct Cache {
    events: HashMap<Arc<str>, Cached>,
    most: usize,
}

/// A channel's last event.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    /// As it was sent to the subscribers.
    pub(super) frame: Frame,
    /// Its `data`.
    pub(super) data: Arc<str>,
    /// When it is forgotten.
    pub(super) expires: Moment,
}

impl Cached {
    /// How long it is still kept.
    pub(super) const fn remaining(&self, now: Moment) -> Duration {
        self.expires.since(now)
    }
}

impl Cache {
    /// A cache for `most` channels, one at least.
    pub(super) fn new(most: usize) -> Self {
        Self { events: HashMap::new(), most: most.max(1) }
    }

    /// The last event of `channel`, unless it has expired.
    pub(super) fn get(&self, channel: &str, now: Moment) -> Option<&Cached> {
        self.events.get(channel).filter(|cached| cached.expires > now)
    }

    /// Keeps the last event of `channel`. At the bound, the one that would expire first is forgotten.
    pub(super) fn put(&mut self, channel: &str, cached: Cached) {
        if let Some(place) = self.events.get_mut(channel) {
            *place = cached;
            return;
        }
        if self.events.len() >= self.most
            && let Some(oldest) =
                self.events.iter().min_by_key(|(_, cached)| cached.expires).map(|(name, _)| Arc::clone(name))
        {
            self.events.remove(&oldest);
        }
        self.events.insert(channel.into(), cached);
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.events.retain(|_, cached| cached.expires > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(frame: &'static str, expires: u64) -> Cached {
        Cached { frame: Frame::from_static(frame), data: frame.into(), expires: Moment::from_millis(expires) }
    }

    #[test]
    fn an_event_is_kept_for_its_time() {
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
        assert_eq!(cache.events.len(), 0);
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
    }
}
