//! The state shared by all rules of one app: the epoch, whose change forgets all channels at once, and the requests in
//! flight that may touch any channel.

use std::sync::Arc;
use std::time::Duration;

use super::Outcome;
use super::bounds::{Bounds, MemoryContext};
use super::machine;
use super::snapshot::{AppSnapshot, Epoch};
use super::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::clock::{Clock, Moment};

/// The state shared by all rules of one app: the epoch, whose change forgets all channels at once, and the requests in
/// flight that may touch any channel.
///
/// A request that may touch any channel has the effect of a ticket with an opaque value on each of them, without
/// iterating over the map. Three numbers achieve this:
///
/// - its claim raises `in_flight`, then begins an epoch;
/// - its end, if ambiguous, puts the app in doubt, then lowers `in_flight`;
/// - every claim on a channel reads epoch, then `in_flight`, then the doubt, in this order and under the channel's
///   lock. Its ticket remembers the epoch, and what it commits is known in that epoch only.
///
/// Why a ticket T never misses such a request W that overlaps with it. If W's epoch began after T read the epoch, then
/// what T commits belongs to a past epoch. If it began before, T saw it (`Acquire` on the epoch, `Release` by W), so it
/// also sees W's `in_flight`, which was raised before: either it counts W, and T never commits, or W has ended already.
/// In the latter case T's `Acquire` of `in_flight` pairs with W's `Release` when it lowered it (later raises and
/// lowerings are read-modify-writes and continue its release sequence), so T sees the doubt that W left, and never
/// commits if it lasts.
#[derive(Debug)]
pub struct AppMemory {
    context: Arc<MemoryContext>,
    epoch: AtomicU64,
    in_flight: AtomicUsize,
    /// Milliseconds of the clock.
    doubt_until: AtomicU64,
    /// Whether the memory continues that of the process before: then the doubt of the start is not about this app.
    continues: AtomicBool,
}

impl AppMemory {
    /// An empty memory for one app.
    #[must_use]
    pub fn new(clock: Clock, bounds: Arc<Bounds>) -> Arc<Self> {
        Self::within(MemoryContext::new(clock, bounds))
    }

    /// An empty memory for one app that shares bounds and counts with other apps.
    ///
    /// It is in doubt until [`Bounds::start_doubt`] after the start of the process: requests of a process before this
    /// one may still be applied.
    pub(super) fn within(context: Arc<MemoryContext>) -> Arc<Self> {
        Arc::new(Self {
            context,
            epoch: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            doubt_until: AtomicU64::new(0),
            continues: AtomicBool::new(false),
        })
    }

    /// Forgets every channel of the app and holds them all unknown until the reservation is settled.
    pub fn claim_all(self: &Arc<Self>) -> WideReservation {
        self.count_wide(1);
        // Release: a thread that sees the new epoch sees this request in flight, too.
        self.epoch.fetch_add(1, Ordering::Release);
        WideReservation { app: Arc::clone(self), outcome: Outcome::Ambiguous }
    }

    /// Puts the whole app in doubt, as after an ambiguous outcome: used when rules change, for requests that have ended
    /// under the previous rules and may still be applied.
    pub fn doubt(&self, now: Moment) {
        self.extend_doubt(now);
        // Release: a thread that sees the new epoch sees the doubt, too. What is known now, and what tickets in flight
        // will commit, belongs to the old one.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Whether a request that may touch any channel may still be applied.
    #[must_use]
    pub fn in_doubt(&self, now: Moment) -> bool {
        now < self.own_doubt_until() || now < self.start_doubt_until()
    }

    /// Whether the start of the process is the reason for the doubt: no other one lasts longer.
    #[must_use]
    pub fn in_start_doubt(&self, now: Moment) -> bool {
        let end = self.start_doubt_until();
        now < end && self.own_doubt_until() <= end
    }

    /// What is left of all doubts about the app.
    pub(super) fn doubt_left(&self, now: Moment) -> Duration {
        self.own_doubt_until().max(self.start_doubt_until()).since(now)
    }

    /// The doubt lasts for `left` more at least.
    pub(super) fn continue_doubt(&self, now: Moment, left: Duration) {
        if !left.is_zero() {
            self.doubt_until.fetch_max(machine::until(now, left).as_millis(), Ordering::Relaxed);
        }
    }

    /// The doubt of the start is not about this app: its memory continues that of the process before, with all its
    /// doubts. Called before anything is claimed.
    pub(super) fn end_start_doubt(&self) {
        self.continues.store(true, Ordering::Relaxed);
    }

    /// Forgets every channel of the app.
    pub(super) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    fn own_doubt_until(&self) -> Moment {
        Moment::from_millis(self.doubt_until.load(Ordering::Relaxed))
    }

    fn start_doubt_until(&self) -> Moment {
        let continues = self.continues.load(Ordering::Relaxed);
        if continues { Moment::default() } else { self.context.end_of_start_doubt() }
    }

    /// Requests in flight that may touch any channel.
    pub(super) fn wide_in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// The state of the app for a claim. Called with the channel's lock held, so that what the channel knows was stored
    /// before.
    pub(super) fn snapshot(&self, now: Moment) -> AppSnapshot {
        // The order of the three reads matters; see `AppMemory`.
        let epoch = Epoch::of(self.epoch.load(Ordering::Acquire));
        let in_flight = self.in_flight.load(Ordering::Acquire) > 0;
        AppSnapshot { epoch, in_flight, in_doubt: self.in_doubt(now) }
    }

    /// Counts `requests` more requests in flight that may touch any channel. Each of them calls [`AppMemory::end_wide`]
    /// at its end.
    pub(super) fn count_wide(&self, requests: usize) {
        // Relaxed is enough: the caller begins an epoch after that, or puts rules in force that were not
        // before.
        self.in_flight.fetch_add(requests, Ordering::Relaxed);
    }

    /// Reverts a count of [`AppMemory::count_wide`] that was made too early.
    pub(super) fn discount_wide(&self, requests: usize) {
        self.in_flight.fetch_sub(requests, Ordering::Relaxed);
    }

    /// Ends a request that may touch any channel.
    pub(super) fn end_wide(&self, outcome: Outcome) {
        match outcome {
            // What was known before stays forgotten: the epoch has changed, and restoring it would require iterating
            // over the map.
            Outcome::Accepted | Outcome::Refused | Outcome::Partial => {}
            Outcome::Ambiguous => self.extend_doubt(self.context.clock.now()),
        }
        // Release: a thread that no longer counts this request sees the doubt that it left.
        self.in_flight.fetch_sub(1, Ordering::Release);
    }

    pub(super) const fn context(&self) -> &Arc<MemoryContext> {
        &self.context
    }

    /// Relaxed: both callers publish it with their next store.
    fn extend_doubt(&self, now: Moment) {
        self.doubt_until
            .fetch_max(machine::until(now, self.context.bounds.doubt_period).as_millis(), Ordering::Relaxed);
    }
}

/// The same obligation as a [`Reservation`](super::Reservation), for a request that may touch any channel of its app.
#[must_use = "settle it: dropped, it puts its app in doubt"]
#[derive(Debug)]
pub struct WideReservation {
    app: Arc<AppMemory>,
    /// Ambiguous until it is settled.
    outcome: Outcome,
}

impl WideReservation {
    /// Reports the outcome.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for WideReservation {
    fn drop(&mut self) {
        self.app.end_wide(self.outcome);
    }
}
