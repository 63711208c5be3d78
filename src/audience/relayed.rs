//! The subscriptions of relayed connections: their number per channel, and when the last one joined. The number of
//! channels is bounded, and a connection's subscriptions end with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;

use super::Subscribers;
use super::reported::ReportedChannels;
use crate::clock::Moment;
use crate::metrics::{Metrics, OpenGuard};

/// The number of shards of the map, each with its own lock.
const SHARDS: usize = 16;

/// The largest number of channels of one app whose subscribers are counted.
const MAX_CHANNELS: usize = 131_072;

/// The subscriptions of relayed connections of all apps.
#[derive(Debug)]
pub struct Relayed {
    metrics: Arc<Metrics>,
    /// A lock: held while an app is looked up, which a reload of the configuration does.
    apps: Mutex<HashMap<Box<str>, Arc<SubscriptionCounts>>>,
}

/// The subscriptions of one app.
#[derive(Debug)]
pub struct SubscriptionCounts {
    metrics: Arc<Metrics>,
    /// By channel. An entry is locked for one look-up or change, never across an await.
    counts: DashMap<Box<str>, SubscriptionCount>,
    /// The number of channels in `counts`, or more: it is incremented before a channel is inserted and decremented
    /// after one was removed. If it is 0, there is no channel at that moment, and no look-up is needed.
    channels: AtomicUsize,
    /// Whether usher has ever relayed a client of the app. Before that, a channel without counted subscribers may have
    /// some.
    had_client: AtomicBool,
    /// Whether a subscription was not counted because of a bound. After that, a channel that is not in `counts` may
    /// have subscribers.
    is_incomplete: AtomicBool,
    /// What webhooks of the server behind usher said, of all clients.
    reported: ReportedChannels,
}

/// The subscribers of one channel; at least one.
#[derive(Debug)]
struct SubscriptionCount {
    subscribers: usize,
    last_joined: Moment,
}

impl Relayed {
    /// No subscriptions. `metrics` counts them.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, apps: Mutex::default() }
    }

    /// The subscriptions of the app with this id.
    #[must_use]
    pub fn app(&self, id: &str) -> Arc<SubscriptionCounts> {
        let mut apps = self.apps.lock();
        if let Some(counts) = apps.get(id) {
            return Arc::clone(counts);
        }
        // Removes the apps that are no longer configured and have no connections.
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
            had_client: AtomicBool::new(false),
            is_incomplete: AtomicBool::new(false),
            reported: ReportedChannels::default(),
        }
    }

    /// What webhooks told.
    pub(super) const fn reported(&self) -> &ReportedChannels {
        &self.reported
    }

    /// The subscribers of `channel`, as far as the relay sees or webhooks told; `None`: unknown.
    pub(super) fn of(&self, channel: &str) -> Option<Subscribers> {
        let (relayed, reported) = (self.relayed(channel), self.reported.of(channel));
        match (relayed, reported) {
            // Webhooks tell of all clients, but late, and not always how many there are.
            (Some(relayed), Some(reported)) => Some(Subscribers {
                subscribers: relayed.subscribers.max(reported.subscribers),
                last_joined: relayed.last_joined.max(reported.last_joined),
            }),
            (one, other) => one.or(other),
        }
    }

    /// The subscribers of `channel` that the relay sees; `None`: unknown.
    fn relayed(&self, channel: &str) -> Option<Subscribers> {
        if self.channels.load(Ordering::Relaxed) > 0
            && let Some(count) = self.counts.get(channel)
        {
            return Some(Subscribers { subscribers: count.subscribers, last_joined: Some(count.last_joined) });
        }
        let is_complete = self.had_client.load(Ordering::Relaxed) && !self.is_incomplete.load(Ordering::Relaxed);
        is_complete.then_some(Subscribers::NONE)
    }

    /// Whether usher has ever relayed a client of the app.
    pub(super) fn had_client(&self) -> bool {
        self.had_client.load(Ordering::Relaxed)
    }

    /// Notes a relayed client.
    pub(super) fn note_client(&self) {
        self.had_client.store(true, Ordering::Relaxed);
    }

    /// Counts a subscription to `channel`. At its end, the guard has to be dropped and [`SubscriptionCounts::leave`]
    /// called. `None`: the bound is reached, and the subscription is not counted.
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
                self.note_uncounted();
                return None;
            }
        }
        Some(self.metrics.relayed_subscription())
    }

    /// Ends a counted subscription to `channel`.
    pub(super) fn leave(&self, channel: &str) {
        let removed = self.counts.remove_if_mut(channel, |_, count| {
            count.subscribers -= 1;
            count.subscribers == 0
        });
        if removed.is_some() {
            self.channels.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes a subscription that is not counted.
    pub(super) fn note_uncounted(&self) {
        self.is_incomplete.store(true, Ordering::Relaxed);
        self.metrics.uncounted_subscription();
    }

    /// Counts one more channel. Returns whether there is space for it.
    fn reserve_channel(&self) -> bool {
        let one_more = |channels| (channels < MAX_CHANNELS).then_some(channels + 1);
        self.channels.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}
