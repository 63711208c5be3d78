//! The subscriptions of relayed connections: how many each channel has, and when the last one joined. Bounded, and gone
//! with the connections.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::Subscribers;
use crate::clock::Moment;
use crate::metrics::{Metrics, OpenGuard};

/// Locks of their own.
const SHARDS: usize = 16;

/// Channels of one shard whose subscribers are counted: 131,072 of an app, about.
const CHANNELS_OF_SHARD: usize = 8192;

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
    hasher: RandomState,
    /// Std locks: held for one look-up, never across an await.
    shards: Box<[Mutex<Shard>]>,
    /// Channels in all shards. It changes while the shard is locked, before a channel comes and after one has gone:
    /// where it is 0, there was none at that moment, and none need be looked for.
    channels: AtomicUsize,
    /// Whether a client of the app has ever come through usher: before that, an empty channel says nothing.
    visited: AtomicBool,
    /// Whether a subscription was left out at a bound: since then, a channel that is not here may have subscribers.
    full: AtomicBool,
}

/// Channels with subscribers.
type Shard = HashTable<SubscriptionCount>;

/// One channel with subscribers.
#[derive(Debug)]
struct SubscriptionCount {
    channel: Box<str>,
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
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            channels: AtomicUsize::new(0),
            visited: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Who hears `channel`, as far as that is known.
    pub(super) fn of(&self, channel: &str) -> Option<Subscribers> {
        if self.channels.load(Ordering::Relaxed) > 0
            && let Some(heard) = self.seated(channel)
        {
            return Some(heard);
        }
        let knows_all = self.visited.load(Ordering::Relaxed) && !self.full.load(Ordering::Relaxed);
        knows_all.then_some(Subscribers::NONE)
    }

    fn seated(&self, channel: &str) -> Option<Subscribers> {
        let (hash, shard) = self.shard(channel);
        let count = shard.find(hash, |count| *count.channel == *channel)?;
        Some(Subscribers { subscribers: count.subscribers, last_joined: Some(count.last_joined) })
    }

    /// A client comes through usher.
    pub(super) fn visit(&self) {
        self.visited.store(true, Ordering::Relaxed);
    }

    /// A client is subscribed to `channel` until the guard is dropped, and [`SubscriptionCounts::leave`] called. `None`: there is no
    /// place for it to be counted.
    pub(super) fn join(&self, channel: &str, now: Moment) -> Option<OpenGuard> {
        let (hash, mut shard) = self.shard(channel);
        if let Some(count) = shard.find_mut(hash, |count| *count.channel == *channel) {
            count.subscribers += 1;
            count.last_joined = now;
        } else if shard.len() < CHANNELS_OF_SHARD {
            self.channels.fetch_add(1, Ordering::Relaxed);
            let count = SubscriptionCount { channel: channel.into(), subscribers: 1, last_joined: now };
            shard.insert_unique(hash, count, |count| self.hasher.hash_one(&*count.channel));
        } else {
            drop(shard);
            self.leave_out();
            return None;
        }
        drop(shard);
        Some(self.metrics.relayed_subscription())
    }

    /// A client that had joined is out of `channel`.
    pub(super) fn leave(&self, channel: &str) {
        let (hash, mut shard) = self.shard(channel);
        if let Ok(mut found) = shard.find_entry(hash, |count| *count.channel == *channel) {
            found.get_mut().subscribers -= 1;
            if found.get().subscribers == 0 {
                found.remove();
                self.channels.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// A subscription is not counted.
    pub(super) fn leave_out(&self) {
        self.full.store(true, Ordering::Relaxed);
        self.metrics.uncounted_subscription();
    }

    /// The hash of `channel`, and the shard that it is in, locked.
    fn shard(&self, channel: &str) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(channel);
        // The table goes by the highest and the lowest bits. Nothing here is left half done when a thread panics.
        let shard = self.shards[(hash >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        (hash, shard)
    }
}
