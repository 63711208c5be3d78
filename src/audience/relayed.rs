//! The subscriptions of relayed connections: how many each channel has, and when the last one joined. Bounded, and gone
//! with the connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::{DashMap, Entry};

use super::Subscribers;
use crate::clock::Moment;
use crate::metrics::{Metrics, OpenGuard};

/// The number of shards of the map, each with its own lock.
const SHARDS: usize = 16;

/// The largest number of channels of one app whose subscribers are counted.
const MAX_CHANNELS: usize = 131_072;

/// The subscriptions that the relay sees, of all apps.
#[derive(Debug)]
pub struct Relayed {
    metrics: Arc<Metrics>,
    /// A std lock: held to look an app up when the configuration is read.
    apps: Mutex<HashMap<Box<str>, Arc<SubscriptionCounts>>>,
}

/// Those of one app.
#[derive(Debug)]
pub struct SubscriptionCounts {
    metrics: Arc<Metrics>,
    /// By channel. An entry is locked for one look-up or change, never across an await.
    counts: DashMap<Box<str>, SubscriptionCount>,
    /// The number of channels in `counts`, or more: it is incremented before a channel is inserted and decremented after
    /// one was removed. If it is 0, there is no channel at that moment, and no look-up is needed.
    channels: AtomicUsize,
    /// Whether a client of the app has ever come through usher: before that, an empty channel says nothing.
    visited: AtomicBool,
    /// Whether a subscription was left out at a bound: since then, a channel that is not here may have subscribers.
    full: AtomicBool,
}

/// The subscribers of one channel; at least one.
#[derive(Debug)]
struct SubscriptionCount {
    subscribers: usize,
    last_joined: Moment,
}

impl Relayed {
    /// Nobody yet. What is seen is counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, apps: Mutex::default() }
    }

    /// The subscriptions of the app with this id; the same ones whenever it is asked.
    #[must_use]
    pub fn app(&self, id: &str) -> Arc<SubscriptionCounts> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = apps.get(id) {
            return Arc::clone(counts);
        }
        // Apps that were taken out of the configuration, and whose last connection has gone.
        apps.retain(|_, counts| Arc::strong_count(counts) > 1);
        let counts = Arc::new(SubscriptionCounts::new(Arc::clone(&self.metrics)));
        apps.insert(id.into(), Arc::clone(&counts));
        counts
    }
}

impl SubscriptionCounts {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            counts: DashMap::with_shard_amount(SHARDS),
            channels: AtomicUsize::new(0),
            visited: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Who hears `channel`, as far as that is known.
    pub(super) fn of(&self, channel: &str) -> Option<Subscribers> {
        if self.channels.load(Ordering::Relaxed) > 0
            && let Some(count) = self.counts.get(channel)
        {
            return Some(Subscribers { subscribers: count.subscribers, last_joined: Some(count.last_joined) });
        }
        let knows_all = self.visited.load(Ordering::Relaxed) && !self.full.load(Ordering::Relaxed);
        knows_all.then_some(Subscribers::NONE)
    }

    /// A client comes through usher.
    pub(super) fn visit(&self) {
        self.visited.store(true, Ordering::Relaxed);
    }

    /// A client is subscribed to `channel` until the guard is dropped, and [`SubscriptionCounts::leave`] called. `None`: there is no
    /// place for it to be counted.
    pub(super) fn join(&self, channel: &str, now: Moment) -> Option<OpenGuard> {
        match self.counts.entry(channel.into()) {
            Entry::Occupied(mut entry) => {
                let count = entry.get_mut();
                count.subscribers += 1;
                count.last_joined = now;
            }
            Entry::Vacant(entry) if self.reserve_channel() => {
                entry.insert(SubscriptionCount { subscribers: 1, last_joined: now });
            }
            Entry::Vacant(entry) => {
                drop(entry);
                self.leave_out();
                return None;
            }
        }
        Some(self.metrics.relayed_subscription())
    }

    /// A client that had joined is out of `channel`.
    pub(super) fn leave(&self, channel: &str) {
        let removed = self.counts.remove_if_mut(channel, |_, count| {
            count.subscribers -= 1;
            count.subscribers == 0
        });
        if removed.is_some() {
            self.channels.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A subscription is not counted.
    pub(super) fn leave_out(&self) {
        self.full.store(true, Ordering::Relaxed);
        self.metrics.uncounted_subscription();
    }

    /// Counts one more channel. Returns whether there is space for it.
    fn reserve_channel(&self) -> bool {
        let one_more = |channels| (channels < MAX_CHANNELS).then_some(channels + 1);
        self.channels.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}
