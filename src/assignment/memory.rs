//! The memory of one rule of one app: which assignment every channel is known to show.
//!
//! The shards are our own, mutexes over `hashbrown::HashTable`, and no `DashMap`. To make room, one shard has to be
//! walked under its lock, with a pause that does not grow with the memory; a million entries have to be small, and a
//! table of 24-byte slots that is never larger than its cap needs is; and the locks have to be shuttle's when it
//! explores the schedules (`schedules.rs`). The hash is std's, keyed at random: channel names come from outside
//! (threats.md DOS-05).

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::dash::Channels;
use super::machine::TicketId;
use super::shard::{Answer, ClaimRequest, Shard, ShardOptions, Woken};
use super::sync::atomic::{AtomicU64, Ordering};
use super::sync::{Mutex, MutexGuard, lock};
use super::{AppMemory, Assignment, Claim, ClaimMode, Outcome, Reservation, Value, Waiter};
use crate::clock::Moment;

/// A memory of so few channels needs one shard only.
const SMALL: usize = 1_024;

/// What a table of 512, 1,024, 2,048 or 4,096 buckets holds (seven eighths). A shard whose cap is one of these, or a
/// little less, fills its table; were it a little more, half of the buckets would stay empty for ever. The last one
/// also bounds the pause of a walk.
const FULL_TABLES: [usize; 4] = [448, 896, 1_792, 3_584];

/// Shards that a memory should have at least, if its tables do not become too small for it.
const ENOUGH_SHARDS: usize = 64;

/// One remembered channel, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The channel.
    pub channel: String,
    /// What it is known to show; `None`: unknown, in flight or in doubt.
    pub known: Option<Assignment>,
    /// When the present assignment became known.
    pub since: Option<Moment>,
    /// When a claim last named the channel.
    pub last_seen: Moment,
    /// Announcements forwarded and accepted.
    pub announced: u32,
    /// Announcements found redundant.
    pub suppressed: u32,
    /// Tickets in flight.
    pub in_flight: usize,
    /// Whether the channel is in doubt.
    pub in_doubt: bool,
}

/// The memory of one rule of one app.
pub struct RuleMemory {
    app: Arc<AppMemory>,
    hasher: RandomState,
    /// A std mutex each: held for well under a microsecond (a walk to make room or to sweep: tens of them), never over
    /// an `.await`.
    shards: Box<[Mutex<Shard>]>,
    /// Most entries of one shard.
    cap: usize,
    /// The alternative.
    dash: Option<Channels>,
    /// Milliseconds. Changes when the configuration does.
    remember_for: AtomicU64,
}

impl RuleMemory {
    /// An empty memory for one rule of `app`.
    #[must_use]
    pub fn new(app: Arc<AppMemory>, remember_for: Duration) -> Arc<Self> {
        Self::of(app, remember_for, cfg!(test))
    }

    /// The same on `DashMap`, or not.
    #[must_use]
    pub fn of(app: Arc<AppMemory>, remember_for: Duration, dash: bool) -> Arc<Self> {
        let (shards, cap) = layout(app.census().bounds.max_channels);
        let dash = dash.then(|| Channels::new(shards, cap));
        let shards =
            std::iter::repeat_with(|| Mutex::new(Shard::default())).take(if dash.is_some() { 0 } else { shards }).collect();
        Arc::new(Self {
            app,
            hasher: RandomState::new(),
            shards,
            cap,
            dash,
            remember_for: AtomicU64::new(millis(remember_for)),
        })
    }

    /// Claims `channel` for `value`. `Value::Opaque` and `Value::Last` are always reserved (or `Full`).
    pub fn claim(self: &Arc<Self>, channel: &str, value: &Value, mode: ClaimMode, now: Moment) -> Claim {
        let hash = self.hasher.hash_one(channel);
        let request = ClaimRequest { hash, channel, value, mode, now };
        let answer = match &self.dash {
            Some(channels) => channels.claim(request, &self.options()),
            None => self.shard(hash).claim(request, &self.options()),
        };
        match answer {
            Answer::Redundant { since } => Claim::Redundant { since },
            Answer::InFlight(settled, place) => Claim::InFlight(Waiter::new(settled, place)),
            Answer::Reserved { ticket, before, redundant, since } => Claim::Reserved {
                reservation: Reservation::new(Arc::clone(self), hash, ticket),
                before,
                redundant,
                since,
            },
            Answer::Full => Claim::Full,
        }
    }

