//! What comes, before there is a rule for it: the families of events and channels, how often an event says the same as
//! the one before on its channel, and which rules that suggests. [`Table`] is pure, so that it is the same for a running
//! usher and for a recording; [`Discovery`] feeds one with samples within bounds of time and memory.
//!
//! Channels are sampled, not events: of a channel that is followed, every event is seen, so that each can be compared
//! with the one before. Of the data, hashes with a random key are kept, and what each value looks like.

mod judgement;
mod leaves;
mod names;
mod report;
mod sample;
mod shape;
mod statistics;
mod table;
#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Moment;

pub use judgement::{Ignored, Judgement, Nothing, Proposal, Reasoned, Saved, Step, judge};
pub use report::{ChangeReport, Discovered, FamilyReport, PointerReport};
pub use table::{Data, Sighting, Table};

/// The most events that are looked at in a second, for each worker.
const EVENTS_PER_WORKER: u32 = 200;

/// The most time that they may take in a second, for each worker: a hundredth. Without optimisation it is more, for a
/// test to see what it sends.
const TIME_PER_WORKER: Duration = Duration::from_millis(if cfg!(debug_assertions) { 200 } else { 10 });

/// The level of a discovery that is off.
const OFF: u32 = u32::MAX;

/// How long it has to be quiet before more channels are followed, in milliseconds.
const QUIET: u64 = 60_000;

const SECOND: u64 = 1_000;

/// The samples of a running usher. Off unless it is switched on.
pub struct Discovery {
    /// One channel in `1 << level` is followed, or [`OFF`].
    level: AtomicU32,
    /// Nothing is looked at before this moment, in milliseconds: the second has had its share.
    closed_until: AtomicU64,
    /// Whether an event was left out for that reason.
    has_missed: AtomicBool,
    workers: AtomicU32,
    keys: RandomState,
    /// A lock: held while one event is taken in or the table is copied; never across an await.
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// The present second, and what was looked at in it.
    second: u64,
    seen: u32,
    spent: Duration,
    /// Since when no second had more than a quarter of its share.
    quiet_since: u64,
    /// The last second that had its share.
    raised_in: u64,
}

impl Default for Discovery {
    fn default() -> Self {
        let table = Table::default();
        let keys = table.keys();
        let state = State { table, second: 0, seen: 0, spent: Duration::ZERO, quiet_since: 0, raised_in: u64::MAX };
        Self {
            level: AtomicU32::new(OFF),
            closed_until: AtomicU64::new(0),
            has_missed: AtomicBool::new(false),
            workers: AtomicU32::new(1),
            keys,
            state: Mutex::new(state),
        }
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Discovery {
    /// Switches it on, for so many workers.
    pub fn switch_on(&self, workers: usize) {
        self.workers.store(u32::try_from(workers).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        let state = self.state.lock();
        self.level.store(state.table.level(), Ordering::Relaxed);
    }

    /// Switches it off. What it has seen stays; events that come meanwhile are missed.
    pub fn switch_off(&self) {
        let mut state = self.state.lock();
        state.table.miss();
        self.level.store(OFF, Ordering::Relaxed);
    }

    /// Whether it is on: one relaxed load.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.level.load(Ordering::Relaxed) != OFF
    }

    /// Whether an event on this channel is to be given to [`Discovery::see`].
    #[must_use]
    pub fn follows(&self, app: &str, channel: &str, now: Moment) -> bool {
        let level = self.level.load(Ordering::Relaxed);
        if level == OFF || level > 0 && !table::is_followed(table::channel_hash(&self.keys, app, channel), level) {
            return false;
        }
        if now.as_millis() < self.closed_until.load(Ordering::Relaxed) {
            self.has_missed.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Takes in an event on some channels, each of which [`Discovery::follows`].
    pub fn see<'a>(&self, data: &str, sightings: impl Iterator<Item = Sighting<'a>>, now: Moment) {
        let began = Instant::now();
        let data = (data.len() <= table::MAX_DATA).then(|| table::read(data, &self.keys));
        let read = began.elapsed();
        let mut state = self.state.lock();
        let began = Instant::now();
        if self.has_missed.swap(false, Ordering::Relaxed) {
            state.table.miss();
        }
        let workers = self.workers.load(Ordering::Relaxed);
        state.begin(now, workers);
        for sighting in sightings {
            state.seen += 1;
            match &data {
                Some(data) => state.table.see(sighting, data),
                None => state.table.too_long(),
            }
        }
        state.spent += read + began.elapsed();
        if let Some(until) = state.account(now, workers) {
            self.closed_until.store(until, Ordering::Relaxed);
        }
        if self.is_on() {
            self.level.store(state.table.level(), Ordering::Relaxed);
        }
    }

    /// Everything so far.
    #[must_use]
    pub fn report(&self) -> Discovered {
        self.state.lock().table.report()
    }

    /// How many bytes it takes, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.state.lock().table.size()
    }
}

impl State {
    /// Begins a new second if it is time.
    fn begin(&mut self, now: Moment, workers: u32) {
        let millis = now.as_millis();
        let second = millis / SECOND;
        if second == self.second {
            return;
        }
        self.second = second;
        let (seen, spent) = (std::mem::take(&mut self.seen), std::mem::take(&mut self.spent));
        if seen > EVENTS_PER_WORKER.saturating_mul(workers) / 4 || spent > TIME_PER_WORKER * workers / 4 {
            self.quiet_since = millis;
        } else if millis.saturating_sub(self.quiet_since) > QUIET {
            self.quiet_since = millis;
            self.table.lower();
        }
    }

    /// If the present second has had its share, fewer channels are followed from now on, and nothing is looked at until
    /// the moment that is returned.
    fn account(&mut self, now: Moment, workers: u32) -> Option<u64> {
        if self.seen < EVENTS_PER_WORKER.saturating_mul(workers) && self.spent < TIME_PER_WORKER * workers {
            return None;
        }
        self.quiet_since = now.as_millis();
        // Several workers may be beyond the share of the same second.
        if self.raised_in != self.second {
            self.raised_in = self.second;
            self.table.raise();
        }
        Some((self.second + 1) * SECOND)
    }
}
