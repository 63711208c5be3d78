//! The types of the memory's interface: the answers to a claim, reservations, and the outcomes of a forwarded request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::bounds::WaiterPermit;
use super::machine::TicketId;
use super::shared::Awaited;
use super::{Assignment, Digest, Reach, RuleMemory, Socket, Value};
use crate::clock::Moment;

/// The outcome of a forwarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A complete 2xx: the request was applied completely.
    Accepted,
    /// A complete 4xx, or provably not sent: no part was or will be applied.
    Refused,
    /// A complete 4xx to a request of several parts: some parts may have been applied, no other will be.
    Partial,
    /// Anything else: it may be applied, now or later.
    Ambiguous,
}

/// The permitted answers to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMode {
    /// `Redundant`, `InFlight` or a reservation.
    MayWait,
    /// `Redundant` or a reservation: the request holds a reservation already, or has waited for the maximum time.
    MustNotWait,
    /// Always a reservation (draining, requests that are never dropped).
    Forced,
    /// The same, for a rule that only observes: what is redundant leaves the memory as if it were dropped.
    Observed,
}

impl ClaimMode {
    /// Whether the answer is a reservation, whatever is known.
    #[must_use]
    pub const fn is_forced(self) -> bool {
        matches!(self, Self::Forced | Self::Observed)
    }
}

/// What is claimed: the effect of a request on a channel, and whom it does not reach.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'v> {
    /// The effect.
    pub value: &'v Value,
    /// The connection that the announcement, the last one of a batch, leaves out.
    pub left_out: Option<Socket>,
}

impl<'v> From<&'v Value> for Announced<'v> {
    /// One that leaves nobody out.
    fn from(value: &'v Value) -> Self {
        Self { value, left_out: None }
    }
}

/// Why an announcement goes on although its channel shows its assignment, or an equal one is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Somebody has subscribed since.
    LateJoiner,
    /// The last one left a connection out that this one reaches.
    LeftOut,
    /// The last one is older than the rule's `refresh_after`.
    Refresh,
}

/// What clients see that subscribe to a channel now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The channel is known to show this.
    Known(Assignment),
    /// Something that is not settled may change it.
    Unsettled,
    /// It is not known.
    Unknown,
}

/// An assignment that a channel is known to show, and that is announced again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When it was committed, to a tenth of a second.
    pub since: Moment,
    /// The remainder of the announcement that guests show, if that of this one is another one.
    pub difference: Option<Digest>,
}

/// What was known of a channel when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It was not remembered, or its assignment was unknown.
    Nothing,
    /// It was known to show this.
    Known {
        /// The assignment.
        assignment: Assignment,
        /// Who has had it.
        reach: Reach,
        /// Whether it is so old that it is announced again.
        is_due: bool,
    },
    /// Something that is not settled may change it.
    Uncertain(Uncertainty),
}

/// What keeps a channel from being known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncertainty {
    /// A ticket was in flight on the channel.
    InFlight,
    /// The channel was in doubt.
    InDoubt,
    /// A request that may touch any channel of the app was in flight.
    AppInFlight,
    /// The app was in doubt.
    AppInDoubt,
    /// The memory is full.
    Full,
    /// A process that shares the memory is missing, or decides by other rules, or may not be known: it may forward
    /// without claims.
    Open,
    /// The shared memory was not reached.
    Unreached,
    /// It was not reached for so long that the other processes may have given this one up.
    Isolated,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The channel is known to show exactly this assignment.
    Redundant(Shown),
    /// An equal announcement is in flight: wait for its outcome, then repeat the claim.
    InFlight(Waiter),
    /// Forward it, and settle the reservation.
    Reserved {
        /// The reservation to settle.
        reservation: Reservation,
        /// What was known of the channel before.
        before: Before,
        /// Whether an equal claim was in flight or known, that is, the [`ClaimMode`] or a bound on waiting requests
        /// prevented another answer.
        redundant: bool,
        /// What it is known to show, if that is exactly this.
        shown: Option<Shown>,
        /// Why it is announced again, if an equal claim is in flight or known, and does not make it redundant.
        renewal: Option<Renewal>,
    },
    /// The memory is full and no entry may be forgotten: forward under
    /// [`AppMemory::claim_all`](super::AppMemory::claim_all).
    Full,
}

/// The obligation to report the outcome of a forwarded request. If it is dropped unsettled, its channel is in doubt.
#[must_use = "settle it: dropped, it puts its channel in doubt"]
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<RuleMemory>,
    /// The hash of the channel's name. Together with the ticket it identifies the entry, so that the name is not stored
    /// a second time.
    hash: u64,
    ticket: TicketId,
    /// Ambiguous until it is settled.
    outcome: Outcome,
}

impl Reservation {
    pub(super) const fn new(memory: Arc<RuleMemory>, hash: u64, ticket: TicketId) -> Self {
        Self { memory, hash, ticket, outcome: Outcome::Ambiguous }
    }

    /// Reports the outcome.
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
    /// After so long the claim is repeated, whatever has come: another process may hold the ticket.
    poll: Option<Duration>,
    /// What has to be said at a shared memory, so that the settlement is published there.
    awaited: Option<Box<Awaited>>,
    /// Released when the waiter is dropped.
    _permit: WaiterPermit,
}

impl Waiter {
    pub(super) const fn new(settled: oneshot::Receiver<()>, permit: WaiterPermit) -> Self {
        Self { settled, poll: None, awaited: None, _permit: permit }
    }

    /// One that also returns after `period`. `awaited`: what is said first.
    pub(super) fn polling(
        settled: oneshot::Receiver<()>,
        permit: WaiterPermit,
        period: Duration,
        awaited: Option<Awaited>,
    ) -> Self {
        Self { settled, poll: Some(period), awaited: awaited.map(Box::new), _permit: permit }
    }

    /// Returns once the announcement was settled with any outcome; the claim is then repeated.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait; the request no longer counts as waiting.
    pub async fn settled(self) {
        // An error of the sender means that it was dropped, which happens only together with its ticket.
        if let Some(awaited) = self.awaited
            && !awaited.say().await
        {
            return;
        }
        match self.poll {
            Some(period) => {
                let (Ok(_) | Err(_)) = timeout(period, self.settled).await;
            }
            None => {
                let (Ok(()) | Err(_)) = self.settled.await;
            }
        }
    }
}
