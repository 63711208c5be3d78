//! What is to be done with a verified trigger: the tickets it holds, and what of it goes on.

use crate::assignment::{AppMemory, Generation, GenerationTicket, Outcome, Reservation, WideReservation};
use std::sync::Arc;

/// A trigger that goes on, wholly or in part, and what it owes the memory.
#[derive(Debug)]
pub(super) struct Plan {
    /// To be settled with the outcome.
    pub(super) tickets: Tickets,
    /// The body without its redundant part; `None`: as received.
    pub(super) reduced: Option<Vec<u8>>,
    /// Whether a 4xx means that nothing of it was applied.
    pub(super) multiplicity: Multiplicity,
}

/// How many things upstream is asked to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplicity {
    /// One event for one channel: it is applied or it is not.
    One,
    /// Several: servers that go through them in turn may answer 4xx after having applied some (pusher-protocol.md 6).
    Several,
}

/// Everything one request holds in the memory. Dropped unsettled, all of it is in doubt.
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

    /// Adds one channel's.
    pub(super) fn hold(&mut self, reservation: Reservation) {
        self.channels.push(reservation);
    }

    /// Adds the one for all channels of the app.
    pub(super) fn hold_app(&mut self, memory: &Arc<AppMemory>) {
        if self.app.is_none() {
            self.app = Some(memory.claim_all());
        }
    }

    /// Counts the request among those that were judged in this generation of the rules, since it is about to be sent.
    /// Its other tickets are held by now.
    pub(super) fn hold_generation(&mut self, generation: &Arc<Generation>) {
        self.generation = Some(generation.begin());
    }

    /// Tells the memory what became of the request.
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