    /// Forgets one channel; a ticket in flight on it will commit nothing. Returns whether anything was remembered.
    pub fn forget(&self, channel: &str) -> bool {
        let hash = self.hasher.hash_one(channel);
        let (was_there, woken) = match &self.dash {
            Some(channels) => channels.forget(hash, channel, self.now()),
            None => self.shard(hash).forget(hash, channel, self.now()),
        };
        wake(woken);
        was_there
    }

    /// Drops entries that were not seen for `remember_for`. Called now and then by a task of the server.
    /// One shard at a time, so that no claim waits for more than one of them.
    pub fn sweep(&self, now: Moment) {
        let remember_for = self.remember_for();
        if let Some(channels) = &self.dash {
            self.app.census().evicted_idle(channels.sweep(now, remember_for));
        }
        for shard in &self.shards {
            let idle = lock(shard).sweep(now, remember_for);
            self.app.census().evicted_idle(idle);
        }
    }

    /// Number of channels held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dash.as_ref().map_or(0, Channels::len) + self.shards.iter().map(|shard| lock(shard).len()).sum::<usize>()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` entries whose channel begins with `prefix`, sorted by channel. Which ones, if there are more, is
    /// not defined.
    #[must_use]
    pub fn entries(&self, prefix: &str, limit: usize) -> Vec<Entry> {
        let now = self.now();
        let options = self.options();
        let mut entries = Vec::new();
        if let Some(channels) = &self.dash {
            entries = channels.entries(prefix, limit, now, &options);
        }
        for shard in &self.shards {
            if entries.len() == limit {
                break;
            }
            entries.extend(lock(shard).entries(prefix, limit - entries.len(), now, &options));
        }
        entries.sort_unstable_by(|one: &Entry, other| one.channel.cmp(&other.channel));
        entries
    }

    /// The app whose rule it is.
    #[must_use]
    pub const fn app(&self) -> &Arc<AppMemory> {
        &self.app
    }

    /// How long a channel that nobody names is remembered.
    #[must_use]
    pub fn remember_for(&self) -> Duration {
        // Relaxed: the number stands for itself.
        Duration::from_millis(self.remember_for.load(Ordering::Relaxed))
    }

    /// Changes how long a channel that nobody names is remembered, for those remembered already, too.
    pub(super) fn set_remember_for(&self, remember_for: Duration) {
        self.remember_for.store(millis(remember_for), Ordering::Relaxed);
    }

    /// Settles the ticket of a reservation.
    pub(super) fn settle(&self, hash: u64, ticket: TicketId, outcome: Outcome) {
        let doubt_period = self.app.census().bounds.doubt_period;
        let woken = match &self.dash {
            Some(channels) => channels.settle(hash, ticket, outcome, self.now(), doubt_period),
            None => self.shard(hash).settle(hash, ticket, outcome, self.now(), doubt_period),
        };
        wake(woken);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard_of(hash, self.shards.len())])
    }

    fn options(&self) -> ShardOptions<'_> {
        ShardOptions { app: &self.app, hasher: &self.hasher, remember_for: self.remember_for(), cap: self.cap }
    }

    fn now(&self) -> Moment {
        self.app.census().clock.now()
    }
}

impl fmt::Debug for RuleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the channels: there may be a million, and a reservation would print them all.
        f.debug_struct("RuleMemory").field("shards", &self.shards.len()).field("cap", &self.cap).finish_non_exhaustive()
    }
}

/// How many shards, and how many entries each: never more than `max_channels` together.
fn layout(max_channels: usize) -> (usize, usize) {
    if max_channels <= SMALL {
        return (1, max_channels);
    }
    let [smallest, ..] = FULL_TABLES;
    let table = FULL_TABLES.into_iter().rev().find(|table| max_channels / table >= ENOUGH_SHARDS).unwrap_or(smallest);
    let shards = max_channels.div_ceil(table);
    (shards, max_channels / shards)
}

/// The shard of a name with this hash: 32 bits from the middle, scaled. The lowest bits choose the bucket within the
/// table and the highest seven are its tag there, so both should differ among the names of one shard.
pub(super) fn shard_of(hash: u64, shards: usize) -> usize {
    let middle = u128::from((hash >> 24) & 0xffff_ffff);
    usize::try_from((middle * shards as u128) >> 32).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells those who wait. Called with no lock held: it may run a waker.
fn wake(woken: Woken) {
    for waiter in woken {
        // An error says that it has given up.
        let (Ok(()) | Err(())) = waiter.send(());
    }
}
