//! The memory itself. (Stub: the room is being built.)

use std::sync::Arc;
use std::time::Duration;

use super::{Assignment, Value};
use crate::clock::{Clock, Moment};

/// The bounds of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Channels remembered per rule.
    pub max_channels: usize,
    /// Requests that may wait for one channel.
    pub max_waiters_per_channel: usize,
    /// Requests that may wait in all.
    pub max_waiters: usize,
    /// How long a channel stays in doubt after an ambiguous outcome.
    pub doubt_period: Duration,
}

/// How upstream took a forwarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A complete 2xx: everything in it was applied.
    Accepted,
    /// A complete 4xx, or provably not sent: nothing of it was or will be applied.
    Refused,
    /// A complete 4xx to a request of several parts: some may have been applied, nothing more will be.
    Partial,
    /// Anything else: it may be applied, now or later.
    Ambiguous,
}

/// What all rules of one app share: the epoch that forgets everything at once, and the requests in flight that may touch any channel.
#[derive(Debug)]
pub struct AppMemory {}

impl AppMemory {
    /// An empty memory for one app.
    #[must_use]
    pub fn new(clock: Clock, bounds: Arc<Bounds>) -> Arc<Self> {
        let _ = (clock, bounds);
        todo!()
    }

    /// Forgets every channel of the app and holds them all unknown until the reservation is settled.
    #[must_use]
    pub fn claim_all(self: &Arc<Self>) -> WideReservation {
        todo!()
    }

    /// Puts the whole app in doubt, as after an ambiguous outcome: used when rules change under requests in flight.
    pub fn doubt(&self, now: Moment) {
        let _ = now;
        todo!()
    }
}

/// The memory of one rule of one app.
#[derive(Debug)]
pub struct RuleMemory {}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The channel is known to show just this assignment, since the given moment.
    Redundant {
        /// When it was committed.
        since: Moment,
    },
    /// An equal announcement is in flight: wait for its outcome, then claim again.
    InFlight(Waiter),
    /// Forward it, and settle the reservation.
    Reserved {
        /// The obligation.
        reservation: Reservation,
        /// What was known of the channel before.
        before: Before,
        /// Whether an equal claim was in flight or known, i.e. `waits` or `forced` kept it from being answered otherwise.
        redundant: bool,
    },
    /// The memory is at its bound with nothing to forget: forward under [`AppMemory::claim_all`].
    Full,
}

/// What was known of a channel when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It was not remembered at all.
    Nothing,
    /// It was known to show this.
    Known(Assignment),
    /// An announcement was in flight, or it was in doubt, or its app was.
    Uncertain,
}

/// How a claim may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// `Redundant`, `InFlight` or a reservation.
    Waits,
    /// `Redundant` or a reservation: the request holds a reservation already, or has waited long enough.
    Holds,
    /// Always a reservation (observe mode, draining, requests that are never dropped).
    Forced,
}

impl RuleMemory {
    /// An empty memory for one rule of `app`.
    #[must_use]
    pub fn new(app: Arc<AppMemory>, remember_for: Duration) -> Arc<Self> {
        let _ = (app, remember_for);
        todo!()
    }

    /// Claims `channel` for `value`. `Value::Nobody` and `Value::Last` are always reserved (or `Full`).
    pub fn claim(self: &Arc<Self>, channel: &str, value: Value, patience: Patience, now: Moment) -> Claim {
        let _ = (channel, value, patience, now);
        todo!()
    }

    /// Forgets one channel; a ticket in flight on it will commit nothing. Returns whether anything was remembered.
    pub fn forget(&self, channel: &str) -> bool {
        let _ = channel;
        todo!()
    }

    /// Drops entries that were not seen for `remember_for`. Called now and then by a task of the server.
    pub fn sweep(&self, now: Moment) {
        let _ = now;
        todo!()
    }

    /// Number of channels held.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` entries whose channel begins with `prefix`.
    #[must_use]
    pub fn entries(&self, prefix: &str, limit: usize) -> Vec<Entry> {
        let _ = (prefix, limit);
        todo!()
    }
}

/// One remembered channel, for the operator.
#[derive(Debug, Clone)]
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

/// The duty to say what became of a forwarded request. Dropped unsettled, its channel is in doubt.
#[must_use = "settle it: dropped, it puts its channel in doubt"]
#[derive(Debug)]
pub struct Reservation {}

impl Reservation {
    /// Says what became of it.
    pub fn settle(self, outcome: Outcome) {
        let _ = outcome;
        todo!()
    }
}

/// The same duty for a request that may touch any channel of its app.
#[must_use = "settle it: dropped, it puts its app in doubt"]
#[derive(Debug)]
pub struct WideReservation {}

impl WideReservation {
    /// Says what became of it.
    pub fn settle(self, outcome: Outcome) {
        let _ = outcome;
        todo!()
    }
}

/// Waits for the outcome of an equal announcement.
#[derive(Debug)]
pub struct Waiter {}

impl Waiter {
    /// Returns once the announcement was settled in any way; the claim is then made again.
    ///
    /// # Cancel safety
    /// Dropping it gives up the place.
    pub async fn settled(self) {
        todo!()
    }
}
