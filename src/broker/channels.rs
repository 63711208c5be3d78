//! All channels of one app, shared by all threads. A channel exists while at least one connection is subscribed. The
//! last events of cache channels are kept in a [`Cache`].

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use dashmap::{DashMap, Entry};
use parking_lot::{Mutex, MutexGuard};

use super::cache::{Cache, Cached};
use super::channel::{Channel, ChannelFull, CountUpdate, Counts, Identity};
use super::channel_type::{Access, ChannelType};
use super::frame::{Event, Frame};
use super::mailbox::{Mailbox, wake_after};
use super::occurrence::SinkSlot;
use super::socket_id::SocketId;
use crate::clock::Moment;
use crate::metrics::{OpenGuard, RealtimeMetrics};
use crate::pusher::ErrorCode;

/// The number of shards of the map, each with its own lock.
const SHARDS: usize = 64;

/// The options of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelOptions {
    /// Whether subscribers receive their number.
    pub(super) sends_count: bool,
    /// How long the last event of a cache channel is kept.
    pub(super) cache_ttl: Duration,
    /// The largest number of cache channels whose last event is kept.
    pub(super) max_cached: usize,
}

/// The channels of one app.
#[derive(Debug)]
pub(super) struct Channels {
    channel_options: ChannelOptions,
    metrics: RealtimeMetrics,
    /// The channels with subscribers. An entry is locked while one event is put into the mailboxes of its channel,
    /// never across an await. Publishing, joining and leaving lock the entry exclusively (`get_mut` or `entry`): with a
    /// shared lock, two publishers could reach two subscribers in different orders, and a new subscriber of a cache
    /// channel could miss the event between the last one and its subscription, or receive it twice.
    occupied: DashMap<Arc<str>, Occupied>,
    /// The last events of cache channels. A lock: taken alone or while an entry of `occupied` is locked, never in
    /// the opposite order, and never held across an await.
    cache: Mutex<Cache>,
    /// Channels whose number of subscribers has to be sent later. A channel is in the list at most once for each time
    /// that it became occupied between two calls of [`Channels::send_deferred_counts`]. A lock: taken alone or
    /// while an entry of `occupied` is locked, never in the opposite order.
    stale: Mutex<Vec<Arc<str>>>,
    /// Is told what happens, while the entry of the channel is locked.
    pub(super) sink: SinkSlot,
}

#[derive(Debug)]
struct Occupied {
    channel: Channel,
    last_joined: Moment,
    _gauge: OpenGuard,
}

/// The subscriptions of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriptions {
    /// The number of subscribed connections; at least 1.
    pub count: usize,
    /// When the last of them subscribed.
    pub last_joined: Moment,
}

/// The present state of a channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// Whether any connection is subscribed.
    pub(super) occupied: bool,
    /// The numbers of subscriptions and users.
    pub(super) counts: Counts,
}

impl Channels {
    pub(super) fn new(channel_options: ChannelOptions, metrics: RealtimeMetrics) -> Self {
        Self {
            channel_options,
            metrics,
            occupied: DashMap::with_shard_amount(SHARDS),
            cache: Mutex::new(Cache::new(channel_options.max_cached)),
            stale: Mutex::default(),
            sink: SinkSlot::default(),
        }
    }

    /// Subscribes a connection that is not subscribed yet, and sends it the confirmation and, behind it, what `missed`
    /// returns, which is called with the channel locked.
    ///
    /// # Errors
    /// The presence channel is full.
    pub(super) fn join(
        &self,
        name: &Arc<str>,
        channel_type: ChannelType,
        mailbox: &Arc<Mailbox>,
        identity: Option<Identity>,
        now: Moment,
        missed: impl FnOnce() -> Vec<Frame>,
    ) -> Result<(), ChannelFull> {
        wake_after(|wakes| {
            let mut entry = self.occupied.entry(Arc::clone(name)).or_insert_with(|| Occupied {
                channel: Channel::new(Arc::clone(name), channel_type, self.channel_options.sends_count),
                last_joined: now,
                _gauge: self.metrics.channel(),
            });
            let last = if channel_type.cached { self.last_frame(name, now) } else { None };
            let (before, is_cache_miss) = (entry.channel.counts(), channel_type.cached && last.is_none());
            // A new channel is never full, so an error leaves no vacant channel behind.
            entry.channel.join(mailbox, identity, last, wakes)?;
            entry.last_joined = now;
            missed().into_iter().for_each(|frame| mailbox.push(frame, wakes));
            self.sink.get().joined(&entry.channel, mailbox.id(), before, is_cache_miss);
            if entry.channel.count_changed(now, wakes) == CountUpdate::Deferred {
                self.lock_stale().push(Arc::clone(name));
            }
            Ok(())
        })
    }

    /// Calls `with` with the channel locked, if this connection is subscribed to it.
    pub(super) fn with_subscriber(&self, name: &Arc<str>, id: SocketId, with: impl FnOnce()) {
        let occupied = self.occupied.get_mut(name);
        if occupied.as_ref().is_some_and(|occupied| occupied.channel.has(id)) {
            with();
        }
        drop(occupied);
    }

