//! The types of the memory's interface: how a claim may be answered, what has to be settled, and the outcomes of a
//! forwarded request.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::bounds::WaiterPermit;
use super::machine::TicketId;
use super::{Assignment, RuleMemory};
use crate::clock::Moment;

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

/// How a claim may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMode {
    /// `Redundant`, `InFlight` or a reservation.
    MayWait,
    /// `Redundant` or a reservation: the request holds a reservation already, or has waited long enough.
    MustNotWait,
    /// Always a reservation (observe mode, draining, requests that are never dropped).
    Forced,
}

/// What was known of a channel when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It was not remembered at all, or nothing was known of it.
    Nothing,
    /// It was known to show this.
    Known(Assignment),
    /// An announcement was in flight, or it was in doubt, or its app was.
    Uncertain,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The channel is known to show just this assignment, since the given moment.
    Redundant {
        /// When it was committed, to a tenth of a second.
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
        /// Whether an equal claim was in flight or known, i.e. the [`ClaimMode`] or a bound on those who wait kept it
        /// from being answered otherwise.
        redundant: bool,
        /// When the channel was committed to show just this, if it is known to.
        since: Option<Moment>,
    },
    /// The memory is at its bound with nothing to forget: forward under
    /// [`AppMemory::claim_all`](super::AppMemory::claim_all).
    Full,
}

/// The duty to say what became of a forwarded request. Dropped unsettled, its channel is in doubt.
#[must_use = "settle it: dropped, it puts its channel in doubt"]
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<RuleMemory>,
    /// Of the channel's name. With the ticket it finds the entry, so that the name need not be kept a second time.
    hash: u64,
    ticket: TicketId,
    /// Ambiguous until it is settled.
    outcome: Outcome,
}

impl Reservation {
    pub(super) const fn new(memory: Arc<RuleMemory>, hash: u64, ticket: TicketId) -> Self {
        Self { memory, hash, ticket, outcome: Outcome::Ambiguous }
    }

    /// Says what became of it.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.settle(self.hash, self.ticket, self.outcome);
    }
}

/// Waits for the outcome of an equal announcement.
#[derive(Debug)]
pub struct Waiter {
    settled: oneshot::Receiver<()>,
    /// Given back with the waiter.
    _place: WaiterPermit,
}

impl Waiter {
    pub(super) const fn new(settled: oneshot::Receiver<()>, place: WaiterPermit) -> Self {
        Self { settled, _place: place }
    }

    /// Returns once the announcement was settled in any way; the claim is then made again.
    ///
    /// # Cancel safety
    /// Dropping it gives up the place.
    pub async fn settled(self) {
        // An error says that the sender is gone, which it can only be with its ticket.
        let (Ok(()) | Err(_)) = self.settled.await;
    }
}
