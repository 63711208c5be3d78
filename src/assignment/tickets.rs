//! The tickets of one request.

use std::sync::Arc;

use super::{AppMemory, Generation, GenerationTicket, Outcome, Reservation, SharedTickets, WideReservation};

/// All tickets that one request holds, wherever the memory is. Dropping them unsettled puts their channels in doubt.
#[must_use = "settle them: dropped, they put their channels in doubt"]
#[derive(Debug)]
pub enum Tickets {
    /// In this process.
    InProcess(InProcessTickets),
    /// In a shared memory; `None`: it was out of reach.
    Shared(Option<Box<SharedTickets>>),
}

/// The tickets that one request holds in a memory of this process.
#[must_use = "settle them: dropped, they put their channels in doubt"]
#[derive(Debug, Default)]
pub struct InProcessTickets {
    channels: Vec<Reservation>,
    app: Option<WideReservation>,
    generation: Option<GenerationTicket>,
}

impl Tickets {
    /// Settles all tickets with the outcome of the request.
    pub fn settle(self, outcome: Outcome) {
        match self {
            Self::InProcess(tickets) => tickets.settle(outcome),
            Self::Shared(Some(tickets)) => tickets.settle(outcome),
            Self::Shared(None) => {}
        }
    }
}

impl InProcessTickets {
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
