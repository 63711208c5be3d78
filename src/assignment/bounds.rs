//! The bounds of the memory, and the state that all memories share: clock, bounds and counts for the operator.

use std::sync::Arc;
use std::time::Duration;

use super::machine;
use super::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::clock::{Clock, Moment};

/// The bounds of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Channels remembered per rule. A reload may change it.
    pub max_channels: usize,
    /// The largest number of requests that wait for one channel.
    pub max_waiters_per_channel: usize,
    /// The largest number of requests that wait in total.
    pub max_waiters: usize,
    /// How long a channel stays in doubt after an ambiguous outcome.
    pub doubt_period: Duration,
    /// How long everything is in doubt after a start, since upstream may still apply requests of a previous process;
    /// zero: not at all.
    pub start_doubt: Duration,
}

/// The number of entries forgotten without the operator's request, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evictions {
    /// To make space at [`Bounds::max_channels`].
    pub capacity: u64,
    /// Because no claim named the channel for the rule's `remember_for`.
    pub idle: u64,
}

/// The state that all memories share.
#[derive(Debug)]
pub(super) struct MemoryContext {
    pub(super) clock: Clock,
    pub(super) bounds: Arc<Bounds>,
    /// [`Bounds::max_channels`], or what a reload has set since.
    max_channels: AtomicUsize,
    /// The end of the doubt about requests of a previous process, in milliseconds of the clock; `u64::MAX`
    /// while it is not known.
    start_doubt_until: AtomicU64,
    waiting: AtomicUsize,
    evicted_for_capacity: AtomicU64,
    evicted_idle: AtomicU64,
}

impl MemoryContext {
    pub(super) fn new(clock: Clock, bounds: Arc<Bounds>) -> Arc<Self> {
        let start_doubt_until = AtomicU64::new(end_of_start_doubt(clock.beginning(), &bounds).as_millis());
        Arc::new(Self {
            clock,
            start_doubt_until,
            max_channels: AtomicUsize::new(bounds.max_channels),
            bounds,
            waiting: AtomicUsize::new(0),
            evicted_for_capacity: AtomicU64::new(0),
            evicted_idle: AtomicU64::new(0),
        })
    }

    // Relaxed throughout: these numbers are independent, and nothing else is published through them.

    /// The end of the doubt about requests of a previous process; a past moment if there is none.
    pub(super) fn end_of_start_doubt(&self) -> Moment {
        Moment::from_millis(self.start_doubt_until.load(Ordering::Relaxed))
    }

    /// The doubt has no end until [`Self::count_start_doubt`]. Called before anything is claimed.
    pub(super) fn hold_start_doubt(&self) {
        self.start_doubt_until.store(u64::MAX, Ordering::Relaxed);
    }

    /// The doubt ends [`Bounds::start_doubt`] from now: it was held until now, so that it never becomes shorter than it
    /// was for a claim.
    pub(super) fn count_start_doubt(&self) {
        let end = end_of_start_doubt(self.clock.now(), &self.bounds);
        self.start_doubt_until.store(end.as_millis(), Ordering::Relaxed);
    }

    /// The largest number of channels of one rule.
    pub(super) fn max_channels(&self) -> usize {
        self.max_channels.load(Ordering::Relaxed)
    }

    /// Changes that number for memories that are made or configured from now on.
    pub(super) fn set_max_channels(&self, max_channels: usize) {
        self.max_channels.store(max_channels, Ordering::Relaxed);
    }

    /// Counts one more waiting request; `None` if [`Bounds::max_waiters`] wait already.
    pub(super) fn wait(self: &Arc<Self>) -> Option<WaiterPermit> {
        let max = self.bounds.max_waiters;
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| (waiting < max).then(|| waiting + 1))
            .ok()?;
        Some(WaiterPermit(Arc::clone(self)))
    }

    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Counts entries forgotten to make space.
    pub(super) fn evicted_for_capacity(&self, entries: usize) {
        self.evicted_for_capacity.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Counts entries forgotten because they were idle.
    pub(super) fn evicted_idle(&self, entries: usize) {
        self.evicted_idle.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// The evictions so far.
    pub(super) fn evictions(&self) -> Evictions {
        Evictions {
            capacity: self.evicted_for_capacity.load(Ordering::Relaxed),
            idle: self.evicted_idle.load(Ordering::Relaxed),
        }
    }
}

/// The end of a doubt about a previous process that counts from `from`.
fn end_of_start_doubt(from: Moment, bounds: &Bounds) -> Moment {
    if bounds.start_doubt.is_zero() { from } else { machine::until(from, bounds.start_doubt) }
}

/// Counts one request as waiting until it is dropped.
#[derive(Debug)]
pub(super) struct WaiterPermit(Arc<MemoryContext>);

impl Drop for WaiterPermit {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
