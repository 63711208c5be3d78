//! All channels of one app, shared by all threads: plain mutexes over shards of them. A channel exists while somebody
//! is subscribed; its last event, if it is a cache channel, is kept beside it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cache::{Cache, Cached};
use super::channel::{Channel, CountNews, Counts, Full, Identity};
use super::frame::{Event, Frame};
use super::kind::{Access, Kind};
use super::mailbox::{Mailbox, wake_after};
use super::socket_id::SocketId;
use crate::clock::Moment;
use crate::metrics::{OpenGuard, RealtimeMetrics};
use crate::pusher::ErrorCode;

/// Locks of their own; a power of two is not needed.
const SHARDS: usize = 64;

/// What channels are like.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelOptions {
    /// Whether the number of subscribers is told to them.
    pub(super) tells_count: bool,
    /// How long the last event of a cache channel is kept.
    pub(super) cache_ttl: Duration,
    /// Most cache channels whose last event is kept.
    pub(super) max_cached: usize,
}

/// The channels of one app.
#[derive(Debug)]
pub(super) struct Channels {
    channel_options: ChannelOptions,
    metrics: RealtimeMetrics,
    hasher: RandomState,
    /// Std locks: held while one event is handed to the mailboxes of one channel, never across an await.
    shards: Box<[Mutex<Shard>]>,
    /// Channels whose number of subscribers has to be told later. Each is in here at most once for each time that it
    /// was occupied between two calls of [`Channels::tell_counts`].
    stale: Mutex<Vec<Arc<str>>>,
}

#[derive(Debug)]
struct Shard {
    occupied: HashMap<Arc<str>, Occupied>,
    cache: Cache,
}

#[derive(Debug)]
struct Occupied {
    channel: Channel,
    last_joined: Moment,
    _gauge: OpenGuard,
}

/// What a channel is at present.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// Whether anybody is subscribed.
    pub(super) occupied: bool,
    /// How many.
    pub(super) counts: Counts,
}

impl Channels {
    pub(super) fn new(channel_options: ChannelOptions, metrics: RealtimeMetrics) -> Self {
        let shard =
            || Mutex::new(Shard { occupied: HashMap::new(), cache: Cache::new(channel_options.max_cached / SHARDS) });
        Self {
            channel_options,
            metrics,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            stale: Mutex::default(),
        }
    }

    /// Subscribes a connection that is not subscribed yet. It gets everything it has to know.
    ///
    /// # Errors
    /// If the presence channel is full.
    pub(super) fn join(
        &self,
        name: &Arc<str>,
        kind: Kind,
        mailbox: &Arc<Mailbox>,
        identity: Option<Identity>,
        now: Moment,
    ) -> Result<(), Full> {
        wake_after(|wakes| {
            let mut shard = self.shard(name);
            let Shard { occupied, cache } = &mut *shard;
            let last = kind.cached.then(|| cache.get(name, now).map(|cached| cached.frame.clone())).flatten();
            let entry = occupied.entry(Arc::clone(name)).or_insert_with(|| Occupied {
                channel: Channel::new(Arc::clone(name), kind, self.channel_options.tells_count),
                last_joined: now,
                _gauge: self.metrics.channel(),
            });
            // A channel that was just made has room, so a refusal leaves no vacant channel behind.
            entry.channel.join(mailbox, identity, last, wakes)?;
            entry.last_joined = now;
            if entry.channel.count_changed(now, wakes) == CountNews::Later {
                self.lock_stale().push(Arc::clone(name));
            }
            Ok(())
        })
    }

    /// Ends a subscription.
    pub(super) fn leave(&self, name: &Arc<str>, id: SocketId, now: Moment) {
        wake_after(|wakes| {
            let mut shard = self.shard(name);
            let Some(Occupied { channel, .. }) = shard.occupied.get_mut(name) else { return };
            if !channel.leave(id, wakes) {
                return;
            }
            if channel.is_vacant() {
                shard.occupied.remove(name);
            } else if channel.count_changed(now, wakes) == CountNews::Later {
                self.lock_stale().push(Arc::clone(name));
            }
        });
    }

