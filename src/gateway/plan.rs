//! The plan for a trigger that goes on: its tickets, and what of it goes on.

use super::decide::Conclusion;
use crate::assignment::{AppMemory, Generation, GenerationTicket, Outcome, Reservation, WideReservation};
use std::sync::Arc;

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

/// All tickets that one request holds in the memory. Dropping them unsettled puts their channels in doubt.
#[must_use = "settle them: dropped, they put their channels in doubt"]
#[derive(Debug, Default)]
pub(super) struct Tickets {
    channels: Vec<Reservation>,
    app: Option<WideReservation>,
    generation: Option<GenerationTicket>,
}

impl Tickets {
    /// Whether the request holds nothing, and so may wait.
    pub(super) const fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.app.is_none() && self.generation.is_none()
    }

    /// Adds the ticket of one channel.
    pub(super) fn hold(&mut self, reservation: Reservation) {
        self.channels.push(reservation);
    }

    /// Adds the ticket for all channels of the app.
    pub(super) fn hold_app(&mut self, memory: &Arc<AppMemory>) {
        if self.app.is_none() {
            self.app = Some(memory.claim_all());
        }
    }

    /// Counts the request among those that are forwarded in this generation of the rules. Its other tickets must be
    /// held already.
    pub(super) fn hold_generation(&mut self, generation: &Arc<Generation>) {
        self.generation = Some(generation.begin());
    }

    /// Settles all tickets with the outcome of the request.
    pub(super) fn settle(self, outcome: Outcome) {
        if let Some(generation) = self.generation {
            generation.settle(outcome);
        }
        for reservation in self.channels {
            reservation.settle(outcome);
        }
        if let Some(app) = self.app {
            app.settle(outcome);
        }
    }
}
