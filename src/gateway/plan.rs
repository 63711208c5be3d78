//! The plan for a trigger that goes on: its tickets, and what of it goes on.

use super::decide::Conclusion;
use crate::assignment::{Outcome, Tickets};
use crate::replay::Candidates;

/// How a trigger goes on, wholly or in part, and the tickets that it has to settle.
#[derive(Debug)]
pub(super) struct Plan {
    /// Settled with the outcome.
    pub(super) held: HeldUntilSettled,
    /// The body without its redundant part; `None`: as received.
    pub(super) reduced: Option<Vec<u8>>,
    /// Whether a 4xx means that nothing of it was applied.
    pub(super) multiplicity: Multiplicity,
    /// Why it goes on.
    pub(super) conclusion: Conclusion,
}

/// What a trigger that goes on holds until its outcome is known.
#[must_use = "settle it: dropped, its outcome is ambiguous"]
#[derive(Debug)]
pub(super) enum HeldUntilSettled {
    /// Nothing of it is handed to late subscribers.
    Tickets(Tickets),
    /// Something is. Boxed: few rules do that, and every trigger in flight would be larger.
    WithCandidates(Box<TicketsAndCandidates>),
}

/// Tickets, and what late subscribers may get.
#[derive(Debug)]
pub(super) struct TicketsAndCandidates {
    // Dropped first, as they are settled first.
    candidates: Candidates,
    tickets: Tickets,
}

impl HeldUntilSettled {
    pub(super) fn new(tickets: Tickets, candidates: Candidates) -> Self {
        if candidates.is_empty() {
            Self::Tickets(tickets)
        } else {
            Self::WithCandidates(Box::new(TicketsAndCandidates { candidates, tickets }))
        }
    }

    /// Settles it. First what late subscribers may get: whoever waits for a ticket finds it then.
    pub(super) fn settle(self, outcome: Outcome) {
        match self {
            Self::Tickets(tickets) => tickets.settle(outcome),
            Self::WithCandidates(held) => {
                held.candidates.settle(outcome);
                held.tickets.settle(outcome);
            }
        }
    }
}

/// How many pairs of event and channel a request to upstream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplicity {
    /// One: upstream applies it or does not.
    One,
    /// Several: a server that applies them in turn may answer 4xx after it has applied some (pusher-protocol.md 6).
    Several,
}