    /// Ends a subscription.
    pub(super) fn leave(&self, name: &Arc<str>, id: SocketId, now: Moment) {
        wake_after(|wakes| {
            let Entry::Occupied(mut entry) = self.occupied.entry(Arc::clone(name)) else { return };
            let channel = &mut entry.get_mut().channel;
            let (sink, before) = (self.sink.get(), channel.counts());
            let member = sink.member(channel, id);
            if !channel.leave(id, wakes) {
                return;
            }
            sink.left(channel, before, member.as_deref());
            if channel.is_vacant() {
                entry.remove();
            } else if channel.count_changed(now, wakes) == CountUpdate::Deferred {
                self.lock_stale().push(Arc::clone(name));
            }
        });
    }

    /// Sends an event of the backend to the subscribers of a channel except `except`, and caches it if the channel is a
    /// cache channel. `data` is the data of the event.
    pub(super) fn publish(
        &self,
        name: &str,
        channel_type: ChannelType,
        event: &Event,
        data: &Arc<str>,
        except: Option<SocketId>,
        now: Moment,
    ) {
        wake_after(|wakes| {
            if !channel_type.cached {
                if let Some(occupied) = self.occupied.get_mut(name) {
                    occupied.channel.publish(&event.on(name), except, wakes);
                }
                return;
            }
            // Locks a vacant entry as well: no connection joins between the fan-out and the change of the cache.
            let entry = self.occupied.entry(name.into());
            let frame = event.on(name);
            if let Entry::Occupied(occupied) = &entry {
                occupied.get().channel.publish(&frame, except, wakes);
            }
            let expires = now.after(self.channel_options.cache_ttl);
            self.cache.lock().put(name, Cached { frame, data: Arc::clone(data), expires });
        });
    }

    /// Sends an event of a client to the other subscribers of a channel. It is not cached.
    pub(super) fn relay(&self, name: &str, frame: &Frame, from: SocketId) {
        wake_after(|wakes| {
            if let Some(occupied) = self.occupied.get_mut(name) {
                occupied.channel.publish(frame, Some(from), wakes);
                self.sink.get().sent(&occupied.channel, frame, from);
            }
        });
    }

    /// Ends all connections that are subscribed to a channel.
    pub(super) fn end_subscribers(&self, name: &str, code: ErrorCode) {
        wake_after(|wakes| {
            if let Some(occupied) = self.occupied.get(name) {
                occupied.channel.mailboxes().for_each(|mailbox| mailbox.end(code, wakes));
            }
        });
    }

    /// The present state of a channel.
    pub(super) fn snapshot(&self, name: &str) -> Snapshot {
        match self.occupied.get(name) {
            Some(occupied) => Snapshot { occupied: true, counts: occupied.channel.counts() },
            None => Snapshot::default(),
        }
    }

    /// The subscriptions of a channel; `None`: there are none.
    pub(super) fn subscriptions(&self, name: &str) -> Option<Subscriptions> {
        self.occupied.get(name).map(|occupied| Subscriptions {
            count: occupied.channel.counts().subscriptions,
            last_joined: occupied.last_joined,
        })
    }

    /// The last event of a cache channel, and the time until it expires.
    pub(super) fn cached(&self, name: &str, now: Moment) -> Option<(Arc<str>, Duration)> {
        self.cache.lock().get(name, now).map(|cached| (Arc::clone(&cached.data), cached.remaining(now)))
    }

    /// The ids of a presence channel's members.
    pub(super) fn users(&self, name: &str) -> Vec<Arc<str>> {
        self.occupied.get(name).map(|occupied| occupied.channel.users().cloned().collect()).unwrap_or_default()
    }

    /// The occupied channels whose names begin with `prefix`, without the internal channels of users.
    pub(super) fn list(&self, prefix: &str) -> Vec<(Arc<str>, Counts)> {
        // Locks one shard at a time, shared.
        let listed = self.occupied.iter().filter(|occupied| {
            occupied.channel.channel_type().access != Access::User && occupied.channel.name().starts_with(prefix)
        });
        listed.map(|occupied| (Arc::clone(occupied.channel.name()), occupied.channel.counts())).collect()
    }

    /// Sends the deferred numbers of subscribers. Has to be called about once a second.
    pub(super) fn send_deferred_counts(&self, now: Moment) {
        let stale = std::mem::take(&mut *self.lock_stale());
        for name in stale {
            wake_after(|wakes| {
                let Some(mut occupied) = self.occupied.get_mut(&name) else { return };
                if occupied.channel.send_deferred_count(now, wakes) == CountUpdate::Deferred {
                    self.lock_stale().push(name);
                }
            });
        }
    }

    /// Removes the expired last events.
    pub(super) fn sweep(&self, now: Moment) {
        self.cache.lock().sweep(now);
    }

    fn last_frame(&self, name: &str, now: Moment) -> Option<Frame> {
        self.cache.lock().get(name, now).map(|cached| cached.frame.clone())
    }

    /// Locks `stale`: alone, or while an entry of `occupied` is locked.
    fn lock_stale(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.stale.lock()
    }
}