    /// Hands an event of the backend to the subscribers of a channel but `except`, and keeps it if it is a cache
    /// channel. `data` is the event's.
    pub(super) fn publish(
        &self,
        name: &str,
        kind: Kind,
        event: &Event,
        data: &Arc<str>,
        except: Option<SocketId>,
        now: Moment,
    ) {
        wake_after(|wakes| {
            let mut shard = self.shard(name);
            let subscribed = shard.occupied.get(name);
            if subscribed.is_none() && !kind.cached {
                return;
            }
            let frame = event.on(name);
            if let Some(Occupied { channel, .. }) = subscribed {
                channel.publish(&frame, except, wakes);
            }
            if kind.cached {
                shard.cache.put(
                    name,
                    Cached { frame, data: Arc::clone(data), expires: now.after(self.channel_options.cache_ttl) },
                );
            }
        });
    }

    /// Hands an event of a client to the other subscribers of a channel. It is not kept.
    pub(super) fn relay(&self, name: &str, frame: &Frame, from: SocketId) {
        wake_after(|wakes| {
            if let Some(Occupied { channel, .. }) = self.shard(name).occupied.get(name) {
                channel.publish(frame, Some(from), wakes);
            }
        });
    }

    /// Ends all connections that are subscribed to a channel.
    pub(super) fn end_subscribers(&self, name: &str, code: ErrorCode) {
        wake_after(|wakes| {
            if let Some(Occupied { channel, .. }) = self.shard(name).occupied.get(name) {
                channel.mailboxes().for_each(|mailbox| mailbox.end(code, wakes));
            }
        });
    }

    /// What a channel is at present.
    pub(super) fn snapshot(&self, name: &str) -> Snapshot {
        match self.shard(name).occupied.get(name) {
            Some(Occupied { channel, .. }) => Snapshot { occupied: true, counts: channel.counts() },
            None => Snapshot::default(),
        }
    }

    /// How many are subscribed to a channel, and when the last of them joined; `None`: nobody is.
    pub(super) fn heard(&self, name: &str) -> Option<(usize, Moment)> {
        self.shard(name)
            .occupied
            .get(name)
            .map(|occupied| (occupied.channel.counts().subscriptions, occupied.last_joined))
    }

    /// The last event of a cache channel and how long it is still kept.
    pub(super) fn cached(&self, name: &str, now: Moment) -> Option<(Arc<str>, Duration)> {
        self.shard(name).cache.get(name, now).map(|cached| (Arc::clone(&cached.data), cached.remaining(now)))
    }

    /// The ids of a presence channel's members.
    pub(super) fn users(&self, name: &str) -> Vec<Arc<str>> {
        self.shard(name)
            .occupied
            .get(name)
            .map(|Occupied { channel, .. }| channel.users().cloned().collect())
            .unwrap_or_default()
    }

    /// The occupied channels whose names begin with `prefix`, but for those of users, which are the server's own.
    pub(super) fn list(&self, prefix: &str) -> Vec<(Arc<str>, Counts)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let listed = shard.occupied.values().map(|Occupied { channel, .. }| channel);
            let listed =
                listed.filter(|channel| channel.kind().access != Access::User && channel.name().starts_with(prefix));
            found.extend(listed.map(|channel| (Arc::clone(channel.name()), channel.counts())));
        }
        found
    }

    /// Tells the numbers of subscribers that were put off. To be called about once a second.
    pub(super) fn tell_counts(&self, now: Moment) {
        let stale = std::mem::take(&mut *self.lock_stale());
        for name in stale {
            wake_after(|wakes| {
                let mut shard = self.shard(&name);
                let Some(Occupied { channel, .. }) = shard.occupied.get_mut(&name) else { return };
                if channel.tell_count(now, wakes) == CountNews::Later {
                    self.lock_stale().push(name);
                }
            });
        }
    }

    /// Forgets last events whose time is over.
    pub(super) fn sweep(&self, now: Moment) {
        for shard in &self.shards {
            lock(shard).cache.sweep(now);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(name) as usize % SHARDS])
    }

    /// Only ever taken inside a shard's lock or alone.
    fn lock_stale(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        lock(&self.stale)
    }
}

/// Nothing here is left half done when a thread panics, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
