//! The plan for a trigger that goes on: its tickets, and what of it goes on.

use super::decide::Conclusion;
use crate::assignment::Tickets;

/// How a trigger goes on, wholly or in part, and the tickets that it has to settle.
#[derive(Debug)]
pub(super) struct Plan {
    /// Settled with the outcome.
    pub(super) tickets: Tickets,
    /// The body without its redundant part; `None`: as received.
    pub(super) reduced: Option<Vec<u8>>,
    /// Whether a 4xx means that nothing of it was applied.
    pub(super) multiplicity: Multiplicity,
    /// Why it goes on.
    pub(super) conclusion: Conclusion,
}

/// How many pairs of event and channel a request to upstream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplicity {
    /// One: upstream applies it or does not.
    One,
    /// Several: a server that applies them in turn may answer 4xx after it has applied some (pusher-protocol.md 6).
    Several,
}
