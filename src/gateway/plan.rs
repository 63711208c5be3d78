//! The plan for a trigger that goes on: its tickets, and what of it goes on.

use super::bypass::InTransit;
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
    /// Its tickets alone.
    Tickets(Tickets),
    /// What a few rules ask for beside. Boxed, or every trigger in flight would be larger.
    More(Box<HeldForClients>),
}

/// Tickets, and what concerns the clients of the channels.
#[derive(Debug)]
pub(super) struct HeldForClients {
    // Dropped in the order in which they are settled.
    /// What late subscribers may get.
    candidates: Candidates,
    tickets: Tickets,
    /// What deliveries may say because of it.
    in_transit: InTransit,
}

impl HeldUntilSettled {
    pub(super) fn new(tickets: Tickets, candidates: Candidates, in_transit: InTransit) -> Self {
        if candidates.is_empty() && in_transit.is_empty() {
            Self::Tickets(tickets)
        } else {
            Self::More(Box::new(HeldForClients { candidates, tickets, in_transit }))
        }
    }

    /// Settles it. First what late subscribers may get: whoever waits for a ticket finds it then.
    pub(super) fn settle(self, outcome: Outcome) {
        match self {
            Self::Tickets(tickets) => tickets.settle(outcome),
            Self::More(held) => {
                let HeldForClients { candidates, tickets, in_transit } = *held;
                candidates.settle(outcome);
                tickets.settle(outcome);
                in_transit.settle(outcome);
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
